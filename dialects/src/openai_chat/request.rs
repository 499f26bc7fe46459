//! Writes a request for a server.

use plugin_api::{
    chat::{ChatRequest, ResponseFormat, ToolChoice, ToolDefinition, ToolKind},
    error::ProviderError,
    kit::body::{self, Array, Object},
};
use serde_json::{Value, json};

use super::{
    DIALECT, Quirks,
    inbound::is_typed_field,
    messages::{self, Ids},
};
use crate::loss::{self, Encoded, Loss, NEWER};

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
    let mut losses = Vec::new();
    let body = body::object(|o| {
        o.field("model", &request.model);
        o.array("messages", |out| {
            let ids = Ids::new(quirks.tool_ids);
            messages::write_all(&request.messages, quirks, &ids, out, &mut losses);
        });
        if quirks.stream {
            o.field("stream", &true);
            if quirks.supports_stream_options {
                o.field("stream_options", &json!({"include_usage": true}));
            }
        }
        tools(request, quirks, o, &mut losses);
        settings(request, quirks, o, &mut losses);
        loss::options(&request.options, is_typed_field, "", o, &mut losses);
    })?;
    Ok(Encoded::new(body, losses))
}

fn settings(request: &ChatRequest, quirks: &Quirks, o: &mut Object<'_>, losses: &mut Vec<Loss>) {
    let sampling = &request.sampling;
    o.optional("temperature", sampling.temperature.as_ref());
    o.optional("top_p", sampling.top_p.as_ref());
    o.optional("frequency_penalty", sampling.frequency_penalty.as_ref());
    o.optional("presence_penalty", sampling.presence_penalty.as_ref());
    o.optional(&quirks.seed_field, sampling.seed.as_ref());
    o.optional(quirks.max_tokens_field.as_str(), request.max_output_tokens.as_ref());
    o.optional(&quirks.user_field, request.user.as_ref());
    o.optional("store", request.store.as_ref());
    if !request.stop.is_empty() {
        o.field("stop", &request.stop);
    }
    if let Some(ResponseFormat::Unknown) = &request.response_format {
        losses.push(Loss::fatal("response_format", NEWER));
    } else if let Some(format) = &request.response_format {
        o.field("response_format", &response_format(format));
    }
    let mut switched = |name: &str, on: bool, value: Option<Value>| match value {
        Some(value) if on => o.field(name, &value),
        Some(_) => losses.push(Loss::dropped(name, "is not understood by this server")),
        None => {}
    };
    switched("top_k", quirks.supports_top_k, sampling.top_k.map(Value::from));
    let cache_key = request.cache_key.as_deref().map(Value::from);
    switched("prompt_cache_key", quirks.supports_cache_key, cache_key);
    let metadata = (!request.metadata.is_empty()).then(|| json!(request.metadata));
    switched("metadata", quirks.supports_metadata, metadata);
    if let Some(reasoning) = &request.reasoning {
        let effort = reasoning.effort.as_deref().map(Value::from);
        switched("reasoning_effort", quirks.reasoning_effort, effort);
        for (name, there) in [
            ("reasoning.budget_tokens", reasoning.budget_tokens.is_some()),
            ("reasoning.adaptive", reasoning.adaptive),
            ("reasoning.summary", reasoning.summary.is_some()),
        ] {
            if there {
                losses.push(Loss::dropped(name, "has no field in this format"));
            }
        }
    }
    if request.context.is_some() {
        losses.push(Loss::fatal("context", "cannot be continued in this format"));
    }
}

fn tools(request: &ChatRequest, quirks: &Quirks, o: &mut Object<'_>, losses: &mut Vec<Loss>) {
    let allowed = match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) if !quirks.supports_allowed_tools => Some(names),
        _ => None,
    };
    let is_allowed = |tool: &ToolDefinition| {
        allowed.is_none_or(|names| names.iter().any(|name| name == name_of(tool)))
    };
    // OpenAI refuses an empty list, and the fields below where there are no tools.
    let orphan = !request.tools.iter().any(is_allowed);
    if !orphan {
        o.array("tools", |out| {
            for (at, _) in request.tools.iter().enumerate().filter(|(_, t)| is_allowed(t)) {
                tool(&request.tools, at, quirks, out, losses);
            }
        });
    }
    if allowed.is_some() {
        losses.push(Loss::dropped("tool_choice.allowed", "was replaced by fewer tools"));
    }
    if let Some(choice) = &request.tool_choice {
        if let ToolChoice::Unknown | ToolChoice::Tool { kind: ToolKind::Unknown, .. } = choice {
            losses.push(Loss::fatal("tool_choice", NEWER));
        } else if orphan {
            losses.push(Loss::dropped("tool_choice", "means nothing without tools"));
        } else {
            o.field("tool_choice", &tool_choice(choice, request, quirks));
        }
    }
    if let Some(parallel) = request.parallel_tool_calls {
        if orphan || !quirks.supports_parallel_tool_calls {
            let what = "is not understood by this server, or there are no tools";
            losses.push(Loss::dropped("parallel_tool_calls", what));
        } else {
            o.field("parallel_tool_calls", &parallel);
        }
    }
}

fn name_of(tool: &ToolDefinition) -> &str {
    match tool {
        ToolDefinition::Function(tool) => &tool.name,
        ToolDefinition::Custom(tool) => &tool.name,
        _ => "",
    }
}

fn tool(
    tools: &[ToolDefinition],
    at: usize,
    quirks: &Quirks,
    out: &mut Array<'_>,
    losses: &mut Vec<Loss>,
) {
    let field = || format!("tools[{at}]");
    match &tools[at] {
        ToolDefinition::Function(tool) => {
            if !tool.options.is_empty() {
                losses.push(Loss::dropped(format!("tools[{at}].options"), "has no field here"));
            }
            if tool.cache.is_some() {
                losses.push(Loss::dropped(format!("tools[{at}].cache"), "has no field here"));
            }
            out.object(|o| {
                o.field("type", "function");
                o.object("function", |o| {
                    o.field("name", &tool.name);
                    o.optional("description", tool.description.as_ref());
                    o.optional("parameters", tool.parameters.as_ref());
                    o.optional("strict", tool.strict.as_ref());
                });
            });
        }
        ToolDefinition::Custom(tool) if quirks.supports_custom_tools => out.object(|o| {
            if !tool.options.is_empty() {
                losses.push(Loss::dropped(format!("tools[{at}].options"), "has no field here"));
            }
            o.field("type", "custom");
            o.object("custom", |o| {
                o.field("name", &tool.name);
                o.optional("description", tool.description.as_ref());
                o.optional("format", tool.format.as_ref());
            });
        }),
        ToolDefinition::Custom(_) => {
            losses.push(Loss::fatal(field(), "takes free text, which this server cannot offer"));
        }
        ToolDefinition::Provider(block) if block.dialect == DIALECT => out.raw(&block.json),
        ToolDefinition::Provider(_) => {
            losses.push(loss::hosted_tool(tools, at, loss::FOREIGN_TOOL));
        }
        _ => losses.push(Loss::fatal(field(), NEWER)),
    }
}

fn tool_choice(choice: &ToolChoice, request: &ChatRequest, quirks: &Quirks) -> Value {
    let required = |required: bool| {
        if required { quirks.tool_choice_required.as_str() } else { "auto" }
    };
    match choice {
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!(required(true)),
        ToolChoice::Tool { name, kind } => named(name, *kind),
        ToolChoice::Allowed { names, required: must } if quirks.supports_allowed_tools => {
            let kind = |name: &str| {
                let custom = |tool: &ToolDefinition| matches!(tool, ToolDefinition::Custom(tool) if tool.name == name);
                let is_custom = request.tools.iter().any(custom);
                if is_custom { ToolKind::Custom } else { ToolKind::Function }
            };
            let tools: Vec<Value> = names.iter().map(|name| named(name, kind(name))).collect();
            let mode = if *must { "required" } else { "auto" };
            json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
        }
        ToolChoice::Allowed { required: must, .. } => json!(required(*must)),
        _ => json!("auto"),
    }
}

fn named(name: &str, kind: ToolKind) -> Value {
    match kind {
        ToolKind::Custom => json!({"type": "custom", "custom": {"name": name}}),
        _ => json!({"type": "function", "function": {"name": name}}),
    }
}

fn response_format(format: &ResponseFormat) -> Value {
    match format {
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema(schema) => {
            json!({"type": "json_schema", "json_schema": schema})
        }
        _ => json!({"type": "text"}),
    }
}
