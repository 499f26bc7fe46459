//! Who serves a request: model refs, the user's aliases, and what a client may use.

pub mod alias;
pub mod model_ref;
pub mod pattern;

pub use alias::Alias;
pub use model_ref::{ModelRef, ModelRefError};
pub use pattern::{InvalidPattern, RefPattern};
