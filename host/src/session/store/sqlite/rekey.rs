//! Sealing everything anew for another key, in one transaction.

use rusqlite::{Transaction, params};

use super::{Fault, ledger, parsed};
use crate::session::{
    envelope::Place,
    key::KeyId,
    name::{AuthType, SessionId, SessionName},
    store::{
        Reseal, StoreError,
        row::{AuditAction, AuditEvent, KeyRecord, Stamp},
    },
};

pub(super) fn rekey(
    tx: &Transaction<'_>,
    from: KeyId,
    to: &KeyRecord,
    reseal: &Reseal<'_>,
    stamp: &Stamp<'_>,
) -> Result<u64, Fault> {
    ledger::require_active(tx, from)?;
    if let Some(found) = ledger::sealed_with_another(tx, from)? {
        return Err(StoreError::WrongKey { found, expected: from }.into());
    }
    let count = sessions(tx, to.id, reseal)?
        + legacy_payloads(tx, to.id, reseal)?
        + chunks(tx, to.id, reseal)?;
    ledger::activate(tx, to)?;
    ledger::append_audit_event(
        tx,
        &AuditEvent {
            at: stamp.now_s,
            actor: stamp.actor.to_owned(),
            action: AuditAction::Rekey.to_string(),
            provider: None,
            session: None,
            detail: Some(format!("{count} values from key {from} to {}", to.id)),
        },
    )?;
    Ok(count)
}

fn sessions(tx: &Transaction<'_>, to: KeyId, reseal: &Reseal<'_>) -> Result<u64, Fault> {
    let mut select = tx.prepare(
        "SELECT id, provider, auth_type, name, credentials FROM saved_authentications
         WHERE key_id IS NOT NULL ORDER BY id",
    )?;
    let mut update = tx.prepare(
        "UPDATE saved_authentications
         SET credentials = ?2, key_id = ?3, generation = generation + 1 WHERE id = ?1",
    )?;
    let mut found: Vec<(SessionId, plugin_api::ProviderId, AuthType, SessionName, Vec<u8>)> =
        Vec::new();
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        found.push((
            parsed(row, 0)?,
            parsed(row, 1)?,
            parsed(row, 2)?,
            parsed(row, 3)?,
            row.get(4)?,
        ));
    }
    for (id, provider, auth_type, name, sealed) in &found {
        let place = Place::Session { id, provider, auth_type: *auth_type, name };
        update.execute(params![id.as_str(), reseal(&place, sealed)?, to.to_string()])?;
    }
    Ok(found.len() as u64)
}

fn legacy_payloads(tx: &Transaction<'_>, to: KeyId, reseal: &Reseal<'_>) -> Result<u64, Fault> {
    let mut select = tx.prepare("SELECT session_id, content FROM legacy_payloads")?;
    let rows = select.query_map([], |row| Ok((parsed(row, 0)?, row.get(1)?)))?;
    let found = rows.collect::<Result<Vec<(SessionId, Vec<u8>)>, _>>()?;
    let mut update =
        tx.prepare("UPDATE legacy_payloads SET content = ?2, key_id = ?3 WHERE session_id = ?1")?;
    for (id, sealed) in &found {
        let place = Place::Legacy { session: id };
        update.execute(params![id.as_str(), reseal(&place, sealed)?, to.to_string()])?;
    }
    Ok(found.len() as u64)
}

/// Messages may be many and long: their ids are read first, their text one by one.
fn chunks(tx: &Transaction<'_>, to: KeyId, reseal: &Reseal<'_>) -> Result<u64, Fault> {
    let mut select = tx.prepare("SELECT id, context_id FROM context_chunks ORDER BY id")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found = rows.collect::<Result<Vec<(String, String)>, _>>()?;
    let mut content = tx.prepare("SELECT content FROM context_chunks WHERE id = ?")?;
    let mut update =
        tx.prepare("UPDATE context_chunks SET content = ?2, key_id = ?3 WHERE id = ?1")?;
    for (id, context) in &found {
        let sealed: Vec<u8> = content.query_row([id], |row| row.get(0))?;
        let (context, chunk) = (context.as_str().into(), id.as_str().into());
        let place = Place::Chunk { context: &context, chunk: &chunk };
        update.execute(params![id, reseal(&place, &sealed)?, to.to_string()])?;
    }
    Ok(found.len() as u64)
}
