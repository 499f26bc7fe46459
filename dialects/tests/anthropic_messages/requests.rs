//! Requests as the vendor gets them, and clients' requests as the gateway sees them.

use dialects::{
    Loss,
    anthropic_messages::{
        DIALECT, Effort, Quirks, Version, decode_request, encode_request, token, tokens,
    },
};
use plugin_api::{chat::*, error::ErrorKind, kit::body, operation::Model};
use serde_json::{Value, json};

fn encode(request: &ChatRequest, quirks: &Quirks) -> (Value, Vec<Loss>) {
    let encoded = encode_request(request, quirks).unwrap();
    (
        serde_json::from_slice(&body::render(&encoded.body, &[(7, b"\x01\x02")])).unwrap(),
        encoded.losses,
    )
}

/// Encodes a request that must lose nothing.
fn whole(request: &ChatRequest) -> Value {
    let (json, losses) = encode(request, &Quirks::default());
    assert_eq!(losses, []);
    json
}

fn fields(losses: &[Loss]) -> Vec<(&str, bool)> {
    losses.iter().map(|loss| (&*loss.field, loss.harmless)).collect()
}

fn said(role: Role, parts: Vec<Content>) -> Message {
    Message::new(role, parts.into_iter().map(ContentPart::from).collect())
}

fn refused(request: &ChatRequest, quirks: &Quirks) -> String {
    let error = encode_request(request, quirks).unwrap().or_refuse().unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotSupported);
    error.message
}

fn newer() -> Quirks {
    let mut quirks = Quirks::default();
    quirks.version = Version::V2026;
    quirks
}

fn signed(text: &str, kind: &str, token: &str) -> ContentPart {
    let mut part: ContentPart = Content::Reasoning(Reasoning::new(text)).into();
    part.continuity.push(Continuity::new(kind, token));
    part
}

#[test]
fn the_smallest_request() {
    let request = ChatRequest::new("m", vec![Message::user("hi")]);
    assert_eq!(
        whole(&request),
        json!({"model": "m", "max_tokens": 8192, "stream": true,
               "messages": [{"role": "user", "content": "hi"}]})
    );
}

#[test]
fn the_documented_request_is_written_and_read() {
    let wire = json!({
        "model": "claude-demo-5", "max_tokens": 2048, "stream": true,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "get_weather", "description": "Current weather", "input_schema":
            {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}],
        "messages": [
            {"role": "user", "content": "Weather in Riga?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Use the tool.", "signature": "EqQB-fake"},
                {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {"city": "Riga"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_01", "content": "4 C"}]}],
    });
    let decoded = decode_request(wire.to_string().as_bytes()).unwrap();
    assert!(decoded.stream && decoded.losses.is_empty());
    let request = decoded.request;
    assert_eq!(request.messages[0].role, Role::System);
    assert_eq!(request.messages[2].parts[0].continuity[0].token, "EqQB-fake");
    assert_eq!(request.messages[3], Message::tool_result("toolu_01", "4 C"));
    assert_eq!(request.reasoning.as_ref().unwrap().budget_tokens, Some(1024));
    assert_eq!(whole(&request), wire);
}

#[test]
fn thinking_goes_back_exactly_and_only_with_its_token() {
    let call = ToolCall::new("toolu_1", "f", "{ \"b\":1, \"a\":2.0 }");
    let parts = vec![
        signed("", token::SIGNATURE, "hidden="),
        signed("", token::REDACTED_THINKING, "Em=="),
        Content::Reasoning(Reasoning::new("of another vendor")).into(),
        signed("t", "thought_signature", "x"),
        Content::ToolCall(call).into(),
    ];
    let request = ChatRequest::new("m", vec![Message::new(Role::Assistant, parts)]);
    let encoded = encode_request(&request, &Quirks::default()).unwrap();
    let text = String::from_utf8(body::render(&encoded.body, &[])).unwrap();
    let expected = concat!(
        r#""content":[{"type":"thinking","thinking":"","signature":"hidden="},"#,
        r#"{"type":"redacted_thinking","data":"Em=="},"#,
        r#"{"type":"tool_use","id":"toolu_1","name":"f","input":{ "b":1, "a":2.0 }}]"#
    );
    assert!(text.contains(expected), "{text}");
    assert_eq!(
        fields(&encoded.losses),
        [("messages[0].parts[2]", true), ("messages[0].parts[3]", true)]
    );
}

#[test]
fn answers_of_tools_come_first_in_one_turn_with_pictures_and_failures() {
    let mut failed = ToolResult::new("b", vec![ContentPart::text("city not found")]);
    failed.is_error = true;
    let blob = Media::new(DataSource::Blob { id: 7, len: 2 }).media_type("image/png");
    let shown = ToolResult::new("a", vec![ContentPart::text("see"), Content::Image(blob).into()]);
    let request = ChatRequest::new(
        "m",
        vec![
            said(Role::Tool, vec![Content::ToolResult(shown)]),
            said(Role::Tool, vec![Content::ToolResult(failed)]),
            Message::user("go on"),
        ],
    );
    let json = whole(&request);
    assert_eq!(
        json["messages"],
        json!([
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image", "source":
                        {"type": "base64", "media_type": "image/png", "data": "AQI="}}]},
                {"type": "tool_result", "tool_use_id": "b", "content": "city not found",
                 "is_error": true}]},
            {"role": "user", "content": "go on"},
        ])
    );
    let late = said(
        Role::User,
        vec![Content::Text(Text::new("hm")), Content::ToolResult(ToolResult::new("c", Vec::new()))],
    );
    let (json, losses) = encode(&ChatRequest::new("m", vec![late]), &Quirks::default());
    let block = &json["messages"][0]["content"][0];
    assert_eq!(block, &json!({"type": "tool_result", "tool_use_id": "c"}));
    assert_eq!(fields(&losses), [("messages[0].parts[1]", true)]);
}

#[test]
fn documents_take_each_form() {
    let media = |source, kind: Option<&str>| {
        let mut media = Media::new(source);
        media.media_type = kind.map(str::to_owned);
        media
    };
    let inline = |data: &[u8]| DataSource::Inline { data: data.to_vec() };
    let url = || DataSource::Url { url: "https://a.test/x.pdf".into() };
    for (media, source) in [
        (
            media(inline(b"%P"), Some("application/pdf")).name("a.pdf"),
            json!({"type": "base64", "media_type": "application/pdf", "data": "JVA="}),
        ),
        (
            media(inline("é\n".as_bytes()), Some("text/plain")),
            json!({"type": "text", "media_type": "text/plain", "data": "é\n"}),
        ),
        (media(url(), None), json!({"type": "url", "url": "https://a.test/x.pdf"})),
        (media(DataSource::file("file_1"), None), json!({"type": "file", "file_id": "file_1"})),
    ] {
        let title = media.name.clone();
        let mut part: ContentPart = Content::File(media).into();
        part.options.insert("context".into(), json!("of 2026"));
        part.options.insert("citations".into(), json!({"enabled": true}));
        let request = ChatRequest::new("m", vec![Message::new(Role::User, vec![part])]);
        let mut block = json!({"type": "document", "source": source});
        if let Some(title) = title {
            block["title"] = title.into();
        }
        block["citations"] = json!({"enabled": true});
        block["context"] = json!("of 2026");
        assert_eq!(whole(&request)["messages"][0]["content"][0], block);
    }
    let sheet = said(
        Role::User,
        vec![Content::File(media(inline(b"PK"), Some("application/vnd.ms-excel")))],
    );
    let message = refused(&ChatRequest::new("m", vec![sheet]), &Quirks::default());
    assert_eq!(message, "`messages[0].parts[0]` is neither a PDF nor a text");
    let sound = said(Role::User, vec![Content::Audio(media(inline(b"x"), Some("audio/wav")))]);
    let message = refused(&ChatRequest::new("m", vec![sound]), &Quirks::default());
    assert!(message.starts_with("`messages[0].parts[0]` is sound"), "{message}");
}

#[test]
fn the_newer_version_drops_sampling_and_refuses_documents_of_the_assistant() {
    let document = Content::File(Media::new(DataSource::file("f")));
    let mut cited = Text::new("x");
    let mut citation = Citation::default();
    citation.native = Some(json!({"type": "page_location", "start_page_number": 1}));
    cited.citations.push(citation);
    let mut request = ChatRequest::new(
        "m",
        vec![
            said(Role::User, vec![Content::Text(cited.clone())]),
            said(Role::Assistant, vec![Content::Text(cited)]),
        ],
    );
    let sampling = &mut request.sampling;
    (sampling.temperature, sampling.top_p, sampling.top_k) = (Some(1.0), Some(0.5), Some(3));
    let json = whole(&request);
    assert_eq!((&json["temperature"], &json["top_k"]), (&json!(1.0), &json!(3)));
    assert!(json["messages"][0]["content"][0]["citations"].is_array());

    let (json, losses) = encode(&request, &newer());
    for name in ["temperature", "top_p", "top_k"] {
        assert!(json.get(name).is_none(), "{name}");
    }
    assert_eq!(
        fields(&losses),
        [
            ("messages[0].parts[0].citations", true),
            ("temperature", true),
            ("top_p", true),
            ("top_k", true)
        ]
    );
    assert!(json["messages"][0]["content"][0].get("citations").is_none());
    assert!(json["messages"][1]["content"][0]["citations"].is_array());

    let request = ChatRequest::new("m", vec![said(Role::Assistant, vec![document.clone()])]);
    assert_eq!(whole(&request)["messages"][0]["content"][0]["type"], "document");
    let message = refused(&request, &newer());
    assert!(message.starts_with("`messages[0].parts[0]` is a document of the assistant"));
    // A document in the answer to a tool stays.
    let result = ToolResult::new("a", vec![document.into()]);
    let request = ChatRequest::new("m", vec![said(Role::Tool, vec![Content::ToolResult(result)])]);
    assert_eq!(encode(&request, &newer()).1, []);
}

#[test]
fn tools_and_choices() {
    let mut tool = FunctionTool::new("f", None);
    tool.strict = Some(true);
    tool.cache = Some(CacheControl::default());
    let mut request = ChatRequest::new("m", vec![Message::user("x")]);
    let search = r#"{"type":"web_search_20250305","name":"web_search"}"#;
    request.tools = vec![
        ToolDefinition::Function(tool),
        ToolDefinition::Function(FunctionTool::new("g", Some(json!({"type": "object"})))),
        ToolDefinition::Provider(Opaque::new(DIALECT, search)),
    ];
    assert_eq!(
        whole(&request)["tools"],
        json!([
            {"name": "f", "input_schema": {"type": "object", "properties": {}}, "strict": true,
             "cache_control": {"type": "ephemeral"}},
            {"name": "g", "input_schema": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search"},
        ])
    );
    let kind = ToolKind::Function;
    for (choice, parallel, expected) in [
        (Some(ToolChoice::Auto), None, json!({"type": "auto"})),
        (Some(ToolChoice::None), None, json!({"type": "none"})),
        (
            Some(ToolChoice::Required),
            Some(false),
            json!({"type": "any", "disable_parallel_tool_use": true}),
        ),
        (
            Some(ToolChoice::Tool { name: "g".into(), kind }),
            None,
            json!({"type": "tool", "name": "g"}),
        ),
        (None, Some(false), json!({"type": "auto", "disable_parallel_tool_use": true})),
        (None, Some(true), json!({"type": "auto", "disable_parallel_tool_use": false})),
        (None, None, Value::Null),
    ] {
        (request.tool_choice, request.parallel_tool_calls) = (choice, parallel);
        assert_eq!(whole(&request)["tool_choice"], expected);
    }
    request.parallel_tool_calls = None;
    request.tool_choice = Some(ToolChoice::Allowed { names: vec!["g".into()], required: true });
    let (json, losses) = encode(&request, &Quirks::default());
    assert_eq!(json["tool_choice"], json!({"type": "any"}));
    assert_eq!(json["tools"].as_array().unwrap().len(), 1);
    assert_eq!(fields(&losses), [("tool_choice.allowed", true)]);
    request.tools = vec![ToolDefinition::Custom(CustomTool::new("c"))];
    request.tool_choice = None;
    assert!(refused(&request, &Quirks::default()).starts_with("`tools[0]` takes free text"));
}

#[test]
fn a_forced_tool_and_thinking_exclude_each_other() {
    let mut request = ChatRequest::new("m", vec![Message::user("x")]);
    request.tools = vec![ToolDefinition::Function(FunctionTool::new("f", None))];
    request.tool_choice = Some(ToolChoice::Required);
    let mut reasoning = ReasoningSettings::default();
    reasoning.budget_tokens = Some(2000);
    request.reasoning = Some(reasoning);
    let (json, losses) = encode(&request, &Quirks::default());
    assert!(json.get("thinking").is_none());
    assert_eq!(fields(&losses), [("reasoning", true)]);
}

#[test]
fn calls_that_are_no_objects_are_kept_as_texts() {
    let mut free = ToolCall::new("b", "g", "do \"it\"");
    free.kind = ToolKind::Custom;
    let calls = vec![
        Content::ToolCall(ToolCall::new("a", "f", "{\"x\":")),
        Content::ToolCall(free),
        Content::ToolCall(ToolCall::new("c", "f", "")),
    ];
    let request = ChatRequest::new("m", vec![said(Role::Assistant, calls)]);
    let (json, losses) = encode(&request, &Quirks::default());
    let inputs: Vec<_> = json["messages"][0]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["input"].clone())
        .collect();
    assert_eq!(
        inputs,
        [json!({"invalid_json": "{\"x\":"}), json!({"input": "do \"it\""}), json!({})]
    );
    assert_eq!(
        fields(&losses),
        [("messages[0].parts[0].arguments", true), ("messages[0].parts[1]", true)]
    );
}

#[test]
fn no_more_than_four_marks_are_sent_and_the_last_count() {
    let marked = |text: &str, ttl| {
        let mut part = ContentPart::text(text);
        let mut cache = CacheControl::default();
        cache.ttl_seconds = ttl;
        part.cache = Some(cache);
        part
    };
    let parts: Vec<_> = (0..5).map(|n| marked(&n.to_string(), Some(3600))).collect();
    let request = ChatRequest::new("m", vec![Message::new(Role::User, parts)]);
    let (json, losses) = encode(&request, &Quirks::default());
    let blocks = json["messages"][0]["content"].as_array().unwrap();
    assert!(blocks[0].get("cache_control").is_none());
    assert_eq!(blocks[1]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(fields(&losses), [("messages[0].parts[0].cache", true)]);
    for (ttl, expected, lossless) in
        [(Some(300), "5m", true), (Some(1800), "1h", false), (Some(60), "5m", false)]
    {
        let message = Message::new(Role::User, vec![marked("x", ttl)]);
        let (json, losses) = encode(&ChatRequest::new("m", vec![message]), &Quirks::default());
        let block = &json["messages"][0]["content"][0];
        assert_eq!(block["cache_control"]["ttl"], expected);
        assert_eq!(losses.is_empty(), lossless, "{ttl:?}");
    }
}

#[test]
fn form_effort_and_what_is_not_typed_share_an_object() {
    let mut request = ChatRequest::new("m", vec![Message::user("x")]);
    let schema = json!({"type": "object", "properties": {"z": {}, "a": {}}});
    request.response_format =
        Some(ResponseFormat::JsonSchema(JsonSchema::new("answer", schema.clone())));
    let mut reasoning = ReasoningSettings::default();
    reasoning.effort = Some("max".into());
    request.reasoning = Some(reasoning);
    request.options.insert("output_config".into(), json!({"effort": "low", "new": 1}));
    let (json, losses) = encode(&request, &Quirks::default());
    assert_eq!(
        json["output_config"],
        json!({"effort": "max", "format": {"type": "json_schema", "schema": schema}, "new": 1})
    );
    assert_eq!(json["thinking"], json!({"type": "adaptive"}));
    assert_eq!(fields(&losses), [("options.output_config.effort", true)]);
    request.response_format = Some(ResponseFormat::JsonObject);
    assert!(refused(&request, &Quirks::default()).starts_with("`response_format`"));
}

#[test]
fn effort_for_models_that_know_only_budgets() {
    let mut quirks = Quirks::default();
    quirks.effort = Effort::Budget;
    let mut request = ChatRequest::new("m", vec![Message::user("x")]);
    let mut reasoning = ReasoningSettings::default();
    reasoning.effort = Some("high".into());
    request.reasoning = Some(reasoning);
    let mut model = Model::new("m");
    model.max_output_tokens = Some(8192);
    request.model_info = Some(Box::new(model));
    let (json, losses) = encode(&request, &quirks);
    assert_eq!(json["thinking"], json!({"type": "enabled", "budget_tokens": 8191}));
    assert_eq!((&json["max_tokens"], losses.len()), (&json!(8192), 0));
}

#[test]
fn what_has_no_field_is_named() {
    let mut request = ChatRequest::new("m", vec![Message::user("x")]);
    request.sampling.seed = Some(1);
    request.sampling.frequency_penalty = Some(0.5);
    request.cache_key = Some("k".into());
    request.metadata.insert("team".into(), "a".into());
    request.store = Some(true);
    request.options.insert("max_tokens".into(), json!(1));
    request.options.insert("service_tier".into(), json!("auto"));
    request.messages[0].name = Some("Ann".into());
    let (json, losses) = encode(&request, &Quirks::default());
    assert_eq!(json["service_tier"], "auto");
    assert_eq!(
        fields(&losses),
        [
            ("messages[0].name", true),
            ("frequency_penalty", true),
            ("seed", true),
            ("cache_key", true),
            ("metadata", true),
            ("store", true),
            ("options.max_tokens", true)
        ]
    );
    request.context = Some("conv_1".into());
    assert_eq!(
        refused(&request, &Quirks::default()),
        "`context` cannot be continued in this format"
    );
}

#[test]
fn operators_speak_first_in_system_and_later_where_the_model_takes_it() {
    let messages = vec![
        Message::system("a"),
        Message::new(Role::Developer, vec![ContentPart::text("b")]),
        Message::user("x"),
        Message::system("c"),
    ];
    let request = ChatRequest::new("m", messages);
    let json = whole(&request);
    assert_eq!(json["system"][1], json!({"type": "text", "text": "b"}));
    assert_eq!(json["messages"][1], json!({"role": "system", "content": "c"}));
    let mut quirks = Quirks::default();
    quirks.supports_system_messages = false;
    let (json, losses) = encode(&request, &quirks);
    assert_eq!(json["system"][2]["text"], "c");
    assert_eq!(fields(&losses), [("messages[3]", true)]);
}

#[test]
fn what_says_nothing_is_left_out() {
    let foreign = said(Role::Assistant, vec![Content::Reasoning(Reasoning::new("hm"))]);
    let messages = vec![Message::user("x"), Message::assistant(""), Message::user("y"), foreign];
    let (json, losses) = encode(&ChatRequest::new("m", messages), &Quirks::default());
    assert_eq!(json["messages"].as_array().unwrap().len(), 2);
    assert_eq!(
        fields(&losses),
        [("messages[1]", true), ("messages[3].parts[0]", true), ("messages[3]", true)]
    );
}

#[test]
fn a_count_asks_for_the_prompt_alone() {
    let mut request = ChatRequest::new("m", vec![Message::system("s"), Message::user("x")]);
    request.sampling.temperature = Some(0.5);
    request.stop = vec!["#".into()];
    request.user = Some("u".into());
    request.max_output_tokens = Some(9);
    request.options.insert("service_tier".into(), json!("auto"));
    let encoded = tokens::encode_request(&request, &Quirks::default()).unwrap();
    let json: Value = serde_json::from_slice(&body::render(&encoded.body, &[])).unwrap();
    assert_eq!(
        json,
        json!({"model": "m", "system": "s", "messages": [{"role": "user", "content": "x"}]})
    );
    assert_eq!(encoded.losses, []);
}

#[test]
fn a_clients_unknown_fields_and_blocks_are_kept() {
    let wire = r#"{"model":"m","max_tokens":9,"mood":{"b":1,"a":2},"stream":null,
        "thinking":{"type":"between_tools"},"metadata":{"user_id":"u","x":null},
        "tools":[{"type":"computer_20250124","name":"computer"},{"name":"f","defer_loading":true}],
        "messages":[{"role":"user","content":[{"type":"text","text":"a","new":1},
            {"type":"search_result", "source":"s","z":1.0},
            {"type":"document","source":{"type":"content","content":"c"}}]},
            {"role":"system","content":"mid"}]}"#;
    let decoded = decode_request(wire.as_bytes()).unwrap();
    let request = &decoded.request;
    assert!(!decoded.stream);
    assert_eq!(request.options["mood"], json!({"b": 1, "a": 2}));
    assert_eq!(request.options["thinking"], json!({"type": "between_tools"}));
    assert_eq!(request.messages[0].parts[0].options["new"], 1);
    let Content::Opaque(block) = &request.messages[0].parts[1].content else { panic!() };
    assert_eq!(block.json, r#"{"type":"search_result", "source":"s","z":1.0}"#);
    assert!(matches!(request.messages[0].parts[2].content, Content::Opaque(_)));
    assert_eq!(request.messages[1].role, Role::System);
    let json = whole(request);
    assert_eq!(json["thinking"], json!({"type": "between_tools"}));
    assert_eq!(json["tools"][1]["defer_loading"], true);
    assert_eq!(json["tools"][0]["type"], "computer_20250124");
}

#[test]
fn what_cannot_be_read_is_named() {
    let with = |messages: &str| format!(r#"{{"model":"m","messages":{messages}}}"#);
    for (body, field) in [
        ("[]".to_owned(), ""),
        ("{".to_owned(), ""),
        (r#"{"messages":[]}"#.to_owned(), "model"),
        (r#"{"model":"m"}"#.to_owned(), "messages"),
        (r#"{"model":"m","messages":[],"max_tokens":"many"}"#.to_owned(), "max_tokens"),
        (
            r#"{"model":"m","messages":[],"tool_choice":{"type":"x"}}"#.to_owned(),
            "tool_choice.type",
        ),
        (
            r#"{"model":"m","messages":[],"output_config":{"format":{"type":"x"}}}"#.to_owned(),
            "output_config.format.type",
        ),
        (r#"{"model":"m","messages":[],"tools":[{}]}"#.to_owned(), "tools[0].name"),
        (with(r#"[{"role":"robot","content":"x"}]"#), "messages[0].role"),
        (with(r#"[{"role":"user"}]"#), "messages[0].content"),
        (with(r#"[{"role":"user","content":[{}]}]"#), "messages[0].content[0].type"),
        (
            with(r#"[{"role":"user","content":[{"type":"text","text":7}]}]"#),
            "messages[0].content[0].text",
        ),
        (
            with(
                r#"[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"image"}]}]}]"#,
            ),
            "messages[0].content[0].content[0].source",
        ),
        (
            with(
                r#"[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":"!"}}]}]"#,
            ),
            "messages[0].content[0].source.data",
        ),
    ] {
        assert_eq!(decode_request(body.as_bytes()).unwrap_err().field, field, "{body}");
    }
    assert!(decode_request(b"\xff").is_err());
}
