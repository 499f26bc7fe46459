//! Clients and providers of one dialect: bytes pass unchanged, and the plugin reads along.

use std::time::Instant;

use serde_json::{Value, json};

use super::{
    client::Gateway,
    vendors::{ALL, Answer, Vendor, home},
};
use crate::upstream::{Gate, Reply, Request, Upstream};

fn vendor(request: &Request) -> Reply {
    let (vendor, stream) = Vendor::asked(request);
    vendor.reply(&answer(), stream)
}

fn answer() -> Answer {
    Answer {
        thought: "hm",
        text: "red green",
        calls: vec![("call_1", "look", r#"{"at":1.0}"#)],
        ..Answer::default()
    }
}

/// A body as no library of ours would write it: unknown fields, odd spaces, numbers that would change,
/// signed thoughts, tools of the vendor's own.
fn body(vendor: Vendor, stream: bool) -> String {
    let model = format!("{}/m", vendor.provider());
    let rest = match vendor {
        Vendor::Chat => {
            r#" "messages" : [{"role":"user","content":"x","odd":1.50e0}],"max_completion_tokens":9"#
        }
        Vendor::Responses => {
            r#""input":[{"type":"reasoning","id":"rs_9","encrypted_content":"ENC==","summary":[]},
               {"type":"message","role":"user","content":"x"}],"tools":[{"type":"web_search","odd":1.50}],
               "include":["reasoning.encrypted_content"],"client_metadata":{"a":"b"},"store":false"#
        }
        Vendor::Messages => {
            r#""max_tokens": 9 ,"messages":[{"role":"user","content":"x"},{"role":"assistant",
               "content":[{"type":"thinking","thinking":"t","signature":"SIG=="}]},
               {"role":"system","content":"y"}],"context_management":{"edits":[]},
               "tools":[{"type":"web_search_20250305","name":"web_search"}]"#
        }
        Vendor::Gemini => {
            return r#"{ "contents":[{"role":"user","parts":[{"text":"x"}]},{"role":"model","parts":
               [{"functionCall":{"name":"f","args":{}},"thoughtSignature":"VFM="}]}],
               "tools":[{"googleSearch":{}}], "odd" : 1.50 }"#
                .to_owned();
        }
    };
    format!(
        r#"{{ "model": "{model}", {rest}, "odd_field" : {{"é":[1.0,null]}},"stream":{stream} }}"#
    )
}

/// The same with the model that the provider knows.
fn expected(body: &str, vendor: Vendor) -> Value {
    let mut body: Value = serde_json::from_str(body).unwrap();
    if vendor != Vendor::Gemini {
        body["model"] = json!("m");
    }
    body
}

#[test]
fn bodies_and_answers_pass_byte_for_byte() {
    let upstream = Upstream::start(vendor);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    for vendor in ALL {
        for stream in [false, true] {
            let model = format!("{}/m", vendor.provider());
            let sent = body(vendor, stream);
            let answered = gateway.post(&vendor.path(&model, stream), &sent);
            let seen = upstream.requests().pop().unwrap();
            assert_eq!(answered.status, 200, "{vendor:?} {answered:?}");
            // What is not the model stands there as the client wrote it.
            let got = String::from_utf8(seen.body.clone()).unwrap();
            assert_eq!(seen.json(), expected(&sent, vendor), "{vendor:?}");
            let own = ["1.50", r#""odd_field" : {"é":[1.0,null]}"#];
            let own = if vendor == Vendor::Gemini { &own[..1] } else { &own[1..] };
            assert!(own.iter().all(|text| got.contains(text)), "{vendor:?}: {got}");
            assert_eq!(seen.header("accept-encoding"), "identity");
            let (whole, events) = vendor.answers(&answer());
            let said = if stream { vendor.stream(&events) } else { whole.to_string() };
            assert_eq!(answered.body, said, "{vendor:?} {stream}");
            let by = if vendor == Vendor::Responses { "openai:work/m".to_owned() } else { model };
            assert_eq!(answered.header("x-maestro-served"), by);
        }
    }
    // The plugin has read along: what was used is on record.
    let lines = gateway.stop().stderr;
    let counted = lines.lines().filter(|line| line.contains("input_tokens=11 output_tokens=7"));
    assert_eq!(counted.count(), 8, "{lines}");
}

#[test]
fn the_dialects_own_headers_and_query_come_along_and_credentials_do_not() {
    let upstream = Upstream::start(vendor);
    let test =
        home(&upstream, "betas = [\"own-1\", \"b-2\"]\n".replace("betas", "x_betas").as_str());
    // The setting stands with its provider.
    let config = std::fs::read_to_string(test.home().join("config.toml")).unwrap();
    let config = config.replace("x_betas = [\"own-1\", \"b-2\"]\n", "").replace(
        "plugin = \"anthropic\"\n",
        "plugin = \"anthropic\"\nbetas = [\"own-1\", \"b-2\"]\n",
    );
    let test = test.config(config);
    let gateway = Gateway::start(&test);
    let headers = [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "a-1,  b-2"),
        ("authorization", "Bearer client-canary"),
        ("x-api-key", "client-canary"),
        ("cookie", "client-canary"),
        ("openai-beta", "responses=v1"),
        ("openai-organization", "client-canary"),
        ("x-codex-turn-state", "t"),
    ];
    let ask = |vendor: Vendor| {
        let model = format!("{}/m", vendor.provider());
        let path = vendor.path(&model, true);
        let path = if path.contains('?') { path + "&key=client-canary" } else { path };
        let answer = gateway.ask("POST", &path, &headers, body(vendor, true));
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = upstream.requests().pop().unwrap();
        assert!(!format!("{seen:?}").contains("client-canary"), "{seen:?}");
        seen
    };
    let seen = ask(Vendor::Messages);
    assert_eq!(seen.target, "/v1/messages?beta=true");
    assert_eq!(seen.header("anthropic-version"), "2023-06-01");
    assert_eq!(seen.header("anthropic-beta"), "a-1,  b-2,own-1");
    let seen = ask(Vendor::Responses);
    assert_eq!(seen.header("authorization"), "Bearer sk-upstream-canary");
    assert_eq!(
        (seen.header("openai-beta"), seen.header("x-codex-turn-state")),
        ("responses=v1", "t")
    );
    assert_eq!(seen.header("anthropic-beta"), "");
    ask(Vendor::Chat);
    assert_eq!(ask(Vendor::Gemini).target, "/v1beta/models/m:streamGenerateContent?alt=sse");
}

#[test]
fn what_a_server_knows_by_another_name_is_renamed_and_what_it_does_not_take_is_translated() {
    let upstream = Upstream::start(vendor);
    let test = home(&upstream, "[providers.old]\nplugin = \"openai-compatible\"\n");
    let config = std::fs::read_to_string(test.home().join("config.toml")).unwrap();
    let test = test.config(config + &format!("base_url = \"{}\"\n", upstream.url()));
    let gateway = Gateway::start(&test);
    let ask = |more: &str| {
        let body = format!(
            r#"{{"model":"old/m","messages":[{{"role":"user","content":"x"}}],"odd":1.50{more}}}"#
        );
        let answer = gateway.post("/v1/chat/completions", body);
        assert_eq!(answer.status, 200, "{answer:?}");
        (String::from_utf8(upstream.requests().pop().unwrap().body).unwrap(), answer)
    };
    let (sent, _) = ask(r#","max_completion_tokens":9"#);
    assert!(sent.contains(r#""max_tokens":9"#) && sent.contains("1.50"), "{sent}");
    assert!(!sent.contains("max_completion_tokens"), "{sent}");
    let (sent, answer) = ask(r#","prompt_cache_key":"k""#);
    assert!(!sent.contains("prompt_cache_key"), "{sent}");
    assert!(answer.header("x-maestro-dropped").contains("cache_key"), "{answer:?}");
}

#[test]
fn refusals_keep_the_vendors_words_unless_we_know_a_remedy() {
    let upstream = Upstream::start(|request| {
        let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Odd  words"},"odd":1.50}"#;
        match request.json()["model"].as_str() {
            Some("key") => Reply::json(401, r#"{"error":{"message":"sk-upstream-canary is bad"}}"#),
            Some("echo") => {
                Reply::json(400, r#"{"error":{"message":"you said sk-upstream-canary"}}"#)
            }
            Some("page") => Reply::new(502, "text/html").piece("<html>"),
            _ => Reply::json(529, body),
        }
    });
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let ask = |vendor: Vendor, model: &str, stream: bool| {
        let model = format!("{}/{model}", vendor.provider());
        let said = json!([{"role": "user", "content": "x"}]);
        let body = json!({"model": model, "max_tokens": 9, "messages": said, "input": "x",
            "stream": stream});
        gateway.post(&vendor.path(&model, stream), body.to_string())
    };
    for stream in [false, true] {
        let answer = ask(Vendor::Messages, "busy", stream);
        assert_eq!(answer.status, 529);
        assert!(answer.body.ends_with(r#""message":"Odd  words"},"odd":1.50}"#), "{answer:?}");
        assert_eq!(answer.header("x-should-retry"), "true");
        let answer = ask(Vendor::Responses, "key", stream);
        assert_eq!(answer.status, 401);
        assert!(answer.body.contains("provider `openai`"), "{answer:?}");
        let answer = ask(Vendor::Responses, "echo", stream);
        assert!(answer.body.contains("you said ***"), "{answer:?}");
        let answer = ask(Vendor::Chat, "page", stream);
        assert!(answer.status >= 500 && answer.body.contains("provider `lab`"), "{answer:?}");
    }
    assert!(!gateway.stop().stderr.contains("canary"));
}

#[test]
fn the_relay_outlives_what_the_plugin_cannot_read() {
    let text = "data: {\"choices\": nonsense\n\ndata: {\"choices\":[]}\n\n: bye\n\n";
    let upstream = Upstream::always(Reply::sse().piece(text));
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let answer = gateway.post(&Vendor::Chat.path("lab/m", true), body(Vendor::Chat, true));
    assert_eq!((answer.status, answer.body.as_str()), (200, text));
}

/// What the relay does not pass on is translated from what the plugin tells, so it must tell everything.
#[test]
fn a_stream_under_another_name_arrives_whole() {
    for vendor in ALL {
        let (_, events) = vendor.answers(&answer());
        for head in [&[("content-type", "text/plain")][..], &[]] {
            let reply = Reply::with_headers(200, head).piece(vendor.stream(&events));
            let upstream = Upstream::always(reply);
            let test = home(&upstream, "");
            let gateway = Gateway::start(&test);
            let model = format!("{}/m", vendor.provider());
            let answer = gateway.post(&vendor.path(&model, true), body(vendor, true));
            let text = answer.body.replace(['\\', ' '], "");
            for said in ["hm", "red", "green", "look", r#"{"at":1.0}"#] {
                assert!(text.contains(said), "{vendor:?} {said} {answer:?}");
            }
        }
    }
}

#[test]
fn an_answer_that_breaks_off_ends_in_the_dialects_own_words() {
    for vendor in ALL {
        // In the middle of an event, and between two in good order but without the last.
        for cut in [true, false] {
            let (_, events) = vendor.answers(&answer());
            let all = vendor.stream(&events);
            let end = all.find("green").unwrap();
            let whole = end + all[end..].find("\n\n").unwrap() + 2;
            let reply = Reply::sse().piece(&all[..if cut { whole + 9 } else { whole }]);
            let upstream = Upstream::always(if cut { reply.close() } else { reply });
            let test = home(&upstream, "");
            let gateway = Gateway::start(&test);
            let model = format!("{}/m", vendor.provider());
            let answer = gateway.post(&vendor.path(&model, true), body(vendor, true));
            assert!(answer.body.starts_with(&all[..whole]), "{vendor:?} {}", answer.body);
            let rest = &answer.body[whole..];
            let own = match vendor {
                Vendor::Chat => r#"data: {"error":"#,
                Vendor::Responses => "event: response.failed\n",
                Vendor::Messages => "event: error\n",
                Vendor::Gemini => r#"{"error":"#,
            };
            assert!(rest.starts_with(own), "{vendor:?} {cut} {rest}");
            assert!(rest.contains("provider `"), "{vendor:?} {rest}");
            let ours = vendor != Vendor::Responses || rest.contains(r#""id":"resp_v""#);
            assert!(ours && !rest.contains("response.created"), "{rest}");
        }
    }
}

#[test]
fn an_error_in_the_stream_passes_as_it_is_and_before_anything_gets_a_status() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"full\"}}\n\n";
    let (_, events) = Vendor::Messages.answers(&answer());
    let begun = Vendor::Messages.stream(&events[..4]);
    let (gate, sent) = (Gate::new(), begun.clone());
    let held = gate.clone();
    let upstream = Upstream::start(move |request| match request.json()["model"].as_str() {
        Some("late") => Reply::sse().piece(&sent).wait(&held).piece(error),
        _ => Reply::sse().piece(error),
    });
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let ask = |model: &str| {
        let body = body(Vendor::Messages, true).replace("ant/m", model);
        gateway.send("POST", "/v1/messages", &[], body)
    };
    let mut late = ask("ant/late");
    late.read_until("\"index\":0");
    gate.open();
    assert_eq!(late.finish().body, begun + error);
    let answer = ask("ant/early").finish();
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (529, &json!("overloaded_error")));
}

#[test]
fn googles_array_gets_the_events_as_items() {
    let upstream = Upstream::start(vendor);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let path = "/v1beta/models/goo/m:streamGenerateContent";
    let answered = gateway.post(path, body(Vendor::Gemini, true));
    let (_, events) = Vendor::Gemini.answers(&answer());
    assert_eq!(answered.json(), json!(events));
    assert_eq!(answered.header("content-type"), "application/json; charset=utf-8");
}

#[test]
fn a_client_that_leaves_closes_the_relay_in_every_dialect() {
    for vendor in ALL {
        for stream in [false, true] {
            // Before the head, after it, and after the first byte.
            let head = if stream { "text/event-stream" } else { "application/json" };
            let (whole, events) = vendor.answers(&answer());
            let begun = if stream { vendor.stream(&events[..2]) } else { whole.to_string() };
            let begun = begun[..begun.len() - 1].to_owned() + if stream { "\n" } else { "" };
            for (place, reply) in [
                ("before the head", Reply::nothing().hang()),
                ("after the head", Reply::new(200, head).hang()),
                ("in the body", Reply::new(200, head).piece(&begun).hang()),
            ] {
                let upstream = Upstream::always(reply);
                let test = home(&upstream, "");
                let gateway = Gateway::start(&test);
                let model = format!("{}/m", vendor.provider());
                let path = vendor.path(&model, stream);
                let mut client = gateway.send("POST", &path, &[], body(vendor, stream));
                upstream.wait_for_requests(1);
                if stream && place == "in the body" {
                    client.read_until("\r\n\r\n");
                }
                let left = Instant::now();
                client.leave();
                upstream.wait_for_closed(1);
                println!("{vendor:?} stream={stream} {place}: closed after {:?}", left.elapsed());
            }
        }
    }
}

#[test]
fn what_a_server_does_not_take_deeper_in_the_body_is_translated() {
    let upstream = Upstream::start(vendor);
    // `lab` is OpenAI's equal; `old` is known by its URL alone.
    let more = format!(
        "[providers.old]\nplugin = \"openai-compatible\"\nbase_url = \"{}\"\n",
        upstream.url()
    );
    let test = home(&upstream, &more);
    let gateway = Gateway::start(&test);
    for (provider, role, more, sent_role, passed) in [
        ("lab", "developer", "", "developer", true),
        ("old", "system", "", "system", true),
        ("old", "developer", "", "system", false),
        ("old", "system", r#","safety_identifier":"u1""#, "system", true),
    ] {
        let body = format!(
            r#"{{"model":"{provider}/m","messages":[{{"role":"{role}","content":"be brief","odd":1.50}},
               {{"role":"user","content":"x"}}]{more}}}"#
        );
        let answer = gateway.post("/v1/chat/completions", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        let sent = upstream.requests().pop().unwrap();
        assert_eq!(sent.json()["messages"][0]["role"], sent_role, "{provider} {role}");
        assert_eq!(sent.body.windows(4).any(|it| it == b"1.50"), passed, "{provider} {role}");
        assert_eq!(sent.json()["user"] == "u1", !more.is_empty(), "{provider} {more}");
    }
}

#[test]
fn answers_that_fail_in_their_midst_are_failures_to_the_log_and_the_breaker() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"full up\"}}\n\n";
    let (_, events) = Vendor::Messages.answers(&answer());
    let text = Vendor::Messages.stream(&events[..4]) + error;
    let gate = Gate::new();
    let held = gate.clone();
    let begun = text.len() - error.len();
    let upstream = Upstream::start(move |_| {
        Reply::sse().piece(&text[..begun]).wait(&held).piece(&text[begun..])
    });
    let more = "[breaker]\nfailures = 2\nrest_ms = 60000\n";
    let test = home(&upstream, more);
    let gateway = Gateway::start(&test);
    gate.open();
    let ask = || gateway.post(&Vendor::Messages.path("ant/m", true), body(Vendor::Messages, true));
    for _ in 0..2 {
        let answer = ask();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.ends_with(error), "as the vendor said it: {answer:?}");
    }
    let answer = ask();
    assert_eq!(answer.status, 529, "left alone: {answer:?}");
    assert_eq!(upstream.requests().len(), 2);
    let log = gateway.stop().stderr;
    let failed = log.lines().filter(|line| line.contains("access") && line.contains("full up"));
    assert_eq!(failed.count(), 2, "{log}");
}
