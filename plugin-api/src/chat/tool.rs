//! Tools: how they are offered, called, answered and chosen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    content::{CacheControl, ContentPart, Opaque},
    is_false,
};

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
