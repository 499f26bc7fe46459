//! Statements over `saved_authentications`.

use plugin_api::ProviderId;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};

use super::{Fault, ledger, parsed, unsigned};
use crate::session::{
    name::{AuthType, SessionId, SessionName},
    store::{
        StoreError,
        row::{
            AuditAction, NewSession, Resealed, SealedSession, SessionFilter, SessionInfo,
            SessionStatus, Stamp,
        },
    },
};

pub(super) fn insert(
    tx: &Transaction<'_>,
    new: &NewSession,
    stamp: &Stamp<'_>,
) -> Result<SessionInfo, Fault> {
    ledger::require_active(tx, new.key_id)?;
    let first: bool = tx
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM saved_authentications WHERE provider = ?)",
        )?
        .query_row([new.provider.as_str()], |row| row.get(0))?;
    let inserted = tx
        .prepare_cached(
            "INSERT INTO saved_authentications
                (id, provider, auth_type, name, credentials, key_id, status, is_default, generation,
                 account, expires_at, created_at, updated_at)
             VALUES (:id, :provider, :auth_type, :name, :credentials, :key_id, 'ready', 0, 1,
                 :account, :expires_at, :now, :now)",
        )?
        .execute(named_params! {
            ":id": new.id.as_str(),
            ":provider": new.provider.as_str(),
            ":auth_type": new.auth_type.as_str(),
            ":name": new.name.as_str(),
            ":credentials": new.credentials,
            ":key_id": new.key_id.to_string(),
            ":account": new.account,
            ":expires_at": new.expires_at,
            ":now": stamp.now_s,
        });
    inserted.map_err(|error| duplicate(error, &new.provider, new.auth_type, &new.name))?;
    if first || new.make_default {
        move_default(tx, &new.id, &new.provider)?;
    }
    let info = required(tx, &new.id)?;
    ledger::audit(tx, AuditAction::Create, &info, None, stamp)?;
    Ok(info)
}

pub(super) fn reseal(
    tx: &Transaction<'_>,
    id: &SessionId,
    generation: u64,
    new: &Resealed,
    stamp: &Stamp<'_>,
) -> Result<SessionInfo, Fault> {
    let before = required(tx, id)?;
    if before.generation != generation {
        return Err(StoreError::Stale { id: id.clone(), expected: generation }.into());
    }
    ledger::require_active(tx, new.key_id)?;
    let updated = tx
        .prepare_cached(
            "UPDATE saved_authentications
             SET name = :name, credentials = :credentials, key_id = :key_id, account = :account,
                 expires_at = :expires_at, status = :status, generation = generation + 1,
                 updated_at = :now,
                 last_error = CASE WHEN :error IS NOT NULL THEN :error
                     WHEN :status = 'ready' THEN NULL ELSE last_error END,
                 last_error_at = CASE WHEN :error IS NOT NULL THEN :now
                     WHEN :status = 'ready' THEN NULL ELSE last_error_at END
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": id.as_str(),
            ":name": new.name.as_str(),
            ":credentials": new.credentials,
            ":key_id": new.key_id.to_string(),
            ":account": new.account,
            ":expires_at": new.expires_at,
            ":status": new.status.as_str(),
            ":error": new.error,
            ":now": stamp.now_s,
        });
    updated.map_err(|error| duplicate(error, &before.provider, before.auth_type, &new.name))?;
    let renamed = (before.name != new.name).then(|| format!("from {}", before.name));
    let info = required(tx, id)?;
    let detail = new.error.as_deref().or(renamed.as_deref());
    ledger::audit(tx, new.action, &info, detail, stamp)?;
    Ok(info)
}

pub(super) fn by_id(
    connection: &Connection,
    id: &SessionId,
) -> Result<Option<SealedSession>, Fault> {
    let sql = format!("SELECT {INFO}, credentials FROM saved_authentications WHERE id = ?");
    Ok(connection.prepare_cached(&sql)?.query_row([id.as_str()], sealed).optional()?)
}

pub(super) fn lookup(
    connection: &Connection,
    provider: &ProviderId,
    auth_type: Option<AuthType>,
    name: Option<&SessionName>,
) -> Result<Vec<SealedSession>, Fault> {
    let rows = |condition: &str, values: &[&dyn rusqlite::ToSql]| {
        let sql = format!(
            "SELECT {INFO}, credentials FROM saved_authentications
             WHERE provider = ?1 {condition} LIMIT 2"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_map(values, sealed)?.collect::<Result<Vec<_>, _>>()?;
        Ok::<_, Fault>(found)
    };
    let provider = provider.as_str();
    let auth = auth_type.map(AuthType::as_str);
    // Conditions are fixed text, one statement per shape, so that each uses its index: an
    // `auth_type = ?2 OR ?2 IS NULL` would scan all sessions of the provider.
    match (name.map(SessionName::as_str), auth) {
        (Some(name), Some(auth)) => {
            rows("AND auth_type = ?2 AND name = ?3", params![provider, auth, name])
        }
        (Some(name), None) => {
            rows("AND auth_type IN ('api_key', 'oauth') AND name = ?2", params![provider, name])
        }
        (None, auth) => {
            let mut found = rows("AND is_default = 1", params![provider])?;
            found.retain(|session| auth.is_none_or(|auth| session.info.auth_type.as_str() == auth));
            if !found.is_empty() {
                return Ok(found);
            }
            match auth {
                Some(auth) => rows("AND auth_type = ?2", params![provider, auth]),
                None => rows("", params![provider]),
            }
        }
    }
}

pub(super) fn find(
    connection: &Connection,
    filter: &SessionFilter,
) -> Result<Vec<SessionInfo>, Fault> {
    list(
        connection,
        "(:provider IS NULL OR provider = :provider)
         AND (:auth_type IS NULL OR auth_type = :auth_type)
         AND (:name IS NULL OR name = :name)",
        named_params! {
            ":provider": filter.provider.as_ref().map(ProviderId::as_str),
            ":auth_type": filter.auth_type.map(AuthType::as_str),
            ":name": filter.name.as_ref().map(SessionName::as_str),
        },
    )
}

pub(super) fn prune_candidates(
    connection: &Connection,
    idle_since_s: i64,
) -> Result<Vec<SessionInfo>, Fault> {
    list(
        connection,
        "max(coalesce(last_used_at, created_at), created_at) < :since
         OR status = 'needs_reauth'
         OR (auth_type = 'oauth' AND expires_at < :since)",
        named_params! { ":since": idle_since_s },
    )
}

pub(super) fn set_default(
    tx: &Transaction<'_>,
    id: &SessionId,
    stamp: &Stamp<'_>,
) -> Result<(), Fault> {
    let info = required(tx, id)?;
    if info.is_default {
        return Ok(());
    }
    move_default(tx, id, &info.provider)?;
    ledger::audit(tx, AuditAction::Default, &info, None, stamp)
}

pub(super) fn touch(tx: &Transaction<'_>, id: &SessionId, stamp: &Stamp<'_>) -> Result<(), Fault> {
    let info = required(tx, id)?;
    tx.prepare_cached("UPDATE saved_authentications SET last_used_at = ?2 WHERE id = ?1")?
        .execute(params![id.as_str(), stamp.now_s])?;
    // Every use would drown the trail; the first one and those after a pause tell a story.
    let idle = info.last_used_at.is_none_or(|last| stamp.now_s - last >= AUDITED_IDLE_S);
    if idle {
        ledger::audit(tx, AuditAction::Use, &info, None, stamp)?;
    }
    Ok(())
}

pub(super) fn fail(
    tx: &Transaction<'_>,
    id: &SessionId,
    generation: u64,
    status: SessionStatus,
    error: &str,
    stamp: &Stamp<'_>,
) -> Result<(), Fault> {
    let info = required(tx, id)?;
    if info.generation != generation {
        return Ok(());
    }
    tx.prepare_cached(
        "UPDATE saved_authentications
         SET status = ?2, last_error = ?3, last_error_at = ?4, updated_at = ?4
         WHERE id = ?1",
    )?
    .execute(params![id.as_str(), status.as_str(), error, stamp.now_s])?;
    ledger::audit(tx, AuditAction::Failure, &info, Some(error), stamp)
}

pub(super) fn delete(tx: &Transaction<'_>, id: &SessionId, stamp: &Stamp<'_>) -> Result<(), Fault> {
    let info = required(tx, id)?;
    tx.prepare_cached("DELETE FROM saved_authentications WHERE id = ?")?.execute([id.as_str()])?;
    ledger::audit(tx, AuditAction::Delete, &info, None, stamp)?;
    if !info.is_default {
        return Ok(());
    }
    // With several left, choosing one would send requests to an account nobody named.
    let filter = SessionFilter { provider: Some(info.provider), ..SessionFilter::default() };
    match find(tx, &filter)?.as_slice() {
        [only] => set_default(tx, &only.id, stamp),
        _ => Ok(()),
    }
}

/// Clears the old default before it sets the new one: the index allows no moment with two.
fn move_default(tx: &Transaction<'_>, id: &SessionId, provider: &ProviderId) -> Result<(), Fault> {
    tx.prepare_cached(
        "UPDATE saved_authentications SET is_default = 0 WHERE provider = ? AND is_default = 1",
    )?
    .execute([provider.as_str()])?;
    tx.prepare_cached("UPDATE saved_authentications SET is_default = 1 WHERE id = ?")?
        .execute([id.as_str()])?;
    Ok(())
}

pub(super) fn required(connection: &Connection, id: &SessionId) -> Result<SessionInfo, Fault> {
    let sql = format!("SELECT {INFO} FROM saved_authentications WHERE id = ?");
    let found = connection.prepare_cached(&sql)?.query_row([id.as_str()], info).optional()?;
    Ok(found.ok_or_else(|| StoreError::UnknownSession { id: id.clone() })?)
}

fn list(
    connection: &Connection,
    condition: &str,
    values: &[(&str, &dyn rusqlite::ToSql)],
) -> Result<Vec<SessionInfo>, Fault> {
    let sql = format!(
        "SELECT {INFO} FROM saved_authentications WHERE {condition}
         ORDER BY provider, name, auth_type"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_map(values, info)?.collect::<Result<_, _>>()?)
}

fn duplicate(
    error: rusqlite::Error,
    provider: &ProviderId,
    auth_type: AuthType,
    name: &SessionName,
) -> Fault {
    if !Fault::is_duplicate(&error) {
        return error.into();
    }
    let provider = provider.to_string();
    StoreError::DuplicateSession { provider, auth_type, name: name.clone() }.into()
}

fn info(row: &Row<'_>) -> rusqlite::Result<SessionInfo> {
    Ok(SessionInfo {
        id: parsed(row, 0)?,
        provider: parsed(row, 1)?,
        auth_type: parsed(row, 2)?,
        name: parsed(row, 3)?,
        status: parsed(row, 4)?,
        is_default: row.get(5)?,
        generation: unsigned(row, 6)?,
        account: row.get(7)?,
        expires_at: row.get(8)?,
        created_at: row.get(9)?,
        updated_at: row.get(10)?,
        last_used_at: row.get(11)?,
        last_error: row.get(12)?,
    })
}

fn sealed(row: &Row<'_>) -> rusqlite::Result<SealedSession> {
    Ok(SealedSession { info: info(row)?, credentials: row.get(13)? })
}

const INFO: &str = "id, provider, auth_type, name, status, is_default, generation, account, \
                    expires_at, created_at, updated_at, last_used_at, last_error";
/// A use after this many seconds without one is audited.
const AUDITED_IDLE_S: i64 = 24 * 60 * 60;
