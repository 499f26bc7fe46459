//! Listening, connections, and the end of both.

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
use secrecy::SecretString;
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use super::{Gateway, auth::Entry};
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
    #[error("`{address}` can be reached from other machines, and the gateway speaks no TLS itself")]
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
            Self::Listen { .. } => Some("`--listen` takes HOST:PORT, port 0 for any".into()),
            Self::Exposed { .. } => Some(
                "put a proxy with TLS before it and pass `--plaintext`, or listen on 127.0.0.1"
                    .into(),
            ),
            Self::Keyless { .. } => Some("run `maestro keys create --name NAME` first".into()),
            Self::Maestro(error) => error.hint(),
        }
    }
}

/// A gateway that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    gateway: Arc<Gateway>,
    settings: ServeConfig,
}

/// A gateway for one process, and the key that it is given.
pub struct Private {
    server: Server,
    key: SecretString,
}

impl Private {
    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Returns the only key that it takes.
    #[must_use]
    pub fn key(&self) -> &SecretString {
        &self.key
    }

    /// As [`Server::run`].
    pub async fn run(self, stop: impl Future<Output = ()>) -> usize {
        self.server.run(stop).await
    }
}

impl Server {
    /// Listens, if that is safe: beyond this machine only with client keys, and only if `plaintext`
    /// says that somebody else sees to the encryption.
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
        let resolved: Vec<SocketAddr> = lookup_host(address).await.map_err(listen)?.collect();
        let exposed = resolved.iter().any(|address| !address.ip().is_loopback());
        if exposed {
            let address = address.to_owned();
            if !plaintext {
                return Err(StartError::Exposed { address });
            }
            if maestro.list_client_keys().await?.is_empty() {
                return Err(StartError::Keyless { address });
            }
        }
        let listener = TcpListener::bind(resolved.as_slice()).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let settings = maestro.config().serve.clone();
        let gateway = Arc::new(Gateway::new(maestro, Entry::Clients { keys_required: exposed }));
        Ok(Self { listener, address, gateway, settings })
    }

    /// Listens on a free port of this machine, for whoever is given the key, drawn for this once.
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`], or [`StartError::Maestro`] without randomness.
    pub async fn private(maestro: Maestro) -> Result<Private, StartError> {
        let drawn = || Ok(format!("{}{}", random::id()?, random::id()?));
        let key = drawn().map_err(|error| Error::from(SessionError::Random(error)))?;
        let loopback = (Ipv4Addr::LOCALHOST, 0);
        let listen = |source| StartError::Listen { address: "127.0.0.1:0".into(), source };
        let listener = TcpListener::bind(loopback).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let settings = maestro.config().serve.clone();
        let gateway = Arc::new(Gateway::new(maestro, Entry::one_key(&key)));
        let server = Self { listener, address, gateway, settings };
        Ok(Private { server, key: key.into() })
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then finishes what has begun; returns how many connections were cut
    /// because the time for that was over.
    pub async fn run(self, stop: impl Future<Output = ()>) -> usize {
        let most = self.settings.max_connections.max(1);
        let permits = Arc::new(Semaphore::new(most as usize));
        let (ending, ended) = watch::channel(false);
        let service = Arc::new(Service {
            gateway: self.gateway,
            header_timeout: Duration::from_millis(self.settings.header_timeout_ms.max(1)),
            closing: AtomicBool::new(false),
        });
        let mut stop = pin!(stop);
        loop {
            let next = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                () = &mut stop => break,
                next = next => next,
            };
            match (permit, accepted) {
                (Ok(permit), Ok((stream, _))) => service.spawn(stream, permit, ended.clone()),
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
        // What the system took before we stopped is served too. Asked without the runtime, which may
        // not have heard yet of what waits.
        if let Ok(listener) = self.listener.into_std() {
            while let Ok((stream, _)) = listener.accept() {
                let stream =
                    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                let permit = Arc::clone(&permits).try_acquire_owned();
                let (Ok(stream), Ok(permit)) = (stream, permit) else { break };
                service.spawn(stream, permit, ended.clone());
            }
        }
        service.closing.store(true, Ordering::Relaxed);
        let _ = ending.send(true);
        let patience = Duration::from_millis(self.settings.drain_ms);
        match timeout(patience, permits.acquire_many(most)).await {
            Ok(_) => 0,
            Err(_) => most as usize - permits.available_permits(),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What every connection needs.
struct Service {
    gateway: Arc<Gateway>,
    header_timeout: Duration,
    /// Whether each answer is the last on its connection.
    closing: AtomicBool,
}

impl Service {
    fn spawn(
        self: &Arc<Self>,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        ended: watch::Receiver<bool>,
    ) {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.connection(stream, ended).await;
            drop(permit);
        });
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, mut ended: watch::Receiver<bool>) {
        // Without this a stream's last piece waits for the client's delayed acknowledgement.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let this = Arc::clone(&self);
        let answer = service_fn(move |request| {
            let this = Arc::clone(&this);
            async move {
                // Boxed, because hyper keeps the room for this future as long as the connection: what
                // reading and routing a request takes would lie beside every open stream.
                let mut response = Box::pin(Arc::clone(&this.gateway).answer(request)).await;
                if this.closing.load(Ordering::Relaxed) {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = pin!(connection);
        // A failed connection is the client's business: it went away, or spoke no HTTP.
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = ended.wait_for(|ended| *ended) => {}
        }
        // A client that sends its next request just now still gets an answer, its last one here.
        if timeout(LINGER, connection.as_mut()).await.is_err() {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
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

/// Longest head of a request, and most of a body that is read ahead.
const MAX_HEAD: usize = 64 * 1024;

/// How long idle connections stay open once the gateway was told to stop.
const LINGER: Duration = Duration::from_millis(250);

/// How long nothing is accepted after that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
