//! The items of an answer: which part each delta belongs to, and what a finished item adds.

use plugin_api::{
    chat::{Continuity, Opaque, ToolKind},
    event::ChatEvent,
    exchange::Outbox,
};
use serde_json::{Value, value::RawValue};

use crate::openai_responses::{
    DIALECT, annotations, token,
    wire::{Event, Item, PARAGRAPH, Part, joined, parts, text_or_json},
};

/// What a delta adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Text,
    Refusal,
    Summary,
    Reasoning,
    Call,
}

/// The items of one answer, in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Items {
    slots: Vec<Slot>,
    /// The next part's number.
    next: u32,
    seed: u64,
    called: bool,
    refused: bool,
}

#[derive(Debug, Default)]
struct Slot {
    index: u64,
    id: String,
    done: bool,
    /// The phase of a message.
    phase: String,
    /// The parts of a message.
    pieces: Vec<Piece>,
    call: Call,
    thought: Thought,
}

/// What an item shows of the model's reasoning.
#[derive(Debug, Default)]
struct Thought {
    part: Option<u32>,
    /// How much was passed on.
    sent: usize,
    /// Whether it comes as a summary, once some came.
    summary: Option<bool>,
    /// The stretch that comes.
    stretch: u64,
}

#[derive(Debug, Default)]
struct Call {
    part: Option<u32>,
    /// Whether it has begun and not ended.
    open: bool,
    kind: ToolKind,
    /// How much of the arguments was passed on.
    sent: usize,
    /// Arguments that came before the name.
    held: String,
    /// Whether its tool's group was told.
    has_namespace: bool,
}

/// A part of a message.
#[derive(Debug)]
struct Piece {
    at: u64,
    refusal: bool,
    part: u32,
    sent: usize,
    cited: usize,
    has_logprobs: bool,
    /// Whether its phase was told.
    has_phase: bool,
}

impl Items {
    /// Takes the seed that ids are made from where the server gives none.
    pub(super) fn start(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Reports whether nothing was passed on.
    pub(super) fn is_empty(&self) -> bool {
        self.next == 0
    }

    pub(super) fn called(&self) -> bool {
        self.called
    }

    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// Takes the skeleton of an item.
    pub(super) fn added(&mut self, event: &Event<'_>, raw: &RawValue, out: &mut Outbox<'_>) {
        let Ok(item) = serde_json::from_str::<Item<'_>>(raw.get()) else { return };
        let at = self.open(event.output_index.0, &item);
        self.slots[at].phase = item.phase.0.clone().into_owned();
        if let Some(kind) = call_kind(&item) {
            self.call(at, &item, kind, out);
        }
    }

    /// Takes a piece of an item.
    pub(super) fn delta(&mut self, channel: Channel, event: &Event<'_>, out: &mut Outbox<'_>) {
        let at = self.route(event);
        let text = &*event.delta.0;
        match channel {
            Channel::Text | Channel::Refusal => {
                let refusal = channel == Channel::Refusal;
                let nth = event.content_index.0.unwrap_or(0);
                if !text.is_empty() {
                    self.say(at, nth, refusal, text, out);
                }
                if let Some(raw) = event.logprobs.filter(|_| !refusal) {
                    self.logprobs(at, nth, raw, out);
                }
            }
            Channel::Summary => {
                self.think(at, true, event.summary_index.0.unwrap_or(0), text, out);
            }
            Channel::Reasoning => {
                self.think(at, false, event.content_index.0.unwrap_or(0), text, out);
            }
            Channel::Call => self.arguments(at, text, out),
        }
    }

    /// Takes a source of what was said.
    pub(super) fn cite(&mut self, event: &Event<'_>, raw: &RawValue, out: &mut Outbox<'_>) {
        let at = self.route(event);
        let piece = self.piece(at, event.content_index.0.unwrap_or(0), false, out);
        self.slots[at].pieces[piece].cited += 1;
        citation(self.slots[at].pieces[piece].part, raw, out);
    }

    /// Takes a finished item, and passes on what was not streamed.
    pub(super) fn done(&mut self, index: Option<u64>, raw: &RawValue, out: &mut Outbox<'_>) {
        let Ok(item) = serde_json::from_str::<Item<'_>>(raw.get()) else { return };
        let at = self.find(index, &item.id.0).unwrap_or_else(|| self.open(index, &item));
        if std::mem::replace(&mut self.slots[at].done, true) {
            return;
        }
        match &*item.kind.0 {
            "message" => self.message(at, &item, out),
            "reasoning" => self.reasoning(at, &item, raw, out),
            "function_call" | "custom_tool_call" => {
                self.call(at, &item, call_kind(&item).unwrap_or_default(), out);
                self.end_call(at, &item, out);
            }
            // A call of the vendor's own tools, a compaction: goes back as it came.
            _ => {
                let part = self.part();
                out.opaque(part, Opaque::new(DIALECT, raw.get()));
            }
        }
    }

    /// Takes an item of the final snapshot, unless it was finished in the stream.
    pub(super) fn missed(&mut self, index: u64, raw: &RawValue, out: &mut Outbox<'_>) {
        self.done(Some(index), raw, out);
    }

    /// Ends the calls that the server left open.
    pub(super) fn end(&mut self, out: &mut Outbox<'_>) {
        for at in 0..self.slots.len() {
            self.end_call(at, &Item::default(), out);
        }
    }

    fn part(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// Finds an item by its place, or where servers leave that out, by its id.
    fn find(&self, index: Option<u64>, id: &str) -> Option<usize> {
        match index {
            Some(_) => self.slots.iter().rposition(|slot| Some(slot.index) == index),
            None if id.is_empty() => None,
            None => self.slots.iter().rposition(|slot| slot.id == id),
        }
    }

    /// Finds the item of a delta; one whose beginning was not told begins now.
    fn route(&mut self, event: &Event<'_>) -> usize {
        let last = self.slots.len().checked_sub(1).filter(|at| !self.slots[*at].done);
        let nameless = event.output_index.0.is_none() && event.item_id.filled().is_none();
        let found = self.find(event.output_index.0, &event.item_id.0);
        found.or(last.filter(|_| nameless)).unwrap_or_else(|| {
            let item = Item { id: event.item_id.clone(), ..Item::default() };
            self.open(event.output_index.0, &item)
        })
    }

    fn open(&mut self, index: Option<u64>, item: &Item<'_>) -> usize {
        let index = index.unwrap_or(self.slots.len() as u64);
        self.slots.push(Slot { index, id: item.id.0.clone().into_owned(), ..Slot::default() });
        self.slots.len() - 1
    }

    /// Finds the part of a message, or begins it.
    fn piece(&mut self, at: usize, nth: u64, refusal: bool, out: &mut Outbox<'_>) -> usize {
        let same = |piece: &Piece| piece.at == nth && piece.refusal == refusal;
        if let Some(found) = self.slots[at].pieces.iter().rposition(same) {
            return found;
        }
        let part = self.part();
        let slot = &mut self.slots[at];
        let piece = Piece {
            at: nth,
            refusal,
            part,
            sent: 0,
            cited: 0,
            has_logprobs: false,
            has_phase: false,
        };
        slot.pieces.push(piece);
        self.tell_phase(at, out);
        self.refused |= refusal;
        self.slots[at].pieces.len() - 1
    }

    /// Marks the parts of a message with its phase, which may be known from its end alone.
    fn tell_phase(&mut self, at: usize, out: &mut Outbox<'_>) {
        let slot = &mut self.slots[at];
        for piece in slot.pieces.iter_mut().filter(|piece| !piece.has_phase) {
            if !slot.phase.is_empty() {
                piece.has_phase = true;
                out.continuity(piece.part, Continuity::new(token::PHASE, slot.phase.as_str()));
            }
        }
    }

    fn say(&mut self, at: usize, nth: u64, refusal: bool, text: &str, out: &mut Outbox<'_>) {
        let piece = self.piece(at, nth, refusal, out);
        let piece = &mut self.slots[at].pieces[piece];
        piece.sent += text.len();
        if refusal {
            out.event(&ChatEvent::RefusalDelta { part: piece.part, text: text.to_owned() });
        } else {
            out.text(piece.part, text);
        }
    }

    fn logprobs(&mut self, at: usize, nth: u64, raw: &RawValue, out: &mut Outbox<'_>) {
        let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        if value.as_array().is_some_and(|list| !list.is_empty()) {
            let piece = self.piece(at, nth, false, out);
            let piece = &mut self.slots[at].pieces[piece];
            piece.has_logprobs = true;
            let (part, name) = (Some(piece.part), "logprobs".into());
            out.event(&ChatEvent::Detail { part, name, value });
        }
    }

    fn message(&mut self, at: usize, item: &Item<'_>, out: &mut Outbox<'_>) {
        if self.slots[at].phase.is_empty() {
            self.slots[at].phase = item.phase.0.clone().into_owned();
            self.tell_phase(at, out);
        }
        for (nth, part) in (0..).zip(parts(item.content)) {
            let refusal = part.kind.0 == "refusal";
            let text = if refusal { &part.refusal.0 } else { &part.text.0 };
            let known = self.slots[at].pieces.iter().find(|p| p.at == nth && p.refusal == refusal);
            let (sent, cited) = known.map_or((0, 0), |piece| (piece.sent, piece.cited));
            if let Some(rest) = rest(text, sent) {
                self.say(at, nth, refusal, rest, out);
            }
            if refusal {
                continue;
            }
            let list: Vec<&RawValue> = part
                .annotations
                .and_then(|raw| serde_json::from_str(raw.get()).ok())
                .unwrap_or_default();
            for raw in list.into_iter().skip(cited) {
                let piece = self.piece(at, nth, false, out);
                citation(self.slots[at].pieces[piece].part, raw, out);
            }
            let told = self.slots[at].pieces.iter().any(|p| p.at == nth && p.has_logprobs);
            if let Some(raw) = part.logprobs.filter(|_| !told) {
                self.logprobs(at, nth, raw, out);
            }
        }
    }

    /// Passes on reasoning. A server may show an item both in full and as a summary; what comes first
    /// is shown, and the item's token holds all.
    fn think(&mut self, at: usize, summary: bool, nth: u64, text: &str, out: &mut Outbox<'_>) {
        if text.is_empty() || *self.slots[at].thought.summary.get_or_insert(summary) != summary {
            return;
        }
        let part = self.thought(at);
        let thought = &mut self.slots[at].thought;
        if thought.sent > 0 && nth != thought.stretch {
            thought.sent += PARAGRAPH.len();
            out.event(&ChatEvent::ReasoningDelta { part, text: PARAGRAPH.into(), summary });
        }
        thought.stretch = nth;
        thought.sent += text.len();
        out.event(&ChatEvent::ReasoningDelta { part, text: text.to_owned(), summary });
    }

    /// Returns the part of an item's reasoning.
    fn thought(&mut self, at: usize) -> u32 {
        let known = self.slots[at].thought.part;
        let part = known.unwrap_or_else(|| self.part());
        self.slots[at].thought.part = Some(part);
        part
    }

    fn reasoning(&mut self, at: usize, item: &Item<'_>, raw: &RawValue, out: &mut Outbox<'_>) {
        let texts = |raw| {
            let texts: Vec<_> = parts(raw).into_iter().map(|part: Part<'_>| part.text.0).collect();
            joined(&texts)
        };
        let (shown, summary) = (texts(item.content), texts(item.summary));
        let thought = &self.slots[at].thought;
        let (text, is_summary) = match thought.summary {
            Some(true) => (summary, true),
            Some(false) => (shown, false),
            None if shown.is_empty() => (summary, true),
            None => (shown, false),
        };
        if let Some(rest) = rest(&text, thought.sent) {
            let stretch = thought.stretch;
            self.think(at, is_summary, stretch, rest, out);
        }
        if item.encrypted_content.filled().is_some() {
            let part = self.thought(at);
            out.continuity(part, Continuity::new(token::REASONING_ITEM, raw.get()));
        }
    }

    /// Begins a call as soon as its name is known.
    fn call(&mut self, at: usize, item: &Item<'_>, kind: ToolKind, out: &mut Outbox<'_>) {
        let Some(name) = item.name.filled().filter(|_| self.slots[at].call.part.is_none()) else {
            return;
        };
        let id = item.call_id.filled().or(item.id.filled());
        let id = id.map_or_else(|| format!("call_{:016x}_{at}", self.seed), str::to_owned);
        let part = self.part();
        let call = &mut self.slots[at].call;
        (call.part, call.open, call.kind) = (Some(part), true, kind);
        self.called = true;
        out.event(&ChatEvent::ToolCallStart { part, id, name: name.to_owned(), kind });
        let held = std::mem::take(&mut call.held);
        self.tell_namespace(at, item, out);
        self.arguments(at, &held, out);
    }

    /// Marks a call with the group of its tool, which may be known from its end alone.
    fn tell_namespace(&mut self, at: usize, item: &Item<'_>, out: &mut Outbox<'_>) {
        let call = &mut self.slots[at].call;
        if let (Some(part), Some(namespace), false) =
            (call.part, item.namespace.filled(), call.has_namespace)
        {
            call.has_namespace = true;
            out.continuity(part, Continuity::new(token::NAMESPACE, namespace));
        }
    }

    fn arguments(&mut self, at: usize, more: &str, out: &mut Outbox<'_>) {
        let call = &mut self.slots[at].call;
        match call.part {
            _ if more.is_empty() => {}
            Some(part) if call.open => {
                call.sent += more.len();
                out.tool_arguments(part, more);
            }
            Some(_) => {}
            None => call.held.push_str(more),
        }
    }

    fn end_call(&mut self, at: usize, item: &Item<'_>, out: &mut Outbox<'_>) {
        let call = &mut self.slots[at].call;
        if call.part.is_none() && (call_kind(item).is_some() || !call.held.is_empty()) {
            call.held.clear();
            out.warning("a tool call without a name was dropped");
        }
        let Some(part) = call.part.filter(|_| call.open) else { return };
        let custom = call.kind == ToolKind::Custom;
        let sent = call.sent;
        self.tell_namespace(at, item, out);
        let whole = text_or_json(if custom { item.input } else { item.arguments });
        if let Some(rest) = rest(&whole, sent) {
            self.arguments(at, rest, out);
        }
        // Servers leave the arguments of a tool that takes none empty; clients parse them.
        if !custom && self.slots[at].call.sent == 0 {
            self.arguments(at, "{}", out);
        }
        self.slots[at].call.open = false;
        out.tool_end(part);
    }
}

fn call_kind(item: &Item<'_>) -> Option<ToolKind> {
    match &*item.kind.0 {
        "function_call" => Some(ToolKind::Function),
        "custom_tool_call" => Some(ToolKind::Custom),
        _ => None,
    }
}

fn citation(part: u32, raw: &RawValue, out: &mut Outbox<'_>) {
    if let Ok(value) = serde_json::from_str::<Value>(raw.get()) {
        let citation = Box::new(annotations::read(value));
        out.event(&ChatEvent::Citation { part, citation });
    }
}

/// Returns what of a finished text was not streamed.
fn rest(whole: &str, sent: usize) -> Option<&str> {
    whole.get(sent..).filter(|rest| !rest.is_empty())
}
