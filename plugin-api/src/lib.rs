//! Scaffold.
pub mod id;
pub use id::{ChunkId, ContextId, ModelId, PluginId, ProviderId};
