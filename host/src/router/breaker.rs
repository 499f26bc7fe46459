//! The circuit breaker of one upstream: after several failures in a row it is left alone for a while,
//! then one request probes it.
//!
//! Only judged here, and time is an argument: who asks holds the lock and the clock.

use std::time::{Duration, Instant};

use serde::Deserialize;

/// `[breaker]`: when an upstream that fails is left alone, and for how long.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// How many failures in a row open it; 0 turns it off.
    pub failures: u32,
    /// How long an upstream is left alone at first, in milliseconds; doubled while probes fail.
    pub rest_ms: u64,
    /// The longest that it is left alone, in milliseconds.
    pub max_rest_ms: u64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures: 8, rest_ms: 10_000, max_rest_ms: 120_000 }
    }
}

/// What is known of one upstream's health.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Requests go through; so many failed in a row.
    Closed { failures: u32 },
    /// None goes through before this time. `rounds` counts the rests so far.
    Open { until: Instant, rounds: u32 },
    /// One is on its way to see how things are.
    Probing { rounds: u32 },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// How an upstream stands, for whoever chooses between several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Requests go through.
    Closed,
    /// It is time for a probe.
    Due,
    /// None goes through for so long; no time is known while a probe is under way.
    Open(Option<Duration>),
}

impl Breaker {
    /// Reports whether requests go through.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Reports how it stands.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::Closed { .. } => Standing::Closed,
            State::Open { until, .. } if until <= now => Standing::Due,
            State::Open { until, .. } => Standing::Open(Some(until - now)),
            State::Probing { .. } => Standing::Open(None),
        }
    }

    /// Lets a request through, or says how long there is no point. The first one after a rest is the
    /// probe: until it has told, no other goes.
    ///
    /// # Errors
    ///
    /// How long the upstream is still left alone, if that is known.
    pub fn enter(&mut self, now: Instant) -> Result<(), Option<Duration>> {
        match (self.standing(now), self.state) {
            (Standing::Open(wait), _) => Err(wait),
            (Standing::Due, State::Open { rounds, .. }) => {
                self.state = State::Probing { rounds };
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes that the upstream began to answer: it is there. Failures in a row end with an answer that
    /// is whole, because one that breaks off each time is no better than one that never begins.
    pub fn began(&mut self) {
        if !matches!(self.state, State::Closed { .. }) {
            self.succeeded();
        }
    }

    /// Notes that the upstream answered.
    pub fn succeeded(&mut self) {
        self.state = State::default();
    }

    /// Notes that it did not. Reports whether it is left alone from now on.
    pub fn failed(&mut self, now: Instant, config: &BreakerConfig) -> bool {
        let rounds = match self.state {
            _ if config.failures == 0 => return false,
            // Those that were under way when it opened tell nothing new.
            State::Open { .. } => return false,
            State::Closed { failures } if failures + 1 < config.failures => {
                self.state = State::Closed { failures: failures + 1 };
                return false;
            }
            State::Closed { .. } => 0,
            State::Probing { rounds } => rounds,
        };
        let doubled = 1_u64.checked_shl(rounds).unwrap_or(u64::MAX);
        let rest_ms = config.rest_ms.saturating_mul(doubled).min(config.max_rest_ms);
        let until = now + Duration::from_millis(rest_ms);
        self.state = State::Open { until, rounds: rounds.saturating_add(1) };
        true
    }

    /// Notes that a request ended without telling anything: its caller left. If it was the probe,
    /// the next one is.
    pub fn left(&mut self, now: Instant) {
        if let State::Probing { rounds } = self.state {
            self.state = State::Open { until: now, rounds };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig { failures: 3, rest_ms: 1_000, max_rest_ms: 3_000 };

    fn after(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..2 {
            assert!(!breaker.failed(now, &CONFIG));
        }
        breaker.succeeded();
        for opens in [false, false, true, false] {
            assert_eq!(breaker.failed(now, &CONFIG), opens);
        }
        assert_eq!(breaker.standing(now), Standing::Open(Some(after(1_000))));
        assert_eq!(breaker.enter(now + after(400)), Err(Some(after(600))));
    }

    #[test]
    fn one_probe_goes_and_what_it_finds_counts() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert_eq!((0..3).filter(|_| breaker.failed(start, &CONFIG)).count(), 1);
        let mut now = start + after(1_000);
        assert_eq!(breaker.standing(now), Standing::Due);
        assert_eq!(breaker.enter(now), Ok(()));
        assert_eq!(breaker.enter(now), Err(None), "one probe at a time");
        // The caller of the probe left: another one probes.
        breaker.left(now);
        assert_eq!(breaker.enter(now), Ok(()));
        for rest in [2_000, 3_000, 3_000] {
            assert!(breaker.failed(now, &CONFIG));
            assert_eq!(breaker.standing(now), Standing::Open(Some(after(rest))));
            now += after(rest);
            assert_eq!(breaker.enter(now), Ok(()));
        }
        breaker.succeeded();
        assert_eq!(breaker.standing(now), Standing::Closed);
    }

    #[test]
    fn it_can_be_turned_off() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let off = BreakerConfig { failures: 0, ..CONFIG };
        assert!((0..99).all(|_| !breaker.failed(now, &off)));
        assert_eq!(breaker.enter(now), Ok(()));
    }
}
