//! Reads a client's request.

mod blocks;

use std::collections::BTreeMap;

use plugin_api::chat::{
    CacheControl, ChatRequest, Content, FunctionTool, JsonSchema, Message, Opaque,
    ReasoningSettings, ResponseFormat, Role, ToolChoice, ToolDefinition, ToolKind,
};
use serde_json::{Value, value::RawValue};

use self::blocks::content;
use super::DIALECT;
use crate::{
    fields::Fields,
    loss::{Loss, RequestError},
};

/// A client's request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decoded {
    /// What is asked.
    pub request: ChatRequest,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// What the answer will not heed although it was asked for.
    pub losses: Vec<Loss>,
}

/// Reads a client's request, also one to count tokens. Unknown fields become options, unknown blocks
/// stay as they came.
///
/// # Errors
///
/// Names the field that cannot be read.
pub fn decode_request(body: &[u8]) -> Result<Decoded, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut losses = Vec::new();
    let model: String = fields.require("model")?;
    let mut messages = system(&mut fields)?;
    let list: Vec<&RawValue> = fields.require("messages")?;
    for (at, raw) in list.into_iter().enumerate() {
        messages.push(message(raw.get(), &format!("messages[{at}]"), &mut losses)?);
    }
    let mut request = ChatRequest::new(model, messages);
    request.max_output_tokens = fields.take("max_tokens")?;
    request.sampling.temperature = fields.take("temperature")?;
    request.sampling.top_p = fields.take("top_p")?;
    request.sampling.top_k = fields.take("top_k")?;
    request.stop = fields.take("stop_sequences")?.unwrap_or_default();
    let stream = fields.take("stream")?.unwrap_or(false);
    tools(&mut fields, &mut request)?;
    let mut reasoning = ReasoningSettings::default();
    let thinking: Option<Value> = fields.take("thinking")?;
    let unread = thinking.filter(|value| !self::thinking(value, &mut reasoning));
    request.options.extend(unread.map(|value| ("thinking".to_owned(), value)));
    output_config(&mut fields, &mut request, &mut reasoning)?;
    request.reasoning = Some(reasoning).filter(|have| *have != ReasoningSettings::default());
    for (name, value) in fields.take::<BTreeMap<String, Value>>("metadata")?.unwrap_or_default() {
        match (name.as_str(), value) {
            ("user_id", Value::String(user)) => request.user = Some(user),
            (_, Value::Null) => {}
            (_, Value::String(text)) => drop(request.metadata.insert(name, text)),
            _ => losses.push(Loss::dropped(format!("metadata.{name}"), "is no text")),
        }
    }
    request.options.extend(fields.rest());
    Ok(Decoded { request, stream, losses })
}

fn system(fields: &mut Fields<'_>) -> Result<Vec<Message>, RequestError> {
    let Some(raw) = fields.raw("system") else { return Ok(Vec::new()) };
    let parts = content(raw.get(), "system")?;
    let message = Message::new(Role::System, parts);
    Ok(Some(message).filter(|message| !message.parts.is_empty()).into_iter().collect())
}

fn message(json: &str, place: &str, losses: &mut Vec<Loss>) -> Result<Message, RequestError> {
    let mut fields = Fields::new(json, place)?;
    let role: String = fields.require("role")?;
    let raw = fields.raw("content").ok_or_else(|| fields.missing("content"))?;
    let parts = content(raw.get(), &fields.at("content"))?;
    let unknown = |role: &str| {
        let message = format!("`{}` is not a role", role.escape_debug());
        fields.error("role", message)
    };
    let is_result = |content: &Content| matches!(content, Content::ToolResult(_));
    let role = match &*role {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        // A message of results alone is the application's; beside words of a person they are theirs.
        "user" if !parts.is_empty() && parts.iter().all(|part| is_result(&part.content)) => {
            Role::Tool
        }
        "user" => Role::User,
        role => return Err(unknown(role)),
    };
    fields.name_rest(losses);
    Ok(Message::new(role, parts))
}

fn tools(fields: &mut Fields<'_>, request: &mut ChatRequest) -> Result<(), RequestError> {
    let list: Vec<&RawValue> = fields.take("tools")?.unwrap_or_default();
    for (at, raw) in list.into_iter().enumerate() {
        let mut tool = Fields::new(raw.get(), format!("tools[{at}]"))?;
        if tool.peek("type").is_some_and(|kind| kind != "custom") {
            request.tools.push(ToolDefinition::Provider(Opaque::new(DIALECT, raw.get())));
            continue;
        }
        let _: Option<String> = tool.take("type")?;
        let mut function = FunctionTool::new(tool.require::<String>("name")?, None);
        function.description = tool.take("description")?;
        function.parameters = tool.take("input_schema")?;
        function.strict = tool.take("strict")?;
        function.cache = cache(&mut tool)?;
        function.options = tool.rest().collect();
        request.tools.push(ToolDefinition::Function(function));
    }
    let Some(mut choice) = fields.object("tool_choice")? else { return Ok(()) };
    request.parallel_tool_calls =
        choice.take("disable_parallel_tool_use")?.map(|disabled: bool| !disabled);
    request.tool_choice = Some(match &*choice.require::<String>("type")? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Tool { name: choice.require("name")?, kind: ToolKind::Function },
        _ => {
            let message = "expected `auto`, `any`, `tool` or `none`";
            return Err(choice.error("type", message));
        }
    });
    Ok(())
}

/// Reads how the model is to think; `false` for a way that has no typed form.
fn thinking(value: &Value, reasoning: &mut ReasoningSettings) -> bool {
    let Some(members) = value.as_object() else { return false };
    let budget = value["budget_tokens"].as_u64();
    let summary = match value.get("display").map(Value::as_str) {
        None => None,
        Some(Some("omitted")) => Some("none".to_owned()),
        Some(Some("summarized")) => Some("auto".to_owned()),
        Some(_) => return false,
    };
    let known = match (value["type"].as_str(), budget) {
        (Some("enabled"), Some(budget)) if budget > 0 => {
            reasoning.budget_tokens = Some(budget);
            2
        }
        (Some("adaptive"), None) => {
            reasoning.adaptive = true;
            1
        }
        (Some("disabled"), None) if summary.is_none() => {
            reasoning.budget_tokens = Some(0);
            1
        }
        _ => return false,
    };
    if members.len() > known + usize::from(summary.is_some()) {
        *reasoning = ReasoningSettings::default();
        return false;
    }
    reasoning.summary = summary;
    true
}

fn output_config(
    fields: &mut Fields<'_>,
    request: &mut ChatRequest,
    reasoning: &mut ReasoningSettings,
) -> Result<(), RequestError> {
    // Where the beta of this feature had it.
    if let Some(format) = fields.take::<Value>("output_format")? {
        request.response_format = Some(response_format(&format, "output_format")?);
    }
    let Some(mut config) = fields.object("output_config")? else { return Ok(()) };
    reasoning.effort = config.take("effort")?;
    if let Some(format) = config.take::<Value>("format")? {
        request.response_format = Some(response_format(&format, "output_config.format")?);
    }
    let rest: BTreeMap<_, _> = config.rest().collect();
    if !rest.is_empty() {
        request.options.insert("output_config".into(), serde_json::json!(rest));
    }
    Ok(())
}

fn response_format(format: &Value, place: &str) -> Result<ResponseFormat, RequestError> {
    if format["type"] != "json_schema" {
        return Err(RequestError::new(format!("{place}.type"), "expected `json_schema`"));
    }
    let schema = format.get("schema").cloned().unwrap_or_default();
    Ok(ResponseFormat::JsonSchema(JsonSchema::new(FORMAT_NAME, schema)))
}

/// Takes the mark that ends a prefix worth caching out of a block or a tool.
fn cache(fields: &mut Fields<'_>) -> Result<Option<CacheControl>, RequestError> {
    let wire: Option<Value> = fields.take("cache_control")?;
    Ok(wire.map(|wire| {
        let mut cache = CacheControl::default();
        cache.ttl_seconds = match wire["ttl"].as_str() {
            Some("1h") => Some(3600),
            Some("5m") => Some(300),
            _ => None,
        };
        cache
    }))
}

/// The name of a form that came without one, for vendors that want it.
const FORMAT_NAME: &str = "response";
