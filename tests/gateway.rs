//! The gateway: the real `maestro serve` between hand-made clients and scripted upstreams.

pub(crate) mod client;
mod counting;
mod foreign;
mod guarding;
mod keys;
mod passthrough;
mod responses;
mod routing;
mod sdks;
mod serving;
mod streaming;
mod translation;
mod vendors;

use std::{fs, sync::Arc, thread};

use serde_json::{Value, json};

use self::client::{Answer, Gateway};
use crate::{
    harness::Test,
    upstream::{Reply, Request, Upstream},
};

const CHAT: &str = "/v1/chat/completions";

/// A home with `echo` and a server `lab` at an upstream.
fn home(upstream: &Upstream, more: &str) -> Test {
    Test::new().plugin("echo").plugin("openai-compatible").config(format!(
        "[providers.lab]\nplugin = \"openai-compatible\"\nbase_url = \"{}\"\n{more}",
        upstream.url()
    ))
}

/// A request for a chat in OpenAI's words.
fn chat(model: &str, stream: bool) -> String {
    let messages = json!([{"role": "user", "content": "red green"}]);
    json!({"model": model, "stream": stream, "messages": messages}).to_string()
}

/// One chunk as an OpenAI-compatible server sends it.
fn chunk(delta: &Value, finish: &Value) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    json!({"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})
        .to_string()
}

fn word(text: &str) -> String {
    chunk(&json!({ "content": text }), &json!(null))
}

/// Streams words to the end.
fn says(words: &[&str]) -> Reply {
    let reply = words.iter().fold(Reply::sse(), |reply, text| reply.event(&word(text)));
    reply.event(&chunk(&json!({}), &json!("stop"))).event("[DONE]")
}

fn server(request: &Request) -> Reply {
    match request.target.as_str() {
        "/v1/models" => Reply::json(
            200,
            r#"{"data":[{"id":"embed-1"},{"id":"m"},{"id":"mistral-small"},{"id":"org/big"}]}"#,
        ),
        "/v1/chat/completions" => says(&["red ", "green"]),
        "/v1/embeddings" => Reply::json(
            200,
            r#"{"data":[{"index":0,"embedding":[1,0.5]},{"index":1,"embedding":[0,1]}],"usage":{"prompt_tokens":4}}"#,
        ),
        _ => Reply::json(404, r#"{"error":{"message":"no such route"}}"#),
    }
}

/// Returns the data of each server-sent event.
fn events(answer: &Answer) -> Vec<&str> {
    let lines = answer.body.lines();
    lines.filter_map(|line| line.strip_prefix("data: ")).collect()
}

#[test]
fn every_dialect_is_answered_whole_and_as_a_stream() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let said = json!([{"role": "user", "content": "red green"}]);
    let google = json!({"contents": [{"role": "user", "parts": [{"text": "red green"}]}]});
    for model in ["lab/m", "echo/echo"] {
        let openai = |stream| json!({"model": model, "messages": said, "stream": stream});
        let responses = |stream| json!({"model": model, "input": "red green", "stream": stream});
        let messages =
            |stream| json!({"model": model, "max_tokens": 9, "messages": said, "stream": stream});
        let generate = format!("/v1beta/models/{model}:generateContent");
        let (sse, array) = (
            format!("/v1/models/{model}:streamGenerateContent?alt=sse"),
            format!("/v1beta/models/{model}:streamGenerateContent"),
        );
        for (path, body, place) in [
            (CHAT, openai(false), "/choices/0/message/content"),
            ("/v1/responses", responses(false), "/output/0/content/0/text"),
            ("/v1/messages?beta=true", messages(false), "/content/0/text"),
            (&generate, google.clone(), "/candidates/0/content/parts/0/text"),
        ] {
            let answer = gateway.post(path, body.to_string());
            assert_eq!(answer.status, 200, "{path} {}", answer.body);
            assert_eq!(answer.json().pointer(place), Some(&json!("red green")), "{path}");
            assert_eq!(answer.header("x-maestro-served"), model);
        }
        for (path, body, last) in [
            (CHAT, openai(true), "[DONE]"),
            ("/v1/responses", responses(true), "response.completed"),
            ("/v1/messages", messages(true), "message_stop"),
            (&sse, google.clone(), "\"STOP\""),
        ] {
            let answer = gateway.post(path, body.to_string());
            assert_eq!(answer.status, 200, "{path} {}", answer.body);
            assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
            assert!(events(&answer).last().unwrap().contains(last), "{path}: {}", answer.body);
            let words = ["red ", "green"].map(|text| answer.body.contains(text));
            assert_eq!(words, [true, true], "{path}: {}", answer.body);
        }
        let answer = gateway.post(&array, google.to_string());
        assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
        let texts: String = answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|chunk| chunk.pointer("/candidates/0/content/parts/0/text")?.as_str())
            .collect();
        assert_eq!(texts, "red green");
    }
    gateway.stop();
}

#[test]
fn models_have_the_shape_of_the_client_and_chat_models_come_first() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "[aliases]\nclaude-small = \"lab/m\"\n");
    let gateway = Gateway::start(&test);
    let ids = |answer: &Answer, list: &str, name: &str| -> Vec<String> {
        let list = answer.json()[list].as_array().unwrap().clone();
        list.iter().map(|model| model[name].as_str().unwrap().to_owned()).collect()
    };
    let expected =
        ["claude-small", "echo/echo", "lab/m", "lab/mistral-small", "lab/org/big", "lab/embed-1"];
    let openai = gateway.get("/v1/models", &[]);
    assert_eq!(ids(&openai, "data", "id"), expected);
    let anthropic = gateway.get("/v1/models?limit=1000", &[("anthropic-version", "2023-06-01")]);
    assert_eq!(ids(&anthropic, "data", "id"), expected);
    assert_eq!(anthropic.json()["has_more"], false);
    assert_eq!(anthropic.header("request-id"), anthropic.header("x-request-id"));
    let google = gateway.get("/v1/models", &[("x-goog-api-key", "")]);
    assert_eq!(ids(&google, "models", "name")[2], "models/lab/m");
    for path in ["/v1/models/lab/org/big", "/v1/models/lab%2Forg%2Fbig"] {
        assert_eq!(gateway.get(path, &[]).json()["id"], "lab/org/big");
    }
    assert_eq!(gateway.get("/v1/models/claude-small", &[]).json()["id"], "claude-small");
    assert_eq!(gateway.get("/v1/models/m", &[]).json()["id"], "m");
    assert_eq!(gateway.get("/v1/models/nothing-like-it", &[]).status, 404);
    let lists = upstream.requests().iter().filter(|r| r.target == "/v1/models").count();
    assert!(lists <= 2, "lists are kept: {lists} requests");
}

#[test]
fn vectors_come_in_both_dialects() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let body = json!({"model": "lab/embed-1", "input": ["a", "b"]});
    let answer = gateway.post("/v1/embeddings", body.to_string()).json();
    assert_eq!(answer["data"][0]["embedding"], json!([1.0, 0.5]));
    assert_eq!(
        (&answer["model"], &answer["usage"]["prompt_tokens"]),
        (&json!("lab/embed-1"), &json!(4))
    );
    let item =
        |text| json!({"model": "models/lab/embed-1", "content": {"parts": [{"text": text}]}});
    let body = json!({"requests": [item("a"), item("b")]});
    let answer = gateway.post("/v1/models/lab/embed-1:batchEmbedContents", body.to_string());
    assert_eq!(answer.json()["embeddings"][1]["values"], json!([0.0, 1.0]), "{}", answer.body);
}

#[test]
fn names_are_found_as_aliases_refs_and_bare_names() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "profile = \"vllm\"\n[aliases]\nfast = \"lab/m\"\n");
    let gateway = Gateway::start(&test);
    for (name, served) in [
        ("fast", "lab/m"),
        ("lab/m", "lab/m"),
        ("mistral-small", "lab/mistral-small"),
        ("org/big", "lab/org/big"),
        ("echo", "echo/echo"),
        // Nobody lists it; `lab` alone speaks the client's dialect.
        ("newer-than-the-list", "lab/newer-than-the-list"),
    ] {
        let answer = gateway.post(CHAT, chat(name, false));
        assert_eq!(answer.header("x-maestro-served"), served, "{name}: {}", answer.body);
        assert_eq!(answer.json()["model"], name);
    }
}

#[test]
fn an_unknown_model_names_the_nearest_in_each_dialect() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let said = json!([{"role": "user", "content": "x"}]);
    let messages = json!({"model": "mistral-smal", "max_tokens": 9, "messages": said});
    let answer = gateway.post("/v1/messages", messages.to_string());
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (404, &json!("not_found_error")));
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("did you mean `lab/mistral-small`?"), "{message}");
    let google = json!({"contents": [{"parts": [{"text": "x"}]}]});
    let answer = gateway.post("/v1beta/models/mistral-smal:generateContent", google.to_string());
    assert_eq!((answer.status, &answer.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    let answer = gateway.post(CHAT, chat("labb/m", false));
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!("model_not_found")));
}

#[test]
fn the_next_target_of_an_alias_answers_when_the_first_fails() {
    let upstream = Upstream::start(|request| match request.json()["model"].as_str() {
        Some("busy") => Reply::json(429, r#"{"error":{"message":"slow down"}}"#),
        Some("wrong") => Reply::json(400, r#"{"error":{"message":"bad field"}}"#),
        // It fails after the head, but before anything was said.
        Some("broken") => Reply::sse().event(r#"{"error":{"message":"out of memory"}}"#),
        _ => says(&["fine"]),
    });
    let more = "models = [\"m\"]\n[aliases]\nsafe = [\"lab/busy\", \"lab/broken\", \"lab/m\"]\n\
                strict = [\"lab/wrong\", \"lab/m\"]\nlost = [\"lab/broken\", \"lab/busy\"]\n[retries]\nmax = 0\n";
    let test = home(&upstream, more);
    let gateway = Gateway::start(&test);
    for stream in [false, true] {
        let answer = gateway.post(CHAT, chat("safe", stream));
        assert_eq!(answer.header("x-maestro-served"), "lab/m", "{}", answer.body);
        assert!(answer.body.contains("fine"));
    }
    // What is wrong with the request is wrong everywhere.
    let answer = gateway.post(CHAT, chat("strict", true));
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("bad field"), "{}", answer.body);
    let answer = gateway.post(CHAT, chat("lost", true));
    assert_eq!(answer.status, 429, "{}", answer.body);
}

#[test]
fn a_session_is_chosen_by_ref_header_path_and_key() {
    let upstream = Upstream::start(server);
    let more = "models = [\"m\"]\nkey_env = \"LAB_KEY\"\n\
                [sessions.work]\nprovider = \"lab\"\nenv = \"WORK\"\n\
                [sessions.home]\nprovider = \"lab\"\nenv = \"HOME_KEY\"\n";
    let test = home(&upstream, more).env("WORK", "work-canary").env("HOME_KEY", "home-canary");
    let gateway = Gateway::start(&test);
    let body = chat("lab/m", false);
    let last = || upstream.requests().pop().unwrap().header("authorization").to_owned();
    let own = ("authorization", "Bearer client-canary");
    let cases = [
        (CHAT, "lab:work/m", None, "work"),
        (CHAT, "lab/m", Some("home"), "home"),
        ("/s/work/v1/chat/completions", "lab/m", None, "work"),
        ("/s/work/v1/chat/completions", "lab/m", Some("home"), "home"),
        ("/s/work/v1/chat/completions", "lab:home/m", None, "home"),
    ];
    for (path, model, header, expected) in cases {
        let named = header.map(|name| ("x-maestro-session", name));
        let headers: Vec<_> = named.into_iter().chain([own]).collect();
        let answer = gateway.ask("POST", path, &headers, chat(model, false));
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(last(), format!("Bearer {expected}-canary"), "{path} {model} {header:?}");
        assert_eq!(answer.header("x-maestro-served"), format!("lab:{expected}/m"));
    }
    // Two sessions and no default: the client is told which there are.
    let answer = gateway.post(CHAT, &body);
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("`lab:home`, `lab:work`"), "{}", answer.body);
    let answer = gateway.ask("POST", CHAT, &[("x-maestro-session", "nobody")], &body);
    assert_eq!(answer.status, 400, "{}", answer.body);
    for request in upstream.requests() {
        let all = format!("{request:?}");
        for mine in ["client-canary", "x-maestro-session", "localhost"] {
            assert!(!all.contains(mine), "{all}");
        }
    }
    let said = gateway.stop();
    assert!(!said.stderr.contains("canary"), "{}", said.stderr);
}

#[test]
fn a_command_that_prints_a_key_runs_once_until_its_key_is_refused() {
    let upstream = Upstream::start(|request| match request.header("authorization") {
        "Bearer key-1" if request.json()["model"] == "expired" => {
            Reply::json(401, r#"{"error":{"message":"expired"}}"#)
        }
        _ => says(&["fine"]),
    });
    let more = "models = [\"m\", \"expired\"]\nkey_env = \"LAB_KEY\"\n\
                [sessions.work]\nprovider = \"lab\"\n\
                command = [\"sh\", \"-c\", \"echo x >> $RUNS; echo key-$(wc -l < $RUNS)\"]\n";
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let test = home(&upstream, more).env("RUNS", &runs);
    let gateway = Arc::new(Gateway::start(&test));
    let many: Vec<_> = (0..4)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            thread::spawn(move || gateway.post(CHAT, chat("lab/m", true)).status)
        })
        .collect();
    assert!(many.into_iter().all(|one| one.join().unwrap() == 200));
    assert_eq!(fs::read_to_string(&runs).unwrap(), "x\n");
    assert_eq!(gateway.post(CHAT, chat("lab/expired", true)).status, 401);
    assert_eq!(gateway.post(CHAT, chat("lab/expired", true)).status, 200);
    assert_eq!(fs::read_to_string(&runs).unwrap(), "x\nx\n");
}

#[test]
fn failures_upstream_keep_their_meaning() {
    let upstream = Upstream::start(|request| {
        let json = |status, headers: &[(&str, &str)], body: &str| {
            let mut all = vec![("content-type", "application/json")];
            all.extend_from_slice(headers);
            Reply::with_headers(status, &all).piece(body)
        };
        match request.json()["model"].as_str() {
            Some("limited") => {
                json(429, &[("retry-after", "7")], r#"{"error":{"message":"slow"}}"#)
            }
            Some("quota") => {
                json(429, &[], r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#)
            }
            Some("key") => json(401, &[], r#"{"error":{"message":"bad key"}}"#),
            Some("down") => json(503, &[], ""),
            _ => Reply::nothing(),
        }
    });
    let test = home(&upstream, "models = [\"m\"]\n[retries]\nmax = 0\n");
    let gateway = Gateway::start(&test);
    for stream in [false, true] {
        for (model, status, again) in [
            ("lab/limited", 429, "true"),
            ("lab/quota", 429, "false"),
            ("lab/key", 401, "false"),
            ("lab/down", 503, "true"),
            ("lab/vanished", 502, "true"),
        ] {
            // In the vendor's own words, unless there are none or there is a remedy.
            let own = model == "lab/limited";
            let answer = gateway.post(CHAT, chat(model, stream));
            assert_eq!(answer.status, status, "{model} {}", answer.body);
            assert_eq!(answer.header("x-should-retry"), again, "{model}");
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            let begin = if own { "slow" } else { "provider `lab`: " };
            assert!(message.starts_with(begin), "{message}");
        }
    }
    assert_eq!(gateway.post(CHAT, chat("lab/limited", true)).header("retry-after"), "7");
    let said = json!([{"role": "user", "content": "x"}]);
    let messages = json!({"model": "lab/down", "max_tokens": 9, "messages": said}).to_string();
    let answer = gateway.post("/v1/messages", messages);
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (529, &json!("overloaded_error")));
}

#[test]
fn health_is_told_without_a_key() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    // Probes come under whatever name the machine has.
    let named = [("host", "10.1.2.3:4141")];
    assert_eq!(gateway.get("/healthz", &named).body, "ok\n");
    assert_eq!(gateway.get("/readyz", &named).status, 200);
    assert_eq!(gateway.ask("HEAD", "/", &[], "").status, 200);
    let bare = Test::new();
    assert_eq!(Gateway::start(&bare).get("/readyz", &[]).status, 503);
}
