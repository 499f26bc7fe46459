//! Chats: from a client's request to the first thing that is said, over as many targets as it takes.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use plugin_api::{
    ModelId,
    chat::ChatRequest,
    error::ErrorKind,
    event::{ChatEvent, Transcript},
};

use super::{
    Call, Gateway,
    body::{self, Body},
    dialect::{Asked, ChatForm, Head},
    failure::Refusal,
    record::Record,
    stream::{self, Log},
};
use crate::{
    maestro::{self, ChatStream, Error, Maestro, Stop, Tried, Wish},
    router::{Affinity, ModelRef},
    session::random,
};

/// An answer that has begun: the provider accepted the request and said something.
pub(super) struct Opened {
    pub(super) stream: Box<ChatStream>,
    /// What came until it was clear that it had begun.
    pub(super) first: Vec<ChatEvent>,
    /// Who answers: `provider:session@auth/model`.
    pub(super) served: String,
}

/// One place to try, allowed to the client, with the session to try it with.
pub(super) struct Target {
    stop: Stop,
    session: Option<String>,
}

impl Gateway {
    pub(super) async fn chat(
        &self,
        call: &Call,
        form: ChatForm,
        body: Bytes,
        record: &mut Record,
    ) -> Result<Response<Body>, Refusal> {
        body::check(&body)?;
        let asked = form.decode(&body)?;
        // All that is needed of it is in the request now; a long chat need not hold it.
        drop(body);
        let head = Head {
            id: random::id().unwrap_or_default(),
            model: asked.request.model.to_string(),
            created: maestro::unix_time_s(),
        };
        record.model(&head.model);
        let affinity = call.affinity.unwrap_or_else(|| Affinity::of_conversation(&asked.request));
        let targets = self.targets(call, &head.model, Some(affinity)).await?;
        if asked.stream {
            return self.streamed(call, asked, head, targets, record).await;
        }
        let mut opened = open(&self.maestro, asked.request, targets, call).await?;
        record.served(&opened.served);
        let mut transcript = Transcript::of(&opened.first);
        while let Some(event) = opened.stream.next().await {
            transcript.push(&event?);
        }
        record.used(&transcript.usage);
        let mut response = Body::json(asked.manner.whole(&transcript, &head));
        let losses = asked.losses.iter().map(ToString::to_string);
        tell(&mut response, &opened.served, losses.chain(transcript.warnings.iter().cloned()));
        Ok(response)
    }

    async fn streamed(
        &self,
        call: &Call,
        asked: Asked,
        head: Head,
        targets: Vec<Target>,
        record: &mut Record,
    ) -> Result<Response<Body>, Refusal> {
        let (maestro, client) = (self.maestro.clone(), call.clone());
        let opening = async move { open(&maestro, asked.request, targets, &client).await };
        let mut opening = Box::pin(opening);
        let patience = std::time::Duration::from_millis(self.settings.heartbeat_ms);
        let encoder = asked.manner.encoder(&head);
        let content_type = asked.manner.stream_type();
        let log = Log::default();
        record.follow(log.clone());
        // An answer that fails before it begins gets a status that says so. One that is slow to begin
        // gets its head, so that signs of life can follow.
        let Ok(opened) = tokio::time::timeout(patience, &mut opening).await else {
            let pieces = stream::pieces(stream::Stage::Opening(opening), encoder, patience, log);
            return Ok(Body::stream(pieces, content_type));
        };
        let opened = opened?;
        record.served(&opened.served);
        let served = opened.served.clone();
        let warnings: Vec<String> = opened.first.iter().filter_map(warning).collect();
        let stage = stream::Stage::Begun(opened);
        let mut response =
            Body::stream(stream::pieces(stage, encoder, patience, log), content_type);
        let losses = asked.losses.iter().map(ToString::to_string);
        tell(&mut response, &served, losses.chain(warnings));
        Ok(response)
    }

    /// Finds what a model name stands for, as far as the client may ask it.
    pub(super) async fn targets(
        &self,
        call: &Call,
        name: &str,
        affinity: Option<Affinity>,
    ) -> Result<Vec<Target>, Refusal> {
        let (session_of, may) = (call.session_of(), call.may());
        let mut wish = Wish::new(call.dialect.as_str(), &session_of, &may);
        wish.affinity = affinity.or(call.affinity);
        let stops = self.maestro.route(name, &wish).await?.open().map_err(|error| match error {
            // As the client called it: what stands behind an alias is not the client's business.
            Error::KeyMayNot { .. } => Error::KeyMayNot { model: name.to_owned() },
            other => other,
        })?;
        let target = |stop: Stop| Target { session: call.session_for(&stop.model.provider), stop };
        Ok(stops.into_iter().map(target).collect())
    }
}

impl Target {
    pub(super) fn model(&self) -> &ModelRef {
        &self.stop.model
    }

    /// Returns the session that is asked for, by its name: the ref's, else the caller's.
    pub(super) fn session(&self) -> Option<String> {
        let own = self.stop.model.session.as_ref().map(ToString::to_string);
        own.or_else(|| self.session.clone())
    }

    pub(super) fn call(&self) -> maestro::Call {
        maestro::Call::with_session(self.session.clone())
    }
}

/// Begins a chat with the first target that takes it.
async fn open(
    maestro: &Maestro,
    mut request: ChatRequest,
    targets: Vec<Target>,
    call: &Call,
) -> Result<Opened, Error> {
    let last = targets.len().saturating_sub(1);
    let mut failure = None;
    let mut tried = Tried::default();
    for (at, target) in targets.into_iter().enumerate() {
        if tried.rules_out(&target.stop) {
            continue;
        }
        let asked = if at == last { std::mem::take(&mut request) } else { request.clone() };
        match begin(maestro, asked, &target, call).await {
            Ok(opened) => return Ok(opened),
            Err(error) => {
                let model = &target.stop.model;
                tracing::info!(%model, "no answer: {}", maestro::one_line(&error));
                let hopeless = !tried.failed(&target.stop, &error);
                // The last failure is told, because it is what is wrong when all are.
                failure = Some(with_nearest(maestro, error, model, call).await);
                if hopeless {
                    break;
                }
            }
        }
    }
    let nowhere = || Error::UnknownModel { model: String::new(), nearest: Vec::new() };
    Err(failure.unwrap_or_else(nowhere))
}

async fn begin(
    maestro: &Maestro,
    request: ChatRequest,
    target: &Target,
    call: &Call,
) -> Result<Opened, Error> {
    let mut stream = maestro.stream_chat(target.model(), request, target.call()).await?;
    let (provider, model) = (&target.model().provider, &target.model().model);
    // Nothing is sent before the stream is asked for its first event.
    let session = stream.session().map(str::to_owned);
    if !call.may_use(provider.as_str(), model.as_str(), session.as_deref()) {
        let what = format!("session `{}` to this client key", session.unwrap_or_default());
        return Err(Error::NotSupported { provider: provider.clone(), what });
    }
    let served = served_by(session.as_deref(), provider.as_str(), model);
    let mut first = Vec::new();
    // Until something is said, a failure is told with a status, or another target is tried.
    while let Some(event) = stream.next().await {
        let event = event?;
        let begun = event.is_content() || matches!(event, ChatEvent::Finish { .. });
        first.push(event);
        if begun {
            break;
        }
    }
    Ok(Opened { stream: Box::new(stream), first, served })
}

/// Names who answers. Selectors of sessions hold their provider; keys of the environment do not.
pub(super) fn served_by(session: Option<&str>, provider: &str, model: &ModelId) -> String {
    match session {
        Some(session) if session.starts_with(provider) => format!("{session}/{model}"),
        _ => format!("{provider}/{model}"),
    }
}

/// Adds the nearest models to a provider's word that there is none of that name.
async fn with_nearest(maestro: &Maestro, error: Error, model: &ModelRef, call: &Call) -> Error {
    if error.provider_error().is_none_or(|error| error.kind != ErrorKind::NotFound) {
        return error;
    }
    let name = format!("{}/{}", model.provider, model.model);
    match maestro.unknown_model(&name, &call.session_of(), &call.may()).await {
        Error::UnknownModel { nearest, .. } if nearest.is_empty() || nearest.contains(&name) => {
            error
        }
        unknown => unknown,
    }
}

fn warning(event: &ChatEvent) -> Option<String> {
    match event {
        ChatEvent::Warning { message } => Some(message.clone()),
        _ => None,
    }
}

/// Says in headers who answered and what was left out.
pub(super) fn tell(
    response: &mut Response<Body>,
    served: &str,
    dropped: impl Iterator<Item = String>,
) {
    let headers = response.headers_mut();
    if let Some(value) = header_value(served) {
        headers.insert(HeaderName::from_static("x-maestro-served"), value);
    }
    let dropped: Vec<String> = dropped.collect();
    if let Some(value) = header_value(&dropped.join("; ")).filter(|_| !dropped.is_empty()) {
        headers.insert(HeaderName::from_static("x-maestro-dropped"), value);
    }
}

/// Makes a header's value of any text: what no header may hold becomes `?`, and long ones end.
fn header_value(text: &str) -> Option<HeaderValue> {
    let fits = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let text: String = text.chars().take(MAX_HEADER).map(fits).collect();
    HeaderValue::try_from(text.trim()).ok()
}

const MAX_HEADER: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered_is_said_once() {
        let model = ModelId::from("gpt");
        let served = |session| served_by(session, "openai", &model);
        assert_eq!(served(Some("openai:work@api-key")), "openai:work@api-key/gpt");
        assert_eq!(served(Some("env:OPENAI_API_KEY")), "openai/gpt");
        assert_eq!(served(None), "openai/gpt");
    }

    #[test]
    fn any_text_becomes_a_header() {
        assert_eq!(header_value("a\r\nb: é").unwrap(), "a??b: ?");
        assert_eq!(header_value(&"x".repeat(5000)).unwrap().len(), MAX_HEADER);
    }
}
