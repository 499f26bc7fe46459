//! The vendor's JSON, and how its stream becomes events.

use std::ops::ControlFlow;

use plugin_api::{
    kit::{Ended, Response, incomplete, sse::SseEvent},
    operation,
    prelude::*,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Writes the body of a conversation.
///
/// What the vendor has no place for is refused by name, not left out: whoever asked must know.
pub(crate) fn encode(request: &ChatRequest) -> Result<Value, ProviderError> {
    if !request.tools.is_empty() {
        return Err(ProviderError::not_supported("`tools`"));
    }
    let messages: Result<Vec<Value>, ProviderError> = request.messages.iter().map(turn).collect();
    let mut body = json!({ "model": request.model, "turns": messages?, "stream": true });
    if let Some(max) = request.max_output_tokens {
        body["max_tokens"] = max.into();
    }
    if let Some(temperature) = request.sampling.temperature {
        body["temperature"] = temperature.into();
    }
    Ok(body)
}

fn turn(message: &Message) -> Result<Value, ProviderError> {
    let speaker = match message.role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "model",
        other => return Err(ProviderError::not_supported(format!("role `{other:?}`"))),
    };
    let mut text = String::new();
    for part in &message.parts {
        match &part.content {
            Content::Text(more) => text.push_str(&more.text),
            // What the model thought is not sent back to it; this vendor does not want it.
            Content::Reasoning(_) => {}
            _ => return Err(ProviderError::not_supported("content other than text")),
        }
    }
    Ok(json!({ "speaker": speaker, "text": text }))
}

/// Turns the events of the vendor's stream into ours.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Why the model stopped, once it has.
    finish: Option<FinishReason>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum StreamEvent {
    Begin {
        id: String,
        model: String,
    },
    Text {
        text: String,
    },
    End {
        reason: String,
        tokens: Tokens,
    },
    Error(Failure),
    /// A vendor adds types; what is new is skipped.
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Tokens {
    r#in: u64,
    out: u64,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
}

impl kit::Decoder for Decoder {
    fn event(
        &mut self,
        event: SseEvent<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        let event: StreamEvent = serde_json::from_str(event.data).map_err(|error| {
            ProviderError::new(ErrorKind::Protocol, format!("malformed event: {error}"))
        })?;
        match event {
            StreamEvent::Begin { id, model } => out.started(Some(&id), Some(&model)),
            StreamEvent::Text { text } => out.text(0, &text),
            StreamEvent::End { reason, tokens } => {
                let mut usage = Usage::default();
                usage.input_tokens = Some(tokens.r#in);
                usage.output_tokens = Some(tokens.out);
                out.usage(usage);
                self.finish = Some(match reason.as_str() {
                    "complete" => FinishReason::Stop,
                    "length" => FinishReason::Length,
                    "filtered" => FinishReason::ContentFilter,
                    _ => FinishReason::Other,
                });
                return Ok(ControlFlow::Break(()));
            }
            StreamEvent::Error(failure) => return Err(failure.into_error(None)),
            StreamEvent::Unknown => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn end(&mut self, _: Ended, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        // A stream that ends without saying why was cut off.
        out.finish(self.finish.ok_or_else(incomplete)?);
        Ok(())
    }

    fn failure(&mut self, response: Response) -> ProviderError {
        failure(&response)
    }
}

/// Reads the error of an answer with a failed status.
pub(crate) fn failure(response: &Response) -> ProviderError {
    #[derive(Deserialize)]
    struct Body {
        error: Failure,
    }
    match response.json::<Body>() {
        Ok(body) => {
            // The status says what may be tried again and when, the body says why.
            let from_status = response.failure();
            let mut error = body
                .error
                .into_error(Some(from_status.kind))
                .status(response.status);
            error.retry_after_ms = from_status.retry_after_ms;
            error.request_id = from_status.request_id;
            error
        }
        Err(_) => response.failure(),
    }
}

impl Failure {
    fn into_error(self, kind: Option<ErrorKind>) -> ProviderError {
        let kind = match self.code.as_str() {
            "bad_key" => ErrorKind::Authentication,
            "too_fast" => ErrorKind::RateLimited,
            "busy" => ErrorKind::Overloaded,
            _ => kind.unwrap_or(ErrorKind::Other),
        };
        ProviderError::new(kind, self.message).code(self.code)
    }
}

/// The answer to `GET /models`.
#[derive(Deserialize)]
pub(crate) struct ModelList {
    pub(crate) models: Vec<Model>,
}

/// A model as the vendor describes it.
#[derive(Deserialize)]
pub(crate) struct Model {
    id: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    context: Option<u64>,
}

impl Model {
    pub(crate) fn into_neutral(self) -> operation::Model {
        let mut model = operation::Model::new(self.id);
        model.display_name = self.title;
        model.max_input_tokens = self.context;
        model
    }
}

/// The answer to `GET /account`.
#[derive(Deserialize)]
pub(crate) struct Me {
    pub(crate) name: String,
}
