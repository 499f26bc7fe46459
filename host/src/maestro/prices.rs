//! What a request costs: `[prices]` of the configuration, then the defaults that are shipped as data.

use std::{collections::BTreeMap, sync::LazyLock};

use plugin_api::event::Usage;
use serde::Deserialize;

use crate::router::pattern;

/// What a model costs, in US dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Price {
    /// Of the prompt.
    pub input: f64,
    /// Of the answer, reasoning included.
    pub output: f64,
    /// Of what the vendor read from its cache; absent, as the prompt.
    #[serde(default)]
    pub cached_input: Option<f64>,
    /// Of what the vendor wrote to its cache; absent, as the prompt.
    #[serde(default)]
    pub cache_write: Option<f64>,
}

/// Prices by patterns of model refs.
pub type Prices = BTreeMap<String, Price>;

impl Price {
    /// Returns what a request cost, in millionths of a dollar, rounded up.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> i64 {
        let count = |tokens: Option<u64>| tokens.unwrap_or_default() as f64;
        let (cached, written) = (count(usage.cached_input_tokens), count(usage.cache_write_tokens));
        let plain = (count(usage.input_tokens) - cached - written).max(0.0);
        // A million tokens at a dollar each million: one token is a millionth of a dollar.
        let micros = plain * self.input
            + cached * self.cached_input.unwrap_or(self.input)
            + written * self.cache_write.unwrap_or(self.input)
            + count(usage.output_tokens) * self.output;
        micros.ceil() as i64
    }

    /// Says what is wrong with it.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let all = [Some(self.input), Some(self.output), self.cached_input, self.cache_write];
        let bad = all.into_iter().flatten().any(|price| !price.is_finite() || price < 0.0);
        bad.then_some("a price is a number of dollars, 0 or more")
    }
}

/// Finds the price of a model: of the user's own first, then of those that are shipped.
#[must_use]
pub fn price(own: &Prices, provider: &str, model: &str) -> Option<Price> {
    // Google's long form of a name is the same model.
    let model = model.strip_prefix("models/").unwrap_or(model);
    let whole = format!("{provider}/{model}");
    let of = |prices| find(prices, &whole, provider, model);
    of(own).or_else(|| of(&SHIPPED))
}

/// The whole ref comes first, then the longest pattern that fits.
fn find(prices: &Prices, whole: &str, provider: &str, model: &str) -> Option<Price> {
    if let Some(price) = prices.get(whole) {
        return Some(*price);
    }
    let fitting = prices.iter().filter(|(text, _)| pattern::allows(text, provider, model));
    fitting.max_by_key(|(pattern, _)| pattern.len()).map(|(_, price)| *price)
}

static SHIPPED: LazyLock<Prices> =
    LazyLock::new(|| toml::from_str(include_str!("prices.toml")).unwrap_or_default());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_ones_are_read_and_make_sense() {
        assert!(SHIPPED.len() > 10);
        for (pattern, price) in &*SHIPPED {
            assert!(pattern.parse::<crate::router::RefPattern>().is_ok(), "{pattern}");
            assert_eq!(price.problem(), None, "{pattern}");
        }
    }

    #[test]
    fn the_users_own_come_first_and_the_narrowest_counts() {
        let own = "'lab/*' = { input = 1, output = 2 }\n'lab/big*' = { input = 5, output = 9 }\n\
                   'openai/gpt-5' = { input = 7, output = 7 }";
        let own: Prices = toml::from_str(own).unwrap();
        let input = |provider, model| price(&own, provider, model).map(|price| price.input);
        assert_eq!(input("lab", "small"), Some(1.0));
        assert_eq!(input("lab", "big-1"), Some(5.0));
        assert_eq!(input("openai", "gpt-5"), Some(7.0));
        assert_eq!(input("openai", "gpt-5-mini"), Some(0.25));
        assert_eq!(input("openai", "nobody-knows"), None);
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let price = Price { input: 2.0, output: 10.0, cached_input: Some(0.5), cache_write: None };
        let mut usage = Usage::new(1_000, 100);
        assert_eq!(price.of(&usage), 3_000);
        usage.cached_input_tokens = Some(600);
        usage.cache_write_tokens = Some(100);
        assert_eq!(price.of(&usage), 300 * 2 + 300 + 200 + 1_000);
        assert_eq!(price.of(&Usage::default()), 0);
    }
}
