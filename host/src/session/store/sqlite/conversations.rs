//! Statements over `contexts` and `context_chunks`.

use plugin_api::{ChunkId, ContextId};
use rusqlite::{Connection, OptionalExtension, Params, Row, Transaction, params};

use super::{Fault, ledger, parsed, signed, unsigned};
use crate::session::store::{
    StoreError,
    row::{Conversation, SealedChunk},
};

pub(super) fn insert(tx: &Transaction<'_>, new: &Conversation) -> Result<(), Fault> {
    let inserted = tx
        .prepare_cached(
            "INSERT INTO contexts
                (id, name, provider, session, model, title, created_at, updated_at, activity)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                     (SELECT coalesce(max(activity), 0) + 1 FROM contexts))",
        )?
        .execute(params![
            new.id.as_str(),
            new.name,
            new.provider,
            new.session,
            new.model,
            new.title,
            new.created_at,
            new.updated_at
        ]);
    inserted.map(drop).map_err(|error| {
        if Fault::is_duplicate(&error) {
            let name = new.name.clone().unwrap_or_else(|| new.id.to_string());
            StoreError::DuplicateConversation { name }.into()
        } else {
            error.into()
        }
    })
}

pub(super) fn find(connection: &Connection, key: &str) -> Result<Option<Conversation>, Fault> {
    // A name could look like another conversation's id; the id wins, since it cannot be chosen.
    one(connection, "WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1", [key])
}

pub(super) fn latest(connection: &Connection) -> Result<Option<Conversation>, Fault> {
    one(connection, "ORDER BY activity DESC LIMIT 1", [])
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Conversation>, Fault> {
    let sql = format!("SELECT {CONVERSATION} FROM contexts ORDER BY activity DESC");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_map([], conversation)?.collect::<Result<_, _>>()?)
}

pub(super) fn append(
    tx: &Transaction<'_>,
    id: &ContextId,
    turn: &[SealedChunk],
    now_s: i64,
) -> Result<(), Fault> {
    if !touch(tx, id, now_s)? {
        return Err(StoreError::UnknownConversation { conversation: id.to_string() }.into());
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO context_chunks
            (id, context_id, seq, role, content, key_id, input_tokens, output_tokens, created_at)
         VALUES (?1, ?2, (SELECT coalesce(max(seq), 0) + 1 FROM context_chunks WHERE context_id = ?2),
                 ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for chunk in turn {
        ledger::require_active(tx, chunk.key_id)?;
        insert.execute(params![
            chunk.id.as_str(),
            id.as_str(),
            chunk.role,
            chunk.content,
            chunk.key_id.to_string(),
            chunk.input_tokens.map(signed),
            chunk.output_tokens.map(signed),
            now_s
        ])?;
    }
    Ok(())
}

pub(super) fn chunks(connection: &Connection, id: &ContextId) -> Result<Vec<SealedChunk>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT id, role, content, key_id, input_tokens, output_tokens, seq, created_at
         FROM context_chunks WHERE context_id = ? ORDER BY seq",
    )?;
    let tokens = |row: &Row<'_>, at| match row.get_ref(at)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => unsigned(row, at).map(Some),
    };
    let rows = statement.query_map([id.as_str()], |row| {
        Ok(SealedChunk {
            id: ChunkId::new(row.get::<_, String>(0)?),
            role: row.get(1)?,
            content: row.get(2)?,
            key_id: parsed(row, 3)?,
            input_tokens: tokens(row, 4)?,
            output_tokens: tokens(row, 5)?,
            seq: unsigned(row, 6)?,
            created_at: row.get(7)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn delete(tx: &Transaction<'_>, id: &ContextId) -> Result<bool, Fault> {
    // The messages go with it: ON DELETE CASCADE.
    Ok(tx.prepare_cached("DELETE FROM contexts WHERE id = ?")?.execute([id.as_str()])? == 1)
}

pub(super) fn delete_chunk(
    tx: &Transaction<'_>,
    id: &ContextId,
    chunk: &ChunkId,
    now_s: i64,
) -> Result<bool, Fault> {
    let removed = tx
        .prepare_cached("DELETE FROM context_chunks WHERE context_id = ? AND id = ?")?
        .execute([id.as_str(), chunk.as_str()])?;
    Ok(removed == 1 && touch(tx, id, now_s)?)
}

fn touch(tx: &Transaction<'_>, id: &ContextId, now_s: i64) -> Result<bool, Fault> {
    let touched = tx
        .prepare_cached(
            "UPDATE contexts
             SET updated_at = ?2, activity = (SELECT max(activity) + 1 FROM contexts)
             WHERE id = ?1",
        )?
        .execute(params![id.as_str(), now_s])?;
    Ok(touched == 1)
}

fn one(
    connection: &Connection,
    rest: &str,
    values: impl Params,
) -> Result<Option<Conversation>, Fault> {
    let sql = format!("SELECT {CONVERSATION} FROM contexts {rest}");
    Ok(connection.prepare_cached(&sql)?.query_row(values, conversation).optional()?)
}

fn conversation(row: &Row<'_>) -> rusqlite::Result<Conversation> {
    Ok(Conversation {
        id: ContextId::new(row.get::<_, String>(0)?),
        name: row.get(1)?,
        provider: row.get(2)?,
        session: row.get(3)?,
        model: row.get(4)?,
        title: row.get(5)?,
        created_at: row.get(6)?,
        updated_at: row.get(7)?,
    })
}

const CONVERSATION: &str = "id, name, provider, session, model, title, created_at, updated_at";
