//! What a program that runs for long does with its plugins: watch their folders, take over what changed,
//! withhold what crashes.

use std::sync::Arc;

use super::{Changes, Error, Maestro, Watch, WatchError, Withheld};
use crate::plugin::{
    trust::Trust,
    watch::{Next, Places, Why},
};

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
        let files = vec![home.trusted(), home.quarantine()];
        Watch::start(Places { folders: folders.collect(), files }, move |why| {
            let Some(inner) = weak.upgrade() else { return Next::Stop };
            let maestro = Self { inner };
            let unfinished = why == Why::News && {
                let changes = maestro.reload_plugins();
                tell(&changes);
                changes.problems.iter().for_each(|problem| maestro.warn(problem));
                changes.unfinished
            };
            let late = maestro.inner.plugins.end_late();
            if unfinished { Next::Soon } else { late.map_or(Next::Never, Next::At) }
        })
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
        let changes = inner.plugins.change(&inner.config, trust);
        for (plugin, generation) in &changes.serving {
            tracing::info!(plugin, generation, "serving");
        }
        changes
    }

    /// Lists the bytes that are withheld because they crash.
    #[must_use]
    pub fn quarantined_plugins(&self) -> Vec<Withheld> {
        self.registry().terms().quarantine.withheld()
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
