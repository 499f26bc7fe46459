//! The secret of a session, in memory: wiped when dropped, shown to nobody.
//!
//! There is no `Debug` and no `Serialize` here. The only way out of this module as text is
//! `Credential::to_payload`, which the sealing code alone can call, and the explicit
//! `expose_secret` of the `secrecy` crate, which is easy to search for.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf, sync::LazyLock};

use plugin_api::PluginId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::session::{binding::Binding, name::AuthType};

/// What a session authenticates with, and where that may be sent.
pub struct Credential {
    /// The secret itself.
    pub secret: Secret,
    /// The plugin and the origins that the user approved for it.
    pub binding: Binding,
    /// Facts that came with the login (account, plan, project). The plugin is told; never secret.
    pub attributes: BTreeMap<String, String>,
}

/// The kinds of secrets.
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "few live at a time; a box would only hide it")]
pub enum Secret {
    /// A key as the vendor issued it.
    ApiKey(SecretString),
    /// The tokens of an OAuth login.
    OAuth(TokenSet),
    /// A login that another tool keeps: the token is read there at each use.
    Profile(ProfileLink),
}

/// Where another tool keeps the login of a session. No secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileLink {
    /// The id of the scheme whose files it is in.
    pub scheme: String,
    /// The tool.
    pub tool: String,
    /// The tool's name for it.
    pub profile: String,
    /// Its file, as it was when the session was made; the environment may name another folder now.
    pub path: PathBuf,
}

/// What an OAuth token endpoint answered, and what is needed to ask it again.
///
/// Times are the server's: the local clock plus [`clock_skew_s`](Self::clock_skew_s).
#[derive(Clone)]
pub struct TokenSet {
    /// What requests carry.
    pub access_token: SecretString,
    /// What renews it; some vendors issue none.
    pub refresh_token: Option<SecretString>,
    /// When the access token ends, in Unix seconds, if the vendor said so.
    pub expires_at: Option<i64>,
    /// What was granted.
    pub scopes: Vec<String>,
    /// How the token is presented, usually `Bearer`.
    pub token_type: String,
    /// Everything else in the answer (`id_token`, account ids): text as it came, other values as
    /// their JSON text. Secret, because some of it is.
    pub extra: BTreeMap<String, SecretString>,
    /// The id of the scheme that it was issued under; empty means the provider's first OAuth scheme.
    pub scheme: String,
    /// The client that it was issued to; empty means the one that is configured now.
    pub client_id: String,
    /// That client's secret, only when a registration issued it; a configured one stays there.
    pub client_secret: Option<SecretString>,
    /// Where it is renewed; empty means where the scheme says.
    pub token_endpoint: String,
    /// Where it is revoked; empty means where the scheme says.
    pub revocation_endpoint: String,
    /// The server refuses to renew it before, in Unix seconds.
    pub earliest_refresh_at: Option<i64>,
    /// When the access token was issued, in Unix seconds.
    pub obtained_at: Option<i64>,
    /// How far the server's clock is ahead of the local one, in seconds.
    pub clock_skew_s: i64,
    /// What is known of attempts to renew it with this very refresh token.
    pub renewal: Renewal,
}

/// What became of attempts to use one refresh token.
///
/// It lies beside that token, so that whatever replaces the token forgets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Renewal {
    /// How many requests were begun whose outcome is not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// Why the server takes this token never again; holds no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

impl Default for TokenSet {
    fn default() -> Self {
        Self {
            access_token: SecretString::from(""),
            refresh_token: None,
            expires_at: None,
            scopes: Vec::new(),
            token_type: "Bearer".into(),
            extra: BTreeMap::new(),
            scheme: String::new(),
            client_id: String::new(),
            client_secret: None,
            token_endpoint: String::new(),
            revocation_endpoint: String::new(),
            earliest_refresh_at: None,
            obtained_at: None,
            clock_skew_s: 0,
            renewal: Renewal::default(),
        }
    }
}

/// A decrypted payload that does not read as a credential: written by a newer host, most likely.
#[derive(Debug, thiserror::Error)]
#[error("stored credential has an unknown form")]
#[non_exhaustive]
pub struct InvalidPayload;

impl Credential {
    /// Wraps an API key.
    #[must_use]
    pub fn api_key(key: impl Into<SecretString>, binding: Binding) -> Self {
        Self { secret: Secret::ApiKey(key.into()), binding, attributes: BTreeMap::new() }
    }

    /// Wraps the tokens of an OAuth login.
    #[must_use]
    pub fn oauth(tokens: TokenSet, binding: Binding) -> Self {
        Self { secret: Secret::OAuth(tokens), binding, attributes: BTreeMap::new() }
    }

    /// Points to a login that another tool keeps.
    #[must_use]
    pub fn profile(link: ProfileLink, binding: Binding) -> Self {
        Self { secret: Secret::Profile(link), binding, attributes: BTreeMap::new() }
    }

    /// Adds facts that came with the login.
    #[must_use]
    pub fn with_attributes(mut self, attributes: BTreeMap<String, String>) -> Self {
        self.attributes.extend(attributes);
        self
    }

    /// Returns the tokens of an OAuth login.
    #[must_use]
    pub fn tokens(&self) -> Option<&TokenSet> {
        match &self.secret {
            Secret::ApiKey(_) | Secret::Profile(_) => None,
            Secret::OAuth(tokens) => Some(tokens),
        }
    }

    /// Returns the auth type of sessions that hold this kind of secret.
    #[must_use]
    pub fn auth_type(&self) -> AuthType {
        match self.secret {
            Secret::ApiKey(_) => AuthType::ApiKey,
            Secret::OAuth(_) | Secret::Profile(_) => AuthType::OAuth,
        }
    }

    /// Returns when the secret ends, in Unix seconds, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        match &self.secret {
            Secret::ApiKey(_) | Secret::Profile(_) => None,
            Secret::OAuth(tokens) => tokens.expires_at,
        }
    }

    /// Returns what goes into a request: the API key or the access token. Empty for a login that another
    /// tool keeps, whose token is not here.
    #[must_use]
    pub fn bearer(&self) -> &SecretString {
        match &self.secret {
            Secret::ApiKey(key) => key,
            Secret::OAuth(tokens) => &tokens.access_token,
            Secret::Profile(_) => &NOT_HERE,
        }
    }

    /// Returns the secret for display: four stars and its last four characters.
    ///
    /// A secret of fewer than 12 characters shows only stars; four of them would say too much.
    #[must_use]
    pub fn masked(&self) -> String {
        mask(self.bearer().expose_secret())
    }

    /// Writes the payload that goes into the envelope.
    pub(super) fn to_payload(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        fn text(secret: &SecretString) -> Text<'_> {
            Text(Cow::Borrowed(secret.expose_secret()))
        }
        let secret = match &self.secret {
            Secret::ApiKey(key) => SecretPayload::ApiKey { key: text(key) },
            Secret::Profile(link) => SecretPayload::Profile { link: link.clone() },
            Secret::OAuth(tokens) => SecretPayload::OAuth {
                access_token: text(&tokens.access_token),
                refresh_token: tokens.refresh_token.as_ref().map(text),
                expires_at: tokens.expires_at,
                scopes: tokens.scopes.clone(),
                token_type: tokens.token_type.clone(),
                extra: tokens.extra.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
                scheme: tokens.scheme.clone(),
                client_id: tokens.client_id.clone(),
                client_secret: tokens.client_secret.as_ref().map(text),
                token_endpoint: tokens.token_endpoint.clone(),
                revocation_endpoint: tokens.revocation_endpoint.clone(),
                earliest_refresh_at: tokens.earliest_refresh_at,
                obtained_at: tokens.obtained_at,
                clock_skew_s: tokens.clock_skew_s,
                renewal: tokens.renewal.clone(),
            },
        };
        let payload = Payload {
            secret,
            plugin: self.binding.plugin().clone(),
            origins: self.binding.origins().to_vec(),
            attributes: self.attributes.clone(),
        };
        json(&payload)
    }

    /// Reads a payload back.
    pub(super) fn from_payload(bytes: &[u8]) -> Result<Self, InvalidPayload> {
        // The parser's own error is dropped: it may quote the text it stumbled over.
        let payload: Payload<'_> = serde_json::from_slice(bytes).map_err(|_| InvalidPayload)?;
        let secret = match payload.secret {
            SecretPayload::ApiKey { key } => Secret::ApiKey(key.into_secret()),
            SecretPayload::Profile { link } => Secret::Profile(link),
            SecretPayload::OAuth {
                access_token,
                refresh_token,
                expires_at,
                scopes,
                token_type,
                extra,
                scheme,
                client_id,
                client_secret,
                token_endpoint,
                revocation_endpoint,
                earliest_refresh_at,
                obtained_at,
                clock_skew_s,
                renewal,
            } => Secret::OAuth(TokenSet {
                access_token: access_token.into_secret(),
                refresh_token: refresh_token.map(Text::into_secret),
                expires_at,
                scopes,
                token_type,
                extra: extra.into_iter().map(|(k, v)| (k, v.into_secret())).collect(),
                scheme,
                client_id,
                client_secret: client_secret.map(Text::into_secret),
                token_endpoint,
                revocation_endpoint,
                earliest_refresh_at,
                obtained_at,
                clock_skew_s,
                renewal,
            }),
        };
        let binding = Binding::new(payload.plugin, payload.origins).map_err(|_| InvalidPayload)?;
        Ok(Self { secret, binding, attributes: payload.attributes })
    }
}

/// Writes what holds secrets into a buffer that is wiped.
///
/// The length is counted first: a buffer that grows leaves pieces of the secret behind.
pub(super) fn json(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let mut count = Counter(0);
    serde_json::to_writer(&mut count, value)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(count.0));
    serde_json::to_writer(&mut *bytes, value)?;
    Ok(bytes)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

static NOT_HERE: LazyLock<SecretString> = LazyLock::new(|| SecretString::from(""));

/// Shows the last four characters of a long secret.
pub(crate) fn mask(secret: &str) -> String {
    let length = secret.chars().count();
    let shown = if length < MIN_MASKED_LEN { length } else { length - 4 };
    "****".chars().chain(secret.chars().skip(shown)).collect()
}

/// The sealed form. New fields need `#[serde(default)]`, so that old envelopes still open.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    #[serde(flatten, borrow)]
    secret: SecretPayload<'a>,
    plugin: PluginId,
    origins: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
#[expect(clippy::large_enum_variant, reason = "one lives while a session is opened or sealed")]
enum SecretPayload<'a> {
    #[serde(rename = "api_key")]
    ApiKey {
        #[serde(borrow)]
        key: Text<'a>,
    },
    #[serde(rename = "profile")]
    Profile {
        #[serde(flatten)]
        link: ProfileLink,
    },
    #[serde(rename = "oauth")]
    OAuth {
        #[serde(borrow)]
        access_token: Text<'a>,
        #[serde(borrow)]
        refresh_token: Option<Text<'a>>,
        expires_at: Option<i64>,
        scopes: Vec<String>,
        token_type: String,
        #[serde(borrow)]
        extra: BTreeMap<String, Text<'a>>,
        #[serde(default)]
        scheme: String,
        #[serde(default)]
        client_id: String,
        #[serde(borrow, default)]
        client_secret: Option<Text<'a>>,
        #[serde(default)]
        token_endpoint: String,
        #[serde(default)]
        revocation_endpoint: String,
        #[serde(default)]
        earliest_refresh_at: Option<i64>,
        #[serde(default)]
        obtained_at: Option<i64>,
        #[serde(default)]
        clock_skew_s: i64,
        #[serde(default)]
        renewal: Renewal,
    },
}

/// Text borrowed from the (wiped) plaintext, so that parsing makes no copies of secrets.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    fn into_secret(self) -> SecretString {
        match self.0 {
            Cow::Borrowed(text) => SecretString::from(text),
            Cow::Owned(text) => SecretString::from(text),
        }
    }
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const MIN_MASKED_LEN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding::new(PluginId::new("openai").unwrap(), ["https://api.openai.com"]).unwrap()
    }

    fn tokens() -> TokenSet {
        TokenSet {
            access_token: "access-\"quoted\"-é".into(),
            refresh_token: Some("refresh".into()),
            expires_at: Some(1_800_000_000),
            scopes: vec!["chat".into(), "models".into()],
            token_type: "Bearer".into(),
            extra: BTreeMap::from([("id_token".into(), "ey.J.x".into())]),
            scheme: "plan".into(),
            client_id: "client-1".into(),
            client_secret: Some("issued".into()),
            token_endpoint: "https://auth.example/token".into(),
            revocation_endpoint: "https://auth.example/revoke".into(),
            earliest_refresh_at: Some(1_799_999_000),
            obtained_at: Some(1_799_996_400),
            clock_skew_s: -600,
            renewal: Renewal { attempts: 1, rejected: Some("invalid_grant".into()) },
        }
    }

    #[test]
    fn api_keys_survive_the_payload() {
        let credential = Credential::api_key("sk-0123456789", binding());
        let payload = credential.to_payload().unwrap();
        assert_eq!(payload.capacity(), payload.len(), "the buffer never grew");
        let read = Credential::from_payload(&payload).unwrap();
        assert_eq!(read.bearer().expose_secret(), "sk-0123456789");
        assert_eq!(read.binding, binding());
        assert_eq!((read.auth_type(), read.expires_at()), (AuthType::ApiKey, None));
    }

    #[test]
    fn token_sets_survive_the_payload() {
        let attributes = BTreeMap::from([("plan".into(), "plus".into())]);
        let credential = Credential::oauth(tokens(), binding()).with_attributes(attributes.clone());
        let read = Credential::from_payload(&credential.to_payload().unwrap()).unwrap();
        assert_eq!(read.attributes, attributes);
        assert_eq!((read.auth_type(), read.expires_at()), (AuthType::OAuth, Some(1_800_000_000)));
        let Secret::OAuth(read) = read.secret else { panic!("expected tokens") };
        assert_eq!(read.access_token.expose_secret(), "access-\"quoted\"-é");
        assert_eq!(read.refresh_token.unwrap().expose_secret(), "refresh");
        assert_eq!(read.scopes, ["chat", "models"]);
        assert_eq!(read.token_type, "Bearer");
        assert_eq!(read.extra["id_token"].expose_secret(), "ey.J.x");
        assert_eq!((read.scheme.as_str(), read.client_id.as_str()), ("plan", "client-1"));
        assert_eq!(read.client_secret.unwrap().expose_secret(), "issued");
        assert_eq!(read.token_endpoint, "https://auth.example/token");
        assert_eq!(read.revocation_endpoint, "https://auth.example/revoke");
        assert_eq!(read.earliest_refresh_at, Some(1_799_999_000));
        assert_eq!((read.obtained_at, read.clock_skew_s), (Some(1_799_996_400), -600));
        assert_eq!(read.renewal, tokens().renewal);
    }

    #[test]
    fn envelopes_of_older_hosts_still_open() {
        let text = r#"{"kind":"oauth","access_token":"at","refresh_token":"rt","expires_at":7,
            "scopes":[],"token_type":"Bearer","extra":{},"plugin":"openai",
            "origins":["https://api.openai.com"]}"#;
        let read = Credential::from_payload(text.as_bytes()).unwrap();
        let tokens = read.tokens().unwrap();
        assert_eq!(tokens.refresh_token.as_ref().unwrap().expose_secret(), "rt");
        assert_eq!((tokens.token_endpoint.as_str(), tokens.clock_skew_s), ("", 0));
        assert_eq!(tokens.renewal, Renewal::default());
        assert!(read.attributes.is_empty() && tokens.client_secret.is_none());
    }

    #[test]
    fn links_survive_the_payload_and_hold_no_token() {
        let link = ProfileLink {
            scheme: "oauth".into(),
            tool: "ant".into(),
            profile: "work".into(),
            path: "/home/me/credentials/work.json".into(),
        };
        let payload = Credential::profile(link.clone(), binding()).to_payload().unwrap();
        let read = Credential::from_payload(&payload).unwrap();
        assert_eq!((read.auth_type(), read.expires_at()), (AuthType::OAuth, None));
        assert_eq!(read.bearer().expose_secret(), "");
        let Secret::Profile(read) = read.secret else { panic!("expected a link") };
        assert_eq!(read, link);
    }

    #[test]
    fn unreadable_payloads_say_nothing_about_their_text() {
        let bad_origin = r#"{"kind":"api_key","key":"sk-1","plugin":"a","origins":["nonsense"]}"#;
        for text in ["", "sk-secret", r#"{"kind":"passkey","key":"sk-secret"}"#, bad_origin] {
            let error = Credential::from_payload(text.as_bytes()).err().unwrap();
            assert_eq!(error.to_string(), "stored credential has an unknown form");
        }
    }

    #[test]
    fn masks_show_the_last_four_of_long_secrets() {
        assert_eq!(Credential::api_key("sk-0123456789", binding()).masked(), "****6789");
        assert_eq!(mask("éééééééééééabcé"), "****abcé");
        for short in ["", "abcd", "elevenchars"] {
            assert_eq!(mask(short), "****");
        }
    }
}
