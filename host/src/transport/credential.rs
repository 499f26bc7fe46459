//! Puts a credential into a request, at typed places and toward approved origins alone.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use plugin_api::{
    PluginId,
    auth::Placement,
    error::ProviderError,
    http::{Auth, TransportErrorKind},
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use zeroize::Zeroizing;

use super::client::TransportError;
use crate::session::{Binding, OpenSession};

/// The secret of a session, however it is kept.
#[derive(Clone)]
pub enum Keys {
    /// From the store; stays sealed in memory's care.
    Stored(Arc<OpenSession>),
    /// From where the user declared it.
    Declared {
        /// The secret.
        secret: SecretString,
        /// What it may be used for.
        binding: Binding,
    },
}

impl Keys {
    fn secret(&self) -> &SecretString {
        match self {
            Self::Stored(session) => session.credential.bearer(),
            Self::Declared { secret, .. } => secret,
        }
    }

    fn binding(&self) -> &Binding {
        match self {
            Self::Stored(session) => &session.credential.binding,
            Self::Declared { binding, .. } => binding,
        }
    }
}

/// A credential and where the manifest (or the configuration) puts it.
#[derive(Clone)]
pub struct CredentialUse {
    /// The secret.
    pub keys: Keys,
    /// The plugin that asks.
    pub plugin: PluginId,
    /// Where it goes unless the request says otherwise; `None` for nowhere.
    pub placement: Option<Placement>,
}

impl CredentialUse {
    /// Puts the credential where `auth` says.
    ///
    /// Called last, when nothing of the request changes any more, so that no later step can redirect
    /// what is now secret.
    pub(super) fn apply(
        &self,
        auth: &Auth,
        url: &mut Url,
        headers: &mut HeaderMap,
    ) -> Result<(), TransportError> {
        let places = match auth {
            Auth::Scheme => self.placement.as_slice(),
            Auth::None => return Ok(()),
            Auth::At(places) => places.as_slice(),
            _ => return Err(refused("the request wants its credential in an unknown way")),
        };
        if places.is_empty() {
            return Ok(());
        }
        if !self.keys.binding().allows(&self.plugin, url) {
            let origin = url.origin().ascii_serialization();
            return Err(refused(format!(
                "the session is not approved for plugin `{}` and origin `{origin}`",
                self.plugin
            )));
        }
        let secret = self.keys.secret().expose_secret();
        for place in places {
            match place {
                Placement::Bearer => put(headers, "authorization", "Bearer ", secret)?,
                Placement::Header { name, prefix } => put(headers, name, prefix, secret)?,
                Placement::Query { name } => {
                    let kept: Vec<(String, String)> =
                        url.query_pairs().filter(|(key, _)| key != name).map(owned).collect();
                    url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, secret);
                }
                _ => return Err(refused("the request wants its credential in an unknown place")),
            }
        }
        Ok(())
    }

    /// Writes stars over the secret wherever it stands in `bytes`, as it is and as JSON and a URL spell
    /// it, for what is kept of a vendor's answer. Reports whether it stood there.
    #[must_use]
    pub fn mask(&self, bytes: &mut [u8]) -> bool {
        let secret = self.keys.secret().expose_secret();
        let json = Zeroizing::new(serde_json::Value::from(secret).to_string());
        let mut url = url::form_urlencoded::Serializer::new(String::new());
        let url = Zeroizing::new(url.append_key_only(secret).finish());
        // A JSON text stands between quotes.
        let json = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
        let mut found = false;
        for spelling in [secret, json, &url] {
            found |= overwrite(bytes, spelling.as_bytes());
        }
        found
    }
}

impl CredentialUse {
    /// Returns a failure without the secret: some servers repeat the key that they refuse, and what they
    /// say is printed, logged and stored.
    #[must_use]
    pub(crate) fn masked(&self, mut error: ProviderError) -> ProviderError {
        error.message = self.masked_text(error.message);
        error.code = error.code.map(|code| self.masked_text(code));
        if !error.details.is_empty() {
            let details = serde_json::to_string(&error.details).unwrap_or_default();
            error.details = serde_json::from_str(&self.masked_text(details)).unwrap_or_default();
        }
        error
    }

    /// Returns a text without the secret.
    #[must_use]
    pub(crate) fn masked_text(&self, text: String) -> String {
        let mut bytes = text.into_bytes();
        let _ = self.mask(&mut bytes);
        // Stars over whole occurrences of a text leave text.
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Writes stars over a text wherever it stands.
fn overwrite(bytes: &mut [u8], text: &[u8]) -> bool {
    let (mut at, mut found) = (0, false);
    while !text.is_empty() && at + text.len() <= bytes.len() {
        if bytes[at..].starts_with(text) {
            bytes[at..at + text.len()].fill(b'*');
            (at, found) = (at + text.len(), true);
        } else {
            at += 1;
        }
    }
    found
}

fn owned((key, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)) -> (String, String) {
    (key.into_owned(), value.into_owned())
}

fn put(
    headers: &mut HeaderMap,
    name: &str,
    prefix: &str,
    secret: &str,
) -> Result<(), TransportError> {
    let name = HeaderName::try_from(name)
        .map_err(|_| refused(format!("`{}` is no header name", name.escape_debug())))?;
    let mut value = HeaderValue::try_from(format!("{prefix}{secret}"))
        .map_err(|_| refused("the credential holds characters that no header can carry"))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

fn refused(message: impl Into<String>) -> TransportError {
    TransportError { kind: TransportErrorKind::Refused, message: message.into(), sent: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(placement: Option<Placement>) -> CredentialUse {
        let plugin = PluginId::new("acme").unwrap();
        let binding = Binding::new(plugin.clone(), ["https://api.acme.test"]).unwrap();
        let keys = Keys::Declared { secret: "s3cret".into(), binding };
        CredentialUse { keys, plugin, placement }
    }

    fn apply(
        credential: &CredentialUse,
        auth: &Auth,
        url: &str,
    ) -> Result<(Url, HeaderMap), TransportError> {
        let (mut url, mut headers) = (Url::parse(url).unwrap(), HeaderMap::new());
        headers.insert("authorization", HeaderValue::from_static("what the plugin wrote"));
        credential.apply(auth, &mut url, &mut headers)?;
        Ok((url, headers))
    }

    #[test]
    fn the_credential_goes_where_it_is_told() {
        let bearer = credential(Some(Placement::Bearer));
        let (_, headers) = apply(&bearer, &Auth::Scheme, "https://api.acme.test/x").unwrap();
        assert_eq!(headers["authorization"], "Bearer s3cret");
        assert!(headers["authorization"].is_sensitive());
        let at = Auth::At(vec![Placement::Query { name: "key".into() }]);
        let (url, headers) = apply(&bearer, &at, "https://api.acme.test/x?key=mine&b=1").unwrap();
        assert_eq!(url.query(), Some("b=1&key=s3cret"));
        assert_eq!(headers["authorization"], "what the plugin wrote");
        let (url, _) = apply(&bearer, &Auth::None, "https://evil.test/").unwrap();
        assert_eq!(url.query(), None);
        apply(&credential(None), &Auth::Scheme, "https://evil.test/").unwrap();
    }

    #[test]
    fn a_secret_is_masked_however_it_is_spelt() {
        let mut odd = credential(None);
        let Keys::Declared { secret, .. } = &mut odd.keys else { unreachable!() };
        *secret = "a\"b+c".into();
        for (text, masked) in [
            ("x a\"b+c y a\"b+ca\"b+c", "x ***** y **********"),
            (r#"{"echo":"a\"b+c"}"#, r#"{"echo":"******"}"#),
            ("?key=a%22b%2Bc&x", "?key=*********&x"),
        ] {
            let mut bytes = text.to_owned().into_bytes();
            assert!(odd.mask(&mut bytes));
            assert_eq!(String::from_utf8(bytes).unwrap(), masked);
        }
        assert!(!odd.mask(&mut b"a\"b+".to_vec()));
    }

    #[test]
    fn nothing_goes_to_an_origin_or_a_plugin_that_was_not_approved() {
        let bearer = credential(Some(Placement::Bearer));
        let error = apply(&bearer, &Auth::Scheme, "https://evil.test/").unwrap_err();
        assert_eq!(
            error.message,
            "the session is not approved for plugin `acme` and origin `https://evil.test`"
        );
        let mut other = credential(Some(Placement::Bearer));
        other.plugin = PluginId::new("evil").unwrap();
        assert!(apply(&other, &Auth::Scheme, "https://api.acme.test/").is_err());
    }

    #[test]
    fn a_credential_that_no_header_can_carry_is_not_sent_in_part() {
        let mut broken = credential(Some(Placement::Bearer));
        let Keys::Declared { secret, .. } = &mut broken.keys else { unreachable!() };
        *secret = "two\r\nx-evil: lines".into();
        let error = apply(&broken, &Auth::Scheme, "https://api.acme.test/").unwrap_err();
        assert!(!error.message.contains("evil"), "{}", error.message);
    }
}
