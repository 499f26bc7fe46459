//! Each payload reads back from its shortest form: what may be absent takes its default.

use plugin_api::{
    auth::AuthScheme,
    chat::*,
    error::ProviderError,
    event::{ChatEvent, Usage},
    http::{Auth, HttpRequest, Method},
    instance::{Instance, SessionInfo},
    operation::*,
};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

/// Reads a payload from JSON and, as it crosses the boundary, from MessagePack.
#[track_caller]
fn read<T: DeserializeOwned + PartialEq + std::fmt::Debug>(json: Json) -> T {
    let packed = plugin_api::abi::codec::pack(&json).unwrap();
    let crossed: T = rmp_serde::from_slice(&packed).unwrap();
    assert_eq!(crossed, serde_json::from_value::<T>(json).unwrap());
    crossed
}

#[test]
fn payloads_read_from_their_shortest_form() {
    let request: HttpRequest = read(json!({"url": "https://a.test/"}));
    assert_eq!(
        (request.method, request.auth, request.body.is_empty()),
        (Method::Get, Auth::Scheme, true)
    );
    let error: ProviderError = read(json!({"kind": "quota"}));
    assert_eq!(error.message, "");
    let instance: Instance = read(json!({"provider": "a"}));
    assert_eq!(instance.session, SessionInfo::default());
    assert_eq!(read::<ChatRequest>(json!({})), ChatRequest::default());
    assert_eq!(read::<Usage>(json!({})), Usage::default());
    assert_eq!(read::<Model>(json!({})), Model::default());
    assert_eq!(read::<EmbedRequest>(json!({})), EmbedRequest::default());
    assert_eq!(read::<Embeddings>(json!({})), Embeddings::default());
    assert_eq!(read::<ListContextChunks>(json!({})), ListContextChunks::default());
    assert_eq!(read::<ContextChunks>(json!({})), ContextChunks::default());
    assert_eq!(read::<ContextChunk>(json!({})), ContextChunk::default());
    assert_eq!(read::<Account>(json!({})), Account::default());
    assert_eq!(read::<Tokens>(json!({})), Tokens::default());
    assert_eq!(read::<AuthUrl>(json!({})), AuthUrl::default());
    assert_eq!(read::<Citation>(json!({})), Citation::default());
    assert_eq!(read::<CacheControl>(json!({})), CacheControl::default());
    assert_eq!(read::<Opaque>(json!({})), Opaque::default());
}

#[test]
fn pieces_of_a_conversation_read_from_their_shortest_form() {
    assert!(read::<Message>(json!({"role": "user"})).parts.is_empty());
    for (json, content) in [
        (json!({"type": "text"}), Content::Text(Text::default())),
        (json!({"type": "refusal"}), Content::Refusal(Text::default())),
        (json!({"type": "reasoning"}), Content::Reasoning(Reasoning::default())),
        (
            json!({"type": "tool_call", "id": "c", "name": "f"}),
            Content::ToolCall(ToolCall::new("c", "f", "")),
        ),
        (
            json!({"type": "tool_result", "call_id": "c"}),
            Content::ToolResult(ToolResult::new("c", vec![])),
        ),
        (json!({"type": "opaque"}), Content::Opaque(Opaque::default())),
        (
            json!({"type": "file", "source": {"at": "file", "id": "f"}}),
            Content::File(Media::new(DataSource::file("f"))),
        ),
    ] {
        assert_eq!(read::<ContentPart>(json).content, content);
    }
    for (json, tool) in [
        (
            json!({"type": "function", "name": "f"}),
            ToolDefinition::Function(FunctionTool::new("f", None)),
        ),
        (json!({"type": "custom", "name": "f"}), ToolDefinition::Custom(CustomTool::new("f"))),
        (json!({"type": "provider"}), ToolDefinition::Provider(Opaque::default())),
    ] {
        assert_eq!(read::<ToolDefinition>(json), tool);
    }
    let schema = read::<ResponseFormat>(json!({"type": "json_schema", "name": "s"}));
    assert_eq!(schema, ResponseFormat::JsonSchema(JsonSchema::new("s", Json::Null)));
}

#[test]
fn null_is_told_from_a_value_too_long_to_show() {
    let field = |json| read::<NativeField>(json).value;
    assert_eq!(field(json!({"name": "n", "value": null})), Some(Json::Null));
    assert_eq!(field(json!({"name": "n"})), None);
}

#[test]
fn words_of_a_newer_contract_read_as_unknown() {
    assert_eq!(read::<Role>(json!("judge")), Role::Unknown);
    assert_eq!(read::<ToolKind>(json!("telepathy")), ToolKind::Unknown);
    assert_eq!(read::<DataSource>(json!({"at": "cloud", "x": 1})), DataSource::Unknown);
    assert_eq!(read::<ToolChoice>(json!({"type": "guess", "x": {}})), ToolChoice::Unknown);
    assert_eq!(read::<ResponseFormat>(json!({"type": "poem"})), ResponseFormat::Unknown);
    assert_eq!(read::<ToolDefinition>(json!({"type": "robot", "x": [1]})), ToolDefinition::Unknown);
    assert_eq!(read::<Content>(json!({"type": "smell", "x": [1]})), Content::Unknown);
    assert_eq!(read::<AuthScheme>(json!({"type": "iris", "x": 1})), AuthScheme::Unknown);
    let event: ChatEvent =
        read(json!({"type": "tool_call_start", "part": 0, "id": "c", "name": "f"}));
    assert!(matches!(event, ChatEvent::ToolCallStart { kind: ToolKind::Function, .. }));
}
