//! What the vendor keeps: the items of a conversation or of an answer's input.

use plugin_api::{
    ChunkId, ContextId,
    error::ProviderError,
    operation::{ContextChunk, ContextChunks},
};
use serde::Deserialize;
use serde_json::Value;

use super::wire::joined;
use crate::{
    failure,
    lenient::{Text, or_default},
};

/// Reads a page of items.
///
/// Roles and types of content that are not known yet keep their names; an item without an id cannot
/// be named and is left out.
///
/// # Errors
///
/// `Protocol` when the body is no list.
pub fn decode(body: &[u8], context: &ContextId) -> Result<ContextChunks, ProviderError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Page<'a> {
        data: Option<Value>,
        #[serde(borrow)]
        last_id: Text<'a>,
        #[serde(deserialize_with = "or_default")]
        has_more: bool,
    }
    let malformed = || failure::malformed("a list of items", body);
    let page: Page<'_> = serde_json::from_slice(body).map_err(|_| malformed())?;
    let mut chunks = ContextChunks::default();
    match page.data {
        Some(Value::Array(items)) => {
            chunks.chunks = items.into_iter().filter_map(|item| chunk(item, context)).collect();
        }
        Some(Value::Null) | None if body.trim_ascii().starts_with(b"{") => {}
        _ => return Err(malformed()),
    }
    let last = page.last_id.filled().map(str::to_owned);
    let last = last.or_else(|| chunks.chunks.last().map(|chunk| chunk.id.to_string()));
    chunks.next = last.filter(|_| page.has_more);
    Ok(chunks)
}

fn chunk(item: Value, context: &ContextId) -> Option<ContextChunk> {
    let Value::Object(mut fields) = item else { return None };
    let mut chunk = ContextChunk::default();
    chunk.context = context.clone();
    chunk.id = ChunkId::new(fields.remove("id")?.as_str()?);
    let text = |value: Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
    chunk.kind = text(fields.remove("type")).unwrap_or_else(|| "message".into());
    chunk.role = text(fields.remove("role"));
    chunk.created = fields.remove("created_at").and_then(|at| at.as_u64());
    let of = |name: &str| fields.get(name).map(said).unwrap_or_default();
    let said = ["content", "summary", "output", "arguments", "input"].map(of);
    chunk.text = said.into_iter().find(|text| !text.is_empty());
    fields.retain(|_, value| !value.is_null());
    fields.remove("content");
    chunk.details = fields.into_iter().collect();
    Some(chunk)
}

/// Returns the text of content: a text, or parts of which some have one.
fn said(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_owned();
    }
    let parts = content.as_array().into_iter().flatten();
    let texts = parts.filter_map(|part| ["text", "refusal"].iter().find_map(|n| part[*n].as_str()));
    joined(&texts.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &[u8] = br#"{"object":"list","data":[
  {"id":"msg_2","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"4 C","annotations":[]}]},
  {"id":"fc_1","type":"function_call","call_id":"call_a1","name":"get_weather","arguments":"{}","status":null},
  {"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}]},
  {"id":"msg_1","role":"critic","content":[{"type":"computer_screenshot"},{"type":"text","text":"Weather?"}]},
  {"type":"message"}, 7],
 "first_id":"msg_2","last_id":"msg_1","has_more":true}"#;

    #[test]
    fn items_become_chunks() {
        let page = decode(PAGE, &"conv_1".into()).unwrap();
        let seen: Vec<_> = page
            .chunks
            .iter()
            .map(|c| (c.id.as_str(), &*c.kind, c.role.as_deref(), c.text.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                ("msg_2", "message", Some("assistant"), Some("4 C")),
                ("fc_1", "function_call", None, Some("{}")),
                ("rs_1", "reasoning", None, Some("a\n\nb")),
                ("msg_1", "message", Some("critic"), Some("Weather?")),
            ]
        );
        assert_eq!(page.chunks[1].details["name"], "get_weather");
        assert_eq!(page.next.as_deref(), Some("msg_1"));
    }

    #[test]
    fn the_last_page_and_an_empty_one_end_the_list() {
        for body in [
            &br#"{"data":[{"id":"a"}],"has_more":false,"last_id":"a"}"#[..],
            br#"{"data":[],"has_more":null,"last_id":null}"#,
            br#"{"data":null}"#,
        ] {
            assert_eq!(decode(body, &"c".into()).unwrap().next, None);
        }
        let nameless = decode(br#"{"data":[{"id":"a"}],"has_more":true}"#, &"c".into()).unwrap();
        assert_eq!(nameless.next.as_deref(), Some("a"));
        assert!(decode(b"[]", &"c".into()).is_err());
        assert!(decode(br#"{"data":7}"#, &"c".into()).is_err());
    }
}
