//! What one half writes the other reads back, wherever no loss was reported.

use dialects::openai_responses::{
    Decoder, Echo, Encoder, Head, Namespaces, Quirks, decode_request, encode_request,
    encode_response, error,
};
use plugin_api::{
    chat::*,
    event::{ChatEvent, FinishReason, Transcript, events_of},
    exchange::Timestamp,
    http::Headers,
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
};

proptest! {
    #![proptest_config(cases(1000))]

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
        prop_assert_eq!(decoded.request, as_read(request, &quirks));
        prop_assert_eq!(decoded.stream, quirks.stream);
        prop_assert_eq!(decoded.encrypted_reasoning, quirks.encrypted_reasoning);
    }

    #[test]
    fn requests_of_the_common_shape_lose_nothing(request in plain_request()) {
        let encoded = encode_request(&request, &Quirks::default()).unwrap();
        prop_assert_eq!(&encoded.losses, &[]);
        let bytes = body::render(&encoded.body, BLOBS);
        prop_assert_eq!(decode_request(&bytes).unwrap().request, as_read(request, &Quirks::default()));
    }

    #[test]
    fn a_stream_reads_back_as_it_was(transcript in transcript()) {
        let run = through_sse(&transcript);
        prop_assert_eq!(&run.error, &None);
        prop_assert_eq!(run.violations.len(), 0);
        prop_assert_eq!(facts(&Transcript::of(&run.events)), facts(&transcript));
    }

    #[test]
    fn a_whole_answer_reads_back_as_it_was(transcript in transcript()) {
        let body = encode_response(&transcript, &head(), Namespaces::default(), Echo::default());
        let headers = [("content-type", "application/json")];
        let run = Replay::new(open::<Decoder>()).respond(200, &headers, &body).run();
        prop_assert_eq!(facts(&Transcript::of(&run.events)), facts(&transcript));
    }

    /// A client returns the items of an answer, and another half of ours reads them: the message is
    /// the one that was said, tokens of other vendors and all.
    #[test]
    fn what_a_client_returns_is_what_was_said(transcript in transcript(), foreign in any::<[bool; 8]>()) {
        let mut said = transcript.message();
        for (part, foreign) in said.parts.iter_mut().zip(foreign) {
            if foreign && !matches!(part.content, Content::Opaque(_)) {
                let mut token = Continuity::new("signature", "of another");
                token.issuer = "other".into();
                part.continuity = vec![token];
            }
        }
        let mut events = Transcript::new();
        events_of(&said, |event| events.push(&event));
        events.finish = Some(FinishReason::Stop);
        let answer: Value =
            serde_json::from_slice(&encode_response(&events, &head(), Namespaces::default(), Echo::default())).unwrap();
        let request = json!({"model": "m", "input": answer["output"]});
        let returned = decode_request(request.to_string().as_bytes()).unwrap().request.messages;
        let expected = if said.parts.is_empty() { vec![] } else { vec![said] };
        prop_assert_eq!(without_json_space(returned), without_json_space(expected));
    }
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

    /// Whatever stands in the fields that are read, the events follow their grammar, and no cut of
    /// the bytes changes them.
    #[test]
    fn no_event_breaks_the_grammar(events in vec(odd_event(), 1..9), cut in any::<prop::sample::Index>()) {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let body = (body + "data: {\"type\":\"response.completed\"}\n\n").into_bytes();
        let run = |chunks: Vec<Vec<u8>>| Replay::new(open::<Decoder>()).respond_in(200, &[], chunks).run();
        let whole = run(vec![body.clone()]);
        let (head, tail) = body.split_at(cut.index(body.len()));
        prop_assert_eq!(&run(vec![head.to_vec(), tail.to_vec()]), &whole);
        prop_assert_eq!(&whole.violations, &[]);
        prop_assert!(whole.done || whole.error.is_some());
    }

    #[test]
    fn no_bytes_break_a_reader(bytes in vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z0-9 \n]{0,80}") {
        for body in [&bytes[..], text.as_bytes()] {
            let run = Replay::new(open::<Decoder>()).respond(200, &[], body).run();
            prop_assert!(run.violations.is_empty());
            let _ = decode_request(body);
            let _ = error::in_stream(body);
            let mut response = Response::default();
            (response.status, response.headers) = (429, Headers::default());
            (response.body, response.now) = (body.to_vec(), Timestamp(0));
            prop_assert_eq!(error::failure(&response).status, Some(429));
        }
    }
}

/// An event whose fields hold what they should, or anything else.
fn odd_event() -> impl Strategy<Value = Value> {
    let odd = || {
        prop_oneof![
            3 => Just(json!("x")),
            3 => (0..3).prop_map(|at| json!(at)),
            1 => Just(Value::Null),
            1 => Just(json!("")),
            1 => Just(json!([])),
            1 => Just(json!({})),
            1 => Just(json!([{"type": "output_text", "text": "long text", "annotations": [{}]}, {"type": "refusal", "refusal": "no"}])),
            1 => Just(json!([{"type": "summary_text", "text": "s"}, 7])),
        ]
    };
    let item = (
        prop_oneof![
            Just("message"),
            Just("reasoning"),
            Just("function_call"),
            Just("custom_tool_call"),
            Just("web_search_call"),
            Just(""),
        ],
        odd(),
        odd(),
        odd(),
        odd(),
    )
        .prop_map(|(kind, id, name, content, arguments)| {
            json!({"type": kind, "id": id, "call_id": id, "name": name, "content": content,
                "summary": content, "arguments": arguments, "input": arguments, "phase": name,
                "namespace": name, "encrypted_content": id})
        });
    let kind = prop_oneof![
        Just("response.created"),
        Just("response.output_item.added"),
        Just("response.output_item.done"),
        Just("response.output_text.delta"),
        Just("response.refusal.delta"),
        Just("response.reasoning_summary_text.delta"),
        Just("response.reasoning_text.delta"),
        Just("response.function_call_arguments.delta"),
        Just("response.custom_tool_call_input.delta"),
        Just("response.output_text.annotation.added"),
        Just("novel"),
    ];
    (kind, item, odd(), odd(), odd(), odd()).prop_map(|(kind, item, index, nth, delta, logprobs)| {
        json!({"type": kind, "item": item, "output_index": index, "item_id": nth,
            "content_index": nth, "summary_index": nth, "delta": delta, "logprobs": logprobs,
            "annotation": {"type": "url_citation", "url": "u"}, "response": {"id": nth, "output": delta}})
    })
}

fn head() -> Head {
    Head::new("resp_1", "m", 1_790_000_000)
}

fn through_sse(transcript: &Transcript) -> Run {
    let mut encoder = Encoder::new(&head());
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    events.push(ChatEvent::Started { id: None, model: None });
    events_of(&transcript.message(), |event| events.push(event));
    events.push(ChatEvent::Usage(transcript.usage.clone()));
    if let Some(id) = &transcript.context {
        let kind = if id.as_str().starts_with("conv_") { "conversation" } else { "response" };
        events.push(ChatEvent::Context { id: id.clone(), kind: kind.into() });
    }
    let reason = transcript.finish.unwrap();
    events.push(ChatEvent::Finish { reason, detail: transcript.finish_detail.clone() });
    for event in &events {
        encoder.event(event, &mut bytes);
    }
    Replay::new(open::<Decoder>()).respond(200, &[], &bytes).run()
}

/// A client that reads JSON and writes it again changes its white space.
fn without_json_space(mut messages: Vec<Message>) -> Vec<Message> {
    let compact = |json: &mut String| {
        if let Ok(value) = serde_json::from_str::<Value>(json) {
            *json = value.to_string();
        }
    };
    for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
        part.continuity.iter_mut().for_each(|token| compact(&mut token.token));
        if let Content::Opaque(block) = &mut part.content {
            compact(&mut block.json);
        }
    }
    messages
}

/// What a reader may know: bytes instead of blobs, one role where the server has one, a message for
/// each result of a tool, and one for all that the model said without a break.
fn as_read(mut request: ChatRequest, quirks: &Quirks) -> ChatRequest {
    let plain = |message: &Message| matches!(&message.parts[..], [part] if matches!(part.content, Content::Text(_)));
    let first = request.messages.first().is_some_and(plain);
    let split = |message: Message| {
        let is_result = |part: &ContentPart| matches!(part.content, Content::ToolResult(_));
        let (results, rest): (Vec<_>, Vec<_>) = message.parts.into_iter().partition(is_result);
        let alone = !results.is_empty() && rest.is_empty();
        let silent = message.role == Role::Assistant && rest.is_empty();
        let mut messages: Vec<_> =
            results.into_iter().map(|result| Message::new(Role::Tool, vec![result])).collect();
        if !alone && !silent {
            messages.push(Message::new(message.role, rest));
        }
        messages
    };
    let mut joined: Vec<Message> = Vec::new();
    for message in request.messages.into_iter().flat_map(split) {
        match joined.last_mut().filter(|last| last.role == Role::Assistant) {
            Some(last) if message.role == Role::Assistant => last.parts.extend(message.parts),
            _ => joined.push(message),
        }
    }
    request.messages = joined;
    for (at, message) in request.messages.iter_mut().enumerate() {
        // What became instructions stays the system's.
        if message.role == Role::System && !quirks.supports_system_items && !(at == 0 && first) {
            message.role = Role::Developer;
        }
        message.parts.iter_mut().for_each(inlined);
    }
    if quirks.lax_tools {
        for tool in &mut request.tools {
            if let ToolDefinition::Function(tool) = tool {
                tool.strict.get_or_insert(false);
            }
        }
    }
    if quirks.namespace.is_some() {
        // Those in the group come first.
        request.tools.sort_by_key(|tool| matches!(tool, ToolDefinition::Provider(_)));
    }
    if request.reasoning == Some(ReasoningSettings::default()) {
        request.reasoning = None;
    }
    request
}

/// All of a transcript; a part with a token alone is as good as empty reasoning with it.
fn facts(transcript: &Transcript) -> (Message, Value) {
    let rest = json!([
        transcript.id,
        transcript.model,
        transcript.usage,
        transcript.finish,
        transcript.finish_detail,
        transcript.warnings,
        transcript.context
    ]);
    (transcript.message(), rest)
}

fn inlined(part: &mut ContentPart) {
    match &mut part.content {
        Content::Image(media) | Content::Audio(media) | Content::File(media) => {
            if let DataSource::Blob { id, .. } = media.source {
                let data = BLOBS[id as usize].1.to_vec();
                media.source = DataSource::Inline { data };
            }
        }
        Content::ToolResult(result) => result.parts.iter_mut().for_each(inlined),
        _ => {}
    }
}
