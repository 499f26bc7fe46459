//! Reads an answer: a stream of events, or the whole in one piece.

mod items;

use std::ops::ControlFlow;

use plugin_api::{
    ContextId,
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Usage},
    exchange::{Outbox, Timestamp},
    http::Headers,
    kit::{
        self,
        call::Response as HttpResponse,
        sse::{SseEvent, is_done},
        stream::incomplete,
    },
};
use serde_json::{Map, Value, value::RawValue};

use self::items::{Channel, Items};
use super::{
    error,
    wire::{Event, Response},
};
use crate::{
    failure,
    loss::{Loss, warn},
};

/// Turns the answer of any server that speaks Responses into events.
///
/// Use it with [`kit::SseStream`]. Deltas are passed on as they come; what a server did not stream is
/// taken from the finished item, and what it did not finish from the final snapshot. The stream is
/// complete with `response.completed` or `response.incomplete` and with nothing else.
#[derive(Debug, Default)]
pub struct Decoder {
    losses: Vec<Loss>,
    /// Whether pieces of the answer matter to nobody.
    along: bool,
    started: bool,
    items: Items,
    usage: Option<Usage>,
    finish: Option<(FinishReason, Option<String>)>,
    /// Limits that stood in the headers.
    limits: Map<String, Value>,
    request_id: Option<String>,
    warned: bool,
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
        event: &Event<'_>,
        data: &str,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        if event.is_bare_failure() {
            return Err(error::in_stream(data.as_bytes()));
        }
        match event.kind.filled().unwrap_or(name) {
            "error" => return Err(error::in_stream(data.as_bytes())),
            "response.created" | "response.in_progress" | "response.queued" => {
                self.begin(&snapshot(event.response), out);
            }
            "response.output_item.added" => {
                if let Some(raw) = event.item {
                    self.ensure_begun(out);
                    self.items.added(event, raw, out);
                }
            }
            "response.output_item.done" => {
                if let Some(raw) = event.item {
                    self.ensure_begun(out);
                    self.items.done(event.output_index.0, raw, out);
                }
            }
            "response.output_text.delta" => self.say(Channel::Text, event, out),
            "response.refusal.delta" => self.say(Channel::Refusal, event, out),
            "response.reasoning_summary_text.delta" => self.say(Channel::Summary, event, out),
            "response.reasoning_text.delta" => self.say(Channel::Reasoning, event, out),
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.say(Channel::Call, event, out);
            }
            "response.output_text.annotation.added" => {
                if let Some(raw) = event.annotation {
                    self.ensure_begun(out);
                    self.items.cite(event, raw, out);
                }
            }
            "response.audio.delta" if !std::mem::replace(&mut self.warned, true) => {
                self.ensure_begun(out);
                out.warning("the answer's sound was dropped");
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response = snapshot(event.response);
                let status = event.kind.filled().unwrap_or(name).trim_start_matches("response.");
                self.complete(&response, status, out)?;
                return Ok(ControlFlow::Break(()));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn say(&mut self, channel: Channel, event: &Event<'_>, out: &mut Outbox<'_>) {
        self.ensure_begun(out);
        self.items.delta(channel, event, out);
    }

    fn begin(&mut self, response: &Response<'_>, out: &mut Outbox<'_>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        out.started(response.id.filled(), response.model.filled());
        warn(&mut self.losses, out);
        if !self.limits.is_empty() {
            let value = Value::Object(std::mem::take(&mut self.limits));
            out.event(&ChatEvent::Detail { part: None, name: "rate_limits".into(), value });
        }
    }

    fn ensure_begun(&mut self, out: &mut Outbox<'_>) {
        self.begin(&Response::default(), out);
    }

    /// Takes the final snapshot.
    fn complete(
        &mut self,
        response: &Response<'_>,
        status: &str,
        out: &mut Outbox<'_>,
    ) -> Result<(), ProviderError> {
        self.usage = response.usage.counts();
        if status == "failed" {
            self.report_usage(out);
            return Err(error::of_response(response.error.map_or("null", RawValue::get)));
        }
        self.begin(response, out);
        for (at, raw) in (0..).zip(&response.output) {
            self.items.missed(at, raw, out);
        }
        let why = response.incomplete_details.reason.filled();
        if why == Some("content_filter") && self.items.is_empty() {
            // Nothing was answered, so it was the question that the filter stopped.
            self.report_usage(out);
            let message = "the vendor's filter stopped the request";
            let error = ProviderError::new(ErrorKind::ContentPolicy, message);
            return Err(error.code("content_filter"));
        }
        if let Some(tier) = response.service_tier.filled() {
            let (name, value) = ("service_tier".into(), tier.into());
            out.event(&ChatEvent::Detail { part: None, name, value });
        }
        self.report_context(response, out);
        self.finish = Some(match (status, why) {
            ("incomplete", reason) => incomplete_reason(reason.unwrap_or("incomplete")),
            ("cancelled", _) => (FinishReason::Error, Some("cancelled".into())),
            _ if self.items.called() => (FinishReason::ToolCalls, None),
            _ if self.items.refused() => (FinishReason::ContentFilter, None),
            _ => (FinishReason::Stop, None),
        });
        Ok(())
    }

    /// Names what the vendor keeps: a conversation, or the answer itself.
    fn report_context(&self, response: &Response<'_>, out: &mut Outbox<'_>) {
        let conversation = response.conversation.and_then(|raw| {
            let value: Value = serde_json::from_str(raw.get()).ok()?;
            Some(value.as_str().or_else(|| value["id"].as_str())?.to_owned())
        });
        let stored = response.store.is_some_and(|raw| raw.get() == "true");
        let (id, kind) = match (conversation, response.id.filled()) {
            (Some(id), _) => (id, "conversation"),
            (None, Some(id)) if stored => (id.to_owned(), "response"),
            _ => return,
        };
        out.event(&ChatEvent::Context { id: ContextId::new(id), kind: kind.into() });
    }

    /// Reports the tokens used, which are owed even when the answer fails.
    fn report_usage(&mut self, out: &mut Outbox<'_>) {
        if let Some(usage) = self.usage.take() {
            out.usage(usage);
        }
    }

    fn read_whole(&mut self, body: &[u8], out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        let malformed = || failure::malformed("a response", body);
        let text = str::from_utf8(body).map_err(|_| malformed())?.trim();
        if text.starts_with('[') {
            return Err(error::in_stream(text.as_bytes()));
        }
        let event: Event<'_> = serde_json::from_str(text).map_err(|_| malformed())?;
        let response: Response<'_> = serde_json::from_str(text).map_err(|_| malformed())?;
        let (status, has_output) = (&*response.status.0, !response.output.is_empty());
        match status {
            "" if event.is_bare_failure() || event.kind.0 == "error" => {
                Err(error::in_stream(text.as_bytes()))
            }
            "queued" | "in_progress" => {
                let message = format!("the answer is still `{status}`");
                Err(ProviderError::new(ErrorKind::Protocol, message))
            }
            "" if !has_output => Err(malformed()),
            status => self.complete(&response, status, out),
        }
    }

    /// Adds what the headers say to a failure.
    fn blame(&self, mut error: ProviderError) -> ProviderError {
        if error.request_id.is_none() {
            error.request_id.clone_from(&self.request_id);
        }
        error
    }
}

impl kit::Decoder for Decoder {
    fn start(&mut self, seed: u64) {
        self.items.start(seed);
    }

    fn head(&mut self, status: u16, headers: &Headers, _: Timestamp, _: &mut Outbox<'_>) {
        self.along &= kit::native::is_passed_on(true, status, headers);
        self.request_id = kit::failure::request_id(headers);
        for (name, value) in &headers.0 {
            if name.starts_with("x-ratelimit-") {
                self.limits.insert(name.clone(), value.as_str().into());
            }
        }
    }

    fn event(
        &mut self,
        event: SseEvent<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        let data = event.data.trim();
        let piece = event.event.ends_with(".delta");
        if data.is_empty() || is_done(data) || (self.along && self.started && piece) {
            return Ok(ControlFlow::Continue(()));
        }
        let taken = match serde_json::from_str::<Event<'_>>(data) {
            Ok(read) => self.take(event.event, &read, data, out),
            Err(_) if event.event == "error" || data.starts_with('[') => {
                Err(error::in_stream(data.as_bytes()))
            }
            Err(_) => Err(failure::malformed("an event of a response", data.as_bytes())),
        };
        taken.map_err(|error| self.blame(error))
    }

    fn stray(&mut self, json: &[u8]) -> Result<(), ProviderError> {
        if json.starts_with(b"[") {
            let list: Vec<Event<'_>> = serde_json::from_slice(json).unwrap_or_default();
            let failed = list.first().is_some_and(Event::is_bare_failure);
            return if failed { Err(self.blame(error::in_stream(json))) } else { Ok(()) };
        }
        match serde_json::from_slice::<Event<'_>>(json) {
            Ok(event) if event.object.0 == "response" => {
                self.whole = Some(json.to_vec());
                Ok(())
            }
            Ok(event) if event.is_bare_failure() => Err(self.blame(error::in_stream(json))),
            // Not every line that looks like JSON is (`[INFO] ready`), and a cut one says nothing.
            _ => Ok(()),
        }
    }

    fn whole(&mut self, response: HttpResponse, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        failure::refuse_html(&response)?;
        self.read_whole(&response.body, out).map_err(|error| self.blame(error))?;
        kit::Decoder::end(self, kit::Ended::Input, out)
    }

    fn end(&mut self, _: kit::Ended, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        if let Some(body) = self.whole.take() {
            self.read_whole(&body, out).map_err(|error| self.blame(error))?;
        }
        let Some((reason, detail)) = self.finish.take() else {
            return Err(self.blame(incomplete()));
        };
        self.items.end(out);
        self.report_usage(out);
        out.event(&ChatEvent::Finish { reason, detail });
        Ok(())
    }

    fn failure(&mut self, response: HttpResponse) -> ProviderError {
        error::failure(&response)
    }
}

/// Reads a snapshot as far as it can be read.
fn snapshot(raw: Option<&RawValue>) -> Response<'_> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// Reads why an answer is incomplete; the word itself is kept where it says more than the reason.
fn incomplete_reason(word: &str) -> (FinishReason, Option<String>) {
    let reason = match word {
        "max_output_tokens" => return (FinishReason::Length, None),
        "content_filter" => return (FinishReason::ContentFilter, None),
        "steered" => return (FinishReason::Pause, None),
        "max_messages" | "max_tool_calls" => FinishReason::Length,
        _ => FinishReason::Other,
    };
    (reason, Some(word.to_owned()))
}
