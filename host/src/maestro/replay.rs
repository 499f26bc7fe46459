//! Running recordings again.

use std::path::Path;

use serde::Serialize;

use super::{Error, Maestro, one_line};
use crate::exchange::{
    recording,
    replay::{Replayed, replay},
};

/// An exchange of a recording that was run again.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ReplayedExchange {
    /// The plugin that ran it.
    pub plugin: String,
    /// The provider that it was recorded for.
    pub provider: String,
    /// What came of it; `None` when the plugin did not survive it.
    #[serde(flatten)]
    pub replayed: Option<Replayed>,
    /// Why there is nothing to compare.
    pub broken: Option<String>,
}

impl ReplayedExchange {
    /// Reports whether it gave the same as when it was recorded.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.replayed.as_ref().is_some_and(Replayed::is_same)
    }
}

impl Maestro {
    /// Reads a recording, to see that it can be run again.
    ///
    /// # Errors
    ///
    /// [`Error::Recording`].
    pub fn check_recording(&self, file: &Path) -> Result<(), Error> {
        recording::read(file)?;
        Ok(())
    }

    /// Runs the exchanges of a recording again, without a network: by the plugins that they were recorded
    /// with, or by `plugin`, an id or a file.
    ///
    /// # Errors
    ///
    /// [`Error::Recording`], [`Error::UnknownPlugin`], [`Error::Plugin`].
    pub async fn replay_recording(
        &self,
        file: &Path,
        plugin: Option<&str>,
    ) -> Result<Vec<ReplayedExchange>, Error> {
        let mut all = Vec::new();
        for recorded in recording::read(file)? {
            let named = plugin.unwrap_or(&recorded.opened.plugin);
            let plugin = self.plugin(named)?;
            let runtime = plugin.start().await;
            let runtime =
                runtime.map_err(|source| Error::Plugin { plugin: named.to_owned(), source })?;
            let (replayed, broken) = match replay(&runtime, &recorded).await {
                Ok(replayed) => (Some(replayed), None),
                Err(broken) => (None, Some(one_line(&broken))),
            };
            let plugin = plugin.id.to_string();
            let provider = recorded.opened.instance.provider.to_string();
            all.push(ReplayedExchange { plugin, provider, replayed, broken });
        }
        Ok(all)
    }
}
