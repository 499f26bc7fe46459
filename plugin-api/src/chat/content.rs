//! The pieces of a message: text, media, reasoning, and what a vendor wants back with them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    is_false,
    tool::{ToolCall, ToolResult},
};

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
    /// Vendor options of this part, by their wire name, as [`ChatRequest::options`](super::ChatRequest::options).
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
