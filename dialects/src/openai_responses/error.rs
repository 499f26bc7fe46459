//! Failures: the forms that servers write them in, and the one that clients expect.
//!
//! The body is that of Chat Completions. Responses add codes of their own, and a ChatGPT plan's token
//! gets refusals that stand under `detail`.

use plugin_api::{
    error::{ErrorKind, ProviderError},
    kit::call::Response,
};
use serde_json::{Value, json};

use crate::openai_chat::error as chat;
pub use crate::openai_chat::error::{encode, encode_request_error};

/// Turns an answer with a failed status into an error.
#[must_use]
pub fn failure(response: &Response) -> ProviderError {
    let Ok(value) = serde_json::from_slice::<Value>(&response.body) else {
        return chat::failure(response);
    };
    let mut response = response.clone();
    response.body = under_error(value).to_string().into_bytes();
    refined(chat::failure(&response), &response.body)
}

/// Turns a failure that came inside a stream, after HTTP 200, into an error.
#[must_use]
pub fn in_stream(json: &[u8]) -> ProviderError {
    let Ok(value) = serde_json::from_slice::<Value>(json) else { return chat::in_stream(json) };
    let json = under_error(value).to_string().into_bytes();
    refined(chat::in_stream(&json), &json)
}

/// Turns the `error` of a failed response into an error.
pub(super) fn of_response(json: &str) -> ProviderError {
    let error: Value = serde_json::from_str(json).unwrap_or_default();
    if error.is_object() || error.is_string() {
        return in_stream(json!({"error": error}).to_string().as_bytes());
    }
    ProviderError::new(ErrorKind::Unavailable, "the response failed and does not say why")
}

/// Writes a failure in the middle of a stream, as the `error` of a failed response.
pub(super) fn to_response(error: &ProviderError) -> Value {
    let (_, body) = encode(error);
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let code = body["error"]["code"].as_str().unwrap_or("server_error");
    let mut message = error.message.clone();
    // Clients read how long to wait out of the text.
    if let Some(wait) = error.retry_after_ms.filter(|_| error.kind == ErrorKind::RateLimited) {
        message.push_str(&format!(". Please try again in {wait}ms."));
    }
    json!({"code": code, "message": message})
}

/// Puts a refusal under `error`, where it stands under `detail` or alone in an event.
fn under_error(mut value: Value) -> Value {
    if !value["error"].is_null() {
        return value;
    }
    if value["detail"].is_object() {
        return json!({"error": value["detail"].take()});
    }
    if value["type"] == "error" {
        // The event's own type says nothing of the failure.
        if let Some(fields) = value.as_object_mut() {
            fields.remove("type");
        }
        return json!({"error": value});
    }
    value
}

/// Adds what the codes of this dialect say.
fn refined(mut error: ProviderError, body: &[u8]) -> ProviderError {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(param) = value["error"]["param"].as_str() {
        error.details.insert("param".into(), param.into());
    }
    for name in ["plan_type", "resets_at"] {
        if let Some(fact) = value["error"].get(name).filter(|fact| !fact.is_null()) {
            error.details.insert(name.into(), fact.clone());
        }
    }
    let Some(code) = error.code.clone() else { return error };
    if let Some(plan) = PLAN.iter().find(|plan| plan.code == code) {
        return plan.apply(error);
    }
    let kind = match &*code {
        "invalid_prompt" | "data_residency_mismatch" => ErrorKind::InvalidRequest,
        "bio_policy" | "cyber_policy" => ErrorKind::ContentPolicy,
        code if code.ends_with("_policy_violation") => ErrorKind::ContentPolicy,
        "vector_store_timeout" => ErrorKind::Timeout,
        "usage_not_included" => ErrorKind::Quota,
        "server_error" if error.status.is_none() => ErrorKind::Unavailable,
        code if code.starts_with("invalid_image") || code.starts_with("image_") => {
            ErrorKind::InvalidRequest
        }
        _ => return error,
    };
    error.kind = kind;
    error
}

/// What a refusal under a ChatGPT plan means.
struct Plan {
    code: &'static str,
    kind: ErrorKind,
    hint: &'static str,
}

impl Plan {
    fn apply(&self, mut error: ProviderError) -> ProviderError {
        error.kind = self.kind;
        // The codes decide, whatever status or header came with them.
        error.retryable = Some(self.kind.is_retryable());
        if let Some(param) = error.details.get("param").and_then(Value::as_str) {
            let named = format!("`{param}`");
            if !error.message.contains(&named) {
                error.message = format!("{named}: {}", error.message);
            }
        }
        error.message = format!("{} ({})", error.message, self.hint);
        error.details.insert("hint".into(), self.hint.into());
        error
    }
}

const AGAIN: &str = "sign in with ChatGPT again";
const LATER: &str = "the plan's usage cannot be told just now; try again in a moment";

const PLAN: &[Plan] = &[
    Plan {
        code: "subscription_sharing_usage_limit_exceeded",
        kind: ErrorKind::Quota,
        hint: "the ChatGPT plan's limit is reached; see chatgpt.com/settings/usage",
    },
    Plan {
        code: "subscription_sharing_usage_unavailable",
        kind: ErrorKind::Unavailable,
        hint: LATER,
    },
    Plan {
        code: "subscription_sharing_user_unavailable",
        kind: ErrorKind::Unavailable,
        hint: LATER,
    },
    Plan {
        code: "subscription_sharing_user_not_eligible",
        kind: ErrorKind::Permission,
        hint: "this ChatGPT plan or workspace is not eligible; use an API key",
    },
    Plan {
        code: "subscription_sharing_invalid_user",
        kind: ErrorKind::Authentication,
        hint: AGAIN,
    },
    Plan { code: "chatpass_v2_scope_not_authorized", kind: ErrorKind::Authentication, hint: AGAIN },
    Plan {
        code: "chatpass_v2_invalid_authorization_context",
        kind: ErrorKind::Authentication,
        hint: AGAIN,
    },
    Plan {
        code: "subscription_sharing_unsupported_capability",
        kind: ErrorKind::NotSupported,
        hint: "a ChatGPT plan does not offer it; leave it out, or use an API key",
    },
    Plan {
        code: "subscription_sharing_route_not_supported",
        kind: ErrorKind::NotSupported,
        hint: "a ChatGPT plan does not offer it; use an API key",
    },
];
