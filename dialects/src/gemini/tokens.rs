//! Counts tokens of a request before anything is generated.

use plugin_api::{chat::ChatRequest, error::ProviderError, kit::body, operation::TokenCount};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Decoded, Settings, error, inbound, request, route::resource};
use crate::{
    failure,
    fields::Fields,
    lenient::{Count, Text, or_default},
    loss::{Encoded, RequestError},
};

/// Writes a question about a whole request, tools and instructions included.
///
/// # Errors
///
/// `InvalidRequest` when a value has no JSON form.
pub fn encode_request(
    request: &ChatRequest,
    settings: &Settings,
) -> Result<Encoded, ProviderError> {
    let mut losses = Vec::new();
    let body = body::object(|o| {
        o.object("generateContentRequest", |o| {
            o.field("model", &resource(request.model.as_str()));
            request::write(request, settings, o, &mut losses);
        });
    })?;
    Ok(Encoded::new(body, losses))
}

/// Reads a client's question: a whole request, or contents alone. `model` stands in its path.
///
/// # Errors
///
/// As [`decode_request`](super::decode_request).
pub fn decode_request(model: &str, body: &[u8]) -> Result<Decoded, RequestError> {
    let mut fields = Fields::of_body(body)?;
    match fields.object("generateContentRequest")? {
        Some(inner) => inbound::read(model, inner),
        None => inbound::read(model, fields),
    }
}

/// Reads the count.
///
/// # Errors
///
/// The failure that the body reports, or `Protocol`.
pub fn decode(body: &[u8]) -> Result<TokenCount, ProviderError> {
    let answer: Answer<'_> =
        serde_json::from_slice(body).map_err(|_| failure::malformed("a count of tokens", body))?;
    if !answer.error.is_null() {
        return Err(error::in_stream(body));
    }
    let Some(total) = answer.total_tokens.0 else {
        return Err(failure::malformed("a count of tokens", body));
    };
    let mut count = TokenCount::new(total);
    if let Some(cached) = answer.cached_content_token_count.0 {
        count.details.insert(CACHED.into(), cached);
    }
    for entry in answer.prompt_tokens_details {
        let modality = entry.modality.0.to_ascii_lowercase();
        if let (Some(tokens), false) = (entry.token_count.0, modality.is_empty()) {
            count.details.insert(format!("{modality}{INPUT}"), tokens);
        }
    }
    Ok(count)
}

/// Writes a count.
#[must_use]
pub fn encode(count: &TokenCount) -> Vec<u8> {
    let mut answer = json!({ "totalTokens": count.input_tokens });
    if let Some(cached) = count.details.get(CACHED) {
        answer["cachedContentTokenCount"] = (*cached).into();
    }
    let modalities = count.details.iter().filter(|(name, _)| *name != CACHED);
    let list: Vec<Value> = modalities
        .filter_map(|(name, tokens)| {
            let modality = name.strip_suffix(INPUT)?.to_ascii_uppercase();
            Some(json!({"modality": modality, "tokenCount": tokens}))
        })
        .collect();
    if !list.is_empty() {
        answer["promptTokensDetails"] = list.into();
    }
    answer.to_string().into_bytes()
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer<'a> {
    total_tokens: Count,
    cached_content_token_count: Count,
    #[serde(borrow, deserialize_with = "or_default")]
    prompt_tokens_details: Vec<Modality<'a>>,
    error: Value,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Modality<'a> {
    #[serde(borrow)]
    modality: Text<'a>,
    token_count: Count,
}

const CACHED: &str = "cached_input_tokens";
const INPUT: &str = "_input_tokens";

#[cfg(test)]
mod tests {
    use plugin_api::{chat::Message, error::ErrorKind};

    use super::*;

    #[test]
    fn a_question_reads_back_as_it_was_written() {
        let mut request =
            ChatRequest::new("m", vec![Message::system("be brief"), Message::user("hi")]);
        request.max_output_tokens = Some(7);
        let encoded = encode_request(&request, &Settings::default()).unwrap();
        let bytes = encoded.body.as_bytes().unwrap();
        assert!(bytes.starts_with(br#"{"generateContentRequest":{"model":"models/m","#));
        assert_eq!(decode_request("m", bytes).unwrap().request, request);
        let alone = br#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
        let alone = decode_request("models/m", alone).unwrap();
        assert_eq!(alone.request, ChatRequest::new("m", vec![Message::user("hi")]));
    }

    #[test]
    fn a_count_reads_back_as_it_was_written() {
        let body = br#"{"totalTokens":"31","cachedContentTokenCount":4,"promptTokensDetails":[{"modality":"TEXT","tokenCount":20},{"modality":"IMAGE","tokenCount":11},{}]}"#;
        let count = decode(body).unwrap();
        assert_eq!((count.input_tokens, count.details["image_input_tokens"]), (31, 11));
        assert_eq!(decode(&encode(&count)).unwrap(), count);
        for bad in [&b"{}"[..], b"[", b"{\"totalTokens\":null}"] {
            assert_eq!(decode(bad).unwrap_err().kind, ErrorKind::Protocol);
        }
        let failed = decode(br#"{"error":{"code":404,"message":"no such model"}}"#).unwrap_err();
        assert_eq!(failed.kind, ErrorKind::NotFound);
    }
}
