//! Tokens and blocks of other vendors on their way through a client of this dialect.
//!
//! Such a client returns reasoning items as they came and looks at nothing in `encrypted_content`.
//! So that is where a thinking signature of another vendor goes, with the name of who gave it. What
//! belongs to an item that is done already follows it in an item of its own.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use plugin_api::chat::{Continuity, Opaque};
use serde::{Deserialize, Serialize};

/// What one reasoning item carries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Carried {
    /// Tokens, of the item itself unless `back` says otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tokens: Vec<Continuity>,
    /// How many parts before this item the tokens' own part stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) back: Option<usize>,
    /// A block that stands in this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<Opaque>,
}

impl Carried {
    /// Writes it as a client gets it.
    pub(super) fn seal(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("{MARK}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads what a client returned; `None` for the vendor's own content.
    pub(super) fn unseal(content: &str) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(content.strip_prefix(MARK)?).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

/// What tells our own content from the vendor's.
const MARK: &str = "maestro1.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_comes_back_with_its_issuer() {
        let mut token = Continuity::new("signature", "s\u{0}é");
        token.issuer = "anthropic".into();
        let block = Some(Opaque::new("anthropic-messages", r#"{ "b": 1.0 }"#));
        let carried = Carried { tokens: vec![token], back: Some(2), block };
        assert_eq!(Carried::unseal(&carried.seal()), Some(carried));
        for other in ["gAAAA-fake", "", "maestro1.", "maestro1.!", "maestro1.AAAA"] {
            assert_eq!(Carried::unseal(other), None, "{other}");
        }
    }
}
