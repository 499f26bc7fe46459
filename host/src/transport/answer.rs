//! An answer from upstream: its head, and its body as it comes.

use std::{
    fmt::Write as _,
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use plugin_api::http::{Headers, TransportErrorKind};
use reqwest::Response;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::{AbortHandle, yield_now},
    time::{Instant, Sleep, sleep},
};

use super::{client::TransportError, origins::Origin};

/// An answer whose body is still coming. Dropping it closes the connection.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Headers,
    body: Incoming,
    idle: Duration,
    /// Ends when nothing came for so long. One for the whole answer: to move it to a later time takes
    /// no lock of the runtime's, a new one for each piece takes two.
    silence: Pin<Box<Sleep>>,
    origin: Origin,
}

/// A body that is being received.
#[derive(Debug)]
enum Incoming {
    /// Piece by piece, as it is asked for.
    Asked(Response),
    /// By a task of its own.
    Gathered(Gathered),
    Over,
}

/// A piece of a body, `None` at its end; or why it broke off.
type Piece = Result<Option<Bytes>, String>;

impl Answer {
    /// Begins to receive an answer, of which nothing may come for `idle` at most.
    pub(super) fn new(mut response: Response, origin: Origin, idle: Duration) -> Self {
        // Their values are views of the buffer that the head was read into, which they would keep as
        // long as the body comes.
        let headers = std::mem::take(response.headers_mut());
        Self {
            status: response.status().as_u16(),
            headers: read_headers(&headers),
            body: Incoming::Asked(response),
            idle,
            silence: Box::pin(sleep(idle)),
            origin,
        }
    }

    /// Waits for the next piece of the body; `None` at its end.
    ///
    /// Cancel-safe, and the silence counts on: who asks in vain and asks again, so as to do something
    /// else meanwhile, learns of it no later.
    ///
    /// # Errors
    ///
    /// [`TransportError`] when the connection breaks, or nothing comes for too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        let came = tokio::select! {
            biased;
            chunk = self.body.chunk() => Some(chunk),
            () = &mut self.silence => None,
        };
        match came {
            Some(Ok(chunk)) => {
                let until = Instant::now() + self.idle;
                self.silence.as_mut().reset(until);
                Ok(chunk)
            }
            Some(Err(error)) => Err(TransportError {
                kind: TransportErrorKind::Reset,
                message: format!("the connection to `{}` broke: {error}", self.origin),
                sent: true,
            }),
            None => Err(TransportError {
                kind: TransportErrorKind::Timeout,
                message: format!(
                    "nothing came from `{}` for {} s",
                    self.origin,
                    self.idle.as_secs_f32()
                ),
                sent: true,
            }),
        }
    }
}

impl Incoming {
    /// Cancel-safe.
    async fn chunk(&mut self) -> Piece {
        match self {
            Self::Asked(response) => {
                let piece = next(response).await;
                // Of a stream the first piece is waited for the most, so it is handed over alone.
                if let Ok(Some(_)) = piece
                    && response.content_length().is_none()
                    && let Self::Asked(response) = std::mem::replace(self, Self::Over)
                {
                    *self = Self::Gathered(Gathered::of(response));
                }
                piece
            }
            Self::Gathered(pieces) => {
                let piece = pieces.next().await;
                if let Ok(None) = piece {
                    *self = Self::Over;
                }
                piece
            }
            Self::Over => Ok(None),
        }
    }
}

async fn next(response: &mut Response) -> Piece {
    response.chunk().await.map_err(|error| chain(&error.without_url()))
}

/// A stream that a task reads, so that what came together is handed over together.
///
/// Events that a server wrote together are handed over one by one by the connection's task, which gets a
/// turn for each. Whoever waits for them would be asked as often, with all that lies between it and the
/// client; this task has nothing behind it.
#[derive(Debug)]
struct Gathered {
    pieces: Receiver<Piece>,
    task: AbortHandle,
}

impl Gathered {
    fn of(response: Response) -> Self {
        // One piece ahead of who takes them, and no further.
        let (sender, pieces) = channel(1);
        let task = tokio::spawn(gather(response, sender)).abort_handle();
        Self { pieces, task }
    }

    async fn next(&mut self) -> Piece {
        self.pieces.recv().await.unwrap_or_else(|| Err("its reader is gone".to_owned()))
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn gather(mut response: Response, pieces: Sender<Piece>) {
    while let Ok(room) = pieces.reserve().await {
        let (mut came, mut length) = (Vec::new(), 0);
        let mut piece = next(&mut response).await;
        while let Ok(Some(bytes)) = &mut piece {
            length += bytes.len();
            came.push(std::mem::take(bytes));
            if length >= FULL {
                break;
            }
            // The connection's turn.
            yield_now().await;
            let more = poll_fn(|cx| Poll::Ready(pin!(next(&mut response)).poll(cx))).await;
            let Poll::Ready(more) = more else { break };
            piece = more;
        }
        match came.as_mut_slice() {
            [] => return room.send(piece),
            [one] => room.send(Ok(Some(std::mem::take(one)))),
            several => room.send(Ok(Some(several.concat().into()))),
        }
        if !matches!(piece, Ok(Some(_))) {
            let _ = pieces.send(piece).await;
            return;
        }
    }
}

/// At this many bytes, pieces that came together are handed over although more may be there.
const FULL: usize = 16 * 1024;

fn read_headers(headers: &HeaderMap) -> Headers {
    let read = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Headers(headers.iter().map(read).collect())
}

/// Writes an error and its causes in one line, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plugin_api::http::HttpRequest;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        task::JoinHandle,
        time::timeout,
    };

    use super::*;
    use crate::{
        config::Timeouts,
        transport::{Route, Transport},
    };

    /// Answers one request with these bytes, and keeps the connection until the client has had enough.
    async fn answering(bytes: Vec<u8>) -> (String, JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
            }
            stream.write_all(&bytes).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        (url, server)
    }

    async fn asked(url: &str, timeouts: Timeouts) -> Answer {
        let route = Route { origins: vec![Origin::parse(url).unwrap()], ..Route::default() };
        let transport = Arc::new(Transport::new(timeouts));
        transport.send(Arc::new(route), HttpRequest::get(url), Bytes::new(), None).await.unwrap()
    }

    #[tokio::test]
    async fn silence_counts_on_for_who_asks_again() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome";
        let (url, server) = answering(head.to_vec()).await;
        let mut answer = asked(&url, Timeouts { idle_ms: 200, ..Timeouts::default() }).await;
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "some");
        let told = async {
            loop {
                if let Ok(told) = timeout(Duration::from_millis(20), answer.chunk()).await {
                    return told;
                }
            }
        };
        let error = timeout(Duration::from_secs(20), told).await.unwrap().unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Timeout);
        drop(answer);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn what_came_together_is_handed_over_together_but_for_the_first() {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for at in 0..64 {
            bytes.extend_from_slice(format!("3\r\n{at:02},\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let (url, server) = answering(bytes).await;
        let (mut answer, mut pieces) = (asked(&url, Timeouts::default()).await, Vec::new());
        while let Some(piece) = answer.chunk().await.unwrap() {
            pieces.push(String::from_utf8(piece.to_vec()).unwrap());
        }
        let whole: String = (0..64).map(|at| format!("{at:02},")).collect();
        assert_eq!((&*pieces[0], pieces.concat()), ("00,", whole));
        assert!(pieces.len() < 8, "{pieces:?}");
        assert_eq!(answer.chunk().await, Ok(None), "the end stays the end");
        drop(answer);
        server.abort();
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_says_so_after_what_came() {
        let bytes =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\nno";
        let (url, server) = answering(bytes.to_vec()).await;
        let mut answer = asked(&url, Timeouts::default()).await;
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "one");
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "two");
        let error = answer.chunk().await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Reset);
        assert_eq!(answer.chunk().await.unwrap_err().kind, TransportErrorKind::Reset);
        server.abort();
    }

    #[tokio::test]
    async fn a_connection_is_closed_with_the_answer() {
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
        let (url, server) = answering(bytes.to_vec()).await;
        let mut answer = asked(&url, Timeouts::default()).await;
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "one");
        drop(answer);
        // It reads to the end of the connection.
        timeout(Duration::from_secs(20), server).await.unwrap().unwrap();
    }
}
