//! Who asks for tokens: the client that the user configured, that the vendor publishes, or that was
//! issued on the way and is kept with the session.

use plugin_api::auth::OAuthScheme;

use crate::{
    config::OAuthConfig,
    oauth::token::{Client, ClientAuth},
    session::TokenSet,
};

/// Where a scheme's client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientSource<'a> {
    /// The user makes one at the vendor and configures it.
    Configured,
    /// The server registers one for this login.
    Registered,
    /// The vendor publishes one for everybody.
    Published(&'a str),
}

impl<'a> ClientSource<'a> {
    /// Reads what the scheme says.
    pub(crate) fn of(scheme: &'a OAuthScheme) -> Self {
        match scheme.client_id.as_str() {
            "" | "configured" => Self::Configured,
            "registered" => Self::Registered,
            id => Self::Published(id),
        }
    }
}

/// Why there is no client to ask with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The vendor wants the user's own client, and none is configured.
    #[error("provider `{provider}` needs an OAuth client of your own, and none is configured")]
    NotConfigured {
        /// The provider.
        provider: String,
        /// Whether the vendor wants its secret too.
        with_secret: bool,
        /// Where the client is made.
        made_at: Option<String>,
    },
    /// The client is configured without the secret that the vendor wants.
    #[error("the OAuth client of provider `{provider}` needs its secret, and none is configured")]
    NoSecret {
        /// The provider.
        provider: String,
    },
    /// The secret is not where the configuration says.
    #[error("`[providers.{provider}.oauth]`: {problem}")]
    Secret {
        /// The provider.
        provider: String,
        /// What is wrong.
        problem: String,
    },
}

impl ClientError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotConfigured { provider, with_secret, made_at } => {
                let made_at = made_at.as_deref().unwrap_or("the vendor's console");
                let secret = if *with_secret { "client_secret_file = \"…\"\n" } else { "" };
                format!(
                    "make a client of type desktop (or native) at {made_at}, then add to the file \
                     that `maestro config path` names:\n\n[providers.{provider}.oauth]\n\
                     client_id = \"…\"\n{secret}"
                )
            }
            Self::NoSecret { provider } => format!(
                "add `client_secret_file = \"…\"` (or `client_secret_env`, \
                 `client_secret_command`, `client_secret`) to `[providers.{provider}.oauth]`"
            ),
            Self::Secret { .. } => "correct it in the file that `maestro config path` names".into(),
        }
    }
}

/// Returns the client that the user configured, if there is one.
pub(crate) fn configured(
    provider: &str,
    scheme: &OAuthScheme,
    config: Option<&OAuthConfig>,
) -> Result<Option<Client>, ClientError> {
    let Some(config) = config else { return Ok(None) };
    let secret = config.secret().map_err(|problem| {
        let provider = provider.to_owned();
        ClientError::Secret { provider, problem }
    })?;
    if secret.is_none() && scheme.client_secret {
        return Err(ClientError::NoSecret { provider: provider.to_owned() });
    }
    let id = config.client_id.trim().to_owned();
    Ok(Some(Client { secret, ..Client::public(id) }))
}

/// Returns the client that tokens were issued to, to renew or revoke them.
///
/// The id is the session's. A secret is the session's if a registration issued it, else the
/// configured one of that very client. The scheme is `None` when its plugin is gone.
pub(crate) fn of_tokens(
    provider: &str,
    scheme: Option<&OAuthScheme>,
    tokens: &TokenSet,
    config: Option<&OAuthConfig>,
) -> Result<Client, ClientError> {
    let auth = kept_auth(tokens);
    let secret_of = |config: &OAuthConfig| {
        config.secret().map_err(|problem| {
            let provider = provider.to_owned();
            ClientError::Secret { provider, problem }
        })
    };
    if !tokens.client_id.is_empty() {
        let issued = tokens.client_secret.clone();
        let secret_issued = issued.is_some();
        let own = config.filter(|config| config.client_id.trim() == tokens.client_id);
        let secret = match (issued, own) {
            (Some(issued), _) => Some(issued),
            (None, Some(own)) => secret_of(own)?,
            (None, None) => None,
        };
        return Ok(Client { id: tokens.client_id.clone(), secret, secret_issued, auth });
    }
    if let Some(config) = config {
        let (id, secret) = (config.client_id.trim().to_owned(), secret_of(config)?);
        return Ok(Client { secret, auth, ..Client::public(id) });
    }
    match scheme.map(ClientSource::of) {
        Some(ClientSource::Published(id)) => Ok(Client::public(id)),
        _ => Err(ClientError::NotConfigured {
            provider: provider.to_owned(),
            with_secret: scheme.is_some_and(|scheme| scheme.client_secret),
            made_at: None,
        }),
    }
}

/// Chooses how a secret is shown, of what the server's metadata allows.
pub(crate) fn auth_of(methods: &[String]) -> ClientAuth {
    let has = |name: &str| methods.iter().any(|method| method == name);
    if has("client_secret_basic") && !has("client_secret_post") {
        ClientAuth::Basic
    } else {
        ClientAuth::Post
    }
}

/// Notes with the tokens how their client shows its secret, where it is not the usual way.
pub(crate) fn keep_auth(tokens: &mut TokenSet, client: &Client) {
    if client.secret.is_some() && client.auth == ClientAuth::Basic {
        tokens.extra.insert(AUTH_FIELD.into(), BASIC.into());
    }
}

fn kept_auth(tokens: &TokenSet) -> ClientAuth {
    use secrecy::ExposeSecret as _;

    match tokens.extra.get(AUTH_FIELD) {
        Some(method) if method.expose_secret() == BASIC => ClientAuth::Basic,
        _ => ClientAuth::Post,
    }
}

/// Its name in RFC 7591.
pub(super) const AUTH_FIELD: &str = "token_endpoint_auth_method";
const BASIC: &str = "client_secret_basic";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    fn scheme(json: serde_json::Value) -> OAuthScheme {
        serde_json::from_value(json).unwrap()
    }

    fn config(toml: &str) -> OAuthConfig {
        let text = format!("[providers.acme.oauth]\n{toml}");
        let mut config = Config::parse(&text, Path::new("c.toml")).unwrap();
        config.providers.pop_first().unwrap().1.oauth.unwrap()
    }

    #[test]
    fn the_configured_client_needs_the_secret_that_the_vendor_wants() {
        let wants = scheme(json!({ "client_secret": true }));
        assert!(configured("acme", &wants, None).ok().unwrap().is_none());
        let bare = config("client_id = \"me\"");
        let error = configured("acme", &wants, Some(&bare)).map(drop).unwrap_err();
        assert!(error.hint().contains("`client_secret_file = \"…\"`"), "{}", error.hint());
        assert!(configured("acme", &scheme(json!({})), Some(&bare)).is_ok());
        let broken = config("client_id = \"me\"\nclient_secret_file = \"/nowhere/s\"");
        let error = configured("acme", &wants, Some(&broken)).map(drop).unwrap_err();
        assert!(error.to_string().starts_with("`[providers.acme.oauth]`: failed to read"));
        let error = ClientError::NotConfigured {
            provider: "acme".into(),
            with_secret: true,
            made_at: Some("https://acme.test/clients".into()),
        };
        assert!(error.hint().contains("at https://acme.test/clients, then add"));
        assert!(
            error.hint().ends_with(
                "[providers.acme.oauth]\nclient_id = \"…\"\nclient_secret_file = \"…\"\n"
            )
        );
    }

    #[test]
    fn tokens_are_renewed_by_the_client_they_were_issued_to() {
        let own = config("client_id = \"me\"\nclient_secret = \"mine\"");
        let any = scheme(json!({}));
        let shown = |tokens: &TokenSet| {
            let client = of_tokens("acme", Some(&any), tokens, Some(&own)).ok().unwrap();
            let secret = client.secret.map(|secret| secret.expose_secret().to_owned());
            (client.id, secret, client.secret_issued)
        };
        let tokens = |id: &str| TokenSet { client_id: id.into(), ..TokenSet::default() };
        assert_eq!(shown(&tokens("")), ("me".into(), Some("mine".into()), false));
        assert_eq!(shown(&tokens("me")), ("me".into(), Some("mine".into()), false));
        // Another client's secret is nobody's business.
        assert_eq!(shown(&tokens("issued")), ("issued".into(), None, false));
        let issued = TokenSet { client_secret: Some("theirs".into()), ..tokens("issued") };
        assert_eq!(shown(&issued), ("issued".into(), Some("theirs".into()), true));
        assert!(of_tokens("acme", Some(&any), &tokens(""), None).is_err());
        let published = scheme(json!({ "client_id": "everyone" }));
        let client = of_tokens("acme", Some(&published), &tokens(""), None).ok().unwrap();
        assert_eq!(client.id, "everyone");
    }

    #[test]
    fn a_secret_is_shown_as_the_server_allows_and_so_again() {
        let methods = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(auth_of(&[]), ClientAuth::Post);
        assert_eq!(auth_of(&methods(&["client_secret_basic"])), ClientAuth::Basic);
        let both = methods(&["client_secret_basic", "client_secret_post"]);
        assert_eq!(auth_of(&both), ClientAuth::Post);
        let mut tokens = TokenSet { client_id: "me".into(), ..TokenSet::default() };
        let mut client = Client { secret: Some("s".into()), ..Client::public("me") };
        keep_auth(&mut tokens, &client);
        assert_eq!(kept_auth(&tokens), ClientAuth::Post);
        client.auth = ClientAuth::Basic;
        keep_auth(&mut tokens, &client);
        assert_eq!(kept_auth(&tokens), ClientAuth::Basic);
    }
}
