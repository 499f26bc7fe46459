//! The only place that touches the network.
//!
//! [`client`] sends what a plugin asked for: to the provider's [`origins`] alone, with the credential
//! where [`credential`] puts it, redirects off, and never to `addresses` at which clouds hand out a
//! machine's own credentials. What the answer means is the plugin's business.

mod addresses;
pub mod client;
pub mod credential;
pub mod origins;

pub use client::{Answer, Route, TlsOptions, Transport, TransportError};
pub use credential::{CredentialUse, Keys};
pub use origins::Origin;
