//! What is there: libraries that passed, and the providers that they and the configuration make.
//!
//! Libraries are loaded when one of their providers is first asked, so that a command about one
//! provider does not map a hundred others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use plugin_api::{PluginId, ProviderId, manifest::Manifest};

use super::{
    Provenance, Refusal, RefusalError,
    admitted::{FIRST, Plugin},
    judge::Judge,
    provider::{MisfitError, Provider, like, make},
    scan::{Folder, scan},
    tier::Terms,
};
use crate::{
    config::{Config, ProviderConfig},
    suggest::nearest,
};

/// Libraries and providers, as found at one time. Never changed: [`generations`](super::generations)
/// puts another in its place.
#[derive(Debug)]
pub struct Registry {
    plugins: BTreeMap<PluginId, Arc<Plugin>>,
    providers: BTreeMap<ProviderId, Arc<Provider>>,
    refused: Vec<Refusal>,
    terms: Arc<Terms>,
}

impl Registry {
    /// Scans and judges the folders, and makes the providers. Loads nothing.
    ///
    /// Bundled folders come first: the first file of an id or a provider keeps it, so a user's plugin
    /// cannot take a bundled one's place.
    ///
    /// # Errors
    ///
    /// [`MisfitError`] when the configuration names what no plugin has.
    pub fn discover(
        folders: &[Folder],
        copies: PathBuf,
        config: &Config,
        terms: &Arc<Terms>,
    ) -> Result<Self, MisfitError> {
        let (found, refused) = scan(folders);
        let mut registry = Self::empty(Arc::clone(terms));
        registry.refused = refused;
        let mut judge = Judge::new(copies);
        let verdicts = judge.judge_all(&found);
        judge.remember(&found, &verdicts);
        for (file, verdict) in found.iter().zip(verdicts) {
            let admitted = verdict.and_then(|judged| {
                let manifest = Arc::clone(&judged.manifest);
                registry.admit(&manifest, config, || {
                    terms.verdicts.check(&judged.hash)?;
                    Plugin::new(judged, terms, FIRST).map(Arc::new)
                })
            });
            if let Err(error) = admitted {
                registry.refused.push(Refusal { path: file.path.clone(), error });
            }
        }
        match registry.configure(config).into_iter().next() {
            None => Ok(registry),
            Some(misfit) => Err(misfit),
        }
    }

    /// Makes a registry without a plugin.
    pub(super) fn empty(terms: Arc<Terms>) -> Self {
        let (plugins, providers) = (BTreeMap::new(), BTreeMap::new());
        Self { plugins, providers, refused: Vec::new(), terms }
    }

    /// Takes a plugin and its providers, unless another has their ids. What its author works on takes
    /// the place of others without a word: of a plugin with its id, or of single providers. `plugin` makes it, or fails,
    /// when nothing else speaks against it.
    pub(super) fn admit(
        &mut self,
        manifest: &Manifest,
        config: &Config,
        plugin: impl FnOnce() -> Result<Arc<Plugin>, RefusalError>,
    ) -> Result<(), RefusalError> {
        let wrong = |problem: String| RefusalError::WrongManifest { problem };
        let id = PluginId::new(manifest.id.clone()).map_err(|error| wrong(error.to_string()))?;
        if let Some(other) = self.plugins.get(&id) {
            if other.is_in_development() {
                return Ok(());
            }
            let by = other.judged.path.clone();
            return Err(RefusalError::DuplicatePlugin { id: id.to_string(), by });
        }
        let mut provider_ids = Vec::new();
        for provider in &manifest.providers {
            let provider_id =
                ProviderId::new(provider.id.clone()).map_err(|error| wrong(error.to_string()))?;
            // A provider that the configuration gives to another plugin is that one's.
            let elsewhere = config.providers.get(&provider_id).and_then(|p| p.plugin.as_deref());
            if elsewhere.is_some_and(|plugin| plugin != id.as_str()) {
                continue;
            }
            if let Some(other) = self.providers.get(&provider_id) {
                if other.plugin.is_in_development() {
                    continue;
                }
                let by = other.plugin.id.to_string();
                return Err(RefusalError::DuplicateProvider { id: provider.id.clone(), by });
            }
            provider_ids.push((provider_id, provider.clone()));
        }
        let plugin = plugin()?;
        let mut all = Vec::new();
        for (provider_id, provider) in provider_ids {
            let made = make(provider_id.clone(), &plugin, provider, None)
                .map_err(|misfit| wrong(misfit.problem))?;
            all.push((provider_id, Arc::new(made)));
        }
        // All of it or nothing.
        self.providers.extend(all);
        self.plugins.insert(id, plugin);
        Ok(())
    }

    /// Applies `[providers.*]`; returns what does not fit. A provider that does not is not there: as its
    /// plugin declares it, it is not what was configured.
    pub(super) fn configure(&mut self, config: &Config) -> Vec<MisfitError> {
        let mut misfits = Vec::new();
        for (id, settings) in &config.providers {
            match self.configured(id, settings) {
                Ok(made) => {
                    self.providers.insert(id.clone(), Arc::new(made));
                }
                Err(misfit) => {
                    self.providers.remove(id);
                    misfits.push(misfit);
                }
            }
        }
        misfits
    }

    fn configured(
        &self,
        id: &ProviderId,
        settings: &ProviderConfig,
    ) -> Result<Provider, MisfitError> {
        let misfit = |problem: String, hint: Option<String>| MisfitError {
            provider: id.to_string(),
            problem,
            hint,
        };
        let known = self.providers.get(id).cloned();
        let plugin = match (&settings.plugin, &known) {
            (Some(name), _) => self.plugins.get(name.as_str()).cloned().ok_or_else(|| {
                let names = self.plugins.keys().map(PluginId::as_str);
                let hint = nearest(name, names).map(|near| format!("did you mean `{near}`?"));
                let hint = hint.or_else(|| Some("run `maestro plugin list`".into()));
                misfit(format!("there is no plugin `{name}`"), hint)
            })?,
            (None, Some(known)) => Arc::clone(&known.plugin),
            (None, None) => {
                let names = self.providers.keys().map(ProviderId::as_str);
                let hint = match nearest(id.as_str(), names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name the plugin that serves it: `plugin = \"…\"`".into(),
                };
                return Err(misfit("no plugin offers this provider".into(), Some(hint)));
            }
        };
        let manifest = &plugin.judged.manifest;
        let declared = manifest.providers.iter().find(|p| p.id == id.as_str()).cloned();
        let provider = match declared {
            Some(declared) => declared,
            None if manifest.instances => like(manifest, id, settings),
            None => {
                let problem = format!("plugin `{}` takes no further providers", plugin.id);
                return Err(misfit(problem, None));
            }
        };
        make(id.clone(), &plugin, provider, Some(settings))
    }

    /// Returns the terms on which its plugins run.
    #[must_use]
    pub fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// Adds a file to those that were refused.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused.push(refusal);
    }

    /// Returns a provider.
    #[must_use]
    pub fn provider(&self, id: &str) -> Option<&Arc<Provider>> {
        self.providers.get(id)
    }

    /// Iterates over providers by id.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }

    /// Returns a plugin.
    #[must_use]
    pub fn plugin(&self, id: &str) -> Option<&Arc<Plugin>> {
        self.plugins.get(id)
    }

    /// Iterates over plugins by id.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.plugins.values()
    }

    /// Returns the files that were refused.
    #[must_use]
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }
}

/// Returns the folders that are searched: the bundled one, the configured ones, the user's.
#[must_use]
pub fn folders(bundled: Option<&Path>, configured: &[PathBuf], user: &Path) -> Vec<Folder> {
    let of = |path: &Path, provenance| Folder { path: path.to_owned(), provenance };
    let bundled = bundled.map(|path| of(path, Provenance::Bundled));
    let others = configured.iter().map(|path| of(path, Provenance::User));
    bundled.into_iter().chain(others).chain([of(user, Provenance::User)]).collect()
}

/// Returns the folder of bundled plugins: `../lib/maestro/plugins` from the running program.
#[must_use]
pub fn bundled_folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.canonicalize().ok()?;
    let folder = program.parent()?.parent()?.join("lib/maestro/plugins");
    folder.is_dir().then_some(folder)
}
