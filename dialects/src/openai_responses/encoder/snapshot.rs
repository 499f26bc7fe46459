//! The answer as a whole, as it stands in the first and the last event, and alone.

use plugin_api::event::Usage;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{Echo, Encoder};

/// An answer with all fields that an official client cannot do without.
#[derive(Serialize)]
pub(super) struct Snapshot<'a> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    status: &'a str,
    error: Option<Value>,
    incomplete_details: Option<Value>,
    instructions: Option<Value>,
    metadata: Value,
    model: &'a str,
    output: &'a [Box<RawValue>],
    parallel_tool_calls: Value,
    previous_response_id: Option<Value>,
    store: bool,
    temperature: Option<Value>,
    tool_choice: Value,
    tools: Value,
    top_p: Option<Value>,
    usage: Option<Value>,
    /// Settings that are there only when they were given.
    #[serde(flatten)]
    given: Echo,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
}

impl Encoder {
    pub(super) fn snapshot<'a>(
        &'a self,
        status: &'a str,
        error: Option<Value>,
        why: Option<&str>,
    ) -> Snapshot<'a> {
        let mut echo = self.echo.clone();
        let mut given = |name, otherwise: Value| echo.take(name).unwrap_or(otherwise);
        let metadata = given("metadata", json!({}));
        let parallel_tool_calls = given("parallel_tool_calls", json!(true));
        let tool_choice = given("tool_choice", json!("auto"));
        let tools = given("tools", json!([]));
        Snapshot {
            instructions: echo.take("instructions"),
            previous_response_id: echo.take("previous_response_id"),
            temperature: echo.take("temperature"),
            top_p: echo.take("top_p"),
            given: echo,
            id: &self.head.id,
            object: "response",
            created_at: self.head.created,
            status,
            error,
            incomplete_details: why.map(|reason| json!({ "reason": reason })),
            metadata,
            model: &self.head.model,
            output: &self.output,
            parallel_tool_calls,
            store: self.stored,
            tool_choice,
            tools,
            usage: (self.usage != Usage::default()).then(|| usage_json(&self.usage)),
            conversation: self.conversation.as_ref().map(|id| json!({ "id": id })),
            service_tier: self.service_tier.as_deref(),
        }
    }
}

/// Writes usage. All counts are always there: official clients cannot read it otherwise.
fn usage_json(usage: &Usage) -> Value {
    let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens.unwrap_or(0),
            "cache_write_tokens": usage.cache_write_tokens.unwrap_or(0),
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens.unwrap_or(0)},
        "total_tokens": input.saturating_add(output),
    })
}
