//! Where sessions, conversations and their companions are kept.
//!
//! A store holds sealed bytes and plain columns; it knows no key and opens nothing. Sealing is the
//! business of [`Sessions`](crate::session::Sessions), which sits on top.
//!
//! # Why the trait blocks
//!
//! A lookup in SQLite takes tens of microseconds and runs on the calling thread; a boxed future
//! around it would cost a second thread hop on the path of every request and gain nothing. Writes
//! wait for the disk, so callers in async code use
//! [`Sessions::blocking`](crate::session::Sessions::blocking), which moves them to tokio's
//! blocking pool. A store over the network implements the same trait there by
//! `Handle::block_on`, which is allowed on that pool.
//!
//! Changes of the sealed part are compare-and-swap on `generation`: the caller seals outside any
//! lock, and the store refuses with [`StoreError::Stale`] if the row moved on. A store over the
//! network needs no callback inside a transaction for that.

pub mod client;
mod error;
pub mod row;
pub mod sqlite;

use std::fmt;

use plugin_api::{ChunkId, ContextId, ProviderId};

use self::row::{
    AuditEvent, Conversation, KeyRecord, Lease, NewSession, Resealed, SealedChunk, SealedSession,
    SessionFilter, SessionInfo, SessionStatus, Stamp,
};
pub use self::{
    client::{ClientKey, ClientUse},
    error::StoreError,
};
use crate::session::{
    envelope::Place,
    key::KeyId,
    name::{AuthType, SessionId, SessionName},
};

/// Opens a value that was sealed for a place and seals it for the same place anew.
pub type Reseal<'a> = dyn Fn(&Place<'_>, &[u8]) -> StoreResult<Vec<u8>> + 'a;

/// What a store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// The storage of one installation.
///
/// Every method is one transaction: it happens whole or not at all, and is durable when the method
/// returns. Methods that change a session write its audit row in the same transaction. All fail
/// with the [`StoreError`] of the backend; further errors are named per method.
pub trait Store: Send + Sync + fmt::Debug {
    /// Returns a number that differs whenever the sessions may have changed, in any process.
    ///
    /// Cheap enough to ask before each use of a cached session. Uses and leases do not count. A
    /// change shows at the latest when the method that made it returns.
    fn revision(&self) -> StoreResult<u64>;

    /// Returns a number that differs whenever anything may have been committed, in any process.
    ///
    /// As cheap as [`revision`](Self::revision), and moves more often: for what has none of its own.
    fn changes(&self) -> StoreResult<u64>;

    /// Adds a session.
    ///
    /// # Errors
    ///
    /// [`StoreError::DuplicateSession`] if its provider, auth type and name are taken,
    /// [`StoreError::WrongKey`] if another key became the active one since it was sealed.
    fn insert_session(&self, new: &NewSession, stamp: &Stamp<'_>) -> StoreResult<SessionInfo>;

    /// Swaps the sealed part of a session, if it still has `generation`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`], [`StoreError::UnknownSession`], [`StoreError::DuplicateSession`]
    /// if the new name is taken, or [`StoreError::WrongKey`] as with a new session.
    fn reseal_session(
        &self,
        id: &SessionId,
        generation: u64,
        new: &Resealed,
        stamp: &Stamp<'_>,
    ) -> StoreResult<SessionInfo>;

    /// Returns a session by its id.
    fn session(&self, id: &SessionId) -> StoreResult<Option<SealedSession>>;

    /// Returns the sessions that could serve a provider, at most two: more than one means that the
    /// caller must ask.
    ///
    /// With a name, those of that name; without one, the default alone if there is one, else any.
    fn lookup_session(
        &self,
        provider: &ProviderId,
        auth_type: Option<AuthType>,
        name: Option<&SessionName>,
    ) -> StoreResult<Vec<SealedSession>>;

    /// Lists sessions by provider, name and auth type.
    fn find_sessions(&self, filter: &SessionFilter) -> StoreResult<Vec<SessionInfo>>;

    /// Makes a session its provider's default, in place of the one before.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`].
    fn set_default_session(&self, id: &SessionId, stamp: &Stamp<'_>) -> StoreResult<()>;

    /// Records that a session is used now.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`].
    fn touch_session(&self, id: &SessionId, stamp: &Stamp<'_>) -> StoreResult<()>;

    /// Records that a session failed, and what it is good for now, if it still has `generation`: what
    /// was sealed since then did not fail. `error` must hold no secret.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`].
    fn fail_session(
        &self,
        id: &SessionId,
        generation: u64,
        status: SessionStatus,
        error: &str,
        stamp: &Stamp<'_>,
    ) -> StoreResult<()>;

    /// Takes the lease of a session: `None` if `lease` is now the one, else the lease that stands in
    /// the way.
    ///
    /// A lease is in the way until it ends, is released, or is the one of `over`, whose holder is
    /// known to be gone. Taking one's own again makes it longer.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`].
    fn take_lease(
        &self,
        id: &SessionId,
        lease: &Lease,
        over: Option<&str>,
        now_s: i64,
    ) -> StoreResult<Option<Lease>>;

    /// Returns the lease that stands in the way at `now_s`.
    fn lease(&self, id: &SessionId, now_s: i64) -> StoreResult<Option<Lease>>;

    /// Gives a lease back; does nothing if another holds it by now.
    fn release_lease(&self, id: &SessionId, holder: &str) -> StoreResult<()>;

    /// Removes a session. If it was the default and exactly one is left, that one takes over.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownSession`].
    fn delete_session(&self, id: &SessionId, stamp: &Stamp<'_>) -> StoreResult<()>;

    /// Lists sessions that were neither made nor used since `idle_since_s`, whose tokens ended before
    /// that, or that need a new login anyway.
    fn prune_candidates(&self, idle_since_s: i64) -> StoreResult<Vec<SessionInfo>>;

    /// Reports whether anything here is sealed with a key of ours; then none may be generated.
    fn has_ciphertext(&self) -> StoreResult<bool>;

    /// Lists the keys that were used here.
    fn keys(&self) -> StoreResult<Vec<KeyRecord>>;

    /// Makes a key the active one, if it is already or if nothing is sealed with another.
    ///
    /// # Errors
    ///
    /// [`StoreError::WrongKey`], before anything is written.
    fn adopt_key(&self, key: &KeyRecord) -> StoreResult<()>;

    /// Seals all that `from` sealed anew for another key and makes that the active one, whole or not
    /// at all. Returns how many values.
    ///
    /// `reseal` is called inside the transaction, the one exception to what this module says: nobody may
    /// write with the old key in between.
    ///
    /// # Errors
    ///
    /// [`StoreError::WrongKey`] if `from` is not the active key or something here is sealed with a third
    /// one, and what `reseal` returns.
    fn rekey(
        &self,
        from: KeyId,
        to: &KeyRecord,
        reseal: &Reseal<'_>,
        stamp: &Stamp<'_>,
    ) -> StoreResult<u64>;

    /// Returns the newest audit events, newest first.
    fn audit_events(&self, limit: u32) -> StoreResult<Vec<AuditEvent>>;

    /// Adds an audit event that belongs to no other change.
    fn append_audit_event(&self, event: &AuditEvent) -> StoreResult<()>;

    /// Returns a setting.
    fn setting(&self, key: &str) -> StoreResult<Option<String>>;

    /// Sets a setting that is not there yet; returns the one that is there then.
    fn setting_or_insert(&self, key: &str, value: &str) -> StoreResult<String>;

    /// Changes a setting, or removes it.
    fn set_setting(&self, key: &str, value: Option<&str>) -> StoreResult<()>;

    /// Adds a conversation.
    ///
    /// # Errors
    ///
    /// [`StoreError::DuplicateConversation`] if its name or id is taken.
    fn insert_conversation(&self, new: &Conversation) -> StoreResult<()>;

    /// Finds a conversation by id, else by name.
    fn find_conversation(&self, id_or_name: &str) -> StoreResult<Option<Conversation>>;

    /// Returns the conversation that changed last.
    fn latest_conversation(&self) -> StoreResult<Option<Conversation>>;

    /// Lists conversations, the one that changed last first.
    fn conversations(&self) -> StoreResult<Vec<Conversation>>;

    /// Appends the messages of one turn, all or none, in their order.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownConversation`].
    fn append_chunks(&self, id: &ContextId, turn: &[SealedChunk], now_s: i64) -> StoreResult<()>;

    /// Lists the messages of a conversation, oldest first.
    fn chunks(&self, id: &ContextId) -> StoreResult<Vec<SealedChunk>>;

    /// Removes a conversation and its messages; `false` if there is none.
    fn delete_conversation(&self, id: &ContextId) -> StoreResult<bool>;

    /// Removes one message; `false` if there is none.
    fn delete_chunk(&self, id: &ContextId, chunk: &ChunkId, now_s: i64) -> StoreResult<bool>;

    /// Adds the key of a client of the gateway.
    ///
    /// # Errors
    ///
    /// [`StoreError::DuplicateClientKey`] if its name is taken.
    fn insert_client_key(&self, new: &ClientKey) -> StoreResult<()>;

    /// Lists the clients' keys by name, also those that ended.
    fn client_keys(&self) -> StoreResult<Vec<ClientKey>>;

    /// Takes a client's key back; its row stays.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownClientKey`].
    fn revoke_client_key(&self, name: &str, now_s: i64) -> StoreResult<()>;

    /// Removes a client's key as if it had never been.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownClientKey`].
    fn delete_client_key(&self, name: &str) -> StoreResult<()>;

    /// Adds what clients' keys used; of keys that are gone, nothing.
    fn record_client_uses(&self, uses: &[ClientUse]) -> StoreResult<()>;

    /// Lists what clients' keys used since a day, by key, day and model.
    fn client_usage(&self, since_day: i64) -> StoreResult<Vec<ClientUse>>;

    /// Returns what a key spent on a day, in millionths of a US dollar.
    fn client_spent(&self, id: &str, day: i64) -> StoreResult<i64>;

    /// Records when a client's key was last used.
    fn touch_client_key(&self, id: &str, now_s: i64) -> StoreResult<()>;

    /// Checks the storage itself; returns what is wrong, one line each.
    fn integrity(&self) -> StoreResult<Vec<String>>;
}
