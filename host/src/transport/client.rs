//! Sends requests with pooled connections.

use std::{
    error::Error as _,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use plugin_api::http::{HOST_HEADERS, HttpRequest, TransportErrorKind};
use reqwest::{Certificate, Client, Identity, redirect};
use tokio::{runtime, time::timeout};
use url::Url;

use super::{
    addresses::{Blocked, Resolver, is_metadata},
    answer::{Answer, chain},
    credential::CredentialUse,
    origins::Origin,
};
use crate::config::Timeouts;

/// Where one provider's requests may go, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The origins; anything else is refused.
    pub origins: Vec<Origin>,
    /// Whether plain http may leave this machine.
    pub allow_plain_http: bool,
    /// Whether link-local addresses and metadata services may be asked.
    pub allow_metadata: bool,
    /// Certificates.
    pub tls: TlsOptions,
}

/// Certificates of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    /// PEM file of authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of a client certificate and its key.
    pub client_cert: Option<PathBuf>,
}

/// Why a request was not sent, got no answer, or its answer broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    /// What failed.
    pub kind: TransportErrorKind,
    /// What failed, for a person; holds no secret.
    pub message: String,
    /// Whether the server may have received the request, or part of it.
    pub sent: bool,
}

impl TransportError {
    fn refused(message: impl Into<String>) -> Self {
        Self { kind: TransportErrorKind::Refused, message: message.into(), sent: false }
    }
}

/// Sends requests. One for the whole program; connections are pooled per origin and runtime, because
/// one that another runtime looks after is woken on another thread, and ends with it.
#[derive(Debug)]
pub struct Transport {
    timeouts: Timeouts,
    /// Few, so that looking at each is quicker than a hash.
    clients: Mutex<Vec<(Kind, Client)>>,
    /// What was read last: most requests go where the one before went.
    last_url: Mutex<Option<(String, Url)>>,
}

/// What a client is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    runtime: Option<runtime::Id>,
    /// Whether the proxies of the environment are passed by.
    direct: bool,
    allow_metadata: bool,
    tls: TlsOptions,
}

impl Transport {
    /// Makes a transport. Nothing is opened until the first request.
    #[must_use]
    pub fn new(timeouts: Timeouts) -> Self {
        Self { timeouts, clients: Mutex::default(), last_url: Mutex::default() }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    ///
    /// [`TransportError`]; of kind [`Refused`](TransportErrorKind::Refused) when nothing was sent.
    pub async fn send(
        self: Arc<Self>,
        route: Arc<Route>,
        request: HttpRequest,
        body: Bytes,
        credential: Option<Arc<CredentialUse>>,
    ) -> Result<Answer, TransportError> {
        let mut url = self.read_url(&request.url)?;
        let declared = route.origins.iter().find(|origin| origin.is_of(&url)).cloned();
        let origin = declared.ok_or_else(|| undeclared(&url, &route))?;
        if origin.is_exposed() && !route.allow_plain_http {
            return Err(TransportError::refused(format!(
                "`{origin}` is plain http beyond this machine; set `allow_plain_http = true` to allow it"
            )));
        }
        if !route.allow_metadata && origin.address().is_some_and(is_metadata) {
            return Err(blocked(&origin, ""));
        }
        let mut headers = headers_of(&request)?;
        if let Some(credential) = &credential {
            credential.apply(&request.auth, &mut url, &mut headers)?;
        }
        let client = self.client(&route, origin.is_loopback())?;
        let method = Method::from_bytes(request.method.as_str().as_bytes())
            .map_err(|_| TransportError::refused("unknown method"))?;
        let mut outgoing = reqwest::Request::new(method, url);
        *outgoing.headers_mut() = headers;
        if !body.is_empty() || !request.method.is_idempotent() {
            *outgoing.body_mut() = Some(body.into());
        }
        let first_byte = Duration::from_millis(self.timeouts.first_byte_ms);
        let response = match timeout(first_byte, client.execute(outgoing)).await {
            Ok(sent) => sent.map_err(|error| self.failed(&origin, error))?,
            Err(_) => {
                return Err(TransportError {
                    kind: TransportErrorKind::Timeout,
                    message: format!(
                        "`{origin}` did not answer within {} s",
                        first_byte.as_secs_f32()
                    ),
                    sent: true,
                });
            }
        };
        Ok(Answer::new(response, origin, Duration::from_millis(self.timeouts.idle_ms)))
    }

    fn read_url(&self, text: &str) -> Result<Url, TransportError> {
        let mut last = self.last_url.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, url)) = &*last
            && read == text
        {
            return Ok(url.clone());
        }
        let url = Url::parse(text).map_err(|_| {
            TransportError::refused("the plugin asked for something that is no URL")
        })?;
        *last = Some((text.to_owned(), url.clone()));
        Ok(url)
    }

    /// Finds or makes the client for a provider's certificates. Requests to this machine go past the
    /// proxies of the environment, which are meant for the world outside.
    fn client(&self, route: &Route, direct: bool) -> Result<Client, TransportError> {
        let runtime = runtime::Handle::try_current().ok().map(|handle| handle.id());
        let fits = |kind: &Kind| {
            kind.runtime == runtime
                && kind.direct == direct
                && kind.allow_metadata == route.allow_metadata
                && kind.tls == route.tls
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(kind, _)| fits(kind)) {
            return Ok(client.clone());
        }
        let client = self.build(route, direct)?;
        let (tls, allow_metadata) = (route.tls.clone(), route.allow_metadata);
        // Runtimes come and go, where a program starts gateways and ends them.
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.push((Kind { runtime, direct, allow_metadata, tls }, client.clone()));
        Ok(client)
    }

    fn build(&self, route: &Route, direct: bool) -> Result<Client, TransportError> {
        let tls = &route.tls;
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // An embedding program may have installed one already; then that one is used.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_millis(self.timeouts.connect_ms))
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(90))
            // One connection for each answer. Of answers that share one over HTTP/2, those whose clients
            // do not read use up the window of all, and the vendor's limit of streams is everybody's.
            .http1_only()
            .user_agent(concat!("maestro/", env!("CARGO_PKG_VERSION")));
        if direct {
            builder = builder.no_proxy();
        }
        if !route.allow_metadata {
            builder = builder.dns_resolver(Arc::new(Resolver));
        }
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|error| {
                TransportError::refused(format!("failed to read `{}`: {error}", path.display()))
            })
        };
        let invalid = |path: &PathBuf| {
            TransportError::refused(format!("`{}` is not what it should be: PEM", path.display()))
        };
        if let Some(path) = &tls.ca_file {
            let certificates =
                Certificate::from_pem_bundle(&read(path)?).map_err(|_| invalid(path))?;
            if certificates.is_empty() {
                return Err(invalid(path));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some(path) = &tls.client_cert {
            builder =
                builder.identity(Identity::from_pem(&read(path)?).map_err(|_| invalid(path))?);
        }
        // What was configured is read already; left is what the system could not give.
        builder.build().map_err(|error| TransportError {
            kind: TransportErrorKind::Other,
            message: format!("no client can be made: {}", chain(&error)),
            sent: false,
        })
    }

    fn failed(&self, origin: &Origin, error: reqwest::Error) -> TransportError {
        // The URL may carry a credential in its query.
        let error = error.without_url();
        if let Some(found) = Blocked::among(&error) {
            return blocked(origin, &format!("{found}, to which the name resolves; "));
        }
        let text = chain(&error);
        let sent = !error.is_connect() && !error.is_builder();
        let kind = if error.is_timeout() {
            TransportErrorKind::Timeout
        } else if text.contains("dns error") {
            TransportErrorKind::Dns
        } else if text.contains("certificate") || text.contains("TLS") || text.contains("tls") {
            TransportErrorKind::Tls
        } else if error.is_connect() {
            TransportErrorKind::Connect
        } else {
            TransportErrorKind::Reset
        };
        let message = match kind {
            TransportErrorKind::Timeout => {
                format!("no connection to `{origin}` within {} ms", self.timeouts.connect_ms)
            }
            TransportErrorKind::Dns => format!("the name of `{origin}` does not resolve"),
            TransportErrorKind::Connect if is_short_of_descriptors(&error) => {
                format!("this machine has no file descriptor left for a connection to `{origin}`")
            }
            TransportErrorKind::Connect => format!("nobody answers at `{origin}`"),
            TransportErrorKind::Tls => format!("no trusted connection to `{origin}`: {text}"),
            _ => format!("the connection to `{origin}` broke: {text}"),
        };
        TransportError { kind, message, sent }
    }
}

fn is_short_of_descriptors(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if matches!(code, Some(libc::EMFILE | libc::ENFILE)) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn undeclared(url: &Url, route: &Route) -> TransportError {
    let origin = match Origin::of(url) {
        Ok(origin) => origin,
        Err(error) => return TransportError::refused(error.to_string()),
    };
    let allowed: Vec<String> = route.origins.iter().map(ToString::to_string).collect();
    let allowed = if allowed.is_empty() { "none".into() } else { allowed.join(", ") };
    TransportError::refused(format!(
        "origin `{origin}` is not declared by the provider (declared: {allowed})"
    ))
}

fn blocked(origin: &Origin, found: &str) -> TransportError {
    TransportError::refused(format!(
        "`{origin}` is no place for a provider: {found}link-local addresses and metadata services \
         are asked only with `allow_metadata = true`"
    ))
}

/// Most clients that are kept.
const MAX_CLIENTS: usize = 256;

fn headers_of(request: &HttpRequest) -> Result<HeaderMap, TransportError> {
    // Room for what the host adds.
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 4);
    for (name, value) in &request.headers {
        let wrong =
            || TransportError::refused(format!("header `{}` cannot be sent", name.escape_debug()));
        // In lower case whatever was written.
        let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        if HOST_HEADERS.contains(&name.as_str()) {
            return Err(TransportError::refused(format!("header `{name}` belongs to the host")));
        }
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
        // A client's secret at a token endpoint, for one: not for the log, nor for HTTP/2's tables.
        value.set_sensitive(name == http::header::AUTHORIZATION);
        headers.append(name, value);
    }
    headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(origin: &str) -> Arc<Route> {
        let origins = vec![Origin::parse(origin).unwrap()];
        Arc::new(Route { origins, ..Route::default() })
    }

    async fn refusal(route: Arc<Route>, request: HttpRequest) -> String {
        let transport = Arc::new(Transport::new(Timeouts::default()));
        let error = transport.send(route, request, Bytes::new(), None).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Refused);
        error.message
    }

    #[test]
    fn an_authorization_header_is_a_secret_whoever_wrote_it() {
        let request = HttpRequest::get("https://a.test/").header("Authorization", "Basic canary");
        let headers = headers_of(&request.header("x-note", "seen")).unwrap();
        let shown = format!("{headers:?}");
        assert!(shown.contains("seen") && !shown.contains("canary"), "{shown}");
    }

    #[tokio::test]
    async fn what_may_not_be_sent_is_refused_before_anything_is_opened() {
        let home = route("https://api.acme.test");
        for (request, message) in [
            (
                HttpRequest::get("https://evil.test/"),
                "origin `https://evil.test` is not declared by the provider (declared: https://api.acme.test)",
            ),
            (HttpRequest::get("acme"), "the plugin asked for something that is no URL"),
            (
                HttpRequest::get("https://api.acme.test/").header("Host", "evil.test"),
                "header `host` belongs to the host",
            ),
            (
                HttpRequest::get("https://api.acme.test/").header("x", "a\r\nb: c"),
                "header `x` cannot be sent",
            ),
        ] {
            assert_eq!(refusal(home.clone(), request).await, message);
        }
        for url in ["http://169.254.169.254", "https://[fd00:ec2::254]", "http://[fe80::1]"] {
            let mut route = Arc::unwrap_or_clone(route(url));
            route.allow_plain_http = true;
            let request = HttpRequest::get(format!("{url}/latest"));
            let message = refusal(Arc::new(route), request).await;
            assert!(message.starts_with(&format!("`{url}` is no place for")), "{message}");
        }
        let exposed = refusal(route("http://10.0.0.1"), HttpRequest::get("http://10.0.0.1/")).await;
        assert!(exposed.starts_with("`http://10.0.0.1` is plain http beyond this machine"));
        let mut tls = Arc::unwrap_or_clone(home);
        tls.tls.ca_file = Some("/nowhere/ca.pem".into());
        let message = refusal(Arc::new(tls), HttpRequest::get("https://api.acme.test/")).await;
        assert!(message.starts_with("failed to read `/nowhere/ca.pem`"), "{message}");
    }

    #[tokio::test]
    async fn a_closed_port_is_a_failed_connection() {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let url = format!("http://127.0.0.1:{port}");
        let transport = Arc::new(Transport::new(Timeouts::default()));
        let request = HttpRequest::get(format!("{url}/v1?key=s3cret"));
        let error = transport.send(route(&url), request, Bytes::new(), None).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Connect);
        assert_eq!(error.message, format!("nobody answers at `{url}`"));
    }
}
