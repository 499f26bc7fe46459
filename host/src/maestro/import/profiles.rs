//! Logins that vendors' own tools keep: sessions that link to them, and their tokens.

use std::path::PathBuf;

use plugin_api::{
    ProviderId,
    auth::{AuthScheme, ProfileFiles},
};
use secrecy::SecretString;
use serde::Serialize;

use super::var;
use crate::{
    maestro::{Error, Maestro, SessionView, now_s, stamp},
    oauth,
    plugin::provider::Provider,
    session::{
        Credential, Login, ProfileLink, SessionName,
        profile::{ProfileError, Profiles},
    },
};

/// A login that a vendor's own tool keeps.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProfileView {
    /// The provider that it is for.
    pub provider: ProviderId,
    /// The tool.
    pub tool: String,
    /// The tool's name for it.
    pub profile: String,
    /// Its file.
    pub path: PathBuf,
    /// Whether the tool uses it when nothing else is said.
    pub active: bool,
    /// When its token ends, in Unix seconds.
    pub expires_at: Option<i64>,
    /// Why it cannot be used now.
    pub problem: Option<String>,
    /// Whether that is only that its token has ended, which the tool will renew.
    pub expired: bool,
}

impl Maestro {
    /// Lists the logins that vendors' own tools keep for a provider.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownProvider`].
    pub fn profiles(&self, provider: &str) -> Result<Vec<ProfileView>, Error> {
        let provider = &self.ready_provider(provider)?;
        let mut listed = Vec::new();
        for (_, files) in profile_files(provider) {
            let profiles = Profiles::new(files, &var);
            let active = profiles.active();
            for profile in profiles.list() {
                let Ok(path) = profiles.path(&profile) else { continue };
                let read = profiles.read(&profile, &path, now_s());
                listed.push(ProfileView {
                    provider: provider.id.clone(),
                    tool: files.tool.clone(),
                    active: active.as_ref() == Some(&profile),
                    expires_at: read.as_ref().ok().and_then(|read| read.expires_at),
                    expired: matches!(read, Err(ProfileError::Expired { .. })),
                    problem: read.err().map(|error| error.to_string()),
                    profile,
                    path,
                });
            }
        }
        Ok(listed)
    }

    /// Makes a session of a login that a vendor's own tool keeps. Stores where it is, not what it is:
    /// the token is read there at each use, and renewing it stays that tool's business.
    ///
    /// # Errors
    ///
    /// [`Error::Profile`] if it cannot be read now, unless it has only expired;
    /// [`Error::NotSupported`] where the manifest names no such tool.
    pub async fn link_profile(
        &self,
        provider: &str,
        profile: &str,
        name: SessionName,
    ) -> Result<SessionView, Error> {
        let provider = &self.ready_provider(provider)?;
        let mut first = None;
        for (scheme, files) in profile_files(provider) {
            let profiles = Profiles::new(files, &var);
            let problem = match profiles.path(profile) {
                Err(error) => error,
                Ok(path) => match profiles.read(profile, &path, now_s()) {
                    Ok(_) | Err(ProfileError::Expired { .. }) => {
                        let link = ProfileLink {
                            scheme,
                            tool: files.tool.clone(),
                            profile: profile.to_owned(),
                            path,
                        };
                        return self.store_link(provider, link, name).await;
                    }
                    Err(error) => error,
                },
            };
            first.get_or_insert(problem);
        }
        Err(match first {
            Some(source) => Error::Profile { provider: provider.id.clone(), source },
            None => {
                let what = "logins that a tool of its vendor keeps".into();
                Error::NotSupported { provider: provider.id.clone(), what }
            }
        })
    }

    async fn store_link(
        &self,
        provider: &Provider,
        link: ProfileLink,
        name: SessionName,
    ) -> Result<SessionView, Error> {
        let login = Login {
            provider: provider.id.clone(),
            name,
            account: Some(format!("{} profile {}", link.tool, link.profile)),
            credential: Credential::profile(link, provider.binding().clone()),
            replace: false,
            make_default: false,
        };
        let sessions = self.sessions().await?;
        Ok(sessions.blocking(move |sessions| sessions.create(&login, &stamp())).await?.into())
    }
}

/// Reads the token that a session's tool keeps.
pub(in crate::maestro) fn profile_token(
    provider: &Provider,
    link: &ProfileLink,
) -> Result<SecretString, Error> {
    let files = profile_files(provider)
        .into_iter()
        .find(|(scheme, files)| *scheme == link.scheme && files.tool == link.tool);
    let Some((_, files)) = files else {
        let what = format!("logins that `{}` keeps", link.tool);
        return Err(Error::NotSupported { provider: provider.id.clone(), what });
    };
    let read = Profiles::new(files, &var).read(&link.profile, &link.path, now_s());
    read.map(|read| read.token)
        .map_err(|source| Error::Profile { provider: provider.id.clone(), source })
}

/// Lists the tools whose logins a provider takes, each with its scheme.
fn profile_files(provider: &Provider) -> Vec<(String, &ProfileFiles)> {
    let schemes = provider.manifest.auth.iter().filter(|auth| auth.unknown_need().is_none());
    let schemes = schemes.filter_map(|auth| match auth {
        AuthScheme::OAuth(scheme) => Some(scheme),
        _ => None,
    });
    schemes
        .flat_map(|scheme| {
            let id = oauth::scheme_id(scheme).to_owned();
            scheme.profiles.iter().map(move |files| (id.clone(), files))
        })
        .collect()
}
