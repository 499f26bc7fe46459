//! Tokens used.
//!
//! Anthropic counts the cached part of a prompt beside `input_tokens`, the neutral form inside it.
//! Counts in a stream are cumulative and not always all there, so they are kept apart until they
//! are added up.

use plugin_api::event::Usage;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::wire::or_ignore;
use crate::lenient::Count;

/// `usage` of a message or of an event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage<'a> {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    output_tokens: Count,
    #[serde(deserialize_with = "or_ignore")]
    cache_creation: Creation,
    #[serde(deserialize_with = "or_ignore")]
    output_tokens_details: OutputDetails,
    #[serde(borrow)]
    server_tool_use: Option<&'a RawValue>,
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    speed: Option<&'a RawValue>,
    #[serde(borrow)]
    inference_geo: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Creation {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Count,
}

impl WireUsage<'_> {
    /// Returns what stands here beside counts of tokens, by the vendor's names.
    pub(super) fn facts(&self) -> impl Iterator<Item = (&'static str, Value)> {
        [
            ("server_tool_use", self.server_tool_use),
            ("service_tier", self.service_tier),
            ("speed", self.speed),
            ("inference_geo", self.inference_geo),
        ]
        .into_iter()
        .filter_map(|(name, raw)| Some((name, serde_json::from_str(raw?.get()).ok()?)))
    }
}

/// The counts as last reported, each by itself.
#[derive(Debug, Default)]
pub(super) struct Tally {
    input: Option<u64>,
    cache_write: Option<u64>,
    cache_read: Option<u64>,
    output: Option<u64>,
    write_5m: Option<u64>,
    write_1h: Option<u64>,
    thinking: Option<u64>,
}

impl Tally {
    /// Overwrites each count that is there.
    pub(super) fn update(&mut self, wire: &WireUsage<'_>) {
        for (now, Count(then)) in [
            (&mut self.input, wire.input_tokens),
            (&mut self.cache_write, wire.cache_creation_input_tokens),
            (&mut self.cache_read, wire.cache_read_input_tokens),
            (&mut self.output, wire.output_tokens),
            (&mut self.write_5m, wire.cache_creation.ephemeral_5m_input_tokens),
            (&mut self.write_1h, wire.cache_creation.ephemeral_1h_input_tokens),
            (&mut self.thinking, wire.output_tokens_details.thinking_tokens),
        ] {
            *now = then.or(*now);
        }
    }

    /// Adds the counts up.
    pub(super) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        usage.input_tokens = self.input.map(|input| {
            let cached = self.cache_write.unwrap_or(0).saturating_add(self.cache_read.unwrap_or(0));
            input.saturating_add(cached)
        });
        usage.output_tokens = self.output;
        usage.cached_input_tokens = self.cache_read;
        usage.cache_write_tokens = self.cache_write;
        usage.reasoning_tokens = self.thinking;
        for (name, count) in [(WRITE_5M, self.write_5m), (WRITE_1H, self.write_1h)] {
            // They come in pairs, of which one usually says nothing.
            let count = count.filter(|count| *count > 0);
            usage.details.extend(count.map(|count| (name.to_owned(), count)));
        }
        usage
    }
}

/// Writes the counts as Anthropic does; the two that its clients add up are always there.
pub(super) fn to_json(usage: &Usage) -> Value {
    let (read, write) = (usage.cached_input_tokens, usage.cache_write_tokens);
    let cached = read.unwrap_or(0).saturating_add(write.unwrap_or(0));
    let input = usage.input_tokens.unwrap_or(0).saturating_sub(cached);
    let mut value =
        json!({"input_tokens": input, "output_tokens": usage.output_tokens.unwrap_or(0)});
    for (name, count) in [("cache_read_input_tokens", read), ("cache_creation_input_tokens", write)]
    {
        if let Some(count) = count {
            value[name] = count.into();
        }
    }
    if let Some(count) = usage.reasoning_tokens {
        value["output_tokens_details"] = json!({"thinking_tokens": count});
    }
    let written = |name: &str| usage.details.get(name).copied();
    let (short, long) = (written(WRITE_5M), written(WRITE_1H));
    if short.or(long).is_some() {
        value["cache_creation"] = json!({
            "ephemeral_5m_input_tokens": short.unwrap_or(0),
            "ephemeral_1h_input_tokens": long.unwrap_or(0),
        });
    }
    value
}

const WRITE_5M: &str = "cache_write_5m_tokens";
const WRITE_1H: &str = "cache_write_1h_tokens";

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(reports: &[&str]) -> Usage {
        let mut tally = Tally::default();
        for report in reports {
            tally.update(&serde_json::from_str(report).unwrap());
        }
        tally.usage()
    }

    #[test]
    fn what_a_later_report_leaves_out_stays_before_it_is_added_up() {
        let usage = tally(&[
            r#"{"input_tokens":90,"cache_creation_input_tokens":10,"cache_read_input_tokens":300,"output_tokens":1}"#,
            r#"{"input_tokens":null,"cache_read_input_tokens":301,"output_tokens":"57"}"#,
        ]);
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(401), Some(57)));
        assert_eq!((usage.cached_input_tokens, usage.cache_write_tokens), (Some(301), Some(10)));
    }

    #[test]
    fn odd_values_are_no_counts() {
        let odd = r#"{"input_tokens":[],"output_tokens":-1,"cache_creation":7,
            "output_tokens_details":"x"}"#;
        assert_eq!(tally(&[odd]), Usage::default());
    }

    #[test]
    fn written_counts_read_back() {
        let usage = tally(&[r#"{"input_tokens":5,"cache_creation_input_tokens":3,
            "cache_read_input_tokens":2,"output_tokens":9,
            "cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2},
            "output_tokens_details":{"thinking_tokens":4}}"#]);
        assert_eq!(usage.input_tokens, Some(10));
        assert_eq!(tally(&[&to_json(&usage).to_string()]), usage);
    }
}
