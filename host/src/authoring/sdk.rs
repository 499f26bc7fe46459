//! Finds the contract's sources: they come with a release.

use std::path::{Path, PathBuf};

use super::AuthoringError;

/// Where a release has them, relative to its prefix.
pub const FOLDER: &str = "share/maestro/sdk";

/// The contract's sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdk {
    folder: PathBuf,
}

impl Sdk {
    /// Finds them beside the running program: those of its release, or in a development tree the
    /// workspace's own.
    ///
    /// # Errors
    ///
    /// [`AuthoringError::NoSdk`].
    pub fn find() -> Result<Self, AuthoringError> {
        let program = std::env::current_exe().and_then(|path| path.canonicalize());
        Self::near(&program.unwrap_or_default())
    }

    /// Takes them from a folder.
    ///
    /// # Errors
    ///
    /// [`AuthoringError::NoSdk`] when they are not there.
    pub fn at(folder: &Path) -> Result<Self, AuthoringError> {
        let found = folder.canonicalize().ok().filter(|folder| is_sdk(folder));
        let folder = found.ok_or_else(|| AuthoringError::NoSdk { looked: folder.into() })?;
        Ok(Self { folder })
    }

    fn near(program: &Path) -> Result<Self, AuthoringError> {
        let prefix = program.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        let released = prefix.join(FOLDER);
        if is_sdk(&released) {
            return Ok(Self { folder: released });
        }
        let workspace = program.ancestors().find(|folder| is_sdk(folder));
        let folder = workspace.ok_or(AuthoringError::NoSdk { looked: released })?;
        Ok(Self { folder: folder.into() })
    }

    /// Returns the folder of the crate `plugin-api`.
    #[must_use]
    pub fn plugin_api(&self) -> PathBuf {
        self.folder.join("plugin-api")
    }

    /// Returns the versions of everything that the release was built with.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.folder.join("Cargo.lock")
    }
}

fn is_sdk(folder: &Path) -> bool {
    ["Cargo.toml", "plugin-api/Cargo.toml", "dialects/Cargo.toml"]
        .iter()
        .all(|file| folder.join(file).is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn put_sdk(at: &Path) {
        for file in ["Cargo.toml", "plugin-api/Cargo.toml", "dialects/Cargo.toml"] {
            let file = at.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
    }

    #[test]
    fn a_release_has_its_own_and_a_development_tree_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("target/debug/maestro");
        let error = Sdk::near(&program).unwrap_err();
        assert!(error.to_string().ends_with("target/share/maestro/sdk`"), "{error}");
        put_sdk(dir.path());
        assert_eq!(Sdk::near(&program).unwrap().plugin_api(), dir.path().join("plugin-api"));
        put_sdk(&dir.path().join("target").join(FOLDER));
        assert_eq!(
            Sdk::near(&program).unwrap().plugin_api(),
            dir.path().join("target").join(FOLDER).join("plugin-api")
        );
    }
}
