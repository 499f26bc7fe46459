//! The answer to `count_tokens`.

use plugin_api::error::ProviderError;
use serde::Deserialize;
use serde_json::json;

use crate::{failure, lenient::Count};

/// Reads a count of tokens.
///
/// # Errors
///
/// `Protocol` when the body holds none.
pub fn decode_count(body: &[u8]) -> Result<u64, ProviderError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Wire {
        input_tokens: Count,
    }
    let wire: Wire = serde_json::from_slice(body).unwrap_or_default();
    let malformed = || failure::malformed("a count of tokens", body);
    wire.input_tokens.0.ok_or_else(malformed)
}

/// Writes a count of tokens.
#[must_use]
pub fn encode_count(input_tokens: u64) -> Vec<u8> {
    json!({"input_tokens": input_tokens}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_reads_back() {
        assert_eq!(decode_count(&encode_count(57)), Ok(57));
        assert_eq!(decode_count(br#"{"input_tokens":"57","new":{}}"#), Ok(57));
        for odd in [&b""[..], b"[]", b"{}", br#"{"input_tokens":null}"#] {
            assert!(decode_count(odd).is_err());
        }
    }
}
