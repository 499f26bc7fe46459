//! Why an exchange failed, in words that a host can act on.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A typed failure of an exchange.
///
/// The plugin classifies, the host acts: [`ErrorKind`] says who must do something,
/// [`retryable`](Self::is_retryable) whether the same request may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProviderError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What happened, in one line, for a person. Lowercase, no final period, no secret.
    #[serde(default)]
    pub message: String,
    /// The vendor's own code, for example `insufficient_quota`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The HTTP status it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long to wait before another try, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Overrides what the kind says about trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// The vendor's id of the request, to quote to its support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Further facts, by the vendor's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
}

impl ProviderError {
    /// Makes an error of a kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: None,
            status: None,
            retry_after_ms: None,
            retryable: None,
            request_id: None,
            details: BTreeMap::new(),
        }
    }

    /// Makes the error for an operation that this provider does not offer.
    #[must_use]
    pub fn not_supported(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotSupported, format!("{what} is not offered by this provider"))
    }

    /// Sets the vendor's own code.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Sets the HTTP status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets how long to wait before another try, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(mut self, wait: Option<u64>) -> Self {
        self.retry_after_ms = wait;
        self
    }

    /// Overrides what the kind says about trying again.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = Some(retryable);
        self
    }

    /// Reports whether the same request may be sent again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retryable.unwrap_or_else(|| self.kind.is_retryable())
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        match (&self.code, self.status) {
            (Some(code), Some(status)) => write!(f, " (`{code}`, HTTP {status})"),
            (Some(code), None) => write!(f, " (`{code}`)"),
            (None, Some(status)) => write!(f, " (HTTP {status})"),
            (None, None) => Ok(()),
        }
    }
}

impl std::error::Error for ProviderError {}

/// Kinds of failure, by who must act and whether waiting helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The credential is missing, wrong or expired; OAuth: refresh once, then log in again.
    Authentication,
    /// The credential is good but may not do this.
    Permission,
    /// Money or a plan's allowance is spent; waiting seconds does not help.
    Quota,
    /// Too many requests for now.
    RateLimited,
    /// The vendor is over capacity.
    Overloaded,
    /// The vendor failed in passing (409, 425, 500, 502).
    Unavailable,
    /// Nothing came in time, or the vendor says so (408, 504).
    Timeout,
    /// No connection, or it broke before an answer.
    Connection,
    /// The conversation is longer than the model takes.
    ContextLength,
    /// The request is wrong.
    InvalidRequest,
    /// The model or object does not exist.
    NotFound,
    /// The vendor's policy forbids the request or the answer.
    ContentPolicy,
    /// The provider has no such operation or feature.
    NotSupported,
    /// The stream ended before it was finished.
    Incomplete,
    /// The answer is not what the vendor's format says.
    Protocol,
    /// The client went away.
    Cancelled,
    /// The plugin panicked; the message names file and line.
    PluginPanic,
    /// Anything else, including kinds of a newer contract.
    #[serde(other)]
    Other,
}

impl ErrorKind {
    /// Reports whether waiting and sending the same request again may help.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Overloaded
                | Self::Unavailable
                | Self::Timeout
                | Self::Connection
                | Self::Incomplete
        )
    }

    /// Classifies an HTTP status where the body says nothing better.
    ///
    /// Statuses outside the common ones: 402 billing, 413 too large, 498 Groq's flex capacity,
    /// 529 Anthropic's overload.
    #[must_use]
    pub const fn from_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Quota,
            403 => Self::Permission,
            404 => Self::NotFound,
            413 => Self::ContextLength,
            429 => Self::RateLimited,
            498 | 503 | 529 => Self::Overloaded,
            408 | 504 => Self::Timeout,
            409 | 425 => Self::Unavailable,
            400..=499 => Self::InvalidRequest,
            500..=599 => Self::Unavailable,
            _ => Self::Protocol,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authentication => "authentication failed",
            Self::Permission => "permission denied",
            Self::Quota => "quota exhausted",
            Self::RateLimited => "rate limited",
            Self::Overloaded => "provider overloaded",
            Self::Unavailable => "provider unavailable",
            Self::Timeout => "timed out",
            Self::Connection => "connection failed",
            Self::ContextLength => "context too long",
            Self::InvalidRequest => "invalid request",
            Self::NotFound => "not found",
            Self::ContentPolicy => "refused by content policy",
            Self::NotSupported => "not supported",
            Self::Incomplete => "incomplete answer",
            Self::Protocol => "malformed answer",
            Self::Cancelled => "cancelled",
            Self::PluginPanic => "plugin panicked",
            Self::Other => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_kind_code_and_status() {
        let error = ProviderError::new(ErrorKind::Quota, "no credit left")
            .status(429)
            .code("insufficient_quota");
        assert_eq!(
            error.to_string(),
            "quota exhausted: no credit left (`insufficient_quota`, HTTP 429)"
        );
        assert!(!error.is_retryable());
        assert!(error.retryable(true).is_retryable());
    }

    #[test]
    fn a_kind_of_a_newer_contract_reads_as_other() {
        assert_eq!(serde_json::from_str::<ErrorKind>("\"melted\"").unwrap(), ErrorKind::Other);
    }

    #[test]
    fn statuses_map_to_who_must_act() {
        for (status, kind) in [
            (401, ErrorKind::Authentication),
            (402, ErrorKind::Quota),
            (404, ErrorKind::NotFound),
            (418, ErrorKind::InvalidRequest),
            (429, ErrorKind::RateLimited),
            (498, ErrorKind::Overloaded),
            (502, ErrorKind::Unavailable),
            (529, ErrorKind::Overloaded),
            (302, ErrorKind::Protocol),
        ] {
            assert_eq!(ErrorKind::from_status(status), kind, "{status}");
        }
    }
}
