//! Base64 as clients and proxies write it.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};

/// Reads Base64 of either alphabet, with or without padding, white space between its lines allowed.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().or_else(|| {
        let joined: String = text.split_ascii_whitespace().collect();
        STANDARD.decode(&joined).or_else(|_| URL_SAFE.decode(&joined)).ok()
    })
}

/// Writes padded standard Base64.
pub(super) fn encode(data: &[u8]) -> String {
    general_purpose::STANDARD.encode(data)
}

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read() {
        for text in ["+/8=", "+/8", "-_8", "+/\r\n8="] {
            assert_eq!(decode(text).as_deref(), Some(&[0xfb, 0xff][..]), "{text}");
        }
        assert_eq!(decode("!"), None);
        assert_eq!(encode(&[0xfb, 0xff]), "+/8=");
    }
}
