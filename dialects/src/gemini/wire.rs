//! One chunk of a stream, or one whole answer: they are alike.
//!
//! Texts are borrowed from the event. Only fields that are read stand here; all others are skipped
//! without being built.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Deserializer, value::RawValue};

use super::{partial::PartialArg, usage::WireUsage};
use crate::lenient::{Count, Text, or_default};

/// A chunk, or a whole answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) candidates: Vec<Candidate<'a>>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) prompt_feedback: Feedback<'a>,
    #[serde(deserialize_with = "or_default")]
    pub(super) usage_metadata: WireUsage,
    #[serde(borrow)]
    pub(super) model_version: Text<'a>,
    #[serde(borrow)]
    pub(super) response_id: Text<'a>,
}

impl Chunk<'_> {
    /// Reports whether this is no chunk but a failure.
    pub(super) fn is_failure(&self) -> bool {
        self.error.is_some_and(|raw| !matches!(raw.get(), "false" | "\"\"" | "{}"))
    }

    /// Reports whether it says anything about an answer.
    pub(super) fn answers(&self) -> bool {
        !self.candidates.is_empty() || self.prompt_feedback.block_reason.filled().is_some()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Feedback<'a> {
    #[serde(borrow)]
    pub(super) block_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) safety_ratings: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    pub(super) index: Count,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) content: WireContent<'a>,
    #[serde(borrow)]
    pub(super) finish_reason: Text<'a>,
    #[serde(borrow)]
    pub(super) finish_message: Text<'a>,
    #[serde(borrow)]
    pub(super) continuation_token: Text<'a>,
    #[serde(borrow)]
    pub(super) safety_ratings: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) citation_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) url_context_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) avg_logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) logprobs_result: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireContent<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) parts: Vec<&'a RawValue>,
}

/// A part of an answer, as far as it is typed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) thought: bool,
    #[serde(borrow)]
    pub(super) thought_signature: Text<'a>,
    #[serde(borrow)]
    pub(super) function_call: Option<FunctionCall<'a>>,
    #[serde(borrow)]
    pub(super) inline_data: Option<Blob<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct FunctionCall<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) partial_args: Vec<PartialArg<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) will_continue: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    #[serde(borrow)]
    pub(super) mime_type: Text<'a>,
    #[serde(borrow)]
    pub(super) data: Text<'a>,
}

/// Reports whether a part holds more than the modifiers that any part may have.
pub(super) fn has_content(raw: &RawValue) -> bool {
    let fields: BTreeMap<Cow<'_, str>, Option<IgnoredAny>> =
        serde_json::from_str(raw.get()).unwrap_or_default();
    let modifier = |name: &str| matches!(name, "thought" | "thoughtSignature");
    fields.iter().any(|(name, value)| value.is_some() && !modifier(name))
}

/// Iterates over the JSON documents of a text, one after the other or the items of an array: the form
/// of a stream that was asked for without `alt=sse`.
pub(super) struct Documents<'a> {
    rest: &'a str,
    in_array: bool,
}

/// Why no further document can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The text ends in the middle.
    Cut,
    /// It is no JSON.
    Malformed,
}

impl<'a> Documents<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, in_array: false }
    }
}

impl<'a> Iterator for Documents<'a> {
    type Item = Result<&'a RawValue, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.rest = self.rest.trim_start();
            if self.in_array {
                self.rest = self.rest.strip_prefix(',').unwrap_or(self.rest).trim_start();
                if let Some(rest) = self.rest.strip_prefix(']') {
                    (self.rest, self.in_array) = (rest, false);
                    continue;
                }
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                (self.rest, self.in_array) = (rest, true);
                continue;
            }
            if self.rest.is_empty() {
                return std::mem::take(&mut self.in_array).then_some(Err(Broken::Cut));
            }
            let mut values = Deserializer::from_str(self.rest).into_iter::<&RawValue>();
            let next = values.next()?;
            let end = values.byte_offset();
            return Some(match next {
                Ok(raw) => {
                    self.rest = &self.rest[end..];
                    Ok(raw)
                }
                Err(error) => {
                    (self.rest, self.in_array) = ("", false);
                    Err(if error.is_eof() { Broken::Cut } else { Broken::Malformed })
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Vec<Result<&str, Broken>> {
        Documents::new(text).map(|document| document.map(RawValue::get)).collect()
    }

    #[test]
    fn documents_come_alone_in_rows_and_in_arrays() {
        assert_eq!(documents(" {\"a\":1}\n"), [Ok("{\"a\":1}")]);
        assert_eq!(documents("{}\r\n{\"b\":[2]}"), [Ok("{}"), Ok("{\"b\":[2]}")]);
        assert_eq!(documents("[{}\n,\r\n{\"b\":2}\n]\n"), [Ok("{}"), Ok("{\"b\":2}")]);
        assert_eq!(documents("[]"), []);
        assert_eq!(documents(""), []);
    }

    #[test]
    fn a_cut_is_told_from_what_is_no_json() {
        assert_eq!(documents("[{},{\"a\":"), [Ok("{}"), Err(Broken::Cut)]);
        assert_eq!(documents("[{}"), [Ok("{}"), Err(Broken::Cut)]);
        assert_eq!(documents("[INFO] ready"), [Err(Broken::Malformed)]);
        assert_eq!(documents("<html>"), [Err(Broken::Malformed)]);
    }
}
