//! Lists of models, kept for a while, because clients ask for them at every start and each bare model
//! name needs them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use plugin_api::{ProviderId, capability::Capability, operation::Model};
use tokio::sync::OnceCell;

use super::{Error, Maestro};

/// How long a list is good.
const KEEP: Duration = Duration::from_secs(300);

/// How long a failure is believed, so that a provider that is down is not asked at every turn.
const KEEP_FAILURE: Duration = Duration::from_secs(10);

/// How long all lists together are waited for. Claude Code waits 3 s; a slower list is fetched to its
/// end and there the next time.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// The lists, each under the state of the sessions that it was fetched with.
#[derive(Debug, Default)]
pub(super) struct Catalog(Mutex<HashMap<ProviderId, Arc<Entry>>>);

#[derive(Debug)]
struct Entry {
    revision: u64,
    since: Instant,
    /// Filled once by whoever comes first; the others wait for the same. `None` for a failure.
    list: OnceCell<Option<Arc<Vec<Model>>>>,
}

impl Entry {
    fn is_good(&self, revision: u64) -> bool {
        let keep = match self.list.get() {
            Some(None) => KEEP_FAILURE,
            _ => KEEP,
        };
        self.revision == revision && self.since.elapsed() < keep
    }
}

impl Maestro {
    /// Returns the models of the ready providers that list any, with their default sessions, from
    /// memory where they are known. A provider that fails or is slow is left out.
    pub async fn known_models(&self) -> Vec<(ProviderId, Arc<Vec<Model>>)> {
        let ready = self.list_providers().await.into_iter().filter(|provider| {
            provider.ready && provider.capabilities.contains(&Capability::Models)
        });
        let revision = self.session_revision().await.unwrap_or_default();
        let asked = ready.map(|provider| {
            let entry = self.inner.catalog.entry(&provider.id, revision);
            let this = self.clone();
            async move {
                let id = provider.id.clone();
                // In a task of its own: whoever gives up does not stop it.
                let fetched = tokio::spawn(async move { this.fetch(&entry, &id).await });
                let list = tokio::time::timeout(PATIENCE, fetched).await;
                Some((provider.id, list.ok()?.ok()??))
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn fetch(&self, entry: &Entry, provider: &ProviderId) -> Option<Arc<Vec<Model>>> {
        let fetched = entry.list.get_or_init(|| async {
            match self.list_models(provider.as_str(), None).await {
                Ok(list) => Some(Arc::new(list)),
                Err(error) => {
                    tracing::info!(%provider, "no list of models: {}", super::one_line(&error));
                    None
                }
            }
        });
        fetched.await.clone()
    }

    async fn session_revision(&self) -> Result<u64, Error> {
        match self.existing_sessions().await? {
            Some(sessions) => Ok(sessions.store().revision()?),
            None => Ok(0),
        }
    }
}

impl Catalog {
    fn entry(&self, provider: &ProviderId, revision: u64) -> Arc<Entry> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(provider).filter(|entry| entry.is_good(revision)) {
            return Arc::clone(entry);
        }
        let entry = Entry { revision, since: Instant::now(), list: OnceCell::new() };
        let entry = Arc::new(entry);
        entries.insert(provider.clone(), Arc::clone(&entry));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_until_the_sessions_change() {
        let (catalog, openai) = (Catalog::default(), ProviderId::new("openai").unwrap());
        let first = catalog.entry(&openai, 1);
        assert!(Arc::ptr_eq(&first, &catalog.entry(&openai, 1)));
        assert!(!Arc::ptr_eq(&first, &catalog.entry(&openai, 2)));
    }

    #[test]
    fn a_failure_is_not_believed_for_long() {
        let past = Instant::now().checked_sub(KEEP_FAILURE).unwrap();
        let entry = |list| Entry { revision: 1, since: past, list: OnceCell::new_with(Some(list)) };
        assert!(!entry(None).is_good(1));
        assert!(entry(Some(Arc::default())).is_good(1));
    }
}
