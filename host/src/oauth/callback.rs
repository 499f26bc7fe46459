//! What the authorization server sends back through the browser, and what it must be.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use url::{Url, form_urlencoded};

use crate::oauth::state;

/// A callback that belongs to this login.
pub(crate) struct Callback {
    /// What is redeemed at the token endpoint.
    pub(crate) code: SecretString,
    /// A client id that the vendor issued on the way.
    pub(crate) client_id: Option<String>,
}

/// What a callback is compared with.
pub(crate) struct Expected {
    /// The state of the authorization URL.
    pub(crate) state: SecretString,
    /// The issuer, if the scheme names one.
    pub(crate) issuer: Option<String>,
    /// Whether the server promised to name itself (RFC 9207).
    pub(crate) issuer_required: bool,
}

/// Why a callback is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallbackError {
    /// It belongs to another login, or somebody made it up.
    #[error("the answer does not belong to this login: its `state` is not the one that was sent")]
    State,
    /// It comes from another server than the one that was asked.
    #[error("the answer comes from issuer `{found}`, expected `{expected}`")]
    Issuer {
        /// Whom we asked.
        expected: String,
        /// Who answered; empty when it does not say.
        found: String,
    },
    /// The user or the vendor said no.
    #[error("the vendor refused the login: {code}{}", described(.description))]
    Refused {
        /// The code of the standard.
        code: String,
        /// The vendor's words.
        description: String,
    },
    /// It holds neither a code nor an error.
    #[error("the answer holds no code")]
    NoCode,
    /// A parameter is there twice, which could make two readers see two things.
    #[error("the answer holds `{name}` more than once")]
    Twice {
        /// The parameter.
        name: &'static str,
    },
}

impl CallbackError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::State => "finish the login in the page that this command opened last; an older \
                            tab does not count"
                .into(),
            Self::Issuer { .. } => "somebody may have tampered with the answer; log in again, and \
                                    check the address of the page before you agree"
                .into(),
            Self::Refused { code, .. } => match code.as_str() {
                "access_denied" => "log in again and agree to the access".into(),
                "invalid_scope" | "unauthorized_client" => {
                    "the vendor does not let this client log in so; check what the OAuth client \
                     may do"
                        .into()
                }
                "server_error" | "temporarily_unavailable" => "try again in a moment".into(),
                _ => "log in again".into(),
            },
            Self::NoCode | Self::Twice { .. } => {
                "log in again; paste the code or the whole address of the last page".into()
            }
        }
    }

    /// Reports whether it answers this very login, which it then ends.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

fn described(description: &str) -> String {
    if description.is_empty() { String::new() } else { format!(": {description}") }
}

impl Expected {
    /// Reads the query of a callback.
    pub(crate) fn read(&self, query: &str) -> Result<Callback, CallbackError> {
        let mut seen: BTreeMap<&'static str, SecretString> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(name) = NAMES.iter().find(|known| **known == name) else { continue };
            if seen.insert(name, SecretString::from(value.as_ref())).is_some() {
                return Err(CallbackError::Twice { name });
            }
        }
        let text = |name: &str| seen.get(name).map_or("", |value| value.expose_secret());
        if !state::same(text("state"), self.state.expose_secret()) {
            return Err(CallbackError::State);
        }
        if let Some(expected) = &self.issuer {
            let found = text("iss");
            let absent_is_fine = found.is_empty() && !self.issuer_required;
            if !absent_is_fine && found != expected {
                let (expected, found) = (expected.clone(), short(found));
                return Err(CallbackError::Issuer { expected, found });
            }
        }
        if !text("error").is_empty() {
            let (code, description) = (short(text("error")), short(text("error_description")));
            return Err(CallbackError::Refused { code, description });
        }
        if text("code").is_empty() {
            return Err(CallbackError::NoCode);
        }
        let client_id = Some(text("client_id")).filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Callback { code: text("code").into(), client_id })
    }

    /// Reads what a person pasted: `CODE`, `CODE#STATE`, or the whole address of the last page.
    ///
    /// A code alone carries no state. It is taken, because the person is the tie to this login, and
    /// the verifier makes it worthless to any other.
    pub(crate) fn read_pasted(&self, pasted: &str) -> Result<Callback, CallbackError> {
        let pasted = pasted.trim();
        if let Ok(url) = Url::parse(pasted)
            && url.has_host()
        {
            return self.read(url.query().unwrap_or_default());
        }
        if pasted.contains("code=") || pasted.contains("error=") {
            return self.read(pasted.trim_start_matches('?'));
        }
        let (code, state) = match pasted.split_once('#') {
            Some((code, state)) => (code, Some(state)),
            None => (pasted, None),
        };
        if state.is_some_and(|state| !state::same(state, self.state.expose_secret())) {
            return Err(CallbackError::State);
        }
        if code.is_empty() || code.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(CallbackError::NoCode);
        }
        Ok(Callback { code: code.into(), client_id: None })
    }
}

/// Keeps what others wrote to a length that fits a message.
fn short(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

/// The parameters that mean something.
const NAMES: &[&str] = &["state", "iss", "error", "error_description", "code", "client_id"];
const MAX_SHOWN: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(issuer_required: bool) -> Expected {
        let issuer = Some("https://a.test".to_owned());
        Expected { state: "st-1".into(), issuer, issuer_required }
    }

    fn refusal(read: Result<Callback, CallbackError>) -> String {
        read.map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_callback_is_taken_only_with_the_exact_state() {
        let callback = expected(false).read("code=c%2B1&state=st-1&client_id=app_1&x=1").unwrap();
        assert_eq!(callback.code.expose_secret(), "c+1");
        assert_eq!(callback.client_id.as_deref(), Some("app_1"));
        for query in [
            "code=c",
            "code=c&state=",
            "code=c&state=st-",
            "code=c&state=st-12",
            "",
            "error=access_denied&state=other",
        ] {
            let error = expected(false).read(query).map(drop).unwrap_err();
            assert_eq!(error, CallbackError::State, "{query}");
            assert!(!error.is_final());
        }
        assert_eq!(
            refusal(expected(false).read("code=c&state=st-1&state=st-1")),
            "the answer holds `state` more than once"
        );
        assert_eq!(refusal(expected(false).read("state=st-1")), "the answer holds no code");
    }

    #[test]
    fn the_vendors_refusal_is_told_and_final() {
        let query = "state=st-1&error=access_denied&error_description=you%20said%20no";
        let error = expected(false).read(query).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "the vendor refused the login: access_denied: you said no");
        assert!(error.is_final());
        assert!(error.hint().contains("agree"));
    }

    #[test]
    fn another_issuer_is_refused_and_a_promised_one_must_be_there() {
        let query = "code=c&state=st-1&iss=https%3A%2F%2Fevil.test";
        assert_eq!(
            refusal(expected(false).read(query)),
            "the answer comes from issuer `https://evil.test`, expected `https://a.test`"
        );
        assert!(expected(true).read("code=c&state=st-1").is_err());
        assert!(expected(true).read("code=c&state=st-1&iss=https://a.test").is_ok());
    }

    #[test]
    fn what_people_paste_is_read() {
        for pasted in [
            "c-1",
            " c-1\n",
            "c-1#st-1",
            "http://127.0.0.1:1/callback?code=c-1&state=st-1",
            "?code=c-1&state=st-1",
            "state=st-1&code=c-1",
        ] {
            let callback =
                expected(false).read_pasted(pasted).map_err(|e| format!("{pasted}: {e}"));
            assert_eq!(callback.unwrap().code.expose_secret(), "c-1", "{pasted}");
        }
        for (pasted, error) in [
            ("c-1#other", CallbackError::State),
            ("http://127.0.0.1:1/callback?code=c-1&state=other", CallbackError::State),
            ("http://127.0.0.1:1/callback", CallbackError::State),
            ("", CallbackError::NoCode),
            ("two words", CallbackError::NoCode),
        ] {
            let found = expected(false).read_pasted(pasted).map(drop).unwrap_err();
            assert_eq!(found, error, "{pasted}");
        }
    }
}
