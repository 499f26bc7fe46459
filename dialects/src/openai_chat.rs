//! OpenAI Chat Completions, and what dozens of servers make of it.
//!
//! The client's half: [`encode_request`] under the [`Quirks`] of a server, [`Decoder`] for the
//! stream or the whole answer, [`error`] for failures, [`models`], [`embeddings`]. The server's half:
//! [`decode_request`], [`Encoder`] and [`encode_response`], [`error::encode`], [`models::encode`].
//!
//! Everything that differs between servers is read leniently by one decoder, not switched: a server
//! that is updated changes its habits without telling. Only what must be *sent* differently is a
//! switch in [`Quirks`].

pub mod embeddings;
pub mod error;
pub mod models;

mod along;
mod calls;
mod completions;
mod encoder;
mod inbound;
mod messages;
mod quirks;
mod request;
mod sources;
mod stream;
mod wire;

pub use crate::head::DatedHead as Head;
pub use completions::{CompletionEncoder, decode_completion, encode_completion};
pub use encoder::{Encoder, encode_response};
pub(crate) use inbound::user;
pub use inbound::{Decoded, decode_request};
pub use quirks::{MaxTokensField, Quirks, ReasoningBack, SystemRole, ToolIds};
pub use request::encode_request;
pub use stream::Decoder;

/// The dialect's name, in manifests and in blocks that belong to it.
pub const DIALECT: &str = "openai-chat";

/// Kinds of continuity tokens that ride on this dialect.
pub mod token {
    /// A thought signature on a tool call (Gemini's `extra_content.google.thought_signature`).
    pub const THOUGHT_SIGNATURE: &str = "thought_signature";
    /// `OpenRouter`'s `reasoning_details` array as JSON, to be returned as it came.
    pub const REASONING_DETAILS: &str = "reasoning_details";
    /// The signature of a Mistral thinking chunk.
    pub const SIGNATURE: &str = "signature";
}
