//! A gateway that runs, and a client of it that speaks HTTP by hand, so that it can misbehave.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use crate::{
    harness::{Output, Running, Test},
    upstream::PATIENCE,
};

/// A running gateway; killed when it is dropped.
pub(crate) struct Gateway {
    running: Option<Running>,
    pub(crate) url: String,
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lowercase.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Gateway {
    /// Starts a gateway on a free port.
    pub(crate) fn start(test: &Test) -> Self {
        Self::start_with(test, &[])
    }

    pub(crate) fn start_with(test: &Test, more: &[&str]) -> Self {
        let args = ["serve", "--listen", "127.0.0.1:0"].into_iter().chain(more.iter().copied());
        Self::of(test.begin(args, ""))
    }

    /// Takes a gateway that was started some other way.
    pub(super) fn of(running: Running) -> Self {
        let url = running.first_line();
        assert!(url.contains(':'), "no gateway: {}", running.wait().stderr);
        Self { running: Some(running), url }
    }

    /// Returns its process.
    pub(super) fn process(&self) -> rustix::process::Pid {
        let id = self.running.as_ref().expect("it runs").id();
        rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap()
    }

    /// Returns how much memory it has, in KiB.
    pub(super) fn resident(&self) -> usize {
        let status = format!("/proc/{}/status", self.process().as_raw_nonzero());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits until it has said something in its log.
    pub(crate) fn wait_for_stderr(&self, text: &str) -> String {
        self.running.as_ref().expect("it runs").wait_for_stderr(text)
    }

    /// Ends it in whatever way, and returns how it ended.
    pub(super) fn killed_by(mut self, signal: rustix::process::Signal) -> Output {
        rustix::process::kill_process(self.process(), signal).unwrap();
        self.running.take().expect("it runs").wait()
    }

    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers, "")
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", path, &[], body)
    }

    /// Asks, and reads the answer to its end.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let mut connection = self.send(method, path, headers, body);
        connection.finish()
    }

    /// Asks, and leaves the answer to be read.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Connection {
        let connection = self.try_connect().unwrap();
        Self::write(connection, method, path, headers, body.as_ref())
    }

    fn write(
        mut connection: Connection,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Connection {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push_str("host: localhost\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        // A refusal may come, and the connection be closed, before a long body is sent.
        let _ = connection.stream.write_all(head.as_bytes());
        let _ = connection.stream.write_all(body);
        connection
    }

    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    pub(super) fn try_connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.url.trim_start_matches("http://"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, read: Vec::new() })
    }

    /// Returns its process.
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.running().terminate();
    }

    /// Stops it and returns what it said; it must end well.
    pub(crate) fn stop(self) -> Output {
        self.terminate();
        self.end()
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Output {
        self.running.take().expect("it runs").wait()
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn end(self) -> Output {
        let output = self.ended();
        assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
        output
    }
}

impl Drop for Gateway {
    /// Shows the gateway's log with a test that fails.
    fn drop(&mut self) {
        if let Some(running) = self.running.as_ref().filter(|_| std::thread::panicking()) {
            eprintln!("--- the gateway said\n{}", running.stderr_so_far());
        }
    }
}

/// A connection to a gateway.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// Reads until a text has come.
    #[track_caller]
    pub(crate) fn read_until(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&self.read).contains(text) {
            let read = self.stream.read(&mut buffer).unwrap();
            let so_far = String::from_utf8_lossy(&self.read);
            assert!(read > 0, "closed before {text:?} came: {so_far}");
            self.read.extend_from_slice(&buffer[..read]);
        }
    }

    /// Asks on a connection that stays open, and reads this answer alone.
    pub(super) fn ask_again(&mut self, path: &str, body: &str) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.read.clear();
        if self.stream.write_all(head.as_bytes()).is_err() {
            return Answer::default();
        }
        let mut buffer = [0; 4096];
        while !is_whole(&self.read) {
            match self.stream.read(&mut buffer) {
                Ok(read) if read > 0 => self.read.extend_from_slice(&buffer[..read]),
                _ => break,
            }
        }
        parse(&self.read)
    }

    /// Reads to the end of the connection.
    pub(crate) fn finish(&mut self) -> Answer {
        // A reset after the answer is one that came too early for our long body.
        let _ = self.stream.read_to_end(&mut self.read);
        parse(&self.read)
    }

    /// Goes away.
    pub(crate) fn leave(self) {
        self.stream.shutdown(Shutdown::Both).unwrap();
    }
}

/// Reports whether an answer has come to the end that it declares.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let answer = parse(bytes);
    let declared = answer.header("content-length").parse::<usize>();
    declared.map_or_else(|_| bytes.ends_with(b"\r\n0\r\n\r\n"), |n| bytes.len() >= end + 4 + n)
}

fn parse(bytes: &[u8]) -> Answer {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Answer::default();
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        body = dechunked(&body);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Answer { status: status.unwrap_or(0), headers, body }
}

fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        let data = bytes.get(end + 2..end + 2 + length).unwrap_or_default();
        whole.extend_from_slice(data);
        bytes = bytes.get(end + 2 + length + 2..).unwrap_or_default();
    }
    whole
}
