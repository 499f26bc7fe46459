//! Where an authorization server is reached: from the scheme, or from its own metadata.
//!
//! Metadata is looked for where RFC 8414 puts it (between host and path of the issuer), then where
//! OpenID Connect does (behind the path). It must name the very issuer that was asked.

use plugin_api::auth::OAuthScheme;
use serde_json::Value;
use url::Url;

use crate::{
    oauth::{
        Places,
        fetch::{Fetch, FetchError},
    },
    transport::Origin,
};

/// The endpoints of an authorization server, checked: https, or on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoints {
    /// The issuer, exactly as the scheme writes it; empty when it names none.
    pub issuer: String,
    /// Authorization endpoint.
    pub authorization: Option<Url>,
    /// Token endpoint.
    pub token: Url,
    /// Device authorization endpoint.
    pub device: Option<Url>,
    /// Revocation endpoint.
    pub revocation: Option<Url>,
    /// Dynamic registration endpoint.
    pub registration: Option<Url>,
    /// Where the keys of id tokens are.
    pub jwks: Option<Url>,
    /// Whether the server promises to name itself in callbacks (RFC 9207).
    pub names_issuer: bool,
    /// How clients may identify themselves at the token endpoint; empty when it does not say.
    pub token_auth_methods: Vec<String>,
}

/// Why the endpoints are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The metadata cannot be had.
    #[error("failed to read the metadata of issuer `{issuer}`")]
    Fetch {
        /// The issuer.
        issuer: String,
        /// Why.
        source: FetchError,
    },
    /// The metadata is another server's.
    #[error("the metadata of issuer `{expected}` names issuer `{found}`")]
    Issuer {
        /// Whom we asked.
        expected: String,
        /// Whom the document names.
        found: String,
    },
    /// Neither the scheme nor the metadata names an endpoint that is needed.
    #[error("there is no {what} endpoint")]
    Missing {
        /// Which.
        what: &'static str,
    },
    /// An endpoint is none that secrets may be sent to.
    #[error("the {what} endpoint `{url}` is neither https nor on this machine")]
    Endpoint {
        /// Which.
        what: &'static str,
        /// What it is.
        url: String,
    },
    /// The server does not know the only challenge method that is used here.
    #[error("issuer `{issuer}` does not support PKCE with S256")]
    NoPkce {
        /// The issuer.
        issuer: String,
    },
}

impl DiscoveryError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Fetch { .. } => "check the network and the provider's settings".into(),
            Self::Issuer { .. } => {
                "the settings of the provider must name the issuer exactly as it names itself, \
                 also in its last slash"
                    .into()
            }
            Self::Endpoint { .. } => "tokens are sent over https alone; ask whoever runs the \
                                      server"
                .into(),
            Self::Missing { .. } | Self::NoPkce { .. } => {
                "the server does not offer this kind of login; see `--device` and `--paste`".into()
            }
        }
    }
}

/// Finds the endpoints of a scheme. Asks the network only for what the scheme leaves out.
pub(crate) async fn find(
    scheme: &OAuthScheme,
    places: Places<'_>,
    fetch: &Fetch,
) -> Result<Endpoints, DiscoveryError> {
    let issuer = places.fill(&scheme.issuer).unwrap_or_default();
    let metadata = if !issuer.is_empty() && leaves_out_something(scheme) {
        metadata(&issuer, fetch).await?
    } else {
        Value::Null
    };
    read(scheme, places, issuer, &metadata)
}

/// Reports whether the scheme needs an endpoint that it does not name.
fn leaves_out_something(scheme: &OAuthScheme) -> bool {
    let flow = |name: &str| scheme.flows.iter().any(|flow| flow == name);
    let browser = scheme.flows.is_empty() || flow("loopback") || flow("paste");
    scheme.token_url.is_empty()
        || browser && scheme.authorization_url.is_empty()
        || flow("device") && scheme.device_url.is_empty()
        || scheme.id_token && scheme.jwks_url.is_empty()
        || scheme.client_id == "registered" && scheme.registration_url.is_empty()
}

async fn metadata(issuer: &str, fetch: &Fetch) -> Result<Value, DiscoveryError> {
    let url = Url::parse(issuer)
        .ok()
        .filter(|url| url.has_host() && url.query().is_none() && url.fragment().is_none())
        .ok_or_else(|| DiscoveryError::Endpoint { what: "issuer", url: issuer.to_owned() })?;
    let mut last = None;
    for candidate in well_known(&url) {
        let fetched = match fetch.get(&candidate).await {
            Ok(fetched) => fetched.object(&candidate),
            Err(error) => Err(error),
        };
        match fetched {
            Ok(document) => return same_issuer(issuer, document),
            // A server may have one of the two; the first one's answer says more about why not.
            Err(error) => last = last.or(Some(error)),
        }
    }
    let source = last.expect("two places were tried");
    Err(DiscoveryError::Fetch { issuer: issuer.to_owned(), source })
}

fn same_issuer(expected: &str, document: Value) -> Result<Value, DiscoveryError> {
    let found = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
    if found == expected {
        return Ok(document);
    }
    Err(DiscoveryError::Issuer { expected: expected.to_owned(), found: found.to_owned() })
}

/// Returns where an issuer's metadata may be.
fn well_known(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ]
    .map(|path| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    })
}

fn read(
    scheme: &OAuthScheme,
    places: Places<'_>,
    issuer: String,
    metadata: &Value,
) -> Result<Endpoints, DiscoveryError> {
    let endpoint = |what: &'static str, own: &str, name: &str| {
        let found = if own.is_empty() {
            metadata.get(name).and_then(Value::as_str).map(str::to_owned)
        } else {
            places.fill(own)
        };
        let Some(found) = found.filter(|url| !url.is_empty()) else { return Ok(None) };
        let safe = Origin::parse(&found).is_ok_and(|origin| !origin.is_exposed());
        match Url::parse(&found) {
            Ok(url) if safe && url.fragment().is_none() => Ok(Some(url)),
            _ => Err(DiscoveryError::Endpoint { what, url: found }),
        }
    };
    let list = |name: &str| -> Option<Vec<String>> {
        let list = metadata.get(name)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let methods = list("code_challenge_methods_supported");
    if !scheme.without_pkce && methods.is_some_and(|methods| !methods.iter().any(|m| m == "S256")) {
        return Err(DiscoveryError::NoPkce { issuer });
    }
    Ok(Endpoints {
        authorization: endpoint(
            "authorization",
            &scheme.authorization_url,
            "authorization_endpoint",
        )?,
        token: endpoint("token", &scheme.token_url, "token_endpoint")?
            .ok_or(DiscoveryError::Missing { what: "token" })?,
        device: endpoint("device", &scheme.device_url, "device_authorization_endpoint")?,
        revocation: endpoint("revocation", &scheme.revocation_url, "revocation_endpoint")?,
        registration: endpoint("registration", &scheme.registration_url, "registration_endpoint")?,
        jwks: endpoint("key", &scheme.jwks_url, "jwks_uri")?,
        names_issuer: metadata
            .get("authorization_response_iss_parameter_supported")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        token_auth_methods: list("token_endpoint_auth_methods_supported").unwrap_or_default(),
        issuer,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn scheme(json: Value) -> OAuthScheme {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn metadata_lies_between_host_and_path_or_behind_the_path() {
        for (issuer, first, second) in [
            (
                "https://a.test",
                "https://a.test/.well-known/oauth-authorization-server",
                "https://a.test/.well-known/openid-configuration",
            ),
            (
                "https://a.test/tenant/",
                "https://a.test/.well-known/oauth-authorization-server/tenant",
                "https://a.test/tenant/.well-known/openid-configuration",
            ),
        ] {
            let found = well_known(&Url::parse(issuer).unwrap()).map(String::from);
            assert_eq!(found, [first, second]);
        }
    }

    #[test]
    fn the_issuer_must_be_the_same_to_the_letter() {
        for found in ["https://a.test/", "https://A.test", "https://evil.test", ""] {
            let error = same_issuer("https://a.test", json!({ "issuer": found })).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the metadata of issuer `https://a.test` names issuer `{found}`")
            );
        }
        assert!(same_issuer("https://a.test", json!({ "issuer": "https://a.test" })).is_ok());
    }

    #[test]
    fn the_schemes_own_endpoints_go_first_and_every_one_is_checked() {
        let settings = BTreeMap::from([("tenant".to_owned(), json!("t1"))]);
        let facts = BTreeMap::new();
        let places = Places { settings: &settings, facts: &facts };
        let own = scheme(json!({ "token_url": "https://a.test/{tenant}/token" }));
        let metadata = json!({
            "token_endpoint": "https://b.test/token",
            "authorization_endpoint": "https://b.test/authorize",
            "device_authorization_endpoint": "http://127.0.0.1:9/device",
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        let found = read(&own, places, "https://b.test".into(), &metadata).unwrap();
        assert_eq!(found.token.as_str(), "https://a.test/t1/token");
        assert_eq!(found.authorization.unwrap().as_str(), "https://b.test/authorize");
        assert!(found.device.is_some() && found.revocation.is_none() && found.names_issuer);
        for (name, url) in [
            ("token_endpoint", "http://b.test/token"),
            ("authorization_endpoint", "http://10.0.0.1/a"),
            ("revocation_endpoint", "javascript:alert(1)"),
            ("jwks_uri", "https://me:pw@b.test/keys"),
        ] {
            let mut metadata = json!({ "token_endpoint": "https://b.test/token" });
            metadata[name] = url.into();
            let error =
                read(&scheme(json!({})), places, String::new(), &metadata).unwrap_err().to_string();
            assert!(error.ends_with(&format!("`{url}` is neither https nor on this machine")));
        }
        let error = read(&scheme(json!({})), places, String::new(), &Value::Null).unwrap_err();
        assert_eq!(error.to_string(), "there is no token endpoint");
        let plain = json!({
            "token_endpoint": "https://b.test/token",
            "code_challenge_methods_supported": ["plain"],
        });
        assert!(matches!(
            read(&scheme(json!({})), places, "https://b.test".into(), &plain),
            Err(DiscoveryError::NoPkce { .. })
        ));
        let without = scheme(json!({ "without_pkce": true }));
        assert!(read(&without, places, "https://b.test".into(), &plain).is_ok());
    }
}
