//! Requests go where they may, carry what they may, and every way for an answer to go wrong is
//! told apart.

use plugin_api::{error::ErrorKind, event::ChatEvent};

use crate::{
    ask::{begin, chat, request, text_of},
    harness::{Test, wait},
    upstream::{Gate, Reply, Upstream},
};

/// A home with `faulty`, and a provider `lab` of it at an upstream.
fn lab(upstream: &Upstream, more: &str) -> Test {
    let config =
        format!("[providers.lab]\nplugin = \"faulty\"\nbase_url = \"{}\"\n{more}", upstream.url());
    Test::new().plugin("faulty").config(config)
}

#[test]
fn an_ordinary_request_says_what_it_must_and_nothing_else() {
    let upstream = Upstream::always(Reply::says(&["red ", "green"]));
    let test = lab(&upstream, "");
    let maestro = test.maestro();
    assert_eq!(wait(chat(&maestro, "lab/m", &[])).ok(), "red green");
    let requests = upstream.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].line(), "POST /v1/chat");
    assert_eq!(requests[0].json(), serde_json::json!({"model": "m", "said": "hello"}));
    let names: Vec<_> = requests[0].headers.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"]
    );
    assert_eq!(requests[0].header("accept-encoding"), "identity");
    assert!(requests[0].header("user-agent").starts_with("maestro/"));
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let upstream = Upstream::always(Reply::json(200, "[\"m\"]"));
    let test = lab(&upstream, "");
    let maestro = test.maestro();
    wait(async {
        for _ in 0..10 {
            assert_eq!(maestro.list_models("lab", None).await.unwrap().len(), 1);
        }
    });
    // A connection goes back to the pool a moment after its answer ended, so perhaps not in time for
    // the next request, but always for one of them.
    assert_eq!(upstream.requests().len(), 10);
    assert!(upstream.connections() < 10);
}

#[test]
fn text_is_delivered_as_it_comes() {
    let gate = Gate::new();
    let upstream =
        Upstream::always(Reply::sse().event("one").wait(&gate).event("two").event("[DONE]"));
    let test = lab(&upstream, "");
    let maestro = test.maestro();
    wait(async {
        let mut stream = begin(&maestro, "lab/m", request("hello", &[])).await.unwrap();
        assert_eq!(text_of(stream.next().await), "one");
        gate.open();
        assert_eq!(text_of(stream.next().await), "two");
        assert!(matches!(stream.next().await, Some(Ok(ChatEvent::Finish { .. }))));
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn a_client_that_goes_away_closes_the_connection() {
    let upstream = Upstream::always(Reply::sse().event("one").hang());
    let test = lab(&upstream, "");
    let maestro = test.maestro();
    wait(async {
        let mut stream = begin(&maestro, "lab/m", request("hello", &[])).await.unwrap();
        assert_eq!(text_of(stream.next().await), "one");
        drop(stream);
        tokio::task::block_in_place(|| upstream.wait_for_closed(1));
    });
}

#[test]
fn a_client_that_goes_away_before_the_head_closes_the_connection() {
    let upstream = Upstream::always(Reply::nothing().hang());
    let test = lab(&upstream, "");
    let maestro = test.maestro();
    wait(async {
        let mut stream = begin(&maestro, "lab/m", request("hello", &[])).await.unwrap();
        let asked = tokio::spawn(async move {
            let _ = stream.next().await;
        });
        tokio::task::block_in_place(|| upstream.wait_for_requests(1));
        asked.abort();
        tokio::task::block_in_place(|| upstream.wait_for_closed(1));
    });
}

#[test]
fn each_way_for_an_answer_to_go_wrong_is_told_apart() {
    let html = "<!doctype html><title>Bad Gateway</title>";
    for (name, reply, said, kind, message) in [
        (
            "401",
            Reply::json(401, "{\"error\":\"who?\"}"),
            "",
            ErrorKind::Authentication,
            "{\"error\":\"who?\"}",
        ),
        ("403", Reply::json(403, "no"), "", ErrorKind::Permission, "no"),
        ("404", Reply::json(404, ""), "", ErrorKind::NotFound, "no reason given"),
        ("500", Reply::json(500, "oops"), "", ErrorKind::Unavailable, "oops"),
        ("529", Reply::json(529, "busy"), "", ErrorKind::Overloaded, "busy"),
        (
            "an html page",
            Reply::new(502, "text/html").piece(html),
            "",
            ErrorKind::Unavailable,
            "no reason given",
        ),
        (
            "html with 200",
            Reply::new(200, "text/html").piece(html),
            "",
            ErrorKind::Protocol,
            "expected a stream, found `text/html`",
        ),
        (
            "json where a stream is due",
            Reply::json(200, "{}"),
            "",
            ErrorKind::Protocol,
            "expected a stream, found `{}`",
        ),
        (
            "an error after 200",
            Reply::sse().event("one").event("!full"),
            "one",
            ErrorKind::Overloaded,
            "full",
        ),
        (
            "an end before the end",
            Reply::sse().event("one"),
            "one",
            ErrorKind::Incomplete,
            "the stream ended before it was finished",
        ),
        (
            "closed in the middle",
            Reply::sse().event("one").close(),
            "one",
            ErrorKind::Connection,
            "the connection to `[UPSTREAM]` broke: ",
        ),
        (
            "reset after the head",
            Reply::sse().reset(),
            "",
            ErrorKind::Connection,
            "the connection to `[UPSTREAM]` broke: ",
        ),
        (
            "closed at once",
            Reply::nothing().close(),
            "",
            ErrorKind::Connection,
            "the connection to `[UPSTREAM]` broke: ",
        ),
        (
            "no HTTP",
            Reply::raw("SSH-2.0-OpenSSH_9.6\r\n"),
            "",
            ErrorKind::Connection,
            "the connection to `[UPSTREAM]` broke: ",
        ),
    ] {
        let upstream = Upstream::always(reply);
        let test = lab(&upstream, "[retries]\nmax = 0\n");
        let maestro = test.maestro();
        let answer = wait(chat(&maestro, "lab/m", &[]));
        let error = answer.error.as_ref().unwrap_or_else(|| panic!("{name}"));
        let error = error.provider_error().unwrap_or_else(|| panic!("{name}: {error:?}"));
        let found = error.message.replace(&upstream.origin(), "[UPSTREAM]");
        assert_eq!((answer.text().as_str(), error.kind), (said, kind), "{name}: {found}");
        let open_end = message.ends_with(": ");
        assert!(found == message || open_end && found.starts_with(message), "{name}: {found}");
        assert_eq!(upstream.requests().len(), 1, "{name}: nothing is sent twice");
    }
}

#[test]
fn the_vendors_wish_to_wait_is_kept() {
    let headers = [("retry-after", "7"), ("x-request-id", "req-1")];
    let upstream = Upstream::always(Reply::with_headers(429, &headers).piece("slow down"));
    let test = lab(&upstream, "");
    let maestro = test.maestro();
    let answer = wait(chat(&maestro, "lab/m", &[]));
    let error = answer.error.as_ref().unwrap();
    assert_eq!(error.hint().as_deref(), Some("try again in 7 s"));
    assert_eq!(error.exit_code(), 1);
    assert_eq!(error.provider_error().unwrap().request_id.as_deref(), Some("req-1"));
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Upstream::always(Reply::says(&["never"]));
    let target = format!("{}/chat", elsewhere.url());
    let location = target.clone();
    let upstream = Upstream::start(move |_| Reply::with_headers(307, &[("location", &location)]));
    let test = lab(&upstream, "");
    let maestro = test.maestro();
    let answer = wait(chat(&maestro, "lab/m", &[]));
    assert_eq!(
        answer.problem(),
        format!(
            "provider `lab` failed: malformed answer: it redirects to `{target}`, which is not \
             followed (HTTP 307)"
        )
    );
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn nobody_there_is_a_failed_connection() {
    let upstream = Upstream::always(Reply::nothing());
    let (origin, test) = (upstream.origin(), lab(&upstream, ""));
    drop(upstream);
    let maestro = test.maestro();
    // The listener closes as soon as it sees that it is over; a connection it still takes is closed.
    let answer = wait(async {
        loop {
            let answer = chat(&maestro, "lab/m", &[]).await;
            if answer.problem().contains("nobody answers") {
                return answer;
            }
        }
    });
    assert_eq!(
        answer.problem(),
        format!("provider `lab` failed: connection failed: nobody answers at `{origin}`")
    );
    assert_eq!(
        answer.error.unwrap().hint().as_deref(),
        Some("check that the server runs and the network is up")
    );
}

#[test]
fn silence_before_the_head_ends_after_the_first_byte_timeout() {
    let upstream = Upstream::always(Reply::nothing().hang());
    let test = lab(&upstream, "[timeouts]\nfirst_byte_ms = 50\n");
    let maestro = test.maestro();
    let answer = wait(chat(&maestro, "lab/m", &[]));
    let message = format!("`{}` did not answer within 0.05 s", upstream.origin());
    assert_eq!(answer.problem(), format!("provider `lab` failed: timed out: {message}"));
    upstream.wait_for_closed(1);
}

#[test]
fn silence_in_the_middle_ends_after_the_idle_timeout() {
    let upstream = Upstream::always(Reply::sse().event("one").hang());
    let test = lab(&upstream, "[timeouts]\nidle_ms = 50\n");
    let maestro = test.maestro();
    let answer = wait(chat(&maestro, "lab/m", &[]));
    let message = format!("nothing came from `{}` for 0.05 s", upstream.origin());
    assert_eq!(answer.text(), "one");
    assert_eq!(answer.problem(), format!("provider `lab` failed: timed out: {message}"));
    upstream.wait_for_closed(1);
}

#[test]
fn plain_http_stays_on_this_machine() {
    let test = Test::new()
        .plugin("faulty")
        .config("[providers.lab]\nplugin = \"faulty\"\nbase_url = \"http://192.0.2.1/v1\"\n");
    let maestro = test.maestro();
    assert_eq!(
        wait(chat(&maestro, "lab/m", &[])).problem(),
        "provider `lab` failed: invalid request: `http://192.0.2.1` is plain http beyond this \
         machine; set `allow_plain_http = true` to allow it"
    );
}

#[test]
fn proxies_of_the_environment_are_for_the_world_outside() {
    let (upstream, proxy) =
        (Upstream::always(Reply::says(&["hi"])), Upstream::always(Reply::nothing().close()));
    let mut test = lab(
        &upstream,
        "[providers.out]\nplugin = \"faulty\"\nbase_url = \"http://far.invalid/v1\"\nallow_plain_http = true\n\
         [retries]\nmax = 0\n",
    );
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        test = test.env(name, proxy.origin());
    }
    let test = test.args(["chat", "-m", "lab/m", "hello"]).stdout("hi\n").success();
    assert_eq!(proxy.connections(), 0);
    let output = test.args_of(["chat", "-m", "out/m", "hello"]);
    assert_eq!(output.status.code(), Some(1));
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1, "{}", output.stderr);
    assert_eq!(requests[0].line(), "POST http://far.invalid/v1/chat");
}

#[test]
fn a_connection_that_never_stands_ends_after_the_connect_timeout() {
    wait(async {
        // Nobody accepts, and the queue of those who wait to be accepted is full.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let moment = std::time::Duration::from_millis(200);
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, moment) {
            waiting.push(stream);
            assert!(waiting.len() < 64, "the queue never fills");
        }
        let config = format!(
            "[providers.lab]\nplugin = \"faulty\"\nbase_url = \"http://{address}/v1\"\n\
             [timeouts]\nconnect_ms = 50\n"
        );
        let test = Test::new().plugin("faulty").config(config);
        let answer = chat(&test.maestro(), "lab/m", &[]).await;
        assert_eq!(
            answer.problem(),
            format!(
                "provider `lab` failed: timed out: no connection to `http://{address}` within 50 ms"
            )
        );
    });
}
