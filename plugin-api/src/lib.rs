//! The contract between the Maestro host and a provider plugin.
//!
//! A plugin is a shared library that translates between neutral requests and events and one vendor's
//! HTTP. It performs no I/O: no network, files, threads, clocks or environment. The host hands it
//! what happened and does what it says; in return the plugin can be confined, hot-reloaded and
//! replayed, and never sees a secret.
//!
//! Reading order: [`provider`] (the traits that an author implements), [`manifest`] (what a plugin
//! declares), [`chat`] and [`event`] (what is asked and answered), [`exchange`] (the state machine),
//! [`kit`] (ready-made exchanges), [`rules`] (what a host checks), [`export_plugin!`]. The boundary itself is in [`abi`].
//!
//! The whole of a plugin:
//!
//! ```
//! use plugin_api::prelude::*;
//!
//! #[derive(Default)]
//! struct Parrot;
//!
//! impl Provider for Parrot {
//!     const SPEC: PluginSpec = PluginSpec::new("parrot", "0.1.0").providers(&[
//!         ProviderSpec::new("parrot").display_name("Parrot").auth(&[AuthSpec::None]),
//!     ]);
//! }
//!
//! impl StreamingProvider for Parrot {
//!     fn stream_chat(&self, _: &Instance, request: ChatRequest) -> Opened {
//!         Ok(kit::say(request.last_user_text()))
//!     }
//! }
//!
//! plugin_api::export_plugin! { Parrot: streaming }
//! ```
#![allow(
    non_camel_case_types,
    non_local_definitions,
    reason = "abi_stable's derives expand to such items"
)]

pub mod abi;
pub mod auth;
pub mod capability;
pub mod chat;
pub mod error;
pub mod event;
pub mod exchange;
pub mod export;
pub mod http;
pub mod id;
pub mod instance;
pub mod kit;
pub mod manifest;
mod media_bytes;
pub mod operation;
pub mod provider;
pub mod rules;

pub use id::{ChunkId, ContextId, InvalidId, ModelId, PluginId, ProviderId};

/// The contract's version, semver. A host loads plugins of the same major version.
pub const CONTRACT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The contract's minor version: what a host tells its plugins, so that a newer plugin can do without
/// what an older host lacks.
pub const CONTRACT_MINOR: u32 = match u32::from_str_radix(env!("CARGO_PKG_VERSION_MINOR"), 10) {
    Ok(minor) => minor,
    Err(_) => panic!("cargo gives a number"),
};

/// What most plugins import.
pub mod prelude {
    pub use crate::{
        auth::{ApiKeySpec, AuthSpec, PlacementSpec},
        capability::{Capability, Feature},
        chat::{ChatRequest, Content, ContentPart, Message, Role},
        error::{ErrorKind, ProviderError},
        event::{ChatEvent, FinishReason, Usage},
        exchange::{Exchange, Input, Outbox, Timestamp},
        http::{Auth, Body, Headers, HttpRequest, Method},
        instance::Instance,
        kit,
        manifest::{PluginSpec, ProfileSpec, ProviderSpec, SettingSpec, ValueSpec},
        operation::{DescribeModel, ListModels, Model, Reply},
        provider::{
            ApiKeyProvider, ContextProvider, EmbeddingProvider, ModelProvider, OAuthProvider,
            Opened, Provider, StreamingProvider, TokenCounter,
        },
    };
}
