//! Cached contents: prefixes that the vendor keeps, and that requests continue by name.
//!
//! Only what stands about them is shown, never what they hold.

use plugin_api::{
    error::ProviderError,
    kit::time::rfc3339_ms,
    operation::{ContextChunk, ContextChunks},
};
use serde_json::{Value, json};

use super::models::next_page;
use crate::failure;

/// What the name of every cached content begins with.
pub const COLLECTION: &str = "cachedContents/";

/// What a chunk of this sort calls itself.
pub const KIND: &str = "cached_content";

/// Reads a page; entries without a name are left out.
///
/// # Errors
///
/// `Protocol` when the body is no object, or its list is no list.
pub fn decode(body: &[u8]) -> Result<ContextChunks, ProviderError> {
    let malformed = || failure::malformed("cached contents", body);
    let mut value: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    if !value.is_object() {
        return Err(malformed());
    }
    let mut page = ContextChunks::default();
    page.chunks = match value["cachedContents"].take() {
        Value::Array(list) => list.into_iter().filter_map(chunk).collect(),
        Value::Null => Vec::new(),
        _ => return Err(malformed()),
    };
    page.next = next_page(&value);
    Ok(page)
}

/// Reads one, as `GET /cachedContents/{id}` answers it.
///
/// # Errors
///
/// `Protocol` when the body is no cached content.
pub fn decode_one(body: &[u8]) -> Result<ContextChunk, ProviderError> {
    serde_json::from_slice(body)
        .ok()
        .and_then(chunk)
        .ok_or_else(|| failure::malformed("a cached content", body))
}

/// Writes a page. Chunks of other kinds have no form here and are left out; moments lose what is less
/// than a second.
#[must_use]
pub fn encode(page: &ContextChunks) -> Vec<u8> {
    let ours = page.chunks.iter().filter(|chunk| chunk.kind == KIND);
    let list: Vec<Value> = ours.map(to_json).collect();
    let mut value = json!({ "cachedContents": list });
    if let Some(next) = &page.next {
        value["nextPageToken"] = next.as_str().into();
    }
    value.to_string().into_bytes()
}

fn chunk(value: Value) -> Option<ContextChunk> {
    let Value::Object(mut fields) = value else { return None };
    let name = fields.remove("name")?;
    let name = name.as_str().filter(|name| !name.is_empty())?;
    let mut chunk = ContextChunk::default();
    (chunk.context, chunk.id, chunk.kind) = (name.into(), name.into(), KIND.to_owned());
    let tokens = fields.get("usageMetadata").map(|usage| &usage["totalTokenCount"]);
    chunk.tokens = tokens.and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
    let moment = |name: &str| Some(rfc3339_ms(fields.get(name)?.as_str()?)? / 1000);
    (chunk.created, chunk.expires) = (moment("createTime"), moment("expireTime"));
    fields.retain(|_, value| !value.is_null());
    chunk.details = fields.into_iter().collect();
    Some(chunk)
}

fn to_json(chunk: &ContextChunk) -> Value {
    let mut value = json!({ "name": chunk.id });
    for (name, detail) in &chunk.details {
        value[name] = detail.clone();
    }
    if let Some(tokens) = chunk.tokens {
        value["usageMetadata"]["totalTokenCount"] = tokens.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_back_as_it_was_written() {
        let body = br#"{"cachedContents":[{"name":"cachedContents/abc","model":"models/gemini-demo-3","displayName":"docs","createTime":"2026-11-20T10:00:00.5Z","updateTime":"2026-11-20T10:00:00Z","expireTime":"2026-11-20T11:00:00Z","usageMetadata":{"totalTokenCount":40123}},{"model":"nameless"},{"name":"cachedContents/b","createTime":7}],"nextPageToken":"n"}"#;
        let page = decode(body).unwrap();
        assert_eq!(page.next.as_deref(), Some("n"));
        let chunk = &page.chunks[0];
        assert_eq!(
            (chunk.id.as_str(), chunk.context.as_str()),
            ("cachedContents/abc", "cachedContents/abc")
        );
        assert_eq!((chunk.tokens, chunk.kind.as_str()), (Some(40_123), "cached_content"));
        assert_eq!(chunk.expires.unwrap() - chunk.created.unwrap(), 3600);
        assert_eq!(chunk.details["model"], "models/gemini-demo-3");
        assert_eq!(decode(&encode(&page)).unwrap(), page);
        assert_eq!(decode(b"{}").unwrap(), ContextChunks::default());
        assert!(decode(b"[]").is_err() && decode_one(b"{}").is_err());
    }
}
