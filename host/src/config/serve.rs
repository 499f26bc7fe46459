//! What the gateway needs to know before it listens.

use std::path::PathBuf;

use serde::Deserialize;

/// `[serve]`: the gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ServeConfig {
    /// Where to listen.
    pub listen: String,
    /// Names by which the gateway is called, beside those of this machine.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call it.
    pub origins: Vec<String>,
    /// Most connections at once; more wait to be accepted.
    pub max_connections: u32,
    /// Longest body of a request.
    pub max_body_bytes: usize,
    /// Until the head of a request is complete, also of the next one on a connection.
    pub header_timeout_ms: u64,
    /// Until the body of a request is complete.
    pub body_timeout_ms: u64,
    /// Until a client takes something of an answer that waits for it.
    pub write_timeout_ms: u64,
    /// Longest silence in a stream before a sign of life is sent.
    pub heartbeat_ms: u64,
    /// How long streams may go on after the gateway was told to stop.
    pub drain_ms: u64,
    /// What the gateway's own TLS needs.
    pub tls: Option<ServeTls>,
}

/// `[serve.tls]`: PEM files, read again when they change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeTls {
    /// The certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:4141".into(),
            hosts: Vec::new(),
            origins: Vec::new(),
            max_connections: 16_384,
            // Anthropic's limit, the largest of the vendors'.
            max_body_bytes: 32 << 20,
            header_timeout_ms: 30_000,
            body_timeout_ms: 120_000,
            // A tool that is stopped for a while, by hand or by its own work, finds its answer again.
            write_timeout_ms: 300_000,
            heartbeat_ms: 15_000,
            drain_ms: 30_000,
            tls: None,
        }
    }
}
