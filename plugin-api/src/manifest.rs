//! What a plugin declares, readable without running it.
//!
//! An author writes a [`PluginSpec`] as a constant; `export_plugin!` turns it into JSON while the
//! plugin compiles and puts that into the library's `.maestro.manifest` section. The host reads the
//! section as a [`Manifest`] without loading the file. Each pair below is declared once, in
//! `data!`: the *spec* is `Copy` and borrows for `'static`, so that it can be built in
//! a constant, the other is owned and read with serde.

mod data;
pub(crate) mod json;

use std::fmt;

pub(crate) use data::data;
pub use json::{SECTION, json_bytes, json_len};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CONTRACT_VERSION,
    auth::{AuthScheme, AuthSpec},
    capability::{Capability, Feature, Names},
    id::is_valid_id,
};

/// Revision of the manifest's own layout. The host refuses higher ones.
pub const SCHEMA: u64 = 1;

data! {
    /// A plugin: one shared library.
    pub struct Manifest <- PluginSpec {
        /// The plugin's id, unique among loaded plugins.
        id: text,
        /// The plugin's own version, semver.
        version: text,
        /// What it is, in one sentence.
        description: text,
        /// Where its source or documentation is.
        homepage: text,
        /// Whether the configuration may make further providers of it, each with a `base_url`.
        instances: flag,
        /// The providers it offers by itself.
        providers: list(ProviderManifest, ProviderSpec),
        /// Named sets of settings, chosen by a provider or an instance.
        profiles: list(Profile, ProfileSpec),
        /// Settings that it reads, with their types.
        settings: list(Setting, SettingSpec),
    } plus {
        /// Revision of the manifest's layout ([`SCHEMA`]).
        schema: u64,
        /// Contract that it was built against, semver.
        contract: String,
        /// `unwind` or `abort`, as it was compiled.
        panic: String,
        /// Behaviours it implements.
        capabilities: Names<Capability>,
    }
}

data! {
    /// A service that a plugin offers.
    pub struct ProviderManifest <- ProviderSpec {
        /// The provider's id.
        id: text,
        /// Its name for people.
        display_name: text,
        /// Start of its URLs, in its own SDK's convention; `{name}` stands for a setting.
        base_url: text,
        /// Origins it may reach beside the one of `base_url`, for example `https://auth.acme.test`.
        origins: texts,
        /// How one logs in; the first is the usual way.
        auth: list(AuthScheme, AuthSpec),
        /// The profile whose settings apply.
        profile: text,
        /// Dialects it speaks natively, for pass-through: `openai-chat`, `openai-responses`,
        /// `anthropic-messages`, `gemini`.
        dialects: texts,
        /// Settings without which it cannot work.
        requires: texts,
        /// Models, for servers that list none.
        models: texts,
        /// Where its documentation is.
        docs_url: text,
        /// Whether it is a server on the user's own machine.
        local: flag,
        /// Most tokens in one prompt; 0 for unknown or differing by model.
        max_input_tokens: number,
        /// Most tokens in one answer; 0 for unknown or differing by model.
        max_output_tokens: number,
        /// Most bytes in one request; 0 for unknown.
        max_request_bytes: number,
        /// Chat features it understands.
        features: names(Feature),
        /// Behaviours of the plugin that this provider lacks.
        without: names(Capability),
    }
}

data! {
    /// A named set of settings: quirk switches and presets.
    pub struct Profile <- ProfileSpec {
        /// The profile's name.
        name: text,
        /// What it is for.
        description: text,
        /// Values of settings.
        values: list(SettingValue, ValueSpec),
    }
}

data! {
    /// A setting that a plugin reads.
    pub struct Setting <- SettingSpec {
        /// The key in the configuration.
        name: text,
        /// What it does.
        help: text,
        /// `text`, `flag`, `number`, `texts` or `table`.
        kind: text,
    }
}

impl SettingSpec {
    /// Makes a setting of text.
    pub const fn text(name: &'static str) -> Self {
        Self::of_kind(name, "text")
    }

    /// Makes a setting that is true or false.
    pub const fn flag(name: &'static str) -> Self {
        Self::of_kind(name, "flag")
    }

    /// Makes a setting of a whole number.
    pub const fn number(name: &'static str) -> Self {
        Self::of_kind(name, "number")
    }

    /// Makes a setting of several texts.
    pub const fn texts(name: &'static str) -> Self {
        Self::of_kind(name, "texts")
    }

    /// Makes a setting of named values.
    pub const fn table(name: &'static str) -> Self {
        Self::of_kind(name, "table")
    }

    const fn of_kind(name: &'static str, kind: &'static str) -> Self {
        Self { name, kind, ..Self::EMPTY }
    }
}

/// The value that a profile gives a setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SettingValue {
    /// The setting's key.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// Declares a [`SettingValue`] in a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueSpec {
    name: &'static str,
    value: Literal,
}

/// A value that can stand in a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    Text(&'static str),
    Flag(bool),
    Number(i64),
    Texts(&'static [&'static str]),
}

/// Why a manifest cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is laid out in a way of a newer contract.
    Schema {
        /// Its revision.
        schema: u64,
        /// The contract that it was built against.
        contract: String,
    },
    /// It was built against another major version of the contract.
    Contract {
        /// That version.
        contract: String,
    },
    /// It is no JSON, or not of a manifest's form.
    Json(serde_json::Error),
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema { schema, contract } => write!(
                f,
                "expected manifest schema {SCHEMA}, found {schema} (contract {})",
                contract.escape_debug()
            ),
            Self::Contract { contract } => {
                write!(f, "expected contract {CONTRACT_VERSION}, found {}", contract.escape_debug())
            }
            Self::Json(_) => f.write_str("the manifest is malformed"),
        }
    }
}

impl std::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Schema { .. } | Self::Contract { .. } => None,
        }
    }
}

impl Manifest {
    /// Reads a manifest from JSON.
    ///
    /// # Errors
    ///
    /// [`ManifestError`]. Fields of a newer contract are skipped; of a manifest with a newer layout or
    /// of another major version nothing else is read.
    pub fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            schema: u64,
            contract: String,
        }
        let Head { schema, contract } =
            serde_json::from_slice(json).map_err(ManifestError::Json)?;
        if schema > SCHEMA {
            return Err(ManifestError::Schema { schema, contract });
        }
        let major = |version: &str| version.split('.').next().and_then(|n| n.parse::<u64>().ok());
        if major(&contract) != major(CONTRACT_VERSION) {
            return Err(ManifestError::Contract { contract });
        }
        serde_json::from_slice(json).map_err(ManifestError::Json)
    }

    /// Returns the provider's capabilities: the plugin's, less those that the provider lacks.
    #[must_use]
    pub fn capabilities_of(&self, provider: &ProviderManifest) -> Vec<Capability> {
        self.capabilities.iter().copied().filter(|c| !provider.without.contains(c)).collect()
    }

    /// Finds a profile by name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}

impl PluginSpec {
    /// Makes a plugin's declaration; `version` usually is `env!("CARGO_PKG_VERSION")`.
    pub const fn new(id: &'static str, version: &'static str) -> Self {
        assert!(is_valid_id(id), "a plugin id is [a-z][a-z0-9_-]{{0,31}}");
        assert!(!version.is_empty(), "a plugin has a version");
        Self { id, version, ..Self::EMPTY }
    }

    /// Stops the compilation when two providers have one id.
    pub(crate) const fn assert_unique_ids(&self) {
        let mut at = 0;
        while at < self.providers.len() {
            let mut other = 0;
            while other < at {
                let (a, b) =
                    (self.providers[at].id.as_bytes(), self.providers[other].id.as_bytes());
                assert!(!same(a, b), "two providers have one id");
                other += 1;
            }
            at += 1;
        }
    }
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

impl ProviderSpec {
    /// Makes a provider's declaration.
    pub const fn new(id: &'static str) -> Self {
        assert!(is_valid_id(id), "a provider id is [a-z][a-z0-9_-]{{0,31}}");
        Self { id, ..Self::EMPTY }
    }
}

impl ProfileSpec {
    /// Makes a profile without values.
    pub const fn new(name: &'static str) -> Self {
        Self { name, ..Self::EMPTY }
    }
}

impl ValueSpec {
    /// Makes a text value.
    #[must_use]
    pub const fn text(name: &'static str, value: &'static str) -> Self {
        Self { name, value: Literal::Text(value) }
    }

    /// Makes a value that is true or false.
    #[must_use]
    pub const fn flag(name: &'static str, value: bool) -> Self {
        Self { name, value: Literal::Flag(value) }
    }

    /// Makes a whole number.
    #[must_use]
    pub const fn number(name: &'static str, value: i64) -> Self {
        Self { name, value: Literal::Number(value) }
    }

    /// Makes several texts.
    #[must_use]
    pub const fn texts(name: &'static str, value: &'static [&'static str]) -> Self {
        Self { name, value: Literal::Texts(value) }
    }

    pub(crate) const fn write(&self, to: &mut json::Writer<'_>) {
        to.open(b'{');
        to.key("name");
        to.text(self.name);
        to.key("value");
        match self.value {
            Literal::Text(text) => to.text(text),
            Literal::Flag(flag) => to.flag(flag),
            Literal::Number(number) => to.number(number),
            Literal::Texts(texts) => to.texts(texts),
        }
        to.close(b'}');
    }
}
