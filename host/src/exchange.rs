//! Drives one exchange of a plugin: steps it, performs what it asks, feeds back, delivers events.
//!
//! [`driver`] is the loop, [`error`] how it fails, [`grammar`] is the contract's check of the order of events, [`blobs`] keeps
//! large bytes out of the plugin, `cancel` says the last word of one that is dropped, `issuers` keeps one
//! vendor's tokens from the next, [`recording`] writes an exchange down and
//! [`replay`] runs it again, [`relay`] passes an answer on unchanged, [`retry`] judges whether a failed request is worth another try. Who is
//! asked and with which session is decided before, in the facade.

pub mod blobs;
mod cancel;
pub mod driver;
pub mod error;
pub mod grammar;
mod issuers;
pub mod recording;
pub mod relay;
pub mod replay;
pub mod retry;

pub use driver::{Delivery, Driver, Order};
pub use error::ExchangeError;
pub use relay::{Native, Refused};
pub use retry::Retries;
