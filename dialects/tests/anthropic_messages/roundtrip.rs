//! What one half writes the other reads back, wherever no loss was reported.

use std::collections::BTreeMap;

use dialects::anthropic_messages::{
    DIALECT, Decoder, Effort, Encoder, Head, Quirks, Version, decode_request, encode_count_request,
    encode_request, encode_response, error, token,
};
use plugin_api::{
    chat::*,
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
    exchange::{Exchange, Timestamp},
    http::HttpRequest,
    kit::{
        SseStream, body,
        call::Response,
        replay::{Replay, Run},
    },
};
use proptest::{collection::vec, option, prelude::*, test_runner::FileFailurePersistence};
use serde_json::{Value, json};

use super::{open, well_formed};

const BLOBS: &[(u32, &[u8])] = &[(0, b"\x00\x01\x02"), (1, b"hello"), (2, b"")];

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
        let counted = encode_count_request(&request, &quirks).unwrap();
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
        let run = Replay::new(open()).respond(200, &headers, &body).run();
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
        let run = Replay::new(open()).respond(200, &[], &bytes).run();
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
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut lossless, mut with_reasoning) = (0, 0);
    for _ in 0..1000 {
        let (request, quirks) = (request(), quirks()).new_tree(&mut runner).unwrap().current();
        if encode_request(&request, &quirks).unwrap().losses.is_empty() {
            lossless += 1;
            let reasons = |part: &ContentPart| matches!(part.content, Content::Reasoning(_));
            with_reasoning +=
                u32::from(request.messages.iter().any(|message| message.parts.iter().any(reasons)));
        }
    }
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
        let run = |chunks: Vec<Vec<u8>>| Replay::new(open()).respond_in(200, &[], chunks).run();
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
                let run = Replay::new(open()).respond(200, headers, &bytes).run();
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

/// A failing case prints its seed and leaves it beside this file, to be run first from then on.
fn cases(cases: u32) -> ProptestConfig {
    let beside = FileFailurePersistence::WithSource("regressions");
    let failure_persistence = Some(Box::new(beside) as _);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
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
    let exchange: Box<dyn Exchange + Send> =
        Box::new(SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new()));
    Replay::new(exchange).at(Timestamp(0), 1).respond(200, &[], &bytes).run()
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

// Generators

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{1,12}", "\\PC{1,6}", Just("a\n\"\\\u{0}é\u{2028}".to_owned())]
}

fn name() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_]{0,8}"
}

fn part(content: Content) -> ContentPart {
    content.into()
}

fn bytes() -> impl Strategy<Value = DataSource> {
    prop_oneof![
        vec(any::<u8>(), 0..7).prop_map(|data| DataSource::Inline { data }),
        (0..3u32).prop_map(|id| DataSource::Blob { id, len: BLOBS[id as usize].1.len() as u64 }),
    ]
}

fn plain_text() -> impl Strategy<Value = ContentPart> {
    text().prop_map(ContentPart::text)
}

/// Citations in each of the vendor's forms, typed as they are read.
fn citation() -> impl Strategy<Value = Citation> {
    let places = prop_oneof![Just("char_index"), Just("page_number"), Just("block_index")];
    (places, text(), 0..9u64, option::of(text()), any::<bool>()).prop_map(
        |(place, quote, start, title, web)| {
            let mut citation = Citation::default();
            let mut native = json!({"cited_text": quote, "document_title": title});
            if web {
                native["type"] = "web_search_result_location".into();
                native["url"] = "https://a.test/".into();
                citation.url = Some("https://a.test/".into());
            } else {
                native["type"] = "page_location".into();
                native[format!("start_{place}")] = start.into();
                native[format!("end_{place}")] = (start + 1).into();
                (citation.source_start, citation.source_end) = (Some(start), Some(start + 1));
            }
            (citation.quote, citation.title) = (Some(quote), title);
            citation.native = Some(native);
            citation
        },
    )
}

fn cited_text() -> impl Strategy<Value = ContentPart> {
    (text(), vec(citation(), 0..3)).prop_map(|(text, citations)| {
        let mut text = Text::new(text);
        text.citations = citations;
        part(Content::Text(text))
    })
}

/// Media that the format carries in full.
fn media() -> impl Strategy<Value = ContentPart> {
    let url = || name().prop_map(|name| DataSource::Url { url: format!("https://a.test/{name}") });
    let file = || name().prop_map(DataSource::file);
    let textual = prop_oneof![
        text().prop_map(|text| DataSource::Inline { data: text.into_bytes() }),
        Just(DataSource::Blob { id: 1, len: 5 }),
    ];
    let document = prop_oneof![
        bytes().prop_map(|source| Media::new(source).media_type("application/pdf")),
        textual.prop_map(|source| Media::new(source).media_type("text/plain")),
        url().prop_map(Media::new),
        file().prop_map(Media::new),
    ];
    let options = option::of(Just(json!({"enabled": true})));
    prop_oneof![
        bytes()
            .prop_map(|source| part(Content::Image(Media::new(source).media_type("image/webp")))),
        url().prop_map(|source| part(Content::Image(Media::new(source)))),
        file().prop_map(|source| part(Content::Image(Media::new(source)))),
        (document, option::of(text()), options).prop_map(|(mut media, name, citations)| {
            media.name = name;
            let mut part = part(Content::File(media));
            part.options.extend(citations.map(|value| ("citations".to_owned(), value)));
            part
        }),
    ]
}

/// Media that it does not carry, or not in full.
fn odd_media() -> impl Strategy<Value = ContentPart> {
    let source = prop_oneof![
        bytes(),
        name().prop_map(DataSource::file),
        name().prop_map(|url| DataSource::Url { url }),
    ];
    let kind = option::of(prop_oneof![
        Just("image/png"),
        Just("audio/wav"),
        Just("text/csv"),
        Just("x/y")
    ]);
    (source, kind, option::of(name()), option::of(name()), 0..3).prop_map(
        |(source, kind, name, detail, which)| {
            let mut media = Media::new(source);
            media.media_type = kind.map(str::to_owned);
            (media.name, media.detail) = (name, detail);
            part(match which {
                0 => Content::Image(media),
                1 => Content::Audio(media),
                _ => Content::File(media),
            })
        },
    )
}

fn opaque() -> impl Strategy<Value = ContentPart> {
    let json = r#"{"type":"search_result","source":"u", "title":"t","content":[],"z":1.0}"#;
    Just(part(Content::Opaque(Opaque::new(DIALECT, json))))
}

fn decorated(parts: impl Strategy<Value = ContentPart>) -> impl Strategy<Value = ContentPart> {
    let ttl =
        prop_oneof![4 => option::of(prop_oneof![Just(300), Just(3600)]), 1 => option::of(1..9u64)];
    (parts, option::weighted(0.1, ttl)).prop_map(|(mut part, cache)| {
        part.cache = cache.map(|ttl_seconds| {
            let mut cache = CacheControl::default();
            cache.ttl_seconds = ttl_seconds;
            cache
        });
        part
    })
}

fn asked(parts: impl Strategy<Value = ContentPart>) -> impl Strategy<Value = Message> {
    vec(parts, 1..4).prop_map(|parts| Message::new(Role::User, parts))
}

fn instructed() -> impl Strategy<Value = Message> {
    let role = prop_oneof![Just(Role::System), Just(Role::Developer)];
    (role, vec(decorated(plain_text()), 1..3)).prop_map(|(role, parts)| Message::new(role, parts))
}

fn tool_call() -> impl Strategy<Value = ContentPart> {
    let arguments = prop_oneof![
        text().prop_map(|text| json!({"a": text, "n": 1.0}).to_string()),
        Just("{}".to_owned()),
        Just(r#"{ "z":1e2, "a":[ ] }"#.to_owned()),
    ];
    ("[A-Za-z0-9_]{1,9}", name(), arguments).prop_map(|(id, name, arguments)| {
        part(Content::ToolCall(ToolCall::new(id, name, arguments)))
    })
}

fn reasoning() -> impl Strategy<Value = ContentPart> {
    prop_oneof![
        3 => (prop_oneof![text(), Just(String::new())], text()).prop_map(|(text, signature)| {
            let mut part = part(Content::Reasoning(Reasoning::new(text)));
            part.continuity.push(Continuity::new(token::SIGNATURE, signature));
            part
        }),
        1 => text().prop_map(|data| {
            let mut part = part(Content::Reasoning(Reasoning::default()));
            part.continuity.push(Continuity::new(token::REDACTED_THINKING, data));
            part
        }),
    ]
}

/// What the model said, and the answers to its calls.
fn answered() -> impl Strategy<Value = Vec<Message>> {
    let answer = || prop_oneof![3 => plain_text(), 1 => media(), 1 => opaque()];
    let result = (vec(decorated(answer()), 0..3), any::<bool>());
    let said = prop_oneof![4 => cited_text(), 3 => reasoning(), 1 => opaque()];
    (vec(said, 1..4), vec((tool_call(), result), 0..3), any::<bool>(), plain_text()).prop_map(
        |(parts, calls, together, comment)| {
            let mut said = Message::new(Role::Assistant, parts);
            let mut results = Vec::new();
            for (call, (parts, is_error)) in calls {
                if let Content::ToolCall(call) = &call.content {
                    let mut result = ToolResult::new(call.id.clone(), parts);
                    result.is_error = is_error;
                    results.push(part(Content::ToolResult(result)));
                }
                said.parts.push(call);
            }
            let mut messages = vec![said];
            if results.is_empty() {
                return messages;
            }
            if together {
                results.push(comment);
                messages.push(Message::new(Role::User, results));
            } else {
                messages
                    .extend(results.into_iter().map(|part| Message::new(Role::Tool, vec![part])));
            }
            messages
        },
    )
}

/// Anything, in any order: most of it cannot be said.
fn wild() -> impl Strategy<Value = Message> {
    let role =
        prop_oneof![Just(Role::User), Just(Role::Assistant), Just(Role::Tool), Just(Role::System)];
    let result = (vec(prop_oneof![plain_text(), odd_media()], 0..3), any::<bool>()).prop_map(
        |(parts, is_error)| {
            let mut result = ToolResult::new("id", parts);
            (result.is_error, result.name) = (is_error, Some("f".into()));
            part(Content::ToolResult(result))
        },
    );
    let any_part = prop_oneof![
        plain_text(),
        cited_text(),
        Just(ContentPart::text("")),
        odd_media(),
        reasoning(),
        tool_call(),
        result,
        text().prop_map(|text| part(Content::Reasoning(Reasoning::new(text)))),
        text().prop_map(|text| part(Content::Refusal(Text::new(text)))),
        text().prop_map(|text| part(Content::ToolCall(ToolCall::new("c", "f", text)))),
        Just(part(Content::Opaque(Opaque::new("x", "{}")))),
        Just(part(Content::Unknown)),
    ];
    (role, vec(decorated(any_part), 0..4)).prop_map(|(role, parts)| Message::new(role, parts))
}

fn tool() -> impl Strategy<Value = ToolDefinition> {
    let schema =
        option::of(Just(json!({"type": "object", "properties": {"a": {"type": "string"}}})));
    let options = option::of(Just(json!([{"a": "x"}])));
    let function = (name(), option::of(text()), schema, option::of(any::<bool>()), options);
    prop_oneof![
        4 => function.prop_map(|(name, description, schema, strict, examples)| {
            let mut tool = FunctionTool::new(name, schema);
            (tool.description, tool.strict) = (description, strict);
            tool.options.extend(examples.map(|value| ("input_examples".to_owned(), value)));
            ToolDefinition::Function(tool)
        }),
        1 => Just(ToolDefinition::Provider(Opaque::new(
            DIALECT,
            r#"{"type":"web_search_20250305","name":"web_search"}"#,
        ))),
    ]
}

fn choice() -> impl Strategy<Value = ToolChoice> {
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        name().prop_map(|name| ToolChoice::Tool { name, kind: ToolKind::Function }),
    ]
}

fn reasoning_settings() -> impl Strategy<Value = ReasoningSettings> {
    let effort = || prop_oneof![Just("low"), Just("high"), Just("max")].prop_map(str::to_owned);
    let summary = || option::of(prop_oneof![Just("none"), Just("auto")].prop_map(str::to_owned));
    prop_oneof![
        effort().prop_map(|effort| (Some(effort), None, false, None)),
        (1024..3000u64, summary()).prop_map(|(budget, summary)| (
            None,
            Some(budget),
            false,
            summary
        )),
        (option::of(effort()), summary())
            .prop_map(|(effort, summary)| (effort, None, true, summary)),
        option::of(effort()).prop_map(|effort| (effort, Some(0), false, None)),
        Just((Some("none".to_owned()), None, false, None)),
        // Too little, or all at once.
        (option::of(effort()), 0..2000u64, any::<bool>(), summary()).prop_map(
            |(effort, budget, adaptive, summary)| (effort, Some(budget), adaptive, summary)
        ),
    ]
    .prop_map(|(effort, budget, adaptive, summary)| {
        let mut settings = ReasoningSettings::default();
        (settings.effort, settings.budget_tokens) = (effort, budget);
        (settings.adaptive, settings.summary) = (adaptive, summary);
        settings
    })
}

fn number() -> impl Strategy<Value = Option<f64>> {
    option::of((0..9i32).prop_map(|number| f64::from(number) / 8.0))
}

fn settings(request: ChatRequest) -> impl Strategy<Value = ChatRequest> {
    let format = option::weighted(
        0.2,
        (name(), option::of(Just(true))).prop_map(|(name, strict)| {
            let mut schema = JsonSchema::new(name, json!({"type": "object"}));
            schema.strict = strict;
            ResponseFormat::JsonSchema(schema)
        }),
    );
    let options = Just(BTreeMap::from([
        ("service_tier".to_owned(), json!("auto")),
        ("output_config".to_owned(), json!({"verbosity": "low"})),
        ("context_management".to_owned(), json!({"edits": [{"type": "clear_thinking_20251015"}]})),
    ]));
    (
        (number(), number(), option::of(any::<u64>())),
        option::of(2000..9000u64),
        vec(text(), 0..3),
        option::of(text()),
        option::weighted(0.3, options),
        format,
        option::weighted(0.4, reasoning_settings()),
    )
        .prop_map(
            move |((temperature, top_p, top_k), max, stop, user, options, format, reasoning)| {
                let mut request = request.clone();
                let sampling = &mut request.sampling;
                (sampling.temperature, sampling.top_p, sampling.top_k) =
                    (temperature, top_p, top_k);
                (request.max_output_tokens, request.stop, request.user) = (max, stop, user);
                (request.response_format, request.reasoning) = (format, reasoning);
                request.options = options.unwrap_or_default();
                request
            },
        )
}

fn tooling(request: ChatRequest) -> impl Strategy<Value = ChatRequest> {
    (vec(tool(), 0..3), option::of(choice()), option::of(any::<bool>())).prop_map(
        move |(tools, choice, parallel)| {
            let mut request = request.clone();
            if !tools.is_empty() {
                let forbidden = choice == Some(ToolChoice::None);
                request.parallel_tool_calls = parallel.filter(|_| !forbidden);
                request.tool_choice = choice;
            }
            request.tools = tools;
            request
        },
    )
}

fn plain_request() -> impl Strategy<Value = ChatRequest> {
    let turn = prop_oneof![
        asked(prop_oneof![plain_text(), media()]).prop_map(|message| vec![message]),
        answered().prop_map(|mut messages| {
            // Many marks are a matter of their own.
            for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
                if let Content::ToolResult(result) = &mut part.content {
                    result.parts.iter_mut().for_each(|part| part.cache = None);
                }
            }
            messages
        }),
    ];
    vec(turn, 1..4).prop_map(|turns| ChatRequest::new("m", turns.concat())).prop_flat_map(tooling)
}

fn request() -> impl Strategy<Value = ChatRequest> {
    let turn = prop_oneof![
        4 => asked(decorated(prop_oneof![cited_text(), media(), opaque()])).prop_map(|m| vec![m]),
        4 => answered(),
        1 => instructed().prop_map(|message| vec![message]),
        1 => wild().prop_map(|message| vec![message]),
    ];
    let odd = (option::weighted(0.1, choice()), option::weighted(0.05, name()));
    (vec(instructed(), 0..2), vec(turn, 1..4), odd)
        .prop_map(|(first, turns, (choice, context))| {
            let mut request = ChatRequest::new("m", first);
            request.messages.extend(turns.concat());
            request.tool_choice = choice;
            request.context = context.map(|id| plugin_api::ContextId::from(id.as_str()));
            request
        })
        .prop_flat_map(tooling)
        .prop_flat_map(settings)
}

fn quirks() -> impl Strategy<Value = Quirks> {
    (any::<[bool; 4]>(), any::<bool>()).prop_map(|(on, mid)| {
        let mut quirks = Quirks::default();
        quirks.version = if on[0] { Version::V2026 } else { Version::V2023 };
        quirks.stream = on[1];
        quirks.effort = if on[2] { Effort::Plain } else { Effort::Adaptive };
        quirks.supports_system_messages = on[3] || mid;
        quirks
    })
}

/// A transcript that the format can express.
fn transcript() -> impl Strategy<Value = Transcript> {
    let piece = prop_oneof![4 => cited_text(), 2 => reasoning(), 2 => tool_call(), 1 => opaque()];
    let finish = prop_oneof![
        Just((FinishReason::Stop, None)),
        Just((FinishReason::Stop, Some("stop_sequence"))),
        Just((FinishReason::Length, None)),
        Just((FinishReason::Length, Some("model_context_window_exceeded"))),
        Just((FinishReason::ContentFilter, None)),
        Just((FinishReason::Pause, None)),
        Just((FinishReason::Pause, Some("compaction"))),
        Just((FinishReason::Other, Some("moonrise"))),
    ];
    let facts = option::of(text());
    let counts =
        (0..9u64, 0..9u64, any::<u32>(), option::of(any::<u32>()), option::of(any::<u32>()));
    (vec(piece, 1..6), finish, facts, counts).prop_map(|(parts, (reason, word), fact, counts)| {
        let called = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
        let (reason, word) = match reason {
            FinishReason::Stop if called => (FinishReason::ToolCalls, None),
            reason => (reason, word),
        };
        let mut usage = Usage::new(counts.0 + counts.1 + u64::from(counts.2), counts.2.into());
        usage.cached_input_tokens = counts.3.map(|_| counts.0);
        usage.cache_write_tokens = counts.4.map(|_| counts.1);
        usage.reasoning_tokens = counts.4.map(u64::from);
        if counts.1 > 0 {
            usage.details.insert("cache_write_1h_tokens".into(), counts.1);
        }
        let mut transcript = Transcript::new();
        let (id, model) = (Some("msg_1".into()), Some("m".into()));
        transcript.push(&ChatEvent::Started { id, model });
        events_of(&Message::new(Role::Assistant, parts), |event| transcript.push(&event));
        transcript.push(&ChatEvent::Usage(usage));
        if let Some(fact) = fact {
            let name = "stop_sequence".to_owned();
            transcript.push(&ChatEvent::Detail { part: None, name, value: fact.into() });
        }
        let detail = word.map(str::to_owned);
        transcript.push(&ChatEvent::Finish { reason, detail });
        transcript
    })
}
