//! Operations that harm nobody, one of each capability and feature.

use serde_json::json;

use super::PROMPT;
use crate::{
    capability::{Capability, Feature},
    chat::{
        ChatRequest, Content, ContentPart, DataSource, FunctionTool, JsonSchema, Media, Message,
        ResponseFormat, Role, ToolDefinition,
    },
    kit::conformance::{
        BLOB,
        fixture::{Answers, Fixture},
    },
    operation::{EmbedRequest, ListContextChunks, ListModels, Operation},
};

/// Makes a harmless operation of a capability; `None` for those that take secrets or none at all.
pub(super) fn sample(capability: Capability) -> Option<Operation> {
    Some(match capability {
        Capability::Chat => Operation::Chat(Box::new(hello())),
        Capability::Models => Operation::ListModels(ListModels::default()),
        Capability::Embeddings => Operation::Embed(embed()),
        Capability::TokenCount => Operation::CountTokens(Box::new(hello())),
        Capability::Contexts => Operation::ListContextChunks(ListContextChunks::default()),
        Capability::ApiKey => Operation::TestConnection,
        Capability::OAuth | Capability::HandlesSecrets => return None,
    })
}

/// Returns the operation that a recorded answer belongs to.
pub(super) fn asked(fixture: &Fixture) -> Operation {
    match fixture.answers {
        Answers::Chat => {
            let request = fixture.request.clone().unwrap_or_else(hello);
            Operation::Chat(Box::new(request))
        }
        Answers::Models => Operation::ListModels(ListModels::default()),
        Answers::Embeddings => Operation::Embed(embed()),
        Answers::Tokens => Operation::CountTokens(Box::new(hello())),
    }
}

/// Makes a request that uses a feature; `None` where every form of it is some vendor's own.
pub(super) fn using(feature: Feature) -> Option<ChatRequest> {
    let mut request = hello();
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    match feature {
        Feature::Tools | Feature::ParallelTools => {
            let tool = FunctionTool::new("look", Some(schema));
            request.tools.push(ToolDefinition::Function(tool));
        }
        Feature::StructuredOutput => {
            let schema = JsonSchema::new("answer", schema);
            request.response_format = Some(ResponseFormat::JsonSchema(schema));
        }
        Feature::Images => {
            let image = Media::new(DataSource::Blob { id: BLOB, len: 4 }).media_type("image/png");
            let parts = vec![ContentPart::text("hello"), Content::Image(image).into()];
            request.messages = vec![Message::new(Role::User, parts)];
        }
        _ => return None,
    }
    Some(request)
}

pub(super) fn capability_of(operation: &Operation) -> Capability {
    match operation {
        Operation::ListModels(_) => Capability::Models,
        Operation::Embed(_) => Capability::Embeddings,
        Operation::CountTokens(_) => Capability::TokenCount,
        _ => Capability::Chat,
    }
}

pub(super) fn hello() -> ChatRequest {
    ChatRequest::new("check", vec![Message::user(format!("hello {PROMPT}"))])
}

fn embed() -> EmbedRequest {
    EmbedRequest::new("check", vec!["hello".into()])
}
