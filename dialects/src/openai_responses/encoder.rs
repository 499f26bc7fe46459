//! Writes an answer for a client: as a stream of events, or whole.

mod item;
mod snapshot;

use plugin_api::{
    chat::{Continuity, Opaque, ToolKind},
    error::ProviderError,
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use self::item::{Kind, Open};
use super::{DIALECT, Echo, Head, Namespaces, annotations, carrier::Carried, error};
use crate::json::push;

/// Writes events as the typed, numbered events of a stream.
///
/// Clients such as Codex know one item at a time: each is added, filled and done before the next is
/// added, so the pieces of a call that arrive while another one is open wait for its end. A text that
/// goes on after something else was said is a new item.
///
/// Tokens of other vendors, and blocks of other dialects, ride in reasoning items. Pictures are items of
/// the kind that the vendor's own tool makes. Warnings, sound and most details have no place and are
/// left out.
#[derive(Debug)]
pub struct Encoder {
    head: Head,
    namespaces: Namespaces,
    echo: Echo,
    sequence: u64,
    begun: bool,
    /// Items that are done.
    output: Vec<Box<RawValue>>,
    /// The part that each item stands for, of those that stand for one.
    placed: Vec<u32>,
    active: Option<Open>,
    /// Events of parts that wait for the end of the open call.
    waiting: Vec<ChatEvent>,
    /// Tokens of parts that are done, until the next item may begin.
    late: Vec<(u32, Continuity)>,
    /// A picture that may go on: its part, type and bytes.
    picture: Option<(u32, String, Vec<u8>)>,
    usage: Usage,
    called: bool,
    refused: bool,
    service_tier: Option<String>,
    stored: bool,
    conversation: Option<String>,
}

impl Encoder {
    /// Makes an encoder.
    #[must_use]
    pub fn new(head: &Head) -> Self {
        Self {
            head: head.clone(),
            namespaces: Namespaces::default(),
            echo: Echo::default(),
            sequence: 0,
            begun: false,
            output: Vec::new(),
            placed: Vec::new(),
            active: None,
            waiting: Vec::new(),
            late: Vec::new(),
            picture: None,
            usage: Usage::default(),
            called: false,
            refused: false,
            service_tier: None,
            stored: false,
            conversation: None,
        }
    }

    /// Names called tools as the client's request grouped them.
    #[must_use]
    pub fn namespaces(mut self, namespaces: Namespaces) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// Repeats the settings of the client's request.
    #[must_use]
    pub fn echo(mut self, echo: Echo) -> Self {
        self.echo = echo;
        self
    }

    /// Goes on with an answer that was begun elsewhere: only what is still to be said is written.
    #[must_use]
    pub fn resumed(mut self) -> Self {
        self.begun = true;
        self
    }

    /// Appends what an event says to `out`. After `Finish` the stream is complete.
    pub fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        self.begin(out);
        match event {
            ChatEvent::Usage(usage) => self.usage.update(usage),
            ChatEvent::Detail { part: None, name, value } if name == "service_tier" => {
                self.service_tier = value.as_str().map(str::to_owned);
            }
            ChatEvent::Context { id, kind } if kind == "conversation" => {
                self.conversation = Some(id.to_string());
            }
            ChatEvent::Context { id, .. } => self.stored = id.as_str() == self.head.id,
            ChatEvent::Finish { reason, detail } => self.finish(*reason, detail.as_deref(), out),
            event => self.content(event, out),
        }
    }

    /// Returns the items that are done, for whoever keeps them.
    #[must_use]
    pub fn output(&self) -> &[Box<RawValue>] {
        &self.output
    }

    /// Appends a failure, in the form that clients look for in a stream.
    pub fn error(&mut self, failure: &ProviderError, out: &mut Vec<u8>) {
        self.begin(out);
        self.end("failed", Some(error::to_response(failure)), None, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            for kind in ["response.created", "response.in_progress"] {
                let response = raw(&self.snapshot("in_progress", None, None));
                self.send(kind, &Whole { response }, out);
            }
        }
    }

    /// Takes an event that belongs to a part.
    fn content(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        let Some(part) = part_of(event) else { return };
        if self.active.as_ref().is_some_and(|open| open.part != part && open.is_call()) {
            self.waiting.push(event.clone());
            return;
        }
        match event {
            ChatEvent::TextDelta { text, .. } => self.delta(part, &Kind::Text, text, out),
            ChatEvent::RefusalDelta { text, .. } => self.delta(part, &Kind::Refusal, text, out),
            ChatEvent::ReasoningDelta { text, summary, .. } => {
                let kind = if *summary { Kind::Summary } else { Kind::Reasoning };
                self.delta(part, &kind, text, out);
            }
            ChatEvent::ToolCallStart { id, name, kind, .. } => {
                let (id, name) = (id.clone(), name.clone());
                let custom = *kind == ToolKind::Custom;
                self.open(part, Kind::Call { id, name, custom }, out);
            }
            ChatEvent::ToolCallDelta { arguments, .. } if self.is_calling(part) => {
                self.push(arguments, out);
            }
            ChatEvent::ToolCallEnd { .. } if self.is_calling(part) => {
                self.close(out);
                for event in std::mem::take(&mut self.waiting) {
                    self.content(&event, out);
                }
            }
            ChatEvent::Citation { citation, .. } => {
                self.enter(part, &Kind::Text, out);
                let annotation = annotations::write(citation);
                self.annotate(annotation, out);
            }
            ChatEvent::Continuity { continuity, .. } => self.token(part, continuity, out),
            ChatEvent::Opaque { block, .. } => self.block(part, block, out),
            ChatEvent::MediaDelta { media_type, data, .. } if media_type.starts_with("image/") => {
                self.picture(part, media_type, data, out);
            }
            _ => {}
        }
    }

    /// Reports whether a part is the open call.
    fn is_calling(&self, part: u32) -> bool {
        self.active.as_ref().is_some_and(|open| open.part == part && open.is_call())
    }

    fn delta(&mut self, part: u32, kind: &Kind, text: &str, out: &mut Vec<u8>) {
        self.enter(part, kind, out);
        self.push(text, out);
    }

    /// Makes a part's item the active one.
    fn enter(&mut self, part: u32, kind: &Kind, out: &mut Vec<u8>) {
        let goes_on = |open: &Open| open.part == part && open.kind.same(kind);
        if !self.active.as_ref().is_some_and(goes_on) {
            self.open(part, kind.clone(), out);
        }
    }

    fn open(&mut self, part: u32, kind: Kind, out: &mut Vec<u8>) {
        // A token may come before the content of its part.
        let hidden = |open: &mut Open| open.part == part && matches!(open.kind, Kind::Hidden);
        let tokens = self.active.take_if(hidden).map(|open| open.tokens);
        self.close(out);
        let mut open = Open::new(part, kind, self.output.len(), &self.head.id);
        open.tokens = tokens.unwrap_or_default();
        self.called |= open.is_call();
        self.refused |= matches!(open.kind, Kind::Refusal);
        if let Some(item) = open.skeleton(&self.namespaces) {
            let added = json!({"output_index": open.index, "item": item});
            self.send("response.output_item.added", &added, out);
        }
        if let Some((kind, fields)) = open.part_added() {
            self.send(kind, &fields, out);
        }
        self.active = Some(open);
    }

    /// Appends text to the active item. All of its event but number and text was written before,
    /// because most of a stream is this.
    fn push(&mut self, text: &str, out: &mut Vec<u8>) {
        let Some(open) = &mut self.active else { return };
        open.text.push_str(text);
        let Some(frame) = &open.frame else { return };
        out.extend_from_slice(&frame.head);
        push(out, &self.sequence);
        out.extend_from_slice(&frame.place);
        push(out, text);
        out.extend_from_slice(b"}\n\n");
        self.sequence += 1;
    }

    fn annotate(&mut self, annotation: Value, out: &mut Vec<u8>) {
        let Some(open) = &mut self.active else { return };
        let mut fields = open.place();
        fields["annotation_index"] = open.annotations.len().into();
        fields["annotation"] = annotation.clone();
        open.annotations.push(annotation);
        self.send("response.output_text.annotation.added", &fields, out);
    }

    fn token(&mut self, part: u32, continuity: &Continuity, out: &mut Vec<u8>) {
        let is_picture = self.has_picture(part);
        match &mut self.active {
            Some(open) if open.part == part => open.tokens.push(continuity.clone()),
            _ if self.placed.contains(&part) || is_picture => {
                self.late.push((part, continuity.clone()));
            }
            _ => {
                self.open(part, Kind::Hidden, out);
                if let Some(open) = &mut self.active {
                    open.tokens.push(continuity.clone());
                }
            }
        }
    }

    fn picture(&mut self, part: u32, media_type: &str, data: &[u8], out: &mut Vec<u8>) {
        if !self.has_picture(part) {
            self.close(out);
        }
        let (_, _, all) =
            self.picture.get_or_insert_with(|| (part, media_type.to_owned(), Vec::new()));
        all.extend_from_slice(data);
    }

    fn has_picture(&self, part: u32) -> bool {
        self.picture.as_ref().is_some_and(|(open, ..)| *open == part)
    }

    fn block(&mut self, part: u32, block: &Opaque, out: &mut Vec<u8>) {
        self.close(out);
        let item = if block.dialect == DIALECT {
            let Some(item) = block.value().and(RawValue::from_string(block.json.clone()).ok())
            else {
                return;
            };
            item
        } else {
            let carried = Carried { block: Some(block.clone()), ..Carried::default() };
            raw(&item::carrier(self.output.len(), &self.head.id, &carried))
        };
        self.placed.push(part);
        self.whole(item, out);
    }

    /// Sends an item that comes in one piece.
    fn whole(&mut self, item: Box<RawValue>, out: &mut Vec<u8>) {
        let fields = Done { output_index: self.output.len(), item: &item };
        self.send("response.output_item.added", &fields, out);
        self.done(item, out);
    }

    fn done(&mut self, item: Box<RawValue>, out: &mut Vec<u8>) {
        let fields = Done { output_index: self.output.len(), item: &item };
        self.send("response.output_item.done", &fields, out);
        self.output.push(item);
    }

    /// Completes the active item, and sends what belongs to items that are done.
    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(mut open) = self.active.take() {
            for (kind, fields) in open.completed() {
                self.send(kind, &fields, out);
            }
            let item = open.item(&self.namespaces);
            self.placed.push(open.part);
            if matches!(open.kind, Kind::Hidden) {
                self.whole(item, out);
            } else {
                self.done(item, out);
            }
            self.late.extend(open.tokens.drain(..).map(|token| (open.part, token)));
        }
        if let Some((part, media_type, data)) = self.picture.take() {
            let item = item::picture(self.output.len(), &self.head.id, &media_type, &data);
            self.placed.push(part);
            self.whole(raw(&item), out);
        }
        while let Some((part, _)) = self.late.first() {
            let part = *part;
            let (now, later) =
                std::mem::take(&mut self.late).into_iter().partition(|(have, _)| *have == part);
            self.late = later;
            let Some(at) = self.placed.iter().rposition(|have| *have == part) else { continue };
            let tokens: Vec<(u32, Continuity)> = now;
            let tokens = tokens.into_iter().map(|(_, token)| token).collect();
            let carried = Carried { tokens, back: Some(self.placed.len() - at), block: None };
            let item = raw(&item::carrier(self.output.len(), &self.head.id, &carried));
            self.whole(item, out);
        }
    }

    fn finish(&mut self, reason: FinishReason, detail: Option<&str>, out: &mut Vec<u8>) {
        self.close(out);
        for event in std::mem::take(&mut self.waiting) {
            self.content(&event, out);
            if matches!(event, ChatEvent::ToolCallStart { .. }) {
                self.close(out);
            }
        }
        self.close(out);
        let (status, why) = self.outcome(reason, detail);
        let failure = (status == "failed").then(
            || json!({"code": "server_error", "message": detail.unwrap_or("the model gave up")}),
        );
        self.end(status, failure, why, out);
    }

    /// Says how the answer ended: its status, and why it is incomplete.
    fn outcome<'d>(
        &self,
        reason: FinishReason,
        detail: Option<&'d str>,
    ) -> (&'static str, Option<&'d str>) {
        match reason {
            FinishReason::Stop | FinishReason::ToolCalls => ("completed", None),
            // The refusal itself says it.
            FinishReason::ContentFilter if self.refused && !self.called => ("completed", None),
            FinishReason::ContentFilter => ("incomplete", Some("content_filter")),
            FinishReason::Length => {
                let word = detail.filter(|word| *word == "max_messages");
                ("incomplete", Some(word.unwrap_or("max_output_tokens")))
            }
            FinishReason::Pause => ("incomplete", Some("steered")),
            FinishReason::Error => ("failed", None),
            _ => ("incomplete", Some(detail.unwrap_or("other"))),
        }
    }

    fn end(&mut self, status: &str, error: Option<Value>, why: Option<&str>, out: &mut Vec<u8>) {
        let response = self.snapshot(status, error, why);
        let fields = Whole { response: raw(&response) };
        self.send(&format!("response.{status}"), &fields, out);
    }

    /// Writes one event.
    fn send(&mut self, kind: &str, fields: &impl Serialize, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Numbered<'a, F> {
            r#type: &'a str,
            sequence_number: u64,
            #[serde(flatten)]
            fields: &'a F,
        }
        let event = Numbered { r#type: kind, sequence_number: self.sequence, fields };
        self.sequence += 1;
        let json = serde_json::to_string(&event).unwrap_or_default();
        out.extend_from_slice(format!("event: {kind}\n").as_bytes());
        // A vendor's own block keeps its line ends, which only stand between its tokens.
        for line in json.split('\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line.trim_end_matches('\r').as_bytes());
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}

/// An item in one piece, byte for byte.
#[derive(Serialize)]
struct Done<'a> {
    output_index: usize,
    item: &'a RawValue,
}

#[derive(Serialize)]
struct Whole {
    response: Box<RawValue>,
}

/// Writes a whole answer, for a client that asked for no stream.
#[must_use]
pub fn encode_response(
    transcript: &Transcript,
    head: &Head,
    namespaces: Namespaces,
    echo: Echo,
) -> Vec<u8> {
    let mut encoder = Encoder::new(head).namespaces(namespaces).echo(echo);
    let mut stream = Vec::new();
    events_of(&transcript.message(), |event| encoder.event(&event, &mut stream));
    encoder.close(&mut stream);
    encoder.usage = transcript.usage.clone();
    let tier = transcript.details.get(&(None, "service_tier".to_owned()));
    encoder.service_tier = tier.and_then(Value::as_str).map(str::to_owned);
    if let Some(context) = &transcript.context {
        encoder.stored = context.as_str() == head.id;
        encoder.conversation = context.as_str().starts_with("conv_").then(|| context.to_string());
    }
    let reason = transcript.finish.unwrap_or(FinishReason::Stop);
    let detail = transcript.finish_detail.as_deref();
    let (status, why) = encoder.outcome(reason, detail);
    let failure = (status == "failed")
        .then(|| json!({"code": "server_error", "message": detail.unwrap_or("the model gave up")}));
    serde_json::to_vec(&encoder.snapshot(status, failure, why)).unwrap_or_default()
}

/// Writes a value of ours as JSON, which cannot fail.
fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_default()
}

fn part_of(event: &ChatEvent) -> Option<u32> {
    match event {
        ChatEvent::TextDelta { part, .. }
        | ChatEvent::ReasoningDelta { part, .. }
        | ChatEvent::RefusalDelta { part, .. }
        | ChatEvent::ToolCallStart { part, .. }
        | ChatEvent::ToolCallDelta { part, .. }
        | ChatEvent::ToolCallEnd { part }
        | ChatEvent::Continuity { part, .. }
        | ChatEvent::Citation { part, .. }
        | ChatEvent::MediaDelta { part, .. }
        | ChatEvent::Opaque { part, .. } => Some(*part),
        _ => None,
    }
}
