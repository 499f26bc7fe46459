//! Tokens that work: renewed before they end, when a provider refuses them, or when the user asks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use plugin_api::auth::OAuthScheme;

use super::{Error, Maestro, SessionView, login::INSTALLATION};
use crate::{
    oauth::{
        self,
        login::wants_installation,
        refresh::{RefreshError, Source},
    },
    plugin::provider::Provider,
    session::OpenSession,
};

impl Maestro {
    /// Renews a session's tokens now, whether or not they still work.
    ///
    /// Callers at the same time, also in other processes, share one renewal.
    ///
    /// # Errors
    ///
    /// [`Error::Renewal`]; [`Error::NotSupported`] for a session that holds a key.
    pub async fn refresh_tokens(&self, selector: &str) -> Result<SessionView, Error> {
        let view = self.session(selector).await?;
        let lacks = || {
            let session = &view.selector;
            let what = format!("token refresh for session `{session}`, which holds an API key");
            Error::NotSupported { provider: view.provider.clone(), what }
        };
        if view.source != "stored" {
            return Err(lacks());
        }
        let info = self.stored_session(selector).await?;
        let provider = &self.ready_provider(info.provider.as_str())?;
        let open = self.sessions().await?.blocking(move |s| s.open_id(&info.id)).await?;
        let Some(scheme) = scheme(provider, &open) else { return Err(lacks()) };
        self.approved(provider, &open).await?;
        let source = self.source(provider, scheme);
        let sessions = self.sessions().await?;
        let renewed = self.inner.refresher.other(sessions, &open, true, source).await;
        let renewed = renewed.map_err(|source| renewal(provider, &open, source))?;
        Ok(renewed.info.clone().into())
    }

    /// Waits until no renewal of tokens is under way, at most for `patience`; reports whether none is.
    ///
    /// Call before the program ends, unless the runtime waits for its threads without bound: an answer
    /// with new tokens that nobody reads is a login lost, because the old ones are used up. Blocks.
    #[must_use]
    pub fn wait_for_renewals(&self, patience: Duration) -> bool {
        self.inner.refresher.settle(patience)
    }

    /// Returns a session whose secret works, as far as its expiry says.
    pub(super) async fn fresh(
        &self,
        provider: &Provider,
        session: Arc<OpenSession>,
    ) -> Result<Arc<OpenSession>, Error> {
        let Some(scheme) = scheme(provider, &session) else { return Ok(session) };
        let (sessions, refresher) = (self.sessions().await?, &self.inner.refresher);
        let source = || self.source(provider, scheme);
        let fresh = refresher.usable(sessions, Arc::clone(&session), scheme, source).await;
        fresh.map_err(|source| renewal(provider, &session, source))
    }

    /// Returns a session that the provider refused with other tokens; `None` when there are no others
    /// to be had, so that the provider's word stands.
    pub(super) async fn other_tokens(
        &self,
        provider: &Provider,
        session: &OpenSession,
    ) -> Result<Option<Arc<OpenSession>>, Error> {
        let Some(scheme) = scheme(provider, session) else { return Ok(None) };
        let (sessions, source) = (self.sessions().await?, self.source(provider, scheme));
        match self.inner.refresher.other(sessions, session, false, source).await {
            Ok(other) => Ok(Some(other)),
            Err(RefreshError::NoRefreshToken | RefreshError::TooEarly { .. }) => Ok(None),
            Err(source) => Err(renewal(provider, session, source)),
        }
    }

    fn source(&self, provider: &Provider, scheme: &OAuthScheme) -> Source {
        let config = self.config();
        let config = config.providers.get(&provider.id);
        let installation = || {
            let sessions = self.inner.sessions.get()?;
            sessions.store().setting(INSTALLATION).ok().flatten()
        };
        let mut facts = BTreeMap::new();
        if let Some(id) = wants_installation(scheme).then(installation).flatten() {
            facts.insert("installation".to_owned(), id);
        }
        Source {
            provider: provider.id.clone(),
            plugin: provider.plugin.id.clone(),
            scheme: scheme.clone(),
            settings: provider.settings.clone(),
            facts,
            client: config.and_then(|config| config.oauth.clone()),
            tls: provider.route.tls.clone(),
        }
    }
}

/// Returns the scheme of a session that holds tokens.
fn scheme<'a>(provider: &'a Provider, session: &OpenSession) -> Option<&'a OAuthScheme> {
    let tokens = session.credential.tokens()?;
    oauth::scheme_of(provider, &tokens.scheme)
}

fn renewal(provider: &Provider, session: &OpenSession, source: RefreshError) -> Error {
    let (provider, session) = (provider.id.clone(), session.info.name.clone());
    Error::Renewal { provider, session, source }
}
