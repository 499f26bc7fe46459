//! Named sessions: the logins a user has, and the conversations held under them.
//!
//! So far: names and selectors ([`name`]) and sealing at rest ([`envelope`], [`key`]).

pub mod envelope;
pub mod key;
pub mod name;
pub mod random;

pub use self::{
    envelope::EnvelopeError,
    key::{KeyError, KeyId, KeySource, MasterKey},
    name::{AuthType, InvalidName, SessionId, SessionName, SessionSelector},
};
