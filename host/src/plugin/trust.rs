//! Which libraries the user trusts beside those that came with the program: by id and hash.
//!
//! `trusted.json` in the data folder. A file that changed is not the one that was trusted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use plugin_api::capability::Capability;
use serde::{Deserialize, Serialize};

use super::judge::write_private;

/// The pinned libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Version of the file's form.
    version: u32,
    /// Hash by plugin id.
    trusted: BTreeMap<String, String>,
    /// What a plugin may do beyond that, by its id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    allowed: BTreeMap<String, Allowed>,
}

/// What some bytes may do because the user said so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Allowed {
    hash: String,
    capabilities: BTreeSet<String>,
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
    /// A plugin does not ask for what it is allowed.
    #[error("plugin `{plugin}` does not declare `{capability}`")]
    NotDeclared {
        /// The plugin.
        plugin: String,
        /// The capability.
        capability: Capability,
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
            Self::NotDeclared { plugin, .. } => {
                format!("`maestro plugin inspect {plugin}` shows what it declares")
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
        if is_of_others(&metadata) {
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
        let list = Self { version: VERSION, ..self.clone() };
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

    /// Lets these bytes of this plugin, and no others of it, do what needs the user's word.
    pub fn allow(&mut self, plugin: &str, hash: &str, capability: Capability) {
        let allowed = self.allowed.entry(plugin.to_owned()).or_default();
        if allowed.hash != hash {
            *allowed = Allowed { hash: hash.to_owned(), ..Allowed::default() };
        }
        allowed.capabilities.insert(capability.to_string());
    }

    /// Reports whether the user let these bytes of this plugin do something.
    #[must_use]
    pub fn allows(&self, plugin: &str, hash: &str, capability: Capability) -> bool {
        let allowed = self.allowed.get(plugin).filter(|allowed| allowed.hash == hash);
        allowed.is_some_and(|allowed| allowed.capabilities.contains(capability.as_str()))
    }

    /// Trusts a plugin no more, and takes back what it was allowed; reports whether it was trusted.
    pub fn unpin(&mut self, plugin: &str) -> bool {
        self.allowed.remove(plugin);
        self.trusted.remove(plugin).is_some()
    }
}

/// Reports whether somebody else could have written a file.
pub(super) fn is_of_others(metadata: &fs::Metadata) -> bool {
    let own = rustix::process::geteuid().as_raw();
    metadata.mode() & 0o022 != 0 || ![0, own].contains(&metadata.uid())
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
        let secrets = Capability::HandlesSecrets;
        read.allow("a", "2", secrets);
        read.write(&path).unwrap();
        let mut read = Trust::read(&path).unwrap();
        assert!(read.allows("a", "2", secrets) && !read.allows("a", "1", secrets));
        assert!(!read.allows("b", "2", secrets));
        read.allow("a", "3", secrets);
        assert!(!read.allows("a", "2", secrets), "other bytes have other rights");
        assert!(read.unpin("a") && !read.allows("a", "3", secrets));
        read.pin("a", "2");
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
