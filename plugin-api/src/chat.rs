//! What a client asks of a chat model, in words that every vendor's dialect can be read into.
//!
//! A [`ChatRequest`] is neutral: a plugin encodes it for its vendor, the gateway decodes it from
//! whatever its client speaks. Structs are `#[non_exhaustive]` and built through `new`, because a
//! later contract may add fields; an older plugin ignores fields it does not know, and a field that
//! an older host did not send takes its default. Required are only what a value is nothing without: a
//! role, the ids and names of tools and calls, where the bytes of a medium are. Enums have an
//! `Unknown` for what a newer host may send; where its meaning matters, a plugin refuses the request
//! with `NotSupported` instead of guessing.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    id::{ContextId, ModelId},
    operation::Model,
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

/// One piece of a message, with what any piece may carry beside its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ContentPart {
    /// The piece itself.
    #[serde(flatten)]
    pub content: Content,
    /// Marks the end of a prefix worth caching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheControl>,
    /// What the vendor gave with this piece and wants back with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub continuity: Vec<Continuity>,
    /// Vendor options of this part, by their wire name, as [`ChatRequest::options`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

impl ContentPart {
    /// Makes a text part.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Content::Text(Text::new(text)).into()
    }

    /// Makes an image part from bytes; `media_type` such as `image/png`.
    #[must_use]
    pub fn image(media_type: impl Into<String>, data: Vec<u8>) -> Self {
        Content::Image(Media::new(DataSource::Inline { data }).media_type(media_type)).into()
    }
}

impl From<Content> for ContentPart {
    fn from(content: Content) -> Self {
        Self { content, cache: None, continuity: Vec::new(), options: BTreeMap::new() }
    }
}

/// What a piece of a message is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Content {
    /// Plain text.
    Text(Text),
    /// A picture.
    Image(Media),
    /// Sound.
    Audio(Media),
    /// A document.
    File(Media),
    /// The model's reasoning, shown or hidden.
    Reasoning(Reasoning),
    /// Why the model would not answer.
    Refusal(Text),
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// A tool's answer.
    ToolResult(ToolResult),
    /// A vendor's own block that must be returned as it came (server tools, compactions).
    Opaque(Opaque),
    /// Something a newer contract knows. Never sent on; reported as a loss.
    #[serde(other)]
    Unknown,
}

/// A text and the sources it names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Text {
    /// The text.
    #[serde(default)]
    pub text: String,
    /// Where its claims come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub citations: Vec<Citation>,
}

impl Text {
    /// Makes a text without citations.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), citations: Vec::new() }
    }
}

/// An image, a sound or a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Media {
    /// Where the bytes are.
    pub source: DataSource,
    /// MIME type such as `image/png`; a URL's may be unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// File name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How closely the model should look at an image: `low`, `high`, `auto`, `original`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Media {
    /// Makes a medium of unknown type.
    #[must_use]
    pub fn new(source: DataSource) -> Self {
        Self { source, media_type: None, name: None, detail: None }
    }

    /// Sets the MIME type.
    #[must_use]
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// Sets the file name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// Where the bytes of a medium are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataSource {
    /// At a URL that the vendor fetches.
    Url {
        /// The address, as the client gave it.
        url: String,
    },
    /// Here. The host replaces it with [`DataSource::Blob`] before a plugin sees the request.
    Inline {
        /// The bytes, not encoded.
        #[serde(with = "crate::media_bytes")]
        data: Vec<u8>,
    },
    /// With the host; a plugin places it in a body as a [`Piece::Blob`](crate::http::Piece::Blob),
    /// and the bytes never cross into plugin memory.
    Blob {
        /// The host's handle, valid for this exchange.
        id: u32,
        /// Length in bytes, before any encoding.
        len: u64,
    },
    /// With the vendor, from an earlier upload.
    File {
        /// The vendor's file id.
        id: String,
        /// The provider that holds it. The host refuses to name it to another; empty when the client
        /// did not say.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        issuer: String,
    },
    /// A place of a newer contract. A plugin answers `NotSupported`, naming the part.
    #[serde(other)]
    Unknown,
}

impl DataSource {
    /// Names a vendor's file.
    #[must_use]
    pub fn file(id: impl Into<String>) -> Self {
        Self::File { id: id.into(), issuer: String::new() }
    }
}

/// A stretch of reasoning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Reasoning {
    /// The reasoning, as far as the vendor shows it; may be empty when only a token came.
    pub text: String,
    /// Whether `text` is the vendor's summary, not the reasoning itself.
    #[serde(skip_serializing_if = "is_false")]
    pub summary: bool,
}

impl Reasoning {
    /// Makes a stretch of reasoning that is shown as it is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), summary: false }
    }
}

/// An opaque token that proves or restores the model's state: a thinking signature, encrypted
/// reasoning, a thought signature.
///
/// The host stamps `issuer` when the token arrives and drops tokens of other issuers before a
/// request goes out, so a fallback never sends one vendor's token to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Continuity {
    /// The provider that gave the token. Empty until the host stamps it.
    #[serde(default)]
    pub issuer: String,
    /// What kind of token it is, in the plugin's own words (`signature`, `encrypted`).
    #[serde(default)]
    pub kind: String,
    /// The token, byte for byte as it came.
    pub token: String,
}

impl Continuity {
    /// Makes a token whose issuer the host will stamp.
    #[must_use]
    pub fn new(kind: impl Into<String>, token: impl Into<String>) -> Self {
        Self { issuer: String::new(), kind: kind.into(), token: token.into() }
    }
}

/// A vendor's block that this vocabulary does not model and that must be returned unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Opaque {
    /// The dialect it belongs to, for example `anthropic-messages`.
    #[serde(default)]
    pub dialect: String,
    /// The provider that gave the block. Empty until the host stamps it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// The block as JSON, byte for byte as it came: order of keys, numbers and white space.
    #[serde(default)]
    pub json: String,
}

impl Opaque {
    /// Wraps a block of a dialect, given as JSON; the host will stamp its issuer.
    #[must_use]
    pub fn new(dialect: impl Into<String>, json: impl Into<String>) -> Self {
        Self { dialect: dialect.into(), issuer: String::new(), json: json.into() }
    }

    /// Reads the block; `None` when it is no JSON.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        serde_json::from_str(&self.json).ok()
    }
}

/// Where a claim comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Citation {
    /// Address of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Title of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The words of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Where the quoted words start in the source, in the vendor's own unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_start: Option<u64>,
    /// Where they end in the source, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_end: Option<u64>,
    /// Where the claim starts in the text part of the answer, in the vendor's own unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_start: Option<u64>,
    /// Where it ends in the answer, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_end: Option<u64>,
    /// The vendor's own form, for clients of the same dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<Value>,
}

/// Marks the end of a prefix worth caching.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CacheControl {
    /// How long the vendor should keep it, in seconds; absent means the vendor's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// How a tool is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolKind {
    /// With arguments as JSON.
    #[default]
    Function,
    /// With free text.
    Custom,
    /// In a way of a newer contract. A plugin answers `NotSupported`.
    #[serde(other)]
    Unknown,
}

/// The model asks for a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// Links the call to its [`ToolResult`].
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Arguments as the model wrote them. Usually JSON; a model may get that wrong, so it stays text.
    #[serde(default)]
    pub arguments: String,
    /// How the tool is called.
    #[serde(default)]
    pub kind: ToolKind,
}

impl ToolCall {
    /// Makes a function call.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        name: impl Into<String>,
        arguments: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
            kind: ToolKind::Function,
        }
    }
}

/// A tool's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolResult {
    /// The call that is answered.
    pub call_id: String,
    /// The tool's name, which some vendors want beside the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The answer: texts, images, files.
    #[serde(default)]
    pub parts: Vec<ContentPart>,
    /// Whether the tool failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_error: bool,
    /// How the tool was called.
    #[serde(default)]
    pub kind: ToolKind,
}

impl ToolResult {
    /// Makes a successful answer.
    #[must_use]
    pub fn new(call_id: impl Into<String>, parts: Vec<ContentPart>) -> Self {
        Self {
            call_id: call_id.into(),
            name: None,
            parts,
            is_error: false,
            kind: ToolKind::Function,
        }
    }
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolDefinition {
    /// Called with JSON arguments.
    Function(FunctionTool),
    /// Called with free text.
    Custom(CustomTool),
    /// Run by the vendor itself (web search, code execution), in the vendor's own form.
    Provider(Opaque),
    /// Something a newer contract knows.
    #[serde(other)]
    Unknown,
}

/// A tool called with JSON arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionTool {
    /// Name; `[A-Za-z_][A-Za-z0-9_-]{0,63}` is accepted by all vendors.
    pub name: String,
    /// What it does and when to use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the arguments; absent means no arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Whether the vendor must enforce the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Marks the end of a prefix worth caching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheControl>,
    /// Vendor options of this tool, by their wire name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

impl FunctionTool {
    /// Makes a tool with a schema for its arguments.
    #[must_use]
    pub fn new(name: impl Into<String>, parameters: Option<Value>) -> Self {
        Self {
            name: name.into(),
            description: None,
            parameters,
            strict: None,
            cache: None,
            options: BTreeMap::new(),
        }
    }
}

/// A tool called with free text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CustomTool {
    /// Name, as for [`FunctionTool::name`].
    pub name: String,
    /// What it does and when to use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The form the text must have, in the vendor's own words (a grammar, for example).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Value>,
    /// Vendor options of this tool, by their wire name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

impl CustomTool {
    /// Makes a tool that takes any text.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), description: None, format: None, options: BTreeMap::new() }
    }
}

/// Whether and which tool must be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// At least one tool.
    Required,
    /// This tool.
    Tool {
        /// Its name.
        name: String,
        /// How it is called.
        #[serde(default)]
        kind: ToolKind,
    },
    /// Only these, as [`ToolChoice::Auto`] or, if `required`, as [`ToolChoice::Required`].
    Allowed {
        /// Their names.
        names: Vec<String>,
        /// Whether one of them must be called.
        #[serde(default)]
        required: bool,
    },
    /// A choice of a newer contract. A plugin answers `NotSupported`.
    #[serde(other)]
    Unknown,
}

/// The form an answer must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Free text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema(JsonSchema),
    /// A form of a newer contract. A plugin answers `NotSupported`.
    #[serde(other)]
    Unknown,
}

/// A schema for an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JsonSchema {
    /// A name; some vendors want one.
    pub name: String,
    /// What the answer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema.
    #[serde(default)]
    pub schema: Value,
    /// Whether the vendor must enforce it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl JsonSchema {
    /// Makes a schema without a description.
    #[must_use]
    pub fn new(name: impl Into<String>, schema: Value) -> Self {
        Self { name: name.into(), description: None, schema, strict: None }
    }
}

/// How much the model should reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ReasoningSettings {
    /// Effort in the vendors' shared words: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Upper bound of reasoning tokens; 0 turns reasoning off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_tokens: Option<u64>,
    /// Whether the model chooses its own depth (Anthropic `adaptive`, Gemini budget -1).
    #[serde(skip_serializing_if = "is_false")]
    pub adaptive: bool,
    /// What of the reasoning to show: `none`, `auto`, `concise`, `detailed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// Sampling settings; absent means the vendor's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Sampling {
    /// Randomness, usually 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus: the probability mass to sample from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// How many candidates to sample from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    /// Penalty for tokens by how often they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Penalty for tokens that came at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Seed for repeatable answers, as far as a vendor offers them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

impl Sampling {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A client's own body in the provider's own dialect, for pass-through.
///
/// The bytes stay with the host; the plugin sees this index of the top level and sends the body back
/// as [`Piece::Native`](crate::http::Piece::Native) ranges with its changes between them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NativeBody {
    /// The dialect, for example `openai-chat`.
    pub dialect: String,
    /// Path and query of the client's request, as far as the dialect puts meaning there.
    pub path: String,
    /// Headers of the client that belong to the dialect; never credentials.
    pub headers: Vec<(String, String)>,
    /// Length in bytes.
    pub len: u64,
    /// Top-level fields, in order.
    pub fields: Vec<NativeField>,
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
