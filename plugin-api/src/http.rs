//! The HTTP request that a plugin asks the host to send, and the head of its answer.
//!
//! A plugin says *where* a credential goes; the host puts it there. Large bodies stay with the host
//! and are named by handle.

use serde::{Deserialize, Serialize};

use crate::auth::Placement;

/// HTTP methods a plugin may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum Method {
    /// Read.
    #[default]
    Get,
    /// Create, or ask.
    Post,
    /// Replace.
    Put,
    /// Change.
    Patch,
    /// Remove.
    Delete,
}

impl Method {
    /// Returns the method as HTTP spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Reports whether sending twice does no more than sending once.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Put | Self::Delete)
    }
}

/// Headers that belong to the host, in lower case: of the connection, of the body's framing, of proxies.
pub const HOST_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept-encoding",
    "proxy-authorization",
    "proxy-connection",
    "cookie",
];

/// A request for the host to send.
///
/// The host refuses URLs outside the provider's origins, and the [headers that belong to
/// it](HOST_HEADERS). It sends `accept-encoding: identity`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The whole URL.
    pub url: String,
    /// Headers, in order; names in lowercase.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Where the credential goes.
    #[serde(default)]
    pub auth: Auth,
    /// The body.
    #[serde(default)]
    pub body: Body,
}

impl HttpRequest {
    /// Makes a request without a body, with the credential where the manifest puts it.
    #[must_use]
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            auth: Auth::Scheme,
            body: Body::default(),
        }
    }

    /// Makes a `GET` that accepts JSON.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::Get, url).header("accept", "application/json")
    }

    /// Makes a `POST` of a JSON body.
    #[must_use]
    pub fn post_json(url: impl Into<String>, body: impl Into<Body>) -> Self {
        let mut request = Self::new(Method::Post, url).header("content-type", "application/json");
        request.body = body.into();
        request
    }

    /// Adds a header. The name is lowercased.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Adds a query parameter, percent-encoded.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let fragment = self.url.find('#').map(|at| self.url.split_off(at));
        let sign = match self.url.find('?') {
            None => "?",
            Some(at) if at + 1 == self.url.len() => "",
            Some(_) => "&",
        };
        self.url.push_str(sign);
        push_encoded(&mut self.url, name);
        self.url.push('=');
        push_encoded(&mut self.url, value);
        self.url.push_str(fragment.as_deref().unwrap_or_default());
        self
    }

    /// Says where the credential goes, instead of where the manifest puts it.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }
}

/// Appends a text with everything percent-encoded that is not unreserved (RFC 3986 section 2.3).
pub(crate) fn push_encoded(to: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push('%');
            to.push(char::from(HEX[usize::from(byte >> 4)]));
            to.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Where the host puts the session's credential.
///
/// These typed placements are the only way: URL, headers and body are never searched for
/// placeholders, because part of them comes from whoever wrote the prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Auth {
    /// As the manifest's auth scheme for the session's kind says.
    #[default]
    Scheme,
    /// Nowhere.
    None,
    /// At these places instead.
    At(Vec<Placement>),
}

/// A body as pieces that the host joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Body {
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
}

impl Body {
    /// Reports whether there is no body at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Appends bytes, joining them to a preceding run of bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        if let Some(Piece::Bytes(last)) = self.pieces.last_mut() {
            last.extend_from_slice(bytes);
        } else if !bytes.is_empty() {
            self.pieces.push(Piece::Bytes(bytes.to_vec()));
        }
    }

    /// Returns the body when it is all bytes, for tests and small requests.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] => Some(&[]),
            [Piece::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self { pieces: vec![Piece::Bytes(bytes)] }
    }
}

impl From<&serde_json::Value> for Body {
    fn from(value: &serde_json::Value) -> Self {
        value.to_string().into_bytes().into()
    }
}

/// One piece of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Piece {
    /// These bytes.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A range of the client's own body ([`NativeBody`](crate::chat::NativeBody)).
    Native {
        /// Offset of the first byte.
        start: u64,
        /// Offset behind the last byte.
        end: u64,
    },
    /// A blob that the host keeps ([`DataSource::Blob`](crate::chat::DataSource::Blob)).
    Blob {
        /// The host's handle.
        id: u32,
        /// How to write it.
        encoding: BlobEncoding,
    },
}

/// How the host writes a blob into a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlobEncoding {
    /// As it is.
    Raw,
    /// As padded standard Base64 (RFC 4648 section 4).
    Base64,
    /// As the inside of a JSON string, escaped, without the quotes. The host refuses the request when
    /// the bytes are not UTF-8.
    JsonString,
}

/// Response headers, names in lowercase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Returns the first value of a header; `name` in lowercase.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Returns the media type without parameters, for example `text/event-stream`.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.first("content-type").and_then(|v| v.split(';').next()).map_or("", str::trim)
    }
}

/// Why a request did not get an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The name did not resolve.
    Dns,
    /// Nobody listens, or the network is down.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// Nothing came in time.
    Timeout,
    /// The connection broke.
    Reset,
    /// The host refused to send it (origin, header, size, missing credential).
    Refused,
    /// Anything else.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bytes_are_joined() {
        let mut body = Body::default();
        body.push_bytes(b"");
        assert!(body.is_empty());
        body.push_bytes(b"a");
        body.push_bytes(b"b");
        assert_eq!(body.as_bytes(), Some(&b"ab"[..]));
        body.pieces.push(Piece::Blob { id: 1, encoding: BlobEncoding::Base64 });
        body.push_bytes(b"c");
        assert_eq!(body.pieces.len(), 3);
        assert_eq!(body.as_bytes(), None);
    }

    #[test]
    fn query_parameters_are_encoded() {
        let request = HttpRequest::get("https://a.test/m#f").query("page", "a/b=&c").query("é", "");
        assert_eq!(request.url, "https://a.test/m?page=a%2Fb%3D%26c&%C3%A9=#f");
        assert_eq!(HttpRequest::get("https://a.test/?").query("a", "1").url, "https://a.test/?a=1");
    }

    #[test]
    fn a_content_type_loses_its_parameters() {
        let headers =
            Headers(vec![("content-type".into(), "text/event-stream ; charset=utf-8".into())]);
        assert_eq!(headers.content_type(), "text/event-stream");
        assert_eq!(Headers::default().content_type(), "");
    }
}
