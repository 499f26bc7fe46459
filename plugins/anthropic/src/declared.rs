//! What the manifest says: the service, and how one logs in to it.

use plugin_api::{
    auth::{AskSpec, OAuthSpec, ProfileFilesSpec},
    prelude::*,
};

use crate::settings::SETTINGS;

/// The plugin's declaration.
pub(crate) const SPEC: PluginSpec = PluginSpec::new("anthropic", env!("CARGO_PKG_VERSION"))
    .description("Anthropic's models, and servers that speak its Messages format.")
    .instances(true)
    .providers(&[ANTHROPIC])
    .settings(SETTINGS);

const ANTHROPIC: ProviderSpec = ProviderSpec::new("anthropic")
    .display_name("Anthropic")
    .base_url("https://api.anthropic.com")
    .auth(&[AuthSpec::ApiKey(KEY), AuthSpec::OAuth(CONSOLE)])
    .features(&[
        Feature::Tools,
        Feature::ParallelTools,
        Feature::Images,
        Feature::Files,
        Feature::StructuredOutput,
        Feature::Reasoning,
        Feature::CacheControl,
        Feature::Citations,
    ])
    .dialects(&["anthropic-messages"])
    .max_request_bytes(32 * 1024 * 1024)
    .docs_url("https://platform.claude.com/docs");

/// Logins that the vendor's own command line keeps. Its tokens are read in place and never renewed
/// here, which would log the tool out.
const ANT: ProfileFilesSpec =
    ProfileFilesSpec::new("ant", "~/.config/anthropic", "credentials/{profile}.json")
        .folder_env("ANTHROPIC_CONFIG_DIR")
        .profile_env("ANTHROPIC_PROFILE")
        .active_file("active_config")
        .token_field("access_token")
        .expiry_field("expires_at")
        .login_command("ant auth login --profile {profile}");

/// A key of the Console.
///
/// It goes into `x-api-key`, the form that all versions of the vendor's libraries, its own servers and
/// other servers of the format take; and should another layer add an `authorization`, this one counts.
/// The setting `key_header` chooses the other form.
const KEY: ApiKeySpec = ApiKeySpec::new(PlacementSpec::Header { name: "x-api-key", prefix: "" })
    .env(&["ANTHROPIC_API_KEY"])
    .prefix("sk-ant-")
    .min_length(20)
    .obtain_url("https://platform.claude.com/settings/keys");

/// A login to an account of the Console, with a client of the user's own.
///
/// The vendor's tools have clients of their own, which are not ours to use; and it forbids others to
/// offer logins with plans of Claude.ai, so there is none. Where tokens are revoked is not documented.
const CONSOLE: OAuthSpec = OAuthSpec::new()
    .display_name("Anthropic Console")
    .authorization_url("https://platform.claude.com/oauth/authorize")
    .token_url("https://api.anthropic.com/v1/oauth/token")
    .scopes(&["user:profile", "user:inference", "user:developer"])
    .required_scopes(&["user:inference"])
    .flows(&["loopback", "paste"])
    .client_id("configured")
    .profiles(&[ANT])
    .authorization_params(&["orgUUID={organization}", "workspace_id={workspace_id}"])
    .token_request("form")
    .token_params(&["state={state}"])
    .refresh_request("json")
    .token_headers(&["anthropic-beta: oauth-2025-04-20"])
    .attributes(&[
        "account.email_address",
        "account.uuid",
        "organization.name",
        "organization.uuid",
    ])
    .asks(&[AskSpec::new("workspace_id")
        .help("The workspace to work in, if not the organization's usual one.")
        .optional(true)])
    .placement(PlacementSpec::Bearer);
