//! Schema migrations, forward and back.
//!
//! A run holds a lock file, because the runner reads the version before its transaction begins and
//! two processes would otherwise migrate twice. It turns foreign keys off *outside* the
//! transaction (inside, SQLite ignores that): with them on, rebuilding a table deletes its children
//! through `ON DELETE CASCADE`. What is there is copied to a backup first.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rusqlite_migration::{M, Migrations};
use rustix::{fs::FlockOperation, io::Errno};

use super::{Fault, file};
use crate::session::store::{StoreError, StoreResult};

/// The newest schema version.
pub const LATEST: i64 = 3;

/// Returns all migrations, in order.
#[must_use]
pub fn migrations() -> Migrations<'static> {
    macro_rules! migration {
        ($name:literal) => {
            M::up(include_str!(concat!("../../../../../migrations/sqlite/", $name, "/up.sql")))
                .down(include_str!(concat!(
                    "../../../../../migrations/sqlite/",
                    $name,
                    "/down.sql"
                )))
                .foreign_key_check()
        };
    }
    Migrations::new(vec![
        migration!("0001-legacy"),
        migration!("0002-named-sessions"),
        migration!("0003-conversations-and-keys"),
    ])
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
/// [`StoreError::NewerSchema`] if a newer host did, [`StoreError::Migration`] if a step fails; the
/// database is then as before.
pub fn migrate(
    path: &Path,
    to: i64,
    now_s: i64,
    patience: Duration,
) -> StoreResult<Option<PathBuf>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sqlite = |error: rusqlite::Error| Fault::from(error).at(path);
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.busy_timeout(patience).map_err(sqlite)?;
    if known(path, user_version(&connection).map_err(sqlite)?)? == to {
        return Ok(None);
    }
    let _lock = lock_file(path, patience)?;
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
    migrations().to_version(&mut connection, version).map_err(|error| match error {
        // The named errors (locked, full, damaged, read-only) stay named.
        rusqlite_migration::Error::RusqliteError { err, .. } => match Fault::from(err).at(path) {
            StoreError::Engine { source, .. } => failed(source),
            named => named,
        },
        other => failed(other.into()),
    })?;
    Ok(backup)
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
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".backup-{from}-to-{to}-{now_s}"));
    let mut target = PathBuf::from(&name);
    // Two runs within one second each get a file of their own.
    let mut number = 2;
    while target.exists() {
        let mut numbered = name.clone();
        numbered.push(format!("-{number}"));
        target = numbered.into();
        number += 1;
    }
    file::backup(connection, &target).map_err(|fault| fault.at(path))?;
    Ok(Some(target))
}

/// Takes the lock `<db>.lock`; closing the file gives it back, also when the process dies.
fn lock_file(path: &Path, patience: Duration) -> StoreResult<File> {
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
