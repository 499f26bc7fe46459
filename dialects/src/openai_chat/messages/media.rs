//! Writes images, sounds and documents, whose bytes stay with the host.

use plugin_api::{
    chat::{CacheControl, Content, DataSource},
    kit::body::{Array, Bytes, Object},
};
use serde_json::json;

use crate::{base64, openai_chat::Quirks, sound};

/// The form that a medium takes on the wire.
pub(super) enum Form<'a> {
    ImageUrl { url: &'a str, detail: Option<&'a String> },
    ImageData { prefix: String, bytes: Bytes<'a>, detail: Option<&'a String> },
    Audio { bytes: Bytes<'a>, format: &'a str },
    FileId(&'a str),
    FileData { prefix: String, bytes: Bytes<'a>, name: Option<&'a String> },
}

impl Form<'_> {
    pub(super) fn write(&self, out: &mut Array<'_>, cache: Option<&CacheControl>) {
        out.object(|o| {
            match self {
                Self::ImageUrl { url, detail } => {
                    o.field("type", "image_url");
                    o.object("image_url", |o| {
                        o.field("url", url);
                        o.optional("detail", *detail);
                    });
                }
                Self::ImageData { prefix, bytes, detail } => {
                    o.field("type", "image_url");
                    o.object("image_url", |o| {
                        o.data("url", prefix, *bytes);
                        o.optional("detail", *detail);
                    });
                }
                Self::Audio { bytes, format } => {
                    o.field("type", "input_audio");
                    o.object("input_audio", |o| {
                        o.data("data", "", *bytes);
                        o.field("format", format);
                    });
                }
                Self::FileId(id) => {
                    o.field("type", "file");
                    o.object("file", |o| o.field("file_id", id));
                }
                Self::FileData { prefix, bytes, name } => {
                    o.field("type", "file");
                    o.object("file", |o| {
                        o.data("file_data", prefix, *bytes);
                        o.optional("filename", *name);
                    });
                }
            }
            breakpoint(o, cache);
        });
    }
}

/// Chooses the form of a medium, or says why it has none.
pub(super) fn media<'a>(content: &'a Content, quirks: &Quirks) -> Result<Form<'a>, &'static str> {
    let (Content::Image(media) | Content::Audio(media) | Content::File(media)) = content else {
        return Err("is no medium");
    };
    let bytes = Bytes::of(&media.source);
    let prefix = |default: &str| base64::uri_prefix(media.media_type.as_deref().unwrap_or(default));
    let detail = media.detail.as_ref();
    match (content, &media.source, bytes) {
        (Content::Image(_), _, Some(bytes)) => {
            Ok(Form::ImageData { prefix: prefix("image/png"), bytes, detail })
        }
        (Content::Image(_), DataSource::Url { url }, _) if quirks.supports_image_url => {
            Ok(Form::ImageUrl { url, detail })
        }
        (Content::Image(_), DataSource::Url { .. }, _) => {
            Err("is an address, and this server fetches none")
        }
        (Content::Audio(_), _, Some(bytes)) => {
            let format = sound::format(media.media_type.as_deref())?;
            Ok(Form::Audio { bytes, format })
        }
        (Content::File(_), DataSource::File { id, .. }, _) => Ok(Form::FileId(id)),
        (Content::File(_), _, Some(bytes)) => Ok(Form::FileData {
            prefix: prefix("application/octet-stream"),
            bytes,
            name: media.name.as_ref(),
        }),
        _ => Err("is where this format cannot point to"),
    }
}

/// Writes the mark that ends a prefix worth caching.
pub(super) fn breakpoint(o: &mut Object<'_>, cache: Option<&CacheControl>) {
    let Some(cache) = cache else { return };
    let mut value = json!({"mode": "explicit"});
    if let Some(seconds) = cache.ttl_seconds {
        let ttl = if seconds % 60 == 0 && seconds > 0 {
            format!("{}m", seconds / 60)
        } else {
            format!("{seconds}s")
        };
        value["ttl"] = ttl.into();
    }
    o.field("prompt_cache_breakpoint", &value);
}
