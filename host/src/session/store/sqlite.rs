//! The embedded store: one SQLite file in WAL mode.
//!
//! One connection writes, behind a mutex and always with `BEGIN IMMEDIATE`, so a write waits for
//! its turn before it reads and never fails half-way for a lock. A few connections read, and one
//! does nothing but watch for commits of others. The files are private to the user (0600).

mod clients;
mod column;
mod conversations;
mod fault;
mod file;
mod lease;
mod ledger;
pub mod migrate;
mod rekey;
mod sessions;
mod watcher;

pub use self::migrate::MigrationKeys;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use plugin_api::{ChunkId, ContextId, ProviderId};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use self::{
    column::{parsed, signed, unsigned},
    fault::Fault,
    watcher::{LOOK, Watcher},
};
use super::{
    ClientKey, ClientUse, Reseal, Store, StoreError, StoreResult,
    row::{
        AuditEvent, Conversation, KeyRecord, Lease, NewSession, Resealed, SealedChunk,
        SealedSession, SessionFilter, SessionInfo, SessionStatus, Stamp,
    },
};
use crate::session::{
    key::KeyId,
    name::{AuthType, SessionId, SessionName},
};

/// How to open a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Whether to refuse all writes, also migrations; the file must exist.
    pub read_only: bool,
    /// How long to wait for another process before [`StoreError::Locked`].
    pub busy_timeout: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { read_only: false, busy_timeout: Duration::from_secs(5) }
    }
}

/// A store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    options: SqliteOptions,
    writer: Mutex<Connection>,
    /// Idle readers. One is opened when none is idle, so that readers never wait for each other.
    readers: Mutex<Vec<Connection>>,
    watcher: Mutex<Watcher>,
}

impl SqliteStore {
    /// Opens a database, makes it if there is none, and migrates it to the newest schema.
    ///
    /// `now_s` names the backup that is written before a migration.
    ///
    /// # Errors
    ///
    /// See [`StoreError`]; nothing is written to a file of a newer schema or one that is no database.
    pub fn open(path: &Path, now_s: i64) -> StoreResult<Self> {
        Self::open_with(path, now_s, SqliteOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    ///
    /// As [`SqliteStore::open`], and [`StoreError::OlderSchema`] if the database is opened
    /// read-only but needs a migration.
    pub fn open_with(path: &Path, now_s: i64, options: SqliteOptions) -> StoreResult<Self> {
        Self::open_with_keys(path, now_s, options, &MigrationKeys::default())
    }

    /// The same with keys, which the migration of logins of the former program needs.
    ///
    /// # Errors
    ///
    /// As [`SqliteStore::open_with`], and [`StoreError::NoLegacyKey`] and its like if a login of that
    /// program cannot be taken over; nothing is changed then.
    pub fn open_with_keys(
        path: &Path,
        now_s: i64,
        options: SqliteOptions,
        keys: &MigrationKeys,
    ) -> StoreResult<Self> {
        if options.read_only {
            let expected = migrate::LATEST;
            let found = migrate::schema_version(path)?;
            if found < expected {
                return Err(StoreError::OlderSchema { path: path.to_owned(), found, expected });
            }
        } else {
            file::prepare(path)?;
            let backup =
                migrate::migrate(path, migrate::LATEST, now_s, options.busy_timeout, keys)?;
            if let Some(backup) = backup {
                let (path, backup) = (path.display(), backup.display());
                tracing::warn!("`{path}` has a newer form now; as it was it is in `{backup}`");
            }
        }
        let open = |role| connect(path, options, role).map_err(|fault| fault.at(path));
        Ok(Self {
            writer: Mutex::new(open(Role::Writer)?),
            readers: Mutex::new(vec![open(Role::Reader)?]),
            watcher: Mutex::new(Watcher::new(open(Role::Reader)?)),
            path: path.to_owned(),
            options,
        })
    }

    /// Returns the database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a consistent copy of the database to a new file of mode 0600.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if the file exists or cannot be made, else as the copy fails.
    pub fn backup(&self, to: &Path) -> StoreResult<()> {
        self.read(|connection| file::backup(connection, to))
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> StoreResult<T> {
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                connect(&self.path, self.options, Role::Reader).map_err(|f| f.at(&self.path))?
            }
        };
        let result = work(&connection).map_err(|fault| fault.at(&self.path));
        let mut readers = lock(&self.readers);
        if readers.len() < MAX_IDLE_READERS {
            readers.push(connection);
        }
        result
    }

    /// Writes. Once it returns, every process knows of a change to the sessions or the keys.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> StoreResult<T> {
        let seen = lock(&self.watcher).seen();
        let result = (|| {
            let mut writer = lock(&self.writer);
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            drop(writer);
            let mut watcher = lock(&self.watcher);
            watcher.look_again();
            // It is durable by now, so a look that fails is no failure of the write.
            let changed = watcher.revision().ok() != Some(seen);
            drop(watcher);
            if changed {
                thread::sleep(LOOK);
            }
            Ok(value)
        })();
        result.map_err(|fault: Fault| fault.at(&self.path))
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    fn revision(&self) -> StoreResult<u64> {
        lock(&self.watcher).revision().map_err(|fault| fault.at(&self.path))
    }

    fn changes(&self) -> StoreResult<u64> {
        let version = lock(&self.watcher).data_version().map_err(|fault| fault.at(&self.path))?;
        Ok(version.cast_unsigned())
    }

    fn insert_session(&self, new: &NewSession, stamp: &Stamp<'_>) -> StoreResult<SessionInfo> {
        self.write(|tx| sessions::insert(tx, new, stamp))
    }

    fn reseal_session(
        &self,
        id: &SessionId,
        generation: u64,
        new: &Resealed,
        stamp: &Stamp<'_>,
    ) -> StoreResult<SessionInfo> {
        self.write(|tx| sessions::reseal(tx, id, generation, new, stamp))
    }

    fn session(&self, id: &SessionId) -> StoreResult<Option<SealedSession>> {
        self.read(|connection| sessions::by_id(connection, id))
    }

    fn lookup_session(
        &self,
        provider: &ProviderId,
        auth_type: Option<AuthType>,
        name: Option<&SessionName>,
    ) -> StoreResult<Vec<SealedSession>> {
        self.read(|connection| sessions::lookup(connection, provider, auth_type, name))
    }

    fn find_sessions(&self, filter: &SessionFilter) -> StoreResult<Vec<SessionInfo>> {
        self.read(|connection| sessions::find(connection, filter))
    }

    fn set_default_session(&self, id: &SessionId, stamp: &Stamp<'_>) -> StoreResult<()> {
        self.write(|tx| sessions::set_default(tx, id, stamp))
    }

    fn touch_session(&self, id: &SessionId, stamp: &Stamp<'_>) -> StoreResult<()> {
        self.write(|tx| sessions::touch(tx, id, stamp))
    }

    fn fail_session(
        &self,
        id: &SessionId,
        generation: u64,
        status: SessionStatus,
        error: &str,
        stamp: &Stamp<'_>,
    ) -> StoreResult<()> {
        self.write(|tx| sessions::fail(tx, id, generation, status, error, stamp))
    }

    fn take_lease(
        &self,
        id: &SessionId,
        lease: &Lease,
        over: Option<&str>,
        now_s: i64,
    ) -> StoreResult<Option<Lease>> {
        self.write(|tx| lease::take(tx, id, lease, over, now_s))
    }

    fn lease(&self, id: &SessionId, now_s: i64) -> StoreResult<Option<Lease>> {
        self.read(|connection| lease::standing(connection, id, now_s))
    }

    fn release_lease(&self, id: &SessionId, holder: &str) -> StoreResult<()> {
        self.write(|tx| lease::release(tx, id, holder))
    }

    fn delete_session(&self, id: &SessionId, stamp: &Stamp<'_>) -> StoreResult<()> {
        self.write(|tx| sessions::delete(tx, id, stamp))
    }

    fn prune_candidates(&self, idle_since_s: i64) -> StoreResult<Vec<SessionInfo>> {
        self.read(|connection| sessions::prune_candidates(connection, idle_since_s))
    }

    fn has_ciphertext(&self) -> StoreResult<bool> {
        self.read(ledger::has_ciphertext)
    }

    fn keys(&self) -> StoreResult<Vec<KeyRecord>> {
        self.read(ledger::keys)
    }

    fn adopt_key(&self, key: &KeyRecord) -> StoreResult<()> {
        self.write(|tx| ledger::adopt_key(tx, key))
    }

    fn rekey(
        &self,
        from: KeyId,
        to: &KeyRecord,
        reseal: &Reseal<'_>,
        stamp: &Stamp<'_>,
    ) -> StoreResult<u64> {
        let count = self.write(|tx| rekey::rekey(tx, from, to, reseal, stamp))?;
        // The log still holds what the old key sealed. A reader elsewhere may keep it a while.
        let emptied = lock(&self.writer)
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if !matches!(emptied, Ok(0)) {
            tracing::debug!("the write-ahead log was not emptied after the key changed");
        }
        Ok(count)
    }

    fn audit_events(&self, limit: u32) -> StoreResult<Vec<AuditEvent>> {
        self.read(|connection| ledger::audit_events(connection, limit))
    }

    fn append_audit_event(&self, event: &AuditEvent) -> StoreResult<()> {
        self.write(|tx| ledger::append_audit_event(tx, event))
    }

    fn setting(&self, key: &str) -> StoreResult<Option<String>> {
        self.read(|connection| ledger::setting(connection, key))
    }

    fn setting_or_insert(&self, key: &str, value: &str) -> StoreResult<String> {
        self.write(|tx| ledger::setting_or_insert(tx, key, value))
    }

    fn set_setting(&self, key: &str, value: Option<&str>) -> StoreResult<()> {
        self.write(|tx| ledger::set_setting(tx, key, value))
    }

    fn insert_conversation(&self, new: &Conversation) -> StoreResult<()> {
        self.write(|tx| conversations::insert(tx, new))
    }

    fn find_conversation(&self, id_or_name: &str) -> StoreResult<Option<Conversation>> {
        self.read(|connection| conversations::find(connection, id_or_name))
    }

    fn latest_conversation(&self) -> StoreResult<Option<Conversation>> {
        self.read(conversations::latest)
    }

    fn conversations(&self) -> StoreResult<Vec<Conversation>> {
        self.read(conversations::all)
    }

    fn append_chunks(&self, id: &ContextId, turn: &[SealedChunk], now_s: i64) -> StoreResult<()> {
        self.write(|tx| conversations::append(tx, id, turn, now_s))
    }

    fn chunks(&self, id: &ContextId) -> StoreResult<Vec<SealedChunk>> {
        self.read(|connection| conversations::chunks(connection, id))
    }

    fn delete_conversation(&self, id: &ContextId) -> StoreResult<bool> {
        self.write(|tx| conversations::delete(tx, id))
    }

    fn delete_chunk(&self, id: &ContextId, chunk: &ChunkId, now_s: i64) -> StoreResult<bool> {
        self.write(|tx| conversations::delete_chunk(tx, id, chunk, now_s))
    }

    fn insert_client_key(&self, new: &ClientKey) -> StoreResult<()> {
        self.write(|tx| clients::insert(tx, new))
    }

    fn client_keys(&self) -> StoreResult<Vec<ClientKey>> {
        self.read(clients::all)
    }

    fn revoke_client_key(&self, name: &str, now_s: i64) -> StoreResult<()> {
        self.write(|tx| clients::revoke(tx, name, now_s))
    }

    fn delete_client_key(&self, name: &str) -> StoreResult<()> {
        self.write(|tx| clients::delete(tx, name))
    }

    fn record_client_uses(&self, uses: &[ClientUse]) -> StoreResult<()> {
        self.write(|tx| clients::record(tx, uses))
    }

    fn client_usage(&self, since_day: i64) -> StoreResult<Vec<ClientUse>> {
        self.read(|connection| clients::usage(connection, since_day))
    }

    fn client_spent(&self, id: &str, day: i64) -> StoreResult<i64> {
        self.read(|connection| clients::spent(connection, id, day))
    }

    fn touch_client_key(&self, id: &str, now_s: i64) -> StoreResult<()> {
        self.write(|tx| clients::touch(tx, id, now_s))
    }

    fn integrity(&self) -> StoreResult<Vec<String>> {
        self.read(ledger::integrity)
    }
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Reader,
}

fn connect(path: &Path, options: SqliteOptions, role: Role) -> Result<Connection, Fault> {
    let access = if options.read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(options.busy_timeout)?;
    // secure_delete: a deleted login should not linger in free pages, even sealed.
    connection.execute_batch(
        "PRAGMA foreign_keys = ON;
         PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;",
    )?;
    if role == Role::Reader {
        connection.pragma_update(None, "query_only", true)?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Locks, also after a panic of another thread: a transaction that was not committed is rolled
/// back when it is dropped, so what is behind the lock is sound.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MAX_IDLE_READERS: usize = 4;

#[cfg(test)]
mod tests;
