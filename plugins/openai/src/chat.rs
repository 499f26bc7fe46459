//! Answers conversations: which interface, and under which rules.

use dialects::{openai_chat, openai_responses};
use plugin_api::{chat::ToolDefinition, prelude::*};

use crate::{
    login, native,
    settings::{self, Api},
};

/// Opens the exchange that answers a conversation.
pub(crate) fn open(instance: &Instance, mut request: ChatRequest) -> Opened {
    let plan = login::is_plan(instance);
    if let Some(native) = request.native.take() {
        login::api_key_only(instance, "requests in its own format")?;
        return native::open(instance, &request, &native);
    }
    let chat = match settings::api(instance)? {
        _ if plan => false,
        Api::Responses => false,
        Api::Chat => true,
        Api::Auto => only_chat_can(&request),
    };
    settings::preset(instance, &mut request, !chat);
    if chat { completions(instance, &request) } else { responses(instance, request) }
}

/// Returns the switches of Responses for the session's login.
pub(crate) fn quirks(instance: &Instance) -> openai_responses::Quirks {
    if login::is_plan(instance) {
        return openai_responses::Quirks::chatgpt_plan();
    }
    let mut quirks = openai_responses::Quirks::default().with_settings(instance);
    // Where nothing is said, Responses rewrites a schema to be strict, and every optional argument
    // becomes one that must be given. Chat Completions, and all other vendors, do not.
    quirks.lax_tools = true;
    quirks
}

fn responses(instance: &Instance, mut request: ChatRequest) -> Opened {
    let mut losses = Vec::new();
    if login::is_plan(instance) && request.store == Some(true) {
        request.store = Some(false);
        losses.push("`store` is not taken under this login");
    }
    let mut quirks = quirks(instance);
    quirks.encrypted_reasoning = request.store == Some(false);
    let encoded = openai_responses::encode_request(&request, &quirks)?.or_refuse()?;
    let accept = if quirks.stream { "text/event-stream" } else { "application/json" };
    let http =
        HttpRequest::post_json(instance.url("/responses"), encoded.body).header("accept", accept);
    let decoder = openai_responses::Decoder::after(encoded.losses);
    let stream = kit::SseStream::new(settings::decorate(instance, http), decoder);
    Ok(warned(Box::new(stream), losses))
}

fn completions(instance: &Instance, request: &ChatRequest) -> Opened {
    let mut quirks = openai_chat::Quirks::default();
    quirks.stream = instance.flag("stream", true);
    quirks.user_field = "safety_identifier".into();
    let encoded = openai_chat::encode_request(request, &quirks)?.or_refuse()?;
    let accept = if quirks.stream { "text/event-stream" } else { "application/json" };
    let http = HttpRequest::post_json(instance.url("/chat/completions"), encoded.body)
        .header("accept", accept);
    let decoder = openai_chat::Decoder::after(encoded.losses);
    Ok(Box::new(kit::SseStream::new(settings::decorate(instance, http), decoder)))
}

/// Reports whether a request belongs to Chat Completions: it holds what Responses cannot say, and
/// nothing that Chat Completions lacks.
fn only_chat_can(request: &ChatRequest) -> bool {
    let parts = || request.messages.iter().flat_map(|message| &message.parts);
    let hosted = |tool: &ToolDefinition| matches!(tool, ToolDefinition::Provider(_));
    let bound = request.context.is_some()
        || parts().any(|part| matches!(part.content, Content::Opaque(_)))
        || request.tools.iter().any(hosted);
    let must = !request.stop.is_empty()
        || request.options.keys().any(|name| CHAT_OPTIONS.contains(&name.as_str()));
    // These only tune an answer, so they do not outweigh the reasoning that led so far.
    let sampling = &request.sampling;
    let would = sampling.seed.is_some()
        || sampling.frequency_penalty.is_some()
        || sampling.presence_penalty.is_some();
    !bound && (must || (would && parts().all(|part| part.continuity.is_empty())))
}

/// Options that Chat Completions alone knows.
const CHAT_OPTIONS: &[&str] =
    &["audio", "logit_bias", "logprobs", "modalities", "prediction", "web_search_options"];

/// Warns the client before anything else happens.
pub(crate) fn warned(
    inner: Box<dyn Exchange + Send>,
    warnings: Vec<&'static str>,
) -> Box<dyn Exchange + Send> {
    if warnings.is_empty() { inner } else { Box::new(Warned { inner, warnings }) }
}

struct Warned {
    inner: Box<dyn Exchange + Send>,
    warnings: Vec<&'static str>,
}

impl Exchange for Warned {
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        for warning in self.warnings.drain(..) {
            out.warning(warning);
        }
        self.inner.step(now, input, out);
    }
}
