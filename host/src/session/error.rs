//! What can go wrong with sessions, above the store.

use plugin_api::ProviderId;

use crate::session::{
    credential::InvalidPayload,
    envelope::EnvelopeError,
    name::{AuthType, SessionName},
    random::NoRandomness,
    store::StoreError,
};
use crate::suggest::nearest;

/// Why an operation on sessions or conversations failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No session matches.
    #[error("no session `{selector}`")]
    Unknown {
        /// What was asked for.
        selector: String,
        /// The sessions there are.
        known: Vec<String>,
    },
    /// The provider has no session at all.
    #[error("provider `{provider}` has no session")]
    None {
        /// The provider.
        provider: ProviderId,
    },
    /// Several sessions match.
    #[error("`{selector}` matches several sessions: {}", list(.candidates))]
    Ambiguous {
        /// What was asked for.
        selector: String,
        /// Selectors that each match one.
        candidates: Vec<String>,
    },
    /// The provider has several sessions and no default.
    #[error("provider `{provider}` has no default session, but several: {}", list(.candidates))]
    NoDefault {
        /// The provider.
        provider: ProviderId,
        /// Selectors that each match one.
        candidates: Vec<String>,
    },
    /// A stored value could not be sealed or opened.
    #[error("failed to open `{what}`")]
    Sealed {
        /// The session as `PROVIDER:NAME@AUTH`, or the message as `CONVERSATION/CHUNK`.
        what: String,
        /// Why.
        source: EnvelopeError,
    },
    /// A credential opened, but does not read as one.
    #[error("failed to read the credential of `{what}`")]
    Payload {
        /// The session as `PROVIDER:NAME@AUTH`.
        what: String,
        /// Why.
        source: InvalidPayload,
    },
    /// A message opened, but is not text.
    #[error("message `{what}` is not UTF-8 text")]
    NotText {
        /// The message as `CONVERSATION/CHUNK`.
        what: String,
    },
    /// The credential is not of the session's auth type.
    #[error("session `{name}` holds {expected} credentials, but was given one for {found}")]
    WrongKind {
        /// The session.
        name: SessionName,
        /// Its auth type.
        expected: AuthType,
        /// The credential's.
        found: AuthType,
    },
    /// Others changed the row each time that this process tried to.
    #[error("session `{what}` is being changed by others; gave up after {attempts} attempts")]
    Contended {
        /// The session as `PROVIDER:NAME@AUTH`.
        what: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The system had no randomness for an id.
    #[error("failed to draw an id")]
    Random(#[from] NoRandomness),
    /// The credential could not be written for sealing: a bug of the host.
    #[error("failed to encode a credential; this is a bug in `maestro`")]
    Encode,
    /// The thread that did the work panicked: a bug of the host.
    #[error("a store operation panicked; this is a bug in `maestro`")]
    Panicked,
}

impl SessionError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Unknown { selector, known } if known.is_empty() => {
                let provider =
                    selector.split_once(':').map_or("PROVIDER", |(provider, _)| provider);
                Some(format!("run `maestro login {provider}`"))
            }
            Self::Unknown { selector, known } => Some(match meant(selector, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are: {}", list(known)),
            }),
            Self::None { provider } => Some(format!("run `maestro login {provider}`")),
            Self::Ambiguous { .. } => Some("name one of them in full".into()),
            Self::NoDefault { candidates, .. } => Some(format!(
                "run `maestro sessions default {}`",
                candidates.first().map_or("NAME", String::as_str)
            )),
            Self::Sealed { source, .. } => source.hint(),
            Self::Payload { .. } => Some("log in again with `--replace`".into()),
            Self::Contended { .. } => Some("try again".into()),
            _ => None,
        }
    }
}

/// Finds the session that was most likely meant: names are compared where no provider was given.
fn meant<'a>(selector: &str, known: &'a [String]) -> Option<&'a str> {
    let name = |text: &'a str| {
        let text = text.split_once(':').map_or(text, |(_, name)| name);
        text.rsplit_once('@').map_or(text, |(name, _)| name)
    };
    let wanted = selector.split_once(':').map_or(selector, |(_, name)| name);
    let wanted = wanted.rsplit_once('@').map_or(wanted, |(name, _)| name);
    let near = nearest(wanted, known.iter().map(|known| name(known)))?;
    let mut all = known.iter().filter(|known| name(known) == near);
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// Lists at most a handful; a message is no place for a thousand names.
fn list(names: &[String]) -> String {
    let mut text: Vec<_> = names.iter().take(MAX_LISTED).map(|name| format!("`{name}`")).collect();
    if names.len() > MAX_LISTED {
        text.push(format!("and {} more", names.len() - MAX_LISTED));
    }
    text.join(", ")
}

const MAX_LISTED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..10).map(|n| format!("s{n}")).collect();
        let text = list(&names);
        assert!(text.starts_with("`s0`, ") && text.ends_with("`s7`, and 2 more"));
        let unknown = |known| SessionError::Unknown { selector: "x".into(), known };
        assert_eq!(unknown(vec![]).hint().unwrap(), "run `maestro login PROVIDER`");
        let near = SessionError::Unknown {
            selector: "a:wrok".into(),
            known: vec!["a:home@oauth".into(), "a:work@oauth".into()],
        };
        assert_eq!(near.hint().unwrap(), "did you mean `a:work@oauth`?");
        assert_eq!(unknown(vec!["a:bcd@oauth".into()]).hint().unwrap(), "there are: `a:bcd@oauth`");
    }
}
