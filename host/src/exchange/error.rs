//! How an exchange fails.

use plugin_api::error::{ErrorKind, ProviderError};

use super::grammar::Rule;
use crate::plugin::worker::Broken;

/// Why an exchange failed, and whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The provider refused, or could not be reached.
    #[error("provider `{provider}` failed")]
    Provider {
        /// The provider.
        provider: String,
        /// Why.
        source: Box<ProviderError>,
    },
    /// The plugin broke the contract.
    #[error("plugin `{plugin}` broke contract rule `{rule}`: {detail}")]
    Contract {
        /// The plugin.
        plugin: String,
        /// The rule.
        rule: Rule,
        /// What happened.
        detail: String,
    },
    /// What the exchange ran in ended, and nothing could take its place.
    #[error("plugin `{plugin}` failed")]
    Worker {
        /// The plugin.
        plugin: String,
        /// Why.
        source: Broken,
    },
}

impl ExchangeError {
    /// Returns the provider's own error, if it is the provider's.
    #[must_use]
    pub fn provider_error(&self) -> Option<&ProviderError> {
        match self {
            Self::Provider { source, .. } => Some(source),
            Self::Contract { .. } | Self::Worker { .. } => None,
        }
    }

    /// Reports whether the provider did not accept the credential.
    #[must_use]
    pub fn is_authentication(&self) -> bool {
        self.provider_error().is_some_and(|error| error.kind == ErrorKind::Authentication)
    }
}
