//! Writes a request for a server.

use plugin_api::{
    chat::{ChatRequest, ResponseFormat},
    error::ProviderError,
    kit::body::{self, Object},
};
use serde_json::{Map, Value, json};

use super::{
    Quirks, Version,
    messages::{self, Marks},
    reasoning::{self, Plan},
    tools,
};
use crate::loss::{Encoded, Loss, NEWER};

/// Writes a request under the quirks of a server.
///
/// The caller decides what becomes of the losses: [`Encoded::or_refuse`] refuses a request that
/// would mean something else, [`Decoder::after`](super::Decoder::after) warns of the others.
///
/// A native body is not looked at: what passes through is not encoded.
///
/// # Errors
///
/// `InvalidRequest` when a value has no JSON form.
pub fn encode_request(request: &ChatRequest, quirks: &Quirks) -> Result<Encoded, ProviderError> {
    write(request, quirks, false)
}

/// Writes a request whose tokens are to be counted.
pub(super) fn encode_count(
    request: &ChatRequest,
    quirks: &Quirks,
) -> Result<Encoded, ProviderError> {
    write(request, quirks, true)
}

fn write(request: &ChatRequest, quirks: &Quirks, count: bool) -> Result<Encoded, ProviderError> {
    let mut losses = Vec::new();
    let body = body::object(|o| {
        o.field("model", &request.model);
        let plan = reasoning::plan(request, quirks, tools::is_forced(request), &mut losses);
        if !count {
            o.field("max_tokens", &plan.max_tokens);
            if quirks.stream {
                o.field("stream", &true);
            }
        }
        // In the order in which the vendor caches them.
        let mut marks = Marks::for_request(request);
        tools::write(request, &mut marks, o, &mut losses);
        messages::write(request, quirks, &mut marks, o, &mut losses);
        o.optional("thinking", plan.thinking.as_ref());
        output_config(request, &plan, o, &mut losses);
        if !count {
            settings(request, quirks, o, &mut losses);
        }
        if request.context.is_some() {
            losses.push(Loss::fatal("context", "cannot be continued in this format"));
        }
        options(request, &plan, count, o, &mut losses);
    })?;
    Ok(Encoded::new(body, losses))
}

fn settings(request: &ChatRequest, quirks: &Quirks, o: &mut Object<'_>, losses: &mut Vec<Loss>) {
    let sampling = &request.sampling;
    for (name, value) in [
        ("temperature", sampling.temperature.map(Value::from)),
        ("top_p", sampling.top_p.map(Value::from)),
        ("top_k", sampling.top_k.map(Value::from)),
    ] {
        match value {
            Some(_) if quirks.version >= Version::V2026 => {
                losses.push(Loss::dropped(name, "is not taken since `2026-10-21`"));
            }
            Some(value) => o.field(name, &value),
            None => {}
        }
    }
    if !request.stop.is_empty() {
        o.field("stop_sequences", &request.stop);
    }
    if let Some(user) = &request.user {
        o.field("metadata", &json!({"user_id": user}));
    }
    for (name, there) in [
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("seed", sampling.seed.is_some()),
        ("cache_key", request.cache_key.is_some()),
        ("metadata", !request.metadata.is_empty()),
        // Nothing is stored, so only a wish to store is disappointed.
        ("store", request.store == Some(true)),
    ] {
        if there {
            losses.push(Loss::dropped(name, "has no field in this format"));
        }
    }
}

/// Writes effort and the form of the answer, which share an object with what is not typed.
fn output_config(request: &ChatRequest, plan: &Plan, o: &mut Object<'_>, losses: &mut Vec<Loss>) {
    let mut config = Map::new();
    if let Some(effort) = &plan.effort {
        config.insert("effort".into(), effort.as_str().into());
    }
    match &request.response_format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonSchema(format)) => {
            let schema = json!({"type": "json_schema", "schema": format.schema});
            config.insert("format".into(), schema);
            // The name is a label that other vendors demand, and a schema is always enforced.
            for (name, lost) in [
                ("response_format.description", format.description.is_some()),
                ("response_format.strict", format.strict == Some(false)),
            ] {
                if lost {
                    losses.push(Loss::dropped(name, "has no field in this format"));
                }
            }
        }
        Some(ResponseFormat::JsonObject) => {
            let what = "has no form here: give a schema instead";
            losses.push(Loss::fatal("response_format", what));
        }
        Some(_) => losses.push(Loss::fatal("response_format", NEWER)),
    }
    if let Some(Value::Object(more)) = request.options.get("output_config") {
        for (name, value) in more {
            if config.contains_key(name) {
                let field = format!("options.output_config.{name}");
                losses.push(Loss::dropped(field, "has a typed field"));
            } else {
                config.insert(name.clone(), value.clone());
            }
        }
    }
    if !config.is_empty() {
        o.field("output_config", &config);
    }
}

fn options(
    request: &ChatRequest,
    plan: &Plan,
    count: bool,
    o: &mut Object<'_>,
    losses: &mut Vec<Loss>,
) {
    for (name, value) in &request.options {
        match name.as_str() {
            // Written already, merged with the typed fields.
            "output_config" if value.is_object() => {}
            // A way of thinking that has no typed form.
            "thinking" if plan.thinking.is_none() => o.field(name, value),
            "thinking" => losses.push(Loss::dropped("options.thinking", "has a typed field")),
            _ if is_typed_field(name) => {
                losses.push(Loss::dropped(format!("options.{name}"), "has a typed field"));
            }
            _ if count && NOT_COUNTED.contains(&name.as_str()) => {}
            _ => o.field(name, value),
        }
    }
}

/// Reports whether a field of the wire has a typed place in the neutral request, so that no option
/// may stand for it.
fn is_typed_field(name: &str) -> bool {
    TYPED.contains(&name)
}

const TYPED: &[&str] = &[
    "model",
    "max_tokens",
    "messages",
    "system",
    "stream",
    "tools",
    "tool_choice",
    "output_config",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "metadata",
];

/// Options that do not change the prompt.
const NOT_COUNTED: &[&str] =
    &["service_tier", "speed", "inference_geo", "container", "diagnostics"];
