//! Passes a client's own request on.

use dialects::{openai_chat, openai_responses};
use plugin_api::{chat::NativeBody, kit::native, prelude::*};
use serde_json::{Value, json};

use crate::settings::{self, Api};

/// Opens the exchange that sends a client's own body, with the model that was chosen, and with what the
/// configuration says and the client does not.
pub(crate) fn open(instance: &Instance, request: &ChatRequest, native: &NativeBody) -> Opened {
    let chat = native.dialect == openai_chat::DIALECT;
    let streams = native::streams(native);
    let path = match (native.dialect.as_str(), settings::api(instance)?) {
        (openai_responses::DIALECT, Api::Auto | Api::Responses) => "/responses",
        (openai_chat::DIALECT, Api::Auto | Api::Chat) => "/chat/completions",
        (other, _) => return Err(ProviderError::not_supported(format!("the format `{other}`"))),
    };
    if streams && !instance.flag("stream", true) {
        return Err(ProviderError::not_supported("a stream in the client's own format"));
    }
    let mut set = vec![("model", json!(request.model))];
    set.extend(presets(instance, chat).into_iter().filter(|(name, _)| !native::has(native, name)));
    let body = native::edit(native, &set, &[]);
    let accept = if streams { "text/event-stream" } else { "application/json" };
    let mut http = HttpRequest::post_json(instance.url(path), body).header("accept", accept);
    for (name, value) in &native.headers {
        if !matches!(name.as_str(), "accept" | "content-type") {
            http = http.header(name, value);
        }
    }
    let http = settings::decorate(instance, http);
    Ok(if chat {
        Box::new(kit::SseStream::new(http, openai_chat::Decoder::passed_on(streams)))
    } else {
        Box::new(kit::SseStream::new(http, openai_responses::Decoder::passed_on(streams)))
    })
}

/// Returns what the configuration says for requests that do not say it themselves, as fields.
fn presets(instance: &Instance, chat: bool) -> Vec<(&'static str, Value)> {
    let text = |name: &str| Some(instance.text(name)).filter(|text| !text.is_empty());
    let mut set = Vec::new();
    // Unlike for neutral requests, silence keeps the vendor's default: who speaks its format knows it.
    if instance.flag("store", true) == instance.flag("store", false) {
        set.push(("store", json!(instance.flag("store", false))));
    }
    set.extend(text("service_tier").map(|tier| ("service_tier", json!(tier))));
    let (effort, summary) = (text("reasoning_effort"), text("reasoning_summary"));
    let verbosity = text("verbosity");
    if chat {
        set.extend(effort.map(|effort| ("reasoning_effort", json!(effort))));
        set.extend(verbosity.map(|verbosity| ("verbosity", json!(verbosity))));
        return set;
    }
    let mut reasoning = serde_json::Map::new();
    reasoning.extend(effort.map(|effort| ("effort".to_owned(), json!(effort))));
    reasoning.extend(summary.map(|summary| ("summary".to_owned(), json!(summary))));
    if !reasoning.is_empty() {
        set.push(("reasoning", reasoning.into()));
    }
    set.extend(verbosity.map(|verbosity| ("text", json!({ "verbosity": verbosity }))));
    set
}
