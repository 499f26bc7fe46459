//! Reads server-sent events from bytes that may be cut anywhere.
//!
//! [`SseParser`] follows the WHATWG rules for event streams and departs from them once: an event
//! that lacks its final blank line is still delivered by [`SseParser::finish`], because several
//! servers forget that line.
//!
//! ```
//! use std::ops::ControlFlow;
//! use plugin_api::kit::sse::{SseParser, is_done};
//!
//! let mut parser = SseParser::new();
//! let mut text = String::new();
//! // The cuts fall inside a field name and between the two bytes of `é`.
//! for chunk in [&b"data: caf\xC3"[..], b"\xA9\n\nda", b"ta: [DONE]\n\n"] {
//!     let flow = parser.feed(chunk, |event| {
//!         if is_done(event.data) {
//!             return ControlFlow::Break(());
//!         }
//!         text.push_str(event.data);
//!         ControlFlow::Continue(())
//!     })?;
//!     if flow.is_break() {
//!         break;
//!     }
//! }
//! assert_eq!(text, "café");
//! # Ok::<(), plugin_api::kit::sse::SseError>(())
//! ```
//!
//! # Errors outside the framing
//!
//! Some servers (Gemini, Ollama) report a failure in mid-stream as bare JSON without `data:`, often
//! spread over several lines. To the standard these are unknown fields, to be ignored; the parser
//! ignores them as events, but keeps a bounded copy of each **stray document**: text that opens with
//! `{` or `[` at the start of a line, up to the bracket that closes it. A decoder learns of the
//! error the moment its last bracket arrives, without waiting for a line end or the end of input,
//! if it asks after every `feed`, and before it acts on the end of the stream:
//!
//! ```
//! use std::ops::ControlFlow;
//! use plugin_api::kit::sse::SseParser;
//!
//! let mut parser = SseParser::new();
//! for chunk in ["data: Hel\r\n\r\n{\r\n  \"error\": {", "\r\n\"code\": 503 }", "\r\n}"] {
//!     assert!(!parser.stray_is_whole());
//!     parser.feed(chunk.as_bytes(), |_| ControlFlow::Continue(()))?;
//! }
//! assert!(parser.stray_is_whole());
//! assert_eq!(parser.take_stray(), b"{\n  \"error\": {\n\"code\": 503 }\n}");
//! # Ok::<(), plugin_api::kit::sse::SseError>(())
//! ```
//!
//! After `finish` any remaining [`SseParser::stray`] is a document cut short. Not every stray
//! document is JSON (`[INFO] ready`) or an error, so parse it before you believe it.

mod stray;

use std::{error, fmt, mem, ops::ControlFlow};

use self::stray::Stray;

/// An incremental parser of one server-sent event stream.
///
/// Feed it the body of one response in order; the result does not depend on where the bytes are
/// cut. Its buffers are reused from event to event.
#[derive(Debug)]
pub struct SseParser {
    limit: usize,
    /// How many bytes of a leading byte order mark were seen; all of them once it cannot be one.
    bom: usize,
    /// The last line ended in CR, so an LF that comes next belongs to it.
    after_cr: bool,
    /// What the line being received is; `line` holds its bytes so far, if they are needed.
    kind: Kind,
    line: Vec<u8>,
    /// The data lines of the pending event, each with its LF: empty only if there was none.
    data: String,
    event: String,
    id: String,
    retry_ms: Option<u64>,
    stray: Stray,
    stopped: bool,
    failed: bool,
}

/// One event, borrowed from the parser for the length of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The event's type, `message` unless the stream names another.
    pub event: &'a str,
    /// The payload, its lines joined by LF. It can be empty.
    pub data: &'a str,
    /// The last id the stream set, in this event or an earlier one; empty if none.
    pub id: &'a str,
}

/// What stands in a stream.
pub(super) enum Item<'a> {
    /// An event.
    Event(SseEvent<'a>),
    /// A stray document.
    Stray(&'a [u8]),
}

/// Why a stream could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SseError {
    /// One event needs more memory than the parser may hold.
    TooLarge {
        /// The bound that was exceeded, in bytes.
        limit: usize,
    },
}

/// Reports whether `data` marks the end of an OpenAI-style stream: `[DONE]`, after any white space
/// and whatever follows it.
#[must_use]
pub fn is_done(data: &str) -> bool {
    data.trim_start().starts_with("[DONE]")
}

impl SseParser {
    /// Creates a parser that holds at most [`DEFAULT_LIMIT`] bytes for one event.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// Creates a parser that holds at most `limit` bytes for one event.
    ///
    /// Fields count with their names; comments and unknown fields are not held and do not count.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            bom: 0,
            after_cr: false,
            kind: Kind::Undecided,
            line: Vec::new(),
            data: String::new(),
            event: String::new(),
            id: String::new(),
            retry_ms: None,
            stray: Stray::new(limit.min(STRAY_LIMIT)),
            stopped: false,
            failed: false,
        }
    }

    /// Takes the next bytes of the stream and calls `each` for every event they complete.
    ///
    /// When `each` returns `Break` the stream is over for this parser: the rest of `bytes` and
    /// whatever is fed later are dropped, and every later call answers `Break`.
    ///
    /// # Errors
    ///
    /// [`SseError::TooLarge`] if one event exceeds the limit. Events before it were delivered; the
    /// parser stays failed.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(SseEvent<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SseError> {
        self.feed_items::<false>(bytes, |item| match item {
            Item::Event(event) => each(event),
            Item::Stray(_) => ControlFlow::Continue(()),
        })
    }

    /// Takes the next bytes as [`feed`](Self::feed) does; with `STRAY` it also hands over each stray
    /// document when the line that makes it whole ends.
    ///
    /// At the end of a line and not at the last bracket, so that what follows on the same line cannot
    /// count for more in one chunk than in two.
    pub(super) fn feed_items<const STRAY: bool>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Item<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SseError> {
        self.check()?;
        if self.stopped {
            return Ok(ControlFlow::Break(()));
        }
        let mut rest = self.skip_bom(bytes);
        while let Some(&first) = rest.first() {
            if mem::take(&mut self.after_cr) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(at) = find(rest, |byte| byte == b'\n' || byte == b'\r') else {
                self.absorb(rest)?;
                break;
            };
            let line = &rest[..at];
            self.after_cr = rest[at] == b'\r';
            rest = &rest[at + 1..];
            if self.is_mid_line() || !line.is_empty() {
                self.end_line(line)?;
                if STRAY && self.stray_is_whole() {
                    let document = self.take_stray();
                    if each(Item::Stray(&document)).is_break() {
                        self.stopped = true;
                        return Ok(ControlFlow::Break(()));
                    }
                }
            } else if self.dispatch(&mut |event| each(Item::Event(event))).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Ends the input, delivering a pending event whose final blank line never came.
    ///
    /// Such an event may have been cut short, so a decoder that fails to parse its data should
    /// report a truncated stream. Without data nothing is delivered. Bytes fed later are dropped.
    ///
    /// # Errors
    ///
    /// As [`feed`](Self::feed).
    pub fn finish(
        &mut self,
        mut each: impl FnMut(SseEvent<'_>) -> ControlFlow<()>,
    ) -> Result<(), SseError> {
        self.check()?;
        if self.stopped {
            return Ok(());
        }
        // A stray line ends where it was cut: its text stays as it arrived.
        if self.is_mid_line() && self.kind != Kind::Stray {
            self.end_line(&[])?;
        }
        if self.data.len() > "\n".len() {
            let _ = self.dispatch(&mut each);
        }
        self.stopped = true;
        Ok(())
    }

    /// Returns the reconnection time the stream last asked for.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Returns the stray documents received so far, the last one as far as it has arrived.
    ///
    /// Line ends inside are LF, and an LF stands between documents. At most 1 MiB is kept, or the
    /// parser's limit if that is lower; the rest is dropped. See the [module](self) on when to look.
    #[must_use]
    pub fn stray(&self) -> &[u8] {
        self.stray.text()
    }

    /// Reports whether there are stray documents and the last of them can grow no more: its
    /// brackets are balanced, a standard field cut it short, or the space is used up.
    #[must_use]
    pub fn stray_is_whole(&self) -> bool {
        self.stray.is_whole()
    }

    /// Takes the stray documents out of the parser, which begins afresh.
    ///
    /// Call it when [`stray_is_whole`](Self::stray_is_whole) or at the end; the remainder of a
    /// document that is taken too early is collected, but makes no sense alone.
    #[must_use]
    pub fn take_stray(&mut self) -> Vec<u8> {
        self.stray.take()
    }

    fn check(&self) -> Result<(), SseError> {
        if self.failed { Err(SseError::TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    fn is_mid_line(&self) -> bool {
        self.kind != Kind::Undecided || !self.line.is_empty()
    }

    fn skip_bom<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut rest = bytes;
        while self.bom < BOM.len()
            && let Some((&first, tail)) = rest.split_first()
        {
            if first == BOM[self.bom] {
                self.bom += 1;
                rest = tail;
            } else {
                // A partial mark is the start of a field name, and of none that we know.
                if self.bom > 0 {
                    self.kind = Kind::Skip;
                }
                self.bom = BOM.len();
            }
        }
        rest
    }

    /// Takes a part of a line whose end is not in sight.
    fn absorb(&mut self, piece: &[u8]) -> Result<(), SseError> {
        let mut piece = piece;
        if self.kind == Kind::Undecided {
            // One byte past the longest name settles what the line is; hold no more until then.
            let (head, tail) = piece.split_at(piece.len().min(LONGEST_NAME + 1 - self.line.len()));
            self.line.extend_from_slice(head);
            piece = tail;
            self.kind = self.classify(&self.line);
            if self.kind == Kind::Stray {
                self.stray.push(&self.line);
            }
            if matches!(self.kind, Kind::Stray | Kind::Skip) {
                self.line.clear();
            }
        }
        match self.kind {
            Kind::Field => {
                self.admit(self.line.len() + piece.len())?;
                self.line.extend_from_slice(piece);
            }
            Kind::Stray => self.stray.push(piece),
            Kind::Undecided | Kind::Skip => {}
        }
        Ok(())
    }

    /// Takes the last part of a line, often all of it: then nothing passes through `line`.
    fn end_line(&mut self, piece: &[u8]) -> Result<(), SseError> {
        if self.is_mid_line() {
            self.absorb(piece)?;
            match mem::replace(&mut self.kind, Kind::Undecided) {
                Kind::Undecided | Kind::Field => {
                    let mut line = mem::take(&mut self.line);
                    let result = self.field(&line);
                    line.clear();
                    self.line = line;
                    return result;
                }
                Kind::Stray => self.stray.end_line(),
                Kind::Skip => {}
            }
            return Ok(());
        }
        match self.classify(piece) {
            Kind::Undecided | Kind::Field => return self.field(piece),
            Kind::Stray => {
                self.stray.push(piece);
                self.stray.end_line();
            }
            Kind::Skip => {}
        }
        Ok(())
    }

    /// Tells what a line is from its first bytes, as soon as they allow.
    fn classify(&self, line: &[u8]) -> Kind {
        match line.first() {
            None => Kind::Undecided,
            Some(b'd' | b'e' | b'i' | b'r') => {
                for name in NAMES {
                    if name.starts_with(line) {
                        return Kind::Undecided;
                    }
                    if line.strip_prefix(name).is_some_and(|rest| rest[0] == b':') {
                        return Kind::Field;
                    }
                }
                Kind::Skip
            }
            Some(b':') => Kind::Skip,
            Some(b'{' | b'[' | b' ' | b'\t') => Kind::Stray,
            Some(_) if self.stray.is_open() => Kind::Stray,
            Some(_) => Kind::Skip,
        }
    }

    /// Acts on a complete line that may be a standard field.
    fn field(&mut self, line: &[u8]) -> Result<(), SseError> {
        let (name, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        if !NAMES.contains(&name) {
            return Ok(());
        }
        self.admit(line.len())?;
        self.stray.close();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                push_text(&mut self.data, value);
                self.data.push('\n');
            }
            b"event" => {
                self.event.clear();
                push_text(&mut self.event, value);
            }
            b"id" if !value.contains(&0) => {
                self.id.clear();
                push_text(&mut self.id, value);
            }
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let time = str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                self.retry_ms = time.or(self.retry_ms);
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks that `more` bytes may be held. The sum does not depend on how the line was cut.
    fn admit(&mut self, more: usize) -> Result<(), SseError> {
        let held = self.data.len() + self.event.len() + self.id.len();
        if held + more > self.limit {
            self.failed = true;
            (self.line, self.data) = (Vec::new(), String::new());
        }
        self.check()
    }

    fn dispatch(
        &mut self,
        each: &mut impl FnMut(SseEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        if let Some(data) = self.data.strip_suffix('\n') {
            let event = if self.event.is_empty() { "message" } else { &self.event };
            flow = each(SseEvent { event, data, id: &self.id });
            self.stopped = flow.is_break();
            self.data.clear();
        }
        self.event.clear();
        flow
    }
}

impl Default for SseParser {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for SseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => {
                write!(f, "a server-sent event exceeds the limit of {limit} bytes")
            }
        }
    }
}

impl error::Error for SseError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its first bytes may still become a standard field.
    Undecided,
    Field,
    /// Part of a stray document, or white space that may lead to one.
    Stray,
    /// A comment or an unknown field.
    Skip,
}

/// Finds the first byte that `is` accepts. Whole blocks are tested at once, without a branch per
/// byte, which the compiler turns into vector instructions.
pub(super) fn find(bytes: &[u8], is: impl Fn(u8) -> bool) -> Option<usize> {
    let mut start = 0;
    for block in bytes.chunks_exact(32) {
        if block.iter().fold(false, |found, &byte| found | is(byte)) {
            break;
        }
        start += block.len();
    }
    bytes[start..].iter().position(|&byte| is(byte)).map(|at| start + at)
}

fn push_text(to: &mut String, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => to.push_str(text),
        Err(_) => to.push_str(&String::from_utf8_lossy(bytes)),
    }
}

/// What [`SseParser::new`] allows one event to hold, in bytes: 16 MiB, room for an inline image.
pub const DEFAULT_LIMIT: usize = 16 << 20;

const STRAY_LIMIT: usize = 1 << 20;
const BOM: &[u8] = b"\xEF\xBB\xBF";
const NAMES: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];
const LONGEST_NAME: usize = 5;

#[cfg(test)]
mod tests;
