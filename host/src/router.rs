//! Who serves a request: model refs, the user's aliases, what belongs together, which upstream is left
//! alone, and what a client may use.

pub mod affinity;
pub mod alias;
pub mod breaker;
pub mod model_ref;
pub mod pattern;

pub use affinity::Affinity;
pub use alias::{Alias, Strategy};
pub use breaker::{Breaker, BreakerConfig};
pub use model_ref::{ModelRef, ModelRefError};
pub use pattern::{InvalidPattern, RefPattern};
