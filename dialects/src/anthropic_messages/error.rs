//! Failures: the form that Anthropic writes them in, which its clients expect.

use plugin_api::{
    error::{ErrorKind, ProviderError},
    kit::call::Response,
};
use serde_json::{Value, json};

use super::limits;
use crate::{
    failure::{gave_up, one_line, refused},
    loss::RequestError,
};

/// Turns an answer with a failed status into an error.
///
/// The body may be Anthropic's `{"type":"error","error":{…}}`, another server's `{"error":"…"}`,
/// HTML or empty; then the status alone decides. The limits that stand in the headers become details.
#[must_use]
pub fn failure(response: &Response) -> ProviderError {
    let (headers, now) = (&response.headers, response.now);
    let mut error = refused(response);
    if let Ok(value) = serde_json::from_slice(&response.body) {
        Facts::of(&value).apply(&mut error);
    }
    if let Some(limits) = limits::of(headers) {
        if error.kind == ErrorKind::RateLimited && error.retry_after_ms.is_none() {
            error.retry_after_ms = limits::reset_in_ms(&limits, now);
        }
        error.details.insert("rate_limits".into(), limits);
    }
    error
}

/// Turns a failure that came inside a stream, after HTTP 200, into an error.
#[must_use]
pub fn in_stream(json: &[u8]) -> ProviderError {
    let mut error = gave_up(json);
    if let Ok(value) = serde_json::from_slice(json) {
        Facts::of(&value).apply(&mut error);
    }
    error
}

/// Writes an error as a client of Anthropic expects it: the HTTP status and the body.
#[must_use]
pub fn encode(error: &ProviderError) -> (u16, Vec<u8>) {
    let (status, kind) = canonical(error.kind);
    let message = if error.kind == ErrorKind::ContextLength && !is_too_long(&error.message) {
        // Clients know this failure by its words alone.
        format!("prompt is too long: {}", error.message)
    } else {
        error.message.clone()
    };
    (status, body(kind, &message, error.request_id.as_deref()))
}

/// Writes the refusal of a request that could not be read.
#[must_use]
pub fn encode_request_error(error: &RequestError) -> (u16, Vec<u8>) {
    let place = if error.field.is_empty() { "body" } else { &error.field };
    (400, body("invalid_request_error", &format!("{place}: {}", error.message), None))
}

fn body(kind: &str, message: &str, request_id: Option<&str>) -> Vec<u8> {
    let mut value = json!({"type": "error", "error": {"type": kind, "message": message}});
    if let Some(id) = request_id {
        value["request_id"] = id.into();
    }
    value.to_string().into_bytes()
}

const fn canonical(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::Authentication => (401, "authentication_error"),
        ErrorKind::Quota => (402, "billing_error"),
        ErrorKind::Permission => (403, "permission_error"),
        ErrorKind::NotFound => (404, "not_found_error"),
        ErrorKind::RateLimited => (429, "rate_limit_error"),
        ErrorKind::Overloaded => (529, "overloaded_error"),
        ErrorKind::Timeout => (504, "timeout_error"),
        ErrorKind::ContextLength
        | ErrorKind::InvalidRequest
        | ErrorKind::NotSupported
        | ErrorKind::ContentPolicy => (400, "invalid_request_error"),
        ErrorKind::Cancelled => (499, "api_error"),
        _ => (500, "api_error"),
    }
}

/// What a body says.
struct Facts<'a> {
    kind: &'a str,
    message: &'a str,
    /// The code that says more than the kind (`enforced_spend_limit_reached`).
    code: Option<&'a str>,
    request_id: Option<&'a str>,
    details: &'a Value,
}

impl<'a> Facts<'a> {
    fn of(value: &'a Value) -> Self {
        let inner = match &value["error"] {
            error @ (Value::Object(_) | Value::String(_)) => error,
            _ => value,
        };
        let details =
            if inner["details"].is_null() { &value["details"] } else { &inner["details"] };
        let message = [inner, &inner["message"], &value["message"], &value["detail"]];
        Self {
            kind: inner["type"].as_str().unwrap_or_default(),
            message: message.iter().find_map(|text| text.as_str()).unwrap_or_default(),
            code: details["error_code"].as_str().or_else(|| inner["code"].as_str()),
            request_id: value["request_id"].as_str(),
            details,
        }
    }

    fn apply(&self, error: &mut ProviderError) {
        let message = one_line(self.message);
        if !message.is_empty() {
            error.message = message;
        }
        if let Some(kind) = self.kind(error.kind) {
            error.kind = kind;
        }
        if error.kind == ErrorKind::Quota {
            // A spend cap comes without a time to wait for, and a client must not go on asking.
            (error.retryable, error.retry_after_ms) = (Some(false), None);
        }
        let kind = Some(self.kind).filter(|kind| !kind.is_empty());
        error.code = self.code.or(kind).map(str::to_owned);
        if let Some(id) = self.request_id {
            error.request_id.get_or_insert_with(|| id.to_owned());
        }
        if self.details.is_object() {
            error.details.insert("details".into(), self.details.clone());
        }
    }

    fn kind(&self, by_status: ErrorKind) -> Option<ErrorKind> {
        let text = self.message.to_ascii_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        if self.code.is_some_and(|code| code.contains("spend_limit")) {
            return Some(ErrorKind::Quota);
        }
        Some(match self.kind {
            "invalid_request_error" if is_too_long(&text) => ErrorKind::ContextLength,
            "invalid_request_error"
                if says(&["spend limit", "usage limit", "credit balance is too low"]) =>
            {
                ErrorKind::Quota
            }
            // A server that only resembles Anthropic may call all of its failures so.
            "invalid_request_error" if by_status == ErrorKind::Unavailable => {
                ErrorKind::InvalidRequest
            }
            "authentication_error" => ErrorKind::Authentication,
            "billing_error" => ErrorKind::Quota,
            "permission_error" => ErrorKind::Permission,
            "not_found_error" => ErrorKind::NotFound,
            "request_too_large" => ErrorKind::ContextLength,
            "rate_limit_error" if says(&["spend limit", "spending limit"]) => ErrorKind::Quota,
            "rate_limit_error" => ErrorKind::RateLimited,
            "overloaded_error" => ErrorKind::Overloaded,
            "timeout_error" => ErrorKind::Timeout,
            "api_error" | "conflict_error" => ErrorKind::Unavailable,
            _ if is_too_long(&text) => ErrorKind::ContextLength,
            _ => return None,
        })
    }
}

fn is_too_long(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["prompt is too long", "exceed context limit", "exceeds the context window"]
        .iter()
        .any(|phrase| text.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_written_reads_back_as_one_that_asks_the_same_of_the_client() {
        for (kind, expected) in [
            (ErrorKind::Authentication, ErrorKind::Authentication),
            (ErrorKind::Quota, ErrorKind::Quota),
            (ErrorKind::Permission, ErrorKind::Permission),
            (ErrorKind::NotFound, ErrorKind::NotFound),
            (ErrorKind::RateLimited, ErrorKind::RateLimited),
            (ErrorKind::Overloaded, ErrorKind::Overloaded),
            (ErrorKind::Timeout, ErrorKind::Timeout),
            (ErrorKind::ContextLength, ErrorKind::ContextLength),
            (ErrorKind::NotSupported, ErrorKind::InvalidRequest),
            (ErrorKind::Incomplete, ErrorKind::Unavailable),
        ] {
            let mut error = ProviderError::new(kind, "no");
            error.request_id = Some("req_1".into());
            let (status, body) = encode(&error);
            let mut response = Response::default();
            (response.status, response.body) = (status, body.clone());
            let read = failure(&response);
            assert_eq!(read.kind, expected, "{kind:?}");
            assert_eq!(read.is_retryable(), error.is_retryable(), "{kind:?}");
            assert_eq!(read.request_id.as_deref(), Some("req_1"));
            assert_eq!(in_stream(&body).kind, expected, "{kind:?}");
        }
    }

    #[test]
    fn a_refused_request_names_its_field() {
        let (status, body) =
            encode_request_error(&RequestError::new("messages[0]", "is no object"));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 400);
        assert_eq!(body["error"]["message"], "messages[0]: is no object");
    }
}
