//! A server that issues tokens, and refuses those it no longer knows.
//!
//! It rotates: each renewal replaces the refresh token, and using a replaced one ends the whole login,
//! as RFC 9700 asks of servers. So a client that renews twice at once is found out.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use crate::upstream::{Gate, Reply, Request, Upstream};

/// The server, for tokens and for chats.
pub(crate) struct Authority {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

/// What the server knows and what was asked of it.
#[derive(Default)]
pub(crate) struct State {
    /// Number of the newest pair of tokens.
    pub(crate) issued: u32,
    /// The access tokens that are accepted.
    pub(crate) accepted: BTreeSet<String>,
    /// Requests for tokens.
    pub(crate) asked: u32,
    /// How often a replaced refresh token came.
    pub(crate) reused: u32,
    /// Uses of a token that were refused.
    pub(crate) refused: u32,
    /// Whether a replaced refresh token is taken once more, as some servers do for lost answers.
    pub(crate) lenient: bool,
    /// The login is over.
    pub(crate) revoked: bool,
    /// Further fields of a token answer; null takes one away.
    pub(crate) fields: Value,
    /// Holds back the answers with new tokens, which are issued by then.
    pub(crate) hold: Gate,
    /// What is answered instead to requests for tokens, the first one first. The server has acted
    /// where the second part says so.
    pub(crate) instead: Vec<(Reply, bool)>,
}

impl Authority {
    /// Starts the server; the first pair of tokens is issued.
    pub(crate) fn start() -> Self {
        let hold = Gate::new();
        hold.open();
        let state = State { hold, issued: 1, accepted: [access(1)].into(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let upstream = Upstream::start(move |request| {
            let mut state = lock(&shared);
            match request.target.as_str() {
                "/token" => state.token(request),
                "/v1/chat" => state.use_token(request, Reply::says(&["hi"])),
                "/v1/models" => state.use_token(request, Reply::json(200, "[\"m\"]")),
                _ => Reply::json(404, ""),
            }
        });
        Self { upstream, state }
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Returns how many requests for tokens came.
    pub(crate) fn asked(&self) -> u32 {
        self.state().asked
    }
}

impl State {
    fn token(&mut self, request: &Request) -> Reply {
        self.asked += 1;
        let form: Vec<(String, String)> =
            url::form_urlencoded::parse(&request.body).into_owned().collect();
        let field = |name: &str| {
            let found = form.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        assert_eq!(field("client_id"), "faulty-client");
        assert_eq!(field("grant_type"), "refresh_token");
        if !self.instead.is_empty() {
            let (reply, acted) = self.instead.remove(0);
            if acted {
                self.rotate();
            }
            return reply;
        }
        if self.revoked {
            return Reply::json(400, r#"{"error":"invalid_grant"}"#);
        }
        let reuse = field("refresh_token") != refresh(self.issued);
        self.reused += u32::from(reuse);
        if reuse && !std::mem::take(&mut self.lenient) {
            self.revoked = true;
            self.accepted.clear();
            return Reply::json(400, r#"{"error":"invalid_grant","error_description":"reused"}"#);
        }
        self.rotate();
        let mut answer = json!({
            "access_token": access(self.issued),
            "refresh_token": refresh(self.issued),
            "token_type": "Bearer",
            "expires_in": 3600,
        });
        for (name, value) in self.fields.as_object().into_iter().flatten() {
            answer[name] = value.clone();
        }
        Reply::new(200, "application/json").wait(&self.hold).piece(answer.to_string())
    }

    fn rotate(&mut self) {
        self.issued += 1;
        self.accepted.insert(access(self.issued));
    }

    fn use_token(&mut self, request: &Request, answer: Reply) -> Reply {
        let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if self.accepted.contains(token) {
            return answer;
        }
        self.refused += 1;
        Reply::json(401, r#"{"error":{"message":"token expired"}}"#)
    }
}

/// Returns the access token of a pair.
pub(crate) fn access(number: u32) -> String {
    format!("at-canary-{number:06}")
}

/// Returns the refresh token of a pair.
pub(crate) fn refresh(number: u32) -> String {
    format!("rt-canary-{number:06}")
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
