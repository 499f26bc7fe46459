//! Statements over the lease of a session: who renews it now.
//!
//! The revision does not count leases: they decide nothing about which session serves.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params, params};

use super::{Fault, sessions};
use crate::session::{name::SessionId, store::row::Lease};

pub(super) fn take(
    tx: &Transaction<'_>,
    id: &SessionId,
    lease: &Lease,
    over: Option<&str>,
    now_s: i64,
) -> Result<Option<Lease>, Fault> {
    sessions::required(tx, id)?;
    let standing = standing(tx, id, now_s)?;
    let in_the_way = standing.filter(|standing| {
        standing.holder != lease.holder && over != Some(standing.holder.as_str())
    });
    if in_the_way.is_none() {
        tx.prepare_cached(
            "UPDATE saved_authentications SET lease_holder = ?2, lease_until = ?3 WHERE id = ?1",
        )?
        .execute(params![id.as_str(), lease.holder, lease.until])?;
    }
    Ok(in_the_way)
}

pub(super) fn standing(
    connection: &Connection,
    id: &SessionId,
    now_s: i64,
) -> Result<Option<Lease>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT lease_holder, lease_until FROM saved_authentications
         WHERE id = :id AND lease_holder IS NOT NULL
           AND lease_until > :now AND lease_until <= :now + :longest",
    )?;
    let found = statement.query_row(
        named_params! { ":id": id.as_str(), ":now": now_s, ":longest": LONGEST_S },
        |row| Ok(Lease { holder: row.get(0)?, until: row.get(1)? }),
    );
    Ok(found.optional()?)
}

pub(super) fn release(tx: &Transaction<'_>, id: &SessionId, holder: &str) -> Result<(), Fault> {
    tx.prepare_cached(
        "UPDATE saved_authentications SET lease_holder = NULL, lease_until = NULL
         WHERE id = ?1 AND lease_holder = ?2",
    )?
    .execute([id.as_str(), holder])?;
    Ok(())
}

/// A lease that ends later than this was taken before the clock was set back, and counts for nothing.
const LONGEST_S: i64 = 600;
