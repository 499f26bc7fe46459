//! Statements over `client_keys`. Lists are JSON; `models` holds patterns of whole refs, `sessions`
//! the sessions that the key chooses. `client_limits` and `client_usage` hold what keys may use and
//! have used.

use rusqlite::{Connection, Row, Transaction, params, types::Type};

use super::Fault;
use crate::session::store::{
    StoreError,
    client::{ClientKey, ClientUse},
};

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
    inserted.map_err(|error| {
        if Fault::is_duplicate(&error) {
            Fault::from(StoreError::DuplicateClientKey { name: new.name.clone() })
        } else {
            error.into()
        }
    })?;
    tx.execute(
        "INSERT INTO client_limits (client_key, tokens_per_minute, micros_per_day, concurrent)
         VALUES (?1, ?2, ?3, ?4)",
        params![new.id, new.tokens_per_minute, new.micros_per_day, new.concurrent],
    )?;
    Ok(())
}

pub(super) fn all(connection: &Connection) -> Result<Vec<ClientKey>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, hash, models, sessions, requests_per_minute, created_at, expires_at,
                last_used_at, revoked_at, tokens_per_minute, micros_per_day, concurrent
         FROM client_keys LEFT JOIN client_limits ON client_key = id ORDER BY name",
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
            tokens_per_minute: row.get(10)?,
            micros_per_day: row.get(11)?,
            concurrent: row.get(12)?,
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
    for table in ["client_limits", "client_usage"] {
        tx.execute(
            &format!(
                "DELETE FROM {table} WHERE client_key = (SELECT id FROM client_keys WHERE name = ?1)"
            ),
            [name],
        )?;
    }
    known(tx.execute("DELETE FROM client_keys WHERE name = ?1", [name])?, name)
}

pub(super) fn record(tx: &Transaction<'_>, uses: &[ClientUse]) -> Result<(), Fault> {
    // The key may have been deleted while its last request ran.
    let mut statement = tx.prepare_cached(
        "INSERT INTO client_usage
            (client_key, day, provider, model, requests, input_tokens, output_tokens, cost_micros,
             unpriced)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
         WHERE EXISTS (SELECT 1 FROM client_keys WHERE id = ?1)
         ON CONFLICT DO UPDATE SET
            requests = requests + excluded.requests,
            input_tokens = input_tokens + excluded.input_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cost_micros = cost_micros + excluded.cost_micros,
            unpriced = unpriced + excluded.unpriced",
    )?;
    for used in uses {
        statement.execute(params![
            used.client_key,
            used.day,
            used.provider,
            used.model,
            used.requests,
            used.input_tokens,
            used.output_tokens,
            used.cost_micros,
            used.unpriced,
        ])?;
    }
    Ok(())
}

pub(super) fn usage(connection: &Connection, since_day: i64) -> Result<Vec<ClientUse>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT client_key, day, provider, model, requests, input_tokens, output_tokens,
                cost_micros, unpriced
         FROM client_usage WHERE day >= ?1 ORDER BY client_key, day, provider, model",
    )?;
    let rows = statement.query_map([since_day], |row| {
        Ok(ClientUse {
            client_key: row.get(0)?,
            day: row.get(1)?,
            provider: row.get(2)?,
            model: row.get(3)?,
            requests: row.get(4)?,
            input_tokens: row.get(5)?,
            output_tokens: row.get(6)?,
            cost_micros: row.get(7)?,
            unpriced: row.get(8)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn spent(connection: &Connection, id: &str, day: i64) -> Result<i64, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(sum(cost_micros), 0) FROM client_usage WHERE client_key = ?1 AND day = ?2",
    )?;
    Ok(statement.query_row(params![id, day], |row| row.get(0))?)
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
    use crate::session::{ClientKey, ClientUse, SqliteStore, Store as _, StoreError};

    fn key(name: &str, byte: u8) -> ClientKey {
        ClientKey {
            id: format!("id-{name}"),
            name: name.into(),
            hash: [byte; 32],
            allow: Some(vec!["openai/*".into()]),
            sessions: vec!["openai:work".into()],
            requests_per_minute: Some(60),
            tokens_per_minute: Some(1000),
            micros_per_day: Some(5_000_000),
            concurrent: Some(2),
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

        let used = |key: &str| ClientUse {
            client_key: key.into(),
            day: 7,
            provider: "lab".into(),
            model: "m".into(),
            requests: 1,
            input_tokens: 10,
            output_tokens: 5,
            cost_micros: 40,
            unpriced: 0,
        };
        store.record_client_uses(&[used("id-server"), used("id-server"), used("gone")]).unwrap();
        let rows = store.client_usage(7).unwrap();
        assert_eq!(rows.len(), 1, "of keys that are gone, nothing");
        assert_eq!((rows[0].requests, rows[0].input_tokens, rows[0].cost_micros), (2, 20, 80));
        assert_eq!(store.client_spent("id-server", 7).unwrap(), 80);
        assert_eq!(store.client_spent("id-server", 8).unwrap(), 0);

        let before = store.changes().unwrap();
        store.revoke_client_key("server", 50).unwrap();
        store.revoke_client_key("server", 60).unwrap();
        store.touch_client_key("id-server", 40).unwrap();
        assert_ne!(store.changes().unwrap(), before);
        let found = store.client_keys().unwrap().pop().unwrap();
        assert_eq!((found.revoked_at, found.last_used_at), (Some(50), Some(40)));
        store.delete_client_key("server").unwrap();
        assert_eq!(store.client_keys().unwrap().len(), 1);
        assert!(store.client_usage(0).unwrap().is_empty());
        for gone in [store.delete_client_key("server"), store.revoke_client_key("server", 1)] {
            assert!(matches!(gone, Err(StoreError::UnknownClientKey { .. })));
        }
    }
}
