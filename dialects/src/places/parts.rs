//! What is said, part by part: in the neutral request and in a client's body.

use plugin_api::chat::{ChatRequest, Content, ContentPart};
use serde_json::{Map, Value};

use crate::openai_responses::PICTURE_ID;

/// A part of a client's body.
#[derive(Debug)]
pub(super) struct Found {
    kind: Kind,
    place: String,
}

/// What a part is, as far as all dialects tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Image,
    Audio,
    File,
    Reasoning,
    ToolCall,
    ToolResult,
    /// A vendor's own block.
    Own,
}

impl Kind {
    fn of(part: &ContentPart) -> Option<Self> {
        Some(match part.content {
            Content::Text(_) => Self::Text,
            Content::Refusal(_) => Self::Refusal,
            Content::Image(_) => Self::Image,
            Content::Audio(_) => Self::Audio,
            Content::File(_) => Self::File,
            Content::Reasoning(_) => Self::Reasoning,
            Content::ToolCall(_) => Self::ToolCall,
            Content::ToolResult(_) => Self::ToolResult,
            Content::Opaque(_) => Self::Own,
            _ => return None,
        })
    }

    /// Reads what an object of a client's body is, in any of the dialects: they agree where their words
    /// meet. `None` for what only holds parts.
    fn of_wire(part: &Map<String, Value>) -> Option<Self> {
        let Some(kind) = part.get("type").and_then(Value::as_str) else {
            return Self::of_googles(part);
        };
        Some(match kind {
            "message" => return None,
            "image_generation_call" => match part.get("id").and_then(Value::as_str) {
                Some(id) if id.starts_with(PICTURE_ID) => Self::Image,
                _ => Self::Own,
            },
            "text" | "input_text" | "output_text" => Self::Text,
            "refusal" => Self::Refusal,
            "image_url" | "input_image" | "image" => Self::Image,
            "input_audio" => Self::Audio,
            "file" | "input_file" | "document" => Self::File,
            "thinking" | "redacted_thinking" | "reasoning" => Self::Reasoning,
            "tool_use" | "function_call" | "custom_tool_call" => Self::ToolCall,
            "tool_result" | "function_call_output" | "custom_tool_call_output" => Self::ToolResult,
            _ => Self::Own,
        })
    }

    /// Reads what a part without a type is, which Google's are; messages have none either.
    fn of_googles(part: &Map<String, Value>) -> Option<Self> {
        let has = |names: [&str; 2]| names.into_iter().find_map(|name| part.get(name));
        let thought = part.get("thought") == Some(&Value::Bool(true));
        let role = part.get("role").and_then(Value::as_str);
        if matches!(role, Some("tool" | "function")) && !part.contains_key("parts") {
            return Some(Self::ToolResult);
        }
        if ["role", "content", "parts"].iter().any(|name| part.contains_key(*name)) {
            return None;
        }
        if part.contains_key("text") {
            return Some(if thought { Self::Reasoning } else { Self::Text });
        }
        if has(["functionCall", "function_call"]).is_some() {
            return Some(Self::ToolCall);
        }
        if has(["functionResponse", "function_response"]).is_some() {
            return Some(Self::ToolResult);
        }
        let inline = has(["inlineData", "inline_data"]).filter(|_| !thought);
        let Some(data) = inline.or_else(|| has(["fileData", "file_data"])) else {
            let signature = has(["thoughtSignature", "thought_signature"]).is_some();
            let rest =
                part.len() - usize::from(signature) - usize::from(part.contains_key("thought"));
            return match (thought || rest > 0, signature) {
                (true, _) => Some(Self::Own),
                (false, true) => Some(Self::Text),
                (false, false) => None,
            };
        };
        let kind = data.get("mimeType").or_else(|| data.get("mime_type"));
        Some(match kind.and_then(Value::as_str).and_then(|kind| kind.split('/').next()) {
            Some("image") => Self::Image,
            Some("audio") => Self::Audio,
            _ => Self::File,
        })
    }
}

/// Lists the parts of a client's body, in the order of the neutral request's.
pub(super) fn list(body: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    for name in ["system", "systemInstruction", "system_instruction", "instructions"] {
        walk(&body[name], name, &mut found);
    }
    for name in ["messages", "input", "contents"] {
        walk(&body[name], name, &mut found);
    }
    found
}

fn walk(value: &Value, place: &str, found: &mut Vec<Found>) {
    match value {
        Value::String(text) if !text.is_empty() => {
            found.push(Found { kind: Kind::Text, place: place.to_owned() });
        }
        Value::Array(list) => {
            for (nth, value) in list.iter().enumerate() {
                walk(value, &format!("{place}[{nth}]"), found);
            }
        }
        Value::Object(part) => object(part, place, found),
        _ => {}
    }
}

fn object(part: &Map<String, Value>, place: &str, found: &mut Vec<Found>) {
    let mut push = |kind, place| found.push(Found { kind, place });
    let kind = Kind::of_wire(part);
    if let Some(kind) = kind {
        push(kind, place.to_owned());
    }
    match kind {
        None => {}
        Some(Kind::ToolResult) => {
            let before = found.len();
            for name in ["content", "output", "functionResponse", "function_response"] {
                let Some(held) = part.get(name) else { continue };
                match held.get("parts") {
                    Some(parts) => walk(parts, &format!("{place}.{name}.parts"), found),
                    None if !held.is_object() => walk(held, &format!("{place}.{name}"), found),
                    None => {}
                }
            }
            // Its texts may come in any number of pieces.
            let mut nth = 0;
            found.retain(|part| {
                nth += 1;
                nth <= before || part.kind != Kind::Text
            });
            return;
        }
        Some(_) => return,
    }
    let said = |name: &str| match part.get(name) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(_)) => name == "reasoning_details",
        _ => false,
    };
    let thoughts = ["reasoning_content", "reasoning", "reasoning_details"];
    if let Some(name) = thoughts.into_iter().find(|name| said(name)) {
        push(Kind::Reasoning, format!("{place}.{name}"));
    }
    for name in ["content", "parts"] {
        if let Some(held) = part.get(name) {
            walk(held, &format!("{place}.{name}"), found);
        }
    }
    let mut push = |kind, place| found.push(Found { kind, place });
    let images = part.get("images").and_then(Value::as_array).map_or(0, Vec::len);
    for nth in 0..images {
        push(Kind::Image, format!("{place}.images[{nth}]"));
    }
    if said("refusal") {
        push(Kind::Refusal, format!("{place}.refusal"));
    }
    let calls = part.get("tool_calls").and_then(Value::as_array).map_or(0, Vec::len);
    for nth in 0..calls {
        push(Kind::ToolCall, format!("{place}.tool_calls[{nth}]"));
    }
    if part.get("function_call").is_some_and(Value::is_object) {
        push(Kind::ToolCall, format!("{place}.function_call"));
    }
}

/// Finds what the rest of a place behind `messages` names: its place in the body, and which member of it
/// is meant (`.cache`). `None` where the body holds more or fewer of the kind than the request.
pub(super) fn find<'a>(
    found: &[Found],
    request: &ChatRequest,
    rest: &'a str,
) -> Option<(String, &'a str)> {
    let (at, rest) = index(rest)?;
    let message = request.messages.get(at)?;
    let Some((at, rest)) = rest.strip_prefix(".parts").and_then(index) else {
        // Of a message as a whole, that of its first part.
        let place = locate(found, request, message.parts.first()?)?;
        let end = place.find(']').map_or(place.len(), |end| end + 1);
        return Some((place[..end].to_owned(), rest));
    };
    let outer = message.parts.get(at)?;
    let inner = rest.strip_prefix(".parts").and_then(index);
    let (asked, member) = match (inner, &outer.content) {
        (Some((at, rest)), Content::ToolResult(result)) => match result.parts.get(at)? {
            // Stands in the answer, where it is not looked for.
            part if Kind::of(part) == Some(Kind::Text) => (outer, ""),
            part => (part, rest),
        },
        _ => (outer, rest),
    };
    Some((locate(found, request, asked)?.to_owned(), member))
}

fn locate<'a>(found: &'a [Found], request: &ChatRequest, asked: &ContentPart) -> Option<&'a str> {
    let kind = Kind::of(asked)?;
    let of_kind = |part: &&ContentPart| Kind::of(part) == Some(kind);
    let mut same = all(request).filter(of_kind);
    let nth = same.position(|part| std::ptr::eq(part, asked))?;
    let count = nth + 1 + same.count();
    let mut places = found.iter().filter(|found| found.kind == kind);
    let place = places.nth(nth)?;
    (nth + 1 + places.count() == count).then_some(&place.place)
}

/// Lists the parts of a request, those of tools' answers behind each; of the latter no texts.
fn all(request: &ChatRequest) -> impl Iterator<Item = &ContentPart> {
    request.messages.iter().flat_map(|message| &message.parts).flat_map(|part| {
        let inner = match &part.content {
            Content::ToolResult(result) => &result.parts[..],
            _ => &[],
        };
        let held = inner.iter().filter(|part| Kind::of(part) != Some(Kind::Text));
        std::iter::once(part).chain(held)
    })
}

/// Reads the index that a place begins with (`[12]`), and what follows.
pub(super) fn index(place: &str) -> Option<(usize, &str)> {
    let (index, rest) = place.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}
