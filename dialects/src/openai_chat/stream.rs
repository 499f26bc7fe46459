//! Reads an answer: a stream of chunks, or the whole in one piece.

use std::ops::ControlFlow;

use plugin_api::{
    chat::Continuity,
    error::ProviderError,
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

use super::{
    along::is_mere_piece,
    calls::Calls,
    error,
    sources::{self, Details},
    token,
    wire::{Choice, Chunk, Delta, Fragment, Piece, WireContent},
};
use crate::{
    failure,
    lenient::without_half_pairs,
    loss::{Loss, warn},
};

/// Turns the answer of any server that speaks Chat Completions into events.
///
/// Use it with [`kit::SseStream`]. Text is passed on as it comes; the finish is held back until the
/// stream ends, because the usage comes after the finish reason. A stream that ends without
/// `[DONE]` is complete if a finish reason was seen, and incomplete otherwise. `<think>` in a text
/// stays text.
#[derive(Debug, Default)]
pub struct Decoder {
    losses: Vec<Loss>,
    /// Whether pieces of the answer matter to nobody.
    along: bool,
    started: bool,
    /// The next part's number.
    next: u32,
    /// The part that text goes to, until another channel speaks.
    open: Option<(Channel, u32)>,
    calls: Calls,
    /// Where `OpenRouter`'s reasoning details go, and what came of them.
    details: Option<(u32, Details)>,
    /// The text part that citations belong to.
    text: Option<u32>,
    /// Perplexity repeats its sources in every chunk; the last list counts.
    addresses: String,
    search_results: String,
    usage: Option<Usage>,
    finish: Option<(FinishReason, Option<String>)>,
    done: bool,
    warned: bool,
    /// A whole answer that came without a content type, seen as bare JSON.
    whole: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Text,
    Reasoning,
    Summary,
    Refusal,
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

    fn chunk(&mut self, data: &str, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        if data.starts_with('[') {
            // Gemini's compatible endpoint wraps a failure in an array; no chunk is one.
            return Err(error::in_stream(data.as_bytes()));
        }
        match serde_json::from_str::<Chunk<'_>>(data) {
            Ok(chunk) => self.take(&chunk, data, out),
            // All that matters was said; a usage chunk cut off at the end must not spoil it.
            Err(_) if self.finish.is_some() => {
                out.warning("a malformed chunk after the finish was dropped");
                Ok(())
            }
            Err(_) => match without_half_pairs(data) {
                Some(data) => self.chunk(&data, out),
                None => Err(failure::malformed("a chunk of chat completions", data.as_bytes())),
            },
        }
    }

    fn take(
        &mut self,
        chunk: &Chunk<'_>,
        data: &str,
        out: &mut Outbox<'_>,
    ) -> Result<(), ProviderError> {
        if chunk.is_failure() {
            return Err(error::in_stream(data.as_bytes()));
        }
        if !self.started {
            let (id, model) = (chunk.id.filled(), chunk.model.filled());
            // Azure's first chunk has neither, only the verdict on the prompt.
            if id.is_some() || model.is_some() {
                self.begin(id, model, out);
            }
        }
        if let Some(raw) = chunk.citations.filter(|raw| raw.get() != self.addresses) {
            raw.get().clone_into(&mut self.addresses);
        }
        if let Some(raw) = chunk.search_results.filter(|raw| raw.get() != self.search_results) {
            raw.get().clone_into(&mut self.search_results);
        }
        // More than one choice is never asked for; a server that sends them anyway is not followed.
        for choice in chunk.choices.iter().filter(|choice| choice.index.0.unwrap_or(0) == 0) {
            self.choice(choice, out);
        }
        if let Some(usage) = chunk.usage.counts().or_else(|| chunk.x_groq.usage.counts()) {
            self.usage = Some(usage);
        }
        Ok(())
    }

    fn begin(&mut self, id: Option<&str>, model: Option<&str>, out: &mut Outbox<'_>) {
        self.started = true;
        let (id, model) = (id.map(str::to_owned), model.map(str::to_owned));
        out.event(&ChatEvent::Started { id, model });
        warn(&mut self.losses, out);
    }

    fn choice(&mut self, choice: &Choice<'_>, out: &mut Outbox<'_>) {
        self.delta(choice.message.as_ref().unwrap_or(&choice.delta), out);
        if let Some(word) = choice.finish_reason.filled() {
            self.finish = Some(finish_reason(word));
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut Outbox<'_>) {
        let reasoning = delta.reasoning_content.filled().or(delta.reasoning.filled());
        if let Some(text) = reasoning {
            self.say(Channel::Reasoning, text, out);
        }
        if let Some(raw) = delta.reasoning_details {
            self.details(raw, reasoning.is_some(), out);
        }
        match &delta.content {
            WireContent::Text(text) => self.say(Channel::Text, text, out),
            WireContent::Pieces(pieces) => {
                for piece in pieces {
                    self.piece(piece, out);
                }
            }
            WireContent::Nothing => {}
        }
        if let Some(audio) = &delta.audio {
            self.say(Channel::Text, &audio.transcript.0, out);
            self.warn_once("the answer's sound was dropped; its transcript is kept", out);
        }
        self.say(Channel::Refusal, &delta.refusal.0, out);
        if let Some(raw) = delta.images {
            for (media_type, data) in sources::pictures(raw) {
                self.picture(media_type, data, out);
            }
        }
        if let Some(extra) = &delta.extra_content
            && let Some(signature) = extra.google.thought_signature.filled()
        {
            let part = match self.open {
                Some((_, part)) => part,
                None => self.enter(Channel::Reasoning, out),
            };
            let continuity = Continuity::new(token::THOUGHT_SIGNATURE, signature);
            out.event(&ChatEvent::Continuity { part, continuity });
        }
        for fragment in &delta.tool_calls {
            self.fragment(fragment, out);
        }
        if let Some(called) = &delta.function_call
            && (called.name.filled().is_some() || called.arguments.is_some())
        {
            // The predecessor of tool calls: one call, no id, the name in its first fragment.
            let call = super::wire::Called {
                name: called.name.clone(),
                arguments: called.arguments,
                input: None,
            };
            let fragment = Fragment { function: Some(call), ..Fragment::default() };
            self.fragment(&fragment, out);
        }
        if let Some(raw) = delta.annotations {
            for citation in sources::annotations(raw) {
                self.cite(citation, out);
            }
        }
    }

    /// Emits text on a channel, opening a part when another one spoke last.
    fn say(&mut self, channel: Channel, text: &str, out: &mut Outbox<'_>) {
        if text.is_empty() {
            return;
        }
        let part = match self.open {
            Some((open, part)) if open == channel => part,
            _ => self.enter(channel, out),
        };
        match channel {
            Channel::Text => out.text(part, text),
            Channel::Reasoning => out.reasoning(part, text),
            Channel::Summary => {
                let text = text.to_owned();
                out.event(&ChatEvent::ReasoningDelta { part, text, summary: true });
            }
            Channel::Refusal => {
                out.event(&ChatEvent::RefusalDelta { part, text: text.to_owned() });
            }
        }
    }

    fn enter(&mut self, channel: Channel, out: &mut Outbox<'_>) -> u32 {
        let part = self.part(out);
        self.open = Some((channel, part));
        if channel == Channel::Text {
            self.text = Some(part);
        }
        part
    }

    /// Numbers a new part.
    fn part(&mut self, out: &mut Outbox<'_>) -> u32 {
        if !self.started {
            self.begin(None, None, out);
        }
        let part = self.next;
        self.next += 1;
        part
    }

    fn piece(&mut self, piece: &Piece<'_>, out: &mut Outbox<'_>) {
        match &*piece.kind.0 {
            "text" | "output_text" | "" => self.say(Channel::Text, &piece.text.0, out),
            "refusal" => self.say(Channel::Refusal, &piece.refusal.0, out),
            "thinking" => {
                self.say(Channel::Reasoning, &piece.thinking.joined(), out);
                if let Some(signature) = piece.signature.filled() {
                    let part = match self.open {
                        Some((Channel::Reasoning, part)) => part,
                        _ => self.enter(Channel::Reasoning, out),
                    };
                    let continuity = Continuity::new(token::SIGNATURE, signature);
                    out.event(&ChatEvent::Continuity { part, continuity });
                }
                if piece.closed {
                    self.open = None;
                }
            }
            "reference" => {
                if let Some(ids) = piece.reference_ids {
                    self.cite(sources::reference(ids), out);
                }
            }
            "image_url" => {
                if let Some((media_type, data)) = piece.image_url.and_then(sources::picture) {
                    self.picture(media_type, data, out);
                }
            }
            _ => self.warn_once("a content chunk of unknown type was dropped", out),
        }
    }

    fn fragment(&mut self, fragment: &Fragment<'_>, out: &mut Outbox<'_>) {
        if !self.started {
            self.begin(None, None, out);
        }
        let (next, open) = (&mut self.next, &mut self.open);
        let new = || {
            *open = None;
            *next += 1;
            *next - 1
        };
        self.calls.fragment(fragment, new, out);
    }

    fn details(
        &mut self,
        raw: &serde_json::value::RawValue,
        already_said: bool,
        out: &mut Outbox<'_>,
    ) {
        let (part, mut details) =
            self.details.take().map_or((None, Details::default()), |have| (Some(have.0), have.1));
        let shown = details.take(raw);
        if !already_said {
            for (text, summary) in &shown {
                let channel = if *summary { Channel::Summary } else { Channel::Reasoning };
                self.say(channel, text, out);
            }
        }
        if details.is_empty() {
            return;
        }
        let part = part.unwrap_or_else(|| match self.open {
            Some((Channel::Reasoning | Channel::Summary, part)) => part,
            _ => {
                // Nothing to show, only a token: its part must still appear in its place.
                let part = self.enter(Channel::Reasoning, out);
                out.reasoning(part, "");
                part
            }
        });
        self.details = Some((part, details));
    }

    fn cite(&mut self, citation: plugin_api::chat::Citation, out: &mut Outbox<'_>) {
        let part = match self.text {
            Some(part) => part,
            None => self.enter(Channel::Text, out),
        };
        out.event(&ChatEvent::Citation { part, citation: Box::new(citation) });
    }

    fn picture(&mut self, media_type: String, data: Vec<u8>, out: &mut Outbox<'_>) {
        self.open = None;
        let part = self.part(out);
        out.event(&ChatEvent::MediaDelta { part, media_type, data });
    }

    fn warn_once(&mut self, message: &str, out: &mut Outbox<'_>) {
        if !std::mem::replace(&mut self.warned, true) {
            out.warning(message);
        }
    }

    /// Reports the tokens used, which are owed even when the answer fails.
    fn report_usage(&mut self, out: &mut Outbox<'_>) {
        if let Some(usage) = self.usage.take() {
            out.usage(usage);
        }
    }

    fn read_whole(&mut self, body: &[u8], out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        let malformed = || failure::malformed("a chat completion", body);
        let text = str::from_utf8(body).map_err(|_| malformed())?.trim();
        if text.starts_with('[') {
            return Err(error::in_stream(text.as_bytes()));
        }
        let chunk: Chunk<'_> = match serde_json::from_str(text) {
            Ok(chunk) => chunk,
            Err(_) => {
                let fixed = without_half_pairs(text).ok_or_else(malformed)?;
                return self.read_whole(fixed.as_bytes(), out);
            }
        };
        self.take(&chunk, text, out)?;
        if chunk.choices.is_empty() {
            return Err(malformed());
        }
        // What came in one piece is complete, even where the reason is missing.
        self.done = true;
        Ok(())
    }
}

impl kit::Decoder for Decoder {
    fn start(&mut self, seed: u64) {
        self.calls.start(seed);
    }

    fn head(&mut self, status: u16, headers: &Headers, _: Timestamp, _: &mut Outbox<'_>) {
        self.along &= kit::native::is_passed_on(true, status, headers);
    }

    fn event(
        &mut self,
        event: SseEvent<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        if is_done(event.data) {
            self.done = true;
            return Ok(ControlFlow::Break(()));
        }
        let data = event.data.trim();
        if data.is_empty() || (self.along && self.started && is_mere_piece(data)) {
            return Ok(ControlFlow::Continue(()));
        }
        let taken = if event.event == "error" {
            // Groq names the event; what it holds is a failure in any of its forms.
            Err(error::in_stream(data.as_bytes()))
        } else {
            self.chunk(data, out)
        };
        if taken.is_err() {
            self.report_usage(out);
        }
        taken.map(|()| ControlFlow::Continue(()))
    }

    fn stray(&mut self, json: &[u8]) -> Result<(), ProviderError> {
        if json.starts_with(b"[") {
            let list: Vec<Chunk<'_>> = serde_json::from_slice(json).unwrap_or_default();
            let failed = list.first().is_some_and(Chunk::is_failure);
            return if failed { Err(error::in_stream(json)) } else { Ok(()) };
        }
        match serde_json::from_slice::<Chunk<'_>>(json) {
            Ok(chunk) if chunk.is_failure() => Err(error::in_stream(json)),
            Ok(chunk) => {
                if chunk.choices.iter().any(|choice| choice.message.is_some()) {
                    self.whole = Some(json.to_vec());
                }
                Ok(())
            }
            // Not every line that looks like JSON is (`[INFO] ready`), and a cut one says nothing.
            Err(_) => Ok(()),
        }
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
        if self.finish.is_none() && !self.done {
            self.report_usage(out);
            return Err(incomplete());
        }
        if !self.started {
            self.begin(None, None, out);
        }
        let called = !self.calls.is_empty();
        self.calls.end(out);
        if let Some((part, details)) = self.details.take()
            && let Some(token) = details.token()
        {
            let continuity = Continuity::new(token::REASONING_DETAILS, token);
            out.event(&ChatEvent::Continuity { part, continuity });
        }
        let described = sources::addresses(&self.search_results);
        let listed =
            if described.is_empty() { sources::addresses(&self.addresses) } else { described };
        for citation in listed {
            self.cite(citation, out);
        }
        self.report_usage(out);
        let (reason, detail) = self.finish.take().unwrap_or((FinishReason::Stop, None));
        // A forced tool choice ends with `stop` in some versions of vLLM.
        let reason =
            if called && reason == FinishReason::Stop { FinishReason::ToolCalls } else { reason };
        out.event(&ChatEvent::Finish { reason, detail });
        Ok(())
    }

    fn failure(&mut self, response: Response) -> ProviderError {
        error::failure(&response)
    }
}

/// Reads a finish reason; the word itself is kept where it says more than the reason.
fn finish_reason(word: &str) -> (FinishReason, Option<String>) {
    let reason = match word {
        "stop" => return (FinishReason::Stop, None),
        "length" => return (FinishReason::Length, None),
        "tool_calls" => return (FinishReason::ToolCalls, None),
        "content_filter" => return (FinishReason::ContentFilter, None),
        "function_call" | "tool_use" => FinishReason::ToolCalls,
        "eos" | "eos_token" | "end_turn" | "stop_sequence" | "STOP" => FinishReason::Stop,
        // Mistral: the prompt and the answer together reached the model's window.
        "model_length" | "max_tokens" | "MAX_TOKENS" => FinishReason::Length,
        // DeepSeek ran out of capacity in the middle.
        "error" | "insufficient_system_resource" | "abort" => FinishReason::Error,
        "SAFETY" | "RECITATION" | "safety" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    };
    (reason, Some(word.to_owned()))
}
