//! One request whose answer streams: server-sent events or newline-delimited JSON.
//!
//! The author writes a [`Decoder`]; everything around it (failed statuses, an answer in one piece
//! although a stream was asked for, bare JSON between events, truncation, cancellation) is here.

use std::ops::ControlFlow;

use super::{
    call::{Gather, Response, cancelled},
    failure,
    ndjson::{NdjsonError, NdjsonParser},
    sse::{Item, SseError, SseEvent, SseParser},
};
use crate::{
    error::{ErrorKind, ProviderError},
    exchange::{Exchange, Input, Outbox, Timestamp},
    http::{Headers, HttpRequest},
};

/// Turns the pieces of one vendor's stream into events.
pub trait Decoder {
    /// Takes the exchange's seed before anything else, for ids that the vendor left out.
    fn start(&mut self, seed: u64) {
        let _ = seed;
    }

    /// Takes the head of the answer, whatever its status: ids and limits that stand in headers.
    fn head(&mut self, status: u16, headers: &Headers, now: Timestamp, out: &mut Outbox<'_>) {
        let _ = (status, headers, now, out);
    }

    /// Takes one event. [`ControlFlow::Break`] says that nothing of interest follows.
    ///
    /// For newline-delimited JSON the line is the event's data.
    ///
    /// # Errors
    ///
    /// The failure that the event reports, or that it is malformed.
    fn event(
        &mut self,
        event: SseEvent<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError>;

    /// Takes bare JSON that stood between the events; usually a failure (Gemini, Ollama).
    ///
    /// # Errors
    ///
    /// The failure that it reports. Unless implemented, it is ignored.
    fn stray(&mut self, json: &[u8]) -> Result<(), ProviderError> {
        let _ = json;
        Ok(())
    }

    /// Takes an answer that came in one piece although a stream was asked for.
    ///
    /// # Errors
    ///
    /// The failure that it reports. Unless implemented, it is malformed.
    fn whole(&mut self, response: Response, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        let _ = out;
        Err(failure::malformed("a stream", &response.headers, &response.body))
    }

    /// Takes the end of the stream: emits what is still held back, and the finish.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Incomplete`] when something is missing.
    fn end(&mut self, how: Ended, out: &mut Outbox<'_>) -> Result<(), ProviderError>;

    /// Turns an answer with a failed status into an error.
    fn failure(&mut self, response: Response) -> ProviderError {
        response.failure()
    }
}

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The decoder had said that nothing of interest follows.
    Break,
    /// The vendor closed the stream, in good order or not: only the decoder can tell.
    Input,
}

/// An exchange over server-sent events.
pub type SseStream<D> = Stream<SseParser, D>;

/// An exchange over newline-delimited JSON.
pub type NdjsonStream<D> = Stream<NdjsonParser, D>;

/// An exchange over a framing.
#[derive(Debug)]
pub struct Stream<F, D> {
    request: Option<HttpRequest>,
    framing: F,
    decoder: D,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    /// The head has not come.
    Waiting,
    /// Events come.
    Streaming,
    /// The answer is read whole: it failed, or it is not a stream.
    Gathering(Box<Gather>),
    /// Nothing more is wanted.
    Ended,
}

impl<F: Framing + Default, D: Decoder> Stream<F, D> {
    /// Makes an exchange that sends `request` and decodes the answer.
    pub fn new(request: HttpRequest, decoder: D) -> Self {
        Self { request: Some(request), framing: F::default(), decoder, mode: Mode::Waiting }
    }
}

impl<F: Framing, D: Decoder> Exchange for Stream<F, D> {
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        match self.take(now, &input, out) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => {
                self.mode = Mode::Ended;
                out.done();
            }
            Err(error) => {
                self.mode = Mode::Ended;
                out.fail(&error);
            }
        }
    }
}

impl<F: Framing, D: Decoder> Stream<F, D> {
    fn take(
        &mut self,
        now: Timestamp,
        input: &Input<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        match (&mut self.mode, input) {
            (Mode::Ended, _) | (_, Input::Tick) => {}
            (_, Input::Start { seed }) => {
                self.decoder.start(*seed);
                if let Some(request) = self.request.take() {
                    out.send(&request);
                }
            }
            (_, Input::Cancel) => return Err(cancelled()),
            (Mode::Waiting, Input::ResponseHead { status, headers, .. }) => {
                self.decoder.head(*status, headers, now, out);
                let one_piece = matches!(
                    headers.content_type(),
                    "application/json" | "text/html" | "application/problem+json"
                );
                self.mode = if !(200..300).contains(status) || (F::IS_SSE && one_piece) {
                    let mut gather = Box::<Gather>::default();
                    gather.take(now, input);
                    Mode::Gathering(gather)
                } else {
                    Mode::Streaming
                };
            }
            (Mode::Gathering(gather), _) => {
                if let Some(response) = gather.take(now, input) {
                    let response = response?;
                    if !response.is_success() {
                        return Err(self.decoder.failure(response));
                    }
                    self.decoder.whole(response, out)?;
                    return Ok(ControlFlow::Break(()));
                }
            }
            (_, Input::Body { bytes, .. }) => {
                let flow = self.framing.feed(bytes, &mut self.decoder, out)?;
                if flow.is_break() {
                    return self.decoder.end(Ended::Break, out).map(ControlFlow::Break);
                }
            }
            (_, Input::End { .. }) => {
                self.framing.finish(&mut self.decoder, out)?;
                return self.decoder.end(Ended::Input, out).map(ControlFlow::Break);
            }
            (_, Input::TransportFailed { kind, message, .. }) => {
                return Err(failure::transport(*kind, message));
            }
            (_, Input::ResponseHead { .. }) => {}
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A way to cut a body into events. Implemented for the two parsers of the kit.
pub trait Framing: sealed::Sealed {
    #[doc(hidden)]
    const IS_SSE: bool;

    #[doc(hidden)]
    fn feed<D: Decoder>(
        &mut self,
        bytes: &[u8],
        decoder: &mut D,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError>;

    #[doc(hidden)]
    fn finish<D: Decoder>(
        &mut self,
        decoder: &mut D,
        out: &mut Outbox<'_>,
    ) -> Result<(), ProviderError>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::SseParser {}
    impl Sealed for super::NdjsonParser {}
}

impl Framing for SseParser {
    const IS_SSE: bool = true;

    fn feed<D: Decoder>(
        &mut self,
        bytes: &[u8],
        decoder: &mut D,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        let mut failed = None;
        let flow = self.feed_items::<true>(bytes, |item| match item {
            Item::Event(event) => step(decoder, event, out, &mut failed),
            Item::Stray(document) => match decoder.stray(document) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            },
        });
        failed.map_or_else(|| Ok(flow?), Err)
    }

    fn finish<D: Decoder>(
        &mut self,
        decoder: &mut D,
        out: &mut Outbox<'_>,
    ) -> Result<(), ProviderError> {
        let mut failed = None;
        SseParser::finish(self, |event| step(decoder, event, out, &mut failed))?;
        if let Some(error) = failed {
            // The blank line that completes an event never came, so a tail that does not parse was
            // cut off, not malformed.
            let cut = error.kind == ErrorKind::Protocol;
            return Err(if cut { incomplete() } else { error });
        }
        if self.stray().is_empty() { Ok(()) } else { decoder.stray(&self.take_stray()) }
    }
}

impl Framing for NdjsonParser {
    const IS_SSE: bool = false;

    fn feed<D: Decoder>(
        &mut self,
        bytes: &[u8],
        decoder: &mut D,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        let mut failed = None;
        let flow =
            NdjsonParser::feed(self, bytes, |line| step(decoder, event(line), out, &mut failed));
        failed.map_or_else(|| Ok(flow?), Err)
    }

    fn finish<D: Decoder>(
        &mut self,
        decoder: &mut D,
        out: &mut Outbox<'_>,
    ) -> Result<(), ProviderError> {
        let mut failed = None;
        NdjsonParser::finish(self, |line| step(decoder, event(line), out, &mut failed))?;
        failed.map_or(Ok(()), Err)
    }
}

fn event(line: &str) -> SseEvent<'_> {
    SseEvent { event: "message", data: line, id: "" }
}

fn step<D: Decoder>(
    decoder: &mut D,
    event: SseEvent<'_>,
    out: &mut Outbox<'_>,
    failed: &mut Option<ProviderError>,
) -> ControlFlow<()> {
    decoder.event(event, out).unwrap_or_else(|error| {
        *failed = Some(error);
        ControlFlow::Break(())
    })
}

/// Makes the error for a stream that ended before it was finished.
#[must_use]
pub fn incomplete() -> ProviderError {
    ProviderError::new(ErrorKind::Incomplete, "the stream ended before it was finished")
}

impl From<SseError> for ProviderError {
    fn from(error: SseError) -> Self {
        Self::new(ErrorKind::Protocol, error.to_string())
    }
}

impl From<NdjsonError> for ProviderError {
    fn from(error: NdjsonError) -> Self {
        Self::new(ErrorKind::Protocol, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::FinishReason,
        http::TransportErrorKind,
        kit::replay::{Replay, every_cut},
    };

    /// Speaks a toy protocol: each event is text, `!` fails, `.` ends.
    #[derive(Default)]
    struct Toy;

    impl Decoder for Toy {
        fn event(
            &mut self,
            event: SseEvent<'_>,
            out: &mut Outbox<'_>,
        ) -> Result<ControlFlow<()>, ProviderError> {
            match event.data {
                "!" => Err(ProviderError::new(ErrorKind::Overloaded, "full")),
                "?" => Err(ProviderError::new(ErrorKind::Protocol, "what")),
                "." => Ok(ControlFlow::Break(())),
                text => {
                    out.text(0, text);
                    Ok(ControlFlow::Continue(()))
                }
            }
        }

        fn stray(&mut self, json: &[u8]) -> Result<(), ProviderError> {
            Err(ProviderError::new(ErrorKind::Other, String::from_utf8_lossy(json)))
        }

        fn end(&mut self, _: Ended, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
            out.finish(FinishReason::Stop);
            Ok(())
        }
    }

    fn sse() -> Box<dyn Exchange + Send> {
        Box::new(SseStream::new(HttpRequest::get("https://a.test/"), Toy))
    }

    fn ndjson() -> Box<dyn Exchange + Send> {
        Box::new(NdjsonStream::new(HttpRequest::get("https://a.test/"), Toy))
    }

    #[test]
    fn events_come_out_alike_at_every_cut() {
        let run =
            every_cut(sse, 200, &[], b"data: a\r\n\r\ndata: \xc3\xa9\n\ndata: .\n\ndata: no\n\n");
        assert_eq!(run.text(), "aé");
        assert!(run.done);
        let run = every_cut(ndjson, 200, &[], b"a\r\n\n\xc3\xa9\n.\nno\n");
        assert_eq!(run.text(), "aé");
    }

    #[test]
    fn a_failure_in_the_stream_keeps_what_came() {
        let run = every_cut(sse, 200, &[], b"data: a\n\ndata: !\n\ndata: b\n\n");
        assert_eq!(run.text(), "a");
        assert_eq!(run.error.unwrap().kind, ErrorKind::Overloaded);
    }

    #[test]
    fn bare_json_is_heard() {
        let run = every_cut(sse, 200, &[], b"data: a\n\n{\n\"e\": 1\n}\n");
        assert_eq!(run.error.unwrap().message, "{\n\"e\": 1\n}");
        let run = every_cut(sse, 200, &[], b"data: a\n\n{\"e\": ");
        assert_eq!(run.error.unwrap().message, "{\"e\": ");
        // In the order of the stream, and whatever follows on the line, at every cut.
        let run = every_cut(sse, 200, &[], b"data: a\n\n{\"e\": 1}\ndata: b\n\n{\"e\": 2}\n");
        assert_eq!((run.text().as_str(), run.error.unwrap().message.as_str()), ("a", "{\"e\": 1}"));
        let run = every_cut(sse, 200, &[], b"{\"e\": 1}}}{\"e\": 2\n\ndata: b\n\n");
        assert_eq!(run.text(), "");
    }

    #[test]
    fn a_tail_that_does_not_parse_was_cut_off() {
        let run = Replay::new(sse()).respond(200, &[], b"data: a\n\ndata: ?").run();
        assert_eq!(run.error.unwrap().kind, ErrorKind::Incomplete);
    }

    #[test]
    fn statuses_pages_and_broken_connections_are_errors() {
        let html = [("content-type", "text/html")];
        let run = Replay::new(sse()).respond(200, &html, b"<html>").run();
        assert_eq!(run.error.unwrap().message, "expected a stream, found `text/html`");
        let run = Replay::new(sse()).respond(503, &[], b"later").run();
        assert_eq!(run.error.unwrap().kind, ErrorKind::Overloaded);
        let run = Replay::new(sse()).fail(TransportErrorKind::Dns, "no such host").run();
        assert_eq!(run.error.unwrap().to_string(), "connection failed: no such host");
        let run = Replay::new(sse()).cancel().run();
        assert_eq!(run.error.unwrap().kind, ErrorKind::Cancelled);
    }
}
