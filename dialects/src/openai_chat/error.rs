//! Failures: the forms that servers write them in, and the one that clients expect.

use plugin_api::{
    error::{ErrorKind, ProviderError},
    kit::{call::Response, failure as kit_failure},
};
use serde_json::{Value, json};

use crate::{
    failure::{gave_up, one_line, refused},
    loss::RequestError,
};

/// Turns an answer with a failed status into an error.
///
/// The body may be OpenAI's `{"error":{…}}`, a text under `error` (LM Studio), an array of one such
/// (Gemini's compatible endpoint), flat (`{"object":"error"}`: older vLLM, Mistral), FastAPI's
/// `{"detail"}`, HTML or empty; then the status alone decides.
#[must_use]
pub fn failure(response: &Response) -> ProviderError {
    let mut error = refused(response);
    if let Ok(value) = serde_json::from_slice(&response.body) {
        Facts::of(value).apply(&mut error, response.now.0);
    }
    error
}

/// Turns a failure that came inside a stream, after HTTP 200, into an error.
#[must_use]
pub fn in_stream(json: &[u8]) -> ProviderError {
    let mut error = gave_up(json);
    if let Ok(value) = serde_json::from_slice(json) {
        Facts::of(value).apply(&mut error, 0);
    }
    error
}

/// Writes an error as a client of OpenAI expects it: the HTTP status and the body.
///
/// Where OpenAI has a code for the kind, that code is sent, because clients act on it.
#[must_use]
pub fn encode(error: &ProviderError) -> (u16, Vec<u8>) {
    let (status, kind, code) = canonical(error.kind);
    let code = code.map(str::to_owned).or_else(|| error.code.clone());
    body(status, kind, code.as_deref(), None, &error.message)
}

/// Writes the refusal of a request that could not be read.
#[must_use]
pub fn encode_request_error(error: &RequestError) -> (u16, Vec<u8>) {
    let param = Some(&*error.field).filter(|field| !field.is_empty());
    let code = if error.is_unsupported { "unsupported_parameter" } else { "invalid_value" };
    body(400, "invalid_request_error", Some(code), param, &error.to_string())
}

fn body(
    status: u16,
    kind: &str,
    code: Option<&str>,
    param: Option<&str>,
    message: &str,
) -> (u16, Vec<u8>) {
    let error = json!({"message": message, "type": kind, "param": param, "code": code});
    (status, json!({"error": error}).to_string().into_bytes())
}

const fn canonical(kind: ErrorKind) -> (u16, &'static str, Option<&'static str>) {
    const REQUEST: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    match kind {
        ErrorKind::Authentication => (401, REQUEST, Some("invalid_api_key")),
        ErrorKind::Permission => (403, "permission_error", Some("permission_denied")),
        ErrorKind::Quota => (429, "insufficient_quota", Some("insufficient_quota")),
        ErrorKind::RateLimited => (429, "requests", Some("rate_limit_exceeded")),
        ErrorKind::Overloaded => (503, SERVER, Some("server_is_overloaded")),
        ErrorKind::ContextLength => (400, REQUEST, Some("context_length_exceeded")),
        ErrorKind::InvalidRequest => (400, REQUEST, None),
        ErrorKind::NotSupported => (400, REQUEST, Some("unsupported_parameter")),
        ErrorKind::NotFound => (404, REQUEST, Some("model_not_found")),
        ErrorKind::ContentPolicy => (400, REQUEST, Some("content_filter")),
        ErrorKind::Timeout => (504, SERVER, Some("timeout")),
        ErrorKind::Cancelled => (499, REQUEST, Some("cancelled")),
        ErrorKind::Unavailable | ErrorKind::Connection => (502, SERVER, None),
        ErrorKind::Incomplete | ErrorKind::Protocol => (502, SERVER, Some("bad_upstream_answer")),
        _ => (500, SERVER, None),
    }
}

/// What a body says.
#[derive(Debug, Default)]
struct Facts {
    message: String,
    code: Option<String>,
    /// The vendor's words for the kind of failure, most telling first, in lowercase.
    words: Vec<String>,
    /// A code that is an HTTP status.
    status: Option<u16>,
    retry_after_ms: Option<u64>,
    resets_at: Option<u64>,
    moderated: bool,
}

impl Facts {
    fn of(value: Value) -> Self {
        match value {
            Value::Array(list) => list.into_iter().next().map(Self::of).unwrap_or_default(),
            Value::String(message) => Self { message, ..Self::default() },
            Value::Object(mut object) => match object.remove("error") {
                Some(Value::Object(inner)) => Self::object(&inner.into()),
                Some(inner @ (Value::String(_) | Value::Array(_))) => {
                    let mut facts = Self::of(inner);
                    // OAuth servers and some proxies put a word under `error`, the text beside it.
                    let beside = ["message", "error_description"];
                    if let Some(text) = beside.iter().find_map(|n| object.get(*n)?.as_str()) {
                        facts.words.push(facts.message.to_ascii_lowercase());
                        facts.code = Some(std::mem::replace(&mut facts.message, text.to_owned()));
                    }
                    facts
                }
                _ => Self::object(&Value::Object(object)),
            },
            _ => Self::default(),
        }
    }

    fn object(error: &Value) -> Self {
        let mut facts = Self { message: message(error), ..Self::default() };
        let metadata = &error["metadata"];
        // OpenRouter wraps a provider's own failure and hides its text in the metadata.
        if let Some(raw) = metadata["raw"].as_str().filter(|_| facts.message.len() < 40) {
            facts.message = format!("{}: {raw}", facts.message);
        }
        facts.moderated = metadata["reasons"].is_array() || metadata["flagged_input"].is_string();
        let inner = &error["innererror"]["code"];
        let reason = error["details"].as_array().into_iter().flatten();
        let reasons = reason.clone().filter_map(|detail| detail["reason"].as_str());
        let words = [&error["code"], inner, &metadata["error_type"], &error["status"]]
            .into_iter()
            .chain([&error["type"]]);
        for word in words {
            match word {
                Value::Number(number) => {
                    facts.status = facts.status.or_else(|| http_status(number.as_u64()));
                }
                Value::String(word) => match word.parse::<u64>() {
                    Ok(number) => facts.status = facts.status.or_else(|| http_status(Some(number))),
                    Err(_) => facts.words.push(word.clone()),
                },
                _ => {}
            }
        }
        facts.words.extend(reasons.map(str::to_owned));
        facts.code = facts.words.first().cloned().or_else(|| {
            let code = &error["code"];
            code.as_u64().map(|code| code.to_string()).or(code.as_str().map(str::to_owned))
        });
        for word in &mut facts.words {
            word.make_ascii_lowercase();
        }
        let delay = reason.clone().find_map(|detail| detail["retryDelay"].as_str());
        facts.retry_after_ms = delay
            .and_then(kit_failure::duration_ms)
            .or_else(|| {
                error["resets_in_seconds"].as_u64().map(|seconds| seconds.saturating_mul(1000))
            })
            .or_else(|| wait_in(&facts.message));
        facts.resets_at = error["resets_at"].as_u64();
        facts
    }

    fn apply(self, error: &mut ProviderError, now: u64) {
        if error.status.is_none() {
            error.status = self.status;
            if let Some(status) = self.status {
                error.kind = ErrorKind::from_status(status);
            }
        }
        let message = one_line(&self.message);
        if !message.is_empty() {
            error.message = message;
        }
        if let Some(kind) = self.kind(error.kind) {
            error.kind = kind;
        }
        if self.words.iter().any(|word| word == "tool_use_failed") {
            // The model wrote a call that does not parse; asked again it may do better.
            error.retryable = Some(true);
        }
        error.code = self.code.or(error.code.take());
        error.retry_after_ms = error.retry_after_ms.or(self.retry_after_ms).or_else(|| {
            let at = self.resets_at?.checked_mul(1000)?;
            (now > 0).then(|| at.saturating_sub(now))
        });
    }

    /// Classifies by the vendor's words, then by the text, where these say more than `by_status`.
    fn kind(&self, by_status: ErrorKind) -> Option<ErrorKind> {
        if let Some(kind) = self.words.iter().find_map(|word| telling(word)) {
            return Some(kind);
        }
        if self.moderated {
            return Some(ErrorKind::ContentPolicy);
        }
        let text = self.message.to_ascii_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        if says(&TOO_LONG) {
            return Some(ErrorKind::ContextLength);
        }
        if says(&["insufficient balance", "exceeded your current quota", "insufficient credits"]) {
            return Some(ErrorKind::Quota);
        }
        if says(&["api key not valid", "incorrect api key", "invalid api key"]) {
            return Some(ErrorKind::Authentication);
        }
        if says(&["loading model"]) {
            return Some(ErrorKind::Overloaded);
        }
        if by_status == ErrorKind::Unavailable {
            // Words that every failure of theirs carries count only where no status says more.
            return self.words.iter().find_map(|word| vague(word));
        }
        None
    }
}

/// Classifies a word that decides whatever the status is.
fn telling(word: &str) -> Option<ErrorKind> {
    Some(match word {
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "usage_limit_reached"
        | "quota_exceeded"
        | "insufficient_balance"
        | "insufficient_credits" => ErrorKind::Quota,
        "rate_limit_exceeded"
        | "rate_limit_error"
        | "rate_limited"
        | "too_many_requests"
        | "resource_exhausted" => ErrorKind::RateLimited,
        "invalid_api_key"
        | "invalid_authentication"
        | "authentication_error"
        | "api_key_invalid"
        | "token_expired"
        | "unauthenticated" => ErrorKind::Authentication,
        "permission"
        | "permission_error"
        | "permission_denied"
        | "unsupported_country_region_territory" => ErrorKind::Permission,
        "context_length_exceeded"
        | "exceed_context_size_error"
        | "string_above_max_length"
        | "context_window_exceeded" => ErrorKind::ContextLength,
        "content_filter"
        | "content_policy_violation"
        | "responsibleaipolicyviolation"
        | "moderation_blocked"
        | "cyber_policy" => ErrorKind::ContentPolicy,
        "model_not_found" | "not_found" | "not_found_error" | "deploymentnotfound"
        | "notfounderror" => ErrorKind::NotFound,
        "server_is_overloaded"
        | "slow_down"
        | "overloaded_error"
        | "unavailable_error"
        | "provider_overloaded"
        | "capacity_exceeded"
        | "engine_overloaded" => ErrorKind::Overloaded,
        "tool_use_failed" | "invalid_value" | "unsupported_parameter" => ErrorKind::InvalidRequest,
        "timeout" | "request_timeout" | "deadline_exceeded" => ErrorKind::Timeout,
        _ => return None,
    })
}

/// Classifies a word that means little beside a status.
fn vague(word: &str) -> Option<ErrorKind> {
    Some(match word {
        "invalid_request_error" | "badrequesterror" | "invalid_argument" => {
            ErrorKind::InvalidRequest
        }
        "unavailable" => ErrorKind::Overloaded,
        _ => return None,
    })
}

const TOO_LONG: [&str; 6] = [
    "maximum context length",
    "context length exceeded",
    "exceeds the available context size",
    "exceed context window",
    "prompt is too long",
    "context window exceeded",
];

fn message(error: &Value) -> String {
    match (&error["message"], &error["detail"]) {
        (Value::String(text), _) | (_, Value::String(text)) => text.clone(),
        // FastAPI: one entry for each field that is wrong.
        (_, Value::Array(list)) | (Value::Array(list), _) => {
            let each = list.iter().map(|entry| {
                let at: Vec<String> = entry["loc"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
                    .collect();
                format!("{}: {}", at.join("."), entry["msg"].as_str().unwrap_or_default())
            });
            each.collect::<Vec<_>>().join("; ")
        }
        (nested @ Value::Object(_), _) | (_, nested @ Value::Object(_)) => message(nested),
        _ => String::new(),
    }
}

/// Finds "try again in 1.3s" and the like.
fn wait_in(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let rest = ["try again in ", "retry after ", "retry in "]
        .iter()
        .find_map(|phrase| lower.split_once(phrase))?
        .1;
    let mut words = rest.split_whitespace();
    let first = words.next()?.trim_end_matches(['.', ',', ';', ')']);
    kit_failure::duration_ms(first).or_else(|| {
        let unit = match words.next()?.trim_end_matches(['.', ',', ';', ')']) {
            "second" | "seconds" => "s",
            "minute" | "minutes" => "m",
            "hour" | "hours" => "h",
            "milliseconds" => "ms",
            _ => return None,
        };
        kit_failure::duration_ms(&format!("{first}{unit}"))
    })
}

fn http_status(code: Option<u64>) -> Option<u16> {
    code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code))
}
