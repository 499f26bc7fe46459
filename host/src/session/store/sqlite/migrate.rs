//! Schema migrations, forward and back.
//!
//! A run holds a lock file, because the runner reads the version before its transaction begins and
//! two processes would otherwise migrate twice. It turns foreign keys off *outside* the
//! transaction (inside, SQLite ignores that): with them on, rebuilding a table deletes its children
//! through `ON DELETE CASCADE`. What is there is copied to a backup first. Since version 4 the database
//! records which migrations made it, with a checksum each, so that a build with other ones stops.

mod reseal;
mod status;

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};
use rusqlite_migration::{M, Migrations};
use rustix::{fs::FlockOperation, io::Errno};

use self::reseal::Resealer;
pub use self::{
    reseal::MigrationKeys,
    status::{Applied, RollbackPlan, SchemaStatus, rollback_plan, status},
};
use super::{Fault, file, parsed};
use crate::session::store::{StoreError, StoreResult};

/// The newest schema version.
pub const LATEST: i64 = 5;

/// One migration, both ways.
struct Step {
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

impl Step {
    /// Returns what tells this migration from any other of its number.
    fn checksum(&self) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(self.up.as_bytes()).update(&[0]).update(self.down.as_bytes());
        hash.finalize().to_hex()[..32].to_owned()
    }
}

macro_rules! step {
    ($name:literal) => {
        Step {
            name: $name,
            up: include_str!(concat!("../../../../../migrations/sqlite/", $name, "/up.sql")),
            down: include_str!(concat!("../../../../../migrations/sqlite/", $name, "/down.sql")),
        }
    };
}

/// All migrations, in order.
const STEPS: [Step; 5] = [
    step!("0001-legacy"),
    step!("0002-named-sessions"),
    step!("0003-conversations-and-keys"),
    step!("0004-resealed-logins"),
    step!("0005-client-budgets"),
];

/// The version from which on sessions have names.
const NAMED: i64 = 2;
/// The version from which on no login has the former program's envelope, and migrations are recorded.
const RECORDED: i64 = 4;

/// Joins the SQL with the steps that are code.
fn migrations(resealer: &Arc<Resealer>, now_s: i64) -> Migrations<'static> {
    let steps = (1_i64..).zip(&STEPS).map(|(version, step)| {
        let (up, down) = (Arc::clone(resealer), Arc::clone(resealer));
        let migration = if version < RECORDED {
            M::up(step.up)
        } else {
            M::up_with_hook(step.up, move |tx: &Transaction<'_>| {
                up.hook(|| {
                    if version == RECORDED {
                        up.up(tx)?;
                        (1..RECORDED).try_for_each(|earlier| record(tx, earlier, now_s))?;
                    }
                    record(tx, version, now_s)
                })
            })
        };
        let migration = if version == NAMED {
            migration
                .down_with_hook(step.down, move |tx: &Transaction<'_>| down.hook(|| down.down(tx)))
        } else {
            // Below its first version the record itself goes, as that migration's SQL says.
            migration.down_with_hook(step.down, move |tx: &Transaction<'_>| {
                down.hook(|| if version > RECORDED { forget(tx, version) } else { Ok(()) })
            })
        };
        migration.foreign_key_check()
    });
    Migrations::new(steps.collect())
}

fn record(tx: &Transaction<'_>, version: i64, now_s: i64) -> Result<(), Fault> {
    let Some(step) = usize::try_from(version - 1).ok().and_then(|at| STEPS.get(at)) else {
        return Ok(());
    };
    tx.execute(
        "INSERT OR REPLACE INTO applied_migrations (version, name, checksum, applied_at)
         VALUES (?1, ?2, ?3, ?4)",
        params![version, step.name, step.checksum(), now_s],
    )?;
    Ok(())
}

fn forget(tx: &Transaction<'_>, version: i64) -> Result<(), Fault> {
    tx.execute("DELETE FROM applied_migrations WHERE version = ?", [version])?;
    Ok(())
}

/// Refuses a database that other migrations made.
fn check_applied(path: &Path, connection: &Connection) -> StoreResult<()> {
    let applied = status::applied(connection).map_err(|fault| fault.at(path))?;
    match applied.into_iter().find(|applied| !applied.matches) {
        None => Ok(()),
        Some(Applied { version, name, .. }) => {
            Err(StoreError::ChangedMigration { path: path.to_owned(), version, name })
        }
    }
}

/// Returns the schema version of a database, 0 for an empty file, without changing it.
///
/// # Errors
///
/// [`StoreError::NewerSchema`], [`StoreError::NotADatabase`] or what else the file fails with.
pub fn schema_version(path: &Path) -> StoreResult<i64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let found = Connection::open_with_flags(path, flags)
        .and_then(|connection| user_version(&connection))
        .map_err(|error| Fault::from(error).at(path))?;
    known(path, found)
}

/// Brings a database to a version, forward or back. Returns the backup it made, if any.
///
/// Does nothing, not even lock, if it has that version already.
///
/// # Errors
///
/// [`StoreError::Locked`] if another process migrates for longer than `patience`,
/// [`StoreError::NewerSchema`] if a newer host did, [`StoreError::ChangedMigration`] if another build
/// did, [`StoreError::NoLegacyKey`] and its like if a login cannot be sealed anew,
/// [`StoreError::Migration`] if a step fails; the database is then as before.
pub fn migrate(
    path: &Path,
    to: i64,
    now_s: i64,
    patience: Duration,
    keys: &MigrationKeys,
) -> StoreResult<Option<PathBuf>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |error: rusqlite::Error| Fault::from(error).at(path);
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.busy_timeout(patience).map_err(sqlite)?;
    let found = known(path, user_version(&connection).map_err(sqlite)?)?;
    check_applied(path, &connection)?;
    if found == to {
        return Ok(None);
    }
    let _lock = lock(path, patience)?;
    // Again: while this process waited, another may have done the work.
    let from = known(path, user_version(&connection).map_err(sqlite)?)?;
    if from == to {
        return Ok(None);
    }
    let backup = backup_before(path, &connection, from, to, now_s)?;
    // WAL is a property of the file, so it is set once, here.
    connection
        .execute_batch(
            "PRAGMA foreign_keys = OFF; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
        )
        .map_err(sqlite)?;
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Migration {
        path: path.to_owned(),
        from,
        to,
        source,
    };
    let version = usize::try_from(to).map_err(|error| failed(error.into()))?;
    let resealer = Arc::new(Resealer::new(keys.clone()));
    let migrated = migrations(&resealer, now_s).to_version(&mut connection, version);
    migrated.map_err(|error| match error {
        rusqlite_migration::Error::Hook(text) => {
            resealer.failure().unwrap_or_else(|| failed(text.into()))
        }
        // The named errors (locked, full, damaged, read-only) stay named.
        rusqlite_migration::Error::RusqliteError { err, .. } => match Fault::from(err).at(path) {
            StoreError::Engine { source, .. } => failed(source),
            named => named,
        },
        other => failed(other.into()),
    })?;
    Ok(backup)
}

/// Takes over the logins that a migration left in the former program's envelope. Returns how many.
///
/// # Errors
///
/// As [`migrate`]; without the former program's key nothing is done.
pub fn reseal_left(path: &Path, patience: Duration, keys: &MigrationKeys) -> StoreResult<u64> {
    if keys.legacy.is_none() {
        return Ok(0);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let work = || -> Result<u64, Fault> {
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(patience)?;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let left = |tx: &Transaction<'_>| {
            let sql = "SELECT count(*) FROM saved_authentications WHERE key_id IS NULL";
            tx.query_row(sql, [], |row| super::unsigned(row, 0))
        };
        let before = left(&tx)?;
        Resealer::new(keys.clone()).up(&tx)?;
        let taken = before - left(&tx)?;
        tx.commit()?;
        Ok(taken)
    };
    work().map_err(|fault| fault.at(path))
}

fn known(path: &Path, found: i64) -> StoreResult<i64> {
    if found > LATEST {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, expected: LATEST });
    }
    Ok(found)
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn backup_before(
    path: &Path,
    connection: &Connection,
    from: i64,
    to: i64,
    now_s: i64,
) -> StoreResult<Option<PathBuf>> {
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| Fault::from(error).at(path))?;
    if objects == 0 {
        return Ok(None);
    }
    let target = free_name(path, &format!("{from}-to-{to}-{now_s}"));
    file::backup(connection, &target).map_err(|fault| fault.at(path))?;
    Ok(Some(target))
}

/// Names a backup beside a database that no file has yet: two runs within one second each get their own.
fn free_name(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".backup-{what}"));
    let mut target = PathBuf::from(&name);
    let mut number = 2;
    while target.exists() {
        let mut numbered = name.clone();
        numbered.push(format!("-{number}"));
        target = numbered.into();
        number += 1;
    }
    target
}

/// Makes the file and its folder, private to the user, if they are missing.
///
/// # Errors
///
/// [`StoreError::Io`].
pub fn prepare(path: &Path) -> StoreResult<()> {
    file::prepare(path)
}

/// Copies a database of any version to a new file of mode 0600.
///
/// # Errors
///
/// [`StoreError::Io`] if the file exists or cannot be made, else as the copy fails.
pub fn backup(path: &Path, to: &Path) -> StoreResult<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copied = Connection::open_with_flags(path, flags)
        .map_err(Fault::from)
        .and_then(|connection| file::backup(&connection, to));
    copied.map_err(|fault| fault.at(path))
}

/// Copies a database of any version to a file beside it, named by version and time.
///
/// # Errors
///
/// As [`backup`].
pub fn backup_beside(path: &Path, now_s: i64) -> StoreResult<PathBuf> {
    let version = status(path)?.version;
    let target = free_name(path, &format!("{version}-{now_s}"));
    backup(path, &target)?;
    Ok(target)
}

/// Checks a database of any version; returns what is wrong, one line each.
///
/// # Errors
///
/// If it cannot be read at all.
pub fn integrity(path: &Path) -> StoreResult<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let checked = Connection::open_with_flags(path, flags)
        .map_err(Fault::from)
        .and_then(|connection| super::ledger::integrity(&connection));
    checked.map_err(|fault| fault.at(path))
}

/// Takes the lock `<db>.lock`; closing the file gives it back, also when the process dies.
///
/// # Errors
///
/// [`StoreError::Locked`] if another process holds it for longer than `patience`.
pub fn lock(path: &Path, patience: Duration) -> StoreResult<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = PathBuf::from(name);
    let io = |source| StoreError::Io { path: lock.clone(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock)
        .map_err(io)?;
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if start.elapsed() >= patience => {
                return Err(StoreError::Locked { path: path.to_owned() });
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_POLL),
            Err(error) => return Err(io(error.into())),
        }
    }
}

/// How often a held lock file is tried again.
const LOCK_POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
