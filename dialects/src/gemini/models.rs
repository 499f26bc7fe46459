//! Lists of models, in pages.

use plugin_api::{
    error::ProviderError,
    operation::{Model, ModelKind},
};
use serde_json::{Map, Value, json};

use super::route::short;
pub use crate::models::Page;
use crate::{failure, models};

/// Reads a page of models; entries without a name are left out.
///
/// # Errors
///
/// `Protocol` when the body is no object, or its list is no list. A missing list is an empty one: that
/// is how the vendor writes it.
pub fn decode(body: &[u8]) -> Result<Page, ProviderError> {
    let malformed = || failure::malformed("a list of models", body);
    let mut value: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    if !value.is_object() {
        return Err(malformed());
    }
    let models = match value["models"].take() {
        Value::Array(list) => list.into_iter().filter_map(model).collect(),
        Value::Null => Vec::new(),
        _ => return Err(malformed()),
    };
    Ok(Page { models, next: next_page(&value) })
}

/// Returns the token of the next page; an empty one means that there is none.
pub(super) fn next_page(value: &Value) -> Option<String> {
    value["nextPageToken"].as_str().filter(|token| !token.is_empty()).map(str::to_owned)
}

/// Reads one model, as `GET /models/{id}` answers it.
///
/// # Errors
///
/// `Protocol` when the body is no model.
pub fn decode_one(body: &[u8]) -> Result<Model, ProviderError> {
    models::decode_one(body, model)
}

/// Writes a page of models.
#[must_use]
pub fn encode(page: &Page) -> Vec<u8> {
    let models: Vec<Value> = page.models.iter().map(to_json).collect();
    let mut value = json!({ "models": models });
    if let Some(next) = &page.next {
        value["nextPageToken"] = next.as_str().into();
    }
    value.to_string().into_bytes()
}

/// Writes one model.
#[must_use]
pub fn encode_one(model: &Model) -> Vec<u8> {
    to_json(model).to_string().into_bytes()
}

fn model(value: Value) -> Option<Model> {
    let Value::Object(mut fields) = value else { return None };
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let name = text("name")?;
    let id = short(&name);
    let mut model = Model::new(id);
    model.display_name = text("displayName").filter(|name| name != id);
    let mut count = |name: &str| {
        let value = fields.remove(name)?;
        let count = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        count.filter(|count| *count > 0)
    };
    model.max_input_tokens = count("inputTokenLimit");
    model.max_output_tokens = count("outputTokenLimit");
    model.kinds = kinds(&fields);
    fields.retain(|_, value| !value.is_null());
    model.details = fields.into_iter().collect();
    Some(model)
}

/// Tells what a model is for by the methods that it offers; none named means that it is not known.
fn kinds(fields: &Map<String, Value>) -> Vec<ModelKind> {
    let methods = fields.get(METHODS).or_else(|| fields.get("supportedActions"));
    let Some(methods) = methods.and_then(Value::as_array).filter(|list| !list.is_empty()) else {
        return Vec::new();
    };
    let offers = |method: &str| methods.iter().any(|have| have == method);
    let mut kinds = Vec::new();
    if offers("generateContent") {
        kinds.push(ModelKind::Chat);
    }
    if offers("embedContent") || offers("batchEmbedContents") {
        kinds.push(ModelKind::Embedding);
    }
    if kinds.is_empty() {
        kinds.push(ModelKind::Other);
    }
    kinds
}

fn to_json(model: &Model) -> Value {
    let mut value = json!({ "name": super::route::resource(model.id.as_str()) });
    for (name, field) in [
        ("displayName", Some(model.display_name.as_deref().unwrap_or(model.id.as_str()).into())),
        ("inputTokenLimit", model.max_input_tokens.map(Value::from)),
        ("outputTokenLimit", model.max_output_tokens.map(Value::from)),
    ] {
        if let Some(field) = field {
            value[name] = field;
        }
    }
    let mut methods = Vec::new();
    if model.is_chat() {
        methods.extend(["generateContent", "countTokens"]);
    }
    if model.is_embedding() {
        methods.extend(["embedContent", "batchEmbedContents"]);
    }
    value[METHODS] = methods.into();
    // Another vendor's facts would be taken for this one's.
    for name in [
        "version",
        "description",
        "temperature",
        "maxTemperature",
        "topP",
        "topK",
        "thinking",
        METHODS,
    ] {
        if let Some(detail) = model.details.get(name) {
            value[name] = detail.clone();
        }
    }
    value
}

const METHODS: &str = "supportedGenerationMethods";

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &[u8] = br#"{"models":[{"name":"models/gemini-demo-3","version":"001","displayName":"Gemini Demo 3","description":"demo","inputTokenLimit":1048576,"outputTokenLimit":"65536","supportedGenerationMethods":["generateContent","countTokens","createCachedContent"],"temperature":1,"maxTemperature":2,"topP":0.95,"topK":64,"thinking":true,"novel":null},{"name":"models/embed-demo","supportedGenerationMethods":["embedContent"]},{"name":"tunedModels/t","displayName":"t"},{"name":"models/veo","supportedGenerationMethods":["predictLongRunning"]},{"displayName":"nameless"},7],"nextPageToken":"abc"}"#;

    #[test]
    fn a_page_is_read() {
        let page = decode(PAGE).unwrap();
        assert_eq!(page.next.as_deref(), Some("abc"));
        let ids: Vec<_> = page.models.iter().map(|model| model.id.as_str()).collect();
        assert_eq!(ids, ["gemini-demo-3", "embed-demo", "tunedModels/t", "veo"]);
        let demo = &page.models[0];
        assert_eq!(demo.display_name.as_deref(), Some("Gemini Demo 3"));
        assert_eq!(
            (demo.max_input_tokens, demo.max_output_tokens),
            (Some(1_048_576), Some(65_536))
        );
        assert_eq!(demo.details["thinking"], true);
        assert!(!demo.details.contains_key("novel"));
        let kinds: Vec<_> = page.models.iter().map(|m| (m.is_chat(), m.is_embedding())).collect();
        assert_eq!(kinds, [(true, false), (false, true), (true, false), (false, false)]);
    }

    #[test]
    fn the_last_page_has_no_token_or_an_empty_one() {
        for body in [&br#"{"models":null,"nextPageToken":""}"#[..], b"{}"] {
            assert_eq!(decode(body).unwrap(), Page::default());
        }
        for bad in [&b"[]"[..], b"<html>", br#"{"models":{}}"#] {
            assert!(decode(bad).is_err());
        }
    }

    #[test]
    fn a_list_reads_back_as_it_was_written() {
        let mut page = decode(PAGE).unwrap();
        page.models.remove(2);
        page.models.pop();
        assert_eq!(decode(&encode(&page)).unwrap(), page);
        assert_eq!(decode_one(&encode_one(&page.models[0])).unwrap(), page.models[0]);
        assert!(decode_one(b"{}").is_err());
    }
}
