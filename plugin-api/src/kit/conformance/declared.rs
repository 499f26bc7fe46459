//! The rules on a manifest. Nothing of the plugin runs.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Finding, headers, rules::Rule, url::Url};
use crate::{
    auth::{AuthScheme, Placement},
    capability::{Capability, Feature},
    id::is_valid_id,
    manifest::{Manifest, ManifestError, ProviderManifest},
};

/// Checks a manifest as it stands in the section; also gives it, when it can be read.
#[must_use]
pub fn check_manifest(json: &[u8]) -> (Option<Manifest>, Vec<Finding>) {
    let mut findings = Findings(Vec::new());
    let raw: Value = match serde_json::from_slice(json) {
        Ok(raw) => raw,
        Err(error) => {
            findings.add(Rule::ManifestIsReadable, "", error.to_string());
            return (None, findings.0);
        }
    };
    let manifest = match Manifest::from_json(json) {
        Ok(manifest) => manifest,
        Err(error) => {
            let rule = match error {
                ManifestError::Schema { .. } | ManifestError::Contract { .. } => Rule::ContractFits,
                ManifestError::Json(_) => Rule::ManifestIsReadable,
            };
            let detail = std::error::Error::source(&error).map(ToString::to_string);
            findings.add(rule, "", detail.unwrap_or_else(|| error.to_string()));
            return (None, findings.0);
        }
    };
    findings.plugin(&manifest, &raw);
    for provider in &manifest.providers {
        findings.provider(&manifest, provider);
    }
    (Some(manifest), findings.0)
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: Rule, input: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Finding::new(rule, input, detail));
    }

    fn add_if(&mut self, broken: bool, rule: Rule, input: &str, detail: impl Into<String>) {
        if broken {
            self.add(rule, input, detail);
        }
    }

    fn plugin(&mut self, manifest: &Manifest, raw: &Value) {
        let id = &manifest.id;
        self.add_if(!is_valid_id(id), Rule::PluginId, "id", format!("`{id}`"));
        let version = &manifest.version;
        self.add_if(!is_semver(version), Rule::PluginVersion, "version", format!("`{version}`"));
        let silent = manifest.description.trim().is_empty();
        self.add_if(silent, Rule::PluginDescription, "description", "there is none");
        let panic = &manifest.panic;
        self.add_if(panic != "unwind", Rule::PanicsUnwind, "panic", format!("`{panic}`"));
        let names = raw["capabilities"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // A newer contract of the same major version may have more.
        let ours = manifest.contract == crate::CONTRACT_VERSION;
        for name in names.filter(|name| ours && Capability::from_name(name).is_none()) {
            self.add(Rule::CapabilitiesKnown, "capabilities", format!("`{name}`"));
        }
        if manifest.capabilities.is_empty()
            && self.0.iter().all(|f| f.rule != Rule::CapabilitiesKnown)
        {
            self.add(Rule::CapabilitiesKnown, "capabilities", "there is none");
        }
        let offers = !manifest.providers.is_empty() || manifest.instances;
        self.add_if(!offers, Rule::OffersProviders, "providers", "there is none");
        let has = |capability| manifest.capabilities.contains(&capability);
        if has(Capability::OAuth) != has(Capability::HandlesSecrets) {
            let detail = "`oauth/1` and `handles-secrets/1` go together";
            self.add(Rule::SecretsDeclared, "capabilities", detail);
        }
        for id in repeated(manifest.providers.iter().map(|provider| provider.id.as_str())) {
            self.add(Rule::ProviderIdsUnique, "providers", format!("`{id}`"));
        }
        for name in repeated(manifest.profiles.iter().map(|profile| profile.name.as_str())) {
            self.add(Rule::ProfilesUnique, "profiles", format!("`{name}`"));
        }
        self.settings(manifest);
    }

    fn settings(&mut self, manifest: &Manifest) {
        for name in repeated(manifest.settings.iter().map(|setting| setting.name.as_str())) {
            self.add(Rule::SettingsUnique, "settings", format!("`{name}`"));
        }
        for setting in &manifest.settings {
            let (name, kind) = (&setting.name, setting.kind.as_str());
            let at = format!("settings/{name}");
            let known = ["text", "flag", "number", "texts", "table"].contains(&kind);
            self.add_if(!known, Rule::SettingKinds, &at, format!("kind `{kind}`"));
            let silent = setting.help.trim().is_empty() || name.is_empty();
            self.add_if(silent, Rule::SettingsDocumented, &at, "it has no help");
        }
        for profile in &manifest.profiles {
            for value in &profile.values {
                let at = format!("profiles/{}/{}", profile.name, value.name);
                let declared = manifest.settings.iter().find(|setting| setting.name == value.name);
                let Some(declared) = declared else {
                    self.add(Rule::ProfileValues, at, "there is no such setting");
                    continue;
                };
                let fits = match declared.kind.as_str() {
                    "text" => value.value.is_string(),
                    "flag" => value.value.is_boolean(),
                    "number" => value.value.is_number(),
                    "texts" => value.value.is_array(),
                    "table" => value.value.is_object(),
                    _ => true,
                };
                let detail = format!("{} for a setting of kind `{}`", value.value, declared.kind);
                self.add_if(!fits, Rule::ProfileValues, &at, detail);
            }
        }
    }

    fn provider(&mut self, manifest: &Manifest, provider: &ProviderManifest) {
        let id = &provider.id;
        let at = |field: &str| format!("providers/{id}/{field}");
        self.add_if(!is_valid_id(id), Rule::ProviderIds, &at("id"), format!("`{id}`"));
        let nameless = provider.display_name.trim().is_empty();
        self.add_if(nameless, Rule::ProviderNames, &at("display_name"), "there is none");
        if !provider.base_url.is_empty() {
            self.url(&at("base_url"), &provider.base_url, manifest);
        }
        for origin in &provider.origins {
            self.url(&at("origins"), origin, manifest);
            let long = Url::parse(&filled(origin)).is_some_and(|url| url.has_path);
            self.add_if(long, Rule::OriginsAreOrigins, &at("origins"), format!("`{origin}`"));
        }
        let profile = &provider.profile;
        let missing = !profile.is_empty() && manifest.profile(profile).is_none();
        self.add_if(missing, Rule::ProfilesExist, &at("profile"), format!("`{profile}`"));
        for name in &provider.requires {
            let declared = manifest.settings.iter().any(|setting| setting.name == *name);
            self.add_if(!declared, Rule::RequiresDeclared, &at("requires"), format!("`{name}`"));
        }
        let models = || provider.models.iter().map(String::as_str);
        for name in repeated(models()).into_iter().chain(models().filter(|name| name.is_empty())) {
            self.add(Rule::ModelsNamed, at("models"), format!("`{name}`"));
        }
        for dialect in &provider.dialects {
            let known = DIALECTS.contains(&dialect.as_str());
            self.add_if(!known, Rule::DialectsKnown, &at("dialects"), format!("`{dialect}`"));
        }
        for lacking in provider.without.iter() {
            let has = manifest.capabilities.contains(lacking);
            self.add_if(!has, Rule::WithoutDeclared, &at("without"), format!("`{lacking}`"));
        }
        let chats = manifest.capabilities_of(provider).contains(&Capability::Chat);
        let tools = provider.features.contains(&Feature::Tools);
        for feature in provider.features.iter() {
            let finer = matches!(feature, Feature::CustomTools | Feature::ParallelTools);
            let why = if !chats {
                "without `chat/1`"
            } else if finer && !tools {
                "without `chat.tools/1`"
            } else {
                continue;
            };
            self.add(Rule::FeaturesConsistent, at("features"), format!("`{feature}` {why}"));
        }
        self.add_if(provider.auth.is_empty(), Rule::AuthDeclared, &at("auth"), "there is none");
        for id in repeated(provider.auth.iter().map(AuthScheme::id)) {
            self.add(Rule::AuthIdsUnique, at("auth"), format!("`{id}`"));
        }
        for scheme in &provider.auth {
            self.scheme(manifest, &at(&format!("auth/{}", scheme.id())), scheme);
        }
    }

    fn url(&mut self, at: &str, url: &str, manifest: &Manifest) {
        for name in placeholders(url) {
            let declared = manifest.settings.iter().any(|setting| setting.name == name);
            self.add_if(!declared, Rule::TemplatesFilled, at, format!("`{{{name}}}`"));
        }
        match Url::parse(&filled(url)) {
            // A template that is all of the URL may become anything.
            None if url.starts_with('{') => {}
            None => self.add(Rule::UrlsWellFormed, at, format!("`{url}`")),
            Some(parsed) => {
                let odd = parsed.has_user || parsed.has_fragment;
                self.add_if(odd, Rule::UrlsWellFormed, at, format!("`{url}`"));
                self.add_if(!parsed.is_private(), Rule::UrlsEncrypted, at, format!("`{url}`"));
            }
        }
    }

    fn scheme(&mut self, manifest: &Manifest, at: &str, scheme: &AuthScheme) {
        for lacking in scheme.without() {
            let has = manifest.capabilities.contains(lacking);
            self.add_if(!has, Rule::WithoutDeclared, at, format!("`{lacking}`"));
        }
        for ask in scheme.asks() {
            let silent = ask.name.is_empty() || ask.help.trim().is_empty();
            self.add_if(silent, Rule::AsksDocumented, at, format!("`{}`", ask.name));
            self.variables(at, &ask.env);
        }
        let need = scheme.unknown_need();
        if matches!(scheme, AuthScheme::Unknown) || need.is_some() {
            let detail = need.map_or("its type".into(), |need| format!("it needs `{need}`"));
            self.add(Rule::AuthKnown, at, detail);
        }
        match scheme {
            AuthScheme::ApiKey(key) => {
                self.placement(at, &key.placement);
                self.variables(at, &key.env);
            }
            AuthScheme::OAuth(oauth) => {
                self.placement(at, &oauth.placement);
                for url in [
                    &oauth.issuer,
                    &oauth.authorization_url,
                    &oauth.token_url,
                    &oauth.device_url,
                    &oauth.revocation_url,
                    &oauth.registration_url,
                    &oauth.jwks_url,
                ] {
                    self.endpoint(at, url);
                }
                let kept = !oauth.profiles.is_empty();
                let flows = !oauth.issuer.is_empty() || !oauth.token_url.is_empty();
                self.add_if(!kept && !flows, Rule::AuthComplete, at, "it has no token endpoint");
                let client = kept && !flows || !oauth.client_id.is_empty();
                self.add_if(!client, Rule::AuthComplete, at, "it has no client id");
            }
            AuthScheme::ClientCredentials(client) => {
                self.endpoint(at, &client.token_url);
                let bare = client.token_url.is_empty();
                self.add_if(bare, Rule::AuthComplete, at, "it has no token endpoint");
            }
            AuthScheme::JwtBearer(bearer) => {
                self.endpoint(at, &bearer.token_url);
                let bare = bearer.token_url.is_empty();
                self.add_if(bare, Rule::AuthComplete, at, "it has no token endpoint");
            }
            AuthScheme::Signed(signed) => {
                self.variables(at, &signed.env);
                let bare = signed.algorithm.is_empty();
                self.add_if(bare, Rule::AuthComplete, at, "it has no algorithm");
            }
            AuthScheme::None | AuthScheme::Unknown => {}
        }
    }

    fn endpoint(&mut self, at: &str, url: &str) {
        if url.is_empty() || url.starts_with('{') {
            return;
        }
        let good = Url::parse(&filled(url)).is_some_and(|url| url.is_private() && !url.has_user);
        self.add_if(!good, Rule::AuthUrls, at, format!("`{url}`"));
    }

    fn placement(&mut self, at: &str, placement: &Placement) {
        let fits = match placement {
            Placement::Bearer => true,
            Placement::Header { name, prefix } => headers::is_sendable(name, prefix),
            Placement::Query { name } => !name.is_empty(),
            Placement::Unknown => false,
        };
        self.add_if(!fits, Rule::AuthPlacement, at, format!("{placement:?}"));
    }

    fn variables(&mut self, at: &str, names: &[String]) {
        for name in names {
            let fits = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            self.add_if(!fits, Rule::AuthVariables, at, format!("`{name}`"));
        }
    }
}

/// The dialects that hosts can hand through.
const DIALECTS: &[&str] = &["openai-chat", "openai-responses", "anthropic-messages", "gemini"];

/// Returns the names that stand there more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

/// Returns the names in braces.
fn placeholders(template: &str) -> Vec<&str> {
    let open = template.split('{').skip(1);
    open.map(|rest| rest.split_once('}').map_or(rest, |(name, _)| name)).collect()
}

/// Fills a template with a word that any place of a host or path can carry.
pub(super) fn filled(template: &str) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        filled.push_str("check");
        rest = behind.split_once('}').map_or("", |(_, behind)| behind);
    }
    filled + rest
}

/// Reports whether a text is a version as semver.org says, as far as a glance can tell.
fn is_semver(text: &str) -> bool {
    let (core, build) = text.split_once('+').map_or((text, None), |(core, b)| (core, Some(b)));
    let (core, before) = core.split_once('-').map_or((core, None), |(core, b)| (core, Some(b)));
    let number = |n: &str| {
        !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && (n == "0" || !n.starts_with('0'))
    };
    let word = |word: &str| {
        !word.is_empty()
            && word.split('.').all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
    };
    core.split('.').count() == 3
        && core.split('.').all(number)
        && before.is_none_or(word)
        && build.is_none_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["0.1.0", "1.2.3-rc.1", "10.0.0+build.5", "1.0.0-a-b+c"] {
            assert!(is_semver(good), "{good}");
        }
        for bad in ["", "1", "1.0", "1.0.x", "01.0.0", "1.0.0-", "1.0.0+", "v1.0.0"] {
            assert!(!is_semver(bad), "{bad}");
        }
    }

    #[test]
    fn templates() {
        assert_eq!(placeholders("https://{resource}.a.test/{x}y"), ["resource", "x"]);
        assert_eq!(filled("https://{resource}.a.test/{x}y"), "https://check.a.test/checky");
    }
}
