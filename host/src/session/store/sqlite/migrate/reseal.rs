//! The part of a migration that SQL cannot do: from the former program's envelope to ours, and back.
//!
//! Runs inside the migration's transaction. Up, it opens every login that no key of ours sealed with the
//! former program's key and seals it with the master key, bound to no plugin and no origin; `sessions
//! approve` decides where it may go. Down, before the table loses its names, it seals the login that
//! stays of each pair as the former program does. Our own envelope of it is parked and taken back when
//! that program changed nothing, so that its binding and its approval survive.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use plugin_api::ProviderId;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Fault, parsed};
use crate::session::{
    credential::Credential,
    envelope::{self, Place},
    key::{KeyId, KeySource, MasterKey},
    legacy::{self, LegacyError},
    name::{AuthType, SessionId, SessionName},
    store::{StoreError, row::SessionStatus},
};

/// The keys that a migration may need. None is loaded before it is.
#[derive(Clone, Debug, Default)]
pub struct MigrationKeys {
    /// Where our master key is.
    pub master: Option<KeySource>,
    /// Where the former program's key is.
    pub legacy: Option<KeySource>,
    /// Whether logins that cannot be opened are left as they are, marked as needing a new login,
    /// instead of stopping the migration.
    pub leave_unreadable: bool,
}

/// One migration's keys, and the first thing that went wrong in a hook, which may only return text.
#[derive(Default)]
pub(super) struct Resealer {
    keys: MigrationKeys,
    master: OnceLock<Arc<MasterKey>>,
    failure: Mutex<Option<StoreError>>,
}

impl Resealer {
    pub(super) fn new(keys: MigrationKeys) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Runs a step as a hook; its error waits in [`Resealer::failure`].
    pub(super) fn hook(
        &self,
        work: impl FnOnce() -> Result<(), Fault>,
    ) -> rusqlite_migration::HookResult {
        match work() {
            Ok(()) => Ok(()),
            Err(Fault::Sqlite(error)) => Err(error.into()),
            Err(Fault::Store(error)) => {
                let text = error.to_string();
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(*error);
                Err(rusqlite_migration::HookError::Hook(text))
            }
        }
    }

    /// Takes what a hook failed with.
    pub(super) fn failure(&self) -> Option<StoreError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Seals with our key whatever no key of ours sealed.
    pub(super) fn up(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        take_back(tx)?;
        let rows = rows(tx, "key_id IS NULL")?;
        if rows.is_empty() {
            return Ok(());
        }
        let Some(source) = &self.keys.legacy else {
            if self.keys.leave_unreadable {
                return rows.iter().try_for_each(|row| give_up(tx, row, "its key was not given"));
            }
            return Err(StoreError::NoLegacyKey { logins: rows.len(), back: false }.into());
        };
        let legacy_key = source.load(|| true).map_err(|source| StoreError::LegacyKey { source })?;
        let master = self.master(tx)?;
        for row in rows {
            match take_over(tx, &row, &legacy_key, &master) {
                Err(TakeOver::Legacy(source)) if self.keys.leave_unreadable => {
                    give_up(tx, &row, &source.to_string())?;
                }
                Err(TakeOver::Legacy(source)) => {
                    let login = row.login();
                    return Err(StoreError::LegacyLogin { login, source }.into());
                }
                // Not the login's fault: a full disk must not make it one that nobody can read.
                Err(TakeOver::Fault(fault)) => return Err(fault),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Seals as the former program does whatever stays in its table: of each provider and auth type
    /// the default, else the oldest, as the SQL that follows chooses.
    pub(super) fn down(&self, tx: &Transaction<'_>) -> Result<(), Fault> {
        let kept = "key_id IS NOT NULL AND id IN (
            SELECT id FROM (
                SELECT id, row_number() OVER (PARTITION BY provider, auth_type
                                              ORDER BY is_default DESC, created_at, id) AS place
                FROM saved_authentications)
            WHERE place = 1)";
        let rows = rows(tx, kept)?;
        if rows.is_empty() {
            return Ok(());
        }
        let Some(source) = &self.keys.legacy else {
            return Err(StoreError::NoLegacyKey { logins: rows.len(), back: true }.into());
        };
        let legacy_key = source.load(|| true).map_err(|source| StoreError::LegacyKey { source })?;
        let master = self.master(tx)?;
        tx.execute_batch(
            "CREATE TABLE IF NOT EXISTS parked_envelopes (
                session_id TEXT PRIMARY KEY NOT NULL, credentials BLOB NOT NULL,
                key_id TEXT NOT NULL, legacy BLOB NOT NULL, expires_at INTEGER) STRICT",
        )?;
        let iv_len = usual_iv_len(tx)?;
        for row in rows {
            give_back(tx, &row, &legacy_key, &master, iv_len)?;
        }
        Ok(())
    }

    /// Loads our key, and refuses one that did not seal what is here.
    fn master(&self, tx: &Transaction<'_>) -> Result<Arc<MasterKey>, Fault> {
        if let Some(key) = self.master.get() {
            return Ok(Arc::clone(key));
        }
        let Some(source) = &self.keys.master else {
            return Err(StoreError::NoMasterKey.into());
        };
        let used = used_keys(tx)?;
        let key =
            source.load(|| !used.is_empty()).map_err(|source| StoreError::MasterKey { source })?;
        if let Some(&found) = used.iter().find(|used| **used != key.id()) {
            return Err(StoreError::WrongKey { found, expected: key.id() }.into());
        }
        Ok(Arc::clone(self.master.get_or_init(|| Arc::new(key))))
    }
}

/// One row of `saved_authentications`, as far as sealing is concerned.
struct Row {
    id: SessionId,
    provider: ProviderId,
    auth_type: AuthType,
    name: SessionName,
    credentials: Vec<u8>,
    key_id: Option<String>,
    expires_at: Option<i64>,
}

impl Row {
    fn login(&self) -> String {
        format!("{}:{}@{}", self.provider, self.name, self.auth_type)
    }

    fn place(&self) -> Place<'_> {
        Place::Session {
            id: &self.id,
            provider: &self.provider,
            auth_type: self.auth_type,
            name: &self.name,
        }
    }
}

/// Why a login of the former program could not be taken over.
enum TakeOver {
    Legacy(LegacyError),
    Fault(Fault),
}

impl<T: Into<Fault>> From<T> for TakeOver {
    fn from(fault: T) -> Self {
        Self::Fault(fault.into())
    }
}

fn rows(tx: &Transaction<'_>, condition: &str) -> Result<Vec<Row>, Fault> {
    let sql = format!(
        "SELECT id, provider, auth_type, name, credentials, key_id, expires_at
         FROM saved_authentications WHERE {condition} ORDER BY id"
    );
    let mut statement = tx.prepare(&sql)?;
    let rows = statement.query_map([], |row| {
        Ok(Row {
            id: parsed(row, 0)?,
            provider: parsed(row, 1)?,
            auth_type: parsed(row, 2)?,
            name: parsed(row, 3)?,
            credentials: row.get(4)?,
            key_id: row.get(5)?,
            expires_at: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes our envelopes back where the former program changed nothing.
fn take_back(tx: &Transaction<'_>) -> Result<(), Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'parked_envelopes')";
    if !tx.query_row(sql, [], |row| row.get::<_, bool>(0))? {
        return Ok(());
    }
    tx.execute_batch(
        "UPDATE saved_authentications
         SET credentials = parked.credentials, key_id = parked.key_id,
             expires_at = parked.expires_at
         FROM parked_envelopes AS parked
         WHERE parked.session_id = saved_authentications.id
           AND parked.legacy = saved_authentications.credentials;
         DROP TABLE parked_envelopes;",
    )?;
    Ok(())
}

fn take_over(
    tx: &Transaction<'_>,
    row: &Row,
    legacy_key: &MasterKey,
    master: &MasterKey,
) -> Result<(), TakeOver> {
    let opened = legacy::open(legacy_key, &row.credentials).map_err(TakeOver::Legacy)?;
    let credential =
        legacy::read(row.auth_type, &opened.plaintext, row.expires_at).map_err(TakeOver::Legacy)?;
    // The serializer's error may quote what it could not write.
    let payload =
        credential.to_payload().map_err(|_| TakeOver::Legacy(LegacyError::NoCredential))?;
    let sealed = seal(master, &row.place(), &payload)?;
    let original = seal(master, &Place::Legacy { session: &row.id }, &opened.plaintext)?;
    tx.prepare_cached(
        "UPDATE saved_authentications
         SET credentials = ?2, key_id = ?3, status = ?4, expires_at = coalesce(?5, expires_at)
         WHERE id = ?1",
    )?
    .execute(params![
        row.id.as_str(),
        sealed,
        master.id().to_string(),
        SessionStatus::NeedsApproval.as_str(),
        credential.expires_at(),
    ])?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO legacy_payloads (session_id, content, key_id, iv_len, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        row.id.as_str(),
        original,
        master.id().to_string(),
        opened.iv_len,
        row.expires_at
    ])?;
    Ok(())
}

/// Leaves a login that cannot be opened, for the user to log in again.
fn give_up(tx: &Transaction<'_>, row: &Row, why: &str) -> Result<(), Fault> {
    tx.prepare_cached(
        "UPDATE saved_authentications SET status = ?2, last_error = ?3 WHERE id = ?1",
    )?
    .execute(params![
        row.id.as_str(),
        SessionStatus::NeedsReauth.as_str(),
        format!("sealed by the former program: {why}"),
    ])?;
    Ok(())
}

fn give_back(
    tx: &Transaction<'_>,
    row: &Row,
    legacy_key: &MasterKey,
    master: &MasterKey,
    usual_iv_len: u8,
) -> Result<(), Fault> {
    let unreadable = |source| StoreError::Unreadable { what: row.login(), source };
    let opened = envelope::open(master, &row.place(), &row.credentials).map_err(unreadable)?;
    let credential = Credential::from_payload(&opened)
        .map_err(|_| unreadable(envelope::EnvelopeError::Moved))?;
    let original: Option<(Vec<u8>, u8, Option<i64>)> = tx
        .prepare_cached(
            "SELECT content, iv_len, expires_at FROM parked_legacy_payloads WHERE session_id = ?",
        )?
        .query_row([row.id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (mut iv_len, mut original_text, mut original_expires_at) = (usual_iv_len, None, None);
    if let Some((sealed, its_iv_len, expires_at)) = original {
        let place = Place::Legacy { session: &row.id };
        original_text = Some(envelope::open(master, &place, &sealed).map_err(unreadable)?);
        (iv_len, original_expires_at) = (its_iv_len, expires_at);
    }
    let failed = |source| StoreError::LegacyLogin { login: row.login(), source };
    let text = original_text.as_deref().map(Vec::as_slice);
    let (text, unchanged) =
        legacy::write(&credential, text, original_expires_at).map_err(failed)?;
    let sealed = legacy::seal(legacy_key, &text, iv_len).map_err(failed)?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO parked_envelopes
            (session_id, credentials, key_id, legacy, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![row.id.as_str(), row.credentials, row.key_id, sealed, row.expires_at])?;
    let expires_at = if unchanged { original_expires_at } else { row.expires_at };
    tx.prepare_cached(
        "UPDATE saved_authentications SET credentials = ?2, key_id = NULL, expires_at = ?3
         WHERE id = ?1",
    )?
    .execute(params![row.id.as_str(), sealed, expires_at])?;
    Ok(())
}

fn seal(key: &MasterKey, place: &Place<'_>, text: &[u8]) -> Result<Vec<u8>, Fault> {
    envelope::seal(key, place, text)
        .map_err(|source| StoreError::Unreadable { what: place.to_string(), source }.into())
}

/// Returns the IV length of the logins that came from the former program, else the recommended one.
fn usual_iv_len(tx: &Transaction<'_>) -> Result<u8, Fault> {
    let sql = "SELECT max(iv_len) FROM parked_legacy_payloads";
    let found: Option<u8> = tx.query_row(sql, [], |row| row.get(0))?;
    Ok(found.unwrap_or(legacy::IV_LEN))
}

/// Lists the keys that sealed something in a database of any version.
pub(super) fn used_keys(connection: &Connection) -> Result<Vec<KeyId>, Fault> {
    let mut used = Vec::new();
    for table in SEALED_TABLES {
        let has_column = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?) WHERE name = 'key_id')";
        if !connection.query_row(has_column, [table], |row| row.get::<_, bool>(0))? {
            continue;
        }
        let sql = format!("SELECT DISTINCT key_id FROM {table} WHERE key_id IS NOT NULL");
        let mut statement = connection.prepare(&sql)?;
        for key in statement.query_map([], |row| parsed::<KeyId>(row, 0))? {
            let key = key?;
            if !used.contains(&key) {
                used.push(key);
            }
        }
    }
    Ok(used)
}

const SEALED_TABLES: [&str; 7] = [
    "saved_authentications",
    "context_chunks",
    "legacy_payloads",
    "parked_sessions",
    "parked_context_chunks",
    "parked_legacy_payloads",
    "parked_envelopes",
];

#[cfg(test)]
mod tests;
