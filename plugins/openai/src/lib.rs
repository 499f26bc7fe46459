//! OpenAI itself: Responses by default, Chat Completions where the setting or the request wants it,
//! embeddings, models, token counts, and the conversations that the vendor keeps.
//!
//! Two logins, and they differ: an API key may do everything; a ChatGPT plan ("Sign in with ChatGPT")
//! answers conversations and lists models, keeps nothing and takes fewer fields. Which one it is
//! comes with the session. The wire formats are [`dialects::openai_responses`] and
//! [`dialects::openai_chat`].
#![forbid(unsafe_code)]

mod chat;
mod contexts;
mod login;
mod models;
mod native;
mod settings;

use dialects::{openai_chat, openai_responses};
use plugin_api::{
    kit::Response,
    operation::{Account, DeleteContextChunk, EmbedRequest, ListContextChunks},
    prelude::*,
    provider::unsupported_field,
};

/// The plugin.
#[derive(Debug, Default)]
pub struct OpenAi;

impl Provider for OpenAi {
    const SPEC: PluginSpec = PluginSpec::new("openai", env!("CARGO_PKG_VERSION"))
        .description("OpenAI, by API key or with a ChatGPT plan.")
        .providers(&[ProviderSpec::new("openai")
            .display_name("OpenAI")
            .base_url("https://api.openai.com/v1")
            .auth(&[login::API_KEY, login::CHATGPT_PLAN])
            .dialects(&[openai_responses::DIALECT, openai_chat::DIALECT])
            .features(&[
                Feature::Tools,
                Feature::CustomTools,
                Feature::ParallelTools,
                Feature::Images,
                Feature::Audio,
                Feature::Files,
                Feature::StructuredOutput,
                Feature::Reasoning,
                Feature::Citations,
            ])
            .docs_url("https://developers.openai.com/api/docs")])
        .settings(settings::SETTINGS);
}

impl StreamingProvider for OpenAi {
    fn stream_chat(&self, instance: &Instance, request: ChatRequest) -> Opened {
        chat::open(instance, request)
    }
}

impl ApiKeyProvider for OpenAi {
    /// Lists models, which costs nothing and which either login may do.
    fn test_connection(&self, instance: &Instance) -> Opened {
        let request = HttpRequest::get(instance.url("/models"));
        Ok(kit::call(settings::decorate(instance, request), |response| {
            let mut account = Account::default();
            let organization = response.headers.first("openai-organization").map(str::to_owned);
            account.attributes.extend(organization.map(|name| ("organization".to_owned(), name)));
            accepted(&response)?;
            Ok(Reply::Account(account))
        }))
    }
}

impl ModelProvider for OpenAi {
    fn list_models(&self, instance: &Instance, _: ListModels) -> Opened {
        models::list(instance)
    }

    fn model_info(&self, instance: &Instance, request: DescribeModel) -> Opened {
        models::describe(instance, request)
    }
}

impl EmbeddingProvider for OpenAi {
    fn embed(&self, instance: &Instance, request: EmbedRequest) -> Opened {
        login::api_key_only(instance, "embeddings")?;
        let inputs = request.inputs.len();
        if inputs > MAX_INPUTS {
            let message = format!("expected at most {MAX_INPUTS} texts, found {inputs}");
            return Err(ProviderError::new(ErrorKind::InvalidRequest, message));
        }
        if request.task.is_some() {
            return Err(unsupported_field("task", "has no field at OpenAI"));
        }
        let body = openai_chat::embeddings::encode_request(&request, true)?;
        let request = HttpRequest::post_json(instance.url("/embeddings"), body)
            .header("accept", "application/json");
        Ok(kit::call(settings::decorate(instance, request), move |response| {
            accepted(&response)?;
            let embeddings = openai_chat::embeddings::decode(&response.body, inputs)?;
            Ok(Reply::Embeddings(embeddings))
        }))
    }
}

impl TokenCounter for OpenAi {
    fn count_tokens(&self, instance: &Instance, mut request: ChatRequest) -> Opened {
        login::api_key_only(instance, "token counting")?;
        settings::preset(instance, &mut request, true);
        let quirks = chat::quirks(instance);
        let encoded = openai_responses::tokens::encode_request(&request, &quirks)?.or_refuse()?;
        let request = HttpRequest::post_json(instance.url("/responses/input_tokens"), encoded.body)
            .header("accept", "application/json");
        Ok(kit::call(settings::decorate(instance, request), |response| {
            accepted(&response)?;
            Ok(Reply::TokenCount(openai_responses::tokens::decode(&response.body)?))
        }))
    }
}

impl ContextProvider for OpenAi {
    fn list_context_chunks(&self, instance: &Instance, request: ListContextChunks) -> Opened {
        contexts::list(instance, &request)
    }

    fn delete_context_chunk(&self, instance: &Instance, request: DeleteContextChunk) -> Opened {
        contexts::delete(instance, &request)
    }
}

/// Most texts of one embedding request.
const MAX_INPUTS: usize = 2048;

/// Turns an answer with a failed status into an error.
fn accepted(response: &Response) -> Result<(), ProviderError> {
    if response.is_success() { Ok(()) } else { Err(openai_responses::error::failure(response)) }
}

plugin_api::export_plugin! { OpenAi: streaming, models, embeddings, token_count, contexts, api_key }
