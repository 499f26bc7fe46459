//! Asking providers: models, chat, vectors, token counts.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use plugin_api::{
    capability::{Capability, Feature},
    chat::{ChatRequest, Content, ContentPart, ResponseFormat, ToolDefinition},
    error::ErrorKind,
    event::ChatEvent,
    operation::{DescribeModel, EmbedRequest, Embeddings, ListModels, Model, Operation, Reply},
};

use super::{Error, Maestro, choice::Chosen};
use crate::{
    exchange::{Delivery, Driver, ExchangeError, Order, grammar::Rule},
    plugin::registry::Provider,
    router::ModelRef,
    suggest::several,
};

/// Setting of the store that holds the default model.
const DEFAULT_MODEL: &str = "default_model";

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
}

impl Call {
    /// Makes a call with a session, or with the usual choice.
    #[must_use]
    pub fn with_session(session: Option<String>) -> Self {
        Self { session }
    }
}

/// An answer as it streams. Dropping it closes the upstream connection.
#[derive(Debug)]
pub struct ChatStream {
    driver: Driver,
    maestro: Maestro,
    chosen: Option<Chosen>,
    selector: Option<String>,
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chosen").field("selector", &self.selector).finish_non_exhaustive()
    }
}

impl ChatStream {
    /// Waits for the next event; `None` after the last one. An error is the last.
    ///
    /// Cancel-safe: an event that was not returned comes with the next call.
    pub async fn next(&mut self) -> Option<Result<ChatEvent, Error>> {
        let delivery = self.driver.next().await;
        self.given(delivery)
    }

    /// Returns an event that is there already, without reading on.
    ///
    /// What one read of the upstream brought can so be passed on in one piece.
    pub fn next_ready(&mut self) -> Option<Result<ChatEvent, Error>> {
        let delivery = self.driver.next_ready()?;
        self.given(Some(delivery))
    }

    fn given(
        &mut self,
        delivery: Option<Result<Delivery, ExchangeError>>,
    ) -> Option<Result<ChatEvent, Error>> {
        let (given, end) = match delivery {
            Some(Ok(Delivery::Event(event))) => (Some(Ok(event)), false),
            Some(Ok(Delivery::Value(_))) => (None, true),
            Some(Err(error)) => (Some(Err(Error::from(error))), true),
            None => (None, true),
        };
        if end && let Some(chosen) = self.chosen.take() {
            let error = given.as_ref().and_then(|given| given.as_ref().err());
            self.maestro.noted(&chosen, error);
        }
        given
    }

    /// Returns the selector of the session that serves it.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.selector.as_deref()
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
        let provider = self.capable(model.provider.as_str(), Capability::Chat, "chat")?;
        understands(provider, &request)?;
        request.model = model.model.clone();
        let asked = asked_session(model, call.session);
        let chosen = self.choose(provider, asked.as_deref()).await?;
        let operation = Operation::Chat(Box::new(request));
        let driver = self.drive(provider, &chosen, operation)?;
        let selector = chosen.selector.clone();
        Ok(ChatStream { driver, maestro: self.clone(), chosen: Some(chosen), selector })
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
        let provider = self.capable(provider, Capability::Models, "a list of models")?;
        let mut request = ListModels::default();
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let operation = Operation::ListModels(request.clone());
            let Reply::Models(page) = self.run(provider, session, operation).await? else { break };
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
        let provider = self.capable(model.provider.as_str(), Capability::Models, "models")?;
        let asked = asked_session(model, call.session);
        let operation = Operation::DescribeModel(DescribeModel::new(model.model.clone()));
        match self.run(provider, asked.as_deref(), operation).await {
            Ok(Reply::Model(found)) => return Ok(*found),
            Err(Error::Exchange(error)) if not_supported(&error) => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let models = self.list_models(provider.id.as_str(), asked.as_deref()).await?;
        if let Some(found) = models.iter().find(|listed| listed.id == model.model) {
            return Ok(found.clone());
        }
        let ids = models.iter().map(|listed| listed.id.as_str());
        let nearest = several(model.model.as_str(), ids, 3)
            .into_iter()
            .map(|id| format!("{}/{id}", provider.id))
            .collect();
        Err(Error::UnknownModel { model: model.to_string(), nearest })
    }

    /// Reads a model ref; a bare model name is looked for in the lists of the ready providers.
    ///
    /// # Errors
    ///
    /// [`Error::ModelRef`], [`Error::UnknownProvider`], [`Error::UnknownModel`],
    /// [`Error::AmbiguousModel`].
    pub async fn parse_model(&self, text: &str) -> Result<ModelRef, Error> {
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
            let chats = models.into_iter().filter(Model::is_chat);
            listed.extend(chats.map(|model| format!("{provider}/{}", model.id)));
        }
        let mut candidates: Vec<String> = listed
            .iter()
            .filter(|listed| listed.split_once('/').is_some_and(|(_, model)| model == text))
            .cloned()
            .collect();
        match candidates.len() {
            1 => Ok(candidates.remove(0).parse()?),
            0 => {
                let nearest = several(text, listed.iter().map(String::as_str), 3);
                let nearest = nearest.into_iter().map(str::to_owned).collect();
                Err(Error::UnknownModel { model: text.to_owned(), nearest })
            }
            _ => Err(Error::AmbiguousModel { model: text.to_owned(), candidates }),
        }
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
        let provider =
            self.capable(model.provider.as_str(), Capability::Embeddings, "embeddings")?;
        request.model = model.model.clone();
        let expected = request.inputs.len();
        let asked = asked_session(model, call.session);
        let value = self.run(provider, asked.as_deref(), Operation::Embed(request)).await?;
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

    /// Counts the tokens of a request.
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
        let provider = self.capable(model.provider.as_str(), Capability::TokenCount, what)?;
        request.model = model.model.clone();
        let asked = asked_session(model, call.session);
        let operation = Operation::CountTokens(Box::new(request));
        match self.run(provider, asked.as_deref(), operation).await? {
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
    ) -> Result<&Arc<Provider>, Error> {
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
        session: Option<&str>,
        operation: Operation,
    ) -> Result<Reply, Error> {
        let chosen = self.choose(provider, session).await?;
        self.run_as(provider, &chosen, operation).await
    }

    /// Runs an operation that gives one value, with a session that is chosen already.
    pub(super) async fn run_as(
        &self,
        provider: &Provider,
        chosen: &Chosen,
        operation: Operation,
    ) -> Result<Reply, Error> {
        let value = value_of(self.drive(provider, chosen, operation)?).await;
        self.noted(chosen, value.as_ref().err());
        value
    }

    fn drive(
        &self,
        provider: &Provider,
        chosen: &Chosen,
        operation: Operation,
    ) -> Result<Driver, Error> {
        let library = provider
            .plugin
            .library()
            .map_err(|source| Error::Plugin { plugin: provider.plugin.id.to_string(), source })?;
        let mut instance = provider.instance();
        instance.session = chosen.info.clone();
        let order = Order {
            library,
            instance,
            operation,
            native: Bytes::new(),
            route: provider.route.clone(),
            credential: chosen.credential.clone(),
        };
        Ok(Driver::start(order, Arc::clone(&self.inner.transport)))
    }

    /// Records how a request went, off the async threads. The answer does not wait for it, the
    /// program's end does.
    fn noted(&self, chosen: &Chosen, error: Option<&Error>) {
        if chosen.stored.is_none() {
            return;
        }
        if let Some(sessions) = self.inner.sessions.get() {
            Self::note(sessions, chosen, error);
        }
    }
}

async fn value_of(mut driver: Driver) -> Result<Reply, Error> {
    let mut given = None;
    while let Some(delivery) = driver.next().await {
        match delivery? {
            Delivery::Value(value) => given = Some(value),
            Delivery::Event(ChatEvent::Warning { message }) => {
                tracing::warn!("{}", message.escape_debug());
            }
            Delivery::Event(_) => {}
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

fn asked_session(model: &ModelRef, call: Option<String>) -> Option<String> {
    match (&model.session, model.auth_type) {
        (Some(name), Some(auth_type)) => Some(format!("{name}@{auth_type}")),
        (Some(name), None) => Some(name.to_string()),
        (None, _) => call,
    }
}

fn not_supported(error: &ExchangeError) -> bool {
    error.provider_error().is_some_and(|error| error.kind == ErrorKind::NotSupported)
}

/// Refuses what the provider does not understand, before anything is sent.
fn understands(provider: &Provider, request: &ChatRequest) -> Result<(), Error> {
    let lacks = |feature: Feature| !provider.manifest.features.contains(&feature);
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
