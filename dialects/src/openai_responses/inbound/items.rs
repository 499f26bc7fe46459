//! Reads the items of a client's input.

use std::borrow::Cow;

use plugin_api::chat::{
    Content, ContentPart, Continuity, DataSource, Media, Message, Opaque, Reasoning, Role,
    ToolCall, ToolKind, ToolResult,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::parts::{self, content};
use crate::{
    base64,
    fields::{parse, parse_all},
    loss::{Loss, RequestError},
    openai_responses::{
        DIALECT, Namespaces, PICTURE_ID,
        carrier::Carried,
        token,
        wire::{joined, text_or_json},
    },
};

#[derive(Deserialize)]
struct WireItem<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    role: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    encrypted_content: Option<String>,
    call_id: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    phase: Option<String>,
    #[serde(borrow)]
    result: Option<Cow<'a, str>>,
    output_format: Option<String>,
}

/// Returns the item of an earlier answer that has an id, as JSON.
pub(super) type Find<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the input: a text, or items. Items of the model that stand together become one message. In
/// the place of a reference stands the item, where it is found.
pub(super) fn read(
    json: &str,
    namespaces: &Namespaces,
    find: Find<'_>,
    messages: &mut Vec<Message>,
    losses: &mut Vec<Loss>,
) -> Result<(), RequestError> {
    if json.starts_with('"') {
        messages.push(Message::user(parse::<String>(json, || "input".into())?));
        return Ok(());
    }
    let list: Vec<&RawValue> = parse(json, || "input".into())?;
    for (at, raw) in list.iter().enumerate() {
        let referred = reference(raw).and_then(|id| find(&id));
        let referred = referred.and_then(|json| RawValue::from_string(json).ok());
        item(at, referred.as_deref().unwrap_or(raw), namespaces, messages, losses)?;
    }
    Ok(())
}

/// Returns the id of what an item only refers to.
fn reference(raw: &RawValue) -> Option<String> {
    // Clients that refer to nothing pay nothing.
    if !raw.get().contains("item_reference") {
        return None;
    }
    let wire: WireItem<'_> = serde_json::from_str(raw.get()).ok()?;
    (wire.kind? == "item_reference").then_some(wire.id?)
}

fn item(
    at: usize,
    raw: &RawValue,
    namespaces: &Namespaces,
    messages: &mut Vec<Message>,
    losses: &mut Vec<Loss>,
) -> Result<(), RequestError> {
    let field = || format!("input[{at}]");
    let (wire, unread): (WireItem<'_>, _) = parse_all(raw.get(), field)?;
    // Others are kept as they came.
    if let None
    | Some(
        "message"
        | "function_call"
        | "custom_tool_call"
        | "function_call_output"
        | "custom_tool_call_output",
    ) = wire.kind.as_deref()
    {
        unread.name(raw.get(), field, losses);
    }
    let missing = |name: &str| RequestError::new(format!("input[{at}].{name}"), "is missing");
    match wire.kind.as_deref() {
        // Clients leave out the type of the easy form.
        Some("message") | None => message(at, wire, messages, losses),
        Some("reasoning") => {
            reasoning(raw, &wire, said(messages));
            Ok(())
        }
        Some(kind @ ("function_call" | "custom_tool_call")) => {
            let custom = kind == "custom_tool_call";
            let id = wire.call_id.ok_or_else(|| missing("call_id"))?;
            let name = wire.name.ok_or_else(|| missing("name"))?;
            let arguments = text_or_json(if custom { wire.input } else { wire.arguments });
            let group = wire.namespace.as_deref().filter(|group| !group.is_empty());
            let neutral = namespaces.neutral(group.unwrap_or_default(), &name);
            let mut call = ToolCall::new(id, neutral.unwrap_or(&name), arguments);
            call.kind = if custom { ToolKind::Custom } else { ToolKind::Function };
            let mut part: ContentPart = Content::ToolCall(call).into();
            let stray = group.filter(|_| neutral.is_none());
            part.continuity.extend(stray.map(|group| Continuity::new(token::NAMESPACE, group)));
            said(messages).push(part);
            Ok(())
        }
        Some(kind @ ("function_call_output" | "custom_tool_call_output")) => {
            let id = wire.call_id.ok_or_else(|| missing("call_id"))?;
            let mut result = ToolResult::new(
                id,
                content(|| format!("input[{at}].output"), wire.output, losses)?,
            );
            if kind == "custom_tool_call_output" {
                result.kind = ToolKind::Custom;
            }
            messages.push(Message::new(Role::Tool, vec![Content::ToolResult(result).into()]));
            Ok(())
        }
        // One that another vendor's model made and we wrote down; the vendor's own go back as they are.
        Some("image_generation_call")
            if wire.id.as_ref().is_some_and(|id| id.starts_with(PICTURE_ID)) =>
        {
            let data = wire.result.as_deref().and_then(base64::decode);
            let data = data.ok_or_else(|| missing("result"))?;
            let format = wire.output_format.as_deref().unwrap_or("png");
            let picture = Media::new(DataSource::Inline { data });
            let picture = picture.media_type(format!("image/{format}"));
            said(messages).push(Content::Image(picture).into());
            Ok(())
        }
        Some(_) => {
            said(messages).push(Content::Opaque(Opaque::new(DIALECT, raw.get())).into());
            Ok(())
        }
    }
}

/// Returns the parts of the model's message that is going on, or of a new one.
fn said(messages: &mut Vec<Message>) -> &mut Vec<ContentPart> {
    if messages.last().is_none_or(|last| last.role != Role::Assistant) {
        messages.push(Message::new(Role::Assistant, Vec::new()));
    }
    let last = messages.len() - 1;
    &mut messages[last].parts
}

fn message(
    at: usize,
    wire: WireItem<'_>,
    messages: &mut Vec<Message>,
    losses: &mut Vec<Loss>,
) -> Result<(), RequestError> {
    let role = match wire.role.as_deref() {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some(role) => {
            let message = format!("`{}` is not a role", role.escape_debug());
            return Err(RequestError::new(format!("input[{at}].role"), message));
        }
        None => return Err(RequestError::new(format!("input[{at}].role"), "is missing")),
    };
    let mut parts = content(|| format!("input[{at}].content"), wire.content, losses)?;
    if role != Role::Assistant {
        messages.push(Message::new(role, parts));
        return Ok(());
    }
    if let Some(phase) = wire.phase {
        for part in &mut parts {
            part.continuity.push(Continuity::new(token::PHASE, phase.as_str()));
        }
    }
    said(messages).append(&mut parts);
    Ok(())
}

fn reasoning(raw: &RawValue, wire: &WireItem<'_>, said: &mut Vec<ContentPart>) {
    let carried = wire.encrypted_content.as_deref().and_then(Carried::unseal);
    if let Some(Carried { tokens, back: Some(back), .. }) = carried {
        if let Some(at) = said.len().checked_sub(back)
            && at < said.len()
        {
            said[at].continuity.extend(tokens);
        }
        return;
    }
    if let Some(Carried { block: Some(block), .. }) = carried {
        said.push(Content::Opaque(block).into());
        return;
    }
    let shown = joined(&parts::texts(wire.content));
    let reasoning = if shown.is_empty() {
        let mut reasoning = Reasoning::new(joined(&parts::texts(wire.summary)));
        reasoning.summary = !reasoning.text.is_empty();
        reasoning
    } else {
        Reasoning::new(shown)
    };
    let mut part: ContentPart = Content::Reasoning(reasoning).into();
    match (carried, wire.encrypted_content.as_deref()) {
        (Some(carried), _) => part.continuity = carried.tokens,
        // An item without it is known by its id alone, to whoever made it, if it was kept there.
        (None, None | Some("")) => {}
        (None, Some(_)) => part.continuity.push(Continuity::new(token::REASONING_ITEM, raw.get())),
    }
    said.push(part);
}
