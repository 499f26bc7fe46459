//! Generated requests and answers: what the format can say, and some of what it cannot.

use std::collections::BTreeMap;

use dialects::gemini::{DIALECT, detail, token};
use plugin_api::{
    chat::*,
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use crate::common::samples::{bytes, name, number, part, text};

fn plain_text() -> impl Strategy<Value = ContentPart> {
    prop_oneof![9 => text(), 1 => Just(String::new())].prop_map(ContentPart::text)
}

fn source() -> impl Strategy<Value = DataSource> {
    prop_oneof![
        2 => bytes(),
        1 => name().prop_map(|name| DataSource::file(format!("files/{name}"))),
        1 => name().prop_map(|name| DataSource::Url { url: format!("https://a.test/{name}") }),
    ]
}

/// Media that the format carries in full.
fn media() -> impl Strategy<Value = ContentPart> {
    (source(), 0..4).prop_map(|(source, which)| {
        let media = Media::new(source);
        part(match which {
            0 => Content::Image(media.media_type("image/webp")),
            1 => Content::Audio(media.media_type("audio/wav")),
            2 => Content::File(media.media_type("application/pdf")),
            _ => Content::File(media.media_type("video/mp4")),
        })
    })
}

fn signed(parts: impl Strategy<Value = ContentPart>) -> impl Strategy<Value = ContentPart> {
    (parts, option::weighted(0.3, text())).prop_map(|(mut part, signature)| {
        let token = signature.map(|token| Continuity::new(token::THOUGHT_SIGNATURE, token));
        part.continuity.extend(token);
        part
    })
}

fn asked() -> impl Strategy<Value = Message> {
    let options = option::weighted(0.1, Just(json!({"fps": 2})));
    let said = (prop_oneof![plain_text(), media()], options).prop_map(|(mut part, options)| {
        part.options.extend(options.map(|value| ("videoMetadata".to_owned(), value)));
        part
    });
    vec(said, 1..4).prop_map(|parts| Message::new(Role::User, parts))
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (name(), text()).prop_map(|(name, text)| json!({ name: text, "n": 1.0 }).to_string()),
        1 => Just(r#"{ "z": 1e400,"a":[ ] }"#.to_owned()),
        1 => Just(String::new()),
        1 => Just("{broken".to_owned()),
    ]
}

fn block() -> Content {
    let json = r#"{"executableCode":{"language":"PYTHON","code":"1"},"thoughtSignature":"cw=="}"#;
    Content::Opaque(Opaque::new(DIALECT, json))
}

/// What a tool answers; some of it looks like our own wrapping.
fn answer() -> impl Strategy<Value = Vec<ContentPart>> {
    let object = (
        prop_oneof![name(), Just("result".into()), Just("error".into()), Just("output".into())],
        text(),
    )
        .prop_map(|(name, text)| json!({ name: text }).to_string());
    let text = prop_oneof![4 => text(), 3 => object, 1 => Just("[\"a\"]".to_owned())];
    (vec(text.prop_map(ContentPart::text), 0..3), vec(media(), 0..2))
        .prop_map(|(texts, media)| [texts, media].concat())
}

/// What the model said, and the answers to its calls.
fn answered() -> impl Strategy<Value = Vec<Message>> {
    let thought = text().prop_map(|text| part(Content::Reasoning(Reasoning::new(text))));
    let call = ("[A-Za-z0-9-]{9}", name(), arguments()).prop_map(|(id, name, arguments)| {
        part(Content::ToolCall(ToolCall::new(id, name, arguments)))
    });
    let piece = prop_oneof![
        3 => signed(plain_text()),
        2 => signed(thought),
        3 => signed(call),
        1 => signed(media()),
        1 => Just(part(block())),
    ];
    let result = (answer(), any::<bool>(), any::<bool>());
    (vec(piece, 1..5), vec(result, 4..5)).prop_map(|(parts, results)| {
        let said = Message::new(Role::Assistant, parts);
        let mut messages = Vec::new();
        for (call, (parts, is_error, named)) in said.tool_calls().zip(results) {
            let mut result = ToolResult::new(call.id.clone(), parts);
            result.name = named.then(|| call.name.clone());
            result.is_error = is_error;
            messages.push(Message::new(Role::Tool, vec![part(Content::ToolResult(result))]));
        }
        messages.insert(0, said);
        messages
    })
}

/// Anything, in any order: most of it cannot be said.
fn wild() -> impl Strategy<Value = Message> {
    let role =
        prop_oneof![Just(Role::User), Just(Role::Assistant), Just(Role::Tool), Just(Role::System)];
    let odd_media = (source(), option::of(Just("image/png")), option::of(name())).prop_map(
        |(source, kind, name)| {
            let mut media = Media::new(source);
            (media.media_type, media.name) = (kind.map(str::to_owned), name);
            part(Content::Image(media))
        },
    );
    let result =
        (vec(prop_oneof![plain_text(), Just(part(Content::Unknown))], 0..3), option::of(name()))
            .prop_map(|(parts, name)| {
                let mut result = ToolResult::new("id", parts);
                result.name = name;
                part(Content::ToolResult(result))
            });
    let any_part = prop_oneof![
        plain_text(),
        odd_media,
        result,
        text().prop_map(|text| part(Content::Reasoning(Reasoning::new(text)))),
        text().prop_map(|text| part(Content::Refusal(Text::new(text)))),
        Just(part(block())),
        Just(part(Content::Opaque(Opaque::new("x", "{}")))),
        Just(part(Content::Unknown)),
    ];
    (role, vec(any_part, 0..4)).prop_map(|(role, parts)| Message::new(role, parts))
}

fn tools() -> impl Strategy<Value = Vec<ToolDefinition>> {
    let schema = option::of(Just(json!({"type": "object", "additionalProperties": false})));
    let function = (name(), option::of(text()), schema).prop_map(|(name, description, schema)| {
        let mut tool = FunctionTool::new(name, schema);
        tool.description = description;
        tool.options.insert("behavior".into(), json!("BLOCKING"));
        ToolDefinition::Function(tool)
    });
    let search = ToolDefinition::Provider(Opaque::new(DIALECT, r#"{"googleSearch":{}}"#));
    let list = vec(prop_oneof![4 => function, 1 => Just(search)], 0..4);
    (list, option::weighted(0.3, Just(true))).prop_map(|(mut tools, strict)| {
        for tool in &mut tools {
            if let ToolDefinition::Function(tool) = tool {
                tool.strict = strict;
            }
        }
        tools
    })
}

fn choice() -> impl Strategy<Value = ToolChoice> {
    prop_oneof![
        4 => Just(ToolChoice::Auto),
        1 => Just(ToolChoice::None),
        1 => Just(ToolChoice::Required),
        1 => name().prop_map(|name| ToolChoice::Tool { name, kind: ToolKind::Function }),
        1 => (vec(name(), 1..3), any::<bool>())
            .prop_map(|(names, required)| ToolChoice::Allowed { names, required }),
    ]
}

fn format() -> impl Strategy<Value = ResponseFormat> {
    prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        (name(), option::of(Just(true))).prop_map(|(name, strict)| {
            let mut schema = JsonSchema::new(name, json!({"type": "object", "nullable": true}));
            schema.strict = strict;
            ResponseFormat::JsonSchema(schema)
        }),
    ]
}

fn reasoning() -> impl Strategy<Value = ReasoningSettings> {
    let how = prop_oneof![
        Just((None, None, false)),
        Just((Some("none"), None, false)),
        Just((Some("low"), None, false)),
        Just((Some("xhigh"), None, false)),
        Just((None, Some(512), false)),
        Just((None, None, true)),
        Just((Some("max"), None, false)),
    ];
    let shown = option::of(prop_oneof![Just("auto"), Just("none")]);
    (how, shown).prop_map(|((effort, budget, adaptive), summary)| {
        let mut reasoning = ReasoningSettings::default();
        (reasoning.effort, reasoning.budget_tokens) = (effort.map(str::to_owned), budget);
        (reasoning.adaptive, reasoning.summary) = (adaptive, summary.map(str::to_owned));
        reasoning
    })
}

fn sampling() -> impl Strategy<Value = Sampling> {
    (number(), number(), option::of(any::<u64>()), number(), number(), option::of(any::<i64>()))
        .prop_map(|(temperature, top_p, top_k, frequency, presence, seed)| {
            let mut sampling = Sampling::default();
            (sampling.temperature, sampling.top_p, sampling.top_k) = (temperature, top_p, top_k);
            (sampling.frequency_penalty, sampling.presence_penalty) = (frequency, presence);
            sampling.seed = seed;
            sampling
        })
}

fn options() -> impl Strategy<Value = BTreeMap<String, Value>> {
    let some = prop_oneof![
        Just(("serviceTier", json!("flex"))),
        Just(("safetySettings", json!([{"category": "C", "threshold": "OFF"}]))),
        Just(("responseModalities", json!(["TEXT", "IMAGE"]))),
        Just(("generationConfig", json!({"novel": [1]}))),
    ];
    vec(some, 0..3)
        .prop_map(|list| list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub(super) fn request() -> impl Strategy<Value = ChatRequest> {
    let opening =
        vec(plain_text(), 0..3).prop_map(|parts| vec![Message::new(Role::Developer, parts)]);
    let turn = prop_oneof![
        8 => asked().prop_map(|message| vec![message]),
        8 => answered(),
        1 => wild().prop_map(|message| vec![message]),
    ];
    let settings = (
        sampling(),
        option::of(format()),
        option::of(any::<u64>()),
        vec(text(), 0..3),
        option::of(reasoning()),
        options(),
        option::weighted(0.3, name()),
        option::of(any::<bool>()),
    );
    (option::of(opening), vec(turn, 1..4), tools(), option::of(choice()), settings).prop_map(
        |(opening, turns, tools, choice, settings)| {
            let opening = opening.filter(|list| !list[0].parts.is_empty()).unwrap_or_default();
            let mut request = ChatRequest::new("m", [opening, turns.concat()].concat());
            if tools.iter().any(|tool| matches!(tool, ToolDefinition::Function(_))) {
                request.tool_choice = choice;
            }
            request.tools = tools;
            let context;
            (
                request.sampling,
                request.response_format,
                request.max_output_tokens,
                request.stop,
                request.reasoning,
                request.options,
                context,
                request.store,
            ) = settings;
            request.context = context.map(|id| format!("cachedContents/{id}").into());
            if let Some(store) = request.store {
                request.metadata.insert("stored".into(), store.to_string());
            }
            request
        },
    )
}

/// A transcript that the format can express: no two unsigned parts of one channel in a row.
pub(super) fn transcript() -> impl Strategy<Value = Transcript> {
    let thought = text().prop_map(|text| {
        let mut reasoning = Reasoning::new(text);
        reasoning.summary = true;
        part(Content::Reasoning(reasoning))
    });
    let said = text().prop_map(|text| part(Content::Text(Text::new(text))));
    let call = ("[A-Za-z0-9-]{9}", name(), (name(), text())).prop_map(|(id, name, (key, text))| {
        part(Content::ToolCall(ToolCall::new(id, name, json!({ key: text }).to_string())))
    });
    let picture = vec(any::<u8>(), 0..7).prop_map(|data| ContentPart::image("image/png", data));
    let mark = text().prop_map(|token| {
        let mut empty = ContentPart::text("");
        empty.continuity.push(Continuity::new(token::THOUGHT_SIGNATURE, token));
        empty
    });
    let piece = prop_oneof![
        4 => signed(said),
        2 => signed(thought),
        2 => signed(call),
        1 => signed(picture),
        1 => mark,
        1 => Just(part(block())),
    ];
    let finish = prop_oneof![
        Just((FinishReason::Stop, None)),
        Just((FinishReason::Length, None)),
        Just((FinishReason::ContentFilter, Some("SAFETY"))),
        Just((FinishReason::ContentFilter, Some("RECITATION"))),
        Just((FinishReason::Pause, Some("CONTINUATION"))),
        Just((FinishReason::Error, Some("MALFORMED_FUNCTION_CALL"))),
        Just((FinishReason::Other, Some("LANGUAGE"))),
    ];
    let counts = (any::<u32>(), any::<u32>(), option::of(any::<u32>()), option::of(any::<u32>()));
    let tokens = (counts, option::of(any::<u32>()), option::of(any::<u32>()));
    let facts = vec(
        prop_oneof![
            Just((detail::GROUNDING, json!({"webSearchQueries": ["a"]}))),
            Just((detail::SAFETY_RATINGS, json!([{"category": "C", "probability": "LOW"}]))),
            Just((detail::PROMPT_SAFETY_RATINGS, json!([{"category": "D"}]))),
            Just((detail::LOGPROBS, json!([{"chosenCandidates": []}]))),
            Just((detail::AVG_LOGPROBS, json!(-0.5))),
            Just((detail::URL_CONTEXT, json!({"urlMetadata": [{}]}))),
            Just((detail::FINISH_MESSAGE, json!("why"))),
            Just((detail::CONTINUATION_TOKEN, json!("ct"))),
        ],
        0..3,
    );
    (vec(piece, 0..6), finish, tokens, facts)
        .prop_map(|(parts, finish, tokens, facts)| assembled(parts, finish, tokens, facts))
}

type Counts = (u32, u32, Option<u32>, Option<u32>);

fn assembled(
    mut parts: Vec<ContentPart>,
    (mut reason, word): (FinishReason, Option<&str>),
    ((input, output, cached, thoughts), tool_use, audio): (Counts, Option<u32>, Option<u32>),
    facts: Vec<(&str, Value)>,
) -> Transcript {
    parts.dedup_by(|b, a| {
        let channel = matches!(a.content, Content::Text(_) | Content::Reasoning(_));
        let unsigned = a.continuity.is_empty() && b.continuity.is_empty();
        let alike = std::mem::discriminant(&a.content) == std::mem::discriminant(&b.content);
        channel && unsigned && alike
    });
    if reason == FinishReason::Stop
        && parts.iter().any(|p| matches!(p.content, Content::ToolCall(_)))
    {
        reason = FinishReason::ToolCalls;
    }
    let (tools, thought) = (tool_use.unwrap_or(0), thoughts.unwrap_or(0));
    let mut usage =
        Usage::new(u64::from(input) + u64::from(tools), u64::from(output) + u64::from(thought));
    usage.cached_input_tokens = cached.map(u64::from);
    usage.reasoning_tokens = thoughts.map(u64::from);
    for (name, count) in [
        ("tool_use_input_tokens", tool_use),
        ("audio_input_tokens", audio),
        ("image_cached_input_tokens", audio),
        ("image_output_tokens", audio),
    ] {
        usage.details.extend(count.map(|count| (name.to_owned(), u64::from(count))));
    }
    let mut transcript = Transcript::new();
    transcript.push(&ChatEvent::Started { id: Some("r-1".into()), model: Some("m".into()) });
    events_of(&Message::new(Role::Assistant, parts), |event| transcript.push(&event));
    let facts: BTreeMap<_, _> = facts.into_iter().collect();
    for (name, value) in facts {
        transcript.push(&ChatEvent::Detail { part: None, name: name.into(), value });
    }
    transcript.push(&ChatEvent::Usage(usage));
    transcript.push(&ChatEvent::Finish { reason, detail: word.map(str::to_owned) });
    transcript
}
