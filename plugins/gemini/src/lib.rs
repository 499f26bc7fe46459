//! Google's Gemini API: by key, or by the user's own OAuth client.
//!
//! The wire format is [`dialects::gemini`]; here stand what is declared (`manifest`), where requests go
//! (`requests`) and which of them an operation needs.
#![forbid(unsafe_code)]

mod manifest;
mod requests;

use std::collections::BTreeSet;

use dialects::gemini::{
    self, Decoder, Settings, caches, embeddings, error, models,
    route::{self, Action},
    tokens,
};
use plugin_api::{
    chat::NativeBody,
    kit::{Response, paginate::Page},
    operation::{
        Account, ContextChunks, DeleteContextChunk, EmbedRequest, Embeddings, KeyShape,
        ListContextChunks,
    },
    prelude::*,
};

/// The plugin.
#[derive(Debug, Default)]
pub struct Gemini;

impl Provider for Gemini {
    const SPEC: PluginSpec = PluginSpec::new("gemini", env!("CARGO_PKG_VERSION"))
        .description("Google's Gemini models, by API key or by your own Google OAuth client.")
        .instances(true)
        .providers(manifest::PROVIDERS)
        .profiles(manifest::PROFILES)
        .settings(manifest::SETTINGS);
}

impl StreamingProvider for Gemini {
    fn stream_chat(&self, instance: &Instance, request: ChatRequest) -> Opened {
        let action = if instance.flag("stream", true) { Action::Stream } else { Action::Generate };
        let model = request.model.as_str();
        if let Some(native) = &request.native {
            let request = pass_through(instance, model, native)?;
            return Ok(Box::new(kit::SseStream::new(request, Decoder::new())));
        }
        let encoded = gemini::encode_request(&request, &Settings::of(instance))?.or_refuse()?;
        let request = requests::act(instance, model, action, encoded.body)?;
        Ok(Box::new(kit::SseStream::new(request, Decoder::after(encoded.losses))))
    }
}

/// Makes the request that sends a client's own body on, in the manner that the client's path names. The
/// model that the body may name stands in the path too.
fn pass_through(
    instance: &Instance,
    model: &str,
    native: &NativeBody,
) -> Result<HttpRequest, ProviderError> {
    let path = native.path.split('?').next().unwrap_or_default();
    let action = route::parse(path).map(|(_, action)| action);
    let action = action.filter(|action| match action {
        Action::Stream => instance.flag("stream", true),
        action => *action == Action::Generate,
    });
    let Some(action) = action.filter(|_| native.dialect == gemini::DIALECT) else {
        let what = format!("passing on this body of `{}`", native.dialect);
        return Err(ProviderError::not_supported(what));
    };
    let body = kit::native::edit(native, &[], &["model"]);
    let request = requests::act(instance, model, action, body)?;
    Ok(native.headers.iter().fold(request, |request, (name, value)| request.header(name, value)))
}

impl TokenCounter for Gemini {
    fn count_tokens(&self, instance: &Instance, request: ChatRequest) -> Opened {
        let encoded = tokens::encode_request(&request, &Settings::of(instance))?.or_refuse()?;
        let request = requests::act(instance, request.model.as_str(), Action::Count, encoded.body)?;
        Ok(kit::call(request, |response| {
            let count = tokens::decode(&succeeded(&response)?.body)?;
            Ok(Reply::TokenCount(count))
        }))
    }
}

impl ModelProvider for Gemini {
    fn list_models(&self, instance: &Instance, request: ListModels) -> Opened {
        let first = requests::get(instance, &["models"])?.query("pageSize", "1000");
        let start = match &request.page {
            Some(page) => first.clone().query("pageToken", page),
            None => first.clone(),
        };
        let (mut all, mut known) = (Vec::new(), BTreeSet::new());
        let mut asked = request.page;
        Ok(kit::paginate(start, move |response| {
            let page = models::decode(&succeeded(&response)?.body)?;
            all.extend(page.models.into_iter().filter(|model| known.insert(model.id.clone())));
            Ok(match page.next {
                // A server that ignores `pageToken` would show its first page for ever.
                Some(next) if asked.as_ref() != Some(&next) => {
                    let page = first.clone().query("pageToken", &next);
                    asked = Some(next);
                    Page::Next(Box::new(page))
                }
                _ => Page::Last(Reply::models(std::mem::take(&mut all))),
            })
        }))
    }

    fn model_info(&self, instance: &Instance, request: DescribeModel) -> Opened {
        let resource = route::resource(request.model.as_str());
        let (collection, name) = resource.split_once('/').unwrap_or(("models", &resource));
        Ok(kit::call(requests::get(instance, &[collection, name])?, |response| {
            let model = models::decode_one(&succeeded(&response)?.body)?;
            Ok(Reply::Model(Box::new(model)))
        }))
    }
}

impl EmbeddingProvider for Gemini {
    /// Asks for the vectors in batches of as many texts as the vendor takes at once.
    fn embed(&self, instance: &Instance, request: EmbedRequest) -> Opened {
        let batch = {
            let instance = instance.clone();
            move |from: usize| {
                let to = request.inputs.len().min(from + embeddings::MAX_BATCH);
                let body = embeddings::encode_batch(&request, &request.inputs[from..to])?;
                let model = request.model.as_str();
                let http = requests::act(&instance, model, Action::BatchEmbed, body)?;
                Ok::<_, ProviderError>((http, to, to == request.inputs.len()))
            }
        };
        let (first, mut sent, mut is_last) = batch(0)?;
        let mut all = Embeddings::new(Vec::new(), None);
        Ok(kit::paginate(first, move |response| {
            let part = embeddings::decode(&succeeded(&response)?.body, sent - all.vectors.len())?;
            all.vectors.extend(part.vectors);
            if let Some(tokens) = part.input_tokens {
                all.input_tokens = Some(all.input_tokens.unwrap_or(0).saturating_add(tokens));
            }
            if is_last {
                return Ok(Page::Last(Reply::Embeddings(std::mem::take(&mut all))));
            }
            let next;
            (next, sent, is_last) = batch(sent)?;
            Ok(Page::Next(Box::new(next)))
        }))
    }
}

impl ContextProvider for Gemini {
    /// Lists cached contents; of one that is named, that one.
    fn list_context_chunks(&self, instance: &Instance, request: ListContextChunks) -> Opened {
        if let Some(context) = &request.context {
            let id = cached_content(context.as_str())?;
            return Ok(kit::call(requests::get(instance, &[CACHES, id])?, |response| {
                let mut page = ContextChunks::default();
                page.chunks = vec![caches::decode_one(&succeeded(&response)?.body)?];
                Ok(Reply::Chunks(page))
            }));
        }
        let mut http = requests::get(instance, &[CACHES])?;
        if let Some(limit) = request.limit {
            http = http.query("pageSize", &limit.to_string());
        }
        if let Some(cursor) = &request.cursor {
            http = http.query("pageToken", cursor);
        }
        Ok(kit::call(http, |response| {
            let page = caches::decode(&succeeded(&response)?.body)?;
            Ok(Reply::Chunks(page))
        }))
    }

    fn delete_context_chunk(&self, instance: &Instance, request: DeleteContextChunk) -> Opened {
        let id = cached_content(request.context.as_str())?;
        if let Some(chunk) =
            request.chunk.filter(|chunk| chunk.as_str() != request.context.as_str())
        {
            let message = format!("`{}` has no part `{chunk}`", request.context);
            return Err(ProviderError::new(ErrorKind::NotFound, message));
        }
        Ok(kit::call(requests::delete(instance, &[CACHES, id])?, |response| {
            succeeded(&response)?;
            Ok(Reply::Unit)
        }))
    }
}

impl ApiKeyProvider for Gemini {
    /// A key that was copied with what stood around it is a usual slip.
    fn validate_api_key(&self, shape: &KeyShape) -> Result<(), ProviderError> {
        let odd = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '=' | '<' | '>');
        if shape.mask.is_empty() || shape.mask.contains(odd) {
            let message = "a Gemini key is one word of letters, digits, `-`, `_` and `.`";
            return Err(ProviderError::new(ErrorKind::Authentication, message));
        }
        Ok(())
    }

    /// Lists one model, which costs nothing and which only a valid credential may do.
    fn test_connection(&self, instance: &Instance) -> Opened {
        let request = requests::get(instance, &["models"])?.query("pageSize", "1");
        let project = instance.session.attributes.get(manifest::PROJECT).cloned();
        Ok(kit::call(request, move |response| {
            succeeded(&response)?;
            let mut account = Account::default();
            let project = project.clone().map(|project| (manifest::PROJECT.to_owned(), project));
            account.attributes.extend(project);
            Ok(Reply::Account(account))
        }))
    }
}

/// Returns the id behind the collection's name.
fn cached_content(context: &str) -> Result<&str, ProviderError> {
    context.strip_prefix(caches::COLLECTION).filter(|id| !id.is_empty()).ok_or_else(|| {
        let message = format!("`{context}` is no cached content: expected `cachedContents/…`");
        ProviderError::new(ErrorKind::InvalidRequest, message)
    })
}

fn succeeded(response: &Response) -> Result<&Response, ProviderError> {
    if response.is_success() { Ok(response) } else { Err(error::failure(response)) }
}

const CACHES: &str = "cachedContents";

plugin_api::export_plugin! {
    Gemini: streaming, models, embeddings, token_count, contexts, api_key
}
