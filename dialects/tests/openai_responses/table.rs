//! What the vendor's words mean, one row each: how an answer ends, tokens, failures, tools, reasoning.

use dialects::openai_responses::{
    Decoder, Encoder, Head, Quirks, decode_request, encode_request, error, token,
};
use plugin_api::{
    chat::*,
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Usage},
    exchange::Timestamp,
    http::Headers,
    kit::{
        body,
        call::Response,
        replay::{Replay, Run},
    },
};
use serde_json::{Value, json};

use crate::common::open;

fn whole(fields: &Value) -> Run {
    let mut response = json!({"id": "resp_1", "object": "response", "model": "m", "output": []});
    for (name, value) in fields.as_object().unwrap() {
        response[name] = value.clone();
    }
    let headers = [("content-type", "application/json")];
    Replay::new(open::<Decoder>()).respond(200, &headers, response.to_string().as_bytes()).run()
}

fn message(part: &Value) -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [part]})
}

#[test]
fn finish_reasons() {
    let text = || message(&json!({"type": "output_text", "text": "a"}));
    let refusal = || message(&json!({"type": "refusal", "refusal": "no"}));
    let call = || json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let custom = || json!({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": ""});
    let hosted = || json!({"type": "web_search_call", "id": "ws_1"});
    for (status, why, output, expected) in [
        ("completed", Value::Null, json!([text()]), (FinishReason::Stop, None)),
        ("completed", Value::Null, json!([text(), hosted()]), (FinishReason::Stop, None)),
        ("completed", Value::Null, json!([text(), call()]), (FinishReason::ToolCalls, None)),
        ("completed", Value::Null, json!([custom()]), (FinishReason::ToolCalls, None)),
        ("completed", Value::Null, json!([refusal()]), (FinishReason::ContentFilter, None)),
        ("incomplete", json!("max_output_tokens"), json!([text()]), (FinishReason::Length, None)),
        ("incomplete", json!("max_output_tokens"), json!([]), (FinishReason::Length, None)),
        (
            "incomplete",
            json!("max_messages"),
            json!([text()]),
            (FinishReason::Length, Some("max_messages")),
        ),
        (
            "incomplete",
            json!("content_filter"),
            json!([text()]),
            (FinishReason::ContentFilter, None),
        ),
        ("incomplete", json!("steered"), json!([text()]), (FinishReason::Pause, None)),
        ("incomplete", json!("novel"), json!([text()]), (FinishReason::Other, Some("novel"))),
        ("incomplete", Value::Null, json!([text()]), (FinishReason::Other, Some("incomplete"))),
        ("cancelled", Value::Null, json!([text()]), (FinishReason::Error, Some("cancelled"))),
    ] {
        let details = json!({"reason": why});
        let run =
            whole(&json!({"status": status, "incomplete_details": details, "output": output}));
        assert_eq!(run.error, None, "{status} {why}");
        let transcript = run.transcript();
        let found = (transcript.finish.unwrap(), transcript.finish_detail.as_deref());
        assert_eq!(found, expected, "{status} {why} {output}");
    }
}

#[test]
fn a_filter_that_stops_the_question_is_a_failure() {
    let run = whole(&json!({"status": "incomplete",
        "incomplete_details": {"reason": "content_filter"}, "usage": {"input_tokens": 9}}));
    assert_eq!(run.error.unwrap().kind, ErrorKind::ContentPolicy);
    assert!(matches!(run.events[1], ChatEvent::Usage(_)), "what was used is owed");
}

#[test]
fn usage() {
    let mut all = Usage::new(61, 40);
    all.cached_input_tokens = Some(30);
    all.cache_write_tokens = Some(4);
    all.reasoning_tokens = Some(16);
    for (wire, expected) in [
        (
            json!({"input_tokens": 61, "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 4},
                "output_tokens": 40, "output_tokens_details": {"reasoning_tokens": 16}, "total_tokens": 101}),
            all,
        ),
        (json!({"input_tokens": "3", "output_tokens": 1.0}), Usage::new(3, 1)),
        (
            json!({"input_tokens": 3, "input_tokens_details": null, "output_tokens": 1,
                "output_tokens_details": null}),
            Usage::new(3, 1),
        ),
        (json!(null), Usage::default()),
        (json!({}), Usage::default()),
    ] {
        let run = whole(&json!({"status": "completed", "usage": wire}));
        assert_eq!(run.transcript().usage, expected, "{wire}");
    }
}

fn failed(status: u16, headers: &[(&str, &str)], body: &str) -> ProviderError {
    let mut response = Response::default();
    response.status = status;
    let owned = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    response.headers = Headers(owned.collect());
    response.body = body.as_bytes().to_vec();
    response.now = Timestamp(1_790_000_000_000);
    error::failure(&response)
}

#[test]
fn error_classes_by_status_and_code() {
    use ErrorKind::*;
    for (status, code, kind, retryable) in [
        (400, "invalid_value", InvalidRequest, false),
        (400, "unsupported_parameter", InvalidRequest, false),
        (400, "context_length_exceeded", ContextLength, false),
        (400, "invalid_prompt", InvalidRequest, false),
        (400, "cyber_policy", ContentPolicy, false),
        (400, "bio_policy", ContentPolicy, false),
        (400, "misalignment_policy_violation", ContentPolicy, false),
        (400, "image_content_policy_violation", ContentPolicy, false),
        (400, "invalid_image_url", InvalidRequest, false),
        (400, "image_parse_error", InvalidRequest, false),
        (400, "data_residency_mismatch", InvalidRequest, false),
        (401, "invalid_api_key", Authentication, false),
        (401, "invalid_authentication", Authentication, false),
        (403, "unsupported_country_region_territory", Permission, false),
        (403, "", Permission, false),
        (404, "model_not_found", NotFound, false),
        (408, "", Timeout, true),
        (409, "", Unavailable, true),
        (422, "", InvalidRequest, false),
        (429, "rate_limit_exceeded", RateLimited, true),
        (429, "insufficient_quota", Quota, false),
        (429, "usage_limit_reached", Quota, false),
        (429, "usage_not_included", Quota, false),
        (500, "server_error", Unavailable, true),
        (502, "", Unavailable, true),
        (503, "", Overloaded, true),
        (503, "server_is_overloaded", Overloaded, true),
        (503, "slow_down", Overloaded, true),
        (504, "vector_store_timeout", Timeout, true),
    ] {
        let body = json!({"error": {"message": "m", "type": "x", "param": null, "code": code}});
        let error = failed(status, &[("x-request-id", "req_1")], &body.to_string());
        assert_eq!((error.kind, error.is_retryable()), (kind, retryable), "{status} {code}");
        assert_eq!((error.status, error.request_id.as_deref()), (Some(status), Some("req_1")));
        if !code.is_empty() {
            assert_eq!(error.code.as_deref(), Some(code));
        }
    }
}

#[test]
fn error_classes_in_a_stream() {
    use ErrorKind::*;
    for (code, kind) in [
        ("server_error", Unavailable),
        ("rate_limit_exceeded", RateLimited),
        ("insufficient_quota", Quota),
        ("usage_not_included", Quota),
        ("context_length_exceeded", ContextLength),
        ("invalid_prompt", InvalidRequest),
        ("invalid_image_format", InvalidRequest),
        ("bio_policy", ContentPolicy),
        ("cyber_policy", ContentPolicy),
        ("server_is_overloaded", Overloaded),
        ("slow_down", Overloaded),
        ("vector_store_timeout", Timeout),
    ] {
        let flat = json!({"type": "error", "code": code, "message": "m", "param": null});
        let wrapped = json!({"type": "error", "error": {"code": code, "message": "m"}});
        let response = json!({"type": "response.failed", "response": {"error": {"code": code, "message": "m"}}});
        for event in [flat, wrapped, response] {
            let body = format!("data: {event}\n\n");
            let error = Replay::new(open::<Decoder>())
                .respond(200, &[], body.as_bytes())
                .run()
                .error
                .unwrap();
            assert_eq!((error.kind, error.code.as_deref()), (kind, Some(code)), "{event}");
        }
    }
    let body = "data: {\"type\":\"response.failed\",\"response\":{\"error\":null}}\n\n";
    let error =
        Replay::new(open::<Decoder>()).respond(200, &[], body.as_bytes()).run().error.unwrap();
    assert_eq!(error.message, "the response failed and does not say why");
}

#[test]
fn retry_after_in_each_form() {
    let body =
        |text: &str| json!({"error": {"message": text, "code": "rate_limit_exceeded"}}).to_string();
    for (headers, text, expected) in [
        (vec![("retry-after-ms", "1500")], "", Some(1500)),
        (vec![("retry-after-ms", "1500"), ("retry-after", "9")], "", Some(1500)),
        (vec![("retry-after", "2")], "", Some(2000)),
        (vec![("retry-after", "0.5")], "try again in 9s", Some(500)),
        (vec![("retry-after", "Mon, 21 Sep 2026 14:13:25 GMT")], "", Some(5000)),
        (vec![], "Rate limit reached. Please try again in 1.3s.", Some(1300)),
        (vec![], "Please try again in 250ms", Some(250)),
        (vec![], "try again in 2 seconds", Some(2000)),
        (vec![], "Please try again in 6m0s. Visit", Some(360_000)),
        (vec![], "slow down", None),
    ] {
        assert_eq!(failed(429, &headers, &body(text)).retry_after_ms, expected, "{text}");
    }
    let error = failed(
        429,
        &[],
        r#"{"error":{"type":"usage_limit_reached","message":"limit","plan_type":"plus","resets_at":1790000060}}"#,
    );
    assert_eq!((error.kind, error.retry_after_ms), (ErrorKind::Quota, Some(60_000)));
    assert_eq!(
        (&error.details["plan_type"], &error.details["resets_at"]),
        (&json!("plus"), &json!(1_790_000_060))
    );
    for (word, retryable) in [("true", true), ("false", false)] {
        let error = failed(500, &[("x-should-retry", word)], "");
        assert_eq!(error.is_retryable(), retryable);
    }
}

#[test]
fn refusals_under_a_chatgpt_plan() {
    use ErrorKind::*;
    for (status, code, kind, retryable, hint) in [
        (
            429,
            "subscription_sharing_usage_limit_exceeded",
            Quota,
            false,
            "chatgpt.com/settings/usage",
        ),
        (503, "subscription_sharing_usage_unavailable", Unavailable, true, "try again"),
        (503, "subscription_sharing_user_unavailable", Unavailable, true, "try again"),
        (403, "subscription_sharing_user_not_eligible", Permission, false, "API key"),
        (403, "subscription_sharing_invalid_user", Authentication, false, "sign in"),
        (403, "chatpass_v2_scope_not_authorized", Authentication, false, "sign in"),
        (403, "chatpass_v2_invalid_authorization_context", Authentication, false, "sign in"),
        (400, "subscription_sharing_unsupported_capability", NotSupported, false, "leave it out"),
        (404, "subscription_sharing_route_not_supported", NotSupported, false, "API key"),
    ] {
        let facts = json!({"code": code, "message": "limit", "param": "temperature"});
        for body in [json!({"error": facts}), json!({"detail": facts})] {
            // A wait that a header promises does not bring a spent plan back.
            let error = failed(status, &[("x-should-retry", "true")], &body.to_string());
            assert_eq!((error.kind, error.is_retryable()), (kind, retryable), "{body}");
            assert_eq!(error.code.as_deref(), Some(code));
            assert!(
                error.message.contains(hint) && error.message.contains("`temperature`"),
                "{error}"
            );
            assert!(error.details["hint"].as_str().unwrap().contains(hint));
        }
    }
    let error = failed(403, &[], r#"{"detail":"no entry"}"#);
    assert_eq!((error.kind, &*error.message), (Permission, "no entry"));
    let error = failed(502, &[("content-type", "text/html")], "<html>");
    assert_eq!(error.message, "no reason given");
    assert_eq!(failed(500, &[], "").message, "no reason given");
}

#[test]
fn tool_definitions_calls_and_results() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let mut function = FunctionTool::new("get_weather", Some(schema.clone()));
    (function.description, function.strict) = (Some("Weather".into()), Some(true));
    let mut custom = CustomTool::new("patch");
    custom.format = Some(json!({"type": "grammar", "syntax": "lark", "definition": "start: X"}));
    let mut call = ToolCall::new("c2", "patch", "*** free text");
    call.kind = ToolKind::Custom;
    let said = vec![
        Content::ToolCall(ToolCall::new("c1", "get_weather", "{\"city\":\"Riga\"}")).into(),
        Content::ToolCall(call).into(),
    ];
    let mut result = ToolResult::new(
        "c2",
        vec![ContentPart::text("ok"), ContentPart::image("image/png", vec![0])],
    );
    result.kind = ToolKind::Custom;
    let mut request = ChatRequest::new(
        "m",
        vec![
            Message::new(Role::Assistant, said),
            Message::tool_result("c1", "4"),
            Message::new(Role::Tool, vec![Content::ToolResult(result).into()]),
        ],
    );
    request.tools = vec![ToolDefinition::Function(function), ToolDefinition::Custom(custom)];
    let encoded = encode_request(&request, &Quirks::default()).unwrap();
    assert_eq!(encoded.losses, []);
    let json: Value = serde_json::from_slice(&body::render(&encoded.body, &[])).unwrap();
    assert_eq!(
        json["tools"],
        json!([
            {"type": "function", "name": "get_weather", "description": "Weather", "parameters": schema, "strict": true},
            {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"}},
        ])
    );
    assert_eq!(
        json["input"],
        json!([
            {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{\"city\":\"Riga\"}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** free text"},
            {"type": "function_call_output", "call_id": "c1", "output": "4"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [
                {"type": "input_text", "text": "ok"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
        ])
    );
}

#[test]
fn reasoning_carriers() {
    let item = r#"{ "id":"rs_1", "type":"reasoning","summary":[ ],"encrypted_content":"gAAAA-fake" ,"n":1.0}"#;
    let item_done = format!(
        "data: {{\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{item}}}\n\ndata: {{\"type\":\"response.completed\"}}\n\n"
    );
    let run = Replay::new(open::<Decoder>()).respond(200, &[], item_done.as_bytes()).run();
    let message = run.transcript().message();
    assert_eq!(message.parts[0].continuity, [Continuity::new(token::REASONING_ITEM, item)]);
    // It goes back byte for byte.
    let request = ChatRequest::new("m", vec![message]);
    let sent = body::render(&encode_request(&request, &Quirks::default()).unwrap().body, &[]);
    assert!(String::from_utf8(sent).unwrap().contains(item));
    // Reasoning without the vendor's token means nothing to it.
    let bare = Message::new(Role::Assistant, vec![Content::Reasoning(Reasoning::new("hm")).into()]);
    let encoded = encode_request(&ChatRequest::new("m", vec![bare]), &Quirks::default()).unwrap();
    assert_eq!(
        encoded.losses[0].to_string(),
        "`messages[0].parts[0]` is not sent back to this server"
    );
    assert!(encoded.or_refuse().is_ok());
}

/// Signatures of other vendors reach a client of this dialect, and come back with their issuer,
/// whatever part they belong to and whenever they come.
#[test]
fn tokens_of_other_vendors_survive_a_client() {
    let token = |kind: &str, token: &str| {
        let mut token = Continuity::new(kind, token);
        token.issuer = "other".into();
        token
    };
    let start = |part, id: &str| ChatEvent::ToolCallStart {
        part,
        id: id.into(),
        name: "f".into(),
        kind: ToolKind::Function,
    };
    let arguments = |part, text: &str| ChatEvent::ToolCallDelta { part, arguments: text.into() };
    let mut block = Opaque::new("anthropic-messages", r#"{"type":"server_tool_use"}"#);
    block.issuer = "other".into();
    let events = [
        ChatEvent::ReasoningDelta { part: 0, text: "think".into(), summary: false },
        ChatEvent::Continuity { part: 0, continuity: token("signature", "s0") },
        ChatEvent::TextDelta { part: 1, text: "Let me ".into() },
        start(2, "a"),
        start(3, "b"),
        arguments(3, "{\"b\":"),
        arguments(2, "{}"),
        arguments(3, "1}"),
        ChatEvent::Continuity { part: 2, continuity: token("thought", "s2") },
        ChatEvent::ToolCallEnd { part: 2 },
        ChatEvent::ToolCallEnd { part: 3 },
        ChatEvent::Opaque { part: 4, block: block.clone() },
        ChatEvent::Continuity { part: 1, continuity: token("late", "s1") },
        ChatEvent::Finish { reason: FinishReason::ToolCalls, detail: None },
    ];
    let mut encoder = Encoder::new(&Head::new("resp_1", "m", 0));
    let mut bytes = Vec::new();
    events.iter().for_each(|event| encoder.event(event, &mut bytes));
    let text = String::from_utf8(bytes).unwrap();
    let done = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let done = done.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let items: Vec<Value> = done
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| event["item"].clone())
        .collect();
    let body = json!({"model": "m", "input": items}).to_string();
    let decoded = decode_request(body.as_bytes()).unwrap().request;
    let [message] = &decoded.messages[..] else { panic!("{:?}", decoded.messages) };
    let [thought, said, first, second, opaque] = &message.parts[..] else { panic!("{message:?}") };
    assert_eq!(thought.content, Content::Reasoning(Reasoning::new("think")));
    assert_eq!(thought.continuity, [token("signature", "s0")]);
    assert_eq!(said.content, Content::Text(Text::new("Let me ")));
    assert_eq!(said.continuity, [token("late", "s1")]);
    assert_eq!(first.content, Content::ToolCall(ToolCall::new("a", "f", "{}")));
    assert_eq!(first.continuity, [token("thought", "s2")]);
    assert_eq!(second.content, Content::ToolCall(ToolCall::new("b", "f", "{\"b\":1}")));
    assert_eq!(opaque.content, Content::Opaque(block));
}
