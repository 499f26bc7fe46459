//! What the configuration may say: `[providers.openai]`.

use plugin_api::prelude::*;
use serde_json::Value;

use crate::login;

/// All settings.
pub(crate) const SETTINGS: &[SettingSpec] = &[
    SettingSpec::text("api").help(
        "`responses`, `chat`, or `auto` (the usual): Responses, and Chat Completions for what it alone can say.",
    ),
    SettingSpec::text("organization").help("Organization to bill; a session's own comes first."),
    SettingSpec::text("project").help("Project to bill; a session's own comes first."),
    SettingSpec::flag("store")
        .help("Whether OpenAI keeps answers that do not say it themselves. Usually not."),
    SettingSpec::text("service_tier")
        .help("`auto`, `default`, `flex`, `priority` …, for requests that do not say it themselves."),
    SettingSpec::text("reasoning_effort")
        .help("`none`, `minimal`, `low`, `medium`, `high` …, for requests that do not say it themselves."),
    SettingSpec::text("reasoning_summary")
        .help("`auto`, `concise` or `detailed` shows a summary of the reasoning."),
    SettingSpec::text("verbosity")
        .help("`low`, `medium` or `high`, for requests that do not say it themselves."),
    SettingSpec::flag("stream").help("Whether to ask for a stream. A ChatGPT plan always streams."),
    SettingSpec::table("headers").help("Further headers of every request; none of them secret."),
];

/// Which of the two interfaces answers conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Auto,
    Responses,
    Chat,
}

/// Reads the setting `api`.
pub(crate) fn api(instance: &Instance) -> Result<Api, ProviderError> {
    match instance.text("api") {
        "" | "auto" => Ok(Api::Auto),
        "responses" => Ok(Api::Responses),
        "chat" => Ok(Api::Chat),
        other => {
            let found = other.escape_debug();
            let message =
                format!("setting `api`: expected `auto`, `responses` or `chat`, found `{found}`");
            Err(ProviderError::new(ErrorKind::InvalidRequest, message))
        }
    }
}

/// Gives a request what the configuration says and it does not say itself.
pub(crate) fn preset(instance: &Instance, request: &mut ChatRequest, responses: bool) {
    let text = |name: &str| Some(instance.text(name)).filter(|text| !text.is_empty());
    let plan = login::is_plan(instance);
    for name in ["service_tier", "verbosity"] {
        // A plan may refuse the tier; what the request itself asks for is judged elsewhere.
        if let Some(value) = text(name).filter(|_| !(plan && name == "service_tier")) {
            request.options.entry(name.into()).or_insert_with(|| Value::from(value));
        }
    }
    let (effort, summary) = (text("reasoning_effort"), text("reasoning_summary"));
    let reasoning = request.reasoning.get_or_insert_default();
    if reasoning.effort.is_none() && reasoning.budget_tokens.is_none() && !reasoning.adaptive {
        reasoning.effort = effort.map(str::to_owned);
    }
    if responses && reasoning.summary.is_none() {
        reasoning.summary = summary.map(str::to_owned);
    }
    if request.store.is_none() && request.context.is_none() {
        request.store = Some(instance.flag("store", false) && !plan);
    }
}

/// Adds the configured headers, and whom to bill.
pub(crate) fn decorate(instance: &Instance, mut request: HttpRequest) -> HttpRequest {
    for (name, value) in instance.table("headers") {
        request = request.header(name, value);
    }
    if login::is_plan(instance) {
        return request;
    }
    for (name, header) in [("organization", "openai-organization"), ("project", "openai-project")] {
        let own = instance.session.attributes.get(name).map(String::as_str);
        let value = own.filter(|own| !own.is_empty()).unwrap_or_else(|| instance.text(name));
        if !value.is_empty() {
            request = request.header(header, value);
        }
    }
    request
}
