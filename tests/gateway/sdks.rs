//! The vendors' own Python SDKs, unmodified, as clients.
//!
//! Needs Python and the package index; where either is missing the test says so and is skipped.

use std::process::Command;

use super::{client::Gateway, home, server};
use crate::{
    harness::workspace,
    upstream::{Reply, Upstream},
};

#[test]
fn official_sdks_work_unmodified() {
    let Some(python) = crate::sdk::python() else {
        eprintln!("skipped: no Python with the SDKs");
        return;
    };
    let upstream = Upstream::start(|request| match request.json()["model"].as_str() {
        Some("limited") => Reply::json(429, r#"{"error":{"message":"slow down"}}"#),
        // What a client sends as the provider's own clients do, the provider judges.
        _ if request.json()["messages"][0]["role"] == "x" => {
            Reply::json(400, r#"{"error":{"message":"no such role"}}"#)
        }
        _ => server(request),
    });
    let test = home(&upstream, "[retries]\nmax = 0\n");
    let gateway = Gateway::start(&test);
    let mut script = Command::new(python);
    script.arg(workspace().join("tests/gateway/sdks.py")).arg(&gateway.url);
    // The SDKs read settings of their own, which would lead them elsewhere.
    script.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let output = script.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = "\
        openai chat: red green\n\
        openai chat stream: red |green|\n\
        openai response: red green\n\
        openai response stream: response.completed red green\n\
        openai vectors: [1.0, 0.5]\n\
        openai models: True\n\
        openai model: lab/org/big\n\
        openai unknown model: NotFoundError 404\n\
        openai limited: RateLimitError 429\n\
        openai bad request: BadRequestError 400\n\
        anthropic message: red green\n\
        anthropic message stream: red |green\n\
        anthropic models: True\n\
        anthropic unknown model: NotFoundError 404\n\
        anthropic limited: RateLimitError 429\n\
        genai answer: red green\n\
        genai stream: red |green\n\
        genai vectors: [1.0, 0.5]\n\
        genai models: True\n\
        genai unknown model: ClientError 404\n";
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
}
