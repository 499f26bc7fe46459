//! The store as a file: its schema, backups, health and key.
//!
//! None of this goes through [`Maestro::sessions`], which would migrate before one can look.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Error, Maestro, now_s, one_line, open_store, stamp, store_keys};
use crate::{
    home::Home,
    session::{
        KeyId, KeySource, MigrationKeys, RollbackPlan, SchemaStatus, SessionError, Sessions,
        SqliteOptions, db,
    },
};

/// What `db status` says.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DbStatus {
    /// The file.
    pub path: PathBuf,
    /// Whether it is there.
    pub exists: bool,
    /// What it is; `None` if it is not there.
    pub schema: Option<SchemaStatus>,
    /// Where the master key is looked for.
    pub key: String,
    /// Whether the former program's key is configured.
    pub legacy_key: bool,
}

/// What a migration did, forward or back.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DbMigration {
    /// The version before.
    pub from: i64,
    /// The version now.
    pub to: i64,
    /// Logins of the former program that were taken over.
    pub taken_over: u64,
    /// Logins that are still in its envelope.
    pub left_behind: u64,
    /// The copy that was written before; `None` when there was nothing to do or to copy.
    pub backup: Option<PathBuf>,
}

/// What `db check` found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DbCheck {
    /// Its schema version.
    pub version: i64,
    /// Sessions that open with the key; `None` where the schema is too old to look.
    pub sessions: Option<usize>,
    /// Messages that open with the key.
    pub messages: Option<usize>,
    /// What is wrong, one line each.
    pub problems: Vec<String>,
}

/// What a change of the master key did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DbRekey {
    /// The key before.
    pub from: String,
    /// The key now.
    pub to: String,
    /// Values that were sealed anew.
    pub values: u64,
    /// The file that keeps the old key, for backups made before; `None` where the operator has it.
    pub retired: Option<PathBuf>,
    /// Where the operator must now say that the key is; `None` when nothing has to be said.
    pub configure: Option<String>,
}

impl Maestro {
    /// Describes the store's file without changing or opening it.
    ///
    /// # Errors
    ///
    /// What the file fails with; a newer schema is no failure here.
    pub async fn db_status(&self) -> Result<DbStatus, Error> {
        self.at_store(|home, keys| {
            let path = home.database();
            let exists = path.exists();
            let schema = exists.then(|| db::status(&path)).transpose()?;
            let key = keys.master.as_ref().map(ToString::to_string).unwrap_or_default();
            Ok(DbStatus { path, exists, schema, key, legacy_key: keys.legacy.is_some() })
        })
        .await
    }

    /// Brings the store to the newest schema, which any use of it would do too, and takes over logins
    /// of the former program that were left behind.
    ///
    /// # Errors
    ///
    /// What the store says. With `without_legacy_key`, logins that do not open are no failure.
    pub async fn db_migrate(&self, without_legacy_key: bool) -> Result<DbMigration, Error> {
        self.at_store(move |home, mut keys| {
            keys.leave_unreadable = without_legacy_key;
            let path = home.database();
            let (mut from, mut legacy) = (0, 0);
            if path.exists() {
                let before = db::status(&path)?;
                (from, legacy) = (before.version, before.legacy_sessions);
            }
            db::prepare(&path)?;
            let patience = SqliteOptions::default().busy_timeout;
            let backup = db::migrate(&path, db::LATEST, now_s(), patience, &keys)?;
            if from == db::LATEST && !without_legacy_key {
                db::reseal_left(&path, patience, &keys)?;
            }
            let after = db::status(&path)?;
            Ok(DbMigration {
                from,
                to: after.version,
                taken_over: legacy.saturating_sub(after.legacy_sessions),
                left_behind: after.legacy_sessions,
                backup,
            })
        })
        .await
    }

    /// Says what a rollback would set aside.
    ///
    /// # Errors
    ///
    /// [`Error::NoRollback`] for a version that is not below the present one.
    pub async fn db_rollback_plan(&self, to: i64) -> Result<RollbackPlan, Error> {
        self.at_store(move |home, _| rollback_plan(&home.database(), to)).await
    }

    /// Takes the store back to an older schema.
    ///
    /// # Errors
    ///
    /// As [`Maestro::db_rollback_plan`], and what the store says.
    pub async fn db_rollback(&self, to: i64) -> Result<DbMigration, Error> {
        self.at_store(move |home, keys| {
            let path = home.database();
            let from = rollback_plan(&path, to)?.from;
            let patience = SqliteOptions::default().busy_timeout;
            let backup = db::migrate(&path, to, now_s(), patience, &keys)?;
            Ok(DbMigration { from, to, taken_over: 0, left_behind: 0, backup })
        })
        .await
    }

    /// Copies the store to a new file, of whatever schema it is. Returns the file.
    ///
    /// # Errors
    ///
    /// [`Error::NoStore`] if there is none; an existing file is never overwritten.
    pub async fn db_backup(&self, to: Option<PathBuf>) -> Result<PathBuf, Error> {
        self.at_store(move |home, _| {
            let path = existing(&home.database())?;
            Ok(match to {
                Some(to) => db::backup(&path, &to).map(|()| to)?,
                None => db::backup_beside(&path, now_s())?,
            })
        })
        .await
    }

    /// Looks whether the file is sound and everything in it opens. Changes nothing.
    ///
    /// # Errors
    ///
    /// If it cannot even be read; what is wrong with parts of it is in the answer.
    pub async fn db_check(&self) -> Result<DbCheck, Error> {
        let config = self.config().store.clone();
        self.at_store(move |home, _| {
            let path = existing(&home.database())?;
            let schema = db::status(&path)?;
            let version = schema.version;
            let mut problems = db::integrity(&path)?;
            for applied in schema.applied.iter().filter(|applied| !applied.matches) {
                problems.push(format!("migration `{}` is not the one of this build", applied.name));
            }
            let (mut sessions, mut messages) = (None, None);
            if version == db::LATEST && problems.is_empty() {
                let report = open_store(&home, &config)?.check()?;
                (sessions, messages) = (Some(report.sessions), Some(report.chunks));
                problems.extend(report.unreadable.iter().map(|error| one_line(error)));
            }
            Ok(DbCheck { version, sessions, messages, problems })
        })
        .await
    }

    /// Seals everything with another master key.
    ///
    /// Without `new`, the generated key file gets a new key; the old one stays beside it.
    ///
    /// # Errors
    ///
    /// [`Error::NoNextKey`] where the operator keeps the key and gave no other, and what the store says.
    /// Either everything is sealed with the new key then, or nothing.
    pub async fn db_rekey(&self, new: Option<KeySource>) -> Result<DbRekey, Error> {
        let config = self.config().store.clone();
        self.at_store(move |home, keys| {
            let path = existing(&home.database())?;
            let source = keys.master.unwrap_or_else(|| store_keys(&home, &config).0);
            // Opened first: it migrates, checks the key, and ends a change that was interrupted.
            let sessions = open_store(&home, &config)?;
            let _lock = db::lock(&path, SqliteOptions::default().busy_timeout)?;
            let rekeyed = rekey(&sessions, &source, new.as_ref())?;
            Ok(rekeyed)
        })
        .await
    }

    /// Runs work on the store's file where blocking is allowed.
    async fn at_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(Home, MigrationKeys) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let home = self.inner.home.clone();
        let (_, keys) = store_keys(&home, &self.config().store);
        let done = tokio::task::spawn_blocking(move || work(home, keys)).await;
        done.unwrap_or(Err(Error::Session(SessionError::Panicked)))
    }
}

fn rekey(sessions: &Sessions, old: &KeySource, new: Option<&KeySource>) -> Result<DbRekey, Error> {
    let from = sessions.key_id();
    let next = match new {
        Some(new) => new.load(|| true)?,
        None => old.begin_rotation()?.ok_or_else(|| Error::NoNextKey { key: old.to_string() })?,
    };
    if next.id() == from {
        return Err(Error::NoNextKey { key: old.to_string() });
    }
    let values = sessions.rekey(&next, &stamp())?;
    let mut retired = None;
    if new.is_none() {
        // `None` also when another process found the store sealed anew and was faster.
        retired = old.finish_rotation(from, next.id())?.map(|(_, retired)| retired);
    }
    let configure = new.map(ToString::to_string);
    let text = |id: KeyId| id.to_string();
    Ok(DbRekey { from: text(from), to: text(next.id()), values, retired, configure })
}

fn rollback_plan(path: &Path, to: i64) -> Result<RollbackPlan, Error> {
    let path = existing(path)?;
    let from = db::schema_version(&path)?;
    if to >= from || to < 0 {
        return Err(Error::NoRollback { from, to });
    }
    Ok(db::rollback_plan(&path, to)?)
}

fn existing(path: &Path) -> Result<PathBuf, Error> {
    if path.exists() { Ok(path.to_owned()) } else { Err(Error::NoStore { path: path.to_owned() }) }
}
