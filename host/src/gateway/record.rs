//! One line of the log for each request: who asked for what, and what came of it. Never a body, a
//! query or a credential.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Request, StatusCode};
use plugin_api::{error::ProviderError, event::Usage};

use super::{Call, auth::limited, dialect::Dialect, failure::Refusal, stream::Log};
use crate::{
    maestro::{Estimate, Meter},
    router::ModelRef,
    session::random,
};

/// What is known of a request; written when it is dropped.
#[derive(Debug)]
pub(super) struct Record {
    id: HeaderValue,
    method: http::Method,
    path: String,
    dialect: Dialect,
    begun: Instant,
    client: Option<String>,
    /// Counts what the client's key uses, until the answer has left.
    meter: Option<Meter>,
    model: Option<String>,
    served: Option<String>,
    /// Who is asked first: `provider/model`.
    asked: Option<String>,
    status: Option<StatusCode>,
    first_byte: Option<Duration>,
    bytes: usize,
    usage: Usage,
    failure: Option<String>,
    complete: bool,
    /// Where a stream tells what it comes to.
    stream: Option<Log>,
}

impl Record {
    pub(super) fn of<B>(request: &Request<B>, dialect: Dialect) -> Self {
        Self {
            id: request_id(request.headers()),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            dialect,
            begun: Instant::now(),
            client: None,
            meter: None,
            model: None,
            served: None,
            asked: None,
            status: None,
            first_byte: None,
            bytes: 0,
            usage: Usage::default(),
            failure: None,
            complete: false,
            stream: None,
        }
    }

    pub(super) fn id(&self) -> &HeaderValue {
        &self.id
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == http::Method::HEAD
    }

    pub(super) fn client(&mut self, name: &str, meter: Meter) {
        self.client = Some(name.to_owned());
        self.meter = Some(meter);
    }

    /// Reserves what a request may cost, of the budget of the client's key.
    pub(super) async fn reserve(
        &mut self,
        call: &Call,
        model: &ModelRef,
        estimate: Estimate,
    ) -> Result<(), Refusal> {
        let (Some(meter), Some(client)) = (&mut self.meter, &call.client) else { return Ok(()) };
        self.asked = Some(format!("{}/{}", model.provider, model.model));
        let reserved =
            meter.reserve(model.provider.as_str(), model.model.as_str(), estimate).await?;
        reserved.map_err(|limit| limited(client, &limit))
    }

    pub(super) fn model(&mut self, name: &str) {
        self.model = Some(name.to_owned());
    }

    pub(super) fn served(&mut self, by: &str) {
        self.served = Some(by.to_owned());
    }

    pub(super) fn used(&mut self, usage: &Usage) {
        self.usage.update(usage);
    }

    pub(super) fn failed(&mut self, error: &ProviderError) {
        self.failure = Some(error.message.clone());
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.first_byte.get_or_insert_with(|| self.begun.elapsed());
    }

    /// Adds at the end what a stream tells.
    pub(super) fn follow(&mut self, log: Log) {
        self.stream = Some(log);
    }

    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// Estimates the tokens that the client may have seen of an answer that did not tell them; `None` for
    /// one that may have been there in whole.
    fn seen(&self, gone: bool) -> Option<u64> {
        let bytes = self.bytes as u64;
        match () {
            () if !gone && self.usage.output_tokens.is_some() => Some(0),
            () if self.stream.is_some() => Some(bytes / BYTES_PER_EVENT),
            () if gone => None,
            () => Some(bytes / BYTES_PER_TOKEN),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(log) = &self.stream {
            let told = log.told();
            self.usage.update(&told.usage);
            self.served = told.served.or(self.served.take());
            self.failure = told.failure.or(self.failure.take());
        }
        let gone = self.status.is_none() || !self.complete;
        // Who leaves before anybody answered has asked all the same.
        let asked = self.asked.as_ref().filter(|_| gone && self.failure.is_none());
        if let (Some(meter), Some(served)) = (&self.meter, self.served.as_ref().or(asked)) {
            meter.used(served, &self.usage, self.seen(gone));
        }
        let ms = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX) as f64 / 1e3;
        tracing::info!(
            target: ACCESS,
            id = self.id.to_str().unwrap_or_default(),
            method = %self.method,
            path = self.path,
            dialect = self.dialect.as_str(),
            client = self.client,
            model = self.model,
            served = self.served,
            status = self.status.map(|status| status.as_u16()),
            first_byte_ms = self.first_byte.map(ms),
            ms = ms(self.begun.elapsed()),
            bytes = self.bytes,
            input_tokens = self.usage.input_tokens,
            output_tokens = self.usage.output_tokens,
            failure = self.failure,
            gone = gone.then_some(true),
        );
    }
}

/// Takes the client's id of a request if it is one, else draws one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = ["x-request-id", "x-client-request-id"].into_iter().find_map(|name| {
        let value = headers.get(name)?;
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        let bytes = value.as_bytes();
        let is_one = (1..=MAX_ID).contains(&bytes.len()) && bytes.iter().all(fits);
        // A copy, because a clone would keep the buffer that the head was read into.
        is_one.then(|| HeaderValue::from_bytes(bytes).ok()).flatten()
    });
    given.unwrap_or_else(|| {
        let drawn = random::id().unwrap_or_default();
        HeaderValue::try_from(format!("req_{drawn}"))
            .unwrap_or_else(|_| HeaderValue::from_static("req_0"))
    })
}

/// What the log calls these lines.
pub(crate) const ACCESS: &str = "maestro::access";

/// What an event that holds one token takes at least, in all dialects.
const BYTES_PER_EVENT: u64 = 128;

const BYTES_PER_TOKEN: u64 = 4;

/// Longest id that is taken from a client.
const MAX_ID: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_if_it_is_one() {
        let id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", text.parse().unwrap());
            request_id(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(id("abc-1.2_3:4"), "abc-1.2_3:4");
        for bad in ["", "a b", "x\"y", &"x".repeat(129)] {
            assert!(id(bad).starts_with("req_"), "{bad}");
        }
    }
}
