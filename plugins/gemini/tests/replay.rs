//! Every behaviour against recorded answers: what is sent, byte for byte, and what becomes of what
//! comes back. No network.

use gemini::Gemini;
use plugin_api::{
    auth::AuthScheme,
    chat::{DataSource, Media, NativeBody, NativeField, Opaque, ToolCall, ToolDefinition},
    error::{ErrorKind, ProviderError},
    http::{Auth, BlobEncoding, HttpRequest, Piece},
    instance::AuthKind,
    kit::replay::{Replay, Run},
    manifest::{Manifest, json_bytes},
    operation::{DeleteContextChunk, EmbedRequest, KeyShape, ListContextChunks},
    prelude::*,
};
use serde_json::json;

const JSON: [(&str, &str); 1] = [("content-type", "application/json; charset=UTF-8")];
const SSE: [(&str, &str); 1] = [("content-type", "text/event-stream")];
const BAD_KEY: &[u8] = br#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}}]}}"#;

fn instance() -> Instance {
    let provider = plugin_api::ProviderId::new("gemini").unwrap();
    let mut instance = Instance::new(provider, "https://generativelanguage.googleapis.com");
    instance.session.auth = AuthKind::ApiKey;
    instance
}

fn with(name: &str, value: serde_json::Value) -> Instance {
    let mut instance = instance();
    instance.settings.insert(name.into(), value);
    instance
}

fn under_oauth() -> Instance {
    let mut instance = instance();
    instance.session.auth = AuthKind::OAuth;
    instance.session.attributes.insert("project".into(), "my-project".into());
    instance
}

fn chat(instance: &Instance, request: ChatRequest) -> Run {
    let exchange = Gemini.stream_chat(instance, request).unwrap();
    Replay::new(exchange).run()
}

fn hello() -> ChatRequest {
    ChatRequest::new("gemini-demo-3", vec![Message::user("hi")])
}

/// Shows a request as it goes out, but for what the host adds.
fn show(request: &HttpRequest) -> String {
    let mut lines = vec![format!("{} {}", request.method.as_str(), request.url)];
    lines.extend(request.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let body = request.body.as_bytes().expect("all bytes");
    lines.push(String::from_utf8(body.to_vec()).unwrap());
    lines.join("\n")
}

fn failed(run: &Run) -> &ProviderError {
    run.error.as_ref().expect("a failure")
}

#[test]
fn a_chat_asks_for_a_stream() {
    let run = chat(&instance(), hello());
    assert_eq!(run.requests[0].auth, Auth::Scheme);
    assert_eq!(
        show(&run.requests[0]),
        "POST https://generativelanguage.googleapis.com/v1beta/models/gemini-demo-3:streamGenerateContent?alt=sse\n\
         content-type: application/json\n\
         accept: text/event-stream\n\
         {\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}]}"
    );
}

#[test]
fn settings_change_what_is_asked() {
    let url = |instance: &Instance, model: &str| {
        let mut request = hello();
        request.model = model.into();
        chat(instance, request).requests[0].url.clone()
    };
    let base = "https://generativelanguage.googleapis.com";
    for (instance, model, expected) in [
        (with("api_version", json!("v1")), "m", "/v1/models/m:streamGenerateContent?alt=sse"),
        (with("stream", json!(false)), "m", "/v1beta/models/m:generateContent"),
        (instance(), "models/m", "/v1beta/models/m:streamGenerateContent?alt=sse"),
        (instance(), "tunedModels/t", "/v1beta/tunedModels/t:streamGenerateContent?alt=sse"),
        (instance(), "a/b?c:d", "/v1beta/models/a%2Fb%3Fc%3Ad:streamGenerateContent?alt=sse"),
    ] {
        assert_eq!(url(&instance, model), format!("{base}{expected}"));
    }
    let mut own = with("headers", json!({"X-Team": "a"}));
    own.base_url = "http://127.0.0.1:1/gateway/".into();
    own.settings.insert("safety".into(), json!({"harassment": "block_only_high"}));
    own.settings.insert("include_thoughts".into(), json!(true));
    let run = chat(&own, hello());
    assert_eq!(
        show(&run.requests[0]),
        "POST http://127.0.0.1:1/gateway/v1beta/models/gemini-demo-3:streamGenerateContent?alt=sse\n\
         content-type: application/json\n\
         accept: text/event-stream\n\
         x-team: a\n\
         {\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}],\
         \"safetySettings\":[{\"category\":\"HARM_CATEGORY_HARASSMENT\",\"threshold\":\"BLOCK_ONLY_HIGH\"}],\
         \"generationConfig\":{\"thinkingConfig\":{\"includeThoughts\":true}}}"
    );
}

#[test]
fn a_project_is_named_under_oauth_only() {
    let header = |run: &Run| {
        let headers = &run.requests[0].headers;
        headers.iter().find(|(name, _)| name == "x-goog-user-project").map(|(_, v)| v.clone())
    };
    assert_eq!(header(&chat(&under_oauth(), hello())).as_deref(), Some("my-project"));
    let mut by_key = under_oauth();
    by_key.session.auth = AuthKind::ApiKey;
    assert_eq!(header(&chat(&by_key, hello())), None);
    let mut without = under_oauth();
    without.session.attributes.clear();
    assert_eq!(header(&chat(&without, hello())), None);
    let listed = Replay::new(Gemini.list_models(&under_oauth(), ListModels::default()).unwrap());
    assert_eq!(header(&listed.run()).as_deref(), Some("my-project"));
}

#[test]
fn a_request_that_means_something_else_is_refused_before_it_is_sent() {
    let refused = |request| Gemini.stream_chat(&instance(), request).err().expect("refused");
    let mut foreign = hello();
    foreign.messages.push(Message::new(
        Role::Assistant,
        vec![Content::Opaque(Opaque::new("anthropic-messages", "{}")).into()],
    ));
    let error = refused(foreign);
    assert_eq!(error.kind, ErrorKind::NotSupported);
    assert_eq!(error.message, "`messages[1].parts[0]` belongs to another vendor");
    for (model, words) in [("", "`model` is missing"), ("..", "`..` cannot stand in a URL")] {
        let mut request = hello();
        request.model = model.into();
        let error = refused(request);
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::InvalidRequest, words));
    }
}

#[test]
fn what_was_left_out_is_warned_of() {
    let mut request = hello();
    request.user = Some("u".into());
    let body = b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hi\"}]},\"finishReason\":\"STOP\"}]}\r\n\r\n";
    let exchange = Gemini.stream_chat(&instance(), request).unwrap();
    let run = Replay::new(exchange).respond(200, &SSE, body).run();
    assert_eq!(run.violations, []);
    assert_eq!(run.transcript().warnings, ["`user` has no field here"]);
    assert_eq!(run.text(), "Hi");
}

#[test]
fn signatures_and_calls_without_ids_go_back_as_they_came() {
    let body = br#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hm.","thought":true},{"functionCall":{"name":"f","args":{"a": 1.0}},"thoughtSignature":"c2ln"},{"functionCall":{"name":"f","args":{}}},{"executableCode":{"language":"PYTHON","code":"1"},"thoughtSignature":"Y29kZQ=="},{"text":"","thoughtSignature":"ZW5k"}]},"finishReason":"STOP"}]}"#;
    let exchange = Gemini.stream_chat(&with("stream", json!(false)), hello()).unwrap();
    let answer = Replay::new(exchange).at(Timestamp(0), 77).respond(200, &JSON, body).run();
    let message = answer.transcript().message();
    let mut request = hello();
    for call in message.tool_calls() {
        request.messages.push(Message::tool_result(call.id.clone(), "4 C"));
    }
    request.messages.insert(1, message);
    let run = chat(&instance(), request);
    let sent = std::str::from_utf8(run.requests[0].body.as_bytes().unwrap()).unwrap();
    assert_eq!(
        sent,
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"Hm.","thought":true},{"functionCall":{"name":"f","args":{"a": 1.0}},"thoughtSignature":"c2ln"},{"functionCall":{"name":"f","args":{}}},{"executableCode":{"language":"PYTHON","code":"1"},"thoughtSignature":"Y29kZQ=="},{"text":"","thoughtSignature":"ZW5k"}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"result":"4 C"}}},{"functionResponse":{"name":"f","response":{"result":"4 C"}}}]}]}"#
    );
}

#[test]
fn bytes_stay_with_the_host() {
    let media = Media::new(DataSource::Blob { id: 3, len: 9 }).media_type("image/png");
    let mut request = hello();
    request.messages[0].parts.push(Content::Image(media).into());
    let run = chat(&instance(), request);
    let blob = Piece::Blob { id: 3, encoding: BlobEncoding::Base64 };
    assert_eq!(run.requests[0].body.pieces[1], blob);
}

#[test]
fn a_clients_own_body_passes_through() {
    let text = br#"{"model":"x","contents":[ ]}"#;
    let field = |name: &str, key_start, end| {
        let mut field = NativeField::default();
        (field.name, field.key_start, field.end) = (name.into(), key_start, end);
        field
    };
    let mut native = NativeBody::default();
    (native.dialect, native.len) = ("gemini".into(), text.len() as u64);
    native.path = "/v1beta/models/x:generateContent".into();
    native.fields = vec![field("model", 1, 12), field("contents", 13, 27)];
    let mut request = hello();
    request.native = Some(native.clone());
    let run = chat(&instance(), request.clone());
    let pieces = [
        Piece::Bytes(b"{".to_vec()),
        Piece::Native { start: 13, end: 27 },
        Piece::Bytes(b"}".to_vec()),
    ];
    assert_eq!(run.requests[0].body.pieces, pieces);
    // In the form of the client's.
    assert!(run.requests[0].url.ends_with(":generateContent"), "{}", run.requests[0].url);
    // A body of another dialect is not ours to send.
    request.native.as_mut().unwrap().dialect = "openai-chat".into();
    let Err(error) = Gemini.stream_chat(&instance(), request) else { panic!() };
    assert_eq!(error.kind, ErrorKind::NotSupported);
}

#[test]
fn failures_are_typed() {
    let run = |status, headers: &[(&str, &str)], body: &[u8]| {
        let exchange = Gemini.stream_chat(&instance(), hello()).unwrap();
        Replay::new(exchange).respond(status, headers, body).run()
    };
    let bad_key = run(400, &JSON, BAD_KEY);
    assert_eq!(failed(&bad_key).kind, ErrorKind::Authentication);
    assert_eq!(failed(&bad_key).code.as_deref(), Some("API_KEY_INVALID"));
    assert_eq!(
        failed(&run(502, &[("content-type", "text/html")], b"<html>")).kind,
        ErrorKind::Unavailable
    );
    assert_eq!(failed(&run(503, &[], b"")).kind, ErrorKind::Overloaded);
    let blocked = br#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#;
    assert_eq!(failed(&run(200, &JSON, blocked)).kind, ErrorKind::ContentPolicy);
    let exchange = Gemini.stream_chat(&instance(), hello()).unwrap();
    let cut = b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hi\"}]}}]}\r\n\r\n";
    let broken = Replay::new(exchange).break_off(200, &SSE, cut).run();
    assert_eq!((broken.text().as_str(), failed(&broken).kind), ("Hi", ErrorKind::Connection));
}

#[test]
fn tokens_are_counted_of_the_whole_request() {
    let mut request = hello();
    request.messages.insert(0, Message::system("Be brief."));
    request.tools = vec![ToolDefinition::Provider(Opaque::new("gemini", r#"{"googleSearch":{}}"#))];
    let open = || Gemini.count_tokens(&instance(), request.clone()).unwrap();
    let run = Replay::new(open()).respond(200, &JSON, br#"{"totalTokens":31}"#).run();
    assert_eq!(run.value, Some(Reply::token_count(31)));
    assert_eq!(
        show(&run.requests[0]),
        "POST https://generativelanguage.googleapis.com/v1beta/models/gemini-demo-3:countTokens\n\
         content-type: application/json\n\
         accept: application/json\n\
         {\"generateContentRequest\":{\"model\":\"models/gemini-demo-3\",\
         \"systemInstruction\":{\"parts\":[{\"text\":\"Be brief.\"}]},\
         \"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}],\
         \"tools\":[{\"googleSearch\":{}}]}}"
    );
    assert_eq!(
        failed(&Replay::new(open()).respond(400, &JSON, BAD_KEY).run()).kind,
        ErrorKind::Authentication
    );
    let mut odd = hello();
    odd.messages.push(Message::new(
        Role::User,
        vec![Content::ToolCall(ToolCall::new("a", "f", "")).into()],
    ));
    assert!(Gemini.count_tokens(&instance(), odd).is_err());
}

#[test]
fn all_pages_of_models_are_read() {
    let page = |from: usize, next: &str| {
        let models: Vec<_> = (from..from + 1000)
            .map(|n| json!({"name": format!("models/m-{n}"), "supportedGenerationMethods": ["generateContent"], "novel": null}))
            .collect();
        json!({"models": models, "nextPageToken": next}).to_string().into_bytes()
    };
    let exchange = Gemini.list_models(&instance(), ListModels::default()).unwrap();
    let run = Replay::new(exchange)
        .respond(200, &JSON, &page(0, "p/2&"))
        // A model that slid from one page to the next is listed once.
        .respond(200, &JSON, &page(999, "3"))
        .respond(200, &JSON, br#"{"models":[{"name":"models/embed-demo","supportedGenerationMethods":["embedContent"],"inputTokenLimit":2048}],"nextPageToken":""}"#)
        .run();
    let Some(Reply::Models(models)) = &run.value else { panic!("{:?}", run.error) };
    assert_eq!(models.models.len(), 2000);
    assert_eq!((models.models[1998].id.as_str(), &models.next), ("m-1998", &None));
    let embedder = models.models.last().unwrap();
    assert!(embedder.is_embedding() && !embedder.is_chat());
    assert_eq!(embedder.max_input_tokens, Some(2048));
    let urls: Vec<_> =
        run.requests.iter().map(|request| request.url.rsplit('/').next().unwrap()).collect();
    assert_eq!(
        urls,
        [
            "models?pageSize=1000",
            "models?pageSize=1000&pageToken=p%2F2%26",
            "models?pageSize=1000&pageToken=3"
        ]
    );
    let mut later = ListModels::default();
    later.page = Some("7".into());
    let run = Replay::new(Gemini.list_models(&instance(), later).unwrap())
        .respond(200, &JSON, b"{}")
        .run();
    assert!(run.requests[0].url.ends_with("models?pageSize=1000&pageToken=7"));
    assert_eq!(run.value, Some(Reply::models(vec![])));
}

#[test]
fn one_model_is_described() {
    let open =
        || Gemini.model_info(&instance(), DescribeModel::new("models/gemini-demo-3")).unwrap();
    let run = Replay::new(open())
        .respond(200, &JSON, br#"{"name":"models/gemini-demo-3","displayName":"Demo"}"#)
        .run();
    assert_eq!(
        show(&run.requests[0]),
        "GET https://generativelanguage.googleapis.com/v1beta/models/gemini-demo-3\naccept: application/json\n"
    );
    let Some(Reply::Model(model)) = run.value else { panic!("no model") };
    assert_eq!(model.display_name.as_deref(), Some("Demo"));
    let gone = br#"{"error":{"code":404,"message":"models/x is not found.","status":"NOT_FOUND"}}"#;
    let run = Replay::new(open()).respond(404, &JSON, gone).run();
    assert_eq!(failed(&run).kind, ErrorKind::NotFound);
}

#[test]
fn texts_are_embedded_in_batches() {
    let mut request = EmbedRequest::new("embed-demo", vec!["alpha".into()]);
    request.task = Some("RETRIEVAL_DOCUMENT".into());
    request.dimensions = Some(2);
    let answer = br#"{"embeddings":[{"values":[0.1,-1.0]}]}"#;
    let run =
        Replay::new(Gemini.embed(&instance(), request).unwrap()).respond(200, &JSON, answer).run();
    assert_eq!(
        show(&run.requests[0]),
        "POST https://generativelanguage.googleapis.com/v1beta/models/embed-demo:batchEmbedContents\n\
         content-type: application/json\n\
         accept: application/json\n\
         {\"requests\":[{\"model\":\"models/embed-demo\",\"content\":{\"parts\":[{\"text\":\"alpha\"}]},\
         \"taskType\":\"RETRIEVAL_DOCUMENT\",\"outputDimensionality\":2}]}"
    );
    let Some(Reply::Embeddings(found)) = run.value else { panic!("no vectors") };
    assert_eq!((found.vectors, found.input_tokens), (vec![vec![0.1, -1.0]], None));

    let many: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    let vectors = |from: usize, to: usize| {
        let list: Vec<_> = (from..to).map(|n| json!({"values": [n]})).collect();
        json!({"embeddings": list, "usageMetadata": {"promptTokenCount": to - from}})
            .to_string()
            .into_bytes()
    };
    let open = || Gemini.embed(&instance(), EmbedRequest::new("e", many.clone())).unwrap();
    let run = Replay::new(open())
        .respond(200, &JSON, &vectors(0, 100))
        .respond(200, &JSON, &vectors(100, 150))
        .run();
    let Some(Reply::Embeddings(found)) = &run.value else { panic!("{:?}", run.error) };
    assert_eq!((found.vectors.len(), found.input_tokens), (150, Some(150)));
    assert_eq!(found.vectors[149], [149.0]);
    assert_eq!(run.request_json(1)["requests"].as_array().unwrap().len(), 50);
    let short = Replay::new(open()).respond(200, &JSON, &vectors(0, 99)).run();
    assert_eq!(failed(&short).message, "expected 100 vectors, found 99");
    assert!(Gemini.embed(&instance(), EmbedRequest::new("e", vec![])).is_err());
}

#[test]
fn cached_contents_are_listed_page_by_page() {
    let mut request = ListContextChunks::default();
    (request.cursor, request.limit) = (Some("c 1".into()), Some(20));
    let body = br#"{"cachedContents":[{"name":"cachedContents/abc","model":"models/m","expireTime":"2026-11-22T00:00:00Z","usageMetadata":{"totalTokenCount":40123}}],"nextPageToken":"c2"}"#;
    let exchange = Gemini.list_context_chunks(&instance(), request).unwrap();
    let run = Replay::new(exchange).respond(200, &JSON, body).run();
    assert!(run.requests[0].url.ends_with("/v1beta/cachedContents?pageSize=20&pageToken=c%201"));
    let Some(Reply::Chunks(page)) = run.value else { panic!("no page") };
    assert_eq!(
        (page.chunks[0].id.as_str(), page.chunks[0].tokens),
        ("cachedContents/abc", Some(40_123))
    );
    assert_eq!(page.next.as_deref(), Some("c2"));

    let mut one = ListContextChunks::default();
    one.context = Some("cachedContents/abc".into());
    let exchange = Gemini.list_context_chunks(&instance(), one.clone()).unwrap();
    let run = Replay::new(exchange).respond(200, &JSON, br#"{"name":"cachedContents/abc"}"#).run();
    assert!(run.requests[0].url.ends_with("/v1beta/cachedContents/abc"));
    assert!(matches!(run.value, Some(Reply::Chunks(page)) if page.chunks.len() == 1));
    one.context = Some("conv_1".into());
    let error = Gemini.list_context_chunks(&instance(), one).err().unwrap();
    assert_eq!(error.kind, ErrorKind::InvalidRequest);
}

#[test]
fn a_cached_content_is_deleted_once() {
    let open = |chunk: Option<&str>| {
        let request = DeleteContextChunk::new("cachedContents/abc", chunk.map(Into::into));
        Gemini.delete_context_chunk(&instance(), request)
    };
    for chunk in [None, Some("cachedContents/abc")] {
        let run = Replay::new(open(chunk).unwrap()).respond(200, &JSON, b"{}").run();
        assert_eq!(run.value, Some(Reply::Unit));
        assert_eq!(
            show(&run.requests[0]),
            "DELETE https://generativelanguage.googleapis.com/v1beta/cachedContents/abc\naccept: application/json\n"
        );
    }
    let gone = br#"{"error":{"code":404,"message":"Not found.","status":"NOT_FOUND"}}"#;
    let run = Replay::new(open(None).unwrap()).respond(404, &JSON, gone).run();
    assert_eq!(failed(&run).kind, ErrorKind::NotFound);
    assert_eq!(open(Some("other")).err().unwrap().kind, ErrorKind::NotFound);
    for odd in ["cachedContents/", "cachedContents/..", "files/x"] {
        let request = DeleteContextChunk::new(odd, None);
        let error = Gemini.delete_context_chunk(&instance(), request).err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidRequest, "{odd}");
    }
}

#[test]
fn a_request_continues_a_cached_content() {
    let mut request = hello();
    request.context = Some("cachedContents/abc".into());
    let run = chat(&instance(), request.clone());
    assert_eq!(run.request_json(0)["cachedContent"], "cachedContents/abc");
    request.context = Some("resp_1".into());
    let error = Gemini.stream_chat(&instance(), request).err().unwrap();
    assert_eq!(error.message, "`context` is no cached content of this vendor");
}

#[test]
fn a_key_is_tested_by_listing_one_model() {
    let open = |instance: &Instance| Gemini.test_connection(instance).unwrap();
    let run = Replay::new(open(&instance())).respond(200, &JSON, b"{\"models\":[]}").run();
    assert!(run.requests[0].url.ends_with("/v1beta/models?pageSize=1"));
    assert!(matches!(run.value, Some(Reply::Account(_))));
    let run = Replay::new(open(&instance())).respond(400, &JSON, BAD_KEY).run();
    let error = failed(&run);
    assert_eq!(error.kind, ErrorKind::Authentication);
    assert_eq!(error.message, "API key not valid. Please pass a valid API key");
    let run = Replay::new(open(&under_oauth())).respond(200, &JSON, b"{}").run();
    let Some(Reply::Account(account)) = run.value else { panic!("no account") };
    assert_eq!(account.attributes["project"], "my-project");
}

#[test]
fn a_key_with_what_stood_around_it_is_told_by_its_shape() {
    for (key, good) in [
        ("AIzaSyA-1_x", true),
        ("AQ.Ab8_x-1", true),
        ("", false),
        ("AIza Sy", false),
        ("\"AIzaSy\"", false),
        ("GEMINI_API_KEY=AIza", false),
        ("<your key>", false),
    ] {
        assert_eq!(Gemini.validate_api_key(&KeyShape::of(key, "")).is_ok(), good, "{key}");
    }
}

#[test]
fn the_manifest_says_how_to_log_in() {
    let json = manifest_json();
    let manifest = Manifest::from_json(&json).unwrap();
    let provider = &manifest.providers[0];
    assert_eq!(provider.id, "gemini");
    // Without the profile a server of the user's own would get its key as a bearer's token.
    assert!(manifest.profile(&provider.profile).is_some() && manifest.instances);
    let [AuthScheme::ApiKey(key), AuthScheme::OAuth(oauth)] = &provider.auth[..] else {
        panic!("expected a key and a login, found {:?}", provider.auth);
    };
    assert_eq!(key.env, ["GOOGLE_API_KEY", "GEMINI_API_KEY"]);
    assert_eq!((key.prefix.as_str(), key.min_length), ("", 0));
    assert_eq!((oauth.client_id.as_str(), oauth.client_secret), ("configured", true));
    assert!(!oauth.without_pkce && oauth.redirect_ports.is_empty());
    assert_eq!(oauth.authorization_params, ["access_type=offline", "prompt=consent"]);
    assert_eq!(
        (oauth.asks[0].name.as_str(), &oauth.asks[0].env[..]),
        ("project", &["GOOGLE_CLOUD_PROJECT".to_owned()][..])
    );
    // The client of the vendor's own tool, and the service behind it, are forbidden to others.
    let text = String::from_utf8(json).unwrap();
    assert!(!text.contains("apps.googleusercontent.com") && !text.contains("cloudcode"));
}

fn manifest_json() -> Vec<u8> {
    use plugin_api::capability::Capability;
    const SPEC: PluginSpec = Gemini::SPEC;
    const CAPABILITIES: &[&[Capability]] = &[&[Capability::Chat]];
    const LEN: usize = plugin_api::manifest::json_len(&SPEC, CAPABILITIES, "unwind");
    json_bytes::<LEN>(&SPEC, CAPABILITIES, "unwind").to_vec()
}
