//! One connection: its bytes, whether it is busy, and an end at which nothing in flight is lost.

use std::{
    future::Future as _,
    io,
    mem::MaybeUninit,
    net::TcpStream as StdTcpStream,
    os::unix::net::UnixStream as StdUnixStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::Notify,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

use super::body::Body;

/// What was accepted.
#[derive(Debug)]
pub(super) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What was accepted, between two threads: no runtime watches it.
#[derive(Debug)]
pub(super) enum Parked {
    Tcp(StdTcpStream),
    Unix(StdUnixStream),
}

impl Plain {
    /// Takes it out of this runtime, for another.
    pub(super) fn park(self) -> io::Result<Parked> {
        Ok(match self {
            Self::Tcp(stream) => Parked::Tcp(stream.into_std()?),
            Self::Unix(stream) => Parked::Unix(stream.into_std()?),
        })
    }
}

impl Parked {
    /// Puts it into this runtime.
    pub(super) fn unpark(self) -> io::Result<Plain> {
        Ok(match self {
            Self::Tcp(stream) => Plain::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Plain::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// What HTTP is spoken over.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(Plain),
    Tls(Box<TlsStream<Plain>>),
}

/// A connection that tells of its traffic, and that is closed so that the other side hears everything:
/// our end first, then what still arrives is thrown away until theirs. Closed at once, a connection
/// with unread bytes is reset, and the reset overtakes the answer.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    traffic: Arc<Traffic>,
    closing: Closing,
    /// How long a client may take nothing of what waits for it.
    patience: Duration,
    /// Since nothing is taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Closing {
    Not,
    /// For the other side's end, and no longer than so many bytes more.
    Waits(Pin<Box<Sleep>>, usize),
    Done,
}

impl Connection {
    pub(super) fn new(wire: Wire, traffic: Arc<Traffic>, patience: Duration) -> Self {
        Self { wire, traffic, closing: Closing::Not, patience, stalled: None }
    }

    /// Lets a write wait for the client as long as it has patience.
    fn waited<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What a connection is doing.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// How often something arrived.
    reads: AtomicU64,
    /// Requests whose answers have not ended.
    open: AtomicUsize,
    ended: Notify,
}

impl Traffic {
    /// Counts a request until the mark is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.open.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Waits until for a while no request was open and nothing has arrived. The first request of a
    /// client that has only connected is given more time than the next one of another.
    pub(super) async fn quiet(&self) {
        loop {
            let ended = self.ended.notified();
            if self.open.load(Ordering::Acquire) > 0 {
                ended.await;
                continue;
            }
            let reads = self.reads.load(Ordering::Relaxed);
            sleep(if reads == 0 { FIRST } else { NEXT }).await;
            let idle = self.open.load(Ordering::Acquire) == 0;
            if idle && reads == self.reads.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Marks a request as open.
#[derive(Debug)]
pub(super) struct Busy(Arc<Traffic>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Release) == 1 {
            self.0.ended.notify_one();
        }
    }
}

/// A body with the mark of its request.
pub(super) struct Answer {
    body: Body,
    _busy: Busy,
}

impl Answer {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.wire).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.traffic.reads.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire).poll_write(cx, bytes);
        self.waited(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire).poll_write_vectored(cx, pieces);
        self.waited(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.wire).poll_flush(cx);
        self.waited(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if matches!(this.closing, Closing::Not) {
            ready!(Pin::new(&mut this.wire).poll_shutdown(cx))?;
            this.closing = Closing::Waits(Box::pin(sleep(GOODBYE)), MOST_IGNORED);
        }
        let Closing::Waits(patience, left) = &mut this.closing else { return Poll::Ready(Ok(())) };
        let mut rest = [MaybeUninit::uninit(); 8192];
        while patience.as_mut().poll(cx).is_pending() {
            let mut rest = ReadBuf::uninit(&mut rest);
            match ready!(Pin::new(&mut this.wire).poll_read(cx, &mut rest)) {
                Ok(()) if (1..*left).contains(&rest.filled().len()) => *left -= rest.filled().len(),
                _ => break,
            }
        }
        this.closing = Closing::Done;
        Poll::Ready(Ok(()))
    }
}

/// Passes each call on to whichever it is.
macro_rules! both_ways {
    ($of:ty { $($variant:path),* }) => {
        impl AsyncRead for $of {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(stream) => Pin::new(stream).poll_read(cx, buffer),)*
                }
            }
        }

        impl AsyncWrite for $of {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(stream) => Pin::new(stream).poll_write(cx, bytes),)*
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                pieces: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),)*
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $($variant(stream) => stream.is_write_vectored(),)*
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(stream) => Pin::new(stream).poll_flush(cx),)*
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(stream) => Pin::new(stream).poll_shutdown(cx),)*
                }
            }
        }
    };
}

both_ways!(Plain { Plain::Tcp, Plain::Unix });
both_ways!(Wire { Wire::Plain, Wire::Tls });

/// How long a gateway that was told to stop waits for the first request of a connection, and for the
/// next one.
const FIRST: Duration = Duration::from_secs(3);
const NEXT: Duration = Duration::from_millis(500);

/// How long, after our last byte, a client's own end is waited for, and how much of what it still sends
/// is thrown away: the rest of a body that was too long, as a rule.
const GOODBYE: Duration = Duration::from_millis(500);
const MOST_IGNORED: usize = 64 << 20;
