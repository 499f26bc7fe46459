//! 12: answers in one piece.

use dialects::openai_chat::Decoder;
use plugin_api::{
    chat::Content,
    error::ErrorKind,
    event::{FinishReason, Usage},
    kit::replay::{Replay, every_cut},
};
use serde_json::json;

use super::{failed, finish};
use crate::common::open;

#[test]
fn d3_12_an_answer_in_one_piece_is_read_as_such() {
    let body = json!({"id": "c", "object": "chat.completion", "model": "m", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "a", "reasoning_content": "r", "refusal": null,
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                           {"id": "y", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    // DeepSeek keeps the connection open with blank lines before the body.
    let body = format!("\n\n{body}\n");
    for headers in [&[("content-type", "application/json")][..], &[]] {
        let run = every_cut(open::<Decoder>, 200, headers, body.as_bytes());
        assert_eq!(run.error, None);
        let transcript = run.transcript();
        assert_eq!(transcript.text(), "a");
        assert_eq!(transcript.message().tool_calls().count(), 2);
        assert!(
            matches!(&transcript.message().parts[0].content, Content::Reasoning(r) if r.text == "r")
        );
        assert_eq!(finish(&run).0, FinishReason::ToolCalls);
        assert_eq!(transcript.usage, Usage::new(1, 2));
    }
}

#[test]
fn d3_12_a_failure_in_one_piece_with_status_200_is_heard() {
    let whole = |kind: &str, body: &str| {
        let headers = [("content-type", kind), ("x-request-id", "r1")];
        Replay::new(open::<Decoder>()).respond(200, &headers, body.as_bytes()).run().error.unwrap()
    };
    let error = whole("application/json", r#"{"error":{"message":"no","code":"model_not_found"}}"#);
    assert_eq!((error.kind, error.request_id.as_deref()), (ErrorKind::NotFound, Some("r1")));
    assert_eq!(whole("application/json", "[{\"error\":{\"message\":\"no\"}}]").message, "no");
    for body in ["{}", "7", "", "\u{0}"] {
        assert_eq!(whole("application/json", body).kind, ErrorKind::Protocol, "{body:?}");
    }
    assert_eq!(whole("text/html", "<html>").message, "expected a stream, found `text/html`");
}

#[test]
fn d3_12_html_and_empty_bodies_keep_the_status() {
    let error = failed(502, &[("content-type", "text/html")], "<html><h1>Bad gateway</h1>");
    assert_eq!((error.kind, &*error.message), (ErrorKind::Unavailable, "no reason given"));
    let error = failed(503, &[], "");
    assert_eq!((error.kind, error.status), (ErrorKind::Overloaded, Some(503)));
    let error = failed(500, &[], &"x".repeat(9000));
    assert!(error.message.chars().count() < 600);
}
