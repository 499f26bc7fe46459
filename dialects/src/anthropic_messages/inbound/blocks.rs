//! Reads the content of a client's message: a text, or blocks.

use plugin_api::chat::{
    Content, ContentPart, Continuity, DataSource, Media, Opaque, Reasoning, Text, ToolCall,
    ToolResult,
};
use serde_json::{Value, value::RawValue};

use super::cache;
use crate::{
    anthropic_messages::{DIALECT, sources, token},
    base64,
    fields::{Fields, parse},
    loss::RequestError,
};

/// Reads content that stands at `place`.
pub(super) fn content(json: &str, place: &str) -> Result<Vec<ContentPart>, RequestError> {
    if json.starts_with('"') {
        let text: String = parse(json, || place.to_owned())?;
        let said = Some(text).filter(|text| !text.is_empty());
        return Ok(said.map(ContentPart::text).into_iter().collect());
    }
    let list: Vec<&RawValue> = parse(json, || place.to_owned())?;
    let each = list.into_iter().enumerate();
    each.map(|(nth, raw)| block(raw.get(), format!("{place}[{nth}]"))).collect()
}

fn block(json: &str, place: String) -> Result<ContentPart, RequestError> {
    let mut fields = Fields::new(json, place)?;
    let kind: String = fields.require("type")?;
    let mut tokens = Vec::new();
    let content = match &*kind {
        "text" => {
            let mut text = Text::new(fields.require::<String>("text")?);
            let list: Option<Vec<Value>> = fields.take("citations")?;
            text.citations = list.unwrap_or_default().into_iter().map(sources::citation).collect();
            Content::Text(text)
        }
        "thinking" => {
            let signature: Option<String> = fields.take("signature")?;
            let signature = signature.filter(|signature| !signature.is_empty());
            tokens.extend(signature.map(|it| Continuity::new(token::SIGNATURE, it)));
            Content::Reasoning(Reasoning::new(fields.require::<String>("thinking")?))
        }
        "redacted_thinking" => {
            let data: String = fields.require("data")?;
            tokens.push(Continuity::new(token::REDACTED_THINKING, data));
            Content::Reasoning(Reasoning::default())
        }
        "tool_use" => {
            let (id, name): (String, String) = (fields.require("id")?, fields.require("name")?);
            let input = fields.raw("input").map_or("{}", RawValue::get);
            Content::ToolCall(ToolCall::new(id, name, input))
        }
        "tool_result" => result(&mut fields)?,
        "image" | "document" => match medium(&mut fields, kind == "image")? {
            Some(content) => content,
            None => return Ok(kept(json)),
        },
        _ => return Ok(kept(json)),
    };
    let mut part: ContentPart = content.into();
    part.continuity = tokens;
    part.cache = cache(&mut fields)?;
    let _: Option<Value> = fields.take("type")?;
    part.options = fields.rest().collect();
    Ok(part)
}

/// Keeps a block that has no typed form as it came.
fn kept(json: &str) -> ContentPart {
    Content::Opaque(Opaque::new(DIALECT, json)).into()
}

fn result(fields: &mut Fields<'_>) -> Result<Content, RequestError> {
    let id: String = fields.require("tool_use_id")?;
    let parts = match fields.raw("content") {
        Some(raw) => content(raw.get(), &fields.at("content"))?,
        None => Vec::new(),
    };
    let mut result = ToolResult::new(id, parts);
    result.is_error = fields.take("is_error")?.unwrap_or(false);
    Ok(Content::ToolResult(result))
}

/// Reads an image or a document; `None` for one that comes in a form of its own.
fn medium(fields: &mut Fields<'_>, is_image: bool) -> Result<Option<Content>, RequestError> {
    let mut source = fields.object("source")?.ok_or_else(|| fields.missing("source"))?;
    let kind: String = source.require("type")?;
    let mut media = match &*kind {
        "base64" => {
            let data: String = source.require("data")?;
            let fault = || source.error("data", "is not Base64");
            let data = base64::decode_line(&data).ok_or_else(fault)?;
            let media = Media::new(DataSource::Inline { data });
            media.media_type(source.require::<String>("media_type")?)
        }
        "text" => {
            let data = source.require::<String>("data")?.into_bytes();
            let media_type: Option<String> = source.take("media_type")?;
            let media = Media::new(DataSource::Inline { data });
            media.media_type(media_type.as_deref().unwrap_or("text/plain"))
        }
        "url" => Media::new(DataSource::Url { url: source.require("url")? }),
        "file" => Media::new(DataSource::file(source.require::<String>("file_id")?)),
        _ => return Ok(None),
    };
    if is_image {
        return Ok(Some(Content::Image(media)));
    }
    media.name = fields.take("title")?;
    Ok(Some(Content::File(media)))
}
