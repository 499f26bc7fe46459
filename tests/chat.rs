//! `maestro chat`: what streams, what is joined, what is kept, and what Ctrl-C leaves.

use crate::{
    harness::Test,
    upstream::{Gate, Reply, Upstream},
};

/// A home with `faulty`, and a provider `lab` of it at an upstream.
fn lab(upstream: &Upstream) -> Test {
    let config = format!("[providers.lab]\nplugin = \"faulty\"\nbase_url = \"{}\"\n", upstream.url());
    Test::new().plugin("faulty").config(config)
}

fn echo(args: &[&str]) -> Test {
    Test::new().plugin("echo").args(["chat", "-m", "echo/echo"].iter().chain(args))
}

#[test]
fn an_answer_goes_to_stdout_and_everything_else_to_stderr() {
    echo(&["hello", "world"]).stdout("hello world\n").success();
    echo(&["-o", "reasoning=let me see", "-o", "tool=look", "hello"])
        .stdout("hello\n")
        .stderr("tool call: look({\"said\":\"hello\"})\n")
        .success();
    echo(&["-o", "delay_ms=1", "one two three"]).stdout("one two three\n").success();
    echo(&["-v", "hello"]).stdout("hello\n").stderr("").success();
}

#[test]
fn stdin_joins_the_prompt() {
    echo(&["explain:"]).stdin("a diff\nof two lines\n").stdout("explain:\n\na diff\nof two lines\n").success();
    echo(&[]).stdin("only this\n").stdout("only this\n").success();
    echo(&[]).stderr("").failure(2);
    echo(&["x"]).stdin(b"\xff\xfe").stderr("").failure(2);
}

#[test]
fn files_are_attached() {
    echo(&["-f", "notes.txt", "hello"])
        .write("notes.txt", "from the file\n")
        .stdout("")
        .success()
        .args(["chat", "-m", "echo/echo", "-f", "gone.txt", "hello"])
        .stderr("")
        .failure(2);
    Test::new()
        .plugin("faulty")
        .write("dot.png", b"\x89PNG\r\n\x1a\n")
        .args(["chat", "-m", "faulty/m", "-f", "dot.png", "hello"])
        .stderr("")
        .failure(2);
}

#[test]
fn json_is_one_event_a_line() {
    echo(&["--json", "-o", "reasoning=hm", "a b"]).stdout("").success();
}

#[test]
fn what_came_before_a_failure_stays() {
    let upstream = Upstream::always(Reply::sse().event("one ").event("two").event("!full"));
    lab(&upstream)
        .args(["chat", "-m", "lab/m", "hello"])
        .stdout("one two\n")
        .stderr("")
        .failure(1)
        .args(["chat", "-m", "faulty/m", "-o", "fault=panic-mid-stream", "hello"])
        .stdout("hello\n")
        .stderr("")
        .failure(1);
}

#[test]
fn a_conversation_goes_on() {
    let test = echo(&["first"]).stdout("first\n").success();
    let test = test
        .args(["chat", "-m", "echo/echo", "-c", "second"])
        .stdout("second\n")
        .success()
        .args(["chat", "-m", "echo/echo", "--conversation", "trip", "where to?"])
        .stdout("where to?\n")
        .success();
    let listed = test.args_of(["conversations", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["conversations"].as_array().map(Vec::len), Some(2), "{listed}");
    let shown = test.args_of(["conversations", "show", "trip"]);
    assert!(shown.stdout.contains("where to?"), "{}", shown.stdout);
    test.args(["conversations", "show", "tripp"])
        .stderr("")
        .failure(2)
        .args(["conversations", "delete", "trip"])
        .stdout("")
        .success();
}

#[test]
fn a_default_model_is_asked_when_none_is_named() {
    Test::new()
        .plugin("echo")
        .args(["chat", "hello"])
        .stderr("")
        .failure(2)
        .args(["models", "default", "echo/echo"])
        .stdout("")
        .success()
        .args(["chat", "hello"])
        .stdout("hello\n")
        .success();
}

#[test]
fn text_is_printed_as_it_comes() {
    let gate = Gate::new();
    let upstream =
        Upstream::always(Reply::sse().event("one ").wait(&gate).event("two").event("[DONE]"));
    let test = lab(&upstream).args(["chat", "-m", "lab/m", "hello"]);
    let running = test.spawn();
    running.wait_for_stdout("one ");
    gate.open();
    let output = running.wait();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one two\n", ""));
    assert!(output.status.success());
}

#[test]
fn ctrl_c_keeps_what_came_and_closes_upstream() {
    let upstream = Upstream::always(Reply::sse().event("one ").event("two").hang());
    let test = lab(&upstream).args(["chat", "-m", "lab/m", "hello"]);
    let running = test.spawn();
    running.wait_for_stdout("two");
    running.interrupt();
    upstream.wait_for_closed(1);
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one two\n", ""));
    let shown = test.args_of(["conversations", "list", "--json"]);
    assert!(shown.stdout.contains("\"lab/m\""), "{}", shown.stdout);
    let exported = test.args_of(["chat", "-c", "-m", "faulty/rude", "go on"]);
    assert_eq!(exported.stdout, "go on\n");
}

#[test]
fn ctrl_c_before_the_first_word_leaves_no_half_connection() {
    let upstream = Upstream::always(Reply::nothing().hang());
    let test = lab(&upstream).args(["chat", "-m", "lab/m", "hello"]);
    let running = test.spawn();
    upstream.wait_for_requests(1);
    running.interrupt();
    upstream.wait_for_closed(1);
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(output.stdout, "");
}
