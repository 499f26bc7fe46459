//! What one half writes the other reads back, wherever no loss was reported.

use dialects::openai_chat::{
    Decoder, Encoder, Head, Quirks, SystemRole, decode_request, encode_request, encode_response,
};
use plugin_api::{
    chat::*,
    event::{ChatEvent, Transcript, Usage, events_of},
    kit::{
        body,
        replay::{Replay, Run},
    },
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::samples::{plain_request, quirks, request, transcript};
use crate::common::{
    numbered, open,
    samples::{BLOBS, cases, census, holds},
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
        prop_assert_eq!(decoded.request, as_read(request, &quirks));
        prop_assert_eq!(decoded.stream, quirks.stream);
        prop_assert_eq!(decoded.include_usage, quirks.stream && quirks.supports_stream_options);
    }

    #[test]
    fn requests_of_the_common_shape_lose_nothing(request in plain_request()) {
        let encoded = encode_request(&request, &Quirks::default()).unwrap();
        prop_assert_eq!(&encoded.losses, &[]);
        let bytes = body::render(&encoded.body, BLOBS);
        prop_assert_eq!(decode_request(&bytes).unwrap().request, as_read(request, &Quirks::default()));
    }

    #[test]
    fn a_stream_reads_back_as_it_was(transcript in transcript(), usage in any::<bool>()) {
        let mut transcript = transcript;
        let run = through_sse(&transcript, usage);
        if !usage {
            transcript.usage = Usage::default();
        }
        prop_assert_eq!(run.error, None);
        prop_assert_eq!(Transcript::of(&run.events), transcript);
    }

    #[test]
    fn a_whole_answer_reads_back_as_it_was(transcript in transcript()) {
        // A whole answer has one field for each channel, so only the sums can be compared.
        let body = encode_response(&transcript, &head(), false);
        let headers = [("content-type", "application/json")];
        let run = Replay::new(open::<Decoder>()).respond(200, &headers, &body).run();
        let found = Transcript::of(&run.events);
        prop_assert_eq!(found.text(), transcript.text());
        let (read, said) = (found.message(), transcript.message());
        let calls = |message: &Message| message.tool_calls().cloned().collect::<Vec<_>>();
        prop_assert_eq!(calls(&read), calls(&said));
        prop_assert_eq!(found.finish, transcript.finish);
        prop_assert_eq!(found.usage, transcript.usage);
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
    fn no_chunk_breaks_the_grammar(chunks in vec(odd_chunk(), 1..6), cut in any::<prop::sample::Index>()) {
        let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        let body = (body + "data: [DONE]\n\n").into_bytes();
        let run = |chunks: Vec<Vec<u8>>| Replay::new(open::<Decoder>()).respond_in(200, &[], chunks).run();
        let whole = run(vec![body.clone()]);
        let (head, tail) = body.split_at(cut.index(body.len()));
        prop_assert_eq!(&run(vec![head.to_vec(), tail.to_vec()]), &whole);
        prop_assert_eq!(numbered(&whole), Ok(()), "{:?}", whole);
    }
}

/// A chunk whose fields hold what they should, or anything else.
fn odd_chunk() -> impl Strategy<Value = Value> {
    let odd = || {
        prop_oneof![
            Just(Value::Null),
            Just(json!("")),
            Just(json!("x")),
            Just(json!(0)),
            Just(json!([])),
            Just(json!({})),
            Just(json!([{"type": "text", "text": "t"}, {"type": "thinking", "thinking": "u"}])),
            Just(json!([{"type": "reasoning.text", "text": "r", "index": 0}])),
        ]
    };
    let call = (odd(), odd(), odd(), odd(), any::<bool>()).prop_map(|(index, id, name, arguments, custom)| {
        if custom {
            json!({"index": index, "id": id, "custom": {"name": name, "input": arguments}})
        } else {
            json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}})
        }
    });
    let calls = prop_oneof![vec(call, 0..3).prop_map(Value::from), Just(Value::Null)];
    let delta = (odd(), odd(), odd(), odd(), calls, odd()).prop_map(
        |(content, refusal, reasoning, details, calls, annotations)| {
            json!({"content": content, "refusal": refusal, "reasoning": reasoning,
                "reasoning_details": details, "tool_calls": calls, "annotations": annotations})
        },
    );
    (delta, odd(), odd(), odd()).prop_map(|(delta, finish, id, citations)| {
        json!({"id": id, "citations": citations,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    })
}

fn head() -> Head {
    Head::new("chatcmpl-1", "m", 1_790_000_000)
}

fn through_sse(transcript: &Transcript, include_usage: bool) -> Run {
    let mut encoder = Encoder::new(&head(), include_usage);
    let mut bytes = Vec::new();
    let mut events = Vec::new();
    events.push(ChatEvent::Started { id: None, model: None });
    events_of(&transcript.message(), |event| events.push(event));
    events.push(ChatEvent::Usage(transcript.usage.clone()));
    let reason = transcript.finish.unwrap();
    events.push(ChatEvent::Finish { reason, detail: transcript.finish_detail.clone() });
    for event in &events {
        encoder.event(event, &mut bytes);
    }
    Replay::new(open::<Decoder>()).respond(200, &[], &bytes).run()
}

/// What a reader may know: bytes instead of blobs, one role where the server has one, and a message
/// for each result of a tool.
fn as_read(mut request: ChatRequest, quirks: &Quirks) -> ChatRequest {
    let split = |message: Message| {
        let is_result = |part: &ContentPart| matches!(part.content, Content::ToolResult(_));
        let (results, rest): (Vec<_>, Vec<_>) = message.parts.into_iter().partition(is_result);
        let alone = !results.is_empty() && rest.is_empty();
        let mut messages: Vec<_> =
            results.into_iter().map(|result| Message::new(Role::Tool, vec![result])).collect();
        if !alone {
            let mut said = Message::new(message.role, rest);
            said.name = message.name;
            messages.push(said);
        }
        messages
    };
    request.messages = request.messages.into_iter().flat_map(split).collect();
    for message in &mut request.messages {
        if message.role == Role::Developer && quirks.system_role == SystemRole::System {
            message.role = Role::System;
        }
        for part in &mut message.parts {
            if let Content::Image(media) | Content::Audio(media) | Content::File(media) =
                &mut part.content
                && let DataSource::Blob { id, .. } = media.source
            {
                let data = BLOBS[id as usize].1.to_vec();
                media.source = DataSource::Inline { data };
            }
        }
    }
    if request.reasoning == Some(ReasoningSettings::default()) {
        request.reasoning = None;
    }
    request
}
