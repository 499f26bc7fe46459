//! Small requests to an authorization server: one answer, bounded in size and time, no redirects.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use plugin_api::http::{Auth, HttpRequest, Method};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use crate::{
    oauth::token::{self, Client, ClientAuth},
    transport::{Origin, Route, TlsOptions, Transport, TransportError},
};

/// Asks authorization servers, with the certificates of one provider.
#[derive(Clone)]
pub(crate) struct Fetch {
    transport: Arc<Transport>,
    tls: TlsOptions,
}

/// An answer, whole.
pub(crate) struct Fetched {
    /// HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Why a server gave no answer that can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Nothing came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The URL is none that may be asked.
    #[error("`{url}` is neither https nor on this machine")]
    Url {
        /// The URL.
        url: String,
    },
    /// It took too long.
    #[error("`{origin}` did not answer within {} s", PATIENCE.as_secs())]
    Slow {
        /// Who.
        origin: String,
    },
    /// There was no end.
    #[error("the answer of `{origin}` is longer than {MAX_BODY} bytes")]
    Long {
        /// Who.
        origin: String,
    },
    /// It is another status than 200.
    #[error("`{origin}` answered with status {status}{}", said(.error))]
    Status {
        /// Who.
        origin: String,
        /// HTTP status.
        status: u16,
        /// The error code of the body, if it has one.
        error: Option<String>,
    },
    /// It is no JSON object.
    #[error("`{origin}` answered with something that is no JSON object")]
    NotJson {
        /// Who.
        origin: String,
    },
}

fn said(error: &Option<String>) -> String {
    error.as_ref().map_or_else(String::new, |error| format!(": {error}"))
}

impl Fetch {
    /// Makes one on the host's transport.
    pub(crate) fn new(transport: Arc<Transport>, tls: TlsOptions) -> Self {
        Self { transport, tls }
    }

    /// Gets a URL.
    pub(crate) async fn get(&self, url: &Url) -> Result<Fetched, FetchError> {
        self.send(HttpRequest::get(url.as_str()), Bytes::new()).await
    }

    /// Posts a form in the name of a client, which shows its secret as it does for tokens.
    pub(crate) async fn post_form_as(
        &self,
        url: &Url,
        client: &Client,
        pairs: &[(&str, &str)],
    ) -> Result<Fetched, FetchError> {
        let mut pairs = pairs.to_vec();
        let mut request = HttpRequest::new(Method::Post, url.as_str())
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded");
        match (&client.secret, client.auth) {
            (Some(secret), ClientAuth::Basic) => {
                request = request.header("authorization", token::basic(&client.id, secret));
            }
            (secret, _) => {
                pairs.push(("client_id", &client.id));
                pairs.extend(secret.iter().map(|secret| ("client_secret", secret.expose_secret())));
            }
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.send(request, body.into()).await
    }

    /// Posts a JSON document.
    pub(crate) async fn post_json(&self, url: &Url, body: &Value) -> Result<Fetched, FetchError> {
        let request = HttpRequest::new(Method::Post, url.as_str())
            .header("accept", "application/json")
            .header("content-type", "application/json");
        self.send(request, body.to_string().into()).await
    }

    async fn send(&self, request: HttpRequest, body: Bytes) -> Result<Fetched, FetchError> {
        let wrong = || FetchError::Url { url: request.url.clone() };
        let origin = Origin::parse(&request.url).map_err(|_| wrong())?;
        if origin.is_exposed() {
            return Err(wrong());
        }
        let name = origin.to_string();
        let route = Route { origins: vec![origin], tls: self.tls.clone(), ..Route::default() };
        let request = request.auth(Auth::None);
        let whole = async {
            let transport = Arc::clone(&self.transport);
            let mut answer = transport.send(Arc::new(route), request, body, None).await?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > MAX_BODY {
                    return Err(FetchError::Long { origin: name.clone() });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Fetched { status: answer.status, body })
        };
        match timeout(PATIENCE, whole).await {
            Ok(fetched) => fetched,
            Err(_) => Err(FetchError::Slow { origin: name }),
        }
    }
}

impl Fetched {
    /// Reads the JSON object of a success. `url` is for messages.
    pub(crate) fn object(&self, url: &Url) -> Result<Value, FetchError> {
        self.success(url)?;
        let read = serde_json::from_slice::<Value>(&self.body).ok().filter(Value::is_object);
        read.ok_or_else(|| FetchError::NotJson { origin: url.origin().ascii_serialization() })
    }

    /// Checks the status alone. `url` is for messages.
    pub(crate) fn success(&self, url: &Url) -> Result<(), FetchError> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        let origin = url.origin().ascii_serialization();
        let body = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        // The code alone: a description may repeat what was sent.
        let error = body.get("error").and_then(Value::as_str).filter(|error| !error.is_empty());
        let error = error.map(|error| error.chars().take(MAX_SHOWN).collect());
        Err(FetchError::Status { origin, status: self.status, error })
    }
}

/// Longest answer. Key sets and metadata are a few thousand bytes.
const MAX_BODY: usize = 1 << 20;
/// Longest wait for a whole answer.
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_SHOWN: usize = 60;
