//! The former program's envelope (version 0) and what lies in it.
//!
//! That program was written in Elixir and sealed with its `Cloak` library, `Cloak.Ciphers.AES.GCM` under
//! the tag `AES.GCM.V1`:
//!
//! ```text
//! 1 | length of the tag (10) | "AES.GCM.V1" | iv(12) | gcm tag(16) | ciphertext
//! ```
//!
//! The cipher is AES-256-GCM and the associated data is the text `AES256GCM`. Cloak's documentation
//! recommends an IV of 12 bytes, which is what is read first and written by default; its own default is
//! 16, and nothing in an envelope says which it is. So 16 is tried when 12 does not authenticate, and a
//! value goes back as it came.
//!
//! Used by migrations alone: after them nothing is sealed like this any more.

mod plaintext;

use aes_gcm::{
    AesGcm, KeyInit,
    aead::{AeadInOut, array::ArraySize, consts},
    aes::Aes256,
};
use zeroize::Zeroizing;

pub(in crate::session) use self::plaintext::{read, write};
use crate::session::{
    key::MasterKey,
    random::{self, NoRandomness},
};

/// Why a login of the former program could not be taken over. Says nothing about its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LegacyError {
    /// It does not begin like an envelope of that program.
    #[error("it is not sealed as the former program does")]
    NotLegacy,
    /// There are fewer bytes than an empty envelope has.
    #[error("it is truncated: {found} bytes")]
    Truncated {
        /// Bytes found.
        found: usize,
    },
    /// Another key sealed it, or it was altered.
    #[error("it does not open with the configured key")]
    DoesNotOpen,
    /// It opens, but holds neither a key nor tokens.
    #[error("it opens, but holds neither a key nor tokens")]
    NoCredential,
    /// The cipher refused to seal, which only a value of 64 GB and more makes it do.
    #[error("it is too long to seal: {len} bytes")]
    TooLong {
        /// Bytes of the text.
        len: usize,
    },
    /// The system had no randomness for an IV.
    #[error("failed to draw an IV")]
    Random(#[from] NoRandomness),
}

/// What was in a legacy envelope.
pub(in crate::session) struct Opened {
    /// The text, wiped when dropped.
    pub(in crate::session) plaintext: Zeroizing<Vec<u8>>,
    /// Bytes of its IV, 12 or 16.
    pub(in crate::session) iv_len: u8,
}

/// Reports whether bytes begin like an envelope of the former program.
pub(in crate::session) fn is_legacy(envelope: &[u8]) -> bool {
    envelope.starts_with(PREFIX)
}

/// Opens an envelope of the former program.
pub(in crate::session) fn open(key: &MasterKey, envelope: &[u8]) -> Result<Opened, LegacyError> {
    let body = envelope.strip_prefix(PREFIX).ok_or(LegacyError::NotLegacy)?;
    if body.len() < usize::from(IV_LEN) + TAG_LEN {
        return Err(LegacyError::Truncated { found: envelope.len() });
    }
    let opened = decrypt::<consts::U12>(key, body, IV_LEN)
        .or_else(|| decrypt::<consts::U16>(key, body, LONG_IV_LEN));
    opened.ok_or(LegacyError::DoesNotOpen)
}

/// Seals text as the former program does, with an IV of 12 or 16 bytes.
pub(in crate::session) fn seal(
    key: &MasterKey,
    plaintext: &[u8],
    iv_len: u8,
) -> Result<Vec<u8>, LegacyError> {
    match iv_len {
        LONG_IV_LEN => encrypt::<consts::U16>(key, plaintext),
        _ => encrypt::<consts::U12>(key, plaintext),
    }
}

fn decrypt<Iv: ArraySize>(key: &MasterKey, body: &[u8], iv_len: u8) -> Option<Opened> {
    let (iv, rest) = body.split_at_checked(usize::from(iv_len))?;
    let (tag, text) = rest.split_at_checked(TAG_LEN)?;
    let mut plaintext = Zeroizing::new(text.to_vec());
    AesGcm::<Aes256, Iv>::new(key.expose().into())
        .decrypt_inout_detached(
            iv.try_into().ok()?,
            ASSOCIATED,
            plaintext.as_mut_slice().into(),
            tag.try_into().ok()?,
        )
        .ok()?;
    Some(Opened { plaintext, iv_len })
}

fn encrypt<Iv: ArraySize>(key: &MasterKey, plaintext: &[u8]) -> Result<Vec<u8>, LegacyError> {
    let mut body = Zeroizing::new(plaintext.to_vec());
    let mut iv = aes_gcm::Nonce::<Iv>::default();
    random::fill(&mut iv)?;
    let tag = AesGcm::<Aes256, Iv>::new(key.expose().into())
        .encrypt_inout_detached(&iv, ASSOCIATED, body.as_mut_slice().into())
        .map_err(|_| LegacyError::TooLong { len: plaintext.len() })?;
    Ok([PREFIX, &iv, &tag, &body].concat())
}

const PREFIX: &[u8] = b"\x01\x0aAES.GCM.V1";
const ASSOCIATED: &[u8] = b"AES256GCM";
/// Bytes of the IV that Cloak's documentation recommends.
pub(in crate::session) const IV_LEN: u8 = 12;
/// Bytes of the IV that Cloak draws when nobody says otherwise.
const LONG_IV_LEN: u8 = 16;
const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::name::hex;

    fn key(byte: u8) -> MasterKey {
        MasterKey::from_bytes([byte; 32], "test")
    }

    /// Made with another implementation (`tests/fixtures/legacy/build.py`), key 32 × `07`.
    const FOREIGN: &str = include_str!("../../../tests/fixtures/legacy/vectors.txt");

    #[test]
    fn envelopes_of_another_implementation_open() {
        let mut count = 0;
        for line in FOREIGN.lines().filter(|line| !line.starts_with('#')) {
            let [iv_len, text, envelope] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("a vector has three parts: {line}")
            };
            let bytes: Vec<u8> = (0..envelope.len() / 2)
                .map(|at| u8::from_str_radix(&envelope[at * 2..at * 2 + 2], 16).unwrap())
                .collect();
            let opened = open(&key(7), &bytes).unwrap();
            assert_eq!(hex(&opened.plaintext), text);
            assert_eq!(opened.iv_len.to_string(), iv_len);
            assert_eq!(open(&key(8), &bytes).err(), Some(LegacyError::DoesNotOpen));
            count += 1;
        }
        assert!(count >= 4);
    }

    #[test]
    fn both_iv_lengths_come_back_as_they_went() {
        for iv_len in [12, 16] {
            let sealed = seal(&key(1), b"{}", iv_len).unwrap();
            assert!(is_legacy(&sealed));
            assert_eq!(sealed.len(), PREFIX.len() + usize::from(iv_len) + TAG_LEN + 2);
            let opened = open(&key(1), &sealed).unwrap();
            assert_eq!((opened.plaintext.as_slice(), opened.iv_len), (b"{}".as_slice(), iv_len));
            assert_ne!(sealed, seal(&key(1), b"{}", iv_len).unwrap(), "the IV is random");
        }
    }

    #[test]
    fn what_is_cut_or_altered_does_not_open() {
        let sealed = seal(&key(1), b"secret", 12).unwrap();
        for len in 0..sealed.len() {
            assert!(open(&key(1), &sealed[..len]).is_err(), "{len}");
            let mut altered = sealed.clone();
            altered[len] ^= 1;
            assert!(open(&key(1), &altered).is_err(), "{len}");
        }
        assert_eq!(open(&key(1), b"\x01\x01").err(), Some(LegacyError::NotLegacy));
        let short = LegacyError::Truncated { found: PREFIX.len() };
        assert_eq!(open(&key(1), PREFIX).err(), Some(short));
    }
}
