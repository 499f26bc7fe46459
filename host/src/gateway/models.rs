//! Lists of models, in the shape of the client.

use http::{HeaderValue, Response};
use plugin_api::{ProviderId, operation::Model};

use super::{Call, Gateway, body::Body, failure::Refusal, record::Record};

impl Gateway {
    /// Lists aliases and the models of the ready providers: chat models first, each under the ref
    /// that asks for it.
    pub(super) async fn list_models(
        &self,
        call: &Call,
        query: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let (mut models, missing) = self.all_models(call).await;
        if let Some(after) = cursor(query) {
            // Everything stands on one page; a client that asks for what follows it has all.
            let behind = models.iter().position(|model| model.id == *after).map_or(0, |at| at + 1);
            models.drain(..behind);
        }
        let mut response = Body::json(call.dialect.models(models));
        let missing: Vec<&str> = missing
            .iter()
            .map(ProviderId::as_str)
            .filter(|provider| call.may_ask_some(provider))
            .collect();
        if let Ok(value) = HeaderValue::try_from(missing.join(", "))
            && !missing.is_empty()
        {
            response.headers_mut().insert(MISSING_HEADER, value);
        }
        Ok(response)
    }

    pub(super) async fn describe_model(
        &self,
        call: &Call,
        id: &str,
        record: &mut Record,
    ) -> Result<Response<Body>, Refusal> {
        record.model(id);
        let (listed, _) = self.all_models(call).await;
        if let Some(model) = listed.into_iter().find(|model| model.id == *id) {
            return Ok(Body::json(call.dialect.model(&model)));
        }
        let target = self.one_target(call, id).await?;
        let mut model = self.maestro.model_info(target.model(), target.call()).await?;
        // The client goes on with the name that it asked for.
        model.id = id.into();
        Ok(Body::json(call.dialect.model(&model)))
    }

    /// Returns the models that the client may ask, and the providers whose list is not there.
    async fn all_models(&self, call: &Call) -> (Vec<Model>, Vec<ProviderId>) {
        // A session that the key may not use is not used for lists either.
        let session_of = |provider: &ProviderId| {
            let client = call.client.as_ref();
            let allowed = |name: &String| {
                client.is_none_or(|client| client.may_use_session(provider.as_str(), name))
            };
            let own = || client.and_then(|client| client.session(provider));
            call.session_for(provider).filter(allowed).or_else(own)
        };
        let known = self.maestro.known_models(&session_of).await;
        let (mut chats, mut others) = (Vec::new(), Vec::new());
        for (provider, models) in &known.lists {
            let allowed = |model: &&Model| call.may_ask(provider.as_str(), model.id.as_str());
            for model in models.iter().filter(allowed) {
                let mut shown = model.clone();
                shown.id = format!("{provider}/{}", model.id).into();
                shown.owned_by.get_or_insert_with(|| provider.to_string());
                if model.is_chat() { chats.push(shown) } else { others.push(shown) }
            }
        }
        let config = self.maestro.config();
        let aliases = config.aliases.iter().filter(|(_, alias)| {
            alias.targets().any(|target| match target.parse::<crate::router::ModelRef>() {
                Ok(target) => call.may_ask(target.provider.as_str(), target.model.as_str()),
                Err(_) => false,
            })
        });
        let mut models: Vec<Model> = aliases
            .map(|(name, alias)| {
                let known =
                    alias.targets().find_map(|target| chats.iter().find(|m| m.id == *target));
                let mut shown = known.cloned().unwrap_or_else(|| Model::new(name.as_str()));
                shown.id = name.as_str().into();
                shown.display_name = Some(name.clone());
                shown.owned_by = Some("maestro".into());
                shown
            })
            .collect();
        models.append(&mut chats);
        models.append(&mut others);
        (models, known.missing)
    }
}

/// Header that names the providers whose models are not in a list, because they did not tell them in time.
const MISSING_HEADER: &str = "x-maestro-missing";

/// Returns the id behind which a client wants to read on, as Anthropic's clients page.
fn cursor(query: Option<&str>) -> Option<String> {
    let query = query?.as_bytes();
    url::form_urlencoded::parse(query)
        .find_map(|(name, value)| (name == "after_id").then(|| value.into_owned()))
}
