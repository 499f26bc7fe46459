//! The listener for the redirect on this machine (RFC 8252).
//!
//! Anybody on this machine, and any page in the user's browser, can reach it. So only the one
//! request that carries this login's state ends the attempt; all others get a page that says no and
//! change nothing. After that request nothing listens any more: a code that is played again finds a
//! closed port.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};

use crate::oauth::{
    callback::{Callback, CallbackError, Expected},
    page::Page,
};

/// A port that waits for the redirect.
#[derive(Debug)]
pub(crate) struct Loopback {
    listener: TcpListener,
    host: String,
    path: String,
    port: u16,
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoopbackError {
    /// The vendor allows some ports only, and all are taken.
    #[error("every port that the vendor allows for the redirect is taken: {}", listed(.ports))]
    PortsTaken {
        /// The ports.
        ports: Vec<u16>,
    },
    /// A port of the scheme is none.
    #[error("the plugin names a redirect port that is none: `{found}`")]
    NoPort {
        /// What it names.
        found: String,
    },
    /// The system gives no port.
    #[error("failed to listen on 127.0.0.1")]
    Listen(#[source] io::Error),
}

fn listed(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

impl LoopbackError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::PortsTaken { .. } => {
                "end the program that uses one of them (another login, most likely), or log in \
                 with `--device` or `--paste`"
                    .into()
            }
            Self::NoPort { .. } => "tell the author of the plugin".into(),
            Self::Listen(_) => "log in with `--device` or `--paste`".into(),
        }
    }
}

/// The answer to the login, and the browser that waits to be told how it went.
pub(crate) struct Answered {
    /// What came; an error is the vendor's own refusal.
    pub(crate) callback: Result<Callback, CallbackError>,
    /// Who brought it.
    pub(crate) browser: Browser,
}

/// A browser that waits for its page.
pub(crate) struct Browser(TcpStream);

impl Loopback {
    /// Listens on the first free port of `ports`, or on any if there are none.
    pub(crate) async fn bind(
        host: &str,
        path: &str,
        ports: &[String],
    ) -> Result<Self, LoopbackError> {
        let listener = listen(ports).await?;
        let port = listener.local_addr().map_err(LoopbackError::Listen)?.port();
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        let path = if path.is_empty() { "/callback" } else { path };
        Ok(Self { listener, host: host.to_owned(), path: path.to_owned(), port })
    }

    /// Returns the address that the vendor sends the browser to.
    pub(crate) fn redirect_uri(&self) -> String {
        format!("http://{}:{}{}", self.host, self.port, self.path)
    }

    /// Waits for the answer to this login. `refused` hears of answers that are not.
    pub(crate) async fn wait(
        self,
        expected: Expected,
        refused: impl Fn(&CallbackError),
    ) -> Answered {
        let (found, mut finds) = mpsc::channel(1);
        let (noticed, mut notices) = mpsc::channel(MAX_CONNECTIONS);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let desk =
            Arc::new(Desk { expected, path: self.path, port: self.port, found, noticed, places });
        let mut visits = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                Some(answered) = finds.recv() => return answered,
                Some(error) = notices.recv() => refused(&error),
                accepted = self.listener.accept() => {
                    // Out of descriptors, or a client that is gone already: the next one may do.
                    let Ok((stream, _)) = accepted else {
                        tokio::time::sleep(BREATH).await;
                        continue;
                    };
                    // Beyond that many at once, nobody is a browser that ends a login.
                    let Ok(place) = Arc::clone(&desk.places).try_acquire_owned() else { continue };
                    let desk = Arc::clone(&desk);
                    visits.spawn(async move {
                        let _place = place;
                        desk.serve(stream).await;
                    });
                }
                Some(_) = visits.join_next() => {}
            }
        }
    }
}

async fn listen(ports: &[String]) -> Result<TcpListener, LoopbackError> {
    if ports.is_empty() {
        return TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(LoopbackError::Listen);
    }
    let mut taken = Vec::new();
    for text in ports {
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| LoopbackError::NoPort { found: text.clone() })?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok(listener),
            Err(_) => taken.push(port),
        }
    }
    Err(LoopbackError::PortsTaken { ports: taken })
}

impl Browser {
    /// Shows the page. A browser that is gone has nothing to be told.
    pub(crate) async fn show(self, page: &Page) {
        say(self.0, page, true).await;
    }
}

/// What every visit needs.
struct Desk {
    expected: Expected,
    path: String,
    port: u16,
    found: mpsc::Sender<Answered>,
    noticed: mpsc::Sender<CallbackError>,
    places: Arc<Semaphore>,
}

impl Desk {
    async fn serve(&self, mut stream: TcpStream) {
        let Ok(Some(head)) = timeout(HEAD_PATIENCE, read_head(&mut stream)).await else {
            // Too slow, too long, or gone.
            return;
        };
        let (page, with_body) = match self.read(&head) {
            Visit::Answer(callback) => {
                let browser = Browser(stream);
                // Full only when another answer came first; this browser then sees it closed.
                let _ = self.found.try_send(Answered { callback, browser });
                return;
            }
            Visit::Wrong(error) => {
                let page = Page::refused(400, &error.to_string());
                let _ = self.noticed.try_send(error);
                (page, true)
            }
            Visit::Other(page, with_body) => (page, with_body),
        };
        say(stream, &page, with_body).await;
    }

    fn read(&self, head: &[u8]) -> Visit {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let no = |status, why| Visit::Other(Page::refused(status, why), true);
        if !matches!(request.parse(head), Ok(httparse::Status::Complete(_))) {
            return no(400, "this is no request that a browser sends");
        }
        let (method, target) =
            (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        if !self.is_for_us(request.headers) {
            // A page of another site whose name was made to point here.
            return no(421, "this address is another one's");
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path != self.path {
            return no(404, "there is nothing here");
        }
        match method {
            "GET" => match self.expected.read(query) {
                Ok(callback) => Visit::Answer(Ok(callback)),
                Err(error) if error.is_final() => Visit::Answer(Err(error)),
                Err(error) => Visit::Wrong(error),
            },
            // Link checkers look first; that must not use up the code.
            "HEAD" => Visit::Other(Page::refused(200, "the login is still open"), false),
            _ => no(405, "this page is only for reading"),
        }
    }

    fn is_for_us(&self, headers: &[httparse::Header<'_>]) -> bool {
        let mut hosts = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let ours = |name: &str| host.value == format!("{name}:{}", self.port).as_bytes();
        ours("127.0.0.1") || ours("localhost") || self.port == 80
    }
}

enum Visit {
    /// The answer to this login.
    Answer(Result<Callback, CallbackError>),
    /// An answer, but not to this login.
    Wrong(CallbackError),
    /// Something else; the login goes on.
    Other(Page, bool),
}

/// Reads to the blank line; `None` when there is none within bounds.
async fn read_head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::with_capacity(2048);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return None;
        }
        let room = MAX_HEAD - head.len();
        match (&mut *stream).take(room as u64).read_buf(&mut head).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
    Some(head)
}

async fn say(mut stream: TcpStream, page: &Page, with_body: bool) {
    let told = timeout(TELL_PATIENCE, async {
        stream.write_all(&page.http(with_body)).await?;
        stream.shutdown().await?;
        // Closing with bytes unread would reset the connection before the page is shown.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    });
    // A client that went away, or does not read, is not worth a word.
    drop(told.await);
}

/// Longest head of a request; codes of some vendors are a few thousand bytes.
const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 96;
/// Most visitors at once.
const MAX_CONNECTIONS: usize = 16;
/// How long to wait after a visitor could not be let in.
const BREATH: Duration = Duration::from_millis(50);
/// How long a visitor may take to say what it wants.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a visitor may take to read a page.
const TELL_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn expected() -> Expected {
        Expected { state: "st".into(), issuer: None, issuer_required: false }
    }

    async fn visit(port: u16, head: String) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn get(port: u16, target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n")
    }

    #[tokio::test]
    async fn only_the_answer_to_this_login_ends_it() {
        let loopback = Loopback::bind("", "", &[]).await.unwrap();
        let port = loopback.port;
        assert_eq!(loopback.redirect_uri(), format!("http://127.0.0.1:{port}/callback"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let waiting = tokio::spawn(async move {
            loopback.wait(expected(), |error| ear.lock().unwrap().push(error.clone())).await
        });
        let foreign = |head: &str| format!("{head}\r\n\r\n");
        for (head, status) in [
            (get(port, "/favicon.ico"), 404),
            (get(port, "/callback?code=c&state=other"), 400),
            (get(port, "/callback?error=access_denied&state=other"), 400),
            (get(port, "/callback"), 400),
            (get(port, "/callback?code=c&state=st").replace("GET", "POST"), 405),
            (get(port, "/callback?code=c&state=st").replace("GET", "HEAD"), 200),
            (get(port, "/callback?code=c&state=st").replace("127.0.0.1", "evil.test"), 421),
            (foreign("GET /callback?code=c&state=st HTTP/1.1"), 421),
            (foreign("nonsense"), 400),
        ] {
            let answer = visit(port, head.clone()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        }
        // One that says nothing, one that never ends.
        let silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let mut endless = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        endless.write_all(&vec![b'a'; MAX_HEAD + 1]).await.unwrap();
        let right = tokio::spawn(visit(port, get(port, "/callback?code=c-1&state=st&iss=whoever")));
        let answered = waiting.await.unwrap();
        assert_eq!(answered.callback.ok().unwrap().code.expose_secret(), "c-1");
        assert_eq!(heard.lock().unwrap()[..], [const { CallbackError::State }; 3]);
        // Nothing listens any more: the same code again finds a closed port.
        let again = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        answered.browser.show(&Page::done("acme:work@oauth", None)).await;
        assert!(right.await.unwrap().contains("You are logged in"));
        drop(silent);
    }

    #[tokio::test]
    async fn a_refusal_ends_it_and_a_browser_that_is_gone_does_no_harm() {
        let loopback = Loopback::bind("localhost", "/auth/callback", &[]).await.unwrap();
        let port = loopback.port;
        assert_eq!(loopback.redirect_uri(), format!("http://localhost:{port}/auth/callback"));
        let waiting = tokio::spawn(loopback.wait(expected(), |_| ()));
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let head = get(port, "/auth/callback?error=access_denied&state=st");
        stream.write_all(head.replace("127.0.0.1", "localhost").as_bytes()).await.unwrap();
        drop(stream);
        let answered = waiting.await.unwrap();
        let error = answered.callback.map(drop).unwrap_err();
        assert!(matches!(error, CallbackError::Refused { .. }));
        answered.browser.show(&Page::failed(&error.to_string())).await;
    }

    #[tokio::test]
    async fn the_next_allowed_port_is_taken_and_none_left_is_named() {
        let first = Loopback::bind("", "", &[]).await.unwrap();
        let second = Loopback::bind("", "", &[]).await.unwrap();
        let ports = [first.port, second.port].map(|port| port.to_string());
        let error = Loopback::bind("", "", &ports).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "every port that the vendor allows for the redirect is taken: {}, {}",
                first.port, second.port
            )
        );
        assert!(error.hint().contains("--device"));
        drop(second);
        assert!(Loopback::bind("", "", &ports).await.is_ok());
        let error = Loopback::bind("", "", &["0".into()]).await.unwrap_err();
        assert!(matches!(error, LoopbackError::NoPort { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_that_says_nothing_is_sent_away() {
        let loopback = Loopback::bind("", "", &[]).await.unwrap();
        let port = loopback.port;
        let waiting = tokio::spawn(loopback.wait(expected(), |_| ()));
        let mut slow = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        slow.write_all(b"GET / HTT").await.unwrap();
        // The paused clock moves on by itself; the visitor sees the end of the connection.
        assert_eq!(slow.read(&mut [0; 16]).await.unwrap_or(0), 0);
        waiting.abort();
    }
}
