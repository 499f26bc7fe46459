//! What can be said of a database without changing it: its version, its migrations, what a rollback
//! would set aside.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::{Fault, LATEST, NAMED, STEPS, parsed, user_version};
use crate::session::{
    key::KeyId,
    name::{AuthType, SessionName},
    store::StoreResult,
};

/// A database's schema and what is in it. Read without a key.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SchemaStatus {
    /// The file.
    pub path: PathBuf,
    /// Its schema version.
    pub version: i64,
    /// The newest version that this host knows.
    pub latest: i64,
    /// Migrations that have not run, by name.
    pub pending: Vec<&'static str>,
    /// Migrations that made it, as far as it records them.
    pub applied: Vec<Applied>,
    /// Logins in it.
    pub sessions: u64,
    /// Those of them in the former program's envelope.
    pub legacy_sessions: u64,
    /// Rows that an earlier rollback set aside.
    pub parked: u64,
    /// Keys that sealed something in it.
    pub keys: Vec<String>,
    /// Bytes of the file.
    pub size: u64,
    /// Backups beside it, oldest first.
    pub backups: Vec<PathBuf>,
}

/// A migration that made a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Applied {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// When it ran, in Unix seconds.
    pub applied_at: i64,
    /// Whether it is the one that this build has.
    pub matches: bool,
}

/// What a rollback would set aside, for the next migration to take back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RollbackPlan {
    /// The version now.
    pub from: i64,
    /// The version wanted.
    pub to: i64,
    /// Sessions that the older table cannot hold.
    pub parked_sessions: Vec<String>,
    /// Sessions that stay and get the former program's envelope.
    pub resealed_sessions: Vec<String>,
    /// Conversations that step aside.
    pub conversations: u64,
    /// Rows of audit trail, usage, client keys and settings that step aside.
    pub other_rows: u64,
}

impl RollbackPlan {
    /// Reports whether anything steps aside or is sealed anew.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parked_sessions.is_empty()
            && self.resealed_sessions.is_empty()
            && self.conversations == 0
            && self.other_rows == 0
    }
}

/// Describes a database, whatever its version.
///
/// # Errors
///
/// [`StoreError::NotADatabase`](crate::session::StoreError::NotADatabase) or what else the file fails
/// with.
pub fn status(path: &Path) -> StoreResult<SchemaStatus> {
    let read = || -> Result<SchemaStatus, Fault> {
        let connection = open(path)?;
        let version = user_version(&connection)?;
        let past = usize::try_from(version).unwrap_or(0);
        let mut parked = 0;
        for table in tables(&connection)?.iter().filter(|name| name.starts_with("parked_")) {
            parked += count(&connection, table)?;
        }
        let has = tables(&connection)?.iter().any(|name| name == "saved_authentications");
        let keys = super::reseal::used_keys(&connection)?;
        Ok(SchemaStatus {
            path: path.to_owned(),
            version,
            latest: LATEST,
            pending: STEPS.iter().skip(past).map(|step| step.name).collect(),
            applied: applied(&connection)?,
            sessions: if has { count(&connection, "saved_authentications")? } else { 0 },
            legacy_sessions: match (has, version >= NAMED) {
                (false, _) => 0,
                (true, false) => count(&connection, "saved_authentications")?,
                (true, true) => count(&connection, "saved_authentications WHERE key_id IS NULL")?,
            },
            parked,
            keys: keys.iter().map(KeyId::to_string).collect(),
            size: std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            backups: backups(path),
        })
    };
    read().map_err(|fault| fault.at(path))
}

/// Says what a rollback would set aside.
///
/// # Errors
///
/// As [`status`].
pub fn rollback_plan(path: &Path, to: i64) -> StoreResult<RollbackPlan> {
    let read = || -> Result<RollbackPlan, Fault> {
        let connection = open(path)?;
        let from = user_version(&connection)?;
        let mut plan = RollbackPlan {
            from,
            to,
            parked_sessions: Vec::new(),
            resealed_sessions: Vec::new(),
            conversations: 0,
            other_rows: 0,
        };
        if from >= 3 && to < 3 {
            plan.conversations = count(&connection, "contexts")?;
            for table in ["audit_events", "client_keys", "usage", "settings"] {
                plan.other_rows += count(&connection, table)?;
            }
        }
        if from >= NAMED && to < NAMED {
            let sql = "SELECT provider, name, auth_type, key_id IS NOT NULL,
                              row_number() OVER (PARTITION BY provider, auth_type
                                                 ORDER BY is_default DESC, created_at, id)
                       FROM saved_authentications ORDER BY provider, name, auth_type";
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                let (name, auth): (SessionName, AuthType) = (parsed(row, 1)?, parsed(row, 2)?);
                let login = format!("{}:{name}@{auth}", row.get::<_, String>(0)?);
                Ok((login, row.get::<_, bool>(3)?, row.get::<_, i64>(4)?))
            })?;
            for row in rows {
                match row? {
                    (login, true, 1) => plan.resealed_sessions.push(login),
                    (_, false, 1) => {}
                    (login, ..) => plan.parked_sessions.push(login),
                }
            }
        }
        if from >= 1 && to < 1 {
            // The whole table steps aside.
            plan.parked_sessions.append(&mut plan.resealed_sessions.clone());
        }
        Ok(plan)
    };
    read().map_err(|fault| fault.at(path))
}

/// Lists the migrations that a database records; none before it records any.
pub(super) fn applied(connection: &Connection) -> Result<Vec<Applied>, Fault> {
    if !tables(connection)?.iter().any(|name| name == "applied_migrations") {
        return Ok(Vec::new());
    }
    let sql = "SELECT version, name, checksum, applied_at FROM applied_migrations ORDER BY version";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let (version, checksum): (i64, String) = (row.get(0)?, row.get(2)?);
        let step = usize::try_from(version - 1).ok().and_then(|at| STEPS.get(at));
        Ok(Applied {
            version,
            name: row.get(1)?,
            applied_at: row.get(3)?,
            matches: step.is_some_and(|step| step.checksum() == checksum),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn open(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(path, flags)?)
}

fn tables(connection: &Connection) -> Result<Vec<String>, Fault> {
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Counts rows; `what` is fixed text or a table's own name.
fn count(connection: &Connection, what: &str) -> Result<u64, Fault> {
    let sql = format!("SELECT count(*) FROM {what}");
    Ok(connection.query_row(&sql, [], |row| super::super::unsigned(row, 0))?)
}

fn backups(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let prefix = format!("{}.backup-", name.to_string_lossy());
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}
