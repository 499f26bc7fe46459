//! A library that was admitted: where it runs, and what runs it once it is needed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use plugin_api::PluginId;
use tracing::debug;

use super::{
    Provenance, RefusalError, honesty,
    judge::Judged,
    load::Library,
    probe_rules,
    quarantine::{Quarantine, Withheld},
    resident::Resident,
    runtime::Runtime,
    tier::{Terms, Tier},
    worker::{Budgets, Vitals, Worker},
};

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

/// The number of the first generation of a plugin.
pub const FIRST: u64 = 1;

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
