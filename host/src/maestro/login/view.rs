//! What a login shows and takes: ways, facts, wishes and the outcome.

use std::{collections::BTreeMap, time::Duration};

use plugin_api::auth::Ask;
use serde::Serialize;

use crate::{
    maestro::{Flow, SessionView},
    session::SessionName,
};

/// A way to log in to a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LoginMethod {
    /// `api-key` or `oauth`.
    pub auth: &'static str,
    /// The scheme's id.
    pub scheme: String,
    /// Its name for people; empty when it has none.
    pub display_name: String,
}

impl LoginMethod {
    /// Names the provider's first OAuth scheme, whether or not it has one.
    #[must_use]
    pub fn oauth() -> Self {
        Self { auth: "oauth", scheme: "oauth".into(), display_name: String::new() }
    }
}

/// A fact that a login asks for, such as a project. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AskInfo {
    /// Its name.
    pub name: String,
    /// What it is and where to find it.
    pub help: String,
    /// Environment variables that may hold it.
    pub env: Vec<String>,
    /// Whether the login also works without.
    pub optional: bool,
}

impl AskInfo {
    pub(in crate::maestro) fn of(ask: &Ask) -> Self {
        Self {
            name: ask.name.clone(),
            help: ask.help.clone(),
            env: ask.env.clone(),
            optional: ask.optional,
        }
    }

    /// Reads it from the environment.
    #[must_use]
    pub fn from_env(&self) -> Option<String> {
        let set = self.env.iter().filter_map(|name| std::env::var(name).ok());
        set.map(|value| value.trim().to_owned()).find(|value| !value.is_empty())
    }
}

/// What the user wants of an OAuth login.
#[derive(Clone, Debug)]
pub struct LoginRequest {
    /// What to call the session.
    pub name: SessionName,
    /// The flow; `None` for the vendor's usual one.
    pub flow: Option<Flow>,
    /// Facts that the login asks for; those left out are looked for in the environment.
    pub facts: BTreeMap<String, String>,
    /// Whether to overwrite a session of that name.
    pub replace: bool,
    /// How long to wait for the browser to come back.
    pub patience: Duration,
}

impl LoginRequest {
    /// Asks for the vendor's usual flow, and replaces nothing.
    #[must_use]
    pub fn new(name: SessionName) -> Self {
        let facts = BTreeMap::new();
        Self { name, flow: None, facts, replace: false, patience: PATIENCE }
    }
}

/// A login that succeeded.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LoggedIn {
    /// The session.
    pub session: SessionView,
    /// Facts that came with it: account, plan, project.
    pub attributes: BTreeMap<String, String>,
    /// What was granted.
    pub scopes: Vec<String>,
}

/// How long the browser may take to come back.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
