//! The user's own OAuth client at a provider.

use std::{fmt, path::PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::secret;

/// `[providers.NAME.oauth]`: the user's own OAuth client.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OAuthConfig {
    /// The client's id. Not a secret.
    pub client_id: String,
    /// The client's secret, for vendors whose desktop clients have one that everybody may know.
    #[serde(default, deserialize_with = "secret::text")]
    pub client_secret: Option<SecretString>,
    /// Environment variable that holds it.
    #[serde(default)]
    pub client_secret_env: Option<String>,
    /// File that holds it.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// Command that prints it.
    #[serde(default)]
    pub client_secret_command: Option<Vec<String>>,
}

impl fmt::Debug for OAuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthConfig").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl OAuthConfig {
    /// Reads the client's secret from where it is; `None` when the configuration names none.
    ///
    /// # Errors
    ///
    /// What is wrong, without a word of the secret.
    pub fn secret(&self) -> Result<Option<SecretString>, String> {
        if let Some(secret) = &self.client_secret {
            return Ok(Some(secret.clone()));
        }
        if self.secrets() == 0 {
            return Ok(None);
        }
        let (env, file) = (self.client_secret_env.as_deref(), self.client_secret_file.as_deref());
        secret::read("client secret", env, file, self.client_secret_command.as_deref()).map(Some)
    }

    /// Counts how many sources of the secret are named.
    fn secrets(&self) -> usize {
        let named = [
            self.client_secret.is_some(),
            self.client_secret_env.is_some(),
            self.client_secret_file.is_some(),
            self.client_secret_command.is_some(),
        ];
        named.iter().filter(|named| **named).count()
    }

    /// Says what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.client_id.trim().is_empty() || self.client_id.chars().any(char::is_control) {
            return Err("`client_id` is empty or holds control characters".into());
        }
        if self.secrets() > 1 {
            return Err("name one of `client_secret`, `client_secret_env`, \
                        `client_secret_file`, `client_secret_command`"
                .into());
        }
        Ok(())
    }
}
