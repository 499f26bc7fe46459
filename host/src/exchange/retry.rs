//! When a failed request is sent again, and after how long.
//!
//! Only judged here: who asks has made sure that nothing of the answer reached its caller yet.

use std::time::Duration;

use plugin_api::error::{ErrorKind, ProviderError};
use serde::Deserialize;

/// `[retries]`: how often and how patiently a failed request is sent again.
///
/// The figures are those of the vendors' own SDKs: two more tries, half a second doubled up to eight,
/// shortened by up to a quarter, so that many clients do not come back at the same moment.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Retries {
    /// How often, after the first try; 0 turns it off.
    pub max: u32,
    /// Wait before the second try, in milliseconds; doubled for each further one.
    pub first_wait_ms: u64,
    /// Longest wait of our own choosing, in milliseconds.
    pub max_wait_ms: u64,
    /// Longest wait that a vendor may ask for, in milliseconds. Asked for more, the request fails at
    /// once and says when to come back.
    pub max_retry_after_ms: u64,
}

impl Default for Retries {
    fn default() -> Self {
        Self { max: 2, first_wait_ms: 500, max_wait_ms: 8_000, max_retry_after_ms: 60_000 }
    }
}

impl Retries {
    /// Returns how long to wait before the next try, or nothing when there is to be none.
    ///
    /// `tried` counts the tries so far, from 1. `chance` is drawn evenly from 0 to 1; a vendor's wait
    /// is never shortened by it, since the vendor counts from its own clock.
    #[must_use]
    pub fn wait(&self, tried: u32, error: &ProviderError, chance: f64) -> Option<Duration> {
        if tried > self.max || !error.is_retryable() || needs_a_person(error.kind) {
            return None;
        }
        let doubled = 1_u64.checked_shl(tried.saturating_sub(1)).unwrap_or(u64::MAX);
        let own = self.first_wait_ms.saturating_mul(doubled).min(self.max_wait_ms);
        let own = Duration::from_millis(own).mul_f64(1.0 - SPREAD * chance.clamp(0.0, 1.0));
        let Some(asked) = error.retry_after_ms else { return Some(own) };
        if asked > self.max_retry_after_ms {
            return None;
        }
        // Those who were told the same time come back spread behind it, not at once.
        Some(Duration::from_millis(asked) + own.mul_f64(SPREAD * chance.clamp(0.0, 1.0)))
    }
}

/// How much of a wait is left to chance.
const SPREAD: f64 = 0.25;

/// Reports whether time alone cannot help, whatever the plugin says.
fn needs_a_person(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Quota
            | ErrorKind::Authentication
            | ErrorKind::Permission
            | ErrorKind::Cancelled
            | ErrorKind::PluginPanic
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind) -> ProviderError {
        ProviderError::new(kind, "why")
    }

    fn wait_ms(tried: u32, error: &ProviderError, chance: f64) -> Option<u128> {
        Retries::default().wait(tried, error, chance).map(|wait| wait.as_millis())
    }

    #[test]
    fn waits_double_and_are_bounded() {
        let overloaded = error(ErrorKind::Overloaded);
        assert_eq!(wait_ms(1, &overloaded, 0.0), Some(500));
        assert_eq!(wait_ms(2, &overloaded, 0.0), Some(1000));
        assert_eq!(wait_ms(3, &overloaded, 0.0), None, "two retries, then the error");
        assert_eq!(wait_ms(1, &overloaded, 1.0), Some(375));
        let patient = Retries { max: u32::MAX, ..Retries::default() };
        for tried in [6, 64, 65, u32::MAX] {
            assert_eq!(patient.wait(tried, &overloaded, 0.0), Some(Duration::from_secs(8)));
        }
        let never = Retries { max: 0, ..Retries::default() };
        assert_eq!(never.wait(1, &overloaded, 0.0), None);
    }

    #[test]
    fn a_vendors_wait_is_kept_and_never_shortened() {
        let limited = |ms| error(ErrorKind::RateLimited).retry_after_ms(Some(ms));
        assert_eq!(wait_ms(1, &limited(1300), 0.0), Some(1300));
        assert_eq!(wait_ms(1, &limited(0), 0.0), Some(0));
        for chance in [0.1, 0.5, 1.0] {
            let wait = wait_ms(1, &limited(1300), chance).unwrap();
            assert!((1300..=1425).contains(&wait), "{wait}");
        }
        assert_eq!(wait_ms(1, &limited(60_000), 0.0), Some(60_000));
        assert_eq!(wait_ms(1, &limited(60_001), 0.0), None, "better told than waited for");
    }

    #[test]
    fn only_what_time_can_heal_is_tried_again() {
        for (kind, again) in [
            (ErrorKind::RateLimited, true),
            (ErrorKind::Overloaded, true),
            (ErrorKind::Unavailable, true),
            (ErrorKind::Timeout, true),
            (ErrorKind::Connection, true),
            (ErrorKind::Incomplete, true),
            (ErrorKind::Quota, false),
            (ErrorKind::Authentication, false),
            (ErrorKind::Permission, false),
            (ErrorKind::ContextLength, false),
            (ErrorKind::InvalidRequest, false),
            (ErrorKind::NotFound, false),
            (ErrorKind::ContentPolicy, false),
            (ErrorKind::Protocol, false),
            (ErrorKind::PluginPanic, false),
        ] {
            assert_eq!(wait_ms(1, &error(kind), 0.0).is_some(), again, "{kind}");
        }
        let insists = error(ErrorKind::Quota).retryable(true);
        assert_eq!(wait_ms(1, &insists, 0.0), None, "a spent plan stays spent");
        let forbids = error(ErrorKind::Overloaded).retryable(false);
        assert_eq!(wait_ms(1, &forbids, 0.0), None);
        let insists = error(ErrorKind::InvalidRequest).retryable(true);
        assert_eq!(wait_ms(1, &insists, 0.0), Some(500), "the vendor's word goes first");
    }
}
