//! What a client asks of a chat model, in words that every vendor's dialect can be read into.
//!
//! A [`ChatRequest`] is neutral: a plugin encodes it for its vendor, the gateway decodes it from
//! whatever its client speaks. Structs are `#[non_exhaustive]` and built through `new`, because a
//! later contract may add fields; an older plugin ignores fields it does not know, and a field that
//! an older host did not send takes its default. Required are only what a value is nothing without: a
//! role, the ids and names of tools and calls, where the bytes of a medium are. Enums have an
//! `Unknown` for what a newer host may send; where its meaning matters, a plugin refuses the request
//! with `NotSupported` instead of guessing.

mod content;
mod settings;
mod tool;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    id::{ContextId, ModelId},
    operation::Model,
};

pub use content::{
    CacheControl, Citation, Content, ContentPart, Continuity, DataSource, Media, Opaque, Reasoning,
    Text,
};
pub use settings::{JsonSchema, ReasoningSettings, ResponseFormat, Sampling};
pub use tool::{
    CustomTool, FunctionTool, ToolCall, ToolChoice, ToolDefinition, ToolKind, ToolResult,
};

/// One request to a chat model.
///
/// Everything but [`model`](Self::model) and [`messages`](Self::messages) is optional, and absent
/// means "the vendor's default", never a default of ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The model, as the provider names it.
    pub model: ModelId,
    /// The conversation so far, oldest first. With [`context`](Self::context) only the turns that the
    /// context does not hold yet.
    pub messages: Vec<Message>,
    /// Tools the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDefinition>,
    /// Whether and which tool must be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether several tools may be called in one turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// The form the answer must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// How much the model should reason, and how much of it to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningSettings>,
    /// Sampling settings.
    #[serde(skip_serializing_if = "Sampling::is_default")]
    pub sampling: Sampling,
    /// Upper bound of generated tokens, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Texts at which generation stops; the stop text itself is not part of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// A context kept by the provider that this request continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextId>,
    /// Whether the vendor may keep the conversation, to be continued by its context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    /// Groups requests that share a prefix, for vendors that route by it (`prompt_cache_key`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
    /// An opaque name of the end user, for the vendor's abuse detection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Free labels that a vendor may store with the request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Vendor options by their wire name, for what this vocabulary does not hold.
    ///
    /// A plugin passes on those it knows and warns about the others. They never override a typed
    /// field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
    /// What the host knows of the model, which may be nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_info: Option<Box<Model>>,
    /// Present when the client already speaks the provider's own dialect.
    /// For a count of tokens it holds the headers alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<NativeBody>,
}

impl ChatRequest {
    /// Makes a request with messages and no settings.
    #[must_use]
    pub fn new(model: impl Into<ModelId>, messages: Vec<Message>) -> Self {
        Self { model: model.into(), messages, ..Self::default() }
    }

    /// Returns the text of the last user message, its parts joined.
    #[must_use]
    pub fn last_user_text(&self) -> String {
        self.messages
            .iter()
            .rev()
            .find(|message| message.role == Role::User)
            .map(Message::text)
            .unwrap_or_default()
    }
}

impl ChatRequest {
    /// Returns the name of the tool that a call asked for, for vendors that want it beside the id in
    /// the call's result.
    #[must_use]
    pub fn tool_name(&self, call_id: &str) -> Option<&str> {
        let calls = self.messages.iter().rev().flat_map(Message::tool_calls);
        calls.into_iter().find(|call| call.id == call_id).map(|call| call.name.as_str())
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// The operator of the application.
    System,
    /// The developer; vendors without this role treat it as [`Role::System`].
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The application, answering tool calls.
    Tool,
    /// A role of a newer contract. A plugin answers `NotSupported`: said in another role, a message
    /// means something else.
    #[serde(other)]
    Unknown,
}

impl Role {
    /// Returns the role as the wire formats spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Unknown => "unknown",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// A participant's name, where a vendor tells several of one role apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is said, in order. Order matters: a vendor may require reasoning before the tool call
    /// that it led to.
    #[serde(default)]
    pub parts: Vec<ContentPart>,
}

impl Message {
    /// Makes a message of parts.
    #[must_use]
    pub fn new(role: Role, parts: Vec<ContentPart>) -> Self {
        Self { role, name: None, parts }
    }

    /// Makes a system message of one text.
    #[must_use]
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, vec![ContentPart::text(text)])
    }

    /// Makes a user message of one text.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, vec![ContentPart::text(text)])
    }

    /// Makes an assistant message of one text.
    #[must_use]
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, vec![ContentPart::text(text)])
    }

    /// Makes the answer to one tool call.
    #[must_use]
    pub fn tool_result(call_id: impl Into<String>, text: impl Into<String>) -> Self {
        let result = ToolResult::new(call_id, vec![ContentPart::text(text)]);
        Self::new(Role::Tool, vec![Content::ToolResult(result).into()])
    }

    /// Returns the text parts, joined. Reasoning, refusals and tool results are left out.
    #[must_use]
    pub fn text(&self) -> String {
        let mut joined = String::new();
        for part in &self.parts {
            if let Content::Text(text) = &part.content {
                joined.push_str(&text.text);
            }
        }
        joined
    }

    /// Iterates over the tool calls of the message.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}

/// A client's own body in the provider's own dialect, for pass-through.
///
/// The bytes stay with the host; the plugin sees this index of the top level and sends the body back
/// as [`Piece::Native`](crate::http::Piece::Native) ranges with its changes between them.
///
/// The answer goes to the client as it comes while the plugin reads along, so it sends one request, in
/// the form of the client's. A plugin that cannot pass this body on fails with
/// [`NotSupported`](crate::error::ErrorKind::NotSupported) before it sends anything; the host then asks
/// again with the request in neutral words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NativeBody {
    /// The dialect, for example `openai-chat`.
    pub dialect: String,
    /// Path and query of the client's request, for dialects that put meaning there; never a credential.
    pub path: String,
    /// Headers of the client that belong to the dialect; never credentials.
    pub headers: Vec<(String, String)>,
    /// Length in bytes.
    pub len: u64,
    /// Top-level fields, in order.
    pub fields: Vec<NativeField>,
    /// The words of [`kit::native::WORDS`](crate::kit::native::WORDS) that stand somewhere in the body
    /// as a whole string, name or value: hints of what lies deeper than the fields.
    pub words: Vec<String>,
}

/// One top-level field of a [`NativeBody`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NativeField {
    /// The field's name, unescaped.
    pub name: String,
    /// Byte offset of the key's opening quote, so that a plugin can leave the whole field out.
    pub key_start: u64,
    /// Byte offset at which the value starts.
    pub start: u64,
    /// Byte offset behind the value.
    pub end: u64,
    /// The value itself when it is small (at most 256 bytes of JSON). A small `null` is
    /// `Some(Value::Null)`; `None` means that the value is too long to be here.
    #[serde(deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// Reads a field that is there, so that `null` is told from absence.
fn there<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_message_joins_its_text_parts_only() {
        let message = Message::new(
            Role::Assistant,
            vec![
                Content::Reasoning(Reasoning::new("hm")).into(),
                ContentPart::text("a"),
                ContentPart::text("b"),
            ],
        );
        assert_eq!(message.text(), "ab");
    }

    #[test]
    fn an_unknown_part_of_a_newer_contract_does_not_break_the_request() {
        let text = r#"{"model":"m","messages":[{"role":"user","parts":[
            {"type":"hologram","data":1},{"type":"text","text":"hi","mood":"new field"}]}],"novel":{}}"#;
        let request: ChatRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.messages[0].parts[0].content, Content::Unknown);
        assert_eq!(request.last_user_text(), "hi");
    }

    #[test]
    fn a_result_finds_the_name_of_its_call() {
        let call = Content::ToolCall(ToolCall::new("c1", "weather", "{}")).into();
        let said = Message::new(Role::Assistant, vec![call]);
        let request = ChatRequest::new("m", vec![said, Message::tool_result("c1", "sunny")]);
        assert_eq!(request.tool_name("c1"), Some("weather"));
        assert_eq!(request.tool_name("c2"), None);
    }

    #[test]
    fn absent_settings_are_not_written() {
        let request = ChatRequest::new("m", vec![Message::user("hi")]);
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"model":"m","messages":[{"role":"user","parts":[{"type":"text","text":"hi"}]}]}"#
        );
    }
}
