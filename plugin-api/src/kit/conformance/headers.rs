//! Which headers a host sends.

use crate::http::HOST_HEADERS;

/// Reports whether a host sends a header: its name is a token (RFC 9110 section 5.6.2) that is not the
/// host's own, its value has no control characters.
pub(super) fn is_sendable(name: &str, value: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty()
        && name.bytes().all(token)
        && !HOST_HEADERS.contains(&name.to_ascii_lowercase().as_str())
        && value.bytes().all(|b| b == b'\t' || b >= b' ' && b != 0x7f)
}
