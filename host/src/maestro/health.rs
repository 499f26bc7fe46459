//! What past requests taught: which upstreams are left alone, and which sessions rest.
//!
//! Of this process alone; [`standing`](super::standing) tells others of it. A breaker belongs to a provider, because all its sessions ask the same
//! upstream; a rest belongs to a session, because a quota is an account's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use plugin_api::{
    ProviderId,
    error::{ErrorKind, ProviderError},
};
use tokio::sync::Notify;

use super::{
    Error,
    route::ms,
    standing::{Standings, now},
};
use crate::{
    config::Config,
    router::{Breaker, breaker::Standing},
};

/// The breakers and the rests.
#[derive(Debug, Default)]
pub(super) struct Health {
    breakers: Mutex<HashMap<ProviderId, Breaker>>,
    /// Until when sessions rest, by selector.
    rests: Mutex<HashMap<String, Instant>>,
    /// Told when one of them changes in another way than by time.
    changed: Notify,
}

/// A request that is with an upstream. What it finds out is told here; dropped before, it tells that it
/// left.
#[derive(Debug)]
pub(super) struct Visit {
    health: Arc<Health>,
    provider: ProviderId,
    told: bool,
}

impl Health {
    /// Begins a request.
    ///
    /// # Errors
    ///
    /// [`Error::LeftAlone`].
    pub(super) fn visit(self: &Arc<Self>, provider: &ProviderId) -> Result<Visit, Error> {
        let mut entered = Ok(());
        self.change(provider, |breaker| entered = breaker.enter(Instant::now()));
        entered.map_err(|wait| left_alone(provider, wait))?;
        Ok(Visit { health: Arc::clone(self), provider: provider.clone(), told: false })
    }

    /// Does something to a breaker, if there is one yet.
    fn change(&self, provider: &ProviderId, act: impl FnOnce(&mut Breaker)) {
        if let Some(breaker) = lock(&self.breakers).get_mut(provider) {
            let before = breaker.is_closed();
            act(breaker);
            // One that stays closed says nothing new; of the others there are few.
            if !(before && breaker.is_closed()) {
                self.changed.notify_one();
            }
        }
    }

    /// Waits until a breaker or a rest may have changed since the last wait.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Says all that is not as usual.
    pub(super) fn standings(&self) -> Standings {
        let (instant, now) = (Instant::now(), now());
        let at = |left: Duration| now.saturating_add(ms(left));
        let standing = |(id, breaker): (&ProviderId, &Breaker)| match breaker.standing(instant) {
            Standing::Closed | Standing::Due => None,
            Standing::Open(left) => Some((id.clone(), left.map(at))),
        };
        let left_alone = lock(&self.breakers).iter().filter_map(standing).collect();
        let rest = |(selector, until): (&String, &Instant)| {
            let left = until.checked_duration_since(instant)?;
            Some((selector.clone(), at(left)))
        };
        let rests = lock(&self.rests).iter().filter_map(rest).collect();
        Standings { left_alone, rests }
    }

    /// Says how an upstream stands.
    pub(super) fn standing(&self, provider: &ProviderId) -> Standing {
        let breakers = lock(&self.breakers);
        breakers.get(provider).map_or(Standing::Closed, |breaker| breaker.standing(Instant::now()))
    }

    /// Returns how long a session still rests.
    pub(super) fn rests(&self, selector: &str) -> Option<Duration> {
        let until = *lock(&self.rests).get(selector)?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Sends a session to rest whose quota is spent.
    fn rest(&self, selector: &str, time: Duration) {
        let now = Instant::now();
        let mut rests = lock(&self.rests);
        rests.retain(|_, until| *until > now);
        if let Some(until) = now.checked_add(time) {
            rests.insert(selector.to_owned(), until);
            self.changed.notify_one();
        }
    }
}

impl Visit {
    /// Notes that the upstream began to answer.
    pub(super) fn began(&mut self) {
        self.told = true;
        self.health.change(&self.provider, Breaker::began);
    }

    /// Notes that the upstream answered.
    pub(super) fn answered(&mut self) {
        self.told = true;
        self.health.change(&self.provider, Breaker::succeeded);
    }

    /// Notes how a try failed, with which session.
    pub(super) fn failed(&mut self, error: &ProviderError, session: Option<&str>, config: &Config) {
        if error.kind == ErrorKind::Quota
            && let Some(session) = session
        {
            let own = config.pools.quota_rest_ms;
            let rest = Duration::from_millis(error.retry_after_ms.unwrap_or(own));
            tracing::info!(session, rest_s = rest.as_secs(), "rests: its quota is spent");
            self.health.rest(session, rest);
        }
        if !is_the_upstreams(error.kind) {
            return self.answered();
        }
        self.told = true;
        let mut breakers = lock(&self.health.breakers);
        let breaker = breakers.entry(self.provider.clone()).or_default();
        if breaker.failed(Instant::now(), &config.breaker) {
            self.health.changed.notify_one();
            tracing::warn!(provider = %self.provider, "left alone for a while: {error}");
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.told {
            self.health.change(&self.provider, |breaker| breaker.left(Instant::now()));
        }
    }
}

/// Makes the error of a request that is not sent.
pub(super) fn left_alone(provider: &ProviderId, wait: Option<Duration>) -> Error {
    let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    Error::LeftAlone { provider: provider.clone(), wait_ms }
}

/// Reports whether a failure is the upstream's own trouble, which the next request would meet too.
fn is_the_upstreams(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable
            | ErrorKind::Overloaded
            | ErrorKind::Timeout
            | ErrorKind::Connection
            | ErrorKind::Incomplete
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
