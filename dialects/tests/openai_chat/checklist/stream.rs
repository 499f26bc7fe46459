//! 1 to 5: framing, the end, failures after HTTP 200, and holes.

use plugin_api::{
    error::ErrorKind,
    event::{FinishReason, Transcript},
};

use super::{STOP, chunk, finish, raw};

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
