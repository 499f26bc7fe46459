//! Failures of SQLite, and the errors of a store that they are.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::session::store::StoreError;

/// A failure below the store, before it is known which file it belongs to.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Store(Box<StoreError>),
}

impl Fault {
    /// Says which file it belongs to.
    pub(super) fn at(self, path: &Path) -> StoreError {
        let error = match self {
            Self::Store(error) => return *error,
            Self::Sqlite(error) => error,
        };
        let path = path.to_owned();
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Locked { path }
            }
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { path },
            Some(ErrorCode::DiskFull) => StoreError::Full { path },
            // On a full disk the shared-memory file beside the database cannot grow, and SQLite says
            // that before it says that the disk is full.
            _ if extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => StoreError::Full { path },
            Some(ErrorCode::DatabaseCorrupt) => StoreError::Corrupt { path, source: error.into() },
            // SQLite cannot make the files beside a database that nobody else has open.
            Some(ErrorCode::CannotOpen) if path.exists() && !takes_files(&path) => {
                StoreError::ReadOnly { path }
            }
            // Missing, or something else keeps it from being opened.
            Some(ErrorCode::CannotOpen) => {
                StoreError::Io { path, source: std::io::Error::other(error) }
            }
            Some(ErrorCode::NotADatabase) => StoreError::NotADatabase { path },
            // A value that no host writes: edited by hand, or damaged.
            None if matches!(error, rusqlite::Error::FromSqlConversionFailure(..)) => {
                StoreError::Corrupt { path, source: error.into() }
            }
            _ => StoreError::Engine { path, source: error.into() },
        }
    }

    /// Reports whether a unique constraint was violated.
    pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
        error.sqlite_extended_error_code().is_some_and(|code| {
            code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
                || code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        })
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

/// Reports whether the folder of a file lets files be made beside it.
fn takes_files(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    rustix::fs::access(folder.unwrap_or(Path::new(".")), rustix::fs::Access::WRITE_OK).is_ok()
}
