//! Where what a neutral request holds stood in the body that its client wrote.
//!
//! Providers know the neutral request alone and name its places (`messages[1].parts[0]`); clients are
//! told of theirs (`input[0].content[2]`). Both hold the same things in the same order, so the third
//! image of the one is the third of the other. Asked for only when something is refused or left out.

mod parts;

use std::borrow::Cow;

use plugin_api::chat::ChatRequest;
use serde_json::Value;

use crate::{anthropic_messages, gemini, openai_chat, openai_responses};

/// A client's body beside what was read from it.
#[derive(Debug)]
pub struct ClientFields {
    dialect: &'static str,
    body: Value,
    request: ChatRequest,
    /// Where the things of each kind stand in the body.
    parts: Vec<parts::Found>,
}

impl ClientFields {
    /// `dialect` is the body's, `request` what was read from it.
    #[must_use]
    pub fn new(dialect: &'static str, body: &[u8], request: ChatRequest) -> Self {
        let body = serde_json::from_slice(body).unwrap_or_default();
        let parts = parts::list(&body);
        Self { dialect, body, request, parts }
    }

    /// Names the field that a place of the neutral request was read from: the narrowest that is known,
    /// else the place itself. A place is written as in [`Loss::field`](crate::Loss::field).
    #[must_use]
    pub fn name(&self, place: &str) -> String {
        let (head, rest) = place.split_at(place.find(['.', '[']).unwrap_or(place.len()));
        let found = match head {
            "messages" => self.said(rest),
            "tools" => self.tool(rest),
            "options" => rest.strip_prefix('.').map(str::to_owned),
            _ => self.setting(head, rest),
        };
        found.unwrap_or_else(|| place.to_owned())
    }

    /// Puts the client's field into a text that begins with a place between backticks, as a
    /// [`Loss`](crate::Loss) is written; any other stays.
    #[must_use]
    pub fn reword<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let quoted = text.strip_prefix('`').and_then(|rest| rest.split_once('`'));
        let Some((place, rest)) = quoted else { return Cow::Borrowed(text) };
        Cow::Owned(format!("`{}`{rest}", self.name(place)))
    }

    /// Names a message, a part of one, or a part of a tool's answer.
    fn said(&self, rest: &str) -> Option<String> {
        let coarse = || TURNS.into_iter().find(|name| !self.body[name].is_null());
        let found = parts::find(&self.parts, &self.request, rest)
            .map(|(place, member)| self.with_member(place, member));
        found.or_else(|| coarse().map(str::to_owned))
    }

    fn tool(&self, rest: &str) -> Option<String> {
        let (at, member) = parts::index(rest)?;
        let place = tools(&self.body).into_iter().nth(at)?;
        Some(self.with_member(place, member))
    }

    /// Adds to a part's place what the dialect calls a member of it; one that it does not have stays
    /// unsaid.
    fn with_member(&self, place: String, member: &str) -> String {
        let own = match (self.dialect, member.strip_prefix('.').unwrap_or_default()) {
            (anthropic_messages::DIALECT, "cache") => "cache_control",
            (openai_chat::DIALECT, "cache") => "prompt_cache_breakpoint",
            (anthropic_messages::DIALECT, "continuity") => "signature",
            (gemini::DIALECT, "continuity") => "thoughtSignature",
            (anthropic_messages::DIALECT, "citations") => "citations",
            (openai_responses::DIALECT, "citations") => "annotations",
            (_, "strict") => "strict",
            // What one vendor alone gives a part or a tool.
            (_, member) if self.has_member(&place, member) => member,
            _ => return place,
        };
        format!("{place}.{own}")
    }

    fn has_member(&self, place: &str, member: &str) -> bool {
        let pointer = place.replace(['[', '.'], "/").replace(']', "");
        let found = self.body.pointer(&format!("/{pointer}"));
        found.is_some_and(|found| found.get(member).is_some())
    }

    /// Returns what the dialect calls a setting; `None` where it is called the same.
    fn setting(&self, name: &str, rest: &str) -> Option<String> {
        let body = &self.body;
        let has = |name: &str| !body[name].is_null();
        let own = match (self.dialect, name) {
            (openai_chat::DIALECT, "tool_choice") if !has("tool_choice") => "function_call",
            (openai_chat::DIALECT, "reasoning") => "reasoning_effort",
            (openai_chat::DIALECT, "max_output_tokens") if has("max_tokens") => "max_tokens",
            (openai_chat::DIALECT, "max_output_tokens") => "max_completion_tokens",
            (openai_chat::DIALECT | openai_responses::DIALECT, "cache_key") => "prompt_cache_key",
            (openai_chat::DIALECT | openai_responses::DIALECT, "user")
                if has("safety_identifier") =>
            {
                "safety_identifier"
            }
            (openai_responses::DIALECT, "response_format") => "text.format",
            (openai_responses::DIALECT, "context") if has("conversation") => "conversation",
            (openai_responses::DIALECT, "context") => "previous_response_id",
            (anthropic_messages::DIALECT, "response_format") => "output_config.format",
            (anthropic_messages::DIALECT, "stop") => "stop_sequences",
            (anthropic_messages::DIALECT, "reasoning") if rest == ".effort" => {
                "output_config.effort"
            }
            (anthropic_messages::DIALECT, "reasoning") => "thinking",
            (anthropic_messages::DIALECT, "max_output_tokens") => "max_tokens",
            (anthropic_messages::DIALECT, "user") => "metadata.user_id",
            (anthropic_messages::DIALECT, "parallel_tool_calls") => {
                "tool_choice.disable_parallel_tool_use"
            }
            (gemini::DIALECT, "response_format") => {
                let config = ["generationConfig", "generation_config"].map(|name| &body[name]);
                let has = |name: &str| config.iter().any(|config| !config[name].is_null());
                match () {
                    () if has("responseJsonSchema") => "generationConfig.responseJsonSchema",
                    () if has("responseSchema") => "generationConfig.responseSchema",
                    () => "generationConfig.responseMimeType",
                }
            }
            (gemini::DIALECT, "tool_choice") => "toolConfig",
            (gemini::DIALECT, "context") => "cachedContent",
            (gemini::DIALECT, "metadata") => "labels",
            (gemini::DIALECT, name) => GENERATION.iter().find(|(neutral, _)| *neutral == name)?.1,
            _ => return None,
        };
        Some(own.to_owned())
    }
}

/// The fields that hold what is said, the last turns last.
const TURNS: [&str; 5] = ["messages", "input", "contents", "prompt", "system"];

/// What Google's `generationConfig` calls the settings of a request.
const GENERATION: [(&str, &str); 9] = [
    ("stop", "generationConfig.stopSequences"),
    ("reasoning", "generationConfig.thinkingConfig"),
    ("max_output_tokens", "generationConfig.maxOutputTokens"),
    ("temperature", "generationConfig.temperature"),
    ("top_p", "generationConfig.topP"),
    ("top_k", "generationConfig.topK"),
    ("seed", "generationConfig.seed"),
    ("presence_penalty", "generationConfig.presencePenalty"),
    ("frequency_penalty", "generationConfig.frequencyPenalty"),
];

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const IMAGE: &str = "data:image/png;base64,AAAA";

    /// The field of each place, in a body that its dialect can read.
    #[track_caller]
    fn check(dialect: &'static str, body: &Value, fields: &[(&str, &str)]) {
        let bytes = body.to_string().into_bytes();
        let request = match dialect {
            openai_chat::DIALECT => openai_chat::decode_request(&bytes).unwrap().request,
            openai_responses::DIALECT => openai_responses::decode_request(&bytes).unwrap().request,
            anthropic_messages::DIALECT => {
                anthropic_messages::decode_request(&bytes).unwrap().request
            }
            _ => gemini::decode_request("m", &bytes).unwrap().request,
        };
        let names = ClientFields::new(dialect, &bytes, request);
        for (place, field) in fields {
            assert_eq!(names.name(place), *field, "{place}");
        }
    }

    #[test]
    fn chat_completions() {
        let image = json!({"type": "image_url", "image_url": {"url": IMAGE}});
        let said = json!([
            {"role": "system", "content": "s"},
            {"role": "assistant", "reasoning_content": "hm", "content": "", "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "t"}, image]},
            {"role": "user", "name": "n", "content": [{"type": "text", "text": "t"}, image]},
        ]);
        let tools = json!([{"type": "function", "function": {"name": "f"}},
            {"type": "custom", "custom": {"name": "c"}}]);
        let body = json!({"model": "m", "messages": said, "tools": tools, "function_call": "auto",
            "max_tokens": 3});
        check(
            openai_chat::DIALECT,
            &body,
            &[
                ("messages[3].parts[1]", "messages[3].content[1]"),
                ("messages[3].parts[0].cache", "messages[3].content[0].prompt_cache_breakpoint"),
                ("messages[3].name", "messages[3].name"),
                ("messages[1].parts[0]", "messages[1].reasoning_content"),
                ("messages[1].parts[1].kind", "messages[1].tool_calls[0]"),
                ("messages[1].role", "messages[1].role"),
                ("messages[2].parts[0].parts[0]", "messages[2]"),
                ("messages[2].parts[0].parts[1]", "messages[2].content[1]"),
                ("messages[0].parts[0]", "messages[0].content"),
                ("messages[9]", "messages"),
                ("tools[1]", "tools[1]"),
                ("tool_choice", "function_call"),
                ("max_output_tokens", "max_tokens"),
                ("top_k", "top_k"),
            ],
        );
    }

    #[test]
    fn responses() {
        let body = json!({"model": "m", "instructions": "i", "previous_response_id": "r", "input": [
            {"type": "reasoning", "id": "r", "summary": []},
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
        check(
            openai_responses::DIALECT,
            &body,
            &[
                ("messages[0].parts[0]", "instructions"),
                ("messages[1].parts[0].continuity", "input[0]"),
                ("messages[1].parts[1]", "input[1]"),
                ("messages[2].parts[0]", "input[2]"),
                ("messages[3].parts[1]", "input[3].content[1]"),
                ("messages[4].parts[0]", "input[4]"),
                ("tools[1]", "tools[0].tools[1]"),
                ("tools[2]", "tools[1]"),
                ("context", "previous_response_id"),
            ],
        );
    }

    #[test]
    fn messages() {
        let image = json!({"type": "image", "source": {"type": "url", "url": "https://a.test/i"}});
        let own = json!({"type": "server_tool_use", "id": "s"});
        let body = json!({"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "s"}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [image]}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"}, own]},
                {"role": "user", "content": [{"type": "text", "text": "t"}, image]},
            ], "tools": [{"name": "f", "input_schema": {}, "eager_input_streaming": true}],
            "stop_sequences": ["x"]});
        check(
            anthropic_messages::DIALECT,
            &body,
            &[
                ("messages[0].parts[0].cache", "system[0].cache_control"),
                ("messages[1].parts[0].parts[0]", "messages[0].content[0].content[0]"),
                ("messages[2].parts[0].continuity", "messages[1].content[0].signature"),
                ("messages[2].parts[1]", "messages[1].content[1]"),
                ("messages[3].parts[1]", "messages[2].content[1]"),
                ("messages[3]", "messages[2]"),
                ("tools[0].cache", "tools[0].cache_control"),
                ("tools[0].eager_input_streaming", "tools[0].eager_input_streaming"),
                ("tools[0].options", "tools[0]"),
                ("stop", "stop_sequences"),
                ("reasoning.effort", "output_config.effort"),
                ("reasoning.budget_tokens", "thinking"),
                ("response_format", "output_config.format"),
            ],
        );
    }

    #[test]
    fn gemini() {
        let sound = json!({"inline_data": {"mime_type": "audio/wav", "data": "AAAA"}});
        let body = json!({"systemInstruction": "s", "contents": [
            {"role": "user", "parts": [{"text": "t"}, sound]},
            {"role": "model", "parts": [{"text": "hm", "thought": true},
                {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "x"}]},
            {"role": "user", "parts": [{"text": "u"}, {"functionResponse": {
                "name": "f", "response": {"result": "r"}}}]},
            {"role": "model", "parts": [{"executableCode": {"code": "1"}}]},
        ], "tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}, {"googleSearch": {}}],
            "generationConfig": {"responseSchema": {"type": "OBJECT"}}});
        check(
            gemini::DIALECT,
            &body,
            &[
                ("messages[0].parts[0]", "systemInstruction"),
                ("messages[1].parts[1]", "contents[0].parts[1]"),
                ("messages[2].parts[0]", "contents[1].parts[0]"),
                ("messages[2].parts[1].continuity", "contents[1].parts[1].thoughtSignature"),
                ("messages[3].parts[0].parts[0]", "contents[2].parts[1]"),
                ("messages[4].parts[0]", "contents[2].parts[0]"),
                ("messages[5].parts[0]", "contents[3].parts[0]"),
                ("tools[1]", "tools[0].functionDeclarations[1]"),
                ("tools[2]", "tools[1]"),
                ("response_format", "generationConfig.responseSchema"),
                ("reasoning.summary", "generationConfig.thinkingConfig"),
                ("top_k", "generationConfig.topK"),
                ("context", "cachedContent"),
            ],
        );
    }

    #[test]
    fn what_cannot_be_told_apart_is_named_by_its_list() {
        let request = ChatRequest::new("m", vec![plugin_api::chat::Message::user("one")]);
        let body = br#"{"messages":[{"role":"user","content":["one","two"]}]}"#;
        let fields = ClientFields::new(openai_chat::DIALECT, body, request);
        assert_eq!(fields.name("messages[0].parts[0]"), "messages");
    }

    #[test]
    fn only_a_quoted_place_is_put_in_other_words() {
        let fields = ClientFields::new(gemini::DIALECT, b"{}", ChatRequest::default());
        assert_eq!(fields.reword("`top_k` is not sent"), "`generationConfig.topK` is not sent");
        assert_eq!(fields.reword("top_k is `not` sent"), "top_k is `not` sent");
    }
}
