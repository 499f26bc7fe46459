//! What our encoder writes, kept to be read: by a person, and by the vendor's own SDK
//! (`tests/openai_responses/sdk.py FOLDER` checks every file with the types of the `openai` package).
//!
//! `UPDATE_GOLDEN=1 cargo test -p dialects written` writes the expectations anew.

use std::path::Path;

use dialects::openai_responses::{Echo, Encoder, Head, Namespaces, encode_response};
use plugin_api::{
    chat::*,
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
};

use crate::common::assert_recorded;

fn answer() -> Message {
    let token = |kind: &str, issuer: &str| {
        let mut token = Continuity::new(kind, "t");
        token.issuer = issuer.into();
        token
    };
    let mut thought: ContentPart = Content::Reasoning(Reasoning::new("Hm.")).into();
    thought.continuity.push(token("signature", "anthropic"));
    let mut summary = Reasoning::new("Weather, then.");
    summary.summary = true;
    let mut citation = Citation::default();
    (citation.url, citation.title) = (Some("https://a.test/".into()), Some("A".into()));
    (citation.answer_start, citation.answer_end) = (Some(0), Some(2));
    let mut text = Text::new("4 °C.\nBring a coat.");
    text.citations.push(citation);
    let mut said: ContentPart = Content::Text(text).into();
    said.continuity.push(token("phase", "openai"));
    said.continuity[0].token = "final_answer".into();
    let mut call: ContentPart = Content::ToolCall(ToolCall::new("c1", "get_weather", "{}")).into();
    call.continuity.push(token("thought_signature", "gemini"));
    let mut custom = ToolCall::new("c2", "patch", "*** Begin\n");
    custom.kind = ToolKind::Custom;
    let web = r#"{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search","query":"q","queries":["q"]}}"#;
    Message::new(
        Role::Assistant,
        vec![
            thought,
            Content::Reasoning(summary).into(),
            Content::Opaque(Opaque::new("openai-responses", web)).into(),
            said,
            Content::Refusal(Text::new("No more.")).into(),
            call,
            Content::ToolCall(custom).into(),
            Content::Opaque(Opaque::new("anthropic-messages", r#"{"type":"server_tool_use"}"#))
                .into(),
        ],
    )
}

fn transcript(reason: FinishReason) -> Transcript {
    let mut transcript = Transcript::new();
    events_of(&answer(), |event| transcript.push(&event));
    transcript.usage = Usage::new(61, 40);
    transcript.finish = Some(reason);
    transcript
}

fn stream(reason: FinishReason, failure: Option<&ProviderError>) -> Vec<u8> {
    let mut encoder = Encoder::new(&Head::new("resp_1", "m", 1_790_000_000));
    let mut bytes = Vec::new();
    events_of(&answer(), |event| encoder.event(&event, &mut bytes));
    encoder.event(&ChatEvent::Usage(Usage::new(61, 40)), &mut bytes);
    match failure {
        Some(failure) => encoder.error(failure, &mut bytes),
        None => encoder.event(&ChatEvent::Finish { reason, detail: None }, &mut bytes),
    }
    bytes
}

#[test]
fn what_is_written_stays_as_it_was_checked() {
    let head = Head::new("resp_1", "m", 1_790_000_000);
    let whole = |reason| {
        encode_response(&transcript(reason), &head, Namespaces::default(), Echo::default())
    };
    let failure =
        ProviderError::new(ErrorKind::RateLimited, "slow down").retry_after_ms(Some(1300));
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openai_responses_encoded");
    for (name, found) in [
        ("completed.sse", stream(FinishReason::ToolCalls, None)),
        ("incomplete.sse", stream(FinishReason::Length, None)),
        ("failed.sse", stream(FinishReason::Stop, Some(&failure))),
        ("completed.json", whole(FinishReason::ToolCalls)),
        ("incomplete.json", whole(FinishReason::ContentFilter)),
        ("failed.json", whole(FinishReason::Error)),
    ] {
        assert_recorded(&folder.join(name), &found);
    }
}
