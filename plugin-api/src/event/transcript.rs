//! A whole answer from its events, and events from a whole answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ChatEvent, FinishReason, Usage};
use crate::{
    chat::{Content, ContentPart, Continuity, Message, Reasoning, Role, Text, ToolCall},
    id::ContextId,
};

/// Rebuilds an assistant's message from its events.
///
/// Used to store a conversation, to answer a client that did not ask for a stream, and in tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    parts: Vec<Slot>,
    /// The vendor's id of the answer.
    pub id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// Tokens used, as last reported.
    pub usage: Usage,
    /// Why the answer ended; `None` while it goes on.
    pub finish: Option<FinishReason>,
    /// The vendor's own word for the end.
    pub finish_detail: Option<String>,
    /// Warnings, in order.
    pub warnings: Vec<String>,
    /// Facts beside the answer, by part and name.
    pub details: BTreeMap<(Option<u32>, String), Value>,
    /// What the next request may continue with.
    pub context: Option<ContextId>,
}

/// A part as far as it came.
#[derive(Clone, Debug, Default, PartialEq)]
struct Slot {
    /// What it is, once content came.
    content: Option<Content>,
    continuity: Vec<Continuity>,
}

impl Transcript {
    /// Makes an empty transcript.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rebuilds a transcript from events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a ChatEvent>) -> Self {
        let mut transcript = Self::new();
        for event in events {
            transcript.push(event);
        }
        transcript
    }

    /// Adds an event. Events that break the grammar are taken as far as they make sense.
    pub fn push(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Started { id, model } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            ChatEvent::TextDelta { part, text } => {
                if let Content::Text(t) = self.part(*part, || Content::Text(Text::default())) {
                    t.text.push_str(text);
                }
            }
            ChatEvent::ReasoningDelta { part, text, summary } => {
                let content = self.part(*part, || Content::Reasoning(Reasoning::default()));
                if let Content::Reasoning(r) = content {
                    r.text.push_str(text);
                    r.summary = *summary;
                }
            }
            ChatEvent::RefusalDelta { part, text } => {
                if let Content::Refusal(t) = self.part(*part, || Content::Refusal(Text::default()))
                {
                    t.text.push_str(text);
                }
            }
            ChatEvent::ToolCallStart { part, id, name, kind } => {
                let mut call = ToolCall::new(id, name, "");
                call.kind = *kind;
                self.part(*part, || Content::ToolCall(call));
            }
            ChatEvent::ToolCallDelta { part, arguments } => {
                if let Some(Content::ToolCall(call)) = self.existing(*part) {
                    call.arguments.push_str(arguments);
                }
            }
            ChatEvent::ToolCallEnd { .. } => {}
            ChatEvent::Continuity { part, continuity } => {
                self.slot(*part).continuity.push(continuity.clone());
            }
            ChatEvent::Citation { part, citation } => {
                if let Content::Text(t) = self.part(*part, || Content::Text(Text::default())) {
                    t.citations.push((**citation).clone());
                }
            }
            ChatEvent::Opaque { part, block } => {
                self.part(*part, || Content::Opaque(block.clone()));
            }
            ChatEvent::MediaDelta { part, media_type, data } => self.media(*part, media_type, data),
            ChatEvent::Usage(usage) => self.usage.update(usage),
            ChatEvent::Detail { part, name, value } => {
                let known = self.details.entry((*part, name.clone())).or_default();
                match (known, value) {
                    (Value::Array(known), Value::Array(more)) => known.extend_from_slice(more),
                    (known, value) => known.clone_from(value),
                }
            }
            ChatEvent::Context { id, .. } => self.context = Some(id.clone()),
            ChatEvent::Warning { message } => self.warnings.push(message.clone()),
            ChatEvent::Finish { reason, detail } => {
                self.finish = Some(*reason);
                self.finish_detail.clone_from(detail);
            }
        }
    }

    /// Returns the assistant's message as it stands.
    #[must_use]
    pub fn message(&self) -> Message {
        let part = |slot: &Slot| {
            let hidden = || {
                let hidden = !slot.continuity.is_empty();
                hidden.then(|| Content::Reasoning(Reasoning::default()))
            };
            let mut part: ContentPart = slot.content.clone().or_else(hidden)?.into();
            part.continuity.clone_from(&slot.continuity);
            Some(part)
        };
        Message::new(Role::Assistant, self.parts.iter().filter_map(part).collect())
    }

    /// Returns the text so far, without reasoning.
    #[must_use]
    pub fn text(&self) -> String {
        self.message().text()
    }

    fn media(&mut self, part: u32, media_type: &str, data: &[u8]) {
        use crate::chat::{DataSource, Media};
        let start = || {
            let media = Media::new(DataSource::Inline { data: Vec::new() }).media_type(media_type);
            if media_type.starts_with("audio/") {
                Content::Audio(media)
            } else if media_type.starts_with("image/") {
                Content::Image(media)
            } else {
                Content::File(media)
            }
        };
        if let Content::Image(media) | Content::Audio(media) | Content::File(media) =
            self.part(part, start)
            && let DataSource::Inline { data: all } = &mut media.source
        {
            all.extend_from_slice(data);
        }
    }

    fn existing(&mut self, part: u32) -> Option<&mut Content> {
        self.parts.get_mut(part as usize)?.content.as_mut()
    }

    fn part(&mut self, part: u32, new: impl FnOnce() -> Content) -> &mut Content {
        self.slot(part).content.get_or_insert_with(new)
    }

    fn slot(&mut self, part: u32) -> &mut Slot {
        // A hand-made library may number parts as it likes; a gap of millions must not allocate.
        let at = (part as usize).min(MAX_PARTS - 1);
        if self.parts.len() <= at {
            self.parts.resize(at + 1, Slot::default());
        }
        &mut self.parts[at]
    }
}

/// Most parts that a [`Transcript`] keeps apart.
const MAX_PARTS: usize = 65_536;

/// Turns a whole message into the events that would have streamed it.
///
/// Used for servers that answer at once although a stream was asked for, and by tests.
pub fn events_of(message: &Message, mut emit: impl FnMut(ChatEvent)) {
    for (part, piece) in (0u32..).zip(&message.parts) {
        match &piece.content {
            Content::Text(text) => {
                // Without it, nothing would say that a token's part is a text.
                if !text.text.is_empty() || !piece.continuity.is_empty() {
                    emit(ChatEvent::TextDelta { part, text: text.text.clone() });
                }
                for citation in &text.citations {
                    emit(ChatEvent::Citation { part, citation: Box::new(citation.clone()) });
                }
            }
            Content::Reasoning(reasoning) => emit(ChatEvent::ReasoningDelta {
                part,
                text: reasoning.text.clone(),
                summary: reasoning.summary,
            }),
            Content::Refusal(text) => {
                emit(ChatEvent::RefusalDelta { part, text: text.text.clone() });
            }
            Content::ToolCall(call) => {
                emit(ChatEvent::ToolCallStart {
                    part,
                    id: call.id.clone(),
                    name: call.name.clone(),
                    kind: call.kind,
                });
                emit(ChatEvent::ToolCallDelta { part, arguments: call.arguments.clone() });
            }
            Content::Opaque(block) => emit(ChatEvent::Opaque { part, block: block.clone() }),
            Content::Image(media) | Content::Audio(media) | Content::File(media) => {
                if let crate::chat::DataSource::Inline { data } = &media.source {
                    emit(ChatEvent::MediaDelta {
                        part,
                        media_type: media.media_type.clone().unwrap_or_default(),
                        data: data.clone(),
                    });
                }
            }
            Content::ToolResult(_) | Content::Unknown => {}
        }
        for continuity in &piece.continuity {
            emit(ChatEvent::Continuity { part, continuity: continuity.clone() });
        }
        if matches!(piece.content, Content::ToolCall(_)) {
            emit(ChatEvent::ToolCallEnd { part });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Opaque;

    #[test]
    fn a_transcript_rebuilds_the_message_that_its_events_came_from() {
        let mut reasoning: ContentPart = Content::Reasoning(Reasoning::new("think")).into();
        reasoning.continuity.push(Continuity::new("signature", "s1"));
        let message = Message::new(
            Role::Assistant,
            vec![
                reasoning,
                ContentPart::text("hello"),
                Content::ToolCall(ToolCall::new("c1", "f", "{}")).into(),
                Content::Opaque(Opaque::new("x", "true")).into(),
                ContentPart::image("image/png", vec![1, 2]),
                Content::Refusal(Text::new("no")).into(),
            ],
        );
        let mut events = Vec::new();
        events_of(&message, |event| events.push(event));
        assert_eq!(Transcript::of(&events).message(), message);
    }

    #[test]
    fn a_token_before_or_without_content_keeps_its_part() {
        let mut signed = ContentPart::text("");
        signed.continuity.push(Continuity::new("thought", "t"));
        let message = Message::new(Role::Assistant, vec![signed]);
        let mut events = Vec::new();
        events_of(&message, |event| events.push(event));
        assert_eq!(Transcript::of(&events).message(), message);
        events.reverse();
        assert_eq!(Transcript::of(&events).message(), message);
        let hidden = Transcript::of(&events[..1]).message();
        assert_eq!(hidden.parts[0].content, Content::Reasoning(Reasoning::default()));
        assert_eq!(hidden.parts[0].continuity.len(), 1);
    }

    #[test]
    fn details_are_continued_or_replaced() {
        let detail = |name: &str, value: Value| ChatEvent::Detail {
            part: Some(0),
            name: name.into(),
            value,
        };
        let transcript = Transcript::of(&[
            detail("logprobs", serde_json::json!([1])),
            detail("logprobs", serde_json::json!([2])),
            detail("tier", "a".into()),
            detail("tier", "b".into()),
            ChatEvent::Context { id: "r1".into(), kind: "response".into() },
        ]);
        let of = |name: &str| transcript.details[&(Some(0), name.to_owned())].clone();
        assert_eq!(of("logprobs"), serde_json::json!([1, 2]));
        assert_eq!(of("tier"), "b");
        assert_eq!(transcript.context, Some("r1".into()));
    }

    #[test]
    fn a_wild_part_number_does_not_allocate_wildly() {
        let mut transcript = Transcript::new();
        transcript.push(&ChatEvent::TextDelta { part: u32::MAX, text: "x".into() });
        assert_eq!(transcript.text(), "x");
        assert_eq!(transcript.parts.len(), MAX_PARTS);
    }
}
