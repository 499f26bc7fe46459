//! How servers show reasoning.

use dialects::openai_chat::token;
use plugin_api::chat::Content;
use serde_json::{Value, json};

use super::deltas;

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
