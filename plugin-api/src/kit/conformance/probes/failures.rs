//! Answers with a status that says no, and no answer at all.

use super::{JSON, Probes, difference::shown};
use crate::{
    error::ErrorKind,
    http::TransportErrorKind,
    kit::conformance::{
        drive::{Beside, Trace, Upstream},
        rules::Rule,
    },
};

impl Probes<'_> {
    /// Answers with failures, and with nothing.
    pub(super) fn failures(&mut self) {
        for (label, ask) in self.asks() {
            for (status, kinds) in STATUSES {
                for body in [&br#"{"error":{"message":"it failed"}}"#[..], b"", b"<html>it failed"]
                {
                    let answer = Upstream::new(*status, JSON, body);
                    let label = format!("{label}, status {status}, {}", shown(body));
                    let trace = self.run(&label, &ask, &[answer], Beside::default());
                    if trace.requests.is_empty() || trace.broken.is_some() {
                        continue;
                    }
                    self.failure(&label, *status, kinds, &trace);
                }
            }
            let answer = Upstream::new(429, JSON, b"{}").header("retry-after", "7");
            let trace = self.run(label, &ask, &[answer], Beside::default());
            if let (Some(error), false) = (&trace.error, trace.requests.is_empty()) {
                self.tried.insert(Rule::RetryAfterKept);
                if error.retry_after_ms != Some(7000) {
                    let detail = format!("expected 7000 ms, found {:?}", error.retry_after_ms);
                    self.find(Rule::RetryAfterKept, format!("{label}, `retry-after: 7`"), detail);
                }
            }
            for kind in [
                TransportErrorKind::Dns,
                TransportErrorKind::Connect,
                TransportErrorKind::Tls,
                TransportErrorKind::Timeout,
                TransportErrorKind::Reset,
            ] {
                let label = format!("{label}, {kind:?}");
                let trace = self.run(&label, &ask, &[Upstream::Failed(kind)], Beside::default());
                if trace.requests.is_empty() || trace.broken.is_some() {
                    continue;
                }
                self.tried.insert(Rule::TransportFailuresTyped);
                let right = trace.error.as_ref().is_some_and(|error| {
                    matches!(
                        error.kind,
                        ErrorKind::Connection
                            | ErrorKind::Timeout
                            | ErrorKind::Unavailable
                            | ErrorKind::Incomplete
                    )
                });
                if !right {
                    self.find(Rule::TransportFailuresTyped, label, format!("it {}", trace.end()));
                }
            }
        }
    }

    fn failure(&mut self, label: &str, status: u16, kinds: &[ErrorKind], trace: &Trace) {
        self.tried.extend([Rule::StatusesMapped, Rule::StatusKept, Rule::FailuresExplained]);
        let Some(error) = &trace.error else {
            return self.find(Rule::StatusesMapped, label, format!("it {}", trace.end()));
        };
        if !kinds.contains(&error.kind) {
            let detail = format!("expected one of {kinds:?}, found {:?}", error.kind);
            self.find(Rule::StatusesMapped, label, detail);
        }
        if error.status != Some(status) {
            let detail = format!("expected {status}, found {:?}", error.status);
            self.find(Rule::StatusKept, label, detail);
        }
        if error.message.trim().is_empty() {
            self.find(Rule::FailuresExplained, label, "the message is empty");
        }
    }
}

/// Statuses and the kinds that fit them.
const STATUSES: &[(u16, &[ErrorKind])] = {
    use ErrorKind::{
        Authentication, ContextLength, InvalidRequest, NotFound, Overloaded, Permission, Quota,
        RateLimited, Timeout, Unavailable,
    };
    &[
        (400, &[InvalidRequest, ContextLength]),
        (401, &[Authentication, Permission]),
        (402, &[Quota]),
        (403, &[Permission, Authentication, Quota]),
        (404, &[NotFound, InvalidRequest]),
        (408, &[Timeout, Unavailable]),
        (429, &[RateLimited, Quota, Overloaded]),
        (500, &[Unavailable, Overloaded]),
        (502, &[Unavailable, Overloaded]),
        (503, &[Unavailable, Overloaded]),
        (504, &[Timeout, Unavailable, Overloaded]),
    ]
};
