//! Base64 and `data:` URIs, as clients and servers write them.
//!
//! The dialects differ in how much they forgive, because their vendors do.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};

/// Reads standard Base64, with or without padding, white space between its lines allowed.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| STANDARD.decode(joined(text))).ok()
}

/// Reads Base64 of either alphabet, as JSON forms of protocol buffers have it, else as [`decode`].
pub(crate) fn decode_either(text: &str) -> Option<Vec<u8>> {
    decode(text).or_else(|| URL_SAFE.decode(joined(text)).ok())
}

/// Reads standard Base64 of one line, with or without padding, whatever its unused last bits hold.
pub(crate) fn decode_line(text: &str) -> Option<Vec<u8>> {
    STANDARD_LAX.decode(text).ok()
}

/// Writes padded standard Base64.
pub(crate) fn encode(data: impl AsRef<[u8]>) -> String {
    general_purpose::STANDARD.encode(data)
}

/// Reads a Base64 `data:` URI into its media type and bytes.
pub(crate) fn decode_uri(uri: &str) -> Option<(String, Vec<u8>)> {
    let (head, data) = uri.strip_prefix("data:")?.split_once(',')?;
    let (media_type, _) = head.split_once(";base64")?;
    let media_type = media_type.split(';').next().unwrap_or_default();
    Some((media_type.to_owned(), decode(data)?))
}

/// Writes what stands in a `data:` URI before the bytes, which stay with the host.
pub(crate) fn uri_prefix(media_type: &str) -> String {
    format!("data:{media_type};base64,")
}

fn joined(text: &str) -> String {
    text.split_ascii_whitespace().collect()
}

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const STANDARD_LAX: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, CONFIG.with_decode_allow_trailing_bits(true));
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read() {
        const BYTES: Option<&[u8]> = Some(&[0xfb, 0xff]);
        for (text, plain, either, line) in [
            ("+/8=", BYTES, BYTES, BYTES),
            ("+/8", BYTES, BYTES, BYTES),
            ("+/\r\n8=", BYTES, BYTES, None),
            ("-_8", None, BYTES, None),
            ("+/9", None, None, BYTES),
            ("!", None, None, None),
        ] {
            assert_eq!(decode(text).as_deref(), plain, "{text}");
            assert_eq!(decode_either(text).as_deref(), either, "{text}");
            assert_eq!(decode_line(text).as_deref(), line, "{text}");
        }
        assert_eq!(encode([0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn a_uri_reads_back_as_it_was_written() {
        let uri = uri_prefix("image/png") + &encode(b"hi");
        assert_eq!(decode_uri(&uri), Some(("image/png".to_owned(), b"hi".to_vec())));
        let named = "data:text/plain;charset=utf-8;base64,aGk";
        assert_eq!(decode_uri(named), Some(("text/plain".to_owned(), b"hi".to_vec())));
        for other in ["data:text/plain,hi", "https://a.test/", "data:;base64", "data:;base64,!"] {
            assert_eq!(decode_uri(other), None, "{other}");
        }
    }
}
