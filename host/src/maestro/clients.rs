//! Keys of the gateway's clients: made, shown once, recognized, taken back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use plugin_api::ProviderId;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{Error, Maestro, now_s};
use crate::{
    router::RefPattern,
    session::{ClientKey, KeyHash, SessionError, SessionSelector, StoreError, random},
};

/// What a key of ours starts with, so that a scanner of leaked secrets can find one.
const PREFIX: &str = "maestro-";

/// How old the record of a key's last use may be before it is written again.
const TOUCH_EVERY_S: i64 = 60;

/// What a new client's key may do.
#[derive(Clone, Debug, Default)]
pub struct NewClientKey {
    /// What the operator calls it.
    pub name: String,
    /// What it may use; empty for everything.
    pub allow: Vec<RefPattern>,
    /// The sessions that it is bound to, each with its provider: of that provider it uses no other.
    pub sessions: Vec<SessionSelector>,
    /// Most requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Most tokens in a minute.
    pub tokens_per_minute: Option<u32>,
    /// What it may spend in a day, in millionths of a US dollar.
    pub micros_per_day: Option<i64>,
    /// Most requests at once.
    pub concurrent: Option<u32>,
    /// For how many seconds it is good.
    pub expires_in_s: Option<i64>,
}

/// A client that was recognized by its key.
#[derive(Debug)]
pub struct Client {
    /// Its key's row.
    pub key: ClientKey,
    allow: Option<Vec<RefPattern>>,
    sessions: Vec<SessionSelector>,
}

impl Client {
    fn of(key: ClientKey) -> Self {
        // A pattern that does not read allows nothing: the list itself still restricts.
        let read = |list: &Vec<String>| list.iter().filter_map(|text| text.parse().ok()).collect();
        let allow = key.allow.as_ref().map(read);
        let sessions = key.sessions.iter().filter_map(|text| text.parse().ok()).collect();
        Self { key, allow, sessions }
    }

    /// Reports whether its limits need to know what each answer used.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.key.tokens_per_minute.is_some() || self.key.micros_per_day.is_some()
    }

    /// Returns the session that the key chooses for a provider.
    #[must_use]
    pub fn session(&self, provider: &ProviderId) -> Option<String> {
        let own = self.sessions.iter().find(|own| own.provider.as_ref() == Some(provider));
        match own.map(|own| (&own.name, &own.auth_type)) {
            Some((name, Some(auth_type))) => Some(format!("{name}@{auth_type}")),
            Some((name, None)) => Some(name.to_string()),
            None => self.only_session(provider).map(str::to_owned),
        }
    }

    /// Returns the session of a provider without which the key may ask it for nothing.
    fn only_session(&self, provider: &ProviderId) -> Option<&str> {
        let allow = self.allow.as_ref()?.iter();
        let mut sessions =
            allow.filter(|p| p.allows_provider(provider.as_str())).map(|p| p.session());
        let first = sessions.next()??;
        (!first.contains('*') && sessions.all(|other| other == Some(first))).then_some(first)
    }

    /// Reports whether the key may ask a provider for a model, with some session.
    #[must_use]
    pub fn may_ask(&self, provider: &str, model: &str) -> bool {
        let allows = |allow: &Vec<RefPattern>| allow.iter().any(|p| p.allows(provider, model));
        self.allow.as_ref().is_none_or(allows)
    }

    /// Reports whether the key may ask a provider for any model.
    #[must_use]
    pub fn may_ask_some(&self, provider: &str) -> bool {
        let allows = |allow: &Vec<RefPattern>| allow.iter().any(|p| p.allows_provider(provider));
        self.allow.as_ref().is_none_or(allows)
    }

    /// Reports whether the key may do so with this session, by its name.
    #[must_use]
    pub fn may_use(&self, provider: &str, model: &str, session: Option<&str>) -> bool {
        let allows = |allow: &Vec<RefPattern>| {
            allow.iter().any(|p| p.allows(provider, model) && p.allows_session(session))
        };
        self.is_bound_to(provider, session) && self.allow.as_ref().is_none_or(allows)
    }

    /// Reports whether the key may ask a provider for anything with this session, by its name.
    #[must_use]
    pub fn may_use_session(&self, provider: &str, session: &str) -> bool {
        let name = session.split('@').next();
        let allows = |allow: &Vec<RefPattern>| {
            allow.iter().any(|p| p.allows_provider(provider) && p.allows_session(name))
        };
        self.is_bound_to(provider, name) && self.allow.as_ref().is_none_or(allows)
    }

    /// Reports whether a session is one that the key is bound to, if it is to any of the provider's.
    fn is_bound_to(&self, provider: &str, session: Option<&str>) -> bool {
        let of_it =
            |own: &&SessionSelector| own.provider.as_ref().is_some_and(|p| p.as_str() == provider);
        let mut own = self.sessions.iter().filter(of_it).peekable();
        own.peek().is_none() || own.any(|own| Some(own.name.as_str()) == session)
    }
}

/// What becomes of a request, by the keys it shows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Admission {
    /// No key exists, so none is asked for.
    Open,
    /// One of the keys is good.
    Known(Arc<Client>),
    /// Keys exist, and none of them was shown.
    Unknown,
    /// The key was good once.
    Ended {
        /// What the operator calls it.
        name: String,
        /// Whether it was taken back, not only past its end.
        revoked: bool,
    },
}

/// The keys as they were at one state of the store.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<Option<(u64, Arc<Known>)>>);

type Known = HashMap<KeyHash, Arc<Client>>;

impl Maestro {
    /// Makes a client's key. The secret is returned this once and stored as a hash alone.
    ///
    /// # Errors
    ///
    /// What the store says, above all that the name is taken.
    pub async fn create_client_key(
        &self,
        new: NewClientKey,
    ) -> Result<(ClientKey, SecretString), Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        random::fill(&mut *bytes).map_err(SessionError::from)?;
        let text = Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*bytes)));
        let now = now_s();
        let allow: Vec<String> = new.allow.iter().map(ToString::to_string).collect();
        let key = ClientKey {
            id: random::id().map_err(SessionError::from)?,
            name: new.name,
            hash: hash(&text),
            allow: (!allow.is_empty()).then_some(allow),
            sessions: new.sessions.iter().map(ToString::to_string).collect(),
            requests_per_minute: new.requests_per_minute,
            tokens_per_minute: new.tokens_per_minute,
            micros_per_day: new.micros_per_day,
            concurrent: new.concurrent,
            created_at: now,
            expires_at: new.expires_in_s.map(|seconds| now.saturating_add(seconds)),
            last_used_at: None,
            revoked_at: None,
        };
        let stored = key.clone();
        let sessions = self.sessions().await?;
        sessions.blocking(move |s| Ok(s.store().insert_client_key(&stored)?)).await?;
        Ok((key, SecretString::from(text.as_str())))
    }

    /// Lists the clients' keys by name, also those that ended.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn list_client_keys(&self) -> Result<Vec<ClientKey>, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(Vec::new()) };
        Ok(sessions.blocking(|s| Ok(s.store().client_keys()?)).await?)
    }

    /// Finds a client by what its operator calls it, to see what it may do.
    ///
    /// # Errors
    ///
    /// What the store says, above all that there is no such key.
    pub async fn client_by_name(&self, name: &str) -> Result<Client, Error> {
        let keys = self.list_client_keys().await?;
        let found = keys.into_iter().find(|key| key.name == name);
        let unknown = || StoreError::UnknownClientKey { name: name.to_owned() };
        Ok(Client::of(found.ok_or_else(|| SessionError::from(unknown()))?))
    }

    /// Takes a client's key back, for every gateway on this store from its next request on.
    ///
    /// # Errors
    ///
    /// What the store says, above all that there is no such key.
    pub async fn revoke_client_key(&self, name: &str) -> Result<(), Error> {
        let (name, sessions) = (name.to_owned(), self.sessions().await?);
        Ok(sessions.blocking(move |s| Ok(s.store().revoke_client_key(&name, now_s())?)).await?)
    }

    /// Forgets a client's key. Without any, a gateway on this machine's own address asks for none.
    ///
    /// # Errors
    ///
    /// What the store says, above all that there is no such key.
    pub async fn delete_client_key(&self, name: &str) -> Result<(), Error> {
        let (name, sessions) = (name.to_owned(), self.sessions().await?);
        Ok(sessions.blocking(move |s| Ok(s.store().delete_client_key(&name)?)).await?)
    }

    /// Looks whether one of these texts is the key of a client.
    ///
    /// Answers from memory while no process has written to the store.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn admit_client(&self, shown: &[&str]) -> Result<Admission, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(Admission::Open) };
        let changes = sessions.store().changes().map_err(SessionError::from)?;
        let kept = self.inner.clients.at(changes);
        let known = match kept {
            Some(known) => known,
            None => {
                let keys = sessions.store().client_keys().map_err(SessionError::from)?;
                self.inner.clients.keep(changes, keys)
            }
        };
        if known.is_empty() {
            return Ok(Admission::Open);
        }
        let now = now_s();
        let mut ended = None;
        for text in shown {
            let Some(client) = known.get(&hash(text)) else { continue };
            if client.key.is_valid_at(now) {
                if client.key.last_used_at.is_none_or(|last| now - last >= TOUCH_EVERY_S) {
                    let (id, sessions) = (client.key.id.clone(), Arc::clone(sessions));
                    // Nobody waits for it, and the next minute's use writes it again.
                    tokio::task::spawn_blocking(move || {
                        sessions.store().touch_client_key(&id, now)
                    });
                }
                return Ok(Admission::Known(Arc::clone(client)));
            }
            ended = Some(Admission::Ended {
                name: client.key.name.clone(),
                revoked: client.key.revoked_at.is_some(),
            });
        }
        Ok(ended.unwrap_or(Admission::Unknown))
    }
}

impl Clients {
    fn at(&self, changes: u64) -> Option<Arc<Known>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(then, _)| *then == changes).map(|(_, known)| Arc::clone(known))
    }

    fn keep(&self, changes: u64, keys: Vec<ClientKey>) -> Arc<Known> {
        let known: Known =
            keys.into_iter().map(|key| (key.hash, Arc::new(Client::of(key)))).collect();
        let known = Arc::new(known);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((changes, Arc::clone(&known)));
        known
    }
}

fn hash(text: &str) -> KeyHash {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut hash = KeyHash::default();
    hash.copy_from_slice(digest.as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(allow: Option<&[&str]>) -> Client {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Client::of(ClientKey {
            id: "1".into(),
            name: "laptop".into(),
            hash: hash("k"),
            allow: allow.map(owned),
            sessions: vec!["openai:work".into(), "lab:home@oauth".into()],
            requests_per_minute: None,
            tokens_per_minute: None,
            micros_per_day: None,
            concurrent: None,
            created_at: 0,
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        })
    }

    #[test]
    fn a_key_uses_its_own_sessions_and_what_it_is_allowed() {
        let all = client(None);
        let provider = |id| ProviderId::new(id).unwrap();
        assert_eq!(all.session(&provider("openai")).as_deref(), Some("work"));
        assert_eq!(all.session(&provider("lab")).as_deref(), Some("home@oauth"));
        assert_eq!(all.session(&provider("echo")), None);
        assert!(all.may_ask("x", "y") && all.may_use("x", "y", None));
        let some = client(Some(&["openai:work/gpt-*"]));
        assert!(some.may_ask("openai", "gpt-1") && !some.may_ask("lab", "gpt-1"));
        assert!(some.may_use("openai", "gpt-1", Some("work")));
        assert!(!some.may_use("openai", "gpt-1", Some("home")));
        // What does not read allows nothing, rather than everything.
        assert!(!client(Some(&["???"])).may_ask("openai", "gpt-1"));
    }

    #[test]
    fn hashes_are_sha_256() {
        assert_eq!(hash("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
