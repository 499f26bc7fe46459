//! Writes a request for the vendor.

use plugin_api::{
    chat::{ChatRequest, ReasoningSettings, ResponseFormat},
    error::ProviderError,
    kit::body::{self, Object},
};
use serde_json::{Map, Value, json};

use super::{
    Settings,
    contents::Contents,
    inbound::{GENERATION_OPTIONS, is_typed_field},
    tools,
};
use crate::loss::{Encoded, Loss, NEWER};

/// Writes a request under the provider's settings. The model stands in the path
/// ([`route`](super::route)), and so does whether the answer streams.
///
/// The caller decides what becomes of the losses: [`Encoded::or_refuse`] refuses a request that
/// would mean something else, [`Decoder::after`](super::Decoder::after) warns of the others.
///
/// A native body is not looked at: what passes through is not encoded.
///
/// # Errors
///
/// `InvalidRequest` when a value has no JSON form.
pub fn encode_request(
    request: &ChatRequest,
    settings: &Settings,
) -> Result<Encoded, ProviderError> {
    let mut losses = Vec::new();
    let body = body::object(|o| write(request, settings, o, &mut losses))?;
    Ok(Encoded::new(body, losses))
}

/// Writes the fields of a request.
pub(super) fn write(
    request: &ChatRequest,
    settings: &Settings,
    o: &mut Object<'_>,
    losses: &mut Vec<Loss>,
) {
    Contents::of(&request.messages, losses).write(request, o, losses);
    tools::write(request, o, losses);
    if !settings.safety.is_empty() && !request.options.contains_key("safetySettings") {
        let each = settings.safety.iter();
        let list: Vec<Value> =
            each.map(|(name, level)| json!({"category": name, "threshold": level})).collect();
        o.field("safetySettings", &list);
    }
    let config = generation_config(request, settings, losses);
    if !config.is_empty() {
        o.field("generationConfig", &config);
    }
    if let Some(context) = &request.context {
        if context.as_str().starts_with(super::caches::COLLECTION) {
            o.field("cachedContent", context);
        } else {
            losses.push(Loss::fatal("context", "is no cached content of this vendor"));
        }
    }
    o.optional("store", request.store.as_ref());
    if !request.metadata.is_empty() {
        o.field("labels", &request.metadata);
    }
    for (field, there) in
        [("cache_key", request.cache_key.is_some()), ("user", request.user.is_some())]
    {
        if there {
            losses.push(Loss::dropped(field, "has no field here"));
        }
    }
    for (name, value) in &request.options {
        if is_typed_field(name) {
            losses.push(Loss::dropped(format!("options.{name}"), "has a typed field"));
        } else if name != "generationConfig" && !GENERATION_OPTIONS.contains(&name.as_str()) {
            o.field(name, value);
        }
    }
}

fn generation_config(
    request: &ChatRequest,
    settings: &Settings,
    losses: &mut Vec<Loss>,
) -> Map<String, Value> {
    let mut config = Map::new();
    let sampling = &request.sampling;
    let stop = (!request.stop.is_empty()).then(|| json!(request.stop));
    for (name, value) in [
        ("temperature", sampling.temperature.map(Value::from)),
        ("topP", sampling.top_p.map(Value::from)),
        ("topK", sampling.top_k.map(Value::from)),
        ("maxOutputTokens", request.max_output_tokens.map(Value::from)),
        ("stopSequences", stop),
        ("presencePenalty", sampling.presence_penalty.map(Value::from)),
        ("frequencyPenalty", sampling.frequency_penalty.map(Value::from)),
        ("seed", sampling.seed.map(Value::from)),
    ] {
        if let Some(value) = value {
            config.insert(name.into(), value);
        }
    }
    if let Some(format) = &request.response_format {
        response_format(format, &mut config, losses);
    }
    let thinking = thinking(request.reasoning.as_ref(), settings.include_thoughts, losses);
    if !thinking.is_empty() {
        config.insert("thinkingConfig".into(), thinking.into());
    }
    for (name, value) in &request.options {
        if GENERATION_OPTIONS.contains(&name.as_str()) {
            config.insert(name.clone(), value.clone());
        }
    }
    match request.options.get("generationConfig") {
        Some(Value::Object(more)) => {
            for (name, value) in more {
                if config.contains_key(name) {
                    let field = format!("options.generationConfig.{name}");
                    losses.push(Loss::dropped(field, "has a field of its own"));
                } else {
                    config.insert(name.clone(), value.clone());
                }
            }
        }
        Some(_) => losses.push(Loss::fatal("options.generationConfig", "is no object")),
        None => {}
    }
    config
}

fn response_format(
    format: &ResponseFormat,
    config: &mut Map<String, Value>,
    losses: &mut Vec<Loss>,
) {
    let kind = match format {
        ResponseFormat::Text => "text/plain",
        ResponseFormat::JsonObject => "application/json",
        ResponseFormat::JsonSchema(schema) => {
            // The name is a label that only other vendors want; the schema always binds here.
            if schema.description.is_some() {
                losses.push(Loss::dropped("response_format.description", "has no field here"));
            }
            if schema.strict == Some(false) {
                losses.push(Loss::dropped("response_format.strict", "is always so here"));
            }
            config.insert("responseJsonSchema".into(), schema.schema.clone());
            "application/json"
        }
        _ => return losses.push(Loss::fatal("response_format", NEWER)),
    };
    config.insert("responseMimeType".into(), kind.into());
}

/// Writes how much to think. The vendor takes a budget or a level, never both.
fn thinking(
    reasoning: Option<&ReasoningSettings>,
    include_thoughts: Option<bool>,
    losses: &mut Vec<Loss>,
) -> Map<String, Value> {
    let mut config = Map::new();
    let default = ReasoningSettings::default();
    let reasoning = reasoning.unwrap_or(&default);
    let mut dropped = |field: &str, what| {
        losses.push(Loss::dropped(format!("reasoning.{field}"), what));
    };
    let include = match reasoning.summary.as_deref() {
        None => include_thoughts,
        Some("none") => Some(false),
        Some(word) => {
            if word != "auto" {
                dropped("summary", "is shown as the vendor does");
            }
            Some(true)
        }
    };
    if let Some(include) = include {
        config.insert("includeThoughts".into(), include.into());
    }
    let effort = reasoning.effort.as_deref();
    let level = match effort {
        Some("minimal") => Some("MINIMAL"),
        Some("low") => Some("LOW"),
        Some("medium") => Some("MEDIUM"),
        Some("high") => Some("HIGH"),
        Some("xhigh") => Some("XHIGH"),
        Some("max") => {
            dropped("effort", "is the highest level that there is");
            Some("XHIGH")
        }
        Some("none") | None => None,
        Some(_) => {
            dropped("effort", "is no level of this vendor");
            None
        }
    };
    let budget = match (reasoning.budget_tokens, effort, reasoning.adaptive) {
        (Some(budget), ..) => Some(Value::from(budget)),
        (None, Some("none"), _) => Some(Value::from(0)),
        (None, None, true) => Some(Value::from(-1)),
        _ => None,
    };
    if reasoning.budget_tokens.is_some() && effort.is_some() {
        dropped("effort", "gives way to the budget");
    }
    if reasoning.adaptive && budget != Some(Value::from(-1)) {
        dropped("adaptive", "gives way to the budget or level");
    }
    match (budget, level) {
        (Some(budget), _) => drop(config.insert("thinkingBudget".into(), budget)),
        (None, Some(level)) => drop(config.insert("thinkingLevel".into(), level.into())),
        (None, None) => {}
    }
    config
}
