//! The reference plugin: answers with what it was told, without any request.
//!
//! Read it first when you write your own. Options of a chat (`maestro chat -o key=value`) make it
//! do what a test needs: `reasoning=TEXT`, `tool=NAME`, `delay_ms=N` before every word, and
//! `error=KIND`, a kind such as `rate_limited`, after the words.
#![forbid(unsafe_code)]

use plugin_api::{chat::ToolKind, prelude::*};
use std::collections::VecDeque;

/// The plugin. It holds no state; each conversation is an `Answer` of its own.
#[derive(Debug, Default)]
pub struct Echo;

impl Provider for Echo {
    const SPEC: PluginSpec = PluginSpec::new("echo", env!("CARGO_PKG_VERSION"))
        .description("Answers with what it was told. Needs no key and no network.")
        .providers(&[ProviderSpec::new("echo")
            .display_name("Echo")
            .auth(&[AuthSpec::None])
            .local(true)
            .features(&[Feature::Tools, Feature::Reasoning, Feature::Images, Feature::Files])]);
}

impl ModelProvider for Echo {
    fn list_models(&self, _: &Instance, _: ListModels) -> Opened {
        let mut model = Model::new("echo");
        model.display_name = Some("Echo".into());
        Ok(kit::ready(Reply::models(vec![model])))
    }
}

impl TokenCounter for Echo {
    fn count_tokens(&self, _: &Instance, request: ChatRequest) -> Opened {
        Ok(kit::ready(Reply::token_count(count(&request))))
    }
}

impl StreamingProvider for Echo {
    fn stream_chat(&self, _: &Instance, request: ChatRequest) -> Opened {
        let option = |name: &str| request.options.get(name);
        let text = |name| option(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let mut events = VecDeque::new();
        let model = Some(request.model.to_string());
        events.push_back(ChatEvent::Started { id: None, model });
        let mut part = 0;
        if option("reasoning").is_some() {
            let text = text("reasoning");
            events.push_back(ChatEvent::ReasoningDelta { part, text, summary: false });
            part += 1;
        }
        let said = request.last_user_text();
        for word in said.split_inclusive(char::is_whitespace) {
            events.push_back(ChatEvent::TextDelta { part, text: word.into() });
        }
        let mut reason = FinishReason::Stop;
        if option("tool").is_some() {
            reason = FinishReason::ToolCalls;
            let (part, kind) = (part + 1, ToolKind::Function);
            let arguments = serde_json::json!({ "said": said }).to_string();
            let (id, name) = ("call_1".into(), text("tool"));
            events.push_back(ChatEvent::ToolCallStart { part, id, name, kind });
            events.push_back(ChatEvent::ToolCallDelta { part, arguments });
            events.push_back(ChatEvent::ToolCallEnd { part });
        }
        let output_tokens = said.split_whitespace().count() as u64;
        events.push_back(ChatEvent::Usage(Usage::new(count(&request), output_tokens)));
        events.push_back(ChatEvent::Finish { reason, detail: None });
        let delay_ms = option("delay_ms").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let error = option("error").map(|kind| {
            let kind = serde_json::from_value(kind.clone()).unwrap_or(ErrorKind::Other);
            ProviderError::new(kind, "you asked for an error")
        });
        Ok(Box::new(Answer { events, delay_ms, error }))
    }
}

plugin_api::export_plugin! { Echo: streaming, models, token_count }

/// One conversation: events that are still to come.
struct Answer {
    events: VecDeque<ChatEvent>,
    delay_ms: u64,
    error: Option<ProviderError>,
}

impl Exchange for Answer {
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        if let Input::Cancel = input {
            return out.fail(&ProviderError::new(ErrorKind::Cancelled, "the client went away"));
        }
        while let Some(event) = self.events.pop_front() {
            if let (ChatEvent::Usage(_), Some(error)) = (&event, &self.error) {
                return out.fail(error);
            }
            out.event(&event);
            if self.delay_ms > 0 && !self.events.is_empty() {
                return out.wake_at(now.after_ms(self.delay_ms));
            }
        }
        out.done();
    }
}

fn count(request: &ChatRequest) -> u64 {
    request.messages.iter().map(|m| m.text().split_whitespace().count() as u64).sum()
}
