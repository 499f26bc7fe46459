//! Looks at an installation and says what is wrong with it.

use super::{Error, Finding, Level, Maestro, counted, one_line};
use crate::{
    plugin::{admitted::Plugin, honesty, runtime::Runtime, tier::Isolation},
    session::SessionFilter,
};

impl Maestro {
    /// Looks at configuration, plugins, store, key and sessions. Sends nothing.
    pub async fn doctor(&self) -> Vec<Finding> {
        let mut findings = vec![self.look_at_config()];
        findings.extend(self.look_at_declared());
        findings.extend(self.look_at_plugins().await);
        findings.extend(self.look_at_providers().await);
        findings.extend(self.look_at_store().await);
        findings
    }

    fn look_at_config(&self) -> Finding {
        let path = self.inner.home.config_file();
        let detail = if path.exists() {
            format!("read from `{}`", path.display())
        } else {
            format!("`{}` does not exist; defaults apply", path.display())
        };
        finding("configuration", Level::Ok, detail, None)
    }

    /// A declared session may wait for a plugin that comes later; more often its provider is misspelt.
    fn look_at_declared(&self) -> Vec<Finding> {
        let config = self.config();
        let declared = config.sessions.iter();
        let lost = declared.filter_map(|(name, declared)| {
            let error = self.provider(declared.provider.as_str()).err()?;
            let what = format!("declared session {name}");
            Some(finding(&what, Level::Warning, one_line(&error), error.hint()))
        });
        lost.collect()
    }

    async fn look_at_plugins(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for plugin in self.registry().plugins() {
            let what = format!("plugin {}", plugin.id);
            findings.push(match plugin.start().await {
                Ok(runtime) => look_at_library(&what, plugin, &runtime).await,
                Err(error) => finding(&what, Level::Problem, one_line(&error), Some(error.hint())),
            });
        }
        for refused in self.refused_plugins() {
            let what = format!("file {}", refused.path.display());
            findings.push(finding(&what, Level::Warning, refused.error, Some(refused.hint)));
        }
        if self.registry().plugins().next().is_none() {
            let hint = format!("put a plugin into `{}`", self.inner.home.plugins().display());
            findings.push(finding("plugins", Level::Problem, "none found".into(), Some(hint)));
        }
        findings.extend(self.disbelieved_quarantine());
        findings.push(self.look_at_confinement());
        findings
    }

    fn look_at_confinement(&self) -> Finding {
        let registry = self.registry();
        let (terms, what) = (registry.terms(), "confinement");
        let all = terms.isolation == Isolation::Worker;
        let who = if all { "all plugins run" } else { "plugins that are not trusted run" };
        if terms.confinement.is_complete() {
            let version = terms.confinement.landlock;
            let detail = format!("{who} in workers, held by landlock {version} and seccomp");
            return finding(what, Level::Ok, detail, None);
        }
        let missing = terms.confinement.missing();
        let (detail, hint) = if terms.allow_unconfined {
            let detail = format!("{who} in workers that are not confined: {missing} is missing");
            (detail, "trust only plugins whose author you trust")
        } else {
            let detail = format!(
                "{missing} is missing on this machine; plugins that are not trusted are refused"
            );
            (detail, "see SECURITY.md; `plugins.allow_unconfined` would let them run")
        };
        finding(what, Level::Warning, detail, Some(hint.into()))
    }

    async fn look_at_providers(&self) -> Vec<Finding> {
        let providers = self.list_providers().await;
        let ready = providers.iter().filter(|provider| provider.ready).count();
        let detail = format!("{ready} of {} are ready", providers.len());
        let mut findings = vec![finding("providers", Level::Ok, detail, None)];
        for provider in providers.iter().filter(|provider| provider.configured) {
            if let Some(why) = &provider.not_ready {
                let what = format!("provider {}", provider.id);
                findings.push(finding(&what, Level::Warning, why.clone(), None));
            }
        }
        findings
    }

    async fn look_at_store(&self) -> Vec<Finding> {
        let path = self.inner.home.database();
        let sessions = match self.existing_sessions().await {
            Ok(None) => {
                let detail = format!("`{}` does not exist yet", path.display());
                return vec![finding("store", Level::Ok, detail, None)];
            }
            Ok(Some(sessions)) => sessions,
            Err(error) => {
                return vec![finding("store", Level::Problem, chain(&error), error.hint())];
            }
        };
        let checked = sessions.blocking(|s| Ok((s.check()?, s.list(&SessionFilter::default())?)));
        let (report, listed) = match checked.await {
            Ok(checked) => checked,
            Err(error) => {
                let error = Error::from(error);
                return vec![finding("store", Level::Problem, chain(&error), error.hint())];
            }
        };
        let mut findings = Vec::new();
        let unreadable = report.unreadable.iter().map(|error| one_line(error));
        for problem in report.storage.iter().cloned().chain(unreadable) {
            let hint = Some("restore a backup beside the store".into());
            findings.push(finding("store", Level::Problem, problem, hint));
        }
        if findings.is_empty() {
            let detail = format!(
                "{} and {} open with the key",
                counted(report.sessions, "session"),
                counted(report.chunks, "message")
            );
            findings.push(finding("store", Level::Ok, detail, None));
        }
        for info in listed {
            if let Some(error) = &info.last_error {
                let what = format!("session {}", info.selector());
                let hint = Some(format!("run `maestro sessions test {}`", info.selector()));
                findings.push(finding(&what, Level::Warning, error.clone(), hint));
            }
        }
        findings
    }
}

/// Asks a loaded plugin for what it declares; loading alone does not show that it can be talked to.
async fn look_at_library(what: &str, plugin: &Plugin, runtime: &Runtime) -> Finding {
    let broken = honesty::check(plugin, runtime).await.into_iter().find(|check| !check.passed);
    match broken {
        None => {
            let place = match runtime {
                Runtime::InProcess(_) => "in process",
                Runtime::Worker(_) => "in a worker",
            };
            let detail = format!("{} loads {place}", plugin.judged.manifest.version);
            finding(what, Level::Ok, detail, None)
        }
        Some(check) => {
            let detail = format!("`{}` {}", check.what, check.detail.unwrap_or_default());
            let hint = "rebuild it together with this host".into();
            finding(what, Level::Problem, detail, Some(hint))
        }
    }
}

fn chain(error: &Error) -> String {
    one_line(error)
}

fn finding(what: &str, level: Level, detail: String, hint: Option<String>) -> Finding {
    Finding { what: what.to_owned(), level, detail, hint }
}
