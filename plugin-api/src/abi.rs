//! The boundary between host and plugin.
//!
//! [`message`] is the form in which everything crosses, [`entry`] the functions that a library
//! exports, [`codec`] the translation between messages and typed values, used by both sides. Authors
//! of plugins in Rust need none of this; a library in another language is written against it.
//! This folder and [`export`](crate::export) hold the only `unsafe` code of the crate.

pub mod codec;
pub mod entry;
pub mod message;
mod sink;

pub use codec::{Effect, Emit, MessageError, Output};
pub use entry::{Extension, PluginModule, PluginModulePrefix, PluginModuleRef};
pub use message::{Message, Sink};
pub(crate) use sink::SinkEmitter;
