//! Tokens used, in the vendor's words.

use plugin_api::event::Usage;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::lenient::{Count, Text, or_default};

/// `usageMetadata`: repeated and cumulative, and not every chunk has every count.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WireUsage {
    prompt_token_count: Count,
    cached_content_token_count: Count,
    candidates_token_count: Count,
    thoughts_token_count: Count,
    tool_use_prompt_token_count: Count,
    #[serde(deserialize_with = "or_default")]
    prompt_tokens_details: Vec<Modality>,
    #[serde(deserialize_with = "or_default")]
    candidates_tokens_details: Vec<Modality>,
    #[serde(deserialize_with = "or_default")]
    cache_tokens_details: Vec<Modality>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Modality {
    #[serde(deserialize_with = "word")]
    modality: String,
    token_count: Count,
}

fn word<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Text::deserialize(from).map(|text| text.0.to_ascii_lowercase())
}

impl WireUsage {
    /// Overwrites each count that `later` has.
    pub(super) fn update(&mut self, later: Self) {
        let keep = |now: &mut Count, then: Count| {
            if then.0.is_some() {
                *now = then;
            }
        };
        keep(&mut self.prompt_token_count, later.prompt_token_count);
        keep(&mut self.cached_content_token_count, later.cached_content_token_count);
        keep(&mut self.candidates_token_count, later.candidates_token_count);
        keep(&mut self.thoughts_token_count, later.thoughts_token_count);
        keep(&mut self.tool_use_prompt_token_count, later.tool_use_prompt_token_count);
        let list = |now: &mut Vec<Modality>, then: Vec<Modality>| {
            if !then.is_empty() {
                *now = then;
            }
        };
        list(&mut self.prompt_tokens_details, later.prompt_tokens_details);
        list(&mut self.candidates_tokens_details, later.candidates_tokens_details);
        list(&mut self.cache_tokens_details, later.cache_tokens_details);
    }

    /// Returns the counts in neutral words; `None` when there are none.
    pub(super) fn counts(&self) -> Option<Usage> {
        let mut usage = Usage::default();
        usage.input_tokens = sum(self.prompt_token_count, self.tool_use_prompt_token_count);
        usage.output_tokens = sum(self.candidates_token_count, self.thoughts_token_count);
        usage.cached_input_tokens = self.cached_content_token_count.0;
        usage.reasoning_tokens = self.thoughts_token_count.0;
        if let Some(count) = self.tool_use_prompt_token_count.0 {
            usage.details.insert(TOOL_USE.into(), count);
        }
        for (list, suffix) in [
            (&self.prompt_tokens_details, INPUT),
            (&self.cache_tokens_details, CACHED),
            (&self.candidates_tokens_details, OUTPUT),
        ] {
            for entry in list {
                // What is left is text.
                if let (Some(count), false) =
                    (entry.token_count.0, matches!(&*entry.modality, "" | "text"))
                {
                    usage.details.insert(format!("{}{suffix}", entry.modality), count);
                }
            }
        }
        (usage != Usage::default()).then_some(usage)
    }
}

fn sum(a: Count, b: Count) -> Option<u64> {
    match (a.0, b.0) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
    }
}

/// Writes `usageMetadata`.
pub(super) fn to_json(usage: &Usage) -> Value {
    let mut out = Map::new();
    let tool_use = usage.details.get(TOOL_USE).copied();
    let less =
        |all: Option<u64>, part: Option<u64>| all.map(|all| all.saturating_sub(part.unwrap_or(0)));
    let total = usage.input_tokens.unwrap_or(0).saturating_add(usage.output_tokens.unwrap_or(0));
    for (name, count) in [
        ("promptTokenCount", less(usage.input_tokens, tool_use)),
        ("cachedContentTokenCount", usage.cached_input_tokens),
        ("candidatesTokenCount", less(usage.output_tokens, usage.reasoning_tokens)),
        ("thoughtsTokenCount", usage.reasoning_tokens),
        ("toolUsePromptTokenCount", tool_use),
        ("totalTokenCount", Some(total)),
    ] {
        if let Some(count) = count {
            out.insert(name.into(), count.into());
        }
    }
    for (field, suffix) in [
        ("cacheTokensDetails", CACHED),
        ("promptTokensDetails", INPUT),
        ("candidatesTokensDetails", OUTPUT),
    ] {
        let each = usage.details.iter().filter_map(|(name, count)| {
            let modality = name.strip_suffix(suffix).filter(|word| *word != "tool_use")?;
            // `audio_cached_input_tokens` also ends like an input.
            (!modality.ends_with("_cached"))
                .then(|| json!({"modality": modality.to_ascii_uppercase(), "tokenCount": count}))
        });
        let list: Vec<Value> = each.collect();
        if !list.is_empty() {
            out.insert(field.into(), list.into());
        }
    }
    out.into()
}

const TOOL_USE: &str = "tool_use_input_tokens";
const INPUT: &str = "_input_tokens";
const CACHED: &str = "_cached_input_tokens";
const OUTPUT: &str = "_output_tokens";
