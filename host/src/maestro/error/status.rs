//! How an error ends a command: the exit status, and a stable word for it.

use super::Error;
use crate::{
    exchange::ExchangeError,
    oauth::refresh::RefreshError,
    plugin::install::InstallError,
    session::{SessionError, StoreError},
};

impl Error {
    /// Returns the exit status of the command line: 1 the request failed, 2 usage, 3 authentication
    /// needed, 4 plugin rejected, 5 store or key.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Misfit(_)
            | Self::UnknownProvider { .. }
            | Self::NotReady { .. }
            | Self::NotSupported { .. }
            | Self::NotUnderstood { .. }
            | Self::ModelRef(_)
            | Self::UnknownModel { .. }
            | Self::AmbiguousModel { .. }
            | Self::SessionName { .. }
            | Self::SessionElsewhere { .. }
            | Self::DeclaredElsewhere { .. }
            | Self::UnknownPlugin { .. }
            | Self::InEnvironment { .. }
            | Self::NameTaken { .. }
            | Self::NoRollback { .. }
            | Self::NotImportable { .. }
            | Self::Recording(_)
            | Self::NoNextKey { .. }
            | Self::UnknownConversation { .. }
            | Self::AmbiguousConversation { .. }
            | Self::UnknownChunk { .. } => 2,
            Self::NoSession { .. }
            | Self::EmptyPool { .. }
            | Self::NeedsApproval { .. }
            | Self::InvalidKey { .. }
            | Self::Profile { .. }
            | Self::Declared { .. } => 3,
            Self::Login { source, .. } => source.exit_code(),
            Self::Session(error) => session_exit(error),
            Self::Renewal { source: RefreshError::Store(error), .. } => session_exit(error),
            Self::Renewal { source: RefreshError::Unapproved { .. }, .. } => 3,
            Self::Renewal { source, .. } if source.needs_login() => 3,
            Self::Renewal { .. } => 1,
            Self::Unchanged { source: InstallError::Io { .. }, .. } => 1,
            Self::Plugin { .. }
            | Self::Unchanged { .. }
            | Self::Exchange(ExchangeError::Contract { .. }) => 4,
            Self::Exchange(ExchangeError::Worker { source, .. })
                if source.is_the_plugins_fault() =>
            {
                4
            }
            Self::NoStore { .. }
            | Self::Unsound { .. }
            | Self::Trust(_)
            | Self::Quarantine { .. }
            | Self::Development { .. }
            | Self::Key(_)
            | Self::Message { .. } => 5,
            Self::Exchange(error) if error.is_authentication() => 3,
            Self::Exchange(_)
            | Self::Deadline { .. }
            | Self::LeftAlone { .. }
            | Self::KeyMayNot { .. }
            | Self::NotRoutable { .. }
            | Self::PoolSpent { .. } => 1,
        }
    }

    /// Returns a stable word for `--json`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exchange(ExchangeError::Provider { .. }) => "provider_error",
            Self::Exchange(ExchangeError::Contract { .. }) => "contract_broken",
            Self::Exchange(ExchangeError::Worker { .. }) => "plugin_crashed",
            Self::UnknownProvider { .. } => "unknown_provider",
            Self::UnknownModel { .. } | Self::AmbiguousModel { .. } => "unknown_model",
            Self::NotSupported { .. } | Self::NotUnderstood { .. } => "not_supported",
            Self::Deadline { .. } => "deadline",
            other => match other.exit_code() {
                2 => "usage",
                3 => "authentication_needed",
                4 => "plugin_rejected",
                5 => "store",
                _ => "failed",
            },
        }
    }
}

fn session_exit(error: &SessionError) -> u8 {
    match error {
        SessionError::None { .. } => 3,
        SessionError::Unknown { .. }
        | SessionError::Ambiguous { .. }
        | SessionError::NoDefault { .. }
        | SessionError::Store(
            StoreError::DuplicateSession { .. }
            | StoreError::DuplicateConversation { .. }
            | StoreError::DuplicateClientKey { .. }
            | StoreError::UnknownClientKey { .. }
            | StoreError::UnknownSession { .. }
            | StoreError::UnknownConversation { .. },
        ) => 2,
        _ => 5,
    }
}
