//! 6 and 7: which call a fragment belongs to, and its arguments.

use dialects::openai_chat::Decoder;
use plugin_api::{event::FinishReason, exchange::Timestamp, kit::replay::Replay};
use serde_json::json;

use super::{calls, deltas, finish, triples};
use crate::common::open;

// 6: which call a fragment belongs to

#[test]
fn d3_06_same_index_with_a_new_id_is_a_new_call() {
    let found = calls(&[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}),
        json!({"index": 0, "id": "b", "function": {"name": "f", "arguments": "{"}}),
        json!({"index": 0, "function": {"arguments": "}"}}),
    ]);
    assert_eq!(triples(&found), [("a", "f", "{}"), ("b", "f", "{}")]);
}

#[test]
fn d3_06_fragments_are_sorted_by_index_not_by_arrival() {
    let found = calls(&[
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}),
        json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}}),
        json!({"index": 0, "function": {"arguments": "{\"x\":"}}),
        json!({"index": 1, "function": {"arguments": "}"}}),
        json!({"index": "0", "id": "a", "function": {"arguments": "1}"}}),
    ]);
    assert_eq!(triples(&found), [("a", "f", "{\"x\":1}"), ("b", "g", "{}")]);
}

#[test]
fn d3_06_without_an_index_a_new_id_or_a_name_opens_a_call() {
    let found = calls(&[
        json!({"id": "a", "function": {"name": "f", "arguments": "{"}}),
        json!({"function": {"arguments": "}"}}),
        json!({"id": "b", "function": {"name": "f", "arguments": "{}"}}),
        json!({"id": "a", "function": {"arguments": " "}}),
    ]);
    assert_eq!(triples(&found), [("a", "f", "{} "), ("b", "f", "{}")]);
    let found = calls(&[
        json!({"function": {"name": "f", "arguments": "{}"}}),
        json!({"function": {"name": "f", "arguments": "{}"}}),
    ]);
    assert_eq!(found.len(), 2);
}

#[test]
fn d3_06_a_missing_empty_or_null_id_is_made_up() {
    for id in [json!(null), json!(""), json!("null")] {
        let fragment = json!({"index": 0, "id": id, "function": {"name": "f", "arguments": "{}"}});
        let found = calls(&[fragment.clone(), json!({"index": 1, "function": {"name": "f"}})]);
        assert_eq!(found.len(), 2);
        assert_ne!(found[0].0, found[1].0);
        assert!(found[0].0.len() == 9 && found[0].0.bytes().all(|b| b.is_ascii_alphanumeric()));
    }
    let made = |seed| {
        let body = r#"data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"f"}}]}}]}"#;
        let body = format!("{body}\n\ndata: [DONE]\n\n");
        let run = Replay::new(open::<Decoder>())
            .at(Timestamp(0), seed)
            .respond(200, &[], body.as_bytes())
            .run();
        run.transcript().message().tool_calls().next().unwrap().id.clone()
    };
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
}

#[test]
fn d3_06_a_repeated_name_is_not_joined() {
    let found = calls(&[
        json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}),
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "}"}}),
    ]);
    assert_eq!(triples(&found), [("a", "f", "{}")]);
    let found = calls(&[
        json!({"index": 0, "function": {"name": "f", "arguments": "{"}}),
        json!({"index": 0, "function": {"name": "f", "arguments": "}"}}),
        json!({"index": 0, "function": {"name": "f", "arguments": "{}"}}),
    ]);
    assert_eq!(found.len(), 2);
    assert_eq!((&*found[0].2, &*found[1].2), ("{}", "{}"));
}

#[test]
fn d3_06_a_name_may_come_late_and_a_call_without_one_is_dropped() {
    let found = calls(&[
        json!({"index": 0, "id": "a", "function": {"arguments": "{"}}),
        json!({"index": 0, "function": {"name": "f", "arguments": "}"}}),
    ]);
    assert_eq!(triples(&found), [("a", "f", "{}")]);
    let run = deltas(&[json!({"tool_calls": [{"index": 0, "id": "a"}]})], "stop");
    assert_eq!(run.transcript().message().parts, []);
    assert_eq!(run.transcript().warnings, ["a tool call without a name was dropped"]);
}

#[test]
fn d3_06_null_or_empty_tool_calls_are_none() {
    let run =
        deltas(&[json!({"tool_calls": null}), json!({"tool_calls": [], "content": "a"})], "stop");
    assert_eq!(finish(&run).0, FinishReason::Stop);
}

// 7: arguments

#[test]
fn d3_07_arguments_may_be_an_object_null_or_empty() {
    for (arguments, expected) in [
        (json!({"city": "Rīga"}), r#"{"city":"Rīga"}"#),
        (json!(null), "{}"),
        (json!(""), "{}"),
        (json!("{\"a\": \"\\n\"}"), "{\"a\": \"\\n\"}"),
        (json!("{broken"), "{broken"),
    ] {
        let found = calls(&[
            json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": arguments}}),
        ]);
        assert_eq!(triples(&found), [("a", "f", expected)]);
    }
}
