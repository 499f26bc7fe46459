//! Connections, from the first to the end of the gateway.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use secrecy::SecretString;
use tokio::{
    net::lookup_host,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Gateway,
    auth::Entry,
    connection::{Answer, Connection, Plain, Traffic, Wire},
    lanes::Lanes,
    listener::{Listener, unix_path},
    tls::{self, Certificate, TlsError},
};
use crate::{
    config::ServeConfig,
    maestro::{Error, Maestro},
    session::{SessionError, random},
};

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address is not one of this machine's, or taken.
    #[error("failed to listen on `{address}`")]
    Listen {
        /// What was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Others than this machine could call, unencrypted.
    #[error(
        "`{address}` can be reached from other machines, and `[serve.tls]` names no certificate"
    )]
    Exposed {
        /// What was asked for.
        address: String,
    },
    /// Others than this machine could call, without a key.
    #[error("`{address}` can be reached from other machines, and no client key exists")]
    Keyless {
        /// What was asked for.
        address: String,
    },
    /// The system gives no thread to serve on.
    #[error("failed to start a thread")]
    Threads(#[source] io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store cannot tell whether client keys exist.
    #[error(transparent)]
    Maestro(#[from] Error),
}

impl StartError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("stop what listens there, or choose another address with `--listen`".into())
            }
            Self::Listen { address, .. } if unix_path(address).is_some() => {
                Some("`--listen unix:PATH` takes a path in a folder that exists".into())
            }
            Self::Listen { .. } => {
                Some("`--listen` takes HOST:PORT, port 0 for any, or `unix:PATH`".into())
            }
            Self::Exposed { .. } => Some(
                "set `cert` and `key` in `[serve.tls]`, or put a proxy with TLS before it and pass \
                 `--plaintext`, or listen on 127.0.0.1"
                    .into(),
            ),
            Self::Threads(_) => Some("raise the limit of threads or processes of this user".into()),
            Self::Tls(_) => Some("`[serve.tls]` takes PEM files: `cert`, the chain, and `key`".into()),
            Self::Keyless { .. } => Some("run `maestro keys create --name NAME` first".into()),
            Self::Maestro(error) => error.hint(),
        }
    }
}

/// A gateway that listens.
pub struct Server {
    listeners: Vec<Listener>,
    tls: Option<(TlsAcceptor, Arc<Certificate>)>,
    gateway: Arc<Gateway>,
    settings: ServeConfig,
    lanes: Lanes,
}

/// A gateway for one process, and the key that it is given.
pub struct Private {
    server: Server,
    address: SocketAddr,
    key: SecretString,
}

impl Private {
    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the only key that it takes.
    #[must_use]
    pub fn key(&self) -> &SecretString {
        &self.key
    }

    /// As [`Server::run`].
    pub async fn run(self, stop: impl Future<Output = usize>) -> usize {
        self.server.run(stop).await
    }
}

impl Server {
    /// Listens at `HOST:PORT` or `unix:PATH`, if that is safe: beyond this machine only with client
    /// keys, and with a certificate unless `plaintext` says that somebody else sees to the encryption.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn bind(
        maestro: Maestro,
        address: &str,
        plaintext: bool,
    ) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen { address: address.to_owned(), source };
        if let Some(path) = unix_path(address) {
            let listener = Listener::unix(path).map_err(listen)?;
            return Self::of(maestro, vec![listener], plaintext).await;
        }
        let resolved: Vec<SocketAddr> = lookup_host(address).await.map_err(listen)?.collect();
        // Before the port is open, so that nobody gets in meanwhile.
        let exposed = resolved.iter().find(|address| !address.ip().is_loopback());
        permit(&maestro, exposed.map(|_| address), plaintext).await?;
        let listener = Listener::tcp(&resolved).await.map_err(listen)?;
        Self::of(maestro, vec![listener], plaintext).await
    }

    /// Takes the sockets that a service manager has opened for this process; `None` if there are
    /// none. They stay open when the gateway ends, and what waits in them is for the next one.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    pub async fn activated(maestro: Maestro, plaintext: bool) -> Result<Option<Self>, StartError> {
        let listen = |source| StartError::Listen { address: "LISTEN_FDS".into(), source };
        let listeners = Listener::lent().map_err(listen)?;
        if listeners.is_empty() {
            return Ok(None);
        }
        Self::of(maestro, listeners, plaintext).await.map(Some)
    }

    async fn of(
        maestro: Maestro,
        listeners: Vec<Listener>,
        plaintext: bool,
    ) -> Result<Self, StartError> {
        let exposed = listeners.iter().find(|listener| listener.is_exposed()).map(Listener::name);
        permit(&maestro, exposed.as_deref(), plaintext).await?;
        let settings = maestro.config().serve.clone();
        let tls = settings.tls.clone().map(tls::acceptor).transpose()?;
        let entry = Entry::Clients { keys_required: exposed.is_some() };
        let gateway = Arc::new(Gateway::new(maestro, entry));
        let lanes = Lanes::start().map_err(StartError::Threads)?;
        Ok(Self { listeners, tls, gateway, settings, lanes })
    }

    /// Listens on a free port of this machine, for whoever is given the key, drawn for this once.
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`], or [`StartError::Maestro`] without randomness.
    pub async fn private(maestro: Maestro) -> Result<Private, StartError> {
        let drawn = || Ok(format!("{}{}", random::id()?, random::id()?));
        let key = drawn().map_err(|error| Error::from(SessionError::Random(error)))?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen = |source| StartError::Listen { address: loopback.to_string(), source };
        let listener = Listener::tcp(&[loopback]).await.map_err(listen)?;
        let address =
            listener.address().ok_or_else(|| listen(io::ErrorKind::NotConnected.into()))?;
        let settings = maestro.config().serve.clone();
        let gateway = Arc::new(Gateway::new(maestro, Entry::one_key(&key)));
        let lanes = Lanes::start().map_err(StartError::Threads)?;
        let server = Self { listeners: vec![listener], tls: None, gateway, settings, lanes };
        Ok(Private { server, address, key: key.into() })
    }

    /// Returns the base URL, or `unix:PATH`; of several the first.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let name = self.listeners.first().map(Listener::name).unwrap_or_default();
        if unix_path(&name).is_some() { name } else { format!("{scheme}://{name}") }
    }

    /// Returns what reads the certificate again.
    pub fn certificate(&self) -> impl Fn() + Send + Sync + 'static {
        let certificate = self.tls.as_ref().map(|(_, certificate)| Arc::clone(certificate));
        move || {
            if let Some(certificate) = &certificate {
                certificate.refresh();
            }
        }
    }

    /// Serves until `stop`, then finishes what has begun; returns how many connections were cut
    /// because the time for that was over. `stop` says how many can never end, and are not waited for.
    pub async fn run(self, stop: impl Future<Output = usize>) -> usize {
        let most = room_for(self.settings.max_connections.max(1));
        let (stopping, stopped) = watch::channel(false);
        let service = Arc::new(Service {
            gateway: self.gateway,
            tls: self.tls.map(|(acceptor, _)| acceptor),
            header_timeout: Duration::from_millis(self.settings.header_timeout_ms.max(1)),
            write_timeout: Duration::from_millis(self.settings.write_timeout_ms.max(1)),
            permits: Arc::new(Semaphore::new(most as usize)),
            lanes: self.lanes,
            closing: AtomicBool::new(false),
            stopped: stopped.clone(),
        });
        let mut doors = JoinSet::new();
        for listener in self.listeners {
            doors.spawn(Arc::clone(&service).accept(listener, stopped.clone()));
        }
        let lost = match stop.await {
            0 => 0,
            // Whoever shares a thread with a step that never ends waits for ever too.
            endless => service.lanes.held_up().await.max(endless).min(most as usize),
        };
        service.closing.store(true, Ordering::Relaxed);
        service.gateway.draining.store(true, Ordering::Relaxed);
        let _ = stopping.send(true);
        let finished = async {
            while doors.join_next().await.is_some() {}
            let _ = service.permits.acquire_many(most - lost as u32).await;
        };
        let drained = timeout(Duration::from_millis(self.settings.drain_ms), finished).await;
        let cut = match drained {
            Ok(()) => 0,
            Err(_) => (most as usize - lost).saturating_sub(service.permits.available_permits()),
        };
        service.lanes.end().await;
        cut
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url()).finish_non_exhaustive()
    }
}

/// Refuses to be reached from other machines without keys, or unencrypted without a word for it.
async fn permit(
    maestro: &Maestro,
    exposed: Option<&str>,
    plaintext: bool,
) -> Result<(), StartError> {
    let Some(address) = exposed else { return Ok(()) };
    let address = address.to_owned();
    if !plaintext && maestro.config().serve.tls.is_none() {
        return Err(StartError::Exposed { address });
    }
    if maestro.list_client_keys().await?.is_empty() {
        return Err(StartError::Keyless { address });
    }
    Ok(())
}

/// What every connection needs.
struct Service {
    gateway: Arc<Gateway>,
    tls: Option<TlsAcceptor>,
    header_timeout: Duration,
    write_timeout: Duration,
    /// One for each connection.
    permits: Arc<Semaphore>,
    lanes: Lanes,
    /// Whether each answer is the last on its connection.
    closing: AtomicBool,
    stopped: watch::Receiver<bool>,
}

impl Service {
    /// Serves what arrives at a listener, until the gateway is to stop and the queue is empty.
    async fn accept(self: Arc<Self>, listener: Listener, mut stopped: watch::Receiver<bool>) {
        loop {
            let next = async {
                let permit = Arc::clone(&self.permits).acquire_owned().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                next = next => next,
            };
            match (permit, accepted) {
                (Ok(permit), Ok(stream)) => self.spawn(stream, Some(permit)),
                (_, Err(error)) => {
                    tracing::warn!("failed to accept a connection: {error}");
                    // Out of descriptors, most likely; the next moment one may be free.
                    if !is_of_the_connection(&error) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
                (Err(_), _) => break,
            }
        }
        listener.close(|stream| self.spawn(stream, None)).await;
    }

    fn spawn(self: &Arc<Self>, stream: Plain, permit: Option<OwnedSemaphorePermit>) {
        let this = Arc::clone(self);
        // What came while there was no room waits for it here.
        let permit = permit.or_else(|| Arc::clone(&self.permits).try_acquire_owned().ok());
        let Ok(stream) = stream.park() else { return };
        self.lanes.spawn(async move {
            let permit = match permit {
                Some(permit) => Some(permit),
                None => Arc::clone(&this.permits).acquire_owned().await.ok(),
            };
            if let Ok(stream) = stream.unpark() {
                this.connection(stream).await;
            }
            drop(permit);
        });
    }

    async fn connection(self: Arc<Self>, stream: Plain) {
        // Without this a stream's last piece waits for the client's delayed acknowledgement.
        if let Plain::Tcp(stream) = &stream
            && stream.set_nodelay(true).is_err()
        {
            return;
        }
        let wire = match &self.tls {
            None => Wire::Plain(stream),
            Some(acceptor) => match timeout(self.header_timeout, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Wire::Tls(Box::new(stream)),
                _ => return,
            },
        };
        let traffic = Arc::new(Traffic::default());
        let (this, counted) = (Arc::clone(&self), Arc::clone(&traffic));
        let answer = service_fn(move |request| {
            let (this, busy) = (Arc::clone(&this), counted.begin());
            async move {
                // Boxed, because hyper keeps the room for this future as long as the connection: what
                // reading and routing a request takes would lie beside every open stream.
                let mut response = Box::pin(Arc::clone(&this.gateway).answer(request)).await;
                if this.closing.load(Ordering::Relaxed) {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, busy)))
            }
        });
        let mut stopped = self.stopped.clone();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(
                TokioIo::new(Connection::new(wire, Arc::clone(&traffic), self.write_timeout)),
                answer,
            );
        let mut connection = pin!(connection);
        // A failed connection is the client's business: it went away, or spoke no HTTP.
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        // A client that sends its next request just now still gets an answer, its last one here.
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = traffic.quiet() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Reports whether only the connection that was to be accepted is gone.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Returns how many of the wished connections the system's descriptors are enough for: each may need
/// another one upstream, and what else is opened must not be refused because of them.
fn room_for(wished: u32) -> u32 {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return wished };
    let open = std::fs::read_dir("/dev/fd").map_or(0, Iterator::count);
    let free = limit.saturating_sub(open as u64 + SPARE_DESCRIPTORS);
    let fit = u32::try_from(free / 2).unwrap_or(u32::MAX).clamp(1, wished);
    if fit < wished {
        tracing::info!("at most {fit} connections at once: this process may open {limit} files");
    }
    fit
}

/// Descriptors for what is opened on the way: the store, plugins and their workers.
const SPARE_DESCRIPTORS: u64 = 16;

/// Longest head of a request, and most of a body that is read ahead.
const MAX_HEAD: usize = 64 * 1024;

/// How long nothing is accepted after that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
