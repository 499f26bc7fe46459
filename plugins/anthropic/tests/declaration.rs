//! What the manifest tells a host.

use anthropic::Anthropic;
use plugin_api::{
    auth::{AuthScheme, Placement},
    manifest::{Manifest, json_bytes, json_len},
    provider::Provider as _,
};

fn manifest() -> Manifest {
    const LEN: usize = json_len(&Anthropic::SPEC, &[], "unwind");
    const JSON: [u8; LEN] = json_bytes(&Anthropic::SPEC, &[], "unwind");
    Manifest::from_json(&JSON).unwrap()
}

#[test]
fn a_key_and_a_login_with_the_users_own_client() {
    let manifest = manifest();
    let [provider] = &manifest.providers[..] else { panic!("one provider") };
    let [AuthScheme::ApiKey(key), AuthScheme::OAuth(login)] = &provider.auth[..] else {
        panic!("a key, then a login")
    };
    assert_eq!(key.placement, Placement::header("x-api-key"));
    assert_eq!(key.env, ["ANTHROPIC_API_KEY"]);
    // No client of a vendor's own tool, and no login of another kind than the Console's.
    assert_eq!(login.client_id, "configured");
    assert!(login.authorization_url.starts_with("https://platform.claude.com/"));
    assert_eq!(login.scopes, ["user:profile", "user:inference", "user:developer"]);
    assert_eq!(login.flows, ["loopback", "paste"]);
    assert_eq!((&*login.token_request, &*login.refresh_request), ("form", "json"));
    assert_eq!(login.token_params, ["state={state}"]);
    assert_eq!(login.token_headers, ["anthropic-beta: oauth-2025-04-20"]);
    assert!(login.attributes.iter().any(|name| name == "account.email_address"));
    assert_eq!(login.placement, Placement::Bearer);
    assert!(login.asks.iter().all(|ask| ask.optional));
}

#[test]
fn settings_have_help() {
    for setting in manifest().settings {
        assert!(setting.help.ends_with('.'), "{}", setting.name);
    }
}
