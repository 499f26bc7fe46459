//! The configuration file: `config.toml`, typed, every unknown key an error.

mod error;
mod oauth;
pub(crate) mod secret;
mod serve;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use plugin_api::{ProviderId, auth::Placement};
use serde::Deserialize;

use self::error::{explain, line_of};
pub use self::{
    error::ConfigError,
    oauth::OAuthConfig,
    serve::{ServeConfig, ServeTls},
};
use crate::{
    exchange::Retries,
    maestro::Prices,
    plugin::{tier::Isolation, worker::Budgets},
    router::{Alias, BreakerConfig, ModelRef, RefPattern},
    session::{KeySource, SessionName},
};

/// The whole configuration. An absent file is an empty one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Changes to providers, and further ones.
    pub providers: BTreeMap<ProviderId, ProviderConfig>,
    /// Sessions whose key stays where it is.
    pub sessions: BTreeMap<String, DeclaredSession>,
    /// Where plugins are.
    pub plugins: PluginsConfig,
    /// Where the master key is.
    pub store: StoreConfig,
    /// How long to wait for upstreams.
    pub timeouts: Timeouts,
    /// Names of the user's own for models.
    pub aliases: BTreeMap<String, Alias>,
    /// The gateway.
    pub serve: ServeConfig,
    /// How often a failed request is sent again.
    pub retries: Retries,
    /// When an upstream that fails is left alone.
    pub breaker: BreakerConfig,
    /// How the sessions of a pool take turns.
    pub pools: PoolsConfig,
    /// What models cost, by patterns of model refs, beside the prices that are shipped.
    pub prices: Prices,
}

/// `[pools]`: how the sessions behind `provider:*` take turns.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PoolsConfig {
    /// How long a session rests whose quota is spent, where its vendor does not say until when, in
    /// milliseconds.
    pub quota_rest_ms: u64,
}

impl Default for PoolsConfig {
    fn default() -> Self {
        Self { quota_rest_ms: 3_600_000 }
    }
}

/// `[providers.NAME]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// The plugin that serves it; absent means the one whose manifest names it.
    #[serde(default)]
    pub plugin: Option<String>,
    /// The profile whose settings apply.
    #[serde(default)]
    pub profile: Option<String>,
    /// Start of its URLs.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Where the key goes, instead of where the manifest puts it.
    #[serde(default)]
    pub auth: Option<AuthConfig>,
    /// Environment variable that holds its key.
    #[serde(default)]
    pub key_env: Option<String>,
    /// The user's own OAuth client.
    #[serde(default)]
    pub oauth: Option<OAuthConfig>,
    /// PEM file of certificate authorities to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM file of a client certificate and its key.
    #[serde(default)]
    pub client_cert: Option<PathBuf>,
    /// Whether keys may travel over plain http beyond this machine.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// Whether link-local addresses and clouds' metadata services may be asked.
    #[serde(default)]
    pub allow_metadata: bool,
    /// Settings of the plugin; checked against its manifest.
    #[serde(flatten)]
    pub settings: BTreeMap<String, toml::Value>,
}

/// `auth = { header = "x-api-key" }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuthConfig {
    /// In this header.
    Header(String),
    /// In this query parameter.
    Query(String),
    /// As `Authorization: Bearer …`, when true.
    Bearer(bool),
}

impl AuthConfig {
    /// Returns the placement; `None` when no key is to be sent at all.
    #[must_use]
    pub fn placement(&self) -> Option<Placement> {
        match self {
            Self::Header(name) => Some(Placement::header(name.to_ascii_lowercase())),
            Self::Query(name) => Some(Placement::Query { name: name.clone() }),
            Self::Bearer(true) => Some(Placement::Bearer),
            Self::Bearer(false) => None,
        }
    }
}

/// `[sessions.NAME]`: a session whose key is read where it is, each time it is used.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DeclaredSession {
    /// Whose account it is.
    pub provider: ProviderId,
    /// Environment variable that holds the key.
    #[serde(default)]
    pub env: Option<String>,
    /// File that holds the key.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Command that prints the key.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Facts that the plugin may use: organization, project.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// `[plugins]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PluginsConfig {
    /// Further folders to search.
    pub path: Vec<PathBuf>,
    /// Where plugins run.
    pub isolation: Isolation,
    /// Whether plugins that are not trusted may run where they cannot be confined.
    pub allow_unconfined: bool,
    /// The program to run workers in, instead of this one or the `maestro` beside it.
    pub worker: Option<PathBuf>,
    /// How long a step may take; in a worker it is ended then, in process it is the plugin's last.
    pub step_wall_ms: Option<u64>,
    /// How much processor time a step may take.
    pub step_cpu_ms: Option<u64>,
    /// How many crashes within five minutes withhold a plugin; 0 withholds none.
    pub quarantine_after: Option<u32>,
    /// How long requests that run may go on with a generation that was replaced.
    pub drain_ms: Option<u64>,
    /// How much memory a worker may have.
    pub memory_mb: Option<u64>,
}

impl PluginsConfig {
    /// Returns what a worker may take.
    #[must_use]
    pub fn budgets(&self) -> Budgets {
        let mut budgets = Budgets::default();
        if let Some(ms) = self.step_wall_ms {
            budgets.step_wall = Duration::from_millis(ms);
        }
        if let Some(ms) = self.step_cpu_ms {
            budgets.step_cpu = Duration::from_millis(ms);
        }
        if let Some(mb) = self.memory_mb {
            budgets.memory = mb.saturating_mul(1 << 20);
        }
        budgets
    }
}

/// `[store]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreConfig {
    /// Where the master key is; absent means a generated file beside the store.
    pub key: Option<KeyConfig>,
    /// Where the key of the former program is, whose logins a migration takes over.
    pub legacy_key: Option<KeyConfig>,
}

/// `key = { file = "…" }` and its like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyConfig {
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
    /// Printed by this command.
    Command(Vec<String>),
    /// In this systemd credential.
    Systemd(String),
}

impl From<&KeyConfig> for KeySource {
    fn from(key: &KeyConfig) -> Self {
        match key {
            KeyConfig::File(path) => Self::File(path.clone()),
            KeyConfig::Env(name) => Self::Env(name.clone()),
            KeyConfig::Command(argv) => Self::Command(argv.clone()),
            KeyConfig::Systemd(name) => Self::SystemdCredential(name.clone()),
        }
    }
}

/// `[timeouts]`, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect_ms: u64,
    /// Until the head of an answer comes. Local servers read a long prompt for minutes first.
    pub first_byte_ms: u64,
    /// Between two reads of a body; comments and pings count as bytes.
    pub idle_ms: u64,
    /// Until a request is answered whole, further tries included; 0 for as long as it takes.
    pub call_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 10_000, first_byte_ms: 600_000, idle_ms: 300_000, call_ms: 0 }
    }
}

impl Config {
    /// Reads a configuration file; an absent one is empty.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the line.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.into(), source }),
        }
    }

    /// Reads a configuration from text; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let (problem, hint) = explain(error.message());
            ConfigError::Invalid {
                path: path.into(),
                line: line_of(text, error.span()),
                problem,
                hint,
            }
        })?;
        config.check().map_err(|(problem, hint)| ConfigError::Contradiction {
            path: path.into(),
            problem,
            hint,
        })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), (String, Option<String>)> {
        for (id, provider) in &self.providers {
            if let Some(oauth) = &provider.oauth {
                oauth
                    .check()
                    .map_err(|problem| (format!("`[providers.{id}.oauth]`: {problem}"), None))?;
            }
        }
        for (name, session) in &self.sessions {
            SessionName::new(name.as_str())
                .map_err(|error| (format!("`[sessions.{name}]`: {error}"), error.hint()))?;
            let sources =
                [session.env.is_some(), session.file.is_some(), session.command.is_some()];
            let found = sources.iter().filter(|given| **given).count();
            if found != 1 {
                return Err((
                    format!(
                        "`[sessions.{name}]`: expected one of `env`, `file`, `command`, found {found}"
                    ),
                    None,
                ));
            }
            if session.command.as_ref().is_some_and(Vec::is_empty) {
                return Err((format!("`[sessions.{name}]`: `command` is empty"), None));
            }
        }
        for (pattern, price) in &self.prices {
            let problem = match pattern.parse::<RefPattern>() {
                Ok(_) => price.problem().map(str::to_owned),
                Err(error) => Some(error.to_string()),
            };
            if let Some(problem) = problem {
                return Err((format!("`[prices]`: `{pattern}`: {problem}"), None));
            }
        }
        for (name, alias) in &self.aliases {
            let mut targets = alias.targets().peekable();
            if targets.peek().is_none() {
                return Err((format!("`[aliases]`: `{name}` stands for nothing"), None));
            }
            for target in targets {
                target.parse::<ModelRef>().map_err(|error| {
                    let hint = "an alias stands for `provider/model`, `provider:session/model`";
                    (format!("`[aliases]`: `{name}`: {error}"), Some(hint.to_owned()))
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn refusal(text: &str) -> (String, Option<String>) {
        let error = Config::parse(text, Path::new("c.toml")).unwrap_err();
        (error.to_string(), error.hint())
    }

    #[test]
    fn the_documented_example_is_read() {
        let text = r#"
            [providers.openai]
            base_url = "http://127.0.0.1:9100/v1"
            [providers.lab]
            plugin = "openai-compatible"
            base_url = "http://127.0.0.1:8089/v1"
            profile = "llama-cpp"
            headers = { x-team = "a" }
            auth = { header = "X-Api-Key" }
            [sessions.work_gpt]
            provider = "openai"
            env = "WORK_OPENAI_KEY"
            settings = { organization = "org-1" }
            [plugins]
            path = ["/opt/plugins"]
            [store]
            key = { command = ["pass", "show", "maestro"] }
            [timeouts]
            connect_ms = 5
            [aliases]
            fast = ["anthropic:work_claude/claude-haiku-x", "openai/gpt-y-mini"]
            [aliases.pool]
            targets = [{ ref = "openai/gpt-y", weight = 2 }, { ref = "lab/model" }]
            strategy = "weighted"
            [serve]
            listen = "127.0.0.1:4141"
        "#;
        let config = Config::parse(text, Path::new("c.toml")).unwrap();
        let lab = &config.providers["lab"];
        assert_eq!(lab.plugin.as_deref(), Some("openai-compatible"));
        assert!(lab.settings.contains_key("headers"));
        let placement = lab.auth.as_ref().unwrap().placement();
        assert_eq!(placement, Some(Placement::header("x-api-key")));
        assert_eq!(config.timeouts.connect_ms, 5);
        assert_eq!(config.timeouts.idle_ms, Timeouts::default().idle_ms);
        assert!(matches!(config.store.key, Some(KeyConfig::Command(_))));
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_what_was_meant() {
        let (message, hint) = refusal("[plugins]\npathh = []\n");
        assert_eq!(message, "c.toml:2: unknown key `pathh`");
        assert_eq!(hint.as_deref(), Some("did you mean `path`?"));
        let (message, hint) = refusal("\n[provider.x]\n");
        assert_eq!(message, "c.toml:2: unknown key `provider`");
        assert_eq!(hint.as_deref(), Some("did you mean `providers`?"));
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let (message, _) = refusal("[timeouts]\nidle_ms = \"long\"\n");
        assert!(message.starts_with("c.toml:2: invalid type: string"), "{message}");
        let (message, _) = refusal("[sessions.work]\nprovider = \"a\"\n");
        assert_eq!(
            message,
            "c.toml: `[sessions.work]`: expected one of `env`, `file`, `command`, found 0"
        );
        let (message, _) = refusal("[sessions.w]\nprovider = \"a\"\nenv = \"X\"\n");
        assert!(message.starts_with("c.toml: `[sessions.w]`: invalid session name"), "{message}");
        let (message, _) = refusal("[aliases]\nfast = 7\n");
        assert!(message.contains("expected a model ref, a list of them"), "{message}");
        let (message, _) = refusal("[aliases]\nfast = [\"gpt\"]\n");
        assert_eq!(message, "c.toml: `[aliases]`: `fast`: expected `provider/model`, found `gpt`");
        let (message, _) = refusal("[prices]\n'lab/m' = { input = -1, output = 0 }\n");
        assert_eq!(
            message,
            "c.toml: `[prices]`: `lab/m`: a price is a number of dollars, 0 or more"
        );
        let (message, _) = refusal("[aliases]\nfast = []\n");
        assert_eq!(message, "c.toml: `[aliases]`: `fast` stands for nothing");
        let (message, _) = refusal("[providers.Big]\n");
        assert!(message.contains("invalid provider id `Big`"), "{message}");
        let (message, _) = refusal("a = [\n");
        assert!(message.starts_with("c.toml:"), "{message}");
    }

    #[test]
    fn an_oauth_client_is_read_and_its_secret_stays_unseen() {
        let read = |text: &str| {
            Config::parse(&format!("[providers.acme.oauth]\n{text}"), Path::new("c.toml"))
        };
        let config = read("client_id = \"me\"\nclient_secret = \"s3cret\"\n").unwrap();
        let oauth = config.providers["acme"].oauth.as_ref().unwrap();
        assert_eq!(oauth.client_id, "me");
        assert_eq!(oauth.secret().unwrap().unwrap().expose_secret(), "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
        let config = read("client_id = \"me\"\n").unwrap();
        assert!(config.providers["acme"].oauth.as_ref().unwrap().secret().unwrap().is_none());
        for (text, problem, hint) in [
            (
                "client_id = \"me\"\nclient_secert = \"s3cret\"\n",
                "unknown key `client_secert`",
                Some("did you mean `client_secret`?"),
            ),
            ("client_secret = \"s3cret\"\n", "missing field `client_id`", None),
            ("client_id = \"\"\n", "`client_id` is empty or holds control characters", None),
            (
                "client_id = \"a\"\nclient_secret = \"s3cret\"\nclient_secret_env = \"A\"\n",
                "name one of `client_secret`, `client_secret_env`",
                None,
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
            assert_eq!(error.hint().as_deref(), hint, "{text}");
        }
    }

    #[test]
    fn an_absent_file_is_an_empty_configuration() {
        let config = Config::read(Path::new("/nowhere/config.toml")).unwrap();
        assert!(config.providers.is_empty());
        assert!(matches!(Config::read(Path::new("/")), Err(ConfigError::Read { .. })));
    }
}
