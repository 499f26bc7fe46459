//! The master key: 32 bytes that seal everything at rest.
//!
//! [`KeySource`] says where a key comes from; here is what it is once loaded.

mod file;
mod source;

use std::{fmt, str::FromStr};

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::{Zeroize, Zeroizing};

pub use self::source::{KeyError, KeySource};
use crate::session::name::hex;

/// Names a key without telling anything about it: the first 8 bytes of a hash of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KeyId::LEN]);

impl KeyId {
    /// Bytes of an id.
    pub const LEN: usize = 8;

    /// Wraps the bytes of an id.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the id.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// A text that is not a [`KeyId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid key id `{}`: expected 16 hex digits", .found.escape_debug())]
#[non_exhaustive]
pub struct InvalidKeyId {
    /// The refused text.
    pub found: String,
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        let mut bytes = [0; Self::LEN];
        if decode_hex(text.as_bytes(), &mut bytes) {
            Ok(Self(bytes))
        } else {
            Err(InvalidKeyId { found: text.to_owned() })
        }
    }
}

/// The key that seals credentials and conversations.
///
/// Wiped when dropped, never shown; only its [`KeyId`] and the place it came from are.
pub struct MasterKey {
    // Boxed, so that moving the key leaves no copy behind on the stack.
    bytes: Box<Zeroizing<[u8; MasterKey::LEN]>>,
    id: KeyId,
    source: String,
}

impl MasterKey {
    /// Bytes of a key.
    pub const LEN: usize = 32;

    /// Wraps key bytes; `source` describes where they came from, for status output.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; Self::LEN], source: impl Into<String>) -> Self {
        let boxed = Box::new(Zeroizing::new(bytes));
        bytes.zeroize();
        // `derive_key` separates this hash from every other use of the key's bytes.
        let mut hash = blake3::Hasher::new_derive_key(KEY_ID_CONTEXT);
        hash.update(&boxed[..]);
        let mut id = [0; KeyId::LEN];
        hash.finalize_xof().fill(&mut id);
        Self { bytes: boxed, id: KeyId(id), source: source.into() }
    }

    /// Returns the key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Returns where the key came from, for example ``file `/etc/maestro/key` ``.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the bytes; only the sealing code needs them.
    pub(super) fn expose(&self) -> &[u8; Self::LEN] {
        &self.bytes
    }

    /// Reads a key written as 32 raw bytes, 64 hex digits or base64.
    ///
    /// One line break at the end is ignored. `None` for anything else: a passphrase is not
    /// stretched into a key, because a short one would look as strong as a random key and not be.
    fn decode(text: &[u8], source: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(raw) = [text, line].into_iter().find(|raw| raw.len() == Self::LEN) {
            bytes.copy_from_slice(raw);
        } else if !decode_hex(line, bytes.as_mut_slice()) && !decode_base64(line, &mut bytes) {
            return None;
        }
        // A file that was created but never written before a crash may read as zeros.
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return None;
        }
        Some(Self::from_bytes(*bytes, source))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("id", &self.id)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

fn decode_hex(text: &[u8], out: &mut [u8]) -> bool {
    if text.len() != out.len() * 2 {
        return false;
    }
    for (pair, byte) in text.chunks_exact(2).zip(out) {
        let digit =
            |at: usize| char::from(pair[at]).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return false };
        *byte = high << 4 | low;
    }
    true
}

fn decode_base64(text: &[u8], out: &mut [u8; MasterKey::LEN]) -> bool {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [STANDARD, URL_SAFE].iter().any(|alphabet| {
        let mut room = Zeroizing::new([0; MasterKey::LEN + 4]);
        let engine = GeneralPurpose::new(alphabet, config);
        let found = engine.decode_slice(text, room.as_mut_slice());
        let fits = found == Ok(MasterKey::LEN);
        if fits {
            out.copy_from_slice(&room[..MasterKey::LEN]);
        }
        fits
    })
}

const KEY_ID_CONTEXT: &str = "maestro 2026-11 master key id";

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;

    fn bytes() -> [u8; 32] {
        std::array::from_fn(|at| u8::try_from(at).unwrap().wrapping_mul(37).wrapping_add(200))
    }

    #[test]
    fn every_spelling_gives_the_same_key() {
        let expected = MasterKey::from_bytes(bytes(), "test").id();
        let with = |text: &[u8], end: &str| [text, end.as_bytes()].concat();
        for text in [
            bytes().to_vec(),
            hex(&bytes()).into_bytes(),
            hex(&bytes()).to_uppercase().into_bytes(),
            BASE64_STANDARD.encode(bytes()).into_bytes(),
            BASE64_URL_SAFE_NO_PAD.encode(bytes()).into_bytes(),
        ] {
            for end in ["", "\n", "\r\n"] {
                let key = MasterKey::decode(&with(&text, end), "test");
                assert_eq!(key.unwrap().id(), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn a_raw_key_may_end_in_a_line_break() {
        let mut raw = bytes();
        raw[31] = b'\n';
        let key = MasterKey::decode(&raw, "test").unwrap();
        assert_eq!(key.id(), MasterKey::from_bytes(raw, "test").id());
    }

    #[test]
    fn passphrases_and_unwritten_files_are_no_keys() {
        let zeros = [0; 32];
        for text in [
            b"".as_slice(),
            b"hunter2",
            b"correct horse battery staple and a few words more",
            &bytes()[..31],
            &zeros,
            &[b'z'; 64],
            hex(&zeros).as_bytes(),
        ] {
            assert!(MasterKey::decode(text, "test").is_none(), "{text:?}");
        }
    }

    #[test]
    fn neither_debug_nor_the_id_tells_the_key() {
        let key = MasterKey::from_bytes(bytes(), "file `k`");
        let shown = format!("{key:?} {} {}", key.id(), key.source());
        assert!(!shown.contains(&hex(&bytes()[..4])));
        assert!(shown.contains("file `k`"));
        assert_ne!(key.id().as_bytes()[..], bytes()[..8]);
        let id = key.id().to_string();
        assert_eq!(id.parse::<KeyId>().unwrap(), key.id());
        assert_eq!(format!("{:?}", key.id()), format!("KeyId({id})"));
        let error = "xyz".parse::<KeyId>().unwrap_err();
        assert_eq!(error.to_string(), "invalid key id `xyz`: expected 16 hex digits");
    }
}
