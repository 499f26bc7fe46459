//! What is there: libraries that passed, and the providers that they and the configuration make.
//!
//! Libraries are loaded when one of their providers is first asked, so that a command about one
//! provider does not map a hundred others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use plugin_api::{
    PluginId, ProviderId,
    auth::{ApiKeyScheme, AuthScheme, Placement},
    capability::{Capability, Feature},
    instance::Instance,
    manifest::{Manifest, ProviderManifest},
};
use serde_json::Value;
use tracing::debug;

use super::{
    Provenance, Refusal, RefusalError, honesty,
    judge::{Judge, Judged},
    load::Library,
    probe_rules,
    quarantine::{Quarantine, Withheld},
    resident::Resident,
    runtime::Runtime,
    scan::{Folder, scan},
    tier::{Terms, Tier},
    worker::{Budgets, Vitals, Worker},
};
use crate::{
    config::{Config, ProviderConfig},
    session::Binding,
    suggest::nearest,
    transport::{Origin, Route, TlsOptions},
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

/// A library that passed, loaded or not yet.
#[derive(Debug)]
pub struct Plugin {
    /// Its id.
    pub id: PluginId,
    /// What was judged.
    pub judged: Judged,
    /// Where it runs.
    pub tier: Tier,
    /// Whether the user trusts it.
    pub trusted: bool,
    /// Whether it asks for secrets and the user agreed.
    pub handles_secrets: bool,
    /// Which of the copies that this host has had of it, from 1.
    pub generation: u64,
    terms: Arc<Terms>,
    runtime: Mutex<Option<Runtime>>,
}

/// A provider, of a manifest or made by the configuration.
#[derive(Debug)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// The plugin that serves it.
    pub plugin: Arc<Plugin>,
    /// What the manifest says of it; for one that the configuration made, of its like.
    pub manifest: ProviderManifest,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Whether the configuration mentions it.
    pub configured: bool,
    /// Start of its URLs, filled in.
    pub base_url: String,
    /// Where its requests may go.
    pub route: Arc<Route>,
    /// Its settings: the profile's, overridden by the configuration's.
    pub settings: BTreeMap<String, Value>,
    /// Where a key goes.
    pub placement: Option<Placement>,
    /// Environment variables that may hold its key.
    pub key_env: Vec<String>,
    /// What is missing before it can be used.
    pub missing: Option<String>,
    binding: OnceLock<Binding>,
}

/// The number of the first generation of a plugin.
pub const FIRST: u64 = 1;

/// Why the configuration does not fit the plugins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`[providers.{provider}]`: {problem}")]
#[non_exhaustive]
pub struct MisfitError {
    /// The provider.
    pub provider: String,
    /// What does not fit.
    pub problem: String,
    /// What was probably meant.
    pub hint: Option<String>,
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

/// Describes a provider that the configuration makes: like the manifest's provider of the same
/// profile; without a profile, as one that may understand all that any provider of the plugin does.
fn like(manifest: &Manifest, id: &ProviderId, config: &ProviderConfig) -> ProviderManifest {
    let profile = config.profile.as_deref().unwrap_or_default();
    let model = manifest
        .providers
        .iter()
        .find(|p| !profile.is_empty() && (p.profile == profile || p.id == profile));
    let mut features: Vec<Feature> =
        manifest.providers.iter().flat_map(|p| p.features.iter().copied()).collect();
    features.sort_unstable();
    features.dedup();
    // A key of the model's vendor is not a key of this server, so nothing of its scheme is kept but
    // where it goes.
    let only = match &manifest.providers[..] {
        [only] => Some(only),
        _ => None,
    };
    let placement = model.or(only).and_then(api_key_scheme).map(|scheme| &scheme.placement);
    let json = serde_json::json!({
        "id": id,
        "display_name": id,
        "profile": profile,
        "features": model.map_or(&features[..], |model| &model.features[..]),
        "without": model.map_or(&[][..], |model| &model.without[..]),
        "dialects": model.map_or(&[][..], |model| &model.dialects[..]),
        "auth": [{
            "type": "api_key",
            "optional": true,
            "placement": placement.unwrap_or(&Placement::Bearer),
        }],
    });
    serde_json::from_value(json).expect("it has an id, and the rest is made of manifests")
}

/// Makes a provider of its manifest and the configuration.
fn make(
    id: ProviderId,
    plugin: &Arc<Plugin>,
    manifest: ProviderManifest,
    config: Option<&ProviderConfig>,
) -> Result<Provider, MisfitError> {
    let misfit = |problem: String, hint: Option<String>| MisfitError {
        provider: id.to_string(),
        problem,
        hint,
    };
    let declared = &plugin.judged.manifest;
    let mut settings = BTreeMap::new();
    let profile = config.and_then(|config| config.profile.as_deref()).unwrap_or(&manifest.profile);
    if !profile.is_empty() {
        let profile = declared.profile(profile).ok_or_else(|| {
            let names = declared.profiles.iter().map(|profile| profile.name.as_str());
            let hint = nearest(profile, names.clone()).map_or_else(
                || format!("plugin `{}` has: {}", plugin.id, names.collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            misfit(format!("there is no profile `{profile}`"), Some(hint))
        })?;
        settings.extend(profile.values.iter().map(|v| (v.name.clone(), v.value.clone())));
    }
    if let Some(config) = config {
        for (key, value) in &config.settings {
            let value =
                setting(declared, key, value).map_err(|(problem, hint)| misfit(problem, hint))?;
            settings.insert(key.clone(), value);
        }
    }
    let own_url = config.and_then(|config| config.base_url.as_deref());
    let template = own_url.unwrap_or(&manifest.base_url);
    let missing = manifest
        .requires
        .iter()
        .find(|name| own_url.is_none() && !settings.contains_key(name.as_str()))
        .map(|name| format!("needs `{name}` in `[providers.{id}]`"));
    let needs_url = template.is_empty() && declared.instances && !manifest.local;
    let missing =
        missing.or_else(|| needs_url.then(|| format!("needs `base_url` in `[providers.{id}]`")));
    let fill = |text: &str| fill(text, &settings);
    let base_url = fill(template);
    let mut origins = Vec::new();
    if missing.is_none() {
        // A configured URL replaces the vendor's origins: what is meant for another server must not
        // still reach the vendor.
        let others = if own_url.is_some() { &[][..] } else { &manifest.origins[..] };
        for url in std::iter::once(&base_url).chain(others).filter(|url| !url.is_empty()) {
            let origin = Origin::parse(&fill(url))
                .map_err(|error| misfit(format!("`base_url`: {error}"), None))?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
    }
    let scheme = api_key_scheme(&manifest);
    let placement = match config.and_then(|config| config.auth.as_ref()) {
        Some(auth) => auth.placement(),
        None => scheme.map(|scheme| scheme.placement.clone()),
    };
    let mut key_env: Vec<String> = Vec::new();
    match config.and_then(|config| config.key_env.clone()) {
        Some(name) => key_env.push(name),
        // A plugin that the user dropped in might name any variable, and with an origin of its own
        // would get what is in it. A key for the vendor is not meant for another server either.
        None if plugin.trusted && own_url.is_none() => {
            key_env.extend(scheme.into_iter().flat_map(|scheme| scheme.env.iter().cloned()));
        }
        None => {}
    }
    let mut capabilities = declared.capabilities_of(&manifest);
    if !plugin.handles_secrets {
        // Without the user's word it is never asked for what it would need a secret for.
        let secret = [Capability::OAuth, Capability::HandlesSecrets];
        capabilities.retain(|capability| !secret.contains(capability));
    }
    Ok(Provider {
        capabilities,
        configured: config.is_some(),
        route: Arc::new(Route {
            origins,
            allow_plain_http: config.is_some_and(|config| config.allow_plain_http),
            allow_metadata: config.is_some_and(|config| config.allow_metadata),
            tls: TlsOptions {
                ca_file: config.and_then(|config| config.ca_file.clone()),
                client_cert: config.and_then(|config| config.client_cert.clone()),
            },
        }),
        binding: OnceLock::new(),
        id,
        plugin: Arc::clone(plugin),
        base_url: base_url.trim_end_matches('/').to_owned(),
        settings,
        placement,
        key_env,
        missing,
        manifest,
    })
}

/// Checks a setting of the configuration against the manifest's list and type.
fn setting(
    manifest: &Manifest,
    key: &str,
    value: &toml::Value,
) -> Result<Value, (String, Option<String>)> {
    let Some(declared) = manifest.settings.iter().find(|setting| setting.name == key) else {
        let own = [
            "plugin",
            "profile",
            "base_url",
            "auth",
            "key_env",
            "oauth",
            "ca_file",
            "client_cert",
            "allow_plain_http",
            "allow_metadata",
        ];
        let names = manifest.settings.iter().map(|s| s.name.as_str()).chain(own);
        let hint = match nearest(key, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
        };
        return Err((format!("unknown key `{key}`"), Some(hint)));
    };
    let fits = match declared.kind.as_str() {
        "text" => value.is_str(),
        "flag" => value.is_bool(),
        "number" => value.is_integer(),
        "texts" => value.as_array().is_some_and(|list| list.iter().all(toml::Value::is_str)),
        "table" => value.is_table(),
        _ => true,
    };
    if !fits {
        let expected = match declared.kind.as_str() {
            "text" => "a text",
            "flag" => "`true` or `false`",
            "number" => "a whole number",
            "texts" => "a list of texts",
            _ => "a table",
        };
        let problem = format!("`{key}`: expected {expected}, found a {}", value.type_str());
        return Err((problem, None));
    }
    serde_json::to_value(value).map_err(|error| (format!("`{key}`: {error}"), None))
}

/// Replaces `{name}` by the setting of that name.
fn fill(template: &str, settings: &BTreeMap<String, Value>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        match behind.split_once('}') {
            Some((name, after)) => {
                filled.push_str(settings.get(name).and_then(Value::as_str).unwrap_or_default());
                rest = after;
            }
            None => rest = behind,
        }
    }
    filled.push_str(rest);
    filled
}

fn api_key_scheme(manifest: &ProviderManifest) -> Option<&ApiKeyScheme> {
    // A scheme that needs what this host does not know cannot be used.
    manifest.auth.iter().find_map(|auth| match auth {
        AuthScheme::ApiKey(scheme) if auth.unknown_need().is_none() => Some(scheme),
        _ => None,
    })
}

impl Provider {
    /// Reports whether a client's own body in a dialect may be passed on to it.
    ///
    /// A server of nobody's kind, which the configuration describes, is understood like all that its
    /// plugin knows: it speaks what they all speak. That makes it nobody's first choice for bare names.
    #[must_use]
    pub fn takes(&self, dialect: &str) -> bool {
        let speaks = |manifest: &ProviderManifest| manifest.dialects.iter().any(|d| d == dialect);
        let known = &self.plugin.judged.manifest.providers;
        let is_own = !known.iter().any(|provider| provider.id == self.id.as_str());
        speaks(&self.manifest)
            || (is_own && self.manifest.dialects.is_empty() && known.iter().all(speaks))
    }

    /// Returns the dialects in which a client's own body may be passed on to it.
    #[must_use]
    pub fn dialects(&self) -> Vec<String> {
        let known = self.plugin.judged.manifest.providers.iter();
        let all = known.chain([&self.manifest]).flat_map(|provider| &provider.dialects);
        let mut taken: Vec<String> = all.filter(|dialect| self.takes(dialect)).cloned().collect();
        taken.sort_unstable();
        taken.dedup();
        taken
    }

    /// Returns how a key is made and placed, if keys are taken.
    #[must_use]
    pub fn api_key(&self) -> Option<&ApiKeyScheme> {
        api_key_scheme(&self.manifest)
    }

    /// Reports whether it can be asked without a session.
    #[must_use]
    pub fn works_without_session(&self) -> bool {
        self.manifest.auth.is_empty()
            || self.manifest.auth.iter().any(|auth| match auth {
                AuthScheme::None => true,
                AuthScheme::ApiKey(scheme) => scheme.optional && auth.unknown_need().is_none(),
                _ => false,
            })
    }

    /// Reports whether it has a capability.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// Returns what a credential for it is bound to: its plugin and its origins.
    #[must_use]
    pub fn binding(&self) -> &Binding {
        self.binding.get_or_init(|| {
            let origins = self.route.origins.iter().map(ToString::to_string);
            Binding::new(self.plugin.id.clone(), origins).expect("our origins are origins")
        })
    }

    /// Returns the instance that its plugin is told of.
    #[must_use]
    pub fn instance(&self) -> Instance {
        let mut instance = Instance::new(self.id.clone(), self.base_url.clone());
        instance.settings.clone_from(&self.settings);
        instance
    }
}

impl Plugin {
    /// Wraps a judged library that is not loaded yet, and decides where it will run.
    ///
    /// # Errors
    ///
    /// [`RefusalError::WrongManifest`] when its id is none; [`RefusalError::Unconfined`] when it may
    /// not run on this machine.
    pub fn new(judged: Judged, terms: &Arc<Terms>, generation: u64) -> Result<Self, RefusalError> {
        let id = PluginId::new(judged.manifest.id.clone())
            .map_err(|error| RefusalError::WrongManifest { problem: error.to_string() })?;
        let (tier, trusted) = (terms.tier(&judged)?, terms.trusts(&judged));
        let handles_secrets = terms.lets_handle_secrets(&judged);
        let (terms, runtime) = (Arc::clone(terms), Mutex::default());
        Ok(Self { id, judged, tier, trusted, handles_secrets, generation, terms, runtime })
    }

    /// Loads the library, once, where it runs: maps it, or plans its worker, which
    /// [`start`](Self::start) waits for.
    ///
    /// # Errors
    ///
    /// Why it cannot be loaded; the next call tries again.
    pub fn runtime(&self) -> Result<Runtime, RefusalError> {
        let mut runtime = self.locked();
        if let Some(runtime) = &*runtime {
            return Ok(runtime.clone());
        }
        let judged = &self.judged;
        let loaded = match self.tier {
            Tier::InProcess => {
                let library = Arc::new(Library::load(judged.clone())?);
                let quarantine = Arc::clone(&self.terms.quarantine);
                let (budgets, told) = (self.terms.budgets, Arc::clone(&self.terms.endless));
                Runtime::InProcess(Arc::new(Resident::new(library, quarantine, budgets, told)))
            }
            Tier::Worker { must_be_confined } => {
                let quarantine = Some(Arc::clone(&self.terms.quarantine));
                Runtime::Worker(Arc::new(self.worker(must_be_confined, quarantine)?))
            }
        };
        *runtime = Some(loaded.clone());
        Ok(loaded)
    }

    /// Loads the library and waits until it can be asked. Bytes that are not known are loaded in a
    /// worker first, wherever they run then.
    ///
    /// # Errors
    ///
    /// Why it cannot be loaded, or why it is withheld; the next call tries again.
    pub async fn start(&self) -> Result<Runtime, RefusalError> {
        let (terms, hash) = (&self.terms, &self.judged.hash);
        terms.quarantine.check(hash)?;
        terms.verdicts.check(hash)?;
        if self.tier == Tier::InProcess {
            self.probe().await?;
            return self.runtime();
        }
        let runtime = self.runtime()?;
        if let Runtime::Worker(worker) = &runtime {
            self.learn(worker.ready().await, &runtime).await?;
        }
        Ok(runtime)
    }

    /// Loads the library in a worker of its own and lets that go again, unless these bytes are known.
    ///
    /// # Errors
    ///
    /// Why it cannot be loaded. Where no worker can be had for bytes that are trusted, they pass.
    pub async fn probe(&self) -> Result<(), RefusalError> {
        let (terms, hash) = (&self.terms, &self.judged.hash);
        terms.verdicts.check(hash)?;
        if terms.verdicts.passed(hash) {
            return Ok(());
        }
        let loaded = match self.worker(self.must_be_confined(), None) {
            Ok(worker) => {
                let worker = Arc::new(worker);
                self.learn(worker.ready().await, &Runtime::Worker(Arc::clone(&worker))).await
            }
            Err(error) => Err(error),
        };
        match loaded {
            Err(RefusalError::Worker { .. }) if self.tier == Tier::InProcess => Ok(()),
            loaded => loaded,
        }
    }

    /// Keeps what came of a first load, and of asking what loaded for all that it declares.
    async fn learn(
        &self,
        loaded: Result<(), RefusalError>,
        runtime: &Runtime,
    ) -> Result<(), RefusalError> {
        let (verdicts, hash) = (&self.terms.verdicts, &self.judged.hash);
        if loaded.is_ok() && verdicts.passed(hash) {
            return Ok(());
        }
        let learnt = match loaded {
            Ok(()) => Ok(self.asked(runtime).await),
            Err(error) => Err(error),
        };
        verdicts.keep(self.id.as_str(), hash, &learnt);
        learnt.map(drop)
    }

    fn must_be_confined(&self) -> bool {
        matches!(self.tier, Tier::Worker { must_be_confined: true })
    }

    /// Says what it breaks of its word and of the rules that can be asked in a moment.
    async fn asked(&self, runtime: &Runtime) -> Vec<String> {
        let mut broken = honesty::broken(self, runtime).await;
        let Runtime::Worker(_) = runtime else { return broken };
        let must_be_confined = self.must_be_confined();
        let budgets = Budgets {
            step_cpu: self.terms.budgets.step_cpu.min(probe_rules::STEP_CPU),
            ..self.terms.budgets
        };
        let program = self.terms.program.as_ref();
        let began = Instant::now();
        // Not of the plugin's own worker, whose crashes count.
        match Worker::new(&self.judged, program, budgets, must_be_confined, None) {
            Ok(worker) => {
                broken.extend(probe_rules::broken(worker, &self.judged.manifest).await);
                debug!(plugin = %self.id, took_ms = began.elapsed().as_millis(), "asked for rules");
            }
            Err(error) => debug!(plugin = %self.id, %error, "not asked for rules"),
        }
        broken
    }

    /// Returns what it declares and did not do when it was loaded for the first time.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.terms.verdicts.broken(&self.judged.hash)
    }

    fn worker(
        &self,
        must_be_confined: bool,
        quarantine: Option<Arc<Quarantine>>,
    ) -> Result<Worker, RefusalError> {
        let Terms { program, budgets, .. } = &*self.terms;
        Worker::new(&self.judged, program.as_ref(), *budgets, must_be_confined, quarantine)
    }

    /// Reports whether its author works on it just now.
    #[must_use]
    pub fn is_in_development(&self) -> bool {
        self.judged.provenance == Provenance::Development
    }

    /// Reports whether it was loaded and did nothing for which it would be withheld.
    #[must_use]
    pub fn is_known_good(&self) -> bool {
        let loaded = self.is_loaded() || self.terms.verdicts.passed(&self.judged.hash);
        loaded && self.withheld().is_none()
    }

    /// Returns why it is withheld, if it is.
    #[must_use]
    pub fn withheld(&self) -> Option<Withheld> {
        self.terms.quarantine.holds(&self.judged.hash)
    }

    /// Ends the exchanges that still run in it: with their worker, or, in process, each when its
    /// step is over.
    pub fn retire(&self) {
        match &*self.locked() {
            Some(Runtime::Worker(worker)) => worker.retire(),
            Some(Runtime::InProcess(resident)) => resident.retire(),
            None => {}
        }
    }

    /// Reports whether it is loaded.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        match &*self.locked() {
            None => false,
            Some(Runtime::InProcess(_)) => true,
            Some(Runtime::Worker(worker)) => worker.vitals().pid.is_some(),
        }
    }

    /// Says what its worker costs, if it was ever asked for one.
    #[must_use]
    pub fn vitals(&self) -> Option<Vitals> {
        match &*self.locked() {
            Some(Runtime::Worker(worker)) => Some(worker.vitals()),
            _ => None,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Option<Runtime>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_from_settings() {
        let settings = BTreeMap::from([("resource".to_owned(), Value::from("west"))]);
        assert_eq!(fill("https://{resource}.a.test/{x}y", &settings), "https://west.a.test/y");
        assert_eq!(fill("https://a{b", &settings), "https://ab");
    }
}
