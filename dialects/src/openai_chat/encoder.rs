//! Writes an answer for a client: as a stream of chunks, or whole.

use plugin_api::{
    chat::{Content, Continuity, DataSource, ToolKind},
    error::ProviderError,
    event::{ChatEvent, FinishReason, Transcript, Usage},
};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{Head, error, sources::to_annotation, token};
use crate::{base64, json::push};

/// Writes events as server-sent chunks, `[DONE]` included.
///
/// Reasoning goes out as `reasoning_content`, the name that most clients read; pictures as `images`, as
/// `OpenRouter` sends them and its clients look for them. Warnings, sound and blocks of other dialects
/// have no place and are left out; so is a continuity token of another dialect.
#[derive(Debug)]
pub struct Encoder {
    /// All of a chunk up to its delta.
    prefix: Vec<u8>,
    /// All of a chunk up to its choices.
    head_len: usize,
    include_usage: bool,
    legacy_functions: bool,
    role_sent: bool,
    usage: Usage,
    /// The part of each tool call; its place is the call's index.
    calls: Vec<(u32, ToolKind)>,
    /// A picture that may go on: its part, type and bytes.
    picture: Option<(u32, String, Vec<u8>)>,
}

impl Encoder {
    /// Makes an encoder; with `include_usage` the stream ends with the tokens used.
    #[must_use]
    pub fn new(head: &Head, include_usage: bool) -> Self {
        let mut prefix = b"data: {\"id\":".to_vec();
        push(&mut prefix, &head.id);
        prefix.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        push(&mut prefix, &head.created);
        prefix.extend_from_slice(b",\"model\":");
        push(&mut prefix, &head.model);
        prefix.extend_from_slice(b",\"choices\":[");
        let head_len = prefix.len();
        prefix.extend_from_slice(b"{\"index\":0,\"delta\":");
        Self {
            prefix,
            head_len,
            include_usage,
            legacy_functions: false,
            role_sent: false,
            usage: Usage::default(),
            calls: Vec::new(),
            picture: None,
        }
    }

    /// Answers in the words of `functions`, the predecessor of tools.
    #[must_use]
    pub fn legacy_functions(mut self, legacy: bool) -> Self {
        self.legacy_functions = legacy;
        self
    }

    /// Appends the chunks of an event to `out`. After `Finish` the stream is complete.
    pub fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match event {
            ChatEvent::MediaDelta { part, media_type, data } if media_type.starts_with(PICTURE) => {
                return self.picture(*part, media_type, data, out);
            }
            _ => self.end_picture(out),
        }
        match event {
            ChatEvent::Started { .. } => self.role(out),
            ChatEvent::TextDelta { text, .. } => self.text("content", text, out),
            ChatEvent::ReasoningDelta { text, .. } => self.text("reasoning_content", text, out),
            ChatEvent::RefusalDelta { text, .. } => self.text("refusal", text, out),
            ChatEvent::ToolCallStart { part, id, name, kind } => {
                self.calls.push((*part, *kind));
                let index = self.calls.len() - 1;
                let delta = match kind {
                    _ if self.legacy_functions => {
                        json!({"function_call": {"name": name, "arguments": ""}})
                    }
                    ToolKind::Custom => json!({"tool_calls": [{"index": index, "id": id,
                        "type": "custom", "custom": {"name": name, "input": ""}}]}),
                    _ => json!({"tool_calls": [{"index": index, "id": id,
                        "type": "function", "function": {"name": name, "arguments": ""}}]}),
                };
                self.delta(&delta, out);
            }
            ChatEvent::ToolCallDelta { part, arguments } => self.arguments(*part, arguments, out),
            ChatEvent::Continuity { part, continuity } => self.continuity(*part, continuity, out),
            ChatEvent::Citation { citation, .. } => {
                self.delta(&json!({"annotations": [to_annotation(citation)]}), out);
            }
            ChatEvent::Usage(usage) => self.usage.update(usage),
            ChatEvent::Finish { reason, detail } => self.finish(*reason, detail.as_deref(), out),
            _ => {}
        }
    }

    /// Appends a failure, in the form that clients look for in a stream, and the end.
    pub fn error(&mut self, failure: &ProviderError, out: &mut Vec<u8>) {
        let (_, body) = error::encode(failure);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&body);
        out.extend_from_slice(b"\n\ndata: [DONE]\n\n");
    }

    fn role(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.role_sent, true) {
            self.open(out);
            out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\"}");
            self.close("null", out);
        }
    }

    fn text(&mut self, field: &str, text: &str, out: &mut Vec<u8>) {
        self.role(out);
        self.open(out);
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(field.as_bytes());
        out.extend_from_slice(b"\":");
        push(out, text);
        out.push(b'}');
        self.close("null", out);
    }

    fn arguments(&mut self, part: u32, more: &str, out: &mut Vec<u8>) {
        let Some(index) = self.index(part) else { return };
        self.role(out);
        self.open(out);
        if self.legacy_functions {
            out.extend_from_slice(b"{\"function_call\":{\"arguments\":");
            push(out, more);
            out.extend_from_slice(b"}}");
        } else {
            out.extend_from_slice(b"{\"tool_calls\":[{\"index\":");
            push(out, &index);
            let field: &[u8] = match self.calls[index].1 {
                ToolKind::Custom => b",\"custom\":{\"input\":",
                _ => b",\"function\":{\"arguments\":",
            };
            out.extend_from_slice(field);
            push(out, more);
            out.extend_from_slice(b"}}]}");
        }
        self.close("null", out);
    }

    fn picture(&mut self, part: u32, media_type: &str, data: &[u8], out: &mut Vec<u8>) {
        match &mut self.picture {
            Some((open, _, all)) if *open == part => all.extend_from_slice(data),
            _ => {
                self.end_picture(out);
                self.picture = Some((part, media_type.to_owned(), data.to_vec()));
            }
        }
    }

    fn end_picture(&mut self, out: &mut Vec<u8>) {
        if let Some((_, media_type, data)) = self.picture.take() {
            self.delta(&json!({"images": [to_image(&media_type, &data)]}), out);
        }
    }

    fn continuity(&mut self, part: u32, continuity: &Continuity, out: &mut Vec<u8>) {
        match &*continuity.kind {
            token::THOUGHT_SIGNATURE => {
                let Some(index) = self.index(part) else { return };
                let extra = json!({"google": {"thought_signature": continuity.token}});
                // OpenAI's own library insists that every piece of a call says what is called.
                let (name, piece) = match self.calls[index].1 {
                    ToolKind::Custom => ("custom", json!({"input": ""})),
                    _ => ("function", json!({"arguments": ""})),
                };
                let call = json!({"index": index, name: piece, "extra_content": extra});
                self.delta(&json!({"tool_calls": [call]}), out);
            }
            token::REASONING_DETAILS => {
                if let Ok(details) = serde_json::from_str::<&RawValue>(&continuity.token) {
                    self.delta(
                        &Map::from_iter([("reasoning_details".to_owned(), json!(details))]),
                        out,
                    );
                }
            }
            _ => {}
        }
    }

    fn index(&self, part: u32) -> Option<usize> {
        self.calls.iter().rposition(|(have, _)| *have == part)
    }

    fn delta(&mut self, delta: &impl Serialize, out: &mut Vec<u8>) {
        self.role(out);
        self.open(out);
        push(out, delta);
        self.close("null", out);
    }

    fn finish(&mut self, reason: FinishReason, detail: Option<&str>, out: &mut Vec<u8>) {
        self.role(out);
        self.open(out);
        out.extend_from_slice(b"{}");
        let mut word = finish_word(reason, detail);
        if self.legacy_functions && word == "tool_calls" {
            word = "function_call";
        }
        self.close(&json!(word).to_string(), out);
        if self.include_usage {
            out.extend_from_slice(&self.prefix[..self.head_len]);
            out.extend_from_slice(b"],\"usage\":");
            push(out, &usage_json(&self.usage));
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
    }

    fn close(&self, finish_reason: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"finish_reason\":");
        out.extend_from_slice(finish_reason.as_bytes());
        out.extend_from_slice(if self.include_usage {
            b"}],\"usage\":null}\n\n"
        } else {
            b"}]}\n\n"
        });
    }
}

/// What the type of a picture begins with.
const PICTURE: &str = "image/";

/// Writes a picture that the model made.
fn to_image(media_type: &str, data: &[u8]) -> Value {
    let url = base64::uri_prefix(media_type) + &base64::encode(data);
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// Writes a whole answer, for a client that asked for no stream; with `legacy_functions` in the words of
/// `functions`, the predecessor of tools.
#[must_use]
pub fn encode_response(transcript: &Transcript, head: &Head, legacy_functions: bool) -> Vec<u8> {
    let (mut text, mut reasoning, mut refusal) = (String::new(), String::new(), String::new());
    let (mut calls, mut details, mut annotations) = (Vec::new(), Vec::new(), Vec::new());
    let mut images = Vec::new();
    for part in &transcript.message().parts {
        match &part.content {
            Content::Text(said) => {
                text.push_str(&said.text);
                annotations.extend(said.citations.iter().map(to_annotation));
            }
            Content::Reasoning(thought) => reasoning.push_str(&thought.text),
            Content::Refusal(said) => refusal.push_str(&said.text),
            Content::Image(media) => {
                if let DataSource::Inline { data } = &media.source {
                    images.push(to_image(media.media_type.as_deref().unwrap_or("image/png"), data));
                }
            }
            Content::ToolCall(call) => calls.push(match call.kind {
                ToolKind::Custom => {
                    let custom = json!({"name": call.name, "input": call.arguments});
                    json!({"id": call.id, "type": "custom", "custom": custom})
                }
                _ => {
                    let function = json!({"name": call.name, "arguments": call.arguments});
                    json!({"id": call.id, "type": "function", "function": function})
                }
            }),
            _ => {}
        }
        for continuity in &part.continuity {
            match (&*continuity.kind, calls.last_mut()) {
                (token::THOUGHT_SIGNATURE, Some(call)) => {
                    call["extra_content"] =
                        json!({"google": {"thought_signature": continuity.token}});
                }
                (token::REASONING_DETAILS, _) => {
                    let list: Vec<Value> =
                        serde_json::from_str(&continuity.token).unwrap_or_default();
                    details.extend(list);
                }
                _ => {}
            }
        }
    }
    let or_null = |text: String| if text.is_empty() { Value::Null } else { text.into() };
    let mut message =
        json!({"role": "assistant", "content": or_null(text), "refusal": or_null(refusal)});
    let reason = transcript.finish.unwrap_or(FinishReason::Stop);
    let mut finish = finish_word(reason, transcript.finish_detail.as_deref());
    if let (true, [call, ..]) = (legacy_functions, &calls[..]) {
        // It has one call and no id.
        message["function_call"] = call["function"].clone();
        calls.clear();
        finish = if finish == "tool_calls" { "function_call" } else { finish };
    }
    for (name, there, value) in [
        ("reasoning_content", !reasoning.is_empty(), json!(reasoning)),
        ("reasoning_details", !details.is_empty(), json!(details)),
        ("tool_calls", !calls.is_empty(), json!(calls)),
        ("annotations", !annotations.is_empty(), json!(annotations)),
        ("images", !images.is_empty(), json!(images)),
    ] {
        if there {
            message[name] = value;
        }
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": finish, "logprobs": null});
    let mut answer = json!({
        "id": head.id, "object": "chat.completion", "created": head.created, "model": head.model,
        "choices": [choice],
    });
    if transcript.usage != Usage::default() {
        answer["usage"] = usage_json(&transcript.usage);
    }
    answer.to_string().into_bytes()
}

pub(super) fn finish_word(reason: FinishReason, detail: Option<&str>) -> &str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Error => "error",
        FinishReason::Other => detail.unwrap_or("stop"),
        _ => "stop",
    }
}

/// Writes usage in OpenAI's words; the three totals are always there, because clients add them up.
pub(super) fn usage_json(usage: &Usage) -> Value {
    let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
    let mut value = json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output),
    });
    for (place, name, count) in [
        ("prompt_tokens_details", "cached_tokens", usage.cached_input_tokens),
        ("prompt_tokens_details", "cache_write_tokens", usage.cache_write_tokens),
        ("completion_tokens_details", "reasoning_tokens", usage.reasoning_tokens),
    ] {
        if let Some(count) = count {
            value[place][name] = count.into();
        }
    }
    value
}
