//! What an author of a plugin needs beside the contract: a crate to begin with, and its library.
//!
//! [`template`] makes the crate, [`sdk`] finds the contract's sources that it builds against, and
//! [`build`] runs cargo, [`sources`] notices what is saved. Nothing here loads a plugin or judges one: that is [`plugin`](crate::plugin)'s.

pub mod build;
pub mod sdk;
pub mod sources;
pub mod template;

use std::{io, path::PathBuf};

/// Why an author's command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthoringError {
    /// The name cannot be that of a plugin and a crate.
    #[error("`{}` cannot be the name of a plugin: {problem}", .name.escape_debug())]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
        /// A name that would do.
        hint: Option<String>,
    },
    /// Something is where the crate would go.
    #[error("`{}` exists already", .path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The contract's sources are not where a release has them.
    #[error("the sources of the contract are not in `{}`", .looked.display())]
    NoSdk {
        /// Where they should be.
        looked: PathBuf,
    },
    /// A path cannot stand in a `Cargo.toml`.
    #[error("`{}` is not UTF-8, so no `Cargo.toml` can name it", .path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// There is no crate.
    #[error("there is no `Cargo.toml` in `{}`", .folder.display())]
    NoCrate {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Cargo cannot be started.
    #[error("failed to run `{}`", .program.display())]
    NoCargo {
        /// What was run.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Cargo said why.
    #[error("cargo did not build it")]
    Build,
    /// The crate builds, and makes no plugin.
    #[error("the crate in `{}` makes no shared library", .folder.display())]
    NoLibrary {
        /// The crate.
        folder: PathBuf,
    },
    /// The sources cannot be watched.
    #[error("`{}` cannot be watched: {problem}", .folder.display())]
    Watch {
        /// The crate.
        folder: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("failed to {action} `{}`", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl AuthoringError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name { hint, .. } => {
                return hint.as_ref().map(|name| format!("`{name}` would do"));
            }
            Self::Exists { .. } => {
                "choose another folder with `--dir`; nothing is overwritten".into()
            }
            Self::NoSdk { .. } => {
                "it comes with a release, below its `share/maestro/sdk`; name another place with \
                 `--sdk`"
                    .into()
            }
            Self::NotUtf8 { .. } => "choose another folder".into(),
            Self::NoCrate { .. } => {
                "name the crate's folder, or begin one with `maestro plugin new NAME`".into()
            }
            Self::NoCargo { .. } => "install the Rust toolchain, or set `CARGO`".into(),
            Self::NoLibrary { .. } => {
                "add `crate-type = [\"cdylib\", \"rlib\"]` to `[lib]` in its `Cargo.toml`".into()
            }
            Self::Watch { .. } => {
                "the system may watch no more files; on Linux see `fs.inotify.max_user_watches`"
                    .into()
            }
            Self::Build => return None,
            Self::Io { .. } => "check the permissions and the free space".into(),
        })
    }

    /// Reports whether the command was given something impossible, rather than failed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Name { .. } | Self::Exists { .. } | Self::NoCrate { .. })
    }
}
