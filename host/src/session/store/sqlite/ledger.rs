//! Statements over the tables around sessions: keys, audit trail, settings, and the file's health.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Fault, parsed};
use crate::session::{
    key::KeyId,
    store::{
        StoreError,
        row::{AuditAction, AuditEvent, KeyRecord, SessionInfo, Stamp},
    },
};

pub(super) fn has_ciphertext(connection: &Connection) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM saved_authentications WHERE key_id IS NOT NULL)
                   OR EXISTS (SELECT 1 FROM legacy_payloads)
                   OR EXISTS (SELECT 1 FROM context_chunks)";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

pub(super) fn keys(connection: &Connection) -> Result<Vec<KeyRecord>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT key_id, created_at, source, active FROM crypto_keys ORDER BY created_at, key_id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(KeyRecord {
            id: parsed(row, 0)?,
            created_at: row.get(1)?,
            source: row.get(2)?,
            active: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn adopt_key(tx: &Transaction<'_>, key: &KeyRecord) -> Result<(), Fault> {
    let known = keys(tx)?;
    if known.iter().any(|known| known.active && known.id == key.id) {
        return Ok(());
    }
    // Without anything sealed, the recorded key protects nothing and may be replaced.
    if has_ciphertext(tx)? {
        let recorded = known.iter().find(|known| known.active).map(|known| known.id);
        let found = match recorded {
            Some(found) => Some(found),
            None => sealed_with_another(tx, key.id)?,
        };
        if let Some(found) = found {
            return Err(StoreError::WrongKey { found, expected: key.id }.into());
        }
    }
    activate(tx, key)
}

/// Makes a key the active one.
pub(super) fn activate(tx: &Transaction<'_>, key: &KeyRecord) -> Result<(), Fault> {
    tx.execute("UPDATE crypto_keys SET active = 0 WHERE active = 1", [])?;
    tx.execute(
        "INSERT INTO crypto_keys (key_id, created_at, source, active) VALUES (?1, ?2, ?3, 1)
         ON CONFLICT (key_id) DO UPDATE SET active = 1, source = excluded.source",
        params![key.id.to_string(), key.created_at, key.source],
    )?;
    Ok(())
}

/// Refuses a value that was sealed with a key which is no longer the active one: another process
/// changed the key since this one loaded it.
pub(super) fn require_active(tx: &Transaction<'_>, key: KeyId) -> Result<(), Fault> {
    let sql = "SELECT key_id FROM crypto_keys WHERE active = 1 AND key_id <> ?";
    let other = tx
        .prepare_cached(sql)?
        .query_row([key.to_string()], |row| parsed::<KeyId>(row, 0))
        .optional()?;
    match other {
        None => Ok(()),
        Some(found) => Err(StoreError::WrongKey { found, expected: key }.into()),
    }
}

/// Finds a key that sealed something and is not `key`, for a database whose record of keys is gone.
pub(super) fn sealed_with_another(
    tx: &Transaction<'_>,
    key: KeyId,
) -> Result<Option<KeyId>, Fault> {
    let sql = "SELECT key_id FROM saved_authentications WHERE key_id IS NOT NULL AND key_id <> ?1
               UNION ALL SELECT key_id FROM legacy_payloads WHERE key_id <> ?1
               UNION ALL SELECT key_id FROM context_chunks WHERE key_id <> ?1 LIMIT 1";
    Ok(tx.query_row(sql, [key.to_string()], |row| parsed(row, 0)).optional()?)
}

/// Adds the audit row of a change to a session, in the transaction of that change.
pub(super) fn audit(
    tx: &Transaction<'_>,
    action: AuditAction,
    session: &SessionInfo,
    detail: Option<&str>,
    stamp: &Stamp<'_>,
) -> Result<(), Fault> {
    append_audit_event(
        tx,
        &AuditEvent {
            at: stamp.now_s,
            actor: stamp.actor.to_owned(),
            action: action.to_string(),
            provider: Some(session.provider.to_string()),
            session: Some(format!("{}@{}", session.name, session.auth_type)),
            detail: detail.map(str::to_owned),
        },
    )
}

pub(super) fn append_audit_event(tx: &Transaction<'_>, event: &AuditEvent) -> Result<(), Fault> {
    tx.prepare_cached(
        "INSERT INTO audit_events (at, actor, action, provider, session, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        event.at,
        event.actor,
        event.action,
        event.provider,
        event.session,
        event.detail
    ])?;
    Ok(())
}

pub(super) fn audit_events(connection: &Connection, limit: u32) -> Result<Vec<AuditEvent>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT at, actor, action, provider, session, detail
         FROM audit_events ORDER BY id DESC LIMIT ?",
    )?;
    let rows = statement.query_map([limit], |row| {
        Ok(AuditEvent {
            at: row.get(0)?,
            actor: row.get(1)?,
            action: row.get(2)?,
            provider: row.get(3)?,
            session: row.get(4)?,
            detail: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn setting(connection: &Connection, key: &str) -> Result<Option<String>, Fault> {
    let mut statement = connection.prepare_cached("SELECT value FROM settings WHERE key = ?")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

pub(super) fn setting_or_insert(
    tx: &Transaction<'_>,
    key: &str,
    value: &str,
) -> Result<String, Fault> {
    tx.execute(
        "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING",
        [key, value],
    )?;
    Ok(setting(tx, key)?.unwrap_or_else(|| value.to_owned()))
}

pub(super) fn set_setting(
    tx: &Transaction<'_>,
    key: &str,
    value: Option<&str>,
) -> Result<(), Fault> {
    match value {
        Some(value) => tx.execute(
            "INSERT INTO settings (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, value],
        )?,
        None => tx.execute("DELETE FROM settings WHERE key = ?", [key])?,
    };
    Ok(())
}

pub(super) fn integrity(connection: &Connection) -> Result<Vec<String>, Fault> {
    let mut problems: Vec<String> = connection
        .prepare("PRAGMA integrity_check")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    problems.retain(|line| line != "ok");
    let dangling: Vec<String> = connection
        .prepare("PRAGMA foreign_key_check")?
        .query_map([], |row| {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            Ok(format!("a row of `{table}` refers to a missing row of `{parent}`"))
        })?
        .collect::<Result<_, _>>()?;
    problems.extend(dangling);
    Ok(problems)
}
