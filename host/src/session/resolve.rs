//! Which session serves: from what was asked to one open credential.

use std::sync::Arc;

use plugin_api::ProviderId;

use crate::session::{
    SessionError,
    cache::Question,
    name::{AuthType, SessionName, SessionSelector},
    service::{OpenSession, Sessions},
    store::row::{SessionFilter, SessionInfo},
};

/// Lookups. They are fast enough for the calling thread, also in async code.
impl Sessions {
    /// Opens the session that serves `provider`: the named one, else the default, else the only
    /// one. Answers from memory while no process has changed a session.
    ///
    /// The session may not be ready: look at its status before it is used.
    ///
    /// # Errors
    ///
    /// [`SessionError::None`], [`SessionError::Unknown`], [`SessionError::Ambiguous`],
    /// [`SessionError::NoDefault`], or [`SessionError::Sealed`] if it does not open.
    pub fn resolve(
        &self,
        provider: &ProviderId,
        name: Option<&SessionName>,
        auth_type: Option<AuthType>,
    ) -> Result<Arc<OpenSession>, SessionError> {
        let revision = self.store.revision()?;
        let question = Question { provider: provider.clone(), name: name.cloned(), auth_type };
        if let Some(answer) = self.cache.find(revision, &question) {
            return Ok(answer);
        }
        let mut found = self.store.lookup_session(provider, auth_type, name)?;
        let session = match (found.pop(), found.is_empty()) {
            (Some(only), true) => only,
            _ => return Err(self.unresolved(&question)?),
        };
        let open = Arc::new(self.open_sealed(session)?);
        self.cache.keep(revision, question, Arc::clone(&open));
        Ok(open)
    }

    /// Returns what [`resolve`](Self::resolve) would, if it would answer from memory.
    ///
    /// For microseconds and without disk, where a lookup may wait for both.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn remembered(
        &self,
        provider: &ProviderId,
        name: Option<&SessionName>,
        auth_type: Option<AuthType>,
    ) -> Result<Option<Arc<OpenSession>>, SessionError> {
        let revision = self.store.revision()?;
        let question = Question { provider: provider.clone(), name: name.cloned(), auth_type };
        Ok(self.cache.find(revision, &question))
    }

    /// Explains why there is no single answer.
    fn unresolved(&self, question: &Question) -> Result<SessionError, SessionError> {
        let Question { provider, name, auth_type } = question.clone();
        let filter = SessionFilter { provider: Some(provider.clone()), ..Default::default() };
        let known: Vec<_> =
            self.store.find_sessions(&filter)?.iter().map(SessionInfo::selector).collect();
        if known.is_empty() {
            return Ok(SessionError::None { provider });
        }
        let Some(name) = name else {
            let suffix = auth_type.map(|auth_type| format!("@{auth_type}")).unwrap_or_default();
            let mut candidates = known.clone();
            candidates.retain(|known| known.ends_with(&suffix));
            return Ok(if candidates.is_empty() {
                SessionError::Unknown { selector: format!("{provider}:{suffix}"), known }
            } else {
                SessionError::NoDefault { provider, candidates }
            });
        };
        let prefix = format!("{provider}:{name}@");
        let selector = SessionSelector { provider: Some(provider), name, auth_type }.to_string();
        let mut candidates = known.clone();
        candidates.retain(|known| known.starts_with(&prefix));
        Ok(if auth_type.is_none() && candidates.len() > 1 {
            SessionError::Ambiguous { selector, candidates }
        } else {
            SessionError::Unknown { selector, known }
        })
    }

    /// Finds the one session that a selector means.
    ///
    /// # Errors
    ///
    /// [`SessionError::Unknown`] or [`SessionError::Ambiguous`].
    pub fn find(&self, selector: &SessionSelector) -> Result<SessionInfo, SessionError> {
        let filter = SessionFilter {
            provider: selector.provider.clone(),
            auth_type: selector.auth_type,
            name: Some(selector.name.clone()),
        };
        let mut found = self.store.find_sessions(&filter)?;
        if found.len() > 1 {
            let candidates = found.iter().map(SessionInfo::selector).collect();
            return Err(SessionError::Ambiguous { selector: selector.to_string(), candidates });
        }
        if let Some(info) = found.pop() {
            return Ok(info);
        }
        let all = self.store.find_sessions(&SessionFilter::default())?;
        let known = all.iter().map(SessionInfo::selector).collect();
        Err(SessionError::Unknown { selector: selector.to_string(), known })
    }

    /// Lists sessions by provider, name and auth type.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn list(&self, filter: &SessionFilter) -> Result<Vec<SessionInfo>, SessionError> {
        Ok(self.store.find_sessions(filter)?)
    }
}
