//! The universal interface: one entry point for every operation.
//!
//! The command line, the gateway and an embedding program call [`Maestro`]; nobody goes around it. It
//! joins the layers below: registry, sessions, transport, exchange. Nothing is opened before it is
//! needed: the folders are scanned at once, a library is loaded when one of its providers is asked, the
//! store when a session or a conversation is.

mod ask;
mod asking;
mod catalog;
mod chat_stream;
mod check;
mod choice;
mod clients;
mod conversations;
mod db;
mod declared;
mod develop;
mod doctor;
mod error;
mod health;
mod import;
mod install;
mod live;
mod login;
mod meter;
mod models;
mod prices;
mod replay;
mod route;
mod routing;
mod sessions;
mod standing;
mod tokens;
mod unnamed;
mod view;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use plugin_api::{ProviderId, capability::Capability};
use tokio::sync::OnceCell;

pub use crate::{
    oauth::{
        login::{Flow, LoginPrompt},
        refresh::RefreshError,
        token::TokenError,
    },
    plugin::{
        endless::EndlessStep,
        generations::Changes,
        honesty::Check,
        one_line,
        quarantine::Withheld,
        watch::{Watch, WatchError},
    },
};
pub use ask::{Answered, Call};
pub use catalog::{Known, SessionOf};
pub use chat_stream::ChatStream;
pub use clients::{Admission, Client, NewClientKey};
pub use conversations::{ContextQuery, StoredMessage};
pub use db::{DbCheck, DbMigration, DbRekey, DbStatus};
pub use develop::{Compared, Developed, Development, Questions};
pub use error::Error;
pub(crate) use error::counted;
pub use import::{ImportCandidate, ImportPlan, ImportProblem, ImportRequest, ProfileView};
pub use install::{BroughtProvider, InstalledPlugin, RemovedPlugin};
pub use login::{AskInfo, LoggedIn, LoginMethod, LoginRequest, OAuthPlan, PendingLogin};
pub use meter::{Estimate, Limit, Meter};
pub use models::Listing;
pub use prices::{Price, Prices, price};
pub use replay::ReplayedExchange;
pub use route::{MayAsk, PassedOver, Route, Stop, Tried, Via, Wish, open_stops};
pub use standing::{RunningGateway, Telling};
pub use view::{
    Compliance, Deleted, Finding, Level, Limits, LoginInfo, LoginPlan, NewLogin, PluginInfo,
    ProviderInfo, PruneCandidate, RefusedPlugin, Served, SessionView, SettingInfo, Trusted,
};

use crate::{
    config::{Config, StoreConfig},
    home::Home,
    oauth::refresh::Refresher,
    plugin::{
        Provenance, RefusalError,
        admitted::{self, Plugin},
        generations::Generations,
        judge::{Judge, Judged},
        probe::Verdicts,
        provider::Provider,
        quarantine::{self, Quarantine},
        registry::{self, Registry},
        runtime::block_on,
        scan,
        tier::Terms,
        trust::{Trust, TrustError},
    },
    session::{
        KeySource, MigrationKeys, SessionError, Sessions, SqliteOptions, SqliteStore, Stamp, Store,
    },
    suggest::nearest,
    transport::Transport,
};

/// A host of providers. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Maestro {
    inner: Arc<Inner>,
}

struct Inner {
    home: Home,
    /// The configuration of now; whoever asks keeps what he was given.
    config: RwLock<Arc<Config>>,
    /// The file that was last looked at, good or not, so that it is not said twice what is wrong.
    config_text: Mutex<String>,
    /// What was said of the last one that does not serve.
    config_refused: Mutex<String>,
    plugins: Generations,
    transport: Arc<Transport>,
    refresher: Arc<Refresher>,
    sessions: OnceCell<Arc<Sessions>>,
    /// What `MAESTRO_SESSION` says.
    env_session: Option<String>,
    catalog: catalog::Catalog,
    clients: clients::Clients,
    printed: declared::Printed,
    health: Arc<health::Health>,
    ledger: meter::Ledger,
    /// Who is told of what works and should not be relied on; without one, the log.
    warner: OnceLock<Warner>,
}

/// Tells somebody something.
type Warner = Box<dyn Fn(&str) + Send + Sync>;

impl std::fmt::Debug for Maestro {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maestro").field("home", &self.inner.home).finish_non_exhaustive()
    }
}

/// Who changes sessions through this interface, in the audit trail.
const ACTOR: &str = "cli";

impl Maestro {
    /// Scans and judges the plugin folders. Opens no store, loads no library.
    ///
    /// # Errors
    ///
    /// [`Error::Misfit`] when the configuration names what no plugin has.
    pub fn open(home: Home, config: Config) -> Result<Self, Error> {
        let bundled = registry::bundled_folder();
        // What its author works on comes before all else.
        let provenance = Provenance::Development;
        let mut folders = vec![scan::Folder { path: home.development(), provenance }];
        let (others, user) = (&config.plugins.path, home.plugins());
        folders.extend(registry::folders(bundled.as_deref(), others, &user));
        let mut terms = Terms::new(&config, Trust::read(&home.trusted())?);
        let limit = config.plugins.quarantine_after.unwrap_or(quarantine::LIMIT);
        terms.quarantine = Arc::new(Quarantine::open(home.quarantine(), limit));
        terms.verdicts = Arc::new(Verdicts::open(&home.plugin_copies()));
        let plugins =
            Generations::discover(folders, home.plugin_copies(), &config, &Arc::new(terms))?;
        let transport = Arc::new(Transport::new(config.timeouts));
        let refresher = Arc::new(Refresher::new(config.timeouts, ACTOR));
        let env_session = std::env::var("MAESTRO_SESSION").ok().filter(|text| !text.is_empty());
        let sessions = OnceCell::new();
        let (catalog, clients, printed, health, ledger) = Default::default();
        let config_text = Mutex::new(fs::read_to_string(home.config_file()).unwrap_or_default());
        let config = RwLock::new(Arc::new(config));
        let warner = OnceLock::new();
        let inner = Inner {
            home,
            config,
            config_text,
            config_refused: Mutex::default(),
            plugins,
            transport,
            refresher,
            sessions,
            env_session,
            catalog,
            clients,
            printed,
            health,
            ledger,
            warner,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says who is told of what works and should not be relied on. The first one stays.
    #[must_use]
    pub fn on_warning(self, warner: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let _ = self.inner.warner.set(Box::new(warner));
        self
    }

    fn warn(&self, text: &str) {
        match self.inner.warner.get() {
            Some(warner) => warner(text),
            None => tracing::warn!("{text}"),
        }
    }

    /// Returns the folders.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.inner.home
    }

    /// Returns the configuration of now; another one may take its place.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.inner.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lists providers, ready ones first.
    ///
    /// Looks into the store only if there is one; a store that cannot be read shows as no sessions
    /// here, and as an error as soon as one is used.
    pub async fn list_providers(&self) -> Vec<ProviderInfo> {
        let known = self.session_selectors().await;
        let mut providers: Vec<ProviderInfo> = self
            .registry()
            .providers()
            .map(|provider| self.provider_info(provider, &known))
            .collect();
        providers.sort_by(|a, b| b.ready.cmp(&a.ready).then_with(|| a.id.cmp(&b.id)));
        providers
    }

    /// Describes a provider: what it can do, its limits and what it needs.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownProvider`], with the nearest.
    pub async fn provider_capabilities(&self, id: &str) -> Result<ProviderInfo, Error> {
        let provider = self.provider(id)?;
        Ok(self.provider_info(&provider, &self.session_selectors().await))
    }

    fn provider_info(&self, provider: &Provider, known: &[(ProviderId, String)]) -> ProviderInfo {
        let sessions = known
            .iter()
            .filter(|(id, _)| *id == provider.id)
            .map(|(_, selector)| selector.clone())
            .collect();
        let config = self.config();
        let config = config.providers.get(&provider.id);
        let client = config.and_then(|config| config.oauth.as_ref());
        ProviderInfo::of(provider, client, sessions, choice::env_key(provider).is_some())
    }

    async fn session_selectors(&self) -> Vec<(ProviderId, String)> {
        let listed = self.list_sessions(None).await.unwrap_or_default();
        listed.into_iter().map(|view| (view.provider, view.selector)).collect()
    }

    /// Says which plugin serves an operation of a provider.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownProvider`], [`Error::NotReady`], [`Error::NotSupported`].
    pub fn resolve(&self, provider: &str, capability: Capability) -> Result<Served, Error> {
        let provider = &self.capable(provider, capability, capability.as_str())?;
        Ok(Served { provider: provider.id.clone(), plugin: provider.plugin.id.clone() })
    }

    /// Returns what serves now. Whoever asks keeps what he was given, whatever serves next.
    fn registry(&self) -> Arc<Registry> {
        self.inner.plugins.now()
    }

    fn provider(&self, id: &str) -> Result<Arc<Provider>, Error> {
        let registry = self.registry();
        registry.provider(id).cloned().ok_or_else(|| {
            let known = registry.providers().map(|provider| provider.id.as_str());
            let hint = nearest(id, known).map(|near| format!("did you mean `{near}`?"));
            let hint = hint.unwrap_or_else(|| match registry.refused().len() {
                0 => "run `maestro providers list --all`".into(),
                1 => "1 plugin file was refused; run `maestro plugin list`".into(),
                n => format!("{n} plugin files were refused; run `maestro plugin list`"),
            });
            Error::UnknownProvider { provider: id.to_owned(), hint }
        })
    }

    /// Returns the provider, or why it cannot be asked although it is there.
    fn ready_provider(&self, id: &str) -> Result<Arc<Provider>, Error> {
        let provider = self.provider(id)?;
        match &provider.missing {
            None => Ok(provider),
            Some(why) => Err(Error::NotReady { provider: provider.id.clone(), why: why.clone() }),
        }
    }

    /// Lists the plugins that passed, and behind them generations that were replaced and still have
    /// exchanges.
    #[must_use]
    pub fn list_plugins(&self) -> Vec<PluginInfo> {
        let serving = self.registry();
        let mut listed: Vec<_> = serving.plugins().map(|plugin| PluginInfo::of(plugin)).collect();
        listed.extend(self.inner.plugins.draining().iter().map(|p| PluginInfo::draining(p)));
        listed
    }

    /// Lists the files that were refused, and why.
    #[must_use]
    pub fn refused_plugins(&self) -> Vec<RefusedPlugin> {
        self.registry().refused().iter().map(RefusedPlugin::of).collect()
    }

    /// Describes a plugin by id, or any file by path.
    ///
    /// # Errors
    ///
    /// [`Error::Plugin`] when it was or would be refused, [`Error::UnknownPlugin`].
    pub fn inspect_plugin(&self, id_or_path: &str) -> Result<PluginInfo, Error> {
        Ok(PluginInfo::of(&*self.plugin(id_or_path)?))
    }

    /// Loads a plugin and checks that it keeps its word: layout, manifest, and an implementation of
    /// every capability that it declares.
    ///
    /// # Errors
    ///
    /// [`Error::Plugin`] when it is refused before it can be checked, [`Error::UnknownPlugin`].
    pub fn validate(&self, id_or_path: &str) -> Result<Compliance, Error> {
        let plugin = self.plugin(id_or_path)?;
        let mut checks = vec![Check { what: "manifest".into(), passed: true, detail: None }];
        match block_on(plugin.start()) {
            Ok(runtime) => {
                checks.push(Check { what: "layout".into(), passed: true, detail: None });
                checks.extend(block_on(crate::plugin::honesty::check(&plugin, &runtime)));
            }
            Err(error) => checks.push(Check {
                what: "layout".into(),
                passed: false,
                detail: Some(one_line(&error)),
            }),
        }
        let passed = checks.iter().all(|check| check.passed);
        Ok(Compliance { plugin: plugin.id.to_string(), passed, checks })
    }

    /// Trusts the present bytes of a plugin, so that they run in process from the next start on. Also
    /// of one that is refused because this machine cannot confine it.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPlugin`], [`Error::Trust`].
    pub fn trust_plugin(&self, id: &str) -> Result<Trusted, Error> {
        self.trust_plugin_with(id, &[])
    }

    /// [Trusts](Self::trust_plugin) the present bytes of a plugin, and lets them do what they declare
    /// and may not do without the user's word.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPlugin`], [`Error::Trust`], also when it does not declare it.
    pub fn trust_plugin_with(&self, id: &str, allow: &[Capability]) -> Result<Trusted, Error> {
        let judged = self.installed(id)?;
        let (plugin, hash) = (judged.manifest.id.clone(), judged.hash);
        let path = self.inner.home.trusted();
        let mut trust = Trust::read(&path)?;
        trust.pin(&plugin, &hash);
        for capability in allow.iter().copied() {
            if !judged.manifest.capabilities.contains(&capability) {
                return Err(TrustError::NotDeclared { plugin, capability }.into());
            }
            trust.allow(&plugin, &hash, capability);
        }
        trust.write(&path)?;
        Ok(Trusted { plugin, hash })
    }

    /// Trusts a plugin no more. Reports whether it was trusted.
    ///
    /// # Errors
    ///
    /// [`Error::Trust`].
    pub fn untrust_plugin(&self, id: &str) -> Result<bool, Error> {
        let path = self.inner.home.trusted();
        let mut trust = Trust::read(&path)?;
        let was = trust.unpin(id);
        if was {
            trust.write(&path)?;
        }
        Ok(was)
    }

    /// Returns what was judged of a plugin in the folders, taken or not confined.
    fn installed(&self, id: &str) -> Result<Judged, Error> {
        let registry = self.registry();
        if let Some(plugin) = registry.plugin(id) {
            return Ok(plugin.judged.clone());
        }
        let unconfined = registry
            .refused()
            .iter()
            .filter(|refusal| matches!(refusal.error, RefusalError::Unconfined { .. }))
            .filter_map(|refusal| self.judge(&refusal.path).ok());
        let mut named = unconfined.filter(|judged| judged.manifest.id == id);
        named.next().ok_or_else(|| {
            let ids = registry.plugins().map(|plugin| plugin.id.as_str());
            let hint = nearest(id, ids).map(|near| format!("did you mean `{near}`?"));
            let hint = hint.unwrap_or_else(|| "run `maestro plugin list`".into());
            Error::UnknownPlugin { plugin: id.to_owned(), hint }
        })
    }

    /// Judges any file.
    fn judge(&self, path: &Path) -> Result<Judged, RefusalError> {
        let stamp = scan::check_file(path)?;
        let path = path.to_owned();
        let found = scan::Found { path, provenance: Provenance::User, stamp };
        Judge::new(self.inner.home.plugin_copies()).judge(&found)
    }

    fn plugin(&self, id_or_path: &str) -> Result<Arc<Plugin>, Error> {
        let registry = self.registry();
        if let Some(plugin) = registry.plugin(id_or_path) {
            return Ok(Arc::clone(plugin));
        }
        let path = PathBuf::from(id_or_path);
        if !id_or_path.contains('/') && path.extension().is_none() {
            let ids = registry.plugins().map(|plugin| plugin.id.as_str());
            let hint = nearest(id_or_path, ids).map(|near| format!("did you mean `{near}`?"));
            return Err(Error::UnknownPlugin {
                plugin: id_or_path.to_owned(),
                hint: hint.unwrap_or_else(|| "run `maestro plugin list`, or name a file".into()),
            });
        }
        self.judge(&path)
            .and_then(|judged| Plugin::new(judged, registry.terms(), admitted::FIRST))
            .map(Arc::new)
            .map_err(|source| Error::Plugin { plugin: id_or_path.to_owned(), source })
    }

    /// Opens the store and its key, once.
    async fn sessions(&self) -> Result<&Arc<Sessions>, Error> {
        self.inner
            .sessions
            .get_or_try_init(|| async {
                let home = self.inner.home.clone();
                let config = self.config().store.clone();
                let opened = tokio::task::spawn_blocking(move || open_store(&home, &config));
                opened.await.unwrap_or(Err(Error::Session(SessionError::Panicked)))
            })
            .await
    }

    /// Opens the store only if there is one: what was never stored needs no key made.
    async fn existing_sessions(&self) -> Result<Option<&Arc<Sessions>>, Error> {
        if self.inner.sessions.get().is_none() && !self.inner.home.database().exists() {
            return Ok(None);
        }
        self.sessions().await.map(Some)
    }
}

/// Says where our key and the former program's are.
fn store_keys(home: &Home, config: &StoreConfig) -> (KeySource, MigrationKeys) {
    let source = KeySource::choose(config.key.as_ref().map(KeySource::from), home.data());
    let legacy = config.legacy_key.as_ref().map(KeySource::from);
    let keys = MigrationKeys { master: Some(source.clone()), legacy, leave_unreadable: false };
    (source, keys)
}

fn open_store(home: &Home, config: &StoreConfig) -> Result<Arc<Sessions>, Error> {
    let (source, keys) = store_keys(home, config);
    let options = SqliteOptions::default();
    let store = SqliteStore::open_with_keys(&home.database(), now_s(), options, &keys)?;
    let mut key = source.load(|| Store::has_ciphertext(&store).unwrap_or(true))?;
    let active = store.keys()?.into_iter().find(|known| known.active).map(|known| known.id);
    if let Some(active) = active.filter(|active| *active != key.id())
        && let Some((next, _)) = source.finish_rotation(key.id(), active)?
    {
        tracing::info!("finished a change of the master key that was interrupted");
        key = next;
    }
    Ok(Arc::new(Sessions::open(Arc::new(store), key, now_s())?))
}

/// Returns the time in Unix seconds.
pub(crate) fn unix_time_s() -> u64 {
    now_s().cast_unsigned()
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn stamp() -> Stamp<'static> {
    Stamp { now_s: now_s(), actor: ACTOR }
}
