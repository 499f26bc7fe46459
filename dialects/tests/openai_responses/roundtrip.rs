//! What one half writes the other reads back, wherever no loss was reported.

use std::collections::BTreeMap;

use dialects::openai_responses::{
    Decoder, Encoder, Head, Namespaces, Quirks, decode_request, encode_request, encode_response,
    error, token,
};
use plugin_api::{
    ContextId,
    chat::*,
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
    exchange::Timestamp,
    http::{Headers, HttpRequest},
    kit::{
        SseStream, body,
        call::Response,
        replay::{Replay, Run},
    },
};
use proptest::{collection::vec, option, prelude::*, test_runner::FileFailurePersistence};
use serde_json::{Value, json};

use crate::golden::open;

const BLOBS: &[(u32, &[u8])] = &[(0, b"\x00\x01\x02"), (1, b"hello"), (2, b"")];

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
        let body = encode_response(&transcript, &head(), Namespaces::default());
        let headers = [("content-type", "application/json")];
        let run = Replay::new(open()).respond(200, &headers, &body).run();
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
            serde_json::from_slice(&encode_response(&events, &head(), Namespaces::default())).unwrap();
        let request = json!({"model": "m", "input": answer["output"]});
        let returned = decode_request(request.to_string().as_bytes()).unwrap().request.messages;
        let expected = if said.parts.is_empty() { vec![] } else { vec![said] };
        prop_assert_eq!(without_json_space(returned), without_json_space(expected));
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
    fn no_event_breaks_the_grammar(events in vec(odd_event(), 1..9), cut in any::<prop::sample::Index>()) {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let body = (body + "data: {\"type\":\"response.completed\"}\n\n").into_bytes();
        let run = |chunks: Vec<Vec<u8>>| Replay::new(open()).respond_in(200, &[], chunks).run();
        let whole = run(vec![body.clone()]);
        let (head, tail) = body.split_at(cut.index(body.len()));
        prop_assert_eq!(&run(vec![head.to_vec(), tail.to_vec()]), &whole);
        prop_assert_eq!(&whole.violations, &[]);
        prop_assert!(whole.done || whole.error.is_some());
    }

    #[test]
    fn no_bytes_break_a_reader(bytes in vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z0-9 \n]{0,80}") {
        for body in [&bytes[..], text.as_bytes()] {
            let run = Replay::new(open()).respond(200, &[], body).run();
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

/// A failing case prints its seed and leaves it beside this file, to be run first from then on.
fn cases(cases: u32) -> ProptestConfig {
    let beside = FileFailurePersistence::WithSource("regressions");
    let failure_persistence = Some(Box::new(beside) as _);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
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
    let open = SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new());
    Replay::new(Box::new(open)).respond(200, &[], &bytes).run()
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

fn elsewhere() -> impl Strategy<Value = DataSource> {
    prop_oneof![
        name().prop_map(DataSource::file),
        name().prop_map(|name| DataSource::Url { url: format!("https://a.test/{name}") }),
    ]
}

/// Pictures and documents, which a message and a tool's result may hold.
fn seen() -> impl Strategy<Value = ContentPart> {
    let detail = || option::of(prop_oneof![Just("low".to_owned()), Just("high".to_owned())]);
    let image = |source, media_type: Option<&str>, detail| {
        let mut media = Media::new(source);
        (media.media_type, media.detail) = (media_type.map(str::to_owned), detail);
        part(Content::Image(media))
    };
    let file = |source, media_type: Option<&str>, name| {
        let mut media = Media::new(source);
        (media.media_type, media.name) = (media_type.map(str::to_owned), name);
        part(Content::File(media))
    };
    prop_oneof![
        (bytes(), detail()).prop_map(move |(s, detail)| image(s, Some("image/webp"), detail)),
        (elsewhere(), detail()).prop_map(move |(s, detail)| image(s, None, detail)),
        (bytes(), option::of(name())).prop_map(move |(s, n)| file(s, Some("application/pdf"), n)),
        (elsewhere(), option::of(name())).prop_map(move |(s, name)| file(s, None, name)),
    ]
}

/// Media that the format carries in full.
fn media() -> impl Strategy<Value = ContentPart> {
    let sound = (bytes(), prop_oneof![Just("audio/mpeg"), Just("audio/wav")])
        .prop_map(|(source, kind)| part(Content::Audio(Media::new(source).media_type(kind))));
    prop_oneof![3 => seen(), 1 => sound]
}

/// What only sometimes can be said.
fn odd() -> impl Strategy<Value = ContentPart> {
    let loose =
        (bytes(), option::of(name()), option::of(name())).prop_map(|(source, name, detail)| {
            let mut media = Media::new(source).media_type("image/png");
            (media.name, media.detail) = (name, detail);
            part(Content::Image(media))
        });
    prop_oneof![
        loose,
        Just(part(Content::Opaque(Opaque::new("x", "{}")))),
        Just(part(Content::Unknown)),
        text().prop_map(|text| part(Content::Refusal(Text::new(text)))),
        (plain_text(), option::of(1..100u64)).prop_map(|(mut part, ttl)| {
            let mut cache = CacheControl::default();
            cache.ttl_seconds = ttl;
            part.cache = Some(cache);
            part
        }),
        plain_text().prop_map(|text| {
            let mut result = ToolResult::new("id", vec![text]);
            result.is_error = true;
            part(Content::ToolResult(result))
        }),
    ]
}

fn asked(parts: impl Strategy<Value = ContentPart>) -> impl Strategy<Value = Message> {
    let role = prop_oneof![Just(Role::User), Just(Role::System), Just(Role::Developer)];
    (role, vec(parts, 0..3)).prop_map(|(role, parts)| Message::new(role, parts))
}

fn tool_call() -> impl Strategy<Value = ContentPart> {
    let kind = prop_oneof![3 => Just(ToolKind::Function), 1 => Just(ToolKind::Custom)];
    let arguments = text().prop_map(|text| format!("{{{text}"));
    ("[A-Za-z0-9]{9}", name(), arguments, kind, option::weighted(0.2, "N[a-z]{3}")).prop_map(
        |(id, name, arguments, kind, namespace)| {
            let mut call = ToolCall::new(id, name, arguments);
            call.kind = kind;
            let mut part = part(Content::ToolCall(call));
            let kind = token::NAMESPACE;
            part.continuity.extend(namespace.map(|token| Continuity::new(kind, token)));
            part
        },
    )
}

fn reasoning() -> impl Strategy<Value = ContentPart> {
    let text = prop_oneof![1 => Just(String::new()), 3 => text()];
    (text, any::<bool>(), "[a-z]{1,5}").prop_map(|(text, summary, secret)| {
        let mut reasoning = Reasoning::new(text.clone());
        reasoning.summary = summary && !text.is_empty();
        let mut item =
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": secret});
        if reasoning.summary {
            item["summary"] = json!([{"type": "summary_text", "text": text}]);
        } else if !text.is_empty() {
            item["content"] = json!([{"type": "reasoning_text", "text": text}]);
        }
        let mut part = part(Content::Reasoning(reasoning));
        // White space is kept too.
        let json = serde_json::to_string_pretty(&item).unwrap();
        part.continuity.push(Continuity::new(token::REASONING_ITEM, json));
        part
    })
}

fn citation() -> impl Strategy<Value = Citation> {
    (text(), 0..9u64).prop_map(|(title, start)| {
        let mut citation = Citation::default();
        citation.url = Some("https://a.test/".into());
        (citation.title, citation.answer_start) = (Some(title), Some(start));
        citation.answer_end = Some(start + 1);
        citation
    })
}

/// What the model says that is no call.
fn spoken() -> impl Strategy<Value = ContentPart> {
    let phase = option::weighted(0.3, prop_oneof![Just("commentary"), Just("final_answer")]);
    let content = prop_oneof![
        3 => (text(), vec(citation(), 0..2)).prop_map(|(text, citations)| {
            let mut text = Text::new(text);
            text.citations = citations;
            part(Content::Text(text))
        }),
        1 => text().prop_map(|text| part(Content::Refusal(Text::new(text)))),
    ];
    (content, phase).prop_map(|(mut part, phase)| {
        part.continuity.extend(phase.map(|phase| Continuity::new(token::PHASE, phase)));
        part
    })
}

fn block() -> impl Strategy<Value = ContentPart> {
    name().prop_map(|query| {
        let json =
            format!("{{ \"type\": \"web_search_call\",\n \"query\": \"{query}\", \"n\": 1.0 }}");
        part(Content::Opaque(Opaque::new("openai-responses", json)))
    })
}

fn output() -> impl Strategy<Value = ContentPart> {
    prop_oneof![3 => spoken(), 2 => reasoning(), 2 => tool_call(), 1 => block()]
}

/// What the model said, and the answers to its calls.
fn answered() -> impl Strategy<Value = Vec<Message>> {
    let result = vec(prop_oneof![3 => plain_text(), 1 => seen()], 0..3);
    (vec((output(), result, any::<bool>()), 0..5)).prop_map(|said| {
        let (mut message, mut results) = (Message::new(Role::Assistant, vec![]), Vec::new());
        for (part, parts, answer) in said {
            if let (Content::ToolCall(call), true) = (&part.content, answer) {
                let mut result = ToolResult::new(call.id.clone(), parts);
                result.kind = call.kind;
                results.push(Message::new(Role::Tool, vec![Content::ToolResult(result).into()]));
            }
            message.parts.push(part);
        }
        let mut messages = vec![message];
        messages.append(&mut results);
        messages
    })
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
        Just(ToolDefinition::Provider(Opaque::new("openai-responses", r#"{"type":"web_search"}"#))),
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

fn plain_request() -> impl Strategy<Value = ChatRequest> {
    let turn = prop_oneof![
        asked(prop_oneof![plain_text(), media()]).prop_map(|message| vec![message]),
        answered(),
    ];
    built(turn)
}

fn built(turn: impl Strategy<Value = Vec<Message>>) -> impl Strategy<Value = ChatRequest> {
    let tooling = (vec(tool(), 0..3), option::of(choice()), option::of(any::<bool>()));
    let texts = (option::of(text()), option::of(text()), option::of(name()), option::of(name()));
    let kept = (option::of(any::<bool>()), option::of("(resp|conv)_[a-z]{3}"));
    let options = option::of(Just(BTreeMap::from([
        ("service_tier".to_owned(), json!("flex")),
        ("verbosity".to_owned(), json!("low")),
        ("reasoning.context".to_owned(), json!("auto")),
        ("include".to_owned(), json!(["message.output_text.logprobs"])),
        ("truncation".to_owned(), json!("auto")),
    ])));
    let labels = proptest::collection::btree_map(name(), text(), 0..2);
    let numbers = (number(), number(), option::of(any::<u64>()));
    (vec(turn, 1..4), tooling, texts, kept, options, labels, numbers, option::of(format()))
        .prop_map(
            |(turns, (tools, choice, parallel), texts, kept, options, labels, numbers, format)| {
                let mut request = ChatRequest::new("m", turns.concat());
                if !tools.is_empty() {
                    (request.tool_choice, request.parallel_tool_calls) = (choice, parallel);
                }
                // Two tools of one name are told apart only where they stand in groups.
                for tool in tools {
                    let taken = request.tools.iter().any(|have| named(have) == named(&tool));
                    if !taken {
                        request.tools.push(tool);
                    }
                }
                let mut reasoning = ReasoningSettings::default();
                (request.cache_key, request.user, reasoning.effort, reasoning.summary) = texts;
                reasoning.summary = reasoning.summary.filter(|word| word != "none");
                request.reasoning = Some(reasoning);
                request.store = kept.0;
                request.context = kept.1.map(ContextId::new);
                request.options = options.unwrap_or_default();
                request.metadata = labels;
                (request.sampling.temperature, request.sampling.top_p, request.max_output_tokens) =
                    numbers;
                request.response_format = format;
                request
            },
        )
}

fn named(tool: &ToolDefinition) -> &str {
    match tool {
        ToolDefinition::Function(tool) => &tool.name,
        ToolDefinition::Custom(tool) => &tool.name,
        _ => "",
    }
}

/// Anything, some of which cannot be said.
fn request() -> impl Strategy<Value = ChatRequest> {
    let any_part = prop_oneof![plain_text(), media(), odd(), output()];
    let role = prop_oneof![Just(Role::User), Just(Role::Assistant), Just(Role::Tool)];
    let wild = (role, vec(any_part, 0..3), option::of(name()));
    let turn = prop_oneof![
        6 => asked(prop_oneof![plain_text(), media()]).prop_map(|message| vec![message]),
        6 => answered(),
        1 => wild.prop_map(|(role, parts, name)| {
            let mut message = Message::new(role, parts);
            message.name = name;
            vec![message]
        }),
    ];
    let odd = (option::weighted(0.1, any::<i64>()), option::weighted(0.1, text()));
    (built(turn), odd).prop_map(|(mut request, (seed, stop))| {
        request.sampling.seed = seed;
        request.stop = stop.into_iter().collect();
        request
    })
}

fn quirks() -> impl Strategy<Value = Quirks> {
    (any::<[bool; 6]>(), option::weighted(0.5, Just("G".to_owned()))).prop_map(|(on, namespace)| {
        if on[0] && on[1] {
            return Quirks::chatgpt_plan();
        }
        let mut quirks = Quirks::default();
        quirks.stream = on[2];
        quirks.encrypted_reasoning = on[3];
        quirks.supports_system_items = on[4];
        quirks.lax_tools = on[5];
        quirks.namespace = namespace;
        quirks
    })
}

/// An answer that the format can express.
fn transcript() -> impl Strategy<Value = Transcript> {
    let finish = prop_oneof![
        Just((FinishReason::Stop, None)),
        Just((FinishReason::Length, None)),
        Just((FinishReason::Length, Some("max_messages".to_owned()))),
        Just((FinishReason::ContentFilter, None)),
        Just((FinishReason::Pause, None)),
        Just((FinishReason::Other, Some("novel".to_owned()))),
    ];
    let context = option::of(prop_oneof![Just("resp_1"), Just("conv_1")]);
    (vec(output(), 0..6), finish, any::<[u32; 5]>(), context).prop_map(
        |(parts, (mut finish, detail), counts, context)| {
            let has = |test: fn(&Content) -> bool| parts.iter().any(|part| test(&part.content));
            if finish == FinishReason::Stop && has(|c| matches!(c, Content::ToolCall(_))) {
                finish = FinishReason::ToolCalls;
            } else if finish == FinishReason::Stop && has(|c| matches!(c, Content::Refusal(_)))
                || parts.is_empty() && finish == FinishReason::ContentFilter
            {
                // A filter that stops the question is a failure.
                finish =
                    if parts.is_empty() { FinishReason::Stop } else { FinishReason::ContentFilter };
            }
            let mut usage = Usage::new(counts[0].into(), counts[1].into());
            usage.cached_input_tokens = Some(counts[2].into());
            usage.cache_write_tokens = Some(counts[3].into());
            usage.reasoning_tokens = Some(counts[4].into());
            let mut transcript = Transcript::new();
            let (id, model) = (Some("resp_1".into()), Some("m".into()));
            transcript.push(&ChatEvent::Started { id, model });
            events_of(&Message::new(Role::Assistant, parts), |event| transcript.push(&event));
            transcript.push(&ChatEvent::Usage(usage));
            transcript.context = context.map(ContextId::from);
            transcript.push(&ChatEvent::Finish { reason: finish, detail });
            transcript
        },
    )
}
