//! Dynamic registration (RFC 7591): the server makes a client for this login.

use serde_json::{Value, json};
use url::Url;

use crate::oauth::{
    fetch::{Fetch, FetchError},
    token::{Client, ClientAuth},
};

/// Why no client was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The server refused or was not there.
    #[error("the server registered no client")]
    Fetch(#[from] FetchError),
    /// It answered without an id.
    #[error("the server's registration holds no `client_id`")]
    NoId,
}

/// Registers a client that may do what a login needs.
pub(crate) async fn register(
    fetch: &Fetch,
    endpoint: &Url,
    redirect_uri: Option<&str>,
    scopes: &[String],
) -> Result<Client, RegistrationError> {
    let fetched = fetch.post_json(endpoint, &document(redirect_uri, scopes)).await?;
    read(&fetched.object(endpoint)?)
}

fn document(redirect_uri: Option<&str>, scopes: &[String]) -> Value {
    let grant = match redirect_uri {
        Some(_) => "authorization_code",
        None => "urn:ietf:params:oauth:grant-type:device_code",
    };
    let mut document = json!({
        "client_name": "Maestro",
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "grant_types": [grant, "refresh_token"],
        "response_types": redirect_uri.iter().map(|_| "code").collect::<Vec<_>>(),
        "redirect_uris": redirect_uri.iter().collect::<Vec<_>>(),
    });
    if !scopes.is_empty() {
        document["scope"] = scopes.join(" ").into();
    }
    document
}

fn read(body: &Value) -> Result<Client, RegistrationError> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    let id = text("client_id").ok_or(RegistrationError::NoId)?;
    let method = text("token_endpoint_auth_method").unwrap_or("none");
    // A server may insist on a secret, although none was asked for.
    let secret = text("client_secret").filter(|_| method != "none");
    Ok(Client {
        id: id.to_owned(),
        secret: secret.map(Into::into),
        secret_issued: secret.is_some(),
        auth: match method {
            "client_secret_basic" => ClientAuth::Basic,
            _ => ClientAuth::Post,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_asks_for_what_the_login_needs() {
        let scopes = ["openid".to_owned(), "chat".to_owned()];
        let browser = document(Some("http://127.0.0.1:1/callback"), &scopes);
        assert_eq!(browser["redirect_uris"], json!(["http://127.0.0.1:1/callback"]));
        assert_eq!(browser["grant_types"], json!(["authorization_code", "refresh_token"]));
        assert_eq!(browser["scope"], "openid chat");
        let device = document(None, &[]);
        assert_eq!(device["redirect_uris"], json!([]));
        assert_eq!(device["response_types"], json!([]));
        assert!(device.get("scope").is_none());
    }

    #[test]
    fn the_client_is_what_the_server_made_of_it() {
        let client = read(&json!({ "client_id": "c-1", "client_secret": "unasked" })).ok().unwrap();
        assert!(client.secret.is_none() && !client.secret_issued);
        let client = read(&json!({
            "client_id": "c-1", "client_secret": "s",
            "token_endpoint_auth_method": "client_secret_basic",
        }));
        let client = client.ok().unwrap();
        assert!(client.secret_issued && client.auth == ClientAuth::Basic);
        assert!(matches!(read(&json!({ "client_id": "" })), Err(RegistrationError::NoId)));
    }
}
