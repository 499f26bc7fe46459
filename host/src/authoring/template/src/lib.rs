//! Maestro plugin for the Acme API.
//!
//! Here is what the provider offers and which request each behaviour sends; `wire` is what the
//! vendor's JSON looks like and how its stream becomes events. There is no network here: the host
//! sends what an exchange asks for and hands back what comes.
#![forbid(unsafe_code)]

mod wire;

use plugin_api::{
    kit::Response,
    operation::{Account, Models},
    prelude::*,
};

/// The plugin.
#[derive(Debug, Default)]
pub struct Plugin;

impl Provider for Plugin {
    const SPEC: PluginSpec = PluginSpec::new("{{name}}", env!("CARGO_PKG_VERSION"))
        .description("Models of the Acme API.")
        .providers(&[ProviderSpec::new("{{name}}")
            .display_name("Acme")
            .base_url("https://api.acme.example/v1")
            .docs_url("https://acme.example/docs")
            .auth(&[AuthSpec::ApiKey(
                ApiKeySpec::bearer()
                    .env(&["{{key_variable}}"])
                    .prefix("acme-")
                    .obtain_url("https://acme.example/keys"),
            )])]);
}

impl StreamingProvider for Plugin {
    fn stream_chat(&self, instance: &Instance, request: ChatRequest) -> Opened {
        let body = wire::encode(&request)?;
        let request = HttpRequest::post_json(instance.url("/generate"), &body)
            .header("accept", "text/event-stream");
        Ok(Box::new(kit::SseStream::new(
            request,
            wire::Decoder::default(),
        )))
    }
}

impl ModelProvider for Plugin {
    fn list_models(&self, instance: &Instance, _: ListModels) -> Opened {
        let request = HttpRequest::get(instance.url("/models"));
        Ok(kit::call(request, |response| {
            let listed: wire::ModelList = succeeded(response)?.json()?;
            let models = listed.models.into_iter().map(wire::Model::into_neutral);
            Ok(Reply::Models(Models::new(models.collect())))
        }))
    }
}

impl ApiKeyProvider for Plugin {
    /// Asks whose key it is, which costs nothing and needs a valid one.
    fn test_connection(&self, instance: &Instance) -> Opened {
        let request = HttpRequest::get(instance.url("/account"));
        Ok(kit::call(request, |response| {
            let me: wire::Me = succeeded(response)?.json()?;
            let mut account = Account::default();
            account.name = Some(me.name);
            Ok(Reply::Account(account))
        }))
    }
}

fn succeeded(response: Response) -> Result<Response, ProviderError> {
    if response.is_success() {
        Ok(response)
    } else {
        Err(wire::failure(&response))
    }
}

plugin_api::export_plugin! { Plugin: streaming, models, api_key }
