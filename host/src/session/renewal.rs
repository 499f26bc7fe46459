//! Renewing the tokens of a session, as far as the store is concerned.
//!
//! What goes over the network is the `oauth` layer's; here is what must be durable before and after,
//! and the lease that keeps others away in between.

use crate::session::{
    SessionError,
    credential::Credential,
    lease::Holder,
    name::SessionId,
    service::Sessions,
    store::row::{AuditAction, Lease, Resealed, SessionInfo, SessionStatus, Stamp},
};

/// What became of an attempt to renew tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It begins; the credential says so.
    Begun,
    /// New tokens came.
    Renewed,
    /// It failed and may succeed later. Holds what happened, without a secret.
    Failed(&'a str),
    /// It failed, and only a new login helps.
    Dead(&'a str),
}

impl Sessions {
    /// Stores a step of a renewal, if the session still has the generation of `info`.
    ///
    /// New tokens are stored before they are used: a crash afterwards must not lose them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`](crate::session::StoreError::Stale) if the session changed meanwhile,
    /// [`StoreError::UnknownSession`](crate::session::StoreError::UnknownSession) if it was removed.
    pub fn renewal(
        &self,
        info: &SessionInfo,
        credential: &Credential,
        outcome: Outcome<'_>,
        stamp: &Stamp<'_>,
    ) -> Result<SessionInfo, SessionError> {
        let (action, status, error) = match outcome {
            Outcome::Begun => (AuditAction::Attempt, info.status, None),
            // New tokens prove the login good, and say nothing about where they may go.
            Outcome::Renewed if info.status == SessionStatus::NeedsApproval => {
                (AuditAction::Refresh, info.status, None)
            }
            Outcome::Renewed => (AuditAction::Refresh, SessionStatus::Ready, None),
            Outcome::Failed(error) => (AuditAction::Failure, info.status, Some(error)),
            Outcome::Dead(error) => (AuditAction::Failure, SessionStatus::NeedsReauth, Some(error)),
        };
        let error = error.map(str::to_owned);
        let resealed = self.resealed(info, &info.name, credential, action)?;
        let resealed = Resealed { status, error, ..resealed };
        Ok(self.store.reseal_session(&info.id, info.generation, &resealed, stamp)?)
    }

    /// Takes the lease of a session for `seconds`: `None` if it was free, had ended, or its holder is
    /// gone; else the lease that stands in the way. One's own becomes longer.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`](crate::session::StoreError::UnknownSession).
    pub fn take_lease(
        &self,
        id: &SessionId,
        holder: &Holder,
        seconds: i64,
        now_s: i64,
    ) -> Result<Option<Lease>, SessionError> {
        let lease = Lease { holder: holder.as_str().to_owned(), until: now_s + seconds };
        match self.store.take_lease(id, &lease, None, now_s)? {
            Some(other) if Holder::is_gone(&other.holder) => {
                Ok(self.store.take_lease(id, &lease, Some(&other.holder), now_s)?)
            }
            answer => Ok(answer),
        }
    }

    /// Reports whether somebody who may still be there holds the lease of a session.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn is_leased(&self, id: &SessionId, now_s: i64) -> Result<bool, SessionError> {
        let lease = self.store.lease(id, now_s)?;
        Ok(lease.is_some_and(|lease| !Holder::is_gone(&lease.holder)))
    }

    /// Gives a lease back.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn release_lease(&self, id: &SessionId, holder: &Holder) -> Result<(), SessionError> {
        Ok(self.store.release_lease(id, holder.as_str())?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plugin_api::{PluginId, ProviderId};

    use super::*;
    use crate::session::{
        Binding, Login, MasterKey, SessionName, SqliteStore, StoreError, TokenSet,
    };

    const NOW: Stamp<'_> = Stamp { now_s: 1000, actor: "test" };

    fn fixture() -> (tempfile::TempDir, Sessions, SessionInfo) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("maestro.db"), 0).unwrap();
        let sessions = Sessions::open(Arc::new(store), MasterKey::from_bytes([7; 32], "test"), 0);
        let sessions = sessions.unwrap();
        let login = Login {
            provider: ProviderId::new("acme").unwrap(),
            name: SessionName::new("work").unwrap(),
            credential: credential("at-1"),
            account: None,
            replace: false,
            make_default: false,
        };
        let info = sessions.create(&login, &NOW).unwrap();
        (folder, sessions, info)
    }

    fn credential(access: &str) -> Credential {
        let binding = Binding::new(PluginId::new("acme").unwrap(), ["https://api.test"]).unwrap();
        let tokens = TokenSet { access_token: access.into(), ..TokenSet::default() };
        Credential::oauth(tokens, binding)
    }

    #[test]
    fn each_step_is_audited_and_tells_what_the_session_is_good_for() {
        let (_folder, sessions, mut info) = fixture();
        let credential = credential("at-2");
        for (outcome, action, status, error) in [
            (Outcome::Begun, "attempt", SessionStatus::Ready, None),
            (Outcome::Failed("503"), "failure", SessionStatus::Ready, Some("503")),
            (Outcome::Dead("revoked"), "failure", SessionStatus::NeedsReauth, Some("revoked")),
            (Outcome::Begun, "attempt", SessionStatus::NeedsReauth, Some("revoked")),
            (Outcome::Renewed, "refresh", SessionStatus::Ready, None),
        ] {
            let before = info.generation;
            info = sessions.renewal(&info, &credential, outcome, &NOW).unwrap();
            assert_eq!((info.status, info.last_error.as_deref()), (status, error), "{outcome:?}");
            assert_eq!(info.generation, before + 1);
            let event = sessions.store().audit_events(1).unwrap().remove(0);
            assert_eq!(event.action, action);
        }
        sessions.fail(&info, SessionStatus::NeedsApproval, "wider", &NOW).unwrap();
        let info = sessions.open_id(&info.id).unwrap().info;
        let waiting = sessions.renewal(&info, &credential, Outcome::Renewed, &NOW).unwrap();
        assert_eq!(waiting.status, SessionStatus::NeedsApproval, "approval is another question");
        let stale = sessions.renewal(&info, &credential, Outcome::Renewed, &NOW);
        assert!(matches!(stale, Err(SessionError::Store(StoreError::Stale { .. }))));
    }

    #[test]
    fn a_lease_is_held_by_one_until_it_ends_or_is_given_back() {
        let (_folder, sessions, info) = fixture();
        let (one, two) = (Holder::new().unwrap(), Holder::new().unwrap());
        let take = |holder, now_s| sessions.take_lease(&info.id, holder, 60, now_s).unwrap();
        let revision = sessions.store().revision().unwrap();
        assert_eq!(take(&one, 1000), None);
        assert_eq!(take(&two, 1059).unwrap().holder, one.as_str());
        assert_eq!(take(&one, 1030), None, "one's own grows");
        assert!(take(&two, 1089).is_some());
        assert!(sessions.is_leased(&info.id, 1089).unwrap());
        assert_eq!(take(&two, 1090), None, "it has ended");
        sessions.release_lease(&info.id, &one).unwrap();
        assert!(sessions.is_leased(&info.id, 1091).unwrap(), "only the holder gives it back");
        sessions.release_lease(&info.id, &two).unwrap();
        assert!(!sessions.is_leased(&info.id, 1091).unwrap());
        assert_eq!(sessions.store().revision().unwrap(), revision, "caches need not notice");
        // One from before the clock was set back.
        assert_eq!(take(&one, 900_000), None);
        assert_eq!(take(&two, 1000), None);
        sessions.delete(&info.id, &NOW).unwrap();
        let gone = sessions.take_lease(&info.id, &one, 60, 1000);
        assert!(matches!(gone, Err(SessionError::Store(StoreError::UnknownSession { .. }))));
        assert!(!sessions.is_leased(&info.id, 1000).unwrap());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_lease_of_a_dead_process_is_free() {
        let (_folder, sessions, info) = fixture();
        let me = Holder::new().unwrap();
        let mut parts: Vec<&str> = me.as_str().rsplitn(3, '/').collect();
        // The same process number, begun at another time: it is surely not that process any more.
        parts[1] = "1";
        let dead = parts.iter().rev().copied().collect::<Vec<_>>().join("/");
        let lease = Lease { holder: dead, until: 1060 };
        assert_eq!(sessions.store().take_lease(&info.id, &lease, None, 1000).unwrap(), None);
        assert!(!sessions.is_leased(&info.id, 1001).unwrap());
        assert_eq!(sessions.take_lease(&info.id, &me, 60, 1001).unwrap(), None);
    }
}
