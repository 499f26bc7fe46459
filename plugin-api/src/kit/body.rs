//! Writes a JSON body whose large values stay with the host.
//!
//! An image that a client sent is a blob of the host's; its bytes never enter plugin memory. The
//! writer puts a [`Piece::Blob`] where the bytes belong and the host encodes them while it sends.
//! Nothing is searched for placeholders: a piece stands where it was written.
//!
//! ```
//! use plugin_api::{chat::DataSource, kit::body::{self, Bytes}};
//!
//! let source = DataSource::Blob { id: 7, len: 3 };
//! let body = body::object(|request| {
//!     request.field("model", "m");
//!     request.array("input", |input| {
//!         input.object(|image| {
//!             image.data("url", "data:image/png;base64,", Bytes::of(&source).unwrap());
//!         });
//!     });
//! })?;
//! assert_eq!(body.pieces.len(), 3);
//! assert_eq!(
//!     body::render(&body, &[(7, b"\x01\x02\x03")]),
//!     br#"{"model":"m","input":[{"url":"data:image/png;base64,AQID"}]}"#
//! );
//! # Ok::<(), plugin_api::error::ProviderError>(())
//! ```

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    chat::DataSource,
    error::{ErrorKind, ProviderError},
    http::{BlobEncoding, Body, Piece},
};

/// Writes an object and returns it as a body.
///
/// # Errors
///
/// [`ErrorKind::InvalidRequest`] when a value has no JSON form (a map whose keys are no texts).
pub fn object(write: impl FnOnce(&mut Object<'_>)) -> Result<Body, ProviderError> {
    let mut out = Writer::default();
    out.object(write);
    out.finish()
}

/// Bytes to write as Base64: here, or with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bytes<'a> {
    /// These.
    Inline(&'a [u8]),
    /// The host's blob of this number.
    Blob(u32),
}

impl<'a> Bytes<'a> {
    /// Returns the bytes of a source; `None` where it names a URL or a vendor's file.
    #[must_use]
    pub fn of(source: &'a DataSource) -> Option<Self> {
        match source {
            DataSource::Inline { data } => Some(Self::Inline(data)),
            DataSource::Blob { id, .. } => Some(Self::Blob(*id)),
            _ => None,
        }
    }
}

/// The fields of an object that is being written.
pub struct Object<'a> {
    out: &'a mut Writer,
    first: bool,
}

impl Object<'_> {
    /// Writes a field.
    pub fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.name(name);
        self.out.value(value);
    }

    /// Writes a field when it has a value.
    pub fn optional<T: Serialize>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// Writes a field whose value is JSON already, byte for byte.
    pub fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.out.raw(json);
    }

    /// Writes a field that is an object.
    pub fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        self.out.object(write);
    }

    /// Writes a field that is an array.
    pub fn array(&mut self, name: &str, write: impl FnOnce(&mut Array<'_>)) {
        self.name(name);
        self.out.array(write);
    }

    /// Writes a field that is a text: `prefix`, then the bytes as Base64.
    pub fn data(&mut self, name: &str, prefix: &str, bytes: Bytes<'_>) {
        self.name(name);
        self.out.data(prefix, bytes);
    }

    /// Writes a field that is a text: the bytes themselves, which must be UTF-8.
    pub fn text(&mut self, name: &str, bytes: Bytes<'_>) {
        self.name(name);
        self.out.text(bytes);
    }

    fn name(&mut self, name: &str) {
        self.out.comma(&mut self.first);
        self.out.value(name);
        self.out.bytes.push(b':');
    }
}

/// The items of an array that is being written.
pub struct Array<'a> {
    out: &'a mut Writer,
    first: bool,
}

impl Array<'_> {
    /// Writes an item.
    pub fn item<T: Serialize + ?Sized>(&mut self, value: &T) {
        self.out.comma(&mut self.first);
        self.out.value(value);
    }

    /// Writes an item that is JSON already, byte for byte.
    pub fn raw(&mut self, json: &str) {
        self.out.comma(&mut self.first);
        self.out.raw(json);
    }

    /// Writes an item that is an object.
    pub fn object(&mut self, write: impl FnOnce(&mut Object<'_>)) {
        self.out.comma(&mut self.first);
        self.out.object(write);
    }
}

/// Joins a body to the bytes that a host would send, for tests.
///
/// # Panics
///
/// When the body names a blob that is not among `blobs`, or a range of a native body.
#[must_use]
pub fn render(body: &Body, blobs: &[(u32, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in &body.pieces {
        match piece {
            Piece::Bytes(piece) => bytes.extend_from_slice(piece),
            Piece::Blob { id, encoding } => {
                let (_, blob) = blobs.iter().find(|(have, _)| have == id).expect("a known blob");
                match encoding {
                    BlobEncoding::Raw => bytes.extend_from_slice(blob),
                    BlobEncoding::Base64 => push_base64(&mut bytes, blob),
                    BlobEncoding::JsonString => {
                        let text = std::str::from_utf8(blob).expect("a text");
                        let quoted = serde_json::to_string(text).expect("a text has a JSON form");
                        bytes.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
                    }
                }
            }
            Piece::Native { .. } => panic!("the body holds ranges of a native body"),
        }
    }
    bytes
}

/// Appends `data` as padded standard Base64 (RFC 4648 section 4).
pub fn push_base64(to: &mut Vec<u8>, data: &[u8]) {
    to.reserve(data.len().div_ceil(3) * 4);
    for group in data.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            to.push(if at > group.len() {
                b'='
            } else {
                ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]
            });
        }
    }
}

#[derive(Default)]
struct Writer {
    body: Body,
    bytes: Vec<u8>,
    failed: Option<ProviderError>,
}

impl Writer {
    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.bytes.push(b',');
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        if let Err(error) = serde_json::to_writer(&mut self.bytes, value) {
            let message = format!("a value has no JSON form: {error}");
            self.failed
                .get_or_insert_with(|| ProviderError::new(ErrorKind::InvalidRequest, message));
        }
    }

    /// Writes JSON that came as text. It is checked, because a stray bracket would change what
    /// stands around it.
    fn raw(&mut self, json: &str) {
        match serde_json::from_str::<&RawValue>(json) {
            Ok(raw) => self.bytes.extend_from_slice(raw.get().as_bytes()),
            Err(error) => {
                let message = format!("expected JSON: {error}");
                self.failed
                    .get_or_insert_with(|| ProviderError::new(ErrorKind::InvalidRequest, message));
            }
        }
    }

    fn object(&mut self, write: impl FnOnce(&mut Object<'_>)) {
        self.bytes.push(b'{');
        write(&mut Object { out: self, first: true });
        self.bytes.push(b'}');
    }

    fn array(&mut self, write: impl FnOnce(&mut Array<'_>)) {
        self.bytes.push(b'[');
        write(&mut Array { out: self, first: true });
        self.bytes.push(b']');
    }

    fn data(&mut self, prefix: &str, bytes: Bytes<'_>) {
        self.value(prefix);
        self.bytes.pop();
        match bytes {
            Bytes::Inline(data) => push_base64(&mut self.bytes, data),
            Bytes::Blob(id) => {
                self.flush();
                self.body.pieces.push(Piece::Blob { id, encoding: BlobEncoding::Base64 });
            }
        }
        self.bytes.push(b'"');
    }

    fn text(&mut self, bytes: Bytes<'_>) {
        match bytes {
            Bytes::Inline(data) => match std::str::from_utf8(data) {
                Ok(text) => self.value(text),
                Err(_) => {
                    let error =
                        ProviderError::new(ErrorKind::InvalidRequest, "a text is not UTF-8");
                    self.failed.get_or_insert(error);
                }
            },
            Bytes::Blob(id) => {
                self.bytes.push(b'"');
                self.flush();
                self.body.pieces.push(Piece::Blob { id, encoding: BlobEncoding::JsonString });
                self.bytes.push(b'"');
            }
        }
    }

    fn flush(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            self.body.pieces.push(Piece::Bytes(bytes));
        }
    }

    fn finish(mut self) -> Result<Body, ProviderError> {
        self.flush();
        self.failed.map_or(Ok(self.body), Err)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn base64_matches_the_vectors_of_its_standard() {
        for (data, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut text = Vec::new();
            push_base64(&mut text, data.as_bytes());
            assert_eq!(text, expected.as_bytes(), "{data}");
        }
        let mut text = Vec::new();
        push_base64(&mut text, &[0xfb, 0xff, 0xfe]);
        assert_eq!(text, b"+//+");
    }

    #[test]
    fn blobs_become_pieces_and_inline_bytes_are_written() {
        let inline = DataSource::Inline { data: b"foo".to_vec() };
        let blob = DataSource::Blob { id: 3, len: 1 };
        let body = object(|o| {
            o.optional("none", None::<&u8>);
            o.optional("some", Some(&1u8));
            o.data("a", "", Bytes::of(&inline).unwrap());
            o.data("b", "\"", Bytes::of(&blob).unwrap());
            o.object("c", |_| {});
            o.array("d", |d| {
                d.item("x");
                d.object(|_| {});
            });
        })
        .unwrap();
        assert_eq!(body.pieces.len(), 3);
        assert_eq!(body.pieces[1], Piece::Blob { id: 3, encoding: BlobEncoding::Base64 });
        assert_eq!(
            String::from_utf8(render(&body, &[(3, b"f")])).unwrap(),
            r#"{"some":1,"a":"Zm9v","b":"\"Zg==","c":{},"d":["x",{}]}"#
        );
        assert_eq!(Bytes::of(&DataSource::file("f")), None);
    }

    #[test]
    fn texts_are_escaped() {
        let body = object(|o| {
            o.text("a", Bytes::Inline(b"x\"\n"));
            o.text("b", Bytes::Blob(1));
        })
        .unwrap();
        let expected = br#"{"a":"x\"\n","b":"y\\z"}"#;
        assert_eq!(render(&body, &[(1, b"y\\z")]), expected);
        assert!(object(|o| o.text("a", Bytes::Inline(b"\xff"))).is_err());
    }

    #[test]
    fn raw_blobs_are_joined_as_they_are() {
        let raw = Piece::Blob { id: 1, encoding: BlobEncoding::Raw };
        let body = Body { pieces: vec![Piece::Bytes(b"a".to_vec()), raw] };
        assert_eq!(render(&body, &[(1, b"b")]), b"ab");
    }

    #[test]
    fn json_stays_as_it_came_and_must_be_json() {
        let body = object(|o| {
            o.raw("a", "{ \"z\":1.0, \"a\":2 }");
            o.array("b", |b| b.raw("1e400"));
        })
        .unwrap();
        assert_eq!(render(&body, &[]), br#"{"a":{ "z":1.0, "a":2 },"b":[1e400]}"#);
        let error = object(|o| o.raw("a", "1,\"b\":2")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidRequest);
    }

    #[test]
    fn a_value_without_a_json_form_is_an_error_not_a_hole() {
        let odd = BTreeMap::from([(vec![1], 1)]);
        let error = object(|o| o.field("odd", &odd)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidRequest);
    }
}
