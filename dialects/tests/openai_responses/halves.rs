//! Requests as the vendor gets them, and clients' requests and answers as the gateway sees them.

use dialects::{
    Loss, openai_chat,
    openai_responses::{
        DIALECT, Decoder, Echo, Encoder, Head, Namespaces, Quirks, decode_request,
        decode_request_with, encode_request, encode_response, error, tokens,
    },
};
use plugin_api::{
    chat::*,
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Transcript, Usage},
    kit::{body, replay::Replay},
};
use serde_json::{Value, json};

use crate::common::{open, places, said};

fn encode(request: &ChatRequest, quirks: &Quirks) -> (Value, Vec<Loss>) {
    let encoded = encode_request(request, quirks).unwrap();
    (serde_json::from_slice(&body::render(&encoded.body, &[])).unwrap(), encoded.losses)
}

// The client's half

#[test]
fn the_documented_request() {
    let recorded = br#"{"model":"gpt-demo-1","stream":true,"store":false,"include":["reasoning.encrypted_content"],
 "instructions":"Be brief.","reasoning":{"effort":"medium","summary":"auto"},
 "input":[
  {"type":"message","role":"user","content":[{"type":"input_text","text":"Weather in Riga?"}]},
  {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAA-fake"},
  {"type":"function_call","id":"fc_1","call_id":"call_a1","name":"get_weather","arguments":"{\"city\":\"Riga\"}"},
  {"type":"function_call_output","call_id":"call_a1","output":"{\"c\":4}"}],
 "tools":[{"type":"function","name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]},"strict":false}],
 "tool_choice":"auto","parallel_tool_calls":true}"#;
    let decoded = decode_request(recorded).unwrap();
    assert!(decoded.stream && decoded.encrypted_reasoning);
    assert_eq!(decoded.losses, []);
    let roles: Vec<_> = decoded.request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    let mut quirks = Quirks::default();
    quirks.encrypted_reasoning = true;
    let (json, losses) = encode(&decoded.request, &quirks);
    assert_eq!(losses, []);
    let mut expected: Value = serde_json::from_slice(recorded).unwrap();
    // A call is known by `call_id`; its item's own id is nothing to send.
    expected["input"][2].as_object_mut().unwrap().remove("id");
    assert_eq!(json, expected);
}

#[test]
fn what_is_kept_is_said_as_items() {
    let mut request = ChatRequest::new("m", vec![Message::system("be brief"), Message::user("hi")]);
    let roles = |json: &Value| {
        let input = json["input"].as_array().unwrap();
        input.iter().map(|item| item["role"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for store in [None, Some(true)] {
        request.store = store;
        let (json, _) = encode(&request, &Quirks::default());
        assert_eq!(
            (&json["instructions"], roles(&json)),
            (&Value::Null, vec!["system".into(), "user".into()])
        );
    }
    request.store = Some(false);
    let (json, _) = encode(&request, &Quirks::default());
    assert_eq!((&json["instructions"], roles(&json)), (&json!("be brief"), vec!["user".into()]));
    for (context, field) in [("conv_1", "conversation"), ("resp_1", "previous_response_id")] {
        request.context = Some(context.into());
        let (json, _) = encode(&request, &Quirks::default());
        assert_eq!((&json[field], roles(&json).len()), (&json!(context), 2));
    }
}

#[test]
fn media_in_each_form() {
    let url = |name: &str| Media::new(DataSource::Url { url: format!("https://a.test/{name}") });
    let file = || Media::new(DataSource::file("file_1"));
    let inline = |kind: &str| Media::new(DataSource::Inline { data: vec![0] }).media_type(kind);
    let mut close = url("p.png");
    close.detail = Some("low".into());
    let message = said(
        Role::User,
        vec![
            Content::Image(close),
            Content::Image(file()),
            Content::Image(inline("image/png")),
            Content::File(file()),
            Content::File(url("d.pdf")),
            Content::File(inline("application/pdf").name("d.pdf")),
            Content::Audio(inline("audio/mpeg")),
        ],
    );
    let (json, losses) = encode(&ChatRequest::new("m", vec![message]), &Quirks::default());
    assert_eq!(losses, []);
    assert_eq!(
        json["input"][0]["content"],
        json!([
            {"type": "input_image", "image_url": "https://a.test/p.png", "detail": "low"},
            {"type": "input_image", "file_id": "file_1"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
            {"type": "input_file", "file_id": "file_1"},
            {"type": "input_file", "file_url": "https://a.test/d.pdf"},
            {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "d.pdf"},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        ])
    );
}

#[test]
fn what_cannot_be_said_is_named() {
    let mut result = ToolResult::new(
        "c",
        vec![Content::Audio(Media::new(DataSource::Inline { data: vec![] })).into()],
    );
    (result.name, result.is_error) = (Some("f".into()), true);
    let url = Media::new(DataSource::Url { url: "https://a.test/".into() });
    let mut named = said(Role::User, vec![Content::Audio(url), Content::Unknown]);
    named.name = Some("Ann".into());
    let mut call = ToolCall::new("c", "f", "{}");
    call.kind = ToolKind::Unknown;
    let mut request = ChatRequest::new(
        "m",
        vec![
            named,
            said(Role::Tool, vec![Content::ToolResult(result)]),
            said(
                Role::Assistant,
                vec![Content::Opaque(Opaque::new("x", "1")), Content::ToolCall(call)],
            ),
            Message::new(Role::Unknown, vec![]),
        ],
    );
    request.tools = vec![
        ToolDefinition::Provider(Opaque::new("anthropic-messages", "{}")),
        ToolDefinition::Provider(Opaque::new(DIALECT, r#"{"type":"web_search"}"#)),
    ];
    request.tool_choice = Some(ToolChoice::Unknown);
    request.response_format = Some(ResponseFormat::Unknown);
    let mut reasoning = ReasoningSettings::default();
    (reasoning.budget_tokens, reasoning.adaptive) = (Some(1), true);
    request.reasoning = Some(reasoning);
    request.sampling.top_k = Some(1);
    request.sampling.seed = Some(1);
    request.stop = vec!["x".into()];
    request.options.insert("input".into(), json!("mine"));
    request.options.insert("max_tool_calls".into(), json!(3));
    let (json, losses) = encode(&request, &Quirks::default());
    assert_eq!(
        places(&losses),
        [
            ("messages[0].name", true),
            ("messages[0].parts[0]", false),
            ("messages[0].parts[1]", false),
            ("messages[1].parts[0].name", true),
            ("messages[1].parts[0].is_error", true),
            ("messages[1].parts[0]", false),
            ("messages[2].parts[0]", false),
            ("messages[2].parts[1]", false),
            ("messages[3].role", false),
            ("tools[0]", false),
            ("tool_choice", false),
            ("response_format", false),
            ("reasoning.budget_tokens", true),
            ("reasoning.adaptive", true),
            ("top_k", true),
            ("seed", true),
            ("stop", false),
            ("options.input", true),
        ]
    );
    assert_eq!(
        (&json["max_tool_calls"], &json["tools"]),
        (&json!(3), &json!([{"type": "web_search"}]))
    );
}

#[test]
fn a_plan_takes_less_and_says_so() {
    let quirks = Quirks::chatgpt_plan();
    let mut request = ChatRequest::new(
        "m",
        vec![Message::system("a"), Message::system("b"), Message::user("hi")],
    );
    let function = |name: &str| ToolDefinition::Function(FunctionTool::new(name, None));
    let search = ToolDefinition::Provider(Opaque::new(DIALECT, r#"{"type":"web_search"}"#));
    request.tools = vec![function("f"), search, ToolDefinition::Custom(CustomTool::new("g"))];
    request.store = Some(false);
    let (json, losses) = encode(&request, &quirks);
    assert_eq!(losses, []);
    assert_eq!(
        json,
        json!({"model": "m", "instructions": "a", "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "b"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
            "stream": true, "store": false,
            "tools": [{"type": "namespace", "name": "tools", "description": "Tools of the application.", "tools": [
                {"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]}, {"type": "web_search"}]})
    );
    request.sampling.temperature = Some(1.0);
    request.sampling.top_p = Some(1.0);
    request.max_output_tokens = Some(1);
    request.metadata.insert("k".into(), "v".into());
    request.user = Some("u".into());
    request.cache_key = Some("k".into());
    for name in ["truncation", "top_logprobs", "prompt_cache_retention", "service_tier"] {
        request.options.insert(name.into(), json!("auto"));
    }
    let (tuned, losses) = encode(&request, &quirks);
    assert_eq!(tuned, json, "what only tunes is left out");
    assert_eq!(losses.len(), 10);
    assert!(losses.iter().all(|loss| loss.harmless), "{losses:?}");
    for name in ["background", "max_tool_calls", "moderation", "multi_agent", "prompt"] {
        let mut request = ChatRequest::new("m", vec![]);
        request.options.insert(name.into(), json!(true));
        let error = encode_request(&request, &quirks).unwrap().or_refuse().unwrap_err();
        assert_eq!(error.message, format!("`{name}` is not taken under this login"));
    }
    for (context, name) in [("conv_1", "conversation"), ("resp_1", "previous_response_id")] {
        let mut request = ChatRequest::new("m", vec![]);
        request.context = Some(context.into());
        let error = encode_request(&request, &quirks).unwrap().or_refuse().unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotSupported);
        assert!(error.message.starts_with(&format!("`{name}`")));
    }
    let mut request = ChatRequest::new("m", vec![]);
    request.tools =
        vec![ToolDefinition::Provider(Opaque::new(DIALECT, r#"{"type":"code_interpreter"}"#))];
    let error = encode_request(&request, &quirks).unwrap().or_refuse().unwrap_err();
    assert!(error.message.starts_with("`tools[0]`"), "{error}");
}

#[test]
fn only_what_counts_is_counted() {
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    request.max_output_tokens = Some(5);
    request.stop = vec!["x".into()];
    request.sampling.temperature = Some(1.0);
    let body =
        tokens::encode_request(&request, &Quirks::default()).unwrap().or_refuse().unwrap().body;
    let json: Value = serde_json::from_slice(body.as_bytes().unwrap()).unwrap();
    let message = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]});
    assert_eq!(json, json!({"model": "m", "input": [message]}));
    request.messages.push(said(Role::User, vec![Content::Unknown]));
    let refused = tokens::encode_request(&request, &Quirks::default()).unwrap().or_refuse();
    assert!(refused.is_err());
}

// The server's half

#[test]
fn what_codex_sends_is_read() {
    let body = json!({
        "model": "m", "instructions": "You are Codex.", "stream": true, "store": false,
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "rules"}]},
            {"role": "user", "content": "hi"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": null, "encrypted_content": "gAAAA"},
            {"type": "function_call", "name": "send", "namespace": "mail", "arguments": "{}", "call_id": "c1"},
            {"type": "function_call_output", "call_id": "c1", "output": "sent"},
            {"type": "local_shell_call", "call_id": "c2", "status": "completed", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "done"}], "phase": "final_answer"},
        ],
        "tools": [
            {"type": "function", "name": "shell", "description": "d", "strict": false, "parameters": {"type": "object"}},
            {"type": "custom", "name": "apply_patch", "description": "d", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
            {"type": "namespace", "name": "mail", "description": "Mail.", "tools": [{"type": "function", "name": "send", "parameters": {}}]},
            {"type": "namespace", "name": "chat", "description": "Chat.", "tools": [{"type": "function", "name": "send", "parameters": {}}]},
            {"type": "web_search", "external_web_access": true},
        ],
        "tool_choice": "auto", "parallel_tool_calls": true,
        "reasoning": {"effort": "medium", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k", "text": {"verbosity": "low"}, "client_metadata": {"x": "y"},
    });
    let decoded = decode_request(body.to_string().as_bytes()).unwrap();
    let request = &decoded.request;
    assert_eq!(
        places(&decoded.losses),
        [("client_metadata", true), ("tools[2].description", true), ("tools[3].description", true)]
    );
    let names: Vec<_> = request
        .tools
        .iter()
        .map(|tool| match tool {
            ToolDefinition::Function(tool) => &*tool.name,
            ToolDefinition::Custom(tool) => &*tool.name,
            ToolDefinition::Provider(block) => &*block.dialect,
            _ => "",
        })
        .collect();
    assert_eq!(names, ["shell", "apply_patch", "send", "chat__send", DIALECT]);
    assert_eq!(request.options["verbosity"], "low");
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(
        roles,
        [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool, Role::Assistant]
    );
    assert_eq!(request.messages[3].tool_calls().next().unwrap().name, "send");
    // An answer calls the tool as the client knows it.
    let mut encoder = Encoder::new(&Head::new("resp_1", "m", 0)).namespaces(decoded.namespaces);
    let mut bytes = Vec::new();
    let (id, name, kind) = ("c9".into(), "chat__send".into(), ToolKind::Function);
    encoder.event(&ChatEvent::ToolCallStart { part: 0, id, name, kind }, &mut bytes);
    encoder.event(&ChatEvent::ToolCallEnd { part: 0 }, &mut bytes);
    let done =
        events(&bytes).into_iter().find(|event| event["type"] == "response.output_item.done");
    let item = &done.unwrap()["item"];
    assert_eq!((&item["name"], &item["namespace"]), (&json!("send"), &json!("chat")));
}

#[test]
fn reasoning_without_its_secret_is_read_and_not_sent_on() {
    let item = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": null,
        "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]});
    let body = json!({"model": "m", "input": [item]}).to_string();
    let request = decode_request(body.as_bytes()).unwrap().request;
    let mut expected = Reasoning::new("a\n\nb");
    expected.summary = true;
    assert_eq!(request.messages, [said(Role::Assistant, vec![Content::Reasoning(expected)])]);
    let (json, losses) = encode(&request, &Quirks::default());
    assert_eq!((&json["input"], losses.len()), (&json!([]), 1));
}

#[test]
fn lenient_forms_of_a_request_are_read() {
    let decode = |body: Value| decode_request(body.to_string().as_bytes());
    let simple =
        decode(json!({"model": "m", "input": "hi", "user": "u", "tools": null, "text": null,
        "conversation": {"id": "conv_1"}, "max_output_tokens": null, "stream_options": {}}))
        .unwrap();
    assert_eq!(simple.request.messages, [Message::user("hi")]);
    assert_eq!(simple.request.context, Some("conv_1".into()));
    assert_eq!(simple.request.user.as_deref(), Some("u"));
    assert!(!simple.stream && simple.request.options.is_empty());
    let kept = decode(json!({"model": "m", "previous_response_id": "resp_1"})).unwrap();
    assert!(kept.request.messages.is_empty());
    let template = decode(json!({"model": "m", "prompt": {"id": "pmpt_1"}})).unwrap();
    assert_eq!(template.request.options["prompt"]["id"], "pmpt_1");
}

#[test]
fn a_bad_request_names_the_field() {
    let item =
        |item: Value| json!({"model": "m", "input": [{"role": "user", "content": "a"}, item]});
    let part = |part: Value| item(json!({"role": "user", "content": [part]}));
    for (body, field) in [
        (json!({"input": "x"}), "model"),
        (json!({"model": "m"}), "input"),
        (json!({"model": "m", "input": 7}), "input"),
        (json!({"model": "m", "input": "x", "background": true}), "background"),
        (json!({"model": "m", "input": "x", "conversation": {}}), "conversation.id"),
        (
            json!({"model": "m", "input": "x", "conversation": "c", "previous_response_id": "r"}),
            "previous_response_id",
        ),
        (json!({"model": "m", "input": "x", "temperature": "hot"}), "temperature"),
        (json!({"model": "m", "input": "x", "tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"model": "m", "input": "x", "tools": [7]}), "tools[0]"),
        (
            json!({"model": "m", "input": "x", "tools": [{"type": "namespace", "name": "n", "tools": [{}]}]}),
            "tools[0].tools[0].name",
        ),
        (json!({"model": "m", "input": "x", "tool_choice": {"type": "mcp"}}), "tool_choice"),
        (
            json!({"model": "m", "input": "x", "text": {"format": {"type": "xml"}}}),
            "text.format.type",
        ),
        (
            json!({"model": "m", "input": "x", "text": {"format": {"type": "json_schema"}}}),
            "text.format.name",
        ),
        (json!({"model": "m", "input": "x", "reasoning": {"effort": 3}}), "reasoning.effort"),
        (item(json!(3)), "input[1]"),
        (item(json!({"role": "wizard", "content": ""})), "input[1].role"),
        (item(json!({"content": "x"})), "input[1].role"),
        (item(json!({"type": "function_call", "name": "f"})), "input[1].call_id"),
        (item(json!({"type": "function_call", "call_id": "c"})), "input[1].name"),
        (item(json!({"type": "function_call_output"})), "input[1].call_id"),
        (part(json!({"type": "input_text"})), "input[1].content[0].text"),
        (part(json!({"type": "input_image"})), "input[1].content[0].image_url"),
        (
            part(json!({"type": "input_image", "image_url": "data:x"})),
            "input[1].content[0].image_url",
        ),
        (part(json!({"type": "input_file"})), "input[1].content[0].file_id"),
        (part(json!({"type": "novel"})), "input[1].content[0].type"),
    ] {
        assert_eq!(decode_request(body.to_string().as_bytes()).unwrap_err().field, field, "{body}");
    }
    for bytes in [&b""[..], b"[]", b"\xff", b"null"] {
        assert_eq!(decode_request(bytes).unwrap_err().field, "");
    }
}

fn events(bytes: &[u8]) -> Vec<Value> {
    let text = str::from_utf8(bytes).unwrap();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let (name, data) = block.split_once('\n').unwrap();
            let data: String =
                data.lines().map(|line| line.strip_prefix("data: ").unwrap()).collect();
            let event: Value = serde_json::from_str(&data).unwrap();
            assert_eq!(name, format!("event: {}", event["type"].as_str().unwrap()));
            event
        })
        .collect()
}

#[test]
fn a_stream_is_ordered_numbered_and_complete() {
    let mut encoder = Encoder::new(&Head::new("resp_9", "m", 1_790_000_000));
    let mut bytes = Vec::new();
    for event in [
        ChatEvent::Started { id: Some("theirs".into()), model: None },
        ChatEvent::ReasoningDelta { part: 0, text: "hm".into(), summary: true },
        ChatEvent::TextDelta { part: 1, text: "H".into() },
        ChatEvent::TextDelta { part: 1, text: "i".into() },
        ChatEvent::Usage(Usage::new(3, 1)),
        ChatEvent::Warning { message: "w".into() },
        ChatEvent::Finish { reason: FinishReason::Stop, detail: None },
    ] {
        encoder.event(&event, &mut bytes);
    }
    let events = events(&bytes);
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    assert_eq!(
        events[10],
        json!({"type": "response.output_text.delta", "sequence_number": 10, "item_id": "msg_9_1",
            "output_index": 1, "content_index": 0, "logprobs": [], "delta": "H"})
    );
    let last = &events[15]["response"];
    assert_eq!((&last["id"], &last["status"]), (&json!("resp_9"), &json!("completed")));
    assert_eq!(last["output"][1]["content"][0]["text"], "Hi");
    assert_eq!(
        last["usage"],
        json!({"input_tokens": 3, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 4})
    );
}

/// Codex knows one item at a time and ends its turn without `response.completed`.
#[test]
fn one_item_is_open_at_a_time() {
    let start = |part| ChatEvent::ToolCallStart {
        part,
        id: format!("c{part}"),
        name: "f".into(),
        kind: ToolKind::Function,
    };
    let more = |part, text: &str| ChatEvent::ToolCallDelta { part, arguments: text.into() };
    let text = |part, text: &str| ChatEvent::TextDelta { part, text: text.into() };
    let mut encoder = Encoder::new(&Head::new("resp_1", "m", 0));
    let mut bytes = Vec::new();
    for event in [
        text(0, "a"),
        start(1),
        start(2),
        more(2, "{"),
        text(3, "b"),
        more(1, "{}"),
        more(2, "}"),
        ChatEvent::ToolCallEnd { part: 2 },
        ChatEvent::ToolCallEnd { part: 1 },
        text(0, "c"),
        ChatEvent::Finish { reason: FinishReason::ToolCalls, detail: None },
    ] {
        encoder.event(&event, &mut bytes);
    }
    let (mut open, mut done) = (None, Vec::new());
    for event in events(&bytes) {
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(open.replace(event["output_index"].clone()), None);
            }
            "response.output_item.done" => {
                assert_eq!(open.take(), Some(event["output_index"].clone()));
                done.push(event["item"].clone());
            }
            kind if kind.ends_with(".delta") => {
                assert_eq!(open, Some(event["output_index"].clone()));
            }
            _ => {}
        }
    }
    assert_eq!(done.len(), 5);
    let of = |at: usize| (done[at]["call_id"].clone(), done[at]["arguments"].clone());
    assert_eq!((of(1), of(2)), ((json!("c1"), json!("{}")), (json!("c2"), json!("{}"))));
    assert_eq!(done[3]["content"][0]["text"], "b");
    assert_eq!(done[4]["content"][0]["text"], "c");
}

#[test]
fn a_failure_in_the_middle_is_a_failed_response() {
    let mut encoder = Encoder::new(&Head::new("resp_1", "m", 0));
    let mut bytes = Vec::new();
    encoder.event(&ChatEvent::TextDelta { part: 0, text: "Hal".into() }, &mut bytes);
    let wait = ProviderError::new(ErrorKind::RateLimited, "slow down").retry_after_ms(Some(1300));
    encoder.error(&wait, &mut bytes);
    let last = events(&bytes).pop().unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(
        last["response"]["error"],
        json!({"code": "rate_limit_exceeded", "message": "slow down. Please try again in 1300ms."})
    );
    // What we write we read.
    let run = Replay::new(open::<Decoder>()).respond(200, &[], &bytes).run();
    let error = run.error.unwrap();
    assert_eq!((error.kind, error.retry_after_ms), (ErrorKind::RateLimited, Some(1300)));
    for kind in
        [ErrorKind::Quota, ErrorKind::Overloaded, ErrorKind::ContextLength, ErrorKind::Timeout]
    {
        let mut bytes = Vec::new();
        Encoder::new(&Head::default()).error(&ProviderError::new(kind, "m"), &mut bytes);
        let run = Replay::new(open::<Decoder>()).respond(200, &[], &bytes).run();
        assert_eq!(run.error.unwrap().kind, kind);
    }
    let (status, body) = error::encode(&ProviderError::new(ErrorKind::Quota, "spent"));
    assert_eq!(status, 429);
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap()["error"]["code"],
        "insufficient_quota"
    );
}

#[test]
fn endings_that_a_client_sees() {
    for (reason, detail, status, why) in [
        (FinishReason::Stop, None, "completed", Value::Null),
        (FinishReason::ToolCalls, None, "completed", Value::Null),
        (FinishReason::Length, None, "incomplete", json!({"reason": "max_output_tokens"})),
        (FinishReason::ContentFilter, None, "incomplete", json!({"reason": "content_filter"})),
        (FinishReason::Pause, None, "incomplete", json!({"reason": "steered"})),
        (FinishReason::Other, Some("odd"), "incomplete", json!({"reason": "odd"})),
        (FinishReason::Error, Some("abort"), "failed", Value::Null),
    ] {
        let mut transcript = Transcript::new();
        let detail = detail.map(str::to_owned);
        transcript.push(&ChatEvent::Finish { reason, detail });
        let body =
            encode_response(&transcript, &Head::default(), Namespaces::default(), Echo::default());
        let json: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&json["status"], &json["incomplete_details"]),
            (&json!(status), &why),
            "{reason:?}"
        );
        assert_eq!(json["error"].is_null(), status != "failed");
    }
}

#[test]
fn an_answer_repeats_the_settings_of_its_request() {
    let said = json!({"model": "m", "input": "hi", "instructions": "brief", "temperature": 0.5,
        "metadata": {"a": "b"}, "tool_choice": "required", "parallel_tool_calls": false, "store": true,
        "max_output_tokens": 9, "user": null,
        "tools": [{"type": "function", "name": "f", "description": "x".repeat(5000)}]});
    let decoded = decode_request(said.to_string().as_bytes()).unwrap();
    let mut transcript = Transcript::new();
    transcript.push(&ChatEvent::Finish { reason: FinishReason::Stop, detail: None });
    let head = Head::new("resp_1", "m", 1);
    let whole = encode_response(&transcript, &head, Namespaces::default(), decoded.echo.clone());
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    for name in [
        "instructions",
        "temperature",
        "metadata",
        "tool_choice",
        "parallel_tool_calls",
        "max_output_tokens",
    ] {
        assert_eq!(whole[name], said[name], "{name}");
    }
    assert_eq!(
        (&whole["tools"], &whole["store"]),
        (&json!([]), &json!(false)),
        "what is long is not"
    );
    assert_eq!(whole.get("user"), None);
    let mut encoder = Encoder::new(&head).echo(decoded.echo);
    let mut out = Vec::new();
    encoder.event(&ChatEvent::Finish { reason: FinishReason::Stop, detail: None }, &mut out);
    assert_eq!(events(&out)[0]["response"]["temperature"], 0.5);
}

#[test]
fn a_picture_is_an_item_that_comes_back_as_it_was() {
    let piece = |data: &[u8]| ChatEvent::MediaDelta {
        part: 1,
        media_type: "image/png".into(),
        data: data.to_vec(),
    };
    let mut token = Continuity::new("thought_signature", "s");
    token.issuer = "google".into();
    let said = [
        ChatEvent::TextDelta { part: 0, text: "see".into() },
        piece(b"ab"),
        piece(b"c"),
        ChatEvent::Continuity { part: 1, continuity: token.clone() },
        ChatEvent::Finish { reason: FinishReason::Stop, detail: None },
    ];
    let mut encoder = Encoder::new(&Head::new("resp_1", "m", 1));
    let mut out = Vec::new();
    said.iter().for_each(|event| encoder.event(event, &mut out));
    let last = events(&out).pop().unwrap();
    let output = &last["response"]["output"];
    assert_eq!(output[1]["type"], "image_generation_call");
    assert_eq!((&output[1]["result"], &output[1]["status"]), (&"YWJj".into(), &"completed".into()));
    let body = json!({"model": "m", "input": output}).to_string();
    let request = decode_request(body.as_bytes()).unwrap().request;
    let media = Media::new(DataSource::Inline { data: b"abc".to_vec() }).media_type("image/png");
    let mut picture = ContentPart::from(Content::Image(media));
    picture.continuity.push(token);
    assert_eq!(request.messages[0].parts, [ContentPart::text("see"), picture]);
    assert_eq!(
        places(&encode(&request, &Quirks::default()).1).last().unwrap(),
        &("messages[0].parts[1]", true)
    );
}

#[test]
fn a_reference_is_the_item_that_was_kept() {
    let kept = |id: &str| {
        (id == "msg_1").then(|| {
            r#"{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"output_text","text":"hi"}]}"#
                .to_owned()
        })
    };
    let ask = |id: &str| {
        let body = format!(
            r#"{{"model":"m","input":[{{"role":"user","content":"a"}},{{"type":"item_reference","id":"{id}"}},{{"role":"user","content":"b"}}]}}"#
        );
        decode_request_with(body.as_bytes(), &kept).unwrap().request
    };
    let found = ask("msg_1");
    assert_eq!(found.messages[1], Message::assistant("hi"));
    // Whoever kept it knows what to do with it; the others say what the client can do.
    let missing = ask("msg_2");
    assert_eq!(places(&encode(&missing, &Quirks::default()).1), []);
    let chat = openai_chat::encode_request(&missing, &openai_chat::Quirks::default());
    let error = chat.unwrap().or_refuse().unwrap_err().message;
    assert!(
        error.contains("`messages[1].parts[0]`") && error.contains("`store: false`"),
        "{error}"
    );
}

#[test]
fn what_is_not_known_in_an_item_is_named() {
    let body = json!({"model": "m", "user": "a", "safety_identifier": "a", "input": [
        {"type": "message", "role": "assistant", "id": "x", "status": "completed", "odd": 1, "content": [
            {"type": "output_text", "text": "t", "annotations": [], "logprobs": [], "more": 1}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "odd": 1},
        {"type": "web_search_call", "id": "w", "action": {"query": "q"}},
    ], "tools": [{"type": "function", "name": "f", "odd": 1}, {"type": "web_search", "odd": 1}]});
    let decoded = decode_request(body.to_string().as_bytes()).unwrap();
    assert_eq!(
        places(&decoded.losses),
        [
            ("tools[0].odd", true),
            ("input[0].odd", true),
            ("input[0].content[0].more", true),
            ("input[1].odd", true),
        ]
    );
}
