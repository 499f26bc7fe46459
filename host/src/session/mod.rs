//! Named sessions: the logins a user has, and the conversations held under them.
//!
//! Here live names and selectors ([`name`]), secrets in memory ([`credential`], [`binding`]),
//! sealing at rest ([`envelope`], [`key`]), storage ([`store`]), and [`Sessions`], which joins them
//! and is what the facade calls. Here does *not* live: how a login is made or tokens are renewed
//! over the network, and where a credential is put into a request; those belong to the OAuth flows
//! and to the transport. Nothing here reads a clock or the network: times are arguments.
//!
//! Invariants: plaintext secrets exist only in `Credential` and `MasterKey`, both wiped when
//! dropped; every stored secret is an envelope bound to its row; a wrong key is noticed before any
//! write.

pub mod binding;
mod cache;
mod check;
mod conversations;
pub mod credential;
pub mod envelope;
mod error;
pub mod key;
pub mod lease;
mod legacy;
pub mod name;
pub mod profile;
pub mod random;
mod rekey;
mod renewal;
mod resolve;
mod service;
pub mod store;

/// The store as a file, for who must look at it before it is opened.
pub use self::store::sqlite::migrate as db;
pub use self::{
    binding::{Binding, BindingChange, InvalidOrigin},
    check::CheckReport,
    conversations::{Chunk, ConversationExport, NewChunk, NewConversation},
    credential::{Credential, ProfileLink, Renewal, Secret, TokenSet},
    envelope::EnvelopeError,
    error::SessionError,
    key::{KeyError, KeyId, KeySource, MasterKey},
    lease::Holder,
    legacy::LegacyError,
    name::{AuthType, InvalidName, SessionId, SessionName, SessionSelector},
    renewal::Outcome,
    service::{Login, OpenSession, Sessions},
    store::{
        Store, StoreError,
        client::{ClientKey, ClientUse, KeyHash},
        row::{Conversation, Lease, SessionFilter, SessionInfo, SessionStatus, Stamp},
        sqlite::{
            MigrationKeys, SqliteOptions, SqliteStore,
            migrate::{RollbackPlan, SchemaStatus},
        },
    },
};
