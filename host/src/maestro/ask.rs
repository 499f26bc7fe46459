//! Asking providers: chat, vectors, token counts. What models there are is asked in `models`.

use std::{sync::Arc, time::Duration};

use plugin_api::{
    capability::{Capability, Feature},
    chat::{ChatRequest, Content, ContentPart, ResponseFormat, ToolDefinition},
    event::ChatEvent,
    operation::{EmbedRequest, Embeddings, Operation, Reply},
};

use super::{ChatStream, Error, Maestro, asking::Asking, choice::Chosen};
use crate::{
    exchange::{Delivery, Driver, ExchangeError, Native, grammar::Rule, recording::Recorder},
    plugin::provider::Provider,
    router::ModelRef,
};

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
    pub(super) fn for_model(mut self, model: &ModelRef) -> Self {
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

/// An answer in one piece, and who gave it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answered<T> {
    /// The answer.
    pub value: T,
    /// The selector of the session that it was asked with, `PROVIDER:NAME@AUTH`; `None` without one.
    pub session: Option<String>,
}

impl<T> Answered<T> {
    fn map<U>(self, read: impl FnOnce(T) -> U) -> Answered<U> {
        Answered { value: read(self.value), session: self.session }
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
        Ok(ChatStream::new(asking, driver))
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
    ) -> Result<Answered<Embeddings>, Error> {
        let model = &self.settled(model).await?;
        let provider =
            &self.capable(model.provider.as_str(), Capability::Embeddings, "embeddings")?;
        request.model = model.model.clone();
        let expected = request.inputs.len();
        let call = call.for_model(model);
        let answered = self.run(provider, &call, Operation::Embed(request)).await?;
        let answered = answered.map(|value| match value {
            Reply::Embeddings(embeddings) => embeddings,
            _ => Embeddings::default(),
        });
        let found = answered.value.vectors.len();
        if found != expected {
            return Err(Error::Exchange(ExchangeError::Contract {
                plugin: provider.plugin.id.to_string(),
                rule: Rule::ValueFitsOperation,
                detail: format!("expected {expected} vectors, found {found}"),
            }));
        }
        Ok(answered)
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
    ) -> Result<Answered<u64>, Error> {
        let what = "token counting";
        let model = &self.settled(model).await?;
        let provider = &self.capable(model.provider.as_str(), Capability::TokenCount, what)?;
        // Headers of the client are for a provider that speaks its dialect.
        request.native = request.native.filter(|native| provider.takes(&native.dialect));
        request.model = model.model.clone();
        let call = call.for_model(model);
        let operation = Operation::CountTokens(Box::new(request));
        let answered = self.run(provider, &call, operation).await?;
        Ok(answered.map(|value| match value {
            Reply::TokenCount(count) => count.input_tokens,
            _ => 0,
        }))
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
    ) -> Result<Answered<Reply>, Error> {
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
    ) -> Result<Answered<Reply>, Error> {
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
        let session = asking.session().map(str::to_owned);
        value.map(|value| Answered { value, session })
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

/// Refuses what the provider does not understand, before anything is sent.
fn understands(provider: &Provider, chosen: &Chosen, request: &ChatRequest) -> Result<(), Error> {
    let scheme = chosen.scheme(provider);
    let under = |feature: Feature| scheme.is_some_and(|s| s.without_features().contains(&feature));
    let lacks = |feature: Feature| under(feature) || !provider.manifest.features.contains(&feature);
    let needs = |feature: Option<Feature>, place: &dyn Fn() -> String| match feature {
        Some(feature) if lacks(feature) => {
            let provider = provider.id.clone();
            Err(Error::NotUnderstood { provider, feature, place: place() })
        }
        _ => Ok(()),
    };
    for (at, tool) in request.tools.iter().enumerate() {
        let feature = match tool {
            ToolDefinition::Custom(_) => Some(Feature::CustomTools),
            ToolDefinition::Function(_) => Some(Feature::Tools),
            _ => None,
        };
        needs(feature, &|| format!("tools[{at}]"))?;
    }
    let structured = matches!(request.response_format, Some(ResponseFormat::JsonSchema(_)));
    needs(structured.then_some(Feature::StructuredOutput), &|| "response_format".to_owned())?;
    for (at, message) in request.messages.iter().enumerate() {
        for (nth, part) in message.parts.iter().enumerate() {
            needs(medium(part), &|| format!("messages[{at}].parts[{nth}]"))?;
            let Content::ToolResult(result) = &part.content else { continue };
            for (inner, part) in result.parts.iter().enumerate() {
                let place = || format!("messages[{at}].parts[{nth}].parts[{inner}]");
                needs(medium(part), &place)?;
            }
        }
    }
    Ok(())
}

/// Returns what a provider needs to understand a part, if not text.
fn medium(part: &ContentPart) -> Option<Feature> {
    match part.content {
        Content::Image(_) => Some(Feature::Images),
        Content::Audio(_) => Some(Feature::Audio),
        Content::File(_) => Some(Feature::Files),
        _ => None,
    }
}
