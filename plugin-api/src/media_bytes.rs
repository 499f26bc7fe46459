//! Bytes of media in payloads: as they are in MessagePack, as Base64 in JSON, where an array of
//! numbers would take four times the room in every stored conversation.

use std::fmt;

use serde::{
    Deserializer, Serialize as _, Serializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::kit::body::push_base64;

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    if !to.is_human_readable() {
        return to.serialize_bytes(bytes);
    }
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    push_base64(&mut text, bytes);
    // Base64 is ASCII, so nothing is lost.
    String::from_utf8_lossy(&text).serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    from.deserialize_any(Bytes)
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, or Base64")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
        decode(text).ok_or_else(|| E::custom("expected padded standard Base64"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

/// Reads padded standard Base64 (RFC 4648 section 4).
fn decode(text: &str) -> Option<Vec<u8>> {
    let symbols = text.as_bytes();
    if !symbols.len().is_multiple_of(4) {
        return None;
    }
    let padding = symbols.iter().rev().take_while(|symbol| **symbol == b'=').count();
    let symbols = &symbols[..symbols.len().checked_sub(padding).filter(|_| padding <= 2)?];
    let mut bytes = Vec::with_capacity(symbols.len() * 3 / 4);
    for group in symbols.chunks(4) {
        let mut bits = 0_u32;
        for at in 0..4 {
            bits = bits << 6 | group.get(at).map_or(Some(0), |symbol| value(*symbol))?;
        }
        let whole = [(bits >> 16) as u8, (bits >> 8) as u8, bits as u8];
        bytes.extend_from_slice(&whole[..group.len() * 3 / 4]);
    }
    Some(bytes)
}

const fn value(symbol: u8) -> Option<u32> {
    Some(match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    } as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::{ContentPart, DataSource};

    proptest! {
        #[test]
        fn bytes_come_back_from_json_and_from_messagepack(data: Vec<u8>) {
            let part = ContentPart::image("image/png", data);
            let json = serde_json::to_string(&part).unwrap();
            prop_assert_eq!(&serde_json::from_str::<ContentPart>(&json).unwrap(), &part);
            let packed = rmp_serde::to_vec_named(&part).unwrap();
            prop_assert_eq!(&rmp_serde::from_slice::<ContentPart>(&packed).unwrap(), &part);
        }
    }

    #[test]
    fn json_holds_base64_and_still_reads_numbers() {
        let source = DataSource::Inline { data: vec![1, 2, 3] };
        assert_eq!(serde_json::to_string(&source).unwrap(), r#"{"at":"inline","data":"AQID"}"#);
        let old: DataSource = serde_json::from_str(r#"{"at":"inline","data":[1,2,3]}"#).unwrap();
        assert_eq!(old, source);
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for bad in ["A", "AQI", "A===", "====", "AQ I", "AQI$", "=AQI"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode(""), Some(Vec::new()));
        assert_eq!(decode("AQ=="), Some(vec![1]));
    }
}
