//! Answers as a client of the gateway gets them.

use dialects::anthropic_messages::{DIALECT, Encoder, Head, encode_response};
use plugin_api::{
    chat::{Citation, Continuity, Opaque, ToolKind},
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Transcript, Usage},
};
use serde_json::{Value, json};

fn encoder() -> Encoder {
    Encoder::new(&Head::new("msg_1", "m"))
}

fn written(events: &[ChatEvent]) -> Vec<Value> {
    let (mut encoder, mut bytes) = (encoder(), Vec::new());
    for event in events {
        encoder.event(event, &mut bytes);
    }
    frames(&bytes)
}

/// Splits a stream into its data; each event must be named like its data.
fn frames(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let each = text.split_terminator("\n\n").map(|frame| {
        let (name, data) = frame.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    });
    each.collect()
}

fn kinds(frames: &[Value]) -> Vec<&str> {
    frames.iter().filter_map(|frame| frame["type"].as_str()).collect()
}

fn text(part: u32, text: &str) -> ChatEvent {
    ChatEvent::TextDelta { part, text: text.into() }
}

fn finish(reason: FinishReason) -> ChatEvent {
    ChatEvent::Finish { reason, detail: None }
}

#[test]
fn a_stream_has_the_documented_sequence() {
    let mut usage = Usage::new(390, 1);
    usage.cached_input_tokens = Some(300);
    let signature = Continuity::new("signature", "EqQB");
    let frames = written(&[
        ChatEvent::Started { id: Some("other".into()), model: None },
        ChatEvent::Usage(usage),
        ChatEvent::ReasoningDelta { part: 0, text: "Hm.".into(), summary: false },
        ChatEvent::Continuity { part: 0, continuity: signature },
        text(1, "Hi"),
        text(1, ""),
        ChatEvent::Usage(Usage::new(390, 57)),
        finish(FinishReason::Stop),
    ]);
    assert_eq!(
        kinds(&frames),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let message = &frames[0]["message"];
    assert_eq!((&message["id"], &message["model"]), (&json!("msg_1"), &json!("m")));
    assert_eq!(message["usage"]["input_tokens"], 90);
    assert_eq!(frames[3]["delta"], json!({"type": "signature_delta", "signature": "EqQB"}));
    assert_eq!(frames[5]["index"], 1);
    assert_eq!(frames[8]["delta"], json!({"stop_reason": "end_turn", "stop_sequence": null}));
    assert_eq!(frames[8]["usage"]["output_tokens"], 57);
}

#[test]
fn other_vendors_answers_are_said_in_this_format() {
    let mut citation = Citation::default();
    citation.url = Some("https://a.test/".into());
    let frames = written(&[
        ChatEvent::RefusalDelta { part: 0, text: "no".into() },
        ChatEvent::Citation { part: 1, citation: Box::new(citation) },
        ChatEvent::Opaque { part: 2, block: Opaque::new("openai-responses", "{}") },
        ChatEvent::Opaque { part: 3, block: Opaque::new(DIALECT, r#"{"type":"x","z":1.0}"#) },
        ChatEvent::Continuity { part: 4, continuity: Continuity::new("thought_signature", "t") },
        ChatEvent::ToolCallStart {
            part: 5,
            id: "c".into(),
            name: "f".into(),
            kind: ToolKind::Custom,
        },
        ChatEvent::ToolCallDelta { part: 5, arguments: "say \"".into() },
        ChatEvent::ToolCallDelta { part: 5, arguments: "é\"".into() },
        ChatEvent::ToolCallEnd { part: 5 },
        ChatEvent::Warning { message: "odd".into() },
        finish(FinishReason::ToolCalls),
    ]);
    assert_eq!(frames[2]["delta"]["text"], "no");
    assert_eq!(frames[5]["delta"]["citation"]["url"], "https://a.test/");
    assert_eq!(frames[7]["content_block"], json!({"type": "x", "z": 1.0}));
    let arguments: String =
        frames.iter().filter_map(|frame| frame["delta"]["partial_json"].as_str()).collect();
    let input: Value = serde_json::from_str(&arguments).unwrap();
    assert_eq!(input, json!({"input": "say \"é\""}));
    assert_eq!(frames[frames.len() - 2]["delta"]["stop_reason"], "tool_use");
}

#[test]
fn text_in_the_midst_of_a_call_waits_for_its_end() {
    let start = |part| {
        let (id, name, kind) = (format!("c{part}"), "f".to_owned(), ToolKind::Function);
        ChatEvent::ToolCallStart { part, id, name, kind }
    };
    let frames = written(&[
        start(0),
        text(1, "a"),
        ChatEvent::ToolCallDelta { part: 0, arguments: "{}".into() },
        text(1, "b"),
        ChatEvent::ToolCallEnd { part: 0 },
        finish(FinishReason::ToolCalls),
    ]);
    let said: Vec<_> = frames.iter().filter_map(|f| f["delta"]["text"].as_str()).collect();
    assert_eq!(said, ["a", "b"]);
    let indexes: Vec<_> = frames.iter().filter_map(|frame| frame["index"].as_u64()).collect();
    assert_eq!(indexes, [0, 0, 0, 1, 1, 1, 1]);
}

#[test]
fn failures_and_signs_of_life_have_their_events() {
    let (mut encoder, mut bytes) = (encoder(), Vec::new());
    encoder.ping(&mut bytes);
    encoder.event(&text(0, "a"), &mut bytes);
    encoder.error(&ProviderError::new(ErrorKind::Overloaded, "full"), &mut bytes);
    let found = frames(&bytes);
    assert_eq!(found[0], json!({"type": "ping"}));
    assert_eq!(found.last().unwrap()["error"]["type"], "overloaded_error");
    let gave_up = written(&[text(0, "a"), finish(FinishReason::Error)]);
    assert_eq!(gave_up.last().unwrap()["error"]["type"], "api_error");
}

#[test]
fn an_answer_without_content_is_still_a_message() {
    let detail = |name: &str, value| ChatEvent::Detail { part: None, name: name.into(), value };
    let events = [
        detail("stop_sequence", json!("###")),
        detail("rate_limits", json!({})),
        ChatEvent::Finish { reason: FinishReason::Stop, detail: Some("stop_sequence".into()) },
    ];
    let frames = written(&events);
    assert_eq!(kinds(&frames), ["message_start", "message_delta", "message_stop"]);
    assert_eq!(frames[1]["delta"]["stop_sequence"], "###");
    let body = encode_response(&Transcript::of(&events), &Head::new("msg_1", "m"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body,
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": "stop_sequence", "stop_sequence": "###",
            "usage": {"input_tokens": 0, "output_tokens": 0}})
    );
}
