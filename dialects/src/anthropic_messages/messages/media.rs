//! Writes where the bytes of an image or a document are; the bytes themselves stay with the host.

use plugin_api::{
    chat::{DataSource, Media},
    kit::body::{Bytes, Object},
};

/// The form that a medium takes on the wire.
pub(super) enum Form<'a> {
    Data { media_type: &'a str, bytes: Bytes<'a> },
    Text(Bytes<'a>),
    Url(&'a str),
    File(&'a str),
}

impl<'a> Form<'a> {
    /// Chooses the form of a medium, or says why it has none.
    pub(super) fn of(media: &'a Media, is_image: bool) -> Result<Self, &'static str> {
        let media_type = media.media_type.as_deref();
        match (&media.source, Bytes::of(&media.source)) {
            (_, Some(bytes)) => match media_type {
                _ if is_image => {
                    Ok(Self::Data { media_type: media_type.unwrap_or("image/png"), bytes })
                }
                None | Some(PDF) => Ok(Self::Data { media_type: PDF, bytes }),
                Some(text) if text.starts_with("text/") => match bytes {
                    Bytes::Inline(data) if str::from_utf8(data).is_err() => {
                        Err("is a text that is not UTF-8")
                    }
                    bytes => Ok(Self::Text(bytes)),
                },
                Some(_) => Err("is neither a PDF nor a text"),
            },
            (DataSource::Url { url }, _) => Ok(Self::Url(url)),
            (DataSource::File { id, .. }, _) => Ok(Self::File(id)),
            _ => Err("is where this format cannot point to"),
        }
    }

    /// Reports whether a media type reads back as it was.
    pub(super) fn keeps(&self, media_type: Option<&str>) -> bool {
        match self {
            Self::Data { media_type: sent, .. } => media_type == Some(*sent),
            Self::Text(_) => media_type == Some(TEXT),
            Self::Url(_) | Self::File(_) => media_type.is_none(),
        }
    }

    pub(super) fn write(&self, o: &mut Object<'_>) {
        match self {
            Self::Data { media_type, bytes } => {
                o.field("type", "base64");
                o.field("media_type", media_type);
                o.data("data", "", *bytes);
            }
            Self::Text(bytes) => {
                o.field("type", "text");
                o.field("media_type", TEXT);
                o.text("data", *bytes);
            }
            Self::Url(url) => {
                o.field("type", "url");
                o.field("url", url);
            }
            Self::File(id) => {
                o.field("type", "file");
                o.field("file_id", id);
            }
        }
    }
}

/// Members of the block that have a typed place.
pub(super) const fn typed(is_image: bool) -> &'static [&'static str] {
    if is_image {
        &["type", "source", "cache_control"]
    } else {
        &["type", "source", "title", "cache_control"]
    }
}

const PDF: &str = "application/pdf";
const TEXT: &str = "text/plain";
