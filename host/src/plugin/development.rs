//! Libraries that an author is working on, and that come before the installed ones meanwhile.
//!
//! `maestro plugin dev` puts a copy of what it built into a folder of the home, beside a file that it
//! keeps locked. Every host of that home looks there first. A copy whose file nobody holds is not
//! there: its process is gone, however it went. Nothing here is trusted for where it lies: it is
//! judged, confined and bound to origins as any file that a user drops in.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::scan::is_library;

/// A place in the folder; what was put there is gone when it is dropped.
#[derive(Debug)]
pub struct Bench {
    name: String,
    library: PathBuf,
    lock: PathBuf,
    /// Held as long as the place is.
    _held: File,
}

impl Bench {
    /// Takes a place for the library of a crate, and clears away what ended processes left.
    ///
    /// # Errors
    ///
    /// Why the folder cannot be written.
    pub fn take(folder: &Path, name: &str, source: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        clear(folder);
        let pid = std::process::id();
        let library = folder.join(format!("{name}-{pid}.so"));
        let lock = lock_of(&library);
        let mut held = File::create(&lock)?;
        held.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::from(io::ErrorKind::AlreadyExists),
        })?;
        let told = serde_json::json!({ "pid": pid, "crate": source, "library": library });
        writeln!(held, "{told}")?;
        Ok(Self { name: name.to_owned(), library, lock, _held: held })
    }

    /// Puts a library there, at one moment.
    ///
    /// # Errors
    ///
    /// Why it cannot be copied.
    pub fn put(&self, built: &Path) -> io::Result<()> {
        let temporary = self.library.with_extension("new");
        // Written anew, so that neither the modes nor the links of a build folder matter.
        let copied = fs::read(built)
            .and_then(|bytes| fs::write(&temporary, bytes))
            .and_then(|()| fs::rename(&temporary, &self.library));
        if copied.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        copied
    }

    /// Reports whether it is the place of a plugin.
    #[must_use]
    pub fn is_of(&self, name: &str) -> bool {
        self.name == name
    }

    /// Returns where the library is, or would be.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.library);
        let _ = fs::remove_file(&self.lock);
    }
}

/// Reports whether somebody works on a library of the folder just now.
#[must_use]
pub fn is_live(library: &Path) -> bool {
    File::open(lock_of(library)).is_ok_and(|lock| is_held(&lock))
}

/// Lists the libraries of the folder that somebody works on.
#[must_use]
pub fn live(folder: &Path) -> Vec<PathBuf> {
    let mut live: Vec<_> = libraries(folder).filter(|library| is_live(library)).collect();
    live.sort();
    live
}

fn is_held(lock: &File) -> bool {
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn lock_of(library: &Path) -> PathBuf {
    library.with_extension("lock")
}

fn libraries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| is_library(path))
}

/// Removes what processes left that were killed.
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let lock = entry.path();
        if lock.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        if File::open(&lock).is_ok_and(|lock| !is_held(&lock)) {
            for extension in ["so", "new", "jsonl", "lock"] {
                let _ = fs::remove_file(lock.with_extension(extension));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_there_as_long_as_somebody_holds_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, built) = (dir.path().join("dev"), dir.path().join("libacme.so"));
        fs::write(&built, "1").unwrap();
        let bench = Bench::take(&folder, "acme", dir.path()).unwrap();
        assert_eq!(live(&folder), [""; 0].map(PathBuf::from), "nothing was put there");
        bench.put(&built).unwrap();
        assert_eq!(live(&folder), [bench.library().to_owned()]);
        let told = fs::read_to_string(lock_of(bench.library())).unwrap();
        assert!(told.contains(&format!("\"pid\":{}", std::process::id())), "{told}");
        drop(bench);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_not_there_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("acme-1.so");
        fs::write(&left, "1").unwrap();
        fs::write(lock_of(&left), "{}").unwrap();
        assert!(!is_live(&left));
        let _bench = Bench::take(dir.path(), "acme", dir.path()).unwrap();
        assert!(!left.exists() && !lock_of(&left).exists());
    }
}
