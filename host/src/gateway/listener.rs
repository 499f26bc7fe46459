//! Where the gateway listens: an address, a path, or what the service manager has opened.

use std::{
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream},
    time::{Instant, timeout},
};

use super::connection::Plain;

/// One place where connections arrive.
#[derive(Debug)]
pub(super) struct Listener {
    kind: Kind,
    /// Opened by somebody who keeps it open when we end: what waits there is for the next of us.
    lent: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, Option<Socket>),
}

/// A socket in the file system, which goes with us unless somebody else has put his there.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    identity: (u64, u64),
}

impl Listener {
    pub(super) async fn tcp(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match bound(*address) {
                Ok(listener) => return Ok(Self { kind: Kind::Tcp(listener), lent: false }),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Listens at a path, for this user alone.
    ///
    /// A socket that nobody serves any more is replaced, in one step, so that at no moment there is
    /// none; two that start at once take turns.
    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let turn = rustix::fs::open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        flock(&turn, FlockOperation::LockExclusive)?;
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                let what = "something that is no socket is there";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            match StdUnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
                Err(error) => return Err(error),
            }
        }
        // Made where nobody else may look until it has its mode.
        let mut name = OsString::from(".maestro-");
        name.push(std::process::id().to_string());
        let nursery = folder.join(name);
        rustix::fs::mkdir(&nursery, Mode::RWXU)?;
        let made = Self::make(&nursery.join("s"), path);
        let _ = fs::remove_dir_all(&nursery);
        made
    }

    fn make(young: &Path, path: &Path) -> io::Result<Self> {
        let listener = StdUnixListener::bind(young)?;
        fs::set_permissions(young, fs::Permissions::from_mode(0o600))?;
        let made = fs::symlink_metadata(young)?;
        fs::rename(young, path)?;
        listener.set_nonblocking(true)?;
        let socket = Socket { path: path.to_owned(), identity: (made.dev(), made.ino()) };
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { kind: Kind::Unix(listener, Some(socket)), lent: false })
    }

    /// Takes what the service manager has opened for this process (`LISTEN_FDS`).
    pub(super) fn lent() -> io::Result<Vec<Self>> {
        let mut given = listenfd::ListenFd::from_env();
        let mut taken = Vec::new();
        for at in 0..given.len() {
            let kind = if let Ok(Some(listener)) = given.take_tcp_listener(at) {
                keep_from_children(&listener)?;
                listener.set_nonblocking(true)?;
                Kind::Tcp(TcpListener::from_std(listener)?)
            } else if let Ok(Some(listener)) = given.take_unix_listener(at) {
                keep_from_children(&listener)?;
                listener.set_nonblocking(true)?;
                Kind::Unix(UnixListener::from_std(listener)?, None)
            } else {
                let what = format!("descriptor {} is no socket that listens", FIRST_LENT + at);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            };
            taken.push(Self { kind, lent: true });
        }
        Ok(taken)
    }

    /// Returns where it is; none for one in the file system.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix(..) => None,
        }
    }

    /// Reports whether other machines can reach it.
    pub(super) fn is_exposed(&self) -> bool {
        self.address().is_some_and(|address| !address.ip().is_loopback())
    }

    /// Returns what clients are told: a base URL without its scheme, or `unix:PATH`.
    pub(super) fn name(&self) -> String {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().map(|a| a.to_string()).unwrap_or_default(),
            Kind::Unix(_, Some(socket)) => format!("{UNIX}{}", socket.path.display()),
            Kind::Unix(listener, None) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                format!("{UNIX}{}", path.unwrap_or(Path::new("")).display())
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Plain> {
        match &self.kind {
            Kind::Tcp(listener) => Ok(Plain::Tcp(listener.accept().await?.0)),
            Kind::Unix(listener, _) => Ok(Plain::Unix(listener.accept().await?.0)),
        }
    }

    /// Stops listening, and gives away every connection that was made until then.
    ///
    /// The system completes connections before we hear of them, and resets those in the queue when
    /// the listener is closed. So it is first told to begin no more, where it can be told.
    pub(super) async fn close(self, mut take: impl FnMut(Plain)) {
        if self.lent {
            return;
        }
        let exposed = self.is_exposed();
        let listener = match self.kind {
            Kind::Tcp(listener) => listener,
            Kind::Unix(listener, socket) => {
                if let Some(socket) = socket {
                    socket.remove();
                }
                // From here on nobody is queued, so the queue's end is the end. Asked without the
                // runtime, which takes the shutdown for news without end.
                let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Read);
                let Ok(listener) = listener.into_std() else { return };
                while let Ok((stream, _)) = listener.accept() {
                    let ready = stream.set_nonblocking(true);
                    if let Ok(stream) = ready.and_then(|()| UnixStream::from_std(stream)) {
                        take(Plain::Unix(stream));
                    }
                }
                return;
            }
        };
        let silenced = ignore_newcomers(&listener);
        tracing::debug!(?silenced, "the listener closes");
        // A client whose connection is half made needs the time of one more packet.
        let quiet = if exposed { FAR } else { NEAR };
        let end = Instant::now() + LONGEST_CLOSE;
        while let Ok(Ok((stream, _))) = timeout(quiet, listener.accept()).await {
            take(Plain::Tcp(stream));
            if Instant::now() > end {
                break;
            }
        }
        // Once more without the runtime, which may not have heard yet of what waits.
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, _)) = listener.accept() {
            let ready = stream.set_nonblocking(true);
            if let Ok(stream) = ready.and_then(|()| TcpStream::from_std(stream)) {
                take(Plain::Tcp(stream));
            }
        }
    }
}

impl Socket {
    fn remove(&self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Returns the path of `unix:PATH`.
pub(super) fn unix_path(listen: &str) -> Option<&Path> {
    listen.strip_prefix(UNIX).map(Path::new)
}

/// Has the system overlook first packets of new connections, whose senders try again a second later:
/// by then the port is closed, or another gateway listens there. What has begun is completed.
#[cfg(target_os = "linux")]
fn ignore_newcomers(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};
    // The flags of the packet; with SYN and without ACK it is cut to nothing, which drops it.
    let filter = [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&filter)
}

#[cfg(not(target_os = "linux"))]
fn ignore_newcomers(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port that a former gateway had is free at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUED)
}

/// Tools that we start have no business with it.
fn keep_from_children(listener: &impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(listener, rustix::io::FdFlags::CLOEXEC)?)
}

/// What a path to listen at begins with.
const UNIX: &str = "unix:";

/// Number of the first descriptor that a service manager passes.
const FIRST_LENT: usize = 3;

/// Connections that may wait to be accepted. Where the queue is full, the system drops the last packet of
/// a handshake that the client takes for done.
const QUEUED: u32 = 4096;

/// How long nothing has to arrive until the queue counts as empty, of this machine (whose network is
/// threads of the kernel that a busy machine keeps waiting) and of others.
const NEAR: Duration = Duration::from_millis(100);
const FAR: Duration = Duration::from_millis(200);

/// Longest that connections are still taken from the queue.
const LONGEST_CLOSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_user_and_replaced_only_when_dead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists(), "nobody serves it");
        let listener = Listener::unix(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Listener::unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(listener.name(), format!("unix:{}", path.display()));
        assert!(!listener.is_exposed());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");

        // What has connected is given away, even what we never heard of; then the path is gone.
        let _waiting = StdUnixStream::connect(&path).unwrap();
        let _another = StdUnixStream::connect(&path).unwrap();
        let mut taken = 0;
        listener.close(|_| taken += 1).await;
        assert_eq!(taken, 3, "these two, and the one that looked whether somebody serves");
        assert!(!path.exists());

        fs::write(&path, "letters").unwrap();
        assert_eq!(Listener::unix(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "letters");
    }

    #[tokio::test]
    async fn a_path_that_somebody_else_took_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let listener = Listener::unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = StdUnixListener::bind(&path).unwrap();
        listener.close(|_| {}).await;
        assert!(path.exists());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_was_let_in_while_it_closes_is_given_away() {
        use std::{
            net::{SocketAddr, TcpStream},
            sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
        };

        for _ in 0..20 {
            let listener = Listener::tcp(&[SocketAddr::from(([127, 0, 0, 1], 0))]).await.unwrap();
            let address = listener.address().unwrap();
            let made = Arc::new(AtomicUsize::new(0));
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let made = Arc::clone(&made);
                    std::thread::spawn(move || {
                        let mut mine = Vec::new();
                        let patience = Duration::from_millis(100);
                        while let Ok(stream) = TcpStream::connect_timeout(&address, patience) {
                            made.fetch_add(1, Ordering::SeqCst);
                            mine.push(stream);
                        }
                        mine
                    })
                })
                .collect();
            let mut taken = 0;
            while taken < 50 {
                listener.accept().await.unwrap();
                taken += 1;
            }
            listener.close(|_| taken += 1).await;
            drop(clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>());
            assert_eq!(taken, made.load(Ordering::SeqCst), "every connection was given away");
        }
    }
}
