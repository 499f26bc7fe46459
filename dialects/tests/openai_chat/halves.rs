//! Requests as servers get them, and clients' requests and answers as the gateway sees them.

use dialects::{
    Loss,
    openai_chat::{
        DIALECT, Decoder, Encoder, Head, Quirks, ReasoningBack, ToolIds, decode_request,
        encode_request, encode_response, error,
    },
};
use plugin_api::{
    chat::*,
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Transcript, Usage},
    kit::{body, call::Response, replay::Replay},
};
use serde_json::{Value, json};

use crate::common::{exchange, open, places, said};

fn encode(request: &ChatRequest, quirks: &Quirks) -> (Value, Vec<Loss>) {
    let encoded = encode_request(request, quirks).unwrap();
    (serde_json::from_slice(&body::render(&encoded.body, &[])).unwrap(), encoded.losses)
}

#[test]
fn the_smallest_request_for_openai() {
    let request = ChatRequest::new("m", vec![Message::user("hi")]);
    let (json, losses) = encode(&request, &Quirks::default());
    assert_eq!(
        json,
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
               "stream_options": {"include_usage": true}})
    );
    assert!(losses.is_empty());
}

#[test]
fn d3_13_fields_that_servers_refuse_are_switched() {
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    request.messages.insert(0, Message::new(Role::Developer, vec![ContentPart::text("be brief")]));
    let tool = |name: &str| ToolDefinition::Function(FunctionTool::new(name, None));
    request.tools = vec![tool("f"), tool("g")];
    request.parallel_tool_calls = Some(true);
    request.max_output_tokens = Some(5);
    request.cache_key = Some("k".into());
    request.sampling.top_k = Some(3);
    request.tool_choice = Some(ToolChoice::Allowed { names: vec!["f".into()], required: true });
    let mut quirks = Quirks::compatible();
    quirks.supports_stream_options = false;
    let (json, losses) = encode(&request, &quirks);
    assert_eq!(json["messages"][0]["role"], "system");
    assert_eq!((&json["max_tokens"], &json["top_k"]), (&json!(5), &json!(3)));
    assert_eq!(json["tools"], json!([{"type": "function", "function": {"name": "f"}}]));
    assert_eq!(json["tool_choice"], "required");
    for absent in
        ["stream_options", "parallel_tool_calls", "prompt_cache_key", "max_completion_tokens"]
    {
        assert_eq!(json[absent], Value::Null, "{absent}");
    }
    assert_eq!(
        places(&losses),
        [("tool_choice.allowed", true), ("parallel_tool_calls", true), ("prompt_cache_key", true)]
    );
}

#[test]
fn words_of_a_newer_contract_are_not_guessed() {
    let mut request = ChatRequest::new("m", vec![Message::new(Role::Unknown, vec![])]);
    let mut call = ToolCall::new("c", "f", "{}");
    call.kind = ToolKind::Unknown;
    let mut result = ToolResult::new("c", vec![]);
    result.kind = ToolKind::Unknown;
    request.messages.push(said(Role::Assistant, vec![Content::ToolCall(call)]));
    request.messages.push(said(Role::Tool, vec![Content::ToolResult(result)]));
    request.messages.push(said(Role::User, vec![Content::Image(Media::new(DataSource::Unknown))]));
    request.tools = vec![ToolDefinition::Function(FunctionTool::new("f", None))];
    request.tool_choice = Some(ToolChoice::Unknown);
    request.response_format = Some(ResponseFormat::Unknown);
    let (_, losses) = encode(&request, &Quirks::default());
    let fatal: Vec<_> = losses.iter().filter(|l| !l.harmless).map(|l| l.field.as_str()).collect();
    assert_eq!(
        fatal,
        [
            "messages[0].role",
            "messages[1].parts[0]",
            "messages[2].parts[0]",
            "messages[3].parts[0]",
            "tool_choice",
            "response_format",
        ]
    );
}

#[test]
fn what_cannot_be_said_is_named() {
    let mut request = ChatRequest::new("m", vec![]);
    let url = || Media::new(DataSource::Url { url: "https://a.test/".into() });
    request.messages = vec![
        said(Role::User, vec![Content::Image(url()), Content::Audio(url()), Content::Unknown]),
        said(
            Role::Assistant,
            vec![Content::Reasoning(Reasoning::new("r")), Content::Opaque(Opaque::new("x", "1"))],
        ),
    ];
    request.tools = vec![
        ToolDefinition::Custom(CustomTool::new("c")),
        ToolDefinition::Provider(Opaque::new("anthropic-messages", "{}")),
        ToolDefinition::Provider(Opaque::new(DIALECT, r#"{"type":"x"}"#)),
    ];
    request.context = Some("ctx".into());
    let mut reasoning = ReasoningSettings::default();
    (reasoning.budget_tokens, reasoning.adaptive) = (Some(1), true);
    reasoning.summary = Some("auto".into());
    request.reasoning = Some(reasoning);
    request.options.insert("stream".into(), json!(false));
    request.options.insert("min_p".into(), json!(0.1));
    let mut quirks = Quirks::compatible();
    quirks.supports_image_url = false;
    let (json, losses) = encode(&request, &quirks);
    assert_eq!(
        places(&losses),
        [
            ("messages[0].parts[0]", false),
            ("messages[0].parts[1]", false),
            ("messages[0].parts[2]", false),
            ("messages[1].parts[0]", true),
            ("messages[1].parts[1]", false),
            ("tools[0]", false),
            ("tools[1]", true),
            ("reasoning.budget_tokens", true),
            ("reasoning.adaptive", true),
            ("reasoning.summary", true),
            ("context", false),
            ("options.stream", true),
        ]
    );
    assert_eq!((&json["min_p"], &json["stream"]), (&json!(0.1), &json!(true)));
    assert_eq!(json["tools"], json!([{"type": "x"}]));
    let refused = encode_request(&request, &quirks).unwrap().or_refuse().unwrap_err();
    assert!(refused.message.starts_with("`messages[0].parts[0]` is an address"), "{refused}");
}

#[test]
fn results_are_answered_first_and_their_pictures_follow() {
    let mut result = ToolResult::new(
        "c1",
        vec![ContentPart::text("see"), ContentPart::image("image/png", vec![0])],
    );
    result.is_error = true;
    let other = ToolResult::new("c2", vec![]);
    let request = ChatRequest::new(
        "m",
        vec![said(
            Role::User,
            vec![
                Content::Text(Text::new("and?")),
                Content::ToolResult(result),
                Content::ToolResult(other),
            ],
        )],
    );
    let (json, losses) = encode(&request, &Quirks::default());
    assert_eq!(
        json["messages"],
        json!([
            {"role": "tool", "tool_call_id": "c1", "content": "see"},
            {"role": "tool", "tool_call_id": "c2", "content": ""},
            {"role": "user", "content": "and?"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        ])
    );
    assert!(losses.iter().all(|loss| loss.harmless));
}

#[test]
fn mistral_wants_its_own_ids_words_and_thinking() {
    let mut thought: ContentPart = Content::Reasoning(Reasoning::new("hm")).into();
    thought.continuity.push(Continuity::new("signature", "s"));
    let mut message = Message::new(Role::Assistant, vec![thought, ContentPart::text("ok")]);
    message.parts.push(Content::ToolCall(ToolCall::new("toolu_0123", "f", "{}")).into());
    message.parts.push(Content::ToolCall(ToolCall::new("abcDEF123", "f", "{}")).into());
    let mut request = ChatRequest::new("m", vec![message, Message::tool_result("toolu_0123", "4")]);
    request.sampling.seed = Some(1);
    let mut quirks = Quirks::compatible();
    quirks.tool_ids = ToolIds::Alphanumeric9;
    quirks.send_reasoning_back = ReasoningBack::Thinking;
    quirks.seed_field = "random_seed".into();
    let (json, losses) = encode(&request, &quirks);
    assert!(losses.is_empty(), "{losses:?}");
    let id = json["messages"][0]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(json["messages"][1]["tool_call_id"], id);
    assert_eq!(json["messages"][0]["tool_calls"][1]["id"], "abcDEF123");
    assert_eq!(json["messages"][0]["content"][0]["signature"], "s");
    assert_eq!(json["random_seed"], 1);
}

#[test]
fn losses_reach_the_client_as_warnings() {
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    request.sampling.top_k = Some(1);
    let losses = encode_request(&request, &Quirks::default()).unwrap().or_refuse().unwrap().losses;
    let exchange = exchange(Decoder::after(losses));
    let run = Replay::new(exchange).respond(200, &[], b"data: [DONE]\n\n").run();
    assert_eq!(run.transcript().warnings, ["`top_k` is not understood by this server"]);
}

// The server's half

#[test]
fn a_clients_request_with_every_deprecated_field_is_read() {
    let body = json!({
        "model": "m", "max_tokens": 7, "user": "u", "stop": "x", "n": 1, "logprobs": true,
        "top_logprobs": 2, "verbosity": "low", "store": null, "stream": true,
        "functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"},
        "messages": [
            {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "4"},
            {"role": "user", "content": [{"type": "image_url", "image_url": "https://a.test/"},
                {"type": "file", "file": {"file_data": "AAAA", "filename": "a.pdf"}}]},
        ],
    });
    let decoded = decode_request(body.to_string().as_bytes()).unwrap();
    let request = &decoded.request;
    assert!(decoded.stream && decoded.legacy_functions && !decoded.include_usage);
    assert_eq!((request.max_output_tokens, request.user.as_deref()), (Some(7), Some("u")));
    assert_eq!(request.stop, ["x"]);
    let choice = ToolChoice::Tool { name: "f".into(), kind: ToolKind::Function };
    assert_eq!(request.tool_choice, Some(choice));
    let call = request.messages[0].tool_calls().next().unwrap();
    assert!(matches!(&request.messages[1].parts[0].content,
        Content::ToolResult(result) if result.call_id == call.id));
    assert_eq!(request.options.keys().collect::<Vec<_>>(), ["verbosity"]);
    assert_eq!(places(&decoded.losses), [("logprobs", true), ("top_logprobs", true)]);
    assert!(matches!(&request.messages[2].parts[1].content,
        Content::File(media) if media.media_type.as_deref() == Some("application/pdf")));
}

#[test]
fn what_an_assistant_said_is_taken_back_but_for_its_sources_and_its_voice() {
    let said = |more: Value| {
        let mut message = json!({"role": "assistant", "content": "x", "annotations": null});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}, message]});
        decode_request(body.to_string().as_bytes())
    };
    assert!(said(json!({"audio": null, "refusal": null})).unwrap().losses.is_empty());
    let sources = said(json!({"annotations": [{"type": "url_citation"}]})).unwrap();
    assert_eq!(places(&sources.losses), [("messages[1].annotations", true)]);
    let voice = said(json!({"audio": {"id": "audio_1"}})).unwrap_err();
    assert_eq!(voice.field, "messages[1].audio");
}

#[test]
fn a_request_that_cannot_be_read_names_its_field() {
    let with = |name: &str, value: Value| {
        let mut body = json!({"model": "m", "messages": []});
        body[name] = value;
        decode_request(body.to_string().as_bytes()).unwrap_err()
    };
    for (name, value, field) in [
        ("n", json!(2), "n"),
        ("model", Value::Null, "model"),
        ("messages", json!("hi"), "messages"),
        ("temperature", json!("hot"), "temperature"),
        ("metadata", json!({"a": 1}), "metadata"),
        ("stop", json!(1), "stop"),
        ("tools", json!([{"type": "function"}]), "tools[0].function"),
        ("tools", json!([{"type": "custom"}]), "tools[0].custom"),
        ("tool_choice", json!("perhaps"), "tool_choice"),
        ("response_format", json!({"type": "yaml"}), "response_format.type"),
        ("response_format", json!({"type": "json_schema"}), "response_format.json_schema.name"),
    ] {
        assert_eq!(with(name, value).field, field);
    }
    let message = |message: Value| with("messages", json!([{"role": "user"}, message])).field;
    for (value, field) in [
        (json!(7), "messages[1]"),
        (json!({"role": "judge"}), "messages[1].role"),
        (json!({"role": "tool"}), "messages[1].tool_call_id"),
        (json!({"role": "function"}), "messages[1].name"),
        (json!({"role": "function", "name": "f"}), "messages[1].name"),
        (json!({"role": "assistant", "tool_calls": [{"id": "a"}]}), "messages[1].tool_calls"),
        (json!({"role": "user", "content": 7}), "messages[1].content"),
    ] {
        assert_eq!(message(value), field);
    }
    let part = |part: Value| message(json!({"role": "user", "content": [part]}));
    for (value, field) in [
        (json!({}), ""),
        (json!({"type": "hologram"}), ".type"),
        (json!({"type": "text"}), ".text"),
        (json!({"type": "refusal"}), ".refusal"),
        (json!({"type": "image_url"}), ".image_url"),
        (json!({"type": "image_url", "image_url": {"url": "data:image/png,x"}}), ".image_url.url"),
        (json!({"type": "input_audio"}), ".input_audio"),
        (
            json!({"type": "input_audio", "input_audio": {"data": "!", "format": "wav"}}),
            ".input_audio.data",
        ),
        (json!({"type": "file"}), ".file"),
        (json!({"type": "file", "file": {}}), ".file"),
        (json!({"type": "file", "file": {"file_data": "!"}}), ".file.file_data"),
    ] {
        assert_eq!(part(value), format!("messages[1].content[0]{field}"));
    }
    assert_eq!(decode_request(b"{").unwrap_err().field, "");
    assert_eq!(decode_request(b"\xff").unwrap_err().field, "");
    assert_eq!(decode_request(br#"{"model":"m"}"#).unwrap_err().field, "messages");
    let (status, body) = error::encode_request_error(&with("n", json!(2)));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]["param"]), (400, &json!("n")));
}

#[test]
fn thinking_and_names_of_results_are_read() {
    let body = json!({"model": "m", "messages": [
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}],
         "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
                        {"id": "b", "type": "function", "function": {"name": "f", "arguments": null}}]},
        {"role": "tool", "tool_call_id": "a", "name": "f", "content": [{"type": "text", "text": "4"}]},
    ], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"name": "f"}]}}});
    let request = decode_request(body.to_string().as_bytes()).unwrap().request;
    let arguments: Vec<_> = request.messages[0].tool_calls().map(|call| &*call.arguments).collect();
    assert_eq!(arguments, ["{\"x\":1}", ""]);
    assert_eq!(request.messages[0].parts[0].continuity[0].token, "s");
    let mut quirks = Quirks::default();
    quirks.tool_result_name = true;
    assert_eq!(encode(&request, &quirks).0["messages"][1]["name"], "f");
    assert!(
        matches!(request.tool_choice, Some(ToolChoice::Allowed { ref names, required: false }) if names == &["f"])
    );
}

fn lines(events: &[ChatEvent], mut encoder: Encoder) -> Vec<Value> {
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let data = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap());
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into())).collect()
}

#[test]
fn a_signature_comes_on_a_piece_that_names_what_is_called() {
    for (kind, piece) in [
        (ToolKind::Function, json!({"function": {"arguments": ""}})),
        (ToolKind::Custom, json!({"custom": {"input": ""}})),
    ] {
        let start = ChatEvent::ToolCallStart { part: 1, id: "c".into(), name: "f".into(), kind };
        let signature = Continuity::new("thought_signature", "s");
        let events = [start, ChatEvent::Continuity { part: 1, continuity: signature }];
        let written = lines(&events, Encoder::new(&Head::new("chatcmpl-1", "m", 9), false));
        let call = &written[2]["choices"][0]["delta"]["tool_calls"][0];
        let mut expected = piece;
        expected["index"] = 0.into();
        expected["extra_content"] = json!({"google": {"thought_signature": "s"}});
        assert_eq!(*call, expected);
    }
}

#[test]
fn a_stream_is_written_as_openai_writes_it() {
    let call = |part, name: &str, kind| ChatEvent::ToolCallStart {
        part,
        id: "c".into(),
        name: name.into(),
        kind,
    };
    let events = [
        ChatEvent::Started { id: Some("up".into()), model: None },
        ChatEvent::TextDelta { part: 0, text: "a\"".into() },
        call(1, "f", ToolKind::Function),
        call(2, "g", ToolKind::Custom),
        ChatEvent::ToolCallDelta { part: 1, arguments: "{}".into() },
        ChatEvent::ToolCallDelta { part: 2, arguments: "x".into() },
        ChatEvent::ToolCallDelta { part: 9, arguments: "lost".into() },
        ChatEvent::Continuity { part: 9, continuity: Continuity::new("thought_signature", "s") },
        ChatEvent::Continuity { part: 0, continuity: Continuity::new("other", "s") },
        ChatEvent::ToolCallEnd { part: 1 },
        ChatEvent::Warning { message: "w".into() },
        ChatEvent::Usage(Usage::new(3, 2)),
        ChatEvent::Finish { reason: FinishReason::ToolCalls, detail: None },
    ];
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 9, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": null})
    };
    let null = Value::Null;
    let function = json!({"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}});
    let custom =
        json!({"index": 1, "id": "c", "type": "custom", "custom": {"name": "g", "input": ""}});
    let mut usage = chunk(null.clone(), null.clone());
    usage["choices"] = json!([]);
    usage["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    let encoder = Encoder::new(&Head::new("chatcmpl-1", "m", 9), true);
    assert_eq!(
        lines(&events, encoder),
        [
            chunk(json!({"role": "assistant", "content": ""}), null.clone()),
            chunk(json!({"content": "a\""}), null.clone()),
            chunk(json!({"tool_calls": [function]}), null.clone()),
            chunk(json!({"tool_calls": [custom]}), null.clone()),
            chunk(
                json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
                null.clone()
            ),
            chunk(json!({"tool_calls": [{"index": 1, "custom": {"input": "x"}}]}), null.clone()),
            chunk(json!({}), "tool_calls".into()),
            usage,
            "[DONE]".into(),
        ]
    );
}

#[test]
fn finish_words_usage_and_functions_follow_what_the_client_knows() {
    let finish = |reason, detail: Option<&str>| ChatEvent::Finish {
        reason,
        detail: detail.map(str::to_owned),
    };
    for (event, word) in [
        (finish(FinishReason::Error, None), "error"),
        (finish(FinishReason::Pause, None), "stop"),
        (finish(FinishReason::Other, Some("bored")), "bored"),
        (finish(FinishReason::Other, None), "stop"),
    ] {
        let found = lines(&[event], Encoder::new(&Head::default(), false));
        assert_eq!(found.len(), 3);
        assert_eq!(found[1]["choices"][0]["finish_reason"], word);
        assert_eq!(found[1].get("usage"), None);
    }
    let events = [
        ChatEvent::ToolCallStart {
            part: 0,
            id: "c".into(),
            name: "f".into(),
            kind: ToolKind::Function,
        },
        ChatEvent::ToolCallDelta { part: 0, arguments: "{}".into() },
        finish(FinishReason::ToolCalls, None),
    ];
    let encoder = Encoder::new(&Head::default(), false).legacy_functions(true);
    let found = lines(&events, encoder);
    assert_eq!(
        found[1]["choices"][0]["delta"],
        json!({"function_call": {"name": "f", "arguments": ""}})
    );
    assert_eq!(found[2]["choices"][0]["delta"], json!({"function_call": {"arguments": "{}"}}));
    assert_eq!(found[3]["choices"][0]["finish_reason"], "function_call");
    let whole = encode_response(&Transcript::of(&events), &Head::default(), true);
    let choice = &serde_json::from_slice::<Value>(&whole).unwrap()["choices"][0];
    assert_eq!(choice["finish_reason"], "function_call");
    assert_eq!(choice["message"]["function_call"], json!({"name": "f", "arguments": "{}"}));
    assert_eq!(choice["message"].get("tool_calls"), None);
}

#[test]
fn what_is_not_known_in_a_message_is_named_and_a_mark_of_anthropics_is_read() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let body = json!({"model": "m", "user": "a", "safety_identifier": "b", "messages": [
        {"role": "system", "content": "s", "cache_control": mark, "odd": 1},
        {"role": "user", "content": [
            {"type": "text", "text": "t", "cache_control": mark, "more": {"x": 1}}]},
        {"role": "assistant", "content": null, "refusal": null, "annotations": [], "id": "x",
            "provider_specific_fields": {}, "tool_calls": [{"id": "c", "type": "function", "index": 0,
                "function": {"name": "f", "arguments": "{}", "extra": 1}}]},
        {"role": "tool", "tool_call_id": "c", "content": "r", "cache_control": {"type": "ephemeral"}},
    ], "tools": [
        {"type": "function", "cache_control": mark, "function": {"name": "f", "extra": {"y": 2}}}]});
    let decoded = decode_request(body.to_string().as_bytes()).unwrap();
    assert_eq!(
        places(&decoded.losses),
        [
            ("messages[0].odd", true),
            ("messages[1].content[0].more", true),
            ("messages[2].tool_calls[0].function.extra", true),
            ("user", true),
            ("tools[0].function.extra", true),
        ]
    );
    let cache = |at: usize| decoded.request.messages[at].parts[0].cache.clone();
    let seconds = |cache: Option<CacheControl>| cache.unwrap().ttl_seconds;
    assert_eq!((seconds(cache(0)), seconds(cache(1))), (Some(3600), Some(3600)));
    assert_eq!((cache(2), seconds(cache(3))), (None, None));
    let ToolDefinition::Function(tool) = &decoded.request.tools[0] else { panic!() };
    assert_eq!(seconds(tool.cache.clone()), Some(3600));
}

#[test]
fn a_character_cut_in_two_spoils_itself_alone() {
    let chunk =
        |text: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#);
    let stream =
        format!("data: {}\n\ndata: {}\n\ndata: [DONE]\n\n", chunk(r"a\ud83d"), chunk(r"\ude00b"));
    let headers = [("content-type", "text/event-stream")];
    let run = Replay::new(open::<Decoder>()).respond(200, &headers, stream.as_bytes()).run();
    assert_eq!(Transcript::of(&run.events).message().text(), "a\u{fffd}\u{fffd}b");
    let whole = r#"{"choices":[{"message":{"content":"a\ud83d"}}]}"#;
    let headers = [("content-type", "application/json")];
    let run = Replay::new(open::<Decoder>()).respond(200, &headers, whole.as_bytes()).run();
    assert_eq!(Transcript::of(&run.events).message().text(), "a\u{fffd}");
}

#[test]
fn a_picture_is_one_image_however_many_pieces_it_came_in() {
    let piece = |part, data: &[u8]| ChatEvent::MediaDelta {
        part,
        media_type: "image/png".into(),
        data: data.to_vec(),
    };
    let events = [
        piece(0, b"ab"),
        piece(0, b"c"),
        piece(1, b"d"),
        ChatEvent::TextDelta { part: 2, text: "there".into() },
        ChatEvent::Finish { reason: FinishReason::Stop, detail: None },
    ];
    let image = |url| json!({"type": "image_url", "image_url": {"url": url}});
    let (abc, d) = (image("data:image/png;base64,YWJj"), image("data:image/png;base64,ZA=="));
    let found = lines(&events, Encoder::new(&Head::default(), false));
    let images: Vec<&Value> =
        found.iter().filter_map(|line| line["choices"][0]["delta"].get("images")).collect();
    assert_eq!(images, [&json!([abc]), &json!([d])]);
    let whole = encode_response(&Transcript::of(&events), &Head::default(), false);
    let message = &serde_json::from_slice::<Value>(&whole).unwrap()["choices"][0]["message"];
    assert_eq!(message["images"], json!([abc, d]));
    // What the client sends back is the picture again, and no server of this format is told of it.
    let body = json!({"model": "m", "messages": [message]}).to_string();
    let request = decode_request(body.as_bytes()).unwrap().request;
    let [first, ..] = &request.messages[0].parts[1..] else { panic!("{request:?}") };
    let media = Media::new(DataSource::Inline { data: b"abc".to_vec() }).media_type("image/png");
    assert_eq!(first.content, Content::Image(media));
    assert_eq!(
        places(&encode(&request, &Quirks::default()).1),
        [("messages[0].parts[1]", true), ("messages[0].parts[2]", true)]
    );
}

#[test]
fn tokens_of_this_dialect_pass_through_an_answer() {
    let mut transcript = Transcript::new();
    for event in [
        ChatEvent::ReasoningDelta { part: 0, text: "r".into(), summary: false },
        ChatEvent::Continuity {
            part: 0,
            continuity: Continuity::new("reasoning_details", "[{\"a\":1}]"),
        },
        ChatEvent::ToolCallStart {
            part: 1,
            id: "c".into(),
            name: "f".into(),
            kind: ToolKind::Custom,
        },
        ChatEvent::Continuity { part: 1, continuity: Continuity::new("thought_signature", "s") },
    ] {
        transcript.push(&event);
    }
    let body = encode_response(&transcript, &Head::new("i", "m", 1), false);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["reasoning_details"], json!([{"a": 1}]));
    assert_eq!(message["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "s");
    assert_eq!((&message["content"], answer.get("usage")), (&Value::Null, None));
    let token = |token: &str| ChatEvent::Continuity {
        part: 0,
        continuity: Continuity::new("reasoning_details", token),
    };
    let found = lines(&[token("[1]"), token("no json")], Encoder::new(&Head::default(), false));
    assert_eq!(found.len(), 2);
    assert_eq!(found[1]["choices"][0]["delta"], json!({"reasoning_details": [1]}));
}

#[test]
fn a_failure_is_read_back_as_the_kind_that_was_written() {
    use ErrorKind::*;
    for kind in [
        Authentication,
        Permission,
        Quota,
        RateLimited,
        Overloaded,
        Unavailable,
        Timeout,
        ContextLength,
        InvalidRequest,
        NotFound,
        ContentPolicy,
    ] {
        let (status, body) = error::encode(&ProviderError::new(kind, "why").code("theirs"));
        let mut response = Response::default();
        (response.status, response.body) = (status, body);
        let error = error::failure(&response);
        assert_eq!((error.kind, &*error.message), (kind, "why"), "{kind:?}");
    }
    for (kind, status) in
        [(NotSupported, 400), (Cancelled, 499), (Protocol, 502), (PluginPanic, 500)]
    {
        assert_eq!(error::encode(&ProviderError::new(kind, "why")).0, status);
    }
    let mut encoder = Encoder::new(&Head::default(), true);
    let mut out = Vec::new();
    encoder.error(&ProviderError::new(Overloaded, "full"), &mut out);
    let run = Replay::new(open::<Decoder>()).respond(200, &[], &out).run();
    assert_eq!(run.error.unwrap().kind, Overloaded);
}
