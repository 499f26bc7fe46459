//! The habits of servers that break naive readers, one test each.
//!
//! The number in a name is the point of our checklist for chat-completions streams; `d1` and `d2`
//! stand for what single servers do, and for how they show reasoning.

use dialects::openai_chat::{Decoder, error, token};
use plugin_api::{
    chat::{Content, ToolKind},
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Usage},
    exchange::Timestamp,
    kit::replay::{Replay, Run, every_cut},
};
use serde_json::{Value, json};

use crate::common::open;

fn raw(body: &str) -> Run {
    every_cut(open::<Decoder>, 200, &[("content-type", "text/event-stream")], body.as_bytes())
}

/// Streams chunks with these deltas, then `finish` and `[DONE]`.
fn deltas(deltas: &[Value], finish: &str) -> Run {
    let mut body = String::new();
    for delta in deltas {
        let chunk = json!({"id": "c", "choices": [{"index": 0, "delta": delta}]});
        body.push_str(&format!("data: {chunk}\n\n"));
    }
    let last = json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]});
    body.push_str(&format!("data: {last}\n\ndata: [DONE]\n\n"));
    let run = raw(&body);
    assert_eq!(run.error, None);
    run
}

/// Streams tool-call fragments and returns id, name and arguments of each call.
fn calls(fragments: &[Value]) -> Vec<(String, String, String)> {
    let list: Vec<_> = fragments.iter().map(|f| json!({"tool_calls": [f]})).collect();
    let run = deltas(&list, "tool_calls");
    let message = run.transcript().message();
    message.tool_calls().map(|c| (c.id.clone(), c.name.clone(), c.arguments.clone())).collect()
}

fn triples(calls: &[(String, String, String)]) -> Vec<(&str, &str, &str)> {
    calls.iter().map(|(a, b, c)| (&**a, &**b, &**c)).collect()
}

fn finish(run: &Run) -> (FinishReason, Option<&str>) {
    match run.events.last() {
        Some(ChatEvent::Finish { reason, detail }) => (*reason, detail.as_deref()),
        other => panic!("expected a finish, found {other:?}"),
    }
}

fn chunk(text: &str) -> String {
    format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#)
}

const STOP: &str = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

// 1: framing

#[test]
fn d3_01_every_line_end_comment_bom_and_event_name_is_read() {
    let (a, b) = (chunk("a"), chunk("b"));
    let split = r#"{"id":"c","choices":[{"index":0,
data: "delta":{"content":"c"}}]}"#;
    for body in [
        format!(
            "\u{feff}data: {a}\r\n\r\ndata:{b}\r\n\r\n: ping\r\n\r\nevent: x\r\ndata: {STOP}\r\n\r\n"
        ),
        format!("data:{a}\r\rdata: {b}\r\r: ping\r\rdata: {STOP}\r\r"),
        format!("data: {a}\n\nid: 7\nretry: 5\ndata: {b}\n\ndata\n\ndata: {STOP}"),
    ] {
        assert_eq!(raw(&body).text(), "ab");
    }
    assert_eq!(raw(&format!("data: {split}\n\ndata: {STOP}\n\n")).text(), "c");
}

#[test]
fn d3_01_an_event_named_error_is_a_failure() {
    let run = raw("event: error\ndata: {\"message\":\"gone\"}\n\n");
    assert_eq!(run.error.unwrap().message, "gone");
    let run = raw("event: error\ndata: gone\n\n");
    assert_eq!(run.error.unwrap().message, "gone");
}

// 2 and 3: the end

#[test]
fn d3_02_what_follows_done_is_ignored() {
    let a = chunk("a");
    for done in ["data: [DONE]", "data:[DONE]", "data: [DONE] ", "data: [DONE] bye"] {
        let run =
            raw(&format!("data:  {a} \n\ndata: {STOP}\n\n{done}\n\ndata: {a}\n\ndata: !\n\n"));
        assert_eq!(run.text(), "a");
        assert!(run.done);
    }
}

#[test]
fn d3_02_done_without_a_finish_reason_is_a_stop() {
    let run = raw(&format!("data: {}\n\ndata: [DONE]\n\n", chunk("a")));
    assert_eq!(finish(&run), (FinishReason::Stop, None));
    let run = raw("data: [DONE]\n\n");
    assert_eq!(run.events.len(), 2);
}

#[test]
fn d3_02_a_finish_reason_without_done_is_complete() {
    let run = raw(&format!("data: {}\n\ndata: {STOP}\n\n", chunk("a")));
    assert_eq!(finish(&run), (FinishReason::Stop, None));
    // The usage chunk that was cut off must not spoil the answer.
    let run = raw(&format!("data: {}\n\ndata: {STOP}\n\ndata: {{\"usa", chunk("a")));
    assert_eq!(finish(&run), (FinishReason::Stop, None));
    assert_eq!(run.transcript().warnings.len(), 1);
}

#[test]
fn d3_03_the_end_with_neither_is_incomplete() {
    for body in ["", ": ping\n\n", "data: {\"id\":\"c\",\"cho"] {
        let error = raw(body).error.unwrap();
        assert_eq!(error.kind, ErrorKind::Incomplete, "{body}");
        assert!(error.is_retryable());
    }
    let run = raw(&format!("data: {}\n\n", chunk("a")));
    assert_eq!(run.error.unwrap().kind, ErrorKind::Incomplete);
    assert_eq!(Transcript::of(&run.events).text(), "a");
}

use plugin_api::event::Transcript;

// 4: failures after HTTP 200

#[test]
fn d3_04_each_form_of_failure_in_a_stream_is_heard() {
    for (data, message) in [
        (r#"{"error":{"message":"m"}}"#, "m"),
        (r#"{"error":"m"}"#, "m"),
        (r#"{"error":{"message":"m"},"choices":[{"delta":{"content":"x"}}]}"#, "m"),
        (r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#, "m"),
        (r#"{"detail":"m"}"#, "m"),
        (r#"{"detail":[{"loc":["body","model"],"msg":"m"}]}"#, "body.model: m"),
        (r#"[{"error":{"message":"m"}}]"#, "m"),
    ] {
        for body in [format!("data: {data}\n\n"), format!("{data}\n")] {
            let error = raw(&body).error.unwrap_or_else(|| panic!("{body}"));
            assert_eq!(error.message, message, "{body}");
        }
    }
    // No failure: a null, and what only looks like JSON.
    let run =
        raw(&format!("[INFO] ready\n{{\"x\":1}}\ndata: {{\"error\":null}}\n\ndata: {STOP}\n\n"));
    assert!(run.done);
}

#[test]
fn d3_04_what_is_no_json_is_malformed() {
    let run = raw(&format!("data: {}\n\ndata: oops\n\n", chunk("a")));
    let error = run.error.unwrap();
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert_eq!(error.message, "expected a chunk of chat completions, found `oops`");
}

// 5: holes

#[test]
fn d3_05_choices_delta_and_content_may_be_missing_null_or_empty() {
    let body: String = [
        r#"{"id":"c"}"#,
        r#"{"id":"c","choices":null}"#,
        r#"{"id":"c","choices":[]}"#,
        r#"{"id":"c","choices":[{"index":0}]}"#,
        r#"{"id":"c","choices":[{"index":0,"delta":null}]}"#,
        r#"{"id":"c","choices":[{"index":null,"delta":{"role":null,"content":null}}]}"#,
        r#"{"id":"c","choices":[{"delta":{"role":"","content":""}}]}"#,
        r#"{"id":"c","choices":[{"delta":{"role":"assistant","content":[]}}]}"#,
        r#"{"id":"c","choices":[{"delta":{"content":{"odd":1}}}]}"#,
        r#"{"id":"c","choices":[{"delta":{"role":"assistant","content":"a"}}]}"#,
        r#"{"id":"c","choices":[{"index":1,"delta":{"content":"other choice"}}]}"#,
        STOP,
    ]
    .iter()
    .map(|data| format!("data: {data}\n\n"))
    .collect();
    let run = raw(&body);
    assert_eq!(run.text(), "a");
    assert_eq!(run.events.len(), 3);
}

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

// 8: finish reasons

#[test]
fn d3_08_finish_reasons_are_mapped_and_odd_words_kept() {
    for (word, reason, detail) in [
        ("stop", FinishReason::Stop, None),
        ("length", FinishReason::Length, None),
        ("content_filter", FinishReason::ContentFilter, None),
        ("eos", FinishReason::Stop, Some("eos")),
        ("model_length", FinishReason::Length, Some("model_length")),
        ("error", FinishReason::Error, Some("error")),
        ("insufficient_system_resource", FinishReason::Error, Some("insufficient_system_resource")),
        ("SAFETY", FinishReason::ContentFilter, Some("SAFETY")),
        ("bored", FinishReason::Other, Some("bored")),
    ] {
        let run = deltas(&[json!({"content": "a"})], word);
        assert_eq!(finish(&run), (reason, detail), "{word}");
    }
}

#[test]
fn d3_08_an_empty_finish_reason_means_not_yet() {
    let body = r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":""}]}"#;
    assert_eq!(raw(&format!("{body}\n\n")).error.unwrap().kind, ErrorKind::Incomplete);
}

#[test]
fn d3_08_calls_that_end_with_stop_are_tool_calls() {
    let call = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]});
    assert_eq!(finish(&deltas(std::slice::from_ref(&call), "stop")).0, FinishReason::ToolCalls);
    assert_eq!(finish(&deltas(&[call], "length")).0, FinishReason::Length);
}

// 9: usage

#[test]
fn d3_09_the_last_usage_counts_wherever_it_stands() {
    let usage = |n: u64| json!({"prompt_tokens": 3, "completion_tokens": n, "total_tokens": null});
    let with = |usage: &[(&str, Value)], finish: Value| {
        let mut chunk = json!({"id": "c", "choices": [{"delta": {}, "finish_reason": finish}]});
        for (name, usage) in usage {
            chunk[name] = usage.clone();
        }
        format!("data: {chunk}\n\n")
    };
    let null = Value::Null;
    for body in [
        with(&[("usage", usage(1))], null.clone()) + &with(&[("usage", usage(2))], "stop".into()),
        with(&[("usage", null.clone())], "stop".into())
            + &with(&[("usage", usage(2))], null.clone()),
        with(&[("x_groq", json!({"id": "r", "usage": usage(2)}))], "stop".into()),
        with(&[("usage", usage(2)), ("x_groq", json!({"usage": usage(9)}))], "stop".into()),
        with(&[("usage", usage(2))], "stop".into()) + &with(&[("usage", json!({}))], null.clone()),
    ] {
        let run = raw(&body);
        let usages: Vec<_> =
            run.events.iter().filter(|e| matches!(e, ChatEvent::Usage(_))).collect();
        assert_eq!(usages, [&ChatEvent::Usage(Usage::new(3, 2))], "{body}");
    }
    let run = raw(&with(&[], "stop".into()));
    assert!(!run.events.iter().any(|event| matches!(event, ChatEvent::Usage(_))));
}

#[test]
fn d3_09_tokens_used_are_reported_even_when_the_answer_fails() {
    let used = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    for end in ["", "data: {\"error\":\"gone\"}\n\n"] {
        let run = raw(&format!("data: {used}\n\n{end}"));
        assert!(run.error.is_some());
        assert_eq!(run.transcript().usage, Usage::new(3, 2));
    }
}

// 10 and 11: ids and numbers

#[test]
fn d3_10_ids_and_models_may_be_empty_vary_or_be_missing() {
    let chunk = |id: Value, text: &str| {
        let chunk = json!({"id": id, "created": "soon", "model": null, "choices": [{"delta": {"content": text}}]});
        format!("data: {chunk}\n\n")
    };
    let started = |body: String| match &raw(&(body + "data: [DONE]\n\n")).events[0] {
        ChatEvent::Started { id, model } => (id.clone(), model.clone()),
        other => panic!("expected the start, found {other:?}"),
    };
    assert_eq!(started(chunk("a".into(), "x") + &chunk("b".into(), "y")), (Some("a".into()), None));
    assert_eq!(started(chunk("".into(), "") + &chunk("b".into(), "y")), (Some("b".into()), None));
    assert_eq!(started(chunk(Value::Null, "x") + &chunk("b".into(), "y")), (None, None));
    assert_eq!(started(chunk(7.into(), "x")), (Some("7".into()), None));
}

#[test]
fn d3_11_numbers_may_be_texts_and_texts_numbers() {
    let of = |json: &str| error::in_stream(json.as_bytes());
    for code in ["\"429\"", "429"] {
        let error = of(&format!(r#"{{"error":{{"message":"slow","code":{code}}}}}"#));
        assert_eq!((error.kind, error.status), (ErrorKind::RateLimited, Some(429)));
        assert_eq!(error.code.as_deref(), Some("429"));
    }
    let usage = json!({"prompt_tokens": "3", "completion_tokens": 2.0});
    let run = raw(&format!("data: {}\n\ndata: [DONE]\n\n", json!({"usage": usage})));
    assert_eq!(run.transcript().usage, Usage::new(3, 2));
}

// 12: one piece

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

fn failed(status: u16, headers: &[(&str, &str)], body: &str) -> ProviderError {
    let replay = Replay::new(open::<Decoder>()).at(Timestamp(1_790_000_000_000), 0);
    replay.respond(status, headers, body.as_bytes()).run().error.unwrap()
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

// What single servers do

#[test]
fn d1_failures_are_classified_by_code_then_status_then_text() {
    use ErrorKind::*;
    for (status, body, kind, code, retryable) in [
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            Quota,
            Some("insufficient_quota"),
            false,
        ),
        (
            429,
            r#"{"error":{"message":"slow","type":"requests","code":"rate_limit_exceeded"}}"#,
            RateLimited,
            Some("rate_limit_exceeded"),
            true,
        ),
        (
            429,
            r#"{"error":{"type":"usage_limit_reached","message":"limit","plan_type":"plus","resets_at":1790003600}}"#,
            Quota,
            Some("usage_limit_reached"),
            false,
        ),
        (
            401,
            r#"{"error":{"message":"bad key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            Authentication,
            Some("invalid_api_key"),
            false,
        ),
        (401, r#"{"detail":"Unauthorized"}"#, Authentication, None, false),
        (
            403,
            r#"{"error":{"message":"no","code":"unsupported_country_region_territory"}}"#,
            Permission,
            Some("unsupported_country_region_territory"),
            false,
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"flagged","metadata":{"reasons":["violence"],"flagged_input":"x"}}}"#,
            ContentPolicy,
            Some("403"),
            false,
        ),
        (
            404,
            r#"{"error":{"message":"no model","type":"invalid_request_error","code":"model_not_found"}}"#,
            NotFound,
            Some("model_not_found"),
            false,
        ),
        (
            404,
            r#"{"error":{"message":"model \"x\" not found","type":"not_found_error","param":null,"code":null}}"#,
            NotFound,
            Some("not_found_error"),
            false,
        ),
        (
            400,
            r#"{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            ContextLength,
            Some("context_length_exceeded"),
            false,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            ContextLength,
            Some("exceed_context_size_error"),
            false,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 8 tokens.","type":"BadRequestError","param":null,"code":400}"#,
            ContextLength,
            Some("BadRequestError"),
            false,
        ),
        (
            400,
            r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            ContentPolicy,
            Some("content_filter"),
            false,
        ),
        (
            400,
            r#"{"error":{"message":"Failed to call a function.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"{"}}"#,
            InvalidRequest,
            Some("tool_use_failed"),
            true,
        ),
        (
            400,
            r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
            Authentication,
            Some("INVALID_ARGUMENT"),
            false,
        ),
        (
            400,
            r#"{"error":{"message":"bad","type":"invalid_request_error","code":"invalid_value"}}"#,
            InvalidRequest,
            Some("invalid_value"),
            false,
        ),
        (
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
            Quota,
            Some("invalid_request_error"),
            false,
        ),
        (
            402,
            r#"{"error":{"code":402,"message":"Insufficient credits"}}"#,
            Quota,
            Some("402"),
            false,
        ),
        (
            422,
            r#"{"detail":[{"loc":["body","messages",0],"msg":"field required","type":"missing"}]}"#,
            InvalidRequest,
            None,
            false,
        ),
        (
            498,
            r#"{"error":{"message":"flex capacity","type":"server_error"}}"#,
            Overloaded,
            Some("server_error"),
            true,
        ),
        (
            503,
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            Overloaded,
            Some("unavailable_error"),
            true,
        ),
        (
            503,
            r#"{"error":{"message":"busy","code":"slow_down"}}"#,
            Overloaded,
            Some("slow_down"),
            true,
        ),
        (500, r#"{"error":"model crashed"}"#, Unavailable, None, true),
        (
            500,
            r#"{"error":{"message":"oops","type":"server_error"}}"#,
            Unavailable,
            Some("server_error"),
            true,
        ),
        (408, "", Timeout, None, true),
        (409, "{}", Unavailable, None, true),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"expired"}"#,
            InvalidRequest,
            Some("invalid_grant"),
            false,
        ),
        (400, "7", InvalidRequest, None, false),
        (400, r#"{"error":{"message":{"detail":"nested"}}}"#, InvalidRequest, None, false),
    ] {
        let error = failed(status, &[("x-request-id", "r")], body);
        assert_eq!((error.kind, error.code.as_deref()), (kind, code), "{body}");
        assert_eq!((error.is_retryable(), error.status), (retryable, Some(status)), "{body}");
        assert_eq!(error.request_id.as_deref(), Some("r"));
    }
}

#[test]
fn d1_the_wait_is_read_from_headers_then_from_the_body() {
    let limited = |headers: &[(&str, &str)], message: &str| {
        let body = json!({"error": {"message": message, "code": "rate_limit_exceeded"}});
        failed(429, headers, &body.to_string()).retry_after_ms
    };
    assert_eq!(limited(&[("retry-after", "2")], "try again in 9s"), Some(2000));
    assert_eq!(limited(&[("retry-after-ms", "150")], "x"), Some(150));
    assert_eq!(limited(&[], "Please try again in 1.3s. Visit"), Some(1300));
    assert_eq!(limited(&[], "try again in 6m0s."), Some(360_000));
    assert_eq!(limited(&[], "Please retry after 20 seconds."), Some(20_000));
    assert_eq!(limited(&[], "retry in 2 minutes"), Some(120_000));
    assert_eq!(limited(&[], "retry in 1 hour"), Some(3_600_000));
    assert_eq!(limited(&[], "try again in 20 milliseconds"), Some(20));
    assert_eq!(limited(&[], "try again in a while"), None);
    assert_eq!(limited(&[], "slow down"), None);
    let plan =
        r#"{"error":{"type":"usage_limit_reached","message":"limit","resets_at":1790003600}}"#;
    assert_eq!(failed(429, &[], plan).retry_after_ms, Some(3_600_000));
    let plan =
        r#"{"error":{"type":"usage_limit_reached","message":"limit","resets_in_seconds":60}}"#;
    assert_eq!(failed(429, &[], plan).retry_after_ms, Some(60_000));
    let error = failed(400, &[("x-should-retry", "true")], "{}");
    assert!(error.is_retryable());
}

#[test]
fn d1_openrouter_shows_the_text_of_the_provider_behind_it() {
    let error = failed(
        400,
        &[],
        r#"{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"bad image","provider_name":"X"}}}"#,
    );
    assert_eq!(error.message, "Provider returned error: bad image");
}

// Reasoning

#[test]
fn d2_mirrored_reasoning_is_emitted_once() {
    let run = deltas(
        &[json!({"reasoning": "a", "reasoning_content": "a"}), json!({"content": "b"})],
        "stop",
    );
    assert_eq!(run.events.len(), 4);
}

#[test]
fn d2_a_change_of_channel_opens_a_part() {
    let run = deltas(
        &[
            json!({"reasoning_content": "a"}),
            json!({"content": "b"}),
            json!({"reasoning": "c", "content": "d"}),
            json!({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}}]}),
            json!({"content": "e"}),
        ],
        "stop",
    );
    let kinds: Vec<_> = run
        .transcript()
        .message()
        .parts
        .iter()
        .map(|part| match &part.content {
            Content::Reasoning(r) => r.text.clone(),
            Content::Text(t) => t.text.clone(),
            Content::ToolCall(c) => c.name.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["a", "b", "c", "d", "f", "e"]);
}

#[test]
fn d2_reasoning_details_are_merged_and_returned_as_one_token() {
    let run = deltas(
        &[
            json!({"reasoning_details": [{"type": "reasoning.summary", "summary": "Su", "index": 0}]}),
            json!({"reasoning_details": [{"type": "reasoning.summary", "summary": "m", "index": 0, "id": null}]}),
            json!({"reasoning_details": [{"type": "reasoning.text", "text": "t", "index": 1}]}),
            json!({"reasoning_details": [7]}),
            json!({"content": "x"}),
        ],
        "stop",
    );
    let parts = run.transcript().message().parts;
    assert!(matches!(&parts[0].content, Content::Reasoning(r) if r.text == "Sum" && r.summary));
    assert!(matches!(&parts[1].content, Content::Reasoning(r) if r.text == "t" && !r.summary));
    let token: Value = serde_json::from_str(&parts[0].continuity[0].token).unwrap();
    assert_eq!(token[0]["summary"], "Sum");
    assert_eq!(token[1]["text"], "t");
    assert_eq!(parts[0].continuity[0].kind, token::REASONING_DETAILS);
}

#[test]
fn d2_details_without_text_still_get_a_part_of_their_own() {
    let secret = json!({"type": "reasoning.encrypted", "data": "AA"});
    let run = deltas(
        &[
            json!({"reasoning_details": [secret]}),
            json!({"content": "x"}),
            json!({"reasoning_details": [secret]}),
        ],
        "stop",
    );
    let parts = run.transcript().message().parts;
    assert_eq!(parts.len(), 2);
    let token: Value = serde_json::from_str(&parts[0].continuity[0].token).unwrap();
    assert_eq!(token, json!([secret, secret]));
    let run = deltas(&[json!({"reasoning_details": []}), json!({"content": "x"})], "stop");
    assert_eq!(run.transcript().message().parts.len(), 1);
}

#[test]
fn d2_mistrals_chunks_keep_their_kinds() {
    let run = deltas(
        &[
            json!({"content": [{"type": "thinking", "thinking": "a", "closed": true}]}),
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "b"}], "closed": true}]}),
            json!({"content": [{"type": "thinking", "thinking": null, "signature": "s"}]}),
            json!({"content": [{"type": "refusal", "refusal": "no"}, {"type": "output_text", "text": "t"}]}),
            json!({"content": [{"type": "hologram"}, {"type": "reference", "reference_ids": [1]}]}),
            json!({"content": [{"type": "image_url", "image_url": "data:image/png;base64,AAAA"}]}),
            json!({"content": [{"type": "image_url", "image_url": {"url": "https://a.test/"}}]}),
        ],
        "stop",
    );
    let transcript = run.transcript();
    assert_eq!(transcript.message().parts.len(), 6);
    assert_eq!(transcript.message().parts[2].continuity[0].token, "s");
    assert_eq!(transcript.warnings.len(), 1);
    assert!(matches!(transcript.message().parts[5].content, Content::Image(_)));
}

#[test]
fn d2_geminis_thought_signatures_ride_on_calls_and_on_text() {
    let signed = json!({"google": {"thought_signature": "s1"}});
    let run = deltas(
        &[
            json!({"content": "a", "extra_content": signed}),
            json!({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f"}, "extra_content": signed}]}),
            json!({"extra_content": {"google": null}, "tool_calls": [{"index": 0, "extra_content": signed}]}),
        ],
        "stop",
    );
    let parts = run.transcript().message().parts;
    assert_eq!(parts[0].continuity[0].kind, token::THOUGHT_SIGNATURE);
    assert_eq!(parts[1].continuity.len(), 1);
    let run = deltas(&[json!({"extra_content": signed})], "stop");
    assert_eq!(run.transcript().message().parts[0].continuity[0].token, "s1");
}

// What OpenAI itself sends beside text

#[test]
fn a1_custom_tools_refusals_sound_and_citations() {
    let run = deltas(
        &[
            json!({"refusal": "no"}),
            json!({"tool_calls": [{"index": 0, "id": "x", "type": "custom", "custom": {"name": "sql", "input": ""}}]}),
            json!({"tool_calls": [{"index": 0, "custom": {"input": "SELECT"}}]}),
            json!({"audio": {"id": "au", "transcript": "said"}}),
            json!({"annotations": [{"type": "url_citation", "url_citation": {"url": "u", "content": "q"}},
                                   {"type": "file_citation", "file_id": "f"}]}),
        ],
        "stop",
    );
    let transcript = run.transcript();
    let parts = transcript.message().parts;
    assert!(matches!(&parts[0].content, Content::Refusal(t) if t.text == "no"));
    assert!(
        matches!(&parts[1].content, Content::ToolCall(c) if c.kind == ToolKind::Custom && c.arguments == "SELECT")
    );
    let Content::Text(text) = &parts[2].content else { panic!("{parts:?}") };
    assert_eq!((&*text.text, text.citations.len()), ("said", 2));
    assert_eq!(text.citations[0].quote.as_deref(), Some("q"));
    assert_eq!(text.citations[0].native, None);
    assert_eq!(text.citations[1].native.as_ref().unwrap()["file_id"], "f");
    assert_eq!(transcript.warnings.len(), 1);
}

#[test]
fn a1_a_citation_before_any_text_opens_a_text() {
    let body = json!({"choices": [{"delta": {}, "finish_reason": "stop"}],
        "citations": ["u", {"url": "v", "title": "V"}, {"no": 1}, 7]});
    let run = raw(&format!("data: {body}\n\n"));
    let parts = run.transcript().message().parts;
    assert!(matches!(&parts[0].content, Content::Text(t) if t.citations.len() == 2));
}
