//! The vendors' wire formats, scripted: what each would send, and what was asked of it.
//!
//! Written from the vendors' documented shapes, never with our own encoders, which would agree with
//! our decoders in the same mistake. Every script tells the same story in another dialect.
#![expect(clippy::needless_pass_by_value, reason = "the scripts are made of temporaries")]

mod chat;
mod gemini;
mod messages;
mod responses;

use serde_json::Value;

use crate::upstream::{Gate, Reply, Request};

pub(crate) use self::{chat::Chat, gemini::Gemini, messages::Messages, responses::Responses};

/// A small picture: the magic of a PNG file and nothing more.
pub(crate) const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The same in Base64.
pub(crate) const PICTURE_BASE64: &str = "iVBORw0KGgo=";

/// A failure before the answer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The key is not known.
    BadKey,
    /// The request is wrong.
    Invalid,
    /// The conversation is too long for the model.
    TooLong,
    /// Too many requests; the vendor says when to come back, in milliseconds, or not.
    Limited(Option<u64>),
    /// The plan or the money is spent.
    Spent,
    /// Over capacity.
    Overloaded,
    /// Broken in passing.
    Broken,
    /// An answer of something in between, for example a proxy's page.
    Page,
}

/// A tool call as it was sent back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Called {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// One vendor's dialect.
pub(crate) trait Wire: Send + Sync {
    /// Returns the target of a streamed chat with model `m-1`.
    fn target(&self) -> &'static str;

    /// Streams `Riga is `, then `cold.`, and counts 12 tokens in (4 of them cached) and 7 out (2 of
    /// them reasoning, where the vendor says so). The gate stands between the texts.
    fn says(&self, gate: &Gate) -> Reply;

    /// Streams the reasoning `Think first.` with the token, then the text `Done.`.
    fn reasons(&self) -> Reply;

    /// Streams the calls `get_weather {"city":"Riga"}` and, if there are to be two, `get_time {}`.
    fn calls(&self, both: bool) -> Reply;

    /// Streams a refusal or what stands for it.
    fn refuses(&self) -> Reply;

    /// Streams `Riga` and is cut at the limit of tokens.
    fn is_cut(&self) -> Reply;

    /// Streams `Hel`, then says that it failed, in the dialect's own way.
    fn fails_midway(&self) -> Reply;

    /// Streams `Hel`, and then the body ends in good order of HTTP, but not of the dialect.
    fn ends_early(&self) -> Reply;

    /// Fails before the answer begins.
    fn fails(&self, failure: Failure) -> Reply;

    /// Streams the text `{"city":"Riga"}`.
    fn structured(&self) -> Reply;

    /// Returns the token that [`Wire::calls`] gives and the next request must carry exactly once.
    fn token(&self) -> Option<&'static str>;

    /// Returns the media type and the Base64 of the picture in a request.
    fn picture(&self, body: &Value) -> (String, String);

    /// Returns the schema that the answer must match.
    fn schema(&self, body: &Value) -> Value;

    /// Returns the tools' names, in order, with the schemas of their arguments.
    fn tools(&self, body: &Value) -> Vec<(String, Value)>;

    /// Returns the calls that a request sends back.
    fn called(&self, body: &Value) -> Vec<Called>;

    /// Returns the results in a request: the call's id (its name, where ids are not sent) and the text.
    fn results(&self, body: &Value) -> Vec<(String, String)>;

    /// Returns the system text of a request.
    fn system(&self, body: &Value) -> String;

    /// Checks what every request of the dialect must carry.
    fn check(&self, request: &Request);
}

/// Reads text, which must be there.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("expected text, found {value}")).to_owned()
}

/// Reads JSON that is written in a text.
#[track_caller]
pub(crate) fn json_in(value: &Value) -> Value {
    serde_json::from_str(&text(value)).unwrap()
}

/// Iterates over an array, which may be absent.
pub(crate) fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A page of a proxy in between.
pub(crate) fn page() -> Reply {
    Reply::new(502, "text/html").piece("<!doctype html><title>502</title><h1>Bad gateway</h1>")
}
