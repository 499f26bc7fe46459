//! An authorization server and an API that do as they are told, also badly.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use crate::upstream::{Reply, Request, Upstream};

/// The servers, in one.
pub(crate) struct Vendor {
    pub(crate) upstream: Upstream,
    state: Arc<Mutex<State>>,
    key: EcdsaKeyPair,
}

/// What is answered. Null takes a field away.
#[derive(Default)]
pub(crate) struct State {
    /// Further fields of the metadata.
    pub(crate) metadata: Value,
    /// Further fields of token answers.
    pub(crate) token: Value,
    /// What the token endpoint answers instead, the first one first.
    pub(crate) instead: Vec<Reply>,
    /// What the revocation endpoint answers instead.
    pub(crate) revocation: Option<Reply>,
    jwks: Value,
    issued: u32,
}

impl Vendor {
    pub(crate) fn start() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let point = key.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let jwks = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y }] });
        let state = Arc::new(Mutex::new(State { jwks, ..State::default() }));
        let shared = Arc::clone(&state);
        let upstream = Upstream::start(move |request| lock(&shared).answer(request));
        Self { upstream, state, key }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn origin(&self) -> String {
        self.upstream.origin()
    }

    /// Returns what was asked at a path, oldest first.
    pub(crate) fn asked(&self, path: &str) -> Vec<Request> {
        let mut requests = self.upstream.requests();
        requests.retain(|request| request.target == path);
        requests
    }

    /// Makes token answers hold an id token of these claims.
    pub(crate) fn issue_id_token(&self, claims: &Value) {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "alg": "ES256", "kid": "k" });
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        self.state().token["id_token"] = token.into();
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let issuer = format!("http://{}", request.header("host"));
        match request.target.as_str() {
            "/.well-known/oauth-authorization-server" => {
                let mut metadata = json!({
                    "issuer": issuer,
                    "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"),
                    "device_authorization_endpoint": format!("{issuer}/device"),
                    "revocation_endpoint": format!("{issuer}/revoke"),
                    "jwks_uri": format!("{issuer}/jwks"),
                    "code_challenge_methods_supported": ["S256"],
                });
                change(&mut metadata, &self.metadata);
                Reply::json(200, &metadata.to_string())
            }
            "/jwks" => Reply::json(200, &self.jwks.to_string()),
            "/device" => Reply::json(
                200,
                &json!({
                    "device_code": "dc-canary",
                    "user_code": "WDJB-MJHT",
                    "verification_uri": format!("{issuer}/enter"),
                    "expires_in": 900,
                    "interval": 1,
                })
                .to_string(),
            ),
            "/token" if !self.instead.is_empty() => self.instead.remove(0),
            "/token" => {
                self.issued += 1;
                let mut answer = json!({
                    "access_token": format!("at-canary-{}", self.issued),
                    "refresh_token": format!("rt-canary-{}", self.issued),
                    "token_type": "Bearer",
                    "expires_in": 3600,
                    "scope": "use",
                    "account": { "email_address": "ada@acme.test" },
                    "plan": "plus",
                });
                change(&mut answer, &self.token);
                Reply::json(200, &answer.to_string())
            }
            "/revoke" => self.revocation.clone().unwrap_or_else(|| Reply::json(200, "")),
            "/v1/me" => Reply::json(200, "\"Ada\""),
            _ => Reply::json(404, ""),
        }
    }
}

fn change(value: &mut Value, changes: &Value) {
    for (name, new) in changes.as_object().into_iter().flatten() {
        if new.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = new.clone();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
