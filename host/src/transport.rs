//! HTTP.
pub mod origins;
