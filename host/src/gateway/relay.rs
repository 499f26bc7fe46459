//! The bytes of an answer that is passed on, cut where a client could take them alone.
//!
//! A piece of an event that the upstream never finishes would spoil what must follow it, the failure in
//! the dialect's own way; so the beginning of an event waits for its end. Whole events go out as they
//! came. For Google's clients that wait for an array the events become its items.

use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};
use plugin_api::kit::sse::SseParser;

/// Cuts what is passed on.
pub(super) enum Frames {
    /// As it came, perhaps without what is said of usage.
    Events { tail: BytesMut, aligned: bool, hides_usage: bool },
    /// As items of an array.
    Array { parser: Box<SseParser>, begun: bool },
}

impl Frames {
    pub(super) fn new(array: bool, hides_usage: bool) -> Self {
        if array {
            Self::Array { parser: Box::default(), begun: false }
        } else {
            Self::Events { tail: BytesMut::new(), aligned: true, hides_usage }
        }
    }

    /// Takes a piece and returns what can go out.
    pub(super) fn take(&mut self, piece: Bytes) -> Option<Bytes> {
        match self {
            Self::Events { tail, aligned, hides_usage } => {
                let out = cut(tail, piece, aligned);
                let out = if *hides_usage { without_usage(out) } else { out };
                Some(out).filter(|out| !out.is_empty())
            }
            Self::Array { parser, begun } => {
                let mut out = Vec::new();
                let mut item = |json: &[u8]| {
                    out.push(if std::mem::replace(begun, true) { b',' } else { b'[' });
                    out.extend_from_slice(json);
                    out.extend_from_slice(b"\r\n");
                };
                let _ = parser.feed(&piece, |event| {
                    item(event.data.as_bytes());
                    ControlFlow::Continue(())
                });
                if parser.stray_is_whole() {
                    // A failure that the vendor tells in the middle.
                    item(&parser.take_stray());
                }
                Some(out.into()).filter(|out: &Bytes| !out.is_empty())
            }
        }
    }

    /// Returns what is left at the upstream's good end.
    pub(super) fn end(&mut self) -> Option<Bytes> {
        let rest = match self {
            Self::Events { tail, hides_usage, .. } => {
                let rest = std::mem::take(tail).freeze();
                if *hides_usage { without_usage(rest) } else { rest }
            }
            Self::Array { begun: true, .. } => Bytes::from_static(b"]\r\n"),
            Self::Array { begun: false, .. } => Bytes::from_static(b"[]\r\n"),
        };
        Some(rest).filter(|rest| !rest.is_empty())
    }

    /// Prepares for the failure that is to follow: what is unfinished is given up.
    pub(super) fn give_up(&mut self, out: &mut Vec<u8>) {
        if let Self::Events { tail, aligned, .. } = self {
            tail.clear();
            if !std::mem::replace(aligned, true) {
                out.extend_from_slice(b"\n\n");
            }
        }
    }

    /// Reports whether something else may stand here.
    pub(super) fn is_between(&self) -> bool {
        matches!(self, Self::Events { aligned: true, .. })
    }
}

/// Returns all whole events of `tail` and `piece`; the rest becomes the tail, unless it is too long to
/// be kept.
fn cut(tail: &mut BytesMut, mut piece: Bytes, aligned: &mut bool) -> Bytes {
    if tail.is_empty() {
        let at = boundary(&piece, 0);
        if at < piece.len() && piece.len() - at <= MAX_TAIL {
            tail.extend_from_slice(&piece[at..]);
            piece.truncate(at);
        }
        if !piece.is_empty() {
            *aligned = boundary(&piece, 0) == piece.len();
        }
        return piece;
    }
    // A blank line may have been cut in two or three.
    let from = tail.len().saturating_sub(3);
    tail.extend_from_slice(&piece);
    let at = boundary(tail, from);
    let out = if tail.len() - at > MAX_TAIL { tail.split() } else { tail.split_to(at) };
    if !out.is_empty() {
        *aligned = boundary(&out, 0) == out.len();
    }
    out.freeze()
}

/// Returns the end of the last blank line that ends behind `from`, or 0.
fn boundary(bytes: &[u8], from: usize) -> usize {
    let blank = |end: &usize| {
        let head = &bytes[..*end];
        [&b"\n\n"[..], b"\n\r\n", b"\r\r"].iter().any(|line| head.ends_with(line))
    };
    (from + 1..=bytes.len()).rev().find(blank).unwrap_or(0)
}

/// Takes the chunks that hold the usage alone out of events; clients that did not ask for them may not
/// expect one without a choice.
fn without_usage(events: Bytes) -> Bytes {
    #[derive(serde::Deserialize)]
    struct Chunk {
        choices: Vec<serde::de::IgnoredAny>,
        usage: Option<serde::de::IgnoredAny>,
    }
    let is_usage = |event: &[u8]| {
        let mut lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
        lines.find_map(|line| line.strip_prefix(b"data:")).is_some_and(|data| {
            let chunk = serde_json::from_slice::<Chunk>(data);
            chunk.is_ok_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
        })
    };
    if memchr::memmem::find(&events, b"\"choices\"").is_none() {
        return events;
    }
    let (mut out, mut rest) = (BytesMut::new(), events.clone());
    let mut left_out = false;
    while !rest.is_empty() {
        let event = rest.split_to(end_of_event(&rest));
        if is_usage(&event) {
            left_out = true;
        } else {
            out.extend_from_slice(&event);
        }
    }
    if left_out { out.freeze() } else { events }
}

/// Returns the end of the first blank line, or of all.
fn end_of_event(bytes: &[u8]) -> usize {
    let blanks = [&b"\n\n"[..], b"\n\r\n", b"\r\r"];
    let ends =
        blanks.iter().filter_map(|blank| Some(memchr::memmem::find(bytes, blank)? + blank.len()));
    ends.min().unwrap_or(bytes.len())
}

/// Longest beginning of an event that is kept back.
const MAX_TAIL: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(frames: &mut Frames, pieces: &[&[u8]]) -> Vec<u8> {
        let taken = pieces.iter().filter_map(|piece| frames.take(Bytes::copy_from_slice(piece)));
        taken.collect::<Vec<_>>().concat()
    }

    #[test]
    fn at_every_cut_only_whole_events_go_out_and_nothing_is_lost() {
        for text in ["data: a\n\n: c\n\ndata: b", "data: a\r\n\r\ndata: b", "data: a\r\rdata: b"] {
            let bytes = text.as_bytes();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let mut frames = Frames::new(false, false);
                    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    let mut out = passed(&mut frames, &pieces);
                    assert_eq!(out, text.strip_suffix("data: b").unwrap().as_bytes());
                    assert!(frames.is_between());
                    out.extend_from_slice(&frames.end().unwrap());
                    assert_eq!(out, bytes);
                }
            }
        }
    }

    #[test]
    fn an_event_too_long_to_keep_goes_out_and_is_closed_before_a_failure() {
        let long = format!("data: {}", "x".repeat(MAX_TAIL));
        let mut frames = Frames::new(false, false);
        let (mut out, mut after) = (passed(&mut frames, &[b"data: ", long.as_bytes()]), Vec::new());
        assert_eq!(out.len(), long.len() + 6);
        assert!(!frames.is_between());
        frames.give_up(&mut after);
        assert_eq!(after, b"\n\n");
        out = passed(&mut frames, &[b"data: a\n\nda"]);
        frames.give_up(&mut out);
        assert_eq!((out.as_slice(), frames.end()), (&b"data: a\n\n"[..], None));
    }

    #[test]
    fn usage_that_nobody_asked_for_is_left_out() {
        let said = "data: {\"choices\":[{}],\"usage\":null}\n\n";
        let used = "data: {\"choices\": [], \"usage\": {\"x\":1}}";
        for end in ["\n\n", "\r\n\r\n", ""] {
            let mut frames = Frames::new(false, true);
            let text = format!("{said}: c\n\n{used}{end}");
            let mut out = passed(&mut frames, &[text.as_bytes()]);
            out.extend_from_slice(&frames.end().unwrap_or_default());
            assert_eq!(String::from_utf8(out).unwrap(), format!("{said}: c\n\n"));
        }
        // One with an answer is the client's, and so is the first of Azure's.
        let kept = "data: {\"choices\":[{}],\"usage\":{}}\n\ndata: {\"choices\":[]}\n\n";
        assert_eq!(passed(&mut Frames::new(false, true), &[kept.as_bytes()]), kept.as_bytes());
    }

    #[test]
    fn events_become_items() {
        let mut frames = Frames::new(true, false);
        let out =
            passed(&mut frames, &[b"data: {\"a\"", b":1}\r\n\r\n", b"data: {}\r\n\r\n{\"e\":1}\n"]);
        let all = [out, frames.end().unwrap().to_vec()].concat();
        assert_eq!(all, b"[{\"a\":1}\r\n,{}\r\n,{\"e\":1}\r\n]\r\n");
        assert_eq!(Frames::new(true, false).end().as_deref(), Some(&b"[]\r\n"[..]));
    }
}
