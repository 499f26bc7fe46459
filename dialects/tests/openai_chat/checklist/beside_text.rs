//! What OpenAI itself sends beside text.

use plugin_api::chat::{Content, ToolKind};
use serde_json::json;

use super::{deltas, raw};

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
