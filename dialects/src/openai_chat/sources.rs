//! Where an answer's claims come from, and pictures that it carries.

use plugin_api::chat::Citation;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    base64,
    lenient::{Count, Text},
};

/// Reads `annotations` of a delta or message.
///
/// A `url_citation` with an address, title, place and quote is typed fully; whatever says more keeps
/// its own form beside the typed fields.
pub(super) fn annotations(raw: &RawValue) -> Vec<Citation> {
    let list: Vec<Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    list.into_iter().map(annotation).collect()
}

fn annotation(value: Value) -> Citation {
    let mut citation = Citation::default();
    let inner = &value["url_citation"];
    let text = |name: &str| inner[name].as_str().map(str::to_owned);
    citation.url = text("url");
    citation.title = text("title");
    citation.quote = text("content");
    citation.answer_start = inner["start_index"].as_u64();
    citation.answer_end = inner["end_index"].as_u64();
    if to_annotation(&citation) != value {
        citation.native = Some(value);
    }
    citation
}

/// Writes a citation as an annotation.
pub(super) fn to_annotation(citation: &Citation) -> Value {
    if let Some(native) = citation.native.as_ref().filter(|native| native["type"].is_string()) {
        return native.clone();
    }
    let mut inner = json!({});
    for (name, value) in [
        ("url", citation.url.as_ref().map(|url| json!(url))),
        ("title", citation.title.as_ref().map(|title| json!(title))),
        ("content", citation.quote.as_ref().map(|quote| json!(quote))),
        ("start_index", citation.answer_start.map(|start| json!(start))),
        ("end_index", citation.answer_end.map(|end| json!(end))),
    ] {
        if let Some(value) = value {
            inner[name] = value;
        }
    }
    json!({"type": "url_citation", "url_citation": inner})
}

/// Reads Perplexity's `citations` (addresses, or objects with one) and `search_results`.
pub(super) fn addresses(raw: &str) -> Vec<Citation> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Source {
        Address(String),
        Described { url: Option<String>, title: Option<String> },
        Other(serde::de::IgnoredAny),
    }
    let list: Vec<Source> = serde_json::from_str(raw).unwrap_or_default();
    list.into_iter()
        .filter_map(|source| {
            let mut citation = Citation::default();
            (citation.url, citation.title) = match source {
                Source::Address(url) => (Some(url), None),
                Source::Described { url, title } => (url, title),
                Source::Other(_) => return None,
            };
            citation.url.is_some().then_some(citation)
        })
        .collect()
}

/// Reads the picture of an `image_url`, which is an object or a text, when it is a `data:` URI.
pub(super) fn picture(raw: &RawValue) -> Option<(String, Vec<u8>)> {
    #[derive(Deserialize)]
    struct Object {
        url: String,
    }
    let url = match serde_json::from_str::<Object>(raw.get()) {
        Ok(object) => object.url,
        Err(_) => serde_json::from_str(raw.get()).ok()?,
    };
    base64::decode_uri(&url)
}

/// Reads the pictures of a delta (`images`, as `OpenRouter` sends them).
pub(super) fn pictures(raw: &RawValue) -> Vec<(String, Vec<u8>)> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        image_url: &'a RawValue,
    }
    let list: Vec<Item<'_>> = serde_json::from_str(raw.get()).unwrap_or_default();
    list.iter().filter_map(|item| picture(item.image_url)).collect()
}

/// Reads Mistral's `reference_ids` as one citation that keeps its form.
pub(super) fn reference(raw: &RawValue) -> Citation {
    let mut citation = Citation::default();
    let ids: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    citation.native = Some(json!({"type": "reference", "reference_ids": ids}));
    citation
}

/// Merges the fragments of `OpenRouter`'s `reasoning_details`.
///
/// A stream sends each detail in pieces of one type and index; what must be returned is each detail
/// once, its texts joined.
#[derive(Debug, Default)]
pub(super) struct Details(Vec<serde_json::Map<String, Value>>);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    index: Count,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    summary: Text<'a>,
}

impl Details {
    /// Takes the details of one chunk and returns the text they show, and whether it is a summary.
    pub(super) fn take(&mut self, raw: &RawValue) -> Vec<(String, bool)> {
        let fresh: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        let mut shown = Vec::new();
        for raw in fresh {
            let Ok(Value::Object(map)) = serde_json::from_str(raw.get()) else { continue };
            let detail: Detail<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
            match (detail.text.filled(), detail.summary.filled()) {
                (Some(text), _) => shown.push((text.to_owned(), false)),
                (None, Some(summary)) => shown.push((summary.to_owned(), true)),
                (None, None) => {}
            }
            self.merge(map, &detail);
        }
        shown
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all details as JSON, unless there are none.
    pub(super) fn token(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| serde_json::to_string(&self.0).unwrap_or_default())
    }

    fn merge(&mut self, fresh: serde_json::Map<String, Value>, detail: &Detail<'_>) {
        let same = self.0.last_mut().filter(|have| {
            have.get("type").and_then(Value::as_str) == Some(&*detail.kind.0)
                && have.get("index").and_then(Value::as_u64) == detail.index.0
                && detail.kind.0 != "reasoning.encrypted"
                && (detail.index.0.is_some() || have.get("signature").is_none_or(Value::is_null))
        });
        let Some(have) = same else { return self.0.push(fresh) };
        for (name, value) in fresh {
            match (have.get_mut(&name), value) {
                (Some(Value::String(text)), Value::String(more))
                    if matches!(&*name, "text" | "summary") =>
                {
                    text.push_str(&more);
                }
                (Some(_), Value::Null) => {}
                (_, value) => drop(have.insert(name, value)),
            }
        }
    }
}
