//! OpenAI Responses: items instead of messages, typed events instead of chunks.
//!
//! What a client of a server that keeps answers refers to by id alone is found by who kept it
//! ([`decode_request_with`], [`Encoder::output`]).
//!
//! The client's half: [`encode_request`] under the [`Quirks`] of a server, [`Decoder`] for the stream
//! or the whole answer, [`error`] for failures, [`tokens`] to count before asking, [`conversations`]
//! for what the vendor keeps. The server's half: [`decode_request`], [`Encoder`] and
//! [`encode_response`], [`error::encode`]. Lists of models and embeddings are those of
//! [`openai_chat`](super::openai_chat).
//!
//! A reasoning item goes back exactly as it came, as a token of its part. What other vendors want
//! back rides through a client of this dialect in `encrypted_content`.

pub mod conversations;
pub mod error;
pub mod tokens;

mod annotations;
mod carrier;
mod encoder;
mod inbound;
mod messages;
mod namespaces;
mod quirks;
mod request;
mod stream;
mod wire;

pub use crate::head::DatedHead as Head;
pub use encoder::{Encoder, encode_response};
pub use inbound::{Decoded, Echo, decode_request, decode_request_with};
pub use namespaces::Namespaces;
pub use quirks::Quirks;
pub use request::encode_request;
pub use stream::Decoder;

/// The dialect's name, in manifests and in blocks that belong to it.
pub const DIALECT: &str = "openai-responses";

/// What the id of a picture begins with that was written down here; the vendor's own begin otherwise.
pub(crate) const PICTURE_ID: &str = "ig_maestro";

/// Kinds of continuity tokens that ride on this dialect.
pub mod token {
    /// A whole reasoning item as JSON, encrypted content and all, to be returned as it came.
    pub const REASONING_ITEM: &str = "reasoning_item";
    /// The phase of a message: `commentary` or `final_answer`.
    pub const PHASE: &str = "phase";
    /// The group of tools that a call belongs to.
    pub const NAMESPACE: &str = "namespace";
}
