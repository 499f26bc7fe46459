//! Values that nobody can guess, which tie an answer to the login that asked for it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::session::random::{self, NoRandomness};

/// Draws 256 bits and writes them in 43 characters that need no escape in a URL.
pub(crate) fn unguessable() -> Result<SecretString, NoRandomness> {
    let mut bytes = Zeroizing::new([0; 32]);
    random::fill(&mut *bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(*bytes).into())
}

/// Compares in a time that does not tell how much was right.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// Makes the name of this installation: a random UUID (version 4), as a URN.
pub(crate) fn installation() -> Result<String, NoRandomness> {
    let mut bytes = [0; 16];
    random::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(format!("urn:uuid:{}", parts.join("-")))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn only_the_whole_state_is_the_state() {
        let state = unguessable().unwrap();
        let state = state.expose_secret();
        assert_eq!(state.len(), 43);
        assert!(same(state, state));
        for other in
            ["", &state[..42], &format!("{state} "), unguessable().unwrap().expose_secret()]
        {
            assert!(!same(state, other), "{other}");
        }
    }

    #[test]
    fn an_installation_is_a_uuid_of_version_4() {
        let (one, two) = (installation().unwrap(), installation().unwrap());
        assert_eq!(one.len(), "urn:uuid:00000000-0000-4000-8000-000000000000".len());
        assert_eq!(&one[23..24], "4");
        assert!("89ab".contains(&one[28..29]), "{one}");
        assert_ne!(one, two);
    }
}
