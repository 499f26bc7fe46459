//! What one server wants to be told differently from the next.

use plugin_api::instance::Instance;

/// Switches for requests, read from a provider's settings.
///
/// The default is OpenAI itself. A profile of the `openai-compatible` plugin sets the others. Each
/// setting has its field's name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quirks {
    /// Whether a stream is asked for. Off for servers that only answer whole.
    pub stream: bool,
    /// Whether `stream_options` is understood; without it most servers send no usage. Older vLLM,
    /// Mistral and some proxies refuse the field.
    pub supports_stream_options: bool,
    /// How a developer message is labelled: `developer` (OpenAI) or `system` (nearly all others,
    /// which refuse the newer word).
    pub system_role: SystemRole,
    /// The field for the token limit: `max_completion_tokens` (OpenAI, whose reasoning models refuse
    /// the older one) or `max_tokens` (Mistral, DeepSeek, most local servers).
    pub max_tokens_field: MaxTokensField,
    /// Whether `parallel_tool_calls` is understood.
    pub supports_parallel_tool_calls: bool,
    /// In which form earlier reasoning goes back. DeepSeek's newer models want it with tools and the
    /// older reasoner refuses it, so this is a setting and not a fact of the server.
    pub send_reasoning_back: ReasoningBack,
    /// Whether the server fetches image URLs. Ollama takes only `data:` URIs.
    pub supports_image_url: bool,
    /// The field for the seed: `seed`, or `random_seed` (Mistral).
    pub seed_field: String,
    /// The word that demands a tool call: `required`, or `any` (Mistral).
    pub tool_choice_required: String,
    /// Whether `allowed_tools` is understood as a tool choice. Without it only the allowed tools are
    /// sent.
    pub supports_allowed_tools: bool,
    /// Whether tools that take free text are understood. OpenAI alone has them.
    pub supports_custom_tools: bool,
    /// Whether `reasoning_effort` is understood.
    pub reasoning_effort: bool,
    /// Which tool call ids are accepted.
    pub tool_ids: ToolIds,
    /// Whether `top_k` is understood (llama.cpp, vLLM, SGLang, LM Studio, `OpenRouter`; not OpenAI).
    pub supports_top_k: bool,
    /// Whether parts may carry `prompt_cache_breakpoint`.
    pub supports_cache_breakpoints: bool,
    /// Whether `prompt_cache_key` is understood.
    pub supports_cache_key: bool,
    /// Whether `metadata` is understood.
    pub supports_metadata: bool,
    /// The field for the end user's opaque name: `user`, or `safety_identifier` (OpenAI's newer one).
    pub user_field: String,
    /// Whether a tool message may carry the tool's `name` (Mistral and Gemini want it).
    pub tool_result_name: bool,
}

impl Quirks {
    /// Returns the switches of a cautious client: what a server that is known only by its URL is
    /// most likely to accept.
    #[must_use]
    pub fn compatible() -> Self {
        Self {
            system_role: SystemRole::System,
            max_tokens_field: MaxTokensField::MaxTokens,
            supports_parallel_tool_calls: false,
            supports_allowed_tools: false,
            supports_custom_tools: false,
            supports_cache_key: false,
            supports_metadata: false,
            supports_top_k: true,
            ..Self::default()
        }
    }

    /// Reads the switches from a provider's settings; what is absent is as for OpenAI.
    #[must_use]
    pub fn from_settings(instance: &Instance) -> Self {
        Self::default().with_settings(instance)
    }

    /// Overrides these switches by a provider's settings.
    #[must_use]
    pub fn with_settings(self, instance: &Instance) -> Self {
        let text = |name: &str, default: String| match instance.text(name) {
            "" => default,
            text => text.to_owned(),
        };
        Self {
            stream: instance.flag("stream", self.stream),
            supports_stream_options: instance
                .flag("supports_stream_options", self.supports_stream_options),
            system_role: match instance.text("system_role") {
                "system" => SystemRole::System,
                "developer" => SystemRole::Developer,
                _ => self.system_role,
            },
            max_tokens_field: match instance.text("max_tokens_field") {
                "max_tokens" => MaxTokensField::MaxTokens,
                "max_completion_tokens" => MaxTokensField::MaxCompletionTokens,
                _ => self.max_tokens_field,
            },
            supports_parallel_tool_calls: instance
                .flag("supports_parallel_tool_calls", self.supports_parallel_tool_calls),
            send_reasoning_back: match instance.text("send_reasoning_back") {
                "none" => ReasoningBack::None,
                "reasoning_content" => ReasoningBack::ReasoningContent,
                "reasoning_details" => ReasoningBack::ReasoningDetails,
                "thinking" => ReasoningBack::Thinking,
                _ => self.send_reasoning_back,
            },
            supports_image_url: instance.flag("supports_image_url", self.supports_image_url),
            seed_field: text("seed_field", self.seed_field),
            tool_choice_required: text("tool_choice_required", self.tool_choice_required),
            supports_allowed_tools: instance
                .flag("supports_allowed_tools", self.supports_allowed_tools),
            supports_custom_tools: instance
                .flag("supports_custom_tools", self.supports_custom_tools),
            reasoning_effort: instance.flag("reasoning_effort", self.reasoning_effort),
            tool_ids: match instance.text("tool_ids") {
                "any" => ToolIds::Any,
                "alphanumeric9" => ToolIds::Alphanumeric9,
                _ => self.tool_ids,
            },
            supports_top_k: instance.flag("supports_top_k", self.supports_top_k),
            supports_cache_breakpoints: instance
                .flag("supports_cache_breakpoints", self.supports_cache_breakpoints),
            supports_cache_key: instance.flag("supports_cache_key", self.supports_cache_key),
            supports_metadata: instance.flag("supports_metadata", self.supports_metadata),
            user_field: text("user_field", self.user_field),
            tool_result_name: instance.flag("tool_result_name", self.tool_result_name),
        }
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            stream: true,
            supports_stream_options: true,
            system_role: SystemRole::Developer,
            max_tokens_field: MaxTokensField::MaxCompletionTokens,
            supports_parallel_tool_calls: true,
            send_reasoning_back: ReasoningBack::None,
            supports_image_url: true,
            seed_field: "seed".into(),
            tool_choice_required: "required".into(),
            supports_allowed_tools: true,
            supports_custom_tools: true,
            reasoning_effort: true,
            tool_ids: ToolIds::Any,
            supports_top_k: false,
            supports_cache_breakpoints: false,
            supports_cache_key: true,
            supports_metadata: true,
            user_field: "user".into(),
            tool_result_name: false,
        }
    }
}

/// How a developer message is labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SystemRole {
    /// As `developer`.
    Developer,
    /// As `system`.
    System,
}

/// The field for the token limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaxTokensField {
    /// `max_completion_tokens`.
    MaxCompletionTokens,
    /// `max_tokens`.
    MaxTokens,
}

impl MaxTokensField {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxTokens => "max_tokens",
        }
    }
}

/// In which form earlier reasoning goes back to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasoningBack {
    /// Not at all (OpenAI, Ollama, Groq).
    None,
    /// As the message's `reasoning_content` (`DeepSeek` with tools).
    ReasoningContent,
    /// As the message's `reasoning_details`, token and all (`OpenRouter`).
    ReasoningDetails,
    /// As `thinking` chunks of the content (Mistral).
    Thinking,
}

/// Which tool call ids a server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolIds {
    /// Any text.
    Any,
    /// Nine letters and digits (Mistral's older models); others are replaced by such, alike in a call
    /// and its result.
    Alphanumeric9,
}

#[cfg(test)]
mod tests {
    use plugin_api::ProviderId;

    use super::*;

    #[test]
    fn settings_override_what_openai_does() {
        let mut instance = Instance::new(ProviderId::new("lab").unwrap(), "http://x/v1");
        assert_eq!(Quirks::from_settings(&instance), Quirks::default());
        assert_eq!(Quirks::compatible().with_settings(&instance), Quirks::compatible());
        instance.settings = serde_json::from_value(serde_json::json!({
            "stream": false, "supports_stream_options": false, "system_role": "system",
            "max_tokens_field": "max_tokens", "supports_parallel_tool_calls": false,
            "send_reasoning_back": "thinking", "supports_image_url": false,
            "seed_field": "random_seed", "tool_choice_required": "any", "reasoning_effort": false,
            "tool_ids": "alphanumeric9", "user_field": "safety_identifier",
        }))
        .unwrap();
        let quirks = Quirks::from_settings(&instance);
        assert!(!quirks.stream && !quirks.supports_stream_options && !quirks.reasoning_effort);
        assert_eq!(quirks.system_role, SystemRole::System);
        assert_eq!(quirks.max_tokens_field, MaxTokensField::MaxTokens);
        assert_eq!(quirks.send_reasoning_back, ReasoningBack::Thinking);
        assert_eq!((&*quirks.seed_field, &*quirks.tool_choice_required), ("random_seed", "any"));
        assert_eq!(quirks.tool_ids, ToolIds::Alphanumeric9);
        assert_eq!(quirks.user_field, "safety_identifier");
        for (name, expected) in [
            ("none", ReasoningBack::None),
            ("reasoning_content", ReasoningBack::ReasoningContent),
            ("reasoning_details", ReasoningBack::ReasoningDetails),
        ] {
            instance.settings.insert("send_reasoning_back".into(), name.into());
            assert_eq!(Quirks::from_settings(&instance).send_reasoning_back, expected);
        }
        for (name, word) in [
            ("system_role", "developer"),
            ("max_tokens_field", "max_completion_tokens"),
            ("tool_ids", "any"),
        ] {
            instance.settings.insert(name.into(), word.into());
        }
        let quirks = Quirks::compatible().with_settings(&instance);
        assert_eq!(quirks.system_role, SystemRole::Developer);
        assert_eq!(quirks.max_tokens_field, MaxTokensField::MaxCompletionTokens);
        assert_eq!(quirks.tool_ids, ToolIds::Any);
    }
}
