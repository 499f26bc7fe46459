//! How one logs in to a provider, as data. The host runs these flows, so that tokens never enter
//! plugin memory.

use serde::{Deserialize, Serialize};

use crate::{
    capability::{Capability, Feature},
    manifest::{data, json},
};

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

/// What a scheme may need that this contract knows; contract 1.0 has nothing to name yet.
pub const KNOWN_NEEDS: &[&str] = &[];

/// Applies an expression to whatever scheme it is; `None` for those without fields.
macro_rules! of_any {
    ($auth:expr, $scheme:ident => $of:expr) => {
        match $auth {
            AuthScheme::ApiKey($scheme) => Some($of),
            AuthScheme::OAuth($scheme) => Some($of),
            AuthScheme::ClientCredentials($scheme) => Some($of),
            AuthScheme::JwtBearer($scheme) => Some($of),
            AuthScheme::Signed($scheme) => Some($of),
            AuthScheme::None | AuthScheme::Unknown => None,
        }
    };
}

impl AuthScheme {
    /// Returns the scheme's type as the manifest spells it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ApiKey(_) => "api_key",
            Self::OAuth(_) => "oauth",
            Self::ClientCredentials(_) => "client_credentials",
            Self::JwtBearer(_) => "jwt_bearer",
            Self::Signed(_) => "signed",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the scheme's id: its own, or its type.
    #[must_use]
    pub fn id(&self) -> &str {
        let id = of_any!(self, scheme => scheme.id.as_str());
        id.filter(|id| !id.is_empty()).unwrap_or(self.kind())
    }

    /// Returns the scheme's name for people; empty when it has none.
    #[must_use]
    pub fn display_name(&self) -> &str {
        of_any!(self, scheme => scheme.display_name.as_str()).unwrap_or_default()
    }

    /// Returns the facts that the user gives for each session.
    #[must_use]
    pub fn asks(&self) -> &[Ask] {
        of_any!(self, scheme => scheme.asks.as_slice()).unwrap_or_default()
    }

    /// Returns the behaviours that are missing under this login.
    #[must_use]
    pub fn without(&self) -> &[Capability] {
        of_any!(self, scheme => &*scheme.without).unwrap_or_default()
    }

    /// Returns the chat features that are missing under this login.
    #[must_use]
    pub fn without_features(&self) -> &[Feature] {
        of_any!(self, scheme => &*scheme.without_features).unwrap_or_default()
    }

    /// Returns the native dialects that are missing under this login.
    #[must_use]
    pub fn without_dialects(&self) -> &[String] {
        of_any!(self, scheme => &*scheme.without_dialects).unwrap_or_default()
    }

    /// Returns what the scheme needs and this contract does not know; such a scheme is refused.
    #[must_use]
    pub fn unknown_need(&self) -> Option<&str> {
        let needs = of_any!(self, scheme => scheme.needs.as_slice()).unwrap_or_default();
        needs.iter().map(String::as_str).find(|need| !KNOWN_NEEDS.contains(need))
    }
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

/// Declares a scheme: the fields that every scheme has, then its own.
macro_rules! scheme {
    ($(#[$doc:meta])* pub struct $owned:ident <- $spec:ident { $($fields:tt)* }) => {
        data! {
            $(#[$doc])*
            pub struct $owned <- $spec {
                /// Its id, unique in its provider; a session keeps it. Empty means the scheme's type.
                id: text,
                /// Its name for people, for example `ChatGPT plan`.
                display_name: text,
                /// What a host must know to use it, beyond contract 1.0. A host refuses a scheme that
                /// needs what it does not know.
                needs: texts,
                /// Facts that the user gives once for each session, kept as its attributes.
                asks: list(Ask, AskSpec),
                /// Behaviours that are missing under this login.
                without: names(Capability),
                /// Chat features that are missing under this login.
                without_features: names(Feature),
                /// Native dialects that are missing under this login.
                without_dialects: texts,
                $($fields)*
            }
        }
    };
}

data! {
    /// A fact that the user gives for a session, for example a project. Never a secret.
    pub struct Ask <- AskSpec {
        /// Its name among the session's attributes.
        name: text,
        /// What it is and where to find it.
        help: text,
        /// Environment variables that may hold it, the first set one counts.
        env: texts,
        /// Whether the login also works without.
        optional: flag,
    }
}

impl AskSpec {
    /// Asks for a fact.
    pub const fn new(name: &'static str) -> Self {
        Self { name, ..Self::EMPTY }
    }
}

scheme! {
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

scheme! {
    /// OAuth 2 for people: authorization code with PKCE over a loopback redirect, device code, or
    /// a pasted code.
    ///
    /// In parameters, `{state}`, `{nonce}`, `{redirect_uri}` and `{installation}` (a random id that the
    /// host made once and keeps) stand for what the host fills in; `{name}` of a setting stands for the
    /// setting. Nothing else is replaced, and nothing in what a server sent.
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
        /// Whether the vendor's answer to the redirect carries a `client_id` that replaces this one,
        /// in the session and in every later request.
        client_id_from_callback: flag,
        /// Host of the loopback redirect: `127.0.0.1` or `localhost`; empty means `127.0.0.1`.
        redirect_host: text,
        /// Path of the loopback redirect; empty means `/callback`.
        redirect_path: text,
        /// Ports that the vendor allows for the loopback redirect; empty means any (RFC 8252).
        redirect_ports: texts,
        /// How the token request is written: `form` or `json`; empty means `form`.
        token_request: text,
        /// How the refresh request is written; empty means like the token request.
        refresh_request: text,
        /// Further headers of token and refresh requests, as `name: value`.
        token_headers: texts,
        /// Further parameters of the authorization URL, as `name=value`.
        authorization_params: texts,
        /// Parameters of the authorization URL at the first login only, before the vendor gave this
        /// installation a client id of its own.
        first_params: texts,
        /// Further parameters of the token request, as `name=value`.
        token_params: texts,
        /// Fields of the token answer that are kept as session attributes (account, plan): names of
        /// object fields, joined by periods (`organization.uuid`). The attribute is named like the path.
        attributes: texts,
        /// Scopes without which a login is refused, whatever else the user left out.
        required_scopes: texts,
        /// Whether the token answer holds an OpenID Connect id token to verify; `attributes` may then
        /// name its claims, as `id_token.email`.
        id_token: flag,
        /// Where the keys of id tokens are; empty means that the issuer's metadata says.
        jwks_url: text,
        /// Error codes of a refresh after which only a new login helps, beside `invalid_grant`.
        login_again_codes: texts,
        /// Field of the token answer before whose time no refresh is allowed.
        earliest_refresh_field: text,
        /// Longest time between refreshes, in seconds; 0 means only as expiry demands.
        refresh_within_seconds: number,
        /// Where the access token goes.
        placement: one(Placement, PlacementSpec),
        /// Tools of the vendor whose logins may be used in place.
        profiles: list(ProfileFiles, ProfileFilesSpec),
    }
}

data! {
    /// Where a tool of the vendor keeps its logins, one file each.
    ///
    /// The host reads the access token there each time it is used. It never writes there and never renews
    /// the token: that is the tool's, which would be logged out.
    pub struct ProfileFiles <- ProfileFilesSpec {
        /// The tool as people call it.
        tool: text,
        /// Environment variable that names its folder.
        folder_env: text,
        /// Its folder otherwise; `~/` at the start stands for the user's home.
        folder: text,
        /// The file of a login, in that folder; `{profile}` stands for its name.
        credentials: text,
        /// Field of that file with the access token; names of object fields, joined by periods.
        token_field: text,
        /// Field with the token's end: Unix seconds or milliseconds, or an RFC 3339 time.
        expiry_field: text,
        /// Environment variable that names the profile in use.
        profile_env: text,
        /// File in that folder whose text is the name of the profile in use.
        active_file: text,
        /// The command that logs in again; `{profile}` stands for the name.
        login_command: text,
    }
}

impl ProfileFilesSpec {
    /// Describes a tool's files; the rest follows.
    pub const fn new(tool: &'static str, folder: &'static str, credentials: &'static str) -> Self {
        Self { tool, folder, credentials, ..Self::EMPTY }
    }
}

scheme! {
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

scheme! {
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

scheme! {
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
