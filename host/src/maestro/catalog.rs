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
const KEEP_FAILURE: Duration = Duration::from_secs(30);

/// How long a list is waited for that never came before, from when it was first asked for. Claude Code
/// waits 3 s; a slower list is fetched to its end and there the next time.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// Bounds the lists, because the names of sessions come from clients. Fetching anew is cheap, so no
/// order is kept.
const MAX_LISTS: usize = 1024;

/// The session that a caller uses of each provider, where it is not the usual one.
pub type SessionOf<'a> = &'a (dyn Fn(&ProviderId) -> Option<String> + Send + Sync);

/// The lists that are known, and who has one that is not.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Known {
    /// The models of each provider.
    pub lists: Vec<(ProviderId, Arc<Vec<Model>>)>,
    /// Providers whose list failed, or has not come yet.
    pub missing: Vec<ProviderId>,
}

/// The lists, each under the state of the sessions that it was fetched with.
#[derive(Debug, Default)]
pub(super) struct Catalog(Mutex<HashMap<Question, Arc<Entry>>>);

type Question = (ProviderId, Option<String>);

#[derive(Debug)]
struct Entry {
    revision: u64,
    since: Instant,
    /// Filled once by whoever comes first; the others wait for the same. `None` for a failure.
    list: OnceCell<Option<Arc<Vec<Model>>>>,
    /// The list before, which is told while this one is fetched, or where that fails.
    former: Option<Arc<Vec<Model>>>,
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
    /// Returns the models of the ready providers that list any, from memory where they are known. A
    /// list that is old is told once more while it is fetched anew; the first one is waited for, up to
    /// 2.5 s.
    pub async fn known_models(&self, session_of: SessionOf<'_>) -> Known {
        let ready = self.list_providers().await.into_iter().filter(|provider| {
            provider.ready && provider.capabilities.contains(&Capability::Models)
        });
        let revision = self.session_revision().await.unwrap_or_default();
        let asked = ready.map(|provider| {
            let session = session_of(&provider.id);
            let entry = self.inner.catalog.entry((provider.id.clone(), session.clone()), revision);
            let this = self.clone();
            async move {
                if let Some(known) = entry.list.get() {
                    return (provider.id, known.clone().or(entry.former.clone()));
                }
                let (id, former) = (provider.id.clone(), entry.former.clone());
                let patience = PATIENCE.saturating_sub(entry.since.elapsed());
                // In a task of its own: whoever gives up does not stop it.
                let fetched = tokio::spawn(async move { this.fetch(&entry, &id, session).await });
                if former.is_some() {
                    return (provider.id, former);
                }
                let list = tokio::time::timeout(patience, fetched).await;
                (provider.id, list.ok().and_then(|list| list.ok().flatten()))
            }
        });
        let mut known = Known::default();
        for (provider, list) in join_all(asked).await {
            match list {
                Some(list) => known.lists.push((provider, list)),
                None => known.missing.push(provider),
            }
        }
        known
    }

    async fn fetch(
        &self,
        entry: &Entry,
        provider: &ProviderId,
        session: Option<String>,
    ) -> Option<Arc<Vec<Model>>> {
        let fetched = entry.list.get_or_init(|| async {
            match self.list_models(provider.as_str(), session.as_deref()).await {
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
    fn entry(&self, question: Question, revision: u64) -> Arc<Entry> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&question).filter(|entry| entry.is_good(revision)) {
            return Arc::clone(entry);
        }
        if entries.len() >= MAX_LISTS {
            entries.clear();
        }
        // Under other sessions it might be another account's.
        let same = entries.get(&question).filter(|former| former.revision == revision);
        let former = same.and_then(|former| {
            former.list.get().cloned().flatten().or_else(|| former.former.clone())
        });
        let entry = Entry { revision, since: Instant::now(), list: OnceCell::new(), former };
        let entry = Arc::new(entry);
        entries.insert(question, Arc::clone(&entry));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_until_the_sessions_change() {
        let (catalog, openai) = (Catalog::default(), ProviderId::new("openai").unwrap());
        let entry = |session: Option<&str>, revision| {
            catalog.entry((openai.clone(), session.map(str::to_owned)), revision)
        };
        let first = entry(None, 1);
        assert!(Arc::ptr_eq(&first, &entry(None, 1)));
        assert!(!Arc::ptr_eq(&first, &entry(Some("work"), 1)));
        assert!(!Arc::ptr_eq(&first, &entry(None, 2)));
    }

    #[test]
    fn a_failure_is_not_believed_for_long() {
        let past = Instant::now().checked_sub(KEEP_FAILURE).unwrap();
        let entry = |list| Entry {
            revision: 1,
            since: past,
            list: OnceCell::new_with(Some(list)),
            former: None,
        };
        assert!(!entry(None).is_good(1));
        assert!(entry(Some(Arc::default())).is_good(1));
    }

    #[test]
    fn an_old_list_is_there_while_it_is_renewed_under_the_same_sessions() {
        let (catalog, openai) = (Catalog::default(), ProviderId::new("openai").unwrap());
        let question = (openai, None);
        let list = Arc::new(vec![Model::new("m")]);
        let since = Instant::now().checked_sub(KEEP).unwrap();
        let old = |list: Option<Arc<Vec<Model>>>, former| Entry {
            revision: 1,
            since,
            list: OnceCell::new_with(Some(list)),
            former,
        };
        for (entry, revision, kept) in [
            (old(Some(Arc::clone(&list)), None), 1, true),
            (old(None, Some(Arc::clone(&list))), 1, true),
            (old(Some(Arc::clone(&list)), None), 2, false),
        ] {
            catalog.0.lock().unwrap().insert(question.clone(), Arc::new(entry));
            let entry = catalog.entry(question.clone(), revision);
            assert!(entry.list.get().is_none(), "it is to be fetched");
            assert_eq!(entry.former.is_some(), kept);
        }
    }
}
