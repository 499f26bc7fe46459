//! Payloads of messages: MessagePack with field names, bounded in depth, and text.

use serde::{Serialize, de::DeserializeOwned};

use super::MessageError;
use crate::abi::{
    depth::{MAX_DEPTH, is_too_deep},
    message::Message,
};

/// Writes a payload as MessagePack with field names.
///
/// # Errors
///
/// [`MessageError`] when the payload is nested too deep for the other side to read.
pub fn pack<T: Serialize>(payload: &T) -> Result<Vec<u8>, MessageError> {
    pack_for(0, payload)
}

pub(super) fn pack_for<T: Serialize>(kind: u32, payload: &T) -> Result<Vec<u8>, MessageError> {
    if is_too_deep(payload) {
        return Err(too_deep(kind));
    }
    let mut bytes = Vec::with_capacity(USUAL);
    rmp_serde::encode::write_named(&mut bytes, payload)
        .map_err(|error| MessageError { kind, problem: error.to_string() })?;
    Ok(bytes)
}

/// Writes a payload that is never deep: headers, a word.
pub(super) fn flat<T: Serialize>(payload: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(payload).unwrap_or_default()
}

/// Reads a payload.
pub(super) fn unpack<T: DeserializeOwned>(message: &Message<'_>) -> Result<T, MessageError> {
    let mut from = rmp_serde::Deserializer::from_read_ref(message.ext_bytes());
    from.set_max_depth(MAX_READ_DEPTH);
    T::deserialize(&mut from)
        .map_err(|error| MessageError { kind: message.kind, problem: error.to_string() })
}

pub(super) fn utf8<'a>(message: &Message<'_>, bytes: &'a [u8]) -> Result<&'a str, MessageError> {
    std::str::from_utf8(bytes)
        .map_err(|_| MessageError { kind: message.kind, problem: "text is not UTF-8".to_owned() })
}

pub(super) fn too_deep(kind: u32) -> MessageError {
    MessageError { kind, problem: format!("nested deeper than {MAX_DEPTH} levels") }
}

/// Room for most payloads, so that they need not be moved while they are written.
const USUAL: usize = 1024;

/// Deepest nesting that is read: somewhat more than is written, because the two count differently.
pub(super) const MAX_READ_DEPTH: usize = MAX_DEPTH + 32;
