//! Statements over `client_keys`. Lists are JSON; `models` holds patterns of whole refs, `sessions`
//! the sessions that the key chooses.

use rusqlite::{Connection, Row, Transaction, params, types::Type};

use super::Fault;
use crate::session::store::{StoreError, client::ClientKey};

pub(super) fn insert(tx: &Transaction<'_>, new: &ClientKey) -> Result<(), Fault> {
    let list = |list: &[String]| serde_json::to_string(list).unwrap_or_else(|_| "[]".into());
    let inserted = tx.execute(
        "INSERT INTO client_keys
            (id, name, hash, sessions, models, requests_per_minute, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            new.id,
            new.name,
            new.hash,
            (!new.sessions.is_empty()).then(|| list(&new.sessions)),
            new.allow.as_deref().map(list),
            new.requests_per_minute,
            new.created_at,
            new.expires_at,
        ],
    );
    inserted.map(drop).map_err(|error| {
        if Fault::is_duplicate(&error) {
            StoreError::DuplicateClientKey { name: new.name.clone() }.into()
        } else {
            error.into()
        }
    })
}

pub(super) fn all(connection: &Connection) -> Result<Vec<ClientKey>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, hash, models, sessions, requests_per_minute, created_at, expires_at,
                last_used_at, revoked_at
         FROM client_keys ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(ClientKey {
            id: row.get(0)?,
            name: row.get(1)?,
            hash: row.get(2)?,
            allow: list(row, 3)?,
            sessions: list(row, 4)?.unwrap_or_default(),
            requests_per_minute: row.get(5)?,
            created_at: row.get(6)?,
            expires_at: row.get(7)?,
            last_used_at: row.get(8)?,
            revoked_at: row.get(9)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn revoke(tx: &Transaction<'_>, name: &str, now_s: i64) -> Result<(), Fault> {
    // A second time changes nothing: the first is when it ended.
    let changed = tx.execute(
        "UPDATE client_keys SET revoked_at = coalesce(revoked_at, ?2) WHERE name = ?1",
        params![name, now_s],
    )?;
    known(changed, name)
}

pub(super) fn delete(tx: &Transaction<'_>, name: &str) -> Result<(), Fault> {
    known(tx.execute("DELETE FROM client_keys WHERE name = ?1", [name])?, name)
}

pub(super) fn touch(tx: &Transaction<'_>, id: &str, now_s: i64) -> Result<(), Fault> {
    tx.execute("UPDATE client_keys SET last_used_at = ?2 WHERE id = ?1", params![id, now_s])?;
    Ok(())
}

fn known(changed: usize, name: &str) -> Result<(), Fault> {
    match changed {
        0 => Err(StoreError::UnknownClientKey { name: name.to_owned() }.into()),
        _ => Ok(()),
    }
}

fn list(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Vec<String>>> {
    let text: Option<String> = row.get(at)?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into()))
}

#[cfg(test)]
mod tests {
    use crate::session::{ClientKey, SqliteStore, Store as _, StoreError};

    fn key(name: &str, byte: u8) -> ClientKey {
        ClientKey {
            id: format!("id-{name}"),
            name: name.into(),
            hash: [byte; 32],
            allow: Some(vec!["openai/*".into()]),
            sessions: vec!["openai:work".into()],
            requests_per_minute: Some(60),
            created_at: 1,
            expires_at: Some(100),
            last_used_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn keys_are_kept_found_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("maestro.db"), 0).unwrap();
        let mut laptop = key("laptop", 1);
        laptop.allow = None;
        laptop.sessions.clear();
        store.insert_client_key(&key("server", 2)).unwrap();
        store.insert_client_key(&laptop).unwrap();
        assert_eq!(store.client_keys().unwrap(), [laptop, key("server", 2)]);
        for twin in [key("server", 3), key("other", 2)] {
            let error = store.insert_client_key(&twin).unwrap_err();
            assert!(matches!(error, StoreError::DuplicateClientKey { .. }));
        }

        let before = store.changes().unwrap();
        store.revoke_client_key("server", 50).unwrap();
        store.revoke_client_key("server", 60).unwrap();
        store.touch_client_key("id-server", 40).unwrap();
        assert_ne!(store.changes().unwrap(), before);
        let found = store.client_keys().unwrap().pop().unwrap();
        assert_eq!((found.revoked_at, found.last_used_at), (Some(50), Some(40)));
        store.delete_client_key("server").unwrap();
        assert_eq!(store.client_keys().unwrap().len(), 1);
        for gone in [store.delete_client_key("server"), store.revoke_client_key("server", 1)] {
            assert!(matches!(gone, Err(StoreError::UnknownClientKey { .. })));
        }
    }
}
