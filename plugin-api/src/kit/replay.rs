//! Runs an exchange against recorded bytes: every test of a plugin is a replay.
//!
//! Outputs pass through the same messages as in a host, so a test sees what a host would see.

use std::collections::VecDeque;

use crate::{
    abi::{
        Effect, Emit, Output,
        codec::{decode_output, encode_output},
    },
    error::ProviderError,
    event::{ChatEvent, Transcript},
    exchange::{Exchange, Input, LogLevel, Outbox, RequestNumber, Timestamp},
    http::{Headers, HttpRequest, TransportErrorKind},
    operation::Reply,
    rules::{Grammar, Rule, Violation},
};

/// What an exchange did.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Run {
    /// Requests that it sent, in order.
    pub requests: Vec<HttpRequest>,
    /// Events, in order.
    pub events: Vec<ChatEvent>,
    /// The typed result.
    pub value: Option<Reply>,
    /// Times at which it asked to be woken.
    pub wakes: Vec<Timestamp>,
    /// Lines for the log.
    pub log: Vec<(LogLevel, String)>,
    /// Whether it ended well.
    pub done: bool,
    /// Why it ended badly.
    pub error: Option<ProviderError>,
    /// Outputs after the end: always a mistake.
    pub after_end: usize,
    /// Rules that it broke; a host would end the exchange at the first.
    pub violations: Vec<Violation>,
    grammar: Grammar,
    /// Whether a request waits for its answer.
    open: bool,
}

impl Run {
    /// Returns the text of the answer.
    #[must_use]
    pub fn text(&self) -> String {
        Transcript::of(&self.events).text()
    }

    /// Returns the answer put together.
    #[must_use]
    pub fn transcript(&self) -> Transcript {
        Transcript::of(&self.events)
    }

    /// Returns the body of a request as JSON, for bodies that are all bytes.
    ///
    /// # Panics
    ///
    /// When there is no such request or its body is something else; this is for tests.
    #[must_use]
    pub fn request_json(&self, number: usize) -> serde_json::Value {
        let body = self.requests[number].body.as_bytes().expect("the body is all bytes");
        serde_json::from_slice(body).expect("the body is JSON")
    }

    fn violate(&mut self, rule: Rule, detail: &str) {
        self.violations.push(Violation::new(rule, detail));
    }

    fn ended(&self) -> bool {
        self.done || self.error.is_some()
    }
}

impl Emit for Run {
    fn emit(&mut self, output: Output<'_>) {
        encode_output(output, |message| {
            let effect = decode_output(message).expect("our own message").expect("a known kind");
            if self.ended() {
                self.after_end += 1;
                return self.violate(Rule::NothingAfterEnd, "an output after the end");
            }
            match effect {
                Effect::Send { request, .. } => {
                    if std::mem::replace(&mut self.open, true) {
                        self.violate(Rule::OneRequestAtATime, "a request while one is open");
                    }
                    self.requests.push(*request);
                }
                Effect::Event(event) => {
                    if let Err(violation) = self.grammar.check(&event) {
                        self.violations.push(violation);
                    }
                    self.events.push(event);
                }
                Effect::Value(value) => {
                    let warning = |event: &ChatEvent| matches!(event, ChatEvent::Warning { .. });
                    if self.value.is_some() || !self.events.iter().all(warning) {
                        self.violate(Rule::ValueFitsOperation, "a value beside a value or events");
                    }
                    self.value = Some(*value);
                }
                Effect::WakeAt(when) => self.wakes.push(when),
                Effect::Log { level, text } => self.log.push((level, text)),
                Effect::Done => {
                    if self.value.is_none() && !self.grammar.is_finished() {
                        self.violate(Rule::FinishBeforeDone, "`done` without `finish` or a value");
                    }
                    self.done = true;
                }
                Effect::Fail(error) => self.error = Some(*error),
            }
        })
        .expect("an output that can cross");
    }
}

/// Steps an exchange's start alone, for exchanges that send nothing.
pub fn start<E: Exchange>(exchange: &mut E) -> Run {
    let mut run = Run::default();
    let mut next = 0;
    exchange.step(Timestamp(0), Input::Start { seed: 0 }, &mut Outbox::new(&mut run, &mut next));
    run
}

/// A recorded conversation with an upstream, to run an exchange against.
pub struct Replay {
    exchange: Box<dyn Exchange + Send>,
    answers: VecDeque<Answer>,
    now: Timestamp,
    seed: u64,
}

enum Answer {
    Response { status: u16, headers: Headers, chunks: Vec<Vec<u8>>, broken: bool },
    Failed { kind: TransportErrorKind, message: String },
    Cancel,
}

impl Replay {
    /// Makes a replay at time 0 with seed 0.
    #[must_use]
    pub fn new(exchange: Box<dyn Exchange + Send>) -> Self {
        Self { exchange, answers: VecDeque::new(), now: Timestamp(0), seed: 0 }
    }

    /// Sets the time and the seed.
    #[must_use]
    pub fn at(mut self, now: Timestamp, seed: u64) -> Self {
        self.now = now;
        self.seed = seed;
        self
    }

    /// Answers the next request, the body in one piece.
    #[must_use]
    pub fn respond(self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        self.respond_in(status, headers, vec![body.to_vec()])
    }

    /// Answers the next request, the body in these pieces.
    #[must_use]
    pub fn respond_in(
        mut self,
        status: u16,
        headers: &[(&str, &str)],
        chunks: Vec<Vec<u8>>,
    ) -> Self {
        let headers = owned(headers);
        self.answers.push_back(Answer::Response { status, headers, chunks, broken: false });
        self
    }

    /// Answers the next request and breaks the connection after these bytes.
    #[must_use]
    pub fn break_off(mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let (headers, chunks) = (owned(headers), vec![body.to_vec()]);
        self.answers.push_back(Answer::Response { status, headers, chunks, broken: true });
        self
    }

    /// Fails the next request.
    #[must_use]
    pub fn fail(mut self, kind: TransportErrorKind, message: &str) -> Self {
        self.answers.push_back(Answer::Failed { kind, message: message.to_owned() });
        self
    }

    /// Lets the client go away while the next request is open.
    #[must_use]
    pub fn cancel(mut self) -> Self {
        self.answers.push_back(Answer::Cancel);
        self
    }

    /// Runs the exchange until it ends or the recording does.
    #[must_use]
    pub fn run(mut self) -> Run {
        let mut run = Run::default();
        let mut next: RequestNumber = 0;
        let mut answered = 0;
        self.step(Input::Start { seed: self.seed }, &mut run, &mut next);
        while !run.ended() {
            if let Some(when) = run.wakes.last().copied().filter(|when| *when > self.now) {
                self.now = when;
                self.step(Input::Tick, &mut run, &mut next);
                continue;
            }
            if answered >= run.requests.len() {
                break;
            }
            let Some(answer) = self.answers.pop_front() else { break };
            self.answer(answer, answered as RequestNumber, &mut run, &mut next);
            answered += 1;
        }
        run
    }

    fn answer(&mut self, answer: Answer, request: u32, run: &mut Run, next: &mut u32) {
        match answer {
            Answer::Response { status, headers, chunks, broken } => {
                self.step(Input::ResponseHead { request, status, headers }, run, next);
                for chunk in &chunks {
                    if run.ended() {
                        return;
                    }
                    self.step(Input::Body { request, bytes: chunk }, run, next);
                }
                if run.ended() {
                    return;
                }
                let end = if broken {
                    let (kind, message) = (TransportErrorKind::Reset, "connection reset");
                    Input::TransportFailed { request, kind, message }
                } else {
                    Input::End { request }
                };
                run.open = false;
                self.step(end, run, next);
            }
            Answer::Failed { kind, message } => {
                run.open = false;
                let failed = Input::TransportFailed { request, kind, message: &message };
                self.step(failed, run, next);
            }
            // One last request may follow.
            Answer::Cancel => {
                run.open = false;
                self.step(Input::Cancel, run, next);
            }
        }
    }

    fn step(&mut self, input: Input<'_>, run: &mut Run, next: &mut RequestNumber) {
        self.exchange.step(self.now, input, &mut Outbox::new(run, next));
    }
}

/// Replays one answer whole, byte by byte, and cut in two at every place; all runs must be equal.
///
/// # Panics
///
/// When a cut changes anything; this is for tests.
pub fn every_cut(
    open: impl Fn() -> Box<dyn Exchange + Send>,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Run {
    let run = |chunks: Vec<Vec<u8>>| Replay::new(open()).respond_in(status, headers, chunks).run();
    let whole = run(vec![body.to_vec()]);
    let bytes = run(body.iter().map(|byte| vec![*byte]).collect());
    assert_eq!(bytes, whole, "byte by byte differs from the whole");
    for cut in 1..body.len() {
        let (head, tail) = body.split_at(cut);
        let cut_run = run(vec![head.to_vec(), tail.to_vec()]);
        assert_eq!(cut_run, whole, "cut at byte {cut} differs from the whole");
    }
    whole
}

fn owned(headers: &[(&str, &str)]) -> Headers {
    Headers(headers.iter().map(|(k, v)| (k.to_ascii_lowercase(), (*v).to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::FinishReason, exchange::Input};

    struct Rude;

    impl Exchange for Rude {
        fn step(&mut self, _: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
            if let Input::Start { .. } = input {
                out.send(&HttpRequest::get("https://a.test/"));
                out.send(&HttpRequest::get("https://a.test/"));
                out.finish(FinishReason::Stop);
                out.text(0, "more");
                out.value(&Reply::Unit);
                out.done();
                out.text(0, "and more");
            }
        }
    }

    #[test]
    fn broken_rules_are_found() {
        let rules: Vec<Rule> = start(&mut Rude).violations.iter().map(|v| v.rule).collect();
        assert_eq!(
            rules,
            [
                Rule::OneRequestAtATime,
                Rule::FinishIsLast,
                Rule::ValueFitsOperation,
                Rule::NothingAfterEnd
            ]
        );
    }
}
