//! Limits that stand in the headers of an answer.

use plugin_api::{exchange::Timestamp, http::Headers, kit::time::rfc3339_ms};
use serde_json::{Map, Value};

/// Returns the limits by their names, for example `{"input_tokens": {"limit": 9, "remaining": 0}}`.
pub(super) fn of(headers: &Headers) -> Option<Value> {
    let mut groups = Map::new();
    for (name, value) in &headers.0 {
        let Some((group, field)) = split(name) else { continue };
        let value = value.trim().parse::<u64>().map_or_else(|_| value.trim().into(), Value::from);
        groups.entry(group).or_insert_with(|| Map::new().into())[field] = value;
    }
    (!groups.is_empty()).then(|| groups.into())
}

/// Returns how long it takes until all that is used up is there again, in milliseconds.
pub(super) fn reset_in_ms(limits: &Value, now: Timestamp) -> Option<u64> {
    let used_up = limits.as_object()?.values().filter(|group| group["remaining"] == 0);
    let resets = used_up.filter_map(|group| rfc3339_ms(group["reset"].as_str()?));
    resets.max().map(|at| at.saturating_sub(now.0))
}

/// Splits `anthropic-ratelimit-input-tokens-reset` into `input_tokens` and `reset`; the priority tier
/// and the fast mode keep their word before the group.
fn split(name: &str) -> Option<(String, &str)> {
    let rest = name.strip_prefix("anthropic-")?;
    let rest = match rest.strip_prefix("ratelimit-") {
        Some(rest) => rest,
        None if rest.starts_with("priority-") || rest.starts_with("fast-") => rest,
        None => return None,
    };
    let (group, field) = rest.rsplit_once('-')?;
    Some((group.replace('-', "_"), field))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_read_from_headers_and_the_last_reset_counts() {
        let headers = |list: &[(&str, &str)]| {
            Headers(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        let limits = of(&headers(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "1970-01-01T00:00:07Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "1970-01-01T00:00:09Z"),
            ("anthropic-ratelimit-output-tokens-remaining", "8"),
            ("anthropic-ratelimit-output-tokens-reset", "1970-01-01T00:01:00Z"),
            ("anthropic-priority-input-tokens-limit", "3"),
            ("anthropic-organization-id", "o-1"),
        ]))
        .unwrap();
        assert_eq!(limits["requests"]["limit"], 50);
        assert_eq!(limits["priority_input_tokens"], json!({"limit": 3}));
        assert_eq!(reset_in_ms(&limits, Timestamp(2000)), Some(7000));
        assert_eq!(of(&headers(&[("request-id", "req_1")])), None);
    }
}
