//! Store and sealing joined: named sessions as the rest of the host sees them.

use std::{fmt, sync::Arc, sync::atomic::AtomicI64, sync::atomic::Ordering};

use plugin_api::ProviderId;

use crate::session::{
    SessionError,
    binding::Binding,
    cache::Cache,
    credential::Credential,
    envelope::{self, Place},
    key::MasterKey,
    name::{SessionId, SessionName},
    store::{
        Store, StoreError,
        row::{
            AuditAction, KeyRecord, NewSession, Resealed, SealedSession, SessionFilter,
            SessionInfo, SessionStatus, Stamp,
        },
    },
};

/// The sessions and conversations of one installation.
///
/// Cheap to share behind an [`Arc`]. Methods block: lookups for microseconds, changes until the
/// disk has them; in async code make changes through [`Sessions::blocking`].
pub struct Sessions {
    pub(super) store: Arc<dyn Store>,
    pub(super) key: MasterKey,
    pub(super) cache: Cache,
}

/// A session whose credential is open.
///
/// Not `Debug` and not `Clone`, like the credential in it; share the [`Arc`].
pub struct OpenSession {
    /// The session as it was when it was opened.
    pub info: SessionInfo,
    /// Its secret and what that is bound to.
    pub credential: Credential,
    last_touch: AtomicI64,
}

/// What a login made.
pub struct Login {
    /// Whose account it is.
    pub provider: ProviderId,
    /// What the user calls it.
    pub name: SessionName,
    /// The secret; its kind decides the auth type.
    pub credential: Credential,
    /// The account as the vendor names it, if known.
    pub account: Option<String>,
    /// Whether to overwrite a session of that name.
    pub replace: bool,
    /// Whether it takes over as the default.
    pub make_default: bool,
}

impl Sessions {
    /// Joins a store and its key.
    ///
    /// # Errors
    ///
    /// [`StoreError::WrongKey`] if the store is sealed with another key; nothing is written then.
    pub fn open(store: Arc<dyn Store>, key: MasterKey, now_s: i64) -> Result<Self, SessionError> {
        // Read first: a start with the usual key should not wait for a writer.
        let known = store.keys()?;
        if !known.iter().any(|known| known.active && known.id == key.id()) {
            store.adopt_key(&KeyRecord {
                id: key.id(),
                created_at: now_s,
                source: key.source().to_owned(),
                active: true,
            })?;
        }
        Ok(Self { store, key, cache: Cache::default() })
    }

    /// Returns the store, for what needs no key: settings, the audit trail.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Runs `work` where blocking is allowed, for callers in async code.
    ///
    /// Runs to its end even if the caller goes away, so that no change is left half-reported.
    ///
    /// # Errors
    ///
    /// Those of `work`, and [`SessionError::Panicked`].
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, SessionError> + Send + 'static,
    ) -> Result<T, SessionError> {
        let this = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.unwrap_or(Err(SessionError::Panicked))
    }

    /// Stores a login under its name. The first one of a provider becomes its default.
    ///
    /// # Errors
    ///
    /// [`StoreError::DuplicateSession`] unless `replace` is set.
    pub fn create(&self, login: &Login, stamp: &Stamp<'_>) -> Result<SessionInfo, SessionError> {
        let auth_type = login.credential.auth_type();
        for _ in 0..MAX_ATTEMPTS {
            let id = SessionId::random()?;
            let place =
                Place::Session { id: &id, provider: &login.provider, auth_type, name: &login.name };
            let new = NewSession {
                credentials: self.seal(&place, &login.credential)?,
                id: id.clone(),
                provider: login.provider.clone(),
                auth_type,
                name: login.name.clone(),
                key_id: self.key.id(),
                account: login.account.clone(),
                expires_at: login.credential.expires_at(),
                make_default: login.make_default,
            };
            match self.store.insert_session(&new, stamp) {
                Err(StoreError::DuplicateSession { .. }) if login.replace => {}
                other => return Ok(other?),
            }
            let filter = SessionFilter {
                provider: Some(login.provider.clone()),
                auth_type: Some(auth_type),
                name: Some(login.name.clone()),
            };
            // Gone again between the two: start over, it can be made now.
            let Some(existing) = self.store.find_sessions(&filter)?.pop() else { continue };
            let replaced = self.replace(&existing, login, stamp);
            match replaced {
                Err(SessionError::Store(
                    StoreError::Stale { .. } | StoreError::UnknownSession { .. },
                )) => {}
                other => return other,
            }
        }
        Err(self.contended(format!("{}:{}@{auth_type}", login.provider, login.name)))
    }

    fn replace(
        &self,
        existing: &SessionInfo,
        login: &Login,
        stamp: &Stamp<'_>,
    ) -> Result<SessionInfo, SessionError> {
        let resealed = Resealed {
            // The old name may be somebody else's; better none than a wrong one.
            account: login.account.clone(),
            ..self.resealed(existing, &existing.name, &login.credential, AuditAction::Replace)?
        };
        let info =
            self.store.reseal_session(&existing.id, existing.generation, &resealed, stamp)?;
        if login.make_default && !info.is_default {
            self.store.set_default_session(&info.id, stamp)?;
            return Ok(SessionInfo { is_default: true, ..info });
        }
        Ok(info)
    }

    /// Opens one session by its id, past the cache.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`], or [`SessionError::Sealed`] if it does not open.
    pub fn open_id(&self, id: &SessionId) -> Result<OpenSession, SessionError> {
        let sealed = self.store.session(id)?;
        self.open_sealed(sealed.ok_or_else(|| StoreError::UnknownSession { id: id.clone() })?)
    }

    /// Gives a session another name and seals its credential for it, in one step.
    ///
    /// # Errors
    ///
    /// [`StoreError::DuplicateSession`] if the name is taken.
    pub fn rename(
        &self,
        id: &SessionId,
        name: &SessionName,
        stamp: &Stamp<'_>,
    ) -> Result<SessionInfo, SessionError> {
        self.swap(id, stamp, |open| {
            let resealed =
                self.resealed(&open.info, name, &open.credential, AuditAction::Rename)?;
            Ok(Resealed { status: open.info.status, ..resealed })
        })
    }

    /// Binds a session to the plugin and origins that the user just approved.
    ///
    /// # Errors
    ///
    /// Those of the store, or [`SessionError::Sealed`] if the session does not open.
    pub fn approve(
        &self,
        id: &SessionId,
        binding: &Binding,
        stamp: &Stamp<'_>,
    ) -> Result<SessionInfo, SessionError> {
        self.swap(id, stamp, |mut open| {
            open.credential.binding = binding.clone();
            // Approval answers one question only; a rejected credential stays rejected.
            let status = match open.info.status {
                SessionStatus::NeedsReauth => SessionStatus::NeedsReauth,
                _ => SessionStatus::Ready,
            };
            let name = &open.info.name;
            let resealed =
                self.resealed(&open.info, name, &open.credential, AuditAction::Approve)?;
            Ok(Resealed { status, ..resealed })
        })
    }

    /// Seals a credential again and marks the session ready, if it still is what `info` says.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] if another process renewed it first; read its tokens instead.
    /// [`SessionError::WrongKind`] if the credential is of another kind.
    pub fn reseal(
        &self,
        info: &SessionInfo,
        credential: &Credential,
        stamp: &Stamp<'_>,
    ) -> Result<SessionInfo, SessionError> {
        let resealed = self.resealed(info, &info.name, credential, AuditAction::Refresh)?;
        Ok(self.store.reseal_session(&info.id, info.generation, &resealed, stamp)?)
    }

    /// Makes a session its provider's default.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`].
    pub fn set_default(&self, id: &SessionId, stamp: &Stamp<'_>) -> Result<(), SessionError> {
        Ok(self.store.set_default_session(id, stamp)?)
    }

    /// Records a use; writes at most once a minute per opened session.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn touch(&self, session: &OpenSession, stamp: &Stamp<'_>) -> Result<(), SessionError> {
        let last = session.last_touch.load(Ordering::Relaxed);
        if stamp.now_s < last.saturating_add(TOUCH_INTERVAL_S) {
            return Ok(());
        }
        // Of several requests at once, one writes.
        let won = session.last_touch.compare_exchange(
            last,
            stamp.now_s,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if won.is_ok() {
            self.store.touch_session(&session.info.id, stamp)?;
        }
        Ok(())
    }

    /// Records that a session failed, unless it was changed since `info`: the failure then says nothing
    /// about what it holds now. `error` must hold no secret.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`].
    pub fn fail(
        &self,
        info: &SessionInfo,
        status: SessionStatus,
        error: &str,
        stamp: &Stamp<'_>,
    ) -> Result<(), SessionError> {
        Ok(self.store.fail_session(&info.id, info.generation, status, error, stamp)?)
    }

    /// Removes a session. Of a removed default, the only one left takes over, if exactly one is.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`].
    pub fn delete(&self, id: &SessionId, stamp: &Stamp<'_>) -> Result<(), SessionError> {
        Ok(self.store.delete_session(id, stamp)?)
    }

    /// Lists sessions that were neither made nor used since `idle_since_s` (Unix seconds), whose tokens
    /// ended before that, or that need a new login anyway.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn prune_candidates(&self, idle_since_s: i64) -> Result<Vec<SessionInfo>, SessionError> {
        Ok(self.store.prune_candidates(idle_since_s)?)
    }

    /// Opens, changes and seals again, until no other process came in between.
    fn swap(
        &self,
        id: &SessionId,
        stamp: &Stamp<'_>,
        change: impl Fn(OpenSession) -> Result<Resealed, SessionError>,
    ) -> Result<SessionInfo, SessionError> {
        for _ in 0..MAX_ATTEMPTS {
            let open = self.open_id(id)?;
            let generation = open.info.generation;
            match self.store.reseal_session(id, generation, &change(open)?, stamp) {
                Err(StoreError::Stale { .. }) => {}
                other => return Ok(other?),
            }
        }
        Err(self.contended(id.to_string()))
    }

    pub(super) fn resealed(
        &self,
        info: &SessionInfo,
        name: &SessionName,
        credential: &Credential,
        action: AuditAction,
    ) -> Result<Resealed, SessionError> {
        let (expected, found) = (info.auth_type, credential.auth_type());
        if expected != found {
            return Err(SessionError::WrongKind { name: info.name.clone(), expected, found });
        }
        let place =
            Place::Session { id: &info.id, provider: &info.provider, auth_type: found, name };
        Ok(Resealed {
            name: name.clone(),
            credentials: self.seal(&place, credential)?,
            key_id: self.key.id(),
            account: info.account.clone(),
            expires_at: credential.expires_at(),
            status: SessionStatus::Ready,
            error: None,
            action,
        })
    }

    fn seal(&self, place: &Place<'_>, credential: &Credential) -> Result<Vec<u8>, SessionError> {
        // The serializer's error is dropped, because it may quote what it could not write.
        let payload = credential.to_payload().map_err(|_| SessionError::Encode)?;
        envelope::seal(&self.key, place, &payload)
            .map_err(|source| SessionError::Sealed { what: place.to_string(), source })
    }

    pub(super) fn open_sealed(&self, sealed: SealedSession) -> Result<OpenSession, SessionError> {
        let SealedSession { info, credentials } = sealed;
        let SessionInfo { id, provider, auth_type, name, .. } = &info;
        let place = Place::Session { id, provider, auth_type: *auth_type, name };
        let payload = envelope::open(&self.key, &place, &credentials)
            .map_err(|source| SessionError::Sealed { what: info.selector(), source })?;
        let credential = Credential::from_payload(&payload)
            .map_err(|source| SessionError::Payload { what: info.selector(), source })?;
        let last_touch = AtomicI64::new(info.last_used_at.unwrap_or(i64::MIN));
        Ok(OpenSession { info, credential, last_touch })
    }

    fn contended(&self, what: String) -> SessionError {
        SessionError::Contended { what, attempts: MAX_ATTEMPTS }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("store", &self.store)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// How often a change is tried when others change the same row.
const MAX_ATTEMPTS: u32 = 8;
/// Uses closer together than this are one use.
const TOUCH_INTERVAL_S: i64 = 60;

#[cfg(test)]
mod tests;
