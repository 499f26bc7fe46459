//! Where everything is kept.

use std::path::{Path, PathBuf};

/// The folders of one installation.
///
/// `MAESTRO_HOME` holds everything; unset, the XDG directories are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
    cache: PathBuf,
}

/// Why nothing says where to keep anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoHome {
    /// Neither variable is set.
    #[error("neither `MAESTRO_HOME` nor `HOME` is set to an absolute path")]
    Unset,
    /// A relative path would mean another home in every folder.
    #[error("expected an absolute path in `MAESTRO_HOME`, found `{}`", .found.display())]
    Relative {
        /// The path.
        found: PathBuf,
    },
}

impl Home {
    /// Takes the folders from the environment.
    ///
    /// # Errors
    ///
    /// [`NoHome`] when nothing says where, or `MAESTRO_HOME` does not say it for every folder.
    pub fn from_env() -> Result<Self, NoHome> {
        Self::from_vars(|name| std::env::var_os(name).map(PathBuf::from))
    }

    fn from_vars(var: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, NoHome> {
        let absolute = |name: &str| var(name).filter(|path| path.is_absolute());
        match var("MAESTRO_HOME") {
            Some(home) if home.is_absolute() => return Ok(Self::at(&home)),
            Some(found) if !found.as_os_str().is_empty() => {
                return Err(NoHome::Relative { found });
            }
            _ => {}
        }
        let home = absolute("HOME");
        let xdg = |name: &str, default: &str| {
            absolute(name)
                .or_else(|| home.as_ref().map(|home| home.join(default)))
                .map(|folder| folder.join("maestro"))
                .ok_or(NoHome::Unset)
        };
        Ok(Self {
            config: xdg("XDG_CONFIG_HOME", ".config")?,
            data: xdg("XDG_DATA_HOME", ".local/share")?,
            cache: xdg("XDG_CACHE_HOME", ".cache")?,
        })
    }

    /// Keeps everything below one folder.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { config: folder.into(), data: folder.into(), cache: folder.join("cache") }
    }

    /// Returns the configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Returns the store.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("maestro.db")
    }

    /// Returns the folder that holds the store and, unless another source is configured, its key.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns the user's plugin folder.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.data.join("plugins")
    }

    /// Returns the folder of libraries that `maestro plugin dev` puts before the installed ones.
    #[must_use]
    pub fn development(&self) -> PathBuf {
        self.data.join("dev")
    }

    /// Returns the list of plugins that the user trusts.
    #[must_use]
    pub fn trusted(&self) -> PathBuf {
        self.data.join("trusted.json")
    }

    /// Returns the list of plugins that are withheld because they crash.
    #[must_use]
    pub fn quarantine(&self) -> PathBuf {
        self.data.join("quarantine.json")
    }

    /// Returns the file that keeps the lines typed into the REPL.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.data.join("history")
    }

    /// Returns the folder of private plugin copies; all of it can be made again.
    #[must_use]
    pub fn plugin_copies(&self) -> PathBuf {
        self.cache.join("plugins")
    }

    /// Returns the folder in which each gateway that runs tells what it has learnt of upstreams.
    #[must_use]
    pub fn standing(&self) -> PathBuf {
        self.cache.join("standing")
    }

    /// Returns the folder of settings that launched tools read; all of it can be made again.
    #[must_use]
    pub fn launched(&self) -> PathBuf {
        self.cache.join("launched")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_variable_moves_everything() {
        let home = Home::from_vars(|name| (name == "MAESTRO_HOME").then(|| "/m".into())).unwrap();
        assert_eq!(home, Home::at(Path::new("/m")));
        assert_eq!(home.database(), Path::new("/m/maestro.db"));
        assert_eq!(home.plugin_copies(), Path::new("/m/cache/plugins"));
    }

    #[test]
    fn the_xdg_folders_are_used_otherwise() {
        let home = Home::from_vars(|name| match name {
            "HOME" => Some("/home/a".into()),
            "XDG_DATA_HOME" => Some("/data".into()),
            "XDG_CONFIG_HOME" => Some("relative".into()),
            "MAESTRO_HOME" => Some("".into()),
            _ => None,
        })
        .unwrap();
        assert_eq!(home.config_file(), Path::new("/home/a/.config/maestro/config.toml"));
        assert_eq!(home.plugins(), Path::new("/data/maestro/plugins"));
        assert_eq!(Home::from_vars(|_| None), Err(NoHome::Unset));
        let relative = Home::from_vars(|_| Some("here".into())).unwrap_err();
        assert_eq!(
            relative.to_string(),
            "expected an absolute path in `MAESTRO_HOME`, found `here`"
        );
    }
}
