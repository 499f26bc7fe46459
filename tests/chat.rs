//! `maestro chat`: what streams, what is joined, what is kept, and what Ctrl-C leaves.

use crate::{
    harness::Test,
    upstream::{Gate, Reply, Upstream},
};

/// A home with `faulty`, and a provider `lab` of it at an upstream.
fn lab(upstream: &Upstream) -> Test {
    let config =
        format!("[providers.lab]\nplugin = \"faulty\"\nbase_url = \"{}\"\n", upstream.url());
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
    echo(&["-v", "hello"])
        .stdout("hello\n")
        .stderr("model echo/echo; tokens in 1, out 1; first after [..] s; total [..]\n")
        .success();
}

#[test]
fn stdin_joins_the_prompt() {
    echo(&["explain:"])
        .stdin("a diff\nof two lines\n")
        .stdout("explain:\n\na diff\nof two lines\n")
        .success();
    echo(&[]).stdin("only this\n").stdout("only this\n").success();
    echo(&[])
        .stderr(
            "error: there is no prompt\n\n\
             hint: give it as an argument or through stdin; at a terminal without one, a dialogue \
             begins\n",
        )
        .failure(2);
    echo(&["x"])
        .stdin(b"\xff\xfe")
        .stderr(
            "error: stdin is not UTF-8 text\n\n\
             hint: attach files that are not text with `-f FILE`\n",
        )
        .failure(2);
}

#[test]
fn files_are_attached() {
    echo(&["-f", "notes.txt", "hello"])
        .write("notes.txt", "from the file\n")
        .stdout("notes.txt:\n```txt\nfrom the file\n```\n\nhello\n")
        .success()
        .args(["chat", "-m", "echo/echo", "-f", "gone.txt", "hello"])
        .stderr(
            "error: failed to read `gone.txt`\n  caused by: No such file or directory (os error 2)\n",
        )
        .failure(1);
    Test::new()
        .plugin("faulty")
        .write("dot.png", b"\x89PNG\r\n\x1a\n")
        .args(["chat", "-m", "faulty/m", "-f", "dot.png", "hello"])
        .stderr(
            "error: provider `faulty` does not offer images\n\n\
             hint: run `maestro providers show faulty` for what it offers\n",
        )
        .failure(2);
}

#[test]
fn json_is_one_event_a_line() {
    echo(&["--json", "-o", "reasoning=hm", "a b"])
        .stdout(concat!(
            r#"{"version":1,"event":{"type":"started","model":"echo"}}"#,
            "\n",
            r#"{"version":1,"event":{"type":"reasoning_delta","part":0,"text":"hm"}}"#,
            "\n",
            r#"{"version":1,"event":{"type":"text_delta","part":1,"text":"a "}}"#,
            "\n",
            r#"{"version":1,"event":{"type":"text_delta","part":1,"text":"b"}}"#,
            "\n",
            r#"{"version":1,"event":{"type":"usage","input_tokens":2,"output_tokens":2}}"#,
            "\n",
            r#"{"version":1,"event":{"type":"finish","reason":"stop"}}"#,
            "\n",
            r#"{"version":1,"result":{"model":"echo/echo","session":null,"conversation":"[..]","#,
            r#""finish_reason":"stop","interrupted":false,"#,
            r#""usage":{"input_tokens":2,"output_tokens":2},"time_to_first_ms":[..],"total_ms":[..]}}"#,
            "\n",
        ))
        .success();
}

#[test]
fn what_came_before_a_failure_stays() {
    let upstream = Upstream::always(Reply::sse().event("one ").event("two").event("!full"));
    lab(&upstream)
        .args(["chat", "-m", "lab/m", "hello"])
        .stdout("one two\n")
        .stderr(
            "error: provider `lab` failed\n  caused by: provider overloaded: full\n\n\
             hint: try again in a moment\n",
        )
        .failure(1)
        .args(["chat", "-m", "faulty/m", "-o", "fault=panic-mid-stream", "hello"])
        .stdout("hello\n")
        .stderr(
            "error: plugin `faulty` broke contract rule `never-panics`: stumbled over `hello`, \
             plugins/faulty/src/lib.rs:[..]\n\n\
             hint: tell the author of `faulty`; run `maestro plugin inspect faulty`\n",
        )
        .failure(4);
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
        .stderr(
            "error: no conversation `tripp`\n\n\
             hint: did you mean `trip`?\n",
        )
        .failure(2)
        .args(["conversations", "delete", "trip"])
        .stderr(
            "error: nobody is there to confirm: delete conversation `trip`\n\n\
             hint: add `--yes` to do it without being asked\n",
        )
        .failure(2)
        .args(["conversations", "delete", "trip", "--yes"])
        .stdout("deleted conversation trip\n")
        .success();
}

#[test]
fn a_default_model_is_asked_when_none_is_named() {
    Test::new()
        .plugin("echo")
        .args(["chat", "hello"])
        .stderr(
            "error: no model is chosen\n\n\
             hint: name one with `-m PROVIDER/MODEL`, or choose one for always with `maestro models \
             default PROVIDER/MODEL`; `maestro models` lists them\n",
        )
        .failure(2)
        .args(["models", "default", "echo/echo"])
        .stdout("the default model is echo/echo\n")
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
    let export = test.args_of(["conversations", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&export.stdout).unwrap();
    let id = listed["conversations"][0]["id"].as_str().unwrap();
    let shown = test.args_of(["conversations", "show", id]).stdout;
    assert!(shown.contains("hello") && shown.contains("one two"), "{shown}");
    let more = test.args_of(["chat", "-c", "-m", "faulty/rude", "go on"]);
    assert_eq!(more.stdout, "go on\n");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_all() {
    // More than a pipe holds, so that a write meets the closed end.
    let rest = "two ".repeat(100_000);
    let upstream = Upstream::always(Reply::sse().event("one ").event(&rest).hang());
    let test = lab(&upstream);
    let program = env!("CARGO_BIN_EXE_maestro");
    let piped = format!("'{program}' chat -m lab/m hello | head -c 3");
    let output = std::process::Command::new("sh")
        .args(["-c", &piped])
        .env("MAESTRO_HOME", test.home())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    upstream.wait_for_closed(1);
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

#[test]
fn an_alias_turns_to_its_next_target_before_the_first_word() {
    let upstream = Upstream::start(|request| {
        match request.json()["model"].as_str() {
        Some("down") => Reply::json(503, r#"{"error":{"message":"out of order"}}"#),
        Some("wrong") => Reply::json(400, r#"{"error":{"message":"bad field"}}"#),
        _ => Reply::sse()
            .event(r#"{"id":"c","choices":[{"index":0,"delta":{"content":"fine"},"finish_reason":"stop"}]}"#)
            .event("[DONE]"),
    }
    });
    let test = Test::new().plugin("openai-compatible").config(format!(
        "[retries]\nmax = 0\n[providers.lab]\nplugin = \"openai-compatible\"\nbase_url = \"{}\"\n\
         [aliases]\nsafe = [\"nobody/m\", \"lab/down\", \"lab/m\"]\nstrict = [\"lab/wrong\", \"lab/m\"]\n",
        upstream.url()
    ));
    let output = test.args_of(["chat", "-m", "safe", "--no-store", "hi"]);
    assert_eq!((output.status.code(), output.stdout.trim()), (Some(0), "fine"), "{output:?}");
    assert!(output.stderr.contains("`nobody/m` is passed over: "), "{}", output.stderr);
    assert!(output.stderr.contains("`lab/down` failed: "), "{}", output.stderr);
    assert!(output.stderr.contains("asking `lab/m`"), "{}", output.stderr);
    // What is wrong with the request is wrong everywhere.
    let output = test.args_of(["chat", "-m", "strict", "--no-store", "hi"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!output.stderr.contains("asking"), "{}", output.stderr);
}
