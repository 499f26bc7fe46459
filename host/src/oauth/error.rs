//! What can go wrong during a login, and what to do about it.

use std::time::Duration;

use crate::oauth::{
    callback::CallbackError, client::ClientError, device::DeviceError, discovery::DiscoveryError,
    fetch::FetchError, id_token::IdTokenError, login::Flow, loopback::LoopbackError,
    registration::RegistrationError, token::TokenError,
};
use crate::session::random::NoRandomness;

/// Why a login ended without a session. Holds no secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// There is no client to ask with.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The endpoints are not known, or not safe.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The server registered no client.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// Nothing can listen for the redirect.
    #[error(transparent)]
    Loopback(#[from] LoopbackError),
    /// What came back through the browser is not taken.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// The device flow ended without tokens.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The vendor gave no device code.
    #[error("the vendor gave no device code")]
    DeviceCode(#[source] FetchError),
    /// The token endpoint gave no tokens.
    #[error(transparent)]
    Token(TokenError),
    /// The id token is not believed.
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    /// The keys of id tokens cannot be had.
    #[error("the issuer's keys cannot be read")]
    Keys(#[source] FetchError),
    /// The system had no randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The provider does not offer this kind of login.
    #[error("this login does not work with `--{flow}`")]
    Flow {
        /// What was asked for.
        flow: Flow,
        /// What is offered.
        offered: Vec<Flow>,
    },
    /// Nobody came back in time.
    #[error("nobody finished the login in the browser within {}", words(*.patience))]
    Timeout {
        /// How long was waited.
        patience: Duration,
        /// The last answer that came and was not for this login.
        #[source]
        refused: Option<CallbackError>,
    },
    /// The user gave it up before coming back.
    #[error("the login was given up")]
    GivenUp,
    /// The vendor was to issue a client id and did not.
    #[error("the vendor's answer holds no client id for this account")]
    NoIssuedClient,
    /// The vendor answered for another client than this session's.
    #[error("the vendor answered for client `{found}`, but the session belongs to `{expected}`")]
    OtherClient {
        /// The session's.
        expected: String,
        /// The answer's.
        found: String,
    },
    /// Another account logged in than the session's.
    #[error("another account logged in than the one that session `{session}` belongs to")]
    OtherAccount {
        /// The session.
        session: String,
    },
    /// A fact that the login needs is not known.
    #[error("the login needs `{name}`{}", explained(.help))]
    MissingFact {
        /// Its name.
        name: String,
        /// What it is.
        help: String,
        /// Environment variables that may hold it.
        env: Vec<String>,
    },
    /// A fact that the login does not know.
    #[error("the login does not ask for `{name}`")]
    UnknownFact {
        /// What was given.
        name: String,
        /// What was probably meant.
        hint: String,
    },
    /// A fact that cannot be one.
    #[error("`{name}` is empty or holds control characters")]
    WrongFact {
        /// Its name.
        name: String,
    },
    /// The login does not wait for a pasted code.
    #[error("this login does not take a pasted code")]
    NotPasted,
    /// The login waits for a pasted code.
    #[error("the code of this login was not pasted yet")]
    NothingPasted,
}

impl From<TokenError> for LoginError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

/// Says a time as a person would.
fn words(time: Duration) -> String {
    match time.as_secs() {
        whole if whole >= 120 && whole % 60 == 0 => format!("{} min", whole / 60),
        seconds => format!("{seconds} s"),
    }
}

fn explained(help: &str) -> String {
    if help.is_empty() { String::new() } else { format!(": {help}") }
}

impl LoginError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self, provider: &str) -> Option<String> {
        Some(match self {
            Self::Client(error) => error.hint(),
            Self::Discovery(error) => error.hint(),
            Self::Registration(_) => format!(
                "try again, or configure a client of your own in `[providers.{provider}.oauth]`"
            ),
            Self::Loopback(error) => error.hint(),
            Self::Callback(error) => error.hint(),
            Self::Device(error) => error.hint(),
            Self::DeviceCode(_) => "try again, or log in without `--device`".into(),
            Self::Token(error @ TokenError::Rejected { .. }) if !error.is_configuration() => {
                "a code works once and for a short time; log in again".into()
            }
            Self::Token(TokenError::Invalid { .. }) => {
                "nothing was stored; log in again, and grant all that is asked for".into()
            }
            Self::Token(error) => error.hint(provider)?,
            Self::IdToken(error) => error.hint(),
            Self::Keys(_) => "nothing was stored; try again in a moment".into(),
            Self::Random(_) => return None,
            Self::Flow { offered, .. } => match offered.as_slice() {
                [] => "run `maestro providers show` for what it offers".into(),
                offered => format!(
                    "it offers {}",
                    offered.iter().map(|flow| format!("`{flow}`")).collect::<Vec<_>>().join(", ")
                ),
            },
            Self::Timeout { refused: Some(error), .. } => error.hint(),
            Self::Timeout { refused: None, .. } => {
                "log in again; `--paste` works where the browser is on another machine".into()
            }
            Self::NoIssuedClient => {
                "with `--paste`, paste the whole address of the last page, not the code alone"
                    .into()
            }
            Self::OtherClient { .. } | Self::OtherAccount { .. } => {
                "nothing was changed; log in under another `--name`, or delete the session first"
                    .into()
            }
            Self::MissingFact { name, env, .. } => match env.first() {
                Some(variable) => format!("add `--set {name}=…`, or set `{variable}`"),
                None => format!("add `--set {name}=…`"),
            },
            Self::UnknownFact { hint, .. } => hint.clone(),
            Self::WrongFact { name } => format!("give it again: `--set {name}=…`"),
            Self::GivenUp => return None,
            Self::NotPasted | Self::NothingPasted => "log in again with `--paste`".into(),
        })
    }

    /// Returns the exit status: 1 the request failed, 2 usage, 3 authentication needed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Client(_)
            | Self::Flow { .. }
            | Self::MissingFact { .. }
            | Self::UnknownFact { .. }
            | Self::WrongFact { .. }
            | Self::NotPasted
            | Self::NothingPasted => 2,
            Self::Callback(_)
            | Self::Device(_)
            | Self::IdToken(_)
            | Self::Timeout { .. }
            | Self::NoIssuedClient
            | Self::OtherClient { .. }
            | Self::OtherAccount { .. } => 3,
            Self::Token(error) if error.is_configuration() => 2,
            Self::Token(TokenError::Rejected { .. } | TokenError::Invalid { .. }) => 3,
            _ => 1,
        }
    }
}
