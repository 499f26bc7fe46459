//! When an access token should be renewed, and when it must be.

use plugin_api::auth::OAuthScheme;

use crate::session::TokenSet;

/// How an access token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// It is good for a while.
    Fresh,
    /// It still works and should be renewed.
    Due,
    /// It does not work any more, or not long enough for a request.
    Expired,
}

/// Tells how old tokens are at `now_s` of the local clock.
///
/// `jitter`, from 0 to 1, spreads those who share a session: the larger, the earlier.
pub(super) fn age(tokens: &TokenSet, scheme: &OAuthScheme, now_s: i64, jitter: f64) -> Age {
    let now_s = server_time(tokens, now_s);
    let within = i64::try_from(scheme.refresh_within_seconds).unwrap_or(i64::MAX);
    let stale = tokens
        .obtained_at
        .is_some_and(|obtained| within > 0 && now_s >= obtained.saturating_add(within));
    let Some(expires_at) = tokens.expires_at else {
        return if stale { Age::Due } else { Age::Fresh };
    };
    let lifetime = tokens.obtained_at.map_or(USUAL_LIFETIME_S, |at| expires_at.saturating_sub(at));
    let lifetime = lifetime.max(0);
    if now_s >= expires_at.saturating_sub((lifetime / 20).min(MAX_LEEWAY_S)) {
        return Age::Expired;
    }
    let margin = (lifetime / 5).min(MAX_MARGIN_S);
    #[expect(clippy::cast_possible_truncation, reason = "at most 75")]
    #[expect(clippy::cast_precision_loss, reason = "at most 75")]
    let spread = ((margin / 4) as f64 * jitter) as i64;
    if stale || now_s >= expires_at.saturating_sub(margin + spread) { Age::Due } else { Age::Fresh }
}

/// Turns a time of the local clock into the server's.
pub(super) fn server_time(tokens: &TokenSet, now_s: i64) -> i64 {
    now_s.saturating_add(tokens.clock_skew_s)
}

/// A request takes a moment; a token that ends within it is of no use.
const MAX_LEEWAY_S: i64 = 5;
/// Longest time before expiry at which tokens are renewed, without jitter.
const MAX_MARGIN_S: i64 = 300;
/// The lifetime of tokens of which only the end is known.
const USUAL_LIFETIME_S: i64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(obtained_at: Option<i64>, expires_at: Option<i64>, clock_skew_s: i64) -> TokenSet {
        TokenSet { obtained_at, expires_at, clock_skew_s, ..TokenSet::default() }
    }

    fn scheme(within: u64) -> OAuthScheme {
        serde_json::from_value(serde_json::json!({ "refresh_within_seconds": within })).unwrap()
    }

    #[test]
    fn the_margin_is_a_fifth_of_the_lifetime_and_at_most_five_minutes() {
        for (lifetime, due, expired) in [
            (86_400, 86_100, 86_395),
            (3600, 3300, 3595),
            (100, 80, 95),
            (20, 16, 19),
            (2, 2, 2),
            (1, 1, 1),
        ] {
            let tokens = tokens(Some(1000), Some(1000 + lifetime), 0);
            let at = |since: i64, jitter| age(&tokens, &scheme(0), 1000 + since, jitter);
            assert_eq!(at(0, 0.0), Age::Fresh, "{lifetime}");
            assert_eq!(at(due - 1, 0.0), Age::Fresh, "{lifetime}");
            assert_eq!(at(expired, 0.0), Age::Expired, "{lifetime}");
            if due < expired {
                assert_eq!(at(due, 0.0), Age::Due, "{lifetime}");
                assert_eq!(at(expired - 1, 1.0), Age::Due, "{lifetime}");
                let spread = (lifetime - due) / 4;
                assert_eq!(at(due - spread, 1.0), Age::Due, "{lifetime}");
                assert_eq!(at(due - spread - 1, 1.0), Age::Fresh, "{lifetime}");
            }
        }
    }

    #[test]
    fn a_clock_ten_minutes_off_changes_nothing() {
        for skew in [-600, 0, 600] {
            // In the server's time; the local clock is behind it by the skew.
            let tokens = tokens(Some(10_000), Some(10_600), skew);
            let at = |server_s: i64| age(&tokens, &scheme(0), server_s - skew, 0.0);
            assert_eq!((at(10_000), at(10_479)), (Age::Fresh, Age::Fresh));
            assert_eq!((at(10_480), at(10_594)), (Age::Due, Age::Due));
            assert_eq!((at(10_595), at(99_999)), (Age::Expired, Age::Expired));
        }
    }

    #[test]
    fn what_is_not_known_is_taken_for_usual() {
        let endless = tokens(Some(1000), None, 0);
        assert_eq!(age(&endless, &scheme(0), i64::MAX, 1.0), Age::Fresh);
        assert_eq!(age(&tokens(None, Some(9000), 0), &scheme(0), 8699, 0.0), Age::Fresh);
        assert_eq!(age(&tokens(None, Some(9000), 0), &scheme(0), 8700, 0.0), Age::Due);
        let backwards = tokens(Some(9000), Some(1), 0);
        assert_eq!(age(&backwards, &scheme(0), 9000, 0.0), Age::Expired);
        // The scheme asks for a renewal now and then, whatever the token's lifetime.
        assert_eq!(age(&endless, &scheme(60), 1059, 0.0), Age::Fresh);
        assert_eq!(age(&endless, &scheme(60), 1060, 0.0), Age::Due);
        let odd = tokens(Some(i64::MAX), Some(i64::MAX), i64::MAX);
        assert_eq!(age(&odd, &scheme(u64::MAX), i64::MAX, 1.0), Age::Expired);
    }
}
