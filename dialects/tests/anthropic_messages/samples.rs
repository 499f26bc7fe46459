//! Generated requests and answers: what the format can say, and some of what it cannot.

use std::collections::BTreeMap;

use dialects::anthropic_messages::{DIALECT, Effort, Quirks, Version, token};
use plugin_api::{
    chat::*,
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::json;

use crate::common::samples::{bytes, name, part, plain_text, text};

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

pub(super) fn plain_request() -> impl Strategy<Value = ChatRequest> {
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

pub(super) fn request() -> impl Strategy<Value = ChatRequest> {
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

pub(super) fn quirks() -> impl Strategy<Value = Quirks> {
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
pub(super) fn transcript() -> impl Strategy<Value = Transcript> {
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
