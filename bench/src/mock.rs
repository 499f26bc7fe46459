//! The vendor: answers of OpenAI's chat completions, written beforehand.
//!
//! What is asked for stands in the model's name. It reads no more of a request than it must, so that
//! it is never what others wait for.

use std::{
    fmt::Write as _,
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval_at},
};

/// Events of the model `burst`, written at once.
pub(crate) const BURST: usize = 64;

/// Events of the model `long`, written one by one.
pub(crate) const LONG: usize = 2_000;

/// How far apart the events of the model `slow` are; they never end.
pub(crate) const PACE: Duration = Duration::from_millis(100);

/// What stands before the time, in microseconds, at which an event was written.
pub(crate) const SENT: &str = "sent=";

/// Listens, says where, and answers until it is ended.
pub(crate) async fn run() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let answers = Arc::new(Answers::new());
    loop {
        let (stream, _) = listener.accept().await?;
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            // Who goes away has had enough.
            let _ = serve(stream, &answers).await;
        });
    }
}

/// What is answered, as it goes over the wire.
struct Answers {
    small: Vec<u8>,
    small_stream: Vec<u8>,
    burst: Vec<u8>,
    models: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let small = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"The capital of France is Paris.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":14,"completion_tokens":8,"total_tokens":22},"system_fingerprint":"fp_1"}"#;
        let models = r#"{"object":"list","data":[{"id":"small","object":"model"}]}"#;
        Self {
            small: whole(small),
            small_stream: stream(1),
            burst: stream(BURST),
            models: whole(models),
        }
    }
}

async fn serve(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(8 * 1024);
    loop {
        let Some(length) = request(&mut stream, &mut buffer).await? else { return Ok(()) };
        let asked = &buffer[..length];
        let streamed = has(asked, b"\"stream\":true") || has(asked, b"\"stream\": true");
        if asked.starts_with(b"GET") {
            stream.write_all(&answers.models).await?;
        } else if has(asked, b"\"burst\"") {
            stream.write_all(&answers.burst).await?;
        } else if has(asked, b"\"long\"") {
            long(&mut stream).await?;
        } else if has(asked, b"\"slow\"") {
            return slow(&mut stream).await;
        } else if streamed {
            stream.write_all(&answers.small_stream).await?;
        } else {
            stream.write_all(&answers.small).await?;
        }
        buffer.drain(..length);
    }
}

/// Reads until a whole request is in the buffer and returns its length; nothing at the end.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(head) = find(buffer, b"\r\n\r\n") {
            let length = head + 4 + content_length(&buffer[..head]).unwrap_or(0);
            if buffer.len() >= length {
                return Ok(Some(length));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

async fn long(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(STREAM_HEAD.as_bytes()).await?;
    let event = chunk(&delta(" word"));
    for _ in 0..LONG {
        stream.write_all(event.as_bytes()).await?;
        // Others write too meanwhile.
        tokio::task::yield_now().await;
    }
    stream.write_all(end().as_bytes()).await
}

async fn slow(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(STREAM_HEAD.as_bytes()).await?;
    let first = tokio::time::Instant::now() + PACE;
    let mut ticks = interval_at(first, PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let event = chunk(&delta(&format!(" {SENT}{};", now_us())));
        stream.write_all(event.as_bytes()).await?;
        ticks.tick().await;
    }
}

/// Returns the time in microseconds, the same clock for all processes.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn whole(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn stream(events: usize) -> Vec<u8> {
    let mut text = STREAM_HEAD.to_owned();
    for _ in 0..events {
        text += &chunk(&delta(" word"));
    }
    (text + &end()).into_bytes()
}

const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn delta(text: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"m","system_fingerprint":"fp_1","choices":[{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":null}}]}}"#
    )
}

fn end() -> String {
    let head =
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"m","#;
    let finish =
        format!(r#"{head}"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}"#);
    let usage =
        r#""choices":[],"usage":{"prompt_tokens":14,"completion_tokens":8,"total_tokens":22}}"#;
    chunk(&finish) + &chunk(&format!("{head}{usage}")) + &chunk("[DONE]") + "0\r\n\r\n"
}

/// Makes an event, in a chunk of its own.
fn chunk(data: &str) -> String {
    let mut text = String::new();
    let event = format!("data: {data}\n\n");
    // Writing to a string does not fail.
    let _ = write!(text, "{:x}\r\n{event}\r\n", event.len());
    text
}

/// Returns the declared length of a body, by its header's name in any case.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    let lines = head.split(|byte| *byte == b'\n');
    let mut values = lines.filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(at);
        name.eq_ignore_ascii_case(b"content-length").then_some(&value[1..])
    });
    std::str::from_utf8(values.next()?).ok()?.trim().parse().ok()
}

/// Finds bytes in others.
pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    find(bytes, wanted).is_some()
}
