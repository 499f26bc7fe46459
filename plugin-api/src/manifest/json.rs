//! Writes a plugin's declaration as JSON while the plugin compiles.
//!
//! Constant evaluation has no traits and no allocation, so this is a small writer over a buffer of
//! known size: one pass with an empty buffer gives the length, a second one the bytes.

use super::{PluginSpec, SCHEMA};
use crate::{CONTRACT_VERSION, capability::Capability};

/// Name of the section that holds the manifest (ELF; on Mach-O it is `__TEXT,__maestro`).
pub const SECTION: &str = ".maestro.manifest";

/// Returns the length of a plugin's manifest in bytes.
#[must_use]
pub const fn json_len(spec: &PluginSpec, capabilities: &[&[Capability]], panic: &str) -> usize {
    let mut writer = Writer { out: &mut [], at: 0, comma: false };
    write(spec, capabilities, panic, &mut writer);
    writer.at
}

/// Returns a plugin's manifest as JSON; `N` is what [`json_len`] says.
#[must_use]
pub const fn json_bytes<const N: usize>(
    spec: &PluginSpec,
    capabilities: &[&[Capability]],
    panic: &str,
) -> [u8; N] {
    let mut out = [0; N];
    let mut writer = Writer { out: &mut out, at: 0, comma: false };
    write(spec, capabilities, panic, &mut writer);
    assert!(writer.at == N, "the manifest fills its section");
    out
}

const fn write(
    spec: &PluginSpec,
    capabilities: &[&[Capability]],
    panic: &str,
    to: &mut Writer<'_>,
) {
    spec.assert_unique_ids();
    to.open(b'{');
    to.key("schema");
    to.unsigned(SCHEMA);
    to.key("contract");
    to.text(CONTRACT_VERSION);
    to.key("panic");
    to.text(panic);
    to.key("capabilities");
    to.open(b'[');
    let mut at = 0;
    while at < capabilities.len() {
        let mut of = 0;
        while of < capabilities[at].len() {
            to.item();
            to.text(capabilities[at][of].as_str());
            of += 1;
        }
        at += 1;
    }
    to.close(b']');
    spec.write_fields(to);
    to.close(b'}');
}

/// A JSON writer for constant evaluation. Beyond the end of its buffer it only counts.
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    /// Whether the next key or item needs a comma before it.
    comma: bool,
}

impl Writer<'_> {
    const fn byte(&mut self, byte: u8) {
        if self.at < self.out.len() {
            self.out[self.at] = byte;
        }
        self.at += 1;
    }

    pub(crate) const fn open(&mut self, bracket: u8) {
        self.byte(bracket);
        self.comma = false;
    }

    pub(crate) const fn close(&mut self, bracket: u8) {
        self.byte(bracket);
        self.comma = true;
    }

    /// Starts the next item of an array.
    pub(crate) const fn item(&mut self) {
        if self.comma {
            self.byte(b',');
        }
        self.comma = true;
    }

    /// Writes the next key of an object.
    pub(crate) const fn key(&mut self, key: &str) {
        self.item();
        self.text(key);
        self.byte(b':');
    }

    pub(crate) const fn text(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let bytes = text.as_bytes();
        self.byte(b'"');
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b @ (b'"' | b'\\') => {
                    self.byte(b'\\');
                    self.byte(b);
                }
                b @ 0..0x20 => {
                    self.byte(b'\\');
                    self.byte(b'u');
                    self.byte(b'0');
                    self.byte(b'0');
                    self.byte(HEX[(b >> 4) as usize]);
                    self.byte(HEX[(b & 15) as usize]);
                }
                b => self.byte(b),
            }
            at += 1;
        }
        self.byte(b'"');
        self.comma = true;
    }

    pub(crate) const fn flag(&mut self, flag: bool) {
        let word: &[u8] = if flag { b"true" } else { b"false" };
        let mut at = 0;
        while at < word.len() {
            self.byte(word[at]);
            at += 1;
        }
        self.comma = true;
    }

    pub(crate) const fn number(&mut self, number: i64) {
        if number < 0 {
            self.byte(b'-');
        }
        self.unsigned(number.unsigned_abs());
    }

    pub(crate) const fn unsigned(&mut self, magnitude: u64) {
        let mut place = 1;
        while magnitude / place >= 10 {
            place *= 10;
        }
        while place > 0 {
            self.byte(b'0' + ((magnitude / place) % 10) as u8);
            place /= 10;
        }
        self.comma = true;
    }

    pub(crate) const fn texts(&mut self, texts: &[&str]) {
        self.open(b'[');
        let mut at = 0;
        while at < texts.len() {
            self.item();
            self.text(texts[at]);
            at += 1;
        }
        self.close(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use crate::auth::{ApiKeySpec, AskSpec, AuthSpec, OAuthSpec, PlacementSpec};

    const SPEC: PluginSpec = PluginSpec::new("acme", "0.3.1")
        .description("says \"hi\"\n\\ and more")
        .instances(true)
        .settings(&[SettingSpec::flag("loud").help("shouts")])
        .profiles(&[ProfileSpec::new("quiet").values(&[
            ValueSpec::flag("loud", false),
            ValueSpec::number("volume", -12),
            ValueSpec::number("zero", 0),
            ValueSpec::texts("words", &["a", "b"]),
            ValueSpec::text("t", "x"),
        ])])
        .providers(&[ProviderSpec::new("acme")
            .display_name("Acme")
            .base_url("https://api.acme.test/v1")
            .origins(&["https://auth.acme.test"])
            .features(&[Feature::Tools])
            .without(&[Capability::Models])
            .max_input_tokens(u64::MAX)
            .auth(&[
                AuthSpec::ApiKey(ApiKeySpec::bearer().env(&["ACME_KEY"]).prefix("sk-")),
                AuthSpec::ApiKey(
                    ApiKeySpec::new(PlacementSpec::Query { name: "key" }).optional(true),
                ),
                AuthSpec::OAuth(
                    OAuthSpec::new()
                        .id("plan")
                        .display_name("Acme plan")
                        .needs(&["telepathy"])
                        .asks(&[AskSpec::new("project").help("see the console").optional(true)])
                        .without(&[Capability::Models])
                        .without_features(&[Feature::Tools])
                        .attributes(&["organization.uuid"])
                        .client_id_from_callback(true),
                ),
                AuthSpec::None,
            ])]);
    const CAPABILITIES: &[&[Capability]] = &[&[Capability::Chat], &[Capability::Models]];
    const LEN: usize = json_len(&SPEC, CAPABILITIES, "unwind");
    const JSON: [u8; LEN] = json_bytes(&SPEC, CAPABILITIES, "unwind");

    #[test]
    fn what_the_compiler_wrote_reads_back() {
        let manifest = Manifest::from_json(&JSON).unwrap();
        assert_eq!(manifest.id, "acme");
        assert_eq!(manifest.schema, SCHEMA);
        assert_eq!(manifest.contract, CONTRACT_VERSION);
        assert_eq!(manifest.description, "says \"hi\"\n\\ and more");
        assert_eq!(*manifest.capabilities, [Capability::Chat, Capability::Models]);
        let values = &manifest.profile("quiet").unwrap().values;
        assert_eq!(values[1].value, serde_json::json!(-12));
        assert_eq!(values[2].value, serde_json::json!(0));
        assert_eq!(values[3].value, serde_json::json!(["a", "b"]));
        let provider = &manifest.providers[0];
        assert_eq!(provider.max_input_tokens, u64::MAX);
        assert_eq!(*provider.features, [Feature::Tools]);
        let ids: Vec<&str> = provider.auth.iter().map(AuthScheme::id).collect();
        assert_eq!(ids, ["api_key", "api_key", "plan", "none"]);
        let plan = &provider.auth[2];
        assert_eq!((plan.kind(), plan.display_name()), ("oauth", "Acme plan"));
        assert_eq!(plan.unknown_need(), Some("telepathy"));
        assert_eq!(provider.auth[0].unknown_need(), None);
        assert!(plan.asks()[0].optional && plan.asks()[0].name == "project");
        assert_eq!(plan.without(), [Capability::Models]);
        assert_eq!(plan.without_features(), [Feature::Tools]);
        assert_eq!(manifest.capabilities_of(provider), [Capability::Chat]);
    }

    #[test]
    #[should_panic(expected = "two providers have one id")]
    fn a_provider_stands_there_once() {
        const TWICE: PluginSpec =
            PluginSpec::new("a", "1").providers(&[ProviderSpec::new("b"), ProviderSpec::new("b")]);
        let _ = json_len(&TWICE, &[], "unwind");
    }

    #[test]
    fn a_manifest_of_another_contract_is_told_from_a_broken_one() {
        let newer = br#"{"schema":2,"contract":"1.4.0","plugins":[]}"#;
        let error = Manifest::from_json(newer).unwrap_err();
        assert!(
            matches!(&error, ManifestError::Schema { schema: 2, contract } if contract == "1.4.0")
        );
        let other = br#"{"schema":1,"contract":"2.0.0","id":7}"#;
        let error = Manifest::from_json(other).unwrap_err();
        assert!(matches!(&error, ManifestError::Contract { contract } if contract == "2.0.0"));
        let broken = br#"{"schema":1,"contract":"1.0.0","id":7}"#;
        assert!(matches!(Manifest::from_json(broken), Err(ManifestError::Json(_))));
        assert!(matches!(Manifest::from_json(b"{}"), Err(ManifestError::Json(_))));
    }

    #[test]
    fn names_of_a_newer_contract_are_skipped() {
        let text = r#"{"schema":1,"contract":"1.9.0","panic":"unwind","id":"a","version":"1",
            "capabilities":["chat/1","dreams/1"],"novel":true,
            "providers":[{"id":"a","features":["chat.smell/1","chat.tools/1"],"auth":[{"type":"iris"}]}]}"#;
        let manifest = Manifest::from_json(text.as_bytes()).unwrap();
        assert_eq!(*manifest.capabilities, [Capability::Chat]);
        assert_eq!(*manifest.providers[0].features, [Feature::Tools]);
        assert_eq!(manifest.providers[0].auth, [AuthScheme::Unknown]);
    }
}
