//! A server that does as it is told, also badly.
//!
//! Plain TCP and threads, so that it can break what an HTTP library would keep whole. What it waits
//! for is a condition (a [`Gate`] that the test opens, a client that goes away), never a time.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How long anything is waited for before a test counts as hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lowercase.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Returns method and target.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// Returns a header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns the body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Holds a reply back until the test opens it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = lock(&self.0.0);
        drop(self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open));
    }
}

/// What is sent, piece by piece.
#[derive(Clone, Debug)]
enum Act {
    Head(String),
    Piece(Vec<u8>),
    Wait(Gate),
    /// Says nothing more until the client goes away.
    Hang,
    /// Closes in the middle.
    Close,
    /// Closes with data unread, so that the client sees a reset.
    Reset,
}

/// An answer, and how it goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    acts: Vec<Act>,
}

impl Reply {
    /// Begins an answer of a status whose body comes in pieces.
    pub(crate) fn new(status: u16, content_type: &str) -> Self {
        Self::with_headers(status, &[("content-type", content_type)])
    }

    /// Begins an answer with headers.
    pub(crate) fn with_headers(status: u16, headers: &[(&str, &str)]) -> Self {
        let mut head = format!("HTTP/1.1 {status} Said So\r\ntransfer-encoding: chunked\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        Self { acts: vec![Act::Head(head + "\r\n")] }
    }

    /// Begins a stream of server-sent events.
    pub(crate) fn sse() -> Self {
        Self::new(200, "text/event-stream")
    }

    /// Answers with JSON.
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::new(status, "application/json").piece(body)
    }

    /// Streams each text as an event, then the end of the toy protocol of `faulty`.
    pub(crate) fn says(texts: &[&str]) -> Self {
        texts.iter().fold(Self::sse(), |reply, text| reply.event(text)).event("[DONE]")
    }

    /// Says nothing at all.
    pub(crate) fn nothing() -> Self {
        Self { acts: Vec::new() }
    }

    /// Sends these bytes as they are, for what is no HTTP.
    pub(crate) fn raw(bytes: &str) -> Self {
        Self { acts: vec![Act::Head(bytes.to_owned())] }
    }

    pub(crate) fn piece(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.acts.push(Act::Piece(bytes.as_ref().to_vec()));
        self
    }

    pub(crate) fn event(self, data: &str) -> Self {
        self.piece(format!("data: {data}\n\n"))
    }

    pub(crate) fn wait(mut self, gate: &Gate) -> Self {
        self.acts.push(Act::Wait(gate.clone()));
        self
    }

    pub(crate) fn hang(mut self) -> Self {
        self.acts.push(Act::Hang);
        self
    }

    pub(crate) fn close(mut self) -> Self {
        self.acts.push(Act::Close);
        self
    }

    pub(crate) fn reset(mut self) -> Self {
        self.acts.push(Act::Reset);
        self
    }
}

/// A server on this machine, until it is dropped.
pub(crate) struct Upstream {
    address: SocketAddr,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Clone, Default)]
struct Seen {
    requests: Vec<Request>,
    opened: usize,
    closed: usize,
    over: bool,
}

impl Upstream {
    /// Listens on a free port; `answer` decides on each request.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (log, answer) = (Arc::<Log>::default(), Arc::new(answer));
        let shared = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&shared.seen).over {
                    return;
                }
                shared.note(|seen| seen.opened += 1);
                let (log, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                thread::spawn(move || {
                    // An error is a client that went away, which the next line notes.
                    let _ = serve(stream, &log, &*answer);
                    log.note(|seen| seen.closed += 1);
                });
            }
        });
        Self { address, log }
    }

    /// Listens and answers every request alike.
    pub(crate) fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone())
    }

    /// Returns the start of its URLs.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns its origin.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.log.seen).requests.clone()
    }

    /// Returns how many connections were ever opened.
    pub(crate) fn connections(&self) -> usize {
        lock(&self.log.seen).opened
    }

    /// Waits until so many requests came.
    pub(crate) fn wait_for_requests(&self, count: usize) {
        self.wait_until("requests", |seen| seen.requests.len() >= count);
    }

    /// Waits until the client closed so many connections.
    pub(crate) fn wait_for_closed(&self, count: usize) {
        self.wait_until("closed connections", |seen| seen.closed >= count);
    }

    fn wait_until(&self, what: &str, reached: impl Fn(&Seen) -> bool) {
        let seen = lock(&self.log.seen);
        let waited = self.log.changed.wait_timeout_while(seen, PATIENCE, |seen| !reached(seen));
        let (_seen, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "waited in vain for {what}");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        lock(&self.log.seen).over = true;
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Log {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut lock(&self.seen));
        self.changed.notify_all();
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Log,
    answer: &(dyn Fn(&Request) -> Reply + Send + Sync),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let (request, unread) = read_request(&mut stream)?;
        log.note(|seen| seen.requests.push(request.clone()));
        let reply = answer(&request);
        let chunked =
            matches!(reply.acts.first(), Some(Act::Head(head)) if head.contains("chunked"));
        if !reply.acts.iter().any(|act| matches!(act, Act::Reset)) {
            stream.read_exact(&mut vec![0; unread])?;
        }
        for act in reply.acts {
            match act {
                Act::Head(head) => stream.write_all(head.as_bytes())?,
                Act::Piece(bytes) if chunked => {
                    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
                    chunk.extend_from_slice(&bytes);
                    chunk.extend_from_slice(b"\r\n");
                    stream.write_all(&chunk)?;
                }
                Act::Piece(bytes) => stream.write_all(&bytes)?,
                Act::Wait(gate) => gate.wait(),
                Act::Hang => return stream.read(&mut [0]).map(drop),
                Act::Close | Act::Reset => return Ok(()),
            }
        }
        if !chunked {
            return Ok(());
        }
        stream.write_all(b"0\r\n\r\n")?;
    }
}

/// Reads a request but for its last byte, which is only looked at: how many are left to be read is
/// the second value. Closing with that byte unread resets the connection.
fn read_request(stream: &mut TcpStream) -> io::Result<(Request, usize)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut word = || first.next().unwrap_or_default().to_owned();
    let (method, target) = (word(), word());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    let mut unread = 0;
    if let Some((last, rest)) = body.split_last_mut() {
        stream.read_exact(rest)?;
        unread = stream.peek(std::slice::from_mut(last))?;
    }
    Ok((Request { method, target, headers, body }, unread))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
