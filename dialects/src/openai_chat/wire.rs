//! One chunk of a stream, or one whole answer, as servers write them.
//!
//! Texts are borrowed from the event. Only fields that are read stand here; all others are skipped
//! without being built.

use std::{borrow::Cow, fmt};

use plugin_api::event::Usage;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::lenient::{Count, Text, or_default};

/// A chunk, or a whole answer: they differ in `delta` and `message` alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) model: Text<'a>,
    #[serde(borrow)]
    pub(super) object: Text<'a>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) detail: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) choices: Vec<Choice<'a>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) usage: WireUsage,
    #[serde(deserialize_with = "or_default")]
    pub(super) x_groq: Groq,
    #[serde(borrow)]
    pub(super) citations: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) search_results: Option<&'a RawValue>,
}

impl Chunk<'_> {
    /// Reports whether this is no chunk but a failure: `error` that says something (object or text),
    /// the flat `{"object":"error"}` of older vLLM and Mistral, or FastAPI's `{"detail"}`.
    pub(super) fn is_failure(&self) -> bool {
        let says = |raw: &&RawValue| !matches!(raw.get(), "null" | "false" | "\"\"" | "{}");
        self.error.as_ref().is_some_and(says)
            || self.object.0 == "error"
            || (self.choices.is_empty() && self.detail.as_ref().is_some_and(says))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    pub(super) index: Count,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) delta: Delta<'a>,
    #[serde(borrow)]
    pub(super) message: Option<Delta<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) content: WireContent<'a>,
    #[serde(borrow)]
    pub(super) refusal: Text<'a>,
    #[serde(borrow)]
    pub(super) reasoning_content: Text<'a>,
    #[serde(borrow)]
    pub(super) reasoning: Text<'a>,
    #[serde(borrow)]
    pub(super) reasoning_details: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) tool_calls: Vec<Fragment<'a>>,
    #[serde(borrow)]
    pub(super) function_call: Option<Called<'a>>,
    #[serde(borrow)]
    pub(super) annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) extra_content: Option<Extra<'a>>,
    #[serde(borrow)]
    pub(super) images: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) audio: Option<Audio<'a>>,
}

/// A piece of a tool call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fragment<'a> {
    pub(super) index: Count,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) function: Option<Called<'a>>,
    #[serde(borrow)]
    pub(super) custom: Option<Called<'a>>,
    #[serde(borrow)]
    pub(super) extra_content: Option<Extra<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Called<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

/// Returns arguments as text: a text's content, nothing for `null`, and the JSON of an object
/// (Mistral) as it came.
pub(super) fn arguments<'a>(raw: Option<&'a RawValue>) -> Cow<'a, str> {
    let Some(raw) = raw else { return Cow::Borrowed("") };
    match raw.get() {
        "null" => Cow::Borrowed(""),
        text if text.starts_with('"') => {
            serde_json::from_str::<Text<'a>>(text).unwrap_or_default().0
        }
        json => Cow::Borrowed(json),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Extra<'a> {
    #[serde(borrow, deserialize_with = "or_default")]
    pub(super) google: Google<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Google<'a> {
    #[serde(borrow)]
    pub(super) thought_signature: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Audio<'a> {
    #[serde(borrow)]
    pub(super) transcript: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Groq {
    #[serde(deserialize_with = "or_default")]
    pub(super) usage: WireUsage,
}

/// Tokens used, in the words of each server.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    #[serde(deserialize_with = "or_default")]
    prompt_tokens_details: PromptDetails,
    #[serde(deserialize_with = "or_default")]
    completion_tokens_details: CompletionDetails,
    /// `DeepSeek`'s word for cached tokens.
    prompt_cache_hit_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
}

impl WireUsage {
    /// Returns the counts; `None` when there are none.
    ///
    /// Reasoning is part of `completion_tokens`, except with servers whose total shows that they
    /// count it beside them (xAI, Gemini's compatible endpoint).
    pub(super) fn counts(&self) -> Option<Usage> {
        let mut usage = Usage::default();
        usage.input_tokens = self.prompt_tokens.0;
        usage.output_tokens = self.completion_tokens.0;
        usage.cached_input_tokens =
            self.prompt_tokens_details.cached_tokens.0.or(self.prompt_cache_hit_tokens.0);
        usage.cache_write_tokens = self.prompt_tokens_details.cache_write_tokens.0;
        usage.reasoning_tokens = self.completion_tokens_details.reasoning_tokens.0;
        if let (Some(input), Some(output), Some(total), Some(reasoning)) =
            (usage.input_tokens, usage.output_tokens, self.total_tokens.0, usage.reasoning_tokens)
            && reasoning > 0
            && Some(total) == input.checked_add(output).and_then(|sum| sum.checked_add(reasoning))
        {
            usage.output_tokens = Some(output + reasoning);
        }
        (usage != Usage::default()).then_some(usage)
    }
}

/// `content`: a text, Mistral's array of chunks, or nothing.
#[derive(Debug, Default)]
pub(super) enum WireContent<'a> {
    #[default]
    Nothing,
    Text(Cow<'a, str>),
    Pieces(Vec<Piece<'a>>),
}

/// A chunk of a content array.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Text<'a>,
    #[serde(borrow)]
    pub(super) refusal: Text<'a>,
    #[serde(borrow)]
    pub(super) thinking: WireContent<'a>,
    #[serde(borrow)]
    pub(super) signature: Text<'a>,
    #[serde(deserialize_with = "or_default")]
    pub(super) closed: bool,
    #[serde(borrow)]
    pub(super) reference_ids: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) image_url: Option<&'a RawValue>,
}

impl WireContent<'_> {
    /// Returns all its text, for `thinking`, which is itself a text or an array.
    pub(super) fn joined(&self) -> Cow<'_, str> {
        match self {
            Self::Nothing => Cow::Borrowed(""),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Pieces(pieces) => pieces.iter().map(|piece| &*piece.text.0).collect(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WireContent<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = WireContent<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, an array of chunks or null")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(WireContent::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(WireContent::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(WireContent::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut pieces = Vec::new();
        while let Some(piece) = seq.next_element()? {
            pieces.push(piece);
        }
        Ok(WireContent::Pieces(pieces))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(WireContent::Nothing)
    }
}
