//! Conformance of plugins.

use std::path::{Path, PathBuf};

use plugin_api::kit::conformance::Options;

use super::{Error, Maestro};
use crate::{
    contract::{self, Bench, Checked},
    plugin::RefusalError,
};

impl Maestro {
    /// Checks a plugin, by id or path, against every rule of the contract: without running it, then in
    /// a confined worker. Recorded answers come from `fixtures`, else from the folder `fixtures` of
    /// the crate that the file was built from.
    ///
    /// # Errors
    ///
    /// [`Error::Plugin`] when it cannot be checked at all.
    pub fn check_plugin(
        &self,
        id_or_path: &str,
        fixtures: Option<&Path>,
        options: &Options,
    ) -> Result<Checked, Error> {
        let registry = self.registry();
        let path = match registry.plugin(id_or_path) {
            Some(plugin) => plugin.judged.path.clone(),
            None if Path::new(id_or_path).is_file() => PathBuf::from(id_or_path),
            // Says why not, and what was probably meant.
            None => self.plugin(id_or_path)?.judged.path.clone(),
        };
        let refused =
            |source: RefusalError| Error::Plugin { plugin: id_or_path.to_owned(), source };
        let folder = fixtures.map(Path::to_owned).or_else(|| contract::fixtures_beside(&path));
        let fixtures = folder.map(|folder| contract::fixtures(&folder)).transpose();
        let fixtures = fixtures.map_err(RefusalError::Io).map_err(refused)?.unwrap_or_default();
        let bench = self.check_bench();
        let judge = || self.judge(&path);
        contract::check(&path, &fixtures, options, &bench, judge).map_err(refused)
    }

    /// Returns how the worker of a check is made here.
    pub(super) fn check_bench(&self) -> Bench {
        let registry = self.registry();
        let terms = registry.terms();
        Bench {
            program: terms.program.clone(),
            allow_unconfined: terms.allow_unconfined,
            budgets: terms.budgets,
        }
    }
}
