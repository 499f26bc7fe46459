//! The check behind `maestro db check`: is the file sound, and does everything in it open?

use crate::session::{SessionError, service::Sessions, store::row::SessionFilter};

/// What a check found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// Sessions that were opened.
    pub sessions: usize,
    /// Messages that were opened.
    pub chunks: usize,
    /// What the storage says of itself, one line each.
    pub storage: Vec<String>,
    /// Values that do not open.
    pub unreadable: Vec<SessionError>,
}

impl CheckReport {
    /// Reports whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.storage.is_empty() && self.unreadable.is_empty()
    }
}

impl Sessions {
    /// Checks the storage and opens every envelope; changes nothing.
    ///
    /// What is wrong with single rows is in the report.
    ///
    /// # Errors
    ///
    /// Those of the store, if it cannot even be read.
    pub fn check(&self) -> Result<CheckReport, SessionError> {
        let mut report = CheckReport { storage: self.store.integrity()?, ..CheckReport::default() };
        for info in self.store.find_sessions(&SessionFilter::default())? {
            // Deleted since it was listed: nothing to check.
            let Some(sealed) = self.store.session(&info.id)? else { continue };
            match self.open_sealed(sealed) {
                Ok(_) => report.sessions += 1,
                Err(error) => report.unreadable.push(error),
            }
        }
        for conversation in self.store.conversations()? {
            for chunk in self.store.chunks(&conversation.id)? {
                match self.open_chunk(&conversation.id, chunk) {
                    Ok(_) => report.chunks += 1,
                    Err(error) => report.unreadable.push(error),
                }
            }
        }
        Ok(report)
    }
}
