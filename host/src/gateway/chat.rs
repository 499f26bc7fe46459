//! Chats: from a client's request to the first thing that is said, over as many targets as it takes.

use bytes::{Bytes, BytesMut};
use dialects::{Loss, RequestError};
use http::{HeaderName, HeaderValue, Response};
use plugin_api::{
    ModelId,
    error::ErrorKind,
    event::{ChatEvent, Transcript},
    http::Headers,
    kit::call::MAX_BODY,
};

use super::{
    Call, Gateway,
    body::Body,
    dialect::{Asked, Head, Manner},
    failure::Refusal,
    left_out::{LeftOut, Untold, tell, warning},
    question::Question,
    record::Record,
    stream::{self, Log},
};
use crate::{
    exchange::{Delivery, Refused},
    maestro::{self, ChatStream, Error, Maestro, Stop, Tried, Wish},
    router::{Affinity, ModelRef},
    session::random,
};

/// An answer that has begun: the provider accepted the request and said something.
pub(super) struct Opened {
    pub(super) stream: Box<ChatStream>,
    /// What came until it was clear that it had begun.
    pub(super) first: Vec<ChatEvent>,
    pub(super) way: Way,
    /// Who answers: `provider:session@auth/model`.
    pub(super) served: String,
}

impl Opened {
    /// Lists what of the request the provider will not see.
    pub(super) fn dropped(&self) -> Vec<String> {
        let losses = match &self.way {
            Way::Translated { losses, .. } => &losses[..],
            Way::Passed { .. } => &[],
        };
        let warnings = self.first.iter().filter_map(warning);
        losses.iter().map(ToString::to_string).chain(warnings).collect()
    }
}

/// How an answer gets to the client.
pub(super) enum Way {
    /// As it comes.
    Passed {
        headers: Headers,
        piece: Bytes,
        /// Whether what is said of usage is for us alone.
        hides_usage: bool,
    },
    /// In the client's dialect.
    Translated { manner: Manner, losses: Vec<Loss> },
}

/// Why a target does not answer.
enum Failed {
    /// The request cannot be read.
    Unread(RequestError),
    /// It was asked, or cannot be.
    Asked(Box<Error>, Option<Refused>),
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
        question: Question,
        record: &mut Record,
    ) -> Result<Response<Body>, Refusal> {
        let head = Head {
            id: random::id().unwrap_or_default(),
            model: question.model.clone(),
            created: maestro::unix_time_s(),
        };
        record.model(&head.model);
        let spread = self.maestro.is_spread(&head.model);
        let affinity = spread.then(|| call.affinity.unwrap_or_else(|| question.affinity()));
        let targets = self.targets(call, &head.model, affinity).await?;
        if let Some(target) = targets.first() {
            record.reserve(call, target.model(), question.estimate()).await?;
        }
        if question.stream {
            return self.streamed(call, question, head, targets, record).await;
        }
        let opened = open(&self.maestro, question, targets, call, &LeftOut::default()).await?;
        record.served(&opened.served);
        let mut dropped = opened.dropped();
        let Opened { mut stream, first, way, served } = opened;
        match way {
            Way::Translated { manner, .. } => {
                let mut transcript = Transcript::of(&first);
                let told = transcript.warnings.len();
                let mut untold = Untold::default();
                dropped.extend(first.iter().filter_map(|event| untold.of(&manner, event)));
                while let Some(event) = stream.next().await {
                    let event = event?;
                    dropped.extend(untold.of(&manner, &event));
                    transcript.push(&event);
                }
                record.used(&transcript.usage);
                let mut response = Body::json(manner.whole(&transcript, &head));
                dropped.extend(transcript.warnings.drain(told..));
                tell(&mut response, Some(&served), &dropped);
                Ok(response)
            }
            Way::Passed { headers, piece, .. } => {
                let (body, events) = collect(&mut stream, piece).await?;
                for event in first.iter().chain(&events) {
                    if let ChatEvent::Usage(usage) = event {
                        record.used(usage);
                    }
                }
                let mut response = Body::json(body);
                tell(&mut response, Some(&served), &dropped);
                pass_headers(&headers, &mut response);
                Ok(response)
            }
        }
    }

    async fn streamed(
        &self,
        call: &Call,
        question: Question,
        head: Head,
        targets: Vec<Target>,
        record: &mut Record,
    ) -> Result<Response<Body>, Refusal> {
        let (maestro, client) = (self.maestro.clone(), call.clone());
        let manner = question.form.manner();
        let left_out = LeftOut::default();
        let noted = left_out.clone();
        let opening = async move { open(&maestro, question, targets, &client, &noted).await };
        let mut opening = Box::pin(opening);
        let patience = std::time::Duration::from_millis(self.settings.heartbeat_ms);
        let content_type = manner.stream_type();
        let log = Log::default();
        record.follow(log.clone());
        // An answer that fails before it begins gets a status that says so. One that is slow to begin
        // gets its head, so that signs of life can follow.
        let Ok(opened) = tokio::time::timeout(patience, &mut opening).await else {
            let stage = stream::Stage::Opening(opening);
            let dropped = left_out.list();
            let pieces = stream::pieces(stage, manner, head, patience, log, dropped.clone());
            let mut response = Body::stream(pieces, content_type);
            tell(&mut response, None, &dropped);
            return Ok(response);
        };
        let opened = opened?;
        record.served(&opened.served);
        let served = opened.served.clone();
        let dropped = opened.dropped();
        let passed = match &opened.way {
            Way::Translated { .. } => None,
            Way::Passed { headers, .. } => Some(headers.clone()),
        };
        let stage = stream::Stage::Begun(opened);
        let pieces = stream::pieces(stage, manner, head, patience, log, dropped.clone());
        let mut response = Body::stream(pieces, content_type);
        tell(&mut response, Some(&served), &dropped);
        if let Some(headers) = passed {
            pass_headers(&headers, &mut response);
        }
        Ok(response)
    }

    /// Finds what a model name stands for, as far as the client may ask it.
    pub(super) async fn targets(
        &self,
        call: &Call,
        name: &str,
        affinity: Option<Affinity>,
    ) -> Result<Vec<Target>, Refusal> {
        if name.is_empty() {
            return Err(RequestError::new("model", "is empty").into());
        }
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
    mut question: Question,
    targets: Vec<Target>,
    call: &Call,
    left_out: &LeftOut,
) -> Result<Opened, Refusal> {
    let mut asked = None;
    let last = targets.len().saturating_sub(1);
    let mut failure = None;
    let mut tried = Tried::default();
    for (at, target) in targets.into_iter().enumerate() {
        if tried.rules_out(&target.stop) {
            continue;
        }
        let is_last = at == last;
        match begin(maestro, &mut question, &mut asked, is_last, &target, call, left_out).await {
            Ok(opened) => return Ok(opened),
            // Another target may understand it as it is.
            Err(Failed::Unread(error)) => failure = Some(Refusal::from(error)),
            Err(Failed::Asked(error, refused)) => {
                let model = &target.stop.model;
                tracing::info!(%model, "no answer: {}", maestro::one_line(&error));
                let hopeless = !tried.failed(&target.stop, &error);
                // The last failure is told, because it is what is wrong when all are.
                let error = with_nearest(maestro, *error, model, call).await;
                failure = Some(match refused {
                    Some(refused) => Refusal::of_upstream(&error, refused),
                    None => match question.unsupported(&error) {
                        Some(refused) => refused.into(),
                        None => error.into(),
                    },
                });
                if hopeless {
                    break;
                }
            }
        }
    }
    let nowhere = || Error::UnknownModel { model: String::new(), nearest: Vec::new() }.into();
    Err(failure.unwrap_or_else(nowhere))
}

/// Begins with one target: with the client's own body where that is understood, else translated.
async fn begin(
    maestro: &Maestro,
    question: &mut Question,
    asked: &mut Option<Asked>,
    is_last: bool,
    target: &Target,
    call: &Call,
    left_out: &LeftOut,
) -> Result<Opened, Failed> {
    left_out.begin(&[]);
    let counted = call.client.as_ref().is_some_and(|client| client.is_counted());
    if question.may_pass() && (!counted || question.count()) {
        let (request, native) = question.native(is_last);
        let stream = maestro.pass_chat(target.model(), request, native, target.call()).await;
        if let Some(mut stream) = stream.map_err(Failed::from)? {
            match first(&mut stream, question, target, call, left_out).await {
                Ok(begun) => return passed(stream, begun, question, target),
                Err(error) if declined(&error) => {}
                Err(error) => {
                    return Err(Failed::Asked(Box::new(error), stream.take_refused()));
                }
            }
        }
    }
    let asked = match asked {
        Some(asked) => asked,
        None => asked.insert(question.read().map_err(Failed::Unread)?),
    };
    let mut request =
        if is_last { std::mem::take(&mut asked.request) } else { asked.request.clone() };
    let spoken = maestro.dialects_of(target.model().provider.as_str());
    let foreign = dialects::leave_foreign(&mut request, call.dialect.as_str(), &spoken);
    let mut foreign = foreign.map_err(Failed::Unread)?;
    let words = question.words();
    // Other words are the client's already.
    let is_neutral =
        |loss: &&mut Loss| ["tools[", "messages["].iter().any(|list| loss.field.starts_with(list));
    for loss in foreign.iter_mut().filter(is_neutral) {
        words.name(&mut loss.field);
    }
    let losses = [&asked.losses[..], &foreign].concat();
    left_out.begin(&losses);
    let stream = maestro.stream_chat(target.model(), request, target.call()).await;
    let mut stream = stream.map_err(Failed::from)?;
    let begun = first(&mut stream, question, target, call, left_out).await.map_err(Failed::from)?;
    let way = Way::Translated { manner: asked.manner.clone(), losses };
    Ok(opened(stream, begun.events, way, target))
}

/// What came until an answer had begun.
#[derive(Default)]
struct Begun {
    events: Vec<ChatEvent>,
    headers: Option<Headers>,
    piece: Bytes,
}

/// Waits until something is said: until then a failure is told with a status, or another target is
/// tried.
async fn first(
    stream: &mut ChatStream,
    question: &Question,
    target: &Target,
    call: &Call,
    left_out: &LeftOut,
) -> Result<Begun, Error> {
    let (provider, model) = (&target.model().provider, &target.model().model);
    // Nothing is sent before the stream is asked for its first event.
    let session = stream.session().map(str::to_owned);
    if !call.may_use(provider.as_str(), model.as_str(), session.as_deref()) {
        let place = session.unwrap_or_else(|| provider.to_string());
        return Err(Error::KeyMayNot { model: format!("{place}/{model}") });
    }
    let mut begun = Begun::default();
    let words = question.words();
    while let Some(delivery) = stream.next_delivery().await {
        match delivery? {
            Delivery::Head(headers) => begun.headers = Some(headers),
            Delivery::Bytes(piece) => {
                begun.piece = piece;
                break;
            }
            Delivery::Event(mut event) => {
                if let ChatEvent::Warning { message } = &mut event {
                    words.reword(message);
                    left_out.add(message.clone());
                }
                let says = event.is_content() || matches!(event, ChatEvent::Finish { .. });
                begun.events.push(event);
                // Of what is passed on the bytes follow their events.
                if says && begun.headers.is_none() {
                    break;
                }
            }
            Delivery::Value(_) => {}
        }
    }
    Ok(begun)
}

/// Makes the answer to a body that was sent on. A server that does not answer in the form that was asked
/// for is translated all the same.
fn passed(
    stream: ChatStream,
    begun: Begun,
    question: &Question,
    target: &Target,
) -> Result<Opened, Failed> {
    let way = match begun.headers {
        Some(headers) => {
            Way::Passed { headers, piece: begun.piece, hides_usage: question.hides_usage() }
        }
        None => {
            let manner = question.read().map_or_else(|_| question.form.manner(), |it| it.manner);
            Way::Translated { manner, losses: Vec::new() }
        }
    };
    Ok(opened(stream, begun.events, way, target))
}

fn opened(stream: ChatStream, first: Vec<ChatEvent>, way: Way, target: &Target) -> Opened {
    let (provider, model) = (&target.model().provider, &target.model().model);
    let served = served_by(stream.session(), provider.as_str(), model);
    Opened { stream: Box::new(stream), first, way, served }
}

/// Reports whether a plugin would not pass a body on, before anything was sent.
fn declined(error: &Error) -> bool {
    let said = error.provider_error();
    said.is_some_and(|said| said.kind == ErrorKind::NotSupported && said.status.is_none())
}

/// Reads the rest of an answer that is passed on whole, and what the plugin read in it.
async fn collect(
    stream: &mut ChatStream,
    first: Bytes,
) -> Result<(Bytes, Vec<ChatEvent>), Refusal> {
    let (mut whole, mut events) = (BytesMut::from(first), Vec::new());
    while let Some(delivery) = stream.next_delivery().await {
        match delivery? {
            Delivery::Bytes(piece) if whole.len() + piece.len() > MAX_BODY => {
                let message = format!("the answer is longer than {MAX_BODY} bytes");
                return Err(Refusal::new(ErrorKind::Protocol, message));
            }
            Delivery::Bytes(piece) => whole.extend_from_slice(&piece),
            Delivery::Event(event @ ChatEvent::Usage(_)) => events.push(event),
            _ => {}
        }
    }
    Ok((whole.freeze(), events))
}

/// Passes on what the vendor says in headers of limits and of the answer, but not of accounts.
fn pass_headers(from: &Headers, response: &mut Response<Body>) {
    for (name, value) in &from.0 {
        let passes = name.contains("ratelimit")
            || name.starts_with("x-codex-")
            || ["openai-processing-ms", "openai-version", "openai-model", "x-models-etag"]
                .contains(&&**name)
            || name == "x-reasoning-included";
        if let (true, Ok(name), Ok(value)) =
            (passes, HeaderName::try_from(name), HeaderValue::try_from(value))
        {
            response.headers_mut().append(name, value);
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Asked(Box::new(error), None)
    }
}

/// Names who answers. Selectors of sessions hold their provider; keys of the environment do not.
pub(super) fn served_by(session: Option<&str>, provider: &str, model: &ModelId) -> String {
    match session {
        Some(session) if session.starts_with(provider) => format!("{session}/{model}"),
        _ => format!("{provider}/{model}"),
    }
}

/// Adds the nearest models to a provider's word that there is none of that name.
pub(super) async fn with_nearest(
    maestro: &Maestro,
    error: Error,
    model: &ModelRef,
    call: &Call,
) -> Error {
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
}
