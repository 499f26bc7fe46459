//! What can go wrong with a store, in words that name the remedy.

use std::{error::Error, io, path::PathBuf};

use crate::session::{
    envelope::EnvelopeError,
    key::{KeyError, KeyId},
    legacy::LegacyError,
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
    /// Other migrations made the schema than those of this build.
    #[error(
        "database `{}` was migrated by another build: migration {version} (`{name}`) differs",
        .path.display()
    )]
    ChangedMigration {
        /// The database.
        path: PathBuf,
        /// The first migration that differs.
        version: i64,
        /// Its name in the database.
        name: String,
    },
    /// Logins go to or come from the former program, and its key is not configured.
    #[error("{}, but the key of that program is not configured", former(*.logins, *.back))]
    NoLegacyKey {
        /// How many logins.
        logins: usize,
        /// Whether they go back to that program.
        back: bool,
    },
    /// The former program's key cannot be had.
    #[error("the key of the former program cannot be used")]
    LegacyKey {
        /// Why.
        source: KeyError,
    },
    /// A login cannot be taken over from the former program, or given back to it.
    #[error("login `{login}` of the former program cannot be read")]
    LegacyLogin {
        /// The login as `PROVIDER:NAME@AUTH`.
        login: String,
        /// Why.
        source: LegacyError,
    },
    /// A migration has to seal or open something, and its caller gave it no key.
    #[error("this migration needs the master key")]
    NoMasterKey,
    /// The master key that a migration needs cannot be had.
    #[error("the master key cannot be used")]
    MasterKey {
        /// Why.
        source: KeyError,
    },
    /// Something sealed did not open while all was sealed anew; nothing was changed.
    #[error("`{what}` cannot be sealed anew")]
    Unreadable {
        /// The login, message or other value.
        what: String,
        /// Why.
        source: EnvelopeError,
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
            Self::ChangedMigration { .. } => {
                "use the `maestro` that migrated it, or restore a `.backup-` file beside it".into()
            }
            Self::NoLegacyKey { back, .. } => {
                let or = if *back {
                    "or roll back no further than version 2"
                } else {
                    "or leave those logins behind with `maestro db migrate --without-legacy-key`"
                };
                format!(
                    "set `legacy_key = {{ env = \"NAME\" }}` below `[store]` in the configuration: \
                     32 bytes as base64, the `key` of that program's `AES.GCM.V1` cipher; {or}"
                )
            }
            Self::LegacyKey { source } | Self::MasterKey { source } => return source.hint(),
            Self::LegacyLogin { .. } => {
                "check `legacy_key` below `[store]`, or leave logins that do not open behind with \
                 `maestro db migrate --without-legacy-key`"
                    .into()
            }
            Self::Unreadable { source, .. } => return source.hint(),
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
            Self::WrongKey { found, .. } => format!(
                "let `key` below `[store]` in the configuration name the key whose id is `{found}`, \
                 or point `MAESTRO_HOME` elsewhere"
            ),
            Self::Io { .. } | Self::Engine { .. } | Self::NoMasterKey => return None,
        })
    }
}

fn former(logins: usize, back: bool) -> String {
    let what = if logins == 1 { "a login".to_owned() } else { format!("{logins} logins") };
    let is = match (back, logins) {
        (true, _) => "would have to be",
        (false, 1) => "is",
        (false, _) => "are",
    };
    format!("{what} {is} sealed as the former program does")
}
