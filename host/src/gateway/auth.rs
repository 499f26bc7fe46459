//! Which client asks, and how often it may.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use http::{HeaderMap, Method, Request, Uri, header};
use hyper::body::Incoming;
use plugin_api::error::{ErrorKind, ProviderError};

use super::{Gateway, failure::Refusal, guard};
use crate::maestro::{Admission, Client, Limit, Meter};

/// Who is let in.
#[derive(Debug)]
pub(super) enum Entry {
    /// Clients with keys of the store; without one, if there is none and none is required.
    Clients {
        /// Whether a client must show a key even while none exists.
        keys_required: bool,
    },
    /// Whoever has the one key, of which this is the hash.
    OneKey(ring::digest::Digest),
}

impl Entry {
    pub(super) fn one_key(key: &str) -> Self {
        Self::OneKey(hash(key))
    }
}

fn hash(key: &str) -> ring::digest::Digest {
    ring::digest::digest(&ring::digest::SHA256, key.as_bytes())
}

impl Gateway {
    /// Recognizes the client by the key it shows, and counts its request; `None` where none is needed.
    pub(super) async fn admit(
        &self,
        request: &Request<Incoming>,
    ) -> Result<Option<(Arc<Client>, Meter)>, Refusal> {
        let (headers, uri) = (request.headers(), request.uri());
        let shown = shown_keys(headers, uri);
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        let keys_required = match &self.entry {
            Entry::Clients { keys_required } => *keys_required,
            // Hashes are compared: how long that takes tells nothing about the key.
            Entry::OneKey(own) => {
                let fits = shown.iter().any(|key| hash(key).as_ref() == own.as_ref());
                let refusal = || {
                    let message = "this gateway serves one process alone, which has its key";
                    Refusal::new(ErrorKind::Authentication, message)
                };
                return if fits { Ok(None) } else { Err(refusal()) };
            }
        };
        match self.maestro.admit_client(&shown).await? {
            Admission::Known(client) => {
                let meter = self.maestro.meter(&client).await?;
                let meter = meter.map_err(|limit| limited(&client, &limit))?;
                // Lists of models cost nothing, and tools ask for them often.
                if request.method() == Method::POST
                    || !uri.path().trim_end_matches('/').ends_with("/models")
                {
                    self.rates.take(&client)?;
                }
                Ok(Some((client, meter)))
            }
            // Tools send a key of their own making where none is needed; it means nothing.
            Admission::Open if !keys_required => {
                guard::check_keyless(headers, uri, &self.settings)?;
                Ok(None)
            }
            Admission::Ended { name, revoked } => {
                let how = if revoked { "was revoked" } else { "has expired" };
                Err(unauthorized(&format!("the client key `{name}` {how}")))
            }
            _ if shown.is_empty() => Err(unauthorized("the gateway needs a client key")),
            _ => Err(unauthorized("this is no client key of the gateway")),
        }
    }
}

/// Tells a client which limit of its key is reached.
pub(super) fn limited(client: &Client, limit: &Limit) -> Refusal {
    let (kind, wait_ms) = match limit {
        Limit::Tokens { wait_ms, .. } => (ErrorKind::RateLimited, *wait_ms),
        Limit::Budget { wait_ms } => (ErrorKind::Quota, *wait_ms),
        // Nobody knows when one of the others is done.
        _ => (ErrorKind::RateLimited, SOON_MS),
    };
    let message = format!("the client key `{}` {limit}", client.key.name);
    ProviderError::new(kind, message).retry_after_ms(Some(wait_ms)).into()
}

/// When to come back if it is not known when.
const SOON_MS: u64 = 1_000;

fn unauthorized(problem: &str) -> Refusal {
    let hint = "hint: run `maestro keys create --name NAME` where the gateway runs";
    Refusal::new(ErrorKind::Authentication, format!("{problem}; {hint}"))
}

/// Collects what might be a key, from every place in which some vendor's client puts its own.
fn shown_keys(headers: &HeaderMap, uri: &Uri) -> Vec<String> {
    let texts = |name| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let bearer = texts(header::AUTHORIZATION.as_str()).filter_map(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key)
    });
    let query = uri.query().unwrap_or_default().split('&');
    let query = query.filter_map(|pair| pair.strip_prefix("key="));
    let all = bearer.chain(texts("x-api-key")).chain(texts("x-goog-api-key")).chain(query);
    all.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect()
}

/// How much of its allowance each key has left.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<String, Bucket>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    since: Instant,
}

impl Rates {
    fn take(&self, client: &Client) -> Result<(), Refusal> {
        let Some(limit) = client.key.requests_per_minute else { return Ok(()) };
        self.take_at(&client.key.id, limit, Instant::now()).map_err(|wait_ms| {
            let message =
                format!("the client key `{}` allows {limit} requests a minute", client.key.name);
            let error = ProviderError::new(ErrorKind::RateLimited, message);
            error.retry_after_ms(Some(wait_ms)).into()
        })
    }

    /// Takes one request from a bucket that fills evenly and holds a minute's worth; else returns how
    /// long until there is one.
    fn take_at(&self, key: &str, limit: u32, now: Instant) -> Result<(), u64> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = f64::from(limit);
        let bucket = match buckets.get_mut(key) {
            Some(bucket) => bucket,
            None => buckets.entry(key.to_owned()).or_insert(Bucket { left: full, since: now }),
        };
        let passed_s = now.saturating_duration_since(bucket.since).as_secs_f64();
        bucket.left = (bucket.left + passed_s * full / 60.0).min(full);
        bucket.since = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        // A limit of none at all never fills; then the wait is a day.
        Err(((1.0 - bucket.left) * 60_000.0 / full).min(86_400_000.0).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_are_found_where_clients_put_them() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "bearer a".parse().unwrap());
        headers.insert("x-api-key", "b".parse().unwrap());
        headers.insert("x-goog-api-key", "".parse().unwrap());
        let uri = "/v1beta/models?alt=sse&key=c".parse().unwrap();
        assert_eq!(shown_keys(&headers, &uri), ["a", "b", "c"]);
        headers.insert("authorization", "Basic eA==".parse().unwrap());
        assert_eq!(shown_keys(&headers, &"/".parse().unwrap()), ["b"]);
    }

    #[test]
    fn an_allowance_fills_evenly() {
        let (rates, start) = (Rates::default(), Instant::now());
        for _ in 0..3 {
            rates.take_at("k", 3, start).unwrap();
        }
        assert_eq!(rates.take_at("k", 3, start), Err(20_000));
        assert_eq!(rates.take_at("other", 3, start), Ok(()));
        assert_eq!(rates.take_at("k", 3, start + Duration::from_secs(20)), Ok(()));
        assert!(rates.take_at("k", 3, start + Duration::from_secs(21)).is_err());
        assert_eq!(rates.take_at("none", 0, start), Err(86_400_000));
    }
}
