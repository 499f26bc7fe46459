//! How a chat finds who answers it: target after target, each in the client's own words where it
//! understands them, else translated.

use std::vec;

use bytes::Bytes;
use dialects::{Loss, RequestError};
use plugin_api::{ModelId, error::ErrorKind, event::ChatEvent, http::Headers};

use super::{
    Call,
    dialect::{Asked, Manner},
    failure::Refusal,
    left_out::{LeftOut, warning},
    question::Question,
};
use crate::{
    exchange::{Delivery, Refused},
    maestro::{self, ChatStream, Error, Maestro, Stop, Tried},
    router::ModelRef,
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

/// One place to try, allowed to the client, with the session to try it with.
pub(super) struct Target {
    pub(super) stop: Stop,
    pub(super) session: Option<String>,
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

/// Why a target does not answer.
enum Failed {
    /// The request cannot be read.
    Unread(RequestError),
    /// It was asked, or cannot be.
    Asked(Box<Error>, Option<Refused>),
}

/// A chat that looks for a target that takes it.
pub(super) struct Opening<'a> {
    maestro: &'a Maestro,
    call: &'a Call,
    left_out: &'a LeftOut,
    question: Question,
    targets: vec::IntoIter<Target>,
    /// The question in neutral words, once they are needed.
    asked: Option<Asked>,
    tried: Tried,
    /// Who answers now.
    begun: Option<Target>,
    /// The last one is told, because it is what is wrong when all are.
    failure: Option<Refusal>,
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        maestro: &'a Maestro,
        question: Question,
        targets: Vec<Target>,
        call: &'a Call,
        left_out: &'a LeftOut,
    ) -> Self {
        let targets = targets.into_iter();
        let (asked, tried, begun, failure) = (None, Tried::default(), None, None);
        Self { maestro, call, left_out, question, targets, asked, tried, begun, failure }
    }

    /// Begins with the next target that takes it.
    pub(super) async fn next(&mut self) -> Result<Opened, Refusal> {
        while let Some(target) = self.targets.next() {
            if self.tried.rules_out(&target.stop) {
                continue;
            }
            let is_last = self.targets.len() == 0;
            let (maestro, call, left_out) = (self.maestro, self.call, self.left_out);
            let (question, asked) = (&mut self.question, &mut self.asked);
            match begin(maestro, question, asked, is_last, &target, call, left_out).await {
                Ok(opened) => {
                    self.begun = Some(target);
                    return Ok(opened);
                }
                // Another target may understand it as it is.
                Err(Failed::Unread(error)) => self.failure = Some(error.into()),
                Err(Failed::Asked(error, refused)) => {
                    if !self.failed(&target, *error, refused).await {
                        break;
                    }
                }
            }
        }
        Err(self.told())
    }

    /// Notes that the answer that was begun broke off; [`next`](Self::next) tries another target, unless
    /// the first one may have kept what it was asked.
    pub(super) async fn broke(&mut self, error: Error) -> Result<(), Refusal> {
        let Some(target) = self.begun.take() else { return Err(error.into()) };
        let goes_on = self.failed(&target, error, None).await;
        if goes_on && self.targets.len() > 0 && !self.question.stores() {
            Ok(())
        } else {
            Err(self.told())
        }
    }

    /// Notes a failure; reports whether another target may do better.
    async fn failed(&mut self, target: &Target, error: Error, refused: Option<Refused>) -> bool {
        let model = &target.stop.model;
        tracing::info!(%model, "no answer: {}", maestro::one_line(&error));
        let goes_on = self.tried.failed(&target.stop, &error);
        let error = with_nearest(self.maestro, error, model, self.call).await;
        self.failure = Some(match refused {
            Some(refused) => Refusal::of_upstream(&error, refused),
            None => match self.question.unsupported(&error) {
                Some(refused) => refused.into(),
                None => error.into(),
            },
        });
        goes_on
    }

    fn told(&mut self) -> Refusal {
        let nowhere = || Error::UnknownModel { model: String::new(), nearest: Vec::new() }.into();
        self.failure.take().unwrap_or_else(nowhere)
    }
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

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Asked(Box::new(error), None)
    }
}

/// Names who answers. Selectors of sessions hold their provider; keys of the environment do not.
pub(super) fn served_by(session: Option<&str>, provider: &str, model: &ModelId) -> String {
    match session {
        Some(session) if session.split(':').next() == Some(provider) => {
            format!("{session}/{model}")
        }
        _ => format!("{provider}/{model}"),
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
