//! The token endpoint's client: every grant goes out here, and every answer is checked here.
//!
//! A grant may only be used once and a refresh token is usually replaced when it is used, so the
//! question after each failure is whether the server may have acted: [`TokenError`] says so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use plugin_api::{
    auth::OAuthScheme,
    http::{Auth, Headers, HttpRequest, Method, TransportErrorKind},
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use zeroize::Zeroizing;

use super::{Places, answer, local_now_s, refresh::step::Step, scheme_id};
use crate::{
    session::TokenSet,
    transport::{Origin, Route, TlsOptions, Transport},
};

/// Who asks for tokens.
#[derive(Clone)]
pub(crate) struct Client {
    /// The client's id.
    pub(crate) id: String,
    /// Its secret, where it has one.
    pub(crate) secret: Option<SecretString>,
    /// Whether a registration issued the secret, so that the session must keep it.
    pub(crate) secret_issued: bool,
    /// How it shows the secret.
    pub(crate) auth: ClientAuth,
}

/// How a client shows its secret at the token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    /// Among the parameters (`client_secret_post`).
    #[default]
    Post,
    /// In the `Authorization` header (`client_secret_basic`).
    Basic,
}

impl Client {
    /// Makes a client without a secret.
    pub(crate) fn public(id: impl Into<String>) -> Self {
        Self { id: id.into(), secret: None, secret_issued: false, auth: ClientAuth::default() }
    }
}

/// What tokens are asked for with.
pub(crate) enum Grant<'a> {
    /// A code that the browser or the user brought back.
    AuthorizationCode {
        /// The code.
        code: &'a SecretString,
        /// The redirect URI, exactly as it was in the authorization URL.
        redirect_uri: &'a str,
        /// The PKCE verifier.
        verifier: Option<&'a SecretString>,
    },
    /// A device code (RFC 8628); refused with `authorization_pending` until the user is done.
    DeviceCode {
        /// The code.
        device_code: &'a SecretString,
    },
    /// A refresh token. What the answer leaves out stays as it was.
    RefreshToken {
        /// The tokens of now.
        previous: &'a TokenSet,
        /// The refresh token among them.
        refresh_token: &'a SecretString,
    },
}

/// What a token endpoint issued.
pub(crate) struct Issued {
    /// The tokens.
    pub(crate) tokens: TokenSet,
    /// Fields of the answer that the scheme declares as facts; never secret.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// Why no tokens came. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The server refused.
    #[error("the token endpoint refused: `{code}`{}", quoted(.description))]
    Rejected {
        /// The server's code, for example `invalid_grant`; the HTTP status where it names none.
        code: String,
        /// What it says about it; empty when it says nothing.
        description: String,
        /// Whether the same grant can never succeed.
        permanent: bool,
    },
    /// The server did not act, and may do so later.
    #[error("the token endpoint cannot be asked now: {message}")]
    Transient {
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
        /// What happened.
        message: String,
    },
    /// The request was sent and no answer came: the server may have acted or not.
    #[error("the token endpoint did not answer: {message}")]
    Unknown {
        /// What happened.
        message: String,
    },
    /// The server says it acted, but the answer is not what it should be.
    #[error("the token endpoint's answer cannot be used: {what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
    },
    /// The endpoint cannot be asked at all, as it is declared or configured.
    #[error("the token endpoint cannot be used: {problem}")]
    Endpoint {
        /// What is wrong with it.
        problem: String,
    },
}

impl TokenError {
    /// Reports whether the client is refused, not the grant: a matter of configuration.
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Rejected { code, .. } => answer::CLIENT_CODES.contains(&code.as_str()),
            Self::Endpoint { .. } => true,
            _ => false,
        }
    }

    /// Returns what the user can do about it.
    pub(crate) fn hint(&self, provider: &str) -> Option<String> {
        Some(match self {
            Self::Rejected { .. } if self.is_configuration() => {
                format!("check `client_id` in `[providers.{provider}.oauth]`")
            }
            Self::Rejected { permanent: true, .. } => {
                format!("run `maestro login {provider} --replace`")
            }
            Self::Transient { retry_after: Some(wait), .. } => {
                format!("try again in {} s", wait.as_secs().max(1))
            }
            Self::Transient { .. } | Self::Unknown { .. } => "try again in a moment".into(),
            _ => return None,
        })
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

/// A token endpoint, ready to be asked for one client.
pub(crate) struct TokenEndpoint {
    pub(super) scheme: OAuthScheme,
    pub(super) url: Url,
    pub(super) client: Client,
    headers: Vec<(String, String)>,
    params: Vec<(String, String)>,
    tls: TlsOptions,
    patience: Duration,
}

impl TokenEndpoint {
    /// Prepares an endpoint. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`TokenError::Endpoint`] when the URL is neither https nor on this machine, or there is no
    /// client id.
    pub(crate) fn new(
        scheme: &OAuthScheme,
        url: &str,
        client: Client,
        places: Places<'_>,
        tls: TlsOptions,
    ) -> Result<Self, TokenError> {
        let url = endpoint_url(url)?;
        if client.id.is_empty() {
            return Err(TokenError::Endpoint { problem: "no client id is configured".into() });
        }
        Ok(Self {
            headers: places.pairs(&scheme.token_headers, ':'),
            params: places.pairs(&scheme.token_params, '='),
            scheme: scheme.clone(),
            url,
            client,
            tls,
            patience: PATIENCE,
        })
    }

    /// Asks for tokens, once.
    ///
    /// # Errors
    ///
    /// [`TokenError`], which says whether the server may have acted.
    pub(crate) async fn request(
        &self,
        transport: &Arc<Transport>,
        grant: Grant<'_>,
    ) -> Result<Issued, TokenError> {
        let (request, body) = self.written(&grant);
        let asked_at = local_now_s();
        let answered = tokio::time::timeout(self.patience, self.exchange(transport, request, body));
        let (status, headers, body) = match answered.await {
            Ok(answered) => answered?,
            Err(_) => {
                let message = format!("nothing came within {} s", self.patience.as_secs());
                return Err(TokenError::Unknown { message });
            }
        };
        // The middle of the wait is the best guess for when the server looked at its clock.
        let now_s = asked_at + (local_now_s() - asked_at) / 2;
        self.read(status, &headers, &body, &grant, now_s)
    }

    async fn exchange(
        &self,
        transport: &Arc<Transport>,
        request: HttpRequest,
        body: Bytes,
    ) -> Result<(u16, Headers, Zeroizing<Vec<u8>>), TokenError> {
        let origin = Origin::of(&self.url)
            .map_err(|error| TokenError::Endpoint { problem: error.to_string() })?;
        let route = Route { origins: vec![origin], tls: self.tls.clone(), ..Route::default() };
        let sent = Arc::clone(transport).send(Arc::new(route), request, body, None).await;
        let mut answer = sent.map_err(|error| {
            let message = error.message;
            match error.kind {
                TransportErrorKind::Refused => TokenError::Endpoint { problem: message },
                _ if error.sent => TokenError::Unknown { message },
                _ => TokenError::Transient { status: None, retry_after: None, message },
            }
        })?;
        Step::AfterSend.reached();
        let mut body = Zeroizing::new(Vec::new());
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                    let what = format!("it is longer than {MAX_BODY} bytes");
                    return Err(self.cut_off(&answer.headers, answer.status, what));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok((answer.status, answer.headers, body)),
                // The head alone says what a refusal or a failure is.
                Err(error) if (200..300).contains(&answer.status) => {
                    return Err(TokenError::Unknown { message: error.message });
                }
                Err(_) => return Ok((answer.status, answer.headers, body)),
            }
        }
    }

    fn cut_off(&self, headers: &Headers, status: u16, what: String) -> TokenError {
        if (200..300).contains(&status) {
            return TokenError::Invalid { what };
        }
        answer::refusal(status, headers, b"", &self.scheme, &[])
    }

    /// Writes the request of a grant.
    fn written(&self, grant: &Grant<'_>) -> (HttpRequest, Bytes) {
        let mut fields: Vec<(&str, &str)> = Vec::new();
        match grant {
            Grant::AuthorizationCode { code, redirect_uri, verifier } => {
                fields.push(("grant_type", "authorization_code"));
                fields.push(("code", code.expose_secret()));
                fields.push(("redirect_uri", redirect_uri));
                fields.extend(verifier.map(|verifier| ("code_verifier", verifier.expose_secret())));
            }
            Grant::DeviceCode { device_code } => {
                fields.push(("grant_type", "urn:ietf:params:oauth:grant-type:device_code"));
                fields.push(("device_code", device_code.expose_secret()));
            }
            Grant::RefreshToken { refresh_token, .. } => {
                fields.push(("grant_type", "refresh_token"));
                fields.push(("refresh_token", refresh_token.expose_secret()));
            }
        }
        let mut request = HttpRequest::new(Method::Post, self.url.as_str()).auth(Auth::None);
        request = request.header("accept", "application/json");
        match (&self.client.secret, self.client.auth) {
            (Some(secret), ClientAuth::Basic) => {
                request = request.header("authorization", basic(&self.client.id, secret));
            }
            (secret, _) => {
                fields.push(("client_id", &self.client.id));
                fields
                    .extend(secret.iter().map(|secret| ("client_secret", secret.expose_secret())));
            }
        }
        // What the grant says stands; a parameter of the scheme cannot replace it.
        for (name, value) in &self.params {
            if fields.iter().all(|(known, _)| known != name) {
                fields.push((name, value));
            }
        }
        for (name, value) in &self.headers {
            request = request.header(&name.to_ascii_lowercase(), value);
        }
        let style = match grant {
            Grant::RefreshToken { .. } if !self.scheme.refresh_request.is_empty() => {
                &self.scheme.refresh_request
            }
            _ => &self.scheme.token_request,
        };
        if style == "json" {
            let object: serde_json::Map<String, serde_json::Value> =
                fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            let body = serde_json::Value::Object(object).to_string();
            return (request.header("content-type", "application/json"), body.into());
        }
        let body =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        (request.header("content-type", "application/x-www-form-urlencoded"), body.into())
    }

    /// Reads an answer that arrived at `now_s` of the local clock.
    fn read(
        &self,
        status: u16,
        headers: &Headers,
        body: &[u8],
        grant: &Grant<'_>,
        now_s: i64,
    ) -> Result<Issued, TokenError> {
        let previous = match grant {
            Grant::RefreshToken { previous, .. } => Some(*previous),
            _ => None,
        };
        if !(200..300).contains(&status) {
            let secrets = self.secrets(grant);
            return Err(answer::refusal(status, headers, body, &self.scheme, &secrets));
        }
        let fields = answer::fields(headers, body)?;
        // Some servers refuse with a good status.
        if !fields.contains_key("access_token") && fields.contains_key("error") {
            let secrets = self.secrets(grant);
            return Err(answer::refusal(400, headers, body, &self.scheme, &secrets));
        }
        let mut issued = answer::tokens(&fields, headers, &self.scheme, previous, now_s)?;
        let tokens = &mut issued.tokens;
        tokens.scheme = scheme_id(&self.scheme).to_owned();
        tokens.client_id.clone_from(&self.client.id);
        tokens.token_endpoint = self.url.as_str().to_owned();
        if self.client.secret_issued {
            tokens.client_secret.clone_from(&self.client.secret);
        }
        Ok(issued)
    }

    /// Returns what was sent and must not come back in an error text.
    fn secrets<'a>(&'a self, grant: &Grant<'a>) -> Vec<&'a str> {
        let mut secrets: Vec<&str> =
            self.client.secret.iter().map(ExposeSecret::expose_secret).collect();
        match grant {
            Grant::AuthorizationCode { code, verifier, .. } => {
                secrets.push(code.expose_secret());
                secrets.extend(verifier.map(ExposeSecret::expose_secret));
            }
            Grant::DeviceCode { device_code } => secrets.push(device_code.expose_secret()),
            Grant::RefreshToken { previous, refresh_token } => {
                secrets.push(refresh_token.expose_secret());
                secrets.push(previous.access_token.expose_secret());
            }
        }
        secrets
    }
}

/// Checks that an endpoint may be sent secrets: https, or a server on this machine.
///
/// # Errors
///
/// [`TokenError::Endpoint`].
pub(crate) fn endpoint_url(url: &str) -> Result<Url, TokenError> {
    let problem = |problem: String| TokenError::Endpoint { problem };
    if url.is_empty() {
        return Err(problem("the provider declares none".into()));
    }
    let origin = Origin::parse(url).map_err(|error| problem(error.to_string()))?;
    if origin.is_exposed() {
        return Err(problem(format!("`{origin}` is plain http beyond this machine")));
    }
    let mut url = Url::parse(url).map_err(|error| problem(error.to_string()))?;
    url.set_fragment(None);
    Ok(url)
}

/// Writes RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
pub(super) fn basic(id: &str, secret: &SecretString) -> String {
    let encoded =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret.expose_secret())));
    format!("Basic {}", STANDARD.encode(pair.as_bytes()))
}

/// How long one request may take, from the first connection to the last byte.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Longest answer; real ones have a few thousand bytes.
const MAX_BODY: usize = 256 * 1024;

#[cfg(test)]
mod tests;
