//! Generated requests and answers: what the format can say, and some of what it cannot.

use std::collections::BTreeMap;

use dialects::openai_chat::{DIALECT, MaxTokensField, Quirks, ReasoningBack, SystemRole, token};
use plugin_api::{
    chat::*,
    event::{ChatEvent, FinishReason, Transcript, Usage, events_of},
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use crate::common::samples::{bytes, choice, format, name, number, part, plain_text, text, tool};

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
    (vec(tool(hosted()), 0..3), option::of(choice()), option::of(any::<bool>()))
}

pub(super) fn plain_request() -> impl Strategy<Value = ChatRequest> {
    let turn = prop_oneof![
        asked(prop_oneof![plain_text(), media()]).prop_map(|message| vec![message]),
        answered(false),
    ];
    (vec(turn, 1..4), tooling(), settings(false))
        .prop_map(|(turns, tooling, settings)| assembled(turns.concat(), tooling, settings))
}

pub(super) fn request() -> impl Strategy<Value = ChatRequest> {
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

pub(super) fn quirks() -> impl Strategy<Value = Quirks> {
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
pub(super) fn transcript() -> impl Strategy<Value = Transcript> {
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

fn hosted() -> Opaque {
    Opaque::new(DIALECT, r#"{"type":"web_search"}"#)
}
