//! How sessions are named and chosen: `[PROVIDER:]NAME[@AUTH]`.

use std::{fmt, str::FromStr};

use plugin_api::ProviderId;
use serde::{Deserialize, Serialize};

use crate::session::random::{self, NoRandomness};

/// A name that a user gave a session, unique per provider and auth type.
///
/// 3 to 50 of `A-Z a-z 0-9 _ -`; capitals count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionName(String);

/// Why a text is not one of this module's names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The text is not a session name.
    #[error(
        "invalid session name `{}`: expected {MIN_NAME_LEN} to {MAX_NAME_LEN} of `A-Z a-z 0-9 _ -`",
        .found.escape_debug()
    )]
    Session {
        /// The refused text.
        found: String,
    },
    /// The text is not an auth type.
    #[error("unknown auth type `{}`: expected `api_key` or `oauth`", .found.escape_debug())]
    AuthType {
        /// The refused text.
        found: String,
    },
    /// The text is not a session id.
    #[error("invalid session id `{}`", .found.escape_debug())]
    Id {
        /// The refused text.
        found: String,
    },
    /// The provider before the `:` of a selector is not one.
    #[error("invalid session `{}`", .found.escape_debug())]
    Provider {
        /// The whole selector.
        found: String,
        /// What is wrong with its first part.
        source: plugin_api::id::InvalidId,
    },
}

impl InvalidName {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Provider { .. } => {
                Some("write a session as `[PROVIDER:]NAME[@AUTH]`, e.g. `openai:work@oauth`".into())
            }
            _ => None,
        }
    }
}

impl SessionName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    ///
    /// [`InvalidName::Session`] unless the text is 3 to 50 of `A-Z a-z 0-9 _ -`.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        let long_enough = (MIN_NAME_LEN..=MAX_NAME_LEN).contains(&name.len());
        if long_enough && name.bytes().all(is_name_byte) {
            Ok(Self(name))
        } else {
            Err(InvalidName::Session { found: name })
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for SessionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for SessionName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// How a session proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthType {
    /// A key that the vendor issued once.
    ApiKey,
    /// Tokens from an OAuth login, refreshed as they expire.
    #[serde(rename = "oauth")]
    OAuth,
}

impl AuthType {
    /// Returns the stored form: `api_key` or `oauth`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::OAuth => "oauth",
        }
    }
}

impl fmt::Display for AuthType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AuthType {
    type Err = InvalidName;

    /// Reads the stored form, and `api-key` as the command line spells it.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "api_key" | "api-key" => Ok(Self::ApiKey),
            "oauth" => Ok(Self::OAuth),
            _ => Err(InvalidName::AuthType { found: text.to_owned() }),
        }
    }
}

/// A session as a command names it; the parts left out match anything.
///
/// # Examples
///
/// ```
/// let chosen: host::session::SessionSelector = "openai:work@oauth".parse()?;
/// assert_eq!(chosen.name.as_str(), "work");
/// # Ok::<(), host::session::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionSelector {
    /// The provider, if the text named one.
    pub provider: Option<ProviderId>,
    /// The session's name.
    pub name: SessionName,
    /// The auth type, if the text named one.
    pub auth_type: Option<AuthType>,
}

impl fmt::Display for SessionSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(provider) = &self.provider {
            write!(f, "{provider}:")?;
        }
        write!(f, "{}", self.name)?;
        if let Some(auth_type) = self.auth_type {
            write!(f, "@{auth_type}")?;
        }
        Ok(())
    }
}

impl FromStr for SessionSelector {
    type Err = InvalidName;

    /// Splits at the first `:` and the last `@`; neither can stand in a name.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (provider, rest) = match text.split_once(':') {
            Some((provider, rest)) => {
                let provider = ProviderId::new(provider)
                    .map_err(|source| InvalidName::Provider { found: text.to_owned(), source })?;
                (Some(provider), rest)
            }
            None => (None, text),
        };
        let (name, auth_type) = match rest.rsplit_once('@') {
            Some((name, auth_type)) => (name, Some(auth_type.parse()?)),
            None => (rest, None),
        };
        Ok(Self { provider, name: SessionName::new(name)?, auth_type })
    }
}

/// Identifies one stored session for its whole life, also across renames.
///
/// New ids are 128 random bits in lowercase hex. Rows taken over from the former program keep the
/// id they had, so any short text of `A-Z a-z 0-9 _ -` is accepted when one is read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// Draws a new id from the system's random source.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] if the system has none to give.
    pub fn random() -> Result<Self, NoRandomness> {
        random::id().map(Self)
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for SessionId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if (1..=64).contains(&text.len()) && text.bytes().all(is_name_byte) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Id { found: text.to_owned() })
        }
    }
}

/// Writes bytes in lowercase hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // One allocation: a key is written with this, and a text that grows leaves pieces behind.
    let mut text = String::with_capacity(bytes.len() * 2);
    for half in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(char::from(DIGITS[usize::from(half)]));
    }
    text
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Shortest session name, in bytes.
pub const MIN_NAME_LEN: usize = 3;
/// Longest session name, in bytes.
pub const MAX_NAME_LEN: usize = 50;

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn names_have_three_to_fifty_characters() {
        for good in ["abc", "A-Z_09", "default_openai_api_key", &"x".repeat(50)] {
            let name: SessionName = good.parse().unwrap();
            assert_eq!(name.as_str(), good);
            assert_eq!(format!("{name} {name:?}"), format!("{good} {good:?}"));
        }
        for bad in ["", "ab", "a b", "ä__", "a.b", "a:b", "a@b", &"x".repeat(51)] {
            assert!(SessionName::new(bad).is_err(), "{bad}");
        }
        assert_eq!(
            SessionName::new("a\n").unwrap_err().to_string(),
            "invalid session name `a\\n`: expected 3 to 50 of `A-Z a-z 0-9 _ -`"
        );
    }

    #[test]
    fn names_travel_through_json_and_are_checked_there() {
        let name: SessionName = serde_json::from_str("\"work\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"work\"");
        assert!(serde_json::from_str::<SessionName>("\"w\"").is_err());
    }

    #[test]
    fn auth_types_read_both_spellings() {
        assert_eq!("api_key".parse(), Ok(AuthType::ApiKey));
        assert_eq!("api-key".parse(), Ok(AuthType::ApiKey));
        assert_eq!("oauth".parse(), Ok(AuthType::OAuth));
        assert_eq!(AuthType::ApiKey.to_string(), "api_key");
        assert_eq!(serde_json::to_string(&AuthType::OAuth).unwrap(), "\"oauth\"");
        assert_eq!(serde_json::from_str::<AuthType>("\"api_key\"").unwrap(), AuthType::ApiKey);
        let error = "OAuth".parse::<AuthType>().unwrap_err();
        assert_eq!(error.to_string(), "unknown auth type `OAuth`: expected `api_key` or `oauth`");
        assert_eq!(error.hint(), None);
    }

    #[test]
    fn selectors_read_every_combination_and_print_back() {
        for text in ["work", "openai:work", "work@oauth", "openai:work@api_key"] {
            let selector: SessionSelector = text.parse().unwrap();
            assert_eq!(selector.to_string(), text);
            assert_eq!(selector.name, SessionName::new("work").unwrap());
            assert_eq!(selector.provider.is_some(), text.contains(':'));
            assert_eq!(selector.auth_type.is_some(), text.contains('@'));
        }
    }

    #[test]
    fn selectors_say_which_part_is_wrong() {
        let wrong = |text: &str| text.parse::<SessionSelector>().unwrap_err();
        assert!(matches!(wrong(""), InvalidName::Session { .. }));
        assert!(matches!(wrong("openai:"), InvalidName::Session { .. }));
        assert!(matches!(wrong("a:b:c"), InvalidName::Session { .. }));
        assert!(matches!(wrong("work@"), InvalidName::AuthType { .. }));
        assert!(matches!(wrong("work@x@oauth"), InvalidName::Session { .. }));
        let error = wrong("Open:work");
        assert_eq!(error.to_string(), "invalid session `Open:work`");
        assert!(error.source().unwrap().to_string().contains("provider id `Open`"));
        assert!(error.hint().unwrap().contains("[PROVIDER:]NAME[@AUTH]"));
    }

    #[test]
    fn ids_are_random_hex_and_old_ones_still_read() {
        let id = SessionId::random().unwrap();
        assert_eq!(id.as_str().len(), 32);
        assert!(id.as_str().bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        assert_ne!(id, SessionId::random().unwrap());
        let old = "550e8400-e29b-41d4-a716-446655440000";
        let read: SessionId = old.parse().unwrap();
        assert_eq!(format!("{read} {read:?}"), format!("{old} {old:?}"));
        for bad in ["", "a b", &"x".repeat(65)] {
            assert!(matches!(bad.parse::<SessionId>(), Err(InvalidName::Id { .. })));
        }
    }
}
