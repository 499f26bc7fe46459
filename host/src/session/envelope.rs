//! Sealing at rest: XChaCha20-Poly1305 envelopes, bound to the row they were made for.
//!
//! ```text
//! version(1) | alg(1) | key id(8) | nonce(24) | ciphertext | tag(16)
//! ```
//!
//! The header and the [`Place`] are authenticated with the ciphertext, so an envelope copied to
//! another row, or whose header was edited, does not open. The nonce is random: with 192 bits a
//! collision needs no counter to be avoided.

use std::fmt;

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{AeadInOut, KeyInit},
};
use plugin_api::{ChunkId, ContextId, ProviderId};
use zeroize::Zeroizing;

use crate::session::{
    key::{KeyId, MasterKey},
    legacy,
    name::{AuthType, SessionId, SessionName},
    random::{self, NoRandomness},
};

/// Where a sealed value lives; it opens only there.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The credential of a session.
    Session {
        /// The row.
        id: &'a SessionId,
        /// Whose account it is.
        provider: &'a ProviderId,
        /// How it authenticates.
        auth_type: AuthType,
        /// What the user calls it.
        name: &'a SessionName,
    },
    /// The text that a session had in the former program.
    Legacy {
        /// The session's row.
        session: &'a SessionId,
    },
    /// One message of a conversation.
    Chunk {
        /// The conversation.
        context: &'a ContextId,
        /// The message.
        chunk: &'a ChunkId,
    },
}

/// Why an envelope could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// There are fewer bytes than an empty envelope has.
    #[error("sealed value is truncated: {found} bytes, at least {expected} expected")]
    Truncated {
        /// Bytes found.
        found: usize,
        /// Bytes of the shortest envelope.
        expected: usize,
    },
    /// The former program sealed it (version 0, AES-256-GCM).
    #[error("sealed in the legacy format (version 0, `AES.GCM.V1`)")]
    Legacy,
    /// A newer program sealed it.
    #[error("sealed in format version {found}, but this host reads version {VERSION}")]
    UnknownVersion {
        /// The version byte.
        found: u8,
    },
    /// A newer program sealed it.
    #[error("sealed with unknown algorithm {found}, expected {ALG_XCHACHA20_POLY1305}")]
    UnknownAlgorithm {
        /// The algorithm byte.
        found: u8,
    },
    /// Another key sealed it.
    #[error("sealed with key `{found}`, but the loaded key is `{expected}`")]
    WrongKey {
        /// The key that sealed it.
        found: KeyId,
        /// The key in hand.
        expected: KeyId,
    },
    /// The right key, but not this row's value: moved from another row, or altered.
    #[error("sealed value does not belong to this row: it was moved or altered")]
    Moved,
    /// The system had no randomness for a nonce.
    #[error("failed to draw a nonce")]
    Random(#[from] NoRandomness),
    /// The cipher refused to seal, which only a value of 256 GB and more makes it do.
    #[error("value of {len} bytes is too long to seal")]
    TooLong {
        /// Bytes of the value.
        len: usize,
    },
}

impl EnvelopeError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Legacy => Some(
                "configure that program's key as `legacy_key` below `[store]` and run \
                      `maestro db migrate`, or log in again"
                    .into(),
            ),
            Self::UnknownVersion { .. } | Self::UnknownAlgorithm { .. } => {
                Some("use the newer `maestro` that wrote it".into())
            }
            Self::WrongKey { found, .. } => Some(format!("provide the key whose id is `{found}`")),
            Self::Truncated { .. } | Self::Moved => {
                Some("log in again, or restore a backup of the database".into())
            }
            Self::Random(_) | Self::TooLong { .. } => None,
        }
    }
}

/// Seals `plaintext` for `place`.
///
/// # Errors
///
/// [`EnvelopeError::Random`] without system randomness, [`EnvelopeError::TooLong`] for a value that
/// the cipher cannot take.
pub fn seal(
    key: &MasterKey,
    place: &Place<'_>,
    plaintext: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    let mut nonce = [0; NONCE_LEN];
    random::fill(&mut nonce)?;
    // Reserved in one piece: growing would leave copies of the plaintext in freed memory.
    let mut envelope = Vec::with_capacity(HEADER_LEN + plaintext.len() + TAG_LEN);
    envelope.extend_from_slice(&[VERSION, ALG_XCHACHA20_POLY1305]);
    envelope.extend_from_slice(key.id().as_bytes());
    envelope.extend_from_slice(&nonce);
    envelope.extend_from_slice(plaintext);
    let (header, body) = envelope.split_at_mut(HEADER_LEN);
    let aad = place.associated_data(&header[..NONCE_AT]);
    let tag = XChaCha20Poly1305::new(key.expose().into())
        .encrypt_inout_detached(&XNonce::from(nonce), &aad, body.into())
        .map_err(|_| EnvelopeError::TooLong { len: plaintext.len() })?;
    envelope.extend_from_slice(&tag);
    Ok(envelope)
}

/// Opens an envelope that was sealed for `place`.
///
/// The plaintext is wiped when it is dropped.
///
/// # Errors
///
/// See [`EnvelopeError`]; the key is compared by its id before anything is decrypted.
pub fn open(
    key: &MasterKey,
    place: &Place<'_>,
    envelope: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let found = key_id(envelope)?;
    if found != key.id() {
        return Err(EnvelopeError::WrongKey { found, expected: key.id() });
    }
    let (header, rest) = envelope.split_at(HEADER_LEN);
    let (body, tag) = rest.split_at(rest.len() - TAG_LEN);
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&header[NONCE_AT..]);
    let mut tag_bytes = [0; TAG_LEN];
    tag_bytes.copy_from_slice(tag);
    let aad = place.associated_data(&header[..NONCE_AT]);
    let mut plaintext = Zeroizing::new(body.to_vec());
    XChaCha20Poly1305::new(key.expose().into())
        .decrypt_inout_detached(
            &XNonce::from(nonce),
            &aad,
            plaintext.as_mut_slice().into(),
            &tag_bytes.into(),
        )
        .map_err(|_| EnvelopeError::Moved)?;
    Ok(plaintext)
}

/// Reads which key sealed an envelope, without opening it.
///
/// # Errors
///
/// [`EnvelopeError::Truncated`], [`EnvelopeError::Legacy`], [`EnvelopeError::UnknownVersion`] or
/// [`EnvelopeError::UnknownAlgorithm`].
pub fn key_id(envelope: &[u8]) -> Result<KeyId, EnvelopeError> {
    // The legacy tag is looked for first: it begins with a 1 as well, which is why no algorithm of
    // ours may ever be number 10, the byte that follows there.
    if legacy::is_legacy(envelope) || envelope.first() == Some(&0) {
        return Err(EnvelopeError::Legacy);
    }
    match envelope.first() {
        Some(&found) if found != VERSION => return Err(EnvelopeError::UnknownVersion { found }),
        _ => {}
    }
    if envelope.len() < HEADER_LEN + TAG_LEN {
        let expected = HEADER_LEN + TAG_LEN;
        return Err(EnvelopeError::Truncated { found: envelope.len(), expected });
    }
    if envelope[1] != ALG_XCHACHA20_POLY1305 {
        return Err(EnvelopeError::UnknownAlgorithm { found: envelope[1] });
    }
    let mut id = [0; KeyId::LEN];
    id.copy_from_slice(&envelope[KEY_ID_AT..NONCE_AT]);
    Ok(KeyId::from_bytes(id))
}

impl Place<'_> {
    /// Writes header and place so that no two places give the same bytes: every part is preceded
    /// by its length, and the first part says which kind of place it is.
    fn associated_data(&self, header: &[u8]) -> Vec<u8> {
        let parts: &[&[u8]] = match self {
            Place::Session { id, provider, auth_type, name } => &[
                b"maestro session credential",
                header,
                id.as_str().as_bytes(),
                provider.as_str().as_bytes(),
                auth_type.as_str().as_bytes(),
                name.as_str().as_bytes(),
            ],
            Place::Legacy { session } => {
                &[b"maestro legacy payload", header, session.as_str().as_bytes()]
            }
            Place::Chunk { context, chunk } => &[
                b"maestro conversation chunk",
                header,
                context.as_str().as_bytes(),
                chunk.as_str().as_bytes(),
            ],
        };
        let mut data = Vec::with_capacity(256);
        for part in parts {
            data.extend_from_slice(&(part.len() as u64).to_le_bytes());
            data.extend_from_slice(part);
        }
        data
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Session { provider, auth_type, name, .. } => {
                write!(f, "{provider}:{name}@{auth_type}")
            }
            Place::Legacy { session } => write!(f, "{session}, as the former program had it"),
            Place::Chunk { context, chunk } => write!(f, "{context}/{chunk}"),
        }
    }
}

const VERSION: u8 = 1;
const ALG_XCHACHA20_POLY1305: u8 = 1;
const KEY_ID_AT: usize = 2;
const NONCE_AT: usize = KEY_ID_AT + KeyId::LEN;
const NONCE_LEN: usize = 24;
const HEADER_LEN: usize = NONCE_AT + NONCE_LEN;
const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> MasterKey {
        let mut bytes = [byte; 32];
        bytes[0] = byte.wrapping_add(1);
        MasterKey::from_bytes(bytes, "test")
    }

    fn names() -> (SessionId, ProviderId, SessionName) {
        let id = "0123456789abcdef0123456789abcdef".parse().unwrap();
        (id, ProviderId::new("openai").unwrap(), SessionName::new("work").unwrap())
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let (id, provider, name) = names();
        let place = Place::Session {
            id: &id,
            provider: &provider,
            auth_type: AuthType::ApiKey,
            name: &name,
        };
        let sealed = seal(&key(1), &place, b"secret").unwrap();
        assert_eq!(open(&key(1), &place, &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(sealed[..2], [1, 1]);
        assert_eq!(sealed.len(), HEADER_LEN + 6 + TAG_LEN);
        assert_eq!(key_id(&sealed).unwrap(), key(1).id());
        assert!(!sealed.windows(6).any(|w| w == b"secret"));

        let other_id = SessionId::random().unwrap();
        let other_provider = ProviderId::new("lab").unwrap();
        let other_name = SessionName::new("home").unwrap();
        let auth_type = AuthType::ApiKey;
        for elsewhere in [
            Place::Session { id: &other_id, provider: &provider, auth_type, name: &name },
            Place::Session { id: &id, provider: &other_provider, auth_type, name: &name },
            Place::Session {
                id: &id,
                provider: &provider,
                auth_type: AuthType::OAuth,
                name: &name,
            },
            Place::Session { id: &id, provider: &provider, auth_type, name: &other_name },
            Place::Chunk { context: &ContextId::new(id.as_str()), chunk: &ChunkId::new("c") },
        ] {
            let refused = open(&key(1), &elsewhere, &sealed).unwrap_err();
            assert_eq!(refused, EnvelopeError::Moved, "{elsewhere}");
        }
    }

    #[test]
    fn chunk_ids_do_not_run_into_context_ids() {
        let (left, right) = (ContextId::new("ab"), ContextId::new("a"));
        let sealed =
            seal(&key(1), &Place::Chunk { context: &left, chunk: &ChunkId::new("c") }, b"x");
        let shifted = ChunkId::new("bc");
        let place = Place::Chunk { context: &right, chunk: &shifted };
        assert_eq!(open(&key(1), &place, &sealed.unwrap()).unwrap_err(), EnvelopeError::Moved);
        assert_eq!(place.to_string(), "a/bc");
    }

    #[test]
    fn every_refusal_has_its_own_error() {
        let (context, chunk) = (ContextId::new("a"), ChunkId::new("b"));
        let place = Place::Chunk { context: &context, chunk: &chunk };
        let sealed = seal(&key(1), &place, b"").unwrap();
        let refused = |bytes: &[u8]| open(&key(1), &place, bytes).unwrap_err();

        let wrong = open(&key(9), &place, &sealed).unwrap_err();
        let expected = EnvelopeError::WrongKey { found: key(1).id(), expected: key(9).id() };
        assert_eq!(wrong, expected);
        assert!(wrong.hint().unwrap().contains(&key(1).id().to_string()));
        for len in [0, 1, 5, sealed.len() - 1] {
            let error = refused(&sealed[..len]);
            assert_eq!(error, EnvelopeError::Truncated { found: len, expected: 50 });
        }
        let mut newer = sealed.clone();
        newer[0] = 2;
        assert_eq!(refused(&newer), EnvelopeError::UnknownVersion { found: 2 });
        let mut other = sealed.clone();
        other[1] = 7;
        assert_eq!(refused(&other), EnvelopeError::UnknownAlgorithm { found: 7 });
        assert_eq!(refused(b"\x01\x0aAES.GCM.V1 and so on"), EnvelopeError::Legacy);
        assert_eq!(refused(b"\x00"), EnvelopeError::Legacy);

        for error in [refused(&newer), refused(&other), refused(b"\x00"), refused(b"")] {
            assert!(error.hint().is_some(), "{error}");
            assert!(!error.to_string().ends_with('.'));
        }
        assert_eq!(EnvelopeError::TooLong { len: 1 }.hint(), None);
    }

    #[test]
    fn nonces_differ() {
        let (context, chunk) = (ContextId::new("a"), ChunkId::new("b"));
        let place = Place::Chunk { context: &context, chunk: &chunk };
        assert_ne!(seal(&key(1), &place, b"x").unwrap(), seal(&key(1), &place, b"x").unwrap());
    }

    proptest! {
        #[test]
        fn any_value_round_trips_and_any_changed_bit_is_noticed(
            plaintext in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let (context, chunk) = (ContextId::new("a"), ChunkId::new("b"));
            let place = Place::Chunk { context: &context, chunk: &chunk };
            let mut sealed = seal(&key(1), &place, &plaintext).unwrap();
            prop_assert_eq!(&*open(&key(1), &place, &sealed).unwrap(), &plaintext);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&key(1), &place, &sealed).is_err());
        }
    }
}
