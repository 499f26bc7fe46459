//! The Maestro host as a library: what the command line, the gateway and an embedding program use.

pub mod session;
