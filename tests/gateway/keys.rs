//! What a client's key may use, and how that is counted.

use std::{thread, time::Instant};

use serde_json::{Value, json};

use super::{
    CHAT, chat, chunk,
    client::{self, Answer, Gateway},
    home, server, word,
};
use crate::{
    harness::Test,
    upstream::{Gate, PATIENCE, Reply, Upstream},
};

fn key(test: &Test, more: &[&str]) -> String {
    let args = ["keys", "create", "--name", "tool"].into_iter().chain(more.iter().copied());
    let output = test.args_of(args);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    output.stdout.trim().to_owned()
}

/// An answer that used tokens.
fn uses(prompt: u64, answer: u64) -> Reply {
    let usage = json!({"prompt_tokens": prompt, "completion_tokens": answer});
    Reply::sse()
        .event(&word("yes"))
        .event(&chunk(&json!({}), &json!("stop")))
        .event(
            &json!({"id": "c-1", "object": "chat.completion.chunk", "model": "m",
                       "choices": [], "usage": usage})
            .to_string(),
        )
        .event("[DONE]")
}

fn ask(gateway: &Gateway, key: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    gateway.ask("POST", path, &[("authorization", &bearer)], body)
}

fn usage(test: &Test) -> Vec<Value> {
    let output = test.args_of(["--json", "keys", "usage"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let said: Value = serde_json::from_str(&output.stdout).unwrap();
    said["client_usage"].as_array().unwrap().clone()
}

/// Waits until so many requests of the key are on record.
#[track_caller]
fn wait_for_usage(test: &Test, requests: i64) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let rows = usage(test);
        let sum: i64 = rows.iter().filter_map(|row| row["requests"].as_i64()).sum();
        if sum >= requests {
            return rows;
        }
        assert!(Instant::now() < end, "expected {requests} requests, found {rows:?}");
        thread::yield_now();
    }
}

/// A dollar a token of the prompt.
const DEAR: &str = "[prices]\n\"lab/m\" = { input = 1000000, output = 0 }\n";

#[test]
fn a_budget_holds_is_told_in_every_dialect_and_survives_a_kill() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/v1/chat/completions" => uses(1, 7),
        _ => server(request),
    });
    let test = home(&upstream, DEAR);
    let key = key(&test, &["--budget", "3/day"]);
    let gateway = Gateway::start(&test);
    for stream in [false, true, false] {
        let answer = ask(&gateway, &key, CHAT, &chat("lab/m", stream));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let refused = ask(&gateway, &key, CHAT, &chat("lab/m", false));
    assert_eq!(refused.status, 429, "{}", refused.body);
    let rows = wait_for_usage(&test, 3);
    assert_eq!(rows[0]["model"], "lab/m");
    assert_eq!((&rows[0]["requests"], &rows[0]["cost_usd"]), (&json!(3), &json!(3.0)));
    assert_eq!((&rows[0]["input_tokens"], &rows[0]["output_tokens"]), (&json!(3), &json!(21)));
    // Killed, not stopped.
    drop(gateway);
    let gateway = Gateway::start(&test);
    let asked = upstream.requests().len();
    for path in [CHAT, "/v1/responses", "/v1/messages", "/v1beta/models/lab/m:generateContent"] {
        let answer = ask(&gateway, &key, path, &chat("lab/m", false));
        // Anthropic's own status for money that is spent.
        let status = if path == "/v1/messages" { 402 } else { 429 };
        assert_eq!(answer.status, status, "{path} {}", answer.body);
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(message, "the client key `tool` has spent its budget of the day", "{path}");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=86_400).contains(&wait), "{wait}");
    }
    assert_eq!(upstream.requests().len(), asked, "nothing was sent");
    gateway.stop();
}

#[test]
fn requests_at_once_stay_within_the_budget() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |_| {
        Reply::sse().event(&word("a")).wait(&held).event(&chunk(&json!({}), &json!("stop"))).event(
            &json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [],
                "usage": {"prompt_tokens": 9, "completion_tokens": 100}})
            .to_string(),
        )
    });
    // A dollar a token of the answer; each may have 100 of them.
    let test = home(&upstream, "[prices]\n\"lab/m\" = { input = 0, output = 1000000 }\n");
    let key = key(&test, &["--budget", "350/day"]);
    let gateway = Gateway::start(&test);
    let bearer = format!("Bearer {key}");
    let body = json!({"model": "lab/m", "stream": true, "max_tokens": 100,
        "messages": [{"role": "user", "content": "x"}]})
    .to_string();
    // All ten at once: none has ended when the last one is weighed.
    let mut asked: Vec<_> =
        (0..10).map(|_| gateway.send("POST", CHAT, &[("authorization", &bearer)], &body)).collect();
    let end = Instant::now() + PATIENCE;
    while upstream.requests().len() < 3 {
        assert!(Instant::now() < end, "three fit into the budget");
        thread::yield_now();
    }
    gate.open();
    let answers: Vec<Answer> = asked.iter_mut().map(client::Connection::finish).collect();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)), "{answers:?}");
    // A place that is free again costs what its answer did: the budget is met, and never passed by more
    // than the one that is let in alone.
    assert!((3..=4).contains(&served), "{served}");
    let rows = wait_for_usage(&test, i64::try_from(served).unwrap());
    assert!(rows[0]["cost_usd"].as_f64().unwrap() <= 400.0, "{rows:?}");
    gateway.stop();
}

/// Who leaves before the vendor says what was used has used it all the same.
#[test]
fn an_answer_that_is_left_costs_what_was_seen_of_it() {
    let gate = Gate::new();
    let hold = gate.clone();
    let upstream = Upstream::start(move |_| {
        let many = "red ".repeat(2_000);
        Reply::sse().event(&word(&many)).wait(&hold).event("[DONE]")
    });
    let test = home(&upstream, "[prices]\n\"lab/m\" = { input = 0, output = 1000000 }\n");
    let key = key(&test, &["--budget", "20/day"]);
    let gateway = Gateway::start(&test);
    let bearer = format!("Bearer {key}");
    let body = chat("lab/m", true);
    let mut client = gateway.send("POST", CHAT, &[("authorization", &bearer)], &body);
    client.read_until("red red");
    client.leave();
    let rows = wait_for_usage(&test, 1);
    assert!(rows[0]["cost_usd"].as_f64().unwrap() > 20.0, "{rows:?}");
    assert_eq!(ask(&gateway, &key, CHAT, &body).status, 429);
    gate.open();
    gateway.stop();
}

/// A vendor that says it used more than there can be spoils no sum.
#[test]
fn counts_that_cannot_be_are_not_believed() {
    let most = i64::MAX as u64;
    let upstream = Upstream::always(uses(most, most));
    let test = home(&upstream, DEAR);
    let key = key(&test, &["--budget", "5/day"]);
    let gateway = Gateway::start(&test);
    assert_eq!(ask(&gateway, &key, CHAT, &chat("lab/m", false)).status, 200);
    for _ in 0..2 {
        assert_eq!(ask(&gateway, &key, CHAT, &chat("lab/m", false)).status, 429);
    }
    let rows = wait_for_usage(&test, 1);
    assert_eq!(rows[0]["output_tokens"], 1_000_000_000, "{rows:?}");
    assert_eq!(ask(&gateway, &key, CHAT, &chat("lab/m", false)).status, 429);
    gateway.stop();
}

/// A stream says what it used only where it is asked to: it is asked, and its client none the wiser.
#[test]
fn a_key_that_is_counted_gets_the_same_answer() {
    let upstream = Upstream::always(uses(3, 4));
    let test = home(&upstream, "");
    let counted = key(&test, &["--tpm", "100000"]);
    let output = test.args_of(["keys", "create", "--name", "free"]);
    let free = output.stdout.trim().to_owned();
    let gateway = Gateway::start(&test);
    let body = r#"{"model":"lab/m","odd":[1.50],"n":2,"stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    let plain = ask(&gateway, &free, CHAT, body);
    let sent = upstream.requests().pop().unwrap().body;
    let same = ask(&gateway, &counted, CHAT, body);
    let also = upstream.requests().pop().unwrap().body;
    assert_eq!((plain.status, same.status), (200, 200), "{same:?}");
    let wish = "{\"stream_options\":{\"include_usage\":true},";
    let also = String::from_utf8(also).unwrap();
    assert_eq!(also.replacen(wish, "{", 1), String::from_utf8(sent).unwrap());
    assert!(plain.body.contains("\"usage\"") && plain.body.contains("[DONE]"), "{plain:?}");
    let usage = plain.body.find(
        "data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[]",
    );
    let usage = usage.unwrap();
    let end = usage + plain.body[usage..].find("\n\n").unwrap() + 2;
    assert_eq!(same.body, [&plain.body[..usage], &plain.body[end..]].concat());
    let rows = wait_for_usage(&test, 2);
    assert_eq!(rows.iter().map(|row| row["output_tokens"].as_i64().unwrap()).sum::<i64>(), 8);
    gateway.stop();
}

#[test]
fn vectors_are_paid_for_and_counting_is_not() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "[prices]\n\"lab/*\" = { input = 1000000, output = 0 }\n");
    let key = key(&test, &["--budget", "5/day"]);
    let gateway = Gateway::start(&test);
    let body = json!({"model": "lab/embed-1", "input": ["a", "b"]}).to_string();
    for status in [200, 200, 429] {
        let answer = ask(&gateway, &key, "/v1/embeddings", &body);
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    let rows = wait_for_usage(&test, 2);
    assert_eq!((&rows[0]["input_tokens"], &rows[0]["cost_usd"]), (&json!(8), &json!(8.0)));
    gateway.stop();
}

#[test]
fn two_gateways_share_one_budget() {
    let upstream = Upstream::start(|_| uses(1, 1));
    let test = home(&upstream, DEAR);
    let key = key(&test, &["--budget", "20/day"]);
    let gateways = [Gateway::start(&test), Gateway::start(&test)];
    let served: usize = thread::scope(|scope| {
        let runs = gateways.each_ref().map(|gateway| {
            scope.spawn(|| {
                let asks = (0..60).map(|_| ask(gateway, &key, CHAT, &chat("lab/m", false)).status);
                asks.take_while(|status| *status == 200).count()
            })
        });
        runs.into_iter().map(|run| run.join().unwrap()).sum()
    });
    // What the other one spent is seen once it is written, which takes some tens of milliseconds.
    assert!((20..=40).contains(&served), "{served}");
    let rows = wait_for_usage(&test, i64::try_from(served).unwrap());
    assert_eq!(rows[0]["requests"], json!(served));
    for gateway in gateways {
        assert_eq!(ask(&gateway, &key, CHAT, &chat("lab/m", false)).status, 429);
        gateway.stop();
    }
}

#[test]
fn tokens_of_a_minute_and_requests_at_once_are_limited() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |request| match request.json()["model"].as_str() {
        Some("slow") => Reply::sse().event(&word("a")).wait(&held).event("[DONE]"),
        _ => uses(30, 70),
    });
    let test = home(&upstream, "");
    let key = key(&test, &["--tpm", "150", "--concurrent", "1"]);
    let gateway = Gateway::start(&test);
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    let mut slow = gateway.send("POST", CHAT, &headers, chat("lab/slow", true));
    slow.read_until("\"a\"");
    let answer = ask(&gateway, &key, CHAT, &chat("lab/m", false));
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"), "{}", answer.body);
    assert!(answer.body.contains("allows 1 requests at once"), "{}", answer.body);
    gate.open();
    slow.finish();
    let end = Instant::now() + PATIENCE;
    // The place is free once the whole answer has left.
    while ask(&gateway, &key, CHAT, &chat("lab/m", false)).status != 200 {
        assert!(Instant::now() < end, "the place was never free");
    }
    assert_eq!(ask(&gateway, &key, CHAT, &chat("lab/m", false)).status, 200, "50 are left");
    let answer = ask(&gateway, &key, CHAT, &chat("lab/m", false));
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert!(answer.body.contains("allows 150 tokens a minute"), "{}", answer.body);
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let rows = wait_for_usage(&test, 3);
    let unpriced = rows.iter().find(|row| row["model"] == "lab/m").unwrap();
    assert_eq!(unpriced["unpriced_requests"], 2, "{rows:?}");
    let output = test.args_of(["keys", "usage"]);
    assert!(output.stdout.contains("no price"), "{}", output.stdout);
    gateway.stop();
}

#[test]
fn hints_name_only_what_the_key_may_use() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "[aliases]\nmistral-mine = \"echo/echo\"\n");
    let key = key(&test, &["--allow", "lab/mistral-*"]);
    let gateway = Gateway::start(&test);
    let answer = ask(&gateway, &key, CHAT, &chat("mistral-smal", false));
    // Several may be ready to take a name that nobody lists, or one; the hint counts.
    let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    for hidden in ["lab/m`", "mistral-mine", "echo/echo", "org/big"] {
        assert!(!message.contains(hidden), "{hidden}: {message}");
    }
    let answer = ask(&gateway, &key, CHAT, &chat("lab/m", false));
    assert_eq!(answer.status, 403, "{}", answer.body);
    gateway.stop();
}
