//! What one half writes the other reads back, wherever no loss was reported.

use std::collections::BTreeMap;

use dialects::openai_chat::{
    Decoder, Encoder, Head, MaxTokensField, Quirks, ReasoningBack, SystemRole, decode_request,
    encode_request, encode_response, token,
};
use plugin_api::{
    chat::*,
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
    http::HttpRequest,
    kit::{
        SseStream, body,
        replay::{Replay, Run},
    },
};
use proptest::{collection::vec, option, prelude::*, test_runner::FileFailurePersistence};
use serde_json::{Value, json};

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
        let body = encode_response(&transcript, &head());
        let open = SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new());
        let headers = [("content-type", "application/json")];
        let run = Replay::new(Box::new(open)).respond(200, &headers, &body).run();
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

    /// Whatever stands in the fields that are read, the events follow their grammar, and no cut of
    /// the bytes changes them.
    #[test]
    fn no_chunk_breaks_the_grammar(chunks in vec(odd_chunk(), 1..6), cut in any::<prop::sample::Index>()) {
        let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        let body = (body + "data: [DONE]\n\n").into_bytes();
        let run = |chunks: Vec<Vec<u8>>| {
            let open = SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new());
            Replay::new(Box::new(open)).respond_in(200, &[], chunks).run()
        };
        let whole = run(vec![body.clone()]);
        let (head, tail) = body.split_at(cut.index(body.len()));
        prop_assert_eq!(&run(vec![head.to_vec(), tail.to_vec()]), &whole);
        prop_assert_eq!(whole.after_end, 0);
        let (mut parts, mut open) = (0, Vec::new());
        for event in &whole.events {
            if let Some(part) = json!(event)["part"].as_u64() {
                prop_assert!(part <= parts);
                parts = parts.max(part + 1);
            }
            match event {
                ChatEvent::ToolCallStart { part, id, name, .. } => {
                    prop_assert!(!id.is_empty() && !name.is_empty());
                    open.push(*part);
                }
                ChatEvent::ToolCallDelta { part, .. } => prop_assert!(open.contains(part)),
                ChatEvent::ToolCallEnd { part } => open.retain(|have| have != part),
                ChatEvent::Finish { .. } => prop_assert!(open.is_empty()),
                _ => {}
            }
        }
        let finished = matches!(whole.events.last(), Some(ChatEvent::Finish { .. }));
        prop_assert_eq!(finished, whole.done);
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

/// A failing case prints its seed and leaves it beside this file, to be run first from then on.
fn cases(cases: u32) -> ProptestConfig {
    let beside = FileFailurePersistence::WithSource("regressions");
    let failure_persistence = Some(Box::new(beside) as _);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
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
    let open = SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new());
    Replay::new(Box::new(open)).respond(200, &[], &bytes).run()
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

fn plain_text() -> impl Strategy<Value = ContentPart> {
    text().prop_map(ContentPart::text)
}

fn bytes() -> impl Strategy<Value = DataSource> {
    prop_oneof![
        vec(any::<u8>(), 0..7).prop_map(|data| DataSource::Inline { data }),
        (0..3u32).prop_map(|id| DataSource::Blob { id, len: BLOBS[id as usize].1.len() as u64 }),
    ]
}

/// Media that the format carries in full.
fn media() -> impl Strategy<Value = ContentPart> {
    let detail = option::of(prop_oneof![Just("low".to_owned()), Just("high".to_owned())]);
    prop_oneof![
        (bytes(), detail.clone()).prop_map(|(source, detail)| {
            let mut media = Media::new(source).media_type("image/webp");
            media.detail = detail;
            part(Content::Image(media))
        }),
        (name(), detail).prop_map(|(name, detail)| {
            let url = format!("https://a.test/{name}.png");
            let mut media = Media::new(DataSource::Url { url });
            media.detail = detail;
            part(Content::Image(media))
        }),
        (bytes(), prop_oneof![Just("audio/wav"), Just("audio/mpeg"), Just("audio/flac")])
            .prop_map(|(source, kind)| part(Content::Audio(Media::new(source).media_type(kind)))),
        name().prop_map(|id| part(Content::File(Media::new(DataSource::file(id))))),
        (bytes(), option::of(name())).prop_map(|(source, name)| {
            let mut media = Media::new(source).media_type("application/pdf");
            media.name = name;
            part(Content::File(media))
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
    let kind = option::of(prop_oneof![Just("image/png"), Just("audio/x-wav"), Just("text/plain")]);
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

fn decorated(parts: impl Strategy<Value = ContentPart>) -> impl Strategy<Value = ContentPart> {
    let cache = option::weighted(0.2, option::of(prop_oneof![Just(1800), 1..100u64]));
    (parts, cache).prop_map(|(mut part, cache)| {
        part.cache = cache.map(|ttl_seconds| {
            let mut cache = CacheControl::default();
            cache.ttl_seconds = ttl_seconds;
            cache
        });
        part
    })
}

fn asked(parts: impl Strategy<Value = ContentPart>) -> impl Strategy<Value = Message> {
    let role = prop_oneof![Just(Role::User), Just(Role::System), Just(Role::Developer)];
    (role, option::weighted(0.2, name()), vec(parts, 0..3)).prop_map(|(role, name, parts)| {
        let mut message = Message::new(role, parts);
        message.name = name;
        message
    })
}

fn tool_call() -> impl Strategy<Value = ContentPart> {
    let kind = prop_oneof![3 => Just(ToolKind::Function), 1 => Just(ToolKind::Custom)];
    let arguments = text().prop_map(|text| format!("{{{text}"));
    ("[A-Za-z0-9]{9}", name(), arguments, kind, option::weighted(0.2, text())).prop_map(
        |(id, name, arguments, kind, signature)| {
            let mut call = ToolCall::new(id, name, arguments);
            call.kind = kind;
            let mut part = part(Content::ToolCall(call));
            let kind = token::THOUGHT_SIGNATURE;
            part.continuity.extend(signature.map(|token| Continuity::new(kind, token)));
            part
        },
    )
}

fn reasoning() -> impl Strategy<Value = ContentPart> {
    let token = prop_oneof![
        Just(Continuity::new(token::REASONING_DETAILS, r#"[{"data":"x","type":"t"}]"#)),
        text().prop_map(|token| Continuity::new(token::SIGNATURE, token)),
    ];
    (text(), option::of(token), any::<bool>()).prop_map(|(text, token, summary)| {
        let mut reasoning = Reasoning::new(text);
        reasoning.summary = summary && token.is_none();
        let mut part = part(Content::Reasoning(reasoning));
        part.continuity.extend(token);
        part
    })
}

/// What the model said, in the format's own order, and the answers to its calls.
fn answered(with_reasoning: bool) -> impl Strategy<Value = Vec<Message>> {
    let refusal = option::weighted(0.2, text());
    let thought = vec(reasoning(), 0..=usize::from(with_reasoning));
    let result = (vec(plain_text(), 0..3), any::<bool>());
    (thought, vec(plain_text(), 0..3), refusal, vec((tool_call(), result), 0..3)).prop_map(
        |(thought, texts, refusal, calls)| {
            let mut said = Message::new(Role::Assistant, thought);
            said.parts.extend(texts);
            said.parts.extend(refusal.map(|text| part(Content::Refusal(Text::new(text)))));
            let mut results = Vec::new();
            for (call, (parts, answer)) in calls {
                if let (Content::ToolCall(call), true) = (&call.content, answer) {
                    let mut result = ToolResult::new(call.id.clone(), parts);
                    result.kind = call.kind;
                    results.push(Message::new(Role::Tool, vec![part(Content::ToolResult(result))]));
                }
                said.parts.push(call);
            }
            let mut messages = vec![said];
            messages.append(&mut results);
            messages
        },
    )
}

/// Anything, in any order: most of it cannot be said.
fn wild() -> impl Strategy<Value = Message> {
    let role = prop_oneof![Just(Role::User), Just(Role::Assistant), Just(Role::Tool)];
    let result = (vec(prop_oneof![plain_text(), odd_media()], 0..3), any::<bool>()).prop_map(
        |(parts, is_error)| {
            let mut result = ToolResult::new("id", parts);
            result.is_error = is_error;
            result.name = Some("f".into());
            part(Content::ToolResult(result))
        },
    );
    let any_part = prop_oneof![
        plain_text(),
        odd_media(),
        reasoning(),
        tool_call(),
        result,
        text().prop_map(|text| part(Content::Refusal(Text::new(text)))),
        Just(part(Content::Opaque(Opaque::new("x", "{}")))),
        Just(part(Content::Unknown)),
    ];
    (role, vec(decorated(any_part), 0..4)).prop_map(|(role, parts)| Message::new(role, parts))
}

fn tool() -> impl Strategy<Value = ToolDefinition> {
    let schema =
        option::of(Just(json!({"type": "object", "properties": {"a": {"type": "string"}}})));
    let strict = option::of(any::<bool>());
    prop_oneof![
        (name(), option::of(text()), schema, strict).prop_map(
            |(name, description, schema, strict)| {
                let mut tool = FunctionTool::new(name, schema);
                (tool.description, tool.strict) = (description, strict);
                ToolDefinition::Function(tool)
            }
        ),
        (name(), option::of(text())).prop_map(|(name, description)| {
            let mut tool = CustomTool::new(name);
            tool.description = description;
            tool.format = Some(json!({"type": "text"}));
            ToolDefinition::Custom(tool)
        }),
        Just(ToolDefinition::Provider(Opaque::new("openai-chat", r#"{"type":"web_search"}"#))),
    ]
}

fn choice() -> impl Strategy<Value = ToolChoice> {
    let kind = || prop_oneof![Just(ToolKind::Function), Just(ToolKind::Custom)];
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        (name(), kind()).prop_map(|(name, kind)| ToolChoice::Tool { name, kind }),
        (vec(name(), 1..3), any::<bool>())
            .prop_map(|(names, required)| ToolChoice::Allowed { names, required }),
    ]
}

fn format() -> impl Strategy<Value = ResponseFormat> {
    prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        (name(), option::of(text()), option::of(any::<bool>())).prop_map(|(name, text, strict)| {
            let mut schema = JsonSchema::new(name, json!({"type": "object"}));
            (schema.description, schema.strict) = (text, strict);
            ResponseFormat::JsonSchema(schema)
        }),
    ]
}

fn number() -> impl Strategy<Value = Option<f64>> {
    option::of((-20..20i32).prop_map(|number| f64::from(number) / 8.0))
}

fn sampling(top_k: bool) -> impl Strategy<Value = Sampling> {
    let top_k = option::of(any::<u64>()).prop_map(move |k| k.filter(|_| top_k));
    (number(), number(), top_k, number(), number(), option::of(any::<i64>())).prop_map(
        |(temperature, top_p, top_k, frequency, presence, seed)| {
            let mut sampling = Sampling::default();
            (sampling.temperature, sampling.top_p, sampling.top_k) = (temperature, top_p, top_k);
            (sampling.frequency_penalty, sampling.presence_penalty) = (frequency, presence);
            sampling.seed = seed;
            sampling
        },
    )
}

type Settings = (
    Sampling,
    Option<ResponseFormat>,
    Option<u64>,
    Vec<String>,
    Option<String>,
    Option<String>,
    BTreeMap<String, String>,
    BTreeMap<String, Value>,
    Option<String>,
);

fn settings(top_k: bool) -> impl Strategy<Value = Settings> {
    let labels = proptest::collection::btree_map(name(), text(), 0..2);
    let options = Just(BTreeMap::from([
        ("service_tier".to_owned(), json!("flex")),
        ("logit_bias".to_owned(), json!({"1": -100})),
    ]));
    let options = option::of(options).prop_map(Option::unwrap_or_default);
    (
        sampling(top_k),
        option::of(format()),
        option::of(any::<u64>()),
        vec(text(), 0..3),
        option::of(text()),
        option::of(text()),
        labels,
        options,
        option::of(name()),
    )
}

fn assembled(
    messages: Vec<Message>,
    (tools, choice, parallel): (Vec<ToolDefinition>, Option<ToolChoice>, Option<bool>),
    settings: Settings,
) -> ChatRequest {
    let mut request = ChatRequest::new("m", messages);
    if !tools.is_empty() {
        (request.tool_choice, request.parallel_tool_calls) = (choice, parallel);
    }
    request.tools = tools;
    let effort;
    (
        request.sampling,
        request.response_format,
        request.max_output_tokens,
        request.stop,
        request.cache_key,
        request.user,
        request.metadata,
        request.options,
        effort,
    ) = settings;
    request.reasoning = effort.map(|effort| {
        let mut reasoning = ReasoningSettings::default();
        reasoning.effort = Some(effort);
        reasoning
    });
    request
}

fn tooling() -> impl Strategy<Value = (Vec<ToolDefinition>, Option<ToolChoice>, Option<bool>)> {
    (vec(tool(), 0..3), option::of(choice()), option::of(any::<bool>()))
}

fn plain_request() -> impl Strategy<Value = ChatRequest> {
    let turn = prop_oneof![
        asked(prop_oneof![plain_text(), media()]).prop_map(|message| vec![message]),
        answered(false),
    ];
    (vec(turn, 1..4), tooling(), settings(false))
        .prop_map(|(turns, tooling, settings)| assembled(turns.concat(), tooling, settings))
}

fn request() -> impl Strategy<Value = ChatRequest> {
    let turn = prop_oneof![
        4 => asked(decorated(prop_oneof![plain_text(), media()])).prop_map(|message| vec![message]),
        4 => answered(true),
        1 => wild().prop_map(|message| vec![message]),
    ];
    let orphans = (option::weighted(0.1, choice()), option::weighted(0.1, name()));
    (vec(turn, 1..4), tooling(), settings(true), orphans).prop_map(
        |(turns, tooling, settings, (choice, context))| {
            let mut request = assembled(turns.concat(), tooling, settings);
            if request.tools.is_empty() {
                request.tool_choice = choice;
            }
            request.context = context.map(|id| plugin_api::ContextId::from(id.as_str()));
            request
        },
    )
}

fn quirks() -> impl Strategy<Value = Quirks> {
    let reasoning = prop_oneof![
        Just(ReasoningBack::None),
        Just(ReasoningBack::ReasoningContent),
        Just(ReasoningBack::ReasoningDetails),
        Just(ReasoningBack::Thinking),
    ];
    (any::<[bool; 15]>(), reasoning).prop_map(|(on, reasoning)| {
        let mut quirks = Quirks::default();
        quirks.stream = on[0];
        quirks.supports_stream_options = on[1];
        quirks.system_role = if on[2] { SystemRole::System } else { SystemRole::Developer };
        quirks.max_tokens_field =
            if on[3] { MaxTokensField::MaxTokens } else { MaxTokensField::MaxCompletionTokens };
        quirks.supports_parallel_tool_calls = on[4];
        quirks.supports_image_url = on[5];
        quirks.seed_field = if on[6] { "random_seed" } else { "seed" }.into();
        quirks.tool_choice_required = if on[7] { "any" } else { "required" }.into();
        quirks.supports_allowed_tools = on[8];
        quirks.supports_custom_tools = on[9];
        quirks.reasoning_effort = on[10];
        quirks.supports_top_k = on[11];
        quirks.supports_cache_breakpoints = on[12];
        quirks.supports_cache_key = on[13];
        quirks.user_field = if on[14] { "safety_identifier" } else { "user" }.into();
        quirks.send_reasoning_back = reasoning;
        quirks
    })
}

/// A transcript that the format can express: no two parts of one channel in a row.
fn transcript() -> impl Strategy<Value = Transcript> {
    let citation = (option::of(text()), option::of(0..9u64)).prop_map(|(title, start)| {
        let mut citation = Citation::default();
        citation.url = Some("https://a.test/".into());
        (citation.title, citation.answer_start) = (title, start);
        citation
    });
    let piece = prop_oneof![
        (text(), vec(citation, 0..2)).prop_map(|(text, citations)| {
            let mut text = Text::new(text);
            text.citations = citations;
            part(Content::Text(text))
        }),
        text().prop_map(|text| part(Content::Reasoning(Reasoning::new(text)))),
        text().prop_map(|text| part(Content::Refusal(Text::new(text)))),
        tool_call(),
    ];
    let finish = prop_oneof![
        Just(FinishReason::Stop),
        Just(FinishReason::Length),
        Just(FinishReason::ContentFilter)
    ];
    let counts = (any::<u32>(), any::<u32>(), option::of(any::<u32>()), option::of(any::<u32>()));
    (vec(piece, 0..6), finish, counts).prop_map(|(mut parts, mut finish, counts)| {
        parts.dedup_by(|b, a| {
            !matches!(a.content, Content::ToolCall(_))
                && std::mem::discriminant(&a.content) == std::mem::discriminant(&b.content)
        });
        if finish == FinishReason::Stop
            && parts.iter().any(|p| matches!(p.content, Content::ToolCall(_)))
        {
            finish = FinishReason::ToolCalls;
        }
        let mut usage = Usage::new(counts.0.into(), counts.1.into());
        usage.cached_input_tokens = counts.2.map(u64::from);
        usage.reasoning_tokens = counts.3.map(u64::from);
        let mut transcript = Transcript::new();
        transcript
            .push(&ChatEvent::Started { id: Some("chatcmpl-1".into()), model: Some("m".into()) });
        events_of(&Message::new(Role::Assistant, parts), |event| transcript.push(&event));
        transcript.push(&ChatEvent::Usage(usage));
        transcript.push(&ChatEvent::Finish { reason: finish, detail: None });
        transcript
    })
}
