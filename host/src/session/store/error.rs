//! What can go wrong with a store, in words that name the remedy.

use std::{error::Error, io, path::PathBuf};

use crate::session::{
    key::KeyId,
    name::{AuthType, SessionId, SessionName},
};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds the database for longer than the store waits.
    #[error("database `{}` is locked by another process", .path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The database, its folder or this connection does not accept writes.
    #[error("database `{}` is read-only", .path.display())]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
    /// There is no room for the write.
    #[error("no space left to write database `{}`", .path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error("database `{}` is damaged", .path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What the database engine said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file is something else.
    #[error("`{}` is not a database", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// A newer program migrated the database.
    #[error(
        "database `{}` has schema version {found}, but this host knows up to {expected}",
        .path.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version known here.
        expected: i64,
    },
    /// The database needs a migration, which a read-only opening cannot run.
    #[error(
        "database `{}` has schema version {found}, but this host needs {expected}",
        .path.display()
    )]
    OlderSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The version needed.
        expected: i64,
    },
    /// A migration failed; the database is as it was before.
    #[error("failed to migrate database `{}` from version {from} to {to}", .path.display())]
    Migration {
        /// The database.
        path: PathBuf,
        /// The version before, which it still has.
        from: i64,
        /// The version wanted.
        to: i64,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database or a file beside it (folder, lock, backup) could not be used.
    #[error("failed to access `{}`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Any other failure of the database engine.
    #[error("database `{}` failed", .path.display())]
    Engine {
        /// The database.
        path: PathBuf,
        /// What the engine said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A session of that provider, auth type and name exists.
    #[error("session `{name}` of provider `{provider}` ({auth_type}) exists already")]
    DuplicateSession {
        /// The provider.
        provider: String,
        /// The auth type.
        auth_type: AuthType,
        /// The name.
        name: SessionName,
    },
    /// A conversation of that name exists.
    #[error("conversation `{name}` exists already")]
    DuplicateConversation {
        /// The name.
        name: String,
    },
    /// A client key of that name exists.
    #[error("client key `{name}` exists already")]
    DuplicateClientKey {
        /// The name.
        name: String,
    },
    /// No client key has that name.
    #[error("client key `{name}` does not exist")]
    UnknownClientKey {
        /// The name.
        name: String,
    },
    /// No session has that id, possibly no longer.
    #[error("session with id `{id}` does not exist")]
    UnknownSession {
        /// The id.
        id: SessionId,
    },
    /// No conversation has that id or name.
    #[error("conversation `{conversation}` does not exist")]
    UnknownConversation {
        /// The id or name.
        conversation: String,
    },
    /// Someone else changed the session since it was read.
    #[error("session with id `{id}` changed meanwhile: generation {expected} is past")]
    Stale {
        /// The session.
        id: SessionId,
        /// The generation the caller had read.
        expected: u64,
    },
    /// The database belongs to another key; nothing was written.
    #[error("database is sealed with key `{found}`, but the loaded key is `{expected}`")]
    WrongKey {
        /// The key of the database.
        found: KeyId,
        /// The key in hand.
        expected: KeyId,
    },
}

impl StoreError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Locked { .. } => {
                "wait for the other `maestro` command, or stop it, and try again".into()
            }
            Self::ReadOnly { path } => {
                format!("make `{}` and its folder writable for this user", path.display())
            }
            Self::Full { .. } => "free some disk space and try again".into(),
            Self::Corrupt { .. } => {
                "run `maestro db check`, then restore the newest `.backup-` file beside it".into()
            }
            Self::NotADatabase { .. } => {
                "move the file away, or point `MAESTRO_HOME` elsewhere".into()
            }
            Self::NewerSchema { expected, .. } => format!(
                "upgrade `maestro`, or run `maestro db rollback --to {expected}` with the newer one"
            ),
            Self::OlderSchema { .. } => "run `maestro db migrate`".into(),
            Self::Migration { .. } => "nothing was changed; run `maestro db check`".into(),
            Self::DuplicateSession { .. } => {
                "choose another `--name`, or pass `--replace` to overwrite it".into()
            }
            Self::DuplicateClientKey { .. } | Self::DuplicateConversation { .. } => {
                "choose another name".into()
            }
            Self::UnknownClientKey { .. } => "run `maestro keys list`".into(),
            Self::UnknownSession { .. } => "run `maestro sessions list`".into(),
            Self::UnknownConversation { .. } => "run `maestro conversations list`".into(),
            Self::Stale { .. } => "try again".into(),
            Self::WrongKey { found, .. } => format!("provide the key whose id is `{found}`"),
            Self::Io { .. } | Self::Engine { .. } => return None,
        })
    }
}
