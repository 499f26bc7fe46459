//! The traits that an author implements.
//!
//! A plugin is a type without state. [`Provider`] declares it, the other traits each add one
//! behaviour, and [`export_plugin!`](crate::export_plugin) names them. Every method returns an
//! [`Exchange`] that the host then drives; [`kit`] makes the usual ones.

use crate::{
    chat::ChatRequest,
    error::{ErrorKind, ProviderError},
    exchange::Exchange,
    instance::Instance,
    kit,
    manifest::PluginSpec,
    operation::{
        AuthUrlRequest, DeleteContextChunk, DescribeModel, EmbedRequest, ExchangeCode, KeyShape,
        ListContextChunks, ListModels, Reply, Tokens,
    },
};

/// What a behaviour's method gives: the exchange, or why there is none.
///
/// A failure here ends the operation before anything is sent.
pub type Opened = Result<Box<dyn Exchange + Send>, ProviderError>;

/// A plugin's declaration. Every plugin implements it.
pub trait Provider: Default {
    /// What the plugin is and offers. Built into the library's manifest section.
    const SPEC: PluginSpec;
}

/// Answers conversations. Named `streaming` in [`export_plugin!`](crate::export_plugin).
pub trait StreamingProvider: Provider {
    /// Opens an exchange that answers a conversation with events.
    ///
    /// # Errors
    ///
    /// Usually [`ErrorKind::InvalidRequest`] or [`ErrorKind::NotSupported`], naming the field.
    fn stream_chat(&self, instance: &Instance, request: ChatRequest) -> Opened;
}

/// Logs in with a key. Named `api_key`.
///
/// The key itself never comes here: the host checks it against the manifest's pattern and puts it
/// into requests.
pub trait ApiKeyProvider: Provider {
    /// Judges the shape of a key beyond what the manifest's `prefix` and `min_length` say.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Authentication`], saying what is wrong with the shape.
    fn validate_api_key(&self, shape: &KeyShape) -> Result<(), ProviderError> {
        let _ = shape;
        Ok(())
    }

    /// Opens a cheap authenticated call that ends in [`Reply::Account`].
    ///
    /// Costs the user nothing, if the vendor allows: listing models is usual.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotSupported`], unless implemented.
    fn test_connection(&self, instance: &Instance) -> Opened {
        let _ = instance;
        Err(ProviderError::not_supported("connection test"))
    }
}

/// Logs in through a flow that data cannot describe. Named `oauth`.
///
/// Flows that the manifest's [`OAuthScheme`](crate::auth::OAuthScheme) describes are run by the host
/// and need none of this. Implementing it declares `handles-secrets`: such a plugin runs only
/// confined, and only after the user agreed.
pub trait OAuthProvider: Provider {
    /// Makes the URL at which the user logs in.
    ///
    /// # Errors
    ///
    /// Why it cannot be made.
    fn generate_auth_url(&self, instance: &Instance, request: AuthUrlRequest) -> Opened;

    /// Trades a code for tokens.
    ///
    /// # Errors
    ///
    /// Why it cannot be traded.
    fn exchange_code(&self, instance: &Instance, request: ExchangeCode) -> Opened;

    /// Renews tokens.
    ///
    /// # Errors
    ///
    /// Why they cannot be renewed.
    fn refresh_token(&self, instance: &Instance, tokens: Tokens) -> Opened;

    /// Derives what requests carry from tokens; unless implemented, the access token itself.
    ///
    /// # Errors
    ///
    /// Why it cannot be derived.
    fn extract_api_credentials(&self, instance: &Instance, tokens: Tokens) -> Opened {
        let _ = instance;
        Ok(kit::ready(Reply::Tokens(tokens)))
    }
}

/// Lists models. Named `models`.
pub trait ModelProvider: Provider {
    /// Opens an exchange that ends in [`Reply::Models`]: usually all of them, whatever page is asked for.
    ///
    /// # Errors
    ///
    /// Why they cannot be listed.
    fn list_models(&self, instance: &Instance, request: ListModels) -> Opened;

    /// Opens an exchange that ends in [`Reply::Model`]; unless implemented, the host finds the model
    /// in the list.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotSupported`], unless implemented.
    fn model_info(&self, instance: &Instance, request: DescribeModel) -> Opened {
        let _ = (instance, request);
        Err(ProviderError::not_supported("model info"))
    }
}

/// Lists and deletes what the vendor keeps of conversations. Named `contexts`.
pub trait ContextProvider: Provider {
    /// Opens an exchange that ends in [`Reply::Chunks`], one page.
    ///
    /// # Errors
    ///
    /// Why they cannot be listed.
    fn list_context_chunks(&self, instance: &Instance, request: ListContextChunks) -> Opened;

    /// Opens an exchange that ends in [`Reply::Unit`]. A chunk that is already gone is
    /// [`ErrorKind::NotFound`].
    ///
    /// # Errors
    ///
    /// Why it cannot be deleted.
    fn delete_context_chunk(&self, instance: &Instance, request: DeleteContextChunk) -> Opened;
}

/// Turns texts into vectors. Named `embeddings`.
pub trait EmbeddingProvider: Provider {
    /// Opens an exchange that ends in [`Reply::Embeddings`].
    ///
    /// # Errors
    ///
    /// Why there can be none.
    fn embed(&self, instance: &Instance, request: EmbedRequest) -> Opened;
}

/// Counts tokens. Named `token_count`.
pub trait TokenCounter: Provider {
    /// Opens an exchange that ends in [`Reply::TokenCount`].
    ///
    /// # Errors
    ///
    /// Why they cannot be counted.
    fn count_tokens(&self, instance: &Instance, request: ChatRequest) -> Opened;
}

/// Makes the error for a request that names what the provider cannot do.
#[must_use]
pub fn unsupported_field(field: &str, why: &str) -> ProviderError {
    ProviderError::new(ErrorKind::NotSupported, format!("`{field}` {why}")).code(field)
}
