//! The habits of servers that break naive readers, one test each.
//!
//! The number in a name is the point of our checklist for chat-completions streams; `d1` and `d2`
//! stand for what single servers do, and for how they show reasoning.

mod beside_text;
mod calls;
mod failures;
mod outcome;
mod reasoning;
mod stream;
mod whole;

use dialects::openai_chat::Decoder;
use plugin_api::{
    error::ProviderError,
    event::{ChatEvent, FinishReason},
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

fn failed(status: u16, headers: &[(&str, &str)], body: &str) -> ProviderError {
    let replay = Replay::new(open::<Decoder>()).at(Timestamp(1_790_000_000_000), 0);
    replay.respond(status, headers, body.as_bytes()).run().error.unwrap()
}
