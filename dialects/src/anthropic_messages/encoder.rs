//! Writes an answer for a client, as a stream of events.

use plugin_api::{
    chat::{Continuity, ToolKind},
    error::ProviderError,
    event::{ChatEvent, FinishReason, Usage},
};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{DIALECT, Head, error, sources, token, usage};
use crate::json::push;

/// Writes events as server-sent ones, from `message_start` to `message_stop`.
///
/// A client of this format reads one block after the other. Events of neutral parts may mingle
/// (parallel calls of other vendors), so what belongs to a later part waits until an open tool call
/// has ended. Warnings, media, tokens and blocks of other dialects have no place and are left out.
#[derive(Debug)]
pub struct Encoder {
    head: Head,
    started: bool,
    usage: Usage,
    end: End,
    /// The number of the next block.
    next: u64,
    open: Option<(u32, Kind)>,
    /// What came for other parts while a tool call was open.
    waiting: Vec<ChatEvent>,
}

/// What the last events say.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) stop_sequence: Value,
    pub(super) facts: Map<String, Value>,
}

impl End {
    /// Takes a fact beside the answer; says whether it has a place in this format.
    pub(super) fn take(&mut self, name: &str, value: &Value) {
        match name {
            "stop_sequence" => self.stop_sequence = value.clone(),
            "stop_details" | "container" => {
                self.facts.insert(name.to_owned(), value.clone());
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call(ToolKind),
}

impl Encoder {
    /// Makes an encoder.
    #[must_use]
    pub fn new(head: &Head) -> Self {
        Self {
            head: head.clone(),
            started: false,
            usage: Usage::default(),
            end: End::default(),
            next: 0,
            open: None,
            waiting: Vec::new(),
        }
    }

    /// Appends what an event becomes to `out`. After `Finish` the stream is complete.
    pub fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        if self.must_wait(event) {
            return self.waiting.push(event.clone());
        }
        match event {
            ChatEvent::TextDelta { part, text } | ChatEvent::RefusalDelta { part, text }
                if !text.is_empty() =>
            {
                self.enter(*part, Kind::Text, out);
                self.delta("text_delta", "text", text, out);
            }
            ChatEvent::ReasoningDelta { part, text, .. } => {
                self.enter(*part, Kind::Thinking, out);
                if !text.is_empty() {
                    self.delta("thinking_delta", "thinking", text, out);
                }
            }
            ChatEvent::Continuity { part, continuity } => self.token(*part, continuity, out),
            ChatEvent::Citation { part, citation } => {
                self.enter(*part, Kind::Text, out);
                let citation = sources::for_client(citation);
                let delta = json!({"type": "citations_delta", "citation": citation});
                self.send_delta(&delta, out);
            }
            ChatEvent::ToolCallStart { part, id, name, kind } => {
                self.close(out);
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.start(&block, out);
                self.open = Some((*part, Kind::Call(*kind)));
                if *kind == ToolKind::Custom {
                    self.delta("input_json_delta", "partial_json", "{\"input\":\"", out);
                }
            }
            ChatEvent::ToolCallDelta { arguments, .. } => self.arguments(arguments, out),
            ChatEvent::ToolCallEnd { .. } => {
                if let Some((_, Kind::Call(ToolKind::Custom))) = self.open {
                    self.delta("input_json_delta", "partial_json", "\"}", out);
                }
                self.close(out);
                for event in std::mem::take(&mut self.waiting) {
                    self.event(&event, out);
                }
            }
            ChatEvent::Opaque { block, .. } if block.dialect == DIALECT => {
                if let Ok(raw) = serde_json::from_str::<&RawValue>(&block.json) {
                    self.close(out);
                    self.start(&raw, out);
                    self.stop(out);
                }
            }
            ChatEvent::Usage(usage) => self.usage.update(usage),
            ChatEvent::Detail { part: None, name, value } => self.end.take(name, value),
            ChatEvent::Finish { reason, detail } => self.finish(*reason, detail.as_deref(), out),
            _ => {}
        }
    }

    /// Appends a sign of life, for when the provider is silent.
    pub fn ping(&self, out: &mut Vec<u8>) {
        send("ping", &json!({"type": "ping"}), out);
    }

    /// Appends a failure, in the form that clients look for in a stream. Nothing may follow.
    pub fn error(&mut self, failure: &ProviderError, out: &mut Vec<u8>) {
        let (_, body) = error::encode(failure);
        out.extend_from_slice(b"event: error\ndata: ");
        out.extend_from_slice(&body);
        out.extend_from_slice(b"\n\n");
    }

    /// Reports whether an event belongs to another part than the tool call that is open.
    fn must_wait(&self, event: &ChatEvent) -> bool {
        let Some((open, Kind::Call(_))) = self.open else { return false };
        match event {
            ChatEvent::TextDelta { part, .. }
            | ChatEvent::RefusalDelta { part, .. }
            | ChatEvent::ReasoningDelta { part, .. }
            | ChatEvent::Continuity { part, .. }
            | ChatEvent::Citation { part, .. }
            | ChatEvent::ToolCallStart { part, .. }
            | ChatEvent::ToolCallDelta { part, .. }
            | ChatEvent::ToolCallEnd { part }
            | ChatEvent::Opaque { part, .. } => *part != open,
            _ => false,
        }
    }

    /// Reports whether a part is open and no thinking: its token is not of this format.
    fn is_said(&self, part: u32) -> bool {
        matches!(self.open, Some((open, kind)) if open == part && kind != Kind::Thinking)
    }

    fn token(&mut self, part: u32, continuity: &Continuity, out: &mut Vec<u8>) {
        match &*continuity.kind {
            token::SIGNATURE if !self.is_said(part) => {
                self.enter(part, Kind::Thinking, out);
                self.delta("signature_delta", "signature", &continuity.token, out);
            }
            token::REDACTED_THINKING => {
                self.close(out);
                let block = json!({"type": "redacted_thinking", "data": continuity.token});
                self.start(&block, out);
                self.stop(out);
            }
            _ => {}
        }
    }

    fn arguments(&mut self, more: &str, out: &mut Vec<u8>) {
        match self.open {
            Some((_, Kind::Call(ToolKind::Custom))) => {
                // Free text goes out as a JSON string, piece by piece.
                let quoted = Value::from(more).to_string();
                let inside = &quoted[1..quoted.len() - 1];
                self.delta("input_json_delta", "partial_json", inside, out);
            }
            Some((_, Kind::Call(_))) => {
                self.delta("input_json_delta", "partial_json", more, out);
            }
            _ => {}
        }
    }

    /// Opens a block for a part, unless it is open.
    fn enter(&mut self, part: u32, kind: Kind, out: &mut Vec<u8>) {
        if self.open == Some((part, kind)) {
            return;
        }
        self.close(out);
        let block = match kind {
            Kind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            _ => json!({"type": "text", "text": ""}),
        };
        self.start(&block, out);
        self.open = Some((part, kind));
    }

    fn start<T: Serialize>(&mut self, block: &T, out: &mut Vec<u8>) {
        self.begin(out);
        out.extend_from_slice(
            b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":",
        );
        push(out, &self.next);
        out.extend_from_slice(b",\"content_block\":");
        push(out, block);
        out.extend_from_slice(b"}\n\n");
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            self.stop(out);
        }
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        let data = json!({"type": "content_block_stop", "index": self.next});
        send("content_block_stop", &data, out);
        self.next += 1;
    }

    fn delta(&self, kind: &str, field: &str, text: &str, out: &mut Vec<u8>) {
        let delta = json!({"type": kind, field: text});
        self.send_delta(&delta, out);
    }

    fn send_delta(&self, delta: &Value, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
        );
        push(out, &self.next);
        out.extend_from_slice(b",\"delta\":");
        push(out, delta);
        out.extend_from_slice(b"}\n\n");
    }

    /// Sends `message_start`, not before there is something to say: the tokens of the prompt belong
    /// into it, and they may come after the start.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let message = json!({
            "id": self.head.id, "type": "message", "role": "assistant", "model": self.head.model,
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": usage::to_json(&self.usage),
        });
        send("message_start", &json!({"type": "message_start", "message": message}), out);
    }

    fn finish(&mut self, reason: FinishReason, detail: Option<&str>, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(out);
        if reason == FinishReason::Error {
            // The format has no good end for an answer that was given up.
            let kind = plugin_api::error::ErrorKind::Unavailable;
            let gave_up = "the provider gave up in the middle of the answer";
            return self.error(&ProviderError::new(kind, gave_up), out);
        }
        let mut delta = std::mem::take(&mut self.end.facts);
        delta.insert("stop_reason".into(), stop_reason(reason, detail).into());
        delta.insert("stop_sequence".into(), self.end.stop_sequence.take());
        let usage = usage::to_json(&self.usage);
        let data = json!({"type": "message_delta", "delta": delta, "usage": usage});
        send("message_delta", &data, out);
        send("message_stop", &json!({"type": "message_stop"}), out);
    }
}

/// Returns the vendor's word for a reason.
pub(super) fn stop_reason(reason: FinishReason, detail: Option<&str>) -> &str {
    match (reason, detail) {
        (FinishReason::Stop, Some("stop_sequence")) => "stop_sequence",
        (FinishReason::Length, Some(word @ "model_context_window_exceeded")) => word,
        (FinishReason::Length, _) => "max_tokens",
        (FinishReason::ToolCalls, _) => "tool_use",
        (FinishReason::ContentFilter, _) => "refusal",
        (FinishReason::Pause, Some(word @ "compaction")) => word,
        (FinishReason::Pause, _) => "pause_turn",
        (FinishReason::Other, Some(word)) => word,
        _ => "end_turn",
    }
}

fn send(name: &str, data: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    push(out, data);
    out.extend_from_slice(b"\n\n");
}
