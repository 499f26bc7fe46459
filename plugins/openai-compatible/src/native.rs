//! Passes a client's own request on, unless the server wants to be told something differently that
//! stands deeper in the body than its index goes.

use dialects::openai_chat::{DIALECT, Decoder, MaxTokensField, Quirks, SystemRole, ToolIds};
use plugin_api::{chat::NativeBody, kit::native, prelude::*};
use serde_json::{Value, json};

use crate::settings;

/// Opens the exchange that sends a client's own body, with the model that was chosen.
pub(crate) fn open(
    instance: &Instance,
    quirks: &Quirks,
    request: &ChatRequest,
    native: &NativeBody,
) -> Opened {
    let streams = native::streams(native);
    if native.dialect != DIALECT || !fits(quirks, native) || (streams && !quirks.stream) {
        let what = format!("passing on this body of `{}`", native.dialect);
        return Err(ProviderError::not_supported(what));
    }
    let mut set = vec![("model", json!(request.model))];
    let mut remove = Vec::new();
    for (here, there) in renamed(quirks) {
        if let Some(value) = native::value(native, here).filter(|_| !native::has(native, there)) {
            set.push((there, value.clone()));
            remove.push(here);
        }
    }
    let body = native::edit(native, &set, &remove);
    let accept = if streams { "text/event-stream" } else { "application/json" };
    let mut http =
        HttpRequest::post_json(settings::chat_url(instance), body).header("accept", accept);
    for (name, value) in &native.headers {
        http = http.header(name, value);
    }
    let http = settings::decorate(instance, http);
    Ok(Box::new(kit::SseStream::new(http, Decoder::passed_on(streams))))
}

/// Reports whether the server takes the body as it is but for fields with another name.
///
/// What it does not take the translation leaves out and names, or says in other words.
fn fits(quirks: &Quirks, native: &NativeBody) -> bool {
    let absent = |name: &str| !native::has(native, name);
    let choice = native::value(native, "tool_choice");
    let choice_fits = match choice {
        Some(Value::String(word)) => {
            word != "required" || quirks.tool_choice_required == "required"
        }
        Some(Value::Object(choice)) => {
            quirks.supports_allowed_tools || choice.get("type") != Some(&json!("allowed_tools"))
        }
        _ => absent("tool_choice") || choice.is_some(),
    };
    let unsaid = |word: &str| !native::says(native, word);
    let deeper_fits = (quirks.system_role == SystemRole::Developer || unsaid("developer"))
        && (quirks.supports_custom_tools || absent("tools") || unsaid("custom"))
        && (quirks.supports_image_url || unsaid("image_url"))
        && (quirks.supports_cache_breakpoints || unsaid("prompt_cache_breakpoint"));
    // Ids and names of results stand among the messages.
    let tools_fit = quirks.tool_ids == ToolIds::Any && !quirks.tool_result_name;
    choice_fits
        && deeper_fits
        && (quirks.supports_top_k || absent("top_k"))
        && (tools_fit || absent("tools"))
        && (quirks.supports_stream_options || absent("stream_options"))
        && (quirks.supports_parallel_tool_calls || absent("parallel_tool_calls"))
        && (quirks.supports_cache_key || absent("prompt_cache_key"))
        && (quirks.supports_metadata || absent("metadata"))
        && (quirks.reasoning_effort || absent("reasoning_effort"))
}

/// Returns the fields that the server knows by another name.
fn renamed(quirks: &Quirks) -> Vec<(&'static str, &'static str)> {
    let mut renamed = Vec::new();
    renamed.push(match quirks.max_tokens_field {
        MaxTokensField::MaxTokens => ("max_completion_tokens", "max_tokens"),
        _ => ("max_tokens", "max_completion_tokens"),
    });
    if quirks.seed_field == "random_seed" {
        renamed.push(("seed", "random_seed"));
    }
    renamed.push(match &*quirks.user_field {
        "safety_identifier" => ("user", "safety_identifier"),
        _ => ("safety_identifier", "user"),
    });
    renamed
}
