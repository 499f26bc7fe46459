//! Which provider a key of another tool belongs to.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use crate::{import::Found, maestro::Maestro, plugin::provider::Provider};

impl Maestro {
    /// Guesses carefully: a key that goes to the wrong vendor is a key given away.
    ///
    /// A server's address decides alone. Then count what the tool calls the provider and the variable
    /// that held the key, and at last a beginning that only one provider's keys have.
    pub(super) fn provider_of(&self, found: &Found) -> Result<Arc<Provider>, String> {
        let registry = self.registry();
        let providers: Vec<&Arc<Provider>> = registry.providers().collect();
        if let Some(url) = found.base_url.as_deref() {
            let origin = url::Url::parse(url).map(|url| url.origin().ascii_serialization());
            let origin = origin.map_err(|_| "its server's address cannot be read".to_owned())?;
            let there = |provider: &&&Arc<Provider>| {
                provider.route.origins.iter().any(|known| known.to_string() == origin)
            };
            return providers.iter().find(there).map(|provider| Arc::clone(provider)).ok_or_else(
                || format!("no provider here is at {origin}; add one to the configuration"),
            );
        }
        for word in &found.words {
            let called = |provider: &&&Arc<Provider>| {
                same_word(word, provider.id.as_str())
                    || same_word(word, &provider.manifest.display_name)
            };
            if let Some(provider) = providers.iter().find(called) {
                return Ok(Arc::clone(provider));
            }
        }
        let guesses =
            found.words.iter().map(|word| format!("{}_API_KEY", word.to_ascii_uppercase()));
        for variable in found.variable.iter().cloned().chain(guesses) {
            if let Some(provider) = providers.iter().find(|p| p.key_env.contains(&variable)) {
                return Ok(Arc::clone(provider));
            }
        }
        if let Ok(key) = &found.key {
            let prefix = |provider: &Provider| {
                let scheme = provider.api_key()?;
                let fits = scheme.prefix.len() >= MIN_TELLING_PREFIX
                    && key.expose_secret().starts_with(&scheme.prefix);
                fits.then_some(scheme.prefix.len())
            };
            let longest = providers.iter().filter_map(|provider| prefix(provider)).max();
            let mut fitting =
                providers.iter().filter(|p| longest.is_some() && prefix(p) == longest);
            if let (Some(only), None) = (fitting.next(), fitting.next()) {
                return Ok(Arc::clone(only));
            }
        }
        Err(match found.words.first() {
            Some(word) => format!("no provider here is called `{word}`"),
            None => "nothing says which provider it is for".into(),
        })
    }
}

/// Compares names as people write them: `OpenAI` and `open_ai` are one.
pub(super) fn same_word(one: &str, other: &str) -> bool {
    let letters = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let one = letters(one);
    !one.is_empty() && one == letters(other)
}

/// A shorter beginning, `sk-` for one, is many vendors'.
const MIN_TELLING_PREFIX: usize = 4;
