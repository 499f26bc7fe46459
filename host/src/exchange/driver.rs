//! The loop around one exchange.
//!
//! A [`Driver`] does nothing until it is asked for the next delivery: upstream is read only as fast as
//! the client takes, and a client that goes away (drops the driver) closes the upstream connection.
//!
//! In process a step is over when it returns. In a worker its answer is waited for in
//! [`next`](Driver::next), where also the end of a worker shows, if it shows at all: what can be
//! replayed is replayed below, and here it only took longer.

mod effects;

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use plugin_api::{
    PluginId,
    abi::codec::{PackedOpening, Vectors},
    error::{ErrorKind, ProviderError},
    event::ChatEvent,
    exchange::{Input, Timestamp},
    http::Headers,
    instance::Instance,
    kit::failure,
    operation::{Operation, Reply},
};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::{
    ExchangeError,
    blobs::Blobs,
    cancel::{CANCEL, LastRequest, cancel},
    grammar::{Grammar, Rule, Violation},
    issuers::{holds_issued, own_only},
    recording::{Recorder, Tape},
    relay::{Native, Phase, Refused, Relay},
};
use crate::{
    plugin::{
        load::Stepped,
        runtime::{Live, Runtime},
        worker::Broken,
    },
    transport::{Answer, CredentialUse, Route, Transport, TransportError},
};

/// All that an exchange needs to begin.
pub struct Order {
    /// The plugin's id.
    pub plugin: PluginId,
    /// What it runs in.
    pub runtime: Runtime,
    /// The provider, as configured.
    pub instance: Instance,
    /// What to do. Shared with whoever may order it again, and copied only where it must be changed.
    pub operation: Arc<Operation>,
    /// The client's own body, for pass-through: then the answer is delivered as it came.
    pub native: Native,
    /// Where requests may go.
    pub route: Arc<Route>,
    /// The credential to put into them.
    pub credential: Option<Arc<CredentialUse>>,
    /// Where to write down what the exchange is given and gives.
    pub recorder: Option<Arc<Recorder>>,
}

/// What an exchange gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Delivery {
    /// An event of a chat, or a warning of another operation.
    Event(ChatEvent),
    /// The result of another operation.
    Value(Reply),
    /// The head of an answer that is passed on; [`Bytes`](Self::Bytes) follow.
    Head(Headers),
    /// A piece of an answer that is passed on.
    Bytes(Bytes),
}

/// Drives one exchange.
pub struct Driver {
    live: Live,
    /// Whether a worker was given an input and has not answered.
    stepping: bool,
    transport: Arc<Transport>,
    route: Arc<Route>,
    credential: Option<Arc<CredentialUse>>,
    blobs: Blobs,
    provider: String,
    plugin: String,
    is_chat: bool,
    expected: Option<&'static str>,
    grammar: Grammar,
    vectors: Vectors,
    stepped: Stepped,
    /// What waits to be delivered.
    ready: VecDeque<Result<Delivery, ExchangeError>>,
    upstream: Upstream,
    next_request: u32,
    wake: Option<Instant>,
    /// Bytes that the exchange put out.
    put_out: usize,
    value_given: bool,
    over: bool,
    relay: Relay,
    /// A failure that went to the client as it came.
    passed_on: Option<ExchangeError>,
    tape: Option<Tape>,
}

/// The one request that may be open.
enum Upstream {
    None,
    Sending(Pin<Box<dyn Future<Output = Result<Answer, TransportError>> + Send>>),
    Reading(Box<Answer>),
}

/// What happened first.
enum Happened {
    Head(Result<Box<Answer>, TransportError>),
    Chunk(Result<Option<Bytes>, TransportError>),
    Woken,
    /// Its plugin was replaced, and the time to end was over.
    Retired,
    Nothing,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Driver {
    /// Opens an exchange and steps its start. Requests go out when the first delivery is asked for.
    #[must_use]
    pub fn start(mut order: Order, transport: Arc<Transport>) -> Self {
        let is_native = matches!(&*order.operation, Operation::Chat(chat) if chat.native.is_some());
        let mut blobs = Blobs::new(order.native.body);
        let mut warnings = Ok(Vec::new());
        if let Operation::Chat(request) | Operation::CountTokens(request) = &*order.operation
            && (Blobs::are_in(request) || holds_issued(request))
            && let Operation::Chat(request) | Operation::CountTokens(request) =
                Arc::make_mut(&mut order.operation)
        {
            blobs.detach(request);
            warnings = own_only(request, order.instance.provider.as_str());
        }
        let (plugin, credential) = (order.plugin.as_str(), order.credential.clone());
        let tape = order.recorder.map(|recorder| {
            Tape::new(recorder, credential, plugin, &order.instance, &order.operation)
        });
        let mut driver = Self {
            live: order.runtime.open(),
            stepping: false,
            transport,
            route: order.route,
            credential: order.credential,
            blobs,
            provider: order.instance.provider.to_string(),
            plugin: order.plugin.to_string(),
            is_chat: matches!(&*order.operation, Operation::Chat(_)),
            expected: expected_reply(&order.operation),
            grammar: Grammar::default(),
            vectors: Vectors::default(),
            stepped: Stepped::default(),
            ready: VecDeque::new(),
            upstream: Upstream::None,
            next_request: 0,
            wake: None,
            put_out: 0,
            value_given: false,
            over: false,
            relay: Relay::new(is_native, order.native.streams),
            passed_on: None,
            tape,
        };
        let opening = PackedOpening::of(&order.instance, &order.operation)
            .map_err(|error| ProviderError::new(ErrorKind::InvalidRequest, error.to_string()));
        match warnings.and_then(|warnings| opening.map(|opening| (warnings, opening))) {
            Ok((warnings, opening)) => {
                let warning = |message| Ok(Delivery::Event(ChatEvent::Warning { message }));
                driver.ready.extend(warnings.into_iter().map(warning));
                driver.step(&Input::Start { seed: seed() }, &opening);
            }
            Err(error) => driver.fail(Box::new(error)),
        }
        driver
    }

    /// Waits for the next delivery; `None` when the exchange is over.
    ///
    /// An error is the last delivery. Cancel-safe: what was not delivered stays for the next call.
    pub async fn next(&mut self) -> Option<Result<Delivery, ExchangeError>> {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return Some(delivery);
            }
            if self.over {
                return None;
            }
            if self.stepping {
                self.answered().await;
                continue;
            }
            let resident = self.live.resident().cloned();
            let retired = async {
                match &resident {
                    Some(resident) => resident.until_retired().await,
                    None => std::future::pending().await,
                }
            };
            let happened = if resident.as_ref().is_some_and(|resident| resident.is_retired()) {
                Happened::Retired
            } else {
                tokio::select! {
                    biased;
                    happened = self.happens() => happened,
                    () = retired => Happened::Retired,
                }
            };
            match happened {
                Happened::Head(Ok(mut answer)) => {
                    let (status, headers) = (answer.status, std::mem::take(&mut answer.headers));
                    debug!(provider = self.provider, status, "answer");
                    self.upstream = Upstream::Reading(answer);
                    let request = self.open_request();
                    self.relay.head(status, &headers);
                    if self.relay.is_on() {
                        self.blobs.forget_native();
                        self.ready.push_back(Ok(Delivery::Head(headers.clone())));
                    }
                    self.step(
                        &Input::ResponseHead { request, status, headers },
                        &PackedOpening::default(),
                    );
                }
                Happened::Chunk(Ok(Some(bytes))) => {
                    let request = self.open_request();
                    self.relay.piece(&bytes);
                    self.step(&Input::Body { request, bytes: &bytes }, &PackedOpening::default());
                }
                Happened::Chunk(Ok(None)) => {
                    self.upstream = Upstream::None;
                    self.relay.ending(Phase::End);
                    let request = self.open_request();
                    self.step(&Input::End { request }, &PackedOpening::default());
                }
                Happened::Head(Err(error)) | Happened::Chunk(Err(error)) => {
                    self.upstream = Upstream::None;
                    self.relay.ending(Phase::Broken);
                    let (request, kind) = (self.open_request(), error.kind);
                    let message = error.message.as_str();
                    if self.relay.is_deaf() {
                        // Nobody else is there to tell it.
                        self.fail(Box::new(failure::transport(kind, message)));
                        continue;
                    }
                    self.step(
                        &Input::TransportFailed { request, kind, message },
                        &PackedOpening::default(),
                    );
                }
                Happened::Woken => {
                    self.wake = None;
                    self.step(&Input::Tick, &PackedOpening::default());
                }
                Happened::Retired => self.broke(Broken::Retired),
                Happened::Nothing => {
                    let detail = "neither a request nor a time to wait for";
                    self.violate(Violation::new(Rule::NeverStalls, detail));
                }
            }
        }
    }

    /// Returns a delivery that waits already, without reading on.
    pub fn next_ready(&mut self) -> Option<Result<Delivery, ExchangeError>> {
        self.ready.pop_front()
    }

    async fn happens(&mut self) -> Happened {
        let wake = self.wake;
        let woken = async {
            match wake {
                Some(when) => sleep_until(when).await,
                None => std::future::pending().await,
            }
        };
        match &mut self.upstream {
            Upstream::None if wake.is_none() => Happened::Nothing,
            Upstream::None => {
                woken.await;
                Happened::Woken
            }
            Upstream::Sending(sending) => tokio::select! {
                head = sending => Happened::Head(head.map(Box::new)),
                () = woken => Happened::Woken,
            },
            Upstream::Reading(answer) => tokio::select! {
                chunk = answer.chunk() => Happened::Chunk(chunk),
                () = woken => Happened::Woken,
            },
        }
    }

    /// Reports whether the exchange would survive the end of its worker; in process there is none.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        self.live.is_replayable()
    }

    fn open_request(&self) -> u32 {
        self.next_request.saturating_sub(1)
    }

    /// Steps the exchange and does what it asks; in a worker, once it has answered.
    fn step(&mut self, input: &Input<'_>, opening: &PackedOpening) {
        if self.relay.is_deaf() {
            self.relayed();
            return;
        }
        let now = now();
        if let Some(tape) = &mut self.tape {
            tape.given(now, input);
        }
        match &mut self.live {
            Live::InProcess(live) => {
                let mut stepped = std::mem::take(&mut self.stepped);
                live.step(now, input, opening, &mut stepped);
                self.take(stepped);
            }
            Live::Worker(live) => {
                live.give(now, input, opening);
                self.stepping = true;
            }
            _ => self.over = true,
        }
    }

    /// Waits for a worker's answer. Cancel-safe.
    async fn answered(&mut self) {
        let Live::Worker(live) = &mut self.live else { return };
        let answered = live.answer(&mut self.stepped).await;
        self.stepping = false;
        match answered {
            Ok(()) => {
                let stepped = std::mem::take(&mut self.stepped);
                self.take(stepped);
            }
            Err(source) if self.relay.stop_reading() => {
                warn!(plugin = self.plugin, %source, "nobody reads along any more");
                self.relayed();
            }
            Err(source) => self.broke(source),
        }
    }

    /// Ends the exchange, which its plugin cannot go on with.
    fn broke(&mut self, source: Broken) {
        self.over = true;
        self.upstream = Upstream::None;
        let plugin = self.plugin.clone();
        self.ready.push_back(Err(ExchangeError::Worker { plugin, source }));
    }
}

impl Drop for Driver {
    /// Tells an exchange that is not over that its client went away, and sends the one last request
    /// that it may ask for.
    fn drop(&mut self) {
        if self.over || self.relay.is_deaf() {
            return;
        }
        let mut stepped = std::mem::take(&mut self.stepped);
        let runtime = tokio::runtime::Handle::try_current();
        match std::mem::replace(&mut self.live, Live::Closed) {
            Live::InProcess(mut live) => {
                live.step(now(), &Input::Cancel, &PackedOpening::default(), &mut stepped);
                let last = self.last_request();
                if let (Some(sending), Ok(runtime)) = (last.sent_by(stepped), runtime) {
                    runtime.spawn(timeout(CANCEL, sending));
                }
            }
            Live::Worker(live) => {
                let (last, stepping) = (self.last_request(), self.stepping);
                if let Ok(runtime) = runtime {
                    runtime.spawn(timeout(CANCEL, cancel(live, stepping, now(), stepped, last)));
                }
            }
            Live::Closed => {}
        }
    }
}

impl Driver {
    /// Takes the failure that an answer told in its midst while it was passed on.
    pub fn take_passed_on(&mut self) -> Option<ExchangeError> {
        self.passed_on.take()
    }

    /// Takes the upstream's refusal of a client's own body, as it came but for the credential.
    pub fn take_refused(&mut self) -> Option<Refused> {
        let (status, mut body) = self.relay.take_refused()?;
        if let Some(credential) = &self.credential {
            let _ = credential.mask(&mut body);
        }
        Some(Refused { status, body: body.freeze() })
    }

    /// Takes what the last request of an exchange needs.
    fn last_request(&mut self) -> LastRequest {
        LastRequest {
            transport: Arc::clone(&self.transport),
            route: Arc::clone(&self.route),
            credential: self.credential.take(),
            blobs: std::mem::replace(&mut self.blobs, Blobs::new(Bytes::new())),
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|_| now().0)
}

/// Returns the kind of reply that an operation ends in; none for a chat.
fn expected_reply(operation: &Operation) -> Option<&'static str> {
    Some(match operation {
        Operation::ListModels(_) => "models",
        Operation::DescribeModel(_) => "model",
        Operation::Embed(_) => "embeddings",
        Operation::CountTokens(_) => "token_count",
        Operation::ListContextChunks(_) => "chunks",
        Operation::DeleteContextChunk(_) | Operation::ValidateApiKey(_) => "unit",
        Operation::TestConnection => "account",
        Operation::GenerateAuthUrl(_) => "auth_url",
        Operation::ExchangeCode(_)
        | Operation::RefreshToken(_)
        | Operation::ExtractApiCredentials(_) => "tokens",
        _ => return None,
    })
}
