//! `openai-compatible` against servers that speak its format, well and badly; and a real model, where
//! one runs on this machine.

use serde_json::json;

use crate::{
    harness::Test,
    upstream::{Reply, Request, Upstream},
};

/// A home with a server `lab` at an upstream.
fn lab(upstream: &Upstream, more: &str) -> Test {
    at(&upstream.url(), more)
}

fn at(url: &str, more: &str) -> Test {
    Test::new().plugin("openai-compatible").config(format!(
        "[providers.lab]\nplugin = \"openai-compatible\"\nbase_url = \"{url}\"\n{more}"
    ))
}

/// Streams words as an OpenAI-compatible server does.
fn says(words: &[&str]) -> Reply {
    let chunk = |delta: serde_json::Value, finish: serde_json::Value| {
        json!({
            "id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
        .to_string()
    };
    let first =
        Reply::sse().event(&chunk(json!({"role": "assistant", "content": ""}), json!(null)));
    words
        .iter()
        .fold(first, |reply, word| reply.event(&chunk(json!({ "content": word }), json!(null))))
        .event(&chunk(json!({}), json!("stop")))
        .event("[DONE]")
}

fn server(request: &Request) -> Reply {
    match request.target.split('?').next().unwrap_or_default() {
        "/v1/models" => {
            Reply::json(200, r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#)
        }
        "/v1/chat/completions" => says(&["red, ", "green, ", "blue"]),
        _ => Reply::json(404, r#"{"error":{"message":"no such route"}}"#),
    }
}

#[test]
fn a_server_needs_a_base_url_and_nothing_else() {
    let upstream = Upstream::start(server);
    lab(&upstream, "")
        .args(["models", "--provider", "lab"])
        .stdout("MODEL  KIND  INPUT  OUTPUT  NAME\nlab/m  chat  -      -       -\n")
        .success()
        .args(["chat", "-m", "lab/m", "Name three colours."])
        .stdout("red, green, blue\n")
        .success();
    let request = upstream.requests().pop().unwrap();
    assert_eq!(request.line(), "POST /v1/chat/completions");
    assert_eq!(request.header("authorization"), "");
    assert_eq!(request.json()["model"], "m");
    assert_eq!(request.json()["stream"], true);
    assert_eq!(
        request.json()["messages"],
        json!([{"role": "user", "content": "Name three colours."}])
    );
}

#[test]
fn headers_query_and_the_place_of_the_key_are_configured() {
    let upstream = Upstream::start(server);
    let more = "headers = { x-team = \"a\" }\nquery = { api-version = \"7\" }\n\
                auth = { header = \"X-Api-Key\" }\nkey_env = \"LAB_KEY\"\nmodels = [\"m\", \"n\"]\n";
    lab(&upstream, more)
        .args(["models", "--provider", "lab"])
        .stdout(
            "MODEL  KIND  INPUT  OUTPUT  NAME\nlab/m  chat  -      -       -\n\
             lab/n  chat  -      -       -\n",
        )
        .success()
        .env("LAB_KEY", "lab-canary")
        .args(["chat", "-m", "lab/n", "hello"])
        .stdout("red, green, blue\n")
        .success();
    let requests = upstream.requests();
    assert_eq!(requests.len(), 1, "listed models are not asked for");
    assert_eq!(requests[0].line(), "POST /v1/chat/completions?api-version=7");
    assert_eq!(requests[0].header("x-team"), "a");
    assert_eq!(requests[0].header("x-api-key"), "lab-canary");
    assert_eq!(requests[0].header("authorization"), "");
}

#[test]
fn what_a_server_says_of_a_failure_reaches_the_user() {
    let page = "<html><body>502 Bad Gateway</body></html>";
    for (reply, said, error, status) in [
        (
            Reply::json(401, r#"{"error":{"message":"bad key","code":"invalid_api_key"}}"#),
            "",
            "authentication failed: bad key (`invalid_api_key`, HTTP 401)",
            3,
        ),
        (
            Reply::json(404, r#"{"error":{"message":"no model `m`","code":"model_not_found"}}"#),
            "",
            "not found: no model `m` (`model_not_found`, HTTP 404)",
            1,
        ),
        (
            Reply::json(429, r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#),
            "",
            "rate limited: slow down (`rate_limit_exceeded`, HTTP 429)",
            1,
        ),
        (
            Reply::new(502, "text/html").piece(page),
            "",
            "provider unavailable: no reason given (HTTP 502)",
            1,
        ),
        (
            Reply::sse()
                .event(r#"{"choices":[{"index":0,"delta":{"content":"one"}}]}"#)
                .event(r#"{"error":{"message":"out of memory","type":"server_error"}}"#),
            "one\n",
            "[..]out of memory[..]",
            1,
        ),
        (
            Reply::sse().event(r#"{"choices":[{"index":0,"delta":{"content":"one"}}]}"#).close(),
            "one\n",
            "connection failed: the connection to `[..]` broke: [..]",
            1,
        ),
        (
            Reply::sse().event(r#"{"choices":[{"index":0,"delta":{"content":"one"}}]}"#),
            "one\n",
            "incomplete answer: [..]",
            1,
        ),
    ] {
        let upstream = Upstream::always(reply);
        let test = lab(&upstream, "");
        let output = test.args_of(["chat", "-m", "lab/m", "hello"]);
        let mut lines = output.stderr.lines();
        assert_eq!(output.stdout, said);
        assert_eq!(lines.next(), Some("error: provider `lab` failed"), "{}", output.stderr);
        let cause = lines.next().unwrap_or_default().trim_start().to_owned();
        let expected = format!("caused by: {error}");
        assert!(crate::harness::line_matches(&expected, &cause), "{expected}\n{cause}");
        assert_eq!(output.status.code(), Some(status), "{cause}");
    }
}

#[test]
fn a_catalogue_of_servers_is_there_without_configuration() {
    let test = Test::new().plugin("openai-compatible");
    let output = test.args_of(["providers", "list", "--all", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let ids: Vec<_> =
        listed["providers"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap()).collect();
    assert!(ids.len() >= 16, "{ids:?}");
    for id in ["ollama", "openrouter", "groq", "deepseek", "mistral"] {
        assert!(ids.contains(&id), "{id} is missing of {ids:?}");
    }
    for provider in listed["providers"].as_array().unwrap() {
        let (ready, why) = (&provider["ready"], &provider["not_ready"]);
        assert_eq!(ready.as_bool(), Some(why.is_null()), "{provider}");
    }
}

/// Runs only where `real-model.sh start` or another server of this machine serves a model.
#[test]
fn a_real_model_answers_where_one_runs() {
    let port = std::env::var("REAL_MODEL_PORT").unwrap_or_else(|_| "8089".into());
    if std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        eprintln!("skipped: no model server on port {port}");
        return;
    }
    let test = at(&format!("http://127.0.0.1:{port}/v1"), "");
    let models = test.args_of(["models", "--provider", "lab", "--json"]);
    let models: serde_json::Value = serde_json::from_str(&models.stdout).unwrap_or_default();
    let Some(id) = models["models"][0]["id"].as_str() else {
        eprintln!("skipped: what listens on port {port} lists no models");
        return;
    };
    let id = id.trim_start_matches("lab/");
    let output = test.args_of([
        "chat",
        "--json",
        "-m",
        &format!("lab/{id}"),
        "-o",
        "temperature=0",
        "-o",
        "max_tokens=24",
        "Name three colours.",
    ]);
    assert!(output.status.success(), "{}", output.stderr);
    let deltas = output.stdout.matches("\"text_delta\"").count();
    assert!(deltas > 2, "it streams: {}", output.stdout);
}
