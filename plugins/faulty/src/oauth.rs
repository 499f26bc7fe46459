//! Logins of `faulty-issuer`: one of each kind that a host must know, at whatever server the setting
//! `issuer` names.

use plugin_api::{
    auth::{AskSpec, OAuthSpec},
    prelude::*,
};

/// The schemes, a key first.
pub(crate) const SCHEMES: &[AuthSpec] = &[
    AuthSpec::ApiKey(ApiKeySpec::bearer().prefix("fk-")),
    AuthSpec::OAuth(PLAN),
    AuthSpec::OAuth(REGISTERED),
    AuthSpec::OAuth(ISSUED),
    AuthSpec::OAuth(BARE),
];

/// The user's own client; endpoints by discovery; every flow; an id token.
const PLAN: OAuthSpec = OAuthSpec::new()
    .id("plan")
    .display_name("Faulty plan")
    .issuer("{issuer}")
    .client_id("configured")
    .scopes(&["openid", "email", "offline_access"])
    .flows(&["loopback", "device", "paste"])
    .authorization_params(&["prompt=consent"])
    .id_token(true)
    .asks(&[AskSpec::new("project").help("a project").env(&["FAULTY_PROJECT"]).optional(true)])
    .attributes(&["id_token.email", "id_token.https://faulty.invalid/auth.plan"]);

/// A client that the server registers for each login; a fact that must be given.
const REGISTERED: OAuthSpec = OAuthSpec::new()
    .id("registered")
    .issuer("{issuer}")
    .client_id("registered")
    .scopes(&["openid", "offline_access"])
    .authorization_params(&["prompt=consent"])
    .asks(&[AskSpec::new("project").help("the id of a project").env(&["FAULTY_PROJECT"])]);

/// A public client first, then one that the callback issues for the account; named endpoints.
const ISSUED: OAuthSpec = OAuthSpec::new()
    .id("issued")
    .issuer("{issuer}")
    .authorization_url("{issuer}/authorize")
    .token_url("{issuer}/token")
    .revocation_url("{issuer}/revoke")
    .jwks_url("{issuer}/jwks")
    .client_id("everyone")
    .client_id_from_callback(true)
    .scopes(&["openid", "use"])
    .required_scopes(&["use"])
    .redirect_path("/auth/callback")
    .authorization_params(&["host_id={installation}"])
    .first_params(&["name_hint=Maestro"])
    .token_params(&["state={state}"])
    .id_token(true)
    .attributes(&["id_token.email"]);

/// A public client at named endpoints, without revocation and without an id token; the fact that may
/// be given is told at the authorization.
const BARE: OAuthSpec = OAuthSpec::new()
    .id("bare")
    .authorization_url("{issuer}/authorize")
    .token_url("{issuer}/token")
    .device_url("{issuer}/device")
    .client_id("everyone")
    .scopes(&["use"])
    .flows(&["loopback", "device"])
    .authorization_params(&["project={project}"])
    .asks(&[AskSpec::new("project").help("a project").optional(true)])
    .attributes(&["account.email_address", "plan"]);
