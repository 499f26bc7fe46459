//! What the configuration may say of a server: the switches of [`Quirks`] and where things are.
//!
//! [`Quirks`]: dialects::openai_chat::Quirks

use plugin_api::prelude::*;

/// All settings, as `[providers.NAME]` takes them and profiles preset them.
pub(crate) const SETTINGS: &[SettingSpec] = &[
    SettingSpec::table("headers").help("Further headers of every request; none of them secret."),
    SettingSpec::table("query").help("Further query parameters of every request."),
    SettingSpec::texts("models").help("Models, for a server that lists none."),
    SettingSpec::text("chat_path").help("Path of chat completions below `base_url`."),
    SettingSpec::text("models_url").help("URL of the list of models, where it is elsewhere."),
    SettingSpec::text("test_url").help("URL that only a valid key may read; `none` for no such."),
    SettingSpec::text("resource").help("Azure: name of the resource, the first part of its host."),
    SettingSpec::flag("stream").help("Whether to ask for a stream."),
    SettingSpec::flag("supports_stream_options").help("Whether `stream_options` is understood."),
    SettingSpec::text("system_role").help("Label of developer messages: `developer` or `system`."),
    SettingSpec::text("max_tokens_field").help("`max_tokens` or `max_completion_tokens`."),
    SettingSpec::flag("supports_parallel_tool_calls")
        .help("Whether `parallel_tool_calls` is understood."),
    SettingSpec::text("send_reasoning_back")
        .help("`none`, `reasoning_content`, `reasoning_details` or `thinking`."),
    SettingSpec::flag("supports_image_url").help("Whether the server fetches image URLs."),
    SettingSpec::text("seed_field").help("Name of the seed: `seed` or `random_seed`."),
    SettingSpec::text("tool_choice_required")
        .help("Word that demands a tool call: `required` or `any`."),
    SettingSpec::flag("supports_allowed_tools").help("Whether `allowed_tools` is understood."),
    SettingSpec::flag("supports_custom_tools").help("Whether tools may take free text."),
    SettingSpec::flag("reasoning_effort").help("Whether `reasoning_effort` is understood."),
    SettingSpec::text("tool_ids").help("Accepted tool call ids: `any` or `alphanumeric9`."),
    SettingSpec::flag("supports_top_k").help("Whether `top_k` is understood."),
    SettingSpec::flag("supports_cache_breakpoints")
        .help("Whether parts may carry `prompt_cache_breakpoint`."),
    SettingSpec::flag("supports_cache_key").help("Whether `prompt_cache_key` is understood."),
    SettingSpec::flag("supports_metadata").help("Whether `metadata` is understood."),
    SettingSpec::text("user_field").help("Name of the end user: `user` or `safety_identifier`."),
    SettingSpec::flag("tool_result_name").help("Whether a tool message carries the tool's name."),
];

pub(crate) fn chat_url(instance: &Instance) -> String {
    match instance.text("chat_path") {
        "" => instance.url("/chat/completions"),
        path => instance.url(path),
    }
}

pub(crate) fn models_url(instance: &Instance) -> String {
    match instance.text("models_url") {
        "" => instance.url("/models"),
        url => url.to_owned(),
    }
}

/// Returns the URL that only a valid key may read, if the server has one.
pub(crate) fn test_url(instance: &Instance) -> Option<String> {
    match instance.text("test_url") {
        "none" => None,
        "" if instance.texts("models").is_empty() => Some(models_url(instance)),
        "" => None,
        url => Some(url.to_owned()),
    }
}

/// Adds the configured headers and query parameters, and the organization and project of the
/// session, which OpenAI takes as headers.
pub(crate) fn decorate(instance: &Instance, mut request: HttpRequest) -> HttpRequest {
    for (name, value) in instance.table("headers") {
        request = request.header(name, value);
    }
    for (attribute, header) in
        [("organization", "openai-organization"), ("project", "openai-project")]
    {
        if let Some(value) = instance.session.attributes.get(attribute) {
            request = request.header(header, value);
        }
    }
    for (name, value) in instance.table("query") {
        let separator = if request.url.contains('?') { '&' } else { '?' };
        request.url.push(separator);
        encode_into(&mut request.url, name);
        request.url.push('=');
        encode_into(&mut request.url, value);
    }
    request
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode_into(url: &mut String, text: &str) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
}
