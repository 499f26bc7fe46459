//! 8 to 11: finish reasons, usage, ids and numbers.

use dialects::openai_chat::error;
use plugin_api::{
    error::ErrorKind,
    event::{ChatEvent, FinishReason, Usage},
};
use serde_json::{Value, json};

use super::{deltas, finish, raw};

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
