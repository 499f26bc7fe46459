//! What a stranger who lives with the program for a day trips over.

use crate::{
    harness::Test,
    upstream::{Reply, Upstream},
};

const KEY: &str = "sk-canary-0123456789-0123456789";

/// OpenAI with two models, one of which answers; others are unknown.
fn openai() -> Upstream {
    Upstream::start(|request| match request.target.as_str() {
        "/v1/models" => Reply::json(
            200,
            r#"{"object":"list","data":[{"id":"gpt-demo","object":"model"},{"id":"text-demo","object":"model"}]}"#,
        ),
        _ => Reply::json(404, r#"{"error":{"message":"no such model","code":"model_not_found"}}"#),
    })
}

/// A home in which `openai` is at an upstream, with declared sessions of some names.
fn declared(upstream: &Upstream, names: &[&str]) -> Test {
    let sessions: String = names
        .iter()
        .map(|name| format!("[sessions.{name}]\nprovider = \"openai\"\nenv = \"CANARY\"\n"))
        .collect();
    Test::new()
        .plugin("openai")
        .plugin("echo")
        .config(format!("[providers.openai]\nbase_url = \"{}\"\n{sessions}", upstream.url()))
        .env("CANARY", KEY)
}

#[test]
fn a_misspelt_conversation_is_begun_with_a_warning_and_found_by_part_of_its_id() {
    let test = Test::new()
        .plugin("echo")
        .args(["chat", "-m", "echo/echo", "--conversation", "trip", "one"])
        .stdout("one\n")
        .success()
        .args(["chat", "-m", "echo/echo", "--conversation", "tirp", "two"])
        .stdout("two\n")
        .stderr("warning: `tirp` begins a conversation; did you mean `trip`?\n")
        .success()
        .args(["chat", "-m", "echo/echo", "--conversation", "budget", "three"])
        .stdout("three\n")
        .success();
    let listed = test.args_of(["conversations", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let id = listed["conversations"][0]["id"].as_str().unwrap().to_owned();
    let shown = test.args_of(["conversations", "show", &id[..12]]);
    assert!(shown.stdout.contains(&id), "{}", shown.stdout);
    test.args(["chat", "-m", "echo/echo", "--conversation", " ", "x"])
        .stderr(
            "error: `--conversation <NAME>`: expected a name or an id, found ` `\n\n\
             hint: run `maestro chat --help`\n",
        )
        .failure(2);
}

#[test]
fn a_misspelt_option_is_pointed_out_and_passed_on() {
    Test::new()
        .plugin("echo")
        .args(["chat", "-m", "echo/echo", "-o", "temprature=1", "hi"])
        .stdout("hi\n")
        .stderr(
            "warning: option `temprature` is passed to the provider by that name; did you mean \
             `temperature`?\n",
        )
        .success();
}

#[test]
fn a_model_that_the_vendor_does_not_know_is_answered_with_the_nearest() {
    let upstream = openai();
    declared(&upstream, &["work"])
        .args(["chat", "-m", "openai/gpt-dmeo", "hi"])
        .stderr(
            "error: provider `openai` failed\n  \
             caused by: not found: no such model (`model_not_found`, HTTP 404)\n\n\
             hint: did you mean `openai/gpt-demo`?\n",
        )
        .failure(1)
        .args(["chat", "-m", "openai/xyzzy", "hi"])
        .stderr(
            "error: provider `openai` failed\n  \
             caused by: not found: no such model (`model_not_found`, HTTP 404)\n\n\
             hint: run `maestro models --provider openai`\n",
        )
        .failure(1)
        .args(["chat", "-m", "gpt-dmeo", "hi"])
        .stderr(
            "error: no provider serves model `gpt-dmeo`\n\nhint: did you mean `openai/gpt-demo`?\n",
        )
        .failure(2);
}

#[test]
fn a_default_model_that_is_not_listed_is_set_with_a_warning() {
    let upstream = openai();
    declared(&upstream, &["work"])
        .args(["models", "default", "openai/gpt-dmeo"])
        .stdout("the default model is openai/gpt-dmeo\n")
        .stderr(
            "warning: `openai/gpt-dmeo` is not among the models of `openai`; did you mean \
             `openai/gpt-demo`?\n",
        )
        .success()
        .args(["models", "default", "openai/gpt-demo"])
        .stdout("the default model is openai/gpt-demo\n")
        .success();
}

#[test]
fn a_choice_among_declared_sessions_leads_somewhere() {
    let upstream = openai();
    declared(&upstream, &["home", "lab", "work"])
        .args(["models", "--provider", "openai"])
        .stderr(
            "error: provider `openai` has no default session, but several: `openai:home`, \
             `openai:lab`, `openai:work`\n\n\
             hint: name one: `-s NAME`, `-m openai:NAME/MODEL`, or `MAESTRO_SESSION=NAME`\n",
        )
        .failure(2)
        .args(["chat", "-m", "openai/gpt-demo", "-s", "wrok", "hi"])
        .stderr("error: no session `openai:wrok`\n\nhint: did you mean `openai:work`?\n")
        .failure(2);
}

#[test]
fn a_session_named_for_another_providers_model_is_said_to_be_elsewhere() {
    let upstream = openai();
    let test = declared(&upstream, &["work"]).plugin("anthropic");
    test.args(["chat", "-m", "anthropic/some-model", "-s", "work", "hi"])
        .stderr(
            "error: session `work` is one of `openai`, not of `anthropic`\n\n\
             hint: name a model of `openai`; `maestro models --provider openai` lists them\n",
        )
        .failure(2);
}

#[test]
fn the_doctor_finds_a_declared_session_of_no_provider() {
    let test = Test::new()
        .plugin("echo")
        .config("[sessions.work]\nprovider = \"ehco\"\nenv = \"CANARY\"\n");
    let said = test.args_of(["doctor"]);
    assert!(said.stdout.contains("declared session work: no provider `ehco`"), "{}", said.stdout);
    assert!(said.stdout.contains("hint: did you mean `echo`?"), "{}", said.stdout);
}

#[test]
fn what_the_parser_refuses_looks_like_every_other_error() {
    Test::new()
        .args(["sessions", "test"])
        .stderr(
            "error: missing `<SESSION>`\n\n\
             hint: write `maestro sessions test <SESSION>`; `--help` says more\n",
        )
        .failure(2)
        .args(["chat", "--bogus", "--json"])
        .stderr(
            "{\"version\":1,\"error\":{\"kind\":\"usage\",\"message\":\"unexpected argument `--bogus`\",\
             \"causes\":[],\"hint\":\"run `maestro chat --help`; put `--` before a text that begins with \
             `-`\"}}\n",
        )
        .failure(2);
}

#[test]
fn a_long_wait_before_another_try_is_said() {
    let upstream = Upstream::start(|_| {
        Reply::with_headers(429, &[("content-type", "application/json"), ("retry-after", "50")])
            .piece(r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#)
    });
    let test = declared(&upstream, &["work"]).args(["chat", "-m", "openai/gpt-demo", "hi"]);
    let running = test.spawn();
    running.wait_for_stderr("warning: provider `openai`: rate limited; trying again in 5");
    running.interrupt();
    assert_eq!(running.wait().status.code(), Some(130));
    assert_eq!(upstream.requests().len(), 1);
}
