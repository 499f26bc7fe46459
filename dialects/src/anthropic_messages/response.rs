//! Writes a whole answer, for a client that asked for no stream.

use plugin_api::{
    chat::{Content, ContentPart, Continuity, ToolCall, ToolKind},
    event::{FinishReason, Transcript},
    kit::body::{self, Array, Object},
};
use serde_json::{Map, Value, json};

use super::{
    DIALECT, Head,
    encoder::{End, stop_reason},
    sources, token, usage,
};

/// Writes a whole answer.
#[must_use]
pub fn encode_response(transcript: &Transcript, head: &Head) -> Vec<u8> {
    let mut end = End::default();
    for ((part, name), value) in &transcript.details {
        if part.is_none() {
            end.take(name, value);
        }
    }
    let reason = transcript.finish.unwrap_or(FinishReason::Stop);
    let word = stop_reason(reason, transcript.finish_detail.as_deref());
    let written = body::object(|o| {
        o.field("id", &head.id);
        o.field("type", "message");
        o.field("role", "assistant");
        o.field("model", &head.model);
        o.array("content", |out| {
            for part in &transcript.message().parts {
                block(part, out);
            }
        });
        o.field("stop_reason", word);
        o.field("stop_sequence", &end.stop_sequence);
        for (name, value) in &end.facts {
            o.field(name, value);
        }
        o.field("usage", &usage::to_json(&transcript.usage));
    });
    // Texts and JSON values that were read before can be written, and no blob is among them.
    written.ok().and_then(|body| body.as_bytes().map(<[u8]>::to_vec)).unwrap_or_default()
}

fn block(part: &ContentPart, out: &mut Array<'_>) {
    let token = |kind: &str| part.continuity.iter().find(|token| token.kind == kind);
    match &part.content {
        Content::Text(text) | Content::Refusal(text)
            if text.text.is_empty() && text.citations.is_empty() => {}
        Content::Text(text) | Content::Refusal(text) => out.object(|o| {
            o.field("type", "text");
            o.field("text", &text.text);
            let citations: Vec<Value> = text.citations.iter().map(sources::for_client).collect();
            if !citations.is_empty() {
                o.field("citations", &citations);
            }
        }),
        Content::Reasoning(thought) => match (token(token::SIGNATURE), token(REDACTED)) {
            (None, Some(Continuity { token, .. })) if thought.text.is_empty() => out.object(|o| {
                o.field("type", REDACTED);
                o.field("data", token);
            }),
            (signature, _) => out.object(|o| {
                o.field("type", "thinking");
                o.field("thinking", &thought.text);
                o.field("signature", signature.map_or("", |signature| &signature.token));
            }),
        },
        Content::ToolCall(call) => out.object(|o| {
            o.field("type", "tool_use");
            o.field("id", &call.id);
            o.field("name", &call.name);
            input(call, o);
        }),
        Content::Opaque(block) if block.dialect == DIALECT && block.value().is_some() => {
            out.raw(&block.json);
        }
        _ => {}
    }
}

/// Writes arguments as the object that clients expect.
fn input(call: &ToolCall, o: &mut Object<'_>) {
    let is_object = || serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok();
    match call.kind {
        ToolKind::Custom => o.field("input", &json!({"input": call.arguments})),
        _ if call.arguments.trim().is_empty() => o.raw("input", "{}"),
        _ if is_object() => o.raw("input", &call.arguments),
        _ => o.field("input", &json!({"invalid_json": call.arguments})),
    }
}

const REDACTED: &str = token::REDACTED_THINKING;
