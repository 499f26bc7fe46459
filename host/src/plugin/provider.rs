//! A provider: what a manifest says of it, and what the configuration makes of that.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use plugin_api::{
    ProviderId,
    auth::{ApiKeyScheme, AuthScheme, Placement},
    capability::{Capability, Feature},
    instance::Instance,
    manifest::{Manifest, ProviderManifest},
};
use serde_json::Value;

use super::admitted::Plugin;
use crate::{
    config::ProviderConfig,
    session::Binding,
    suggest::nearest,
    transport::{Origin, Route, TlsOptions},
};

/// A provider, of a manifest or made by the configuration.
#[derive(Debug)]
pub struct Provider {
    /// Its id.
    pub id: ProviderId,
    /// The plugin that serves it.
    pub plugin: Arc<Plugin>,
    /// What the manifest says of it; for one that the configuration made, of its like.
    pub manifest: ProviderManifest,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Whether the configuration mentions it.
    pub configured: bool,
    /// Start of its URLs, filled in.
    pub base_url: String,
    /// Where its requests may go.
    pub route: Arc<Route>,
    /// Its settings: the profile's, overridden by the configuration's.
    pub settings: BTreeMap<String, Value>,
    /// Where a key goes.
    pub placement: Option<Placement>,
    /// Environment variables that may hold its key.
    pub key_env: Vec<String>,
    /// What is missing before it can be used.
    pub missing: Option<String>,
    binding: OnceLock<Binding>,
}

/// Why the configuration does not fit the plugins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`[providers.{provider}]`: {problem}")]
#[non_exhaustive]
pub struct MisfitError {
    /// The provider.
    pub provider: String,
    /// What does not fit.
    pub problem: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

impl Provider {
    /// Reports whether a client's own body in a dialect may be passed on to it.
    ///
    /// A server of nobody's kind, which the configuration describes, is understood like all that its
    /// plugin knows: it speaks what they all speak. That makes it nobody's first choice for bare names.
    #[must_use]
    pub fn takes(&self, dialect: &str) -> bool {
        let speaks = |manifest: &ProviderManifest| manifest.dialects.iter().any(|d| d == dialect);
        let known = &self.plugin.judged.manifest.providers;
        let is_own = !known.iter().any(|provider| provider.id == self.id.as_str());
        speaks(&self.manifest)
            || (is_own && self.manifest.dialects.is_empty() && known.iter().all(speaks))
    }

    /// Returns the dialects in which a client's own body may be passed on to it.
    #[must_use]
    pub fn dialects(&self) -> Vec<String> {
        let known = self.plugin.judged.manifest.providers.iter();
        let all = known.chain([&self.manifest]).flat_map(|provider| &provider.dialects);
        let mut taken: Vec<String> = all.filter(|dialect| self.takes(dialect)).cloned().collect();
        taken.sort_unstable();
        taken.dedup();
        taken
    }

    /// Returns how a key is made and placed, if keys are taken.
    #[must_use]
    pub fn api_key(&self) -> Option<&ApiKeyScheme> {
        api_key_scheme(&self.manifest)
    }

    /// Reports whether it can be asked without a session.
    #[must_use]
    pub fn works_without_session(&self) -> bool {
        self.manifest.auth.is_empty()
            || self.manifest.auth.iter().any(|auth| match auth {
                AuthScheme::None => true,
                AuthScheme::ApiKey(scheme) => scheme.optional && auth.unknown_need().is_none(),
                _ => false,
            })
    }

    /// Reports whether it has a capability.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// Returns what a credential for it is bound to: its plugin and its origins.
    #[must_use]
    pub fn binding(&self) -> &Binding {
        self.binding.get_or_init(|| {
            let origins = self.route.origins.iter().map(ToString::to_string);
            Binding::new(self.plugin.id.clone(), origins).expect("our origins are origins")
        })
    }

    /// Returns the instance that its plugin is told of.
    #[must_use]
    pub fn instance(&self) -> Instance {
        let mut instance = Instance::new(self.id.clone(), self.base_url.clone());
        instance.settings.clone_from(&self.settings);
        instance
    }
}

/// Describes a provider that the configuration makes: like the manifest's provider of the same
/// profile; without a profile, as one that may understand all that any provider of the plugin does.
pub(super) fn like(
    manifest: &Manifest,
    id: &ProviderId,
    config: &ProviderConfig,
) -> ProviderManifest {
    let profile = config.profile.as_deref().unwrap_or_default();
    let model = manifest
        .providers
        .iter()
        .find(|p| !profile.is_empty() && (p.profile == profile || p.id == profile));
    let mut features: Vec<Feature> =
        manifest.providers.iter().flat_map(|p| p.features.iter().copied()).collect();
    features.sort_unstable();
    features.dedup();
    // A key of the model's vendor is not a key of this server, so nothing of its scheme is kept but
    // where it goes.
    let only = match &manifest.providers[..] {
        [only] => Some(only),
        _ => None,
    };
    let placement = model.or(only).and_then(api_key_scheme).map(|scheme| &scheme.placement);
    let json = serde_json::json!({
        "id": id,
        "display_name": id,
        "profile": profile,
        "features": model.map_or(&features[..], |model| &model.features[..]),
        "without": model.map_or(&[][..], |model| &model.without[..]),
        "dialects": model.map_or(&[][..], |model| &model.dialects[..]),
        "auth": [{
            "type": "api_key",
            "optional": true,
            "placement": placement.unwrap_or(&Placement::Bearer),
        }],
    });
    serde_json::from_value(json).expect("it has an id, and the rest is made of manifests")
}

/// Makes a provider of its manifest and the configuration.
pub(super) fn make(
    id: ProviderId,
    plugin: &Arc<Plugin>,
    manifest: ProviderManifest,
    config: Option<&ProviderConfig>,
) -> Result<Provider, MisfitError> {
    let misfit = |problem: String, hint: Option<String>| MisfitError {
        provider: id.to_string(),
        problem,
        hint,
    };
    let declared = &plugin.judged.manifest;
    let mut settings = BTreeMap::new();
    let profile = config.and_then(|config| config.profile.as_deref()).unwrap_or(&manifest.profile);
    if !profile.is_empty() {
        let profile = declared.profile(profile).ok_or_else(|| {
            let names = declared.profiles.iter().map(|profile| profile.name.as_str());
            let hint = nearest(profile, names.clone()).map_or_else(
                || format!("plugin `{}` has: {}", plugin.id, names.collect::<Vec<_>>().join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            misfit(format!("there is no profile `{profile}`"), Some(hint))
        })?;
        settings.extend(profile.values.iter().map(|v| (v.name.clone(), v.value.clone())));
    }
    if let Some(config) = config {
        for (key, value) in &config.settings {
            let value =
                setting(declared, key, value).map_err(|(problem, hint)| misfit(problem, hint))?;
            settings.insert(key.clone(), value);
        }
    }
    let own_url = config.and_then(|config| config.base_url.as_deref());
    let template = own_url.unwrap_or(&manifest.base_url);
    let missing = manifest
        .requires
        .iter()
        .find(|name| own_url.is_none() && !settings.contains_key(name.as_str()))
        .map(|name| format!("needs `{name}` in `[providers.{id}]`"));
    let needs_url = template.is_empty() && declared.instances && !manifest.local;
    let missing =
        missing.or_else(|| needs_url.then(|| format!("needs `base_url` in `[providers.{id}]`")));
    let fill = |text: &str| fill(text, &settings);
    let base_url = fill(template);
    let mut origins = Vec::new();
    if missing.is_none() {
        // A configured URL replaces the vendor's origins: what is meant for another server must not
        // still reach the vendor.
        let others = if own_url.is_some() { &[][..] } else { &manifest.origins[..] };
        for url in std::iter::once(&base_url).chain(others).filter(|url| !url.is_empty()) {
            let origin = Origin::parse(&fill(url))
                .map_err(|error| misfit(format!("`base_url`: {error}"), None))?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
    }
    let scheme = api_key_scheme(&manifest);
    let placement = match config.and_then(|config| config.auth.as_ref()) {
        Some(auth) => auth.placement(),
        None => scheme.map(|scheme| scheme.placement.clone()),
    };
    let mut key_env: Vec<String> = Vec::new();
    match config.and_then(|config| config.key_env.clone()) {
        Some(name) => key_env.push(name),
        // A plugin that the user dropped in might name any variable, and with an origin of its own
        // would get what is in it. A key for the vendor is not meant for another server either.
        None if plugin.trusted && own_url.is_none() => {
            key_env.extend(scheme.into_iter().flat_map(|scheme| scheme.env.iter().cloned()));
        }
        None => {}
    }
    let mut capabilities = declared.capabilities_of(&manifest);
    if !plugin.handles_secrets {
        // Without the user's word it is never asked for what it would need a secret for.
        let secret = [Capability::OAuth, Capability::HandlesSecrets];
        capabilities.retain(|capability| !secret.contains(capability));
    }
    Ok(Provider {
        capabilities,
        configured: config.is_some(),
        route: Arc::new(Route {
            origins,
            allow_plain_http: config.is_some_and(|config| config.allow_plain_http),
            allow_metadata: config.is_some_and(|config| config.allow_metadata),
            tls: TlsOptions {
                ca_file: config.and_then(|config| config.ca_file.clone()),
                client_cert: config.and_then(|config| config.client_cert.clone()),
            },
        }),
        binding: OnceLock::new(),
        id,
        plugin: Arc::clone(plugin),
        base_url: base_url.trim_end_matches('/').to_owned(),
        settings,
        placement,
        key_env,
        missing,
        manifest,
    })
}

/// Checks a setting of the configuration against the manifest's list and type.
fn setting(
    manifest: &Manifest,
    key: &str,
    value: &toml::Value,
) -> Result<Value, (String, Option<String>)> {
    let Some(declared) = manifest.settings.iter().find(|setting| setting.name == key) else {
        let own = [
            "plugin",
            "profile",
            "base_url",
            "auth",
            "key_env",
            "oauth",
            "ca_file",
            "client_cert",
            "allow_plain_http",
            "allow_metadata",
        ];
        let names = manifest.settings.iter().map(|s| s.name.as_str()).chain(own);
        let hint = match nearest(key, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
        };
        return Err((format!("unknown key `{key}`"), Some(hint)));
    };
    let fits = match declared.kind.as_str() {
        "text" => value.is_str(),
        "flag" => value.is_bool(),
        "number" => value.is_integer(),
        "texts" => value.as_array().is_some_and(|list| list.iter().all(toml::Value::is_str)),
        "table" => value.is_table(),
        _ => true,
    };
    if !fits {
        let expected = match declared.kind.as_str() {
            "text" => "a text",
            "flag" => "`true` or `false`",
            "number" => "a whole number",
            "texts" => "a list of texts",
            _ => "a table",
        };
        let problem = format!("`{key}`: expected {expected}, found a {}", value.type_str());
        return Err((problem, None));
    }
    serde_json::to_value(value).map_err(|error| (format!("`{key}`: {error}"), None))
}

/// Replaces `{name}` by the setting of that name.
fn fill(template: &str, settings: &BTreeMap<String, Value>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        match behind.split_once('}') {
            Some((name, after)) => {
                filled.push_str(settings.get(name).and_then(Value::as_str).unwrap_or_default());
                rest = after;
            }
            None => rest = behind,
        }
    }
    filled.push_str(rest);
    filled
}

fn api_key_scheme(manifest: &ProviderManifest) -> Option<&ApiKeyScheme> {
    // A scheme that needs what this host does not know cannot be used.
    manifest.auth.iter().find_map(|auth| match auth {
        AuthScheme::ApiKey(scheme) if auth.unknown_need().is_none() => Some(scheme),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_from_settings() {
        let settings = BTreeMap::from([("resource".to_owned(), Value::from("west"))]);
        assert_eq!(fill("https://{resource}.a.test/{x}y", &settings), "https://west.a.test/y");
        assert_eq!(fill("https://a{b", &settings), "https://ab");
    }
}
