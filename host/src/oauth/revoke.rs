//! Tells the vendor that tokens are no longer wanted (RFC 7009).
//!
//! Best effort: what is forgotten here is forgotten whatever the vendor says.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::time::timeout;
use url::Url;

use crate::{
    oauth::{
        client::ClientError,
        fetch::{Fetch, FetchError},
        token::Client,
    },
    session::TokenSet,
};

/// Why the vendor may still take the tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// The vendor names no place to say it.
    #[error("the vendor offers no revocation")]
    NotOffered,
    /// The place is none that was shown at login.
    #[error("`{origin}` was not approved for this session")]
    NotApproved {
        /// The place.
        origin: String,
    },
    /// The vendor did not answer, or refused.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// There is no client to ask with.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The vendor took too long.
    #[error("the vendor did not answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// The tokens could not be read.
    #[error("the stored tokens cannot be read")]
    Unreadable,
}

/// Revokes the refresh token, with which the vendor drops the rest; without one, the access token.
pub(crate) async fn revoke(
    fetch: &Fetch,
    endpoint: &Url,
    client: &Client,
    tokens: &TokenSet,
) -> Result<(), RevokeError> {
    let asked = timeout(PATIENCE, async {
        if let Some(token) = &tokens.refresh_token {
            let refused = match ask(fetch, endpoint, client, token.expose_secret(), REFRESH).await {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            // Servers may be able to revoke access tokens only.
            if !matches!(&refused, FetchError::Status { error: Some(error), .. }
                if error == "unsupported_token_type")
            {
                return Err(refused);
            }
        }
        ask(fetch, endpoint, client, tokens.access_token.expose_secret(), ACCESS).await
    });
    asked.await.map_err(|_| RevokeError::Slow)?.map_err(RevokeError::Fetch)
}

async fn ask(
    fetch: &Fetch,
    endpoint: &Url,
    client: &Client,
    token: &str,
    hint: &str,
) -> Result<(), FetchError> {
    let fetched = fetch
        .post_form_as(endpoint, client, &[("token", token), ("token_type_hint", hint)])
        .await?;
    fetched.success(endpoint)
}

const REFRESH: &str = "refresh_token";
const ACCESS: &str = "access_token";
/// Nobody wants to wait long for a goodbye.
const PATIENCE: Duration = Duration::from_secs(10);
