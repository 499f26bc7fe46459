//! Failures: what the vendor writes them in, and what its clients expect.

use plugin_api::{
    error::{ErrorKind, ProviderError},
    kit::{call::Response, failure as kit_failure},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    failure::{gave_up, one_line},
    lenient::{Count, Text},
    loss::RequestError,
};

/// Turns an answer with a failed status into an error.
///
/// The body is `{"error":{…}}`, or an array of one such; of HTML, or of nothing, the status alone
/// decides.
#[must_use]
pub fn failure(response: &Response) -> ProviderError {
    let mut error =
        kit_failure::status(response.status, &response.headers, &response.body, response.now);
    if let Some(status) = Status::read(&response.body) {
        status.apply(&mut error);
    }
    error
}

/// Turns a failure that came inside a stream, after HTTP 200, into an error.
#[must_use]
pub fn in_stream(json: &[u8]) -> ProviderError {
    let mut error = gave_up(json);
    if let Some(status) = Status::read(json) {
        status.apply(&mut error);
    }
    error
}

/// Writes an error as a client of Gemini expects it: the HTTP status and the body.
#[must_use]
pub fn encode(error: &ProviderError) -> (u16, Vec<u8>) {
    let (code, status) = canonical(error.kind);
    let mut details = Vec::new();
    let reason = match error.kind {
        ErrorKind::Authentication => Some("API_KEY_INVALID"),
        _ => error.code.as_deref(),
    };
    if let Some(reason) = reason {
        details.push(json!({"@type": type_url("ErrorInfo"), "reason": reason}));
    }
    if let Some(wait) = error.retry_after_ms {
        let delay = format!("{}.{:03}s", wait / 1000, wait % 1000);
        details.push(json!({"@type": type_url("RetryInfo"), "retryDelay": delay}));
    }
    if error.kind == ErrorKind::Quota {
        // Clients tell a spent allowance from a busy minute by the name of the quota.
        let violation = json!({"quotaId": "RequestsPerDay"});
        details.push(json!({"@type": type_url("QuotaFailure"), "violations": [violation]}));
    }
    body(code, status, &error.message, details)
}

/// Writes the refusal of a request that could not be read.
#[must_use]
pub fn encode_request_error(error: &RequestError) -> (u16, Vec<u8>) {
    let mut details = Vec::new();
    if !error.field.is_empty() {
        let violation = json!({"field": error.field, "description": error.message});
        details.push(json!({"@type": type_url("BadRequest"), "fieldViolations": [violation]}));
    }
    body(400, "INVALID_ARGUMENT", &error.to_string(), details)
}

fn body(code: u16, status: &str, message: &str, details: Vec<Value>) -> (u16, Vec<u8>) {
    let mut error = json!({"code": code, "message": message, "status": status});
    if !details.is_empty() {
        error["details"] = details.into();
    }
    (code, json!({ "error": error }).to_string().into_bytes())
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/google.rpc.{name}")
}

const fn canonical(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        // The vendor itself answers a bad key so.
        ErrorKind::Authentication
        | ErrorKind::InvalidRequest
        | ErrorKind::NotSupported
        | ErrorKind::ContextLength
        | ErrorKind::ContentPolicy => (400, "INVALID_ARGUMENT"),
        ErrorKind::Permission => (403, "PERMISSION_DENIED"),
        ErrorKind::NotFound => (404, "NOT_FOUND"),
        ErrorKind::Quota | ErrorKind::RateLimited => (429, "RESOURCE_EXHAUSTED"),
        ErrorKind::Cancelled => (499, "CANCELLED"),
        ErrorKind::Overloaded | ErrorKind::Unavailable | ErrorKind::Connection => {
            (503, "UNAVAILABLE")
        }
        ErrorKind::Timeout => (504, "DEADLINE_EXCEEDED"),
        _ => (500, "INTERNAL"),
    }
}

/// What a body says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    code: Count,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    details: Value,
}

impl<'a> Status<'a> {
    fn read(json: &'a [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Body<'a> {
            One {
                #[serde(borrow)]
                error: Error<'a>,
            },
            // An array of which the first counts.
            Several(#[serde(borrow)] Vec<Body<'a>>),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Error<'a> {
            Status(#[serde(borrow)] Status<'a>),
            Text(String),
        }
        let mut body = serde_json::from_slice(json).ok()?;
        loop {
            match body {
                Body::One { error: Error::Status(status) } => return Some(status),
                Body::One { error: Error::Text(text) } => {
                    return Some(Status { message: Text(text.into()), ..Status::default() });
                }
                Body::Several(list) => body = list.into_iter().next()?,
            }
        }
    }

    fn apply(&self, error: &mut ProviderError) {
        let code = self.code.0.and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| (400..600).contains(code));
        if error.status.is_none()
            && let Some(code) = code
        {
            (error.status, error.kind) = (Some(code), ErrorKind::from_status(code));
        }
        let message = one_line(&self.message.0);
        if !message.is_empty() {
            error.message = message;
        }
        if let Some(kind) = self.kind(error.kind) {
            error.kind = kind;
        }
        let reason = self.detail("ErrorInfo").and_then(|info| info["reason"].as_str());
        error.code = reason.or(self.status.filled()).map(str::to_owned).or(error.code.take());
        let delay = self.detail("RetryInfo").and_then(|info| info["retryDelay"].as_str());
        error.retry_after_ms = delay
            .and_then(kit_failure::duration_ms)
            .or(error.retry_after_ms)
            .or_else(|| retry_in(&self.message.0));
        for (name, field) in [("QuotaFailure", "violations"), ("BadRequest", "fieldViolations")] {
            if let Some(found) = self.detail(name).map(|d| &d[field]).filter(|v| v.is_array()) {
                error.details.insert(field.to_owned(), found.clone());
            }
        }
    }

    fn details(&self) -> &[Value] {
        self.details.as_array().map_or(&[], Vec::as_slice)
    }

    fn detail(&self, name: &str) -> Option<&Value> {
        self.details().iter().find(|detail| {
            let kind = detail["@type"].as_str().unwrap_or_default();
            kind.rsplit('.').next() == Some(name)
        })
    }

    /// Classifies by what the body says, where this says more than `by_status`.
    fn kind(&self, by_status: ErrorKind) -> Option<ErrorKind> {
        let reasons = self.details().iter().filter_map(|detail| detail["reason"].as_str());
        for reason in reasons {
            match reason {
                "API_KEY_INVALID"
                | "API_KEY_EXPIRED"
                | "ACCESS_TOKEN_EXPIRED"
                | "ACCESS_TOKEN_TYPE_UNSUPPORTED"
                | "CREDENTIALS_MISSING" => {
                    return Some(ErrorKind::Authentication);
                }
                _ => {}
            }
        }
        let text = self.message.0.to_ascii_lowercase();
        match &*self.status.0 {
            "RESOURCE_EXHAUSTED" if self.is_daily() => Some(ErrorKind::Quota),
            "RESOURCE_EXHAUSTED" => Some(ErrorKind::RateLimited),
            "UNAUTHENTICATED" => Some(ErrorKind::Authentication),
            "PERMISSION_DENIED" => Some(ErrorKind::Permission),
            "NOT_FOUND" => Some(ErrorKind::NotFound),
            "UNIMPLEMENTED" => Some(ErrorKind::NotSupported),
            "UNAVAILABLE" => Some(ErrorKind::Overloaded),
            "DEADLINE_EXCEEDED" => Some(ErrorKind::Timeout),
            "INTERNAL" | "UNKNOWN" | "ABORTED" | "CANCELLED" => Some(ErrorKind::Unavailable),
            "" if by_status == ErrorKind::RateLimited && self.is_daily() => Some(ErrorKind::Quota),
            _ if text.contains("api key not valid") || text.contains("api key expired") => {
                Some(ErrorKind::Authentication)
            }
            _ if text.contains("token count") && text.contains("exceed") => {
                Some(ErrorKind::ContextLength)
            }
            "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => {
                Some(ErrorKind::InvalidRequest)
            }
            _ => None,
        }
    }

    /// Reports whether a quota of a whole day is spent, for which no wait of seconds helps.
    fn is_daily(&self) -> bool {
        let violations = self.detail("QuotaFailure").map(|failure| &failure["violations"]);
        violations.and_then(Value::as_array).is_some_and(|list| {
            list.iter().any(|violation| {
                violation["quotaId"].as_str().is_some_and(|id| id.contains("PerDay"))
            })
        })
    }
}

/// Finds "Please retry in 34.07s." in a text, for answers without details.
fn retry_in(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("retry in ")?;
    kit_failure::duration_ms(rest.split_whitespace().next()?.trim_end_matches(['.', ',']))
}
