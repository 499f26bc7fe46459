//! Reads the content of a client's message: a text, or parts.

use std::borrow::Cow;

use plugin_api::{
    chat::{CacheControl, Content, ContentPart, Continuity, DataSource, Media, Reasoning, Text},
    kit::failure::duration_ms,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    base64,
    fields::{Fault, text_or_parts},
    loss::{Loss, RequestError},
    openai_chat::token,
    sound::InputAudio,
};

pub(super) fn content(
    at: usize,
    raw: Option<&RawValue>,
    losses: &mut Vec<Loss>,
) -> Result<Vec<ContentPart>, RequestError> {
    text_or_parts(|| format!("messages[{at}].content"), raw, part, losses)
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
    #[serde(borrow)]
    image_url: Option<WireImage<'a>>,
    #[serde(borrow)]
    input_audio: Option<InputAudio<'a>>,
    #[serde(borrow)]
    file: Option<WireFile<'a>>,
    thinking: Option<Value>,
    signature: Option<String>,
    prompt_cache_breakpoint: Option<CacheMark>,
    cache_control: Option<CacheMark>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireImage<'a> {
    Object {
        #[serde(borrow)]
        url: Cow<'a, str>,
        detail: Option<String>,
    },
    Text(#[serde(borrow)] Cow<'a, str>),
}

#[derive(Deserialize)]
struct WireFile<'a> {
    file_id: Option<String>,
    #[serde(borrow)]
    file_data: Option<Cow<'a, str>>,
    filename: Option<String>,
}

/// A mark that ends a prefix worth caching: OpenAI's, or Anthropic's, which clients of several vendors
/// also write in this format.
#[derive(Deserialize)]
pub(super) struct CacheMark {
    ttl: Option<String>,
}

impl CacheMark {
    pub(super) fn read(self) -> CacheControl {
        let mut cache = CacheControl::default();
        cache.ttl_seconds = self.ttl.and_then(|ttl| duration_ms(&ttl)).map(|ms| ms / 1000);
        cache
    }
}

fn part(wire: WirePart<'_>) -> Result<ContentPart, Fault> {
    let mut tokens = Vec::new();
    let content = match &*wire.kind {
        "text" => Content::Text(Text::new(wire.text.ok_or(("text", "is missing"))?)),
        "refusal" => Content::Refusal(Text::new(wire.refusal.ok_or(("refusal", "is missing"))?)),
        "image_url" => image(wire.image_url.ok_or(("image_url", "is missing"))?)?,
        "input_audio" => wire.input_audio.ok_or(("input_audio", "is missing"))?.content()?,
        "file" => file(wire.file.ok_or(("file", "is missing"))?)?,
        "thinking" => {
            tokens.extend(wire.signature.map(|it| Continuity::new(token::SIGNATURE, it)));
            let text = match wire.thinking.unwrap_or_default() {
                Value::String(text) => text,
                list => {
                    let pieces = list.as_array().into_iter().flatten();
                    pieces.filter_map(|piece| piece["text"].as_str()).collect()
                }
            };
            Content::Reasoning(Reasoning::new(text))
        }
        _ => return Err(("type", "is not a part of this format")),
    };
    let mut part: ContentPart = content.into();
    part.continuity = tokens;
    part.cache = wire.prompt_cache_breakpoint.or(wire.cache_control).map(CacheMark::read);
    Ok(part)
}

fn image(wire: WireImage<'_>) -> Result<Content, Fault> {
    let (url, detail) = match wire {
        WireImage::Object { url, detail } => (url, detail),
        WireImage::Text(url) => (url, None),
    };
    let mut media = if url.starts_with("data:") {
        let (media_type, data) =
            base64::decode_uri(&url).ok_or(("image_url.url", "is no Base64 data URI"))?;
        Media::new(DataSource::Inline { data }).media_type(media_type)
    } else {
        Media::new(DataSource::Url { url: url.into_owned() })
    };
    media.detail = detail;
    Ok(Content::Image(media))
}

fn file(wire: WireFile<'_>) -> Result<Content, Fault> {
    let mut media = match (wire.file_id, wire.file_data) {
        (Some(id), _) => Media::new(DataSource::file(id)),
        (None, Some(uri)) => {
            let bare = || Some(("application/pdf".to_owned(), base64::decode(&uri)?));
            let (media_type, data) = base64::decode_uri(&uri)
                .or_else(bare)
                .ok_or(("file.file_data", "is no Base64 data URI"))?;
            Media::new(DataSource::Inline { data }).media_type(media_type)
        }
        (None, None) => return Err(("file", "neither `file_id` nor `file_data` is there")),
    };
    media.name = wire.filename;
    Ok(Content::File(media))
}
