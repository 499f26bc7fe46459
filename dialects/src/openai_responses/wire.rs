//! One event of a stream, and one answer, as servers write them.
//!
//! Texts are borrowed from the event. Only fields that are read stand here; all others are skipped
//! without being built.

use std::borrow::Cow;

use plugin_api::event::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::lenient::{Count, Text, or_default};

/// One event. Types differ in which of these fields they have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) object: Text<'a>,
    #[serde(borrow)]
    pub(super) item_id: Text<'a>,
    pub(super) output_index: Count,
    pub(super) content_index: Count,
    pub(super) summary_index: Count,
    #[serde(borrow)]
    pub(super) delta: Text<'a>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) item: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) annotation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) response: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) detail: Option<&'a RawValue>,
}

impl Event<'_> {
    /// Reports whether this is a failure that is no event of the dialect: `error` or `detail` alone,
    /// or the flat `{"object":"error"}`.
    pub(super) fn is_bare_failure(&self) -> bool {
        let says = |raw: &&RawValue| !matches!(raw.get(), "null" | "false" | "\"\"" | "{}");
        let named = self.error.as_ref().is_some_and(says) || self.detail.as_ref().is_some_and(says);
        self.kind.filled().is_none() && (named || self.object.0 == "error")
    }
}

/// A snapshot of the answer, or the whole of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) model: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) output: Vec<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    pub(super) usage: WireUsage,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) incomplete_details: Incomplete<'a>,
    #[serde(borrow)]
    pub(super) store: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) conversation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) service_tier: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Incomplete<'a> {
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
}

/// An item of the output.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) call_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) namespace: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) phase: Text<'a>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) summary: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) encrypted_content: Text<'a>,
}

/// A piece of an item's content or summary.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) refusal: Text<'a>,
    #[serde(borrow)]
    pub(super) annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
}

/// Reads a list of parts; a text alone is one part, and anything else is none.
pub(super) fn parts(raw: Option<&RawValue>) -> Vec<Part<'_>> {
    let json = raw.map_or("null", RawValue::get);
    if json.starts_with('"') {
        let text = serde_json::from_str(json).unwrap_or_default();
        return vec![Part { text, ..Part::default() }];
    }
    serde_json::from_str(json).unwrap_or_default()
}

/// Reads a text; nothing for `null`, and other JSON as it came.
pub(super) fn text_or_json(raw: Option<&RawValue>) -> Cow<'_, str> {
    match raw.map_or("null", RawValue::get) {
        "null" => Cow::Borrowed(""),
        text if text.starts_with('"') => {
            serde_json::from_str::<Text<'_>>(text).unwrap_or_default().0
        }
        json => Cow::Borrowed(json),
    }
}

/// Joins the stretches of a reasoning item as paragraphs.
pub(super) fn joined(texts: &[impl AsRef<str>]) -> String {
    let texts = texts.iter().map(AsRef::as_ref).filter(|text| !text.is_empty());
    texts.collect::<Vec<_>>().join(PARAGRAPH)
}

/// What stands between the stretches of a reasoning item.
pub(super) const PARAGRAPH: &str = "\n\n";

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    input_tokens: Count,
    output_tokens: Count,
    #[serde(deserialize_with = "or_default")]
    input_tokens_details: InputDetails,
    #[serde(deserialize_with = "or_default")]
    output_tokens_details: OutputDetails,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
}

impl WireUsage {
    /// Returns the counts; `None` when there are none.
    pub(super) fn counts(&self) -> Option<Usage> {
        let mut usage = Usage::default();
        usage.input_tokens = self.input_tokens.0;
        usage.output_tokens = self.output_tokens.0;
        usage.cached_input_tokens = self.input_tokens_details.cached_tokens.0;
        usage.cache_write_tokens = self.input_tokens_details.cache_write_tokens.0;
        usage.reasoning_tokens = self.output_tokens_details.reasoning_tokens.0;
        (usage != Usage::default()).then_some(usage)
    }
}
