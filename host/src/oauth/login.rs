//! One attempt to log in, from the first URL to verified tokens. Stores nothing.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use plugin_api::auth::OAuthScheme;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    oauth::{
        Places,
        authorize::Authorization,
        callback::{Callback, CallbackError, Expected},
        client::{self, ClientError, ClientSource},
        device::DeviceCode,
        discovery::{DiscoveryError, Endpoints},
        error::LoginError,
        fetch::Fetch,
        given_up::GivenUp,
        loopback::{Browser, Loopback},
        pkce::Pkce,
        redeem::{Granted, Redeem},
        registration, state,
        token::Client,
    },
    transport::{TlsOptions, Transport},
};

/// How the user and the vendor meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flow {
    /// A browser on this machine comes back to a port of this program.
    Loopback,
    /// The user enters a code in a browser anywhere.
    Device,
    /// The user brings the code, or the address of the last page.
    Paste,
}

impl Flow {
    /// Returns the word that manifests and options use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Device => "device",
            Self::Paste => "paste",
        }
    }

    /// Lists what a scheme offers, the usual one first.
    ///
    /// Whoever can be sent to a port of this machine can also bring the address by hand.
    pub(crate) fn offered(scheme: &OAuthScheme) -> Vec<Self> {
        let known = [Self::Loopback, Self::Device, Self::Paste];
        let named = scheme.flows.iter();
        let mut flows: Vec<Self> = named
            .filter_map(|name| known.iter().copied().find(|flow| flow.as_str() == name))
            .collect();
        if scheme.flows.is_empty() {
            flows.push(Self::Loopback);
        }
        if flows.contains(&Self::Loopback) && !flows.contains(&Self::Paste) {
            flows.push(Self::Paste);
        }
        flows
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the user has to do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "flow", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoginPrompt {
    /// Open the URL in a browser on this machine.
    Loopback {
        /// The URL.
        url: String,
        /// Where the browser comes back to.
        redirect_uri: String,
    },
    /// Open the URL in any browser and bring the code back.
    Paste {
        /// The URL.
        url: String,
    },
    /// Enter the code at the address, in any browser.
    Device {
        /// The code.
        user_code: String,
        /// The address.
        verification_uri: String,
        /// The address with the code in it, if the vendor gives one.
        verification_uri_complete: Option<String>,
        /// How many seconds the code is good for.
        expires_in_s: u64,
    },
}

/// What an earlier login left behind that this one must fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// The client id that the vendor issued for the account.
    pub(crate) client_id: String,
    /// The account's id in its id token.
    pub(crate) subject: Option<String>,
}

/// What a login is made with.
pub(crate) struct Setup {
    /// The provider's id, for messages.
    pub(crate) provider: String,
    /// The session's name, for messages.
    pub(crate) session: String,
    /// The scheme.
    pub(crate) scheme: OAuthScheme,
    /// Its endpoints, as the user saw them.
    pub(crate) endpoints: Endpoints,
    /// The user's own client, if there is one.
    pub(crate) configured: Option<Client>,
    /// Where the user makes one.
    pub(crate) made_at: Option<String>,
    /// What an earlier login left behind, for vendors that issue a client id on the way.
    pub(crate) kept: Option<Kept>,
    /// The provider's settings.
    pub(crate) settings: BTreeMap<String, Value>,
    /// What the user was asked for.
    pub(crate) asked: BTreeMap<String, String>,
    /// The installation's id, if the scheme asks for it.
    pub(crate) installation: Option<String>,
    /// How requests go out.
    pub(crate) transport: Arc<Transport>,
    /// The provider's certificates.
    pub(crate) tls: TlsOptions,
}

/// A login that waits for the user.
pub(crate) struct Attempt {
    redeem: Redeem,
    waiting: Waiting,
}

enum Waiting {
    Loopback { listener: Loopback, expected: Expected },
    Paste { expected: Expected, pasted: Option<Callback> },
    Device { code: DeviceCode },
}

impl Attempt {
    /// Begins a login: finds a client, a port and a URL, or a device code.
    pub(crate) async fn begin(
        setup: Setup,
        wanted: Option<Flow>,
    ) -> Result<(Self, LoginPrompt), LoginError> {
        let flow = choose(&setup.scheme, wanted)?;
        let fetch = Fetch::new(Arc::clone(&setup.transport), setup.tls.clone());
        match flow {
            Flow::Device => Self::begin_device(setup, fetch).await,
            Flow::Loopback | Flow::Paste => Self::begin_code(setup, fetch, flow).await,
        }
    }

    async fn begin_code(
        setup: Setup,
        fetch: Fetch,
        flow: Flow,
    ) -> Result<(Self, LoginPrompt), LoginError> {
        let scheme = &setup.scheme;
        let endpoint = setup.endpoints.authorization.clone();
        let endpoint = endpoint.ok_or(DiscoveryError::Missing { what: "authorization" })?;
        let bound =
            Loopback::bind(&scheme.redirect_host, &scheme.redirect_path, &scheme.redirect_ports);
        let listener = bound.await?;
        let redirect_uri = listener.redirect_uri();
        let client = client(&setup, &fetch, Some(&redirect_uri)).await?;
        let pkce = if scheme.without_pkce { None } else { Some(Pkce::random()?) };
        let nonce = if scheme.id_token { Some(state::unguessable()?) } else { None };
        let state = state::unguessable()?;
        let facts = facts(&setup, &redirect_uri, Some(&state), nonce.as_ref());
        let url = Authorization {
            endpoint: &endpoint,
            scheme,
            client_id: &client.id,
            redirect_uri: &redirect_uri,
            state: state.expose_secret(),
            nonce: nonce.as_ref().map(ExposeSecret::expose_secret),
            challenge: pkce.as_ref().map(|pkce| pkce.challenge.as_str()),
            first: setup.kept.is_none(),
        }
        .url(Places { settings: &setup.settings, facts: &facts })
        .to_string();
        let issuer = Some(setup.endpoints.issuer.clone()).filter(|issuer| !issuer.is_empty());
        let expected = Expected { state, issuer, issuer_required: setup.endpoints.names_issuer };
        let (waiting, prompt) = if flow == Flow::Paste {
            // The browser is elsewhere, and finds nothing at the address that it is sent to.
            drop(listener);
            (Waiting::Paste { expected, pasted: None }, LoginPrompt::Paste { url })
        } else {
            let prompt = LoginPrompt::Loopback { url, redirect_uri: redirect_uri.clone() };
            (Waiting::Loopback { listener, expected }, prompt)
        };
        let redeem = Redeem { setup, client, fetch, pkce, nonce, redirect_uri, facts };
        Ok((Self { redeem, waiting }, prompt))
    }

    async fn begin_device(setup: Setup, fetch: Fetch) -> Result<(Self, LoginPrompt), LoginError> {
        let endpoint = setup.endpoints.device.clone();
        let endpoint = endpoint.ok_or(DiscoveryError::Missing { what: "device" })?;
        let client = client(&setup, &fetch, None).await?;
        let scope = setup.scheme.scopes.join(" ");
        let pairs = [("scope", scope.as_str())];
        let pairs = if scope.is_empty() { &[][..] } else { &pairs[..] };
        let fetched = fetch.post_form_as(&endpoint, &client, pairs).await;
        let body = fetched
            .and_then(|fetched| fetched.object(&endpoint))
            .map_err(LoginError::DeviceCode)?;
        let code = DeviceCode::read(&body)?;
        let prompt = LoginPrompt::Device {
            user_code: code.user_code.clone(),
            verification_uri: code.verification_uri.clone(),
            verification_uri_complete: code.verification_uri_complete.clone(),
            expires_in_s: code.expires_in.as_secs(),
        };
        let facts = facts(&setup, "", None, None);
        let (pkce, nonce, redirect_uri) = (None, None, String::new());
        let redeem = Redeem { setup, client, fetch, pkce, nonce, redirect_uri, facts };
        Ok((Self { redeem, waiting: Waiting::Device { code } }, prompt))
    }

    /// Takes what the user pasted. What does not fit can be pasted again.
    pub(crate) fn paste(&mut self, text: &str) -> Result<(), LoginError> {
        let Waiting::Paste { expected, pasted } = &mut self.waiting else {
            return Err(LoginError::NotPasted);
        };
        *pasted = Some(expected.read_pasted(text)?);
        Ok(())
    }

    /// Waits for the user, unless it is given up, and buys the tokens. `refused` hears of answers to other logins.
    ///
    /// The browser, if one came back, still waits to be told how it went.
    pub(crate) async fn finish(
        self,
        patience: Duration,
        given_up: &GivenUp,
        refused: impl Fn(&CallbackError),
    ) -> (Result<Granted, LoginError>, Option<Browser>) {
        let Self { redeem, waiting } = self;
        match waiting {
            Waiting::Device { code } => (redeem.poll(&code, given_up).await, None),
            Waiting::Paste { pasted: None, .. } => (Err(LoginError::NothingPasted), None),
            Waiting::Paste { pasted: Some(callback), .. } => (redeem.code(callback).await, None),
            Waiting::Loopback { listener, expected } => {
                let last = Mutex::new(None);
                let waiting = listener.wait(expected, |error| {
                    refused(error);
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                });
                let answered = match given_up.or(timeout(patience, waiting)).await {
                    Ok(Ok(answered)) => answered,
                    Ok(Err(_elapsed)) => {
                        let refused = last.into_inner().unwrap_or_else(PoisonError::into_inner);
                        return (Err(LoginError::Timeout { patience, refused }), None);
                    }
                    Err(given_up) => return (Err(given_up), None),
                };
                let granted = match answered.callback {
                    Ok(callback) => redeem.code(callback).await,
                    Err(error) => Err(error.into()),
                };
                (granted, Some(answered.browser))
            }
        }
    }
}

fn choose(scheme: &OAuthScheme, wanted: Option<Flow>) -> Result<Flow, LoginError> {
    let offered = Flow::offered(scheme);
    let flow = wanted.or(offered.first().copied()).unwrap_or(Flow::Loopback);
    if offered.contains(&flow) { Ok(flow) } else { Err(LoginError::Flow { flow, offered }) }
}

/// Finds who asks: the id that the vendor issued for this account, the user's own client, one that
/// is registered for this login, or the vendor's public one.
async fn client(
    setup: &Setup,
    fetch: &Fetch,
    redirect_uri: Option<&str>,
) -> Result<Client, LoginError> {
    let auth = client::auth_of(&setup.endpoints.token_auth_methods);
    if let Some(kept) = &setup.kept {
        return Ok(Client::public(&kept.client_id));
    }
    if let Some(configured) = &setup.configured {
        return Ok(Client { auth, ..configured.clone() });
    }
    match ClientSource::of(&setup.scheme) {
        ClientSource::Published(id) => Ok(Client::public(id)),
        ClientSource::Configured => Err(ClientError::NotConfigured {
            provider: setup.provider.clone(),
            with_secret: setup.scheme.client_secret,
            made_at: setup.made_at.clone(),
        }
        .into()),
        ClientSource::Registered => {
            let endpoint = setup.endpoints.registration.as_ref();
            let endpoint = endpoint.ok_or(DiscoveryError::Missing { what: "registration" })?;
            let scopes = &setup.scheme.scopes;
            Ok(registration::register(fetch, endpoint, redirect_uri, scopes).await?)
        }
    }
}

/// Returns what stands for names in the scheme's parameters, beside the settings: what the user was
/// asked for, and what is the host's, which goes first.
fn facts(
    setup: &Setup,
    redirect_uri: &str,
    state: Option<&SecretString>,
    nonce: Option<&SecretString>,
) -> BTreeMap<String, String> {
    let text = |secret: &SecretString| secret.expose_secret().to_owned();
    let facts = [
        ("redirect_uri", (!redirect_uri.is_empty()).then(|| redirect_uri.to_owned())),
        ("state", state.map(text)),
        ("nonce", nonce.map(text)),
        ("installation", setup.installation.clone()),
    ];
    let mut all = setup.asked.clone();
    all.extend(facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    all
}

/// Reports whether the scheme wants to know the installation.
pub(crate) fn wants_installation(scheme: &OAuthScheme) -> bool {
    [&scheme.authorization_params, &scheme.first_params, &scheme.token_params]
        .into_iter()
        .flatten()
        .any(|param| param.contains("{installation}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_usual_flow_goes_first_and_any_loopback_can_be_pasted() {
        let scheme = |flows: Value| -> OAuthScheme {
            serde_json::from_value(json!({ "flows": flows })).unwrap()
        };
        assert_eq!(Flow::offered(&scheme(json!([]))), [Flow::Loopback, Flow::Paste]);
        let both = scheme(json!(["device", "loopback", "telepathy"]));
        assert_eq!(Flow::offered(&both), [Flow::Device, Flow::Loopback, Flow::Paste]);
        assert_eq!(choose(&both, None).unwrap(), Flow::Device);
        let device = scheme(json!(["device"]));
        let error = choose(&device, Some(Flow::Paste)).unwrap_err();
        assert_eq!(error.to_string(), "this login does not work with `--paste`");
        assert_eq!(error.hint("acme").unwrap(), "it offers `device`");
    }
}
