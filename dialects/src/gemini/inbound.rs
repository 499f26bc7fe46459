//! Reads a client's request.

mod parts;
mod tools;

use plugin_api::chat::{ChatRequest, JsonSchema, ReasoningSettings, ResponseFormat};
use serde_json::{Map, Value};

use super::schema;
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
    /// What the answer will not hold although it was asked for.
    pub losses: Vec<Loss>,
}

/// Reads a client's request; `model` stands in its path. Unknown fields become options.
///
/// # Errors
///
/// Names the field that cannot be read, or that asks for what no neutral answer can hold
/// (`candidateCount` above 1).
pub fn decode_request(model: &str, body: &[u8]) -> Result<Decoded, RequestError> {
    read(model, Fields::of_body(body)?)
}

/// Reads a request's fields.
pub(super) fn read(model: &str, mut fields: Fields<'_>) -> Result<Decoded, RequestError> {
    let mut request = ChatRequest::new(super::route::short(model), Vec::new());
    let mut losses = Vec::new();
    // Some clients repeat here what the path says.
    fields.raw("model");
    request.messages = parts::messages(&mut fields, &mut losses)?;
    tools::read(&mut fields, &mut request, &mut losses)?;
    if let Some(config) = fields.object("generationConfig")? {
        generation_config(config, &mut request)?;
    }
    request.context = fields.take::<String>("cachedContent")?.map(Into::into);
    request.store = fields.take("store")?;
    request.metadata = fields.take("labels")?.unwrap_or_default();
    if let Some(safety) = fields.take::<Value>("safetySettings")? {
        request.options.insert("safetySettings".into(), safety);
    }
    for (name, value) in fields.rest() {
        // What an option may mean must not depend on where it stood.
        if GENERATION_OPTIONS.contains(&name.as_str()) || name == "generationConfig" {
            return Err(RequestError::new(name, "belongs into `generationConfig`"));
        }
        request.options.insert(name, value);
    }
    Ok(Decoded { request, losses })
}

fn generation_config(
    mut config: Fields<'_>,
    request: &mut ChatRequest,
) -> Result<(), RequestError> {
    if config.count("candidateCount")?.is_some_and(|count| count != 1) {
        return Err(config.error("candidateCount", "only one answer is given"));
    }
    let sampling = &mut request.sampling;
    sampling.temperature = config.take("temperature")?;
    sampling.top_p = config.take("topP")?;
    sampling.top_k = config.count("topK")?;
    sampling.presence_penalty = config.take("presencePenalty")?;
    sampling.frequency_penalty = config.take("frequencyPenalty")?;
    sampling.seed = config.take("seed")?;
    request.max_output_tokens = config.count("maxOutputTokens")?;
    request.stop = config.take("stopSequences")?.unwrap_or_default();
    if let Some(thinking) = config.object("thinkingConfig")? {
        request.reasoning = thinking_config(thinking)?;
    }
    let kind: Option<String> = config.take("responseMimeType")?;
    let older: Option<Value> = config.take("responseSchema")?;
    let newer: Option<Value> = config.take("responseJsonSchema")?;
    let mut left = Map::new();
    request.response_format = match (kind.as_deref(), newer, older) {
        (Some("application/json") | None, Some(schema), _) => Some(json_schema(schema)),
        (Some("application/json") | None, None, Some(schema)) => {
            Some(json_schema(schema::from_openapi(schema)))
        }
        (Some("application/json"), None, None) => Some(ResponseFormat::JsonObject),
        (Some("text/plain"), ..) => Some(ResponseFormat::Text),
        (None, None, None) => None,
        // A form that only this vendor knows, for example one word of a list (`text/x.enum`).
        (Some(kind), newer, older) => {
            left.insert("responseMimeType".into(), kind.into());
            left.extend(newer.map(|schema| ("responseJsonSchema".to_owned(), schema)));
            left.extend(older.map(|schema| ("responseSchema".to_owned(), schema)));
            None
        }
    };
    for name in GENERATION_OPTIONS {
        if let Some(value) = config.take(name)? {
            request.options.insert((*name).to_owned(), value);
        }
    }
    left.extend(config.rest());
    if !left.is_empty() {
        request.options.insert("generationConfig".into(), left.into());
    }
    Ok(())
}

fn json_schema(schema: Value) -> ResponseFormat {
    ResponseFormat::JsonSchema(JsonSchema::new("response", schema))
}

fn thinking_config(mut fields: Fields<'_>) -> Result<Option<ReasoningSettings>, RequestError> {
    let mut reasoning = ReasoningSettings::default();
    let include: Option<bool> = fields.take("includeThoughts")?;
    reasoning.summary = include.map(|include| if include { "auto" } else { "none" }.to_owned());
    match fields.take::<i64>("thinkingBudget")? {
        Some(budget) => match u64::try_from(budget) {
            Ok(budget) => reasoning.budget_tokens = Some(budget),
            Err(_) => reasoning.adaptive = true,
        },
        None => {
            let level: Option<String> = fields.take("thinkingLevel")?;
            let level = level.map(|level| level.to_ascii_lowercase());
            reasoning.effort = level.filter(|level| level != "thinking_level_unspecified");
        }
    }
    Ok((reasoning != ReasoningSettings::default()).then_some(reasoning))
}

/// Reports whether a field of the wire has a typed place in the neutral request, so that no option may
/// stand for it.
pub(super) fn is_typed_field(name: &str) -> bool {
    matches!(
        name,
        "model"
            | "contents"
            | "systemInstruction"
            | "tools"
            | "toolConfig"
            | "cachedContent"
            | "store"
            | "labels"
            | "system_instruction"
            | "tool_config"
            | "cached_content"
            | "generation_config"
    )
}

/// Reports whether a field of a part has a typed place.
pub(super) fn is_typed_part_field(name: &str) -> bool {
    matches!(name, "thought" | "thoughtSignature" | "thought_signature") || parts::is_data(name)
}

/// Reports whether a field of a function's declaration has a typed place.
pub(super) fn is_typed_tool_field(name: &str) -> bool {
    matches!(
        name,
        "name" | "description" | "parameters" | "parametersJsonSchema" | "parameters_json_schema"
    )
}

/// Fields of `generationConfig` that a client may name as options of the request.
pub(super) const GENERATION_OPTIONS: &[&str] = &[
    "responseModalities",
    "responseLogprobs",
    "logprobs",
    "mediaResolution",
    "speechConfig",
    "imageConfig",
];
