//! What a provider's configuration adds to every request.

use plugin_api::instance::Instance;
use serde_json::Value;

/// What every request of a provider says beside what its client asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Thresholds of the safety filters: category and threshold, in the vendor's words. A client's own
    /// `safetySettings` stand in their place.
    pub safety: Vec<(String, String)>,
    /// Whether to ask for thought summaries where the client does not say.
    pub include_thoughts: Option<bool>,
}

impl Settings {
    /// Reads the settings `safety` and `include_thoughts` of a provider.
    ///
    /// Categories may be short (`harassment`), and both words in any case.
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        let full = |category: &str| {
            let upper = category.to_ascii_uppercase();
            if upper.starts_with(CATEGORY) { upper } else { format!("{CATEGORY}{upper}") }
        };
        let table = instance.table("safety").into_iter();
        Self {
            safety: table.map(|(name, level)| (full(name), level.to_ascii_uppercase())).collect(),
            include_thoughts: instance.settings.get("include_thoughts").and_then(Value::as_bool),
        }
    }
}

const CATEGORY: &str = "HARM_CATEGORY_";

#[cfg(test)]
mod tests {
    use plugin_api::ProviderId;

    use super::*;

    #[test]
    fn short_words_become_the_vendors() {
        let mut instance = Instance::new(ProviderId::new("gemini").unwrap(), "https://a.test");
        assert_eq!(Settings::of(&instance), Settings::default());
        let table = serde_json::json!({"harassment": "block_none", "HARM_CATEGORY_X": "OFF"});
        instance.settings.insert("safety".into(), table);
        instance.settings.insert("include_thoughts".into(), true.into());
        let settings = Settings::of(&instance);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            settings.safety,
            [pair("HARM_CATEGORY_HARASSMENT", "BLOCK_NONE"), pair("HARM_CATEGORY_X", "OFF")]
        );
        assert_eq!(settings.include_thoughts, Some(true));
    }
}
