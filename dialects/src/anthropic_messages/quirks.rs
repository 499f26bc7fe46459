//! What must be sent differently: the version of the API, and what a server or a model lacks.

use plugin_api::{error::ProviderError, instance::Instance};

/// A version of the API, as `anthropic-version` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Version {
    /// `2023-06-01`.
    #[default]
    V2023,
    /// `2026-10-21`: without sampling settings, documents said by the assistant, and citations on a
    /// text of the user.
    V2026,
}

impl Version {
    /// Returns the version as the header spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2023 => "2023-06-01",
            Self::V2026 => "2026-10-21",
        }
    }

    /// Finds a version by its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::V2023, Self::V2026].into_iter().find(|version| version.as_str() == name)
    }
}

/// How a wish for effort is said when nothing is said about thinking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effort {
    /// As `output_config.effort`, and thinking is adaptive: without it these models do not think, and
    /// whoever asks for effort means thinking.
    #[default]
    Adaptive,
    /// As `output_config.effort` alone.
    Plain,
    /// As a budget of thinking tokens, for models that know neither.
    Budget,
}

/// How a request must be written for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quirks {
    /// The version of the API.
    pub version: Version,
    /// Whether to ask for a stream.
    pub stream: bool,
    /// `max_tokens` where the client gives none: the format demands one. Absent means a choice by
    /// what is known of the model.
    pub max_tokens: Option<u64>,
    /// How a wish for effort is said.
    pub effort: Effort,
    /// Whether a system message may stand in the midst of a conversation; else it moves to the front.
    pub supports_system_messages: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            version: Version::default(),
            stream: true,
            max_tokens: None,
            effort: Effort::default(),
            supports_system_messages: true,
        }
    }
}

impl Quirks {
    /// Overrides what the settings of an instance say.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for a word that is none of a setting's: guessed at, it would send something
    /// else than was configured.
    pub fn with_settings(mut self, instance: &Instance) -> Result<Self, ProviderError> {
        match instance.text("version") {
            "" => {}
            name => {
                self.version = Version::from_name(name)
                    .ok_or_else(|| bad("version", "`2023-06-01` or `2026-10-21`", name))?;
            }
        }
        self.effort = match instance.text("effort") {
            "" => self.effort,
            "adaptive" => Effort::Adaptive,
            "plain" => Effort::Plain,
            "budget" => Effort::Budget,
            other => return Err(bad("effort", "`adaptive`, `plain` or `budget`", other)),
        };
        self.stream = instance.flag("stream", self.stream);
        self.max_tokens = instance.number("max_tokens").or(self.max_tokens);
        self.supports_system_messages =
            instance.flag("supports_system_messages", self.supports_system_messages);
        Ok(self)
    }
}

fn bad(name: &str, expected: &str, found: &str) -> ProviderError {
    let message =
        format!("setting `{name}`: expected {expected}, found `{}`", found.escape_debug());
    ProviderError::new(plugin_api::error::ErrorKind::InvalidRequest, message).code(name)
}

#[cfg(test)]
mod tests {
    use plugin_api::ProviderId;
    use serde_json::json;

    use super::*;

    fn read(settings: serde_json::Value) -> Result<Quirks, ProviderError> {
        let mut instance = Instance::new(ProviderId::new("lab").unwrap(), "http://x");
        instance.settings = serde_json::from_value(settings).unwrap();
        Quirks::default().with_settings(&instance)
    }

    #[test]
    fn settings_override_what_is_usual() {
        assert_eq!(read(json!({})), Ok(Quirks::default()));
        let quirks = read(json!({"version": "2026-10-21", "effort": "budget", "stream": false,
            "max_tokens": 9, "supports_system_messages": false}))
        .unwrap();
        assert_eq!((quirks.version, quirks.effort), (Version::V2026, Effort::Budget));
        assert_eq!((quirks.stream, quirks.max_tokens), (false, Some(9)));
        assert!(!quirks.supports_system_messages);
    }

    #[test]
    fn a_word_that_is_none_is_refused_with_those_that_are() {
        let error = read(json!({"version": "2026"})).unwrap_err();
        assert_eq!(
            error.message,
            "setting `version`: expected `2023-06-01` or `2026-10-21`, found `2026`"
        );
        assert!(read(json!({"effort": "much"})).is_err());
    }
}
