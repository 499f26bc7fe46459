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

/// A plugin named bytes that it was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body names bytes that the exchange does not have")]
pub struct UnknownBlob;

impl Blobs {
    /// Makes a set that holds the client's own body and no media yet.
    #[must_use]
    pub fn new(native: Bytes) -> Self {
        Self { media: Vec::new(), native }
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

    /// Joins the pieces of a body.
    ///
    /// # Errors
    ///
    /// [`UnknownBlob`] for a handle or a range that does not exist.
    pub fn assemble(&self, body: Body) -> Result<Bytes, UnknownBlob> {
        let mut pieces = body.pieces;
        if let [Piece::Bytes(bytes)] = pieces.as_mut_slice() {
            return Ok(std::mem::take(bytes).into());
        }
        let mut joined = Vec::new();
        for piece in &pieces {
            match piece {
                Piece::Bytes(bytes) => joined.extend_from_slice(bytes),
                Piece::Native { start, end } => {
                    let range = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
                    let (start, end) = range.ok_or(UnknownBlob)?;
                    joined.extend_from_slice(self.native.get(start..end).ok_or(UnknownBlob)?);
                }
                Piece::Blob { id, encoding } => {
                    let blob = self.media.get(*id as usize).ok_or(UnknownBlob)?;
                    match encoding {
                        BlobEncoding::Base64 => {
                            joined.extend_from_slice(STANDARD.encode(blob).as_bytes());
                        }
                        BlobEncoding::Raw => joined.extend_from_slice(blob),
                        _ => return Err(UnknownBlob),
                    }
                }
                _ => return Err(UnknownBlob),
            }
        }
        Ok(joined.into())
    }
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
    fn bytes_that_do_not_exist_are_refused() {
        let blobs = Blobs::default();
        for piece in [
            Piece::Blob { id: 0, encoding: BlobEncoding::Raw },
            Piece::Native { start: 0, end: 1 },
            Piece::Native { start: 1, end: 0 },
            Piece::Native { start: 0, end: u64::MAX },
        ] {
            assert_eq!(blobs.assemble(Body { pieces: vec![piece] }), Err(UnknownBlob));
        }
    }
}
