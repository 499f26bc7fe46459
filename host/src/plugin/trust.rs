//! Which libraries the user trusts beside those that came with the program: by id and hash.
//!
//! `trusted.json` in the data folder. A file that changed is not the one that was trusted.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::judge::write_private;

/// The pinned libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Version of the file's form.
    version: u32,
    /// Hash by plugin id.
    trusted: BTreeMap<String, String>,
}

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It cannot be read or written.
    #[error("`{}` cannot be used", .path.display())]
    Io {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("`{}` is no list of trusted plugins", .path.display())]
    Form {
        /// The list.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Others could have written it.
    #[error("`{}` may be written by others", .path.display())]
    Writable {
        /// The list.
        path: PathBuf,
    },
}

impl TrustError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { .. } => "check the file's permissions".into(),
            Self::Form { path, .. } => {
                format!("remove `{}` and trust your plugins again", path.display())
            }
            Self::Writable { path } => {
                format!("look at it, then run `chmod 600 {}`", path.display())
            }
        }
    }
}

const VERSION: u32 = 1;

impl Trust {
    /// Reads the list; an absent one is empty.
    ///
    /// # Errors
    ///
    /// [`TrustError`]; nothing is trusted then.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let failed = |source| TrustError::Io { path: path.to_owned(), source };
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let own = rustix::process::geteuid().as_raw();
        if metadata.mode() & 0o022 != 0 || ![0, own].contains(&metadata.uid()) {
            return Err(TrustError::Writable { path: path.to_owned() });
        }
        let json = fs::read(path).map_err(failed)?;
        serde_json::from_slice(&json)
            .map_err(|source| TrustError::Form { path: path.to_owned(), source })
    }

    /// Writes the list.
    ///
    /// # Errors
    ///
    /// [`TrustError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), TrustError> {
        let list = Self { version: VERSION, trusted: self.trusted.clone() };
        let json = serde_json::to_vec_pretty(&list).unwrap_or_default();
        write_private(path, &json)
            .map_err(|source| TrustError::Io { path: path.to_owned(), source })
    }

    /// Reports whether these bytes of this plugin are trusted.
    #[must_use]
    pub fn holds(&self, plugin: &str, hash: &str) -> bool {
        self.trusted.get(plugin).is_some_and(|pinned| pinned == hash)
    }

    /// Trusts these bytes of this plugin, and no others of it.
    pub fn pin(&mut self, plugin: &str, hash: &str) {
        self.trusted.insert(plugin.to_owned(), hash.to_owned());
    }

    /// Trusts a plugin no more; reports whether it was trusted.
    pub fn unpin(&mut self, plugin: &str) -> bool {
        self.trusted.remove(plugin).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_list_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trusted.json");
        let mut trust = Trust::read(&path).unwrap();
        assert!(!trust.holds("a", "1"));
        trust.pin("a", "1");
        trust.pin("a", "2");
        trust.write(&path).unwrap();
        let mut read = Trust::read(&path).unwrap();
        assert!(read.holds("a", "2") && !read.holds("a", "1") && !read.holds("b", "2"));
        assert!(read.unpin("a") && !read.unpin("a") && !read.holds("a", "2"));
    }

    #[test]
    fn a_list_that_others_may_write_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trusted.json");
        Trust::default().write(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(Trust::read(&path), Err(TrustError::Writable { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "[]").unwrap();
        let error = Trust::read(&path).unwrap_err();
        assert!(matches!(error, TrustError::Form { .. }) && !error.hint().is_empty());
    }
}
