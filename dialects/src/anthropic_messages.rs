//! Anthropic Messages, under both of its API versions.
//!
//! The client's half: [`encode_request`] under the [`Quirks`] of a
//! server, [`Decoder`] for the stream or the whole answer, [`error`] for failures, [`models`],
//! [`tokens`]. The server's half: [`decode_request`], [`Encoder`] and [`encode_response`],
//! [`error::encode`], [`models::encode`], [`tokens::encode`].
//!
//! A turn of this format is a list of blocks. What the neutral vocabulary types becomes typed; every
//! other block is kept as an opaque one, byte for byte, because server tools want theirs back.

pub mod error;
pub mod models;
pub mod tokens;

mod encoder;
mod inbound;
mod limits;
mod messages;
mod quirks;
mod reasoning;
mod request;
mod response;
mod sources;
mod stream;
mod tools;
mod usage;
mod wire;

pub use crate::head::Head;
pub use encoder::Encoder;
pub use inbound::{Decoded, decode_request};
pub use quirks::{Effort, Quirks, Version};
pub use request::encode_request;
pub use response::encode_response;
pub use stream::Decoder;

/// The dialect's name, in manifests and in blocks that belong to it.
pub const DIALECT: &str = "anthropic-messages";

/// Kinds of continuity tokens that ride on this dialect.
pub mod token {
    /// The signature of a `thinking` block.
    pub const SIGNATURE: &str = "signature";
    /// The data of a `redacted_thinking` block, which is nothing but a token.
    pub const REDACTED_THINKING: &str = "redacted_thinking";
}
