//! Proof Key for Code Exchange (RFC 7636): only who began a login can redeem its code.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{oauth::state, session::random::NoRandomness};

/// A verifier and its challenge, by the only method used here: S256.
pub(crate) struct Pkce {
    /// What the token endpoint gets.
    pub(crate) verifier: SecretString,
    /// What the authorization endpoint gets.
    pub(crate) challenge: String,
}

impl Pkce {
    /// Draws a verifier of 43 characters.
    pub(crate) fn random() -> Result<Self, NoRandomness> {
        Ok(Self::of(state::unguessable()?))
    }

    fn of(verifier: SecretString) -> Self {
        let digest =
            ring::digest::digest(&ring::digest::SHA256, verifier.expose_secret().as_bytes());
        Self { challenge: URL_SAFE_NO_PAD.encode(digest), verifier }
    }
}

/// The challenge method that goes with every challenge.
pub(crate) const METHOD: &str = "S256";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_standard_holds() {
        let pkce = Pkce::of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into());
        assert_eq!(pkce.challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn verifiers_are_of_the_allowed_form_and_differ() {
        let (one, two) = (Pkce::random().unwrap(), Pkce::random().unwrap());
        let verifier = one.verifier.expose_secret();
        assert!((43..=128).contains(&verifier.len()), "{}", verifier.len());
        assert!(verifier.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c)));
        assert_ne!(one.challenge, two.challenge);
    }
}
