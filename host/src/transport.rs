//! The only place that touches the network.
//!
//! [`client`] sends what a plugin asked for: to the provider's [`origins`] alone, with the credential
//! where [`credential`] puts it, redirects off, and never to `addresses` at which clouds hand out a
//! machine's own credentials. [`answer`] is what comes back; what it means is the plugin's business.

mod addresses;
pub mod answer;
pub mod client;
pub mod credential;
pub mod origins;

pub use answer::Answer;
pub use client::{Route, TlsOptions, Transport, TransportError};
pub use credential::{CredentialUse, Keys};
pub use origins::Origin;
