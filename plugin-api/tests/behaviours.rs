//! A plugin with every behaviour: each operation reaches its method, and defaults are what the
//! contract says.

use plugin_api::{
    auth::{AuthScheme, ClientCredentialsSpec, JwtBearerSpec, OAuthSpec, SignedSpec},
    capability::Capability,
    export,
    manifest::{Manifest, json_bytes, json_len},
    operation::{
        Account, AuthUrl, AuthUrlRequest, ContextChunks, DeleteContextChunk, DescribeModel,
        EmbedRequest, Embeddings, ExchangeCode, KeyShape, ListContextChunks, ListModels, Operation,
        Tokens,
    },
    prelude::*,
};

#[derive(Default)]
struct Whole;

impl Provider for Whole {
    const SPEC: PluginSpec = PluginSpec::new("whole", "1.0.0");
}

impl StreamingProvider for Whole {
    fn stream_chat(&self, _: &Instance, request: ChatRequest) -> Opened {
        Ok(kit::say(request.last_user_text()))
    }
}

impl ModelProvider for Whole {
    fn list_models(&self, _: &Instance, _: ListModels) -> Opened {
        Ok(kit::ready(Reply::models(vec![Model::new("m")])))
    }
}

impl ApiKeyProvider for Whole {}

impl EmbeddingProvider for Whole {
    fn embed(&self, _: &Instance, request: EmbedRequest) -> Opened {
        let vectors = request.inputs.iter().map(|text| vec![text.len() as f32]).collect();
        Ok(kit::ready(Reply::Embeddings(Embeddings::new(vectors, Some(2)))))
    }
}

impl TokenCounter for Whole {
    fn count_tokens(&self, _: &Instance, _: ChatRequest) -> Opened {
        Ok(kit::ready(Reply::token_count(3)))
    }
}

impl ContextProvider for Whole {
    fn list_context_chunks(&self, _: &Instance, _: ListContextChunks) -> Opened {
        Ok(kit::ready(Reply::Chunks(ContextChunks::default())))
    }

    fn delete_context_chunk(&self, _: &Instance, request: DeleteContextChunk) -> Opened {
        match request.chunk {
            Some(_) => Ok(kit::ready(Reply::Unit)),
            None => Err(ProviderError::new(ErrorKind::NotFound, "there is no such context")),
        }
    }
}

impl OAuthProvider for Whole {
    fn generate_auth_url(&self, _: &Instance, request: AuthUrlRequest) -> Opened {
        let url = format!("https://auth.test/?state={}", request.state);
        Ok(kit::ready(Reply::AuthUrl(AuthUrl::new(url))))
    }

    fn exchange_code(&self, _: &Instance, request: ExchangeCode) -> Opened {
        let mut tokens = Tokens::default();
        tokens.access_token = request.code;
        Ok(kit::ready(Reply::Tokens(tokens)))
    }

    fn refresh_token(&self, _: &Instance, tokens: Tokens) -> Opened {
        Ok(kit::ready(Reply::Tokens(tokens)))
    }
}

fn instance() -> Instance {
    Instance::new("whole".parse().unwrap(), "https://api.test")
}

/// Asks each behaviour in turn, as `export_plugin!` does.
fn ask(operation: Operation) -> Opened {
    let (plugin, at) = (Whole, instance());
    let behaviours = [
        export::streaming::<Whole>,
        export::models,
        export::api_key,
        export::oauth,
        export::embeddings,
        export::token_count,
        export::contexts,
    ];
    let mut operation = operation;
    for behaviour in behaviours {
        match behaviour(&plugin, &at, operation) {
            Ok(opened) => return opened,
            Err(other) => operation = other,
        }
    }
    Err(ProviderError::not_supported(operation.name()))
}

fn reply(operation: Operation) -> Reply {
    let run = kit::replay::start(&mut ask(operation).unwrap());
    assert!(run.done && run.violations.is_empty(), "{run:?}");
    run.value.unwrap()
}

fn refusal(operation: Operation) -> ErrorKind {
    match ask(operation) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.kind,
    }
}

#[test]
fn every_operation_reaches_its_method() {
    let chat = || Box::new(ChatRequest::new("m", vec![Message::user("hello")]));
    let run = kit::replay::start(&mut ask(Operation::Chat(chat())).unwrap());
    assert_eq!(run.text(), "hello");
    let embed = EmbedRequest::new("m", vec!["a".into(), "bb".into()]);
    let mut auth = AuthUrlRequest::default();
    auth.state = "s1".into();
    let mut code = ExchangeCode::default();
    code.code = "c1".into();
    let mut tokens = Tokens::default();
    tokens.access_token = "t1".into();
    for (operation, name) in [
        (Operation::ListModels(ListModels::default()), "models"),
        (Operation::ValidateApiKey(KeyShape::default()), "unit"),
        (Operation::Embed(embed), "embeddings"),
        (Operation::CountTokens(chat()), "token_count"),
        (Operation::ListContextChunks(ListContextChunks::default()), "chunks"),
        (Operation::DeleteContextChunk(DeleteContextChunk::new("c", Some("k".into()))), "unit"),
        (Operation::GenerateAuthUrl(auth), "auth_url"),
        (Operation::ExchangeCode(code), "tokens"),
        (Operation::RefreshToken(tokens.clone()), "tokens"),
        (Operation::ExtractApiCredentials(tokens.clone()), "tokens"),
    ] {
        assert!(!operation.name().is_empty());
        assert_eq!(reply(operation).name(), name);
    }
    // Unless a plugin says otherwise, requests carry the access token itself.
    let same = reply(Operation::ExtractApiCredentials(tokens.clone()));
    assert_eq!(same, Reply::Tokens(tokens));
}

#[test]
fn what_is_not_implemented_says_so() {
    let describe = DescribeModel::default();
    assert_eq!(refusal(Operation::DescribeModel(describe)), ErrorKind::NotSupported);
    assert_eq!(refusal(Operation::TestConnection), ErrorKind::NotSupported);
    assert_eq!(refusal(Operation::Unknown), ErrorKind::NotSupported);
    let whole = DeleteContextChunk::new("c", None);
    assert_eq!(refusal(Operation::DeleteContextChunk(whole)), ErrorKind::NotFound);
    assert_eq!(Reply::Account(Account::default()).name(), "account");
}

#[test]
fn only_repeatable_operations_are_idempotent() {
    assert!(Operation::TestConnection.is_idempotent());
    assert!(Operation::ListModels(ListModels::default()).is_idempotent());
    assert!(!Operation::RefreshToken(Tokens::default()).is_idempotent());
    let chat = Box::new(ChatRequest::default());
    assert!(!Operation::Chat(chat).is_idempotent());
}

/// Bytes of the manifest below; known beforehand only where it is written in a constant.
const LEN: usize = 1632;

/// Every scheme with every kind of field, written while the test runs and read back.
#[test]
fn every_auth_scheme_reads_back() {
    let auth = Box::leak(Box::new([
        AuthSpec::None,
        AuthSpec::ApiKey(
            ApiKeySpec::new(PlacementSpec::Header { name: "x-key", prefix: "Key " })
                .env(&["A", "B"])
                .prefix("k-")
                .min_length(20)
                .obtain_url("https://a.test/keys")
                .optional(true),
        ),
        AuthSpec::OAuth(
            OAuthSpec::new()
                .id("plan")
                .issuer("https://auth.test")
                .scopes(&["openid", "offline_access"])
                .flows(&["loopback", "device"])
                .client_id("configured")
                .client_secret(true)
                .token_request("json")
                .refresh_within_seconds(86_400)
                .placement(PlacementSpec::Query { name: "token" }),
        ),
        AuthSpec::ClientCredentials(
            ClientCredentialsSpec::new().token_url("https://auth.test/token").client_auth("post"),
        ),
        AuthSpec::JwtBearer(
            JwtBearerSpec::new().token_url("https://auth.test/token").algorithm("RS256"),
        ),
        AuthSpec::Signed(
            SignedSpec::new().algorithm("aws-sigv4").fields(&["access_key_id", "secret"]),
        ),
    ]));
    let providers = Box::leak(Box::new([ProviderSpec::new("whole")
        .display_name("Whole")
        .base_url("https://{region}.a.test")
        .origins(&["https://auth.test"])
        .profile("p")
        .dialects(&["openai-chat"])
        .requires(&["region"])
        .models(&["m"])
        .docs_url("https://a.test/docs")
        .local(false)
        .max_input_tokens(1000)
        .max_output_tokens(u64::MAX)
        .max_request_bytes(3)
        .features(&[Feature::Tools, Feature::Audio])
        .without(&[Capability::Models])
        .auth(auth)]));
    let spec = PluginSpec::new("whole", "1.0.0")
        .description("all \"of\" it\u{1}")
        .homepage("https://a.test")
        .providers(providers)
        .profiles(Box::leak(Box::new([ProfileSpec::new("p").description("a profile").values(
            Box::leak(Box::new([
                ValueSpec::text("t", "x"),
                ValueSpec::flag("f", true),
                ValueSpec::number("n", i64::MIN),
                ValueSpec::texts("l", &["a", "b"]),
            ])),
        )])))
        .settings(Box::leak(Box::new([
            SettingSpec::text("t").help("text"),
            SettingSpec::flag("f"),
            SettingSpec::number("n"),
            SettingSpec::texts("l"),
            SettingSpec::table("m"),
        ])));
    let capabilities: &[&[Capability]] = &[&[Capability::Chat, Capability::Models]];
    assert_eq!(json_len(&spec, capabilities, "unwind"), LEN, "adapt LEN");
    let bytes = json_bytes::<LEN>(&spec, capabilities, "unwind");
    let manifest = Manifest::from_json(&bytes).unwrap();
    let kinds: Vec<&str> = manifest.providers[0].auth.iter().map(AuthScheme::kind).collect();
    assert_eq!(kinds, ["none", "api_key", "oauth", "client_credentials", "jwt_bearer", "signed"]);
    let provider = &manifest.providers[0];
    assert_eq!(provider.max_output_tokens, u64::MAX);
    assert_eq!(manifest.description, "all \"of\" it\u{1}");
    assert_eq!(manifest.profile("p").unwrap().values[2].value, serde_json::json!(i64::MIN));
    let settings: Vec<&str> = manifest.settings.iter().map(|s| s.kind.as_str()).collect();
    assert_eq!(settings, ["text", "flag", "number", "texts", "table"]);
    // What was read is written alike by serde, so a manifest survives being passed on.
    let again = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(Manifest::from_json(&again).unwrap(), manifest);
}
