//! Lists of models.

use plugin_api::{
    capability::Feature, error::ProviderError, kit::time::rfc3339_ms, operation::Model,
};
use serde_json::{Map, Value, json};

pub use crate::models::Page;
use crate::{failure, models};

/// Reads a page of models.
///
/// # Errors
///
/// `Protocol` when the body is none.
pub fn decode(body: &[u8]) -> Result<Page, ProviderError> {
    let malformed = || failure::malformed("a list of models", body);
    let value: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    let Value::Object(mut object) = value else { return Err(malformed()) };
    let list = match object.remove("data") {
        Some(Value::Array(list)) => list,
        Some(Value::Null) => Vec::new(),
        _ => return Err(malformed()),
    };
    let models: Vec<Model> = list.into_iter().filter_map(model).collect();
    let last = object.get("last_id").and_then(Value::as_str).filter(|id| !id.is_empty());
    let last = last.or_else(|| models.last().map(|model| model.id.as_str()));
    // A page that says there is more and shows nothing would be asked for again and again.
    let more = object.get("has_more") == Some(&Value::Bool(true)) && !models.is_empty();
    let next = last.filter(|_| more).map(str::to_owned);
    Ok(Page { models, next })
}

/// Reads one model, as `GET /v1/models/{id}` answers it.
///
/// # Errors
///
/// `Protocol` when the body is no model.
pub fn decode_one(body: &[u8]) -> Result<Model, ProviderError> {
    models::decode_one(body, model)
}

/// Writes a list of models, all on one page.
#[must_use]
pub fn encode(models: &[Model]) -> Vec<u8> {
    let data: Vec<Value> = models.iter().map(to_json).collect();
    let id = |model: Option<&Model>| model.map(|model| model.id.clone());
    let (first, last) = (id(models.first()), id(models.last()));
    json!({"data": data, "has_more": false, "first_id": first, "last_id": last})
        .to_string()
        .into_bytes()
}

/// Writes one model.
#[must_use]
pub fn encode_one(model: &Model) -> Vec<u8> {
    to_json(model).to_string().into_bytes()
}

fn to_json(model: &Model) -> Value {
    let name = model.display_name.as_deref().unwrap_or(model.id.as_str());
    let mut value = json!({
        "type": "model",
        "id": model.id,
        "display_name": name,
        "created_at": rfc3339(model.created.unwrap_or(0)),
        "lifecycle": if model.deprecated.is_some() { "deprecated" } else { "active" },
    });
    for (name, count) in
        [("max_input_tokens", model.max_input_tokens), ("max_tokens", model.max_output_tokens)]
    {
        if let Some(count) = count {
            value[name] = count.into();
        }
    }
    for name in ["lifecycle", "line", "deprecated_at", "retires_at", "capabilities"] {
        if let Some(fact) = model.details.get(name) {
            value[name] = fact.clone();
        }
    }
    value
}

fn model(value: Value) -> Option<Model> {
    let Value::Object(mut fields) = value else { return None };
    let text = |fields: &Map<String, Value>, name: &str| {
        let text = fields.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let id = text(&fields, "id")?;
    let mut model = Model::new(id.clone());
    model.display_name = text(&fields, "display_name").filter(|name| *name != id);
    let created = text(&fields, "created_at").and_then(|at| rfc3339_ms(&at));
    // An unknown date is sent as the epoch.
    model.created = created.map(|ms| ms / 1000).filter(|at| *at > 0);
    let number = |name: &str| fields.get(name).and_then(Value::as_u64).filter(|n| *n > 0);
    model.max_input_tokens = number("max_input_tokens");
    model.max_output_tokens = number("max_tokens");
    model.features = fields.get("capabilities").map(features).unwrap_or_default().into();
    let ends = text(&fields, "lifecycle").is_some_and(|word| word != "active");
    if ends || text(&fields, "deprecated_at").is_some() {
        model.deprecated = Some(text(&fields, "retires_at").unwrap_or_default());
    }
    for known in ["type", "id", "display_name", "created_at", "max_input_tokens", "max_tokens"] {
        fields.remove(known);
    }
    // What is usual is not worth a fact.
    let is_usual = |name: &str, value: &Value| name == "lifecycle" && value == "active";
    fields.retain(|name, value| !(value.is_null() || is_usual(name, value)));
    model.details = fields.into_iter().collect();
    Some(model)
}

/// Reads what a model can do: a list of names, or an object of flags (`true`, `{"supported": true}`).
///
/// The form is not settled, so what is not understood counts as not said; tools and marks for the
/// cache are not listed because every model has them.
fn features(capabilities: &Value) -> Vec<Feature> {
    let has = |names: &[&str]| match capabilities {
        Value::Array(list) => list.iter().any(|have| names.iter().any(|name| have == name)),
        Value::Object(map) => names
            .iter()
            .filter_map(|name| map.get(*name))
            .any(|flag| flag.as_bool().or_else(|| flag["supported"].as_bool()).unwrap_or(false)),
        _ => false,
    };
    let told: Vec<Feature> = [
        (Feature::Images, &["image_input", "vision"][..]),
        (Feature::Files, &["pdf_input"]),
        (Feature::StructuredOutput, &["structured_outputs"]),
        (Feature::Reasoning, &["thinking"]),
        (Feature::Citations, &["citations"]),
    ]
    .into_iter()
    .filter(|(_, names)| has(names))
    .map(|(feature, _)| feature)
    .collect();
    if told.is_empty() {
        return told;
    }
    let always = [Feature::Tools, Feature::ParallelTools, Feature::CacheControl];
    always.into_iter().chain(told).collect()
}

/// Writes a time as RFC 3339, in the proleptic Gregorian calendar.
fn rfc3339(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    // Counted from 0000-03-01, so that the leap day is last; an era has 400 years.
    days += 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + later;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        for seconds in [0, 951_782_399, 951_782_400, 951_868_800, 1_709_164_800, 4_102_444_799] {
            assert_eq!(rfc3339_ms(&rfc3339(seconds)), Some(seconds * 1000), "{seconds}");
        }
        assert_eq!(rfc3339(1_777_593_600), "2026-05-01T00:00:00Z");
    }

    #[test]
    fn a_model_reads_back_as_it_was() {
        let text = r#"{"type":"model","id":"claude-demo-5","display_name":"Claude Demo 5",
            "created_at":"2026-05-01T00:00:00Z","lifecycle":"deprecated","retires_at":"2027-01-01",
            "max_input_tokens":200000,"max_tokens":64000,
            "capabilities":{"thinking":{"supported":true},"citations":false}}"#;
        let model = decode_one(text.as_bytes()).unwrap();
        assert_eq!(model.created, Some(1_777_593_600));
        assert_eq!(
            (model.max_input_tokens, model.max_output_tokens),
            (Some(200_000), Some(64_000))
        );
        assert_eq!(model.deprecated.as_deref(), Some("2027-01-01"));
        assert!(model.features.contains(&Feature::Reasoning));
        assert!(!model.features.contains(&Feature::Citations));
        assert_eq!(decode_one(&encode_one(&model)).unwrap(), model);
        assert_eq!(decode(&encode(std::slice::from_ref(&model))).unwrap().models, [model]);
    }

    #[test]
    fn holes_in_a_list_are_no_failure() {
        for (text, ids, next) in [
            (r#"{"data":null}"#, 0, None),
            (r#"{"data":[],"has_more":true,"last_id":"x"}"#, 0, None),
            (r#"{"data":[{"id":"a","new":{}},{"id":""},7],"has_more":true}"#, 1, Some("a")),
            (r#"{"data":[{"id":"a"}],"has_more":true,"last_id":"b"}"#, 1, Some("b")),
            (r#"{"data":[{"id":"a"}],"has_more":false,"last_id":"a"}"#, 1, None),
        ] {
            let page = decode(text.as_bytes()).unwrap();
            assert_eq!((page.models.len(), page.next.as_deref()), (ids, next), "{text}");
        }
        for odd in [&b""[..], b"[]", b"{}", br#"{"data":7}"#] {
            assert!(decode(odd).is_err() && decode_one(odd).is_err());
        }
    }
}
