//! Ready-made exchanges and parsers. Authors seldom write the state machine themselves.
//!
//! [`say`] and [`ready`] answer without a request; [`call()`] makes one request with one typed answer;
//! [`paginate()`] follows pages; [`body`] writes JSON around the host's blobs and [`native`] around a
//! client's own body; [`stream`] reads server-sent events or NDJSON as they come; [`failure`] turns
//! HTTP answers into typed errors, [`time`] the vendors' timestamps into numbers; [`replay`] runs an
//! exchange against recorded bytes, in tests, and [`conformance`] checks a plugin against every rule.

pub mod body;
pub mod call;
pub mod conformance;
pub mod failure;
pub mod native;
pub mod ndjson;
pub mod paginate;
pub mod replay;
pub mod sse;
pub mod stream;
pub mod time;

pub use call::{Response, call};
pub use paginate::paginate;
pub use stream::{Decoder, Ended, NdjsonStream, SseStream, incomplete};

use crate::{
    event::FinishReason,
    exchange::{Exchange, Input, Outbox, Timestamp},
    operation::Reply,
};

/// Answers a conversation with a text, without a request.
#[must_use]
pub fn say(text: impl Into<String>) -> Box<dyn Exchange + Send> {
    Box::new(Say(text.into()))
}

/// Answers an operation with a value, without a request.
#[must_use]
pub fn ready(value: Reply) -> Box<dyn Exchange + Send> {
    Box::new(Ready(value))
}

struct Say(String);

impl Exchange for Say {
    fn step(&mut self, _: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        if let Input::Start { .. } = input {
            out.text(0, &self.0);
            out.finish(FinishReason::Stop);
            out.done();
        }
    }
}

struct Ready(Reply);

impl Exchange for Ready {
    fn step(&mut self, _: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        if let Input::Start { .. } = input {
            out.value(&self.0);
            out.done();
        }
    }
}
