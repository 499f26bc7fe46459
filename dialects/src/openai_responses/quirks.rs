//! What one server, or one kind of login, wants to be told differently.

use plugin_api::instance::Instance;

/// Switches for requests. The default is OpenAI itself under an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quirks {
    /// Whether a stream is asked for.
    pub stream: bool,
    /// Whether reasoning is asked for in its encrypted form, which a conversation needs that the
    /// vendor does not keep.
    pub encrypted_reasoning: bool,
    /// Whether items may speak in the role `system`. Without it they speak as `developer`, and the
    /// first one as `instructions`.
    pub supports_system_items: bool,
    /// The group that functions and tools of free text are offered in; absent means that they stand
    /// alone.
    pub namespace: Option<String>,
    /// Whether a function that does not say how strictly its schema holds is declared lax. Otherwise
    /// the server decides.
    pub lax_tools: bool,
    /// The vendor's own tools that may be offered; absent means all.
    pub hosted_tools: Option<&'static [&'static str]>,
    /// Fields of the wire that the server rejects. Those that only tune an answer are left out with a
    /// warning, the others refuse the request.
    pub rejected: &'static [&'static str],
}

impl Quirks {
    /// Returns the switches for the token of a ChatGPT plan, under which OpenAI takes less.
    #[must_use]
    pub fn chatgpt_plan() -> Self {
        Self {
            supports_system_items: false,
            namespace: Some("tools".into()),
            hosted_tools: Some(&["web_search"]),
            rejected: REJECTED_BY_PLANS,
            ..Self::default()
        }
    }

    /// Overrides these switches by a provider's settings.
    #[must_use]
    pub fn with_settings(self, instance: &Instance) -> Self {
        Self { stream: instance.flag("stream", self.stream), ..self }
    }

    /// Reports whether the server rejects a field.
    pub(super) fn rejects(&self, field: &str) -> bool {
        self.rejected.contains(&field)
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            stream: true,
            encrypted_reasoning: false,
            supports_system_items: true,
            namespace: None,
            lax_tools: false,
            hosted_tools: None,
            rejected: &[],
        }
    }
}

/// Reports whether the answer means the same without a field that a server rejects.
pub(super) fn only_tunes(field: &str) -> bool {
    matches!(
        field,
        "max_output_tokens"
            | "metadata"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "safety_identifier"
            | "service_tier"
            | "temperature"
            | "top_logprobs"
            | "top_p"
            | "truncation"
            | "user"
    )
}

/// What the vendor's documentation names, and two fields of which nobody knows for sure: without them
/// an answer is at most slower, with them it may be refused.
const REJECTED_BY_PLANS: &[&str] = &[
    "background",
    "conversation",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "moderation",
    "multi_agent",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "temperature",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];
