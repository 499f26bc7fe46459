//! What is answered in one piece: vectors and counts of tokens.

use dialects::{Loss, gemini as google, leave_foreign, leave_foreign_of_vectors, openai_chat};
use http::Response;
use plugin_api::{error::ErrorKind, event::Usage};

use super::{
    Call, Gateway,
    body::{self, Body},
    failure::Refusal,
    left_out::tell,
    opening::{Target, served_by, with_nearest},
    question::Beside,
    record::Record,
    route::EmbedForm,
};
use crate::maestro::{Answered, Error, Estimate};

impl Gateway {
    pub(super) async fn embed(
        &self,
        call: &Call,
        form: &EmbedForm,
        body: &[u8],
        record: &mut Record,
    ) -> Result<Response<Body>, Refusal> {
        body::check(body)?;
        let (mut request, base64) = match form {
            EmbedForm::OpenAi => {
                let decoded = openai_chat::embeddings::decode_request(body)?;
                (decoded.request, decoded.base64)
            }
            EmbedForm::Gemini { model, .. } => {
                (google::embeddings::decode_request(model, body)?, false)
            }
        };
        let name = request.model.to_string();
        record.model(&name);
        let target = self.one_target(call, &name).await?;
        record.reserve(call, target.model(), Estimate::of(body.len(), Some(0))).await?;
        let spoken = self.maestro.dialects_of(target.model().provider.as_str());
        let losses = leave_foreign_of_vectors(&mut request, call.dialect.as_str(), &spoken);
        let answered = self.maestro.embed(target.model(), request, target.call()).await;
        let Answered { value: embeddings, session, .. } = match answered {
            Ok(answered) => answered,
            Err(error) => return Err(self.refusal(error, &target, call).await),
        };
        if let Some(tokens) = embeddings.input_tokens {
            record.used(&Usage::new(tokens, 0));
        }
        let body = match form {
            EmbedForm::OpenAi => openai_chat::embeddings::encode(&embeddings, &name, base64),
            EmbedForm::Gemini { batch: true, .. } => google::embeddings::encode(&embeddings),
            EmbedForm::Gemini { .. } => google::embeddings::encode_one(&embeddings),
        };
        Ok(answer(body, session.as_deref(), &losses, &target, record))
    }

    pub(super) async fn count_tokens(
        &self,
        call: &Call,
        model: Option<&str>,
        beside: Beside,
        body: &[u8],
        record: &mut Record,
    ) -> Result<Response<Body>, Refusal> {
        body::check(body)?;
        let mut request = call.dialect.decode_count(model, body, &self.shelf(call))?;
        request.native = Some(beside.headers_of(call.dialect));
        record.model(request.model.as_str());
        let target = self.one_target(call, request.model.as_str()).await?;
        // Vendors count for nothing, so nothing is reserved and the request costs nothing.
        let spoken = self.maestro.dialects_of(target.model().provider.as_str());
        let losses = leave_foreign(&mut request, call.dialect.as_str(), &spoken)?;
        match self.maestro.count_tokens(target.model(), request, target.call()).await {
            Ok(Answered { value, session, .. }) => {
                let body = call.dialect.count(value);
                Ok(answer(body, session.as_deref(), &losses, &target, record))
            }
            Err(error) => Err(self.refusal(error, &target, call).await),
        }
    }

    /// Makes the refusal of a target's failure, with the nearest models where there is none of the name.
    async fn refusal(&self, error: Error, target: &Target, call: &Call) -> Refusal {
        with_nearest(&self.maestro, error, target.model(), call).await.into()
    }

    /// Returns the first target: vectors and counts of another model would mean something else.
    pub(super) async fn one_target(&self, call: &Call, name: &str) -> Result<Target, Refusal> {
        let target = self.targets(call, name, None).await?.into_iter().next();
        let target = target.ok_or_else(|| Refusal::new(ErrorKind::NotFound, "no such model"))?;
        let (provider, model) = (&target.model().provider, &target.model().model);
        let session = target.session();
        // The session is not known before it is used; a key that is bound to one must name it.
        if !call.may_use(provider.as_str(), model.as_str(), session.as_deref()) {
            let message = format!("the client key may ask `{name}` with its own session alone");
            return Err(Refusal::new(ErrorKind::Permission, message));
        }
        Ok(target)
    }
}

fn answer(
    body: Vec<u8>,
    session: Option<&str>,
    losses: &[Loss],
    target: &Target,
    record: &mut Record,
) -> Response<Body> {
    let model = target.model();
    let served = served_by(session, model.provider.as_str(), &model.model);
    record.served(&served);
    let mut response = Body::json(body);
    let dropped: Vec<String> = losses.iter().map(ToString::to_string).collect();
    tell(&mut response, Some(&served), &dropped);
    response
}
