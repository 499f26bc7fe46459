//! What goes wrong, in words for the client; what it may not know goes to the log.

use bytes::Bytes;
use dialects::RequestError;
use http::{HeaderValue, Response, StatusCode, header};
use plugin_api::error::{ErrorKind, ProviderError};

use super::{body::Body, dialect::Dialect};
use crate::{
    exchange::{ExchangeError, Refused},
    maestro::{Error, one_line},
    session::SessionError,
};

/// Why a request is not answered as it wished.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: Box<ProviderError>,
    /// The field at fault, if the request could not be read.
    request: Option<RequestError>,
    /// A status of HTTP's own, where the dialects' words have none.
    status: Option<StatusCode>,
    /// The vendor's own body, in the client's dialect; the client's tools know its words.
    own: Option<Bytes>,
    /// Value of `allow`.
    allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let error = Box::new(ProviderError::new(kind, message));
        Self { error, request: None, status: None, own: None, allow: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    pub(super) fn unknown_path() -> Self {
        let message = "there is nothing at this path; hint: base URLs of OpenAI's clients end in `/v1`, \
                       those of others do not; see `maestro env`";
        Self::new(ErrorKind::NotFound, message).status(StatusCode::NOT_FOUND)
    }

    pub(super) fn wrong_method(allowed: &'static str) -> Self {
        let mut refusal = Self::invalid(format!("this path takes {allowed}"));
        refusal.allow = Some(allowed);
        refusal.status(StatusCode::METHOD_NOT_ALLOWED)
    }

    /// Makes a refusal of the upstream's, which speaks the client's dialect: the client's tools look at
    /// its very words. Of what the client cannot mend (credentials, credit, which models there are) we
    /// tell in ours, with the remedy.
    pub(super) fn of_upstream(error: &Error, refused: Refused) -> Self {
        let refusal = Self::from(explain(error));
        let ours = matches!(
            refusal.error.kind,
            ErrorKind::Authentication
                | ErrorKind::Permission
                | ErrorKind::NotFound
                | ErrorKind::Quota
        );
        let is_dialects = || {
            let body = serde_json::from_slice::<serde_json::Value>(&refused.body);
            body.is_ok_and(|body| body["error"].is_object())
        };
        if ours || !is_dialects() {
            return refusal;
        }
        let status = StatusCode::from_u16(refused.status).ok();
        Self { own: Some(refused.body), status, ..refusal }
    }

    /// Makes the answer, in the client's dialect.
    pub(super) fn response(&self, dialect: Dialect) -> Response<Body> {
        let (status, body) = self.written_in(dialect);
        let own = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Body::json(body);
        *response.status_mut() = own;
        let headers = response.headers_mut();
        if let Some(wait) = self.error.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.div_ceil(1000)));
            headers.insert("retry-after-ms", HeaderValue::from(wait));
        }
        // SDKs send again whatever is a 429 or a 5xx, unless they are told.
        let again = if self.error.is_retryable() { "true" } else { "false" };
        headers.insert("x-should-retry", HeaderValue::from_static(again));
        if let Some(allowed) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }

    /// Writes it in a dialect: the status and the body.
    fn written_in(&self, dialect: Dialect) -> (u16, Bytes) {
        let (status, body) = match (&self.own, &self.request) {
            (Some(own), _) => (0, own.clone()),
            (None, Some(request)) => written(dialect.request_error(request)),
            (None, None) => {
                let mut error = self.error.clone();
                // OpenAI's clients would read of a model that is not there.
                if self.status == Some(StatusCode::NOT_FOUND) && dialect.is_openais() {
                    error.kind = ErrorKind::InvalidRequest;
                }
                written(dialect.error(&error))
            }
        };
        let status = self.status.map_or(status, |status| status.as_u16());
        // Google says it in the body too.
        let body = match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(mut said) if dialect == Dialect::Gemini && self.own.is_none() => {
                said["error"]["code"] = status.into();
                said.to_string().into()
            }
            _ => body,
        };
        (status, body)
    }
}

fn written((status, body): (u16, Vec<u8>)) -> (u16, Bytes) {
    (status, body.into())
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let mut refusal = Self::from(ProviderError::from(error.clone()));
        refusal.request = Some(error);
        refusal
    }
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        Self { error: Box::new(error), request: None, status: None, own: None, allow: None }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::from(explain(&error))
    }
}

/// Turns a failure into what the client may know of it, the remedy in the message.
pub(super) fn explain(error: &Error) -> ProviderError {
    let said = match error {
        Error::Exchange(ExchangeError::Provider { provider, source }) => {
            let mut said = (**source).clone();
            said.message = format!("provider `{provider}`: {}", source.message);
            said
        }
        Error::Exchange(ExchangeError::Contract { plugin, rule, .. }) => ProviderError::new(
            ErrorKind::Protocol,
            format!("plugin `{plugin}` broke contract rule `{rule}`"),
        ),
        error => match kind_of(error) {
            Some(kind) => ProviderError::new(kind, one_line(error)).retry_after_ms(wait_ms(error)),
            // Of the machine's own troubles a client need not know more than that they are there.
            None => {
                tracing::error!("{}", one_line(error));
                let message = "the gateway cannot do this now; its log says why";
                return ProviderError::new(ErrorKind::Other, message);
            }
        },
    };
    let hint = match error {
        // Clients have no options of a command line.
        Error::Session(SessionError::NoDefault { provider, .. }) => Some(format!(
            "name one: in the base URL, `/s/NAME`, in the header `x-maestro-session`, or in the model, \
             `{provider}:NAME/MODEL`"
        )),
        error => error.hint(),
    };
    with_hint(said, hint)
}

fn with_hint(mut error: ProviderError, hint: Option<String>) -> ProviderError {
    if let Some(hint) = hint {
        error.message = format!("{}; hint: {hint}", error.message);
    }
    error
}

/// Returns when it makes sense to come back.
fn wait_ms(error: &Error) -> Option<u64> {
    match error {
        Error::LeftAlone { wait_ms, .. } => *wait_ms,
        Error::PoolSpent { wait_ms, .. } => Some(*wait_ms),
        _ => None,
    }
}

/// Sorts the host's own errors; `None` for those that are nobody's business outside.
fn kind_of(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::UnknownProvider { .. }
        | Error::UnknownModel { .. }
        | Error::AmbiguousModel { .. }
        | Error::NotRoutable { .. }
        | Error::NotReady { .. } => Some(ErrorKind::NotFound),
        Error::KeyMayNot { .. } => Some(ErrorKind::Permission),
        Error::NotSupported { .. } | Error::NotUnderstood { .. } => Some(ErrorKind::NotSupported),
        Error::LeftAlone { .. } => Some(ErrorKind::Overloaded),
        Error::PoolSpent { .. } => Some(ErrorKind::Quota),
        error => match error.exit_code() {
            2 => Some(ErrorKind::InvalidRequest),
            3 => Some(ErrorKind::Authentication),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_stands_in_the_message() {
        let error = Error::UnknownModel {
            model: "gtp".into(),
            nearest: vec!["openai/gpt".into(), "lab/gpt".into()],
        };
        let said = explain(&error);
        assert_eq!(said.kind, ErrorKind::NotFound);
        assert_eq!(
            said.message,
            "no provider serves model `gtp`; hint: did you mean `openai/gpt` or `lab/gpt`?"
        );
    }

    #[test]
    fn what_the_provider_said_keeps_its_kind() {
        let source = ProviderError::new(ErrorKind::Quota, "no credit").code("insufficient_quota");
        let error = ExchangeError::Provider { provider: "openai".into(), source: source.into() };
        let said = explain(&error.into());
        assert_eq!(
            (said.kind, said.code.as_deref()),
            (ErrorKind::Quota, Some("insufficient_quota"))
        );
        assert!(
            said.message.starts_with("provider `openai`: no credit; hint: "),
            "{}",
            said.message
        );
        let response = Refusal::from(said).response(Dialect::OpenAiChat);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["x-should-retry"], "false");
    }

    #[test]
    fn a_path_that_is_none_is_no_missing_model() {
        let said = |dialect| {
            let (status, body) = Refusal::unknown_path().written_in(dialect);
            (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
        };
        let (status, body) = said(Dialect::OpenAiChat);
        assert_eq!((status, &body["error"]["code"]), (404, &serde_json::Value::Null));
        let (status, body) = said(Dialect::AnthropicMessages);
        assert_eq!((status, &body["error"]["type"]), (404, &"not_found_error".into()));
        let (status, body) = said(Dialect::Gemini);
        assert_eq!((status, &body["error"]["status"]), (404, &"NOT_FOUND".into()));
    }

    #[test]
    fn clients_are_told_how_a_client_names_a_session() {
        let candidates = vec!["openai:one".into(), "openai:two".into()];
        let error = SessionError::NoDefault { provider: "openai".parse().unwrap(), candidates };
        let said = explain(&Error::from(error)).message;
        assert!(
            said.ends_with(
                "hint: name one: in the base URL, `/s/NAME`, in the header \
                                `x-maestro-session`, or in the model, `openai:NAME/MODEL`"
            ),
            "{said}"
        );
    }

    #[test]
    fn a_wait_is_told_in_headers() {
        let error = ProviderError::new(ErrorKind::RateLimited, "slow").retry_after_ms(Some(1_200));
        let response = Refusal::from(error).response(Dialect::AnthropicMessages);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["retry-after-ms"], "1200");
        let wrong = Refusal::wrong_method("POST").response(Dialect::Gemini);
        assert_eq!(
            (wrong.status().as_u16(), &wrong.headers()["allow"]),
            (405, &"POST".parse().unwrap())
        );
    }
}
