//! Large bytes that stay with the host: media of a request, and a client's own body.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use plugin_api::{
    chat::{ChatRequest, Content, ContentPart, DataSource},
    http::{BlobEncoding, Body, Piece},
};

/// The bytes of one exchange that its plugin knows by handle.
#[derive(Clone, Debug, Default)]
pub struct Blobs {
    media: Vec<Bytes>,
    /// The client's own body, for pass-through.
    native: Bytes,
}

/// Why a body cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The plugin named bytes that it was not given.
    #[error("the body names bytes that the exchange does not have")]
    Unknown,
    /// The client's bytes belong into a text and are none.
    #[error("a document that must be text is not UTF-8")]
    NotText,
}

impl Blobs {
    /// Makes a set that holds the client's own body and no media yet.
    #[must_use]
    pub fn new(native: Bytes) -> Self {
        Self { media: Vec::new(), native }
    }

    /// Reports whether there is anything to [`detach`](Self::detach).
    #[must_use]
    pub fn are_in(request: &ChatRequest) -> bool {
        request.messages.iter().any(|message| hold_bytes(&message.parts))
    }

    /// Takes the bytes of all media out of a request and leaves handles.
    pub fn detach(&mut self, request: &mut ChatRequest) {
        for message in &mut request.messages {
            self.detach_parts(&mut message.parts);
        }
    }

    fn detach_parts(&mut self, parts: &mut [ContentPart]) {
        for part in parts {
            match &mut part.content {
                Content::Image(media) | Content::Audio(media) | Content::File(media) => {
                    if let DataSource::Inline { data } = &mut media.source {
                        let data = std::mem::take(data);
                        let (id, len) = (self.media.len() as u32, data.len() as u64);
                        self.media.push(data.into());
                        media.source = DataSource::Blob { id, len };
                    }
                }
                Content::ToolResult(result) => self.detach_parts(&mut result.parts),
                _ => {}
            }
        }
    }

    /// Lets the client's own body go, once it was sent.
    pub(super) fn forget_native(&mut self) {
        self.native = Bytes::new();
    }

    fn native(&self, start: u64, end: u64) -> Option<&[u8]> {
        self.native.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// Joins the pieces of a body.
    ///
    /// # Errors
    ///
    /// [`BodyError`], which also says whose mistake it is.
    pub fn assemble(&self, body: Body) -> Result<Bytes, BodyError> {
        let mut pieces = body.pieces;
        if let [Piece::Bytes(bytes)] = pieces.as_mut_slice() {
            return Ok(std::mem::take(bytes).into());
        }
        let length = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Native { start, end } => self.native(*start, *end).map_or(0, <[u8]>::len),
            // Best measured when it is written.
            _ => 0,
        };
        let mut joined = Vec::with_capacity(pieces.iter().map(length).sum());
        for piece in &pieces {
            match piece {
                Piece::Bytes(bytes) => joined.extend_from_slice(bytes),
                Piece::Native { start, end } => {
                    let range = self.native(*start, *end).ok_or(BodyError::Unknown)?;
                    joined.extend_from_slice(range);
                }
                Piece::Blob { id, encoding } => {
                    let blob = self.media.get(*id as usize).ok_or(BodyError::Unknown)?;
                    match encoding {
                        BlobEncoding::Base64 => {
                            joined.extend_from_slice(STANDARD.encode(blob).as_bytes());
                        }
                        BlobEncoding::JsonString => {
                            let text = std::str::from_utf8(blob).map_err(|_| BodyError::NotText)?;
                            let quoted = serde_json::Value::from(text).to_string();
                            joined.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
                        }
                        BlobEncoding::Raw => joined.extend_from_slice(blob),
                        _ => return Err(BodyError::Unknown),
                    }
                }
                _ => return Err(BodyError::Unknown),
            }
        }
        Ok(joined.into())
    }
}

fn hold_bytes(parts: &[ContentPart]) -> bool {
    parts.iter().any(|part| match &part.content {
        Content::Image(media) | Content::Audio(media) | Content::File(media) => {
            matches!(media.source, DataSource::Inline { .. })
        }
        Content::ToolResult(result) => hold_bytes(&result.parts),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use plugin_api::chat::{Message, Role, ToolResult};

    use super::*;

    #[test]
    fn media_leave_the_request_and_come_back_in_the_body() {
        let image = ContentPart::image("image/png", vec![1, 2, 3]);
        let result = ToolResult::new("c", vec![ContentPart::image("image/png", vec![4])]);
        let mut request = ChatRequest::new(
            "m",
            vec![
                Message::new(Role::User, vec![image]),
                Message::new(Role::Tool, vec![Content::ToolResult(result).into()]),
            ],
        );
        let mut blobs = Blobs::new(Bytes::from_static(b"0123456789"));
        blobs.detach(&mut request);
        let Content::Image(media) = &request.messages[0].parts[0].content else { panic!() };
        assert_eq!(media.source, DataSource::Blob { id: 0, len: 3 });
        let mut body = Body::default();
        body.push_bytes(b"<");
        body.pieces.push(Piece::Blob { id: 0, encoding: BlobEncoding::Base64 });
        body.pieces.push(Piece::Blob { id: 1, encoding: BlobEncoding::Raw });
        body.pieces.push(Piece::Native { start: 2, end: 5 });
        assert_eq!(blobs.assemble(body).unwrap(), &b"<AQID\x04234"[..]);
    }

    #[test]
    fn a_text_is_escaped_inside_its_quotes() {
        let text = |data: &'static [u8]| {
            let blobs = Blobs { media: vec![Bytes::from_static(data)], native: Bytes::new() };
            let blob = Piece::Blob { id: 0, encoding: BlobEncoding::JsonString };
            let quote = || Piece::Bytes(b"\"".to_vec());
            blobs.assemble(Body { pieces: vec![quote(), blob, quote()] })
        };
        let written = text("a\"\\\n\u{1}é".as_bytes()).unwrap();
        assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), "a\"\\\n\u{1}é");
        assert_eq!(text(b"").unwrap(), &b"\"\""[..]);
        assert_eq!(text(b"\xff"), Err(BodyError::NotText));
    }

    #[test]
    fn bytes_that_do_not_exist_are_refused() {
        let blobs = Blobs::default();
        for piece in [
            Piece::Blob { id: 0, encoding: BlobEncoding::Raw },
            Piece::Native { start: 0, end: 1 },
            Piece::Native { start: 1, end: 0 },
            Piece::Native { start: 0, end: u64::MAX },
        ] {
            assert_eq!(blobs.assemble(Body { pieces: vec![piece] }), Err(BodyError::Unknown));
        }
    }
}
