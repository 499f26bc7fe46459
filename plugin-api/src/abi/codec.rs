//! Translates between typed values and [`Message`](super::Message)s. Both sides use it.
//!
//! Decoding trusts nothing: text is checked for UTF-8, `ext` is parsed, and what does not fit is a
//! [`MessageError`]. So a library made by hand can be wrong without being unsound.

mod event;
mod input;
mod opening;
mod output;
mod payload;

use std::fmt;

pub use self::{
    input::{decode_input, encode_input},
    opening::{Opening, PackedOpening, decode_opening},
    output::{Effect, Emit, Output, Vectors, decode_output, encode_output},
    payload::pack,
};

/// Why a message cannot be read. The sender broke the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageError {
    /// The message's kind.
    pub kind: u32,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message of kind {}: {}", self.kind, self.problem)
    }
}

impl std::error::Error for MessageError {}

#[cfg(test)]
mod tests;
