//! Patterns of model refs: what a client's key may use.

use std::{fmt, str::FromStr};

/// `provider[:session]/model`, where `*` in any piece stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefPattern {
    provider: String,
    session: Option<String>,
    model: String,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `provider/model` or `provider:session/model` with `*` for anything, found `{}`", .found.escape_debug())]
pub struct InvalidPattern {
    found: String,
}

impl FromStr for RefPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = || InvalidPattern { found: text.to_owned() };
        let (provider, session, model) = pieces(text).ok_or_else(invalid)?;
        Ok(Self {
            provider: provider.to_owned(),
            session: session.map(str::to_owned),
            model: model.to_owned(),
        })
    }
}

/// Takes a pattern apart: provider, session and model.
fn pieces(text: &str) -> Option<(&str, Option<&str>, &str)> {
    if text == "*" {
        return Some(("*", None, "*"));
    }
    let (left, model) = text.split_once('/')?;
    let (provider, session) = match left.split_once(':') {
        Some((provider, session)) => (provider, Some(session)),
        None => (left, None),
    };
    let whole = !provider.is_empty() && !model.is_empty() && session != Some("");
    whole.then_some((provider, session, model))
}

/// As [`RefPattern::allows`], of a pattern as it is written; what is none allows nothing.
pub(crate) fn allows(text: &str, provider: &str, model: &str) -> bool {
    // Of many patterns most are another provider's, as their first letter says.
    if !text.starts_with('*') && text.bytes().next() != provider.bytes().next() {
        return false;
    }
    pieces(text).is_some_and(|(own, _, models)| matches(own, provider) && matches(models, model))
}

impl RefPattern {
    /// Reports whether some session of this provider may be asked for this model.
    #[must_use]
    pub fn allows(&self, provider: &str, model: &str) -> bool {
        matches(&self.provider, provider) && matches(&self.model, model)
    }

    /// Reports whether this provider may be asked for some model.
    #[must_use]
    pub fn allows_provider(&self, provider: &str) -> bool {
        matches(&self.provider, provider)
    }

    /// Returns the pattern of sessions, if it has one.
    #[must_use]
    pub(crate) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Reports whether this session, by its name, may be used; a pattern without one takes any.
    #[must_use]
    pub fn allows_session(&self, session: Option<&str>) -> bool {
        match (&self.session, session) {
            (None, _) => true,
            (Some(pattern), Some(session)) => matches(pattern, session),
            (Some(pattern), None) => pattern == "*",
        }
    }
}

impl fmt::Display for RefPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.provider)?;
        if let Some(session) = &self.session {
            write!(f, ":{session}")?;
        }
        write!(f, "/{}", self.model)
    }
}

/// Compares with `*` standing for anything. Linear but for the stars, which never nest: each piece
/// between two is found at its first place.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, mut pattern)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    while let Some((piece, behind)) = pattern.split_once('*') {
        let Some((_, after)) = text.split_once(piece) else { return false };
        (text, pattern) = (after, behind);
    }
    text.ends_with(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, provider, model, fits) in [
            ("*", "openai", "gpt", true),
            ("openai/*", "openai", "ft/x", true),
            ("openai/gpt-*", "openai", "o3", false),
            ("open*/gpt-*-mini", "openrouter", "gpt-9-mini", true),
            ("open*/gpt-*-mini", "openrouter", "gpt-mini", false),
            ("lab/a*b*c", "lab", "aXbYbZc", true),
            ("lab/m", "lab", "mm", false),
            ("*/m", "lab", "m", true),
        ] {
            let read: RefPattern = pattern.parse().unwrap();
            assert_eq!(read.allows(provider, model), fits, "{pattern} {provider}/{model}");
        }
    }

    #[test]
    fn a_session_counts_only_where_the_pattern_names_one() {
        let any: RefPattern = "openai/*".parse().unwrap();
        assert!(any.allows_session(None) && any.allows_session(Some("work")));
        let one: RefPattern = "openai:work/*".parse().unwrap();
        assert!(one.allows_session(Some("work")));
        assert!(!one.allows_session(Some("home")) && !one.allows_session(None));
        assert_eq!(one.to_string(), "openai:work/*");
        for bad in ["", "openai", "/m", "openai/", "openai:/m"] {
            assert!(bad.parse::<RefPattern>().is_err(), "{bad}");
        }
    }
}
