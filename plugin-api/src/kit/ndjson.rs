//! Reads newline-delimited JSON from bytes that may be cut anywhere.
//!
//! [`NdjsonParser`] finds the lines; it leaves their JSON to the caller.
//!
//! ```
//! use std::ops::ControlFlow;
//! use plugin_api::kit::ndjson::NdjsonParser;
//!
//! let mut parser = NdjsonParser::new();
//! let mut lines = Vec::new();
//! let mut each = |line: &str| {
//!     lines.push(line.to_owned());
//!     ControlFlow::Continue(())
//! };
//! parser.feed(b"{\"n\":1}\r\n\n{\"n\"", &mut each)?;
//! parser.feed(b":2}", &mut each)?;
//! parser.finish(&mut each)?;
//! assert_eq!(lines, [r#"{"n":1}"#, r#"{"n":2}"#]);
//! # Ok::<(), plugin_api::kit::ndjson::NdjsonError>(())
//! ```

use std::{error, fmt, mem, ops::ControlFlow};

use super::sse::find;

/// An incremental parser of one stream of lines.
///
/// Feed it the body of one response in order; the result does not depend on where the bytes are
/// cut. A line that lies within one chunk is not copied.
#[derive(Debug)]
pub struct NdjsonParser {
    limit: usize,
    /// The start of a line whose end has not arrived.
    line: Vec<u8>,
    stopped: bool,
    failed: bool,
}

/// Why a stream could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NdjsonError {
    /// One line is longer than the parser may hold.
    TooLarge {
        /// The bound that was exceeded, in bytes.
        limit: usize,
    },
}

impl NdjsonParser {
    /// Creates a parser that accepts lines of at most [`DEFAULT_LIMIT`] bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// Creates a parser that accepts lines of at most `limit` bytes, the LF not counted.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, line: Vec::new(), stopped: false, failed: false }
    }

    /// Takes the next bytes of the stream and calls `each` for every line they complete.
    ///
    /// A line comes without its LF or CRLF, and lines of white space do not come at all. Invalid
    /// UTF-8 is replaced by U+FFFD. When `each` returns `Break` the stream is over for this
    /// parser: the rest of `bytes` and whatever is fed later are dropped, and every later call
    /// answers `Break`.
    ///
    /// # Errors
    ///
    /// [`NdjsonError::TooLarge`] if a line exceeds the limit. Lines before it were delivered; the
    /// parser stays failed.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, NdjsonError> {
        self.check()?;
        let mut rest = bytes;
        while !self.stopped {
            let Some(at) = find(rest, |byte| byte == b'\n') else {
                self.admit(rest)?;
                self.line.extend_from_slice(rest);
                return Ok(ControlFlow::Continue(()));
            };
            let piece = &rest[..at];
            rest = &rest[at + 1..];
            self.admit(piece)?;
            if self.line.is_empty() {
                self.deliver(piece, &mut each);
            } else {
                self.line.extend_from_slice(piece);
                self.deliver_held(&mut each);
            }
        }
        Ok(ControlFlow::Break(()))
    }

    /// Ends the input, delivering a last line that has no LF.
    ///
    /// Such a line may have been cut short, so a decoder that fails to parse it should report a
    /// truncated stream. Bytes fed later are dropped.
    ///
    /// # Errors
    ///
    /// As [`feed`](Self::feed).
    pub fn finish(
        &mut self,
        mut each: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), NdjsonError> {
        self.check()?;
        if !self.stopped {
            self.deliver_held(&mut each);
            self.stopped = true;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), NdjsonError> {
        if self.failed { Err(NdjsonError::TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    fn admit(&mut self, piece: &[u8]) -> Result<(), NdjsonError> {
        if self.line.len() + piece.len() > self.limit {
            self.failed = true;
            self.line = Vec::new();
        }
        self.check()
    }

    fn deliver(&mut self, line: &[u8], each: &mut impl FnMut(&str) -> ControlFlow<()>) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return;
        }
        let flow = match str::from_utf8(line) {
            Ok(text) => each(text),
            Err(_) => each(&String::from_utf8_lossy(line)),
        };
        self.stopped = flow.is_break();
    }

    fn deliver_held(&mut self, each: &mut impl FnMut(&str) -> ControlFlow<()>) {
        let mut line = mem::take(&mut self.line);
        self.deliver(&line, each);
        line.clear();
        self.line = line;
    }
}

impl Default for NdjsonParser {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for NdjsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "a line exceeds the limit of {limit} bytes"),
        }
    }
}

impl error::Error for NdjsonError {}

/// What [`NdjsonParser::new`] allows one line to hold, in bytes: 16 MiB.
pub const DEFAULT_LIMIT: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    type Outcome = (Vec<String>, Result<(), NdjsonError>);

    fn read<'a>(
        mut parser: NdjsonParser,
        chunks: impl IntoIterator<Item = &'a [u8]>,
        stop_after: usize,
    ) -> Outcome {
        let mut lines = Vec::new();
        let mut each = |line: &str| {
            lines.push(line.to_owned());
            if lines.len() == stop_after {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        for chunk in chunks {
            let _ = parser.feed(chunk, &mut each);
        }
        let result = parser.finish(&mut each);
        (lines, result)
    }

    #[test]
    fn yields_lines_that_are_not_blank() {
        let (lines, result) =
            read(NdjsonParser::new(), [&b"\n{}\r\n \t\r\n\r\n[1,\xFF]\n a\rb \nlast"[..]], 0);
        assert_eq!(lines, ["{}", "[1,\u{FFFD}]", " a\rb ", "last"]);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn stops_for_good_when_told() {
        let (lines, result) = read(NdjsonParser::new(), [&b"a\nb\n"[..], b"c\n", b"d"], 1);
        assert_eq!(lines, ["a"]);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn fails_for_good_beyond_the_limit() {
        let parser = || NdjsonParser::with_limit(4);
        assert_eq!(read(parser(), [&b"1234\n1234"[..]], 0).1, Ok(()));
        let (lines, result) = read(parser(), [&b"ok\n123"[..], b"45\n", b"ok\n"], 0);
        assert_eq!(lines, ["ok"]);
        let error = result.unwrap_err();
        assert_eq!(error, NdjsonError::TooLarge { limit: 4 });
        assert_eq!(error.to_string(), "a line exceeds the limit of 4 bytes");
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            parts in vec(select(vec!["\n", "\r\n", "\r", " ", "{}", "[1,2]", "é", "\u{2028}"]), 0..30),
            size in 1usize..6,
            limit in select(vec![4, DEFAULT_LIMIT]),
            stop_after in 0usize..6,
        ) {
            let bytes = parts.concat().into_bytes();
            let whole = read(NdjsonParser::with_limit(limit), [&bytes[..]], stop_after);
            let cut = read(NdjsonParser::with_limit(limit), bytes.chunks(size), stop_after);
            prop_assert_eq!(whole, cut);
        }
    }
}
