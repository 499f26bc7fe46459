//! Who serves a request: model refs and the choice of a session.

pub mod model_ref;

pub use model_ref::{ModelRef, ModelRefError};
