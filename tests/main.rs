//! The end-to-end suite: the real binary, the facade, real plugins, real sockets.
//!
//! One file per capability; `harness.rs` gives each test a home of its own and `upstream.rs` a server
//! that misbehaves on demand. Nothing here sleeps, uses a fixed port or leaves this machine.

mod ask;
mod authoring;
mod authority;
mod browser;
mod chat;
mod check;
mod cli;
mod config;
mod contract;
mod crash;
mod db;
mod dev;
mod endless;
mod evolution;
mod faults;
mod gateway;
mod harness;
mod import;
mod lifecycle;
mod oauth;
mod oidc;
mod plugin_life;
mod refresh;
mod scenarios;
mod sdk;
mod servers;
mod sessions;
mod theft;
mod tidy;
mod transport;
mod trial;
mod upstream;
mod vendor;
mod watch;
mod worker;
