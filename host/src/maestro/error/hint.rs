//! What to do about an error.

use plugin_api::error::{ErrorKind, ProviderError};

use super::Error;
use crate::{exchange::ExchangeError, session::SessionError};

impl Error {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Misfit(error) => error.hint.clone(),
            Self::UnknownProvider { hint, .. } | Self::UnknownPlugin { hint, .. } => {
                Some(hint.clone())
            }
            Self::Deadline { .. } => Some(
                "give it longer: `--timeout`, or `call_ms` in `[timeouts]` of the configuration"
                    .into(),
            ),
            Self::KeyMayNot { .. } => None,
            Self::NotRoutable { .. } => Some("run `maestro routes explain REF`".into()),
            Self::LeftAlone { .. } => {
                Some("an alias may name another model to fall back to; see `[breaker]`".into())
            }
            Self::PoolSpent { provider, .. } | Self::EmptyPool { provider } => Some(format!(
                "add a session: `maestro login {provider} --auth api-key --name NAME`"
            )),
            Self::NotReady { provider, .. } => {
                Some(format!("run `maestro providers show {provider}`"))
            }
            Self::NotSupported { provider, .. } | Self::NotUnderstood { provider, .. } => {
                Some(format!("run `maestro providers show {provider}` for what it offers"))
            }
            Self::ModelRef(_) => Some("run `maestro models` for the refs there are".into()),
            Self::UnknownModel { nearest, .. } if nearest.is_empty() => {
                Some("run `maestro models` for the refs there are".into())
            }
            Self::UnknownModel { nearest, .. } => {
                Some(format!("did you mean {}?", any_of(nearest)))
            }
            Self::AmbiguousModel { candidates, .. } => {
                Some(format!("say which: {}", any_of(candidates)))
            }
            Self::SessionName { source, .. } => source.hint(),
            Self::SessionElsewhere { other, .. } => Some(format!(
                "name a model of `{other}`; `maestro models --provider {other}` lists them"
            )),
            Self::NoSession { provider, env } => {
                let login = format!("run `maestro login {provider}`");
                Some(match env.first() {
                    Some(name) => format!("{login}, or set `{name}`"),
                    None => login,
                })
            }
            Self::NeedsApproval { session, .. } => {
                Some(format!("if you expected that, run `maestro sessions approve {session}`"))
            }
            Self::InvalidKey { obtain_url, .. } => {
                obtain_url.as_ref().map(|url| format!("get a key at {url}"))
            }
            Self::Login { provider, source } => source.hint(provider.as_str()),
            Self::Declared { .. } | Self::DeclaredElsewhere { .. } => {
                Some("change `[sessions]` in the file that `maestro config path` names".into())
            }
            Self::InEnvironment { provider, .. } => Some(format!(
                "`maestro sessions import {provider} --from env` stores it as a session"
            )),
            Self::NameTaken { session } => {
                Some(format!("choose another name, or rename or delete `{session}` first"))
            }
            // Only a stored session, whose selector says how it is logged in, can be made the default.
            Self::Session(SessionError::NoDefault { provider, candidates })
                if candidates.iter().all(|selector| !selector.contains('@')) =>
            {
                Some(format!(
                    "name one: `-s NAME`, `-m {provider}:NAME/MODEL`, or `MAESTRO_SESSION=NAME`"
                ))
            }
            Self::Session(error) => error.hint(),
            Self::Renewal { provider, session, source } => {
                source.hint(provider.as_str(), session.as_str())
            }
            Self::Key(error) => error.hint(),
            Self::Profile { source, .. } => source.hint(),
            Self::NotImportable { .. } => {
                Some("run `maestro sessions import` for what can be, and why not".into())
            }
            Self::NoStore { .. } => Some("`maestro login PROVIDER` makes one".into()),
            Self::NoRollback { from, .. } => Some(match from {
                0 => "it is at the oldest version already".into(),
                from => format!("name a version from 0 to {}", from - 1),
            }),
            Self::NoNextKey { .. } => {
                Some("name another with `--new-key-file` or `--new-key-env`".into())
            }
            Self::Unsound { .. } => {
                Some("restore the newest `.backup-` file beside it, or log in again".into())
            }
            Self::Message { .. } => Some("it was written by a newer version, most likely".into()),
            Self::Plugin { source, .. } => Some(source.hint()),
            Self::Unchanged { source, .. } => Some(source.hint()),
            Self::Recording(_) => Some("record it again with `maestro chat --record FILE`".into()),
            Self::Exchange(ExchangeError::Contract { plugin, .. }) => Some(format!(
                "tell the author of `{plugin}`; run `maestro plugin inspect {plugin}`"
            )),
            Self::Exchange(ExchangeError::Worker { plugin, source }) => {
                Some(if source.is_the_plugins_fault() {
                    format!("tell the author of `{plugin}`; run `maestro plugin inspect {plugin}`")
                } else {
                    "ask again".into()
                })
            }
            Self::Trust(error) => Some(error.hint()),
            Self::Development { .. } => {
                Some("check the permissions of the home, and the free space".into())
            }
            Self::Quarantine { .. } => Some("check the file's permissions".into()),
            Self::Exchange(ExchangeError::Provider { provider, source }) => {
                provider_hint(provider, source)
            }
            Self::UnknownConversation { nearest, .. } if nearest.is_empty() => {
                Some("run `maestro conversations` for those there are".into())
            }
            Self::UnknownConversation { nearest, .. } => {
                Some(format!("did you mean {}?", any_of(nearest)))
            }
            Self::AmbiguousConversation { candidates, .. } => {
                Some(format!("say which: {}", any_of(candidates)))
            }
            Self::UnknownChunk { context, .. } => {
                Some(format!("run `maestro conversations show {context}`"))
            }
        }
    }
}

fn provider_hint(provider: &str, error: &ProviderError) -> Option<String> {
    // The plugin knows its vendor better than we do.
    if let Some(hint) = error.details.get("hint").and_then(|hint| hint.as_str()) {
        return Some(hint.escape_debug().to_string());
    }
    Some(match error.kind {
        ErrorKind::Authentication => {
            format!("run `maestro login {provider} --replace`, or `maestro sessions test`")
        }
        ErrorKind::NotFound => format!("run `maestro models --provider {provider}`"),
        ErrorKind::RateLimited | ErrorKind::Overloaded => match error.retry_after_ms {
            Some(wait) => format!("try again in {} s", wait.div_ceil(1000)),
            None => "try again in a moment".into(),
        },
        ErrorKind::Quota => "check the plan and the credit of the account".into(),
        ErrorKind::ContextLength => "shorten the conversation, or choose another model".into(),
        ErrorKind::Connection => "check that the server runs and the network is up".into(),
        ErrorKind::Unavailable => "the trouble is the provider's; try again later".into(),
        ErrorKind::Timeout => "raise `[timeouts]` if the server is only slow".into(),
        _ => return None,
    })
}

fn any_of(refs: &[String]) -> String {
    refs.iter().map(|r| format!("`{r}`")).collect::<Vec<_>>().join(" or ")
}
