//! One renewal, from the lease to the stored tokens. Blocks.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime;

use super::{Aim, Need, RefreshError, Refresher, Renewed, Source, step::Step};
use crate::{
    oauth::{
        Places, client, local_now_s,
        token::{Grant, Issued, PATIENCE, TokenEndpoint, TokenError, endpoint_url},
    },
    session::{
        Credential, Holder, OpenSession, Outcome, Renewal, SessionError, SessionId, SessionStatus,
        Sessions, Stamp, StoreError, TokenSet,
    },
    transport::Transport,
};

/// A renewal under way.
pub(super) struct Flight<'a> {
    pub(super) refresher: &'a Refresher,
    pub(super) sessions: &'a Sessions,
    pub(super) id: &'a SessionId,
    pub(super) need: &'a Need,
    pub(super) source: &'a Source,
}

impl Flight<'_> {
    /// Gets what is needed: from the server, or from whoever was faster.
    pub(super) fn fly(&self) -> Renewed {
        let started = Instant::now();
        let holder = Holder::new().map_err(SessionError::Random)?;
        let mut sent = false;
        loop {
            let open = self.read()?;
            match self.aim(&open) {
                Aim::Use => return Ok(open),
                Aim::Refuse(error) => return Err(error),
                Aim::Renew => {}
            }
            Step::BeforeLease.reached();
            if self.holds_lease(&holder)? {
                Step::AfterLease.reached();
                let lease = Lease { flight: self, holder: &holder };
                let renewed = self.renew(&lease, &mut sent);
                drop(lease);
                Step::AfterRelease.reached();
                if let Some(renewed) = renewed? {
                    return Ok(renewed);
                }
            }
            if self.is_background() {
                return Ok(open);
            }
            while self.sessions.is_leased(self.id, local_now_s())? {
                if started.elapsed() > MAX_WAIT {
                    return Err(RefreshError::Contended);
                }
                thread::sleep(POLL);
            }
        }
    }

    /// Takes the lease, or makes one's own longer; reports whether it is held now.
    fn holds_lease(&self, holder: &Holder) -> Result<bool, RefreshError> {
        Ok(self.sessions.take_lease(self.id, holder, LEASE_S, local_now_s())?.is_none())
    }

    /// Renews under the lease, and once more when the outcome is not known. `None` if the lease ended
    /// meanwhile, as it does while a machine sleeps, and another has it now.
    fn renew(
        &self,
        lease: &Lease<'_>,
        sent: &mut bool,
    ) -> Result<Option<Arc<OpenSession>>, RefreshError> {
        let mut last = RefreshError::Contended;
        for _ in 0..MAX_TRIES {
            // Whoever held the lease before, or a login in the meantime, may have left other tokens.
            let open = self.read()?;
            match self.aim(&open) {
                Aim::Use => return Ok(Some(open)),
                Aim::Refuse(error) => return Err(error),
                Aim::Renew => {}
            }
            let Some(tokens) = open.credential.tokens() else { return Ok(Some(open)) };
            let Some(refresh_token) = &tokens.refresh_token else {
                return Err(RefreshError::NoRefreshToken);
            };
            // Who asks for it may try a token that was given up, once.
            let forced = matches!(self.need, Need::Other { forced: true, .. });
            if tokens.renewal.attempts >= MAX_ATTEMPTS && (*sent || !forced) {
                return Err(self.give_up(&open, refresh_token)?);
            }
            let endpoint = self.endpoint(&open, tokens)?;
            if !self.holds_lease(lease.holder)? {
                return Ok(None);
            }
            let attempts = tokens.renewal.attempts;
            let begun = Renewal { attempts: attempts.saturating_add(1), rejected: None };
            let marked = with_renewal(&open, begun);
            match self.sessions.renewal(&open.info, &marked, Outcome::Begun, &self.stamp()) {
                Err(SessionError::Store(StoreError::Stale { .. })) => continue,
                other => other?,
            };
            *sent = true;
            Step::AfterMark.reached();
            let answer = self.ask(&endpoint, tokens, refresh_token);
            Step::AfterAnswer.reached();
            match answer {
                Ok(issued) => return self.keep(refresh_token, &issued).map(Some),
                Err(error) => match self.failed(refresh_token, attempts, error)? {
                    Next::Stop(error) => return Err(error),
                    Next::Again(error) => last = error,
                },
            }
        }
        Err(last)
    }

    fn ask(
        &self,
        endpoint: &TokenEndpoint,
        previous: &TokenSet,
        refresh_token: &SecretString,
    ) -> Result<Issued, TokenError> {
        // A runtime of this thread's own, and with it connections: those of the program may end first.
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| TokenError::Transient {
            status: None,
            retry_after: None,
            message: error.to_string(),
        })?;
        let transport = Arc::new(Transport::new(self.refresher.timeouts));
        let grant = Grant::RefreshToken { previous, refresh_token };
        runtime.block_on(endpoint.request(&transport, grant))
    }

    /// Stores new tokens, in the session as it is by now.
    fn keep(&self, used: &SecretString, issued: &Issued) -> Renewed {
        Step::BeforeCommit.reached();
        let kept = self.store(used, Outcome::Renewed, |open| {
            let tokens = TokenSet { renewal: Renewal::default(), ..issued.tokens.clone() };
            let mut attributes = open.credential.attributes.clone();
            attributes.extend(issued.attributes.clone());
            with_tokens(open, tokens, attributes)
        })?;
        Step::AfterCommit.reached();
        self.refresher.unpause(self.id);
        Ok(kept)
    }

    /// Stores a failure: what it means for the next attempt.
    fn failed(
        &self,
        used: &SecretString,
        attempts: u32,
        error: TokenError,
    ) -> Result<Next, RefreshError> {
        let text = error.to_string();
        let scheme = &self.source.scheme;
        let dead = match &error {
            TokenError::Rejected { code, permanent: true, .. } => {
                // A client that is refused is a matter of configuration, unless the scheme knows better.
                let ends = !error.is_configuration() || scheme.login_again_codes.contains(code);
                ends.then(|| code.clone())
            }
            _ => None,
        };
        if let Some(code) = dead {
            let renewal = Renewal { attempts: 0, rejected: Some(code.clone()) };
            let stored =
                self.store(used, Outcome::Dead(&text), |open| with_renewal(open, renewal.clone()))?;
            let error = RefreshError::Rejected { code };
            // Of a token that a login has replaced meanwhile, it says nothing that matters.
            return Ok(if holds(&stored, used) { Next::Stop(error) } else { Next::Again(error) });
        }
        if matches!(error, TokenError::Unknown { .. } | TokenError::Invalid { .. }) {
            // The attempt stays on record.
            let renewal = Renewal { attempts: attempts.saturating_add(1), rejected: None };
            let stored = self
                .store(used, Outcome::Failed(&text), |open| with_renewal(open, renewal.clone()))?;
            // Who waits has it tried again at once: whether the token still works will not be clearer
            // later. In the background there is time, and a program that ends should not wait twice.
            let error = RefreshError::Token(error);
            if self.is_background() && holds(&stored, used) {
                self.refresher.pause(self.id, stored.info.generation, &error);
                return Ok(Next::Stop(error));
            }
            return Ok(Next::Again(error));
        }
        // The server did not act, so the attempt does not count.
        let renewal = Renewal { attempts, rejected: None };
        let stored =
            self.store(used, Outcome::Failed(&text), |open| with_renewal(open, renewal.clone()))?;
        let error = RefreshError::Token(error);
        if !holds(&stored, used) {
            return Ok(Next::Again(error));
        }
        self.refresher.pause(self.id, stored.info.generation, &error);
        Ok(Next::Stop(error))
    }

    /// Stores that only a new login helps, and returns that error.
    fn give_up(
        &self,
        open: &OpenSession,
        used: &SecretString,
    ) -> Result<RefreshError, RefreshError> {
        let error = RefreshError::Lost;
        if open.info.status != SessionStatus::NeedsReauth {
            let Some(tokens) = open.credential.tokens() else { return Ok(error) };
            let renewal = tokens.renewal.clone();
            let text = error.to_string();
            self.store(used, Outcome::Dead(&text), |open| with_renewal(open, renewal.clone()))?;
        }
        Ok(error)
    }

    /// Stores a step as long as the session still holds the refresh token that was used. If it holds
    /// another one (somebody logged in), that one stands. A session that is gone stays gone.
    fn store(
        &self,
        used: &SecretString,
        outcome: Outcome<'_>,
        made: impl Fn(&OpenSession) -> Credential,
    ) -> Renewed {
        let mut patience = 0..MAX_STORE_TRIES;
        loop {
            let open = self.read()?;
            if !holds(&open, used) {
                tracing::info!(session = open.info.selector(), "logged in again meanwhile");
                return Ok(open);
            }
            match self.sessions.renewal(&open.info, &made(&open), outcome, &self.stamp()) {
                Ok(_) => return self.read(),
                // Renamed or approved meanwhile: the same tokens under another seal.
                Err(SessionError::Store(StoreError::Stale { .. })) if patience.next().is_some() => {
                }
                // New tokens are worth some patience: the old ones are used up.
                Err(SessionError::Store(
                    error @ (StoreError::Locked { .. } | StoreError::Full { .. }),
                )) if patience.next().is_some() => {
                    tracing::warn!(%error, "renewed tokens cannot be stored yet");
                    thread::sleep(STORE_PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn endpoint(
        &self,
        open: &OpenSession,
        tokens: &TokenSet,
    ) -> Result<TokenEndpoint, RefreshError> {
        let source = self.source;
        let places = Places { settings: &source.settings, facts: &source.facts };
        // What the login found counts; a manifest cannot send the token elsewhere later.
        let url = match tokens.token_endpoint.as_str() {
            "" => places.fill(&source.scheme.token_url).unwrap_or_default(),
            stored => stored.to_owned(),
        };
        let parsed = endpoint_url(&url)?;
        if !open.credential.binding.allows(&source.plugin, &parsed) {
            let origin = parsed.origin().ascii_serialization();
            return Err(RefreshError::Unapproved { origin });
        }
        let config = source.client.as_ref();
        let client =
            client::of_tokens(source.provider.as_str(), Some(&source.scheme), tokens, config)?;
        Ok(TokenEndpoint::new(&source.scheme, &url, client, places, source.tls.clone())?)
    }

    fn aim(&self, open: &OpenSession) -> Aim {
        self.refresher.aim(open, self.need, self.source)
    }

    fn is_background(&self) -> bool {
        matches!(self.need, Need::Usable { waiting: false })
    }

    fn read(&self) -> Renewed {
        Ok(Arc::new(self.sessions.open_id(self.id)?))
    }

    fn stamp(&self) -> Stamp<'static> {
        Stamp { now_s: local_now_s(), actor: self.refresher.actor }
    }
}

/// What follows a failure.
enum Next {
    Stop(RefreshError),
    Again(RefreshError),
}

/// A lease, given back when dropped, also in a panic.
struct Lease<'a> {
    flight: &'a Flight<'a>,
    holder: &'a Holder,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // At worst it ends by itself; and of a removed session nothing is left to give back.
        if let Err(error) = self.flight.sessions.release_lease(self.flight.id, self.holder) {
            tracing::warn!(%error, "a lease was not given back");
        }
    }
}

/// Reports whether a session still holds the refresh token that was used.
fn holds(open: &OpenSession, used: &SecretString) -> bool {
    let present = open.credential.tokens().and_then(|tokens| tokens.refresh_token.as_ref());
    present.is_some_and(|present| present.expose_secret() == used.expose_secret())
}

fn with_renewal(open: &OpenSession, renewal: Renewal) -> Credential {
    let tokens = open.credential.tokens().cloned().unwrap_or_default();
    with_tokens(open, TokenSet { renewal, ..tokens }, open.credential.attributes.clone())
}

fn with_tokens(
    open: &OpenSession,
    tokens: TokenSet,
    attributes: BTreeMap<String, String>,
) -> Credential {
    Credential::oauth(tokens, open.credential.binding.clone()).with_attributes(attributes)
}

/// Longer than one request may take, with room for a slow disk.
const LEASE_S: i64 = PATIENCE.as_secs().cast_signed() + 15;
/// Longer than the two requests that one renewal may make.
const MAX_WAIT: Duration = Duration::from_secs(120);
/// How often a lease in the way is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Requests with unknown outcome after which a refresh token is given up.
pub(super) const MAX_ATTEMPTS: u32 = 2;
/// Rounds of one flight: two requests, and room for changes of others in between.
const MAX_TRIES: u32 = 4;
const MAX_STORE_TRIES: u32 = 8;
const STORE_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use plugin_api::{PluginId, ProviderId};

    use super::*;
    use crate::{
        config::Timeouts,
        session::{Binding, Login, MasterKey, SessionName, SqliteStore},
        transport::TlsOptions,
    };

    const STAMP: Stamp<'_> = Stamp { now_s: 0, actor: "test" };

    #[test]
    fn whoever_lost_the_lease_sends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("maestro.db"), 0).unwrap();
        let key =
            MasterKey::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap()), "test");
        let sessions = Sessions::open(Arc::new(store), key, 0).unwrap();
        // Port 9 discards; nothing is to be sent there anyway.
        let endpoint = "http://127.0.0.1:9/token";
        let tokens = TokenSet {
            access_token: "at".into(),
            refresh_token: Some("rt".into()),
            expires_at: Some(1),
            client_id: "me".into(),
            token_endpoint: endpoint.into(),
            ..TokenSet::default()
        };
        let (provider, plugin) = (ProviderId::new("acme").unwrap(), PluginId::new("acme").unwrap());
        let login = Login {
            provider: provider.clone(),
            name: SessionName::new("work").unwrap(),
            credential: Credential::oauth(
                tokens,
                Binding::new(plugin.clone(), ["http://127.0.0.1:9"]).unwrap(),
            ),
            account: None,
            replace: false,
            make_default: false,
        };
        let id = sessions.create(&login, &STAMP).unwrap().id;
        let refresher = Refresher::new(Timeouts::default(), "test");
        let source = Source {
            provider,
            plugin,
            scheme: serde_json::from_str("{}").unwrap(),
            settings: BTreeMap::new(),
            facts: BTreeMap::new(),
            client: None,
            tls: TlsOptions::default(),
        };
        let flight = Flight {
            refresher: &refresher,
            sessions: &sessions,
            id: &id,
            need: &Need::Usable { waiting: true },
            source: &source,
        };
        let (ours, theirs) = (Holder::new().unwrap(), Holder::new().unwrap());
        let attempts = || {
            let events = sessions.store().audit_events(10).unwrap();
            events.iter().filter(|event| event.action == "attempt").count()
        };
        assert!(sessions.take_lease(&id, &theirs, LEASE_S, local_now_s()).unwrap().is_none());
        let lease = Lease { flight: &flight, holder: &ours };
        assert!(flight.renew(&lease, &mut false).unwrap().is_none());
        assert_eq!(attempts(), 0);
        // With the lease it is sent, and fails here, because nobody is at that port.
        sessions.release_lease(&id, &theirs).unwrap();
        assert!(flight.renew(&lease, &mut false).is_err());
        assert_eq!(attempts(), 1);
    }
}
