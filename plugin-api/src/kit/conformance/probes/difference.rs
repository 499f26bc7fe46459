//! How two runs of an exchange differ, and bytes as a person reads them.

use serde_json::json;

use crate::kit::conformance::drive::Trace;

/// Says how two runs differ, if they do.
pub(super) fn difference(expected: &Trace, found: &Trace) -> Option<String> {
    // What breaks a rule was noted under that rule.
    if found.broken.is_some() || expected.broken.is_some() {
        return None;
    }
    if expected.requests != found.requests {
        let (expected, found) = (expected.requests.len(), found.requests.len());
        return Some(format!("other requests: expected {expected}, found {found}"));
    }
    let pairs = expected.events.iter().zip(&found.events);
    if let Some((expected, found)) = pairs.into_iter().find(|(a, b)| a != b) {
        return Some(format!("expected {}, found {}", json!(expected), json!(found)));
    }
    if expected.events.len() != found.events.len() {
        let (expected, found) = (expected.events.len(), found.events.len());
        return Some(format!("expected {expected} events, found {found}"));
    }
    if expected.error != found.error || expected.done != found.done {
        return Some(format!("expected that it {}, but it {}", expected.end(), found.end()));
    }
    (expected.value != found.value).then(|| "other values".to_owned())
}

/// Shows bytes to a person, in quotes and not too many.
pub(super) fn shown(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(MAX_SHOWN)];
    let more = if bytes.len() > MAX_SHOWN { "…" } else { "" };
    format!("\"{}\"{more}", head.escape_ascii())
}

const MAX_SHOWN: usize = 120;
