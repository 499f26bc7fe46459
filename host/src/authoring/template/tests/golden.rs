//! Every recorded answer in `fixtures/`, whole, byte by byte and cut at every place.
//!
//! `UPDATE_GOLDEN=1 cargo test` writes the expectations anew; read the difference before you keep it.
#![allow(
    clippy::disallowed_methods,
    reason = "a test may read files; the plugin may not"
)]

use std::{env, fs, path::PathBuf};

use {{crate}}::Plugin;
use plugin_api::{
    ProviderId,
    kit::{
        conformance::{self, Fixture},
        replay::{Replay, Run, every_cut},
    },
    prelude::*,
};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn instance() -> Instance {
    Instance::new(
        ProviderId::new("{{name}}").unwrap(),
        "https://api.acme.example/v1",
    )
}

fn request() -> ChatRequest {
    let messages = vec![
        Message::system("Be brief."),
        Message::user("Why is the sky blue?"),
    ];
    ChatRequest::new("acme-1", messages)
}

fn chat() -> Box<dyn Exchange + Send> {
    Plugin.stream_chat(&instance(), request()).unwrap()
}

/// Compares with a fixture, or writes it.
fn golden(name: &str, found: &Value) {
    let (path, found) = (
        fixture(name),
        serde_json::to_string_pretty(found).unwrap() + "\n",
    );
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(&path).unwrap(), "{name}");
}

fn streamed(name: &str) -> Run {
    let body = fs::read(fixture(&format!("{name}.sse"))).unwrap();
    let run = every_cut(chat, 200, &[("content-type", "text/event-stream")], &body);
    assert_eq!(run.violations, [], "what a host would end the exchange for");
    golden(
        &format!("{name}.events.json"),
        &json!({ "events": run.events, "error": run.error }),
    );
    run
}

/// What `maestro plugin check` finds without a worker, with the same recorded answers.
#[test]
fn every_rule_of_the_contract_is_kept() {
    let files = fs::read_dir(fixture("")).unwrap().map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    });
    conformance::assert::<Plugin>(&Fixture::of_files(files).unwrap());
}

#[test]
fn a_conversation_is_sent_as_the_vendor_wants_it() {
    let run = Replay::new(chat()).run();
    assert_eq!(run.requests[0].url, "https://api.acme.example/v1/generate");
    golden("text.sent.json", &run.request_json(0));
}

#[test]
fn an_answer_streams() {
    let run = streamed("text");
    assert_eq!(run.text(), "Rayleigh scattering.");
    assert!(run.done);
}

#[test]
fn an_error_in_the_stream_ends_it() {
    let error = streamed("error").error.unwrap();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Overloaded, "try again later")
    );
}

#[test]
fn a_stream_that_is_cut_off_is_not_taken_for_an_answer() {
    assert_eq!(
        streamed("truncated").error.unwrap().kind,
        ErrorKind::Incomplete
    );
}

#[test]
fn a_failed_status_is_a_typed_error() {
    let body = br#"{"error":{"code":"too_fast","message":"slow down"}}"#;
    let run = Replay::new(chat())
        .respond(429, &[("retry-after", "2")], body)
        .run();
    let error = run.error.unwrap();
    assert_eq!(error.kind, ErrorKind::RateLimited);
    assert_eq!(
        (error.status, error.retry_after_ms),
        (Some(429), Some(2000))
    );
    let run = Replay::new(chat()).respond(502, &[], b"<html>").run();
    assert_eq!(run.error.unwrap().kind, ErrorKind::Unavailable);
}

#[test]
fn what_the_vendor_has_no_place_for_is_refused() {
    let mut request = request();
    request.messages.push(Message::tool_result("call-1", "42"));
    let error = Plugin.stream_chat(&instance(), request).err().unwrap();
    assert_eq!(error.kind, ErrorKind::NotSupported);
}

#[test]
fn models_are_listed() {
    let exchange = Plugin
        .list_models(&instance(), ListModels::default())
        .unwrap();
    let body = fs::read(fixture("all.models.json")).unwrap();
    let run = Replay::new(exchange).respond(200, &[], &body).run();
    assert_eq!(run.requests[0].url, "https://api.acme.example/v1/models");
    golden("all.value.json", &json!(run.value));
}

#[test]
fn a_key_is_tried_by_asking_whose_it_is() {
    let open = || Plugin.test_connection(&instance()).unwrap();
    let run = Replay::new(open())
        .respond(200, &[], br#"{"name":"Ada"}"#)
        .run();
    let Some(Reply::Account(account)) = run.value else {
        panic!("{run:?}")
    };
    assert_eq!(account.name.as_deref(), Some("Ada"));
    let body = br#"{"error":{"code":"bad_key","message":"unknown key"}}"#;
    let run = Replay::new(open()).respond(400, &[], body).run();
    assert_eq!(run.error.unwrap().kind, ErrorKind::Authentication);
}
