//! Lists of models, in the shapes that servers send.

use plugin_api::{
    error::ProviderError,
    operation::{Model, ModelKind},
};
use serde_json::{Map, Value, json};

use crate::{failure, models};

/// Reads a list of models.
///
/// OpenAI sends `{"data":[…]}`, Ollama `{"data":null}` when nothing is installed, Together a bare
/// array; a ChatGPT plan's token gets `{"models":[…]}` of which only those with visibility `list`
/// are meant to be shown. Duplicates and entries without an id are left out.
///
/// # Errors
///
/// `Protocol` when the body is none of these.
pub fn decode(body: &[u8]) -> Result<Vec<Model>, ProviderError> {
    let malformed = || failure::malformed("a list of models", body);
    let value: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    let list = match value {
        Value::Array(list) => list,
        Value::Object(mut object) => match (object.remove("data"), object.remove("models")) {
            (Some(Value::Array(list)), _) | (_, Some(Value::Array(list))) => list,
            (Some(Value::Null), _) | (_, Some(Value::Null)) => Vec::new(),
            _ => return Err(malformed()),
        },
        _ => return Err(malformed()),
    };
    let mut models: Vec<Model> = Vec::with_capacity(list.len());
    for model in list.into_iter().filter_map(model) {
        if !models.iter().any(|have| have.id == model.id) {
            models.push(model);
        }
    }
    Ok(models)
}

/// Reads one model, as `GET /models/{id}` answers it.
///
/// # Errors
///
/// `Protocol` when the body is no model.
pub fn decode_one(body: &[u8]) -> Result<Model, ProviderError> {
    models::decode_one(body, model)
}

/// Writes a list of models as OpenAI does, with `context_length` where it is known.
#[must_use]
pub fn encode(models: &[Model]) -> Vec<u8> {
    let data: Vec<Value> = models.iter().map(to_json).collect();
    json!({"object": "list", "data": data}).to_string().into_bytes()
}

/// Writes one model as OpenAI does.
#[must_use]
pub fn encode_one(model: &Model) -> Vec<u8> {
    to_json(model).to_string().into_bytes()
}

fn to_json(model: &Model) -> Value {
    let mut value = json!({
        "id": model.id,
        "object": "model",
        "created": model.created.unwrap_or(0),
        "owned_by": model.owned_by.as_deref().unwrap_or("system"),
    });
    if let Some(length) = model.max_input_tokens {
        value["context_length"] = length.into();
    }
    if let Some(name) = &model.display_name {
        value["name"] = name.as_str().into();
    }
    if model.is_embedding() && !model.kinds.contains(&ModelKind::Chat) {
        value["type"] = "embedding".into();
    }
    value
}

fn model(value: Value) -> Option<Model> {
    let Value::Object(mut fields) = value else { return None };
    if fields.get("visibility").and_then(Value::as_str).is_some_and(|v| v != "list") {
        return None;
    }
    let text = |fields: &Map<String, Value>, names: &[&str]| {
        let found = names.iter().find_map(|name| fields.get(*name)?.as_str());
        found.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let id = text(&fields, &["id", "slug", "model", "name"])?;
    let mut model = Model::new(id.clone());
    model.display_name = text(&fields, &["display_name", "name"]).filter(|name| *name != id);
    model.owned_by = text(&fields, &["owned_by", "organization"]);
    // An unknown date is sent as 0.
    model.created = fields.get("created").and_then(Value::as_u64).filter(|at| *at > 0);
    let number = |pointers: &[&str]| {
        let of = |pointer: &&str| fields.get(pointer.split('/').next()?)?.pointer(tail(pointer));
        pointers.iter().find_map(|pointer| of(pointer)?.as_u64()).filter(|n| *n > 0)
    };
    // OpenRouter and Together · vLLM · Mistral, LM Studio · Groq, ChatGPT plans · llama.cpp
    model.max_input_tokens = number(&[
        "context_length",
        "max_model_len",
        "max_context_length",
        "context_window",
        "meta/n_ctx",
        "meta/n_ctx_train",
    ]);
    model.max_output_tokens = number(&[
        "max_output_tokens",
        "max_completion_tokens",
        "top_provider/max_completion_tokens",
    ]);
    model.kinds = match kind(&id, &fields) {
        ModelKind::Chat => Vec::new(),
        kind => vec![kind],
    };
    for known in KNOWN {
        fields.remove(*known);
    }
    fields.retain(|_, value| !value.is_null());
    model.details = fields.into_iter().collect();
    Some(model)
}

fn tail(pointer: &str) -> &str {
    pointer.find('/').map_or("", |at| &pointer[at..])
}

/// Tells what a model is for.
///
/// Most servers do not say. Where they do (`type`, Mistral's `capabilities`, `OpenRouter`'s
/// `architecture`) that counts; else the name, because a chat model offered for embeddings, or the
/// reverse, fails only when it is used.
fn kind(id: &str, fields: &Map<String, Value>) -> ModelKind {
    let outputs = fields.get("architecture").map(|a| &a["output_modalities"]);
    if let Some(outputs) = outputs.and_then(Value::as_array) {
        let gives = |what: &str| outputs.iter().any(|output| output == what);
        return match (gives("text"), gives("embeddings")) {
            (true, _) => ModelKind::Chat,
            (false, true) => ModelKind::Embedding,
            (false, false) => ModelKind::Other,
        };
    }
    match fields.get("type").and_then(Value::as_str) {
        Some("embedding" | "embeddings") => return ModelKind::Embedding,
        Some("chat" | "language" | "llm" | "vlm" | "code") => return ModelKind::Chat,
        Some("image" | "audio" | "moderation" | "rerank" | "transcribe" | "video") => {
            return ModelKind::Other;
        }
        _ => {}
    }
    let id = id.to_ascii_lowercase();
    let base = id.rsplit('/').next().unwrap_or_default();
    let named = |parts: &[&str]| parts.iter().any(|part| id.contains(part));
    if named(&["embed"]) || EMBEDDERS.iter().any(|prefix| base.starts_with(prefix)) {
        return ModelKind::Embedding;
    }
    if named(&["whisper", "dall-e", "-tts", "tts-", "moderation", "rerank", "gpt-image", "-ocr"])
        || fields.get("capabilities").is_some_and(|c| c["completion_chat"] == false)
    {
        return ModelKind::Other;
    }
    ModelKind::Chat
}

/// Families of embedding models whose names do not say so.
const EMBEDDERS: [&str; 6] = ["bge-", "gte-", "e5-", "all-minilm", "voyage-", "multilingual-e5"];

/// Fields that became typed ones, or that say nothing.
const KNOWN: &[&str] = &[
    "id",
    "slug",
    "object",
    "created",
    "owned_by",
    "display_name",
    "visibility",
    "permission",
    "permissions",
    "context_length",
    "max_model_len",
    "max_context_length",
    "context_window",
    "max_output_tokens",
    "max_completion_tokens",
    "name",
    "type",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &str) -> Vec<String> {
        let models = decode(body.as_bytes()).unwrap();
        models.iter().map(|model| model.id.to_string()).collect()
    }

    #[test]
    fn each_shape_of_list_is_read() {
        assert_eq!(
            ids(
                r#"{"object":"list","data":[{"id":"gpt-demo-1","object":"model","created":1780000000,"owned_by":"system"}]}"#
            ),
            ["gpt-demo-1"]
        );
        assert_eq!(
            ids(
                r#"{"models":[{"slug":"gpt-demo-plan","display_name":"GPT Demo","visibility":"list"},{"slug":"gpt-internal","display_name":"Internal","visibility":"hide"}]}"#
            ),
            ["gpt-demo-plan"]
        );
        assert!(ids(r#"{"object":"list","data":null}"#).is_empty());
        assert!(ids(r#"{"models":null}"#).is_empty());
        assert_eq!(ids(r#"[{"id":"a","type":"chat"},{"id":"a"},{"object":"model"},7]"#), ["a"]);
        assert_eq!(ids(r#"{"models":[{"name":"x:8b","model":"x:8b"}],"data":null}"#), ["x:8b"]);
        for bad in ["{}", "7", "<html>", r#"{"data":{}}"#] {
            assert_eq!(
                decode(bad.as_bytes()).unwrap_err().kind,
                plugin_api::error::ErrorKind::Protocol
            );
        }
    }

    #[test]
    fn what_servers_tell_of_a_model_is_kept() {
        let of = |json: &str| decode_one(json.as_bytes()).unwrap();
        let model = of(
            r#"{"id":"x/demo","name":"X: Demo","created":1790000000,"context_length":128000,"architecture":{"output_modalities":["text"]},"top_provider":{"max_completion_tokens":4096},"pricing":{"prompt":"0.1"},"expires":null}"#,
        );
        assert_eq!(model.display_name.as_deref(), Some("X: Demo"));
        assert_eq!((model.max_input_tokens, model.max_output_tokens), (Some(128_000), Some(4096)));
        assert!(model.details.contains_key("pricing") && !model.details.contains_key("expires"));
        assert_eq!(of(r#"{"id":"v","max_model_len":8192}"#).max_input_tokens, Some(8192));
        assert_eq!(of(r#"{"id":"l","meta":{"n_ctx_train":4096}}"#).max_input_tokens, Some(4096));
        assert_eq!(of(r#"{"id":"o","created":0,"owned_by":"library"}"#).created, None);
        assert!(decode_one(b"[]").is_err());
    }

    #[test]
    fn a_models_kind_is_told_by_what_it_says_of_itself_then_by_its_name() {
        for (json, expected) in [
            (r#"{"id":"text-embedding-3-small"}"#, ModelKind::Embedding),
            (r#"{"id":"BAAI/bge-m3"}"#, ModelKind::Embedding),
            (r#"{"id":"x","type":"embeddings"}"#, ModelKind::Embedding),
            (r#"{"id":"x","type":"image"}"#, ModelKind::Other),
            (r#"{"id":"my-embed-chat","type":"llm"}"#, ModelKind::Chat),
            (
                r#"{"id":"x","architecture":{"output_modalities":["embeddings"]}}"#,
                ModelKind::Embedding,
            ),
            (r#"{"id":"x","architecture":{"output_modalities":["image"]}}"#, ModelKind::Other),
            (r#"{"id":"whisper-1"}"#, ModelKind::Other),
            (r#"{"id":"x","capabilities":{"completion_chat":false}}"#, ModelKind::Other),
            (r#"{"id":"x","capabilities":{"completion_chat":true}}"#, ModelKind::Chat),
            (r#"{"id":"gpt-demo-1"}"#, ModelKind::Chat),
        ] {
            let model = decode_one(json.as_bytes()).unwrap();
            let found = (model.is_chat(), model.is_embedding());
            let chat = expected == ModelKind::Chat;
            assert_eq!(found, (chat, expected == ModelKind::Embedding), "{json}");
        }
    }

    #[test]
    fn a_list_reads_back_as_it_was_written() {
        let mut chat = Model::new("a");
        chat.created = Some(1);
        chat.owned_by = Some("me".into());
        chat.max_input_tokens = Some(10);
        chat.display_name = Some("A".into());
        let mut embedding = Model::new("b");
        embedding.kinds = vec![ModelKind::Embedding];
        embedding.owned_by = Some("me".into());
        let models = vec![chat, embedding];
        assert_eq!(decode(&encode(&models)).unwrap(), models);
        assert_eq!(decode_one(&encode_one(&models[0])).unwrap(), models[0]);
    }
}
