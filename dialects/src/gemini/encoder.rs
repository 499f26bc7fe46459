//! Writes an answer for a client: as a stream of chunks, or whole.

use std::collections::BTreeMap;

use plugin_api::{
    chat::{Content, ContentPart, Continuity, DataSource, ToolKind},
    error::ProviderError,
    event::{ChatEvent, FinishReason, Transcript, Usage},
};
use serde_json::{Map, Value, json};

use super::{
    DIALECT, Head,
    calls::{self, wire_id},
    detail, error, finish,
    sources::citation_source,
    token, usage,
};
use crate::{base64, json::push};

/// How chunks follow one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// As server-sent events, for `alt=sse`.
    #[default]
    Sse,
    /// As the items of one JSON array, for clients that did not ask for events.
    Array,
}

/// Writes events as chunks.
///
/// A part's signature stands on the wire beside its content, but comes as an event after it. Text does not
/// wait for it: a late one goes out on a piece without text, as the vendor does. Calls and media wait until
/// the next part, and go out whole. Warnings, tokens and blocks of
/// other dialects have no place and are left out.
#[derive(Debug)]
pub struct Encoder {
    layout: Layout,
    /// All of a chunk behind its candidates or usage.
    suffix: Vec<u8>,
    begun: bool,
    held: Option<Held>,
    /// The part whose text went out last, and whether it is a thought.
    said: Option<(u32, bool)>,
    /// Calls whose arguments are still coming.
    calls: BTreeMap<u32, Piece>,
    /// Signatures that came before their part's content.
    early: BTreeMap<u32, String>,
    usage: Usage,
    facts: Vec<(String, Value)>,
    citations: Vec<Value>,
}

#[derive(Debug)]
struct Held {
    part: u32,
    piece: Piece,
    signature: Option<String>,
}

/// A part of an answer, or a piece of one.
#[derive(Debug)]
enum Piece {
    Text(String),
    Thought(String),
    Call { id: String, name: String, kind: ToolKind, arguments: String },
    Media { media_type: String, data: Vec<u8> },
    Block(String),
}

impl Encoder {
    /// Makes an encoder.
    #[must_use]
    pub fn new(head: &Head, layout: Layout) -> Self {
        let mut suffix = b",\"modelVersion\":".to_vec();
        push(&mut suffix, &head.model);
        suffix.extend_from_slice(b",\"responseId\":");
        push(&mut suffix, &head.id);
        suffix.push(b'}');
        Self {
            layout,
            suffix,
            begun: false,
            held: None,
            said: None,
            calls: BTreeMap::new(),
            early: BTreeMap::new(),
            usage: Usage::default(),
            facts: Vec::new(),
            citations: Vec::new(),
        }
    }

    /// Goes on with an answer that was begun elsewhere: only what is still to be said is written.
    #[must_use]
    pub fn resumed(mut self) -> Self {
        self.begun = true;
        self
    }

    /// Appends the chunks of an event to `out`. After `Finish` the stream is complete.
    pub fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match event {
            ChatEvent::TextDelta { part, text } | ChatEvent::RefusalDelta { part, text } => {
                self.say(*part, Piece::Text(text.clone()), out);
            }
            ChatEvent::ReasoningDelta { part, text, .. } => {
                self.say(*part, Piece::Thought(text.clone()), out);
            }
            ChatEvent::MediaDelta { part, media_type, data } => {
                if let Some(Held { part: open, piece: Piece::Media { data: all, .. }, .. }) =
                    &mut self.held
                    && open == part
                {
                    return all.extend_from_slice(data);
                }
                let (media_type, data) = (media_type.clone(), data.clone());
                self.hold(*part, Piece::Media { media_type, data }, out);
            }
            ChatEvent::Opaque { part, block } if block.dialect == DIALECT => {
                if let Some(json) = calls::object(&block.json) {
                    self.hold(*part, Piece::Block(json.to_owned()), out);
                }
            }
            ChatEvent::ToolCallStart { part, id, name, kind } => {
                let (id, name, arguments) = (id.clone(), name.clone(), String::new());
                self.calls.insert(*part, Piece::Call { id, name, kind: *kind, arguments });
            }
            ChatEvent::ToolCallDelta { part, arguments: more } => {
                if let Some(Piece::Call { arguments, .. }) = self.calls.get_mut(part) {
                    arguments.push_str(more);
                }
            }
            ChatEvent::ToolCallEnd { part } => {
                if let Some(call) = self.calls.remove(part) {
                    self.hold(*part, call, out);
                }
            }
            ChatEvent::Continuity { part, continuity } => self.sign(*part, continuity, out),
            ChatEvent::Citation { citation, .. } => {
                self.citations.extend(citation_source(citation));
            }
            ChatEvent::Usage(usage) => self.usage.update(usage),
            ChatEvent::Detail { part: None, name, value } if name == detail::LOGPROBS => {
                for value in value.as_array().into_iter().flatten() {
                    self.candidate(&json!({"index": 0, "logprobsResult": value}), None, out);
                }
            }
            ChatEvent::Detail { part: None, name, value } => {
                self.facts.retain(|(have, _)| have != name);
                self.facts.push((name.clone(), value.clone()));
            }
            ChatEvent::Finish { reason, detail } => self.finish(*reason, detail.as_deref(), out),
            _ => {}
        }
    }

    /// Appends a failure, bare as the vendor writes it in the middle of a stream, and the end.
    pub fn error(&mut self, failure: &ProviderError, out: &mut Vec<u8>) {
        self.flush(out);
        let (_, body) = error::encode(failure);
        match self.layout {
            Layout::Sse => {
                out.extend_from_slice(&body);
                out.extend_from_slice(b"\r\n");
            }
            Layout::Array => {
                self.open(out);
                out.extend_from_slice(&body);
                out.extend_from_slice(b"\r\n]\r\n");
            }
        }
    }

    fn sign(&mut self, part: u32, continuity: &Continuity, out: &mut Vec<u8>) {
        if continuity.kind != token::THOUGHT_SIGNATURE {
            return;
        }
        match &mut self.held {
            Some(held) if held.part == part => held.signature = Some(continuity.token.clone()),
            _ => match self.said {
                Some((said, thought)) if said == part => {
                    let empty = if thought { Piece::Thought } else { Piece::Text };
                    self.part(&empty(String::new()), Some(&continuity.token), out);
                }
                _ => drop(self.early.insert(part, continuity.token.clone())),
            },
        }
    }

    /// Writes a piece of text at once, after what was held back.
    ///
    /// Of two parts of a kind that follow each other only a signature tells where one ends, so the second
    /// waits for its own.
    fn say(&mut self, part: u32, piece: Piece, out: &mut Vec<u8>) {
        let is_thought = matches!(piece, Piece::Thought(_));
        let follows = match (&self.held, self.said) {
            (Some(held), _) => match held.piece {
                Piece::Text(_) => !is_thought || held.part == part,
                Piece::Thought(_) => is_thought || held.part == part,
                _ => false,
            },
            (None, Some((said, thought))) => said != part && thought == is_thought,
            (None, None) => false,
        };
        if follows {
            return self.hold(part, piece, out);
        }
        self.flush(out);
        self.hidden(part, out);
        let signature = self.early.remove(&part);
        let (Piece::Text(text) | Piece::Thought(text)) = &piece else { return };
        if !text.is_empty() || signature.is_some() {
            self.part(&piece, signature.as_deref(), out);
        }
        self.said = Some((part, is_thought));
    }

    /// Holds a piece back, after what was held goes out.
    fn hold(&mut self, part: u32, piece: Piece, out: &mut Vec<u8>) {
        if self.held.as_ref().is_some_and(|held| held.part == part) {
            // More of the same part: what is held is not its last piece.
            if let Some(held) = self.held.take().filter(|held| !held.is_empty()) {
                self.part(&held.piece, held.signature.as_deref(), out);
            }
        } else {
            self.flush(out);
            self.hidden(part, out);
        }
        self.held = Some(Held { part, piece, signature: None });
        self.said = None;
    }

    /// Writes the last piece of a part.
    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(mut held) = self.held.take() {
            held.signature = held.signature.or_else(|| self.early.remove(&held.part));
            if !held.is_empty() {
                self.part(&held.piece, held.signature.as_deref(), out);
            }
        }
    }

    /// Writes the tokens before a part that came without content: thoughts that were not shown.
    fn hidden(&mut self, before: u32, out: &mut Vec<u8>) {
        let waiting = self.early.range(..before).map(|(part, _)| *part);
        let alone: Vec<u32> = waiting.filter(|part| !self.calls.contains_key(part)).collect();
        for part in alone {
            let signature = self.early.remove(&part);
            self.part(&Piece::Thought(String::new()), signature.as_deref(), out);
        }
    }

    fn part(&mut self, piece: &Piece, signature: Option<&str>, out: &mut Vec<u8>) {
        self.open(out);
        out.extend_from_slice(b"{\"candidates\":[{\"content\":{\"parts\":[");
        push_part(piece, signature, out);
        out.extend_from_slice(b"],\"role\":\"model\"},\"index\":0}]");
        self.close(out);
    }

    fn candidate(&mut self, candidate: &Value, usage: Option<Value>, out: &mut Vec<u8>) {
        self.open(out);
        out.extend_from_slice(b"{\"candidates\":[");
        push(out, candidate);
        out.push(b']');
        if let Some(usage) = usage {
            out.extend_from_slice(b",\"usageMetadata\":");
            push(out, &usage);
        }
        self.close(out);
    }

    fn finish(&mut self, reason: FinishReason, detail: Option<&str>, out: &mut Vec<u8>) {
        for (part, call) in std::mem::take(&mut self.calls) {
            self.hold(part, call, out);
        }
        self.flush(out);
        self.hidden(u32::MAX, out);
        let mut candidate = Map::new();
        candidate.insert("finishReason".into(), finish::write(reason, detail).into());
        candidate.insert("index".into(), 0.into());
        let facts = std::mem::take(&mut self.facts);
        let ratings = beside(&mut candidate, &self.citations, facts);
        if let Some(ratings) = ratings {
            self.open(out);
            out.extend_from_slice(b"{\"promptFeedback\":");
            push(out, &json!({ "safetyRatings": ratings }));
            self.close(out);
        }
        let usage = (self.usage != Usage::default()).then(|| usage::to_json(&self.usage));
        self.candidate(&candidate.into(), usage, out);
        if self.layout == Layout::Array {
            out.extend_from_slice(b"]\r\n");
        }
    }

    fn open(&mut self, out: &mut Vec<u8>) {
        let first = !std::mem::replace(&mut self.begun, true);
        out.extend_from_slice(match (self.layout, first) {
            (Layout::Sse, _) => b"data: ",
            (Layout::Array, true) => b"[",
            (Layout::Array, false) => b",",
        });
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.suffix);
        out.extend_from_slice(match self.layout {
            Layout::Sse => b"\r\n\r\n",
            Layout::Array => b"\r\n",
        });
    }
}

impl Held {
    /// Reports whether it says nothing and carries nothing.
    fn is_empty(&self) -> bool {
        let (Piece::Text(text) | Piece::Thought(text)) = &self.piece else { return false };
        text.is_empty() && self.signature.is_none()
    }
}

/// Writes a whole answer, for a client that asked for no stream.
#[must_use]
pub fn encode_response(transcript: &Transcript, head: &Head) -> Vec<u8> {
    let mut citations = Vec::new();
    let mut out = b"{\"candidates\":[{\"content\":{\"parts\":[".to_vec();
    let mut first = true;
    for part in &transcript.message().parts {
        if let Content::Text(text) = &part.content {
            citations.extend(text.citations.iter().filter_map(citation_source));
        }
        let Some(held) = whole(part).filter(|held| !held.is_empty()) else { continue };
        if !std::mem::replace(&mut first, false) {
            out.push(b',');
        }
        push_part(&held.piece, held.signature.as_deref(), &mut out);
    }
    out.extend_from_slice(b"],\"role\":\"model\"},");
    let mut candidate = Map::new();
    let reason = transcript.finish.unwrap_or(FinishReason::Stop);
    let word = finish::write(reason, transcript.finish_detail.as_deref());
    candidate.insert("finishReason".into(), word.into());
    candidate.insert("index".into(), 0.into());
    let facts = transcript.details.iter().filter(|((part, _), _)| part.is_none());
    let facts = facts.map(|((_, name), value)| (name.clone(), value.clone())).collect();
    let ratings = beside(&mut candidate, &citations, facts);
    let mut fields = Vec::new();
    push(&mut fields, &candidate);
    // Without its opening brace: the content stands before it in the same object.
    out.extend_from_slice(&fields[1..]);
    out.extend_from_slice(b"]");
    if let Some(ratings) = ratings {
        out.extend_from_slice(b",\"promptFeedback\":");
        push(&mut out, &json!({ "safetyRatings": ratings }));
    }
    if transcript.usage != Usage::default() {
        out.extend_from_slice(b",\"usageMetadata\":");
        push(&mut out, &usage::to_json(&transcript.usage));
    }
    out.extend_from_slice(&Encoder::new(head, Layout::Sse).suffix);
    out
}

fn whole(part: &ContentPart) -> Option<Held> {
    let piece = match &part.content {
        Content::Text(text) | Content::Refusal(text) => Piece::Text(text.text.clone()),
        Content::Reasoning(thought) => Piece::Thought(thought.text.clone()),
        Content::ToolCall(call) => Piece::Call {
            id: call.id.clone(),
            name: call.name.clone(),
            kind: call.kind,
            arguments: call.arguments.clone(),
        },
        Content::Opaque(block) if block.dialect == DIALECT => {
            Piece::Block(calls::object(&block.json)?.to_owned())
        }
        Content::Image(media) | Content::Audio(media) | Content::File(media) => {
            let DataSource::Inline { data } = &media.source else { return None };
            let media_type = media.media_type.clone().unwrap_or_default();
            Piece::Media { media_type, data: data.clone() }
        }
        _ => return None,
    };
    let mut tokens = part.continuity.iter();
    let signature = tokens.find(|token| token.kind == token::THOUGHT_SIGNATURE);
    Some(Held { part: 0, piece, signature: signature.map(|token| token.token.clone()) })
}

fn push_part(piece: &Piece, signature: Option<&str>, out: &mut Vec<u8>) {
    match piece {
        // The signature of a block is part of it.
        Piece::Block(json) => return out.extend_from_slice(json.as_bytes()),
        Piece::Text(text) => {
            out.extend_from_slice(b"{\"text\":");
            push(out, text);
        }
        Piece::Thought(text) => {
            out.extend_from_slice(b"{\"text\":");
            push(out, text);
            out.extend_from_slice(b",\"thought\":true");
        }
        Piece::Media { media_type, data } => {
            out.extend_from_slice(b"{\"inlineData\":");
            push(out, &json!({"mimeType": media_type, "data": base64::encode(data)}));
        }
        Piece::Call { id, name, kind, arguments } => {
            out.extend_from_slice(b"{\"functionCall\":{");
            if let Some(id) = wire_id(id) {
                out.extend_from_slice(b"\"id\":");
                push(out, id);
                out.push(b',');
            }
            out.extend_from_slice(b"\"name\":");
            push(out, name);
            out.extend_from_slice(b",\"args\":");
            if *kind == ToolKind::Custom {
                push(out, &json!({ "input": arguments }));
            } else {
                out.extend_from_slice(calls::arguments(arguments).0.as_bytes());
            }
            out.push(b'}');
        }
    }
    if let Some(signature) = signature {
        out.extend_from_slice(b",\"thoughtSignature\":");
        push(out, signature);
    }
    out.push(b'}');
}

/// Writes what stands beside a candidate's content; returns the ratings of the prompt, which stand
/// outside.
fn beside(
    candidate: &mut Map<String, Value>,
    citations: &[Value],
    facts: Vec<(String, Value)>,
) -> Option<Value> {
    if !citations.is_empty() {
        candidate.insert("citationMetadata".into(), json!({ "citationSources": citations }));
    }
    let mut ratings = None;
    for (name, value) in facts {
        let field = match &*name {
            detail::GROUNDING => "groundingMetadata",
            detail::SAFETY_RATINGS => "safetyRatings",
            detail::URL_CONTEXT => "urlContextMetadata",
            detail::AVG_LOGPROBS => "avgLogprobs",
            detail::FINISH_MESSAGE => "finishMessage",
            detail::CONTINUATION_TOKEN => "continuationToken",
            detail::LOGPROBS => {
                // A whole answer has one place for them.
                if let Some(last) = value.as_array().and_then(|list| list.last()) {
                    candidate.insert("logprobsResult".into(), last.clone());
                }
                continue;
            }
            detail::PROMPT_SAFETY_RATINGS => {
                ratings = Some(value);
                continue;
            }
            _ => continue,
        };
        candidate.insert(field.into(), value);
    }
    ratings
}
