//! What the plugin declares: the provider, how one logs in, and what can be set.

use plugin_api::{
    auth::{AskSpec, OAuthSpec},
    prelude::*,
};

/// The key of the Gemini API.
///
/// It goes into a header; the query parameter that the vendor also takes ends up in logs.
const API_KEY: AuthSpec = AuthSpec::ApiKey(
    ApiKeySpec::new(PlacementSpec::Header { name: "x-goog-api-key", prefix: "" })
        .display_name("Gemini API key")
        .env(&["GOOGLE_API_KEY", "GEMINI_API_KEY"])
        .obtain_url("https://aistudio.google.com/apikey"),
);

/// The user's own OAuth client, of type "Desktop app", made in their Google Cloud project.
///
/// The vendor forbids third parties the client of its own command line tool, so none is known here.
/// Without `prompt=consent` a second login gets no refresh token.
const OAUTH: AuthSpec = AuthSpec::OAuth(
    OAuthSpec::new()
        .display_name("Google account (your own OAuth client)")
        .authorization_url("https://accounts.google.com/o/oauth2/v2/auth")
        .token_url("https://oauth2.googleapis.com/token")
        .revocation_url("https://oauth2.googleapis.com/revoke")
        .scopes(&[
            "https://www.googleapis.com/auth/cloud-platform",
            "https://www.googleapis.com/auth/generative-language.retriever",
        ])
        .flows(&["loopback"])
        .client_id("configured")
        .client_secret(true)
        .authorization_params(&["access_type=offline", "prompt=consent"])
        .asks(&[AskSpec::new(PROJECT)
            .help("Google Cloud project that pays for the calls: its id, as the console shows it.")
            .env(&["GOOGLE_CLOUD_PROJECT"])]),
);

/// The session's attribute that names the project which a call under OAuth counts for.
pub(crate) const PROJECT: &str = "project";

/// The service.
pub(crate) const PROVIDERS: &[ProviderSpec] = &[ProviderSpec::new("gemini")
    .display_name("Google Gemini")
    .base_url("https://generativelanguage.googleapis.com")
    .auth(&[API_KEY, OAUTH])
    .profile("gemini")
    .dialects(&["gemini"])
    .docs_url("https://ai.google.dev/gemini-api/docs")
    .features(&[
        Feature::Tools,
        Feature::ParallelTools,
        Feature::Images,
        Feature::Audio,
        Feature::Files,
        Feature::StructuredOutput,
        Feature::Reasoning,
        Feature::Citations,
    ])];

/// One set, without values: a server of the user's own that names it takes its key where the vendor
/// does, and not as a bearer's token.
pub(crate) const PROFILES: &[ProfileSpec] = &[ProfileSpec::new("gemini")
    .description("Servers that speak Gemini's format and take a key as the vendor does.")];

/// All settings, as `[providers.NAME]` takes them.
pub(crate) const SETTINGS: &[SettingSpec] = &[
    SettingSpec::text(API_VERSION)
        .help("Version in the paths: `v1beta`, which has everything and is the default, or `v1`."),
    SettingSpec::table("safety").help(
        "Thresholds of the safety filters by category, for example \
         `{ harassment = \"BLOCK_ONLY_HIGH\" }`. A request's own `safetySettings` replace them.",
    ),
    SettingSpec::flag("include_thoughts")
        .help("Whether to ask for thought summaries where a request does not say."),
    SettingSpec::flag("stream").help("Whether to ask for a stream; true unless set."),
    SettingSpec::table("headers").help("Further headers of every request; none of them secret."),
];

/// The setting that names the version in the paths.
pub(crate) const API_VERSION: &str = "api_version";
