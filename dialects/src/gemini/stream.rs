//! Reads an answer: a stream of chunks, or the whole in one piece.

use std::ops::ControlFlow;

use plugin_api::{
    chat::{Continuity, Opaque},
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason},
    exchange::Outbox,
    kit::{
        self,
        call::Response,
        sse::{SseEvent, is_done},
        stream::incomplete,
    },
};
use serde_json::{Value, value::RawValue};

use super::{
    DIALECT,
    calls::synthetic_id,
    detail, error, finish,
    partial::Partial,
    sources::Facts,
    token,
    usage::WireUsage,
    wire::{Broken, Candidate, Chunk, Documents, FunctionCall, Part, has_content},
};
use crate::{
    base64, failure,
    loss::{Loss, warn},
};

/// Turns the vendor's answer into events.
///
/// Use it with [`kit::SseStream`]. Text is passed on as it comes; the finish is held back until the
/// stream ends, because the last chunk may repeat the tokens used. There is no mark of the end: a stream
/// is complete if a finish reason was seen. An array of chunks, which is what comes without `alt=sse`,
/// and one whole answer are read too.
///
/// A part that carries a thought signature is a part of its own, so that the signature goes back where
/// it stood.
#[derive(Debug, Default)]
pub struct Decoder {
    losses: Vec<Loss>,
    seed: u64,
    started: bool,
    /// The next part's number.
    next: u32,
    /// The part that text goes to, until something else comes.
    open: Option<(Channel, u32)>,
    /// The text part that sources belong to.
    text: Option<u32>,
    calls: usize,
    /// A call whose arguments arrive in pieces.
    unfinished: Option<(u32, Partial)>,
    facts: Facts,
    usage: WireUsage,
    finish: Option<(FinishReason, Option<String>)>,
    /// The answer came in one piece, so nothing can be missing at its end.
    done: bool,
    warned: bool,
    /// Answers that stood bare between the events, or instead of them.
    bare: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Text,
    Thought,
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

    fn document(&mut self, json: &str, out: &mut Outbox<'_>) -> Result<bool, ProviderError> {
        match serde_json::from_str::<Chunk<'_>>(json) {
            Ok(chunk) => {
                self.take(&chunk, json, out)?;
                Ok(chunk.answers())
            }
            // All that matters was said; a chunk cut off at the end must not spoil it.
            Err(_) if self.finish.is_some() => {
                out.warning("a malformed chunk after the finish was dropped");
                Ok(false)
            }
            Err(_) => Err(malformed(json.as_bytes())),
        }
    }

    /// Takes all documents of a text; says whether one of them was an answer.
    fn documents(&mut self, text: &str, out: &mut Outbox<'_>) -> Result<bool, ProviderError> {
        let mut answered = false;
        for document in Documents::new(text) {
            match document {
                Ok(raw) => answered |= self.document(raw.get(), out)?,
                Err(Broken::Cut) if answered => return Err(incomplete()),
                Err(_) => return Err(malformed(text.as_bytes())),
            }
        }
        Ok(answered)
    }

    fn take(
        &mut self,
        chunk: &Chunk<'_>,
        json: &str,
        out: &mut Outbox<'_>,
    ) -> Result<(), ProviderError> {
        if chunk.is_failure() {
            return Err(error::in_stream(json.as_bytes()));
        }
        if !self.started {
            let (id, model) = (chunk.response_id.filled(), chunk.model_version.filled());
            if id.is_some() || model.is_some() || chunk.answers() {
                self.begin(id, model, out);
            }
        }
        self.usage.update(chunk.usage_metadata.clone());
        let feedback = &chunk.prompt_feedback;
        if let Some(reason) = feedback.block_reason.filled() {
            if self.next == 0 && chunk.candidates.is_empty() {
                return Err(blocked(reason, feedback.safety_ratings));
            }
            self.finish = Some((FinishReason::ContentFilter, Some(reason.to_owned())));
        }
        self.facts.hold(detail::PROMPT_SAFETY_RATINGS, feedback.safety_ratings);
        // More than one candidate is never asked for; one that comes anyway is not followed.
        for candidate in chunk.candidates.iter().filter(|c| c.index.0.unwrap_or(0) == 0) {
            self.candidate(candidate, out);
        }
        Ok(())
    }

    fn begin(&mut self, id: Option<&str>, model: Option<&str>, out: &mut Outbox<'_>) {
        self.started = true;
        out.started(id, model);
        warn(&mut self.losses, out);
    }

    fn candidate(&mut self, candidate: &Candidate<'_>, out: &mut Outbox<'_>) {
        for raw in &candidate.content.parts {
            match serde_json::from_str::<Part<'_>>(raw.get()) {
                Ok(part) => self.part(&part, raw, out),
                Err(_) => self.warn_once("a malformed part was dropped", out),
            }
        }
        self.facts.candidate(candidate);
        if let Some(raw) = candidate.logprobs_result
            && let Ok(value) = serde_json::from_str::<Value>(raw.get())
        {
            let (name, value) = (detail::LOGPROBS.to_owned(), Value::Array(vec![value]));
            out.event(&ChatEvent::Detail { part: None, name, value });
        }
        if let Some(word) = candidate.finish_reason.filled() {
            self.finish = Some(finish::read(word));
        }
    }

    fn part(&mut self, part: &Part<'_>, raw: &RawValue, out: &mut Outbox<'_>) {
        let signature = part.thought_signature.filled();
        if let Some(text) = &part.text {
            let channel = if part.thought { Channel::Thought } else { Channel::Text };
            self.say(channel, &text.0, signature, out);
        } else if let Some(call) = &part.function_call {
            self.call(call, signature, out);
        } else if let Some(blob) = part.inline_data.as_ref().filter(|_| !part.thought) {
            let Some(data) = base64::decode_either(&blob.data.0) else {
                return self.warn_once("a picture or sound that is no Base64 was dropped", out);
            };
            let number = self.number();
            let media_type = blob.mime_type.filled().unwrap_or("application/octet-stream");
            let media_type = media_type.to_owned();
            out.event(&ChatEvent::MediaDelta { part: number, media_type, data });
            sign(number, signature, out);
        } else if has_content(raw) {
            // Code that the vendor ran, its own tools, drafts of pictures: whole, signature included.
            let number = self.number();
            out.opaque(number, Opaque::new(DIALECT, raw.get()));
        } else if signature.is_some() {
            let channel = if part.thought { Channel::Thought } else { Channel::Text };
            self.say(channel, "", signature, out);
        }
    }

    /// Numbers a new part; what was open ends.
    fn number(&mut self) -> u32 {
        self.open = None;
        self.next += 1;
        self.next - 1
    }

    fn say(&mut self, channel: Channel, text: &str, signature: Option<&str>, out: &mut Outbox<'_>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        let part = match self.open {
            Some((open, part)) if open == channel && signature.is_none() => part,
            _ => self.number(),
        };
        self.open = signature.is_none().then_some((channel, part));
        match channel {
            Channel::Text => {
                // Sources are said of texts, not of the empty part that a signature rides on.
                if !text.is_empty() || self.text.is_none() {
                    self.text = Some(part);
                }
                out.text(part, text);
            }
            Channel::Thought => {
                let text = text.to_owned();
                out.event(&ChatEvent::ReasoningDelta { part, text, summary: true });
            }
        }
        sign(part, signature, out);
    }

    fn call(&mut self, call: &FunctionCall<'_>, signature: Option<&str>, out: &mut Outbox<'_>) {
        let name = call.name.filled();
        let in_pieces = call.will_continue || !call.partial_args.is_empty();
        let goes_on = self.unfinished.is_some()
            && (name.is_none() || (in_pieces && call.id.filled().is_none() && call.args.is_none()));
        if !goes_on {
            self.end_call(out);
            let Some(name) = name else {
                return self.warn_once("a tool call without a name was dropped", out);
            };
            let part = self.number();
            let id =
                call.id.filled().map_or_else(|| synthetic_id(self.seed, self.calls), Into::into);
            self.calls += 1;
            out.tool_start(part, &id, name);
            if !in_pieces {
                out.tool_arguments(part, call.args.map_or("{}", RawValue::get));
                sign(part, signature, out);
                return out.tool_end(part);
            }
            self.unfinished = Some((part, Partial::default()));
        }
        let Some((part, partial)) = &mut self.unfinished else { return };
        sign(*part, signature, out);
        if let Some(raw) = call.args {
            partial.merge(serde_json::from_str(raw.get()).unwrap_or_default());
        }
        let mut followed = true;
        for piece in &call.partial_args {
            followed &= partial.take(piece);
        }
        if !followed {
            self.warn_once("an argument at a path that cannot be followed was dropped", out);
        }
        if !call.will_continue {
            self.end_call(out);
        }
    }

    fn end_call(&mut self, out: &mut Outbox<'_>) {
        if let Some((part, partial)) = self.unfinished.take() {
            out.tool_arguments(part, &partial.json());
            out.tool_end(part);
        }
    }

    fn warn_once(&mut self, message: &str, out: &mut Outbox<'_>) {
        if !std::mem::replace(&mut self.warned, true) {
            out.warning(message);
        }
    }

    /// Reports the tokens used, which are owed even when the answer fails.
    fn report_usage(&mut self, out: &mut Outbox<'_>) {
        if let Some(usage) = std::mem::take(&mut self.usage).counts() {
            out.usage(usage);
        }
    }
}

impl kit::Decoder for Decoder {
    fn start(&mut self, seed: u64) {
        self.seed = seed;
    }

    fn event(
        &mut self,
        event: SseEvent<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        let data = event.data.trim();
        // The vendor never sends this, but proxies that serve several dialects do.
        if is_done(data) {
            return Ok(ControlFlow::Break(()));
        }
        if data.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let taken = if event.event == "error" {
            Err(error::in_stream(data.as_bytes()))
        } else if data.starts_with('[') {
            self.documents(data, out).map(drop)
        } else {
            self.document(data, out).map(drop)
        };
        if taken.is_err() {
            self.report_usage(out);
        }
        taken.map(|()| ControlFlow::Continue(()))
    }

    fn stray(&mut self, json: &[u8]) -> Result<(), ProviderError> {
        // Not every line that looks like JSON is (`[INFO] ready`), and a cut one says nothing.
        let text = String::from_utf8_lossy(json);
        for raw in Documents::new(&text).map_while(Result::ok) {
            let chunk: Chunk<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
            if chunk.is_failure() {
                return Err(error::in_stream(raw.get().as_bytes()));
            }
            if chunk.answers() {
                self.bare.push(raw.get().to_owned());
            }
        }
        Ok(())
    }

    fn whole(&mut self, response: Response, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        let malformed = || kit::failure::malformed(WHAT, &response.headers, &response.body);
        if response.headers.content_type() == "text/html" {
            return Err(malformed());
        }
        let text = str::from_utf8(&response.body).map_err(|_| malformed())?;
        let answered = self
            .documents(text, out)
            .and_then(|answered| if answered { Ok(()) } else { Err(malformed()) });
        if let Err(error) = answered {
            self.report_usage(out);
            return Err(error);
        }
        // What came in one piece is complete, even where the reason is missing.
        self.done = true;
        kit::Decoder::end(self, kit::Ended::Input, out)
    }

    fn end(&mut self, _: kit::Ended, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        for json in std::mem::take(&mut self.bare) {
            if let Err(error) = self.document(&json, out) {
                self.report_usage(out);
                return Err(error);
            }
        }
        if self.finish.is_none() && !self.done {
            self.report_usage(out);
            return Err(incomplete());
        }
        if !self.started {
            self.begin(None, None, out);
        }
        self.end_call(out);
        self.facts.report(self.text, out);
        self.report_usage(out);
        let (reason, detail) = self.finish.take().unwrap_or((FinishReason::Stop, None));
        // The vendor stops for a call as it does for an answer.
        let called = self.calls > 0 && reason == FinishReason::Stop;
        let reason = if called { FinishReason::ToolCalls } else { reason };
        out.event(&ChatEvent::Finish { reason, detail });
        Ok(())
    }

    fn failure(&mut self, response: Response) -> ProviderError {
        error::failure(&response)
    }
}

fn sign(part: u32, signature: Option<&str>, out: &mut Outbox<'_>) {
    if let Some(signature) = signature {
        out.continuity(part, Continuity::new(token::THOUGHT_SIGNATURE, signature));
    }
}

/// Makes the error of a prompt that was refused before any answer.
fn blocked(reason: &str, ratings: Option<&RawValue>) -> ProviderError {
    let message = format!("the vendor refused the prompt: `{reason}`");
    let mut error = ProviderError::new(ErrorKind::ContentPolicy, message).code(reason);
    let ratings = ratings.and_then(|raw| serde_json::from_str(raw.get()).ok());
    error.details.extend(ratings.map(|value| (detail::PROMPT_SAFETY_RATINGS.to_owned(), value)));
    error
}

fn malformed(body: &[u8]) -> ProviderError {
    failure::malformed(WHAT, body)
}

const WHAT: &str = "an answer of Gemini";
