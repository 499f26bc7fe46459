//! Known servers, as data. Where a server's documentation and its behaviour differ, the profile
//! follows the behaviour; what is not known is left as [`Quirks::compatible`] has it.
//!
//! [`Quirks::compatible`]: dialects::openai_chat::Quirks::compatible

use plugin_api::prelude::*;

/// Chat features that a server of this kind understands as a rule. What one model of it lacks, its
/// server says.
const USUAL: &[Feature] = &[
    Feature::Tools,
    Feature::ParallelTools,
    Feature::Images,
    Feature::StructuredOutput,
    Feature::Reasoning,
];

/// The same, and documents, sound and tools that take free text, for servers of which nothing is
/// known: they judge for themselves.
const ALL: &[Feature] = &[
    Feature::Tools,
    Feature::ParallelTools,
    Feature::CustomTools,
    Feature::Images,
    Feature::Audio,
    Feature::Files,
    Feature::StructuredOutput,
    Feature::Reasoning,
    Feature::CacheControl,
    Feature::Citations,
];

const NO_EMBEDDINGS: &[Capability] = &[Capability::Embeddings];

/// A server on this machine. A key is possible and usually not needed.
const fn local(
    id: &'static str,
    name: &'static str,
    base_url: &'static str,
    key: &'static [AuthSpec],
) -> ProviderSpec {
    cloud(id, name, base_url, key).features(ALL).local(true)
}

/// A service that wants a key.
const fn cloud(
    id: &'static str,
    name: &'static str,
    base_url: &'static str,
    key: &'static [AuthSpec],
) -> ProviderSpec {
    ProviderSpec::new(id)
        .display_name(name)
        .base_url(base_url)
        .profile(id)
        .auth(key)
        .features(USUAL)
        .dialects(&["openai-chat"])
}

/// A key in `Authorization: Bearer …`.
const fn key(env: &'static [&'static str], prefix: &'static str, obtain: &'static str) -> AuthSpec {
    AuthSpec::ApiKey(ApiKeySpec::bearer().env(env).prefix(prefix).obtain_url(obtain))
}

/// A key that a server may or may not ask for.
const OPTIONAL_KEY: AuthSpec = AuthSpec::ApiKey(ApiKeySpec::bearer().optional(true));

/// The services.
pub(crate) const PROVIDERS: &[ProviderSpec] = &[
    local("ollama", "Ollama", "http://127.0.0.1:11434/v1", &[OPTIONAL_KEY]),
    local("llama-cpp", "llama.cpp", "http://127.0.0.1:8080/v1", &[OPTIONAL_KEY]),
    local("vllm", "vLLM", "http://127.0.0.1:8000/v1", &[OPTIONAL_KEY]),
    local("lm-studio", "LM Studio", "http://127.0.0.1:1234/v1", &[OPTIONAL_KEY]),
    local("sglang", "SGLang", "http://127.0.0.1:30000/v1", &[OPTIONAL_KEY]),
    cloud(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        &[key(&["OPENROUTER_API_KEY"], "sk-or-", "https://openrouter.ai/settings/keys")],
    )
    .features(ALL)
    .docs_url("https://openrouter.ai/docs"),
    cloud(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        &[key(&["GROQ_API_KEY"], "gsk_", "https://console.groq.com/keys")],
    )
    .without(NO_EMBEDDINGS)
    .docs_url("https://console.groq.com/docs"),
    cloud(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com",
        &[key(&["DEEPSEEK_API_KEY"], "sk-", "https://platform.deepseek.com/api_keys")],
    )
    .features(&[Feature::Tools, Feature::Reasoning])
    .without(NO_EMBEDDINGS)
    .docs_url("https://api-docs.deepseek.com"),
    cloud(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        &[key(&["MISTRAL_API_KEY"], "", "https://console.mistral.ai/api-keys")],
    )
    .docs_url("https://docs.mistral.ai"),
    cloud(
        "together",
        "Together AI",
        "https://api.together.xyz/v1",
        &[key(&["TOGETHER_API_KEY"], "", "https://api.together.ai/settings/api-keys")],
    )
    .docs_url("https://docs.together.ai"),
    cloud(
        "fireworks",
        "Fireworks AI",
        "https://api.fireworks.ai/inference/v1",
        &[key(&["FIREWORKS_API_KEY"], "", "https://app.fireworks.ai/settings/users/api-keys")],
    )
    .docs_url("https://docs.fireworks.ai"),
    cloud(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        &[key(&["XAI_API_KEY"], "xai-", "https://console.x.ai")],
    )
    .without(NO_EMBEDDINGS)
    .docs_url("https://docs.x.ai"),
    cloud(
        "cerebras",
        "Cerebras",
        "https://api.cerebras.ai/v1",
        &[key(&["CEREBRAS_API_KEY"], "csk-", "https://cloud.cerebras.ai")],
    )
    .without(NO_EMBEDDINGS)
    .docs_url("https://inference-docs.cerebras.ai"),
    cloud(
        "perplexity",
        "Perplexity",
        "https://api.perplexity.ai",
        &[key(
            &["PERPLEXITY_API_KEY", "PPLX_API_KEY"],
            "pplx-",
            "https://www.perplexity.ai/settings/api",
        )],
    )
    .features(&[Feature::Images, Feature::StructuredOutput, Feature::Reasoning, Feature::Citations])
    .without(NO_EMBEDDINGS)
    .docs_url("https://docs.perplexity.ai"),
    cloud(
        "azure-openai",
        "Azure OpenAI",
        "https://{resource}.openai.azure.com/openai/v1",
        &[AuthSpec::ApiKey(
            ApiKeySpec::new(PlacementSpec::Header { name: "api-key", prefix: "" })
                .env(&["AZURE_OPENAI_API_KEY"])
                .obtain_url("https://portal.azure.com"),
        )],
    )
    .requires(&["resource"])
    .docs_url("https://learn.microsoft.com/azure/ai-foundry/openai/"),
    cloud(
        "github-models",
        "GitHub Models",
        "https://models.github.ai/inference",
        &[key(&["GITHUB_TOKEN"], "", "https://github.com/settings/tokens")],
    )
    .docs_url("https://docs.github.com/github-models"),
    cloud(
        "gemini-compatible",
        "Gemini, OpenAI-compatible endpoint",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        &[key(&["GOOGLE_API_KEY", "GEMINI_API_KEY"], "", "https://aistudio.google.com/apikey")],
    )
    .docs_url("https://ai.google.dev/gemini-api/docs/openai"),
];

/// What each of them wants to be told differently.
pub(crate) const PROFILES: &[ProfileSpec] = &[
    ProfileSpec::new("openai")
        .description("A server that accepts all that OpenAI accepts.")
        .values(&[
            ValueSpec::text("system_role", "developer"),
            ValueSpec::text("max_tokens_field", "max_completion_tokens"),
            ValueSpec::flag("supports_parallel_tool_calls", true),
            ValueSpec::flag("supports_allowed_tools", true),
            ValueSpec::flag("supports_custom_tools", true),
            ValueSpec::flag("supports_cache_key", true),
            ValueSpec::flag("supports_metadata", true),
            ValueSpec::flag("supports_top_k", false),
        ]),
    ProfileSpec::new("ollama").values(&[ValueSpec::flag("supports_image_url", false)]),
    ProfileSpec::new("llama-cpp").values(&[ValueSpec::flag("supports_parallel_tool_calls", true)]),
    ProfileSpec::new("vllm").values(&[ValueSpec::flag("supports_parallel_tool_calls", true)]),
    ProfileSpec::new("lm-studio"),
    ProfileSpec::new("sglang"),
    ProfileSpec::new("openrouter").values(&[
        ValueSpec::text("send_reasoning_back", "reasoning_details"),
        ValueSpec::flag("supports_parallel_tool_calls", true),
        // Anyone may read the list of models; the key's own record only its holder.
        ValueSpec::text("test_url", "https://openrouter.ai/api/v1/key"),
    ]),
    ProfileSpec::new("groq").values(&[
        ValueSpec::text("max_tokens_field", "max_completion_tokens"),
        ValueSpec::flag("supports_parallel_tool_calls", true),
        ValueSpec::flag("supports_top_k", false),
    ]),
    ProfileSpec::new("deepseek").values(&[
        ValueSpec::text("send_reasoning_back", "reasoning_content"),
        ValueSpec::flag("supports_top_k", false),
    ]),
    ProfileSpec::new("mistral").values(&[
        ValueSpec::flag("supports_stream_options", false),
        ValueSpec::text("seed_field", "random_seed"),
        ValueSpec::text("tool_choice_required", "any"),
        ValueSpec::text("tool_ids", "alphanumeric9"),
        ValueSpec::text("send_reasoning_back", "thinking"),
        ValueSpec::flag("supports_parallel_tool_calls", true),
        ValueSpec::flag("supports_top_k", false),
        ValueSpec::flag("tool_result_name", true),
    ]),
    ProfileSpec::new("together"),
    ProfileSpec::new("fireworks"),
    ProfileSpec::new("xai").values(&[
        ValueSpec::flag("supports_parallel_tool_calls", true),
        ValueSpec::flag("supports_top_k", false),
    ]),
    ProfileSpec::new("cerebras").values(&[
        ValueSpec::text("max_tokens_field", "max_completion_tokens"),
        ValueSpec::flag("supports_parallel_tool_calls", true),
        ValueSpec::flag("supports_top_k", false),
    ]),
    ProfileSpec::new("perplexity").values(&[
        ValueSpec::texts(
            "models",
            &["sonar", "sonar-pro", "sonar-reasoning-pro", "sonar-deep-research"],
        ),
        ValueSpec::flag("supports_stream_options", false),
    ]),
    ProfileSpec::new("azure-openai").values(&[
        ValueSpec::text("system_role", "developer"),
        ValueSpec::text("max_tokens_field", "max_completion_tokens"),
        ValueSpec::flag("supports_parallel_tool_calls", true),
        ValueSpec::flag("supports_top_k", false),
    ]),
    ProfileSpec::new("github-models").values(&[
        ValueSpec::text("models_url", "https://models.github.ai/catalog/models"),
        // The catalogue is public, so it proves nothing of a key.
        ValueSpec::text("test_url", "none"),
        ValueSpec::flag("supports_top_k", false),
    ]),
    ProfileSpec::new("gemini-compatible").values(&[
        ValueSpec::flag("supports_top_k", false),
        ValueSpec::flag("tool_result_name", true),
    ]),
];
