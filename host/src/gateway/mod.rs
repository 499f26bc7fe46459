//! The gateway: clients that speak a vendor's dialect on one side, any provider on the other.
//!
//! Here live the server (`server`; `listener`, `lanes`, `tls` and `connection` below it), what a path
//! means (`route`), who may call (`guard`, `auth`), the client's half of each dialect behind one seam
//! (`dialect`), and the answers: `chat` and its `stream`, of a `question` that a provider may understand
//! as it is (`relay`), `models`, `values` for what comes in one piece; `left_out` names what did not get
//! through, `kept` is what clients may refer to. Here does *not* live anything about providers, sessions
//! or the choice between them: that is the facade's, [`Maestro`].
//!
//! Invariants: nothing of a client's credentials or connection reaches a provider, because requests
//! upstream are made anew; a body is read whole under a cap and a deadline before anything is asked;
//! an answer is read from upstream only as fast as the client takes it; a client that goes away drops
//! the exchange, which closes the upstream connection; what fails is told in the client's dialect.

mod auth;
mod body;
mod chat;
mod connection;
mod dialect;
mod failure;
mod guard;
mod kept;
mod lanes;
mod left_out;
mod listener;
mod models;
mod opening;
mod question;
mod record;
mod relay;
mod route;
mod scan;
pub mod server;
mod stream;
mod tls;
mod values;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

pub(crate) use record::ACCESS;
pub use server::{Private, Server, StartError};
pub use tls::TlsError;

use self::{
    auth::{Entry, Rates},
    body::Body,
    dialect::Dialect,
    failure::Refusal,
    kept::{Kept, Shelf},
    question::{Beside, Question},
    record::Record,
    route::{Endpoint, Route},
};
use crate::{
    config::ServeConfig,
    maestro::{Client, Maestro},
    router::Affinity,
};

/// What all connections share.
struct Gateway {
    maestro: Maestro,
    settings: ServeConfig,
    entry: Entry,
    rates: Rates,
    kept: Arc<Kept>,
    /// Whether what has begun is finished, and nothing more is begun.
    draining: AtomicBool,
}

/// One request, as far as it is understood.
#[derive(Clone)]
struct Call {
    dialect: Dialect,
    /// The session that headers or path name.
    session: Option<String>,
    /// What the client says that the request belongs to.
    affinity: Option<Affinity>,
    /// The client, if it showed a key.
    client: Option<Arc<Client>>,
}

impl Gateway {
    fn new(maestro: Maestro, entry: Entry) -> Self {
        let settings = maestro.config().serve.clone();
        let draining = AtomicBool::new(false);
        Self { maestro, settings, entry, rates: Rates::default(), kept: Arc::default(), draining }
    }

    /// Answers a request; failures too are answers.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let route = Route::of(request.method(), request.uri(), request.headers());
        let (dialect, origin) = (route.dialect, request.headers().get(header::ORIGIN).cloned());
        let mut record = Record::of(&request, dialect);
        let id = record.id().clone();
        let answered = self.answer_to(route, request, &mut record).await;
        let mut response = answered.unwrap_or_else(|refusal| {
            record.failed(&refusal.error);
            refusal.response(dialect)
        });
        let headers = response.headers_mut();
        headers.insert("x-request-id", id.clone());
        if dialect == Dialect::AnthropicMessages {
            headers.insert("request-id", id);
        }
        if let Some(origin) = origin.filter(|origin| self.is_known_origin(origin)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
        record.answered(response.status());
        response.body_mut().attach(record);
        response
    }

    async fn answer_to(
        &self,
        route: Route,
        request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Response<Body>, Refusal> {
        let headers = request.headers();
        guard::check_origin(headers, &self.settings)?;
        if request.method() == Method::OPTIONS && headers.contains_key(header::ORIGIN) {
            return Ok(preflight());
        }
        match &route.endpoint {
            Endpoint::Alive => return Ok(Body::text("ok\n")),
            Endpoint::Ready => return self.ready().await,
            _ => {}
        }
        let client = self.admit(&request).await?.map(|(client, meter)| {
            record.client(&client.key.name, meter);
            client
        });
        let session = session_of(&route, headers)?;
        let affinity = headers.get(AFFINITY_HEADER).map(HeaderValue::as_bytes);
        let affinity = affinity.map(|name| Affinity::named(&String::from_utf8_lossy(name)));
        let call = Call { dialect: route.dialect, session, affinity, client };
        match route.endpoint {
            Endpoint::Root => Ok(Body::text(ROOT)),
            Endpoint::Models => self.list_models(&call, request.uri().query()).await,
            Endpoint::Model(id) => self.describe_model(&call, &id, record).await,
            Endpoint::Chat(form) => {
                let beside = Beside::of(call.dialect, request.uri(), request.headers());
                let body = self.read(request).await?;
                let question = Question::of(form, beside, body)?.referring_to(self.shelf(&call));
                self.chat(&call, question, record).await
            }
            Endpoint::CountTokens(model) => {
                let beside = Beside::of(call.dialect, request.uri(), request.headers());
                let body = self.read(request).await?;
                self.count_tokens(&call, model.as_deref(), beside, &body, record).await
            }
            Endpoint::Embed(form) => {
                let body = self.read(request).await?;
                self.embed(&call, &form, &body, record).await
            }
            Endpoint::WrongMethod(allowed) => Err(Refusal::wrong_method(allowed)),
            Endpoint::Alive | Endpoint::Ready | Endpoint::Unknown => Err(Refusal::unknown_path()),
        }
    }

    /// Returns what a client may refer to.
    fn shelf(&self, call: &Call) -> Shelf {
        Shelf::of(&self.kept, call.client.as_ref().map_or("", |client| &client.key.id))
    }

    /// Answers whether requests can be served: at least one provider is ready.
    async fn ready(&self) -> Result<Response<Body>, Refusal> {
        let providers = self.maestro.list_providers().await;
        let why = match providers.iter().any(|provider| provider.ready) {
            // Who asks on a connection of before shall send its requests elsewhere.
            _ if self.draining.load(Ordering::Relaxed) => "the gateway is about to end\n",
            true => return Ok(Body::text("ready\n")),
            false => "no provider is ready\n",
        };
        let mut response = Body::text(why);
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok(response)
    }

    fn is_known_origin(&self, origin: &HeaderValue) -> bool {
        self.settings.origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
    }
}

impl Call {
    /// Returns the session for a provider: the request's, else the key's own.
    fn session_for(&self, provider: &plugin_api::ProviderId) -> Option<String> {
        let own = || self.client.as_ref().and_then(|client| client.session(provider));
        self.session.clone().or_else(own)
    }

    /// Returns the same as a function.
    fn session_of(&self) -> impl Fn(&plugin_api::ProviderId) -> Option<String> + Send + Sync {
        |provider| self.session_for(provider)
    }

    /// Returns what the client's key may ask for, as a function.
    fn may(&self) -> impl Fn(&str, &str) -> bool + Send + Sync {
        |provider, model| self.may_ask(provider, model)
    }

    /// Reports whether the client's key may ask for a model of a provider.
    fn may_ask(&self, provider: &str, model: &str) -> bool {
        self.client.as_ref().is_none_or(|client| client.may_ask(provider, model))
    }

    /// Reports whether the client's key may ask a provider for anything.
    fn may_ask_some(&self, provider: &str) -> bool {
        self.client.as_ref().is_none_or(|client| client.may_ask_some(provider))
    }

    /// Reports whether it may do so with a session, by its selector `PROVIDER:NAME@AUTH` or its name.
    fn may_use(&self, provider: &str, model: &str, session: Option<&str>) -> bool {
        let name = session.map(|session| {
            let own = session.strip_prefix(provider).and_then(|rest| rest.strip_prefix(':'));
            own.unwrap_or(session).split('@').next().unwrap_or_default()
        });
        self.client.as_ref().is_none_or(|client| client.may_use(provider, model, name))
    }
}

/// Returns the session that the header or the path names, the header first.
fn session_of(route: &Route, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(SESSION_HEADER) else { return Ok(route.session.clone()) };
    let text = value.to_str().map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Err(Refusal::invalid(format!("`{SESSION_HEADER}` holds no session name")));
    }
    Ok(Some(text.to_owned()))
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, POST, OPTIONS"),
    );
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, authorization"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Header that says what a request belongs to, so that it goes where the others went.
const AFFINITY_HEADER: &str = "x-maestro-affinity";

/// Header that names the session to use.
const SESSION_HEADER: &str = "x-maestro-session";

/// What is found at the root, for a person who looks there and for clients that knock.
const ROOT: &str = "maestro gateway\n";
