//! Reads a client's request.

mod items;
mod parts;
mod tools;

use std::collections::BTreeMap;

use plugin_api::{
    ContextId,
    chat::{ChatRequest, JsonSchema, Message, ReasoningSettings, ResponseFormat},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Namespaces, request::ENCRYPTED};
use crate::{
    fields::Fields,
    loss::{Loss, RequestError},
    openai_chat,
};

/// A client's request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decoded {
    /// What is asked.
    pub request: ChatRequest,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Whether reasoning is wanted in its encrypted form.
    pub encrypted_reasoning: bool,
    /// The groups of the request's tools, for [`Encoder::namespaces`](super::Encoder::namespaces).
    pub namespaces: Namespaces,
    /// What the answer repeats of it, for [`Encoder::echo`](super::Encoder::echo).
    pub echo: Echo,
    /// What the answer will not hold although it was asked for.
    pub losses: Vec<Loss>,
}

/// The settings of a request, as the vendor's answers repeat them. Long ones, an agent's tools and
/// instructions, are not repeated: they would be sent back with every answer, in a stream thrice.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Echo(BTreeMap<&'static str, Value>);

impl Echo {
    fn of(fields: &Fields<'_>) -> Self {
        let value = |name: &&'static str| {
            let raw = fields.look(name).filter(|raw| raw.get().len() <= MAX_ECHO)?;
            Some((*name, serde_json::from_str(raw.get()).ok()?))
        };
        Self(ECHOED.iter().filter_map(value).collect())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }
}

/// Longest setting that is repeated, in bytes of JSON.
const MAX_ECHO: usize = 4096;

/// What the vendor's answers repeat; whether an answer is stored they say themselves.
const ECHOED: [&str; 15] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
];

/// Reads a client's request. Unknown fields become options; those inside `reasoning` and `text` with
/// the name of their object before them (`reasoning.context`), but `verbosity` alone.
///
/// # Errors
///
/// Names the field that cannot be read, or that asks for what is not offered (`background`).
pub fn decode_request(body: &[u8]) -> Result<Decoded, RequestError> {
    decode_request_with(body, &|_| None)
}

/// Reads a client's request as [`decode_request`] does; `find` knows items of earlier answers by their
/// ids, for clients that trust the server to keep them.
///
/// # Errors
///
/// As [`decode_request`].
pub fn decode_request_with(
    body: &[u8],
    find: &dyn Fn(&str) -> Option<String>,
) -> Result<Decoded, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let model: String = fields.require("model")?;
    let mut losses = Vec::new();
    let echo = Echo::of(&fields);
    let mut namespaces = Namespaces::default();
    let mut request = ChatRequest::new(model, Vec::new());

    let stream = fields.take("stream")?.unwrap_or(false);
    if fields.take("background")?.unwrap_or(false) {
        return Err(RequestError::new("background", "answers are given at once"));
    }
    fields.raw("stream_options");
    if fields.raw("client_metadata").is_some() {
        losses.push(Loss::dropped("client_metadata", "is not passed on"));
    }
    tools::read(&mut fields, &mut request, &mut namespaces, &mut losses)?;
    request.context = context(&mut fields)?;
    if let Some(text) = fields.take::<String>("instructions")? {
        request.messages.push(Message::system(text));
    }
    match fields.raw("input") {
        Some(raw) => {
            let messages = &mut request.messages;
            items::read(raw.get(), &namespaces, find, messages, &mut losses)?;
        }
        None if request.context.is_some() || fields.contains("prompt") => {}
        None => return Err(fields.missing("input")),
    }
    request.parallel_tool_calls = fields.take("parallel_tool_calls")?;
    request.max_output_tokens = fields.take("max_output_tokens")?;
    request.sampling.temperature = fields.take("temperature")?;
    request.sampling.top_p = fields.take("top_p")?;
    request.cache_key = fields.take("prompt_cache_key")?;
    request.store = fields.take("store")?;
    request.user = openai_chat::user(&mut fields, &mut losses)?;
    request.metadata = fields.take("metadata")?.unwrap_or_default();
    reasoning(&mut fields, &mut request)?;
    text(&mut fields, &mut request)?;
    let encrypted_reasoning = include(&mut fields, &mut request)?;
    request.options.extend(fields.rest());
    Ok(Decoded { request, stream, encrypted_reasoning, namespaces, echo, losses })
}

/// Reports whether a field of the wire has a typed place in the neutral request (or, for what belongs
/// to the stream, none by design), so that no option may stand for it.
pub(super) fn is_typed_field(name: &str) -> bool {
    TYPED.contains(&name)
}

const TYPED: &[&str] = &[
    "model",
    "input",
    "instructions",
    "previous_response_id",
    "conversation",
    "stream",
    "stream_options",
    "store",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_output_tokens",
    "temperature",
    "top_p",
    "prompt_cache_key",
    "safety_identifier",
    "user",
    "metadata",
    "reasoning",
    "text",
    "client_metadata",
];

fn context(fields: &mut Fields<'_>) -> Result<Option<ContextId>, RequestError> {
    let earlier: Option<String> = fields.take("previous_response_id")?;
    let conversation = match fields.take::<Value>("conversation")? {
        None => None,
        Some(Value::String(id)) => Some(id),
        Some(value) => match value["id"].as_str() {
            Some(id) => Some(id.to_owned()),
            None => return Err(RequestError::new("conversation.id", "is missing")),
        },
    };
    if earlier.is_some() && conversation.is_some() {
        let message = "cannot stand beside `conversation`";
        return Err(RequestError::new("previous_response_id", message));
    }
    Ok(earlier.or(conversation).map(ContextId::new))
}

fn reasoning(fields: &mut Fields<'_>, request: &mut ChatRequest) -> Result<(), RequestError> {
    let Some(mut wire) = fields.take::<Map<String, Value>>("reasoning")? else { return Ok(()) };
    let mut word = |name: &str| match wire.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) => Ok(Some(word)),
        Some(_) => Err(RequestError::new(format!("reasoning.{name}"), "expected a text")),
    };
    let mut reasoning = ReasoningSettings::default();
    reasoning.effort = word("effort")?;
    let older = word("generate_summary")?;
    reasoning.summary = word("summary")?.or(older);
    if reasoning != ReasoningSettings::default() {
        request.reasoning = Some(reasoning);
    }
    inner_options("reasoning", wire, request);
    Ok(())
}

fn text(fields: &mut Fields<'_>, request: &mut ChatRequest) -> Result<(), RequestError> {
    let Some(mut wire) = fields.take::<Map<String, Value>>("text")? else { return Ok(()) };
    if let Some(format) = wire.remove("format").filter(|format| !format.is_null()) {
        request.response_format = Some(format_of(&format)?);
    }
    if let Some(verbosity) = wire.remove("verbosity").filter(|word| !word.is_null()) {
        request.options.insert("verbosity".into(), verbosity);
    }
    inner_options("text", wire, request);
    Ok(())
}

fn inner_options(object: &str, fields: Map<String, Value>, request: &mut ChatRequest) {
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        request.options.insert(format!("{object}.{name}"), value);
    }
}

fn format_of(value: &Value) -> Result<ResponseFormat, RequestError> {
    match value["type"].as_str() {
        Some("text") => Ok(ResponseFormat::Text),
        Some("json_object") => Ok(ResponseFormat::JsonObject),
        Some("json_schema") => {
            let Some(name) = value["name"].as_str() else {
                return Err(RequestError::new("text.format.name", "is missing"));
            };
            let mut format = JsonSchema::new(name, value["schema"].clone());
            format.description = value["description"].as_str().map(str::to_owned);
            format.strict = value["strict"].as_bool();
            Ok(ResponseFormat::JsonSchema(format))
        }
        _ => {
            let message = "expected `text`, `json_object` or `json_schema`";
            Err(RequestError::new("text.format.type", message))
        }
    }
}

/// Reads what the answer shall hold; says whether that is encrypted reasoning.
fn include(fields: &mut Fields<'_>, request: &mut ChatRequest) -> Result<bool, RequestError> {
    let mut include: Vec<String> = fields.take("include")?.unwrap_or_default();
    let asked = include.len();
    include.retain(|name| name != ENCRYPTED);
    let encrypted = include.len() < asked;
    if !include.is_empty() {
        request.options.insert("include".into(), include.into());
    }
    Ok(encrypted)
}
