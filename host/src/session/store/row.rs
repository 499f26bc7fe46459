//! The rows of a store, typed. All times are Unix seconds.

use std::{fmt, str::FromStr};

use plugin_api::{ChunkId, ContextId, ProviderId};
use serde::Serialize;

use crate::session::{
    key::KeyId,
    name::{AuthType, SessionId, SessionName},
};

/// When and by whom a change is made; it ends up in the audit trail.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The time in Unix seconds. The store reads no clock.
    pub now_s: i64,
    /// Who asks: `cli`, `gateway`, `gateway:KEY_NAME` and the like.
    pub actor: &'a str,
}

macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Returns the stored form.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(UnknownWord { found: text.to_owned() }),
                }
            }
        }
    };
}

text_enum! {
    /// Whether a session can be used.
    SessionStatus {
        /// It can.
        Ready = "ready",
        /// The vendor no longer accepts its credential.
        NeedsReauth = "needs_reauth",
        /// Its plugin or origins changed; `maestro sessions approve` shows how.
        NeedsApproval = "needs_approval",
    }
}

text_enum! {
    /// What an audit event records.
    AuditAction {
        /// A login made a session.
        Create = "create",
        /// A login replaced the credential of a session.
        Replace = "replace",
        /// A session got another name.
        Rename = "rename",
        /// A session became its provider's default.
        Default = "default",
        /// A session was removed.
        Delete = "delete",
        /// A session did not work.
        Failure = "failure",
        /// The user approved a wider binding.
        Approve = "approve",
        /// A renewal of tokens begins; a crash afterwards leaves this as the last row.
        Attempt = "attempt",
        /// Tokens were renewed.
        Refresh = "refresh",
        /// Everything was sealed anew with another key.
        Rekey = "rekey",
        /// A session was used for the first time, or after a day without use.
        Use = "use",
    }
}

/// A stored word that this host does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word `{}`", .found.escape_debug())]
#[non_exhaustive]
pub struct UnknownWord {
    /// The word.
    pub found: String,
}

/// What is known of a session without opening its credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionInfo {
    /// Identifies the row for life.
    pub id: SessionId,
    /// Whose account it is.
    pub provider: ProviderId,
    /// How it authenticates.
    pub auth_type: AuthType,
    /// What the user calls it.
    pub name: SessionName,
    /// Whether it can be used.
    pub status: SessionStatus,
    /// Whether it is its provider's default.
    pub is_default: bool,
    /// Grows with every change of the sealed part.
    pub generation: u64,
    /// The account as the vendor names it, if known.
    pub account: Option<String>,
    /// When the credential ends.
    pub expires_at: Option<i64>,
    /// When it was made.
    pub created_at: i64,
    /// When it was last changed.
    pub updated_at: i64,
    /// When it was last used, to the minute.
    pub last_used_at: Option<i64>,
    /// Why it last failed, until it is replaced.
    pub last_error: Option<String>,
}

impl SessionInfo {
    /// Returns `PROVIDER:NAME@AUTH`, which selects this session and no other.
    #[must_use]
    pub fn selector(&self) -> String {
        format!("{}:{}@{}", self.provider, self.name, self.auth_type)
    }
}

/// A session and its sealed credential.
#[derive(Clone, Debug)]
pub struct SealedSession {
    /// All but the credential.
    pub info: SessionInfo,
    /// The envelope.
    pub credentials: Vec<u8>,
}

/// A session to be made.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its id, drawn before sealing because the envelope is bound to it.
    pub id: SessionId,
    /// Whose account it is.
    pub provider: ProviderId,
    /// How it authenticates.
    pub auth_type: AuthType,
    /// What the user calls it.
    pub name: SessionName,
    /// The envelope.
    pub credentials: Vec<u8>,
    /// Which key sealed it.
    pub key_id: KeyId,
    /// The account as the vendor names it.
    pub account: Option<String>,
    /// When the credential ends.
    pub expires_at: Option<i64>,
    /// Whether it takes over as the default. The first session of a provider always does.
    pub make_default: bool,
}

/// New values for the sealed part of a session and what changes along with it.
#[derive(Clone, Debug)]
pub struct Resealed {
    /// The name that the envelope is bound to, the old one or a new one.
    pub name: SessionName,
    /// The envelope.
    pub credentials: Vec<u8>,
    /// Which key sealed it.
    pub key_id: KeyId,
    /// The account as the vendor names it.
    pub account: Option<String>,
    /// When the credential ends.
    pub expires_at: Option<i64>,
    /// Whether it can be used now. [`SessionStatus::Ready`] clears the last error.
    pub status: SessionStatus,
    /// What went wrong, if something did; becomes the last error and the audit row's detail. Never a
    /// secret.
    pub error: Option<String>,
    /// Why this is done.
    pub action: AuditAction,
}

/// Who renews a session now, and until when others leave it alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Names the holder, in the form of [`Holder`](crate::session::lease::Holder).
    pub holder: String,
    /// Until when, in Unix seconds of the local clock.
    pub until: i64,
}

/// Which sessions to list; what is left out matches all.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Of one provider.
    pub provider: Option<ProviderId>,
    /// Of one auth type.
    pub auth_type: Option<AuthType>,
    /// Of one name.
    pub name: Option<SessionName>,
}

/// A key that sealed something in this store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key's id.
    pub id: KeyId,
    /// When it was first used here.
    pub created_at: i64,
    /// Where it came from.
    pub source: String,
    /// Whether new values are sealed with it.
    pub active: bool,
}

/// One row of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEvent {
    /// When.
    pub at: i64,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To a session of which provider.
    pub provider: Option<String>,
    /// To which session: `NAME@AUTH`, by its name at that time.
    pub session: Option<String>,
    /// More, never a secret.
    pub detail: Option<String>,
}

/// A conversation, without its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conversation {
    /// Identifies it for life.
    pub id: ContextId,
    /// What the user calls it.
    pub name: Option<String>,
    /// Whom it was last held with.
    pub provider: Option<String>,
    /// Under which session.
    pub session: Option<String>,
    /// With which model.
    pub model: Option<String>,
    /// A title that the user gave; stored in the clear, so never derived from messages.
    pub title: Option<String>,
    /// When it began.
    pub created_at: i64,
    /// When it last grew or shrank.
    pub updated_at: i64,
}

/// One sealed message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedChunk {
    /// Identifies it, drawn before sealing.
    pub id: ChunkId,
    /// `user`, `assistant`, `tool` and so on.
    pub role: String,
    /// The envelope.
    pub content: Vec<u8>,
    /// Which key sealed it.
    pub key_id: KeyId,
    /// Tokens the vendor counted for the request, if it said so.
    pub input_tokens: Option<u64>,
    /// Tokens the vendor counted for the answer, if it said so.
    pub output_tokens: Option<u64>,
    /// Its place; ignored when appended, since the store counts.
    pub seq: u64,
    /// When it was appended; ignored when appended, since the stamp says so.
    pub created_at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_stored_and_read_back() {
        for status in
            [SessionStatus::Ready, SessionStatus::NeedsReauth, SessionStatus::NeedsApproval]
        {
            assert_eq!(status.to_string().parse(), Ok(status));
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
        assert_eq!(AuditAction::Use.as_str().parse(), Ok(AuditAction::Use));
        let error = "Ready".parse::<SessionStatus>().unwrap_err();
        assert_eq!(error.to_string(), "unknown word `Ready`");
    }
}
