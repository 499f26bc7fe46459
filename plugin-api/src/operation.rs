//! The operations of the contract, what goes in and what comes out.
//!
//! Each operation takes one struct and gives one; structs are `#[non_exhaustive]` and grow by fields
//! with defaults, variants never gain any.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    capability::{Feature, Names},
    chat::ChatRequest,
    id::{ChunkId, ContextId, ModelId},
};

/// What the host asks of a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// Answer a conversation; yields events.
    Chat(Box<ChatRequest>),
    /// List models; yields [`Reply::Models`].
    ListModels(ListModels),
    /// Describe one model; yields [`Reply::Model`].
    DescribeModel(DescribeModel),
    /// Turn texts into vectors; yields [`Reply::Embeddings`].
    Embed(EmbedRequest),
    /// Count the tokens of a request; yields [`Reply::TokenCount`].
    CountTokens(Box<ChatRequest>),
    /// List what the provider keeps; yields [`Reply::Chunks`].
    ListContextChunks(ListContextChunks),
    /// Delete what the provider keeps; yields [`Reply::Unit`].
    DeleteContextChunk(DeleteContextChunk),
    /// Judge the shape of a key without sending anything; yields [`Reply::Unit`].
    ValidateApiKey(KeyShape),
    /// Make a cheap authenticated call; yields [`Reply::Account`].
    TestConnection,
    /// Make the URL at which the user logs in; yields [`Reply::AuthUrl`]. Only `handles-secrets`.
    GenerateAuthUrl(AuthUrlRequest),
    /// Trade a code for tokens; yields [`Reply::Tokens`]. Only `handles-secrets`.
    ExchangeCode(ExchangeCode),
    /// Renew tokens; yields [`Reply::Tokens`]. Only `handles-secrets`.
    RefreshToken(Tokens),
    /// Derive what requests carry from tokens; yields [`Reply::Tokens`]. Only `handles-secrets`.
    ExtractApiCredentials(Tokens),
    /// An operation of a newer contract; answered with `NotSupported`.
    #[serde(other)]
    Unknown,
}

impl Operation {
    /// Returns the operation's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Chat(_) => "chat",
            Self::ListModels(_) => "models",
            Self::DescribeModel(_) => "model info",
            Self::Embed(_) => "embeddings",
            Self::CountTokens(_) => "token counting",
            Self::ListContextChunks(_) => "listing contexts",
            Self::DeleteContextChunk(_) => "deleting contexts",
            Self::ValidateApiKey(_) => "key validation",
            Self::TestConnection => "connection test",
            Self::GenerateAuthUrl(_) => "login",
            Self::ExchangeCode(_) => "code exchange",
            Self::RefreshToken(_) => "token refresh",
            Self::ExtractApiCredentials(_) => "credential extraction",
            Self::Unknown => "this operation",
        }
    }

    /// Returns the operation's name on the boundary.
    #[must_use]
    pub const fn wire_name(&self) -> &'static str {
        match self {
            Self::Chat(_) => "chat",
            Self::ListModels(_) => "list_models",
            Self::DescribeModel(_) => "describe_model",
            Self::Embed(_) => "embed",
            Self::CountTokens(_) => "count_tokens",
            Self::ListContextChunks(_) => "list_context_chunks",
            Self::DeleteContextChunk(_) => "delete_context_chunk",
            Self::ValidateApiKey(_) => "validate_api_key",
            Self::TestConnection => "test_connection",
            Self::GenerateAuthUrl(_) => "generate_auth_url",
            Self::ExchangeCode(_) => "exchange_code",
            Self::RefreshToken(_) => "refresh_token",
            Self::ExtractApiCredentials(_) => "extract_api_credentials",
            Self::Unknown => "unknown",
        }
    }

    /// Reports whether running it twice does no more than running it once.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        !matches!(self, Self::Chat(_) | Self::ExchangeCode(_) | Self::RefreshToken(_))
    }
}

/// The typed result of an operation other than chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "value", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// Done; there is nothing to say.
    Unit,
    /// Models.
    Models(Models),
    /// One model.
    Model(Box<Model>),
    /// Vectors.
    Embeddings(Embeddings),
    /// A count.
    TokenCount(TokenCount),
    /// What the provider keeps.
    Chunks(ContextChunks),
    /// Whose credential it is.
    Account(Account),
    /// Where the user logs in.
    AuthUrl(AuthUrl),
    /// Tokens.
    Tokens(Tokens),
    /// A value of a newer contract.
    #[serde(other)]
    Unknown,
}

impl Reply {
    /// Wraps all models, in the vendor's order.
    #[must_use]
    pub fn models(models: Vec<Model>) -> Self {
        Self::Models(Models::new(models))
    }

    /// Wraps a count.
    #[must_use]
    pub fn token_count(input_tokens: u64) -> Self {
        Self::TokenCount(TokenCount::new(input_tokens))
    }

    /// Returns the name of its kind.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Models(_) => "models",
            Self::Model(_) => "model",
            Self::Embeddings(_) => "embeddings",
            Self::TokenCount(_) => "token_count",
            Self::Chunks(_) => "chunks",
            Self::Account(_) => "account",
            Self::AuthUrl(_) => "auth_url",
            Self::Tokens(_) => "tokens",
            Self::Unknown => "unknown",
        }
    }
}

/// A request for the models of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ListModels {
    /// Where the last page ended; absent means all of them. A plugin may always give all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// Models, in the vendor's order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Models {
    /// The models.
    pub models: Vec<Model>,
    /// Where the next page starts; absent when these are all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Models {
    /// Wraps all models.
    #[must_use]
    pub fn new(models: Vec<Model>) -> Self {
        Self { models, next: None }
    }
}

/// A question about one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DescribeModel {
    /// The model.
    pub model: ModelId,
}

impl DescribeModel {
    /// Asks about a model.
    #[must_use]
    pub fn new(model: impl Into<ModelId>) -> Self {
        Self { model: model.into() }
    }
}

/// How many tokens a request has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TokenCount {
    /// Tokens of the request's input.
    pub input_tokens: u64,
    /// Parts of it by name, as in [`Usage::details`](crate::event::Usage::details).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, u64>,
}

impl TokenCount {
    /// Wraps a count.
    #[must_use]
    pub fn new(input_tokens: u64) -> Self {
        Self { input_tokens, details: BTreeMap::new() }
    }
}

/// What to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DeleteContextChunk {
    /// The context.
    pub context: ContextId,
    /// The chunk; absent means the whole context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<ChunkId>,
}

impl DeleteContextChunk {
    /// Asks to delete a chunk, or the whole context.
    #[must_use]
    pub fn new(context: impl Into<ContextId>, chunk: Option<ChunkId>) -> Self {
        Self { context: context.into(), chunk }
    }
}

/// A model that a provider offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Model {
    /// The id that requests name.
    pub id: ModelId,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What it is for; empty when the vendor does not say, which means conversation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<ModelKind>,
    /// Chat features that it understands, where the vendor tells them by model.
    #[serde(skip_serializing_if = "Names::is_empty")]
    pub features: Names<Feature>,
    /// Other ids of the same model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Set when the vendor means to end it: when, or what to use instead; may be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// Most tokens in one prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_input_tokens: Option<u64>,
    /// Most tokens in one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Unix time in seconds at which it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<String>,
    /// Further facts, by the vendor's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, serde_json::Value>,
}

impl Model {
    /// Makes a chat model of which only the id is known.
    #[must_use]
    pub fn new(id: impl Into<ModelId>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// Reports whether one can converse with it.
    #[must_use]
    pub fn is_chat(&self) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&ModelKind::Chat)
    }

    /// Reports whether it makes vectors.
    #[must_use]
    pub fn is_embedding(&self) -> bool {
        self.kinds.contains(&ModelKind::Embedding)
    }
}

/// What a model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelKind {
    /// Conversation.
    #[default]
    Chat,
    /// Vectors.
    Embedding,
    /// Anything else.
    #[serde(other)]
    Other,
}

/// A request for vectors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EmbedRequest {
    /// The model.
    pub model: ModelId,
    /// The texts, in order.
    pub inputs: Vec<String>,
    /// Length of the vectors, where the model lets one choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u64>,
    /// What the vectors are for, in the vendor's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Vendor options by their wire name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, serde_json::Value>,
}

impl EmbedRequest {
    /// Makes a request without settings.
    #[must_use]
    pub fn new(model: impl Into<ModelId>, inputs: Vec<String>) -> Self {
        Self { model: model.into(), inputs, ..Self::default() }
    }
}

/// Vectors, in the order of the inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Embeddings {
    /// One vector an input.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of the inputs, where the vendor says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
}

impl Embeddings {
    /// Wraps vectors.
    #[must_use]
    pub fn new(vectors: Vec<Vec<f32>>, input_tokens: Option<u64>) -> Self {
        Self { vectors, input_tokens }
    }
}

/// A request for a page of what a provider keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ListContextChunks {
    /// The context; absent means all that the provider lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextId>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Most chunks of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A page of what a provider keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ContextChunks {
    /// The chunks.
    pub chunks: Vec<ContextChunk>,
    /// Where the next page starts; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One piece of a context.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ContextChunk {
    /// The context it belongs to.
    pub context: ContextId,
    /// Its id.
    pub id: ChunkId,
    /// What it is, in the vendor's words: `message`, `cached_content`, `file`.
    pub kind: String,
    /// Who spoke, where it is a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its text, where the vendor shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its size in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Unix time in seconds at which it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
    /// Unix time in seconds at which the vendor drops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Further facts, by the vendor's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, serde_json::Value>,
}

/// The shape of a key: enough to tell a typo, not enough to use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct KeyShape {
    /// The key with every letter as `a` and every digit as `9`, except the prefix that the manifest
    /// declares.
    pub mask: String,
}

impl KeyShape {
    /// Masks a key. `prefix` is what the manifest says keys start with.
    #[must_use]
    pub fn of(key: &str, prefix: &str) -> Self {
        let shown = if key.starts_with(prefix) { prefix.len() } else { 0 };
        let mut mask = key[..shown].to_owned();
        mask.extend(key[shown..].chars().map(|c| match c {
            '0'..='9' => '9',
            c if c.is_alphabetic() => 'a',
            c => c,
        }));
        Self { mask }
    }
}

/// Whose credential it is, as far as the vendor says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Account {
    /// The account's name or address, to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Further facts: plan, organization, project.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// What is needed to make a login URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AuthUrlRequest {
    /// Where the browser returns to.
    pub redirect_uri: String,
    /// The host's unguessable state.
    pub state: String,
    /// S256 challenge of the host's PKCE verifier.
    pub code_challenge: String,
}

/// A login URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AuthUrl {
    /// Where the user logs in.
    pub url: String,
}

impl AuthUrl {
    /// Wraps a URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }
}

/// What is needed to trade a code for tokens.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ExchangeCode {
    /// The code.
    pub code: String,
    /// The host's PKCE verifier.
    pub code_verifier: String,
    /// The same as in [`AuthUrlRequest`].
    pub redirect_uri: String,
}

impl std::fmt::Debug for ExchangeCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExchangeCode")
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// Tokens of a login. Only plugins with `handles-secrets` ever see one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token; absent in an answer means the old one stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Seconds until the access token expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// Granted scopes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Facts that are not secret: account, plan, project.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("expires_in", &self.expires_in)
            .field("scopes", &self.scopes)
            .field("attributes", &self.attributes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shape_hides_the_key() {
        assert_eq!(KeyShape::of("sk-Ab9_x", "sk-").mask, "sk-aa9_a");
        assert_eq!(KeyShape::of("kk-1é", "sk-").mask, "aa-9a");
    }

    #[test]
    fn debug_of_tokens_shows_no_token() {
        let mut tokens = Tokens { access_token: "hunter2".into(), ..Tokens::default() };
        tokens.refresh_token = Some("hunter3".into());
        assert!(!format!("{tokens:?}").contains("hunter"));
        let code = ExchangeCode { code: "hunter2".into(), ..ExchangeCode::default() };
        assert!(!format!("{code:?}").contains("hunter"));
    }

    #[test]
    fn an_operation_of_a_newer_contract_reads_as_unknown() {
        let operation: Operation = serde_json::from_str(r#"{"operation":"dream"}"#).unwrap();
        assert_eq!(operation, Operation::Unknown);
    }
}
