//! `provider/model`, `provider:session/model`, `provider:session@oauth/model`, `provider:*/model`.

use std::{fmt, str::FromStr};

use plugin_api::{InvalidId, ModelId, ProviderId};

use crate::session::{AuthType, InvalidName, SessionName};

/// Names a model, its provider and, where it matters, the session to use.
///
/// The first `/` splits, so a model's own name may hold more of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// The provider.
    pub provider: ProviderId,
    /// The session; absent means the usual choice.
    pub session: Option<SessionName>,
    /// The session's kind, where a name stands for several.
    pub auth_type: Option<AuthType>,
    /// Whether any of the provider's API-key sessions may serve: `provider:*`.
    pub pool: bool,
    /// The model, as the provider names it.
    pub model: ModelId,
}

/// Why a text is not a model ref.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelRefError {
    /// There is no `/`, or nothing behind it.
    #[error("expected `provider/model`, found `{}`", .found.escape_debug())]
    NoModel {
        /// The text.
        found: String,
    },
    /// What stands before the `/` or `:` is no provider id.
    #[error("`{}` names no provider", .found.escape_debug())]
    Provider {
        /// The text.
        found: String,
        /// Why.
        source: InvalidId,
    },
    /// What stands behind the `:` is no session name.
    #[error("`{}` names no session", .found.escape_debug())]
    Session {
        /// The text.
        found: String,
        /// Why.
        source: InvalidName,
    },
    /// What stands behind the `@` is no kind of session.
    #[error("expected `@api-key` or `@oauth`, found `@{}`", .found.escape_debug())]
    AuthType {
        /// The text.
        found: String,
    },
}

impl FromStr for ModelRef {
    type Err = ModelRefError;

    fn from_str(text: &str) -> Result<Self, ModelRefError> {
        let found = || text.to_owned();
        let (left, model) = text
            .split_once('/')
            .filter(|(_, model)| !model.is_empty())
            .ok_or_else(|| ModelRefError::NoModel { found: found() })?;
        let (provider, selector) = match left.split_once(':') {
            Some((provider, selector)) => (provider, Some(selector)),
            None => (left, None),
        };
        let provider = ProviderId::new(provider)
            .map_err(|source| ModelRefError::Provider { found: found(), source })?;
        let (mut session, mut auth_type) = (None, None);
        let pool = selector == Some(POOL);
        if let Some(selector) = selector.filter(|_| !pool) {
            let (name, auth) = match selector.split_once('@') {
                Some((name, auth)) => (name, Some(auth)),
                None => (selector, None),
            };
            let name = SessionName::new(name)
                .map_err(|source| ModelRefError::Session { found: found(), source })?;
            session = Some(name);
            auth_type = auth
                .map(str::parse)
                .transpose()
                .map_err(|_| ModelRefError::AuthType { found: auth.unwrap_or_default().into() })?;
        }
        Ok(Self { provider, session, auth_type, pool, model: ModelId::from(model) })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.provider)?;
        if self.pool {
            write!(f, ":{POOL}")?;
        }
        if let Some(session) = &self.session {
            write!(f, ":{session}")?;
        }
        if let Some(auth_type) = self.auth_type {
            write!(f, "@{auth_type}")?;
        }
        write!(f, "/{}", self.model)
    }
}

/// What stands for all of a provider's sessions.
const POOL: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_read_and_written_alike() {
        for text in [
            "openai/gpt-1",
            "openrouter/meta/llama:free",
            "openai:work_gpt/gpt-1",
            "openai:work@oauth/gpt-1",
            "openai:*/gpt-1",
        ] {
            assert_eq!(text.parse::<ModelRef>().unwrap().to_string(), text);
        }
        let parsed: ModelRef = "a:work/m/n@o:p".parse().unwrap();
        assert_eq!(parsed.model, "m/n@o:p");
        assert_eq!(parsed.session.unwrap().as_str(), "work");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, error) in [
            ("gpt-1", "expected `provider/model`, found `gpt-1`"),
            ("openai/", "expected `provider/model`, found `openai/`"),
            ("Open/x", "`Open/x` names no provider"),
            ("a:w/x", "`a:w/x` names no session"),
            ("a:work@pin/x", "expected `@api-key` or `@oauth`, found `@pin`"),
        ] {
            assert_eq!(text.parse::<ModelRef>().unwrap_err().to_string(), error);
        }
    }
}
