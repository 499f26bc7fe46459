//! What a program that runs for long does with its plugins: watch their folders, take over what changed,
//! withhold what crashes.

use std::{
    fs, io,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{Changes, EndlessStep, Error, Finding, Level, Maestro, Watch, WatchError, Withheld};
use crate::{
    config::{Config, ConfigError},
    plugin::{
        development,
        trust::Trust,
        watch::{Next, Places, Why},
    },
};

/// Why the configuration is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Something changed on the disk.
    ByTheFile,
    /// Somebody said so.
    ByName,
}

impl Maestro {
    /// Watches the plugin folders and takes over what changes, as long as the watch is kept and somebody
    /// else has this host. What goes wrong is told to who listens on [`on_warning`](Self::on_warning).
    ///
    /// # Errors
    ///
    /// [`WatchError`] when the system does not let us.
    pub fn watch(&self) -> Result<Watch, WatchError> {
        self.watch_and_tell(|_| ())
    }

    /// [Watches](Self::watch), and tells what came of each look at the folders that found anything.
    ///
    /// # Errors
    ///
    /// [`WatchError`] when the system does not let us.
    pub fn watch_and_tell(
        &self,
        tell: impl Fn(&Changes) + Send + 'static,
    ) -> Result<Watch, WatchError> {
        let (weak, home) = (Arc::downgrade(&self.inner), self.home());
        let folders = self.inner.plugins.folders().iter().map(|folder| folder.path.clone());
        let files = vec![home.trusted(), home.quarantine(), home.config_file()];
        Watch::start(Places { folders: folders.collect(), files }, move |why| {
            let Some(inner) = weak.upgrade() else { return Next::Stop };
            let maestro = Self { inner };
            let ended = || {
                let registry = maestro.registry();
                let mut plugins = registry.plugins().filter(|plugin| plugin.is_in_development());
                plugins.any(|plugin| !development::is_live(&plugin.judged.path))
            };
            let unfinished = (why == Why::News || ended()) && {
                let changes = maestro.reload_all(Asked::ByTheFile);
                tell(&changes);
                changes.unfinished
            };
            let late = maestro.inner.plugins.end_late();
            // A process that is killed removes nothing, so its end is no news.
            let developed = maestro.registry().plugins().any(|plugin| plugin.is_in_development());
            let again = developed.then(|| Instant::now() + DEVELOPED);
            let late = late.into_iter().chain(again).min();
            if unfinished { Next::Soon } else { late.map_or(Next::Never, Next::At) }
        })
    }

    /// Looks at configuration and plugin folders again, as on SIGHUP. What goes wrong is told to who
    /// listens on [`on_warning`](Self::on_warning), and leaves what served before.
    pub fn reload(&self) -> Changes {
        self.reload_all(Asked::ByName)
    }

    fn reload_all(&self, asked: Asked) -> Changes {
        let mut read = self.reload_config(asked);
        let mut changes = self.reload_plugins();
        // A provider and its plugin may come in any order.
        if matches!(read, Err(Error::Misfit(_))) {
            read = self.reload_config(asked);
            if matches!(read, Ok(true)) {
                let more = self.reload_plugins();
                changes.serving.extend(more.serving);
                changes.gone.extend(more.gone);
                changes.problems.extend(more.problems);
                changes.unfinished |= more.unfinished;
            }
        }
        let mut last = self.inner.config_refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = read {
            let said = format!("{}; the former configuration stays", super::one_line(&error));
            if asked == Asked::ByName || *last != said {
                self.warn(&said);
            }
            *last = said;
        } else {
            last.clear();
        }
        drop(last);
        changes.problems.iter().for_each(|problem| self.warn(problem));
        changes
    }

    /// Reads the configuration again and lets it serve from the next request on, if it is good. Reports
    /// whether it is another one.
    ///
    /// Not everything can change while a host runs: the store, plugin folders, the terms of workers,
    /// timeouts of connections and where a gateway listens are as they were when it was opened. A file that
    /// is found empty or gone may just be being written: it counts only when somebody asks by name.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], [`Error::Misfit`]; the former configuration stays.
    fn reload_config(&self, asked: Asked) -> Result<bool, Error> {
        let path = self.home().config_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path, source }.into()),
        };
        // Held to the end: of two that look at once, the one that read the newer file must come last.
        let mut seen = self.inner.config_text.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == text {
            return Ok(false);
        }
        if asked == Asked::ByTheFile && text.trim().is_empty() {
            let path = path.display();
            self.warn(&format!(
                "`{path}` is empty or gone; the former configuration stays until SIGHUP"
            ));
            return Ok(false);
        }
        let config = Config::parse(&text, &path)?;
        self.inner.plugins.fits(&config)?;
        // Only now: one that does not fit today may tomorrow, with another plugin.
        *seen = text;
        *self.inner.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(true)
    }

    /// Looks at the plugin folders again and takes over what changed. New exchanges go to new
    /// generations; those under way end where they began.
    pub fn reload_plugins(&self) -> Changes {
        let (inner, home) = (&self.inner, self.home());
        self.registry().terms().quarantine.read_again();
        let trust = match Trust::read(&home.trusted()) {
            Ok(trust) => Some(trust),
            Err(error) => {
                self.warn(&super::one_line(&error));
                None
            }
        };
        let changes = inner.plugins.change(&self.config(), trust);
        for (plugin, generation) in &changes.serving {
            tracing::info!(plugin, generation, "serving");
        }
        changes
    }

    /// Says who is told of a step in this process that does not end, in the place of who was told
    /// before. By then its bytes are withheld; its thread and whoever waits for its answer are lost until
    /// this process ends, which is for who is told to decide.
    ///
    /// It is told on a thread of its own.
    pub fn on_endless_step(&self, told: impl Fn(&EndlessStep) + Send + Sync + 'static) {
        self.registry().terms().endless.set(told);
    }

    /// Lists the bytes that are withheld because they crash.
    #[must_use]
    pub fn quarantined_plugins(&self) -> Vec<Withheld> {
        self.registry().terms().quarantine.withheld()
    }

    /// Reports a list of withheld bytes that others may write, and that is therefore not believed.
    #[must_use]
    pub fn disbelieved_quarantine(&self) -> Option<Finding> {
        let registry = self.registry();
        let path = registry.terms().quarantine.disbelieved()?.display().to_string();
        let detail = format!("others may write `{path}`, so it withholds no plugin");
        let hint = format!("run `chmod go-w {path}` if what it says is right, else delete it");
        let (what, level) = ("quarantine".to_owned(), Level::Warning);
        Some(Finding { what, level, detail, hint: Some(hint) })
    }

    /// Lets a plugin run again that crashed or could not be loaded. Returns whether it was withheld.
    ///
    /// # Errors
    ///
    /// [`Error::Quarantine`] when the list cannot be written.
    pub fn release_plugin(&self, id: &str) -> Result<bool, Error> {
        let registry = self.registry();
        let terms = registry.terms();
        let path = self.home().quarantine();
        let held = terms
            .quarantine
            .clear(id)
            .map_err(|source| Error::Quarantine { path: path.clone(), source })?;
        Ok(held + terms.verdicts.forget(id) > 0)
    }
}

/// How often to see whether who works on a plugin is still there.
const DEVELOPED: Duration = Duration::from_secs(1);
