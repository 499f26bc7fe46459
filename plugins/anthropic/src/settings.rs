//! What the configuration may say, and the headers that follow from it and from the session.

use plugin_api::{auth::Placement, instance::AuthKind, prelude::*};

use dialects::anthropic_messages::Quirks;

/// All settings, as `[providers.NAME]` takes them.
pub(crate) const SETTINGS: &[SettingSpec] = &[
    // `2023-06-01` is usual although the vendor's newest libraries send the other: both are served, and
    // the newer one only takes away (sampling settings, documents of the assistant), so whoever chose
    // nothing loses nothing.
    SettingSpec::text("version")
        .help("Version of the API: `2023-06-01` (usual) or `2026-10-21`, which takes no sampling settings."),
    SettingSpec::texts("betas").help("Names of betas, for the header `anthropic-beta`."),
    SettingSpec::text("key_header")
        .help("Header of an API key: `x-api-key` (usual) or `authorization`, as a bearer token."),
    SettingSpec::number("max_tokens")
        .help("Most tokens of an answer where the client sets no bound; the format demands one."),
    SettingSpec::text("effort")
        .help("How effort is said: `adaptive` (usual), `plain`, or `budget` for older models."),
    SettingSpec::flag("supports_system_messages")
        .help("Whether system messages may stand in the midst; else they move to the front."),
    SettingSpec::flag("stream").help("Whether to ask for a stream."),
    SettingSpec::text("organization").help("UUID of the organization to log in to."),
    SettingSpec::table("headers").help("Further headers of every request; none of them secret."),
];

/// Adds the headers that every request carries. A version that is there stays, and so do betas.
///
/// # Errors
///
/// `InvalidRequest` for a setting whose word is none.
pub(crate) fn decorate(
    instance: &Instance,
    quirks: &Quirks,
    mut request: HttpRequest,
) -> Result<HttpRequest, ProviderError> {
    if !request.headers.iter().any(|(name, _)| name == "anthropic-version") {
        request = request.header("anthropic-version", quirks.version.as_str());
    }
    let with_oauth = instance.session.auth == AuthKind::OAuth;
    let mut betas = instance.texts("betas");
    if with_oauth && !betas.contains(&OAUTH_BETA) {
        betas.push(OAUTH_BETA);
    }
    let named: Vec<&str> = request
        .headers
        .iter()
        .filter(|(name, _)| name == BETAS)
        .flat_map(|(_, value)| value.split(',').map(str::trim))
        .collect();
    betas.retain(|beta| !named.contains(beta));
    let more = betas.join(",");
    match request.headers.iter_mut().find(|(name, _)| name == BETAS) {
        _ if more.is_empty() => {}
        Some((_, value)) => {
            value.push(',');
            value.push_str(&more);
        }
        None => request = request.header(BETAS, more),
    }
    if with_oauth && let Some(id) = instance.session.attributes.get("workspace_id") {
        request = request.header("anthropic-workspace-id", id);
    }
    for (name, value) in instance.table("headers") {
        request = request.header(name, value);
    }
    // Never both forms: the vendor would take the first and ignore the other, which may be another
    // account's. An OAuth token goes where its own scheme says, whatever is set for keys.
    match (instance.text("key_header"), instance.session.auth) {
        ("" | "x-api-key" | "authorization", AuthKind::OAuth) | ("", _) => Ok(request),
        ("x-api-key", _) => Ok(request.auth(Auth::At(vec![Placement::header("x-api-key")]))),
        ("authorization", _) => Ok(request.auth(Auth::At(vec![Placement::Bearer]))),
        (other, _) => {
            let message = format!(
                "setting `key_header`: expected `x-api-key` or `authorization`, found `{}`",
                other.escape_debug()
            );
            Err(ProviderError::new(ErrorKind::InvalidRequest, message).code("key_header"))
        }
    }
}

const BETAS: &str = "anthropic-beta";

/// The beta without which an OAuth token is refused.
pub(crate) const OAUTH_BETA: &str = "oauth-2025-04-20";
