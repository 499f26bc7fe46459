//! Anthropic, and other servers that speak its Messages format by their `base_url`.
//!
//! `declared` is what the manifest says, `settings` what the configuration may say and the headers
//! that follow from it, `native` passes on what a client wrote in the same format. The wire format is [`dialects::anthropic_messages`].
//!
//! There are no embeddings, because the vendor has none, and no contexts: it keeps no conversations.
#![forbid(unsafe_code)]

mod declared;
mod native;
mod settings;

use dialects::anthropic_messages::{self, Decoder, Quirks};
use plugin_api::{
    kit::{call::Response, paginate::Page},
    operation::{Account, Models},
    prelude::*,
};

/// The plugin.
#[derive(Debug, Default)]
pub struct Anthropic;

impl Provider for Anthropic {
    const SPEC: PluginSpec = declared::SPEC;
}

impl StreamingProvider for Anthropic {
    fn stream_chat(&self, instance: &Instance, request: ChatRequest) -> Opened {
        let quirks = Quirks::default().with_settings(instance)?;
        if let Some(native) = &request.native {
            return native::open(instance, &quirks, &request, native);
        }
        let encoded = anthropic_messages::encode_request(&request, &quirks)?.or_refuse()?;
        let accept = if quirks.stream { "text/event-stream" } else { "application/json" };
        let request = HttpRequest::post_json(instance.url("/v1/messages"), encoded.body)
            .header("accept", accept);
        let request = settings::decorate(instance, &quirks, request)?;
        Ok(Box::new(kit::SseStream::new(request, Decoder::after(encoded.losses))))
    }
}

impl TokenCounter for Anthropic {
    fn count_tokens(&self, instance: &Instance, request: ChatRequest) -> Opened {
        let quirks = Quirks::default().with_settings(instance)?;
        let encoded = anthropic_messages::tokens::encode_request(&request, &quirks)?.or_refuse()?;
        let url = instance.url("/v1/messages/count_tokens");
        let mut http =
            HttpRequest::post_json(url, encoded.body).header("accept", "application/json");
        // What a beta adds counts too.
        let native =
            request.native.iter().filter(|native| native.dialect == anthropic_messages::DIALECT);
        for (name, value) in native.flat_map(|native| &native.headers) {
            http = http.header(name, value);
        }
        Ok(kit::call(settings::decorate(instance, &quirks, http)?, |response| {
            let response = succeeded(response)?;
            Ok(Reply::TokenCount(anthropic_messages::tokens::decode(&response.body)?))
        }))
    }
}

impl ModelProvider for Anthropic {
    fn list_models(&self, instance: &Instance, _: ListModels) -> Opened {
        let quirks = Quirks::default().with_settings(instance)?;
        let first = HttpRequest::get(instance.url("/v1/models")).query("limit", PAGE);
        let first = settings::decorate(instance, &quirks, first)?;
        let page_after = first.clone();
        let mut models: Vec<Model> = Vec::new();
        Ok(kit::paginate(first, move |response| {
            let response = succeeded(response)?;
            let page = anthropic_messages::models::decode(&response.body)?;
            let known = models.len();
            for model in page.models {
                if !models.iter().any(|have| have.id == model.id) {
                    models.push(model);
                }
            }
            Ok(match page.next {
                // A server that ignores `after_id` would show its first page for ever.
                Some(after) if models.len() > known => {
                    Page::Next(Box::new(page_after.clone().query("after_id", &after)))
                }
                _ => Page::Last(Reply::Models(Models::new(std::mem::take(&mut models)))),
            })
        }))
    }

    /// Asks the vendor, which knows a model by its aliases too.
    fn model_info(&self, instance: &Instance, request: DescribeModel) -> Opened {
        let quirks = Quirks::default().with_settings(instance)?;
        let asked = request.model;
        let url = instance.url_of(&["v1", "models", asked.as_str()])?;
        let request = settings::decorate(instance, &quirks, HttpRequest::get(url))?;
        Ok(kit::call(request, move |response| {
            let response = succeeded(response)?;
            let mut model = anthropic_messages::models::decode_one(&response.body)?;
            if model.id != asked {
                model.aliases.push(asked.as_str().to_owned());
            }
            Ok(Reply::Model(Box::new(model)))
        }))
    }
}

impl ApiKeyProvider for Anthropic {
    /// Lists one model, which costs nothing and needs a valid credential.
    fn test_connection(&self, instance: &Instance) -> Opened {
        let quirks = Quirks::default().with_settings(instance)?;
        let request = HttpRequest::get(instance.url("/v1/models")).query("limit", "1");
        let request = settings::decorate(instance, &quirks, request)?;
        Ok(kit::call(request, |response| {
            let response = succeeded(response)?;
            let mut account = Account::default();
            for (name, header) in [
                ("organization.uuid", "anthropic-organization-id"),
                ("workspace_id", "anthropic-workspace-id"),
            ] {
                if let Some(value) = response.headers.first(header) {
                    account.attributes.insert(name.to_owned(), value.to_owned());
                }
            }
            Ok(Reply::Account(account))
        }))
    }
}

fn succeeded(response: Response) -> Result<Response, ProviderError> {
    if response.is_success() {
        Ok(response)
    } else {
        Err(anthropic_messages::error::failure(&response))
    }
}

/// Most models that the vendor puts on a page.
const PAGE: &str = "1000";

plugin_api::export_plugin! { Anthropic: streaming, models, token_count, api_key }
