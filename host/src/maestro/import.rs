//! Keys and logins that other tools hold: what could be taken, and taking it.

use std::{collections::HashSet, ffi::OsString, path::PathBuf, sync::Arc};

use plugin_api::{
    ProviderId,
    auth::{AuthScheme, ProfileFiles},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{Error, Maestro, NewLogin, SessionView, choice, now_s, stamp};
use crate::{
    import::{self, Found, Places, Tool},
    oauth,
    plugin::provider::Provider,
    session::{
        Credential, Login, ProfileLink, SessionFilter, SessionName,
        credential::mask,
        profile::{ProfileError, Profiles},
    },
};

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// Only for this provider.
    pub provider: Option<String>,
    /// Only from these tools, each perhaps with a file; none means all.
    pub from: Vec<(Tool, Option<PathBuf>)>,
    /// What to call the sessions; `None` names them after where they came from.
    pub name: Option<SessionName>,
}

/// What was found, in the order in which it would be taken.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ImportPlan {
    /// Keys and logins.
    pub candidates: Vec<ImportCandidate>,
    /// Files that are there and cannot be read.
    pub problems: Vec<ImportProblem>,
    /// Files that were looked for and are not there.
    pub absent: Vec<PathBuf>,
}

/// A key or a login that another tool holds.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct ImportCandidate {
    /// Whose it is.
    pub from: Tool,
    /// Where it is: a variable, or a file and a place in it.
    pub place: String,
    /// The key's last characters; nothing for a login that stays where it is.
    pub key: Option<String>,
    /// The provider here.
    pub provider: Option<ProviderId>,
    /// The plugin that would use it.
    pub plugin: Option<String>,
    /// Where it could be sent.
    pub origins: Vec<String>,
    /// What the session would be called.
    pub name: Option<SessionName>,
    /// Why it would not be taken.
    pub skipped: Option<String>,
    #[serde(skip)]
    what: What,
}

/// A file that is there and cannot be read.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ImportProblem {
    /// Whose it is.
    pub from: Tool,
    /// The file.
    pub path: PathBuf,
    /// Why; quotes nothing of it.
    pub problem: String,
}

/// What would be stored.
#[derive(Debug, Default)]
enum What {
    #[default]
    Nothing,
    Key(SecretString),
    Profile(String),
}

/// A login that a vendor's own tool keeps.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProfileView {
    /// The provider that it is for.
    pub provider: ProviderId,
    /// The tool.
    pub tool: String,
    /// The tool's name for it.
    pub profile: String,
    /// Its file.
    pub path: PathBuf,
    /// Whether the tool uses it when nothing else is said.
    pub active: bool,
    /// When its token ends, in Unix seconds.
    pub expires_at: Option<i64>,
    /// Why it cannot be used now.
    pub problem: Option<String>,
    /// Whether that is only that its token has ended, which the tool will renew.
    pub expired: bool,
}

/// Takes the process's environment.
fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

impl Maestro {
    /// Lists what other tools hold and what would become of it. Stores nothing, sends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownProvider`] for the provider that is asked for, and what the store says.
    pub async fn import_plan(&self, request: &ImportRequest) -> Result<ImportPlan, Error> {
        if let Some(provider) = &request.provider {
            self.ready_provider(provider)?;
        }
        let mut plan = ImportPlan::default();
        let all: Vec<_> = Tool::ALL.iter().map(|tool| (*tool, None)).collect();
        let from = if request.from.is_empty() { &all } else { &request.from };
        for (tool, file) in from {
            match tool {
                Tool::Env => plan.candidates.extend(self.found_in_env()),
                Tool::Profiles => plan.candidates.extend(self.found_profiles()),
                _ => self.found_in_file(*tool, file.as_deref(), &mut plan),
            }
        }
        if let Some(wanted) = &request.provider {
            plan.candidates.retain(|candidate| {
                candidate.provider.as_ref().is_some_and(|id| id.as_str() == wanted)
            });
        }
        self.settle(&mut plan.candidates, request.name.as_ref()).await?;
        Ok(plan)
    }

    /// Stores what a plan found, sealed and bound to the origins that it showed.
    ///
    /// # Errors
    ///
    /// What storing says; a session of that name is never replaced.
    pub async fn import(&self, candidate: &ImportCandidate) -> Result<SessionView, Error> {
        let (Some(provider), Some(name)) = (&candidate.provider, &candidate.name) else {
            return Err(Error::NotImportable { place: candidate.place.clone() });
        };
        match &candidate.what {
            What::Nothing => Err(Error::NotImportable { place: candidate.place.clone() }),
            What::Key(key) => {
                let key = key.expose_secret();
                self.create_session(NewLogin::new(provider.clone(), name.clone(), key)).await
            }
            What::Profile(profile) => {
                self.link_profile(provider.as_str(), profile, name.clone()).await
            }
        }
    }

    /// Lists the logins that vendors' own tools keep for a provider.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownProvider`].
    pub fn profiles(&self, provider: &str) -> Result<Vec<ProfileView>, Error> {
        let provider = &self.ready_provider(provider)?;
        let mut listed = Vec::new();
        for (_, files) in profile_files(provider) {
            let profiles = Profiles::new(files, &var);
            let active = profiles.active();
            for profile in profiles.list() {
                let Ok(path) = profiles.path(&profile) else { continue };
                let read = profiles.read(&profile, &path, now_s());
                listed.push(ProfileView {
                    provider: provider.id.clone(),
                    tool: files.tool.clone(),
                    active: active.as_ref() == Some(&profile),
                    expires_at: read.as_ref().ok().and_then(|read| read.expires_at),
                    expired: matches!(read, Err(ProfileError::Expired { .. })),
                    problem: read.err().map(|error| error.to_string()),
                    profile,
                    path,
                });
            }
        }
        Ok(listed)
    }

    /// Makes a session of a login that a vendor's own tool keeps. Stores where it is, not what it is:
    /// the token is read there at each use, and renewing it stays that tool's business.
    ///
    /// # Errors
    ///
    /// [`Error::Profile`] if it cannot be read now, unless it has only expired;
    /// [`Error::NotSupported`] where the manifest names no such tool.
    pub async fn link_profile(
        &self,
        provider: &str,
        profile: &str,
        name: SessionName,
    ) -> Result<SessionView, Error> {
        let provider = &self.ready_provider(provider)?;
        let mut first = None;
        for (scheme, files) in profile_files(provider) {
            let profiles = Profiles::new(files, &var);
            let problem = match profiles.path(profile) {
                Err(error) => error,
                Ok(path) => match profiles.read(profile, &path, now_s()) {
                    Ok(_) | Err(ProfileError::Expired { .. }) => {
                        let link = ProfileLink {
                            scheme,
                            tool: files.tool.clone(),
                            profile: profile.to_owned(),
                            path,
                        };
                        return self.store_link(provider, link, name).await;
                    }
                    Err(error) => error,
                },
            };
            first.get_or_insert(problem);
        }
        Err(match first {
            Some(source) => Error::Profile { provider: provider.id.clone(), source },
            None => {
                let what = "logins that a tool of its vendor keeps".into();
                Error::NotSupported { provider: provider.id.clone(), what }
            }
        })
    }

    async fn store_link(
        &self,
        provider: &Provider,
        link: ProfileLink,
        name: SessionName,
    ) -> Result<SessionView, Error> {
        let login = Login {
            provider: provider.id.clone(),
            name,
            account: Some(format!("{} profile {}", link.tool, link.profile)),
            credential: Credential::profile(link, provider.binding().clone()),
            replace: false,
            make_default: false,
        };
        let sessions = self.sessions().await?;
        Ok(sessions.blocking(move |sessions| sessions.create(&login, &stamp())).await?.into())
    }

    fn found_in_env(&self) -> Vec<ImportCandidate> {
        let registry = self.registry();
        let providers = registry.providers();
        let found = providers.filter_map(|provider| {
            let (variable, key) = choice::env_key(provider)?;
            let mut candidate = candidate(Tool::Env, variable, What::Key(key));
            candidate.name = SessionName::new("default").ok();
            Some(candidate.of(provider))
        });
        found.collect()
    }

    fn found_profiles(&self) -> Vec<ImportCandidate> {
        let mut found = Vec::new();
        for provider in self.registry().providers() {
            for profile in self.profiles(provider.id.as_str()).unwrap_or_default() {
                let place = profile.path.display().to_string();
                let mut candidate =
                    candidate(Tool::Profiles, place, What::Profile(profile.profile.clone()));
                candidate.name = name_of(&profile.profile);
                candidate.skipped = profile.problem.filter(|_| !profile.expired);
                found.push(candidate.of(provider));
            }
        }
        found
    }

    fn found_in_file(&self, tool: Tool, file: Option<&std::path::Path>, plan: &mut ImportPlan) {
        let places = Places { var: &var, macos: cfg!(target_os = "macos") };
        let Some(read) = import::read(tool, file, &places) else {
            plan.absent.extend(import::usual(tool, &places));
            return;
        };
        let path = read.path;
        match read.found {
            Err(problem) => plan.problems.push(ImportProblem { from: tool, path, problem }),
            Ok(found) => {
                for found in found {
                    plan.candidates.push(self.matched(tool, &path, found));
                }
            }
        }
    }

    /// Finds the provider that a key of another tool belongs to.
    fn matched(&self, tool: Tool, path: &std::path::Path, found: Found) -> ImportCandidate {
        let place = format!("{}: {}", path.display(), found.place);
        let provider = self.provider_of(&found);
        let label = found.label.filter(|label| {
            provider.as_ref().is_ok_and(|provider| !same_word(label, provider.id.as_str()))
        });
        let (what, mut skipped) = match found.key {
            Ok(key) => (What::Key(key), None),
            Err(why) => (What::Nothing, Some(why)),
        };
        let mut candidate = candidate(tool, place, what);
        candidate.name = label.as_deref().and_then(name_of);
        match provider {
            Ok(provider) => candidate = candidate.of(&provider),
            Err(why) => skipped = skipped.or(Some(why)),
        }
        candidate.skipped = skipped;
        candidate
    }

    /// Guesses carefully: a key that goes to the wrong vendor is a key given away.
    ///
    /// A server's address decides alone. Then count what the tool calls the provider and the variable
    /// that held the key, and at last a beginning that only one provider's keys have.
    fn provider_of(&self, found: &Found) -> Result<Arc<Provider>, String> {
        let registry = self.registry();
        let providers: Vec<&Arc<Provider>> = registry.providers().collect();
        if let Some(url) = found.base_url.as_deref() {
            let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization());
            let origin = origin.map_err(|_| "its server's address cannot be read".to_owned())?;
            let there = |provider: &&&Arc<Provider>| {
                provider.route.origins.iter().any(|known| known.to_string() == origin)
            };
            return providers.iter().find(there).map(|provider| Arc::clone(provider)).ok_or_else(
                || format!("no provider here is at {origin}; add one to the configuration"),
            );
        }
        for word in &found.words {
            let called = |provider: &&&Arc<Provider>| {
                same_word(word, provider.id.as_str())
                    || same_word(word, &provider.manifest.display_name)
            };
            if let Some(provider) = providers.iter().find(called) {
                return Ok(Arc::clone(provider));
            }
        }
        let guesses =
            found.words.iter().map(|word| format!("{}_API_KEY", word.to_ascii_uppercase()));
        for variable in found.variable.iter().cloned().chain(guesses) {
            if let Some(provider) = providers.iter().find(|p| p.key_env.contains(&variable)) {
                return Ok(Arc::clone(provider));
            }
        }
        if let Ok(key) = &found.key {
            let prefix = |provider: &Provider| {
                let scheme = provider.api_key()?;
                let fits = scheme.prefix.len() >= MIN_TELLING_PREFIX
                    && key.expose_secret().starts_with(&scheme.prefix);
                fits.then_some(scheme.prefix.len())
            };
            let longest = providers.iter().filter_map(|provider| prefix(provider)).max();
            let mut fitting =
                providers.iter().filter(|p| longest.is_some() && prefix(p) == longest);
            if let (Some(only), None) = (fitting.next(), fitting.next()) {
                return Ok(Arc::clone(only));
            }
        }
        Err(match found.words.first() {
            Some(word) => format!("no provider here is called `{word}`"),
            None => "nothing says which provider it is for".into(),
        })
    }

    /// Decides names, and what is there already.
    async fn settle(
        &self,
        candidates: &mut [ImportCandidate],
        asked: Option<&SessionName>,
    ) -> Result<(), Error> {
        let (mut taken, stored) = self.stored_secrets().await?;
        let mut seen: Vec<(ProviderId, SecretString, String)> = stored;
        for candidate in candidates {
            let Some(provider) = candidate.provider.clone() else {
                candidate.name = None;
                continue;
            };
            if candidate.skipped.is_none()
                && let What::Key(key) = &candidate.what
            {
                let known = &self.provider(provider.as_str())?;
                candidate.skipped = match self.checked_key(known, key).await {
                    Err(Error::InvalidKey { problem, .. }) => {
                        Some(format!("it is no key of this provider: {problem}"))
                    }
                    _ => seen
                        .iter()
                        .find(|(id, other, _)| {
                            *id == provider && other.expose_secret() == key.expose_secret().trim()
                        })
                        .map(|(_, _, place)| format!("{place} holds the same key")),
                };
            }
            if let What::Profile(_) = &candidate.what
                && let Some((_, _, place)) = seen.iter().find(|(id, other, _)| {
                    *id == provider && other.expose_secret() == candidate.place
                })
            {
                candidate.skipped = Some(format!("{place} is this profile"));
            }
            if candidate.skipped.is_some() {
                candidate.name = None;
                continue;
            }
            let kind = if matches!(candidate.what, What::Key(_)) { "api_key" } else { "oauth" };
            let is_taken =
                |name: &SessionName| taken.contains(&format!("{provider}:{name}@{kind}"));
            let wanted = asked.cloned().or(candidate.name.take());
            let mut names = wanted.into_iter().chain(
                (1..MAX_TRIES).filter(|_| asked.is_none()).filter_map(|number| match number {
                    1 => SessionName::new(candidate.from.as_str()).ok(),
                    n => SessionName::new(format!("{}_{n}", candidate.from)).ok(),
                }),
            );
            match names.find(|name| !is_taken(name)) {
                None => {
                    candidate.skipped =
                        Some("the name is taken; choose another with `--name`".into());
                }
                Some(name) => {
                    taken.insert(format!("{provider}:{name}@{kind}"));
                    if let What::Key(key) = &candidate.what {
                        let key = key.expose_secret().trim().into();
                        seen.push((provider, key, format!("`{}`", candidate.place)));
                    }
                    candidate.name = Some(name);
                }
            }
        }
        Ok(())
    }

    /// Opens what is stored, to see what is there already: names, and keys with their session. For a
    /// profile its file stands in the key's place.
    async fn stored_secrets(
        &self,
    ) -> Result<(HashSet<String>, Vec<(ProviderId, SecretString, String)>), Error> {
        let Some(sessions) = self.existing_sessions().await? else {
            return Ok((HashSet::new(), Vec::new()));
        };
        let opened = sessions.blocking(|sessions| {
            let all = sessions.list(&SessionFilter::default())?;
            let names = all.iter().map(crate::session::SessionInfo::selector).collect();
            let secrets = all.iter().filter_map(|info| {
                // One that does not open is no duplicate of anything.
                let open = sessions.open_id(&info.id).ok()?;
                let secret = match &open.credential.secret {
                    crate::session::Secret::Profile(link) => link.path.display().to_string().into(),
                    _ => open.credential.bearer().expose_secret().into(),
                };
                Some((info.provider.clone(), secret, format!("session `{}`", info.selector())))
            });
            Ok((names, secrets.collect()))
        });
        Ok(opened.await?)
    }
}

/// Reads the token that a session's tool keeps.
pub(super) fn profile_token(
    provider: &Provider,
    link: &ProfileLink,
) -> Result<SecretString, Error> {
    let files = profile_files(provider)
        .into_iter()
        .find(|(scheme, files)| *scheme == link.scheme && files.tool == link.tool);
    let Some((_, files)) = files else {
        let what = format!("logins that `{}` keeps", link.tool);
        return Err(Error::NotSupported { provider: provider.id.clone(), what });
    };
    let read = Profiles::new(files, &var).read(&link.profile, &link.path, now_s());
    read.map(|read| read.token)
        .map_err(|source| Error::Profile { provider: provider.id.clone(), source })
}

/// Lists the tools whose logins a provider takes, each with its scheme.
fn profile_files(provider: &Provider) -> Vec<(String, &ProfileFiles)> {
    let schemes = provider.manifest.auth.iter().filter(|auth| auth.unknown_need().is_none());
    let schemes = schemes.filter_map(|auth| match auth {
        AuthScheme::OAuth(scheme) => Some(scheme),
        _ => None,
    });
    schemes
        .flat_map(|scheme| {
            let id = oauth::scheme_id(scheme).to_owned();
            scheme.profiles.iter().map(move |files| (id.clone(), files))
        })
        .collect()
}

impl ImportCandidate {
    fn of(mut self, provider: &Provider) -> Self {
        self.provider = Some(provider.id.clone());
        self.plugin = Some(provider.plugin.id.to_string());
        self.origins = provider.route.origins.iter().map(ToString::to_string).collect();
        self
    }
}

fn candidate(from: Tool, place: String, what: What) -> ImportCandidate {
    let key = match &what {
        What::Key(key) => Some(mask(key.expose_secret())),
        _ => None,
    };
    ImportCandidate {
        from,
        place,
        key,
        provider: None,
        plugin: None,
        origins: Vec::new(),
        name: None,
        skipped: None,
        what,
    }
}

/// Makes a session's name of a text, if enough of it is left.
fn name_of(text: &str) -> Option<SessionName> {
    let name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
        .take(50)
        .collect();
    SessionName::new(name).ok()
}

/// Compares names as people write them: `OpenAI` and `open_ai` are one.
fn same_word(one: &str, other: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let one = letters(one);
    !one.is_empty() && one == letters(other)
}

/// A shorter beginning, `sk-` for one, is many vendors'.
const MIN_TELLING_PREFIX: usize = 4;
/// How many names are tried for a session.
const MAX_TRIES: u32 = 20;
