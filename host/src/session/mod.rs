//! x
pub mod binding;
pub mod credential;
pub mod envelope;
pub mod key;
pub mod name;
pub mod random;
pub use name::{InvalidName, SessionSelector};
