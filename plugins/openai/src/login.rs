//! The two logins, as data, and what differs between them.

use plugin_api::{
    auth::{AskSpec, OAuthSpec},
    instance::AuthKind,
    prelude::*,
};

/// A key of the platform.
pub(crate) const API_KEY: AuthSpec = AuthSpec::ApiKey(
    ApiKeySpec::bearer()
        .display_name("API key")
        .env(&["OPENAI_API_KEY"])
        .prefix("sk-")
        .min_length(20)
        .obtain_url("https://platform.openai.com/api-keys")
        .asks(&[
            AskSpec::new("organization")
                .help("Organization to bill, where the key belongs to several (`org-…`).")
                .env(&["OPENAI_ORG_ID"])
                .optional(true),
            AskSpec::new("project")
                .help("Project to bill, where the key belongs to several (`proj_…`).")
                .env(&["OPENAI_PROJECT_ID"])
                .optional(true),
        ]),
);

/// "Sign in with ChatGPT", as OpenAI documents it for locally hosted tools of third parties.
///
/// The client id of the first login is one that anybody sends; the answer to it carries one that is
/// bound to the account.
pub(crate) const CHATGPT_PLAN: AuthSpec = AuthSpec::OAuth(
    OAuthSpec::new()
        .id("chatgpt")
        .display_name("ChatGPT plan")
        .issuer("https://auth.openai.com")
        .authorization_url("https://auth.openai.com/api/accounts/authorize")
        .token_url("https://auth.openai.com/api/accounts/oauth/token")
        .revocation_url("https://auth.openai.com/api/accounts/oauth/revoke")
        .jwks_url("https://auth.openai.com/.well-known/jwks.json")
        .flows(&["loopback"])
        .redirect_host("127.0.0.1")
        .redirect_path("/auth/callback")
        .client_id("dynamic_agent_client")
        .client_id_from_callback(true)
        .first_params(&["agent_name_hint=Maestro"])
        .authorization_params(&[
            "ext_agent_host_id={installation}",
            "resource=https://api.openai.com/v1",
        ])
        .token_params(&["resource=https://api.openai.com/v1"])
        .scopes(&[
            "openid",
            "profile",
            "email",
            "offline_access",
            "resource.invoke",
            "chatgpt.tokens.use.direct",
        ])
        .required_scopes(&["chatgpt.tokens.use.direct"])
        .id_token(true)
        .attributes(&["id_token.email", "id_token.sub"])
        .earliest_refresh_field("earliest_refresh_at")
        .login_again_codes(&[
            "invalid_client",
            "invalid_refresh_token",
            "token_expired",
            "refresh_token_expired",
            "refresh_token_invalidated",
            "refresh_token_reused",
        ])
        .without(&[Capability::Embeddings, Capability::Contexts, Capability::TokenCount])
        .without_dialects(&["openai-responses", "openai-chat"]),
);

/// Reports whether the session is a ChatGPT plan's.
pub(crate) fn is_plan(instance: &Instance) -> bool {
    instance.session.auth == AuthKind::OAuth
}

/// Refuses an operation that a ChatGPT plan does not offer, before anything is sent.
pub(crate) fn api_key_only(instance: &Instance, what: &str) -> Result<(), ProviderError> {
    if is_plan(instance) {
        let message = format!("a ChatGPT plan does not offer {what}; log in with an API key");
        return Err(ProviderError::new(ErrorKind::NotSupported, message));
    }
    Ok(())
}
