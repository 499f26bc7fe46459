//! Identifiers: newtypes, so that a model never stands where a provider belongs.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest provider or plugin id, in bytes (DESIGN: `[a-z][a-z0-9_-]{0,31}`).
pub const MAX_ID_LEN: usize = 32;

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidId {
    /// What was being read, for example `provider id`.
    pub what: &'static str,
    /// The text that was refused.
    pub found: String,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid {} `{}`: expected a lowercase letter, then up to 31 of `a-z 0-9 _ -`",
            self.what,
            self.found.escape_debug()
        )
    }
}

impl std::error::Error for InvalidId {}

/// Reports whether `id` matches `[a-z][a-z0-9_-]{0,31}`.
///
/// A `const fn`, so that `export_plugin!` refuses a bad id when the plugin is compiled.
#[must_use]
pub const fn is_valid_id(id: &str) -> bool {
    let bytes = id.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_ID_LEN || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut at = 1;
    while at < bytes.len() {
        let b = bytes[at];
        if !(b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-') {
            return false;
        }
        at += 1;
    }
    true
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }
    };
}

macro_rules! checked_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        text_newtype! { $(#[$doc])* $name }

        impl $name {
            /// Checks and wraps an identifier.
            ///
            /// # Errors
            ///
            /// [`InvalidId`] unless the text matches `[a-z][a-z0-9_-]{0,31}`.
            pub fn new(id: impl Into<String>) -> Result<Self, InvalidId> {
                let id = id.into();
                if is_valid_id(&id) { Ok(Self(id)) } else { Err(InvalidId { what: $what, found: id }) }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        text_newtype! { $(#[$doc])* #[derive(Default, Deserialize)] $name }

        impl $name {
            /// Wraps an identifier as the vendor spells it.
            #[must_use]
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }
    };
}

checked_id! {
    /// Names a service that can be asked, for example `anthropic` or an instance such as `lab`.
    ProviderId, "provider id"
}
checked_id! {
    /// Names a plugin; unique among the loaded ones.
    PluginId, "plugin id"
}
opaque_id! {
    /// Names a model as its vendor does; may hold `/`, `:` and capitals.
    ModelId
}
opaque_id! {
    /// Names a conversation or another context that a provider (or the host) keeps.
    ContextId
}
opaque_id! {
    /// Names one piece of a context, for example a conversation item.
    ChunkId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_match_the_documented_pattern() {
        for good in ["a", "openai", "x-1_y", &"a".repeat(32)] {
            assert!(ProviderId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "1a", "-a", "a.b", "a/b", "ä", &"a".repeat(33)] {
            assert!(ProviderId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_id_is_named_with_what_was_expected() {
        let error = PluginId::new("Big\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid plugin id `Big\\n`: expected a lowercase letter, then up to 31 of `a-z 0-9 _ -`"
        );
    }

    #[test]
    fn deserializing_checks_too() {
        assert!(serde_json::from_str::<ProviderId>("\"lab\"").is_ok());
        assert!(serde_json::from_str::<ProviderId>("\"La b\"").is_err());
    }
}
