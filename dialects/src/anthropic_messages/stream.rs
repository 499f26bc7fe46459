//! Reads an answer: a stream of events, or the whole in one piece.

mod blocks;

use std::{collections::BTreeMap, ops::ControlFlow};

use plugin_api::{
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Usage},
    exchange::{Outbox, Timestamp},
    http::Headers,
    kit::{
        self,
        call::Response,
        sse::{SseEvent, is_done},
        stream::incomplete,
    },
};
use serde_json::{Value, value::RawValue};

use self::blocks::Blocks;
use super::{
    error, limits,
    usage::{Tally, WireUsage},
    wire::{End, Event, Message},
};
use crate::{
    failure,
    loss::{Loss, warn},
};

/// Turns an answer of Anthropic, or of a server that speaks its format, into events.
///
/// Use it with [`kit::SseStream`]. Facts beside the answer (limits and the request's id from the
/// headers, the stop text that was met, why the model refused, the service tier) come as details.
/// Unknown events, blocks and deltas are no error: the vendor promises new ones. A stream that ends
/// without `message_stop` is complete if a stop reason was seen, and incomplete otherwise.
#[derive(Debug, Default)]
pub struct Decoder {
    losses: Vec<Loss>,
    /// Whether pieces of the answer matter to nobody.
    along: bool,
    seed: u64,
    /// What the headers say, until the answer has started.
    head: Vec<(&'static str, Value)>,
    started: bool,
    blocks: Blocks,
    tally: Tally,
    /// The tokens used as last told.
    told: Usage,
    facts: BTreeMap<&'static str, Value>,
    finish: Option<(FinishReason, Option<String>)>,
    stopped: bool,
    /// A whole answer that came without a content type, seen as bare JSON.
    whole: Option<Vec<u8>>,
}

impl Decoder {
    /// Makes a decoder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a decoder that first warns the client of what its request lost.
    #[must_use]
    pub fn after(losses: Vec<Loss>) -> Self {
        Self { losses, ..Self::default() }
    }

    /// Makes a decoder of an answer that the host passes on as it comes, if it comes as the client
    /// asked for it.
    ///
    /// Of a stream it only reads along: pieces of the answer are not told, what the host keeps a record
    /// of is (the start, the usage, the finish, a failure).
    #[must_use]
    pub fn passed_on(streams: bool) -> Self {
        Self { along: streams, ..Self::default() }
    }

    fn take(
        &mut self,
        name: &str,
        data: &str,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        let event: Event<'_> = match serde_json::from_str(data) {
            Ok(event) => event,
            // All that matters was said.
            Err(_) if self.finish.is_some() => {
                out.warning("a malformed event after the stop reason was dropped");
                return Ok(ControlFlow::Continue(()));
            }
            Err(_) if name == "error" => return Err(error::in_stream(data.as_bytes())),
            Err(_) => {
                return Err(failure::malformed("an event of a message", data.as_bytes()));
            }
        };
        match event.kind.filled().unwrap_or(name) {
            "message_start" => self.message_start(event.message, out),
            "content_block_start" => {
                if let Some(raw) = event.content_block {
                    self.begin_unknown(out);
                    self.blocks.start(event.index.0, raw, self.seed, out);
                }
            }
            "content_block_delta" => {
                self.begin_unknown(out);
                self.blocks.delta(event.index.0, &event.delta, out);
            }
            "content_block_stop" => self.blocks.stop(event.index.0, out),
            "message_delta" => {
                self.begin_unknown(out);
                self.ending(&event.end());
                self.usage(&event.usage, out);
            }
            "message_stop" => {
                self.stopped = true;
                return Ok(ControlFlow::Break(()));
            }
            "error" => return Err(error::in_stream(data.as_bytes())),
            // A proxy's failure may lack the type.
            _ if event.error.is_some() => return Err(error::in_stream(data.as_bytes())),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn message_start(&mut self, raw: Option<&RawValue>, out: &mut Outbox<'_>) {
        let message: Message<'_> =
            raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        if !self.started {
            self.begin(message.id.filled(), message.model.filled(), out);
        }
        self.usage(&message.usage, out);
        self.ending(&message.end());
    }

    fn begin(&mut self, id: Option<&str>, model: Option<&str>, out: &mut Outbox<'_>) {
        self.started = true;
        out.started(id, model);
        warn(&mut self.losses, out);
        for (name, value) in self.head.drain(..) {
            detail(name, value, out);
        }
    }

    /// Begins an answer whose server left out `message_start`.
    fn begin_unknown(&mut self, out: &mut Outbox<'_>) {
        if !self.started {
            self.begin(None, None, out);
        }
    }

    fn usage(&mut self, wire: &WireUsage<'_>, out: &mut Outbox<'_>) {
        self.tally.update(wire);
        self.facts.extend(wire.facts());
        let usage = self.tally.usage();
        // Told at once, because tokens are owed even when the connection breaks.
        if usage != self.told {
            self.told = usage.clone();
            out.usage(usage);
        }
    }

    fn ending(&mut self, end: &End<'_>) {
        if let Some(word) = end.stop_reason.filled() {
            self.finish = Some(finish_reason(word));
        }
        for (name, raw) in end.facts {
            if let Some(value) = raw.and_then(|raw| serde_json::from_str(raw.get()).ok()) {
                self.facts.insert(name, value);
            }
        }
    }

    fn read_whole(&mut self, body: &[u8], out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        let malformed = || failure::malformed("a message", body);
        let message: Message<'_> = serde_json::from_slice(body).map_err(|_| malformed())?;
        if is_failure(&message) {
            return Err(error::in_stream(body));
        }
        let content = message.content.filter(|raw| raw.get() != "null");
        let blocks: Vec<&RawValue> = match content.map(|raw| serde_json::from_str(raw.get())) {
            Some(Ok(blocks)) => blocks,
            None if message.kind.0 == "message" => Vec::new(),
            _ => return Err(malformed()),
        };
        if !self.started {
            self.begin(message.id.filled(), message.model.filled(), out);
        }
        self.usage(&message.usage, out);
        for raw in blocks {
            self.blocks.start(None, raw, self.seed, out);
            self.blocks.stop(None, out);
        }
        self.ending(&message.end());
        // What came in one piece is complete, even where the reason is missing.
        self.stopped = true;
        Ok(())
    }
}

impl kit::Decoder for Decoder {
    fn start(&mut self, seed: u64) {
        self.seed = seed;
    }

    fn head(&mut self, status: u16, headers: &Headers, _: Timestamp, _: &mut Outbox<'_>) {
        self.along &= kit::native::is_passed_on(true, status, headers);
        if (200..300).contains(&status) {
            let id = kit::failure::request_id(headers).map(|id| ("request_id", id.into()));
            let limits = limits::of(headers).map(|limits| ("rate_limits", limits));
            self.head = id.into_iter().chain(limits).collect();
        }
    }

    fn event(
        &mut self,
        event: SseEvent<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        if is_done(event.data) {
            // No part of the format, but some servers close all their streams so.
            self.stopped = self.stopped || self.started;
            return Ok(ControlFlow::Break(()));
        }
        let piece = matches!(event.event, "content_block_delta" | "ping");
        match event.data.trim() {
            "" => Ok(ControlFlow::Continue(())),
            _ if self.along && self.blocks.has_said() && piece => Ok(ControlFlow::Continue(())),
            data => self.take(event.event, data, out),
        }
    }

    fn stray(&mut self, json: &[u8]) -> Result<(), ProviderError> {
        // Not every line that looks like JSON is, and a cut one says nothing.
        let message: Message<'_> = serde_json::from_slice(json).unwrap_or_default();
        if is_failure(&message) {
            return Err(error::in_stream(json));
        }
        if message.kind.0 == "message" {
            self.whole = Some(json.to_vec());
        }
        Ok(())
    }

    fn whole(&mut self, response: Response, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        failure::refuse_html(&response)?;
        self.read_whole(&response.body, out)
            .map_err(|error| failure::identified(error, &response.headers))?;
        kit::Decoder::end(self, kit::Ended::Input, out)
    }

    fn end(&mut self, _: kit::Ended, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        if let Some(body) = self.whole.take() {
            self.read_whole(&body, out)?;
        }
        if self.finish.is_none() && !self.stopped {
            return Err(incomplete());
        }
        self.begin_unknown(out);
        self.blocks.end(out);
        let stop = || (FinishReason::Stop, None);
        let (mut reason, word) = self.finish.take().unwrap_or_else(stop);
        if reason == FinishReason::ContentFilter && !self.blocks.has_said() {
            return Err(refused(self.facts.remove("stop_details")));
        }
        for (name, value) in std::mem::take(&mut self.facts) {
            detail(name, value, out);
        }
        // Servers that only resemble Anthropic end a forced call with `end_turn`.
        if reason == FinishReason::Stop && self.blocks.has_called() {
            reason = FinishReason::ToolCalls;
        }
        out.event(&ChatEvent::Finish { reason, detail: word });
        Ok(())
    }

    fn failure(&mut self, response: Response) -> ProviderError {
        error::failure(&response)
    }
}

fn detail(name: &str, value: Value, out: &mut Outbox<'_>) {
    out.event(&ChatEvent::Detail { part: None, name: name.to_owned(), value });
}

fn is_failure(message: &Message<'_>) -> bool {
    message.kind.0 == "error" || message.error.is_some()
}

/// Makes the error for a refusal before anything was said.
fn refused(details: Option<Value>) -> ProviderError {
    let details = details.unwrap_or_default();
    let why = details["explanation"].as_str().unwrap_or("the model refused to answer");
    let mut error = ProviderError::new(ErrorKind::ContentPolicy, failure::one_line(why));
    error.code = Some(details["category"].as_str().unwrap_or("refusal").to_owned());
    if details.is_object() {
        error.details.insert("stop_details".into(), details);
    }
    error
}

/// Reads a stop reason; the word itself is kept where it says more than the reason.
fn finish_reason(word: &str) -> (FinishReason, Option<String>) {
    let reason = match word {
        "end_turn" => return (FinishReason::Stop, None),
        "max_tokens" => return (FinishReason::Length, None),
        "tool_use" => return (FinishReason::ToolCalls, None),
        "refusal" => return (FinishReason::ContentFilter, None),
        "pause_turn" => return (FinishReason::Pause, None),
        "stop_sequence" => FinishReason::Stop,
        "model_context_window_exceeded" => FinishReason::Length,
        "compaction" => FinishReason::Pause,
        _ => FinishReason::Other,
    };
    (reason, Some(word.to_owned()))
}
