//! The normalisation tables, a row a case: finish reasons, usage, error classes, tools, reasoning.

use dialects::anthropic_messages::{Decoder, Quirks, decode_request, encode_request, error, token};
use plugin_api::{
    chat::*,
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Usage},
    exchange::Timestamp,
    http::{Headers, HttpRequest},
    kit::{SseStream, body, call::Response, replay::Replay},
};
use serde_json::{Value, json};

use crate::common::open;

fn streamed(events: &[Value]) -> plugin_api::kit::replay::Run {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    Replay::new(open::<Decoder>()).respond(200, &[], body.as_bytes()).run()
}

fn ended(stop_reason: &str) -> (FinishReason, Option<String>) {
    let run = streamed(&[
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": "x"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop_reason}}),
        json!({"type": "message_stop"}),
    ]);
    match run.events.last() {
        Some(ChatEvent::Finish { reason, detail }) => (*reason, detail.clone()),
        other => panic!("expected a finish, found {other:?}"),
    }
}

#[test]
fn finish_reasons() {
    for (word, reason, keeps_word) in [
        ("end_turn", FinishReason::Stop, false),
        ("stop_sequence", FinishReason::Stop, true),
        ("max_tokens", FinishReason::Length, false),
        ("model_context_window_exceeded", FinishReason::Length, true),
        ("tool_use", FinishReason::ToolCalls, false),
        ("refusal", FinishReason::ContentFilter, false),
        ("pause_turn", FinishReason::Pause, false),
        ("compaction", FinishReason::Pause, true),
        ("unheard_of", FinishReason::Other, true),
    ] {
        assert_eq!(ended(word), (reason, keeps_word.then(|| word.to_owned())), "{word}");
    }
}

#[test]
fn usage() {
    let run = streamed(&[
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 5,
            "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300,
            "output_tokens": 40, "output_tokens_details": {"thinking_tokens": 30}}}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        json!({"type": "message_stop"}),
    ]);
    let mut expected = Usage::new(325, 40);
    expected.cached_input_tokens = Some(300);
    expected.cache_write_tokens = Some(20);
    expected.reasoning_tokens = Some(30);
    assert_eq!(run.transcript().usage, expected);
}

/// Reads a failed answer, ten seconds after the epoch.
fn failed(status: u16, headers: &[(&str, &str)], body: &str) -> ProviderError {
    let mut response = Response::default();
    response.status = status;
    let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    response.headers = Headers(headers.iter().map(owned).collect());
    response.body = body.as_bytes().to_vec();
    response.now = Timestamp(10_000);
    error::failure(&response)
}

#[test]
fn error_classes() {
    let body = |kind: &str, message: &str| {
        json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
    };
    use ErrorKind::*;
    for (status, kind, message, expected, retryable) in [
        (401, "authentication_error", "invalid x-api-key", Authentication, false),
        (403, "permission_error", "not allowed", Permission, false),
        (402, "billing_error", "pay", Quota, false),
        (400, "invalid_request_error", "You have reached your specified spend limit", Quota, false),
        (400, "invalid_request_error", "Your credit balance is too low", Quota, false),
        (429, "rate_limit_error", "Too many requests", RateLimited, true),
        (503, "api_error", "down", Unavailable, true),
        (529, "overloaded_error", "Overloaded", Overloaded, true),
        (500, "api_error", "Internal server error", Unavailable, true),
        (504, "timeout_error", "slow", Timeout, true),
        (409, "conflict_error", "twice", Unavailable, true),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
            ContextLength,
            false,
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            ContextLength,
            false,
        ),
        (413, "request_too_large", "Request exceeds the maximum size", ContextLength, false),
        (400, "invalid_request_error", "messages: field required", InvalidRequest, false),
        (404, "not_found_error", "model: x", NotFound, false),
        (422, "", "odd", InvalidRequest, false),
    ] {
        let error = failed(status, &[], &body(kind, message));
        assert_eq!((error.kind, error.is_retryable()), (expected, retryable), "{status} {kind}");
        assert_eq!((error.status, error.message.as_str()), (Some(status), message));
        let code = Some(kind).filter(|kind| !kind.is_empty());
        assert_eq!(error.code.as_deref(), code);
    }
    // Without a body that says more, the status alone decides.
    for (status, headers, body, expected) in [
        (529, &[][..], "", Overloaded),
        (502, &[("content-type", "text/html")], "<html>Bad Gateway</html>", Unavailable),
        (408, &[], "null", Timeout),
        (403, &[], "{\"error\":null}", Permission),
    ] {
        assert_eq!(failed(status, headers, body).kind, expected, "{status}");
    }
    assert_eq!(failed(500, &[], "{\"error\":\"broken.\"}").message, "broken");
    assert_eq!(failed(500, &[], "{\"message\":\"broken\"}").message, "broken");
}

#[test]
fn a_spend_cap_is_never_tried_again() {
    let body = json!({"type": "error", "request_id": "req_b", "error": {
        "type": "rate_limit_error", "message": "You have reached your organization's limit.",
        "details": {"error_code": "enforced_spend_limit_reached"}}});
    let reset = [
        ("anthropic-ratelimit-requests-remaining", "0"),
        ("anthropic-ratelimit-requests-reset", "1970-01-01T00:00:20Z"),
    ];
    let error = failed(429, &reset, &body.to_string());
    assert_eq!((error.kind, error.is_retryable()), (ErrorKind::Quota, false));
    assert_eq!(error.retry_after_ms, None);
    assert_eq!(error.code.as_deref(), Some("enforced_spend_limit_reached"));
    assert_eq!(error.request_id.as_deref(), Some("req_b"));
    assert_eq!(error.details["details"]["error_code"], "enforced_spend_limit_reached");
}

#[test]
fn how_long_to_wait() {
    let remaining = ("anthropic-ratelimit-input-tokens-remaining", "0");
    let reset = ("anthropic-ratelimit-input-tokens-reset", "1970-01-01T00:00:45Z");
    let left = ("anthropic-ratelimit-input-tokens-remaining", "7");
    for (headers, expected) in [
        (&[("retry-after", "3")][..], Some(3000)),
        (&[("retry-after", "0.5")], Some(500)),
        (&[("retry-after-ms", "1500"), ("retry-after", "9")], Some(1500)),
        (&[("retry-after", "Thu, 01 Jan 1970 00:00:17 GMT")], Some(7000)),
        (&[remaining, reset], Some(35_000)),
        (&[("retry-after", "3"), remaining, reset], Some(3000)),
        (&[left, reset], None),
        (&[], None),
    ] {
        let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#;
        let error = failed(429, headers, body);
        assert_eq!(error.retry_after_ms, expected, "{headers:?}");
        assert!(error.is_retryable());
    }
    let error = failed(429, &[("x-should-retry", "false")], "{}");
    assert!(!error.is_retryable());
    let error = failed(400, &[("x-should-retry", "true"), ("request-id", "req_h")], "{}");
    assert!(error.is_retryable());
    assert_eq!(error.request_id.as_deref(), Some("req_h"));
    let error = failed(429, &[remaining, reset], "{}");
    assert_eq!(error.details["rate_limits"]["input_tokens"]["remaining"], 0);
}

#[test]
fn failures_before_and_after_the_first_token() {
    let overloaded = r#"data: {"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    let said = r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
    for (body, text) in
        [(format!("{overloaded}\n\n"), ""), (format!("{said}\n\n{overloaded}\n\n"), "a")]
    {
        let run = Replay::new(open::<Decoder>()).respond(200, &[], body.as_bytes()).run();
        assert_eq!(run.text(), text);
        assert_eq!(run.error.unwrap().kind, ErrorKind::Overloaded);
    }
    let run = Replay::new(open::<Decoder>())
        .respond(529, &[("content-type", "text/html")], b"<html>")
        .run();
    assert_eq!(run.error.unwrap().message, "no reason given");
    let run =
        Replay::new(open::<Decoder>()).break_off(200, &[], format!("{said}\n\n").as_bytes()).run();
    assert_eq!((run.text().as_str(), run.error.unwrap().kind), ("a", ErrorKind::Connection));
}

#[test]
fn facts_from_the_headers_come_as_details() {
    let headers = [
        ("request-id", "req_1"),
        ("anthropic-ratelimit-requests-remaining", "41"),
        ("content-type", "text/event-stream"),
    ];
    let body = "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n\
        data: {\"type\":\"message_stop\"}\n\n";
    let run = Replay::new(open::<Decoder>()).respond(200, &headers, body.as_bytes()).run();
    let details = run.transcript().details;
    assert_eq!(details[&(None, "request_id".to_owned())], "req_1");
    assert_eq!(details[&(None, "rate_limits".to_owned())], json!({"requests": {"remaining": 41}}));
}

#[test]
fn losses_are_warned_of_after_the_start() {
    let mut request = ChatRequest::new("m", vec![Message::user("x")]);
    request.sampling.seed = Some(1);
    let losses = encode_request(&request, &Quirks::default()).unwrap().losses;
    let exchange = SseStream::new(HttpRequest::get("https://a.test/"), Decoder::after(losses));
    let body = "data: {\"type\":\"message_start\"}\n\ndata: {\"type\":\"message_stop\"}\n\n";
    let run = Replay::new(Box::new(exchange)).respond(200, &[], body.as_bytes()).run();
    assert_eq!(run.transcript().warnings, ["`seed` has no field in this format"]);
    assert!(matches!(run.events[0], ChatEvent::Started { .. }));
}

#[test]
fn tool_definitions() {
    let schema = json!({"type": "object", "properties": {"z": {"type": "string"}, "a": {}}});
    let mut request = ChatRequest::new("m", vec![Message::user("x")]);
    let mut tool = FunctionTool::new("get_weather", Some(schema.clone()));
    tool.description = Some("d".into());
    request.tools = vec![ToolDefinition::Function(tool)];
    // The schema key is `input_schema`; arguments are an object, in a stream fragments of its text;
    // results are blocks with `tool_use_id` and `is_error`.
    let mut result = ToolResult::new("toolu_1", vec![ContentPart::text("r")]);
    result.is_error = true;
    let call = ToolCall::new("toolu_1", "get_weather", r#"{"z":"Riga"}"#);
    let said = Message::new(Role::Assistant, vec![Content::ToolCall(call).into()]);
    let answer = Message::new(Role::Tool, vec![Content::ToolResult(result).into()]);
    request.messages.extend([said, answer]);
    let encoded = encode_request(&request, &Quirks::default()).unwrap();
    let bytes = body::render(&encoded.body, &[]);
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        json["tools"],
        json!([{"name": "get_weather", "description": "d", "input_schema": schema}])
    );
    assert_eq!(json["messages"][1]["content"][0]["input"], json!({"z": "Riga"}));
    let block = &json["messages"][2]["content"][0];
    assert_eq!((&block["tool_use_id"], &block["is_error"]), (&json!("toolu_1"), &json!(true)));
    assert_eq!(decode_request(&bytes).unwrap().request.messages, request.messages);
}

#[test]
fn reasoning_carriers_go_back_as_they_came() {
    let run = streamed(&[
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "thinking_delta", "thinking": "Hm"}}),
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "signature_delta", "signature": "Eq+/=="}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1,
            "content_block": {"type": "redacted_thinking", "data": "Em+/=="}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "content_block_start", "index": 2,
            "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
        json!({"type": "message_stop"}),
    ]);
    let mut message = run.transcript().message();
    assert_eq!(message.parts[0].continuity[0].kind, token::SIGNATURE);
    // As a host does, which knows the issuer.
    for token in message.parts.iter_mut().flat_map(|part| &mut part.continuity) {
        token.issuer = "anthropic".into();
    }
    let request = ChatRequest::new("m", vec![message]);
    let encoded = encode_request(&request, &Quirks::default()).unwrap();
    assert_eq!(encoded.losses, []);
    let json: Value = serde_json::from_slice(&body::render(&encoded.body, &[])).unwrap();
    assert_eq!(
        json["messages"][0]["content"],
        json!([
            {"type": "thinking", "thinking": "Hm", "signature": "Eq+/=="},
            {"type": "redacted_thinking", "data": "Em+/=="},
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        ])
    );
}

#[test]
fn what_is_not_known_in_a_message_is_named_and_the_older_place_of_a_form_is_read() {
    let schema = json!({"type": "object"});
    let body = json!({"model": "m", "max_tokens": 1, "messages": [
        {"role": "user", "content": "hi", "odd": 1}],
        "output_format": {"type": "json_schema", "schema": schema}});
    let decoded = decode_request(body.to_string().as_bytes()).unwrap();
    let named: Vec<&str> = decoded.losses.iter().map(|loss| &*loss.field).collect();
    assert_eq!(named, ["messages[0].odd"]);
    let Some(ResponseFormat::JsonSchema(form)) = decoded.request.response_format else { panic!() };
    assert_eq!(form.schema, schema);
}
