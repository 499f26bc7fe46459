//! The Maestro host, embeddable. In layer order, from the street inward:
//!
//! [`cli`] and [`gateway`] are the edges; [`maestro`] is the universal interface that they (and an
//! embedding program) call; [`router`] reads who is meant; [`exchange`] drives a plugin; [`plugin`] is
//! the life of a library; [`contract`] checks one against every rule; [`authoring`] helps to write
//! one; [`import`] reads other tools' keys; [`oauth`] makes and renews tokens; [`session`] keeps named
//! logins, [`credential_helper`] asks programs that keep secrets; [`transport`] is the only place that
//! touches the network on the way out.

pub mod authoring;
pub mod cli;
pub mod config;
pub mod contract;
pub mod credential_helper;
pub mod exchange;
pub mod gateway;
pub mod home;
pub mod import;
pub mod maestro;
pub mod oauth;
pub mod plugin;
pub mod router;
pub mod session;
pub mod suggest;
pub mod transport;

pub use maestro::Maestro;
