//! The registry that serves now, and how another takes its place while requests run.
//!
//! A registry is never changed. When the folders did, a new one is made beside it that shares every
//! plugin whose bytes and terms are the same; then one pointer is exchanged. Requests keep what they
//! began with: a plugin that is in no registry any more goes when its last exchange ends, or when its
//! time to drain is over.
//!
//! A file that cannot take the place of the one that served does not: what served goes on serving,
//! from its private copy.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::{Duration, Instant, SystemTime},
};

use super::{
    Provenance, Refusal, RefusalError,
    admitted::{FIRST, Plugin},
    judge::{Judge, Judged},
    one_line,
    provider::MisfitError,
    registry::Registry,
    runtime::block_on,
    scan::{Folder, scan},
    tier::Terms,
    trust::Trust,
};
use crate::config::Config;

/// The present registry and what is left of former ones.
#[derive(Debug)]
pub struct Generations {
    folders: Vec<Folder>,
    copies: PathBuf,
    now: RwLock<Arc<Registry>>,
    /// One change at a time.
    changing: Mutex<Memory>,
    draining: Mutex<Vec<Draining>>,
    drain: Duration,
}

/// What is remembered from one change to the next.
#[derive(Debug, Default)]
struct Memory {
    /// The last generation that each plugin has had.
    last: BTreeMap<String, u64>,
    /// What was said of the files as they are, so that it is said once.
    said: HashSet<String>,
    /// What served before the present generation of each plugin, and served well.
    good: BTreeMap<String, Good>,
}

/// A generation that served well, to go back to.
#[derive(Clone, Debug)]
struct Good {
    judged: Judged,
    generation: u64,
}

/// A plugin that is in no registry any more.
#[derive(Debug)]
struct Draining {
    plugin: Weak<Plugin>,
    until: Instant,
}

/// What came of looking at the folders again.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Changes {
    /// Which generations serve now that did not before, as plugin and number.
    pub serving: Vec<(String, u64)>,
    /// Which plugins are not there any more.
    pub gone: Vec<String>,
    /// What could not be taken, a line each; what was said before of the same file is left out.
    pub problems: Vec<String>,
    /// Whether a file was still being written, so that looking again soon may help.
    pub unfinished: bool,
}

impl Changes {
    /// Says what changed for the better or as it was wanted, a line each; what went wrong stands in
    /// [`problems`](Self::problems).
    #[must_use]
    pub fn news(&self) -> Vec<String> {
        let serving = self
            .serving
            .iter()
            .map(|(id, generation)| format!("generation {generation} of `{id}` serves"));
        serving.chain(self.gone.iter().map(|id| format!("`{id}` is gone"))).collect()
    }
}

/// How long exchanges may go on with a generation that was replaced, unless the configuration says
/// otherwise.
const DRAIN: Duration = Duration::from_secs(300);

impl Generations {
    /// Looks at the folders for the first time.
    ///
    /// # Errors
    ///
    /// [`MisfitError`] when the configuration names what no plugin has.
    pub fn discover(
        folders: Vec<Folder>,
        copies: PathBuf,
        config: &Config,
        terms: &Arc<Terms>,
    ) -> Result<Self, MisfitError> {
        let registry = Registry::discover(&folders, copies.clone(), config, terms)?;
        Ok(Self {
            folders,
            copies,
            now: RwLock::new(Arc::new(registry)),
            changing: Mutex::default(),
            draining: Mutex::default(),
            drain: config.plugins.drain_ms.map_or(DRAIN, Duration::from_millis),
        })
    }

    /// Returns the registry that serves now.
    #[must_use]
    pub fn now(&self) -> Arc<Registry> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the folders that are searched.
    #[must_use]
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// Returns the plugins that still have exchanges and take no new ones.
    #[must_use]
    pub fn draining(&self) -> Vec<Arc<Plugin>> {
        self.drains().iter().filter_map(|draining| draining.plugin.upgrade()).collect()
    }

    /// Ends the workers whose time to drain is over; returns when the next one's is.
    pub fn end_late(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut drains = self.drains();
        drains.retain(|draining| {
            let Some(plugin) = draining.plugin.upgrade() else { return false };
            if draining.until > now {
                return true;
            }
            tracing::info!(plugin = %plugin.id, generation = plugin.generation, "ended while draining");
            plugin.retire();
            false
        });
        drains.iter().map(|draining| draining.until).min()
    }

    /// Checks that a configuration fits the plugins that serve now. Loads nothing.
    ///
    /// # Errors
    ///
    /// [`MisfitError`] when it names what no plugin has.
    pub fn fits(&self, config: &Config) -> Result<(), MisfitError> {
        let now = self.now();
        let mut registry = Registry::empty(Arc::clone(now.terms()));
        for plugin in now.plugins() {
            // One that is refused beside another was so before, and is no fault of the configuration.
            let _ = registry.admit(&plugin.judged.manifest, config, || Ok(Arc::clone(plugin)));
        }
        registry.configure(config).into_iter().next().map_or(Ok(()), Err)
    }

    /// Looks at the folders again, and puts a new registry in the old one's place if something changed.
    /// Loads and so may take a while; requests are served meanwhile.
    pub fn change(&self, config: &Config, trust: Option<Trust>) -> Changes {
        let mut memory = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = &mut *memory;
        let before = self.now();
        let terms = match trust {
            Some(trust) if trust != before.terms().trust => {
                Arc::new(Terms { trust, ..(**before.terms()).clone() })
            }
            _ => Arc::clone(before.terms()),
        };
        let mut change = Change {
            before: &before,
            terms,
            config,
            good: &memory.good,
            changes: Changes::default(),
            said: Vec::new(),
        };
        let candidates = self.candidates(&mut change, &mut memory.last);
        let after = change.assemble(candidates);
        let Change { said, mut changes, .. } = change;
        for line in &said {
            if !memory.said.contains(line) {
                changes.problems.push(line.clone());
            }
        }
        memory.said = said.into_iter().collect();
        let is_in = |registry: &Registry, plugin: &Arc<Plugin>| {
            registry.plugin(plugin.id.as_str()).is_some_and(|other| Arc::ptr_eq(other, plugin))
        };
        for plugin in after.plugins().filter(|plugin| !is_in(&before, plugin)) {
            let last = memory.last.entry(plugin.id.to_string()).or_default();
            *last = plugin.generation.max(*last);
            changes.serving.push((plugin.id.to_string(), plugin.generation));
        }
        let absent = before.plugins().filter(|plugin| after.plugin(plugin.id.as_str()).is_none());
        changes.gone.extend(absent.map(|plugin| plugin.id.to_string()));
        for plugin in before.plugins().filter(|plugin| !is_in(&after, plugin)) {
            let id = plugin.id.as_str();
            match after.plugin(id) {
                None => _ = memory.good.remove(id),
                Some(next) if next.judged.hash != plugin.judged.hash && plugin.is_known_good() => {
                    let good =
                        Good { judged: plugin.judged.clone(), generation: plugin.generation };
                    memory.good.insert(id.to_owned(), good);
                }
                Some(_) => {}
            }
        }
        let until = Instant::now() + self.drain;
        let gone = before.plugins().filter(|plugin| !is_in(&after, plugin));
        let gone = gone.map(|plugin| Draining { plugin: Arc::downgrade(plugin), until });
        let mut drains = self.drains();
        drains.retain(|draining| draining.plugin.strong_count() > 0);
        drains.extend(gone);
        drop(drains);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        changes
    }

    fn drains(&self) -> MutexGuard<'_, Vec<Draining>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at every file: what served and is the same, what is new and passed, what did not pass.
    fn candidates(
        &self,
        change: &mut Change<'_>,
        last: &mut BTreeMap<String, u64>,
    ) -> Vec<Candidate> {
        let (found, refused) = scan(&self.folders);
        let mut judge = Judge::new(self.copies.clone());
        let verdicts = judge.judge_all(&found);
        judge.remember(&found, &verdicts);
        let mut candidates = Vec::new();
        for Refusal { path, error } in refused {
            change.refuse(&mut candidates, path, error);
        }
        let mut developed = HashSet::new();
        for (file, verdict) in found.into_iter().zip(verdicts) {
            // Those in development come first; what they stand in for is not even loaded.
            if let Ok(Judged { provenance, manifest, .. }) = &verdict {
                if *provenance == Provenance::Development {
                    developed.insert(manifest.id.clone());
                } else if developed.contains(&manifest.id) {
                    continue;
                }
            }
            match verdict.and_then(|judged| change.plugin(judged, last)) {
                Ok(plugin) => candidates.push(Candidate { path: file.path, offer: Ok(plugin) }),
                Err(error) => change.refuse(&mut candidates, file.path, error),
            }
        }
        // The first file of an id keeps it, also when it is one that was kept.
        let rank = |path: &Path| self.folders.iter().position(|f| path.starts_with(&f.path));
        candidates.sort_by(|a, b| (rank(&a.path), &a.path).cmp(&(rank(&b.path), &b.path)));
        candidates
    }
}

/// A file and what it offers.
struct Candidate {
    path: PathBuf,
    offer: Result<Arc<Plugin>, RefusalError>,
}

/// One change while it is made.
struct Change<'a> {
    before: &'a Registry,
    terms: Arc<Terms>,
    config: &'a Config,
    good: &'a BTreeMap<String, Good>,
    changes: Changes,
    /// All that is to be said of the files as they are.
    said: Vec<String>,
}

impl<'a> Change<'a> {
    /// Returns the plugin of a file that passed: the one that serves, if nothing of it changed, else
    /// another generation, which was loaded once.
    fn plugin(
        &self,
        judged: Judged,
        last: &mut BTreeMap<String, u64>,
    ) -> Result<Arc<Plugin>, RefusalError> {
        let id = judged.manifest.id.clone();
        let former = self.before.plugin(&id);
        if let Some(former) = former
            && former.judged.hash == judged.hash
            && former.judged.path == judged.path
            && former.trusted == self.terms.trusts(&judged)
            && former.handles_secrets == self.terms.lets_handle_secrets(&judged)
            && self.terms.tier(&judged).is_ok_and(|tier| tier == former.tier)
        {
            if self.good_before(former).is_some() {
                self.terms.quarantine.check(&judged.hash)?;
            }
            return Ok(Arc::clone(former));
        }
        self.terms.verdicts.check(&judged.hash)?;
        let known = former.map(|former| former.generation).max(last.get(&id).copied());
        let plugin = Plugin::new(judged, &self.terms, known.map_or(FIRST, |known| known + 1))?;
        // What takes another's place must work. What is merely new is loaded when it is first asked,
        // so that a hundred files at once do not start a hundred processes.
        if let Some(former) = former.or_else(|| self.at(&plugin.judged.path)) {
            self.terms.quarantine.check(&plugin.judged.hash)?;
            if former.is_loaded() {
                block_on(plugin.start())?;
            } else {
                block_on(plugin.probe())?;
            }
        }
        Ok(Arc::new(plugin))
    }

    /// Returns what served well before a plugin that serves now, if it can serve again.
    fn good_before(&self, present: &Plugin) -> Option<&'a Good> {
        let good = self.good.get(present.id.as_str())?;
        let Judged { path, hash, copy, .. } = &good.judged;
        let whole = *path == present.judged.path && copy.is_file();
        (whole && self.terms.quarantine.check(hash).is_ok()).then_some(good)
    }

    /// Returns to the generation before one that is withheld because it crashes.
    fn go_back(&mut self, present: &Plugin, why: &RefusalError) -> Option<Arc<Plugin>> {
        if !matches!(why, RefusalError::Quarantined { .. }) || present.withheld().is_none() {
            return None;
        }
        let Good { judged, generation } = self.good_before(present)?.clone();
        Plugin::new(judged, &self.terms, generation).ok().map(Arc::new)
    }

    /// Returns the plugin that served from a file.
    fn at(&self, path: &Path) -> Option<&'a Arc<Plugin>> {
        self.before.plugins().find(|plugin| plugin.judged.path == path)
    }

    /// Keeps what served from a file, or from a folder, that is refused now.
    fn refuse(&mut self, candidates: &mut Vec<Candidate>, path: PathBuf, error: RefusalError) {
        self.changes.unfinished |= matches!(error, RefusalError::Changing);
        let of = |plugin: &&Arc<Plugin>| {
            plugin.judged.path == path || plugin.judged.path.parent() == Some(&path)
        };
        let kept: Vec<_> = self.before.plugins().filter(of).cloned().collect();
        for present in &kept {
            let good = self.go_back(present, &error).unwrap_or_else(|| Arc::clone(present));
            self.keep(&good, &error);
            candidates.push(Candidate { path: good.judged.path.clone(), offer: Ok(good) });
        }
        if kept.is_empty() {
            candidates.push(Candidate { path, offer: Err(error) });
        }
    }

    /// Says that a plugin goes on serving, and why its successor does not.
    fn keep(&mut self, former: &Plugin, why: &dyn std::error::Error) {
        let (id, generation) = (&former.id, former.generation);
        let why = one_line(why);
        self.said.push(format!(
            "kept generation {generation} of `{id}`; generation {} failed to load: {why}",
            generation + 1
        ));
        // A copy that no file stands for is deleted when it is old, and this one is needed.
        if let Ok(copy) = fs::File::options().write(true).open(&former.judged.copy) {
            let _ = copy.set_modified(SystemTime::now());
        }
    }

    /// Makes a registry of the candidates. A new generation that does not fit, beside the others or
    /// with the configuration, gives its place back to the one that served.
    fn assemble(&mut self, mut candidates: Vec<Candidate>) -> Registry {
        loop {
            let (mut registry, problems) = self.attempt(&mut candidates);
            let misfit = problems.iter().find_map(|problem| {
                let served = self.before.provider(&problem.provider)?;
                let at = candidates.iter().position(|candidate| {
                    let former = self.at(&candidate.path);
                    former.is_some_and(|former| Arc::ptr_eq(former, &served.plugin))
                        && candidate.offer.as_ref().is_ok_and(|p| !Arc::ptr_eq(p, &served.plugin))
                })?;
                Some((at, Arc::clone(&served.plugin), problem.clone()))
            });
            if let Some((at, former, problem)) = misfit {
                self.keep(&former, &problem);
                candidates[at].offer = Ok(former);
                continue;
            }
            self.said.extend(problems.iter().map(|problem| one_line(problem)));
            for Candidate { path, offer } in candidates {
                let Err(error) = offer else { continue };
                registry.refuse(Refusal { path, error });
            }
            for refusal in registry.refused() {
                self.changes.unfinished |= matches!(refusal.error, RefusalError::Changing);
                let (path, error) = (refusal.path.display(), one_line(&refusal.error));
                self.said.push(format!("refused `{path}`: {error}"));
            }
            return registry;
        }
    }

    fn attempt(&mut self, candidates: &mut [Candidate]) -> (Registry, Vec<MisfitError>) {
        let mut registry = Registry::empty(Arc::clone(&self.terms));
        for candidate in candidates.iter_mut() {
            let Ok(plugin) = &candidate.offer else { continue };
            let plugin = Arc::clone(plugin);
            let admit = |registry: &mut Registry, plugin: &Arc<Plugin>| {
                let manifest = &plugin.judged.manifest;
                registry.admit(manifest, self.config, || Ok(Arc::clone(plugin)))
            };
            let Err(error) = admit(&mut registry, &plugin) else { continue };
            let former = self.at(&candidate.path).filter(|former| !Arc::ptr_eq(former, &plugin));
            candidate.offer = match former.cloned() {
                Some(former) if admit(&mut registry, &former).is_ok() => {
                    self.keep(&former, &error);
                    Ok(former)
                }
                _ => Err(error),
            };
        }
        let misfits = registry.configure(self.config);
        (registry, misfits)
    }
}
