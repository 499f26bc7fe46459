//! Reads the content of a client's message or tool result: a text, or parts.

use std::borrow::Cow;

use plugin_api::chat::{Content, ContentPart, DataSource, Media, Text};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    base64,
    fields::{Fault, text_or_parts},
    loss::{Loss, RequestError},
    openai_responses::annotations,
    sound::InputAudio,
};

pub(super) fn content(
    field: impl Fn() -> String,
    raw: Option<&RawValue>,
    losses: &mut Vec<Loss>,
) -> Result<Vec<ContentPart>, RequestError> {
    text_or_parts(field, raw, part, losses)
}

/// Returns the texts of a list of parts, whatever their types; none of anything else.
pub(super) fn texts(raw: Option<&RawValue>) -> Vec<String> {
    let list: Vec<Value> =
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    list.iter().filter_map(|part| part["text"].as_str().map(str::to_owned)).collect()
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    refusal: Option<String>,
    annotations: Option<Vec<Value>>,
    #[serde(borrow)]
    image_url: Option<Cow<'a, str>>,
    detail: Option<String>,
    file_id: Option<String>,
    #[serde(borrow)]
    file_data: Option<Cow<'a, str>>,
    file_url: Option<String>,
    filename: Option<String>,
    #[serde(borrow)]
    input_audio: Option<InputAudio<'a>>,
}

fn part(wire: WirePart<'_>) -> Result<ContentPart, Fault> {
    let content = match &*wire.kind {
        "input_text" | "output_text" | "text" => {
            let mut text = Text::new(wire.text.ok_or(("text", "is missing"))?);
            let list = wire.annotations.unwrap_or_default();
            text.citations = list.into_iter().map(annotations::read).collect();
            Content::Text(text)
        }
        "refusal" => Content::Refusal(Text::new(wire.refusal.ok_or(("refusal", "is missing"))?)),
        "input_image" => image(wire)?,
        "input_audio" => wire.input_audio.ok_or(("input_audio", "is missing"))?.content()?,
        "input_file" => file(wire)?,
        _ => return Err(("type", "is not a part of this format")),
    };
    Ok(content.into())
}

fn image(wire: WirePart<'_>) -> Result<Content, Fault> {
    let mut media = match (wire.image_url, wire.file_id) {
        (Some(url), _) if url.starts_with("data:") => {
            let (media_type, data) =
                base64::decode_uri(&url).ok_or(("image_url", "is no Base64 data URI"))?;
            Media::new(DataSource::Inline { data }).media_type(media_type)
        }
        (Some(url), _) => Media::new(DataSource::Url { url: url.into_owned() }),
        (None, Some(id)) => Media::new(DataSource::file(id)),
        (None, None) => return Err(("image_url", "is missing")),
    };
    media.detail = wire.detail;
    Ok(Content::Image(media))
}

fn file(wire: WirePart<'_>) -> Result<Content, Fault> {
    let mut media = match (wire.file_id, wire.file_data, wire.file_url) {
        (Some(id), ..) => Media::new(DataSource::file(id)),
        (None, Some(uri), _) => {
            let bare = || Some(("application/pdf".to_owned(), base64::decode(&uri)?));
            let (media_type, data) = base64::decode_uri(&uri)
                .or_else(bare)
                .ok_or(("file_data", "is no Base64 data URI"))?;
            Media::new(DataSource::Inline { data }).media_type(media_type)
        }
        (None, None, Some(url)) => Media::new(DataSource::Url { url }),
        (None, None, None) => return Err(("file_id", "no other source is there either")),
    };
    media.name = wire.filename;
    Ok(Content::File(media))
}
