//! Chats: from a client's request to its answer, whole or as a stream.

use bytes::{Bytes, BytesMut};
use dialects::RequestError;
use http::{HeaderName, HeaderValue, Response};
use plugin_api::{
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, Transcript},
    http::Headers,
    kit::call::MAX_BODY,
};

use super::{
    Call, Gateway,
    body::Body,
    dialect::Head,
    failure::Refusal,
    left_out::{LeftOut, Untold, tell},
    opening::{Opened, Opening, Target, Way},
    question::Question,
    record::Record,
    stream::{self, Log},
};
use crate::{
    exchange::{Delivery, ExchangeError},
    maestro::{self, ChatStream, Error, Stop, Wish},
    router::Affinity,
    session::random,
};

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
        let left_out = LeftOut::default();
        let mut opening = Opening::new(&self.maestro, question, targets, call, &left_out);
        loop {
            let opened = opening.next().await?;
            record.served(&opened.served);
            match whole(opened, &head, record).await {
                Ok(response) => return Ok(response),
                // Nothing of it was told.
                Err(error) => opening.broke(error).await?,
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
        let opening =
            async move { Opening::new(&maestro, question, targets, &client, &noted).next().await };
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

/// Reads an answer to its end and writes it in one piece.
async fn whole(opened: Opened, head: &Head, record: &mut Record) -> Result<Response<Body>, Error> {
    let mut dropped = opened.dropped();
    let Opened { mut stream, first, way, served } = opened;
    match way {
        Way::Translated { manner, .. } => {
            let mut transcript = Transcript::of(&first);
            let told = transcript.warnings.len();
            let mut untold = Untold::default();
            dropped.extend(first.iter().filter_map(|event| untold.of(&manner, event)));
            while let Some(event) = stream.next().await {
                let event = event.inspect_err(|_| record.used(&transcript.usage))?;
                dropped.extend(untold.of(&manner, &event));
                transcript.push(&event);
            }
            record.used(&transcript.usage);
            let mut response = Body::json(manner.whole(&transcript, head));
            dropped.extend(transcript.warnings.drain(told..));
            tell(&mut response, Some(&served), &dropped);
            Ok(response)
        }
        Way::Passed { headers, piece, .. } => {
            let (body, events) = collect(&mut stream, piece, &served).await?;
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

/// Reads the rest of an answer that is passed on whole, and what the plugin read in it.
async fn collect(
    stream: &mut ChatStream,
    first: Bytes,
    served: &str,
) -> Result<(Bytes, Vec<ChatEvent>), Error> {
    let (mut whole, mut events) = (BytesMut::from(first), Vec::new());
    while let Some(delivery) = stream.next_delivery().await {
        match delivery? {
            Delivery::Bytes(piece) if whole.len() + piece.len() > MAX_BODY => {
                let message = format!("the answer is longer than {MAX_BODY} bytes");
                let source = ProviderError::new(ErrorKind::Protocol, message).into();
                let provider = served.split([':', '/']).next().unwrap_or_default().to_owned();
                return Err(ExchangeError::Provider { provider, source }.into());
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
