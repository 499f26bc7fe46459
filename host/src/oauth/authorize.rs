//! The URL that the user opens in a browser.

use plugin_api::auth::OAuthScheme;
use url::Url;

use crate::oauth::{Places, pkce};

/// What one authorization request asks for.
pub(crate) struct Authorization<'a> {
    /// The authorization endpoint.
    pub(crate) endpoint: &'a Url,
    /// The scheme.
    pub(crate) scheme: &'a OAuthScheme,
    /// Who asks.
    pub(crate) client_id: &'a str,
    /// Where the answer goes.
    pub(crate) redirect_uri: &'a str,
    /// What the answer must carry.
    pub(crate) state: &'a str,
    /// What the id token must carry, if there is to be one.
    pub(crate) nonce: Option<&'a str>,
    /// The PKCE challenge; `None` for vendors that refuse PKCE.
    pub(crate) challenge: Option<&'a str>,
    /// Whether the vendor has not given this installation a client id for this account yet.
    pub(crate) first: bool,
}

impl Authorization<'_> {
    /// Writes the URL. The scheme may change the scope, but none of what keeps the login safe.
    pub(crate) fn url(&self, places: Places<'_>) -> Url {
        let scope = self.scheme.scopes.join(" ");
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| match pairs.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => value.clone_into(old),
            None => pairs.push((name.to_owned(), value.to_owned())),
        };
        set("response_type", "code");
        set("client_id", self.client_id);
        set("redirect_uri", self.redirect_uri);
        if !scope.is_empty() {
            set("scope", &scope);
        }
        let first = if self.first { &self.scheme.first_params[..] } else { &[] };
        for list in [&self.scheme.authorization_params[..], first] {
            let pairs = places.pairs(list, '=').into_iter();
            for (name, value) in pairs.filter(|(name, _)| !OURS.contains(&name.as_str())) {
                set(&name, &value);
            }
        }
        set("state", self.state);
        if let Some(nonce) = self.nonce {
            set("nonce", nonce);
        }
        if let Some(challenge) = self.challenge {
            set("code_challenge", challenge);
            set("code_challenge_method", pkce::METHOD);
        }
        let mut url = self.endpoint.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        url
    }
}

/// Parameters that are the host's alone.
const OURS: &[&str] = &[
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_url_holds_what_the_scheme_asks_for_and_keeps_what_is_safe() {
        let scheme: OAuthScheme = serde_json::from_value(json!({
            "scopes": ["openid", "a b"],
            "authorization_params": ["access_type=offline", "ext={installation}", "state=mine",
                "code_challenge_method=plain", "client_id=other", "workspace={workspace}",
                "region={region}"],
            "first_params": ["agent=Maestro"],
        }))
        .unwrap();
        let settings = BTreeMap::from([("region".to_owned(), json!("{installation}"))]);
        let facts = BTreeMap::from([("installation".to_owned(), "urn:uuid:1".to_owned())]);
        let places = Places { settings: &settings, facts: &facts };
        let endpoint = Url::parse("https://auth.acme.test/authorize?tenant=1").unwrap();
        let mut authorization = Authorization {
            endpoint: &endpoint,
            scheme: &scheme,
            client_id: "me",
            redirect_uri: "http://127.0.0.1:1/callback",
            state: "st",
            nonce: Some("no"),
            challenge: Some("ch"),
            first: true,
        };
        assert_eq!(
            authorization.url(places).as_str(),
            "https://auth.acme.test/authorize?tenant=1&response_type=code&client_id=me\
             &redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback&scope=openid+a+b\
             &access_type=offline&ext=urn%3Auuid%3A1&region=%7Binstallation%7D&agent=Maestro\
             &state=st&nonce=no&code_challenge=ch&code_challenge_method=S256"
        );
        authorization.first = false;
        authorization.challenge = None;
        authorization.nonce = None;
        let url = authorization.url(places);
        assert!(!url.as_str().contains("agent="), "{url}");
        assert!(!url.as_str().contains("nonce="), "{url}");
    }
}
