//! The files of a database: private modes, and copies that survive a power cut.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, backup::Backup};

use super::Fault;
use crate::session::store::{StoreError, StoreResult};

/// Makes the folder (0700) and the file (0600) if they are missing, before SQLite would make the
/// file readable for others. SQLite gives its `-wal` and `-shm` files the same mode.
///
/// A file that others may read is closed to them. A folder that exists is left alone: it may be
/// one that the user shares on purpose, such as a home folder.
pub(super) fn prepare(path: &Path) -> StoreResult<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
    }
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(path).map_err(io)?.permissions().mode();
            if mode & 0o077 != 0 {
                // Not ours to change, then not ours to complain about either: reading still works.
                let _ = fs::set_permissions(path, Permissions::from_mode(mode & 0o700));
            }
            Ok(())
        }
        other => other.map(drop).map_err(io),
    }
}

/// Copies a database to a new file of mode 0600 and waits until it is on disk.
pub(super) fn backup(from: &Connection, to: &Path) -> Result<(), Fault> {
    let io = |source| Fault::from(StoreError::Io { path: to.to_owned(), source });
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(io)?;
    let copied = (|| {
        let mut copy = Connection::open(to)?;
        Backup::new(from, &mut copy)?.run_to_completion(PAGES_PER_STEP, Duration::ZERO, None)?;
        copy.close().map_err(|(_, error)| error)?;
        Ok(())
    })();
    if copied.is_err() {
        // Half a backup is worse than none: someone might restore it.
        let _ = fs::remove_file(to);
        return copied;
    }
    file.sync_all().map_err(io)?;
    sync_folder(to).map_err(io)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

const PAGES_PER_STEP: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_files_are_private_and_loose_ones_are_closed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep/er/maestro.db");
        prepare(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        prepare(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_named() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("file"), "x").unwrap();
        let error = prepare(&home.path().join("file/maestro.db")).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        assert!(error.hint().is_none());
    }

    #[test]
    fn a_backup_never_overwrites() {
        let home = tempfile::tempdir().unwrap();
        let from = Connection::open_in_memory().unwrap();
        from.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (7)").unwrap();
        let to = home.path().join("copy");
        backup(&from, &to).unwrap();
        assert_eq!(mode(&to), 0o600);
        let copy = Connection::open(&to).unwrap();
        let x: i64 = copy.query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(x, 7);
        let again = backup(&from, &to).unwrap_err().at(&to);
        assert!(matches!(again, StoreError::Io { .. }));
    }
}
