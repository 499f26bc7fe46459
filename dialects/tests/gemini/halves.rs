//! What each half writes and reads, by itself.

use dialects::{
    Loss,
    gemini::{
        DIALECT, Decoder, Encoder, Head, Layout, Settings, decode_request, encode_request, token,
    },
};
use plugin_api::{
    chat::*,
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Usage},
    kit::{body, replay::Replay},
};
use serde_json::{Value, json};

use super::{JSON, SSE};
use crate::common::open;

fn encode(request: &ChatRequest) -> (Value, Vec<Loss>) {
    encode_with(request, &Settings::default())
}

fn encode_with(request: &ChatRequest, settings: &Settings) -> (Value, Vec<Loss>) {
    let encoded = encode_request(request, settings).unwrap();
    let bytes = body::render(&encoded.body, &[(7, b"\x89PNG")]);
    (serde_json::from_slice(&bytes).unwrap(), encoded.losses)
}

fn fields(losses: &[Loss]) -> Vec<(&str, bool)> {
    losses.iter().map(|loss| (loss.field.as_str(), loss.harmless)).collect()
}

fn said(role: Role, contents: Vec<Content>) -> Message {
    Message::new(role, contents.into_iter().map(Into::into).collect())
}

fn signed(content: Content, token: &str) -> ContentPart {
    let mut part: ContentPart = content.into();
    part.continuity.push(Continuity::new(token::THOUGHT_SIGNATURE, token));
    part
}

#[test]
fn the_documented_request_is_written() {
    let mut request = ChatRequest::new(
        "m",
        vec![Message::system("Be brief."), Message::user("Weather in Riga?")],
    );
    let call = ToolCall::new("fc-1", "get_weather", r#"{"city":"Riga"}"#);
    let call = signed(Content::ToolCall(call), "Q2ZrZQ==");
    request.messages.push(Message::new(Role::Assistant, vec![call]));
    request.messages.push(Message::tool_result("fc-1", "4 C"));
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut tool = FunctionTool::new("get_weather", Some(schema.clone()));
    tool.description = Some("Current weather".into());
    request.tools = vec![ToolDefinition::Function(tool)];
    request.tool_choice = Some(ToolChoice::Auto);
    request.max_output_tokens = Some(1024);
    let mut reasoning = ReasoningSettings::default();
    reasoning.summary = Some("auto".into());
    request.reasoning = Some(reasoning);
    let (json, losses) = encode(&request);
    assert_eq!(losses, []);
    assert_eq!(
        json,
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Weather in Riga?"}]},
                {"role": "model", "parts": [{"functionCall": {"id": "fc-1", "name": "get_weather", "args": {"city": "Riga"}}, "thoughtSignature": "Q2ZrZQ=="}]},
                {"role": "user", "parts": [{"functionResponse": {"id": "fc-1", "name": "get_weather", "response": {"result": "4 C"}}}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "get_weather", "description": "Current weather", "parametersJsonSchema": schema}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            "generationConfig": {"maxOutputTokens": 1024, "thinkingConfig": {"includeThoughts": true}},
        })
    );
}

#[test]
fn media_stay_with_the_host_and_keep_their_order() {
    let mut image = Media::new(DataSource::Blob { id: 7, len: 4 });
    image.media_type = Some("image/png".into());
    let video = Media::new(DataSource::file("files/v")).media_type("video/mp4");
    let page = Media::new(DataSource::Url { url: "https://a.test/x.pdf".into() });
    let mut part: ContentPart = Content::File(video).into();
    part.options.insert("videoMetadata".into(), json!({"fps": 2}));
    let mut message = Message::new(Role::User, vec![Content::Image(image).into(), part]);
    message.parts.push(Content::File(page).into());
    message.parts.push(ContentPart::text("What is this?"));
    let (json, losses) = encode(&ChatRequest::new("m", vec![message]));
    assert_eq!(losses, []);
    assert_eq!(
        json["contents"][0]["parts"],
        json!([
            {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
            {"fileData": {"mimeType": "video/mp4", "fileUri": "files/v"}, "videoMetadata": {"fps": 2}},
            {"fileData": {"fileUri": "https://a.test/x.pdf"}},
            {"text": "What is this?"},
        ])
    );
}

#[test]
fn results_stand_together_and_are_always_objects() {
    let call = |id: &str, name: &str| Content::ToolCall(ToolCall::new(id, name, "{}"));
    let calls = vec![call("noid_0_0", "a"), call("noid_0_1", "a"), call("x", "b"), call("y", "c")];
    let text = |text: &str| vec![ContentPart::text(text)];
    let mut failed = ToolResult::new("x", text("no such city"));
    failed.is_error = true;
    let mut shown = ToolResult::new("y", text("a map"));
    shown.parts.push(ContentPart::image("image/png", vec![1]));
    let mut messages = vec![
        said(Role::Assistant, calls),
        Message::tool_result("noid_0_0", r#"{"t":1.0}"#),
        Message::tool_result("noid_0_1", r#"{"result":"4 C"}"#),
        said(Role::Tool, vec![Content::ToolResult(failed)]),
    ];
    // Anthropic's clients answer and go on in one message.
    messages.push(said(
        Role::User,
        vec![Content::Text(Text::new("And now?")), Content::ToolResult(shown)],
    ));
    let (json, losses) = encode(&ChatRequest::new("m", messages));
    assert_eq!(losses, []);
    assert_eq!(
        json["contents"],
        json!([
            {"role": "model", "parts": [
                {"functionCall": {"name": "a", "args": {}}},
                {"functionCall": {"name": "a", "args": {}}},
                {"functionCall": {"id": "x", "name": "b", "args": {}}},
                {"functionCall": {"id": "y", "name": "c", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "a", "response": {"t": 1.0}}},
                {"functionResponse": {"name": "a", "response": {"result": "{\"result\":\"4 C\"}"}}},
                {"functionResponse": {"id": "x", "name": "b", "response": {"error": "no such city"}}},
                {"functionResponse": {"id": "y", "name": "c", "response": {"result": "a map"},
                    "parts": [{"inlineData": {"mimeType": "image/png", "data": "AQ=="}}]}},
            ]},
            {"role": "user", "parts": [{"text": "And now?"}]},
        ])
    );
}

#[test]
fn tool_choices() {
    let tool = |name: &str| ToolDefinition::Function(FunctionTool::new(name, None));
    let named = |name: &str| ToolChoice::Tool { name: name.into(), kind: ToolKind::Function };
    let allowed = |required| ToolChoice::Allowed { names: vec!["b".into()], required };
    for (choice, mode, names) in [
        (ToolChoice::Auto, "AUTO", None),
        (ToolChoice::None, "NONE", None),
        (ToolChoice::Required, "ANY", None),
        (named("b"), "ANY", Some(json!(["b"]))),
        (allowed(true), "ANY", Some(json!(["b"]))),
        (allowed(false), "AUTO", None),
    ] {
        let fewer = choice == allowed(false);
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        request.tools = vec![tool("a"), tool("b")];
        request.tool_choice = Some(choice);
        let (json, losses) = encode(&request);
        let config = &json["toolConfig"]["functionCallingConfig"];
        assert_eq!(config["mode"], mode);
        assert_eq!(config["allowedFunctionNames"], names.unwrap_or_default());
        assert_eq!(losses.len(), usize::from(fewer));
        let declared = json["tools"][0]["functionDeclarations"].as_array().unwrap().len();
        assert_eq!(declared, if fewer { 1 } else { 2 });
    }
}

#[test]
fn schemas_are_enforced_for_all_functions_or_none() {
    let tool = |strict| {
        let mut tool = FunctionTool::new("f", None);
        tool.strict = strict;
        ToolDefinition::Function(tool)
    };
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    request.tools = vec![tool(Some(true)), tool(Some(true))];
    let (json, losses) = encode(&request);
    assert_eq!(json["toolConfig"]["functionCallingConfig"]["mode"], "VALIDATED");
    assert_eq!(losses, []);
    request.tools.push(tool(None));
    let (json, losses) = encode(&request);
    assert_eq!(json["toolConfig"], Value::Null);
    assert_eq!(fields(&losses), [("tools[0].strict", true), ("tools[1].strict", true)]);
}

#[test]
fn how_much_to_think() {
    for (effort, budget, adaptive, summary, expected, lost) in [
        (None, None, false, None, json!(null), 0),
        (Some("none"), None, false, None, json!({"thinkingBudget": 0}), 0),
        (Some("minimal"), None, false, None, json!({"thinkingLevel": "MINIMAL"}), 0),
        (Some("low"), None, false, None, json!({"thinkingLevel": "LOW"}), 0),
        (Some("medium"), None, false, None, json!({"thinkingLevel": "MEDIUM"}), 0),
        (
            Some("high"),
            None,
            false,
            Some("none"),
            json!({"thinkingLevel": "HIGH", "includeThoughts": false}),
            0,
        ),
        (Some("xhigh"), None, false, None, json!({"thinkingLevel": "XHIGH"}), 0),
        (Some("max"), None, false, None, json!({"thinkingLevel": "XHIGH"}), 1),
        (Some("so-so"), None, false, None, json!(null), 1),
        (
            None,
            Some(512),
            false,
            Some("auto"),
            json!({"thinkingBudget": 512, "includeThoughts": true}),
            0,
        ),
        (Some("high"), Some(512), true, None, json!({"thinkingBudget": 512}), 2),
        (
            None,
            None,
            true,
            Some("concise"),
            json!({"thinkingBudget": -1, "includeThoughts": true}),
            1,
        ),
    ] {
        let mut reasoning = ReasoningSettings::default();
        reasoning.effort = effort.map(str::to_owned);
        (reasoning.budget_tokens, reasoning.adaptive) = (budget, adaptive);
        reasoning.summary = summary.map(str::to_owned);
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        request.reasoning = Some(reasoning);
        let (json, losses) = encode(&request);
        assert_eq!(json["generationConfig"]["thinkingConfig"], expected, "{effort:?} {budget:?}");
        assert_eq!(losses.len(), lost, "{losses:?}");
        assert!(losses.iter().all(|loss| loss.harmless));
    }
}

#[test]
fn the_providers_settings_apply_where_the_request_does_not_say() {
    let mut settings = Settings::default();
    settings.safety = vec![("HARM_CATEGORY_HARASSMENT".into(), "OFF".into())];
    settings.include_thoughts = Some(true);
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    let (json, _) = encode_with(&request, &settings);
    let category = json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]);
    assert_eq!(json["safetySettings"], category);
    assert_eq!(json["generationConfig"]["thinkingConfig"]["includeThoughts"], true);
    request.options.insert("safetySettings".into(), json!([]));
    assert_eq!(encode_with(&request, &settings).0["safetySettings"], json!([]));
}

#[test]
fn options_find_their_places() {
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    request.context = Some("cachedContents/abc".into());
    request.store = Some(false);
    request.metadata.insert("team".into(), "a".into());
    request.sampling.temperature = Some(0.5);
    for (name, value) in [
        ("serviceTier", json!("flex")),
        ("continuationToken", json!("ct-1")),
        ("responseModalities", json!(["IMAGE"])),
        ("generationConfig", json!({"novel": 1, "temperature": 2})),
        ("contents", json!([])),
    ] {
        request.options.insert(name.into(), value);
    }
    let (json, losses) = encode(&request);
    assert_eq!(json["cachedContent"], "cachedContents/abc");
    assert_eq!((&json["store"], &json["labels"]), (&json!(false), &json!({"team": "a"})));
    assert_eq!(
        (&json["serviceTier"], &json["continuationToken"]),
        (&json!("flex"), &json!("ct-1"))
    );
    let config = json!({"temperature": 0.5, "responseModalities": ["IMAGE"], "novel": 1});
    assert_eq!(json["generationConfig"], config);
    assert_eq!(
        fields(&losses),
        [("options.generationConfig.temperature", true), ("options.contents", true)]
    );
}

#[test]
fn what_cannot_be_said_is_named() {
    let block = |dialect: &str, json: &str| Content::Opaque(Opaque::new(dialect, json));
    let sound = Media::new(DataSource::Inline { data: vec![] });
    let mut custom = ToolCall::new("c", "f", "free");
    custom.kind = ToolKind::Custom;
    let mut system = said(Role::System, vec![Content::Image(Media::new(DataSource::file("x")))]);
    system.parts.push(ContentPart::text("late"));
    let mut named = Message::user("hi");
    named.name = Some("ann".into());
    let mut foreign = ContentPart::text("x");
    foreign.continuity.push(Continuity::new("encrypted", "e"));
    foreign.cache = Some(CacheControl::default());
    named.parts.push(foreign);
    let mut request = ChatRequest::new(
        "m",
        vec![
            named,
            said(Role::User, vec![Content::Reasoning(Reasoning::new("r")), Content::Unknown]),
            said(
                Role::Assistant,
                vec![
                    block("anthropic-messages", "{}"),
                    block(DIALECT, "true"),
                    Content::Refusal(Text::new("no")),
                    Content::ToolCall(custom),
                    Content::ToolCall(ToolCall::new("d", "g", "{broken")),
                ],
            ),
            Message::tool_result("unknown", "x"),
            said(
                Role::User,
                vec![Content::Audio(sound), Content::Image(Media::new(DataSource::Unknown))],
            ),
            Message::new(Role::User, vec![]),
            system,
            Message::new(Role::Unknown, vec![]),
        ],
    );
    request.tools = vec![
        ToolDefinition::Custom(CustomTool::new("c")),
        ToolDefinition::Provider(Opaque::new("openai-responses", "{}")),
        ToolDefinition::Unknown,
    ];
    request.tool_choice = Some(ToolChoice::Required);
    request.parallel_tool_calls = Some(false);
    request.response_format = Some(ResponseFormat::Unknown);
    request.context = Some("resp_1".into());
    (request.cache_key, request.user) = (Some("k".into()), Some("u".into()));
    let (_, losses) = encode(&request);
    assert_eq!(
        fields(&losses),
        [
            ("messages[0].name", true),
            ("messages[5]", true),
            ("messages[6]", true),
            ("messages[7].role", false),
            ("messages[6].parts[0]", false),
            ("messages[0].parts[1].cache", true),
            ("messages[0].parts[1].continuity", true),
            ("messages[1].parts[0]", false),
            ("messages[1].parts[1]", false),
            ("messages[2].parts[0]", false),
            ("messages[2].parts[1]", false),
            ("messages[2].parts[2]", true),
            ("messages[2].parts[3].kind", true),
            ("messages[2].parts[4].arguments", true),
            ("messages[3].parts[0]", false),
            ("messages[4].parts[0]", false),
            ("messages[4].parts[1]", false),
            ("tools[0]", false),
            ("tools[1]", true),
            ("tools[2]", false),
            ("parallel_tool_calls", true),
            ("tool_choice", true),
            ("response_format", false),
            ("context", false),
            ("cache_key", true),
            ("user", true),
        ]
    );
}

#[test]
fn a_client_may_write_in_snake_case_and_leave_much_out() {
    let body = json!({
        "system_instruction": "Be brief.",
        "contents": [
            {"parts": [{"text": "Look:"}, {"inline_data": {"mime_type": "image/png", "data": "iVBORw"}}]},
            {"role": "model", "parts": [{"function_call": {"name": "f"}, "thought_signature": "c2ln"}, {"function_call": {"name": "f", "args": {"a": 1}}}]},
            {"role": "function", "parts": [{"function_response": {"name": "f", "response": {"output": "x"}}}, {"function_response": {"name": "f", "response": {"a": [1.0]}}}]},
            {"role": "model", "parts": [{}, {"executableCode": {"language": "PYTHON", "code": "1"}}]},
        ],
        "tools": [{"function_declarations": [{"name": "f", "parameters": {"type": "OBJECT"}}], "google_search": {}}],
        "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
        "generation_config": {"top_k": 40.0, "max_output_tokens": "7", "response_mime_type": "application/json",
            "response_schema": {"type": "STRING"}, "candidate_count": 1, "thinking_config": {"thinking_budget": -1}},
        "cached_content": "cachedContents/x",
        "novel": {"a": 1},
        "labels": null,
    });
    let decoded = decode_request("models/m", body.to_string().as_bytes()).unwrap();
    assert_eq!(decoded.losses, []);
    let request = decoded.request;
    assert_eq!(request.model, "m");
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Assistant]);
    let ids: Vec<_> = request.messages[2].tool_calls().map(|call| call.id.clone()).collect();
    let results: Vec<_> = request.messages[3]
        .parts
        .iter()
        .map(|part| match &part.content {
            Content::ToolResult(result) => {
                let [answer] = &result.parts[..] else { panic!("one text") };
                let Content::Text(text) = &answer.content else { panic!("a text") };
                (result.call_id.clone(), text.text.as_str())
            }
            other => panic!("expected a result, found {other:?}"),
        })
        .collect();
    assert_eq!(results, [(ids[0].clone(), "x"), (ids[1].clone(), r#"{"a":[1.0]}"#)]);
    assert_eq!(request.messages[2].parts[0].continuity[0].token, "c2ln");
    assert!(matches!(
        &request.messages[4].parts[..],
        [ContentPart { content: Content::Opaque(_), .. }]
    ));
    let ToolDefinition::Function(tool) = &request.tools[0] else { panic!("a function") };
    assert_eq!(tool.parameters, Some(json!({"type": "object"})));
    assert_eq!(
        request.tools[1],
        ToolDefinition::Provider(Opaque::new(DIALECT, r#"{"google_search":{}}"#))
    );
    let choice = ToolChoice::Tool { name: "f".into(), kind: ToolKind::Function };
    assert_eq!(request.tool_choice, Some(choice));
    assert_eq!((request.sampling.top_k, request.max_output_tokens), (Some(40), Some(7)));
    let schema = JsonSchema::new("response", json!({"type": "string"}));
    assert_eq!(request.response_format, Some(ResponseFormat::JsonSchema(schema)));
    assert!(request.reasoning.unwrap().adaptive);
    assert_eq!(request.context.unwrap(), "cachedContents/x");
    assert_eq!(
        request.options.into_iter().collect::<Vec<_>>(),
        [("novel".into(), json!({"a": 1}))]
    );
}

#[test]
fn a_request_that_cannot_be_read_names_its_field() {
    for (body, field) in [
        ("{", ""),
        ("[]", ""),
        ("\u{feff}{}", ""),
        ("{}", "contents"),
        (r#"{"contents":7}"#, "contents[0]"),
        (r#"{"contents":[{"role":"robot","parts":[]}]}"#, "contents[0].role"),
        (r#"{"contents":[{"parts":[{"text":7}]}]}"#, "contents[0].parts[0].text"),
        (
            r#"{"contents":[{"parts":[{"functionCall":{}}]}]}"#,
            "contents[0].parts[0].functionCall.name",
        ),
        (
            r#"{"contents":[{"parts":[{"inlineData":{"data":"%"}}]}]}"#,
            "contents[0].parts[0].inlineData.data",
        ),
        (r#"{"contents":[{"parts":[{"fileData":{}}]}]}"#, "contents[0].parts[0].fileData.fileUri"),
        (
            r#"{"contents":[{}],"generationConfig":{"candidateCount":2}}"#,
            "generationConfig.candidateCount",
        ),
        (r#"{"contents":[{}],"generationConfig":{"topK":"x"}}"#, "generationConfig.topK"),
        (
            r#"{"contents":[{}],"toolConfig":{"functionCallingConfig":{"mode":"MAYBE"}}}"#,
            "toolConfig.functionCallingConfig.mode",
        ),
        (
            r#"{"contents":[{}],"tools":[{"functionDeclarations":[{}]}]}"#,
            "tools[0].functionDeclarations[0].name",
        ),
        (r#"{"contents":[{}],"speechConfig":{}}"#, "speechConfig"),
    ] {
        assert_eq!(decode_request("m", body.as_bytes()).unwrap_err().field, field, "{body}");
    }
    assert!(decode_request("m", b"\xff").is_err());
}

#[test]
fn a_stream_is_written_as_the_vendor_writes_it() {
    let mut encoder = Encoder::new(&Head::new("r-1", "m"), Layout::Sse);
    let mut out = Vec::new();
    for event in [
        ChatEvent::Started { id: None, model: None },
        ChatEvent::ReasoningDelta { part: 0, text: "Hm".into(), summary: false },
        ChatEvent::TextDelta { part: 1, text: "Rī".into() },
        ChatEvent::TextDelta { part: 1, text: "ga".into() },
        ChatEvent::ToolCallStart {
            part: 2,
            id: "a".into(),
            name: "f".into(),
            kind: ToolKind::Function,
        },
        ChatEvent::ToolCallDelta { part: 2, arguments: "{\"x\":".into() },
        ChatEvent::ToolCallDelta { part: 2, arguments: "1}".into() },
        ChatEvent::Continuity {
            part: 2,
            continuity: Continuity::new(token::THOUGHT_SIGNATURE, "c2ln"),
        },
        ChatEvent::Continuity { part: 2, continuity: Continuity::new("encrypted", "no") },
        ChatEvent::ToolCallEnd { part: 2 },
        ChatEvent::Warning { message: "no place".into() },
        ChatEvent::Usage(Usage::new(3, 4)),
        ChatEvent::Finish { reason: FinishReason::ToolCalls, detail: None },
    ] {
        encoder.event(&event, &mut out);
    }
    let chunk = |part: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{part}],\"role\":\"model\"}},\"index\":0}}],\"modelVersion\":\"m\",\"responseId\":\"r-1\"}}\r\n\r\n"
        )
    };
    let expected = [
        chunk(r#"{"text":"Hm","thought":true}"#),
        chunk(r#"{"text":"Rī"}"#),
        chunk(r#"{"text":"ga"}"#),
        chunk(r#"{"functionCall":{"id":"a","name":"f","args":{"x":1}},"thoughtSignature":"c2ln"}"#),
        "data: {\"candidates\":[{\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":3,\"candidatesTokenCount\":4,\"totalTokenCount\":7},\"modelVersion\":\"m\",\"responseId\":\"r-1\"}\r\n\r\n".to_owned(),
    ];
    assert_eq!(String::from_utf8(out).unwrap(), expected.concat());
}

#[test]
fn text_does_not_wait_for_what_may_follow() {
    let mut encoder = Encoder::new(&Head::new("r", "m"), Layout::Sse);
    let mut out = Vec::new();
    encoder.event(&ChatEvent::TextDelta { part: 0, text: "Rī".into() }, &mut out);
    assert!(String::from_utf8_lossy(&out).contains(r#"{"parts":[{"text":"Rī"}]"#));
    let written = out.len();
    let token = Continuity::new(token::THOUGHT_SIGNATURE, "c2ln");
    encoder.event(&ChatEvent::Continuity { part: 0, continuity: token }, &mut out);
    encoder.event(&ChatEvent::TextDelta { part: 0, text: "ga".into() }, &mut out);
    encoder.event(&ChatEvent::Finish { reason: FinishReason::Stop, detail: None }, &mut out);
    let text = String::from_utf8_lossy(&out[written..]).into_owned();
    assert!(text.contains(r#"[{"text":"","thoughtSignature":"c2ln"}]"#), "{text}");
    assert!(text.contains(r#"[{"text":"ga"}]"#), "{text}");
}

#[test]
fn a_failure_in_the_middle_is_heard_in_both_layouts() {
    for (layout, headers) in [(Layout::Sse, SSE), (Layout::Array, JSON)] {
        let mut encoder = Encoder::new(&Head::new("r", "m"), layout);
        let mut out = Vec::new();
        encoder.event(&ChatEvent::TextDelta { part: 0, text: "Hel".into() }, &mut out);
        let failure = ProviderError::new(ErrorKind::Overloaded, "full");
        encoder.error(&failure, &mut out);
        let run = Replay::new(open::<Decoder>()).respond(200, &headers, &out).run();
        assert_eq!(run.text(), "Hel");
        let error = run.error.unwrap();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Overloaded, "full"));
    }
}

#[test]
fn what_is_not_known_in_a_turn_is_named() {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "t"}], "odd": 1, "nothing": null}]});
    let decoded = decode_request("m", body.to_string().as_bytes()).unwrap();
    let named: Vec<&str> = decoded.losses.iter().map(|loss| &*loss.field).collect();
    assert_eq!(named, ["contents[0].odd"]);
}
