//! What ends a command early, and the exit status that it means.

use std::{error::Error as _, io};

use plugin_api::error::ErrorKind;

use crate::{
    authoring::AuthoringError,
    config::ConfigError,
    gateway::StartError,
    home::NoHome,
    maestro::{self, EndlessStep, Listing},
    router::ModelRef,
};

/// Why a command ends without success.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The facade says why.
    #[error(transparent)]
    Maestro(#[from] maestro::Error),
    /// The provider does not accept the key of a login.
    #[error("the key was rejected and is not stored")]
    Rejected(#[source] maestro::Error),
    /// The gateway does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The vendor does not know the model, but lists others that are named much like it.
    #[error("{error}")]
    NearMiss {
        /// What the vendor said.
        error: Box<maestro::Error>,
        /// Refs of the nearest models.
        nearest: Vec<String>,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing says where anything is kept.
    #[error(transparent)]
    Home(#[from] NoHome),
    /// A plugin could not be begun or built.
    #[error(transparent)]
    Authoring(#[from] AuthoringError),
    /// The arguments make no sense together, or not here.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The arguments were good, and it did not work.
    #[error("{message}")]
    Request {
        /// What happened.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A plugin in this process holds a thread that nobody can take back.
    #[error("plugin `{}` cannot be stopped: {}", .0.plugin, .0.how)]
    Endless(EndlessStep),
    /// Something around the command failed: a file, the terminal.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
    /// Whoever read our output has seen enough.
    #[error("the output was closed")]
    BrokenPipe,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// A tool that was run failed; it has said why itself.
    #[error("the tool ended with status {0}")]
    Child(u8),
    /// A plugin breaks a rule, and all about it has been printed.
    #[error("the plugin breaks a rule")]
    Nonconforming,
    /// It failed, and all about it has been printed.
    #[error("failed")]
    Said,
}

impl Failure {
    /// Makes a usage error.
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// Makes a failed request.
    pub(super) fn request(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Request { message: message.into(), hint: Some(hint.into()) }
    }

    /// Makes the failure of a request to a model; where the vendor knows no such model, with the names
    /// of those that were probably meant.
    pub(super) async fn of_model(
        error: maestro::Error,
        maestro: &maestro::Maestro,
        model: &ModelRef,
        session: Option<&str>,
    ) -> Self {
        if error.provider_error().is_some_and(|error| error.kind == ErrorKind::NotFound)
            && let Some(Listing::Missing { nearest }) = maestro.is_listed(model, session).await
            && !nearest.is_empty()
        {
            return Self::NearMiss { error: Box::new(error), nearest };
        }
        Self::Maestro(error)
    }

    /// Makes the failure of a write to stdout.
    pub(super) fn write(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::Other(anyhow::Error::new(error).context("failed to write the output"))
        }
    }

    /// Returns the exit status.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Maestro(error) | Self::Rejected(error) => error.exit_code(),
            Self::NearMiss { error, .. } => error.exit_code(),
            Self::Start(StartError::Maestro(error)) => error.exit_code(),
            Self::Start(StartError::Listen { .. }) => 1,
            Self::Start(_) | Self::Config(_) | Self::Home(_) | Self::Usage { .. } => 2,
            Self::Authoring(error) if error.is_usage() => 2,
            Self::Authoring(_)
            | Self::Request { .. }
            | Self::Endless(_)
            | Self::Other(_)
            | Self::Said => 1,
            Self::Nonconforming => 4,
            // A reader that stops early, as `head` does, is no failure of ours.
            Self::BrokenPipe => 0,
            Self::Interrupted => INTERRUPTED,
            Self::Child(code) => *code,
        }
    }

    /// Returns whether anything has to be printed about it.
    pub(super) fn is_silent(&self) -> bool {
        matches!(
            self,
            Self::BrokenPipe
                | Self::Interrupted
                | Self::Child(_)
                | Self::Said
                | Self::Nonconforming
        )
    }

    /// Returns what to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Maestro(error) => error.hint(),
            Self::NearMiss { nearest, .. } => {
                Some(format!("did you mean `{}`?", nearest.join("` or `")))
            }
            Self::Rejected(_) => Some("check the key; `--no-test` stores it untried".into()),
            Self::Start(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Authoring(error) => error.hint(),
            Self::Home(_) => Some("set `MAESTRO_HOME` to a folder, as an absolute path".into()),
            Self::Usage { hint, .. } | Self::Request { hint, .. } => hint.clone(),
            Self::Endless(step) if step.withheld => Some(format!(
                "it is in quarantine, and not asked again until its file changes; `maestro plugin \
                 quarantine clear {0}` lets it run, `maestro plugin untrust {0}` in a worker",
                step.plugin
            )),
            Self::Endless(step) => Some(format!(
                "`maestro plugin untrust {}` has it run in a worker, which can be stopped",
                step.plugin
            )),
            _ => None,
        }
    }

    /// Returns the word for programs that read `--json`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Maestro(error) | Self::Rejected(error) => error.kind(),
            Self::Start(StartError::Maestro(error)) => error.kind(),
            Self::Start(StartError::Listen { .. }) => "io",
            Self::NearMiss { error, .. } => error.kind(),
            Self::Config(_) | Self::Home(_) => "config",
            Self::Authoring(error) if error.is_usage() => "usage",
            Self::Authoring(_) => "authoring",
            Self::Start(_) | Self::Usage { .. } => "usage",
            Self::Request { .. } | Self::Child(_) | Self::Said => "request",
            Self::Other(_) | Self::BrokenPipe => "io",
            Self::Interrupted => "interrupted",
            Self::Nonconforming | Self::Endless(_) => "plugin",
        }
    }

    /// Returns the messages of what led to it, nearest first.
    pub(super) fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = match self {
            Self::NearMiss { error, .. } => error.source(),
            _ => self.source(),
        };
        while let Some(cause) = next {
            let text = cause.to_string();
            // A wrapper without words of its own would say the same thing twice.
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

const INTERRUPTED: u8 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stops_early_is_no_failure() {
        let failure = Failure::write(io::ErrorKind::BrokenPipe.into());
        assert!(failure.is_silent());
        assert_eq!(failure.exit_code(), 0);
        let failure = Failure::write(io::ErrorKind::StorageFull.into());
        assert_eq!((failure.exit_code(), failure.is_silent()), (1, false));
        assert_eq!(failure.to_string(), "failed to write the output");
        assert_eq!(failure.causes().len(), 1);
    }

    #[test]
    fn a_chain_is_said_level_by_level() {
        let inner = io::Error::other("disk on fire");
        let error = anyhow::Error::new(inner).context("failed to read `x`");
        let failure = Failure::from(error);
        assert_eq!(failure.to_string(), "failed to read `x`");
        assert_eq!(failure.causes(), ["disk on fire"]);
    }
}
