//! Every server that speaks OpenAI chat completions: a catalogue of known ones, and any other by its
//! `base_url`.
//!
//! All that differs between them is data: `catalogue` names the services and the profiles, and
//! `settings` the switches, which the configuration may set too. The wire format is
//! [`dialects::openai_chat`].
#![forbid(unsafe_code)]

mod catalogue;
mod native;
mod settings;

use dialects::openai_chat::{self, Decoder, Quirks};
use plugin_api::{
    operation::{Account, EmbedRequest, Models},
    prelude::*,
};

/// The plugin.
#[derive(Debug, Default)]
pub struct OpenAiCompatible;

impl Provider for OpenAiCompatible {
    const SPEC: PluginSpec = PluginSpec::new("openai-compatible", env!("CARGO_PKG_VERSION"))
        .description("Servers that speak OpenAI chat completions, in the cloud or on this machine.")
        .instances(true)
        .providers(catalogue::PROVIDERS)
        .profiles(catalogue::PROFILES)
        .settings(settings::SETTINGS);
}

impl StreamingProvider for OpenAiCompatible {
    fn stream_chat(&self, instance: &Instance, request: ChatRequest) -> Opened {
        let quirks = Quirks::compatible().with_settings(instance);
        if let Some(native) = &request.native {
            return native::open(instance, &quirks, &request, native);
        }
        let encoded = openai_chat::encode_request(&request, &quirks)?.or_refuse()?;
        let accept = if quirks.stream { "text/event-stream" } else { "application/json" };
        let request = HttpRequest::post_json(settings::chat_url(instance), encoded.body)
            .header("accept", accept);
        let request = settings::decorate(instance, request);
        Ok(Box::new(kit::SseStream::new(request, Decoder::after(encoded.losses))))
    }
}

impl ModelProvider for OpenAiCompatible {
    fn list_models(&self, instance: &Instance, _: ListModels) -> Opened {
        let listed = instance.texts("models");
        if !listed.is_empty() {
            let models = listed.into_iter().map(Model::new).collect();
            return Ok(kit::ready(Reply::Models(Models::new(models))));
        }
        let request = HttpRequest::get(settings::models_url(instance));
        Ok(kit::call(settings::decorate(instance, request), |response| {
            if !response.is_success() {
                return Err(openai_chat::error::failure(&response));
            }
            let models = openai_chat::models::decode(&response.body)?;
            Ok(Reply::Models(Models::new(models)))
        }))
    }
}

impl EmbeddingProvider for OpenAiCompatible {
    fn embed(&self, instance: &Instance, request: EmbedRequest) -> Opened {
        let inputs = request.inputs.len();
        // As numbers, not Base64: several servers refuse the field or ignore it.
        let body = openai_chat::embeddings::encode_request(&request, false)?;
        let request = HttpRequest::post_json(instance.url("/embeddings"), body)
            .header("accept", "application/json");
        Ok(kit::call(settings::decorate(instance, request), move |response| {
            if !response.is_success() {
                return Err(openai_chat::error::failure(&response));
            }
            let embeddings = openai_chat::embeddings::decode(&response.body, inputs)?;
            Ok(Reply::Embeddings(embeddings))
        }))
    }
}

impl ApiKeyProvider for OpenAiCompatible {
    /// Asks for what only a valid key may see: the `test_url`, or else the list of models.
    fn test_connection(&self, instance: &Instance) -> Opened {
        let Some(url) = settings::test_url(instance) else {
            return Err(ProviderError::not_supported("a test that costs nothing"));
        };
        let request = settings::decorate(instance, HttpRequest::get(url));
        Ok(kit::call(request, |response| {
            if response.is_success() {
                Ok(Reply::Account(Account::default()))
            } else {
                Err(openai_chat::error::failure(&response))
            }
        }))
    }
}

plugin_api::export_plugin! { OpenAiCompatible: streaming, models, embeddings, api_key }
