//! Counts the tokens of a request before it is asked. Its question is read as any request is.

use plugin_api::{chat::ChatRequest, error::ProviderError, operation::TokenCount};
use serde::Deserialize;
use serde_json::json;

use super::{Quirks, request};
use crate::{failure, lenient::Count, loss::Encoded};

/// Writes a request whose tokens are to be counted: the same without what does not change its prompt.
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
    let malformed = || failure::malformed("a count of tokens", body);
    answer.input_tokens.0.map(TokenCount::new).ok_or_else(malformed)
}

/// Writes a count as Anthropic does.
#[must_use]
pub fn encode(count: &TokenCount) -> Vec<u8> {
    json!({"input_tokens": count.input_tokens}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_reads_back() {
        let count = TokenCount::new(57);
        assert_eq!(decode(&encode(&count)), Ok(count.clone()));
        assert_eq!(decode(br#"{"input_tokens":"57","new":{}}"#), Ok(count));
        for odd in [&b""[..], b"[]", b"{}", br#"{"input_tokens":null}"#] {
            assert!(decode(odd).is_err());
        }
    }
}
