//! Logins: what a provider offers, what one would store, and the two steps of an OAuth login.
//!
//! `oauth_plan` finds out where everything is and shows it; `begin_login` gives a URL or a device
//! code; `complete_login` waits for the user and stores the session. Nothing here needs a terminal.

mod view;

use std::{collections::BTreeMap, fmt, sync::Arc};

use plugin_api::{
    ProviderId,
    auth::{Ask, AuthScheme, OAuthScheme},
};
use serde::Serialize;

pub use self::view::{AskInfo, LoggedIn, LoginMethod, LoginRequest};
use super::{Error, LoginPlan, Maestro, stamp};
use crate::{
    oauth::{
        self, Places,
        callback::CallbackError,
        client,
        discovery::{self, Endpoints},
        error::LoginError,
        fetch::Fetch,
        given_up::GivenUp,
        login::{self, Attempt, Flow, Kept, LoginPrompt, Setup},
        page::Page,
        redeem, state,
    },
    plugin::provider::Provider,
    session::{
        AuthType, Binding, Credential, Login, SessionError, SessionFilter, SessionInfo,
        SessionName, StoreError,
    },
    suggest::nearest,
    transport::Origin,
};

/// What an OAuth login would do, to be shown before anything is stored.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OAuthPlan {
    /// The provider.
    pub provider: ProviderId,
    /// Its name for people.
    pub display_name: String,
    /// The plugin whose requests will carry the tokens.
    pub plugin: String,
    /// The scheme's id.
    pub scheme: String,
    /// Its name for people; empty when it has none.
    pub scheme_name: String,
    /// Flows that are offered, the usual one first.
    pub flows: Vec<Flow>,
    /// Where the access token may be sent.
    pub origins: Vec<String>,
    /// Where the user logs in.
    pub authorization_origin: Option<String>,
    /// Where tokens are bought and renewed.
    pub token_origin: String,
    /// Where they are revoked.
    pub revocation_origin: Option<String>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Facts that the login asks for.
    pub asks: Vec<AskInfo>,
    #[serde(skip)]
    endpoints: Endpoints,
}

/// A login that waits for the user. Dropping it ends the attempt; nothing is stored then.
pub struct PendingLogin {
    attempt: Attempt,
    prompt: LoginPrompt,
    provider: Arc<Provider>,
    request: LoginRequest,
    binding: Binding,
    refused: Box<dyn Fn(&CallbackError) + Send + Sync>,
    given_up: GivenUp,
}

impl fmt::Debug for PendingLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLogin").field("provider", &self.provider.id).finish_non_exhaustive()
    }
}

impl PendingLogin {
    /// Returns what the user has to do.
    #[must_use]
    pub fn prompt(&self) -> &LoginPrompt {
        &self.prompt
    }

    /// Hands in what the user pasted: the code, `code#state`, or the address of the last page. What
    /// does not fit can be pasted again.
    ///
    /// # Errors
    ///
    /// [`Error::Login`].
    pub fn paste(&mut self, text: &str) -> Result<(), Error> {
        let provider = self.provider.id.clone();
        self.attempt.paste(text).map_err(|source| Error::Login { provider, source })
    }

    /// Returns what ends the login from elsewhere, as long as its user has not come back.
    #[must_use]
    pub fn given_up(&self) -> GivenUp {
        self.given_up.clone()
    }

    /// Hears of answers that came and are not for this login, while it goes on waiting.
    #[must_use]
    pub fn on_refused(mut self, hear: impl Fn(&CallbackError) + Send + Sync + 'static) -> Self {
        self.refused = Box::new(hear);
        self
    }
}

impl Maestro {
    /// Lists the ways to log in to a provider, in the order of its manifest.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownProvider`], [`Error::NotReady`].
    pub fn login_methods(&self, provider: &str) -> Result<Vec<LoginMethod>, Error> {
        let provider = &self.ready_provider(provider)?;
        let usable = provider.manifest.auth.iter().filter(|auth| auth.unknown_need().is_none());
        let method = |auth: &AuthScheme| {
            let word = match auth {
                AuthScheme::ApiKey(_) if provider.placement.is_some() => "api-key",
                AuthScheme::OAuth(_) => "oauth",
                _ => return None,
            };
            let (scheme, display_name) = (auth.id().to_owned(), auth.display_name().to_owned());
            Some(LoginMethod { auth: word, scheme, display_name })
        };
        Ok(usable.filter_map(method).collect())
    }

    /// Says what a login with a key would store and where the key may go, before anything is asked.
    ///
    /// # Errors
    ///
    /// [`Error::NotSupported`] when the provider takes no key.
    pub fn login_plan(&self, provider: &str) -> Result<LoginPlan, Error> {
        let provider = &self.ready_provider(provider)?;
        let (Some(scheme), Some(_)) = (provider.api_key(), &provider.placement) else {
            let what = "a login with an API key".into();
            return Err(Error::NotSupported { provider: provider.id.clone(), what });
        };
        Ok(LoginPlan {
            provider: provider.id.clone(),
            display_name: display_name(provider),
            plugin: provider.plugin.id.to_string(),
            origins: provider.route.origins.iter().map(ToString::to_string).collect(),
            env: provider.key_env.clone(),
            prefix: scheme.prefix.clone(),
            obtain_url: (!scheme.obtain_url.is_empty()).then(|| scheme.obtain_url.clone()),
            key_optional: scheme.optional,
            asks: scheme.asks.iter().map(AskInfo::of).collect(),
        })
    }

    /// Says what an OAuth login would do and which origins it would have to do with. Asks the
    /// issuer for its metadata, where the manifest leaves endpoints out; stores nothing.
    ///
    /// `scheme` is the id of a scheme; `None` means the first.
    ///
    /// # Errors
    ///
    /// [`Error::NotSupported`] when the provider has no such scheme, [`Error::Login`] when its
    /// endpoints cannot be had or are not safe.
    pub async fn oauth_plan(
        &self,
        provider: &str,
        scheme: Option<&str>,
    ) -> Result<OAuthPlan, Error> {
        let provider = &self.ready_provider(provider)?;
        let found = oauth_scheme(provider, scheme)?;
        let fetch = Fetch::new(Arc::clone(&self.inner.transport), provider.route.tls.clone());
        let facts = BTreeMap::new();
        let places = Places { settings: &provider.settings, facts: &facts };
        let endpoints =
            discovery::find(found, places, &fetch).await.map_err(|error| fail(provider, error))?;
        let origin = |url: &url::Url| url.origin().ascii_serialization();
        Ok(OAuthPlan {
            provider: provider.id.clone(),
            display_name: display_name(provider),
            plugin: provider.plugin.id.to_string(),
            scheme: oauth::scheme_id(found).to_owned(),
            scheme_name: found.display_name.clone(),
            flows: Flow::offered(found),
            origins: provider.route.origins.iter().map(ToString::to_string).collect(),
            authorization_origin: endpoints.authorization.as_ref().map(origin),
            token_origin: origin(&endpoints.token),
            revocation_origin: endpoints.revocation.as_ref().map(origin),
            scopes: found.scopes.clone(),
            asks: found.asks.iter().map(AskInfo::of).collect(),
            endpoints,
        })
    }

    /// Begins a login as planned: with a URL for the browser, or a device code.
    ///
    /// # Errors
    ///
    /// [`Error::Login`], and what the store says when the name is taken.
    pub async fn begin_login(
        &self,
        plan: &OAuthPlan,
        mut request: LoginRequest,
    ) -> Result<PendingLogin, Error> {
        let provider = self.ready_provider(plan.provider.as_str())?;
        let scheme = oauth_scheme(&provider, Some(&plan.scheme))?.clone();
        let existing = self.oauth_session(&provider.id, &request.name).await?;
        if existing.is_some() && !request.replace {
            // Asking the user first and refusing then would waste a login.
            return Err(Error::Session(SessionError::Store(StoreError::DuplicateSession {
                provider: provider.id.to_string(),
                auth_type: AuthType::OAuth,
                name: request.name.clone(),
            })));
        }
        request.facts = facts(&scheme.asks, &request.facts).map_err(|e| fail(&provider, e))?;
        let configured = self.oauth_client(&provider, &scheme)?;
        let kept = match existing {
            Some(existing) if scheme.client_id_from_callback => self.kept(&existing).await?,
            _ => None,
        };
        let installation = if login::wants_installation(&scheme) {
            Some(self.installation().await?)
        } else {
            None
        };
        let docs_url = Some(provider.manifest.docs_url.clone()).filter(|url| !url.is_empty());
        let setup = Setup {
            provider: provider.id.to_string(),
            session: request.name.to_string(),
            scheme,
            endpoints: plan.endpoints.clone(),
            configured,
            made_at: docs_url,
            kept,
            settings: provider.settings.clone(),
            asked: request.facts.clone(),
            installation,
            transport: Arc::clone(&self.inner.transport),
            tls: provider.route.tls.clone(),
        };
        let begun = Attempt::begin(setup, request.flow).await;
        let (attempt, prompt) = begun.map_err(|error| fail(&provider, error))?;
        let binding = binding(&provider, &plan.endpoints);
        let refused = Box::new(|_: &CallbackError| ());
        let given_up = GivenUp::default();
        Ok(PendingLogin { attempt, prompt, provider, request, binding, refused, given_up })
    }

    /// Waits for the user, buys the tokens, checks them and stores the session.
    ///
    /// [`PendingLogin::given_up`] ends the attempt and loses nothing. Dropping the future does so too,
    /// and may drop tokens that were just bought. Tokens that cannot be stored are revoked.
    ///
    /// # Errors
    ///
    /// [`Error::Login`], and what the store says.
    pub async fn complete_login(&self, login: PendingLogin) -> Result<LoggedIn, Error> {
        let PendingLogin { attempt, provider, request, binding, refused, given_up, .. } = login;
        let (granted, browser) = attempt.finish(request.patience, &given_up, refused).await;
        let stored = match granted {
            Ok(granted) => self.store_login(&provider, &request, binding, granted).await,
            Err(error) => Err(fail(&provider, error)),
        };
        if let Some(browser) = browser {
            browser.show(&page(&stored)).await;
        }
        stored
    }

    async fn store_login(
        &self,
        provider: &Provider,
        request: &LoginRequest,
        binding: Binding,
        granted: redeem::Granted,
    ) -> Result<LoggedIn, Error> {
        let redeem::Granted { tokens, mut attributes, account } = granted;
        attributes.extend(request.facts.clone());
        let scopes = tokens.scopes.clone();
        let spare = tokens.clone();
        let login = Login {
            provider: provider.id.clone(),
            name: request.name.clone(),
            credential: Credential::oauth(tokens, binding.clone())
                .with_attributes(attributes.clone()),
            account,
            replace: request.replace,
            make_default: false,
        };
        let stored = async {
            let sessions = self.sessions().await?;
            let create =
                move |sessions: &crate::session::Sessions| sessions.create(&login, &stamp());
            Ok::<_, Error>(sessions.blocking(create).await?)
        };
        match stored.await {
            Ok(info) => Ok(LoggedIn { session: info.into(), attributes, scopes }),
            Err(error) => {
                if let Err(error) = self.revoke(&provider.id, &spare, &binding).await {
                    tracing::warn!(%error, "tokens that were not stored could not be revoked");
                }
                Err(error)
            }
        }
    }

    /// Finds the OAuth session of a name, if there is one.
    async fn oauth_session(
        &self,
        provider: &ProviderId,
        name: &SessionName,
    ) -> Result<Option<SessionInfo>, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(None) };
        let filter = SessionFilter {
            provider: Some(provider.clone()),
            auth_type: Some(AuthType::OAuth),
            name: Some(name.clone()),
        };
        Ok(sessions.blocking(move |sessions| sessions.list(&filter)).await?.pop())
    }

    /// Reads what an earlier login left behind. One that cannot be read leaves nothing: the login is
    /// then like the first one, which is the remedy.
    async fn kept(&self, info: &SessionInfo) -> Result<Option<Kept>, Error> {
        let id = info.id.clone();
        let open = self.sessions().await?.blocking(move |sessions| sessions.open_id(&id)).await;
        let tokens = open.ok();
        let tokens = tokens.as_ref().and_then(|open| open.credential.tokens());
        let tokens = tokens.filter(|tokens| !tokens.client_id.is_empty());
        Ok(tokens.map(|tokens| Kept {
            client_id: tokens.client_id.clone(),
            subject: redeem::subject(tokens),
        }))
    }

    /// Returns the client that the user configured for a scheme.
    fn oauth_client(
        &self,
        provider: &Provider,
        scheme: &OAuthScheme,
    ) -> Result<Option<oauth::token::Client>, Error> {
        let config = self.config();
        let config = config.providers.get(&provider.id);
        let config = config.and_then(|config| config.oauth.as_ref());
        client::configured(provider.id.as_str(), scheme, config).map_err(|e| fail(provider, e))
    }

    /// Returns this installation's id, made once.
    async fn installation(&self) -> Result<String, Error> {
        let sessions = self.sessions().await?;
        let id = sessions.blocking(|sessions| {
            if let Some(id) = sessions.store().setting(INSTALLATION)? {
                return Ok(id);
            }
            Ok(sessions.store().setting_or_insert(INSTALLATION, &state::installation()?)?)
        });
        Ok(id.await?)
    }
}

fn display_name(provider: &Provider) -> String {
    let name = &provider.manifest.display_name;
    if name.is_empty() { provider.id.to_string() } else { name.clone() }
}

/// Finds the scheme of an id, or the first; `oauth` means the first too.
fn oauth_scheme<'a>(provider: &'a Provider, id: Option<&str>) -> Result<&'a OAuthScheme, Error> {
    let exact = id.and_then(|id| oauth::scheme_of(provider, id));
    let first = || oauth::scheme_of(provider, "").filter(|_| id.is_none_or(|id| id == "oauth"));
    exact.or_else(first).ok_or_else(|| {
        let provider = provider.id.clone();
        Error::NotSupported { provider, what: "a login with OAuth".into() }
    })
}

fn fail(provider: &Provider, error: impl Into<LoginError>) -> Error {
    Error::Login { provider: provider.id.clone(), source: error.into() }
}

/// Collects the facts of a login: given ones, then those of the environment.
pub(super) fn facts(
    asks: &[Ask],
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, LoginError> {
    for (name, value) in given {
        if !asks.iter().any(|ask| ask.name == *name) {
            let names = asks.iter().map(|ask| ask.name.as_str());
            let hint = match nearest(name, names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if asks.is_empty() => "it asks for nothing".into(),
                None => format!("it asks for: {}", names.collect::<Vec<_>>().join(", ")),
            };
            return Err(LoginError::UnknownFact { name: name.clone(), hint });
        }
        if value.trim().is_empty() || value.chars().any(char::is_control) {
            return Err(LoginError::WrongFact { name: name.clone() });
        }
    }
    let mut facts = BTreeMap::new();
    for ask in asks {
        let value = given.get(&ask.name).map(|value| value.trim().to_owned());
        match value.or_else(|| AskInfo::of(ask).from_env()) {
            Some(value) => {
                facts.insert(ask.name.clone(), value);
            }
            None if ask.optional => {}
            None => {
                let (name, help, env) = (ask.name.clone(), ask.help.clone(), ask.env.clone());
                return Err(LoginError::MissingFact { name, help, env });
            }
        }
    }
    Ok(facts)
}

/// Binds a login to what the user was shown: the plugin, and the origins of API, tokens and
/// revocation.
fn binding(provider: &Provider, endpoints: &Endpoints) -> Binding {
    let api = provider.route.origins.iter().cloned();
    let urls = [Some(&endpoints.token), endpoints.revocation.as_ref()];
    let login = urls.into_iter().flatten().filter_map(|url| Origin::of(url).ok());
    let origins = api.chain(login).map(|origin| origin.to_string());
    Binding::new(provider.plugin.id.clone(), origins).expect("our origins are origins")
}

fn page(result: &Result<LoggedIn, Error>) -> Page {
    match result {
        Ok(done) => Page::done(&done.session.selector, done.session.account.as_deref()),
        Err(Error::Login { source, .. }) => Page::failed(&source.to_string()),
        Err(error) => Page::failed(&error.to_string()),
    }
}

/// Where the installation's id is kept.
pub(super) const INSTALLATION: &str = "installation_id";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_are_asked_for_and_nothing_else_is_taken() {
        let asks: Vec<Ask> = serde_json::from_value(json!([
            { "name": "project", "help": "the project's id", "env": ["MAESTRO_TEST_NO_SUCH"] },
            { "name": "region", "optional": true },
        ]))
        .unwrap();
        let given = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let found = facts(&asks, &given(&[("project", " p-1 ")])).unwrap();
        assert_eq!(found, given(&[("project", "p-1")]));
        for (pairs, message, hint) in [
            (
                &[][..],
                "the login needs `project`: the project's id",
                "add `--set project=…`, or set `MAESTRO_TEST_NO_SUCH`",
            ),
            (
                &[("projct", "p")][..],
                "the login does not ask for `projct`",
                "did you mean `project`?",
            ),
            (
                &[("project", "a\nb")][..],
                "`project` is empty or holds control characters",
                "give it again: `--set project=…`",
            ),
        ] {
            let error = facts(&asks, &given(pairs)).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(error.hint("acme").as_deref(), Some(hint));
            assert_eq!(error.exit_code(), 2);
        }
    }
}
