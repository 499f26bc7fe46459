//! What is sent for each behaviour, byte for byte, and what comes of each kind of answer.

use anthropic::Anthropic;
use plugin_api::{
    ProviderId,
    auth::Placement,
    chat::*,
    error::ErrorKind,
    event::FinishReason,
    exchange::Timestamp,
    http::{Auth, HttpRequest, Method, TransportErrorKind},
    instance::{AuthKind, Instance},
    kit::{
        body,
        replay::{Replay, Run, every_cut},
    },
    operation::{Account, DescribeModel, ListModels, Model, Reply},
    provider::{
        ApiKeyProvider as _, ModelProvider as _, Opened, StreamingProvider as _, TokenCounter as _,
    },
};
use serde_json::{Value, json};

fn instance(settings: Value) -> Instance {
    let mut instance =
        Instance::new(ProviderId::new("anthropic").unwrap(), "https://api.anthropic.com");
    instance.settings = serde_json::from_value(settings).unwrap();
    instance.session.auth = AuthKind::ApiKey;
    instance.session.scheme = "api_key".into();
    instance
}

fn with_oauth(settings: Value) -> Instance {
    let mut instance = instance(settings);
    instance.session.auth = AuthKind::OAuth;
    instance.session.scheme = "oauth".into();
    instance
}

/// Lets the exchange send its first request and returns it.
fn sent(opened: Opened) -> HttpRequest {
    let run = Replay::new(opened.unwrap()).run();
    assert_eq!(run.requests.len(), 1);
    run.requests[0].clone()
}

fn rendered(request: &HttpRequest) -> String {
    String::from_utf8(body::render(&request.body, &[(3, b"\x01\x02\x03")])).unwrap()
}

fn hello() -> ChatRequest {
    ChatRequest::new("claude-demo-5", vec![Message::user("hi")])
}

fn chat(settings: Value, request: ChatRequest) -> HttpRequest {
    sent(Anthropic.stream_chat(&instance(settings), request))
}

fn headers(request: &HttpRequest) -> Vec<(&str, &str)> {
    request.headers.iter().map(|(name, value)| (&**name, &**value)).collect()
}

const STREAM: &[(&str, &str)] = &[("content-type", "text/event-stream; charset=utf-8")];

#[test]
fn a_conversation_is_sent_with_its_version() {
    let request = chat(json!({}), hello());
    assert_eq!(
        (request.method, &*request.url),
        (Method::Post, "https://api.anthropic.com/v1/messages")
    );
    assert_eq!(
        headers(&request),
        [
            ("content-type", "application/json"),
            ("accept", "text/event-stream"),
            ("anthropic-version", "2023-06-01")
        ]
    );
    assert_eq!(request.auth, Auth::Scheme);
    assert_eq!(
        rendered(&request),
        r#"{"model":"claude-demo-5","max_tokens":8192,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#
    );
}

#[test]
fn settings_choose_version_betas_bound_and_headers() {
    let settings = json!({"version": "2026-10-21", "betas": ["a-1", "b-2"], "max_tokens": 99,
        "stream": false, "headers": {"x-team": "t"}});
    let mut request = hello();
    request.sampling.temperature = Some(1.0);
    let opened = Anthropic.stream_chat(&instance(settings), request).unwrap();
    let whole = br#"{"type":"message","id":"m","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#;
    let run =
        Replay::new(opened).respond(200, &[("content-type", "application/json")], whole).run();
    let request = &run.requests[0];
    assert_eq!(
        headers(request),
        [
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("anthropic-version", "2026-10-21"),
            ("anthropic-beta", "a-1,b-2"),
            ("x-team", "t")
        ]
    );
    assert_eq!(
        rendered(request),
        r#"{"model":"claude-demo-5","max_tokens":99,"messages":[{"role":"user","content":"hi"}]}"#
    );
    assert_eq!(run.text(), "Hi");
    let warnings = run.transcript().warnings;
    assert_eq!(warnings, ["`temperature` is not taken since `2026-10-21`"]);
}

#[test]
fn a_setting_that_is_no_word_of_its_own_is_refused_before_anything_is_sent() {
    for (settings, code) in [
        (json!({"version": "2024-01-01"}), "version"),
        (json!({"effort": "much"}), "effort"),
        (json!({"key_header": "cookie"}), "key_header"),
    ] {
        let instance = instance(settings);
        let error = Anthropic.stream_chat(&instance, hello()).err().unwrap();
        assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::InvalidRequest, Some(code)));
        assert!(Anthropic.list_models(&instance, ListModels::default()).is_err());
        assert!(Anthropic.test_connection(&instance).is_err());
        assert!(Anthropic.count_tokens(&instance, hello()).is_err());
    }
}

#[test]
fn a_key_goes_into_one_header() {
    for (setting, auth) in [
        ("x-api-key", Auth::At(vec![Placement::header("x-api-key")])),
        ("authorization", Auth::At(vec![Placement::Bearer])),
    ] {
        let settings = json!({"key_header": setting});
        assert_eq!(chat(settings.clone(), hello()).auth, auth);
        // An OAuth token has one place of its own.
        let request = sent(Anthropic.stream_chat(&with_oauth(settings), hello()));
        assert_eq!(request.auth, Auth::Scheme);
    }
}

#[test]
fn an_oauth_login_adds_its_beta_and_its_workspace() {
    let mut instance = with_oauth(json!({"betas": ["a-1"]}));
    instance.session.attributes.insert("workspace_id".into(), "wrk_1".into());
    let requests = [
        sent(Anthropic.stream_chat(&instance, hello())),
        sent(Anthropic.count_tokens(&instance, hello())),
        sent(Anthropic.list_models(&instance, ListModels::default())),
        sent(Anthropic.model_info(&instance, DescribeModel::new("m"))),
        sent(Anthropic.test_connection(&instance)),
    ];
    for request in requests {
        let headers = headers(&request);
        assert!(headers.contains(&("anthropic-beta", "a-1,oauth-2025-04-20")), "{}", request.url);
        assert!(headers.contains(&("anthropic-workspace-id", "wrk_1")), "{}", request.url);
        assert!(headers.contains(&("anthropic-version", "2023-06-01")), "{}", request.url);
        assert_eq!(request.auth, Auth::Scheme);
    }
    // Said by the user already, it is not said twice; and a key's session has neither.
    let twice = with_oauth(json!({"betas": ["oauth-2025-04-20"]}));
    let request = sent(Anthropic.stream_chat(&twice, hello()));
    assert!(headers(&request).contains(&("anthropic-beta", "oauth-2025-04-20")));
    let request = chat(json!({}), hello());
    assert!(!headers(&request).iter().any(|(name, _)| name.starts_with("anthropic-beta")));
}

#[test]
fn a_picture_stays_with_the_host() {
    let blob = Media::new(DataSource::Blob { id: 3, len: 3 }).media_type("image/png");
    let parts = vec![Content::Image(blob).into(), ContentPart::text("What is this?")];
    let request = ChatRequest::new("m", vec![Message::new(Role::User, parts)]);
    let request = chat(json!({"max_tokens": 256}), request);
    assert_eq!(request.body.pieces.len(), 3);
    let body: Value = serde_json::from_str(&rendered(&request)).unwrap();
    assert_eq!(
        body["messages"][0]["content"],
        json!([
            {"type": "image", "source":
                {"type": "base64", "media_type": "image/png", "data": "AQID"}},
            {"type": "text", "text": "What is this?"},
        ])
    );
}

const TOOL_LOOP: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\"model\":\"claude-demo-5\",\"usage\":{\"input_tokens\":90,\"cache_read_input_tokens\":300,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"Use the tool.\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"EqQB-fake\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"redacted_thinking\",\"data\":\"Em==\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_01\",\"name\":\"get_weather\",\"input\":{}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"city\\\": \\\"Ri\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"ga\\\"}\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":57}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

#[test]
fn a_tool_loop_returns_what_the_model_thought_bit_by_bit() {
    let open = || Anthropic.stream_chat(&instance(json!({})), hello()).unwrap();
    let run = every_cut(open, 200, STREAM, TOOL_LOOP.as_bytes());
    let answer = run.transcript();
    assert_eq!(answer.finish, Some(FinishReason::ToolCalls));
    assert_eq!(answer.usage.input_tokens, Some(390));

    let mut request = hello();
    request.messages.push(answer.message());
    request.messages.push(Message::tool_result("toolu_01", "4 C"));
    let mut reasoning = ReasoningSettings::default();
    reasoning.budget_tokens = Some(1024);
    request.reasoning = Some(reasoning);
    let body = rendered(&chat(json!({}), request));
    assert_eq!(
        body,
        concat!(
            r#"{"model":"claude-demo-5","max_tokens":9216,"stream":true,"messages":["#,
            r#"{"role":"user","content":"hi"},{"role":"assistant","content":["#,
            r#"{"type":"thinking","thinking":"Use the tool.","signature":"EqQB-fake"},"#,
            r#"{"type":"redacted_thinking","data":"Em=="},"#,
            r#"{"type":"tool_use","id":"toolu_01","name":"get_weather","input":{"city": "Riga"}}]},"#,
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_01","content":"4 C"}]}],"#,
            r#""thinking":{"type":"enabled","budget_tokens":1024}}"#
        )
    );
}

#[test]
fn failures_of_a_conversation_are_typed() {
    let run = |replay: fn(Replay) -> Replay| -> Run {
        let exchange = Anthropic.stream_chat(&instance(json!({})), hello()).unwrap();
        replay(Replay::new(exchange).at(Timestamp(1000), 0)).run()
    };
    let failed = |replay| run(replay).error.unwrap();
    let error = failed(|replay| {
        let body = br#"{"type":"error","error":{"type":"rate_limit_error","message":"Too many requests"},"request_id":"req_01"}"#;
        replay.respond(429, &[("retry-after", "2"), ("request-id", "req_h")], body)
    });
    assert_eq!((error.kind, error.retry_after_ms), (ErrorKind::RateLimited, Some(2000)));
    assert_eq!(error.request_id.as_deref(), Some("req_h"));
    let error = failed(|replay| replay.respond(529, &[], b""));
    assert_eq!((error.kind, error.is_retryable()), (ErrorKind::Overloaded, true));
    let error = failed(|replay| {
        replay.respond(
            401,
            &[],
            b"{\"error\":{\"type\":\"authentication_error\",\"message\":\"invalid x-api-key\"}}",
        )
    });
    assert_eq!(
        error.to_string(),
        "authentication failed: invalid x-api-key (`authentication_error`, HTTP 401)"
    );
    let error = failed(|replay| replay.fail(TransportErrorKind::Timeout, "nothing came"));
    assert_eq!(error.kind, ErrorKind::Timeout);
    let error = failed(Replay::cancel);
    assert_eq!(error.kind, ErrorKind::Cancelled);
    let cut = run(|replay| replay.break_off(200, STREAM, &TOOL_LOOP.as_bytes()[..900]));
    assert_eq!(cut.error.unwrap().kind, ErrorKind::Connection);
}

#[test]
fn what_the_vendor_cannot_do_is_refused_before_anything_is_sent() {
    let mut request = hello();
    request.response_format = Some(ResponseFormat::JsonObject);
    let error = Anthropic.stream_chat(&instance(json!({})), request).err().unwrap();
    assert_eq!(error.kind, ErrorKind::NotSupported);
    assert!(error.message.starts_with("`response_format`"), "{}", error.message);
}

#[test]
fn tokens_are_counted() {
    let mut request = hello();
    request.max_output_tokens = Some(5);
    let exchange = Anthropic.count_tokens(&instance(json!({})), request.clone()).unwrap();
    let run = Replay::new(exchange).respond(200, &[], b"{\"input_tokens\":57}").run();
    assert_eq!(run.value, Some(Reply::token_count(57)));
    let sent = &run.requests[0];
    assert_eq!(sent.url, "https://api.anthropic.com/v1/messages/count_tokens");
    assert_eq!(
        rendered(sent),
        r#"{"model":"claude-demo-5","messages":[{"role":"user","content":"hi"}]}"#
    );
    assert_eq!(
        headers(sent),
        [
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("anthropic-version", "2023-06-01")
        ]
    );
    for (status, body, kind) in [
        (200, &b"{}"[..], ErrorKind::Protocol),
        (413, b"", ErrorKind::ContextLength),
        (
            404,
            b"{\"error\":{\"type\":\"not_found_error\",\"message\":\"model: x\"}}",
            ErrorKind::NotFound,
        ),
    ] {
        let exchange = Anthropic.count_tokens(&instance(json!({})), request.clone()).unwrap();
        let run = Replay::new(exchange).respond(status, &[], body).run();
        assert_eq!(run.error.unwrap().kind, kind);
    }
}

#[test]
fn models_are_listed_to_the_last_page() {
    let exchange = Anthropic.list_models(&instance(json!({})), ListModels::default()).unwrap();
    let run = Replay::new(exchange)
        .respond(200, &[], br#"{"data":[{"type":"model","id":"claude-demo-5","display_name":"Claude Demo 5","created_at":"2026-05-01T00:00:00Z","lifecycle":"active","max_input_tokens":200000,"max_tokens":64000,"capabilities":{"image_input":{"supported":true}}},{"id":"b"}],"has_more":true,"first_id":"claude-demo-5","last_id":"b c"}"#)
        .respond(200, &[], br#"{"data":[{"id":"b"},{"id":"d","new":null}],"has_more":false,"last_id":"d"}"#)
        .run();
    let urls: Vec<_> = run.requests.iter().map(|request| request.url.as_str()).collect();
    assert_eq!(
        urls,
        [
            "https://api.anthropic.com/v1/models?limit=1000",
            "https://api.anthropic.com/v1/models?limit=1000&after_id=b%20c"
        ]
    );
    assert_eq!(run.requests[1].headers, run.requests[0].headers);
    let Some(Reply::Models(models)) = run.value else { panic!("{:?}", run.error) };
    let ids: Vec<_> = models.models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["claude-demo-5", "b", "d"]);
    let first = &models.models[0];
    assert_eq!((first.max_input_tokens, first.max_output_tokens), (Some(200_000), Some(64_000)));
    assert_eq!(first.created, Some(1_777_593_600));
    assert_eq!(first.deprecated, None);
    assert_eq!(models.models[2], Model::new("d"));
}

#[test]
fn a_list_that_repeats_itself_or_fails_ends() {
    let page = br#"{"data":[{"id":"a"}],"has_more":true,"last_id":"a"}"#;
    let open = || Anthropic.list_models(&instance(json!({})), ListModels::default()).unwrap();
    let run = Replay::new(open()).respond(200, &[], page).respond(200, &[], page).run();
    assert_eq!(run.value, Some(Reply::models(vec![Model::new("a")])));
    let run = Replay::new(open()).respond(200, &[], page).respond(503, &[], b"").run();
    assert_eq!(run.error.unwrap().kind, ErrorKind::Overloaded);
    let run = Replay::new(open()).respond(200, &[], b"{\"data\":null}").run();
    assert_eq!(run.value, Some(Reply::models(Vec::new())));
    let run = Replay::new(open()).respond(200, &[("content-type", "text/html")], b"<html>").run();
    assert_eq!(run.error.unwrap().kind, ErrorKind::Protocol);
}

#[test]
fn a_model_is_found_by_its_alias_and_its_name_cannot_lead_elsewhere() {
    let describe =
        |name: &str| Anthropic.model_info(&instance(json!({})), DescribeModel::new(name));
    let run = Replay::new(describe("claude-demo").unwrap())
        .respond(200, &[], br#"{"type":"model","id":"claude-demo-5"}"#)
        .run();
    assert_eq!(run.requests[0].url, "https://api.anthropic.com/v1/models/claude-demo");
    let Some(Reply::Model(model)) = run.value else { panic!("{:?}", run.error) };
    assert_eq!(
        (model.id.as_str(), &model.aliases[..]),
        ("claude-demo-5", &["claude-demo".to_owned()][..])
    );
    let request = sent(describe("a/../b?c"));
    assert_eq!(request.url, "https://api.anthropic.com/v1/models/a%2F..%2Fb%3Fc");
    assert!(describe("..").is_err());
}

#[test]
fn a_connection_is_tested_with_a_list_of_one() {
    let exchange = Anthropic.test_connection(&instance(json!({}))).unwrap();
    let run = Replay::new(exchange)
        .respond(200, &[("anthropic-organization-id", "o-1")], b"{\"data\":[]}")
        .run();
    assert_eq!(run.requests[0].url, "https://api.anthropic.com/v1/models?limit=1");
    let mut account = Account::default();
    account.attributes.insert("organization.uuid".into(), "o-1".into());
    assert_eq!(run.value, Some(Reply::Account(account)));
    let exchange = Anthropic.test_connection(&instance(json!({}))).unwrap();
    let run = Replay::new(exchange).respond(403, &[], b"").run();
    assert_eq!(run.error.unwrap().kind, ErrorKind::Permission);
}
