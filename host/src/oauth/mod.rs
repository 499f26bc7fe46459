//! OAuth 2 as the manifests describe it: how tokens are bought and renewed.
//!
//! Here lives all that talks to an authorization server: [`login`] is one attempt to log in, in
//! whichever flow; [`token`] is the client of the token endpoint for every grant. Its whole input is a
//! scheme of a manifest, the settings and what a login found out; no vendor is named. Here does *not* live: how tokens are kept (`session`), where they are put
//! into requests (`transport`), and which session serves a request (`maestro`).
//!
//! Requests go out through the transport; the only port that is opened is the one of [`loopback`].
//! Nothing that a server sent is ever searched for placeholders, and no secret reaches an error text.

mod answer;
mod authorize;
pub mod callback;
pub mod client;
pub mod device;
pub mod discovery;
pub mod error;
pub mod fetch;
pub mod given_up;
pub mod id_token;
pub mod login;
pub mod loopback;
pub(crate) mod page;
mod pkce;
pub(crate) mod redeem;
pub(crate) mod refresh;
pub mod registration;
pub mod revoke;
pub(crate) mod state;
pub mod token;

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use plugin_api::auth::{AuthScheme, OAuthScheme};
use serde_json::Value;

use crate::plugin::provider::Provider;

/// What stands for the placeholders of a scheme's templates.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    /// The provider's settings; only texts count.
    pub(crate) settings: &'a BTreeMap<String, Value>,
    /// What the host knows: `state`, `nonce`, `redirect_uri`, `installation`. These come first.
    pub(crate) facts: &'a BTreeMap<String, String>,
}

impl Places<'_> {
    /// Replaces each `{name}`; `None` when one of them has no value here.
    ///
    /// What was put in is not searched again.
    pub(crate) fn fill(&self, template: &str) -> Option<String> {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}')?;
            let setting = || self.settings.get(name).and_then(Value::as_str);
            filled.push_str(before);
            filled.push_str(self.facts.get(name).map(String::as_str).or_else(setting)?);
            rest = after;
        }
        filled.push_str(rest);
        Some(filled)
    }

    /// Fills `name=value` pairs (or `name: value`, as `between` says). A pair without a value for one
    /// of its placeholders is left out: `state` means nothing when tokens are renewed.
    pub(crate) fn pairs(&self, templates: &[String], between: char) -> Vec<(String, String)> {
        let pair = |template: &String| {
            let (name, value) = template.split_once(between)?;
            Some((name.trim().to_owned(), self.fill(value.trim())?))
        };
        templates.iter().filter_map(pair).collect()
    }
}

/// Finds an OAuth scheme of a provider that this host can use: the one of that id, or the first when
/// the id is empty.
pub(crate) fn scheme_of<'a>(provider: &'a Provider, id: &str) -> Option<&'a OAuthScheme> {
    provider.manifest.auth.iter().find_map(|auth| match auth {
        AuthScheme::OAuth(scheme)
            if auth.unknown_need().is_none() && (id.is_empty() || auth.id() == id) =>
        {
            Some(scheme)
        }
        _ => None,
    })
}

/// Returns a scheme's id as sessions keep it: its own, or its type.
pub(crate) fn scheme_id(scheme: &OAuthScheme) -> &str {
    if scheme.id.is_empty() { "oauth" } else { &scheme.id }
}

/// Reads the local clock in Unix seconds.
pub(crate) fn local_now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_templates_own_placeholders_are_filled() {
        let settings =
            serde_json::from_str(r#"{"host":"auth.test","n":3,"odd":"{state}"}"#).unwrap();
        let facts = BTreeMap::from([("state".to_owned(), "s{host}".to_owned())]);
        let places = Places { settings: &settings, facts: &facts };
        for (template, filled) in [
            ("plain", Some("plain")),
            ("https://{host}/t", Some("https://auth.test/t")),
            ("{state}", Some("s{host}")),
            ("{odd}", Some("{state}")),
            ("{nonce}", None),
            ("{n}", None),
            ("{host", None),
        ] {
            assert_eq!(places.fill(template).as_deref(), filled, "{template}");
        }
        let params = ["a=1".to_owned(), "state={state}".into(), "b={nonce}".into(), "c".into()];
        let expected = [("a".to_owned(), "1".to_owned()), ("state".into(), "s{host}".into())];
        assert_eq!(places.pairs(&params, '='), expected);
    }
}
