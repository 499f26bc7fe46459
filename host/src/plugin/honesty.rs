//! Asks a loaded plugin for each capability that it declares, to see whether it is there.
//!
//! One step of the start is enough: what is not implemented fails at once with `NotSupported`, what is
//! implemented sends a request or answers. Nothing is sent.

use plugin_api::{
    ProviderId,
    abi::{Effect, codec::Opening},
    capability::Capability,
    chat::{ChatRequest, Message},
    error::ErrorKind,
    exchange::{Input, Timestamp},
    instance::Instance,
    operation::{EmbedRequest, ListContextChunks, ListModels, Operation},
};
use serde::Serialize;

use super::{admitted::Plugin, load::Stepped, runtime::Runtime};

/// One check of a plugin.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What is checked: a capability, `manifest` or `layout`.
    pub what: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was found.
    pub detail: Option<String>,
}

/// Checks every declared capability.
pub async fn check(plugin: &Plugin, runtime: &Runtime) -> Vec<Check> {
    let manifest = &plugin.judged.manifest;
    let provider = manifest.providers.first();
    let id = provider.map_or(manifest.id.as_str(), |provider| provider.id.as_str());
    let Ok(id) = ProviderId::new(id) else { return Vec::new() };
    let instance = Instance::new(id, provider.map_or("", |provider| provider.base_url.as_str()));
    let mut checks = Vec::new();
    for capability in manifest.capabilities.iter() {
        let Some(operation) = sample(*capability) else { continue };
        let failed = refusal(runtime, &instance, operation).await;
        checks.push(Check {
            what: capability.to_string(),
            passed: failed.is_none(),
            detail: failed.map(|why| format!("declared, but {why}")),
        });
    }
    checks
}

/// Names the capabilities that are declared and not there, with what was found instead.
pub async fn broken(plugin: &Plugin, runtime: &Runtime) -> Vec<String> {
    let checks = check(plugin, runtime).await.into_iter();
    let broken = checks.filter(|check| !check.passed);
    broken.map(|check| format!("{}: {}", check.what, check.detail.unwrap_or_default())).collect()
}

/// Runs the start of an operation; says why it is not there, if it is not.
async fn refusal(runtime: &Runtime, instance: &Instance, operation: Operation) -> Option<String> {
    let opening = match (Opening { instance: instance.clone(), operation }).pack() {
        Ok(opening) => opening,
        Err(error) => return Some(error.to_string()),
    };
    let mut stepped = Stepped::default();
    let input = Input::Start { seed: 0 };
    let answered = runtime.open().step(Timestamp(0), &input, &opening, &mut stepped).await;
    if let Err(broken) = answered {
        return Some(broken.to_string());
    }
    if let Some(error) = stepped.malformed {
        return Some(error.to_string());
    }
    stepped.effects.into_iter().find_map(|effect| match effect {
        Effect::Fail(error)
            if matches!(error.kind, ErrorKind::NotSupported | ErrorKind::PluginPanic) =>
        {
            Some(error.to_string())
        }
        _ => None,
    })
}

/// Makes a harmless operation of a capability; `None` for those that take secrets or none at all.
fn sample(capability: Capability) -> Option<Operation> {
    let chat = || Box::new(ChatRequest::new("check", vec![Message::user("hello")]));
    Some(match capability {
        Capability::Chat => Operation::Chat(chat()),
        Capability::Models => Operation::ListModels(ListModels::default()),
        Capability::Embeddings => {
            Operation::Embed(EmbedRequest::new("check", vec!["hello".into()]))
        }
        Capability::TokenCount => Operation::CountTokens(chat()),
        Capability::Contexts => Operation::ListContextChunks(ListContextChunks::default()),
        Capability::ApiKey => Operation::TestConnection,
        _ => return None,
    })
}
