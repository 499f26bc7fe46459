//! Where a request goes: the places that its model name stands for, in the order in which they are to
//! be tried, and why others are passed over.

use std::{fmt, time::Duration};

use plugin_api::{ProviderId, error::ErrorKind};
use serde::{Serialize, Serializer};

use super::{Error, Maestro, SessionOf, health::left_alone, standing::RunningGateway};
use crate::{
    router::{Affinity, ModelRef, breaker::Standing},
    session::{AuthType, SessionName, SessionStatus},
};

/// Reports whether whoever asks may ask a provider for a model.
pub type MayAsk<'a> = &'a (dyn Fn(&str, &str) -> bool + Send + Sync);

/// Who asks, as far as it decides where a request goes.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Wish<'a> {
    /// The dialect in which the answer is wanted; empty for none.
    pub dialect: &'a str,
    /// The session that is used of each provider, where it is not the usual one.
    pub session_of: SessionOf<'a>,
    /// What may be asked.
    pub may_ask: MayAsk<'a>,
    /// What the request belongs to; without it, chance decides.
    pub affinity: Option<Affinity>,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self { dialect: "", session_of: &|_| None, may_ask: &|_, _| true, affinity: None }
    }
}

impl<'a> Wish<'a> {
    /// Makes the wish of a client.
    #[must_use]
    pub fn new(dialect: &'a str, session_of: SessionOf<'a>, may_ask: MayAsk<'a>) -> Self {
        Self { dialect, session_of, may_ask, affinity: None }
    }

    /// Sets what the request belongs to.
    #[must_use]
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.affinity = Some(affinity);
        self
    }
}

/// What a model name stands for now.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Route {
    /// How the name was understood.
    pub via: Via,
    /// The places, in the order in which they are tried; those that are passed over come last.
    pub stops: Vec<Stop>,
}

/// How a model name was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Via {
    /// It is a name of the user's own.
    Alias,
    /// It names provider and model.
    Ref,
    /// One provider lists it.
    Listed,
    /// Nobody lists it, and one provider speaks the client's dialect.
    Native,
}

/// One place where a request may go.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stop {
    /// The model, with the session where that is settled.
    #[serde(rename = "ref", serialize_with = "as_text")]
    pub model: ModelRef,
    /// Whether its session is one of a pool.
    pub pool: bool,
    /// Why it is not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<PassedOver>,
}

/// Why a place is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PassedOver {
    /// The client's key does not allow it.
    KeyMayNot,
    /// The upstream failed and is left alone.
    BreakerOpen {
        /// For how long, if that is known.
        wait_ms: Option<u64>,
    },
    /// The session has spent its quota.
    Resting {
        /// Until it has it back.
        wait_ms: u64,
    },
    /// The session cannot be used.
    Session {
        /// How it stands.
        status: SessionStatus,
    },
    /// The pool has no session.
    EmptyPool,
    /// The provider cannot be asked.
    Provider {
        /// Why.
        problem: String,
    },
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| ms.div_ceil(1000);
        match self {
            Self::KeyMayNot => f.write_str("the client key may not use it"),
            Self::BreakerOpen { wait_ms: Some(ms) } => {
                write!(f, "it failed several times in a row; left alone for {} s", seconds(*ms))
            }
            Self::BreakerOpen { wait_ms: None } => {
                f.write_str("it failed several times in a row; a request probes it now")
            }
            Self::Resting { wait_ms } => {
                write!(f, "its quota is spent; rests for {} s", seconds(*wait_ms))
            }
            Self::Session { status } => write!(f, "the session is {}", status.as_str()),
            Self::EmptyPool => f.write_str("the pool has no API-key session"),
            Self::Provider { problem } => f.write_str(problem),
        }
    }
}

impl Stop {
    /// Makes a place that is to be tried.
    #[must_use]
    pub fn at(model: ModelRef, pool: bool) -> Self {
        Self { model, pool, passed_over: None }
    }
}

impl Stop {
    /// Returns what its session may rest under. Only a pool has another session to turn to; who names
    /// one means that one.
    fn selectors(&self) -> Vec<String> {
        let provider = &self.model.provider;
        let Some(session) = self.model.session.as_ref().filter(|_| self.pool) else {
            return Vec::new();
        };
        vec![format!("{provider}:{session}@{}", AuthType::ApiKey), format!("{provider}:{session}")]
    }

    /// Says why a gateway that runs passes it over, if it does.
    #[must_use]
    pub fn passed_over_by(&self, gateway: &RunningGateway) -> Option<PassedOver> {
        let rests = || self.selectors().iter().find_map(|selector| gateway.rests(selector));
        gateway.leaves_alone(&self.model.provider).or_else(rests)
    }
}

impl Route {
    /// Passes over what all gateways that run pass over. What one of them still asks is left, because
    /// it depends on which is asked.
    pub fn learn(&mut self, gateways: &[RunningGateway]) {
        for stop in self.stops.iter_mut().filter(|stop| stop.passed_over.is_none()) {
            let told: Option<Vec<_>> =
                gateways.iter().map(|gateway| stop.passed_over_by(gateway)).collect();
            stop.passed_over = told.and_then(|told| told.into_iter().next());
        }
        self.stops.sort_by_key(|stop| stop.passed_over.is_some());
    }

    /// Returns the places that are to be tried, in order.
    ///
    /// # Errors
    ///
    /// Why none is left.
    pub fn open(self) -> Result<Vec<Stop>, Error> {
        open_stops(self.stops)
    }
}

/// Returns the places that are to be tried, in order.
///
/// # Errors
///
/// Why none is left.
pub fn open_stops(stops: Vec<Stop>) -> Result<Vec<Stop>, Error> {
    let (open, closed): (Vec<Stop>, Vec<Stop>) =
        stops.into_iter().partition(|stop| stop.passed_over.is_none());
    if open.is_empty() { Err(none_left(&closed)) } else { Ok(open) }
}

/// What was tried so far of a route, and what is therefore not worth a try.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Pools whose other sessions would meet the same.
    pools: Vec<ProviderId>,
}

impl Tried {
    /// Notes how a place failed. Reports whether another one may do.
    pub fn failed(&mut self, stop: &Stop, error: &Error) -> bool {
        if stop.pool && !is_the_accounts(error) {
            self.pools.push(stop.model.provider.clone());
        }
        match error.provider_error() {
            Some(error) => !matches!(
                error.kind,
                ErrorKind::InvalidRequest | ErrorKind::ContentPolicy | ErrorKind::Cancelled
            ),
            None => true,
        }
    }

    /// Reports whether a place would meet what another one met: a limit of a minute is waited for,
    /// and an upstream that is down is so for every session of its pool.
    #[must_use]
    pub fn rules_out(&self, stop: &Stop) -> bool {
        stop.pool && self.pools.contains(&stop.model.provider)
    }
}

/// Reports whether a failure is one account's, so that another session may do.
fn is_the_accounts(error: &Error) -> bool {
    match error.provider_error() {
        Some(error) => matches!(
            error.kind,
            ErrorKind::Quota | ErrorKind::Authentication | ErrorKind::Permission
        ),
        None => !matches!(error, Error::LeftAlone { .. } | Error::Deadline { .. }),
    }
}

impl Maestro {
    /// Says where a request for a model name goes, and why not elsewhere. Asks nobody but, for a bare
    /// name, for lists of models.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownModel`] with the three nearest, [`Error::AmbiguousModel`], [`Error::ModelRef`].
    pub async fn route(&self, name: &str, wish: &Wish<'_>) -> Result<Route, Error> {
        let (via, found) = self.named(name, wish).await?;
        let (mut open, mut closed) = (Vec::new(), Vec::new());
        for model in found {
            for mut stop in self.stops(&model, wish).await? {
                stop.passed_over = stop.passed_over.take().or_else(|| self.closed(&stop, wish));
                if stop.passed_over.is_none() { &mut open } else { &mut closed }.push(stop);
            }
        }
        open.append(&mut closed);
        Ok(Route { via, stops: open })
    }

    /// Reports whether a model name may stand for several places, so that it matters what a request
    /// belongs to.
    #[must_use]
    pub fn is_spread(&self, name: &str) -> bool {
        name.contains(":*") || self.config().aliases.contains_key(name)
    }

    /// Makes the places of one ref: itself, or the sessions of its pool.
    async fn stops(&self, model: &ModelRef, wish: &Wish<'_>) -> Result<Vec<Stop>, Error> {
        if !model.pool {
            return Ok(vec![Stop { model: model.clone(), pool: false, passed_over: None }]);
        }
        let listed = self.list_sessions(Some(model.provider.as_str())).await?;
        // A key in the environment has no name to ask for it by.
        let named = listed.into_iter().filter(|session| {
            session.auth_type == AuthType::ApiKey && !session.selector.starts_with("env:")
        });
        let chance = || getrandom::u64().unwrap_or_default();
        let mut members: Vec<(u64, Stop)> = named
            .filter_map(|session| {
                let score = match &wish.affinity {
                    Some(affinity) => affinity.score(&session.selector),
                    None => chance(),
                };
                let model = ModelRef {
                    session: Some(SessionName::new(session.name).ok()?),
                    auth_type: Some(AuthType::ApiKey),
                    pool: false,
                    ..model.clone()
                };
                let unusable = (session.status != SessionStatus::Ready)
                    .then_some(PassedOver::Session { status: session.status });
                Some((score, Stop { model, pool: true, passed_over: unusable }))
            })
            .collect();
        members.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        if members.is_empty() {
            let passed_over = Some(PassedOver::EmptyPool);
            return Ok(vec![Stop { model: model.clone(), pool: true, passed_over }]);
        }
        Ok(members.into_iter().map(|(_, stop)| stop).collect())
    }

    /// Says why a place is passed over.
    fn closed(&self, stop: &Stop, wish: &Wish<'_>) -> Option<PassedOver> {
        let provider = &stop.model.provider;
        if !(wish.may_ask)(provider.as_str(), stop.model.model.as_str()) {
            return Some(PassedOver::KeyMayNot);
        }
        if let Err(error) = self.ready_provider(provider.as_str()) {
            return Some(PassedOver::Provider { problem: error.to_string() });
        }
        if let Standing::Open(wait) = self.inner.health.standing(provider) {
            return Some(PassedOver::BreakerOpen { wait_ms: wait.map(ms) });
        }
        let rests = |selector: &String| self.inner.health.rests(selector);
        let rests = stop.selectors().iter().find_map(rests);
        rests.map(|wait| PassedOver::Resting { wait_ms: ms(wait) })
    }

    /// Finds the place that serves a ref as it stands: that of a pool is one of its sessions.
    pub(super) async fn settled(&self, model: &ModelRef) -> Result<ModelRef, Error> {
        if !model.pool {
            return Ok(model.clone());
        }
        let route = self.route(&model.to_string(), &Wish::default()).await?;
        let mut stops = route.open()?;
        Ok(stops.swap_remove(0).model)
    }
}

/// Says why no place is left: the one that comes back first, else the first one's.
fn none_left(closed: &[Stop]) -> Error {
    let wait = |stop: &Stop| match stop.passed_over {
        Some(PassedOver::BreakerOpen { wait_ms }) => Some(wait_ms.unwrap_or_default()),
        Some(PassedOver::Resting { wait_ms }) => Some(wait_ms),
        _ => None,
    };
    let soonest = closed.iter().filter(|stop| wait(stop).is_some()).min_by_key(|stop| wait(stop));
    let refused = |stop: &&Stop| stop.passed_over != Some(PassedOver::KeyMayNot);
    let Some(stop) = soonest.or_else(|| closed.iter().find(refused)).or(closed.first()) else {
        return Error::UnknownModel { model: String::new(), nearest: Vec::new() };
    };
    let (provider, model) = (stop.model.provider.clone(), stop.model.to_string());
    match stop.passed_over.clone() {
        Some(PassedOver::BreakerOpen { wait_ms }) => {
            left_alone(&provider, wait_ms.map(Duration::from_millis))
        }
        Some(PassedOver::Resting { wait_ms }) => Error::PoolSpent { provider, wait_ms },
        Some(PassedOver::EmptyPool | PassedOver::Session { .. }) => Error::EmptyPool { provider },
        Some(PassedOver::Provider { problem }) => Error::NotRoutable { model, problem },
        Some(PassedOver::KeyMayNot) | None => Error::KeyMayNot { model },
    }
}

pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn as_text<S: Serializer>(model: &ModelRef, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(model)
}

#[cfg(test)]
mod tests {
    use plugin_api::error::ProviderError;

    use super::*;
    use crate::exchange::ExchangeError;

    fn stop(text: &str, pool: bool, passed_over: Option<PassedOver>) -> Stop {
        Stop { model: text.parse().unwrap(), pool, passed_over }
    }

    #[test]
    fn a_pool_turns_to_another_account_only_where_that_helps() {
        let (one, other) = (stop("lab:one/m", true, None), stop("lab:two/m", true, None));
        for (kind, next) in [
            (ErrorKind::Quota, true),
            (ErrorKind::Authentication, true),
            (ErrorKind::RateLimited, false),
            (ErrorKind::Overloaded, false),
            (ErrorKind::Connection, false),
        ] {
            let source = ProviderError::new(kind, "why").into();
            let error = ExchangeError::Provider { provider: "lab".into(), source }.into();
            let mut tried = Tried::default();
            assert!(tried.failed(&one, &error), "another provider may do");
            assert_eq!(!tried.rules_out(&other), next, "{kind}");
            assert!(!tried.rules_out(&stop("lab:two/m", false, None)), "that one was named");
        }
    }

    #[test]
    fn of_places_that_are_closed_the_first_to_open_is_told() {
        let resting = |wait_ms| Some(PassedOver::Resting { wait_ms });
        let closed = vec![
            stop("lab:one/m", true, resting(9_000)),
            stop("lab:two/m", true, resting(4_000)),
            stop("x/m", false, Some(PassedOver::KeyMayNot)),
        ];
        assert!(matches!(none_left(&closed), Error::PoolSpent { wait_ms: 4_000, .. }));
        let closed = vec![stop("x/m", false, Some(PassedOver::KeyMayNot))];
        assert_eq!(none_left(&closed).to_string(), "the client key may not ask for model `x/m`");
    }
}
