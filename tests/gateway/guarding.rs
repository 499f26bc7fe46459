//! Who may ask, and what a request may look like.

use std::{
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit};
use serde_json::json;

use super::{
    CHAT, chat,
    client::{Connection, Gateway},
    home, server,
};
use crate::{
    harness::Test,
    upstream::{Gate, Reply, Upstream},
};

/// Makes a client key and returns it.
fn key(test: &Test, name: &str, more: &[&str]) -> String {
    let args = ["keys", "create", "--name", name].into_iter().chain(more.iter().copied());
    let output = test.args_of(args);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    output.stdout.trim().to_owned()
}

/// Makes a home whose `lab` has two sessions and no default.
fn with_two_sessions(upstream: &Upstream) -> Test {
    let more = "key_env = \"LAB_KEY\"\n[sessions.work]\nprovider = \"lab\"\nenv = \"WORK\"\n\
                [sessions.home]\nprovider = \"lab\"\nenv = \"HOME_KEY\"\n";
    home(upstream, more).env("WORK", "work-canary").env("HOME_KEY", "home-canary")
}

#[test]
fn foreign_pages_names_and_proxies_are_refused() {
    let upstream = Upstream::start(server);
    let more = "[serve]\norigins = [\"http://localhost:3000\"]\nhosts = [\"box.lan\"]\n";
    let test = home(&upstream, more);
    let gateway = Gateway::start(&test);
    for (headers, status) in [
        (&[("host", "evil.test")][..], 403),
        (&[("host", "127.0.0.1.evil.test:80")], 403),
        (&[("origin", "https://evil.test")], 403),
        (&[("origin", "null")], 403),
        (&[("x-forwarded-for", "10.0.0.1")], 401),
        (&[("forwarded", "for=10.0.0.1")], 401),
        (&[("via", "1.1 proxy")], 401),
        (&[("host", "box.lan:1")], 200),
        (&[("origin", "http://localhost:3000")], 200),
        (&[("sec-fetch-mode", "cors")], 200),
    ] {
        let answer = gateway.get("/v1/models", headers);
        assert_eq!(answer.status, status, "{headers:?} {}", answer.body);
        if status != 200 {
            assert!(answer.json()["error"]["message"].is_string());
        }
    }
    let allowed = [("origin", "http://localhost:3000")];
    let answer = gateway.ask("OPTIONS", CHAT, &allowed, "");
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
    let answer = gateway.ask("OPTIONS", CHAT, &[("origin", "https://evil.test")], "");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, ""));
}

#[test]
fn bodies_that_make_no_sense_are_refused_in_words() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "[serve]\nmax_body_bytes = 1000000\n");
    let gateway = Gateway::start(&test);
    let deep = "[".repeat(100_000);
    let inside =
        format!("{{\"model\":\"lab/m\",\"messages\":[],\"x\":{deep}{}}}", "]".repeat(100_000));
    let deep_message =
        format!("{{\"model\":\"lab/m\",\"messages\":{deep}{}}}", "]".repeat(100_000));
    let long = format!("{{\"model\":\"{}\"}}", "x".repeat(1_000_000));
    let cases: [(&str, &[u8], u16); 11] = [
        ("empty", b"", 400),
        ("malformed", b"{\"model\":", 400),
        ("no object", b"[]", 400),
        ("not UTF-8", b"{\"model\":\"\xff\"}", 400),
        ("NUL", b"{\"model\":\"a\0b\",\"messages\":[]}", 400),
        ("twice", b"{\"model\":\"lab/m\",\"messages\":[],\"model\":\"lab/n\"}", 400),
        ("no model", b"{\"messages\":[]}", 400),
        ("deep", deep.as_bytes(), 400),
        ("deep message", deep_message.as_bytes(), 400),
        ("deep unknown field", inside.as_bytes(), 400),
        ("long", long.as_bytes(), 413),
    ];
    let paths = [CHAT, "/v1/responses", "/v1/messages", "/v1beta/models/lab/m:generateContent"];
    for path in paths {
        for (what, body, status) in &cases {
            let answer = gateway.post(path, body);
            if path.starts_with("/v1beta") && *what == "no model" {
                continue;
            }
            assert_eq!(answer.status, *status, "{path} {what}: {}", answer.body);
            assert!(answer.json()["error"]["message"].is_string(), "{path} {what}");
        }
    }
    assert_eq!(upstream.requests().iter().filter(|r| r.method == "POST").count(), 0);
    let packed = gateway.ask("POST", CHAT, &[("content-encoding", "gzip")], "x");
    assert_eq!(packed.status, 415);
    assert_eq!(gateway.get(CHAT, &[]).status, 405);
    assert_eq!(gateway.get("/v1/nothing", &[]).status, 404);
}

#[test]
fn clients_that_do_not_finish_their_request_are_let_go() {
    let upstream = Upstream::start(server);
    let more = "[serve]\nheader_timeout_ms = 100\nbody_timeout_ms = 100\n";
    let test = home(&upstream, more);
    let gateway = Gateway::start(&test);
    let mut silent = gateway.connect();
    let mut slow_head = gateway.connect();
    slow_head.stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: loc").unwrap();
    let mut slow_body = gateway.connect();
    slow_body
        .stream
        .write_all(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
        )
        .unwrap();
    let mut endless = gateway.connect();
    endless
        .stream
        .write_all(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n")
        .unwrap();
    // Meanwhile others are served.
    assert_eq!(gateway.post(CHAT, chat("lab/m", false)).status, 200);
    assert!(matches!(silent.finish().status, 0 | 408));
    assert!(matches!(slow_head.finish().status, 0 | 408));
    assert_eq!(slow_body.finish().status, 408);
    assert_eq!(endless.finish().status, 408);
}

#[test]
fn heads_that_are_too_long_or_mean_two_things_are_refused() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    // hyper looks at the length between reads, so that the cap is soft.
    let long = format!("x-long: {}\r\n", "x".repeat(300_000));
    let many: String = (0..200).map(|at| format!("x-{at}: y\r\n")).collect();
    let path = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(80_000));
    let post = |headers: &str| {
        let close = "connection: close\r\n";
        format!("POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n{close}{headers}\r\n0\r\n\r\n")
    };
    for (what, head, status) in [
        ("long header", post(&long), 431),
        ("many headers", post(&many), 431),
        ("long path", path, 414),
        ("two lengths", post("content-length: 1\r\ncontent-length: 2\r\n"), 400),
        ("no length", post("content-length: one\r\n"), 400),
        ("length and chunks", post("content-length: 3\r\ntransfer-encoding: chunked\r\n"), 400),
        ("unknown coding", post("transfer-encoding: gzip\r\n"), 400),
        ("folded header", post("x-a: b\r\n c\r\n"), 400),
        ("NUL", post("x-a: b\0c\r\n"), 400),
        ("no HTTP", "\x16\x03\x01\x02\0\x01\0\x01\x7c".to_owned(), 400),
        ("two hosts", post("host: localhost\r\ncontent-length: 0\r\n"), 400),
        ("no host", "GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), 403),
    ] {
        let mut connection = gateway.connect();
        // Not closed on our side: who does that while an answer is made counts as gone.
        let _ = connection.stream.write_all(head.as_bytes());
        assert_eq!(connection.finish().status, status, "{what}");
    }
    assert_eq!(upstream.requests().iter().filter(|r| r.method == "POST").count(), 0);
}

/// Asks many times, each on a connection of its own, tells of each answer, and returns how long they
/// took, shortest first.
fn ask_often(gateway: &Gateway, count: usize, told: &mpsc::Sender<()>) -> Vec<Duration> {
    let body = chat("lab/m", false);
    let mut times: Vec<_> = thread::scope(|scope| {
        let asking = |told: mpsc::Sender<()>| {
            let body = &body;
            let one = move || {
                let begun = Instant::now();
                let answer = gateway.post(CHAT, body);
                assert_eq!(answer.status, 200, "{}", answer.body);
                let _ = told.send(());
                begun.elapsed()
            };
            move || (0..count / 4).map(|_| one()).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(asking(told.clone()))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    times.sort();
    times
}

/// Prints the times; a machine that also compiles keeps no promise about them.
#[test]
fn five_hundred_slow_heads_and_bodies_hold_up_nobody() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "models = [\"m\"]\n");
    let gateway = Gateway::start(&test);
    // A thousand connections of our own; shells allow that many descriptors and a few.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let percentile = |times: &[Duration], of: usize| times[times.len() * of / 100];
    let (told, answers) = mpsc::channel();
    ask_often(&gateway, 40, &told);
    let without = ask_often(&gateway, 800, &told);
    let slow = |text: &[u8]| -> Vec<Connection> {
        let open = |_| {
            let mut connection = gateway.connect();
            connection.stream.write_all(text).unwrap();
            connection
        };
        (0..500).map(open).collect()
    };
    let heads = slow(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-slow: ");
    let bodies = slow(
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999\r\n\r\n{\"a\":\"",
    );
    // They go on all the while, two bytes for each answer that somebody else has got: a byte a second
    // each, about.
    let mut all: Vec<_> = heads.into_iter().chain(bodies).collect();
    while answers.try_recv().is_ok() {}
    let (with, sent) = thread::scope(|scope| {
        let slowly = scope.spawn(|| {
            let mut sent = 0;
            for () in answers {
                for _ in 0..2 {
                    let at = sent % all.len();
                    all[at].stream.write_all(b"x").unwrap();
                    sent += 1;
                }
            }
            sent
        });
        let with = ask_often(&gateway, 800, &told);
        drop(told);
        (with, slowly.join().unwrap())
    });
    assert_eq!(sent, 1600, "none of them was cut off");
    println!(
        "p50 and p99 alone: {:.1?} and {:.1?}; beside 1,000 slow clients: {:.1?} and {:.1?}",
        percentile(&without, 50),
        percentile(&without, 99),
        percentile(&with, 50),
        percentile(&with, 99),
    );
    assert_eq!((without.len(), with.len()), (800, 800), "all were answered");
    assert_eq!(upstream.requests().iter().filter(|r| r.method == "POST").count(), 1640);
}

/// Each connection may need another one upstream: those for which there is no room wait at the door, and
/// no healthy provider is taken for a dead one.
#[test]
fn with_few_descriptors_clients_wait_and_none_fails() {
    let gate = Gate::new();
    let hold = gate.clone();
    let upstream = Upstream::start(move |_| {
        Reply::sse()
            .event(r#"{"choices":[{"delta":{"content":"red"}}]}"#)
            .wait(&hold)
            .event("[DONE]")
    });
    let test = home(&upstream, "");
    let mut command = Command::new("sh");
    let serve = "ulimit -n 64; exec \"$0\" serve --listen 127.0.0.1:0";
    command.args(["-c", serve, env!("CARGO_BIN_EXE_maestro")]);
    let gateway = Gateway::of(test.command(command));
    let body = chat("lab/m", true);
    let ask = |_| gateway.send("POST", CHAT, &[("connection", "close")], &body);
    let mut clients: Vec<Connection> = (0..60).map(ask).collect();
    upstream.wait_for_requests(1);
    gate.open();
    for client in &mut clients {
        let answer = client.finish();
        assert!(answer.status == 200 && answer.body.contains("red"), "{answer:?}");
    }
}

#[test]
fn hostile_bodies_cost_no_memory() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "[serve]\nmax_body_bytes = 8000000\n");
    let gateway = Gateway::start(&test);
    let nested = format!("{{\"model\":\"lab/m\",\"messages\":{}", "[".repeat(100_000));
    let wide = format!("{{\"model\":\"lab/m\",\"messages\":[{}]}}", "{},".repeat(100_000));
    let twice = format!("{{{}\"a\":1}}", "\"a\":1,".repeat(100_000));
    let long = "x".repeat(8_000_001);
    let bodies = [nested, wide, twice, long];
    let round = || {
        for path in [CHAT, "/v1/responses", "/v1/messages", "/v1beta/models/lab/m:generateContent"]
        {
            for body in &bodies {
                let answer = gateway.post(path, body);
                assert!((400..500).contains(&answer.status), "{path}: {}", answer.body);
                assert!(answer.json()["error"]["message"].is_string(), "{path}");
            }
            // Declared and never sent.
            let mut promised = gateway.connect();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7999999\r\n\r\n"
            );
            promised.stream.write_all(head.as_bytes()).unwrap();
            promised.leave();
        }
    };
    round();
    let before = gateway.resident();
    for _ in 0..10 {
        round();
    }
    let after = gateway.resident();
    println!("resident after one round of hostile bodies: {before} KiB, after eleven: {after} KiB");
    assert!(after < before + 48 * 1024, "{before} KiB became {after} KiB");
}

#[test]
fn a_refusal_is_heard_although_the_body_goes_on() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "[serve]\nmax_body_bytes = 1000\n");
    let gateway = Gateway::start(&test);
    for _ in 0..20 {
        // Far more than the sockets hold; without a gentle end its reset would overtake the answer.
        let answer = gateway.post("/v1/messages", "x".repeat(1 << 20));
        assert_eq!((answer.status, &answer.json()["type"]), (413, &json!("error")));
    }
}

#[test]
fn a_body_without_an_end_is_cut_at_the_cap() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "[serve]\nmax_body_bytes = 100000\n");
    let gateway = Gateway::start(&test);
    let mut endless = gateway.connect();
    let head =
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    endless.stream.write_all(head).unwrap();
    let chunk = format!("2710\r\n{}\r\n", " ".repeat(10_000));
    let mut sent = 0;
    while endless.stream.write_all(chunk.as_bytes()).is_ok() {
        sent += 10_000;
        assert!(sent < 256 << 20, "it reads on");
    }
}

#[test]
fn keys_are_asked_for_as_soon_as_one_exists_and_end_at_once() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let body = chat("lab/m", false);
    assert_eq!(gateway.post(CHAT, &body).status, 200);

    let secret = key(&test, "laptop", &[]);
    assert!(secret.len() > 43 && secret.starts_with("maestro-"), "{secret}");
    assert!(test.grep(&secret).is_empty(), "only its hash is stored");
    let answer = gateway.post(CHAT, &body);
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    assert!(answer.body.contains("hint: run `maestro keys create"), "{}", answer.body);
    assert_eq!(gateway.get("/v1/models", &[("authorization", "Bearer maestro-wrong")]).status, 401);
    let bearer = format!("Bearer {secret}");
    for headers in [
        &[("authorization", bearer.as_str())][..],
        &[("x-api-key", &secret)],
        &[("x-goog-api-key", &secret)],
        // With a key it does not matter how the gateway is called, or through what.
        &[("x-api-key", &secret), ("host", "gateway.test"), ("x-forwarded-for", "10.0.0.1")],
    ] {
        assert_eq!(gateway.ask("POST", CHAT, headers, &body).status, 200, "{headers:?}");
    }
    assert_eq!(gateway.get(&format!("/v1beta/models?key={secret}"), &[]).status, 200);

    assert_eq!(test.args_of(["keys", "revoke", "laptop"]).status.code(), Some(0));
    let answer = gateway.ask("POST", CHAT, &[("x-api-key", &secret)], &body);
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("`laptop` was revoked"), "{}", answer.body);
    assert_eq!(gateway.post(CHAT, &body).status, 401, "a revoked key still means: keys are needed");
    assert_eq!(test.args_of(["keys", "delete", "laptop"]).status.code(), Some(0));
    assert_eq!(gateway.post(CHAT, &body).status, 200);

    let said = gateway.stop();
    assert!(said.stderr.contains("client=\"laptop\""), "{}", said.stderr);
    assert!(!said.stderr.contains(&secret), "{}", said.stderr);
    for request in upstream.requests() {
        assert!(!format!("{request:?}").contains(&secret));
    }
}

#[test]
fn a_key_may_only_what_it_was_given() {
    let upstream = Upstream::start(server);
    let test = with_two_sessions(&upstream);
    let bound = key(&test, "bound", &["--session", "lab=home", "--allow", "lab:home/m*"]);
    let few = key(&test, "few", &["--rpm", "2", "--allow", "echo/*"]);
    let gateway = Gateway::start(&test);
    let ask = |secret: &str, headers: &[(&str, &str)], model| {
        let headers: Vec<_> = headers.iter().copied().chain([("x-api-key", secret)]).collect();
        gateway.ask("POST", CHAT, &headers, chat(model, false))
    };
    let answer = ask(&bound, &[], "lab/m");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(upstream.requests().pop().unwrap().header("authorization"), "Bearer home-canary");
    for (headers, model) in [
        (&[][..], "lab/org/big"),
        (&[], "echo/echo"),
        (&[("x-maestro-session", "work")], "lab/m"),
        (&[], "lab:work/m"),
    ] {
        let answer = ask(&bound, headers, model);
        assert_eq!(answer.status, 403, "{headers:?} {model} {}", answer.body);
    }
    let sent = upstream.requests().iter().filter(|r| r.method == "POST").count();
    assert_eq!(sent, 1, "what is not allowed is not sent");
    let models = gateway.get("/v1/models", &[("x-api-key", &bound)]).json();
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
    assert_eq!(ids, ["lab/m", "lab/mistral-small"]);

    // A session of its own binds by itself.
    let own = key(&test, "own", &["--session", "lab=home"]);
    assert_eq!(ask(&own, &[], "lab/m").status, 200);
    assert_eq!(ask(&own, &[], "echo/echo").status, 200);
    for (headers, model) in [(&[("x-maestro-session", "work")][..], "lab/m"), (&[], "lab:work/m")] {
        assert_eq!(ask(&own, headers, model).status, 403, "{headers:?} {model}");
    }
    let answer = gateway.ask(
        "POST",
        "/s/work/v1/chat/completions",
        &[("x-api-key", &own)],
        chat("lab/m", false),
    );
    assert_eq!(answer.status, 403, "{answer:?}");
    let answer = gateway.get("/v1/models/lab:work/other", &[("x-api-key", &own)]);
    assert_eq!(answer.status, 403, "{answer:?}");
    for path in ["/v1/models/lab/other", "/s/work/v1/models"] {
        gateway.get(path, &[("x-api-key", &own), ("x-maestro-session", "work")]);
    }
    let used = |name: &str| {
        let bearer = format!("Bearer {name}-canary");
        upstream.requests().iter().any(|asked| asked.header("authorization") == bearer)
    };
    assert!(used("home") && !used("work"));
    // Of a pool it gets its own, too.
    assert_eq!(ask(&own, &[], "lab:*/m").status, 200);
    assert_eq!(upstream.requests().pop().unwrap().header("authorization"), "Bearer home-canary");

    assert_eq!(ask(&few, &[], "echo/echo").status, 200);
    assert_eq!(ask(&few, &[], "echo/echo").status, 200);
    let limited = ask(&few, &[], "echo/echo");
    assert_eq!(limited.status, 429);
    assert!(!limited.header("retry-after").is_empty());
}

/// A key that may ask with one session alone need not name it.
#[test]
fn the_only_session_that_a_key_may_use_is_the_one_it_uses() {
    let upstream = Upstream::start(server);
    let test = with_two_sessions(&upstream);
    let one = key(&test, "one", &["--allow", "lab:home/m*", "--allow", "lab:home/x"]);
    let any = key(&test, "any", &["--allow", "lab:home/m*", "--allow", "lab:work/m*"]);
    let gateway = Gateway::start(&test);
    let ask =
        |secret: &str| gateway.ask("POST", CHAT, &[("x-api-key", secret)], chat("lab/m", false));
    let answer = ask(&one);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(upstream.requests().pop().unwrap().header("authorization"), "Bearer home-canary");
    let models = gateway.get("/v1/models", &[("x-api-key", &one)]).json();
    assert_eq!(models["data"][0]["id"], "lab/m", "{models}");
    let answer = ask(&any);
    assert_eq!(answer.status, 400, "which of the two? {answer:?}");
    assert!(answer.body.contains("`x-maestro-session`"), "{answer:?}");
}

#[test]
fn paths_that_are_none_are_told_from_models_that_are_none() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    // A base URL that ends in `/`.
    assert_eq!(gateway.post(&format!("/{CHAT}"), chat("lab/m", false)).status, 200);
    let answer = gateway.post("/v1/v1/chat/completions", chat("lab/m", false));
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!(null)));
    assert!(answer.body.contains("maestro env"), "{answer:?}");
    let answer = gateway.post(CHAT, chat("", false));
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("model")));
    let plain = [("content-encoding", "Identity")];
    assert_eq!(gateway.ask("POST", CHAT, &plain, chat("lab/m", false)).status, 200);
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(gateway.ask("POST", CHAT, &gzip, chat("lab/m", false)).status, 415);
}

/// A key goes to its provider, and is nowhere else: not even where the provider repeats it.
#[test]
fn a_canary_secret_is_seen_by_its_provider_alone() {
    const CANARY: &str = "sk-canary-6f1d2b7c90ab";
    const CLIENTS: &str = "sk-clients-own-51e0";
    let upstream = Upstream::start(|request| {
        let key = request.header("authorization").to_owned();
        match request.json()["model"].as_str() {
            Some("repeats") => Reply::json(
                401,
                &json!({"error": {"message": format!("Incorrect API key: {key}")}}).to_string(),
            ),
            Some("vanishes") => Reply::nothing(),
            Some("breaks") => Reply::sse().event("{").close(),
            _ => server(request),
        }
    });
    let more = "models = [\"m\"]\nkey_env = \"LAB_KEY\"\n[retries]\nmax = 0\n\
                [sessions.work]\nprovider = \"lab\"\nenv = \"LAB_KEY\"\n";
    let test = home(&upstream, more).env("LAB_KEY", CANARY).env("MAESTRO_LOG", "trace");
    let stored = test.begin(["login", "lab", "--name", "stored", "--key-stdin"], CANARY).wait();
    assert_eq!(stored.status.code(), Some(0), "{}", stored.stderr);
    let gateway = Gateway::start(&test);
    let own = format!("Bearer {CLIENTS}");
    let mut heard = String::new();
    for session in ["work", "stored"] {
        let headers = [
            ("authorization", own.as_str()),
            ("x-api-key", CLIENTS),
            ("cookie", CLIENTS),
            ("x-maestro-session", session),
        ];
        for model in ["lab/m", "lab/repeats", "lab/vanishes", "lab/breaks", "lab", "lab/"] {
            for stream in [false, true] {
                let answer = gateway.ask("POST", CHAT, &headers, chat(model, stream));
                heard.push_str(&format!("{answer:?}\n"));
            }
        }
        heard.push_str(&format!("{:?}", gateway.get("/v1/models", &headers)));
    }
    let asked = upstream.requests();
    let used = asked.iter().filter(|r| r.header("authorization") == format!("Bearer {CANARY}"));
    assert!(used.count() >= 16, "both sessions use the key");
    assert!(!format!("{asked:?}").contains(CLIENTS), "a client's credential goes no further");
    let said = gateway.stop();
    for (what, text) in [("answers", &heard), ("log", &said.stderr), ("output", &said.stdout)] {
        assert!(!text.contains(CANARY), "in the {what}: {text}");
    }
    assert!(said.stderr.contains("maestro::access"), "the log was there to look at");
    assert_eq!(
        test.grep(CANARY),
        Vec::<std::path::PathBuf>::new(),
        "no file below the home has it"
    );
    assert_eq!(test.grep(CLIENTS), Vec::<std::path::PathBuf>::new());
}

/// Lets a process leave a core file as far as limits go.
fn allow_core(process: Pid) {
    let most = getrlimit(Resource::Core).maximum;
    prlimit(Some(process), Resource::Core, Rlimit { current: most, maximum: most }).unwrap();
}

#[test]
fn whatever_kills_it_it_leaves_no_core_file() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    // A program that does not refuse, to see whether this machine would write a core at all.
    let mut other = Command::new("cat");
    other.stdin(Stdio::piped());
    let other = test.command(other);
    let process = Pid::from_raw(other.id().try_into().unwrap()).unwrap();
    allow_core(process);
    kill_process(process, Signal::ABORT).unwrap();
    let another = other.wait().status.core_dumped();
    let gateway = Gateway::start(&test);
    // Not even where the limit was raised again from outside.
    allow_core(gateway.process());
    let ended = gateway.killed_by(Signal::ABORT).status;
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()));
    let ours = ended.core_dumped();
    println!("a core file of another program: {another}, of the gateway: {ours}");
    assert!(!ours);
}

#[test]
fn beyond_this_machine_it_starts_only_with_keys_and_a_word() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let serve = ["serve", "--listen", "0.0.0.0:0"];
    let refused = test.args_of(serve);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stderr.contains("`[serve.tls]` names no certificate"), "{}", refused.stderr);
    let refused = test.args_of([serve[0], serve[1], serve[2], "--plaintext"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stderr.contains("hint: run `maestro keys create"), "{}", refused.stderr);
    // A certificate takes the place of the word, and not that of the keys.
    let tls = "[serve.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
    let refused = home(&upstream, tls).args_of(serve);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stderr.contains("no client key exists"), "{}", refused.stderr);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = test.args_of(["serve", "--listen", &address]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("choose another address"), "{}", refused.stderr);
}

#[test]
fn settings_for_tools_are_printed() {
    Test::new()
        .args(["env", "claude", "--session", "work"])
        .stdout(
            "export ANTHROPIC_BASE_URL=http://127.0.0.1:4141/s/work\n\
             export ANTHROPIC_AUTH_TOKEN=maestro\n\
             export CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1\n",
        )
        .success()
        .args(["env", "openai", "--url", "http://127.0.0.1:9"])
        .stdout("export OPENAI_BASE_URL=http://127.0.0.1:9/v1\nexport OPENAI_API_KEY=maestro\n")
        .success()
        .args(["env", "openai", "--session", "a b"])
        .stderr("error: invalid session name `a b`: expected 3 to 50 of `A-Z a-z 0-9 _ -`\n")
        .failure(2);
}

#[test]
fn a_launched_tool_has_a_gateway_of_its_own() {
    let upstream = Upstream::start(server);
    // A tool that shows what it was given, asks once with its key and once without, and fails.
    let script = "#!/bin/sh\n\
        echo \"$@\"\n\
        ask() { curl -s -o /dev/null -w '%{http_code}\\n' \"$@\" \"$ANTHROPIC_BASE_URL/v1/models\"; }\n\
        ask -H \"authorization: Bearer $ANTHROPIC_AUTH_TOKEN\"\n\
        ask\n\
        exit 7\n";
    let test = home(&upstream, "").write("bin/claude", script);
    let tool = test.home().join("bin/claude");
    let mut mode = std::fs::metadata(&tool).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&tool, mode).unwrap();
    let path = format!(
        "{}:{}",
        test.home().join("bin").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    test.env("PATH", path)
        .args(["launch", "claude", "--session", "work", "-m", "lab/m", "--", "--continue"])
        .stdout("--model lab/m --continue\n200\n401\n")
        .stderr("`claude` ended with status 7\n")
        .failure(7)
        .env("PATH", "/nowhere")
        .args(["launch", "codex"])
        .stderr(
            "error: failed to start `codex`: No such file or directory (os error 2)\n\n\
             hint: install `codex`, or put it on the PATH\n",
        )
        .failure(1);
}
