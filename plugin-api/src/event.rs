//! What an exchange tells its client, in order.
//!
//! Their grammar stands in [`rules`](crate::rules), which also checks it.
//!
//! **Growth.** Variants of [`ChatEvent`] never gain fields; what is new becomes a new variant, which an
//! older host skips. Contract 1 leaves out several candidates for one request (`n` above 1): ask twice.
//!
//! **When something goes wrong.** A prompt that the vendor refuses before any answer is
//! `fail(ContentPolicy)`, whether it says so with an HTTP status or in a verdict without an answer. An
//! answer that has begun and that a filter cuts off, or that is a refusal, ends with
//! `finish(ContentFilter)`: what came is kept and counted. Likewise
//! [`FinishReason::Error`] is for a vendor that ends an answer in good order and says that it gave up
//! in the middle; a failure that it reports as such, and a stream that breaks off, are `fail`.

mod transcript;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::transcript::{Transcript, events_of};
use crate::{
    chat::{Citation, Continuity, Opaque, ToolKind},
    id::ContextId,
};

/// One step of a streamed answer.
///
/// `part` numbers the piece of the assistant's message that an event belongs to, so that
/// [`Transcript`] can rebuild the message exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChatEvent {
    /// The vendor accepted the request.
    Started {
        /// The vendor's id of the answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The model that really answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// More text.
    TextDelta {
        /// The part it belongs to.
        part: u32,
        /// The new text.
        text: String,
    },
    /// More reasoning.
    ReasoningDelta {
        /// The part it belongs to.
        part: u32,
        /// The new text.
        text: String,
        /// Whether this is the vendor's summary, not the reasoning itself.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        summary: bool,
    },
    /// More of a refusal.
    RefusalDelta {
        /// The part it belongs to.
        part: u32,
        /// The new text.
        text: String,
    },
    /// A tool call begins.
    ToolCallStart {
        /// The part it belongs to.
        part: u32,
        /// Links the call to its result; never empty.
        id: String,
        /// The tool's name; never empty.
        name: String,
        /// How the tool is called.
        #[serde(default)]
        kind: ToolKind,
    },
    /// More of a tool call's arguments.
    ToolCallDelta {
        /// The part it belongs to.
        part: u32,
        /// The new piece of the arguments.
        arguments: String,
    },
    /// A tool call is complete.
    ToolCallEnd {
        /// The part it belongs to.
        part: u32,
    },
    /// A token that must be sent back with this part.
    Continuity {
        /// The part it belongs to.
        part: u32,
        /// The token; the host stamps its issuer.
        continuity: Continuity,
    },
    /// A source of what was said.
    Citation {
        /// The text part it belongs to.
        part: u32,
        /// The source.
        citation: Box<Citation>,
    },
    /// A vendor's own block, whole.
    Opaque {
        /// The part it is.
        part: u32,
        /// The block.
        block: Opaque,
    },
    /// A picture or sound that the model made, whole or a piece.
    MediaDelta {
        /// The part it belongs to.
        part: u32,
        /// MIME type such as `image/png`.
        media_type: String,
        /// The new bytes, not encoded.
        #[serde(with = "crate::media_bytes")]
        data: Vec<u8>,
    },
    /// Tokens used so far; cumulative, the last one counts.
    Usage(Usage),
    /// A fact beside the answer that this vocabulary does not type: `logprobs`, `grounding`,
    /// `stop_sequence`, `service_tier`.
    Detail {
        /// The part that it belongs to; absent for the answer as a whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<u32>,
        /// Its name, the vendor's where there is none of ours.
        name: String,
        /// The fact. A later one of the same part and name replaces it, unless both are arrays: then
        /// it continues it.
        value: Value,
    },
    /// The vendor keeps this conversation; the next request may continue it with
    /// [`ChatRequest::context`](crate::chat::ChatRequest::context).
    Context {
        /// What to continue with.
        id: ContextId,
        /// What it is, in the vendor's words: `response`, `conversation`, `cached_content`.
        kind: String,
    },
    /// Something was dropped, changed or looks wrong, and the answer goes on.
    Warning {
        /// What, in one line.
        message: String,
    },
    /// The answer is complete.
    Finish {
        /// Why it ended.
        reason: FinishReason,
        /// The vendor's own word, where it says more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

impl ChatEvent {
    /// Returns the event's name as contract rules and `--json` spell it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::TextDelta { .. } => "text-delta",
            Self::ReasoningDelta { .. } => "reasoning-delta",
            Self::RefusalDelta { .. } => "refusal-delta",
            Self::ToolCallStart { .. } => "tool-call-start",
            Self::ToolCallDelta { .. } => "tool-call-delta",
            Self::ToolCallEnd { .. } => "tool-call-end",
            Self::Continuity { .. } => "continuity",
            Self::Citation { .. } => "citation",
            Self::Opaque { .. } => "opaque",
            Self::MediaDelta { .. } => "media-delta",
            Self::Usage(_) => "usage",
            Self::Detail { .. } => "detail",
            Self::Context { .. } => "context",
            Self::Warning { .. } => "warning",
            Self::Finish { .. } => "finish",
        }
    }

    /// Reports whether the event carries something that the model said.
    ///
    /// Until the first such event a failed request may be sent again unseen.
    #[must_use]
    pub const fn is_content(&self) -> bool {
        !matches!(
            self,
            Self::Started { .. }
                | Self::Usage(_)
                | Self::Detail { .. }
                | Self::Context { .. }
                | Self::Warning { .. }
                | Self::Finish { .. }
        )
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The model was done, or met a stop text.
    Stop,
    /// A token limit was reached.
    Length,
    /// The model waits for tool results.
    ToolCalls,
    /// The vendor's filter cut it off, or the model refused.
    ContentFilter,
    /// The vendor paused; sending the answer back continues it.
    Pause,
    /// The vendor gave up in the middle.
    Error,
    /// Anything else; the event's `detail` has the vendor's word.
    #[serde(other)]
    Other,
}

impl FinishReason {
    /// Returns the reason as `--json` spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Pause => "pause",
            Self::Error => "error",
            Self::Other => "other",
        }
    }
}

/// Tokens used, in OpenTelemetry's words.
///
/// `cached_input_tokens` and `cache_write_tokens` are part of `input_tokens`;
/// `reasoning_tokens` are part of `output_tokens`. Absent means the vendor did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the whole prompt, cached ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the whole answer, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Tokens of the prompt read from the vendor's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<u64>,
    /// Tokens of the prompt written to the vendor's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// Tokens of the answer spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Further counts, by a name that ends in `_tokens`: `cache_write_1h_tokens`,
    /// `audio_input_tokens`. Each is part of one of the above.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, u64>,
}

impl Usage {
    /// Makes a usage of the two counts that every vendor gives.
    #[must_use]
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens: Some(input_tokens),
            output_tokens: Some(output_tokens),
            ..Self::default()
        }
    }

    /// Overwrites each count that `later` has. Vendors report cumulatively and not always all counts.
    pub fn update(&mut self, later: &Self) {
        let keep = |now: &mut Option<u64>, then: Option<u64>| {
            if then.is_some() {
                *now = then;
            }
        };
        keep(&mut self.input_tokens, later.input_tokens);
        keep(&mut self.output_tokens, later.output_tokens);
        keep(&mut self.cached_input_tokens, later.cached_input_tokens);
        keep(&mut self.cache_write_tokens, later.cache_write_tokens);
        keep(&mut self.reasoning_tokens, later.reasoning_tokens);
        self.details.extend(later.details.iter().map(|(name, count)| (name.clone(), *count)));
    }
}

/// A typed view of an event as JSON, one line of `--json` output.
#[must_use]
pub fn to_json(event: &ChatEvent) -> Value {
    serde_json::to_value(event).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_keeps_counts_that_a_later_report_leaves_out() {
        let mut usage = Usage::new(90, 1);
        usage.cached_input_tokens = Some(30);
        usage.update(&Usage { output_tokens: Some(57), ..Usage::default() });
        assert_eq!(usage.input_tokens, Some(90));
        assert_eq!(usage.output_tokens, Some(57));
        assert_eq!(usage.cached_input_tokens, Some(30));
    }

    #[test]
    fn events_read_back_from_their_json() {
        let event = ChatEvent::Finish { reason: FinishReason::ToolCalls, detail: None };
        let json = to_json(&event);
        assert_eq!(json, serde_json::json!({"type": "finish", "reason": "tool_calls"}));
        assert_eq!(serde_json::from_value::<ChatEvent>(json).unwrap(), event);
    }
}
