//! Randomness from the system, the only source of nonces, keys and ids here.

use crate::session::name::hex;

/// The system's random source failed; nothing can be sealed without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no randomness: {0}")]
#[non_exhaustive]
pub struct NoRandomness(getrandom::Error);

/// Fills `bytes` with randomness.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(NoRandomness)
}

/// Draws 128 random bits and writes them in lowercase hex.
pub(crate) fn id() -> Result<String, NoRandomness> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_differ() {
        let (one, two) = (id().unwrap(), id().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
        let error = NoRandomness(getrandom::Error::UNSUPPORTED);
        assert!(error.to_string().starts_with("the system gave no randomness: "));
    }
}
