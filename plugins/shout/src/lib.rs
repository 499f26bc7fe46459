//! The plugin of the README: answers louder. No key, no network, one dependency.
#![forbid(unsafe_code)]
use plugin_api::prelude::*;

/// Answers with what it was told, in capitals.
#[derive(Debug, Default)]
pub struct Shout;

impl Provider for Shout {
    const SPEC: PluginSpec = PluginSpec::new("shout", "0.1.0")
        .description("Answers louder.")
        .providers(&[ProviderSpec::new("shout").display_name("Shout").auth(&[AuthSpec::None])]);
}

impl StreamingProvider for Shout {
    fn stream_chat(&self, _: &Instance, request: ChatRequest) -> Opened {
        Ok(kit::say(request.last_user_text().to_uppercase()))
    }
}

plugin_api::export_plugin! { Shout: streaming }
