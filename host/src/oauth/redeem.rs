//! Trades what the user brought back for tokens, and checks whose they are.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::sleep_until;

use crate::{
    oauth::{
        Places,
        callback::Callback,
        client::{self, ClientSource},
        device::{self, DeviceCode, Polled},
        discovery::DiscoveryError,
        error::LoginError,
        fetch::Fetch,
        given_up::GivenUp,
        id_token::{self, Check, Claims, IdTokenError},
        local_now_s,
        login::Setup,
        pkce::Pkce,
        revoke,
        token::{Client, Grant, Issued, TokenEndpoint, TokenError},
    },
    session::TokenSet,
};

/// All that the token endpoint will be asked with, but what the user brings.
pub(crate) struct Redeem {
    pub(super) setup: Setup,
    pub(super) client: Client,
    pub(super) fetch: Fetch,
    pub(super) pkce: Option<Pkce>,
    pub(super) nonce: Option<SecretString>,
    pub(super) redirect_uri: String,
    pub(super) facts: BTreeMap<String, String>,
}

/// What a login brought.
pub(crate) struct Granted {
    /// The tokens.
    pub(crate) tokens: TokenSet,
    /// Facts of the token answer and the id token.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Whose account it is, as people would say it.
    pub(crate) account: Option<String>,
}

impl Redeem {
    /// Redeems a code.
    pub(super) async fn code(mut self, callback: Callback) -> Result<Granted, LoginError> {
        self.take_client_id(callback.client_id)?;
        let issued = self
            .endpoint()?
            .request(
                &self.setup.transport,
                Grant::AuthorizationCode {
                    code: &callback.code,
                    redirect_uri: &self.redirect_uri,
                    verifier: self.pkce.as_ref().map(|pkce| &pkce.verifier),
                },
            )
            .await?;
        self.granted(issued).await
    }

    /// Asks until the user has entered the code.
    pub(super) async fn poll(
        self,
        code: &DeviceCode,
        given_up: &GivenUp,
    ) -> Result<Granted, LoginError> {
        let endpoint = self.endpoint()?;
        let pause = async |until| given_up.or(sleep_until(until)).await;
        let ask = async || {
            let grant = Grant::DeviceCode { device_code: &code.device_code };
            polled(endpoint.request(&self.setup.transport, grant).await)
        };
        let issued = device::poll(code.interval, code.expires_in, pause, ask).await?;
        self.granted(issued).await
    }

    /// Takes the client id that the vendor issued on the way, where it does so.
    fn take_client_id(&mut self, found: Option<String>) -> Result<(), LoginError> {
        let scheme = &self.setup.scheme;
        if !scheme.client_id_from_callback {
            return Ok(());
        }
        match (&self.setup.kept, found) {
            (Some(kept), Some(found)) if found != kept.client_id => {
                Err(LoginError::OtherClient { expected: kept.client_id.clone(), found })
            }
            (Some(_), _) => Ok(()),
            // The public id is everybody's, so it cannot be the one for this account.
            (None, Some(found))
                if !found.is_empty()
                    && ClientSource::of(scheme) != ClientSource::Published(&found) =>
            {
                self.client = Client::public(found);
                Ok(())
            }
            (None, _) => Err(LoginError::NoIssuedClient),
        }
    }

    fn endpoint(&self) -> Result<TokenEndpoint, LoginError> {
        let places = Places { settings: &self.setup.settings, facts: &self.facts };
        let (scheme, url) = (&self.setup.scheme, self.setup.endpoints.token.as_str());
        let (client, tls) = (self.client.clone(), self.setup.tls.clone());
        Ok(TokenEndpoint::new(scheme, url, client, places, tls)?)
    }

    /// Checks whose tokens they are. Those that are not kept are given back.
    async fn granted(self, issued: Issued) -> Result<Granted, LoginError> {
        let Issued { mut tokens, mut attributes } = issued;
        let claims = match self.claims(&tokens).await {
            Ok(claims) => claims,
            Err(error) => {
                self.give_back(&tokens).await;
                return Err(error);
            }
        };
        for path in &self.setup.scheme.attributes {
            let claim = path.strip_prefix(ID_TOKEN).and_then(|rest| rest.strip_prefix('.'));
            if let Some(text) = claim.and_then(|claim| claims.text(claim)) {
                attributes.insert(path.clone(), text);
            }
        }
        if let Some(subject) = claims.text("sub") {
            tokens.extra.insert(SUBJECT.into(), subject.into());
        }
        client::keep_auth(&mut tokens, &self.client);
        if let Some(url) = &self.setup.endpoints.revocation {
            tokens.revocation_endpoint = url.to_string();
        }
        let account = account(&attributes, &claims);
        Ok(Granted { tokens, attributes, account })
    }

    async fn claims(&self, tokens: &TokenSet) -> Result<Claims, LoginError> {
        if !self.setup.scheme.id_token {
            return Ok(Claims::default());
        }
        let token = tokens.extra.get(ID_TOKEN).ok_or(IdTokenError::Missing)?;
        let endpoint = self.setup.endpoints.jwks.as_ref();
        let endpoint = endpoint.ok_or(DiscoveryError::Missing { what: "key" })?;
        let fetched = self.fetch.get(endpoint).await;
        let keys =
            fetched.and_then(|fetched| fetched.object(endpoint)).map_err(LoginError::Keys)?;
        let check = Check {
            issuer: &self.setup.endpoints.issuer,
            client_id: &self.client.id,
            nonce: self.nonce.as_ref().map(ExposeSecret::expose_secret),
            now_s: local_now_s().saturating_add(tokens.clock_skew_s),
        };
        let claims = id_token::verify(token.expose_secret(), &keys, &check)?;
        let before = self.setup.kept.as_ref().and_then(|kept| kept.subject.as_ref());
        if before.is_some_and(|before| claims.text("sub").as_ref() != Some(before)) {
            return Err(LoginError::OtherAccount { session: self.setup.session.clone() });
        }
        Ok(claims)
    }

    /// Revokes tokens that nobody will use.
    async fn give_back(&self, tokens: &TokenSet) {
        if let Some(endpoint) = &self.setup.endpoints.revocation
            && let Err(error) = revoke::revoke(&self.fetch, endpoint, &self.client, tokens).await
        {
            tracing::warn!(%error, "tokens that are not kept could not be revoked");
        }
    }
}

/// Sorts an answer to a device code.
fn polled(answer: Result<Issued, TokenError>) -> Polled<Issued, LoginError> {
    match answer {
        Ok(issued) => Polled::Done(issued),
        Err(TokenError::Transient { .. } | TokenError::Unknown { .. }) => Polled::Unreachable,
        Err(TokenError::Rejected { ref code, .. }) if code == "authorization_pending" => {
            Polled::Pending
        }
        Err(TokenError::Rejected { ref code, .. }) if code == "slow_down" => Polled::SlowDown,
        Err(TokenError::Rejected { ref code, .. }) if code == "access_denied" => Polled::Denied,
        Err(TokenError::Rejected { ref code, .. }) if code == "expired_token" => Polled::Expired,
        Err(error) => Polled::Failed(error.into()),
    }
}

/// Finds what people call the account: its address first, then a name.
fn account(attributes: &BTreeMap<String, String>, claims: &Claims) -> Option<String> {
    let attribute = |names: &[&str]| {
        let mut found = attributes
            .iter()
            .filter(|(path, _)| names.contains(&path.rsplit('.').next().unwrap_or_default()));
        found.next().map(|(_, value)| value.clone())
    };
    claims
        .text("email")
        .or_else(|| attribute(&["email", "email_address"]))
        .or_else(|| claims.text("preferred_username"))
        .or_else(|| claims.text("name"))
        .or_else(|| attribute(&["login", "username", "display_name", "name"]))
}

/// Returns the account's id, as an earlier login noted it.
pub(crate) fn subject(tokens: &TokenSet) -> Option<String> {
    tokens.extra.get(SUBJECT).map(|subject| subject.expose_secret().to_owned())
}

/// Where a token answer holds the id token, and how attributes name its claims.
const ID_TOKEN: &str = "id_token";
/// Where the verified subject is kept among the tokens.
pub(super) const SUBJECT: &str = "id_token.sub";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_an_account_better_than_a_name() {
        let attributes = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let none = Claims::default();
        let all =
            attributes(&[("organization.name", "Demo"), ("account.email_address", "a@b.test")]);
        assert_eq!(account(&all, &none).as_deref(), Some("a@b.test"));
        let named = attributes(&[("organization.name", "Demo"), ("plan", "plus")]);
        assert_eq!(account(&named, &none).as_deref(), Some("Demo"));
        assert_eq!(account(&attributes(&[("plan", "plus")]), &none), None);
    }

    #[test]
    fn answers_to_a_device_code_are_told_apart() {
        let rejected = |code: &str| {
            let (code, description) = (code.to_owned(), String::new());
            polled(Err(TokenError::Rejected { code, description, permanent: false }))
        };
        assert!(matches!(rejected("authorization_pending"), Polled::Pending));
        assert!(matches!(rejected("slow_down"), Polled::SlowDown));
        assert!(matches!(rejected("access_denied"), Polled::Denied));
        assert!(matches!(rejected("expired_token"), Polled::Expired));
        assert!(matches!(rejected("invalid_client"), Polled::Failed(_)));
        let unknown = TokenError::Unknown { message: "broke".into() };
        assert!(matches!(polled(Err(unknown)), Polled::Unreachable));
    }
}
