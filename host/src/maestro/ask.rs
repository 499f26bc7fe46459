//! Asking providers: models, chat, vectors, token counts.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::future::join_all;
use plugin_api::{
    capability::{Capability, Feature},
    chat::{ChatRequest, Content, ContentPart, ResponseFormat, ToolDefinition},
    error::ErrorKind,
    event::ChatEvent,
    operation::{DescribeModel, EmbedRequest, Embeddings, ListModels, Model, Operation, Reply},
};

use super::{
    Error, Maestro,
    asking::Asking,
    choice::Chosen,
    route::{Stop, Wish},
};
use crate::{
    exchange::{
        Delivery, Driver, ExchangeError, Native, Refused, grammar::Rule, recording::Recorder,
    },
    plugin::registry::Provider,
    router::ModelRef,
    suggest::several,
};

/// Setting of the store that holds the default model.
const DEFAULT_MODEL: &str = "default_model";

/// How long a hint may take to find.
const HINT_PATIENCE: Duration = Duration::from_secs(5);

/// How long each provider may take to list its models when all are asked at once.
const LIST_PATIENCE: Duration = Duration::from_secs(20);

/// Most pages of a list of models, against a plugin that repeats itself.
const MAX_PAGES: u32 = 1000;

/// How a request is to be made, beside what it asks.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Call {
    /// The session, as `NAME` or `NAME@AUTH`; the model ref's own comes first.
    pub session: Option<String>,
    /// How long the whole answer may take, further tries included; `None` leaves it to the
    /// configuration.
    pub deadline: Option<Duration>,
    /// Where to write down what the exchanges are given and give; no credential gets there.
    pub recorder: Option<Arc<Recorder>>,
}

impl Call {
    /// Makes a call with a session, or with the usual choice.
    #[must_use]
    pub fn with_session(session: Option<String>) -> Self {
        Self { session, ..Self::default() }
    }

    /// Lets the session that a model ref names come first.
    fn for_model(mut self, model: &ModelRef) -> Self {
        match (&model.session, model.auth_type) {
            (Some(name), Some(auth_type)) => self.session = Some(format!("{name}@{auth_type}")),
            (Some(name), None) => self.session = Some(name.to_string()),
            (None, _) => {}
        }
        self
    }

    /// Sets how long the whole answer may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Option<Duration>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets where to write down what the exchanges are given and give.
    #[must_use]
    pub fn recorder(mut self, recorder: Option<Arc<Recorder>>) -> Self {
        self.recorder = recorder;
        self
    }
}

/// What a provider's list says of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listing {
    /// It is there.
    Listed,
    /// It is not.
    Missing {
        /// Refs of the nearest.
        nearest: Vec<String>,
    },
}

/// An answer as it streams. Dropping it closes the upstream connection.
#[derive(Debug)]
pub struct ChatStream {
    asking: Asking,
    driver: Box<Driver>,
    /// What the exchange failed with, while it is not clear whether another can help.
    failed: Option<Error>,
    /// What came before the model said anything. It is held back while another exchange may take the
    /// place of this one, which would say it again.
    held: VecDeque<Delivery>,
    /// A failure that the client got in the vendor's own words.
    passed_on: Option<Error>,
}

impl ChatStream {
    /// Waits for the next event; `None` after the last one. An error is the last.
    ///
    /// Cancel-safe: an event that was not returned comes with the next call.
    pub async fn next(&mut self) -> Option<Result<ChatEvent, Error>> {
        loop {
            match self.next_delivery().await? {
                Ok(Delivery::Event(event)) => return Some(Ok(event)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Waits for the next delivery: an event, or of an answer that is passed through
    /// ([`Maestro::pass_chat`]) its head and pieces too.
    ///
    /// Cancel-safe as [`next`](Self::next) is.
    pub async fn next_delivery(&mut self) -> Option<Result<Delivery, Error>> {
        loop {
            if self.asking.is_over() {
                return None;
            }
            if !self.asking.may_reopen()
                && let Some(held) = self.held.pop_front()
            {
                return Some(Ok(held));
            }
            if self.failed.is_none() {
                let delivery = match self.asking.in_time(self.driver.next()).await {
                    Ok(delivery) => delivery,
                    Err(late) => {
                        self.asking.begun();
                        self.failed = Some(late);
                        continue;
                    }
                };
                match delivery {
                    Some(Ok(Delivery::Value(_))) | None => {
                        self.passed_on = self.driver.take_passed_on().map(Error::from);
                        self.asking.ended(self.passed_on.as_ref());
                        return None;
                    }
                    Some(Ok(delivery)) => {
                        if begins(&delivery) {
                            self.asking.answered();
                        }
                        self.held.push_back(delivery);
                        continue;
                    }
                    Some(Err(error)) => self.failed = Some(error.into()),
                }
            }
            let reopened = match &self.failed {
                Some(error) => self.asking.reopen(error).await,
                None => None,
            };
            match reopened {
                Some(Ok(driver)) => {
                    self.driver = driver;
                    self.failed = None;
                    self.held.clear();
                    continue;
                }
                Some(Err(error)) => self.failed = Some(error),
                None => {}
            }
            self.asking.begun();
            if self.held.is_empty() {
                let error = self.failed.take()?;
                self.asking.ended(Some(&error));
                return Some(Err(error));
            }
        }
    }

    /// Returns an event that is there already, without reading on.
    ///
    /// What one read of the upstream brought can so be passed on in one piece. The end, and a failure,
    /// come from [`next`](Self::next).
    pub fn next_ready(&mut self) -> Option<ChatEvent> {
        loop {
            if let Delivery::Event(event) = self.next_ready_delivery()? {
                return Some(event);
            }
        }
    }

    /// Returns a delivery that is there already, without reading on.
    pub fn next_ready_delivery(&mut self) -> Option<Delivery> {
        if self.asking.may_reopen() || self.asking.is_over() {
            return None;
        }
        if let Some(held) = self.held.pop_front() {
            return Some(held);
        }
        if self.failed.is_some() {
            return None;
        }
        match self.driver.next_ready()? {
            Ok(Delivery::Value(_)) => None,
            Ok(delivery) => Some(delivery),
            Err(error) => {
                self.failed = Some(error.into());
                None
            }
        }
    }

    /// Takes the upstream's refusal of a body that was passed through, as it came.
    pub fn take_refused(&mut self) -> Option<Refused> {
        self.driver.take_refused()
    }

    /// Returns the failure that an answer told in its midst while it was passed on, once it is over. The
    /// client has it already; it is for records.
    #[must_use]
    pub fn passed_on(&self) -> Option<&Error> {
        self.passed_on.as_ref()
    }

    /// Reports whether the stream would survive a crash of its plugin. A stream whose plugin runs in
    /// process would not, and one whose inputs were too many to keep.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        self.driver.is_replayable()
    }

    /// Returns the selector of the session that serves it.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.asking.session()
    }
}

impl Maestro {
    /// Streams the answer to a conversation.
    ///
    /// # Errors
    ///
    /// Why it cannot even be asked; what goes wrong later comes from the stream.
    pub async fn stream_chat(
        &self,
        model: &ModelRef,
        mut request: ChatRequest,
        call: Call,
    ) -> Result<ChatStream, Error> {
        let model = &self.settled(model).await?;
        let provider = &self.capable(model.provider.as_str(), Capability::Chat, "chat")?;
        request.model = model.model.clone();
        let call = call.for_model(model);
        let chosen = self.choose(provider, call.session.as_deref()).await?;
        understands(provider, &chosen, &request)?;
        let operation = Operation::Chat(Box::new(request));
        self.open_chat(provider, chosen, operation, Native::default(), &call).await
    }

    /// Streams the answer to a conversation that the client wrote in the provider's own dialect, and
    /// passes it on as it comes. `request` holds the body's index
    /// ([`native`](ChatRequest::native)) and little else.
    ///
    /// `None` where the provider does not speak the dialect, or not under the session's login. A
    /// provider that speaks it may still answer, before anything is sent, that it cannot pass this very
    /// body on (`NotSupported`). In both cases the request is to be translated.
    ///
    /// # Errors
    ///
    /// As [`stream_chat`](Self::stream_chat).
    pub async fn pass_chat(
        &self,
        model: &ModelRef,
        mut request: ChatRequest,
        native: Native,
        call: Call,
    ) -> Result<Option<ChatStream>, Error> {
        let Some(dialect) = request.native.as_ref().map(|native| native.dialect.clone()) else {
            return Ok(None);
        };
        let model = &self.settled(model).await?;
        let provider = &self.capable(model.provider.as_str(), Capability::Chat, "chat")?;
        if !provider.takes(&dialect) {
            return Ok(None);
        }
        request.model = model.model.clone();
        let call = call.for_model(model);
        let chosen = self.choose(provider, call.session.as_deref()).await?;
        let scheme = chosen.scheme(provider);
        if scheme.is_some_and(|scheme| scheme.without_dialects().contains(&dialect)) {
            return Ok(None);
        }
        let operation = Operation::Chat(Box::new(request));
        self.open_chat(provider, chosen, operation, native, &call).await.map(Some)
    }

    async fn open_chat(
        &self,
        provider: &Arc<Provider>,
        chosen: Chosen,
        operation: Operation,
        native: Native,
        call: &Call,
    ) -> Result<ChatStream, Error> {
        let opened = Asking::open(self, provider, chosen, operation, native, call).await;
        let (asking, driver) = opened?;
        Ok(ChatStream { asking, driver, failed: None, held: VecDeque::new(), passed_on: None })
    }

    /// Lists the models of a provider.
    ///
    /// # Errors
    ///
    /// What the provider says.
    pub async fn list_models(
        &self,
        provider: &str,
        session: Option<&str>,
    ) -> Result<Vec<Model>, Error> {
        let provider = &self.capable(provider, Capability::Models, "a list of models")?;
        let call = Call::with_session(session.map(str::to_owned));
        let mut request = ListModels::default();
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let operation = Operation::ListModels(request.clone());
            let Reply::Models(page) = self.run(provider, &call, operation).await? else { break };
            all.extend(page.models);
            if page.next.is_none() {
                break;
            }
            request.page = page.next;
        }
        Ok(all)
    }

    /// Describes one model; from the provider's list where it has no better answer.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`], with the nearest.
    pub async fn model_info(&self, model: &ModelRef, call: Call) -> Result<Model, Error> {
        let provider = &self.capable(model.provider.as_str(), Capability::Models, "models")?;
        let call = call.for_model(model);
        let operation = Operation::DescribeModel(DescribeModel::new(model.model.clone()));
        match self.run(provider, &call, operation).await {
            Ok(Reply::Model(found)) => return Ok(*found),
            Err(Error::Exchange(error)) if not_supported(&error) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let models = self.list_models(provider.id.as_str(), call.session.as_deref()).await?;
        if let Some(found) = models.iter().find(|listed| listed.id == model.model) {
            return Ok(found.clone());
        }
        let nearest = near(model, &models);
        Err(Error::UnknownModel { model: model.to_string(), nearest })
    }

    /// Says whether the model's provider lists it, and which of its models are nearest if not.
    ///
    /// `None` where nobody can tell: the provider lists no models, or not now, or not soon. A model that
    /// is not listed may still answer, so this is for hints and warnings.
    pub async fn is_listed(&self, model: &ModelRef, session: Option<&str>) -> Option<Listing> {
        let call = Call::with_session(session.map(str::to_owned)).for_model(model);
        let listed = self.list_models(model.provider.as_str(), call.session.as_deref());
        let models = tokio::time::timeout(HINT_PATIENCE, listed).await.ok()?.ok()?;
        if models.is_empty() {
            return None;
        }
        Some(match models.iter().any(|listed| listed.id == model.model) {
            true => Listing::Listed,
            false => Listing::Missing { nearest: near(model, &models) },
        })
    }

    /// Reads a model ref or an alias, of which the first that can be asked now counts; a bare model name is looked for in the lists of the ready providers.
    ///
    /// # Errors
    ///
    /// [`Error::ModelRef`], [`Error::UnknownProvider`], [`Error::UnknownModel`],
    /// [`Error::AmbiguousModel`].
    pub async fn parse_model(&self, text: &str) -> Result<ModelRef, Error> {
        if self.config().aliases.contains_key(text) {
            let stops = self.route(text, &Wish::default()).await?.open()?;
            let first = stops.into_iter().next().map(|stop| stop.model);
            return first.ok_or_else(|| Error::UnknownModel {
                model: text.to_owned(),
                nearest: Vec::new(),
            });
        }
        if text.contains('/') {
            let model: ModelRef = text.parse()?;
            self.provider(model.provider.as_str())?;
            return Ok(model);
        }
        let mut listed = Vec::new();
        let ready = self.list_providers().await.into_iter().filter(|provider| provider.ready);
        let asked = ready.map(|provider| async move {
            let models = self.list_models(provider.id.as_str(), None);
            let models = tokio::time::timeout(LIST_PATIENCE, models).await;
            (provider.id, models.ok().and_then(Result::ok).unwrap_or_default())
        });
        for (provider, models) in join_all(asked).await {
            listed.extend(models.into_iter().map(|model| format!("{provider}/{}", model.id)));
        }
        let mut candidates: Vec<String> = listed
            .iter()
            .filter(|listed| listed.split_once('/').is_some_and(|(_, model)| model == text))
            .cloned()
            .collect();
        match candidates.len() {
            1 => Ok(candidates.remove(0).parse()?),
            0 => {
                let names = listed.iter().filter_map(|listed| Some(listed.split_once('/')?.1));
                let near = several(text, names, 3);
                let is_near = |listed: &&String| {
                    listed.split_once('/').is_some_and(|(_, name)| near.contains(&name))
                };
                let nearest = listed.iter().filter(is_near).take(3).cloned().collect();
                Err(Error::UnknownModel { model: text.to_owned(), nearest })
            }
            _ => Err(Error::AmbiguousModel { model: text.to_owned(), candidates }),
        }
    }

    /// Finds the places that a model name stands for, as [`route`](Self::route) does for an alias or a
    /// pool; any other name stands for one ([`parse_model`](Self::parse_model)).
    ///
    /// # Errors
    ///
    /// As those.
    pub async fn places(&self, text: &str) -> Result<Vec<Stop>, Error> {
        let is_pool = || text.parse::<ModelRef>().is_ok_and(|model| model.pool);
        if self.config().aliases.contains_key(text) || is_pool() {
            return Ok(self.route(text, &Wish::default()).await?.stops);
        }
        let model = self.parse_model(text).await?;
        Ok(vec![Stop::at(model, false)])
    }

    /// Returns the model that is asked when none is named.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn default_model(&self) -> Result<Option<ModelRef>, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(None) };
        let text = sessions.blocking(|s| Ok(s.store().setting(DEFAULT_MODEL)?)).await?;
        Ok(text.map(|text| text.parse()).transpose()?)
    }

    /// Sets the model that is asked when none is named.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn set_default_model(&self, model: &ModelRef) -> Result<(), Error> {
        self.provider(model.provider.as_str())?;
        let text = model.to_string();
        let sessions = self.sessions().await?;
        Ok(sessions
            .blocking(move |s| Ok(s.store().set_setting(DEFAULT_MODEL, Some(&text))?))
            .await?)
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    ///
    /// What the provider says; an answer with another number of vectors breaks the contract.
    pub async fn embed(
        &self,
        model: &ModelRef,
        mut request: EmbedRequest,
        call: Call,
    ) -> Result<Embeddings, Error> {
        let model = &self.settled(model).await?;
        let provider =
            &self.capable(model.provider.as_str(), Capability::Embeddings, "embeddings")?;
        request.model = model.model.clone();
        let expected = request.inputs.len();
        let call = call.for_model(model);
        let value = self.run(provider, &call, Operation::Embed(request)).await?;
        let Reply::Embeddings(embeddings) = value else { return Ok(Embeddings::default()) };
        if embeddings.vectors.len() != expected {
            return Err(Error::Exchange(ExchangeError::Contract {
                plugin: provider.plugin.id.to_string(),
                rule: Rule::ValueFitsOperation,
                detail: format!("expected {expected} vectors, found {}", embeddings.vectors.len()),
            }));
        }
        Ok(embeddings)
    }

    /// Counts the tokens of a request. Of its [`native`](ChatRequest::native) body only the headers
    /// mean something, to a provider of that dialect.
    ///
    /// # Errors
    ///
    /// What the provider says.
    pub async fn count_tokens(
        &self,
        model: &ModelRef,
        mut request: ChatRequest,
        call: Call,
    ) -> Result<u64, Error> {
        let what = "token counting";
        let model = &self.settled(model).await?;
        let provider = &self.capable(model.provider.as_str(), Capability::TokenCount, what)?;
        // Headers of the client are for a provider that speaks its dialect.
        request.native = request.native.filter(|native| provider.takes(&native.dialect));
        request.model = model.model.clone();
        let call = call.for_model(model);
        let operation = Operation::CountTokens(Box::new(request));
        match self.run(provider, &call, operation).await? {
            Reply::TokenCount(count) => Ok(count.input_tokens),
            _ => Ok(0),
        }
    }

    /// Returns a provider that is ready and has a capability.
    pub(super) fn capable(
        &self,
        id: &str,
        capability: Capability,
        what: &str,
    ) -> Result<Arc<Provider>, Error> {
        let provider = self.ready_provider(id)?;
        if provider.can(capability) {
            return Ok(provider);
        }
        Err(Error::NotSupported { provider: provider.id.clone(), what: what.to_owned() })
    }

    /// Runs an operation that gives one value.
    pub(super) async fn run(
        &self,
        provider: &Arc<Provider>,
        call: &Call,
        operation: Operation,
    ) -> Result<Reply, Error> {
        let chosen = self.choose(provider, call.session.as_deref()).await?;
        self.run_as(provider, &chosen, call, operation).await
    }

    /// Runs an operation that gives one value, with a session that is chosen already.
    pub(super) async fn run_as(
        &self,
        provider: &Arc<Provider>,
        chosen: &Chosen,
        call: &Call,
        operation: Operation,
    ) -> Result<Reply, Error> {
        let native = Native::default();
        let opened = Asking::open(self, provider, chosen.clone(), operation, native, call).await?;
        let (mut asking, mut driver) = opened;
        let value = loop {
            let value = asking.in_time(value_of(self, driver)).await.and_then(|value| value);
            let Err(error) = &value else { break value };
            match asking.reopen(error).await {
                Some(Ok(other)) => driver = other,
                Some(Err(error)) => break Err(error),
                None => break value,
            }
        };
        asking.ended(value.as_ref().err());
        value
    }

    /// Records how a request went, off the async threads. The answer does not wait for it, the
    /// program's end does.
    pub(super) fn noted(&self, chosen: &Chosen, error: Option<&Error>) {
        let rejected = matches!(error, Some(Error::Exchange(error)) if error.is_authentication());
        if chosen.stored.is_none() {
            if rejected {
                // A command may print another key now.
                self.inner.printed.forget();
            }
            return;
        }
        if let Some(sessions) = self.inner.sessions.get() {
            Self::note(sessions, chosen, error);
        }
    }
}

/// Reports whether a delivery is part of the answer, so that no other exchange may take the place of
/// this one.
fn begins(delivery: &Delivery) -> bool {
    match delivery {
        Delivery::Event(event) => event.is_content() || matches!(event, ChatEvent::Finish { .. }),
        Delivery::Bytes(_) => true,
        Delivery::Head(_) | Delivery::Value(_) => false,
    }
}

async fn value_of(maestro: &Maestro, mut driver: Box<Driver>) -> Result<Reply, Error> {
    let mut given = None;
    while let Some(delivery) = driver.next().await {
        match delivery? {
            Delivery::Value(value) => given = Some(value),
            Delivery::Event(ChatEvent::Warning { message }) => {
                maestro.warn(&message.escape_debug().to_string());
            }
            _ => {}
        }
    }
    given.ok_or_else(|| {
        Error::Exchange(ExchangeError::Contract {
            plugin: String::new(),
            rule: Rule::ValueFitsOperation,
            detail: "no value".into(),
        })
    })
}

/// Returns the refs of the models that are nearest to one.
fn near(model: &ModelRef, models: &[Model]) -> Vec<String> {
    let ids = models.iter().map(|listed| listed.id.as_str());
    let near = several(model.model.as_str(), ids, 3).into_iter();
    near.map(|id| format!("{}/{id}", model.provider)).collect()
}

fn not_supported(error: &ExchangeError) -> bool {
    error.provider_error().is_some_and(|error| error.kind == ErrorKind::NotSupported)
}

/// Refuses what the provider does not understand, before anything is sent.
fn understands(provider: &Provider, chosen: &Chosen, request: &ChatRequest) -> Result<(), Error> {
    let scheme = chosen.scheme(provider);
    let under = |feature: Feature| scheme.is_some_and(|s| s.without_features().contains(&feature));
    let lacks = |feature: Feature| under(feature) || !provider.manifest.features.contains(&feature);
    let refuse = |what: &str| {
        Err(Error::NotSupported { provider: provider.id.clone(), what: what.to_owned() })
    };
    for tool in &request.tools {
        match tool {
            ToolDefinition::Custom(_) if lacks(Feature::CustomTools) => {
                return refuse("tools that take free text");
            }
            ToolDefinition::Function(_) if lacks(Feature::Tools) => return refuse("tools"),
            _ => {}
        }
    }
    let structured = matches!(request.response_format, Some(ResponseFormat::JsonSchema(_)));
    if structured && lacks(Feature::StructuredOutput) {
        return refuse("answers in a JSON Schema");
    }
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    for ContentPart { content, .. } in parts {
        match content {
            Content::Image(_) if lacks(Feature::Images) => return refuse("images"),
            Content::Audio(_) if lacks(Feature::Audio) => return refuse("audio"),
            Content::File(_) if lacks(Feature::Files) => return refuse("files"),
            _ => {}
        }
    }
    Ok(())
}
