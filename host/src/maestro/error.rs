//! What can go wrong above the layers, and what to do about it.

use std::path::PathBuf;

use plugin_api::{
    ProviderId,
    error::{ErrorKind, ProviderError},
};

use crate::{
    config::ConfigError,
    exchange::{ExchangeError, recording::RecordingError},
    oauth::{error::LoginError, refresh::RefreshError},
    plugin::{RefusalError, install::InstallError, provider::MisfitError, trust::TrustError},
    router::ModelRefError,
    session::{
        InvalidName, KeyError, SessionError, SessionName, StoreError, profile::ProfileError,
    },
};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be read.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The configuration names what no plugin has.
    #[error("the configuration does not fit the plugins")]
    Misfit(#[from] MisfitError),
    /// No plugin offers the provider.
    #[error("no provider `{provider}`")]
    UnknownProvider {
        /// What was asked for.
        provider: String,
        /// What was probably meant, or why it is not there.
        hint: String,
    },
    /// The answer took longer than the caller would wait.
    #[error("no complete answer within {seconds} s")]
    Deadline {
        /// How long that was, in seconds.
        seconds: f32,
    },
    /// The upstream failed several times in a row and is not asked for a while.
    #[error("provider `{provider}` failed several times in a row and is left alone{}", wait_text(*.wait_ms))]
    LeftAlone {
        /// The provider.
        provider: ProviderId,
        /// For how long, if that is known.
        wait_ms: Option<u64>,
    },
    /// Every session of the pool has spent its quota.
    #[error("every session of `{provider}:*` has spent its quota{}", wait_text(Some(*.wait_ms)))]
    PoolSpent {
        /// The provider.
        provider: ProviderId,
        /// Until the first one has its quota back.
        wait_ms: u64,
    },
    /// The client's key allows none of what a model name stands for.
    #[error("the client key may not ask for model `{model}`")]
    KeyMayNot {
        /// The name.
        model: String,
    },
    /// Nothing of what a model name stands for can be asked.
    #[error("model `{model}` cannot be asked: {problem}")]
    NotRoutable {
        /// The ref.
        model: String,
        /// Why.
        problem: String,
    },
    /// The pool has no session that could serve.
    #[error("`{provider}:*` has no API-key session that is ready")]
    EmptyPool {
        /// The provider.
        provider: ProviderId,
    },
    /// The provider lacks something of the configuration.
    #[error("provider `{provider}` is not ready: it {why}")]
    NotReady {
        /// The provider.
        provider: ProviderId,
        /// What it lacks.
        why: String,
    },
    /// The provider does not offer the operation or understand part of the request.
    #[error("provider `{provider}` does not offer {what}")]
    NotSupported {
        /// The provider.
        provider: ProviderId,
        /// What was asked.
        what: String,
    },
    /// A model ref cannot be read.
    #[error("invalid model ref")]
    ModelRef(#[from] ModelRefError),
    /// No provider lists the model.
    #[error("no provider serves model `{model}`")]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// The nearest refs.
        nearest: Vec<String>,
    },
    /// Several providers list the model.
    #[error("several providers serve model `{model}`")]
    AmbiguousModel {
        /// What was asked for.
        model: String,
        /// The refs that name one.
        candidates: Vec<String>,
    },
    /// The session's name cannot be read.
    #[error("invalid session `{session}`")]
    SessionName {
        /// What was given.
        session: String,
        /// Why.
        source: InvalidName,
    },
    /// The session belongs to another provider than the model.
    #[error("session `{session}` is one of `{other}`, not of `{provider}`")]
    SessionElsewhere {
        /// The session.
        session: String,
        /// The provider of the model.
        provider: ProviderId,
        /// The session's provider.
        other: ProviderId,
    },
    /// The provider wants a login and has none.
    #[error("provider `{provider}` has no session")]
    NoSession {
        /// The provider.
        provider: ProviderId,
        /// Environment variables that would do instead.
        env: Vec<String>,
    },
    /// The plugin or its origins are not those that the session was made for.
    #[error("session `{session}` needs approval: {change}")]
    NeedsApproval {
        /// The session.
        session: String,
        /// What changed.
        change: String,
    },
    /// What was given cannot be a key of this provider.
    #[error("this is no key for provider `{provider}`: {problem}")]
    InvalidKey {
        /// The provider.
        provider: ProviderId,
        /// What is wrong; holds nothing of the key.
        problem: String,
        /// Where to get one.
        obtain_url: Option<String>,
    },
    /// A login failed.
    #[error("the login at `{provider}` failed")]
    Login {
        /// The provider.
        provider: ProviderId,
        /// Why.
        source: LoginError,
    },
    /// A declared session's key cannot be had.
    #[error("declared session `{session}`: {problem}")]
    Declared {
        /// The session.
        session: String,
        /// What is wrong.
        problem: String,
    },
    /// A declared session cannot be changed here.
    #[error("session `{session}` is declared in the configuration")]
    DeclaredElsewhere {
        /// The session.
        session: String,
    },
    /// A key in the environment is no stored session and cannot be changed here.
    #[error("the key in `{variable}` is used without being stored")]
    InEnvironment {
        /// The provider.
        provider: ProviderId,
        /// The variable.
        variable: String,
    },
    /// Another session has the name already.
    #[error("session `{session}` exists already")]
    NameTaken {
        /// The other session.
        session: String,
    },
    /// Sessions or conversations failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A login that a vendor's own tool keeps cannot be used.
    #[error("provider `{provider}` cannot use that login")]
    Profile {
        /// The provider.
        provider: ProviderId,
        /// Why.
        source: ProfileError,
    },
    /// There is nothing to import there.
    #[error("`{place}` cannot be imported")]
    NotImportable {
        /// Where it is.
        place: String,
    },
    /// There is nothing stored yet.
    #[error("there is no store at `{}`", .path.display())]
    NoStore {
        /// Where it would be.
        path: PathBuf,
    },
    /// A rollback has to go down, to a version that there is.
    #[error("the store has schema version {from} and cannot be rolled back to {to}")]
    NoRollback {
        /// Its version.
        from: i64,
        /// The version that was asked for.
        to: i64,
    },
    /// There is no other key than the present one.
    #[error("no new key for the store: the present one is from {key}")]
    NoNextKey {
        /// Where the present key is.
        key: String,
    },
    /// The store is damaged, or values in it do not open.
    #[error("the store has {}", counted(*.problems, "problem"))]
    Unsound {
        /// How many problems were found.
        problems: usize,
    },
    /// A session's tokens could not be renewed.
    #[error("failed to renew the tokens of session `{session}` of provider `{provider}`")]
    Renewal {
        /// The provider.
        provider: ProviderId,
        /// The session's name.
        session: SessionName,
        /// Why.
        source: RefreshError,
    },
    /// The master key cannot be had.
    #[error("the master key cannot be used")]
    Key(#[from] KeyError),
    /// A stored message does not read as one.
    #[error("message `{message}` of the conversation cannot be read")]
    Message {
        /// The message.
        message: String,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no such plugin.
    #[error("no plugin `{plugin}`")]
    UnknownPlugin {
        /// What was asked for.
        plugin: String,
        /// What was probably meant.
        hint: String,
    },
    /// A plugin was refused.
    #[error("failed to load plugin `{plugin}`")]
    Plugin {
        /// Its id or file.
        plugin: String,
        /// Why.
        source: RefusalError,
    },
    /// A plugin was not installed or not removed.
    #[error("nothing of plugin `{plugin}` was changed")]
    Unchanged {
        /// Its id.
        plugin: String,
        /// Why.
        source: InstallError,
    },
    /// A recording cannot be run again.
    #[error("the recording cannot be used")]
    Recording(#[from] RecordingError),
    /// A build cannot be put before the installed plugins.
    #[error("the build cannot be put before what is installed")]
    Development {
        /// Why.
        source: std::io::Error,
    },
    /// The list of trusted plugins cannot be used.
    #[error("the list of trusted plugins cannot be used")]
    Trust(#[from] TrustError),
    /// The list of plugins that are withheld cannot be written.
    #[error("`{}` cannot be written", .path.display())]
    Quarantine {
        /// The list.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An exchange failed.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// There is no such conversation.
    #[error("no conversation `{conversation}`")]
    UnknownConversation {
        /// What was asked for.
        conversation: String,
        /// The nearest names.
        nearest: Vec<String>,
    },
    /// Several ids begin so.
    #[error("several conversations have an id that begins with `{prefix}`")]
    AmbiguousConversation {
        /// What was asked for.
        prefix: String,
        /// The ids.
        candidates: Vec<String>,
    },
    /// There is no such chunk.
    #[error("conversation `{context}` has no message `{chunk}`")]
    UnknownChunk {
        /// The conversation.
        context: String,
        /// The message.
        chunk: String,
    },
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Session(error.into())
    }
}

/// Says how long something lasts, behind a sentence.
fn wait_text(wait_ms: Option<u64>) -> String {
    wait_ms.map(|ms| format!(" for {} s", ms.div_ceil(1000))).unwrap_or_default()
}

impl Error {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Misfit(error) => error.hint.clone(),
            Self::UnknownProvider { hint, .. } | Self::UnknownPlugin { hint, .. } => {
                Some(hint.clone())
            }
            Self::Deadline { .. } => Some(
                "give it longer: `--timeout`, or `call_ms` in `[timeouts]` of the configuration"
                    .into(),
            ),
            Self::KeyMayNot { .. } => None,
            Self::NotRoutable { .. } => Some("run `maestro routes explain REF`".into()),
            Self::LeftAlone { .. } => {
                Some("an alias may name another model to fall back to; see `[breaker]`".into())
            }
            Self::PoolSpent { provider, .. } | Self::EmptyPool { provider } => Some(format!(
                "add a session: `maestro login {provider} --auth api-key --name NAME`"
            )),
            Self::NotReady { provider, .. } => {
                Some(format!("run `maestro providers show {provider}`"))
            }
            Self::NotSupported { provider, .. } => {
                Some(format!("run `maestro providers show {provider}` for what it offers"))
            }
            Self::ModelRef(_) => Some("run `maestro models` for the refs there are".into()),
            Self::UnknownModel { nearest, .. } if nearest.is_empty() => {
                Some("run `maestro models` for the refs there are".into())
            }
            Self::UnknownModel { nearest, .. } => {
                Some(format!("did you mean {}?", any_of(nearest)))
            }
            Self::AmbiguousModel { candidates, .. } => {
                Some(format!("say which: {}", any_of(candidates)))
            }
            Self::SessionName { source, .. } => source.hint(),
            Self::SessionElsewhere { other, .. } => Some(format!(
                "name a model of `{other}`; `maestro models --provider {other}` lists them"
            )),
            Self::NoSession { provider, env } => {
                let login = format!("run `maestro login {provider}`");
                Some(match env.first() {
                    Some(name) => format!("{login}, or set `{name}`"),
                    None => login,
                })
            }
            Self::NeedsApproval { session, .. } => {
                Some(format!("if you expected that, run `maestro sessions approve {session}`"))
            }
            Self::InvalidKey { obtain_url, .. } => {
                obtain_url.as_ref().map(|url| format!("get a key at {url}"))
            }
            Self::Login { provider, source } => source.hint(provider.as_str()),
            Self::Declared { .. } | Self::DeclaredElsewhere { .. } => {
                Some("change `[sessions]` in the file that `maestro config path` names".into())
            }
            Self::InEnvironment { provider, .. } => Some(format!(
                "`maestro sessions import {provider} --from env` stores it as a session"
            )),
            Self::NameTaken { session } => {
                Some(format!("choose another name, or rename or delete `{session}` first"))
            }
            // Only a stored session, whose selector says how it is logged in, can be made the default.
            Self::Session(SessionError::NoDefault { provider, candidates })
                if candidates.iter().all(|selector| !selector.contains('@')) =>
            {
                Some(format!(
                    "name one: `-s NAME`, `-m {provider}:NAME/MODEL`, or `MAESTRO_SESSION=NAME`"
                ))
            }
            Self::Session(error) => error.hint(),
            Self::Renewal { provider, session, source } => {
                source.hint(provider.as_str(), session.as_str())
            }
            Self::Key(error) => error.hint(),
            Self::Profile { source, .. } => source.hint(),
            Self::NotImportable { .. } => {
                Some("run `maestro sessions import` for what can be, and why not".into())
            }
            Self::NoStore { .. } => Some("`maestro login PROVIDER` makes one".into()),
            Self::NoRollback { from, .. } => Some(match from {
                0 => "it is at the oldest version already".into(),
                from => format!("name a version from 0 to {}", from - 1),
            }),
            Self::NoNextKey { .. } => {
                Some("name another with `--new-key-file` or `--new-key-env`".into())
            }
            Self::Unsound { .. } => {
                Some("restore the newest `.backup-` file beside it, or log in again".into())
            }
            Self::Message { .. } => Some("it was written by a newer version, most likely".into()),
            Self::Plugin { source, .. } => Some(source.hint()),
            Self::Unchanged { source, .. } => Some(source.hint()),
            Self::Recording(_) => Some("record it again with `maestro chat --record FILE`".into()),
            Self::Exchange(ExchangeError::Contract { plugin, .. }) => Some(format!(
                "tell the author of `{plugin}`; run `maestro plugin inspect {plugin}`"
            )),
            Self::Exchange(ExchangeError::Worker { plugin, source }) => {
                Some(if source.is_the_plugins_fault() {
                    format!("tell the author of `{plugin}`; run `maestro plugin inspect {plugin}`")
                } else {
                    "ask again".into()
                })
            }
            Self::Trust(error) => Some(error.hint()),
            Self::Development { .. } => {
                Some("check the permissions of the home, and the free space".into())
            }
            Self::Quarantine { .. } => Some("check the file's permissions".into()),
            Self::Exchange(ExchangeError::Provider { provider, source }) => {
                provider_hint(provider, source)
            }
            Self::UnknownConversation { nearest, .. } if nearest.is_empty() => {
                Some("run `maestro conversations` for those there are".into())
            }
            Self::UnknownConversation { nearest, .. } => {
                Some(format!("did you mean {}?", any_of(nearest)))
            }
            Self::AmbiguousConversation { candidates, .. } => {
                Some(format!("say which: {}", any_of(candidates)))
            }
            Self::UnknownChunk { context, .. } => {
                Some(format!("run `maestro conversations show {context}`"))
            }
        }
    }

    /// Returns the exit status of the command line: 1 the request failed, 2 usage, 3 authentication
    /// needed, 4 plugin rejected, 5 store or key.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Misfit(_)
            | Self::UnknownProvider { .. }
            | Self::NotReady { .. }
            | Self::NotSupported { .. }
            | Self::ModelRef(_)
            | Self::UnknownModel { .. }
            | Self::AmbiguousModel { .. }
            | Self::SessionName { .. }
            | Self::SessionElsewhere { .. }
            | Self::DeclaredElsewhere { .. }
            | Self::UnknownPlugin { .. }
            | Self::InEnvironment { .. }
            | Self::NameTaken { .. }
            | Self::NoRollback { .. }
            | Self::NotImportable { .. }
            | Self::Recording(_)
            | Self::NoNextKey { .. }
            | Self::UnknownConversation { .. }
            | Self::AmbiguousConversation { .. }
            | Self::UnknownChunk { .. } => 2,
            Self::NoSession { .. }
            | Self::EmptyPool { .. }
            | Self::NeedsApproval { .. }
            | Self::InvalidKey { .. }
            | Self::Profile { .. }
            | Self::Declared { .. } => 3,
            Self::Login { source, .. } => source.exit_code(),
            Self::Session(error) => session_exit(error),
            Self::Renewal { source: RefreshError::Store(error), .. } => session_exit(error),
            Self::Renewal { source: RefreshError::Unapproved { .. }, .. } => 3,
            Self::Renewal { source, .. } if source.needs_login() => 3,
            Self::Renewal { .. } => 1,
            Self::Unchanged { source: InstallError::Io { .. }, .. } => 1,
            Self::Plugin { .. }
            | Self::Unchanged { .. }
            | Self::Exchange(ExchangeError::Contract { .. }) => 4,
            Self::Exchange(ExchangeError::Worker { source, .. })
                if source.is_the_plugins_fault() =>
            {
                4
            }
            Self::NoStore { .. }
            | Self::Unsound { .. }
            | Self::Trust(_)
            | Self::Quarantine { .. }
            | Self::Development { .. }
            | Self::Key(_)
            | Self::Message { .. } => 5,
            Self::Exchange(error) if error.is_authentication() => 3,
            Self::Exchange(_)
            | Self::Deadline { .. }
            | Self::LeftAlone { .. }
            | Self::KeyMayNot { .. }
            | Self::NotRoutable { .. }
            | Self::PoolSpent { .. } => 1,
        }
    }

    /// Returns a stable word for `--json`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exchange(ExchangeError::Provider { .. }) => "provider_error",
            Self::Exchange(ExchangeError::Contract { .. }) => "contract_broken",
            Self::Exchange(ExchangeError::Worker { .. }) => "plugin_crashed",
            Self::UnknownProvider { .. } => "unknown_provider",
            Self::UnknownModel { .. } | Self::AmbiguousModel { .. } => "unknown_model",
            Self::NotSupported { .. } => "not_supported",
            Self::Deadline { .. } => "deadline",
            other => match other.exit_code() {
                2 => "usage",
                3 => "authentication_needed",
                4 => "plugin_rejected",
                5 => "store",
                _ => "failed",
            },
        }
    }

    /// Returns the provider's own error, if that is what failed.
    #[must_use]
    pub fn provider_error(&self) -> Option<&ProviderError> {
        match self {
            Self::Exchange(error) => error.provider_error(),
            _ => None,
        }
    }
}

fn session_exit(error: &SessionError) -> u8 {
    match error {
        SessionError::None { .. } => 3,
        SessionError::Unknown { .. }
        | SessionError::Ambiguous { .. }
        | SessionError::NoDefault { .. }
        | SessionError::Store(
            StoreError::DuplicateSession { .. }
            | StoreError::DuplicateConversation { .. }
            | StoreError::DuplicateClientKey { .. }
            | StoreError::UnknownClientKey { .. }
            | StoreError::UnknownSession { .. }
            | StoreError::UnknownConversation { .. },
        ) => 2,
        _ => 5,
    }
}

fn provider_hint(provider: &str, error: &ProviderError) -> Option<String> {
    // The plugin knows its vendor better than we do.
    if let Some(hint) = error.details.get("hint").and_then(|hint| hint.as_str()) {
        return Some(hint.escape_debug().to_string());
    }
    Some(match error.kind {
        ErrorKind::Authentication => {
            format!("run `maestro login {provider} --replace`, or `maestro sessions test`")
        }
        ErrorKind::NotFound => format!("run `maestro models --provider {provider}`"),
        ErrorKind::RateLimited | ErrorKind::Overloaded => match error.retry_after_ms {
            Some(wait) => format!("try again in {} s", wait.div_ceil(1000)),
            None => "try again in a moment".into(),
        },
        ErrorKind::Quota => "check the plan and the credit of the account".into(),
        ErrorKind::ContextLength => "shorten the conversation, or choose another model".into(),
        ErrorKind::Connection => "check that the server runs and the network is up".into(),
        ErrorKind::Unavailable => "the trouble is the provider's; try again later".into(),
        ErrorKind::Timeout => "raise `[timeouts]` if the server is only slow".into(),
        _ => return None,
    })
}

/// Writes a number with its noun: `1 problem`, `2 problems`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn any_of(refs: &[String]) -> String {
    refs.iter().map(|r| format!("`{r}`")).collect::<Vec<_>>().join(" or ")
}
