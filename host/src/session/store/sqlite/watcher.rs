//! Notices what other connections commit.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Fault, unsigned};

/// Sees commits of every other connection, of this process and others.
pub(super) struct Watcher {
    connection: Connection,
    /// `PRAGMA data_version` when `revision` was read.
    data_version: i64,
    revision: u64,
    /// When it last looked; `None` after a commit of this store.
    looked: Option<Instant>,
}

impl Watcher {
    /// Watches through a connection that does nothing else.
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, data_version: -1, revision: 0, looked: None }
    }

    /// Forgets that it looked: this store committed something.
    pub(super) fn look_again(&mut self) {
        self.looked = None;
    }

    /// Returns the revision that was seen last, without a look.
    pub(super) const fn seen(&self) -> u64 {
        self.revision
    }

    /// Returns the revision, which may be as old as [`LOOK`].
    pub(super) fn revision(&mut self) -> Result<u64, Fault> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return Ok(self.revision);
        }
        self.refresh()
    }

    /// Returns the number that another connection's commit changes.
    pub(super) fn data_version(&mut self) -> Result<i64, Fault> {
        self.refresh()?;
        Ok(self.data_version)
    }

    /// Asks for the revision only after some connection committed something: `data_version` costs
    /// no table access. Read in this order, a commit in between is noticed the next time.
    fn refresh(&mut self) -> Result<u64, Fault> {
        let data_version = self
            .connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if data_version != self.data_version {
            self.revision = self
                .connection
                .prepare_cached("SELECT value FROM revisions WHERE name = 'sessions'")?
                .query_row([], |row| unsigned(row, 0))?;
            self.data_version = data_version;
        }
        self.looked = Some(Instant::now());
        Ok(self.revision)
    }
}

/// For how long another process's commit may go unnoticed by [`Watcher::revision`]. To look takes four
/// system calls, and every request of a gateway asks twice.
pub(super) const LOOK: Duration = Duration::from_micros(500);
