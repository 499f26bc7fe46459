//! Generated requests and answers: what the format can say, and some of what it cannot.

use std::collections::BTreeMap;

use dialects::openai_responses::{DIALECT, Quirks, token};
use plugin_api::{
    ContextId,
    chat::*,
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::json;

use crate::common::samples::{bytes, choice, format, name, number, part, plain_text, text, tool};

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
pub(super) fn odd() -> impl Strategy<Value = ContentPart> {
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

pub(super) fn plain_request() -> impl Strategy<Value = ChatRequest> {
    let turn = prop_oneof![
        asked(prop_oneof![plain_text(), media()]).prop_map(|message| vec![message]),
        answered(),
    ];
    built(turn)
}

fn built(turn: impl Strategy<Value = Vec<Message>>) -> impl Strategy<Value = ChatRequest> {
    let tooling = (vec(tool(hosted()), 0..3), option::of(choice()), option::of(any::<bool>()));
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
pub(super) fn request() -> impl Strategy<Value = ChatRequest> {
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

pub(super) fn quirks() -> impl Strategy<Value = Quirks> {
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
pub(super) fn transcript() -> impl Strategy<Value = Transcript> {
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

fn hosted() -> Opaque {
    Opaque::new(DIALECT, r#"{"type":"web_search"}"#)
}
