//! The normalisation tables, one row a line: finish reasons, usage, failures, tools, carriers of
//! reasoning.

use dialects::gemini::{Decoder, error, token};
use plugin_api::{
    chat::Content,
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Usage},
    exchange::Timestamp,
    http::Headers,
    kit::replay::{Replay, Run, every_cut},
};
use serde_json::{Value, json};

use super::{JSON, SSE};
use crate::common::open;

fn stream(chunks: &[Value]) -> Run {
    let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect();
    every_cut(open::<Decoder>, 200, &SSE, body.as_bytes())
}

fn parts(parts: &Value, finish: &str) -> Run {
    let content = json!({"role": "model", "parts": parts});
    stream(&[json!({"candidates": [{"content": content, "finishReason": finish}]})])
}

fn finish(run: &Run) -> (FinishReason, Option<&str>) {
    match run.events.last() {
        Some(ChatEvent::Finish { reason, detail }) => (*reason, detail.as_deref()),
        other => panic!("expected a finish, found {other:?}"),
    }
}

#[test]
fn finish_reasons() {
    use FinishReason::{ContentFilter, Error, Length, Other, Pause, Stop};
    for (word, reason) in [
        ("STOP", Stop),
        ("MAX_TOKENS", Length),
        ("SAFETY", ContentFilter),
        ("RECITATION", ContentFilter),
        ("BLOCKLIST", ContentFilter),
        ("PROHIBITED_CONTENT", ContentFilter),
        ("SPII", ContentFilter),
        ("MODEL_ARMOR", ContentFilter),
        ("IMAGE_SAFETY", ContentFilter),
        ("IMAGE_PROHIBITED_CONTENT", ContentFilter),
        ("IMAGE_RECITATION", ContentFilter),
        ("IMAGE_OTHER", ContentFilter),
        ("CONTINUATION", Pause),
        ("MALFORMED_FUNCTION_CALL", Error),
        ("MALFORMED_RESPONSE", Error),
        ("UNEXPECTED_TOOL_CALL", Error),
        ("TOO_MANY_TOOL_CALLS", Error),
        ("MISSING_THOUGHT_SIGNATURE", Error),
        ("OTHER", Other),
        ("LANGUAGE", Other),
        ("NO_IMAGE", Other),
        ("ESCALATION", Other),
        ("PUP_LIMITED_DISABLED", Other),
        ("SUNSET", Other),
    ] {
        let detail = (!matches!(reason, Stop | Length)).then_some(word);
        let run = parts(&json!([{"text": "a"}]), word);
        assert_eq!(finish(&run), (reason, detail), "{word}");
    }
}

#[test]
fn a_stop_with_a_call_waits_for_its_result_and_a_limit_stays_one() {
    let call = json!([{"functionCall": {"name": "f", "args": {}}}]);
    assert_eq!(finish(&parts(&call, "STOP")), (FinishReason::ToolCalls, None));
    assert_eq!(finish(&parts(&call, "MAX_TOKENS")), (FinishReason::Length, None));
}

#[test]
fn a_refused_prompt_is_a_failure_of_policy() {
    for reason in [
        "SAFETY",
        "OTHER",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "IMAGE_SAFETY",
        "MODEL_ARMOR",
        "JAILBREAK",
    ] {
        let run = stream(&[json!({"promptFeedback": {"blockReason": reason}})]);
        let error = run.error.unwrap();
        assert_eq!(error.kind, ErrorKind::ContentPolicy);
        assert_eq!(error.code.as_deref(), Some(reason));
        assert!(!error.is_retryable());
    }
}

#[test]
fn usage() {
    type Change = fn(&mut Usage);
    let rows: [(Value, Change); 7] = [
        (json!({"promptTokenCount": 10}), |u| u.input_tokens = Some(10)),
        (json!({"cachedContentTokenCount": 4}), |u| u.cached_input_tokens = Some(4)),
        (json!({"candidatesTokenCount": 5}), |u| u.output_tokens = Some(5)),
        // Thoughts are no part of the candidates' tokens, but of the answer's.
        (json!({"thoughtsTokenCount": 7}), |u| {
            (u.output_tokens, u.reasoning_tokens) = (Some(12), Some(7));
        }),
        (json!({"toolUsePromptTokenCount": 20}), |u| {
            u.input_tokens = Some(30);
            u.details.insert("tool_use_input_tokens".into(), 20);
        }),
        (
            json!({"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8},
                {"modality": "AUDIO", "tokenCount": 2}]}),
            |u| {
                u.details.insert("audio_input_tokens".into(), 2);
            },
        ),
        // Repeated and cumulative: the last of each counts, and what is null does not.
        (
            json!({"promptTokenCount": null, "candidatesTokenCount": 6, "totalTokenCount": 99}),
            |u| u.output_tokens = Some(13),
        ),
    ];
    let (mut expected, mut chunks) = (Usage::default(), Vec::new());
    for (wire, change) in rows {
        change(&mut expected);
        chunks.push(json!({ "usageMetadata": wire }));
        let mut all = chunks.clone();
        all.push(json!({"candidates": [{"finishReason": "STOP"}]}));
        assert_eq!(stream(&all).transcript().usage, expected, "{wire}");
    }
}

fn failure(status: u16, headers: &[(&str, &str)], body: &str) -> ProviderError {
    let replay = Replay::new(open::<Decoder>()).at(Timestamp(784_111_770_000), 0);
    replay.respond(status, headers, body.as_bytes()).run().error.unwrap()
}

fn status(code: u16, word: &str, message: &str, details: &Value) -> ProviderError {
    let error = json!({"code": code, "message": message, "status": word, "details": details});
    failure(code, &JSON, &json!({ "error": error }).to_string())
}

fn quota(id: &str, delay: &str) -> Value {
    json!([
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaMetric": "m", "quotaId": id}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ])
}

#[test]
fn failures() {
    let reason = |reason: &str| json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}]);
    let none = || json!(null);
    let too_long =
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).";
    for (code, word, message, details, kind, retryable) in [
        (
            400,
            "INVALID_ARGUMENT",
            "API key not valid.",
            reason("API_KEY_INVALID"),
            ErrorKind::Authentication,
            false,
        ),
        (400, "INVALID_ARGUMENT", "API key not valid.", none(), ErrorKind::Authentication, false),
        (400, "INVALID_ARGUMENT", "API key expired.", none(), ErrorKind::Authentication, false),
        (400, "INVALID_ARGUMENT", "Unknown name \"x\".", none(), ErrorKind::InvalidRequest, false),
        (400, "INVALID_ARGUMENT", too_long, none(), ErrorKind::ContextLength, false),
        (
            400,
            "FAILED_PRECONDITION",
            "User location is not supported.",
            none(),
            ErrorKind::InvalidRequest,
            false,
        ),
        (
            401,
            "UNAUTHENTICATED",
            "Expired.",
            reason("ACCESS_TOKEN_EXPIRED"),
            ErrorKind::Authentication,
            false,
        ),
        (403, "PERMISSION_DENIED", "No scope.", none(), ErrorKind::Permission, false),
        (404, "NOT_FOUND", "No such model.", none(), ErrorKind::NotFound, false),
        (408, "", "Slow.", none(), ErrorKind::Timeout, true),
        (413, "", "Big.", none(), ErrorKind::ContextLength, false),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded.", none(), ErrorKind::RateLimited, true),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded.",
            quota("RequestsPerMinute", "34s"),
            ErrorKind::RateLimited,
            true,
        ),
        (
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded.",
            quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "34s"),
            ErrorKind::Quota,
            false,
        ),
        (499, "CANCELLED", "Cancelled.", none(), ErrorKind::Unavailable, true),
        (500, "INTERNAL", "Sorry.", none(), ErrorKind::Unavailable, true),
        (501, "UNIMPLEMENTED", "Never.", none(), ErrorKind::NotSupported, false),
        (502, "", "Bad gateway.", none(), ErrorKind::Unavailable, true),
        (503, "UNAVAILABLE", "Overloaded.", none(), ErrorKind::Overloaded, true),
        (504, "DEADLINE_EXCEEDED", "Late.", none(), ErrorKind::Timeout, true),
    ] {
        let error = status(code, word, message, &details);
        assert_eq!(
            (error.kind, error.is_retryable()),
            (kind, retryable),
            "{code} {word} {message}"
        );
        assert_eq!(error.status, Some(code));
        assert!(!error.message.ends_with('.'), "{}", error.message);
    }
}

#[test]
fn waits() {
    for (headers, details, message, expected) in [
        (None, quota("PerMinute", "34s"), "", Some(34_000)),
        (None, quota("PerMinute", "0.5s"), "", Some(500)),
        (Some(("retry-after", "2")), json!(null), "", Some(2000)),
        (Some(("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")), json!(null), "", Some(7000)),
        (Some(("retry-after-ms", "1500")), json!(null), "", Some(1500)),
        // What the body says is meant for this request.
        (Some(("retry-after", "2")), quota("PerMinute", "3s"), "", Some(3000)),
        (None, json!(null), "Please retry in 34.5s.", Some(34_500)),
        (None, quota("PerMinute", "soon"), "", None),
        (None, json!({"odd": 1}), "", None),
    ] {
        let error = json!({"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details});
        let headers: Vec<_> = headers.into_iter().collect();
        let found = failure(429, &headers, &json!({ "error": error }).to_string());
        assert_eq!(found.retry_after_ms, expected, "{headers:?} {details} {message}");
    }
}

#[test]
fn a_failure_in_any_form_keeps_its_status() {
    let html = [("content-type", "text/html"), ("x-request-id", "r7")];
    let error = failure(502, &html, "<html>Bad Gateway</html>");
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Unavailable, "no reason given"));
    assert_eq!(error.request_id.as_deref(), Some("r7"));
    assert_eq!(failure(503, &[], "").kind, ErrorKind::Overloaded);
    let array = r#"[{"error":{"code":404,"message":"gone","status":"NOT_FOUND"}}]"#;
    assert_eq!(failure(404, &JSON, array).message, "gone");
    assert_eq!(failure(403, &JSON, r#"{"error":"invalid_scope"}"#).message, "invalid_scope");
    let odd = r#"{"error":{"code":"429","message":7,"status":null}}"#;
    assert_eq!(failure(429, &JSON, odd).kind, ErrorKind::RateLimited);
    assert_eq!(failure(400, &JSON, "[[[]]]").kind, ErrorKind::InvalidRequest);
}

#[test]
fn what_a_client_reads_of_a_failure_is_what_was_meant() {
    for kind in [
        ErrorKind::Authentication,
        ErrorKind::Permission,
        ErrorKind::Quota,
        ErrorKind::RateLimited,
        ErrorKind::NotFound,
        ErrorKind::InvalidRequest,
        ErrorKind::Overloaded,
        ErrorKind::Timeout,
    ] {
        let told = ProviderError::new(kind, "what happened").retry_after_ms(Some(1500));
        let (status, body) = error::encode(&told);
        let mut response = plugin_api::kit::Response::default();
        (response.status, response.body) = (status, body);
        response.headers = Headers::default();
        let read = error::failure(&response);
        assert_eq!((read.kind, read.message.as_str()), (kind, "what happened"));
        assert_eq!(read.retry_after_ms, Some(1500));
    }
}

#[test]
fn a_signature_stays_on_its_part_and_thoughts_are_summaries() {
    let run = parts(
        &json!([
            {"text": "Hm.", "thought": true},
            {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "x", "name": "g"}},
            {"text": "", "thoughtSignature": "ZW5k"},
        ]),
        "STOP",
    );
    let message = run.transcript().message();
    let signatures: Vec<_> = message
        .parts
        .iter()
        .map(|part| part.continuity.first().map(|c| (c.kind.as_str(), c.token.as_str())))
        .collect();
    let kind = token::THOUGHT_SIGNATURE;
    assert_eq!(signatures, [None, Some((kind, "c2ln")), None, Some((kind, "ZW5k"))]);
    let Content::Reasoning(thought) = &message.parts[0].content else { panic!("no thought") };
    assert!(thought.summary);
    let calls: Vec<_> = message.tool_calls().map(|c| (&*c.name, &*c.arguments)).collect();
    assert_eq!(calls, [("f", r#"{"a":1}"#), ("g", "{}")]);
    assert_eq!(message.tool_calls().nth(1).unwrap().id, "x");
}

#[test]
fn calls_without_ids_get_different_ones_in_each_answer() {
    let body = br#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}},{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}"#;
    let ids = |seed| {
        let run =
            Replay::new(open::<Decoder>()).at(Timestamp(0), seed).respond(200, &JSON, body).run();
        let message = run.transcript().message();
        message.tool_calls().map(|call| call.id.clone()).collect::<Vec<_>>()
    };
    let mut all = [ids(1), ids(2)].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4);
}
