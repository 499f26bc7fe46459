//! The keys of the gateway's clients: what is stored of them, which never includes the key.

use serde::Serialize;

/// SHA-256 of a client's key.
pub type KeyHash = [u8; 32];

/// A client's key as it is stored.
///
/// Its text has 256 random bits, so that its plain SHA-256 tells nothing about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientKey {
    /// Identifies it for life.
    pub id: String,
    /// What the operator calls it.
    pub name: String,
    /// What requests are compared with.
    #[serde(skip)]
    pub hash: KeyHash,
    /// Patterns of model refs that it may use; `None` for all.
    pub allow: Option<Vec<String>>,
    /// The session that it uses of a provider, as `PROVIDER:NAME`.
    pub sessions: Vec<String>,
    /// Most requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Most tokens in a minute, of prompts and answers together.
    pub tokens_per_minute: Option<u32>,
    /// What it may spend in a day (UTC), in millionths of a US dollar.
    pub micros_per_day: Option<i64>,
    /// Most requests at once.
    pub concurrent: Option<u32>,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: Option<i64>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<i64>,
    /// When it was taken back.
    pub revoked_at: Option<i64>,
}

/// What a key used of one model on one day: a row, or what is to be added to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientUse {
    /// The key's id.
    pub client_key: String,
    /// Days since 1970 in UTC.
    pub day: i64,
    /// Who served.
    pub provider: String,
    /// The model, as the provider names it.
    pub model: String,
    /// How many requests.
    pub requests: i64,
    /// Tokens of the prompts.
    pub input_tokens: i64,
    /// Tokens of the answers.
    pub output_tokens: i64,
    /// What that cost, in millionths of a US dollar.
    pub cost_micros: i64,
    /// How many of the requests have no known price.
    pub unpriced: i64,
}

impl ClientKey {
    /// Reports whether it is accepted at a time.
    #[must_use]
    pub fn is_valid_at(&self, now_s: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now_s < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_when_it_expires_or_is_revoked() {
        let mut key = ClientKey {
            id: "1".into(),
            name: "laptop".into(),
            hash: [0; 32],
            allow: None,
            sessions: Vec::new(),
            requests_per_minute: None,
            tokens_per_minute: None,
            micros_per_day: None,
            concurrent: None,
            created_at: 0,
            expires_at: Some(10),
            last_used_at: None,
            revoked_at: None,
        };
        assert!(key.is_valid_at(9) && !key.is_valid_at(10));
        key.expires_at = None;
        key.revoked_at = Some(1);
        assert!(!key.is_valid_at(9));
        assert!(!serde_json::to_string(&key).unwrap().contains("hash"));
    }
}
