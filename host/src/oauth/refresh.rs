//! Renewing tokens: at most one renewal of a session at a time, and none is ever lost.
//!
//! This stands in the `oauth` layer and not among the sessions, because it talks to the network; what
//! must be durable, and in which order, is [`Sessions::renewal`]'s.
//!
//! A refresh token is usually replaced when it is used, and using it twice may end the login. So:
//!
//! - Within a process, callers share one flight. It runs on a thread of its own, to its end: neither
//!   a caller that goes away nor a program that ends in the meantime stops it half-way.
//! - Between processes, a lease keeps others away. Whoever gets it reads the session again first and
//!   uses what the one before may have stored.
//! - The attempt is on record before the request goes out, and the new tokens are stored before they
//!   are used. A crash in between leaves the record: the next one tries once more, and after that the
//!   session waits for a new login. Its row is never removed or overwritten by something worse.

pub(crate) mod expiry;
mod flight;
pub(crate) mod step;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use plugin_api::{PluginId, ProviderId, auth::OAuthScheme};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::sync::watch;

use self::{
    expiry::{Age, age},
    flight::Flight,
};
use super::{client::ClientError, local_now_s, token::TokenError};
use crate::{
    config::{OAuthConfig, Timeouts},
    session::{OpenSession, SessionError, SessionId, SessionStatus, Sessions, TokenSet},
    transport::TlsOptions,
};

/// Why tokens could not be renewed. Holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// There is nothing to renew with.
    #[error("it has no refresh token")]
    NoRefreshToken,
    /// The server takes the refresh token never again.
    #[error("the provider no longer accepts the login: `{code}`")]
    Rejected {
        /// The server's code.
        code: String,
    },
    /// Requests went out and no answer came, so the refresh token may be used up.
    #[error("the last renewals got no answer, so the refresh token may be used up")]
    Lost,
    /// The server allows no renewal yet.
    #[error("the provider allows no renewal of its tokens for another {wait_s} s")]
    TooEarly {
        /// How long that is.
        wait_s: i64,
    },
    /// The session was not approved for the token endpoint.
    #[error("the session is not approved for the token endpoint at `{origin}`")]
    Unapproved {
        /// The endpoint's origin.
        origin: String,
    },
    /// There is no client to ask with.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The token endpoint did not issue any.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The session was removed in the meantime.
    #[error("the session was removed in the meantime")]
    Gone,
    /// The session could not be read or stored.
    #[error("the session could not be read or stored")]
    Store(#[source] Arc<SessionError>),
    /// Another process holds the lease for too long.
    #[error("another process has been renewing its tokens for too long")]
    Contended,
    /// The thread that did it panicked: a bug of the host.
    #[error("renewing tokens panicked; this is a bug in `maestro`")]
    Panicked,
}

impl RefreshError {
    /// Reports whether only a new login helps.
    #[must_use]
    pub fn needs_login(&self) -> bool {
        matches!(self, Self::NoRefreshToken | Self::Rejected { .. } | Self::Lost | Self::Gone)
    }

    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self, provider: &str, session: &str) -> Option<String> {
        Some(match self {
            Self::NoRefreshToken | Self::Rejected { .. } | Self::Lost => {
                format!("run `maestro login {provider} --name {session} --replace`")
            }
            Self::Gone => format!("run `maestro login {provider}`"),
            Self::Unapproved { .. } => {
                format!("if you expected that, run `maestro sessions approve {provider}:{session}`")
            }
            Self::Client(error) => error.hint(),
            Self::Token(error) => return error.hint(provider),
            Self::TooEarly { .. } | Self::Contended => "try again later".into(),
            Self::Store(error) => return error.hint(),
            Self::Panicked => return None,
        })
    }
}

impl From<SessionError> for RefreshError {
    fn from(error: SessionError) -> Self {
        use crate::session::StoreError;
        match error {
            SessionError::Store(StoreError::UnknownSession { .. }) => Self::Gone,
            error => Self::Store(Arc::new(error)),
        }
    }
}

/// What a renewal gives to all who wait for it.
pub(crate) type Renewed = Result<Arc<OpenSession>, RefreshError>;

/// What tokens of a provider are renewed with, beside what the session keeps.
#[derive(Clone)]
pub(crate) struct Source {
    /// The provider.
    pub(crate) provider: ProviderId,
    /// The plugin that serves it.
    pub(crate) plugin: PluginId,
    /// The scheme that the tokens were issued under.
    pub(crate) scheme: OAuthScheme,
    /// The provider's settings.
    pub(crate) settings: BTreeMap<String, Value>,
    /// What else templates may name.
    pub(crate) facts: BTreeMap<String, String>,
    /// The client that the user configured, if any.
    pub(crate) client: Option<OAuthConfig>,
    /// Certificates.
    pub(crate) tls: TlsOptions,
}

/// Why tokens are wanted.
#[derive(Clone)]
pub(crate) enum Need {
    /// They should work.
    Usable {
        /// Whether somebody waits for them; otherwise the old ones still do.
        waiting: bool,
    },
    /// They should be others than these, which the provider refused or the user wants replaced.
    Other {
        /// The access token of now.
        than: SecretString,
        /// Whether the user asks, who need not wait after a failure.
        forced: bool,
    },
}

/// Renews tokens. One for the whole program.
pub(crate) struct Refresher {
    timeouts: Timeouts,
    actor: &'static str,
    /// Makes jitter that is the same each time a session is looked at.
    jitter: RandomState,
    shared: Mutex<Shared>,
    /// Told of each flight that is over.
    landed: Condvar,
}

#[derive(Default)]
struct Shared {
    flights: HashMap<SessionId, watch::Receiver<Option<Renewed>>>,
    pauses: HashMap<SessionId, Pause>,
}

/// How long a session is left alone after a failure.
struct Pause {
    /// Of which state of the session; any change ends the pause.
    generation: u64,
    until: Instant,
    failures: u32,
    error: RefreshError,
}

impl Refresher {
    /// Makes a refresher; `actor` stands in the audit trail.
    pub(crate) fn new(timeouts: Timeouts, actor: &'static str) -> Self {
        let (jitter, shared) = (RandomState::new(), Mutex::default());
        Self { timeouts, actor, jitter, shared, landed: Condvar::new() }
    }

    /// Waits until no renewal is under way, at most for `patience`; reports whether none is. Blocks.
    pub(crate) fn settle(&self, patience: Duration) -> bool {
        let under_way = |shared: &mut Shared| !shared.flights.is_empty();
        let settled = self.landed.wait_timeout_while(self.shared(), patience, under_way);
        settled.unwrap_or_else(PoisonError::into_inner).0.flights.is_empty()
    }

    /// Returns the session with tokens that work. Those that will soon end are renewed in the
    /// background; only for those that have ended the caller waits.
    pub(crate) async fn usable(
        self: &Arc<Self>,
        sessions: &Arc<Sessions>,
        open: Arc<OpenSession>,
        scheme: &OAuthScheme,
        source: impl FnOnce() -> Source,
    ) -> Renewed {
        match self.age(&open, scheme) {
            Age::Fresh => Ok(open),
            Age::Due => {
                let (source, need) = (source(), Need::Usable { waiting: false });
                // Asked here, too, or each request would start a flight only to learn that it may not.
                if matches!(self.aim(&open, &need, &source), Aim::Renew) {
                    drop(self.board(sessions, &open.info.id, &need, &source));
                }
                Ok(open)
            }
            Age::Expired => {
                // Boxed, because it is rare and large, and each request has room for it.
                let need = Need::Usable { waiting: true };
                Box::pin(self.renewed(sessions, &open, need, source())).await
            }
        }
    }

    /// Returns the session with other tokens than `open` holds.
    ///
    /// Another process may have stored them; then nothing is sent.
    pub(crate) async fn other(
        self: &Arc<Self>,
        sessions: &Arc<Sessions>,
        open: &OpenSession,
        forced: bool,
        source: Source,
    ) -> Renewed {
        let than = open.credential.bearer().clone();
        self.renewed(sessions, open, Need::Other { than, forced }, source).await
    }

    async fn renewed(
        self: &Arc<Self>,
        sessions: &Arc<Sessions>,
        open: &OpenSession,
        need: Need,
        source: Source,
    ) -> Renewed {
        // A flight that was under way may have been for less than is needed here.
        for _ in 0..MAX_FLIGHTS {
            let mut arrival = self.board(sessions, &open.info.id, &need, &source);
            let landed = arrival.wait_for(Option::is_some).await;
            let landed = landed.ok().and_then(|landed| landed.clone());
            let session = landed.unwrap_or(Err(RefreshError::Panicked))?;
            if matches!(self.aim(&session, &need, &source), Aim::Use) {
                return Ok(session);
            }
        }
        Err(RefreshError::Contended)
    }

    /// Joins the flight of a session, or starts one.
    fn board(
        self: &Arc<Self>,
        sessions: &Arc<Sessions>,
        id: &SessionId,
        need: &Need,
        source: &Source,
    ) -> watch::Receiver<Option<Renewed>> {
        let mut shared = self.shared();
        if let Some(under_way) = shared.flights.get(id) {
            return under_way.clone();
        }
        let (landing, arrival) = watch::channel(None);
        shared.flights.insert(id.clone(), arrival.clone());
        let seat = Seat { refresher: Arc::clone(self), id: id.clone() };
        let (sessions, need, source) = (Arc::clone(sessions), need.clone(), source.clone());
        // A thread, not a task, which would be dropped with the runtime; who ends the program waits for
        // it (`Refresher::settle`).
        tokio::task::spawn_blocking(move || {
            let flight = Flight {
                refresher: &seat.refresher,
                sessions: &sessions,
                id: &seat.id,
                need: &need,
                source: &source,
            };
            let landed = flight.fly();
            if let Err(error) = &landed {
                tracing::debug!(%error, "tokens were not renewed");
            }
            // Off the board first: who comes later must not see what is over.
            drop(seat);
            landing.send_replace(Some(landed));
        });
        arrival
    }

    fn age(&self, open: &OpenSession, scheme: &OAuthScheme) -> Age {
        let Some(tokens) = open.credential.tokens() else { return Age::Fresh };
        let hash = self.jitter.hash_one((&open.info.id, open.info.generation));
        age(tokens, scheme, local_now_s(), f64::from((hash & 0xff) as u8) / 255.0)
    }

    /// Decides what to do with a session as it is now.
    fn aim(&self, open: &OpenSession, need: &Need, source: &Source) -> Aim {
        let Some(tokens) = open.credential.tokens() else { return Aim::Use };
        let age = self.age(open, &source.scheme);
        let (wanted, forced) = match need {
            Need::Usable { .. } => (age != Age::Fresh, false),
            Need::Other { than, forced } => {
                (than.expose_secret() == tokens.access_token.expose_secret(), *forced)
            }
        };
        if !wanted {
            return Aim::Use;
        }
        match self.hindrance(open, tokens, forced) {
            None => Aim::Renew,
            // What still works is used for as long as it does.
            Some(_) if matches!(need, Need::Usable { .. }) && age == Age::Due => Aim::Use,
            Some(error) => Aim::Refuse(error),
        }
    }

    /// Returns why tokens cannot be renewed now, without asking anybody.
    fn hindrance(
        &self,
        open: &OpenSession,
        tokens: &TokenSet,
        forced: bool,
    ) -> Option<RefreshError> {
        if let Some(code) = &tokens.renewal.rejected {
            return Some(RefreshError::Rejected { code: code.clone() });
        }
        if tokens.refresh_token.is_none() {
            return Some(RefreshError::NoRefreshToken);
        }
        let now_s = expiry::server_time(tokens, local_now_s());
        if let Some(earliest) = tokens.earliest_refresh_at.filter(|earliest| *earliest > now_s) {
            return Some(RefreshError::TooEarly { wait_s: earliest.saturating_sub(now_s) });
        }
        if forced {
            return None;
        }
        let lost = tokens.renewal.attempts >= flight::MAX_ATTEMPTS;
        if lost && open.info.status == SessionStatus::NeedsReauth {
            return Some(RefreshError::Lost);
        }
        let shared = self.shared();
        let pause = shared.pauses.get(&open.info.id)?;
        let paused = pause.generation == open.info.generation && Instant::now() < pause.until;
        paused.then(|| pause.error.clone())
    }

    /// Leaves a session alone for a while, longer after each failure.
    fn pause(&self, id: &SessionId, generation: u64, error: &RefreshError) {
        let mut shared = self.shared();
        let failures = shared.pauses.get(id).map_or(0, |pause| pause.failures);
        let wait = match error {
            RefreshError::Token(TokenError::Transient { retry_after: Some(wait), .. }) => *wait,
            _ => FIRST_PAUSE * 2_u32.pow(failures.min(MAX_DOUBLINGS)),
        };
        let until = Instant::now() + wait.min(MAX_PAUSE);
        let (failures, error) = (failures + 1, error.clone());
        shared.pauses.insert(id.clone(), Pause { generation, until, failures, error });
    }

    fn unpause(&self, id: &SessionId) {
        self.shared().pauses.remove(id);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do with a session.
enum Aim {
    /// Take it as it is.
    Use,
    /// Renew its tokens.
    Renew,
    /// Neither is possible.
    Refuse(RefreshError),
}

/// A flight's place on the board; leaves it also when the flight panics.
struct Seat {
    refresher: Arc<Refresher>,
    id: SessionId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.refresher.shared().flights.remove(&self.id);
        self.refresher.landed.notify_all();
    }
}

/// How often a caller starts over when others' flights do not give what it needs.
const MAX_FLIGHTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Up to 80 s.
const MAX_DOUBLINGS: u32 = 4;
/// However long a server asks to wait.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
