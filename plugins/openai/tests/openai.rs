//! What the plugin sends for each behaviour under each login, and what it makes of the answers.

use openai::OpenAi;
use plugin_api::{
    chat::*,
    http::{Auth, Piece},
    instance::AuthKind,
    kit::replay::{Replay, Run},
    manifest::{Manifest, json_bytes, json_len},
    operation::{DeleteContextChunk, EmbedRequest, ListContextChunks},
    prelude::*,
};
use serde_json::{Value, json};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const SSE: &[(&str, &str)] = &[("content-type", "text/event-stream")];

fn key() -> Instance {
    let id = plugin_api::ProviderId::new("openai").unwrap();
    let mut instance = Instance::new(id, "https://api.openai.com/v1");
    instance.session.auth = AuthKind::ApiKey;
    instance.session.scheme = "api_key".into();
    instance
}

fn plan() -> Instance {
    let mut instance = key();
    instance.session.auth = AuthKind::OAuth;
    instance.session.scheme = "chatgpt".into();
    instance
}

fn with(mut instance: Instance, settings: Value) -> Instance {
    instance.settings = serde_json::from_value(settings).unwrap();
    instance
}

fn ask() -> ChatRequest {
    ChatRequest::new("gpt-demo-1", vec![Message::system("Be brief."), Message::user("Weather?")])
}

fn refused(opened: Opened) -> ProviderError {
    match opened {
        Err(error) => error,
        Ok(_) => panic!("expected a refusal"),
    }
}

fn run(opened: Opened, status: u16, headers: &[(&str, &str)], body: &str) -> Run {
    let run = Replay::new(opened.unwrap()).respond(status, headers, body.as_bytes()).run();
    assert_eq!(run.violations, []);
    run
}

/// Sends, and returns method, URL, headers and body.
fn sent(opened: Opened) -> (Method, String, Vec<(String, String)>, String) {
    let run = run(opened, 500, &[], "");
    let request = run.requests[0].clone();
    assert_eq!(request.auth, Auth::Scheme, "the credential goes where the login says");
    let body = String::from_utf8(request.body.as_bytes().unwrap().to_vec()).unwrap();
    (request.method, request.url, request.headers, body)
}

fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const DONE: &str = r#"data: {"type":"response.created","response":{"id":"resp_1","model":"gpt-demo-1"}}

data: {"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"4 C"}

data: {"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[],"store":false}}

"#;

// The manifest

#[test]
fn the_manifest_says_what_each_login_may_do() {
    const SPEC: PluginSpec = <OpenAi as Provider>::SPEC;
    const LEN: usize = json_len(&SPEC, &[], "unwind");
    let manifest = Manifest::from_json(&json_bytes::<LEN>(&SPEC, &[], "unwind")).unwrap();
    let provider = &manifest.providers[0];
    assert_eq!(
        (provider.id.as_str(), provider.base_url.as_str()),
        ("openai", "https://api.openai.com/v1")
    );
    let [plugin_api::auth::AuthScheme::ApiKey(key), plugin_api::auth::AuthScheme::OAuth(plan)] =
        &provider.auth[..]
    else {
        panic!("{:?}", provider.auth)
    };
    assert_eq!(
        (key.env.as_slice(), key.prefix.as_str()),
        (&["OPENAI_API_KEY".to_owned()][..], "sk-")
    );
    assert!(key.asks.iter().all(|ask| ask.optional));
    assert_eq!(plan.flows, ["loopback"]);
    assert_eq!(
        (plan.redirect_host.as_str(), plan.redirect_path.as_str()),
        ("127.0.0.1", "/auth/callback")
    );
    assert!(plan.redirect_ports.is_empty() && plan.id_token && plan.client_id_from_callback);
    assert_eq!(plan.client_id, "dynamic_agent_client");
    assert_eq!(plan.first_params, ["agent_name_hint=Maestro"]);
    assert_eq!(
        plan.authorization_params,
        ["ext_agent_host_id={installation}", "resource=https://api.openai.com/v1"]
    );
    assert_eq!(plan.token_params, ["resource=https://api.openai.com/v1"]);
    assert_eq!(plan.required_scopes, ["chatgpt.tokens.use.direct"]);
    assert!(plan.scopes.contains(&plan.required_scopes[0]));
    assert_eq!(plan.earliest_refresh_field, "earliest_refresh_at");
    assert!(plan.login_again_codes.iter().any(|code| code == "refresh_token_reused"));
    assert!(!plan.client_secret && !plan.without_pkce);
    assert_eq!(plan.without.len(), 3);
    assert_eq!(plan.without_dialects, provider.dialects);
    for setting in &manifest.settings {
        assert!(setting.help.ends_with('.'), "{}", setting.name);
    }
}

// Conversations by API key

#[test]
fn responses_are_asked_for_and_nothing_is_kept() {
    let (method, url, headers, body) = sent(OpenAi.stream_chat(&key(), ask()));
    assert_eq!((method, url.as_str()), (Method::Post, "https://api.openai.com/v1/responses"));
    assert_eq!(
        headers,
        pairs(&[("content-type", "application/json"), ("accept", "text/event-stream")])
    );
    assert_eq!(
        body,
        r#"{"model":"gpt-demo-1","instructions":"Be brief.","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"Weather?"}]}],"stream":true,"store":false,"include":["reasoning.encrypted_content"]}"#
    );
    let run = run(OpenAi.stream_chat(&key(), ask()), 200, SSE, DONE);
    assert_eq!((run.text().as_str(), run.transcript().context), ("4 C", None));
}

#[test]
fn settings_and_the_session_say_the_rest() {
    let mut instance = with(
        key(),
        json!({"organization": "org-all", "project": "proj_all", "service_tier": "flex",
            "reasoning_effort": "low", "reasoning_summary": "auto", "verbosity": "high",
            "store": true, "stream": false, "headers": {"x-extra": "1"}}),
    );
    instance.session.attributes.insert("project".into(), "proj_own".into());
    let (_, _, headers, body) = sent(OpenAi.stream_chat(&instance, ask()));
    assert_eq!(
        headers,
        pairs(&[
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("x-extra", "1"),
            ("openai-organization", "org-all"),
            ("openai-project", "proj_own"),
        ])
    );
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["input"][0]["role"], "system", "what is kept must hold the rules too");
    assert_eq!(
        (&body["store"], &body["include"], &body["stream"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
    assert_eq!(body["reasoning"], json!({"effort": "low", "summary": "auto"}));
    assert_eq!(
        (&body["service_tier"], &body["text"]),
        (&json!("flex"), &json!({"verbosity": "high"}))
    );
    // What the request says comes first.
    let mut request = ask();
    request.store = Some(false);
    request.options.insert("service_tier".into(), json!("priority"));
    let mut reasoning = ReasoningSettings::default();
    reasoning.effort = Some("high".into());
    request.reasoning = Some(reasoning);
    let (_, _, _, body) = sent(OpenAi.stream_chat(&instance, request));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["store"], &body["service_tier"]), (&json!(false), &json!("priority")));
    assert_eq!(body["reasoning"]["effort"], "high");
}

#[test]
fn a_kept_conversation_is_continued() {
    for (context, field) in [("conv_1", "conversation"), ("resp_1", "previous_response_id")] {
        let mut request = ask();
        request.context = Some(context.into());
        let (_, _, _, body) = sent(OpenAi.stream_chat(&key(), request));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body[field], context);
        assert_eq!((&body["store"], &body["include"]), (&Value::Null, &Value::Null));
    }
    let kept = DONE.replace("\"store\":false", "\"store\":true");
    let run = run(OpenAi.stream_chat(&key(), ask()), 200, SSE, &kept);
    assert_eq!(run.transcript().context, Some("resp_1".into()));
}

#[test]
fn reasoning_goes_back_with_the_call_that_it_led_to() {
    let recorded = concat!(
        r#"data: {"type":"response.output_item.done","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[],"encrypted_content":"gAAAA-fake"}}"#,
        "\n\n",
        r#"data: {"type":"response.output_item.done","output_index":1,"item":{"id":"fc_1","type":"function_call","call_id":"call_a1","name":"get_weather","arguments":"{}"}}"#,
        "\n\n",
        r#"data: {"type":"response.completed","response":{"id":"resp_1","status":"completed"}}"#,
        "\n\n",
    );
    let mut request = ask();
    let schema = json!({"type": "object", "properties": {}});
    request.tools = vec![ToolDefinition::Function(FunctionTool::new("get_weather", Some(schema)))];
    let answer = run(OpenAi.stream_chat(&key(), request.clone()), 200, SSE, recorded);
    assert_eq!(answer.request_json(0)["tools"][0]["strict"], false);
    request.messages.push(answer.transcript().message());
    request.messages.push(Message::tool_result("call_a1", "{\"c\":4}"));
    let (_, _, _, body) = sent(OpenAi.stream_chat(&key(), request));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body["input"].as_array().unwrap()[1..],
        [
            json!({"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA-fake"}),
            json!({"type": "function_call", "call_id": "call_a1", "name": "get_weather", "arguments": "{}"}),
            json!({"type": "function_call_output", "call_id": "call_a1", "output": "{\"c\":4}"}),
        ]
    );
}

#[test]
fn chat_completions_by_setting_or_need() {
    let chat = "https://api.openai.com/v1/chat/completions";
    let (_, url, headers, body) =
        sent(OpenAi.stream_chat(&with(key(), json!({"api": "chat"})), ask()));
    assert_eq!(url, chat);
    assert_eq!(
        headers,
        pairs(&[("content-type", "application/json"), ("accept", "text/event-stream")])
    );
    assert_eq!(
        body,
        r#"{"model":"gpt-demo-1","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Weather?"}],"stream":true,"stream_options":{"include_usage":true},"store":false}"#
    );
    let needs = |change: fn(&mut ChatRequest)| {
        let mut request = ask();
        change(&mut request);
        request
    };
    for request in [
        needs(|request| request.stop = vec!["END".into()]),
        needs(|request| request.sampling.seed = Some(7)),
        needs(|request| request.sampling.presence_penalty = Some(0.5)),
        needs(|request| drop(request.options.insert("logit_bias".into(), json!({"1": 1})))),
    ] {
        assert_eq!(sent(OpenAi.stream_chat(&key(), request)).1, chat);
    }
    // What only tunes does not outweigh reasoning that must go back; a stop text does.
    let mut thought: ContentPart = Content::Reasoning(Reasoning::default()).into();
    let item = r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"}"#;
    thought.continuity.push(Continuity::new("reasoning_item", item));
    let mut request = needs(|request| request.sampling.seed = Some(7));
    request.messages.push(Message::new(Role::Assistant, vec![thought]));
    assert!(sent(OpenAi.stream_chat(&key(), request.clone())).1.ends_with("/responses"));
    request.stop = vec!["END".into()];
    assert_eq!(sent(OpenAi.stream_chat(&key(), request)).1, chat);
    // A kept conversation has no other home; the stop text is refused by name.
    let mut request = needs(|request| request.stop = vec!["END".into()]);
    request.context = Some("conv_1".into());
    let error = refused(OpenAi.stream_chat(&key(), request.clone()));
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::NotSupported, "`stop` has no field in this format")
    );
    request.context = None;
    assert!(OpenAi.stream_chat(&with(key(), json!({"api": "responses"})), request).is_err());
    let error = refused(OpenAi.stream_chat(&with(key(), json!({"api": "soap"})), ask()));
    assert_eq!(
        error.message,
        "setting `api`: expected `auto`, `responses` or `chat`, found `soap`"
    );
    let stream = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"4 C\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let run =
        run(OpenAi.stream_chat(&with(key(), json!({"api": "chat"})), ask()), 200, SSE, stream);
    assert_eq!(run.text(), "4 C");
}

#[test]
fn a_clients_own_body_passes_through() {
    let text = r#"{"model":"alias","stream":true,"novel":[1.0]}"#;
    let field = |name: &str, text_of: &str, value: Value| {
        let key_start = text.find(text_of).unwrap() as u64;
        let mut field = NativeField::default();
        (field.name, field.key_start) = (name.into(), key_start);
        (field.end, field.value) = (key_start + text_of.len() as u64, Some(value));
        field
    };
    let mut native = NativeBody::default();
    native.len = text.len() as u64;
    native.headers = vec![("openai-beta".into(), "x".into()), ("accept".into(), "*/*".into())];
    native.fields = vec![
        field("model", r#""model":"alias""#, json!("alias")),
        field("stream", r#""stream":true"#, json!(true)),
        field("novel", r#""novel":[1.0]"#, json!([1.0])),
    ];
    for (dialect, path) in
        [("openai-responses", "/responses"), ("openai-chat", "/chat/completions")]
    {
        native.dialect = dialect.into();
        let mut request = ChatRequest::new("gpt-demo-1", vec![]);
        request.native = Some(native.clone());
        let run = run(OpenAi.stream_chat(&key(), request.clone()), 500, &[], "");
        let sent = &run.requests[0];
        assert_eq!(sent.url, format!("https://api.openai.com/v1{path}"));
        assert!(sent.headers.contains(&("openai-beta".into(), "x".into())));
        assert_eq!(sent.headers.iter().filter(|(name, _)| name == "accept").count(), 1);
        let mut body = String::new();
        for piece in &sent.body.pieces {
            match piece {
                Piece::Bytes(bytes) => body.push_str(str::from_utf8(bytes).unwrap()),
                Piece::Native { start, end } => {
                    body.push_str(&text[*start as usize..*end as usize]);
                }
                _ => panic!("no blob was there"),
            }
        }
        assert_eq!(body, text.replace("alias", "gpt-demo-1"));
        assert_eq!(refused(OpenAi.stream_chat(&plan(), request)).kind, ErrorKind::NotSupported);
    }
    native.dialect = "gemini".into();
    let mut request = ask();
    request.native = Some(native);
    assert_eq!(refused(OpenAi.stream_chat(&key(), request)).kind, ErrorKind::NotSupported);
}

#[test]
fn failures_are_typed() {
    for (status, body, kind) in [
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            ErrorKind::Authentication,
        ),
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            ErrorKind::Quota,
        ),
        (
            429,
            r#"{"error":{"message":"Please try again in 1.3s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            ErrorKind::RateLimited,
        ),
        (502, "<html>Bad gateway</html>", ErrorKind::Unavailable),
        (503, "", ErrorKind::Overloaded),
    ] {
        for instance in [key(), with(key(), json!({"api": "chat"}))] {
            let error = run(OpenAi.stream_chat(&instance, ask()), status, &[], body).error.unwrap();
            assert_eq!((error.kind, error.status), (kind, Some(status)));
        }
        let error = run(OpenAi.list_models(&key(), ListModels::default()), status, &[], body).error;
        assert_eq!(error.unwrap().kind, kind);
    }
    let half = &DONE[..DONE.find("data: {\"type\":\"response.completed").unwrap()];
    let broken = run(OpenAi.stream_chat(&key(), ask()), 200, SSE, half);
    assert_eq!(
        (broken.text().as_str(), broken.error.unwrap().kind),
        ("4 C", ErrorKind::Incomplete)
    );
    let whole = r#"{"id":"resp_1","object":"response","status":"completed","output":[{"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":"4 C"}]}]}"#;
    let whole = run(OpenAi.stream_chat(&key(), ask()), 200, JSON, whole);
    assert_eq!(whole.text(), "4 C");
}

// Conversations with a ChatGPT plan

#[test]
fn a_plan_asks_in_its_own_form() {
    let mut request = ask();
    request.tools = vec![ToolDefinition::Function(FunctionTool::new("get_weather", None))];
    request.sampling.temperature = Some(0.5);
    let settings = json!({"api": "chat", "stream": false, "store": true, "organization": "org-1",
        "service_tier": "flex", "verbosity": "low"});
    let opened = OpenAi.stream_chat(&with(plan(), settings), request);
    let run = run(opened, 200, SSE, DONE);
    let sent = &run.requests[0];
    assert_eq!(sent.url, "https://api.openai.com/v1/responses");
    assert_eq!(
        sent.headers,
        pairs(&[("content-type", "application/json"), ("accept", "text/event-stream")])
    );
    assert_eq!(
        run.request_json(0),
        json!({"model": "gpt-demo-1", "instructions": "Be brief.",
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}],
            "stream": true, "store": false,
            "tools": [{"type": "namespace", "name": "tools", "description": "Tools of the application.",
                "tools": [{"type": "function", "name": "get_weather"}]}],
            "text": {"verbosity": "low"}, "include": ["reasoning.encrypted_content"]})
    );
    assert_eq!(run.transcript().warnings, ["`temperature` is not taken under this login"]);
}

#[test]
fn what_a_plan_does_not_offer_is_refused_before_anything_is_sent() {
    let mut continued = ask();
    continued.context = Some("conv_1".into());
    let mut list = ListContextChunks::default();
    list.context = Some("conv_1".into());
    let chunk = DeleteContextChunk::new("conv_1", None);
    for opened in [
        OpenAi.stream_chat(&plan(), continued),
        OpenAi.embed(&plan(), EmbedRequest::new("m", vec!["a".into()])),
        OpenAi.count_tokens(&plan(), ask()),
        OpenAi.list_context_chunks(&plan(), list),
        OpenAi.delete_context_chunk(&plan(), chunk),
    ] {
        assert_eq!(refused(opened).kind, ErrorKind::NotSupported);
    }
    let mut stored = ask();
    stored.store = Some(true);
    let run = run(OpenAi.stream_chat(&plan(), stored), 200, SSE, DONE);
    assert_eq!(run.request_json(0)["store"], false);
    assert_eq!(run.transcript().warnings, ["`store` is not taken under this login"]);
}

#[test]
fn refusals_of_a_plan_are_typed() {
    let body =
        r#"{"error":{"code":"subscription_sharing_usage_limit_exceeded","message":"limit"}}"#;
    let error = run(OpenAi.stream_chat(&plan(), ask()), 429, JSON, body).error.unwrap();
    assert_eq!((error.kind, error.is_retryable()), (ErrorKind::Quota, false));
    assert!(error.message.contains("chatgpt.com/settings/usage"));
    let body = r#"{"detail":{"code":"subscription_sharing_unsupported_capability","message":"not supported","param":"temperature"}}"#;
    let error = run(OpenAi.stream_chat(&plan(), ask()), 400, JSON, body).error.unwrap();
    assert_eq!(error.kind, ErrorKind::NotSupported);
    assert!(error.message.starts_with("`temperature`: not supported"));
}

// Models, embeddings, counts, tests

#[test]
fn models_come_in_both_shapes() {
    let platform = r#"{"object":"list","data":[{"id":"gpt-demo-1","object":"model","created":1780000000,"owned_by":"system","shutdown_date":"2027-01-01"},{"id":"text-embedding-demo"}]}"#;
    let listed = run(OpenAi.list_models(&key(), ListModels::default()), 200, JSON, platform);
    assert_eq!(listed.requests[0].url, "https://api.openai.com/v1/models");
    let Some(Reply::Models(models)) = listed.value else { panic!() };
    assert_eq!(models.models[0].deprecated.as_deref(), Some("2027-01-01"));
    assert!(models.models[1].is_embedding());
    let plans = r#"{"models":[{"slug":"gpt-demo-plan","display_name":"GPT Demo","visibility":"list"},{"slug":"gpt-internal","display_name":"Internal","visibility":"hide"}]}"#;
    let listed = run(OpenAi.list_models(&plan(), ListModels::default()), 200, JSON, plans);
    let Some(Reply::Models(models)) = listed.value else { panic!() };
    assert_eq!(models.models.len(), 1);
    assert_eq!(models.models[0].display_name.as_deref(), Some("GPT Demo"));

    let one = run(
        OpenAi.model_info(&key(), DescribeModel::new("ft:a/b")),
        200,
        JSON,
        r#"{"id":"ft:a/b","object":"model"}"#,
    );
    assert_eq!(one.requests[0].url, "https://api.openai.com/v1/models/ft%3Aa%2Fb");
    assert!(matches!(one.value, Some(Reply::Model(model)) if model.id == "ft:a/b"));
    let one =
        run(OpenAi.model_info(&plan(), DescribeModel::new("gpt-demo-plan")), 200, JSON, plans);
    assert_eq!(one.requests[0].url, "https://api.openai.com/v1/models");
    assert!(matches!(one.value, Some(Reply::Model(model)) if model.id == "gpt-demo-plan"));
    let hidden =
        run(OpenAi.model_info(&plan(), DescribeModel::new("gpt-internal")), 200, JSON, plans);
    assert_eq!(hidden.error.unwrap().kind, ErrorKind::NotFound);
    assert!(OpenAi.model_info(&key(), DescribeModel::new("..")).is_err());
}

#[test]
fn embeddings_come_as_base64_and_in_order() {
    let mut request = EmbedRequest::new("embed-demo", vec!["alpha".into(), "beta".into()]);
    request.dimensions = Some(2);
    let answer = r#"{"object":"list","model":"embed-demo","data":[{"object":"embedding","index":1,"embedding":"AAAAPwAAAAA="},{"object":"embedding","index":0,"embedding":"zczMPQAAgL8="}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    let run = run(OpenAi.embed(&key(), request.clone()), 200, JSON, answer);
    assert_eq!(run.requests[0].url, "https://api.openai.com/v1/embeddings");
    assert_eq!(
        run.request_json(0),
        json!({"model": "embed-demo", "input": ["alpha", "beta"], "dimensions": 2, "encoding_format": "base64"})
    );
    let Some(Reply::Embeddings(found)) = run.value else { panic!() };
    assert_eq!(
        (found.vectors, found.input_tokens),
        (vec![vec![0.1, -1.0], vec![0.5, 0.0]], Some(2))
    );
    request.task = Some("query".into());
    assert_eq!(refused(OpenAi.embed(&key(), request)).code.as_deref(), Some("task"));
    let many = EmbedRequest::new("m", vec!["a".into(); 2049]);
    assert_eq!(
        refused(OpenAi.embed(&key(), many)).message,
        "expected at most 2048 texts, found 2049"
    );
}

#[test]
fn tokens_are_counted() {
    let answer = r#"{"object":"response.input_tokens","input_tokens":57}"#;
    let run = run(OpenAi.count_tokens(&key(), ask()), 200, JSON, answer);
    assert_eq!(run.requests[0].url, "https://api.openai.com/v1/responses/input_tokens");
    assert_eq!(run.request_json(0)["instructions"], "Be brief.");
    assert_eq!(run.request_json(0)["stream"], Value::Null);
    assert_eq!(run.value, Some(Reply::token_count(57)));
}

#[test]
fn a_connection_is_tested_by_listing_models() {
    let headers = [("openai-organization", "org-1")];
    let good = run(OpenAi.test_connection(&key()), 200, &headers, "{}");
    assert_eq!(good.requests[0].url, "https://api.openai.com/v1/models");
    let Some(Reply::Account(account)) = good.value else { panic!() };
    assert_eq!(account.attributes["organization"], "org-1");
    let bad = run(OpenAi.test_connection(&key()), 401, &[], "");
    assert_eq!(bad.error.unwrap().kind, ErrorKind::Authentication);
}

// What the vendor keeps

#[test]
fn items_of_a_conversation_are_listed_by_page() {
    let page = |more: bool| {
        json!({"object": "list", "data": [{"id": "msg_1", "type": "message", "role": "user",
            "content": [{"type": "input_text", "text": "Weather?"}]}],
            "first_id": "msg_1", "last_id": "msg_1", "has_more": more})
        .to_string()
    };
    let mut request = ListContextChunks::default();
    request.context = Some("conv_1".into());
    let first = run(OpenAi.list_context_chunks(&key(), request.clone()), 200, JSON, &page(true));
    assert_eq!(
        first.requests[0].url,
        "https://api.openai.com/v1/conversations/conv_1/items?limit=100&order=asc"
    );
    let Some(Reply::Chunks(chunks)) = first.value else { panic!() };
    assert_eq!(
        (chunks.chunks[0].context.as_str(), chunks.chunks[0].id.as_str()),
        ("conv_1", "msg_1")
    );
    assert_eq!(chunks.chunks[0].text.as_deref(), Some("Weather?"));
    request.cursor = chunks.next;
    request.limit = Some(1000);
    let last = run(OpenAi.list_context_chunks(&key(), request.clone()), 200, JSON, &page(false));
    assert!(last.requests[0].url.ends_with("items?limit=100&order=asc&after=msg_1"));
    assert!(matches!(last.value, Some(Reply::Chunks(chunks)) if chunks.next.is_none()));
    request.context = Some("resp_1".into());
    (request.cursor, request.limit) = (None, Some(5));
    let inputs = run(OpenAi.list_context_chunks(&key(), request.clone()), 200, JSON, &page(false));
    assert_eq!(
        inputs.requests[0].url,
        "https://api.openai.com/v1/responses/resp_1/input_items?limit=5&order=asc"
    );
    request.context = None;
    assert_eq!(
        refused(OpenAi.list_context_chunks(&key(), request.clone())).kind,
        ErrorKind::InvalidRequest
    );
    request.context = Some("file_1".into());
    assert_eq!(
        refused(OpenAi.list_context_chunks(&key(), request)).kind,
        ErrorKind::InvalidRequest
    );
}

#[test]
fn items_conversations_and_answers_are_deleted() {
    let base = "https://api.openai.com/v1";
    for (context, chunk, url) in [
        ("conv_1", Some("msg_1"), "/conversations/conv_1/items/msg_1"),
        ("conv_1", Some("conv_1/msg_1"), "/conversations/conv_1/items/msg_1"),
        ("conv_1/msg_1", None, "/conversations/conv_1/items/msg_1"),
        ("conv_1", Some("a/../b"), "/conversations/conv_1/items/a%2F..%2Fb"),
        ("conv_1", None, "/conversations/conv_1"),
        ("resp_1", None, "/responses/resp_1"),
    ] {
        let request = DeleteContextChunk::new(context, chunk.map(plugin_api::ChunkId::new));
        let opened = OpenAi.delete_context_chunk(&key(), request.clone());
        let deleted =
            run(opened, 200, JSON, r#"{"id":"conv_1","object":"conversation","metadata":{}}"#);
        let sent = &deleted.requests[0];
        assert_eq!((sent.method, sent.url.as_str()), (Method::Delete, &*format!("{base}{url}")));
        assert!(sent.body.is_empty());
        assert_eq!(deleted.value, Some(Reply::Unit));
        let warned = deleted.transcript().warnings.len();
        assert_eq!(warned, usize::from(url == "/conversations/conv_1"), "its items stay: {url}");
        let gone = run(
            OpenAi.delete_context_chunk(&key(), request),
            404,
            JSON,
            r#"{"error":{"message":"gone"}}"#,
        );
        assert_eq!(gone.error.unwrap().kind, ErrorKind::NotFound);
    }
    let input = DeleteContextChunk::new("resp_1", Some("msg_1".into()));
    assert_eq!(refused(OpenAi.delete_context_chunk(&key(), input)).kind, ErrorKind::NotSupported);
}
