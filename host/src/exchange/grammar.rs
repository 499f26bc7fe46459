//! The rules that the host checks while an exchange runs; they are the contract's.

pub use plugin_api::rules::{Grammar, Rule, Violation};
