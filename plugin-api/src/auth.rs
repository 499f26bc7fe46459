//! How one logs in to a provider, as data. The host runs these flows, so that tokens never enter
//! plugin memory.

use serde::{Deserialize, Serialize};

use crate::manifest::{data, json};

/// A way to log in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "a manifest holds a handful; a box would only hide it"
)]
pub enum AuthScheme {
    /// Nothing is needed.
    None,
    /// A key that the user pastes.
    ApiKey(ApiKeyScheme),
    /// OAuth 2: authorization code with PKCE, or device code.
    #[serde(rename = "oauth")]
    OAuth(OAuthScheme),
    /// OAuth 2 client credentials (RFC 6749 section 4.4).
    ClientCredentials(ClientCredentialsScheme),
    /// A token bought with a signed JWT (RFC 7523).
    JwtBearer(JwtBearerScheme),
    /// Every request is signed by the host over its final bytes.
    Signed(SignedScheme),
    /// A scheme of a newer contract; cannot be used.
    #[serde(other)]
    Unknown,
}

/// Declares an [`AuthScheme`] in a constant.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "lives in a constant")]
pub enum AuthSpec {
    /// Nothing is needed.
    None,
    /// A key that the user pastes.
    ApiKey(ApiKeySpec),
    /// OAuth 2: authorization code with PKCE, or device code.
    OAuth(OAuthSpec),
    /// OAuth 2 client credentials.
    ClientCredentials(ClientCredentialsSpec),
    /// A token bought with a signed JWT.
    JwtBearer(JwtBearerSpec),
    /// Every request is signed by the host over its final bytes.
    Signed(SignedSpec),
}

impl AuthSpec {
    pub(crate) const fn write(&self, to: &mut json::Writer<'_>) {
        to.open(b'{');
        to.key("type");
        match self {
            Self::None => to.text("none"),
            Self::ApiKey(spec) => {
                to.text("api_key");
                spec.write_fields(to);
            }
            Self::OAuth(spec) => {
                to.text("oauth");
                spec.write_fields(to);
            }
            Self::ClientCredentials(spec) => {
                to.text("client_credentials");
                spec.write_fields(to);
            }
            Self::JwtBearer(spec) => {
                to.text("jwt_bearer");
                spec.write_fields(to);
            }
            Self::Signed(spec) => {
                to.text("signed");
                spec.write_fields(to);
            }
        }
        to.close(b'}');
    }
}

data! {
    /// A key that the user pastes.
    pub struct ApiKeyScheme <- ApiKeySpec {
        /// Where it goes.
        placement: one(Placement, PlacementSpec),
        /// Environment variables that may hold it, the first set one counts.
        env: texts,
        /// What a key starts with, for example `sk-`; empty when anything may be a key.
        prefix: text,
        /// Fewest characters of a key.
        min_length: number,
        /// Where the user gets one.
        obtain_url: text,
        /// Whether the provider also works without.
        optional: flag,
    }
}

impl ApiKeySpec {
    /// Makes a key that goes to a place.
    pub const fn new(placement: PlacementSpec) -> Self {
        Self { placement, ..Self::EMPTY }
    }

    /// Makes a key that goes into `Authorization: Bearer …`.
    pub const fn bearer() -> Self {
        Self::new(PlacementSpec::Bearer)
    }
}

/// Where a credential goes in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Placement {
    /// `Authorization: Bearer …`.
    #[default]
    Bearer,
    /// A header.
    Header {
        /// Its name.
        name: String,
        /// What stands before the credential in the value, for example `Token `.
        #[serde(default)]
        prefix: String,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: String,
    },
    /// A place of a newer contract; the host refuses to send.
    #[serde(other)]
    Unknown,
}

impl Placement {
    /// Makes a placement in a header, without a prefix.
    #[must_use]
    pub fn header(name: impl Into<String>) -> Self {
        Self::Header { name: name.into(), prefix: String::new() }
    }
}

/// Declares a [`Placement`] in a constant.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum PlacementSpec {
    /// `Authorization: Bearer …`.
    Bearer,
    /// A header.
    Header {
        /// Its name.
        name: &'static str,
        /// What stands before the credential in the value.
        prefix: &'static str,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: &'static str,
    },
}

impl PlacementSpec {
    pub(crate) const EMPTY: Self = Self::Bearer;

    pub(crate) const fn write(&self, to: &mut json::Writer<'_>) {
        to.open(b'{');
        to.key("in");
        match self {
            Self::Bearer => to.text("bearer"),
            Self::Header { name, prefix } => {
                to.text("header");
                to.key("name");
                to.text(name);
                to.key("prefix");
                to.text(prefix);
            }
            Self::Query { name } => {
                to.text("query");
                to.key("name");
                to.text(name);
            }
        }
        to.close(b'}');
    }
}

data! {
    /// OAuth 2 for people: authorization code with PKCE over a loopback redirect, device code, or
    /// a pasted code.
    pub struct OAuthScheme <- OAuthSpec {
        /// Issuer whose metadata names the endpoints (RFC 8414); empty when they stand below.
        issuer: text,
        /// Authorization endpoint.
        authorization_url: text,
        /// Token endpoint.
        token_url: text,
        /// Device authorization endpoint (RFC 8628).
        device_url: text,
        /// Revocation endpoint (RFC 7009).
        revocation_url: text,
        /// Dynamic registration endpoint (RFC 7591).
        registration_url: text,
        /// Scopes to ask for.
        scopes: texts,
        /// Flows the vendor offers, the usual one first: `loopback`, `device`, `paste`.
        flows: texts,
        /// Where the client id comes from: `configured`, `registered`, or an id that the vendor
        /// publishes for everyone.
        client_id: text,
        /// Whether a client secret must be configured.
        client_secret: flag,
        /// Whether PKCE S256 is left out; only for vendors that refuse it.
        without_pkce: flag,
        /// Path of the loopback redirect; empty means `/callback`.
        redirect_path: text,
        /// Ports that the vendor allows for the loopback redirect; empty means any (RFC 8252).
        redirect_ports: texts,
        /// How the token request is written: `form` or `json`; empty means `form`.
        token_request: text,
        /// Further parameters of the authorization URL, as `name=value`.
        authorization_params: texts,
        /// Further parameters of the token request, as `name=value`.
        token_params: texts,
        /// Fields of the token answer that may be kept as session attributes (account, plan).
        attributes: texts,
        /// Field of the token answer before whose time no refresh is allowed.
        earliest_refresh_field: text,
        /// Longest time between refreshes, in seconds; 0 means only as expiry demands.
        refresh_within_seconds: number,
        /// Where the access token goes.
        placement: one(Placement, PlacementSpec),
    }
}

data! {
    /// OAuth 2 client credentials, for machines.
    pub struct ClientCredentialsScheme <- ClientCredentialsSpec {
        /// Token endpoint; `{name}` stands for a setting.
        token_url: text,
        /// Scopes to ask for.
        scopes: texts,
        /// How the client identifies itself: `basic` or `post`; empty means `basic`.
        client_auth: text,
        /// Further parameters of the token request, as `name=value`.
        token_params: texts,
    }
}

data! {
    /// A token bought with a JWT that the host signs with the user's key (RFC 7523).
    pub struct JwtBearerScheme <- JwtBearerSpec {
        /// Token endpoint.
        token_url: text,
        /// Audience of the JWT; empty means the token endpoint.
        audience: text,
        /// Scopes to ask for.
        scopes: texts,
        /// Signature algorithm, for example `RS256`.
        algorithm: text,
    }
}

data! {
    /// Requests that the host signs over their final bytes.
    pub struct SignedScheme <- SignedSpec {
        /// The algorithm, for example `aws-sigv4`. The host refuses those it does not know.
        algorithm: text,
        /// Parameters of the algorithm, as `name=value`; `{name}` stands for a setting.
        params: texts,
        /// Parts of the credential that the user gives, for example `access_key_id`.
        fields: texts,
        /// Environment variables, in the order of `fields`.
        env: texts,
    }
}

impl OAuthSpec {
    /// Makes a login whose endpoints and scopes follow.
    pub const fn new() -> Self {
        Self::EMPTY
    }
}

impl Default for OAuthSpec {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientCredentialsSpec {
    /// Makes client credentials whose endpoint follows.
    pub const fn new() -> Self {
        Self::EMPTY
    }
}

impl Default for ClientCredentialsSpec {
    fn default() -> Self {
        Self::new()
    }
}

impl JwtBearerSpec {
    /// Makes a JWT grant whose endpoint follows.
    pub const fn new() -> Self {
        Self::EMPTY
    }
}

impl Default for JwtBearerSpec {
    fn default() -> Self {
        Self::new()
    }
}

impl SignedSpec {
    /// Makes a signature whose algorithm follows.
    pub const fn new() -> Self {
        Self::EMPTY
    }
}

impl Default for SignedSpec {
    fn default() -> Self {
        Self::new()
    }
}
