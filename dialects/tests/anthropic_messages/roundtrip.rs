//! What one half writes the other reads back, wherever no loss was reported.

use dialects::anthropic_messages::{
    Decoder, Effort, Encoder, Head, Quirks, decode_request, encode_request, encode_response, error,
    tokens,
};
use plugin_api::{
    chat::*,
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
    exchange::Timestamp,
    kit::{
        body,
        call::Response,
        replay::{Replay, Run},
    },
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::samples::{plain_request, quirks, request, transcript};
use crate::common::{
    open,
    samples::{BLOBS, cases, census, holds},
    well_formed,
};

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn a_request_without_losses_reads_back_as_it_was(request in request(), quirks in quirks()) {
        let encoded = encode_request(&request, &quirks).unwrap();
        let bytes = body::render(&encoded.body, BLOBS);
        let decoded = decode_request(&bytes);
        if !encoded.losses.is_empty() {
            // Even then what is sent is a well-formed request, unless it had to be refused.
            prop_assert!(decoded.is_ok() || encoded.or_refuse().is_err(), "{decoded:?}");
            return Ok(());
        }
        let decoded = decoded.unwrap();
        prop_assert_eq!(&decoded.losses, &[]);
        prop_assert_eq!(decoded.stream, quirks.stream);
        prop_assert_eq!(decoded.request, as_read(request, &quirks));
    }

    #[test]
    fn requests_of_the_common_shape_lose_nothing(request in plain_request()) {
        let quirks = Quirks::default();
        let encoded = encode_request(&request, &quirks).unwrap();
        prop_assert_eq!(&encoded.losses, &[]);
        let bytes = body::render(&encoded.body, BLOBS);
        prop_assert_eq!(decode_request(&bytes).unwrap().request, as_read(request, &quirks));
    }

    #[test]
    fn what_is_counted_is_the_prompt_that_would_be_sent(request in request(), quirks in quirks()) {
        let sent = encode_request(&request, &quirks).unwrap();
        let counted = tokens::encode_request(&request, &quirks).unwrap();
        let read = |body| {
            let rendered = body::render(body, BLOBS);
            serde_json::from_slice::<Value>(&rendered).unwrap()
        };
        let (sent, counted) = (read(&sent.body), read(&counted.body));
        for field in ["system", "messages", "tools", "tool_choice", "thinking"] {
            prop_assert_eq!(&sent[field], &counted[field]);
        }
        prop_assert!(counted.get("max_tokens").is_none() && counted.get("stream").is_none());
    }

    #[test]
    fn a_stream_reads_back_as_it_was(transcript in transcript()) {
        let run = through_sse(&transcript);
        prop_assert_eq!(&run.error, &None);
        prop_assert_eq!(told(&Transcript::of(&run.events)), told(&transcript));
    }

    #[test]
    fn a_whole_answer_reads_back_as_it_was(transcript in transcript()) {
        let body = encode_response(&transcript, &head());
        let headers = [("content-type", "application/json")];
        let run = Replay::new(open::<Decoder>()).respond(200, &headers, &body).run();
        prop_assert_eq!(&run.error, &None);
        prop_assert_eq!(told(&Transcript::of(&run.events)), told(&transcript));
    }

    /// Parallel calls of other vendors come mingled; each must still arrive whole.
    #[test]
    fn mingled_calls_come_out_one_after_the_other(order in vec(0..3u32, 0..30)) {
        let mut encoder = Encoder::new(&head());
        let mut bytes = Vec::new();
        let mut expected = vec![String::new(); 3];
        for part in 0..3u32 {
            let (id, name) = (format!("c{part}"), "f".to_owned());
            let kind = ToolKind::Function;
            encoder.event(&ChatEvent::ToolCallStart { part, id, name, kind }, &mut bytes);
        }
        for (nth, part) in order.iter().enumerate() {
            let arguments = format!("{nth} ");
            expected[*part as usize].push_str(&arguments);
            encoder.event(&ChatEvent::ToolCallDelta { part: *part, arguments }, &mut bytes);
        }
        for part in [2, 0, 1] {
            encoder.event(&ChatEvent::ToolCallEnd { part }, &mut bytes);
        }
        let reason = FinishReason::ToolCalls;
        encoder.event(&ChatEvent::Finish { reason, detail: None }, &mut bytes);
        let run = Replay::new(open::<Decoder>()).respond(200, &[], &bytes).run();
        prop_assert_eq!(well_formed(&run), Ok(()));
        let message = run.transcript().message();
        let found: Vec<_> = message.tool_calls().map(|call| call.arguments.clone()).collect();
        for arguments in &mut expected {
            if arguments.is_empty() {
                arguments.push_str("{}");
            }
        }
        prop_assert_eq!(found, expected);
    }
}

/// What a transcript tells; a hidden thought may be a token with or without an empty text.
fn told(transcript: &Transcript) -> (Message, [Option<String>; 3], Usage, String) {
    let t = transcript.clone();
    let rest = format!("{:?} {:?} {:?} {:?}", t.finish, t.warnings, t.details, t.context);
    (t.message(), [t.id, t.model, t.finish_detail], t.usage, rest)
}

/// The properties above hold for nothing if nearly every sample has a loss.
#[test]
fn enough_generated_requests_lose_nothing() {
    let (lossless, with_reasoning) = census((request(), quirks()), |(request, quirks)| {
        let lossless = encode_request(request, quirks).unwrap().losses.is_empty();
        lossless.then(|| holds(request, |content| matches!(content, Content::Reasoning(_))))
    });
    assert!(lossless > 50 && with_reasoning > 5, "{lossless} of 1000, {with_reasoning} reason");
}

proptest! {
    #![proptest_config(cases(300))]

    /// Whatever stands in the fields that are read, the events follow their rules, and no cut of the
    /// bytes changes them.
    #[test]
    fn no_event_breaks_the_rules(
        events in vec(odd_event(), 1..9), cut in any::<prop::sample::Index>(), stops in any::<bool>(),
    ) {
        let mut body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        if stops {
            body.push_str("data: {\"type\":\"message_stop\"}\n\n");
        }
        let body = body.into_bytes();
        let run = |chunks: Vec<Vec<u8>>| Replay::new(open::<Decoder>()).respond_in(200, &[], chunks).run();
        let whole = run(vec![body.clone()]);
        let (head, tail) = body.split_at(cut.index(body.len()));
        prop_assert_eq!(&run(vec![head.to_vec(), tail.to_vec()]), &whole);
        prop_assert_eq!(well_formed(&whole), Ok(()), "{:?}", whole);
    }

    /// Arbitrary bytes are read or refused, by every reader.
    #[test]
    fn no_bytes_break_a_reader(bytes in vec(any::<u8>(), 0..200), json in odd_json()) {
        for bytes in [bytes, json.to_string().into_bytes()] {
            for headers in [&[][..], &[("content-type", "application/json")]] {
                let run = Replay::new(open::<Decoder>()).respond(200, headers, &bytes).run();
                prop_assert_eq!(well_formed(&run), Ok(()));
            }
            let _ = decode_request(&bytes);
            let _ = error::in_stream(&bytes);
            let mut response = Response::default();
            (response.status, response.body) = (429, bytes);
            let _ = error::failure(&response);
        }
    }
}

fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!("x")),
        Just(json!("1")),
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(-1.5)),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{"type": "text", "text": "t"}, 7])),
        Just(json!({"type": "char_location", "cited_text": "q"})),
    ]
}

/// An event whose fields hold what they should, or anything else.
fn odd_event() -> impl Strategy<Value = Value> {
    let kinds = prop_oneof![
        Just("text"),
        Just("thinking"),
        Just("redacted_thinking"),
        Just("tool_use"),
        Just("server_tool_use"),
        Just("compaction"),
        Just("")
    ];
    let block = (kinds, odd(), odd(), odd(), odd(), odd()).prop_map(|(kind, a, b, c, d, e)| {
        json!({"type": kind, "text": a, "thinking": b, "signature": c, "data": a, "id": c, "name": d,
            "input": e, "citations": e, "content": b})
    });
    let deltas = prop_oneof![
        Just("text_delta"),
        Just("thinking_delta"),
        Just("signature_delta"),
        Just("input_json_delta"),
        Just("citations_delta"),
        Just("compaction_delta"),
        Just("?"),
    ];
    let delta = (deltas, odd(), odd(), odd()).prop_map(|(kind, a, b, c)| {
        json!({"type": kind, "text": a, "thinking": a, "signature": b, "partial_json": b,
            "citation": c, "content": c})
    });
    let index = || prop_oneof![3 => (0..3u64).prop_map(Value::from), 1 => odd()];
    prop_oneof![
        2 => (odd(), odd(), odd()).prop_map(|(id, content, usage)| {
            json!({"type": "message_start",
                "message": {"id": id, "model": id, "content": content, "usage": usage}})
        }),
        8 => (index(), block).prop_map(|(index, block)| {
            json!({"type": "content_block_start", "index": index, "content_block": block})
        }),
        8 => (index(), delta).prop_map(|(index, delta)| {
            json!({"type": "content_block_delta", "index": index, "delta": delta})
        }),
        4 => index().prop_map(|index| json!({"type": "content_block_stop", "index": index})),
        2 => (odd(), odd(), odd()).prop_map(|(reason, facts, usage)| {
            json!({"type": "message_delta", "usage": {"input_tokens": usage, "output_tokens": usage},
                "delta": {"stop_reason": reason, "stop_sequence": facts, "stop_details": facts}})
        }),
        1 => odd_json(),
    ]
}

fn odd_json() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        Just("type"),
        Just("error"),
        Just("message"),
        Just("content"),
        Just("model"),
        Just("messages"),
        Just("thinking"),
        Just("tools"),
        Just("usage"),
        Just("source"),
        Just("role"),
    ];
    let words = prop_oneof![
        Just(json!("message")),
        Just(json!("error")),
        Just(json!("user")),
        Just(json!("text")),
        Just(json!("document")),
        Just(json!("enabled")),
    ];
    let leaf = prop_oneof![odd(), words];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((names.clone(), inner), 0..5).prop_map(|members| {
                Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

fn head() -> Head {
    Head::new("msg_1", "m")
}

fn through_sse(transcript: &Transcript) -> Run {
    let mut encoder = Encoder::new(&head());
    let mut bytes = Vec::new();
    let mut events = vec![
        ChatEvent::Started { id: None, model: None },
        ChatEvent::Usage(transcript.usage.clone()),
    ];
    events_of(&transcript.message(), |event| events.push(event));
    for ((part, name), value) in &transcript.details {
        let (part, name, value) = (*part, name.clone(), value.clone());
        events.push(ChatEvent::Detail { part, name, value });
    }
    let reason = transcript.finish.unwrap();
    events.push(ChatEvent::Finish { reason, detail: transcript.finish_detail.clone() });
    for event in &events {
        encoder.event(event, &mut bytes);
        encoder.ping(&mut bytes);
    }
    Replay::new(open::<Decoder>()).at(Timestamp(0), 1).respond(200, &[], &bytes).run()
}

/// What a reader may know: bytes instead of blobs, one message for what operators say first and one
/// for a turn's answers of tools, and what the format demands or says in one way only.
fn as_read(mut request: ChatRequest, quirks: &Quirks) -> ChatRequest {
    let mut messages: Vec<Message> = Vec::new();
    let (mut leading, mut after_tool) = (true, false);
    for mut message in std::mem::take(&mut request.messages) {
        message.parts.retain(says_something);
        message.parts.iter_mut().for_each(part_as_read);
        if message.role == Role::Developer {
            message.role = Role::System;
        }
        leading = leading && message.role == Role::System;
        let is_tool = message.role == Role::Tool;
        match messages.last_mut() {
            Some(last) if leading || (is_tool && after_tool) => last.parts.extend(message.parts),
            _ => messages.push(message),
        }
        after_tool = is_tool;
    }
    request.messages = messages;
    let budget = request.reasoning.as_ref().and_then(|reasoning| reasoning.budget_tokens);
    request.max_output_tokens = request.max_output_tokens.or(Some(8192 + budget.unwrap_or(0)));
    for tool in &mut request.tools {
        if let ToolDefinition::Function(tool) = tool {
            let empty = || json!({"type": "object", "properties": {}});
            tool.parameters.get_or_insert_with(empty);
        }
    }
    if request.parallel_tool_calls.is_some() {
        request.tool_choice.get_or_insert(ToolChoice::Auto);
    }
    match &mut request.response_format {
        Some(ResponseFormat::JsonSchema(schema)) => {
            (schema.name, schema.strict) = ("response".into(), None);
        }
        format => *format = None,
    }
    if let Some(reasoning) = &mut request.reasoning {
        let silent = reasoning.budget_tokens.is_none() && !reasoning.adaptive;
        let forced =
            matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool { .. }));
        match reasoning.effort.as_deref() {
            Some("none") => (reasoning.effort, reasoning.budget_tokens) = (None, Some(0)),
            Some(_) if silent && quirks.effort == Effort::Adaptive && !forced => {
                reasoning.adaptive = true;
            }
            _ => {}
        }
    }
    if request.reasoning == Some(ReasoningSettings::default()) {
        request.reasoning = None;
    }
    request.store = None;
    request
}

fn says_something(part: &ContentPart) -> bool {
    !matches!(&part.content, Content::Text(text) if text.text.is_empty() && text.citations.is_empty())
}

fn part_as_read(part: &mut ContentPart) {
    match &mut part.content {
        Content::Image(media) | Content::File(media) => {
            if let DataSource::Blob { id, .. } = media.source {
                let data = BLOBS[id as usize].1.to_vec();
                media.source = DataSource::Inline { data };
            }
        }
        Content::ToolResult(result) => {
            result.parts.retain(says_something);
            result.parts.iter_mut().for_each(part_as_read);
        }
        _ => {}
    }
}
