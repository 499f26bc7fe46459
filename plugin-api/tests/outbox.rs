//! Whatever an exchange can say arrives as it was said.

use plugin_api::{
    chat::{Citation, Content, Continuity, Opaque},
    event::{Transcript, to_json},
    exchange::LogLevel,
    kit::replay::Replay,
    operation::Embeddings,
    prelude::*,
};

/// Says everything, one thing a tick.
struct Talker(u32);

impl Exchange for Talker {
    fn step(&mut self, now: Timestamp, _: Input<'_>, out: &mut Outbox<'_>) {
        self.0 += 1;
        match self.0 {
            1 => {
                out.started(Some("id"), Some("model"));
                out.reasoning(0, "hm");
                out.continuity(0, Continuity::new("signature", "s1"));
            }
            2 => {
                out.text(1, "Riga");
                let mut citation = Citation::default();
                citation.url = Some("https://a.test".into());
                out.event(&ChatEvent::Citation { part: 1, citation: Box::new(citation) });
            }
            3 => {
                out.tool_start(2, "c1", "look");
                out.tool_arguments(2, "{\"x\"");
                out.tool_arguments(2, ":1}");
                out.tool_end(2);
                out.opaque(3, Opaque::new("toy", "{\"b\":1, \"a\":12345678901234567890123}"));
            }
            4 => {
                for (part, media_type) in [(4, "image/png"), (5, "audio/wav"), (6, "text/plain")] {
                    let (media_type, data) = (media_type.to_owned(), vec![1, 2]);
                    out.event(&ChatEvent::MediaDelta { part, media_type, data });
                }
                out.event(&ChatEvent::RefusalDelta { part: 7, text: "no".into() });
            }
            5 => {
                for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Warn] {
                    out.log(level, "a line");
                }
                let mut usage = Usage::new(3, 4);
                usage.cache_write_tokens = Some(1);
                usage.details.insert("audio".into(), 2);
                out.usage(usage);
                out.warning("dropped");
                out.finish_with(FinishReason::Other, "steered");
                return out.done();
            }
            _ => unreachable!("it is done"),
        }
        out.wake_at(now.after_ms(10));
    }
}

#[test]
fn an_answer_arrives_as_it_was_said() {
    let run = Replay::new(Box::new(Talker(0))).at(Timestamp(1000), 7).run();
    assert!(run.done && run.violations.is_empty(), "{:?}", run.violations);
    assert_eq!(run.wakes, [1010, 1020, 1030, 1040].map(Timestamp));
    assert_eq!(run.log.len(), 3);
    let transcript: Transcript = run.transcript();
    assert_eq!(transcript.id.as_deref(), Some("id"));
    assert_eq!(transcript.usage.details["audio"], 2);
    assert_eq!(transcript.finish_detail.as_deref(), Some("steered"));
    let message = transcript.message();
    let names: Vec<&str> = message
        .parts
        .iter()
        .map(|part| match &part.content {
            Content::Reasoning(_) => "reasoning",
            Content::Text(_) => "text",
            Content::ToolCall(call) if call.arguments == "{\"x\":1}" => "call",
            Content::Opaque(block) if block.json.contains("12345678901234567890123") => "opaque",
            Content::Image(_) => "image",
            Content::Audio(_) => "audio",
            Content::File(_) => "file",
            Content::Refusal(_) => "refusal",
            _ => "?",
        })
        .collect();
    let expected = ["reasoning", "text", "call", "opaque", "image", "audio", "file", "refusal"];
    assert_eq!(names, expected);
    assert_eq!(message.parts[0].continuity[0].token, "s1");
    for event in &run.events {
        let json = to_json(event);
        let spelt = json["type"].as_str().unwrap().replace('_', "-");
        assert_eq!(spelt, event.name());
        assert_eq!(&serde_json::from_value::<ChatEvent>(json).unwrap(), event);
    }
}

#[test]
fn vectors_arrive_bit_for_bit() {
    let vectors = vec![vec![0.1, -1.0, f32::MIN_POSITIVE], vec![]];
    let reply = Reply::Embeddings(Embeddings::new(vectors.clone(), Some(9)));
    let run = kit::replay::start(&mut kit::ready(reply.clone()));
    assert_eq!(run.value, Some(reply));
}

#[test]
fn an_exchange_that_forgets_its_finish_is_told() {
    struct Forgetful;
    impl Exchange for Forgetful {
        fn step(&mut self, _: Timestamp, _: Input<'_>, out: &mut Outbox<'_>) {
            out.text(0, "x");
            out.done();
            out.text(0, "y");
        }
    }
    let run = kit::replay::start(&mut Forgetful);
    assert_eq!(run.violations.len(), 2, "{:?}", run.violations);
    assert_eq!(run.text(), "x");
}

#[test]
fn finish_reasons_are_spelt_as_json_spells_them() {
    for reason in [
        FinishReason::Stop,
        FinishReason::Length,
        FinishReason::ToolCalls,
        FinishReason::ContentFilter,
        FinishReason::Pause,
        FinishReason::Error,
        FinishReason::Other,
    ] {
        assert_eq!(serde_json::json!(reason), reason.as_str());
    }
}
