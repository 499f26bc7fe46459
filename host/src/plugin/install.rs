//! Puts a judged library into the user's folder, and takes one out again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    RefusalError,
    judge::{Judged, write_private},
    scan::check_directories,
};

/// Why the folder stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// It came with the program.
    #[error("it came with `maestro`, in `{}`", .path.display())]
    Bundled {
        /// Its file.
        path: PathBuf,
    },
    /// It is in a folder that the configuration names.
    #[error("it is in another folder, as `{}`", .path.display())]
    Elsewhere {
        /// Its file.
        path: PathBuf,
    },
    /// Another plugin offers one of its providers.
    #[error("provider id `{provider}` is taken by plugin `{by}`")]
    Taken {
        /// The provider.
        provider: String,
        /// The other plugin.
        by: String,
    },
    /// It was asked, and lacks what it declares.
    #[error("it does not keep its word: `{what}`: {detail}")]
    BreaksItsWord {
        /// What was checked.
        what: String,
        /// What was found.
        detail: String,
    },
    /// Nothing of the folder would be loaded.
    #[error("nothing in `{}` would be loaded", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: RefusalError,
    },
    /// The folder cannot be changed.
    #[error("`{}` cannot be changed", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl InstallError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Bundled { .. } => "choose another id; a bundled plugin keeps its own".into(),
            Self::Elsewhere { path } => format!("remove `{}` first", path.display()),
            Self::Taken { provider, .. } => {
                format!(
                    "say whose it is in the configuration: `[providers.{provider}]`, `plugin = \"…\"`"
                )
            }
            Self::BreaksItsWord { .. } => "ask its author; nothing was installed".into(),
            Self::Folder { source, .. } => source.hint(),
            Self::Io { .. } => "check the folder's permissions and the free space".into(),
        }
    }
}

/// Writes the bytes that were judged to `path`, in one step, so that a host never sees half of them.
///
/// # Errors
///
/// [`InstallError::Io`]; [`InstallError::Folder`] when others may write the folder.
pub fn place(judged: &Judged, path: &Path) -> Result<(), InstallError> {
    let folder = path.parent().unwrap_or(path);
    if folder.is_dir() {
        check_directories(folder)
            .map_err(|source| InstallError::Folder { folder: folder.into(), source })?;
    }
    let io = |source| InstallError::Io { path: path.into(), source };
    write_private(path, &fs::read(&judged.copy).map_err(io)?).map_err(io)
}

/// Removes a library. A host that has it loaded keeps its private copy until it ends.
///
/// # Errors
///
/// [`InstallError::Io`].
pub fn remove(path: &Path) -> Result<(), InstallError> {
    fs::remove_file(path).map_err(|source| InstallError::Io { path: path.into(), source })
}
