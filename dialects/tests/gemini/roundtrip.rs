//! What one half writes the other reads back, wherever no loss was reported.

use dialects::gemini::{
    Decoder, Encoder, Head, Layout, Settings, decode_request, encode_request, encode_response,
};
use plugin_api::{
    chat::*,
    event::{ChatEvent, Transcript, events_of},
    kit::{
        body,
        replay::{Replay, Run},
    },
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use super::samples::{request, transcript};
use super::{JSON, SSE};
use crate::common::{
    open,
    samples::{BLOBS, cases, census, holds},
};

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn a_request_without_losses_reads_back_as_it_was(request in request()) {
        let encoded = encode_request(&request, &Settings::default()).unwrap();
        let bytes = body::render(&encoded.body, BLOBS);
        let decoded = decode_request("m", &bytes);
        if !encoded.losses.is_empty() {
            // Even then what is sent is a well-formed request, unless it had to be refused.
            prop_assert!(decoded.is_ok() || encoded.or_refuse().is_err(), "{decoded:?}");
            return Ok(());
        }
        let decoded = decoded.unwrap();
        prop_assert_eq!(&decoded.losses, &[]);
        prop_assert_eq!(decoded.request, as_read(request));
    }

    #[test]
    fn a_stream_reads_back_as_it_was(transcript in transcript(), array in any::<bool>()) {
        let run = through_stream(&transcript, if array { Layout::Array } else { Layout::Sse });
        prop_assert_eq!(&run.error, &None);
        let read = Transcript::of(&run.events);
        prop_assert_eq!(joined(&read), joined(&transcript));
        prop_assert_eq!((&read.id, &read.model, &read.usage), (&transcript.id, &transcript.model, &transcript.usage));
        prop_assert_eq!((read.finish, &read.finish_detail), (transcript.finish, &transcript.finish_detail));
        prop_assert_eq!((&read.details, &read.warnings), (&transcript.details, &transcript.warnings));
    }

    #[test]
    fn a_whole_answer_reads_back_as_it_was(transcript in transcript()) {
        let body = encode_response(&transcript, &head());
        let run = Replay::new(open::<Decoder>()).respond(200, &JSON, &body).run();
        prop_assert_eq!(&run.error, &None);
        prop_assert_eq!(Transcript::of(&run.events), transcript);
    }
}

/// The properties above hold for nothing if nearly every sample has a loss.
#[test]
fn enough_generated_requests_lose_nothing() {
    let (lossless, with_calls) = census(request(), |request| {
        let lossless = encode_request(request, &Settings::default()).unwrap().losses.is_empty();
        lossless.then(|| holds(request, |content| matches!(content, Content::ToolCall(_))))
    });
    assert!(lossless > 300 && with_calls > 50, "{lossless} of 1000, {with_calls} with calls");
}

proptest! {
    #![proptest_config(cases(300))]

    /// Whatever stands in the fields that are read, the events keep the rules, and no cut of the bytes
    /// changes them.
    #[test]
    fn no_chunk_breaks_the_rules(
        chunks in vec(odd_chunk(), 1..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let (body, headers) = if whole {
            (Value::from(chunks).to_string(), JSON)
        } else {
            (chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect(), SSE)
        };
        let run = |chunks| Replay::new(open::<Decoder>()).respond_in(200, &headers, chunks).run();
        let whole = run(vec![body.clone().into_bytes()]);
        let (head, tail) = body.as_bytes().split_at(cut.index(body.len()));
        prop_assert_eq!(&run(vec![head.to_vec(), tail.to_vec()]), &whole);
        prop_assert_eq!(whole.violations, vec![]);
        prop_assert_ne!(whole.done, whole.error.is_some());
    }

    #[test]
    fn no_bytes_of_a_request_or_a_failure_do_harm(bytes in vec(any::<u8>(), 0..60), text in "[\\[\\]{}:,\"a-z0-9]{0,60}") {
        for body in [&bytes[..], text.as_bytes()] {
            drop(decode_request("m", body));
            drop(Replay::new(open::<Decoder>()).respond(400, &JSON, body).run());
            drop(Replay::new(open::<Decoder>()).respond(200, &SSE, body).run());
        }
    }
}

/// A chunk whose fields hold what they should, or anything else.
fn odd_chunk() -> impl Strategy<Value = Value> {
    let odd = || {
        prop_oneof![
            Just(Value::Null),
            Just(json!("")),
            Just(json!("x")),
            Just(json!("STOP")),
            Just(json!(0)),
            Just(json!(true)),
            Just(json!([])),
            Just(json!({})),
        ]
    };
    let args = (odd(), odd()).prop_map(
        |(value, more)| json!([{"jsonPath": "$.a", "stringValue": value, "willContinue": more}]),
    );
    let call = (odd(), odd(), odd(), option::of(args), any::<bool>()).prop_map(
        |(id, name, args, partial, more)| {
            json!({"functionCall": {"id": id, "name": name, "args": args, "partialArgs": partial,
                "willContinue": more}})
        },
    );
    let part = prop_oneof![
        (odd(), odd(), odd()).prop_map(|(text, thought, signature)| {
            json!({"text": text, "thought": thought, "thoughtSignature": signature})
        }),
        (odd(), odd())
            .prop_map(|(kind, data)| json!({"inlineData": {"mimeType": kind, "data": data}})),
        call,
        odd(),
    ];
    let parts = prop_oneof![vec(part, 0..3).prop_map(Value::from), Just(Value::Null)];
    (parts, odd(), odd(), odd(), odd()).prop_map(|(parts, finish, id, beside, block)| {
        json!({"responseId": id, "promptFeedback": {"blockReason": block},
            "candidates": [{"content": {"parts": parts}, "finishReason": finish,
                "citationMetadata": beside, "groundingMetadata": beside}]})
    })
}

/// The parts, each with the signature that came behind it on a piece without text: text does not wait
/// for it.
fn joined(transcript: &Transcript) -> Vec<ContentPart> {
    let mut all: Vec<ContentPart> = Vec::new();
    for part in transcript.message().parts {
        let same = match (&part.content, all.last().map(|last| &last.content)) {
            (Content::Text(text), Some(Content::Text(_))) => text.text.is_empty(),
            (Content::Reasoning(text), Some(Content::Reasoning(_))) => text.text.is_empty(),
            _ => false,
        };
        match all.last_mut() {
            Some(last) if same && last.continuity.is_empty() => last.continuity = part.continuity,
            _ => all.push(part),
        }
    }
    all
}

fn head() -> Head {
    Head::new("r-1", "m")
}

fn through_stream(transcript: &Transcript, layout: Layout) -> Run {
    let mut encoder = Encoder::new(&head(), layout);
    let mut events = vec![ChatEvent::Started { id: None, model: None }];
    events_of(&transcript.message(), |event| events.push(event));
    for ((part, name), value) in &transcript.details {
        events.push(ChatEvent::Detail { part: *part, name: name.clone(), value: value.clone() });
    }
    events.push(ChatEvent::Usage(transcript.usage.clone()));
    let (reason, detail) = (transcript.finish.unwrap(), transcript.finish_detail.clone());
    events.push(ChatEvent::Finish { reason, detail });
    let mut bytes = Vec::new();
    for event in &events {
        encoder.event(event, &mut bytes);
    }
    let headers = if layout == Layout::Sse { SSE } else { JSON };
    Replay::new(open::<Decoder>()).respond(200, &headers, &bytes).run()
}

/// What a reader may know: bytes instead of blobs, one turn before the conversation, results of tools
/// together and with their names, and every shown thought a summary.
fn as_read(mut request: ChatRequest) -> ChatRequest {
    let named = request.clone();
    let mut messages: Vec<Message> = Vec::new();
    let mut system = Message::new(Role::System, vec![]);
    for mut message in std::mem::take(&mut request.messages) {
        message.parts.retain(says);
        for part in &mut message.parts {
            read_part(part, &named);
        }
        if matches!(message.role, Role::System | Role::Developer) {
            system.parts.append(&mut message.parts);
            continue;
        }
        let is_result = |part: &ContentPart| matches!(part.content, Content::ToolResult(_));
        let (results, rest): (Vec<_>, Vec<_>) = message.parts.into_iter().partition(is_result);
        if !results.is_empty() {
            match messages.last_mut().filter(|last| last.role == Role::Tool) {
                Some(last) => last.parts.extend(results),
                None => messages.push(Message::new(Role::Tool, results)),
            }
        }
        if !rest.is_empty() {
            messages.push(Message::new(message.role, rest));
        }
    }
    if !system.parts.is_empty() {
        messages.insert(0, system);
    }
    request.messages = messages;
    let is_function = |tool: &ToolDefinition| matches!(tool, ToolDefinition::Function(_));
    request.tools.sort_by_key(|tool| !is_function(tool));
    let strict = |tool: &ToolDefinition| match tool {
        ToolDefinition::Function(tool) => tool.strict == Some(true),
        _ => false,
    };
    if request.tool_choice.is_none() && request.tools.iter().any(strict) {
        request.tool_choice = Some(ToolChoice::Auto);
    }
    if let Some(ToolChoice::Allowed { names, required: true }) = &request.tool_choice
        && let [name] = &names[..]
    {
        let (name, kind) = (name.clone(), ToolKind::Function);
        request.tool_choice = Some(ToolChoice::Tool { name, kind });
    }
    if let Some(ResponseFormat::JsonSchema(schema)) = &mut request.response_format {
        (schema.name, schema.strict) = ("response".into(), None);
    }
    if let Some(reasoning) = &mut request.reasoning
        && reasoning.effort.as_deref() == Some("none")
    {
        (reasoning.effort, reasoning.budget_tokens) = (None, Some(0));
    }
    request.reasoning = request.reasoning.filter(|r| *r != ReasoningSettings::default());
    request
}

fn says(part: &ContentPart) -> bool {
    match &part.content {
        Content::Text(Text { text, .. }) | Content::Reasoning(Reasoning { text, .. }) => {
            !text.is_empty() || !part.continuity.is_empty()
        }
        _ => true,
    }
}

fn read_part(part: &mut ContentPart, request: &ChatRequest) {
    match &mut part.content {
        Content::Reasoning(reasoning) => reasoning.summary = true,
        Content::ToolCall(call) if call.arguments.is_empty() => call.arguments = "{}".into(),
        Content::ToolResult(result) => {
            let known = request.tool_name(&result.call_id).map(str::to_owned);
            result.name = result.name.take().or(known);
            for part in &mut result.parts {
                read_part(part, request);
            }
        }
        Content::Image(media) | Content::Audio(media) | Content::File(media) => {
            if let DataSource::Blob { id, .. } = media.source {
                media.source = DataSource::Inline { data: BLOBS[id as usize].1.to_vec() };
            }
        }
        _ => {}
    }
}
