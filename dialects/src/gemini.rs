//! Gemini's `generateContent`, and what stands beside it.
//!
//! The client's half: [`encode_request`] under the provider's [`Settings`], [`Decoder`] for the stream
//! or the whole answer, [`error`] for failures, [`models`], [`embeddings`], [`tokens`], [`caches`]. The
//! server's half: [`decode_request`], [`Encoder`] and [`encode_response`], and the `encode` functions of
//! the same modules. [`route`] holds the paths, which here say more than elsewhere: the model and
//! whether the answer streams stand in them, not in the body.
//!
//! JSON names are written in camel case; in requests the snake case that the vendor also accepts is
//! read too.

pub mod caches;
pub mod embeddings;
pub mod error;
pub mod models;
pub mod route;
pub mod tokens;

mod calls;
mod contents;
mod encoder;
mod finish;
mod inbound;
mod media;
mod partial;
mod request;
mod schema;
mod settings;
mod sources;
mod stream;
mod tools;
mod usage;
mod wire;

pub use crate::head::Head;
pub use encoder::{Encoder, Layout, encode_response};
pub use inbound::{Decoded, decode_request};
pub use request::encode_request;
pub use settings::Settings;
pub use stream::Decoder;

/// The dialect's name, in manifests and in blocks that belong to it.
pub const DIALECT: &str = "gemini";

/// Kinds of continuity tokens that ride on this dialect.
pub mod token {
    /// A part's `thoughtSignature`, to be returned on the same part.
    pub const THOUGHT_SIGNATURE: &str = "thought_signature";
}

/// Names of the facts beside an answer that [`Decoder`] reports as details, and [`Encoder`] writes.
pub mod detail {
    /// `groundingMetadata`: searches and sources, in the vendor's own form.
    pub const GROUNDING: &str = "grounding";
    /// `safetyRatings` of the answer.
    pub const SAFETY_RATINGS: &str = "safety_ratings";
    /// `safetyRatings` of a prompt that was let through.
    pub const PROMPT_SAFETY_RATINGS: &str = "prompt_safety_ratings";
    /// `logprobsResult` of each chunk, as a list.
    pub const LOGPROBS: &str = "logprobs";
    /// `avgLogprobs`.
    pub const AVG_LOGPROBS: &str = "avg_logprobs";
    /// `urlContextMetadata`: which addresses were read.
    pub const URL_CONTEXT: &str = "url_context";
    /// `finishMessage`: why the answer ended, in words.
    pub const FINISH_MESSAGE: &str = "finish_message";
    /// `continuationToken`: what the option of this name continues a paused answer with.
    pub const CONTINUATION_TOKEN: &str = "continuation_token";
}
