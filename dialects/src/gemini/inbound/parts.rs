//! Reads the contents of a client's request.

use std::{borrow::Cow, collections::BTreeMap};

use plugin_api::chat::{
    Content, ContentPart, Continuity, DataSource, Media, Message, Opaque, Reasoning, Role, Text,
    ToolCall, ToolResult,
};
use serde_json::value::RawValue;

use crate::{
    base64,
    fields::{Fields, parse},
    gemini::{DIALECT, calls::synthetic_id, media, token},
    loss::{Loss, RequestError},
};

/// Reports whether a field of a part is its content.
pub(super) fn is_data(name: &str) -> bool {
    DATA.contains(&name)
        || matches!(name, "function_call" | "function_response" | "inline_data" | "file_data")
}

const DATA: [&str; 5] = ["text", "functionCall", "functionResponse", "inlineData", "fileData"];

/// Reads `systemInstruction` and `contents`.
pub(super) fn messages(
    fields: &mut Fields<'_>,
    losses: &mut Vec<Loss>,
) -> Result<Vec<Message>, RequestError> {
    let mut messages = Vec::new();
    let mut calls = Calls::default();
    if let Some(raw) = fields.raw("systemInstruction") {
        let parts = if raw.get().starts_with('"') {
            vec![ContentPart::text(parse::<String>(raw.get(), || "systemInstruction".into())?)]
        } else {
            let mut content = Fields::new(raw.get(), "systemInstruction")?;
            content.raw("role");
            parts(content, 0, &mut calls, losses)?
        };
        if !parts.is_empty() {
            messages.push(Message::new(Role::System, parts));
        }
    }
    let list = fields.list("contents")?;
    if list.is_empty() {
        return Err(RequestError::new("contents", "is missing"));
    }
    for (at, raw) in list.into_iter().enumerate() {
        let mut content = Fields::new(raw.get(), format!("contents[{at}]"))?;
        let role: String = content.take("role")?.unwrap_or_default();
        let role = match &*role {
            "user" | "function" | "" => Role::User,
            "model" => Role::Assistant,
            "system" => Role::System,
            role => {
                let message = format!("`{}` is not a role", role.escape_debug());
                return Err(content.error("role", message));
            }
        };
        // 0 is the system's.
        let parts = parts(content, at as u64 + 1, &mut calls, losses)?;
        let is_result = |part: &ContentPart| matches!(part.content, Content::ToolResult(_));
        let (results, rest): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_result);
        if !results.is_empty() {
            messages.push(Message::new(Role::Tool, results));
        }
        if !rest.is_empty() {
            messages.push(Message::new(role, rest));
        }
    }
    Ok(messages)
}

/// Calls that were not answered yet: id and name.
#[derive(Default)]
struct Calls(Vec<(String, String)>);

impl Calls {
    /// Finds the call that a response without an id answers: the first of its name.
    fn answered(&mut self, id: Option<String>, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(have, called)| match &id {
            Some(id) => have == id,
            None => called == name,
        });
        let found = at.map(|at| self.0.remove(at).0);
        id.or(found)
    }
}

fn parts(
    mut content: Fields<'_>,
    turn: u64,
    calls: &mut Calls,
    losses: &mut Vec<Loss>,
) -> Result<Vec<ContentPart>, RequestError> {
    let list = content.list("parts")?;
    let mut parts = Vec::with_capacity(list.len());
    for (nth, raw) in list.into_iter().enumerate() {
        let place = content.at(&format!("parts[{nth}]"));
        parts.extend(part(raw, place, || synthetic_id(turn, nth), calls)?);
    }
    content.name_rest(losses);
    Ok(parts)
}

fn part(
    raw: &RawValue,
    place: String,
    new_id: impl FnOnce() -> String,
    calls: &mut Calls,
) -> Result<Option<ContentPart>, RequestError> {
    if raw.get().starts_with('"') {
        return Ok(Some(ContentPart::text(parse::<String>(raw.get(), || place)?)));
    }
    let mut fields = Fields::new(raw.get(), place)?;
    let thought: bool = fields.take("thought")?.unwrap_or_default();
    let signature: Option<String> = fields.take("thoughtSignature")?;
    let content = if let Some(text) = fields.take::<String>("text")? {
        if thought {
            let mut reasoning = Reasoning::new(text);
            reasoning.summary = true;
            Content::Reasoning(reasoning)
        } else {
            Content::Text(Text::new(text))
        }
    } else if let Some(call) = fields.object("functionCall")? {
        Content::ToolCall(function_call(call, new_id, calls)?)
    } else if let Some(response) = fields.object("functionResponse")? {
        Content::ToolResult(function_response(response, new_id, calls)?)
    } else if let Some(data) = fields.object("inlineData")?.filter(|_| !thought) {
        inline_data(data)?
    } else if let Some(data) = fields.object("fileData")? {
        file_data(data)?
    } else if thought || fields.rest().next().is_some() {
        return Ok(Some(Content::Opaque(Opaque::new(DIALECT, raw.get())).into()));
    } else if signature.is_some() {
        return Ok(Some(signed(Content::Text(Text::default()), signature)));
    } else {
        return Ok(None);
    };
    let mut part = signed(content, signature);
    part.options = fields.rest().collect();
    Ok(Some(part))
}

fn signed(content: Content, signature: Option<String>) -> ContentPart {
    let mut part: ContentPart = content.into();
    let token = signature.map(|token| Continuity::new(token::THOUGHT_SIGNATURE, token));
    part.continuity.extend(token);
    part
}

fn function_call(
    mut fields: Fields<'_>,
    new_id: impl FnOnce() -> String,
    calls: &mut Calls,
) -> Result<ToolCall, RequestError> {
    let name: String = fields.require("name")?;
    let id: Option<String> = fields.take("id")?;
    let id = id.filter(|id| !id.is_empty()).unwrap_or_else(new_id);
    calls.0.push((id.clone(), name.clone()));
    let arguments = fields.raw("args").map_or("{}", RawValue::get);
    Ok(ToolCall::new(id, name, arguments))
}

fn function_response(
    mut fields: Fields<'_>,
    new_id: impl FnOnce() -> String,
    calls: &mut Calls,
) -> Result<ToolResult, RequestError> {
    let name: String = fields.require("name")?;
    let id: Option<String> = fields.take("id")?;
    let id = calls.answered(id.filter(|id| !id.is_empty()), &name).unwrap_or_else(new_id);
    let (texts, is_error) = fields.raw("response").map_or_else(Default::default, response);
    let mut result = ToolResult::new(id, texts.into_iter().map(ContentPart::text).collect());
    (result.name, result.is_error) = (Some(name), is_error);
    for (nth, raw) in fields.list("parts")?.into_iter().enumerate() {
        let mut part = Fields::new(raw.get(), fields.at(&format!("parts[{nth}]")))?;
        let content = match (part.object("inlineData")?, part.object("fileData")?) {
            (Some(data), _) => inline_data(data)?,
            (None, Some(data)) => file_data(data)?,
            (None, None) => return Err(part.missing("inlineData")),
        };
        result.parts.push(content.into());
    }
    Ok(result)
}

/// Reads what a function answered: the texts, and whether it failed.
fn response(raw: &RawValue) -> (Vec<String>, bool) {
    let whole = || vec![raw.get().to_owned()];
    let Ok(map) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(raw.get()) else {
        let text = serde_json::from_str(raw.get());
        return (text.map_or_else(|_| whole(), |text| vec![text]), false);
    };
    let mut entries = map.iter();
    let (Some((name, value)), None) = (entries.next(), entries.next()) else {
        return (whole(), false);
    };
    if !matches!(&**name, "result" | "output" | "error") {
        return (whole(), false);
    }
    let texts = if value.get().starts_with('"') {
        serde_json::from_str(value.get()).map(|text| vec![text])
    } else {
        serde_json::from_str(value.get())
    };
    (texts.unwrap_or_else(|_| vec![value.get().to_owned()]), name == "error")
}

fn inline_data(mut fields: Fields<'_>) -> Result<Content, RequestError> {
    let text: String = fields.take("data")?.unwrap_or_default();
    let data = base64::decode_either(&text).ok_or_else(|| fields.error("data", "is no Base64"))?;
    let kind: Option<String> = fields.take("mimeType")?;
    let name: Option<String> = fields.take("displayName")?;
    let mut content = media::content(kind.as_deref(), DataSource::Inline { data });
    if let Content::Image(media) | Content::Audio(media) | Content::File(media) = &mut content {
        media.name = name;
    }
    Ok(content)
}

fn file_data(mut fields: Fields<'_>) -> Result<Content, RequestError> {
    let uri: String = fields.require("fileUri")?;
    let kind: Option<String> = fields.take("mimeType")?;
    let source = media::source(uri);
    // Without a type it may be anything; most that people point at are pages, films and documents.
    Ok(match kind {
        Some(kind) => media::content(Some(&kind), source),
        None => Content::File(Media::new(source)),
    })
}
