//! Where what a neutral request holds stood in the body that its client wrote.
//!
//! Providers know the neutral request alone and name its places (`messages[1].parts[0]`); clients are
//! told of theirs (`input[0].content[2]`). Both hold the same things in the same order, so the third
//! image of the one is the third of the other. Asked for only when a request is refused.

use plugin_api::chat::{ChatRequest, Content, ContentPart};
use serde_json::{Map, Value};

use crate::{anthropic_messages, gemini, openai_chat, openai_responses};

/// Names the field of a client's body that a place of the neutral request was read from: the narrowest
/// that is known, else the place itself.
///
/// `dialect` is the body's, `request` what was read from it; `place` is written as in
/// [`Loss::field`](crate::Loss::field).
#[must_use]
pub fn client_field(dialect: &str, body: &[u8], request: &ChatRequest, place: &str) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let (head, rest) = place.split_at(place.find(['.', '[']).unwrap_or(place.len()));
    let found = match head {
        "messages" => part_in(&body, request, rest).or_else(|| {
            let turns = TURNS.into_iter().find(|name| !body[name].is_null());
            turns.map(str::to_owned)
        }),
        "tools" => index(rest).and_then(|at| tools(&body).into_iter().nth(at)),
        "options" => rest.strip_prefix('.').map(str::to_owned),
        setting => self::setting(dialect, &body, setting).map(str::to_owned),
    };
    found.unwrap_or_else(|| place.to_owned())
}

/// The fields that hold what is said, the last turns last.
const TURNS: [&str; 5] = ["messages", "input", "contents", "prompt", "system"];

/// Returns what a dialect calls a setting; `None` where it is called the same.
fn setting(dialect: &str, body: &Value, name: &str) -> Option<&'static str> {
    Some(match (dialect, name) {
        (openai_chat::DIALECT, "tool_choice") if body["tool_choice"].is_null() => "function_call",
        (openai_chat::DIALECT, "reasoning") => "reasoning_effort",
        (openai_responses::DIALECT, "response_format") => "text.format",
        (openai_responses::DIALECT, "context") if !body["conversation"].is_null() => "conversation",
        (openai_responses::DIALECT, "context") => "previous_response_id",
        (anthropic_messages::DIALECT, "response_format") => "output_config.format",
        (anthropic_messages::DIALECT, "stop") => "stop_sequences",
        (anthropic_messages::DIALECT, "reasoning") => "thinking",
        (gemini::DIALECT, "response_format") => {
            let config = ["generationConfig", "generation_config"].map(|name| &body[name]);
            let has = |name: &str| config.iter().any(|config| !config[name].is_null());
            match () {
                () if has("responseJsonSchema") => "generationConfig.responseJsonSchema",
                () if has("responseSchema") => "generationConfig.responseSchema",
                () => "generationConfig.responseMimeType",
            }
        }
        (gemini::DIALECT, "stop") => "generationConfig.stopSequences",
        (gemini::DIALECT, "tool_choice") => "toolConfig",
        (gemini::DIALECT, "context") => "cachedContent",
        _ => return None,
    })
}

/// Lists the places of the tools, those in groups too, in every dialect's form.
fn tools(body: &Value) -> Vec<String> {
    let mut places = Vec::new();
    for name in ["tools", "functions"] {
        for (at, tool) in body[name].as_array().into_iter().flatten().enumerate() {
            let groups = ["tools", "functionDeclarations", "function_declarations"];
            let group = groups.into_iter().find_map(|name| Some((name, tool[name].as_array()?)));
            match group {
                Some((group, tools)) => {
                    places
                        .extend((0..tools.len()).map(|nth| format!("{name}[{at}].{group}[{nth}]")));
                }
                None => places.push(format!("{name}[{at}]")),
            }
        }
    }
    places
}

/// What may be refused for what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Image,
    Audio,
    File,
    /// A vendor's own block.
    Own,
}

impl Kind {
    fn of(part: &ContentPart) -> Option<Self> {
        match part.content {
            Content::Image(_) => Some(Self::Image),
            Content::Audio(_) => Some(Self::Audio),
            Content::File(_) => Some(Self::File),
            Content::Opaque(_) => Some(Self::Own),
            _ => None,
        }
    }

    /// Reads what a part of a client's body is, in any of the dialects: they agree where their words
    /// meet.
    fn of_wire(part: &Map<String, Value>) -> Option<Self> {
        let data = ["inlineData", "inline_data", "fileData", "file_data"];
        if let Some(data) = data.into_iter().find_map(|name| part.get(name)?.as_object()) {
            let kind = data.get("mimeType").or_else(|| data.get("mime_type"));
            return match kind.and_then(Value::as_str).and_then(|kind| kind.split('/').next()) {
                Some("image") => Some(Self::Image),
                Some("audio") => Some(Self::Audio),
                _ => Some(Self::File),
            };
        }
        match part.get("type")?.as_str()? {
            "image_url" | "input_image" | "image" => Some(Self::Image),
            "input_audio" => Some(Self::Audio),
            "file" | "input_file" | "document" => Some(Self::File),
            "message"
            | "text"
            | "input_text"
            | "output_text"
            | "refusal"
            | "thinking"
            | "redacted_thinking"
            | "reasoning"
            | "tool_use"
            | "tool_result"
            | "function_call"
            | "function_call_output"
            | "custom_tool_call"
            | "custom_tool_call_output" => None,
            _ => Some(Self::Own),
        }
    }
}

/// Finds what `messages` and this rest of a place name in a client's body.
fn part_in(body: &Value, request: &ChatRequest, rest: &str) -> Option<String> {
    let mut indices = rest.split(".parts").map(index);
    let message = request.messages.get(indices.next()??)?;
    let outer = message.parts.get(indices.next()??)?;
    let asked = match (indices.next().flatten(), &outer.content) {
        (Some(inner), Content::ToolResult(result)) => result.parts.get(inner)?,
        _ => outer,
    };
    let kind = Kind::of(asked)?;
    let all = request.messages.iter().flat_map(|message| &message.parts);
    // A tool's answer is known by what it holds.
    let each = all.flat_map(|part| match &part.content {
        Content::ToolResult(result) => &result.parts[..],
        _ => std::slice::from_ref(part),
    });
    let before = each.take_while(|part| !std::ptr::eq(*part, asked));
    let nth = before.filter(|part| Kind::of(part) == Some(kind)).count();
    let mut found = Vec::new();
    for name in
        ["system", "systemInstruction", "system_instruction", "messages", "input", "contents"]
    {
        walk(&body[name], name, kind, &mut found);
    }
    found.into_iter().nth(nth)
}

/// Lists the places of all parts of a kind, in order.
fn walk(value: &Value, place: &str, kind: Kind, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => {
            for (nth, value) in list.iter().enumerate() {
                walk(value, &format!("{place}[{nth}]"), kind, found);
            }
        }
        Value::Object(part) => {
            if Kind::of_wire(part) == Some(kind) {
                found.push(place.to_owned());
            }
            for name in ["content", "output", "parts", "functionResponse", "function_response"] {
                if let Some(inner) = part.get(name) {
                    walk(inner, &format!("{place}.{name}"), kind, found);
                }
            }
        }
        _ => {}
    }
}

/// Reads the index that a place begins with: `[12]`.
fn index(place: &str) -> Option<usize> {
    place.strip_prefix('[')?.split_once(']')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const IMAGE: &str = "data:image/png;base64,AAAA";

    /// The field of each place, in a body that its dialect can read.
    fn fields(dialect: &str, body: &Value, places: &[&str]) -> Vec<String> {
        let bytes = body.to_string().into_bytes();
        let request = match dialect {
            openai_chat::DIALECT => openai_chat::decode_request(&bytes).unwrap().request,
            openai_responses::DIALECT => openai_responses::decode_request(&bytes).unwrap().request,
            anthropic_messages::DIALECT => {
                anthropic_messages::decode_request(&bytes).unwrap().request
            }
            _ => gemini::decode_request("m", &bytes).unwrap().request,
        };
        places.iter().map(|place| client_field(dialect, &bytes, &request, place)).collect()
    }

    #[test]
    fn chat_completions() {
        let image = json!({"type": "image_url", "image_url": {"url": IMAGE}});
        let said = json!([
            {"role": "system", "content": "s"},
            {"role": "assistant", "reasoning_content": "hm", "content": "a", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": [image]},
            {"role": "user", "content": [{"type": "text", "text": "t"}, image]},
        ]);
        let tools = json!([{"type": "function", "function": {"name": "f"}},
            {"type": "custom", "custom": {"name": "c"}}]);
        let body = json!({"model": "m", "messages": said, "tools": tools, "function_call": "auto"});
        let places =
            ["messages[3].parts[1]", "tools[1]", "tool_choice", "messages[1].role", "top_k"];
        assert_eq!(
            fields(openai_chat::DIALECT, &body, &places),
            ["messages[3].content[1]", "tools[1]", "function_call", "messages", "top_k"]
        );
        let held = "messages[2].parts[0].parts[0]";
        assert_eq!(fields(openai_chat::DIALECT, &body, &[held]), ["messages[2].content[0]"]);
    }

    #[test]
    fn responses() {
        let body = json!({"model": "m", "instructions": "i", "previous_response_id": "r", "input": [
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [
                {"type": "input_file", "file_id": "f"}]},
            {"role": "user", "content": [
                {"type": "input_text", "text": "t"}, {"type": "input_file", "file_id": "f"}]},
            {"type": "web_search_call", "id": "w"},
        ], "tools": [
            {"type": "namespace", "name": "n", "tools": [
                {"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]},
            {"type": "web_search"},
        ]});
        let places =
            ["messages[3].parts[1]", "messages[4].parts[0]", "tools[1]", "tools[2]", "context"];
        assert_eq!(
            fields(openai_responses::DIALECT, &body, &places),
            [
                "input[2].content[1]",
                "input[3]",
                "tools[0].tools[1]",
                "tools[1]",
                "previous_response_id"
            ]
        );
    }

    #[test]
    fn messages() {
        let image = json!({"type": "image", "source": {"type": "url", "url": "https://a.test/i"}});
        let own = json!({"type": "server_tool_use", "id": "s"});
        let body = json!({"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "s"}],
            "messages": [
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [image]}]},
                {"role": "assistant", "content": [own]},
                {"role": "user", "content": [{"type": "text", "text": "t"}, image]},
            ], "stop_sequences": ["x"]});
        let held = "messages[1].parts[0].parts[0]";
        let places =
            ["messages[3].parts[1]", held, "messages[2].parts[0]", "stop", "response_format"];
        assert_eq!(
            fields(anthropic_messages::DIALECT, &body, &places),
            [
                "messages[2].content[1]",
                "messages[0].content[0].content[0]",
                "messages[1].content[0]",
                "stop_sequences",
                "output_config.format"
            ]
        );
    }

    #[test]
    fn gemini() {
        let sound = json!({"inline_data": {"mime_type": "audio/wav", "data": "AAAA"}});
        let body = json!({"systemInstruction": "s", "contents": [
            {"role": "user", "parts": [{"text": "t"}, sound]},
        ], "tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}, {"googleSearch": {}}],
            "generationConfig": {"responseSchema": {"type": "OBJECT"}}});
        let places = ["messages[1].parts[1]", "tools[1]", "tools[2]", "response_format", "context"];
        assert_eq!(
            fields(gemini::DIALECT, &body, &places),
            [
                "contents[0].parts[1]",
                "tools[0].functionDeclarations[1]",
                "tools[1]",
                "generationConfig.responseSchema",
                "cachedContent",
            ]
        );
    }
}
