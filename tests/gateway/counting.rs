//! What stands beside chats: legacy completions, counts of tokens, vectors.

use serde_json::{Value, json};

use super::{client::Gateway, events, vendors::home};
use crate::upstream::{Reply, Request, Upstream};

fn server(request: &Request) -> Reply {
    let path = request.target.as_str();
    let json = |value: Value| Reply::json(200, &value.to_string());
    if path.ends_with("/count_tokens") {
        json(json!({"input_tokens": 42}))
    } else if path.ends_with("/input_tokens") {
        json(json!({"object": "response.input_tokens", "input_tokens": 42}))
    } else if path.ends_with(":countTokens") {
        json(json!({"totalTokens": 42}))
    } else if path.ends_with(":batchEmbedContents") {
        let count = request.json()["requests"].as_array().unwrap().len();
        json(json!({"embeddings": vec![json!({"values": [1.0, 0.5]}); count]}))
    } else if path.ends_with("/embeddings") {
        let vector = |at: usize| json!({"index": at, "embedding": [1.0, 0.5]});
        let count = request.json()["input"].as_array().map_or(1, Vec::len);
        let data: Vec<Value> = (0..count).map(vector).collect();
        json(json!({"data": data, "usage": {"prompt_tokens": 4}}))
    } else {
        super::says(&["red ", "green"])
    }
}

#[test]
fn tokens_are_counted_in_every_dialect_by_every_provider_that_can() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    for provider in ["openai", "ant", "goo"] {
        let model = format!("{provider}/m");
        let said = json!([{"role": "user", "content": "x"}]);
        for (path, body, place) in [
            (
                "/v1/messages/count_tokens?beta=true".to_owned(),
                json!({"model": model, "messages": said, "system": "y"}),
                "/input_tokens",
            ),
            (
                "/v1/responses/input_tokens".to_owned(),
                json!({"model": model, "input": "x"}),
                "/input_tokens",
            ),
            (
                format!("/v1beta/models/{model}:countTokens"),
                json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
                "/totalTokens",
            ),
            (
                format!("/v1beta/models/{model}:countTokens"),
                json!({"generateContentRequest": {"model": "models/m",
                    "contents": [{"role": "user", "parts": [{"text": "x"}]}]}}),
                "/totalTokens",
            ),
        ] {
            let answer = gateway.post(&path, body.to_string());
            assert_eq!(answer.status, 200, "{provider} {path} {answer:?}");
            assert_eq!(answer.json().pointer(place), Some(&json!(42)), "{provider} {path}");
        }
    }
    // A server of chat completions cannot count, and says so in the client's words.
    let body = json!({"model": "lab/m", "messages": [{"role": "user", "content": "x"}]});
    let answer = gateway.post("/v1/messages/count_tokens", body.to_string());
    assert!((400..500).contains(&answer.status) && answer.json()["type"] == "error", "{answer:?}");
}

#[test]
fn vectors_come_in_both_dialects_from_both_kinds_of_provider() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    for provider in ["openai", "lab", "goo"] {
        let model = format!("{provider}/m");
        let body = json!({"model": model, "input": ["a", "b"]}).to_string();
        let answer = gateway.post("/v1/embeddings", body);
        let data = answer.json()["data"].clone();
        assert_eq!(data.as_array().map(Vec::len), Some(2), "{provider} {answer:?}");
        assert_eq!(data[1]["embedding"], json!([1.0, 0.5]));
        // The others need no session here.
        let by = if provider == "openai" { "openai:work/m" } else { &model };
        assert!(answer.header("x-maestro-served").starts_with(by), "{answer:?}");
        let part = |text: &str| json!({"model": format!("models/{model}"), "content": {"parts": [{"text": text}]}});
        let batch = json!({"requests": [part("a"), part("b")]}).to_string();
        let path = format!("/v1beta/models/{model}:batchEmbedContents");
        let answer = gateway.post(&path, batch);
        assert_eq!(answer.json()["embeddings"][1]["values"], json!([1.0, 0.5]), "{answer:?}");
        let path = format!("/v1beta/models/{model}:embedContent");
        let answer = gateway.post(&path, part("a").to_string());
        assert_eq!(answer.json()["embedding"]["values"], json!([1.0, 0.5]), "{answer:?}");
    }
}

#[test]
fn what_only_one_vendor_knows_of_vectors_and_counts_reaches_it_alone() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let openai = |model: &str| {
        let body = json!({"model": model, "input": "a", "dimensions": 2, "input_type": "query"});
        gateway.post("/v1/embeddings", body.to_string())
    };
    let google = |model: &str| {
        let body =
            json!({"content": {"parts": [{"text": "a"}]}, "taskType": "CLUSTERING", "title": "t"});
        gateway.post(&format!("/v1beta/models/{model}:embedContent"), body.to_string())
    };
    let sent = || upstream.requests().pop().unwrap().json();

    assert_eq!(openai("lab/m").header("x-maestro-dropped"), "");
    assert_eq!((&sent()["input_type"], &sent()["dimensions"]), (&json!("query"), &json!(2)));
    assert_eq!(google("goo/m").header("x-maestro-dropped"), "");
    assert_eq!(sent()["requests"][0]["title"], "t");

    let answer = openai("goo/m");
    assert_eq!(answer.header("x-maestro-dropped"), "`input_type` belongs to another vendor");
    assert!(!sent().to_string().contains("query"), "{}", sent());
    let dropped = google("lab/m").header("x-maestro-dropped").to_owned();
    assert!(dropped.contains("`taskType`") && dropped.contains("`title`"), "{dropped}");
    assert_eq!(sent().get("title"), None);

    let edits = json!({"edits": [{"type": "clear_thinking_20251015"}]});
    let said = json!([{"role": "user", "content": "x"}]);
    let body = json!({"model": "goo/m", "messages": said, "context_management": edits});
    let answer = gateway.post("/v1/messages/count_tokens", body.to_string());
    assert!(answer.header("x-maestro-dropped").contains("`context_management`"), "{answer:?}");
}

#[test]
fn legacy_completions_are_answered_whole_and_as_a_stream() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let ask = |more: Value| {
        let mut body = json!({"model": "lab/m", "prompt": "fn main", "max_tokens": 9});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        gateway.post("/v1/completions", body.to_string())
    };
    let answer = ask(json!({}));
    assert_eq!(answer.json()["choices"][0]["text"], "red green", "{answer:?}");
    assert_eq!(answer.json()["object"], "text_completion");
    let asked = upstream.requests().pop().unwrap();
    assert_eq!(asked.target, "/v1/chat/completions");
    assert_eq!(asked.json()["messages"], json!([{"role": "user", "content": "fn main"}]));
    let answer = ask(json!({"stream": true}));
    let chunks = events(&answer);
    assert_eq!(chunks.last(), Some(&"[DONE]"), "{answer:?}");
    let texts = chunks.iter().filter_map(|chunk| {
        let chunk: Value = serde_json::from_str(chunk).ok()?;
        chunk["choices"][0]["text"].as_str().map(str::to_owned)
    });
    assert_eq!(texts.collect::<String>(), "red green");
    for (name, value) in [("suffix", json!("}")), ("echo", json!(true)), ("n", json!(2))] {
        let answer = ask(json!({ name: value }));
        assert_eq!(answer.status, 400, "{name} {answer:?}");
        assert_eq!(answer.json()["error"]["param"], name, "{answer:?}");
    }
}

#[test]
fn a_count_takes_the_clients_betas_along_to_its_own_dialect_alone() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    for (provider, taken) in [("ant", "one-beta,another-beta"), ("openai", "")] {
        let body = json!({"model": format!("{provider}/m"),
            "messages": [{"role": "user", "content": "x"}]});
        let headers = [
            ("anthropic-beta", "one-beta,another-beta"),
            ("anthropic-version", "2023-06-01"),
            ("x-api-key", "client-canary"),
        ];
        let answer = gateway.ask("POST", "/v1/messages/count_tokens", &headers, body.to_string());
        assert_eq!((answer.status, &answer.json()["input_tokens"]), (200, &json!(42)));
        let sent = upstream.requests().pop().unwrap();
        assert_eq!(sent.header("anthropic-beta"), taken, "{sent:?}");
        assert!(!format!("{sent:?}").contains("client-canary"), "{sent:?}");
    }
}

#[test]
fn the_nearest_models_are_named_where_a_vendor_knows_none_of_the_name() {
    let upstream = Upstream::start(|request| {
        if request.method == "GET" {
            let listed = ["models/embed-one", "models/embed-two", "models/embed-three"];
            let models = listed.map(|name| {
                json!({"name": name, "supportedGenerationMethods": ["embedContent", "countTokens"]})
            });
            return Reply::json(200, &json!({"models": models}).to_string());
        }
        let error = json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "no model"}});
        Reply::json(404, &error.to_string())
    });
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    for (path, body) in [
        ("/v1/embeddings", json!({"model": "goo/embed-oen", "input": "x"})),
        (
            "/v1/messages/count_tokens",
            json!({"model": "goo/embed-oen", "messages": [{"role": "user", "content": "x"}]}),
        ),
        (
            "/v1beta/models/goo/embed-oen:embedContent",
            json!({"content": {"parts": [{"text": "x"}]}}),
        ),
        (
            "/v1beta/models/goo/embed-oen:countTokens",
            json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
        ),
    ] {
        let answer = gateway.post(path, body.to_string());
        assert_eq!(answer.status, 404, "{path} {answer:?}");
        // However far off, of a provider that is named.
        let (far, farther) =
            (path.replace("embed-oen", "xyz"), body.to_string().replace("embed-oen", "xyz"));
        let other = gateway.post(&far, farther);
        assert!(other.body.matches("goo/embed-").count() == 3, "{far} {other:?}");
        for near in ["goo/embed-one", "goo/embed-two", "goo/embed-three"] {
            assert!(answer.body.contains(near), "{path} {answer:?}");
        }
    }
}
