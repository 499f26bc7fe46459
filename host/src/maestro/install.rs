//! Installing plugins and removing them again.

use std::path::{Path, PathBuf};

use plugin_api::{auth::AuthScheme, capability::Capability, manifest::ProviderManifest};
use serde::Serialize;

use super::{Error, Maestro, one_line};
use crate::plugin::{
    Provenance, RefusalError,
    install::{self, InstallError},
    judge::Judged,
};

/// A plugin that was installed, and what it brings.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InstalledPlugin {
    /// Its id.
    pub plugin: String,
    /// Its own version.
    pub version: String,
    /// Where it is now.
    pub path: PathBuf,
    /// blake3 of the file.
    pub hash: String,
    /// What it implements.
    pub capabilities: Vec<Capability>,
    /// The providers that it offers by itself.
    pub providers: Vec<BroughtProvider>,
    /// The version that was there before.
    pub replaced: Option<String>,
    /// Why it was not asked whether it keeps its word; `None` when it does.
    pub not_probed: Option<String>,
}

/// A provider that a plugin brings.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BroughtProvider {
    /// Its id.
    pub id: String,
    /// Where it may send requests, and with them its credential, unless configured otherwise.
    pub urls: Vec<String>,
    /// Whether one logs in to it.
    pub login: bool,
}

/// A plugin that was removed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RemovedPlugin {
    /// Its id.
    pub plugin: String,
    /// Where it was.
    pub path: PathBuf,
    /// Its providers, whose sessions stay.
    pub providers: Vec<String>,
}

impl Maestro {
    /// Installs a library into the user's folder, in place of an earlier one of the same plugin: judges
    /// it, asks it where it will run whether it keeps its word, and moves it there in one step.
    ///
    /// This object still knows what was there before; the next [`open`](Self::open) finds it.
    ///
    /// # Errors
    ///
    /// [`Error::Plugin`] when it would be refused, [`Error::Unchanged`].
    pub fn install_plugin(&self, file: &Path) -> Result<InstalledPlugin, Error> {
        let named = || file.display().to_string();
        let judged =
            self.judge(file).map_err(|source| Error::Plugin { plugin: named(), source })?;
        let id = judged.manifest.id.clone();
        let unchanged = |source| Error::Unchanged { plugin: judged.manifest.id.clone(), source };
        let (path, replaced) = self.place_of(&judged).map_err(unchanged)?;
        let not_probed = match self.probe(&judged.copy) {
            Ok(()) => None,
            // What may not run here unconfined is asked nothing, and can be trusted only once it is
            // in the folder.
            Err(Error::Plugin { source: error @ RefusalError::Unconfined { .. }, .. }) => {
                Some(one_line(&error))
            }
            Err(error) => return Err(error),
        };
        install::place(&judged, &path).map_err(unchanged)?;
        let manifest = &judged.manifest;
        Ok(InstalledPlugin {
            version: manifest.version.clone(),
            path,
            hash: judged.hash.clone(),
            capabilities: manifest.capabilities.to_vec(),
            providers: manifest.providers.iter().map(BroughtProvider::of).collect(),
            plugin: id,
            replaced,
            not_probed,
        })
    }

    /// Removes a plugin from the user's folder. What is stored for its providers stays.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPlugin`], [`Error::Unchanged`].
    pub fn remove_plugin(&self, id: &str) -> Result<RemovedPlugin, Error> {
        let judged = self.installed(id)?;
        let path = judged.path.clone();
        let removed = if judged.provenance == Provenance::Bundled {
            Err(InstallError::Bundled { path: path.clone() })
        } else if path.parent() != Some(&self.inner.home.plugins()) {
            Err(InstallError::Elsewhere { path: path.clone() })
        } else {
            install::remove(&path)
        };
        removed.map_err(|source| Error::Unchanged { plugin: id.into(), source })?;
        let providers = judged.manifest.providers.iter().map(|provider| provider.id.clone());
        Ok(RemovedPlugin { plugin: id.into(), path, providers: providers.collect() })
    }

    /// Says where a library goes, and which version is there.
    fn place_of(&self, judged: &Judged) -> Result<(PathBuf, Option<String>), InstallError> {
        let (manifest, folder) = (&judged.manifest, self.inner.home.plugins());
        let registry = self.registry();
        for provider in &manifest.providers {
            let Some(known) = registry.provider(&provider.id) else { continue };
            let config = self.config();
            let config = config.providers.get(&known.id);
            let decided = config.is_some_and(|config| config.plugin.is_some());
            if known.plugin.id.as_str() != manifest.id && !decided {
                let by = known.plugin.id.to_string();
                return Err(InstallError::Taken { provider: provider.id.clone(), by });
            }
        }
        let Ok(before) = self.installed(&manifest.id) else {
            let name = format!("{}.{}", manifest.id, std::env::consts::DLL_EXTENSION);
            return Ok((folder.join(name), None));
        };
        let path = before.path.clone();
        if before.provenance == Provenance::Bundled {
            return Err(InstallError::Bundled { path });
        }
        if path.parent() != Some(&folder) {
            return Err(InstallError::Elsewhere { path });
        }
        Ok((path, Some(before.manifest.version.clone())))
    }

    /// Asks a judged library whether it keeps its word, where it would run.
    fn probe(&self, copy: &Path) -> Result<(), Error> {
        let kept = self.validate(&copy.display().to_string())?;
        let Some(broken) = kept.checks.into_iter().find(|check| !check.passed) else {
            return Ok(());
        };
        let (what, detail) = (broken.what, broken.detail.unwrap_or_default());
        let source = InstallError::BreaksItsWord { what, detail };
        Err(Error::Unchanged { plugin: kept.plugin, source })
    }
}

impl BroughtProvider {
    fn of(provider: &ProviderManifest) -> Self {
        let base = (!provider.base_url.is_empty()).then_some(&provider.base_url);
        let urls = base.into_iter().chain(provider.origins.iter()).cloned().collect();
        let login = provider.auth.iter().any(|scheme| !matches!(scheme, AuthScheme::None));
        Self { id: provider.id.clone(), urls, login }
    }
}
