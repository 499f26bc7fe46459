//! Counts the tokens of a request before it is asked.

use plugin_api::{chat::ChatRequest, error::ProviderError, operation::TokenCount};
use serde::Deserialize;
use serde_json::json;

use super::{Quirks, request};
use crate::{failure, lenient::Count, loss::Encoded};

/// Writes the part of a request whose tokens are counted.
///
/// # Errors
///
/// As [`encode_request`](super::encode_request).
pub fn encode_request(request: &ChatRequest, quirks: &Quirks) -> Result<Encoded, ProviderError> {
    request::encode_count(request, quirks)
}

/// Reads the count.
///
/// # Errors
///
/// `Protocol` when there is none.
pub fn decode(body: &[u8]) -> Result<TokenCount, ProviderError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Answer {
        input_tokens: Count,
    }
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    let malformed = || failure::malformed("a token count", body);
    answer.input_tokens.0.map(TokenCount::new).ok_or_else(malformed)
}

/// Writes a count as OpenAI does.
#[must_use]
pub fn encode(count: &TokenCount) -> Vec<u8> {
    let answer = json!({"object": "response.input_tokens", "input_tokens": count.input_tokens});
    answer.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_reads_back_as_it_was_written() {
        let count = TokenCount::new(57);
        assert_eq!(decode(&encode(&count)).unwrap(), count);
        assert_eq!(decode(br#"{"input_tokens":"57"}"#).unwrap(), count);
        for bad in [&b"{}"[..], b"no", br#"{"input_tokens":null}"#] {
            assert!(decode(bad).is_err());
        }
    }
}
