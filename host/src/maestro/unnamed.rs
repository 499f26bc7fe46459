//! The former program's lookup: a provider and an auth type, without a name.
//!
//! It had one login of each kind, so nothing had to be named. Programs and scripts that still ask like
//! that get the login that took its place, and are told so; everything else names a session, or leaves
//! out name and auth type both and gets the default.

use plugin_api::ProviderId;

use super::{Error, Maestro, SessionView};
use crate::session::{AuthType, SessionError, SessionFilter, SessionInfo, Sessions};

impl Maestro {
    /// Finds the session that the former program would have used.
    ///
    /// That is the provider's default if it is of this kind, else the one that a migration named
    /// `default_{provider}_{auth_type}`, else the only one of this kind.
    ///
    /// # Errors
    ///
    /// As for any session that is asked for and not there, or not clear.
    #[deprecated(note = "name the session, or use the default: `Maestro::session`")]
    pub async fn session_of(
        &self,
        provider: &str,
        auth_type: AuthType,
    ) -> Result<SessionView, Error> {
        let provider = ProviderId::new(provider).map_err(|_| Error::UnknownProvider {
            provider: provider.to_owned(),
            hint: "run `maestro providers list --all`".into(),
        })?;
        Ok(self.unnamed_session(&provider, auth_type).await?.into())
    }

    /// Turns `[PROVIDER:]@AUTH` into the selector of a session, and says that this way of asking ends.
    ///
    /// Leaves every other text alone. `asked` is the provider where the text names none.
    pub(super) async fn with_name(
        &self,
        text: &str,
        asked: Option<&ProviderId>,
    ) -> Result<Option<String>, Error> {
        let (provider, rest) = match text.split_once(':') {
            Some((provider, rest)) => (ProviderId::new(provider).ok(), rest),
            None => (asked.cloned(), text),
        };
        let Some(auth_type) = rest.strip_prefix('@').and_then(|auth| auth.parse().ok()) else {
            return Ok(None);
        };
        let Some(provider) = provider else { return Ok(None) };
        Ok(Some(self.unnamed_session(&provider, auth_type).await?.selector()))
    }

    async fn unnamed_session(
        &self,
        provider: &ProviderId,
        auth_type: AuthType,
    ) -> Result<SessionInfo, Error> {
        let Some(sessions) = self.existing_sessions().await? else {
            return Err(SessionError::None { provider: provider.clone() }.into());
        };
        let wanted = provider.clone();
        let found = sessions.blocking(move |sessions| find(sessions, wanted, auth_type)).await?;
        self.warn(&format!(
            "asking for a session by provider and auth type alone is deprecated; name it: {}",
            found.selector()
        ));
        Ok(found)
    }
}

fn find(
    sessions: &Sessions,
    provider: ProviderId,
    auth_type: AuthType,
) -> Result<SessionInfo, SessionError> {
    let filter =
        SessionFilter { provider: Some(provider.clone()), auth_type: Some(auth_type), name: None };
    let mut found = sessions.list(&filter)?;
    let migrated = format!("default_{provider}_{auth_type}");
    let place = found
        .iter()
        .position(|info| info.is_default)
        .or_else(|| found.iter().position(|info| info.name.as_str() == migrated))
        .or_else(|| (found.len() == 1).then_some(0));
    match place {
        Some(place) => Ok(found.swap_remove(place)),
        None if found.is_empty() => Err(SessionError::Unknown {
            selector: format!("{provider}:@{auth_type}"),
            known: sessions
                .list(&SessionFilter { provider: Some(provider), ..SessionFilter::default() })?
                .iter()
                .map(SessionInfo::selector)
                .collect(),
        }),
        None => {
            let candidates = found.iter().map(SessionInfo::selector).collect();
            Err(SessionError::NoDefault { provider, candidates })
        }
    }
}
