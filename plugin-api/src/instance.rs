//! Which provider an exchange speaks for, and with which settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CONTRACT_MINOR,
    error::{ErrorKind, ProviderError},
    http::push_encoded,
    id::ProviderId,
};

/// The provider that an exchange speaks for, as configured. Holds no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// The provider's id; one that the configuration made may be unknown to the manifest.
    pub provider: ProviderId,
    /// Start of its URLs, without a trailing slash: the manifest's or the configuration's.
    #[serde(default)]
    pub base_url: String,
    /// Settings: the profile's, overridden by the configuration's.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
    /// The session in use.
    #[serde(default)]
    pub session: SessionInfo,
    /// Minor version of the host's contract: 0 for 1.0. What a later version added is there only
    /// when this is as high.
    #[serde(skip)]
    pub contract_minor: u32,
}

impl Instance {
    /// Makes an instance without settings or session.
    #[must_use]
    pub fn new(provider: ProviderId, base_url: impl Into<String>) -> Self {
        Self {
            provider,
            base_url: base_url.into(),
            settings: BTreeMap::new(),
            session: SessionInfo::default(),
            contract_minor: CONTRACT_MINOR,
        }
    }

    /// Joins a path such as `/models` to the base URL.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.trim_end_matches('/'))
    }

    /// Joins path segments to the base URL, each percent-encoded, so that a name from a request cannot
    /// lead to another place.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidRequest`] for an empty segment, `.` and `..`, which no encoding protects.
    pub fn url_of(&self, segments: &[&str]) -> Result<String, ProviderError> {
        let mut url = self.base_url.trim_end_matches('/').to_owned();
        for segment in segments {
            if matches!(*segment, "" | "." | "..") {
                let message = format!("`{segment}` cannot stand in a URL");
                return Err(ProviderError::new(ErrorKind::InvalidRequest, message));
            }
            url.push('/');
            push_encoded(&mut url, segment);
        }
        Ok(url)
    }

    /// Returns a text setting; empty when it is absent or no text.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.settings.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns a setting that is true or false; `default` when it is absent.
    #[must_use]
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.settings.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    /// Returns a setting that is a whole number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.settings.get(name).and_then(Value::as_u64)
    }

    /// Returns a setting of several texts; empty when it is absent.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<&str> {
        self.settings
            .get(name)
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default()
    }

    /// Returns a setting of named texts, for example headers; empty when it is absent.
    #[must_use]
    pub fn table(&self, name: &str) -> Vec<(&str, &str)> {
        self.settings
            .get(name)
            .and_then(Value::as_object)
            .map(|table| {
                table.iter().filter_map(|(k, v)| Some((k.as_str(), v.as_str()?))).collect()
            })
            .unwrap_or_default()
    }
}

/// What a plugin may know of the session: never the secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SessionInfo {
    /// How it is logged in.
    pub auth: AuthKind,
    /// The id of the auth scheme it was made under, as
    /// [`AuthScheme::id`](crate::auth::AuthScheme::id) says; empty without a session.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// Facts that came with the login or the configuration: account, project, region, organization.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// How a session is logged in, as far as a request's form depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuthKind {
    /// No session.
    #[default]
    None,
    /// A key.
    ApiKey,
    /// OAuth or another token.
    #[serde(rename = "oauth")]
    OAuth,
    /// Signed requests.
    Signed,
    /// A kind of a newer contract.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_wrong_type_read_as_absent() {
        let mut instance = Instance::new(ProviderId::new("lab").unwrap(), "http://x/v1/");
        let settings = serde_json::json!({"t": "x", "f": true, "n": 3, "l": ["a", 1], "m": {"k": "v", "z": 1}});
        instance.settings = serde_json::from_value(settings).unwrap();
        assert_eq!(instance.url("/models"), "http://x/v1/models");
        let url = instance.url_of(&["models", "a/b c?é:x"]).unwrap();
        assert_eq!(url, "http://x/v1/models/a%2Fb%20c%3F%C3%A9%3Ax");
        for bad in ["", ".", ".."] {
            assert!(instance.url_of(&["models", bad]).is_err());
        }
        assert_eq!(instance.text("t"), "x");
        assert_eq!(instance.text("f"), "");
        assert!(instance.flag("f", false));
        assert!(instance.flag("t", true));
        assert_eq!(instance.number("n"), Some(3));
        assert_eq!(instance.number("t"), None);
        assert_eq!(instance.texts("l"), ["a"]);
        assert_eq!(instance.table("m"), [("k", "v")]);
        assert!(instance.texts("none").is_empty() && instance.table("none").is_empty());
    }
}
