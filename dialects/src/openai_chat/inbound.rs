//! Reads a client's request.

mod parts;

use plugin_api::chat::{
    ChatRequest, Content, ContentPart, Continuity, CustomTool, DataSource, FunctionTool,
    JsonSchema, Media, Message, Opaque, Reasoning, ReasoningSettings, ResponseFormat, Role, Text,
    ToolCall, ToolChoice, ToolDefinition, ToolKind, ToolResult,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use self::parts::{CacheMark, content};
use super::{DIALECT, sources, token};
use crate::{
    fields::{Fields, parse, parse_all},
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
    /// Whether the stream should end with the tokens used.
    pub include_usage: bool,
    /// Whether the client used `functions`, the predecessor of tools, and expects its answer so.
    pub legacy_functions: bool,
    /// What the answer will not hold although it was asked for.
    pub losses: Vec<Loss>,
}

/// Reads a client's request. Unknown fields become options.
///
/// # Errors
///
/// Names the field that cannot be read, or that asks for what no neutral answer can hold (`n`
/// above 1).
pub fn decode_request(body: &[u8]) -> Result<Decoded, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let model: String = fields.require("model")?;
    let messages = fields.remove("messages").ok_or_else(|| fields.missing("messages"))?;
    let (said, mut losses) = self::messages(messages.get())?;
    let mut request = ChatRequest::new(model, said);

    if fields.take::<u64>("n")?.is_some_and(|n| n != 1) {
        return Err(RequestError::new("n", "only one answer is given"));
    }
    let stream = fields.take("stream")?.unwrap_or(false);
    let include_usage = fields
        .take::<Value>("stream_options")?
        .is_some_and(|options| options["include_usage"] == true);
    let older = fields.take("max_tokens")?;
    request.max_output_tokens = fields.take("max_completion_tokens")?.or(older);
    let sampling = &mut request.sampling;
    sampling.temperature = fields.take("temperature")?;
    sampling.top_p = fields.take("top_p")?;
    sampling.top_k = fields.take("top_k")?;
    sampling.frequency_penalty = fields.take("frequency_penalty")?;
    sampling.presence_penalty = fields.take("presence_penalty")?;
    let seed = fields.take("random_seed")?;
    sampling.seed = fields.take("seed")?.or(seed);
    request.stop = match fields.take::<OneOrMany>("stop")? {
        None => Vec::new(),
        Some(OneOrMany::One(stop)) => vec![stop],
        Some(OneOrMany::Many(stops)) => stops,
    };
    request.reasoning = fields.take("reasoning_effort")?.map(|effort| {
        let mut reasoning = ReasoningSettings::default();
        reasoning.effort = Some(effort);
        reasoning
    });
    request.response_format =
        fields.take::<Value>("response_format")?.as_ref().map(response_format).transpose()?;
    request.cache_key = fields.take("prompt_cache_key")?;
    request.store = fields.take("store")?;
    request.user = user(&mut fields, &mut losses)?;
    request.metadata = fields.take("metadata")?.unwrap_or_default();
    let legacy_functions = tools(&mut fields, &mut request, &mut losses)?;
    request.parallel_tool_calls = fields.take("parallel_tool_calls")?;
    if fields.take::<bool>("logprobs")? == Some(true) {
        losses.push(Loss::dropped("logprobs", "is not part of the answer"));
    }
    if fields.raw("top_logprobs").is_some() {
        losses.push(Loss::dropped("top_logprobs", "is not part of the answer"));
    }
    request.options.extend(fields.rest());
    Ok(Decoded { request, stream, include_usage, legacy_functions, losses })
}

/// Reads who asks: of two words for it the newer.
pub(crate) fn user(
    fields: &mut Fields<'_>,
    losses: &mut Vec<Loss>,
) -> Result<Option<String>, RequestError> {
    let (older, newer) = (fields.take("user")?, fields.take("safety_identifier")?);
    if newer.is_some() && older.is_some() && newer != older {
        losses.push(Loss::dropped("user", "stands behind `safety_identifier`"));
    }
    Ok(newer.or(older))
}

/// Reports whether a field of the wire has a typed place in the neutral request (or, for `n` and
/// what belongs to the stream, none by design), so that no option may stand for it.
pub(super) fn is_typed_field(name: &str) -> bool {
    TYPED.contains(&name)
}

const TYPED: &[&str] = &[
    "model",
    "messages",
    "n",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "random_seed",
    "stop",
    "reasoning_effort",
    "response_format",
    "prompt_cache_key",
    "store",
    "user",
    "safety_identifier",
    "metadata",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "parallel_tool_calls",
    "logprobs",
    "top_logprobs",
];

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn response_format(value: &Value) -> Result<ResponseFormat, RequestError> {
    match value["type"].as_str() {
        Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => {
            let schema = &value["json_schema"];
            let Some(name) = schema["name"].as_str() else {
                return Err(RequestError::new("response_format.json_schema.name", "is missing"));
            };
            let mut format = JsonSchema::new(name, schema["schema"].clone());
            format.description = schema["description"].as_str().map(str::to_owned);
            format.strict = schema["strict"].as_bool();
            Ok(ResponseFormat::JsonSchema(format))
        }
        _ => {
            let message = "expected `text`, `json_object` or `json_schema`";
            Err(RequestError::new("response_format.type", message))
        }
    }
}

#[derive(Deserialize)]
struct WireTool {
    #[serde(rename = "type")]
    kind: Option<String>,
    function: Option<WireFunction>,
    custom: Option<CustomTool>,
    cache_control: Option<CacheMark>,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    description: Option<String>,
    parameters: Option<Value>,
    strict: Option<bool>,
    cache_control: Option<CacheMark>,
}

impl From<WireFunction> for ToolDefinition {
    fn from(wire: WireFunction) -> Self {
        let mut tool = FunctionTool::new(wire.name, wire.parameters);
        tool.description = wire.description;
        tool.strict = wire.strict;
        tool.cache = wire.cache_control.map(CacheMark::read);
        Self::Function(tool)
    }
}

/// Reads tools in both generations; says whether it was the older.
fn tools(
    fields: &mut Fields<'_>,
    request: &mut ChatRequest,
    losses: &mut Vec<Loss>,
) -> Result<bool, RequestError> {
    let list: Vec<&RawValue> = fields.take("tools")?.unwrap_or_default();
    for (at, raw) in list.iter().enumerate() {
        let place = || format!("tools[{at}]");
        let (wire, unread): (WireTool, _) = parse_all(raw.get(), place)?;
        let missing = |name: &str| RequestError::new(format!("{}.{name}", place()), "is missing");
        request.tools.push(match wire.kind.as_deref() {
            Some("function") | None => {
                unread.name(raw.get(), place, losses);
                let mut function = wire.function.ok_or_else(|| missing("function"))?;
                function.cache_control = function.cache_control.or(wire.cache_control);
                function.into()
            }
            Some("custom") => {
                unread.name(raw.get(), place, losses);
                ToolDefinition::Custom(wire.custom.ok_or_else(|| missing("custom"))?)
            }
            Some(_) => ToolDefinition::Provider(Opaque::new(DIALECT, raw.get())),
        });
    }
    let functions: Option<Vec<WireFunction>> = fields.take("functions")?;
    let legacy = functions.is_some();
    request.tools.extend(functions.into_iter().flatten().map(ToolDefinition::from));
    let older: Option<Value> = fields.take("function_call")?;
    let older = older.map(|value| match value {
        Value::Object(_) => serde_json::json!({"type": "function", "function": value}),
        word => word,
    });
    request.tool_choice = match fields.take("tool_choice")?.or(older) {
        Some(value) => Some(tool_choice(&value)?),
        None => None,
    };
    Ok(legacy)
}

fn tool_choice(value: &Value) -> Result<ToolChoice, RequestError> {
    let name = |value: &Value| value["name"].as_str().map(str::to_owned);
    let choice = match (value.as_str(), value["type"].as_str()) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("required" | "any"), _) => Some(ToolChoice::Required),
        (_, Some("function")) => {
            name(&value["function"]).map(|name| ToolChoice::Tool { name, kind: ToolKind::Function })
        }
        (_, Some("custom")) => {
            name(&value["custom"]).map(|name| ToolChoice::Tool { name, kind: ToolKind::Custom })
        }
        (_, Some("allowed_tools")) => {
            let allowed = &value["allowed_tools"];
            let names = allowed["tools"].as_array().map(|tools| {
                let one = |tool: &Value| {
                    name(&tool["function"]).or_else(|| name(&tool["custom"])).or_else(|| name(tool))
                };
                tools.iter().filter_map(one).collect()
            });
            let required = allowed["mode"] == "required";
            names.map(|names| ToolChoice::Allowed { names, required })
        }
        _ => None,
    };
    choice.ok_or_else(|| RequestError::new("tool_choice", "is not a choice of this format"))
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    role: String,
    name: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_details: Option<&'a RawValue>,
    tool_calls: Option<Vec<WireCall>>,
    function_call: Option<WireCalled>,
    tool_call_id: Option<String>,
    /// Sources of what the assistant said.
    annotations: Option<Vec<Value>>,
    /// Pictures that the assistant made, as answers hold them.
    #[serde(borrow)]
    images: Option<&'a RawValue>,
    /// Something that the assistant said aloud, by the vendor's own id.
    audio: Option<Value>,
    /// Anthropic's mark, which clients of several vendors also write in this format.
    cache_control: Option<CacheMark>,
}

#[derive(Deserialize)]
struct WireCall {
    id: String,
    function: Option<WireCalled>,
    custom: Option<WireCalled>,
    extra_content: Option<Value>,
}

#[derive(Deserialize)]
struct WireCalled {
    name: String,
    #[serde(default)]
    arguments: Value,
    #[serde(default)]
    input: String,
}

impl WireCalled {
    fn arguments(self) -> String {
        match self.arguments {
            Value::String(text) => text,
            Value::Null => String::new(),
            json => json.to_string(),
        }
    }
}

/// What earlier messages say about the calls that later ones answer.
#[derive(Default)]
struct Calls {
    custom: Vec<String>,
    /// Calls of the older generation, which have no ids: name and the id made for it.
    legacy: Vec<(String, String)>,
}

fn messages(json: &str) -> Result<(Vec<Message>, Vec<Loss>), RequestError> {
    let list: Vec<&RawValue> = parse(json, || "messages".into())?;
    let (mut calls, mut losses) = (Calls::default(), Vec::new());
    let read = |(at, raw): (usize, &&RawValue)| message(at, raw.get(), &mut calls, &mut losses);
    let messages = list.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    Ok((messages, losses))
}

fn message(
    at: usize,
    json: &str,
    calls: &mut Calls,
    losses: &mut Vec<Loss>,
) -> Result<Message, RequestError> {
    let place = || format!("messages[{at}]");
    let (wire, unread): (WireMessage<'_>, _) = parse_all(json, place)?;
    unread.name(json, place, losses);
    if wire.audio.is_some() {
        let message = "stands for what another vendor keeps";
        return Err(RequestError::new(format!("messages[{at}].audio"), message));
    }
    if wire.annotations.as_ref().is_some_and(|sources| !sources.is_empty()) {
        losses.push(Loss::dropped(format!("messages[{at}].annotations"), "are of another answer"));
    }
    let role = match &*wire.role {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => return tool_message(at, wire, calls, losses),
        "function" => return function_message(at, wire, calls, losses),
        role => {
            let message = format!("`{}` is not a role", role.escape_debug());
            return Err(RequestError::new(format!("messages[{at}].role"), message));
        }
    };
    let mut message = Message::new(role, Vec::new());
    reasoning(&wire, &mut message.parts);
    message.parts.extend(content(at, wire.content, losses)?);
    if let (Some(mark), Some(last)) = (wire.cache_control, message.parts.last_mut()) {
        last.cache = Some(mark.read());
    }
    for (media_type, data) in wire.images.map(sources::pictures).unwrap_or_default() {
        let picture = Media::new(DataSource::Inline { data }).media_type(media_type);
        message.parts.push(Content::Image(picture).into());
    }
    if let Some(refusal) = wire.refusal.filter(|text| !text.is_empty()) {
        message.parts.push(Content::Refusal(Text::new(refusal)).into());
    }
    for call in wire.tool_calls.into_iter().flatten() {
        message.parts.push(tool_call(at, call, calls)?);
    }
    if let Some(called) = wire.function_call {
        let id = format!("call_{at}");
        calls.legacy.push((called.name.clone(), id.clone()));
        let name = called.name.clone();
        message.parts.push(Content::ToolCall(ToolCall::new(id, name, called.arguments())).into());
    }
    message.name = wire.name;
    Ok(message)
}

fn reasoning(wire: &WireMessage<'_>, parts: &mut Vec<ContentPart>) {
    let beside = wire.reasoning.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let text = wire.reasoning_content.clone().or(beside).filter(|text| !text.is_empty());
    let details = wire.reasoning_details.map(RawValue::get).filter(|json| json.starts_with('['));
    if text.is_none() && details.is_none() {
        return;
    }
    let mut part: ContentPart = Content::Reasoning(Reasoning::new(text.unwrap_or_default())).into();
    let token = details.map(|json| Continuity::new(token::REASONING_DETAILS, json));
    part.continuity.extend(token);
    parts.push(part);
}

fn tool_call(at: usize, call: WireCall, calls: &mut Calls) -> Result<ContentPart, RequestError> {
    let (called, kind) = match (call.function, call.custom) {
        (Some(function), _) => (function, ToolKind::Function),
        (None, Some(custom)) => (custom, ToolKind::Custom),
        (None, None) => {
            let message = "neither `function` nor `custom` is there";
            return Err(RequestError::new(format!("messages[{at}].tool_calls"), message));
        }
    };
    let name = called.name.clone();
    let arguments = match kind {
        ToolKind::Custom => {
            calls.custom.push(call.id.clone());
            called.input
        }
        _ => called.arguments(),
    };
    let mut tool_call = ToolCall::new(call.id, name, arguments);
    tool_call.kind = kind;
    let mut part: ContentPart = Content::ToolCall(tool_call).into();
    let signature = call.extra_content.unwrap_or_default();
    if let Some(signature) = signature["google"]["thought_signature"].as_str() {
        part.continuity.push(Continuity::new(token::THOUGHT_SIGNATURE, signature));
    }
    Ok(part)
}

fn tool_message(
    at: usize,
    wire: WireMessage<'_>,
    calls: &Calls,
    losses: &mut Vec<Loss>,
) -> Result<Message, RequestError> {
    let Some(id) = wire.tool_call_id else {
        return Err(RequestError::new(format!("messages[{at}].tool_call_id"), "is missing"));
    };
    let kind = if calls.custom.contains(&id) { ToolKind::Custom } else { ToolKind::Function };
    let mut result = ToolResult::new(id, content(at, wire.content, losses)?);
    result.name = wire.name;
    result.kind = kind;
    let mut part = ContentPart::from(Content::ToolResult(result));
    part.cache = wire.cache_control.map(CacheMark::read);
    Ok(Message::new(Role::Tool, vec![part]))
}

/// Reads the older generation's answer to a call, which names the function and no id.
fn function_message(
    at: usize,
    wire: WireMessage<'_>,
    calls: &mut Calls,
    losses: &mut Vec<Loss>,
) -> Result<Message, RequestError> {
    let Some(name) = wire.name else {
        return Err(RequestError::new(format!("messages[{at}].name"), "is missing"));
    };
    let Some((_, id)) = calls.legacy.iter().rev().find(|(called, _)| *called == name) else {
        return Err(RequestError::new(format!("messages[{at}].name"), "was not called before"));
    };
    let mut result = ToolResult::new(id.clone(), content(at, wire.content, losses)?);
    result.name = Some(name);
    Ok(Message::new(Role::Tool, vec![Content::ToolResult(result).into()]))
}
