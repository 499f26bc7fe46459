//! What the interface shows of providers, plugins and sessions. All of it can be printed as JSON.

use std::{collections::BTreeMap, path::PathBuf};

use plugin_api::{
    PluginId, ProviderId,
    auth::AuthScheme,
    capability::{Capability, Feature},
    manifest::{Manifest, Setting},
};
use secrecy::SecretString;
use serde::Serialize;

use super::AskInfo;
use crate::{
    config::OAuthConfig,
    plugin::{
        Refusal, admitted::Plugin, honesty::Check, one_line, provider::Provider,
        quarantine::Withheld, worker::Vitals,
    },
    session::{AuthType, SessionInfo, SessionName, SessionStatus},
};

/// A provider, as lists and `providers show` show it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProviderInfo {
    /// Its id.
    pub id: ProviderId,
    /// Its name for people.
    pub display_name: String,
    /// The plugin that serves it.
    pub plugin: String,
    /// `bundled` or `user`.
    pub provenance: &'static str,
    /// Whether it can be asked now.
    pub ready: bool,
    /// Why not.
    pub not_ready: Option<String>,
    /// Start of its URLs.
    pub base_url: String,
    /// Where its requests may go.
    pub origins: Vec<String>,
    /// Ways to log in: `none`, `api-key`, `oauth` and so on.
    pub auth: Vec<&'static str>,
    /// The same, with what each needs and lacks.
    pub logins: Vec<LoginInfo>,
    /// Whether it also works without a key.
    pub key_optional: bool,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// What of chat it understands.
    pub features: Vec<Feature>,
    /// Its limits, where it has fixed ones.
    pub limits: Limits,
    /// Settings without which it cannot work.
    pub requires: Vec<String>,
    /// Environment variables that may hold its key.
    pub env: Vec<String>,
    /// Where to get a key.
    pub obtain_url: Option<String>,
    /// Where its documentation is.
    pub docs_url: Option<String>,
    /// Selectors of its sessions.
    pub sessions: Vec<String>,
    /// Whether the configuration mentions it.
    pub configured: bool,
    /// Whether it is a server on the user's own machine.
    pub local: bool,
    /// Settings that `[providers.ID]` takes beside those that every provider has.
    pub settings: Vec<SettingInfo>,
}

/// One way to log in to a provider.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LoginInfo {
    /// The scheme's id, unique in the provider.
    pub id: String,
    /// `none`, `api-key`, `oauth` and so on.
    pub kind: &'static str,
    /// Its name for people, if it has one.
    pub display_name: Option<String>,
    /// What must be configured before.
    pub needs: Option<String>,
    /// Ways through an OAuth login: `loopback`, `device`, `paste`.
    pub flows: Vec<String>,
    /// Facts to be given at the login.
    pub asks: Vec<String>,
    /// Environment variables that may hold the key.
    pub env: Vec<String>,
    /// What a key starts with.
    pub prefix: Option<String>,
    /// Where to get a key.
    pub obtain_url: Option<String>,
    /// What the provider can do otherwise and not under this login.
    pub without: Vec<Capability>,
    /// Features of chat that are missing under this login.
    pub without_features: Vec<Feature>,
}

impl LoginInfo {
    fn of(scheme: &AuthScheme, provider: &Provider, client: Option<&OAuthConfig>) -> Self {
        let needs = match scheme {
            _ if scheme.unknown_need().is_some() => Some("a newer host".to_owned()),
            AuthScheme::OAuth(oauth) if oauth.client_id == "configured" && client.is_none() => {
                Some(format!("`client_id` in `[providers.{}.oauth]`", provider.id))
            }
            AuthScheme::ClientCredentials(_)
            | AuthScheme::JwtBearer(_)
            | AuthScheme::Signed(_)
            | AuthScheme::Unknown => Some("a newer host".to_owned()),
            _ => None,
        };
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let key = match scheme {
            AuthScheme::ApiKey(key) => Some(key),
            _ => None,
        };
        let flows = match scheme {
            AuthScheme::OAuth(oauth) if oauth.flows.is_empty() => vec!["loopback".to_owned()],
            AuthScheme::OAuth(oauth) => oauth.flows.clone(),
            _ => Vec::new(),
        };
        Self {
            id: scheme.id().to_owned(),
            kind: auth_word(scheme),
            display_name: text(scheme.display_name()),
            needs,
            flows,
            asks: scheme.asks().iter().map(|ask| ask.name.clone()).collect(),
            env: key.map(|_| provider.key_env.clone()).unwrap_or_default(),
            prefix: key.and_then(|key| text(&key.prefix)),
            obtain_url: key.and_then(|key| text(&key.obtain_url)),
            without: scheme.without().to_vec(),
            without_features: scheme.without_features().to_vec(),
        }
    }
}

/// Fixed limits of a provider.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// Most tokens in one prompt.
    pub max_input_tokens: Option<u64>,
    /// Most tokens in one answer.
    pub max_output_tokens: Option<u64>,
    /// Most bytes in one request.
    pub max_request_bytes: Option<u64>,
}

impl ProviderInfo {
    pub(super) fn of(
        provider: &Provider,
        client: Option<&OAuthConfig>,
        sessions: Vec<String>,
        has_env_key: bool,
    ) -> Self {
        let manifest = &provider.manifest;
        let given = |number: u64| (number > 0).then_some(number);
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let key = provider.api_key();
        let can_ask = provider.works_without_session() || !sessions.is_empty() || has_env_key;
        let not_ready = provider.missing.clone().or_else(|| {
            (!can_ask).then(|| format!("needs a session: `maestro login {}`", provider.id))
        });
        Self {
            id: provider.id.clone(),
            display_name: if manifest.display_name.is_empty() {
                provider.id.to_string()
            } else {
                manifest.display_name.clone()
            },
            plugin: provider.plugin.id.to_string(),
            provenance: provider.plugin.judged.provenance.as_str(),
            ready: not_ready.is_none(),
            not_ready,
            base_url: provider.base_url.clone(),
            origins: provider.route.origins.iter().map(ToString::to_string).collect(),
            auth: manifest.auth.iter().map(auth_word).collect(),
            logins: manifest
                .auth
                .iter()
                .map(|auth| LoginInfo::of(auth, provider, client))
                .collect(),
            key_optional: key.is_some_and(|key| key.optional),
            capabilities: provider.capabilities.clone(),
            features: manifest.features.to_vec(),
            limits: Limits {
                max_input_tokens: given(manifest.max_input_tokens),
                max_output_tokens: given(manifest.max_output_tokens),
                max_request_bytes: given(manifest.max_request_bytes),
            },
            requires: manifest.requires.clone(),
            env: provider.key_env.clone(),
            obtain_url: key.and_then(|key| text(&key.obtain_url)),
            docs_url: text(&manifest.docs_url),
            sessions,
            configured: provider.configured,
            local: manifest.local,
            settings: settings_of(&provider.plugin.judged.manifest),
        }
    }
}

fn auth_word(scheme: &AuthScheme) -> &'static str {
    match scheme {
        AuthScheme::None => "none",
        AuthScheme::ApiKey(_) => "api-key",
        AuthScheme::OAuth(_) => "oauth",
        AuthScheme::ClientCredentials(_) => "client-credentials",
        AuthScheme::JwtBearer(_) => "jwt-bearer",
        AuthScheme::Signed(_) => "signed",
        _ => "unknown",
    }
}

/// Who serves an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Served {
    /// The provider.
    pub provider: ProviderId,
    /// The plugin behind it.
    pub plugin: PluginId,
}

/// A plugin that passed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PluginInfo {
    /// Its id.
    pub id: String,
    /// Its own version.
    pub version: String,
    /// What it is.
    pub description: String,
    /// Where its source or documentation is.
    pub homepage: Option<String>,
    /// The file.
    pub path: PathBuf,
    /// `bundled` or `user`.
    pub provenance: &'static str,
    /// Contract that it was built against.
    pub contract: String,
    /// blake3 of the file.
    pub hash: String,
    /// Bytes of the file.
    pub size: u64,
    /// `unwind` or `abort`.
    pub panic: String,
    /// What it implements.
    pub capabilities: Vec<Capability>,
    /// Providers that it offers by itself.
    pub providers: Vec<String>,
    /// Its profiles.
    pub profiles: Vec<String>,
    /// Settings that it reads.
    pub settings: Vec<SettingInfo>,
    /// Where it runs: `in-process` or `worker`.
    pub tier: &'static str,
    /// Whether the user trusts it.
    pub trusted: bool,
    /// Its worker, once it was asked for one.
    pub worker: Option<Vitals>,
    /// Which of the copies that this host has had of it, from 1.
    pub generation: u64,
    /// `serving`; `draining`, when it was replaced and exchanges still run; `quarantined`, when it
    /// crashed too often.
    pub state: &'static str,
    /// Why it is withheld.
    pub withheld: Option<Withheld>,
    /// What it declares and did not do when it was loaded for the first time, and rules that it broke.
    pub broken: Vec<String>,
    /// Whether it is loaded; it is when it is first asked.
    pub loaded: bool,
}

/// A setting that a plugin reads.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SettingInfo {
    /// The key in the configuration.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// What it does.
    pub help: String,
}

impl PluginInfo {
    pub(super) fn of(plugin: &Plugin) -> Self {
        let judged = &plugin.judged;
        let manifest = &judged.manifest;
        let withheld = plugin.withheld();
        Self {
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            homepage: (!manifest.homepage.is_empty()).then(|| manifest.homepage.clone()),
            path: judged.path.clone(),
            provenance: judged.provenance.as_str(),
            contract: manifest.contract.clone(),
            hash: judged.hash.clone(),
            size: std::fs::metadata(&judged.copy).map_or(0, |metadata| metadata.len()),
            panic: manifest.panic.clone(),
            capabilities: manifest.capabilities.to_vec(),
            providers: manifest.providers.iter().map(|p| p.id.clone()).collect(),
            profiles: manifest.profiles.iter().map(|p| p.name.clone()).collect(),
            settings: settings_of(manifest),
            tier: plugin.tier.as_str(),
            trusted: plugin.trusted,
            worker: plugin.vitals(),
            generation: plugin.generation,
            state: if withheld.is_some() { "quarantined" } else { "serving" },
            withheld,
            broken: plugin.broken(),
            loaded: plugin.is_loaded(),
        }
    }

    pub(super) fn draining(plugin: &Plugin) -> Self {
        Self { state: "draining", ..Self::of(plugin) }
    }
}

/// What is trusted: these bytes of this plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Trusted {
    /// The plugin.
    pub plugin: String,
    /// blake3 of its file, in hexadecimal.
    pub hash: String,
}

fn settings_of(manifest: &Manifest) -> Vec<SettingInfo> {
    let setting = |setting: &Setting| SettingInfo {
        name: setting.name.clone(),
        kind: setting.kind.clone(),
        help: setting.help.clone(),
    };
    manifest.settings.iter().map(setting).collect()
}

/// A file that was refused.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RefusedPlugin {
    /// The file.
    pub path: PathBuf,
    /// Why, with its causes, in one line.
    pub error: String,
    /// What to do about it.
    pub hint: String,
}

impl RefusedPlugin {
    pub(super) fn of(refusal: &Refusal) -> Self {
        Self {
            path: refusal.path.clone(),
            error: one_line(&refusal.error),
            hint: refusal.error.hint(),
        }
    }
}

/// Whether a plugin keeps its word.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Compliance {
    /// The plugin.
    pub plugin: String,
    /// Whether every check passed.
    pub passed: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

/// What a login would do, to be shown before anything is stored.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LoginPlan {
    /// The provider.
    pub provider: ProviderId,
    /// Its name for people.
    pub display_name: String,
    /// The plugin that will use the key.
    pub plugin: String,
    /// Where the key may be sent.
    pub origins: Vec<String>,
    /// Environment variables that would do instead.
    pub env: Vec<String>,
    /// What a key starts with.
    pub prefix: String,
    /// Where to get a key.
    pub obtain_url: Option<String>,
    /// Whether it also works without.
    pub key_optional: bool,
    /// Facts that the login asks for.
    pub asks: Vec<AskInfo>,
}

/// A session that is gone.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Deleted {
    /// What it was.
    #[serde(flatten)]
    pub session: SessionView,
    /// Why the vendor may still take its tokens; `None` when it was told, or there was nothing to
    /// tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_revoked: Option<String>,
}

/// A login with a key, to be stored.
#[derive(Debug)]
pub struct NewLogin {
    /// Whose account it is.
    pub provider: ProviderId,
    /// What the user calls it.
    pub name: SessionName,
    /// The key; surrounding white space is dropped.
    pub key: SecretString,
    /// The account as the vendor names it, if the key was tried.
    pub account: Option<String>,
    /// Facts that the login asks for; those left out are looked for in the environment.
    pub facts: BTreeMap<String, String>,
    /// Whether to overwrite a session of that name.
    pub replace: bool,
}

impl NewLogin {
    /// Makes a login that replaces nothing.
    #[must_use]
    pub fn new(provider: ProviderId, name: SessionName, key: impl Into<SecretString>) -> Self {
        let facts = BTreeMap::new();
        Self { provider, name, key: key.into(), account: None, facts, replace: false }
    }

    /// Says whether to overwrite a session of that name.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }
}

/// A session, as lists show it. Never the secret.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SessionView {
    /// `PROVIDER:NAME@AUTH`.
    pub selector: String,
    /// Whose account it is.
    pub provider: ProviderId,
    /// What the user calls it.
    pub name: String,
    /// How it is logged in.
    pub auth_type: AuthType,
    /// Whether it can be used.
    pub status: SessionStatus,
    /// Whether it is its provider's default.
    pub is_default: bool,
    /// Where the secret is: `stored`, `env`, `file` or `command`.
    pub source: &'static str,
    /// The account as the vendor names it.
    pub account: Option<String>,
    /// When the credential ends, in Unix seconds.
    pub expires_at: Option<i64>,
    /// When it was made, in Unix seconds.
    pub created_at: Option<i64>,
    /// When it was last used, in Unix seconds.
    pub last_used_at: Option<i64>,
    /// Why it last failed.
    pub last_error: Option<String>,
}

impl From<SessionInfo> for SessionView {
    fn from(info: SessionInfo) -> Self {
        Self {
            selector: info.selector(),
            provider: info.provider,
            name: info.name.to_string(),
            auth_type: info.auth_type,
            status: info.status,
            is_default: info.is_default,
            source: "stored",
            account: info.account,
            expires_at: info.expires_at,
            created_at: Some(info.created_at),
            last_used_at: info.last_used_at,
            last_error: info.last_error,
        }
    }
}

/// A session that is of no use any more.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PruneCandidate {
    /// The session.
    #[serde(flatten)]
    pub session: SessionView,
    /// Why it is listed.
    pub reason: String,
}

/// One thing that `doctor` looked at.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth a look.
    Warning,
    /// Broken.
    Problem,
}
