//! Where a library runs.
//!
//! In this process what the user trusts: what came with the program, and what was pinned by its hash.
//! In a worker everything else, what many may write, and what must not be near the host whoever made
//! it: builds whose panic ends the process, and plugins that ask for secrets. What is not trusted runs
//! confined or not at all.

use std::{path::PathBuf, sync::Arc};

use plugin_api::capability::Capability;
use serde::Deserialize;

use super::{
    Provenance, RefusalError,
    endless::Listener,
    judge::Judged,
    probe::Verdicts,
    quarantine::Quarantine,
    trust::Trust,
    worker::{self, Budgets, Confinement},
};
use crate::config::Config;

/// Where a library runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tier {
    /// In the host's own process.
    InProcess,
    /// In a child process.
    Worker {
        /// Whether it may only run there when the child is confined completely.
        must_be_confined: bool,
    },
}

impl Tier {
    /// Returns the word that lists show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Worker { .. } => "worker",
        }
    }
}

/// `plugins.isolation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Isolation {
    /// Trusted ones in process, others in a worker.
    #[default]
    Auto,
    /// All in a worker.
    Worker,
}

/// On which terms plugins run here: what the configuration, the user and the machine say.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Whether all run in workers.
    pub isolation: Isolation,
    /// Whether what is not trusted may run although the machine cannot confine it.
    pub allow_unconfined: bool,
    /// What the machine can confine.
    pub confinement: Confinement,
    /// What the user trusts.
    pub trust: Trust,
    /// The program to run workers in; `None` finds one.
    pub program: Option<PathBuf>,
    /// What a worker may take, and how long a step in this process.
    pub budgets: Budgets,
    /// What is withheld; by default what this process found out.
    pub quarantine: Arc<Quarantine>,
    /// What is known of bytes that were loaded before; by default by this process.
    pub verdicts: Arc<Verdicts>,
    /// Who is told of steps in this process that do not end.
    pub endless: Arc<Listener>,
}

impl Terms {
    /// Reads them from the configuration and the machine.
    #[must_use]
    pub fn new(config: &Config, trust: Trust) -> Self {
        let plugins = &config.plugins;
        Self {
            isolation: plugins.isolation,
            allow_unconfined: plugins.allow_unconfined,
            confinement: Confinement::of_this_machine(),
            trust,
            program: plugins.worker.clone(),
            budgets: plugins.budgets(),
            quarantine: Arc::default(),
            verdicts: Arc::default(),
            endless: Arc::default(),
        }
    }

    /// Reports whether the user trusts a library: it came with the program, or its hash is pinned.
    #[must_use]
    pub fn trusts(&self, judged: &Judged) -> bool {
        judged.provenance == Provenance::Bundled && !judged.shared
            || self.trust.holds(&judged.manifest.id, &judged.hash)
    }

    /// Reports whether a library asks for secrets and the user agreed to give it some.
    #[must_use]
    pub fn lets_handle_secrets(&self, judged: &Judged) -> bool {
        let capability = Capability::HandlesSecrets;
        let (manifest, hash) = (&judged.manifest, &judged.hash);
        manifest.capabilities.contains(&capability)
            && self.trust.allows(&manifest.id, hash, capability)
    }

    /// Decides where a library runs.
    ///
    /// # Errors
    ///
    /// [`RefusalError::Unconfined`] when it may run only in a confinement that there is not.
    pub fn tier(&self, judged: &Judged) -> Result<Tier, RefusalError> {
        let manifest = &judged.manifest;
        let dangerous = manifest.panic == "abort"
            || manifest.capabilities.contains(&Capability::HandlesSecrets);
        let trusted = self.trusts(judged);
        // Without workers, what may run unconfined has only this process to run in.
        let may_run_here = trusted || self.allow_unconfined && !worker::EXIST;
        if may_run_here && !dangerous && self.isolation == Isolation::Auto {
            return Ok(Tier::InProcess);
        }
        let must_be_confined = !trusted && !self.allow_unconfined;
        if must_be_confined && !self.confinement.is_complete() {
            return Err(RefusalError::Unconfined {
                missing: self.confinement.missing().to_owned(),
            });
        }
        Ok(Tier::Worker { must_be_confined })
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::manifest::Manifest;

    use super::*;

    fn judged(provenance: Provenance, change: impl FnOnce(&mut serde_json::Value)) -> Judged {
        let mut json = serde_json::json!({
            "schema": 1, "contract": "1.0.0", "panic": "unwind", "capabilities": ["chat/1"],
            "id": "acme", "version": "1.0.0", "providers": [],
        });
        change(&mut json);
        let text = json.to_string();
        Judged {
            path: "/p/acme.so".into(),
            provenance,
            shared: false,
            hash: "abc".into(),
            copy: "/c/acme-abc.so".into(),
            manifest: Arc::new(Manifest::from_json(text.as_bytes()).unwrap()),
            manifest_json: text.into(),
        }
    }

    fn terms() -> Terms {
        let complete = Confinement::from_bits(0x107);
        let mut terms = Terms::new(&Config::default(), Trust::default());
        terms.confinement = complete;
        terms
    }

    const CONFINED: Tier = Tier::Worker { must_be_confined: true };
    const FREE: Tier = Tier::Worker { must_be_confined: false };

    #[test]
    fn what_is_trusted_runs_in_process() {
        let mut terms = terms();
        let tier = |terms: &Terms, judged: &Judged| terms.tier(judged).unwrap();
        let (bundled, user) =
            (judged(Provenance::Bundled, |_| {}), judged(Provenance::User, |_| {}));
        assert_eq!(tier(&terms, &bundled), Tier::InProcess);
        assert_eq!(tier(&terms, &user), CONFINED);
        let shared = Judged { shared: true, ..bundled.clone() };
        assert_eq!(tier(&terms, &shared), CONFINED);
        terms.trust.pin("acme", "abc");
        assert_eq!(tier(&terms, &user), Tier::InProcess);
        let changed = Judged { hash: "abd".into(), ..user };
        assert_eq!(tier(&terms, &changed), CONFINED, "other bytes are another file");
        terms.isolation = Isolation::Worker;
        assert_eq!(tier(&terms, &bundled), FREE);
    }

    #[test]
    fn what_must_not_be_near_the_host_is_not_however_trusted() {
        let abort = judged(Provenance::Bundled, |json| json["panic"] = "abort".into());
        let secrets = judged(Provenance::Bundled, |json| {
            json["capabilities"] = serde_json::json!(["oauth/1", "handles-secrets/1"]);
        });
        for judged in [abort, secrets] {
            assert_eq!(terms().tier(&judged).unwrap(), FREE, "{:?}", judged.manifest);
        }
    }

    #[test]
    fn without_confinement_what_is_not_trusted_is_refused() {
        let user = judged(Provenance::User, |_| {});
        let mut terms = terms();
        terms.confinement = Confinement::from_bits(0x100);
        assert_eq!(
            terms.tier(&user).unwrap_err().to_string(),
            "it is not trusted, and this machine cannot confine it: landlock is missing"
        );
        terms.allow_unconfined = true;
        assert_eq!(terms.tier(&user).unwrap(), FREE);
        terms.allow_unconfined = false;
        terms.isolation = Isolation::Worker;
        let bundled = judged(Provenance::Bundled, |_| {});
        assert_eq!(terms.tier(&bundled).unwrap(), FREE, "it is trusted either way");
    }
}
