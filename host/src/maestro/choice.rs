//! Which session serves a request.
//!
//! The model ref's > the caller's > `MAESTRO_SESSION` > the provider's default > the only one > a key in
//! the environment. A session that the configuration declares counts like a stored one of that name.

use std::sync::Arc;

use plugin_api::{
    ProviderId,
    auth::AuthScheme,
    instance::{AuthKind, SessionInfo as PluginSession},
};
use secrecy::SecretString;

use super::{Error, Maestro, import::profile_token, stamp};
use crate::{
    oauth,
    plugin::provider::Provider,
    session::{
        AuthType, BindingChange, OpenSession, Secret, SessionError, SessionName, SessionSelector,
        SessionStatus, binding::UNBOUND,
    },
    transport::{CredentialUse, Keys},
};

/// The session that serves a request.
#[derive(Clone)]
pub(super) struct Chosen {
    /// Its selector, for people; `None` when the provider needs none.
    pub(super) selector: Option<String>,
    /// What the plugin may know.
    pub(super) info: PluginSession,
    /// What the transport puts into requests.
    pub(super) credential: Option<Arc<CredentialUse>>,
    /// The stored session, for bookkeeping.
    pub(super) stored: Option<Arc<OpenSession>>,
}

/// A session's name as a caller gives it: `NAME` or `NAME@AUTH`, perhaps with the provider.
#[derive(Clone, Debug)]
struct Wanted {
    name: SessionName,
    auth_type: Option<AuthType>,
}

impl Maestro {
    /// Chooses the session for a provider. `asked` is the model ref's or the caller's.
    pub(super) async fn choose(
        &self,
        provider: &Provider,
        asked: Option<&str>,
    ) -> Result<Chosen, Error> {
        let takes_keys = provider.api_key().is_some() && provider.placement.is_some();
        let takes_logins = takes_keys || oauth::scheme_of(provider, "").is_some();
        if !takes_logins && provider.works_without_session() {
            return match asked {
                None => Ok(Chosen::nobody()),
                Some(_) => Err(Error::NotSupported {
                    provider: provider.id.clone(),
                    what: "sessions; it needs none".into(),
                }),
            };
        }
        let named = match asked.or(self.env_choice(provider)) {
            Some(text) => self.with_name(text, Some(&provider.id)).await?,
            None => None,
        };
        let config = self.config();
        let wanted = self.wanted(provider, named.as_deref().or(asked))?;
        if let Some(wanted) = &wanted
            && let Some(declared) = config.sessions.get(wanted.name.as_str())
            && declared.provider == provider.id
        {
            return self.declared_session(provider, wanted.name.as_str(), declared).await;
        }
        if let Some(sessions) = self.existing_sessions().await? {
            let name = wanted.as_ref().map(|wanted| &wanted.name);
            let auth_type = wanted.as_ref().and_then(|wanted| wanted.auth_type);
            // Nearly always; and a detour over another thread takes longer than all else here.
            if let Some(session) = sessions.remembered(&provider.id, name, auth_type)? {
                return self.stored(provider, session).await;
            }
            let (id, question) = (provider.id.clone(), wanted.clone());
            let resolved = sessions
                .blocking(move |sessions| {
                    let name = question.as_ref().map(|wanted| &wanted.name);
                    let auth_type = question.as_ref().and_then(|wanted| wanted.auth_type);
                    sessions.resolve(&id, name, auth_type)
                })
                .await;
            match resolved {
                Ok(session) => return self.stored(provider, session).await,
                // There may be a declared one, or a key in the environment.
                Err(SessionError::None { .. }) => {}
                Err(error) => return Err(self.or_elsewhere(provider, wanted, error.into()).await),
            }
        }
        if let Some(wanted) = wanted {
            let error = self.no_such_session(provider, &wanted);
            return Err(self.or_elsewhere(provider, Some(wanted), error).await);
        }
        let declared = config.sessions.iter();
        let declared: Vec<_> =
            declared.filter(|(_, declared)| declared.provider == provider.id).collect();
        match declared.as_slice() {
            [] => {}
            [(name, only)] => return self.declared_session(provider, name, only).await,
            several => {
                let selector = |(name, _): &(&String, _)| format!("{}:{name}", provider.id);
                let candidates = several.iter().map(selector).collect();
                let provider = provider.id.clone();
                return Err(SessionError::NoDefault { provider, candidates }.into());
            }
        }
        if let Some((name, secret)) = env_key(provider) {
            return Ok(Chosen::with_key(provider, format!("env:{name}"), secret));
        }
        if provider.works_without_session() {
            return Ok(Chosen::nobody());
        }
        let env = provider.key_env.clone();
        Err(Error::NoSession { provider: provider.id.clone(), env })
    }

    /// Returns what `MAESTRO_SESSION` says for a provider.
    fn env_choice(&self, provider: &Provider) -> Option<&str> {
        self.inner.env_session.as_deref().and_then(|text| env_choice(text, &provider.id))
    }

    fn wanted(&self, provider: &Provider, asked: Option<&str>) -> Result<Option<Wanted>, Error> {
        let Some(text) = asked.or(self.env_choice(provider)) else { return Ok(None) };
        let parsed = text.parse::<SessionSelector>();
        let selector =
            parsed.map_err(|source| Error::SessionName { session: text.to_owned(), source })?;
        if let Some(other) = selector.provider.filter(|other| *other != provider.id) {
            return Err(SessionError::Unknown {
                selector: format!("{}:{}", provider.id, selector.name),
                known: vec![format!("{other}:{}", selector.name)],
            }
            .into());
        }
        Ok(Some(Wanted { name: selector.name, auth_type: selector.auth_type }))
    }

    /// Says better than `error` that a session is there, but at another provider.
    async fn or_elsewhere(
        &self,
        provider: &Provider,
        wanted: Option<Wanted>,
        error: Error,
    ) -> Error {
        let (Error::Session(SessionError::Unknown { .. }), Some(wanted)) = (&error, wanted) else {
            return error;
        };
        let Ok(listed) = self.list_sessions(None).await else { return error };
        match listed.into_iter().find(|session| session.name == wanted.name.as_str()) {
            Some(found) => Error::SessionElsewhere {
                session: found.name,
                provider: provider.id.clone(),
                other: found.provider,
            },
            None => error,
        }
    }

    fn no_such_session(&self, provider: &Provider, wanted: &Wanted) -> Error {
        let config = self.config();
        let declared = config.sessions.iter();
        let known = declared
            .filter(|(_, declared)| declared.provider == provider.id)
            .map(|(name, _)| format!("{}:{name}", provider.id))
            .collect();
        SessionError::Unknown { selector: format!("{}:{}", provider.id, wanted.name), known }.into()
    }

    /// Takes a stored session, with tokens that work, unless its plugin or origins are not what the
    /// user approved.
    async fn stored(
        &self,
        provider: &Provider,
        session: Arc<OpenSession>,
    ) -> Result<Chosen, Error> {
        self.approved(provider, &session).await?;
        Chosen::stored(provider, self.fresh(provider, session).await?)
    }

    /// Refuses a session whose plugin or origins are not what the user approved.
    pub(super) async fn approved(
        &self,
        provider: &Provider,
        session: &OpenSession,
    ) -> Result<(), Error> {
        if let Some(change) = session.credential.binding.change_to(provider.binding()) {
            let (info, change) = (session.info.clone(), describe(&change));
            if session.info.status == SessionStatus::Ready {
                let text = change.clone();
                let sessions = self.sessions().await?;
                sessions
                    .blocking(move |sessions| {
                        sessions.fail(&info, SessionStatus::NeedsApproval, &text, &stamp())
                    })
                    .await?;
            }
            return Err(Error::NeedsApproval { session: session.info.selector(), change });
        }
        Ok(())
    }
}

impl Chosen {
    /// Reports whether it holds tokens, which may be renewed, and not a key.
    pub(super) fn has_tokens(&self) -> bool {
        self.stored.as_ref().is_some_and(|session| session.credential.tokens().is_some())
    }

    /// Returns the scheme that it was logged in under.
    pub(super) fn scheme<'a>(&self, provider: &'a Provider) -> Option<&'a AuthScheme> {
        let id = self.info.scheme.as_str();
        provider.manifest.auth.iter().find(|scheme| !id.is_empty() && scheme.id() == id)
    }

    pub(super) fn nobody() -> Self {
        Self { selector: None, info: PluginSession::default(), credential: None, stored: None }
    }

    /// Takes a session whose binding was checked.
    ///
    /// Its kind decides where its secret goes: a token where its scheme says, a key where the manifest
    /// or the configuration says.
    pub(super) fn stored(provider: &Provider, session: Arc<OpenSession>) -> Result<Self, Error> {
        let credential = &session.credential;
        let scheme = match &credential.secret {
            Secret::OAuth(tokens) => Some(&tokens.scheme),
            Secret::Profile(link) => Some(&link.scheme),
            Secret::ApiKey(_) => None,
        };
        let (mut info, placement) = match scheme {
            None => (plugin_session(provider, AuthKind::ApiKey), provider.placement.clone()),
            Some(scheme) => {
                let scheme = oauth::scheme_of(provider, scheme).ok_or_else(|| {
                    let what = format!("the login that session `{}` holds", session.info.name);
                    Error::NotSupported { provider: provider.id.clone(), what }
                })?;
                let mut info = plugin_session(provider, AuthKind::OAuth);
                oauth::scheme_id(scheme).clone_into(&mut info.scheme);
                (info, Some(scheme.placement.clone()))
            }
        };
        info.attributes.clone_from(&credential.attributes);
        let keys = match &credential.secret {
            // Read anew each time: the tool renews it whenever it likes.
            Secret::Profile(link) => Keys::Declared {
                secret: profile_token(provider, link)?,
                binding: credential.binding.clone(),
            },
            _ => Keys::Stored(Arc::clone(&session)),
        };
        Ok(Self {
            selector: Some(session.info.selector()),
            info,
            credential: Some(Arc::new(CredentialUse {
                keys,
                plugin: provider.plugin.id.clone(),
                placement,
            })),
            stored: Some(session),
        })
    }

    pub(super) fn with_key(provider: &Provider, selector: String, secret: SecretString) -> Self {
        Self {
            selector: Some(selector),
            info: plugin_session(provider, AuthKind::ApiKey),
            credential: Some(Arc::new(CredentialUse {
                // The user named this source for this provider as it is now configured.
                keys: Keys::Declared { secret, binding: provider.binding().clone() },
                plugin: provider.plugin.id.clone(),
                placement: provider.placement.clone(),
            })),
            stored: None,
        }
    }
}

fn plugin_session(provider: &Provider, auth: AuthKind) -> PluginSession {
    let mut session = PluginSession::default();
    session.auth = auth;
    let fits = |scheme: &&AuthScheme| match auth {
        AuthKind::ApiKey => matches!(scheme, AuthScheme::ApiKey(_)),
        AuthKind::OAuth => matches!(scheme, AuthScheme::OAuth(_)),
        _ => false,
    };
    let mut schemes = provider.manifest.auth.iter().filter(|s| s.unknown_need().is_none());
    session.scheme = schemes.find(fits).map_or_else(String::new, |scheme| scheme.id().to_owned());
    session
}

/// Returns the first key that the provider's environment variables hold.
pub(super) fn env_key(provider: &Provider) -> Option<(String, SecretString)> {
    provider.key_env.iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        let key = value.trim();
        (!key.is_empty()).then(|| (name.clone(), SecretString::from(key)))
    })
}

/// Reads `MAESTRO_SESSION`: `work` for every provider, or `openai=work,anthropic=home`.
pub(super) fn env_choice<'a>(text: &'a str, provider: &ProviderId) -> Option<&'a str> {
    if !text.contains('=') {
        return Some(text.trim());
    }
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(id, name)| (id.trim() == provider.as_str()).then(|| name.trim()))
}

/// Says in one line what an approval would change.
pub(super) fn describe(change: &BindingChange) -> String {
    let mut said = Vec::new();
    if let Some((before, after)) = &change.plugin {
        said.push(match before.as_str() {
            UNBOUND => format!("plugin `{after}` was never agreed to"),
            before => format!("plugin `{before}` became `{after}`"),
        });
    }
    if !change.added.is_empty() {
        said.push(format!("it would now also be sent to {}", change.added.join(", ")));
    }
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_may_choose_for_all_or_for_each() {
        let openai = ProviderId::new("openai").unwrap();
        assert_eq!(env_choice("work", &openai), Some("work"));
        assert_eq!(env_choice("anthropic=home, openai = work", &openai), Some("work"));
        assert_eq!(env_choice("anthropic=home", &openai), None);
    }
}
