//! Drives an exchange as a host does and stops at the first rule that it breaks.

use serde_json::{Value, json};

use super::{fixture::Head, headers, rules::Rule, url::Url};
use crate::{
    abi::{
        Effect, Message,
        codec::{Opening, PackedOpening, Vectors, encode_input},
    },
    error::{ErrorKind, ProviderError},
    event::ChatEvent,
    exchange::{Input, RequestNumber, Timestamp},
    http::{Headers, HttpRequest, Piece, TransportErrorKind},
    instance::Instance,
    operation::{Operation, Reply},
    rules::Grammar,
};

/// A plugin that can be asked, wherever it runs.
pub trait Subject {
    /// Opens an exchange, which waits for `START`.
    fn open(&self) -> Box<dyn Steps + '_>;
}

/// An exchange, stepped by messages.
pub trait Steps {
    /// Hands over one message and takes the answers.
    fn step(&mut self, now: Timestamp, message: &Message<'_>) -> Stepped;
}

/// What a step gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stepped {
    /// What the exchange asked for, in order.
    pub effects: Vec<Effect>,
    /// How many bytes that was.
    pub bytes: usize,
    /// The rule that the step itself broke, if it did.
    pub broken: Option<(Rule, String)>,
}

/// What is asked of a plugin.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) instance: Instance,
    pub(super) operation: Operation,
    pub(super) seed: u64,
    /// Where requests may go.
    pub(super) origins: Vec<String>,
}

/// How a request is answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Upstream {
    Answer { status: u16, headers: Vec<(String, String)>, chunks: Vec<Vec<u8>>, breaks: bool },
    Failed(TransportErrorKind),
}

impl Upstream {
    pub(super) fn new(status: u16, kind: &str, body: &[u8]) -> Self {
        let headers = vec![("content-type".to_owned(), kind.to_owned())];
        Self::Answer { status, headers, chunks: vec![body.to_vec()], breaks: false }
    }

    /// Answers with a recorded head.
    pub(super) fn with(head: &Head, body: &[u8]) -> Self {
        let (status, headers) = (head.status, head.headers.0.clone());
        Self::Answer { status, headers, chunks: vec![body.to_vec()], breaks: false }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Cuts the body in pieces of these lengths; what is left is the last piece.
    pub(super) fn cut(mut self, lengths: impl IntoIterator<Item = usize>) -> Self {
        if let Self::Answer { chunks, .. } = &mut self {
            let whole = chunks.concat();
            chunks.clear();
            let mut rest = whole.as_slice();
            for length in lengths {
                let (piece, behind) = rest.split_at(length.min(rest.len()));
                if !piece.is_empty() {
                    chunks.push(piece.to_vec());
                }
                rest = behind;
            }
            if !rest.is_empty() {
                chunks.push(rest.to_vec());
            }
        }
        self
    }

    pub(super) fn breaking(mut self) -> Self {
        if let Self::Answer { breaks, .. } = &mut self {
            *breaks = true;
        }
        self
    }
}

/// What happens beside the answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// A tick before each piece of an answer.
    pub(super) ticks: bool,
    /// Inputs of a kind that does not exist yet.
    pub(super) unknown: bool,
    /// After how many inputs the client goes away.
    pub(super) cancel_after: Option<usize>,
}

/// What an exchange did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trace {
    pub(super) requests: Vec<HttpRequest>,
    pub(super) events: Vec<ChatEvent>,
    pub(super) value: Option<Reply>,
    pub(super) log: Vec<String>,
    pub(super) done: bool,
    pub(super) error: Option<ProviderError>,
    /// The first rule that it broke. What comes after is not looked at, as in a host.
    pub(super) broken: Option<(Rule, String)>,
    /// Whether it was cancelled, and had not ended when all was said.
    pub(super) outlived_cancel: bool,
    pub(super) inputs: usize,
    /// Whether it was done at the very moment at which an answer broke off.
    pub(super) done_at_break: bool,
}

impl Trace {
    pub(super) const fn ended(&self) -> bool {
        self.done || self.error.is_some() || self.broken.is_some()
    }

    /// Lists what it did, in the words of a recording: requests first, the end last.
    pub(super) fn outputs(&self) -> Vec<Value> {
        let requests = self.requests.iter().map(|request| {
            let bytes = request.body.pieces.iter().map(|piece| match piece {
                Piece::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => json!(other).to_string(),
            });
            let (method, url) = (&request.method, &request.url);
            let body: String = bytes.collect();
            json!({ "send": { "method": method, "url": url, "body": body } })
        });
        let events = self.events.iter().map(|event| json!({ "event": event }));
        let value = self.value.iter().map(|value| json!({ "value": value }));
        let end = match (&self.broken, &self.error) {
            (Some((rule, detail)), _) => {
                json!({ "broke": { "rule": rule.as_str(), "detail": detail } })
            }
            (None, Some(error)) => json!({ "fail": error }),
            (None, None) if self.done => json!("done"),
            (None, None) => json!("open"),
        };
        requests.chain(events).chain(value).chain([end]).collect()
    }

    /// Says how it ended, for a person.
    pub(super) fn end(&self) -> String {
        match (&self.broken, &self.error) {
            (Some((rule, detail)), _) => format!("broke `{rule}`: {detail}"),
            (None, Some(error)) => format!("failed: {error}"),
            (None, None) if self.done => "was done".into(),
            (None, None) => "had not ended".into(),
        }
    }
}

/// Drives one exchange, step by step.
pub(super) struct Drive<'a> {
    steps: Box<dyn Steps + 'a>,
    ask: &'a Ask,
    /// The last one answers all further requests too.
    script: &'a [Upstream],
    beside: Beside,
    trace: Trace,
    grammar: Grammar,
    vectors: Vectors,
    now: Timestamp,
    wake: Option<Timestamp>,
    open: Option<RequestNumber>,
    /// What of the present answer has been given: nothing, its head, so many chunks.
    given: usize,
    started: bool,
    cancelled: bool,
    bytes: usize,
}

/// When the tests take place: as in [`replay`](crate::kit::replay), by which fixtures are recorded.
const NOW: Timestamp = Timestamp(0);

/// What a host allows an exchange.
const MAX_REQUESTS: usize = 256;
const MAX_OUTPUT: usize = 256 << 20;

/// A kind of input that no contract has.
const UNKNOWN_KIND: u32 = 0x7fff_0001;

impl<'a> Drive<'a> {
    pub(super) fn new(
        subject: &'a dyn Subject,
        ask: &'a Ask,
        script: &'a [Upstream],
        beside: Beside,
    ) -> Self {
        Self {
            steps: subject.open(),
            ask,
            script,
            beside,
            trace: Trace::default(),
            grammar: Grammar::default(),
            vectors: Vectors::default(),
            now: NOW,
            wake: None,
            open: None,
            given: 0,
            started: false,
            cancelled: false,
            bytes: 0,
        }
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> Trace {
        while self.advance() {}
        self.finish()
    }

    pub(super) fn finish(self) -> Trace {
        self.trace
    }

    /// Gives the next input; reports whether there may be another.
    pub(super) fn advance(&mut self) -> bool {
        if self.trace.ended() {
            return false;
        }
        if !self.started {
            self.started = true;
            let opening = Opening {
                instance: self.ask.instance.clone(),
                operation: self.ask.operation.clone(),
            };
            match opening.pack() {
                Ok(opening) => self.give(&Input::Start { seed: self.ask.seed }, &opening),
                Err(error) => self.broke(Rule::WellFormedMessages, error.to_string()),
            }
            return true;
        }
        let time_to_go = self.beside.cancel_after.is_some_and(|after| self.trace.inputs >= after);
        if time_to_go && !self.cancelled {
            self.cancelled = true;
            (self.open, self.wake, self.given) = (None, None, 0);
            let sent = self.trace.requests.len();
            self.plain(&Input::Cancel);
            let more = self.trace.requests.len() > sent;
            self.trace.outlived_cancel = !self.trace.ended() && !more;
            return more && !self.trace.ended();
        }
        let Some(request) = self.open else {
            if let Some(when) = self.wake.take() {
                self.now = self.now.max(when);
                self.plain(&Input::Tick);
                return true;
            }
            if self.cancelled {
                self.trace.outlived_cancel = true;
            } else {
                self.broke(Rule::NeverStalls, "neither a request nor a time to wait for");
            }
            return false;
        };
        let at = (request as usize).min(self.script.len().saturating_sub(1));
        let script = self.script;
        let Some(answer) = script.get(at) else { return false };
        self.noise();
        if !self.trace.ended() {
            self.answer(request, answer);
        }
        true
    }

    /// What has nothing to do with the answer.
    fn noise(&mut self) {
        if self.beside.ticks {
            self.plain(&Input::Tick);
        }
        if self.beside.unknown && !self.trace.ended() {
            let message = Message::new(UNKNOWN_KIND).a(1).text(b"from a newer host");
            let stepped = self.steps.step(self.now, &message);
            self.take(stepped);
        }
    }

    fn answer(&mut self, request: RequestNumber, answer: &Upstream) {
        let given = self.given;
        self.given += 1;
        match answer {
            Upstream::Failed(kind) => {
                (self.open, self.given) = (None, 0);
                let (kind, message) = (*kind, "the network failed");
                self.plain(&Input::TransportFailed { request, kind, message });
            }
            Upstream::Answer { status, headers, .. } if given == 0 => {
                let headers = Headers(headers.clone());
                self.plain(&Input::ResponseHead { request, status: *status, headers });
            }
            Upstream::Answer { chunks, breaks, .. } => match chunks.get(given - 1) {
                Some(bytes) => self.plain(&Input::Body { request, bytes }),
                None => {
                    (self.open, self.given) = (None, 0);
                    let (kind, message) = (TransportErrorKind::Reset, "connection reset");
                    if *breaks {
                        self.plain(&Input::TransportFailed { request, kind, message });
                        self.trace.done_at_break = self.trace.done;
                    } else {
                        self.plain(&Input::End { request });
                    }
                }
            },
        }
    }

    fn plain(&mut self, input: &Input<'_>) {
        self.give(input, &PackedOpening::default());
    }

    fn give(&mut self, input: &Input<'_>, opening: &PackedOpening) {
        self.trace.inputs += 1;
        let (steps, now) = (&mut self.steps, self.now);
        let stepped = encode_input(input, opening, |message| steps.step(now, message));
        self.take(stepped);
    }

    fn broke(&mut self, rule: impl Into<Rule>, detail: impl Into<String>) {
        if self.trace.broken.is_none() {
            self.trace.broken = Some((rule.into(), detail.into()));
        }
    }

    fn take(&mut self, stepped: Stepped) {
        self.bytes += stepped.bytes;
        for effect in stepped.effects {
            if self.trace.broken.is_some() {
                return;
            }
            if self.trace.done || self.trace.error.is_some() {
                return self
                    .broke(Rule::NothingAfterEnd, format!("{} after the end", name(&effect)));
            }
            self.effect(effect);
        }
        if let Some((rule, detail)) = stepped.broken {
            return self.broke(rule, detail);
        }
        if self.bytes > MAX_OUTPUT {
            self.broke(Rule::OutputBudget, format!("more than {MAX_OUTPUT} bytes"));
        }
    }

    fn effect(&mut self, effect: Effect) {
        let is_chat = matches!(self.ask.operation, Operation::Chat(_));
        match effect {
            Effect::Send { number, request } => self.send(number, *request),
            Effect::Event(event) => {
                let warning = matches!(event, ChatEvent::Warning { .. });
                if !is_chat && !warning {
                    let detail = format!("event `{}` of an operation with a value", event.name());
                    return self.broke(Rule::ValueFitsOperation, detail);
                }
                if let Err(violation) = self.grammar.check(&event) {
                    return self.broke(violation.rule, violation.detail);
                }
                self.trace.events.push(event);
            }
            Effect::Value(value) => {
                let mut value = *value;
                self.vectors.complete(&mut value);
                if let Some(detail) = misfit(&self.ask.operation, &value, &self.trace) {
                    return self.broke(Rule::ValueFitsOperation, detail);
                }
                self.trace.value = Some(value);
            }
            Effect::Vector { index, vector } => {
                if let Err(error) = self.vectors.take(index, vector) {
                    self.broke(Rule::WellFormedMessages, error.to_string());
                }
            }
            Effect::WakeAt(when) => self.wake = Some(when),
            Effect::Log { text, .. } => self.trace.log.push(text),
            Effect::Done => {
                if is_chat && !self.grammar.is_finished() {
                    return self.broke(Rule::FinishBeforeDone, "`done` without `finish`");
                }
                if !is_chat && self.trace.value.is_none() {
                    return self.broke(Rule::ValueFitsOperation, "`done` without a value");
                }
                self.trace.done = true;
            }
            Effect::Fail(error) if error.kind == ErrorKind::PluginPanic => {
                self.broke(Rule::NeverPanics, error.message);
            }
            Effect::Fail(error) => self.trace.error = Some(*error),
        }
    }

    fn send(&mut self, number: RequestNumber, request: HttpRequest) {
        if let Some(open) = self.open {
            let detail = format!("request {number} while {open} is open");
            return self.broke(Rule::OneRequestAtATime, detail);
        }
        if number as usize != self.trace.requests.len() {
            let detail = format!("request {number} after {}", self.trace.requests.len());
            return self.broke(Rule::OneRequestAtATime, detail);
        }
        if self.trace.requests.len() >= MAX_REQUESTS {
            let paged = matches!(
                self.ask.operation,
                Operation::ListModels(_) | Operation::ListContextChunks(_)
            );
            let rule = if paged { Rule::PagesEnd } else { Rule::RequestBudget };
            return self.broke(rule, format!("more than {MAX_REQUESTS} requests"));
        }
        if let Some((rule, detail)) = unsendable(&request, &self.ask.origins) {
            return self.broke(rule, detail);
        }
        self.open = Some(number);
        self.trace.requests.push(request);
    }
}

/// Says why a host would not send a request.
fn unsendable(request: &HttpRequest, origins: &[String]) -> Option<(Rule, String)> {
    let Some(url) = Url::parse(&request.url) else {
        return Some((Rule::RequestUrlsPlain, format!("`{}`", request.url)));
    };
    if url.has_user || url.has_fragment {
        return Some((Rule::RequestUrlsPlain, format!("`{}`", request.url)));
    }
    if !origins.contains(&url.origin()) {
        let declared = origins.join(", ");
        return Some((Rule::OriginsKept, format!("`{}`; declared: {declared}", url.origin())));
    }
    for (name, value) in &request.headers {
        if !headers::is_sendable(name, value) {
            return Some((Rule::RequestHeadersSendable, format!("`{name}`")));
        }
    }
    let own = |piece: &&Piece| !matches!(piece, Piece::Bytes(_));
    if let Some(piece) = request.body.pieces.iter().find(own) {
        let known = matches!(piece, Piece::Blob { id: super::BLOB, .. });
        if !known {
            let detail = "the body names bytes that the exchange does not have".to_owned();
            return Some((Rule::WellFormedMessages, detail));
        }
    }
    let bytes = request.body.pieces.iter().filter_map(|piece| match piece {
        Piece::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
        _ => None,
    });
    let values = request.headers.iter().map(|(_, value)| value.as_str().into());
    for text in bytes.chain(values).chain([request.url.as_str().into()]) {
        let hope = PLACEHOLDERS.iter().find(|hope| text.contains(*hope));
        if let Some(hope) = hope {
            return Some((Rule::NoPlaceholders, format!("`{hope}`")));
        }
    }
    None
}

/// What authors write who hope that somebody puts the credential in.
const PLACEHOLDERS: &[&str] = &[
    "{api_key}",
    "{API_KEY}",
    "{apiKey}",
    "{access_token}",
    "{credential}",
    "{token}",
    "%7Bapi_key%7D",
    "${",
];

fn misfit(operation: &Operation, value: &Reply, trace: &Trace) -> Option<String> {
    let expected = match operation {
        Operation::Chat(_) => return Some(format!("`{}` in a chat", value.name())),
        Operation::ListModels(_) => "models",
        Operation::DescribeModel(_) => "model",
        Operation::Embed(_) => "embeddings",
        Operation::CountTokens(_) => "token_count",
        Operation::ListContextChunks(_) => "chunks",
        Operation::TestConnection => "account",
        _ => value.name(),
    };
    if value.name() != expected {
        return Some(format!("`{}` where `{expected}` is expected", value.name()));
    }
    if trace.value.is_some() {
        return Some(format!("a second `{expected}`"));
    }
    match (operation, value) {
        (Operation::Embed(asked), Reply::Embeddings(given)) => {
            let (asked, given) = (asked.inputs.len(), given.vectors.len());
            (asked != given).then(|| format!("expected {asked} vectors, found {given}"))
        }
        _ => None,
    }
}

fn name(effect: &Effect) -> String {
    match effect {
        Effect::Send { .. } => "a request".into(),
        Effect::Event(event) => format!("`{}`", event.name()),
        Effect::Value(value) => format!("`{}`", value.name()),
        Effect::Vector { .. } => "a vector".into(),
        Effect::WakeAt(_) => "a time".into(),
        Effect::Log { .. } => "a log line".into(),
        Effect::Done => "`done`".into(),
        Effect::Fail(_) => "`fail`".into(),
    }
}
