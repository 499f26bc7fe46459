//! What can go wrong above the layers, and what to do about it.

mod hint;
mod status;

use std::path::PathBuf;

use plugin_api::{ProviderId, capability::Feature, error::ProviderError};

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
    /// The provider does not understand part of the request.
    #[error("provider `{provider}` does not offer {}", in_words(*feature))]
    NotUnderstood {
        /// The provider.
        provider: ProviderId,
        /// What it would have to understand.
        feature: Feature,
        /// Which part of the request, for example `messages[0].parts[1]`.
        place: String,
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
    /// Returns the provider's own error, if that is what failed.
    #[must_use]
    pub fn provider_error(&self) -> Option<&ProviderError> {
        match self {
            Self::Exchange(error) => error.provider_error(),
            _ => None,
        }
    }
}

/// Writes a number with its noun: `1 problem`, `2 problems`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Says what a feature is, to a person.
fn in_words(feature: Feature) -> &'static str {
    match feature {
        Feature::Tools => "tools",
        Feature::CustomTools => "tools that take free text",
        Feature::StructuredOutput => "answers in a JSON Schema",
        Feature::Images => "images",
        Feature::Audio => "audio",
        Feature::Files => "files",
        other => other.as_str(),
    }
}
