//! Named sessions: login, list, rename, default, approve, test, delete.

use std::{collections::BTreeMap, sync::Arc};

use plugin_api::{
    ProviderId,
    capability::Capability,
    operation::{Account, KeyShape, ListModels, Operation, Reply},
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    Call, Deleted, Error, Maestro, NewLogin, PruneCandidate, SessionView,
    choice::{self, Chosen},
    counted, now_s, stamp,
};
use crate::{
    config::DeclaredSession,
    exchange::ExchangeError,
    oauth::{
        self, Places, client,
        fetch::Fetch,
        revoke::{self, RevokeError},
    },
    plugin::provider::Provider,
    session::{
        AuthType, Binding, BindingChange, Credential, Login, Renewal, SessionError, SessionFilter,
        SessionInfo, SessionSelector, SessionStatus, Sessions, StoreError, TokenSet,
    },
};

/// Seconds of a day.
const DAY_S: i64 = 86_400;

impl Maestro {
    /// Stores a login, sealed and bound to the plugin and the origins of now. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] when it cannot be a key of this provider, and what the store says: a
    /// session of that name is there already, and so on.
    pub async fn create_session(&self, login: NewLogin) -> Result<SessionView, Error> {
        self.login_plan(login.provider.as_str())?;
        let provider = &self.ready_provider(login.provider.as_str())?;
        let asks = provider.api_key().map(|scheme| scheme.asks.as_slice()).unwrap_or_default();
        let facts = super::login::facts(asks, &login.facts)
            .map_err(|source| Error::Login { provider: provider.id.clone(), source })?;
        let key = self.checked_key(provider, &login.key).await?;
        let login = Login {
            provider: provider.id.clone(),
            name: login.name,
            credential: Credential::api_key(key, provider.binding().clone()).with_attributes(facts),
            account: login.account,
            replace: login.replace,
            make_default: false,
        };
        let sessions = self.sessions().await?;
        let info = sessions.blocking(move |sessions| sessions.create(&login, &stamp())).await?;
        Ok(info.into())
    }

    /// Checks a key's shape: by the manifest's data, then by the plugin, which sees no key.
    pub(super) async fn checked_key(
        &self,
        provider: &Arc<Provider>,
        key: &SecretString,
    ) -> Result<SecretString, Error> {
        let scheme = provider.api_key();
        let invalid = |problem: String| Error::InvalidKey {
            provider: provider.id.clone(),
            problem,
            obtain_url: scheme.map(|s| s.obtain_url.clone()).filter(|url| !url.is_empty()),
        };
        let key = key.expose_secret().trim();
        let (prefix, min_length) =
            scheme.map_or(("", 0), |scheme| (scheme.prefix.as_str(), scheme.min_length));
        if key.is_empty() {
            return Err(invalid("it is empty".into()));
        }
        if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(invalid("it holds white space or control characters".into()));
        }
        if !key.starts_with(prefix) {
            return Err(invalid(format!("expected it to start with `{prefix}`")));
        }
        let found = key.chars().count() as u64;
        if found < min_length {
            let problem = format!("expected at least {min_length} characters, found {found}");
            return Err(invalid(problem));
        }
        if provider.can(Capability::ApiKey) {
            let operation = Operation::ValidateApiKey(KeyShape::of(key, prefix));
            match self.run_as(provider, &Chosen::nobody(), &Call::default(), operation).await {
                Err(Error::Exchange(ExchangeError::Provider { source, .. })) => {
                    return Err(invalid(source.message));
                }
                other => other.map(drop)?,
            };
        }
        Ok(key.into())
    }

    /// Lists sessions: stored ones, then declared ones, then keys in the environment.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn list_sessions(&self, provider: Option<&str>) -> Result<Vec<SessionView>, Error> {
        let wanted = |id: &ProviderId| provider.is_none_or(|wanted| id.as_str() == wanted);
        let mut listed = Vec::new();
        if let Some(sessions) = self.existing_sessions().await? {
            let stored = sessions.blocking(|s| s.list(&SessionFilter::default())).await?;
            let stored = stored.into_iter().filter(|info| wanted(&info.provider));
            listed.extend(stored.map(SessionView::from));
        }
        for (name, declared) in &self.config().sessions {
            if wanted(&declared.provider) {
                listed.push(declared_view(name, declared));
            }
        }
        for provider in self.registry().providers().filter(|provider| wanted(&provider.id)) {
            if let Some((name, _)) = choice::env_key(provider) {
                listed.push(env_view(&provider.id, &name));
            }
        }
        Ok(listed)
    }

    /// Finds the session that serves where none is named; `None` where none is there. The order is that of
    /// a request's choice, but of the list alone: nothing is unsealed, renewed or run.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoDefault`] where several are there and none is the default, and what the store says.
    pub async fn usual_session(&self, provider: &ProviderId) -> Result<Option<SessionView>, Error> {
        let listed = self.list_sessions(Some(provider.as_str())).await?;
        let said = self.inner.env_session.as_deref();
        if let Some(name) = said.and_then(|text| choice::env_choice(text, provider)) {
            let selector =
                if name.contains(':') { name.to_owned() } else { format!("{provider}:{name}") };
            return self.session(&selector).await.map(Some);
        }
        // What is stored comes before what is declared, and both before the environment.
        let rank = |view: &SessionView| match view.source {
            "stored" => 0,
            _ if view.selector.starts_with("env:") => 2,
            _ => 1,
        };
        let Some(least) = listed.iter().map(rank).min() else { return Ok(None) };
        let mut first: Vec<_> = listed.into_iter().filter(|view| rank(view) == least).collect();
        if let Some(at) =
            first.iter().position(|view| view.is_default).or((first.len() == 1).then_some(0))
        {
            return Ok(Some(first.swap_remove(at)));
        }
        let candidates = first.into_iter().map(|view| view.selector).collect();
        Err(SessionError::NoDefault { provider: provider.clone(), candidates }.into())
    }

    /// Describes one session.
    ///
    /// # Errors
    ///
    /// Unknown or ambiguous selectors.
    pub async fn session(&self, selector: &str) -> Result<SessionView, Error> {
        if let Some(view) = self.declared(selector) {
            return Ok(view);
        }
        if let Some((provider, variable, _)) = self.env_session(selector) {
            return Ok(env_view(&provider.id, &variable));
        }
        Ok(self.stored_session(selector).await?.into())
    }

    /// Gives a session another name.
    ///
    /// # Errors
    ///
    /// Unknown or ambiguous selectors, a name that is taken.
    pub async fn rename_session(
        &self,
        selector: &str,
        name: crate::session::SessionName,
    ) -> Result<SessionView, Error> {
        let info = self.stored_session(selector).await?;
        let sessions = self.sessions().await?;
        let renamed = sessions.blocking(move |s| s.rename(&info.id, &name, &stamp())).await;
        renamed.map(SessionView::from).map_err(|error| match error {
            SessionError::Store(StoreError::DuplicateSession { provider, auth_type, name }) => {
                Error::NameTaken { session: format!("{provider}:{name}@{auth_type}") }
            }
            other => other.into(),
        })
    }

    /// Makes a session its provider's default.
    ///
    /// # Errors
    ///
    /// Unknown or ambiguous selectors.
    pub async fn set_default_session(&self, selector: &str) -> Result<SessionView, Error> {
        let info = self.stored_session(selector).await?;
        let id = info.id.clone();
        self.sessions().await?.blocking(move |s| s.set_default(&id, &stamp())).await?;
        Ok(SessionInfo { is_default: true, ..info }.into())
    }

    /// Removes a session. Its tokens are revoked first, as well as the vendor lets us.
    ///
    /// # Errors
    ///
    /// Unknown or ambiguous selectors.
    pub async fn delete_session(&self, selector: &str) -> Result<SessionView, Error> {
        let deleted = self.remove_session(selector, true).await?;
        if let Some(why) = deleted.not_revoked {
            tracing::warn!(session = deleted.session.selector, why, "tokens were not revoked");
        }
        Ok(deleted.session)
    }

    /// Removes a session, and says whether the vendor was told. Without `revoke` it is not asked;
    /// what it says changes nothing here.
    ///
    /// # Errors
    ///
    /// Unknown or ambiguous selectors.
    pub async fn remove_session(&self, selector: &str, revoke: bool) -> Result<Deleted, Error> {
        let info = self.stored_session(selector).await?;
        let not_revoked = match info.auth_type {
            AuthType::OAuth if revoke => self.revoke_session(&info).await.err(),
            _ => None,
        };
        let id = info.id.clone();
        self.sessions().await?.blocking(move |s| s.delete(&id, &stamp())).await?;
        let not_revoked = not_revoked.map(|error| super::one_line(&error));
        Ok(Deleted { session: info.into(), not_revoked })
    }

    async fn revoke_session(&self, info: &SessionInfo) -> Result<(), RevokeError> {
        let id = info.id.clone();
        let sessions = self.sessions().await.map_err(|_| RevokeError::Unreadable)?;
        let open = sessions.blocking(move |sessions| sessions.open_id(&id)).await;
        let credential = open.map_err(|_| RevokeError::Unreadable)?.credential;
        match credential.tokens() {
            Some(tokens) => self.revoke(&info.provider, tokens, &credential.binding).await,
            // Nothing of it is ours to revoke.
            None => Ok(()),
        }
    }

    /// Tells the vendor that tokens are no longer wanted. Works without the plugin too.
    pub(super) async fn revoke(
        &self,
        provider: &ProviderId,
        tokens: &TokenSet,
        binding: &Binding,
    ) -> Result<(), RevokeError> {
        let registry = self.registry();
        let known = registry.provider(provider.as_str());
        let scheme = known.and_then(|known| oauth::scheme_of(known, &tokens.scheme));
        let facts = BTreeMap::new();
        let declared = known.zip(scheme).and_then(|(known, scheme)| {
            Places { settings: &known.settings, facts: &facts }.fill(&scheme.revocation_url)
        });
        let endpoint = Some(tokens.revocation_endpoint.clone()).filter(|url| !url.is_empty());
        let endpoint = endpoint.or(declared).filter(|url| !url.is_empty());
        let endpoint = endpoint.ok_or(RevokeError::NotOffered)?;
        let url = Url::parse(&endpoint).map_err(|_| RevokeError::NotOffered)?;
        if !binding.allows(binding.plugin(), &url) {
            let origin = url.origin().ascii_serialization();
            return Err(RevokeError::NotApproved { origin });
        }
        let config = self.config();
        let config = config.providers.get(provider);
        let config = config.and_then(|config| config.oauth.as_ref());
        let client = client::of_tokens(provider.as_str(), scheme, tokens, config)?;
        let tls = known.map(|known| known.route.tls.clone()).unwrap_or_default();
        let fetch = Fetch::new(Arc::clone(&self.inner.transport), tls);
        revoke::revoke(&fetch, &url, &client, tokens).await
    }

    /// Says what approving a session would change; `None` when there is nothing to approve.
    ///
    /// # Errors
    ///
    /// Unknown or ambiguous selectors.
    pub async fn pending_approval(&self, selector: &str) -> Result<Option<BindingChange>, Error> {
        let info = self.stored_session(selector).await?;
        let provider = &self.ready_provider(info.provider.as_str())?;
        let sessions = self.sessions().await?;
        let open = sessions.blocking(move |s| s.open_id(&info.id)).await?;
        Ok(open.credential.binding.change_to(&wanted_binding(provider, &open.credential)))
    }

    /// Binds a session to the plugin and the origins that its provider has now.
    ///
    /// # Errors
    ///
    /// Unknown or ambiguous selectors.
    pub async fn approve_session(&self, selector: &str) -> Result<SessionView, Error> {
        let info = self.stored_session(selector).await?;
        let provider = &self.ready_provider(info.provider.as_str())?;
        let sessions = self.sessions().await?;
        let id = info.id.clone();
        let open = sessions.blocking(move |s| s.open_id(&id)).await?;
        let binding = wanted_binding(provider, &open.credential);
        let approved = sessions.blocking(move |s| s.approve(&info.id, &binding, &stamp())).await?;
        Ok(approved.into())
    }

    /// Lists sessions that are of no use: neither made nor used for some days, with tokens that ended
    /// that long ago, or refused by the vendor until somebody logs in again.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn prune_candidates(&self, idle_days: u32) -> Result<Vec<PruneCandidate>, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(Vec::new()) };
        let now_s = now_s();
        let since = now_s - i64::from(idle_days) * DAY_S;
        let found = sessions.blocking(move |s| s.prune_candidates(since)).await?;
        Ok(found.into_iter().map(|info| PruneCandidate::of(info, since, now_s)).collect())
    }

    /// Makes a cheap authenticated call and says whose account it is.
    ///
    /// Providers without a test of their own are asked for their models.
    ///
    /// # Errors
    ///
    /// What the provider says; of kind authentication when it does not accept the key.
    pub async fn test_session(&self, selector: &str) -> Result<Account, Error> {
        if let Some((provider, variable, key)) = self.env_session(selector) {
            let provider = &self.ready_provider(provider.id.as_str())?;
            let key = self.checked_key(provider, &key).await?;
            let chosen = Chosen::with_key(provider, format!("env:{variable}"), key);
            return self.test(provider, &chosen).await;
        }
        let view = self.session(selector).await?;
        let provider = &self.ready_provider(view.provider.as_str())?;
        let chosen = self.choose(provider, Some(&view.selector)).await?;
        self.test(provider, &chosen).await
    }

    /// Tries a key without storing it, and says whose account it is.
    ///
    /// # Errors
    ///
    /// As [`Maestro::create_session`] for a key that cannot be one, and as
    /// [`Maestro::test_session`].
    pub async fn try_key(&self, provider: &str, key: &SecretString) -> Result<Account, Error> {
        self.login_plan(provider)?;
        let provider = &self.ready_provider(provider)?;
        let key = self.checked_key(provider, key).await?;
        self.test(provider, &Chosen::with_key(provider, "the new key".into(), key)).await
    }

    async fn test(&self, provider: &Arc<Provider>, chosen: &Chosen) -> Result<Account, Error> {
        let operation = if provider.can(Capability::ApiKey) {
            Operation::TestConnection
        } else if provider.can(Capability::Models) {
            Operation::ListModels(ListModels::default())
        } else {
            let what = "a connection test".into();
            return Err(Error::NotSupported { provider: provider.id.clone(), what });
        };
        match self.run_as(provider, chosen, &Call::default(), operation).await?.value {
            Reply::Account(account) => Ok(account),
            _ => Ok(Account::default()),
        }
    }

    pub(super) async fn stored_session(&self, text: &str) -> Result<SessionInfo, Error> {
        if let Some(view) = self.declared(text) {
            return Err(Error::DeclaredElsewhere { session: view.selector });
        }
        if let Some((provider, variable, _)) = self.env_session(text) {
            return Err(Error::InEnvironment { provider: provider.id.clone(), variable });
        }
        let named = self.with_name(text, None).await?;
        let text = named.as_deref().unwrap_or(text);
        let parsed = text.parse::<SessionSelector>();
        let selector =
            parsed.map_err(|source| Error::SessionName { session: text.to_owned(), source })?;
        let Some(sessions) = self.existing_sessions().await? else {
            let (selector, known) = (selector.to_string(), Vec::new());
            return Err(SessionError::Unknown { selector, known }.into());
        };
        Ok(sessions.blocking(move |sessions| sessions.find(&selector)).await?)
    }

    /// Finds the provider whose key is in the variable that a selector `env:NAME` names.
    fn env_session(&self, text: &str) -> Option<(Arc<Provider>, String, SecretString)> {
        let wanted = text.strip_prefix("env:")?;
        self.registry().providers().find_map(|provider| {
            let (variable, key) = choice::env_key(provider)?;
            (variable == wanted).then(|| (Arc::clone(provider), variable, key))
        })
    }

    fn declared(&self, text: &str) -> Option<SessionView> {
        let selector = text.parse::<SessionSelector>().ok()?;
        let config = self.config();
        let declared = config.sessions.get(selector.name.as_str())?;
        let fits = selector.provider.is_none_or(|provider| provider == declared.provider);
        fits.then(|| declared_view(selector.name.as_str(), declared))
    }

    /// Notes how a request with a stored session went.
    pub(super) fn note(sessions: &Sessions, chosen: &Chosen, error: Option<&Error>) {
        let Some(session) = &chosen.stored else { return };
        let rejected = matches!(error, Some(Error::Exchange(error)) if error.is_authentication());
        let noted = if rejected {
            let text = error.map(|error| super::one_line(error)).unwrap_or_default();
            sessions.fail(&session.info, SessionStatus::NeedsReauth, &text, &stamp())
        } else if error.is_none()
            && session.info.status == SessionStatus::NeedsReauth
            // An access token that still works says nothing about a refresh token that does not.
            && session.credential.tokens().is_none_or(|t| t.renewal == Renewal::default())
        {
            // The vendor takes the credential again, so it was the vendor's mistake.
            sessions.reseal(&session.info, &session.credential, &stamp()).map(drop)
        } else {
            sessions.touch(session, &stamp())
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "the use of a session was not recorded");
        }
    }
}

/// Returns what a session would be bound to if it were approved now: the plugin, the API's origins, and
/// for tokens also the origins where they are renewed and revoked.
fn wanted_binding(provider: &Provider, credential: &Credential) -> Binding {
    let api = provider.binding().clone();
    let Some(tokens) = credential.tokens() else { return api };
    let facts = BTreeMap::new();
    let places = Places { settings: &provider.settings, facts: &facts };
    let scheme = oauth::scheme_of(provider, &tokens.scheme);
    let url = |kept: &str, declared: Option<&String>| {
        let declared = || declared.and_then(|url| places.fill(url));
        Some(kept.to_owned()).filter(|kept| !kept.is_empty()).or_else(declared)
    };
    // Where only an issuer is declared, its metadata names the endpoint, as a rule at the same origin.
    let token_url = scheme.map(|s| if s.token_url.is_empty() { &s.issuer } else { &s.token_url });
    let urls = [
        url(&tokens.token_endpoint, token_url),
        url(&tokens.revocation_endpoint, scheme.map(|scheme| &scheme.revocation_url)),
    ];
    let login = urls.into_iter().flatten().filter_map(|url| Url::parse(&url).ok());
    let login = login.map(|url| url.origin().ascii_serialization());
    let origins = api.origins().iter().cloned().chain(login);
    Binding::new(provider.plugin.id.clone(), origins).unwrap_or(api)
}

impl PruneCandidate {
    fn of(info: SessionInfo, since: i64, now_s: i64) -> Self {
        let days = |at: i64| {
            let days = usize::try_from((now_s - at) / DAY_S).unwrap_or(0);
            counted(days, "day")
        };
        let used = info.last_used_at.unwrap_or(info.created_at).max(info.created_at);
        let reason = match info.expires_at {
            _ if info.status == SessionStatus::NeedsReauth => "needs a new login".to_owned(),
            _ if used < since => format!("idle for {}", days(used)),
            Some(at) => format!("expired {} ago", days(at)),
            None => "idle".to_owned(),
        };
        Self { session: info.into(), reason }
    }
}

fn declared_view(name: &str, declared: &DeclaredSession) -> SessionView {
    let source = match declared {
        DeclaredSession { env: Some(_), .. } => "env",
        DeclaredSession { file: Some(_), .. } => "file",
        _ => "command",
    };
    let selector = format!("{}:{name}", declared.provider);
    outside_view(&declared.provider, name, selector, source)
}

fn env_view(provider: &ProviderId, variable: &str) -> SessionView {
    outside_view(provider, variable, format!("env:{variable}"), "env")
}

fn outside_view(
    provider: &ProviderId,
    name: &str,
    selector: String,
    source: &'static str,
) -> SessionView {
    SessionView {
        selector,
        provider: provider.clone(),
        name: name.to_owned(),
        auth_type: AuthType::ApiKey,
        status: SessionStatus::Ready,
        is_default: false,
        source,
        account: None,
        expires_at: None,
        created_at: None,
        last_used_at: None,
        last_error: None,
    }
}
