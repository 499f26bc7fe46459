//! The boundary between host and plugin.
//!
//! [`message`] is the form in which everything crosses, [`entry`] the functions that a library
//! exports, [`codec`] the translation between messages and typed values, used by both sides. Authors
//! need none of this: a library is built with `plugin-api`, whose `export_plugin!` also writes the
//! header with the types' layout that the host checks. Nothing else can make that header, so a
//! library in another language needs a shell in Rust.
//! This folder and [`export`](crate::export) hold the only `unsafe` code of the crate.

pub mod codec;
mod depth;
pub mod entry;
pub mod message;
mod sink;

pub use codec::{Effect, Emit, MessageError, Output};
pub use entry::{Extension, PluginModule, PluginModulePrefix, PluginModuleRef};
pub use message::{Message, Sink};
pub(crate) use sink::SinkEmitter;
