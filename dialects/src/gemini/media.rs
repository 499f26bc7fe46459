//! Images, sounds and documents: `inlineData` and `fileData`.

use plugin_api::{
    chat::{Content, DataSource, Media},
    kit::body::{Bytes, Object},
};

/// The form that a medium takes on the wire.
#[derive(Debug)]
pub(super) enum Form<'a> {
    /// The bytes, or the host's handle of them.
    Inline { media_type: &'a str, bytes: Bytes<'a> },
    /// An address, or the vendor's name of a file.
    File { media_type: Option<&'a str>, uri: &'a str },
}

impl<'a> Form<'a> {
    /// Chooses the form of a medium, or says why it has none.
    pub(super) fn of(content: &'a Content) -> Result<Self, &'static str> {
        let (Content::Image(media) | Content::Audio(media) | Content::File(media)) = content else {
            return Err("is no medium");
        };
        let media_type = media.media_type.as_deref().filter(|kind| !kind.is_empty());
        if let Some(bytes) = Bytes::of(&media.source) {
            let guess = matches!(content, Content::Image(_)).then_some("image/png");
            let media_type = media_type.or(guess).ok_or("needs a media type")?;
            return Ok(Self::Inline { media_type, bytes });
        }
        match &media.source {
            DataSource::Url { url } => Ok(Self::File { media_type, uri: url }),
            DataSource::File { id, .. } => Ok(Self::File { media_type, uri: id }),
            _ => Err("is of a newer contract"),
        }
    }

    /// Writes the fields of a part.
    pub(super) fn write(&self, o: &mut Object<'_>) {
        match self {
            Self::Inline { media_type, bytes } => o.object("inlineData", |o| {
                o.field("mimeType", media_type);
                o.data("data", "", *bytes);
            }),
            Self::File { media_type, uri } => o.object("fileData", |o| {
                o.optional("mimeType", media_type.as_ref());
                o.field("fileUri", uri);
            }),
        }
    }
}

/// Makes the content of a medium, by what its type says.
pub(super) fn content(media_type: Option<&str>, source: DataSource) -> Content {
    let mut media = Media::new(source);
    media.media_type = media_type.map(str::to_owned);
    match media_type.and_then(|kind| kind.split('/').next()) {
        Some("image") => Content::Image(media),
        Some("audio") => Content::Audio(media),
        _ => Content::File(media),
    }
}

/// Reports whether a media type says what a content is; a document may be of any other type.
pub(super) fn is_told(content: &Content, media_type: Option<&str>) -> bool {
    let kind = media_type.and_then(|kind| kind.split('/').next());
    match content {
        Content::Image(_) => kind == Some("image"),
        Content::Audio(_) => kind == Some("audio"),
        _ => !matches!(kind, Some("image" | "audio")),
    }
}

/// Reads what a `fileUri` names: a file that the vendor holds, or an address.
pub(super) fn source(uri: String) -> DataSource {
    let held = !uri.contains("://") || uri.contains("/v1beta/files/") || uri.contains("/v1/files/");
    if held { DataSource::file(uri) } else { DataSource::Url { url: uri } }
}
