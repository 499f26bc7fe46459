//! Named sessions: the logins a user has, and the conversations held under them.
//!
//! So far: names and selectors ([`name`]), sealing at rest ([`envelope`], [`key`]), and
//! storage ([`store`]).

pub mod envelope;
pub mod key;
pub mod name;
pub mod random;
pub mod store;

pub use self::{
    envelope::EnvelopeError,
    key::{KeyError, KeyId, KeySource, MasterKey},
    name::{AuthType, InvalidName, SessionId, SessionName, SessionSelector},
    store::{
        Store, StoreError,
        row::{Conversation, SessionFilter, SessionInfo, SessionStatus, Stamp},
        sqlite::{SqliteOptions, SqliteStore},
    },
};
