//! The first load of unknown bytes, in a worker of their own, and what came of it.
//!
//! What loads is asked for each capability that it declares, with one step of each, which is also what
//! an installation asks, and then for the rules that `probe_rules` names. What is
//! not there, or is broken, is said and kept, and the rest may be used.
//!
//! A verdict holds for the bytes, the build of the host and the contract. Failures are kept too, so that
//! a library that ends its worker while it is loaded does that once and not at every start.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::UNIX_EPOCH,
};

use plugin_api::CONTRACT_VERSION;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::{RefusalError, judge::write_private};

/// What is known of bytes that were loaded before.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Where it is kept; `None` keeps it for this process alone.
    path: Option<PathBuf>,
    known: Mutex<BTreeMap<String, Verdict>>,
}

/// What came of loading some bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    plugin: String,
    failure: Option<Failure>,
    /// What it declares and does not do, and the rules that it breaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    broken: Vec<String>,
}

/// Why some bytes could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Failure {
    problem: String,
    hint: String,
}

impl Verdicts {
    /// Reads the verdicts of this build of the host. What cannot be read is not known.
    #[must_use]
    pub fn open(folder: &std::path::Path) -> Self {
        let name = format!("probes-{CONTRACT_VERSION}-{}.json", build());
        let verdicts = Self { path: Some(folder.join(name)), known: Mutex::default() };
        verdicts.read_into(&mut verdicts.known());
        verdicts
    }

    fn read_into(&self, known: &mut BTreeMap<String, Verdict>) {
        let json = self.path.as_ref().and_then(|path| fs::read(path).ok());
        if let Some(read) = json.and_then(|json| serde_json::from_slice(&json).ok()) {
            *known = read;
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Verdict>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports whether these bytes were loaded before and it went well.
    #[must_use]
    pub fn passed(&self, hash: &str) -> bool {
        self.known().get(hash).is_some_and(|verdict| verdict.failure.is_none())
    }

    /// Refuses bytes that could not be loaded before.
    ///
    /// # Errors
    ///
    /// [`RefusalError::Probed`].
    pub fn check(&self, hash: &str) -> Result<(), RefusalError> {
        let known = self.known();
        let Some(failure) = known.get(hash).and_then(|verdict| verdict.failure.as_ref()) else {
            return Ok(());
        };
        let (problem, hint) = (failure.problem.clone(), failure.hint.clone());
        Err(RefusalError::Probed { problem, hint })
    }

    /// Returns what some bytes declare and do not do, and the rules that they break.
    #[must_use]
    pub fn broken(&self, hash: &str) -> Vec<String> {
        self.known().get(hash).map(|verdict| verdict.broken.clone()).unwrap_or_default()
    }

    /// Keeps what came of loading some bytes and asking them what they declare, if that says something
    /// about them and not about the machine.
    pub fn keep(&self, plugin: &str, hash: &str, loaded: &Result<Vec<String>, RefusalError>) {
        if self.passed(hash) || loaded.as_ref().is_err_and(|error| !is_of_the_bytes(error)) {
            return;
        }
        let failure = loaded
            .as_ref()
            .err()
            .map(|error| Failure { problem: super::one_line(error), hint: error.hint() });
        let broken = loaded.as_ref().ok().cloned().unwrap_or_default();
        if !broken.is_empty() {
            warn!(
                plugin,
                broken = broken.join("; "),
                "does not keep the contract; `maestro plugin check` says more"
            );
        }
        let verdict = Verdict { plugin: plugin.to_owned(), failure, broken };
        self.change(|known| {
            known.insert(hash.to_owned(), verdict);
        });
    }

    /// Forgets what is known of a plugin's bytes; returns how many had failed.
    pub fn forget(&self, plugin: &str) -> usize {
        let failed = |known: &BTreeMap<String, Verdict>| {
            let of = known.values().filter(|v| v.plugin == plugin && v.failure.is_some());
            of.count()
        };
        let count = failed(&self.known());
        self.change(|known| known.retain(|_, verdict| verdict.plugin != plugin));
        count
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Verdict>)) {
        let mut known = self.known();
        // Another process may have learnt something meanwhile.
        self.read_into(&mut known);
        if known.len() >= MAX_VERDICTS {
            known.clear();
        }
        change(&mut known);
        let Some(path) = &self.path else { return };
        let json = serde_json::to_vec(&*known).unwrap_or_default();
        if let Err(error) = write_private(path, &json) {
            debug!(%error, "what was learnt of a plugin is not kept");
        }
    }
}

/// Most verdicts that are kept; developing a plugin makes one at every build.
const MAX_VERDICTS: usize = 4096;

/// Reports whether a failure comes of the bytes, so that they fail again wherever they are loaded.
fn is_of_the_bytes(error: &RefusalError) -> bool {
    use RefusalError::{Crashed, Dlopen, Entry, Layout, ManifestsDiffer};
    matches!(
        error,
        Crashed { .. } | Dlopen { .. } | Entry { .. } | Layout { .. } | ManifestsDiffer { .. }
    )
}

/// Names this build of the host: its version, and the size and time of its program, which change when
/// it is built again.
fn build() -> String {
    let program = std::env::current_exe().and_then(fs::metadata).ok();
    let (size, made) = program.map_or((0, 0), |program| {
        let made = program.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        (program.len(), made.unwrap_or_default().as_millis())
    });
    format!("{}-{size:x}-{made:x}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_kept_failures_too_and_what_the_machine_did_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let verdicts = Verdicts::open(dir.path());
        let crashed = Err(RefusalError::Crashed { how: "it aborted".into() });
        let machine = Err(RefusalError::Worker { problem: "no memory".into() });
        verdicts.keep("good", "1", &Ok(vec!["embeddings/1".into()]));
        verdicts.keep("good", "1", &crashed);
        verdicts.keep("bad", "2", &crashed);
        verdicts.keep("unlucky", "3", &machine);
        let next = Verdicts::open(dir.path());
        assert_eq!(next.broken("1"), ["embeddings/1"]);
        assert!(next.passed("1") && !next.passed("2") && !next.passed("3"));
        next.check("3").unwrap();
        let error = next.check("2").unwrap_err();
        assert_eq!(error.to_string(), "it ended its worker while it was being loaded: it aborted");
        assert_eq!(error.hint(), "remove it, or tell its author");
        assert_eq!((next.forget("bad"), next.forget("good")), (1, 0));
        let after = Verdicts::open(dir.path());
        after.check("2").unwrap();
        assert!(!after.passed("1"));
    }
}
