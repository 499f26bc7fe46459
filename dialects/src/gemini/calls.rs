//! Ids and arguments of function calls.
//!
//! The vendor often sends calls without ids and tells them apart by name and order. The neutral form
//! needs ids, so we make some that can be told from the vendor's, and leave them out again when the
//! call goes back.

use std::borrow::Cow;

use serde_json::{json, value::RawValue};

/// Makes the id of a call that came without one. `origin` and `nth` together occur once in a
/// conversation.
pub(super) fn synthetic_id(origin: u64, nth: usize) -> String {
    format!("{SYNTHETIC}{origin:x}_{nth}")
}

/// Returns the id that stands on the wire, if it is not one of ours.
pub(super) fn wire_id(id: &str) -> Option<&str> {
    Some(id).filter(|id| !id.is_empty() && !id.starts_with(SYNTHETIC))
}

/// Returns a call's arguments as the JSON object that the wire wants, and whether the text had to be
/// wrapped because it is no object.
pub(super) fn arguments(text: &str) -> (Cow<'_, str>, bool) {
    if text.trim().is_empty() {
        return ("{}".into(), false);
    }
    match object(text) {
        Some(object) => (object.into(), false),
        None => (json!({"arguments": text}).to_string().into(), true),
    }
}

/// Returns a text without surrounding white space, if it is a JSON object.
pub(super) fn object(text: &str) -> Option<&str> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    Some(raw.get()).filter(|json| json.starts_with('{'))
}

const SYNTHETIC: &str = "noid_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_ids_are_told_from_the_vendors() {
        let id = synthetic_id(u64::MAX, 12);
        assert_eq!(id, "noid_ffffffffffffffff_12");
        assert_eq!(wire_id(&id), None);
        assert_eq!(wire_id(""), None);
        assert_eq!(wire_id("fc-1"), Some("fc-1"));
    }

    #[test]
    fn arguments_are_always_an_object() {
        assert_eq!(arguments(" {\"a\": 1.0} ").0, "{\"a\": 1.0}");
        assert_eq!(arguments(""), ("{}".into(), false));
        for odd in ["[1]", "{broken", "7"] {
            let (wrapped, lossy) = arguments(odd);
            assert!(lossy && object(&wrapped).is_some(), "{odd}");
        }
    }
}
