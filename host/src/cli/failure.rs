//! What ends a command early, and the exit status that it means.

use std::{
    error::Error as _,
    io::{self, Write},
    process::ExitCode,
};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{
    cli::output::{Document, Output},
    config::ConfigError,
    home::NoHome,
    maestro,
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
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing says where anything is kept.
    #[error(transparent)]
    Home(#[from] NoHome),
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
    /// Something around the command failed: a file, the terminal.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
    /// Whoever read our output has seen enough.
    #[error("the output was closed")]
    BrokenPipe,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
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
            Self::Config(_) | Self::Home(_) | Self::Usage { .. } => 2,
            Self::Request { .. } | Self::Other(_) | Self::Said => 1,
            Self::Nonconforming => 4,
            // A reader that stops early, as `head` does, is no failure of ours.
            Self::BrokenPipe => 0,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// Returns whether anything has to be printed about it.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::BrokenPipe | Self::Interrupted | Self::Said | Self::Nonconforming)
    }

    /// Returns what to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Maestro(error) => error.hint(),
            Self::Rejected(_) => Some("check the key; `--no-test` stores it untried".into()),
            Self::Config(error) => error.hint(),
            Self::Home(_) => Some("set `MAESTRO_HOME` to a folder, as an absolute path".into()),
            Self::Usage { hint, .. } | Self::Request { hint, .. } => hint.clone(),
            _ => None,
        }
    }

    /// Returns the word for programs that read `--json`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Maestro(error) | Self::Rejected(error) => error.kind(),
            Self::Config(_) | Self::Home(_) => "config",
            Self::Usage { .. } => "usage",
            Self::Request { .. } | Self::Said => "request",
            Self::Other(_) | Self::BrokenPipe => "io",
            Self::Interrupted => "interrupted",
            Self::Nonconforming => "plugin",
        }
    }

    /// Returns the messages of what led to it, nearest first.
    pub(super) fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = self.source();
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

/// Prints help or the version to stdout, a usage error to stderr; returns the exit status.
pub(super) fn print_parse_error(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    let wrong =
        error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if json && wrong {
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "{}", parse_error_document(error));
    } else {
        // Nothing can be said about a closed stderr, or a closed `maestro --help | head`.
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn parse_error_document(error: &clap::Error) -> Document {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let suggestion =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
            .into_iter()
            .find_map(|kind| match error.get(kind)? {
                ContextValue::String(one) => Some(format!("did you mean `{one}`?")),
                ContextValue::Strings(all) if !all.is_empty() => {
                    Some(format!("did you mean `{}`?", all.join("` or `")))
                }
                _ => None,
            });
    Output::error_document("usage", message, &[], suggestion.as_deref())
}

const INTERRUPTED: u8 = 130;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

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

    #[test]
    fn a_misspelt_flag_is_json_too() {
        let error = Cli::command().try_get_matches_from(["maestro", "chatt"]).unwrap_err();
        assert_eq!(
            parse_error_document(&error).to_string(),
            r#"{"version":1,"error":{"kind":"usage","message":"unrecognized subcommand 'chatt'","causes":[],"hint":"did you mean `chat`?"}}"#
        );
    }
}
