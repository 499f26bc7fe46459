//! The life of a plugin: scan → judge → load → registry.
//!
//! Here lives everything that happens to a library file until a provider of it can be asked:
//! [`scan`] finds files, [`judge`] reads and checks one without running any of its code, [`load`]
//! maps a private copy into the process, and [`registry`] keeps what was [`admitted`] and which
//! [`provider`] it serves. What happens in an exchange is not here but in [`exchange`](crate::exchange).
//!
//! [`generations`] puts another registry in its place when the folders change, which [`watch`] notices;
//! [`development`] is where an author's builds come before the installed ones.
//! `probe_rules` is what the first load asks, [`probe`] keeps what came of it, [`quarantine`] what crashes too often.
//!
//! [`tier`] decides where a library runs: trusted ones ([`trust`]) in this process, all others in a
//! confined [`worker`]. [`runtime`] is what both have in common, for the driver;
//! [`resident`] is the side of this process.

pub mod admitted;
pub mod development;
pub mod endless;
pub mod generations;
pub mod honesty;
pub mod install;
pub mod judge;
pub mod load;
pub mod object;
pub mod probe;
pub mod provider;
pub mod quarantine;
pub mod registry;
pub mod resident;
pub mod runtime;
pub mod scan;
pub mod tier;
pub mod trust;
pub mod watch;
pub mod worker;

mod probe_rules;
pub(crate) mod subject;

use std::path::PathBuf;

/// Where a library came from, which decides what it may do unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provenance {
    /// Installed beside the binary by its own package. May use keys from the environment, and no
    /// other plugin may take its ids.
    Bundled,
    /// Dropped into a folder by the user.
    User,
    /// Built by the user just now, and before all others while `maestro plugin dev` runs; not trusted
    /// any more than what is dropped in.
    Development,
}

impl Provenance {
    /// Returns the word that lists show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bundled => "bundled",
            Self::User => "user",
            Self::Development => "dev",
        }
    }
}

/// A file that was found and not taken, and why.
#[derive(Debug)]
pub struct Refusal {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: RefusalError,
}

/// Why a file in a plugin folder is not a plugin that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalError {
    /// It cannot be read.
    #[error("cannot be read")]
    Io(#[source] std::io::Error),
    /// Its private copy cannot be written.
    #[error("its private copy cannot be written to `{}`", .folder.display())]
    Copy {
        /// The folder of copies.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is a directory, a FIFO, a device.
    #[error("expected a regular file, found {found}")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// A symbolic link leads nowhere.
    #[error("the link leads nowhere")]
    DanglingLink,
    /// It changed while it was read.
    #[error("changed while it was being read")]
    Changing,
    /// It is larger than any plugin.
    #[error("expected at most {max} bytes, found {found}")]
    TooLarge {
        /// The limit.
        max: u64,
        /// Its size.
        found: u64,
    },
    /// Others could replace it.
    #[error("{what} may be written by {whom}")]
    Writable {
        /// The file or the directory above it.
        what: String,
        /// Who may write it.
        whom: &'static str,
    },
    /// It belongs to somebody else.
    #[error("{what} belongs to user {found}, expected root or user {expected}")]
    ForeignOwner {
        /// The file or the directory above it.
        what: String,
        /// Its owner.
        found: u32,
        /// The user of this process.
        expected: u32,
    },
    /// It is empty.
    #[error("the file is empty")]
    Empty,
    /// It is no shared library.
    #[error("expected a shared library, found {found}")]
    NotALibrary {
        /// What it seems to be.
        found: String,
    },
    /// It ends before its own headers say.
    #[error("truncated: its headers reach to byte {expected}, the file has {found}")]
    Truncated {
        /// Where the last thing named by its headers ends.
        expected: u64,
        /// Its size.
        found: u64,
    },
    /// It is for another machine.
    #[error("built for `{found}`, but this machine is `{expected}`")]
    ForeignArchitecture {
        /// Its architecture.
        found: String,
        /// Ours.
        expected: String,
    },
    /// It is a library, but no plugin.
    #[error("no plugin: section `{section}` is missing")]
    NotAPlugin {
        /// The section that every plugin has.
        section: &'static str,
    },
    /// Its manifest cannot be read.
    #[error("its manifest cannot be read")]
    Manifest(#[source] serde_json::Error),
    /// Its manifest says something impossible.
    #[error("its manifest is wrong: {problem}")]
    WrongManifest {
        /// What is wrong.
        problem: String,
    },
    /// It was built for another contract.
    #[error("built for contract {found}, but this host speaks {expected}")]
    WrongContract {
        /// The plugin's contract.
        found: String,
        /// Ours.
        expected: &'static str,
    },
    /// Another file already has its id.
    #[error("plugin id `{id}` is taken by `{by}`")]
    DuplicatePlugin {
        /// The id.
        id: String,
        /// The other file.
        by: PathBuf,
    },
    /// Another plugin already offers this provider.
    #[error("provider id `{id}` is taken by plugin `{by}`")]
    DuplicateProvider {
        /// The id.
        id: String,
        /// The other plugin.
        by: String,
    },
    /// The dynamic loader refused it.
    #[error("the dynamic loader refused it: {problem}")]
    Dlopen {
        /// The loader's words.
        problem: String,
    },
    /// It exports no entry symbol, or one of another version of abi_stable.
    #[error("its entry symbol is missing or from another `abi_stable`: {problem}")]
    Entry {
        /// What is wrong.
        problem: String,
    },
    /// Its types are laid out differently.
    #[error("its layout differs from contract {contract}: {difference}")]
    Layout {
        /// Our contract.
        contract: &'static str,
        /// The first difference.
        difference: String,
    },
    /// It may run only in a confined worker, and this machine confines none.
    #[error("it is not trusted, and this machine cannot confine it: {missing} is missing")]
    Unconfined {
        /// What is missing.
        missing: String,
    },
    /// It ended its worker when it was loaded.
    #[error("it ended its worker while it was being loaded: {how}")]
    Crashed {
        /// How.
        how: String,
    },
    /// These bytes could not be loaded before.
    #[error("{problem}")]
    Probed {
        /// What was said then.
        problem: String,
        /// What was advised then.
        hint: String,
    },
    /// These bytes crash.
    #[error("{why}")]
    Quarantined {
        /// The plugin.
        plugin: String,
        /// Since when, and how.
        why: String,
    },
    /// There is no worker for it.
    #[error("no worker can be had for it: {problem}")]
    Worker {
        /// Why not.
        problem: String,
    },
    /// It says one thing in its section and another when it runs.
    #[error("its manifest when loaded differs from the one in section `{section}`")]
    ManifestsDiffer {
        /// The section.
        section: &'static str,
    },
}

impl RefusalError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io(_) => "check the file's permissions".into(),
            Self::Copy { folder, .. } => {
                format!("make `{}` writable, or set `MAESTRO_HOME`", folder.display())
            }
            Self::NotAFile { .. } | Self::DanglingLink => {
                "remove it, or put the library itself there".into()
            }
            Self::Changing => "copy it to a temporary name first, then rename it".into(),
            Self::TooLarge { .. } => "strip the library, or remove it".into(),
            Self::Writable { what, .. } => format!("run `chmod go-w {what}`"),
            Self::ForeignOwner { what, .. } => format!("run `chown $(id -u) {what}`"),
            Self::Empty | Self::NotALibrary { .. } | Self::NotAPlugin { .. } => {
                "remove it, or build it with `plugin_api::export_plugin!`".into()
            }
            Self::Truncated { .. } => "copy it again; the copy was cut short".into(),
            Self::ForeignArchitecture { expected, .. } => format!("rebuild it for `{expected}`"),
            Self::Manifest(_) | Self::WrongManifest { .. } | Self::ManifestsDiffer { .. } => {
                "rebuild it with `plugin_api::export_plugin!`".into()
            }
            Self::WrongContract { expected, .. } => {
                let major = expected.split('.').next().unwrap_or(expected);
                format!("rebuild it against `plugin-api` {major}.x")
            }
            Self::DuplicatePlugin { .. } | Self::DuplicateProvider { .. } => {
                "remove one of the two".into()
            }
            Self::Dlopen { .. } => {
                "check the libraries that it needs, for example with `ldd`".into()
            }
            Self::Unconfined { .. } => "run `maestro plugin trust` on it, or set \
                                        `plugins.allow_unconfined = true`, if you trust its author"
                .into(),
            Self::Probed { hint, .. } => hint.clone(),
            Self::Quarantined { plugin, .. } => format!(
                "replace it, or run `maestro plugin quarantine clear {plugin}` to try it again"
            ),
            Self::Crashed { .. } => "remove it, or tell its author".into(),
            Self::Worker { .. } => {
                "run `maestro doctor`; `plugins.worker` names the program to run it in".into()
            }
            Self::Entry { .. } | Self::Layout { .. } => {
                format!("rebuild it against `plugin-api` {}", plugin_api::CONTRACT_VERSION)
            }
        }
    }
}

/// Writes an error and its causes in one line.
#[must_use]
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
