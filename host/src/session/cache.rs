//! Opened sessions kept in memory, so that a request neither reads SQLite nor decrypts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use plugin_api::ProviderId;

use crate::session::{
    name::{AuthType, SessionName},
    service::OpenSession,
};

/// What a request asks for; the parts left out match anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) provider: ProviderId,
    pub(super) name: Option<SessionName>,
    pub(super) auth_type: Option<AuthType>,
}

/// Answers that hold for one revision of the store. The secrets in them are wiped when dropped.
#[derive(Default)]
pub(super) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    revision: u64,
    answers: HashMap<Question, Arc<OpenSession>>,
}

impl Cache {
    /// Returns the answer if it was given at `revision`; forgets all of an older one.
    pub(super) fn find(&self, revision: u64, question: &Question) -> Option<Arc<OpenSession>> {
        self.at(revision).answers.get(question).cloned()
    }

    /// Keeps an answer that was read after `revision` was.
    ///
    /// If the store moved on in between, the answer may be newer than that; keeping it would do no
    /// harm, since it goes with the next look at the revision.
    pub(super) fn keep(&self, revision: u64, question: Question, answer: Arc<OpenSession>) {
        let mut inner = self.at(revision);
        // Bounded, because questions come from clients. Refilling is cheap, so no order is kept.
        if inner.answers.len() >= MAX_ANSWERS {
            inner.answers.clear();
        }
        inner.answers.insert(question, answer);
    }

    fn at(&self, revision: u64) -> std::sync::MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.revision != revision {
            inner.answers.clear();
            inner.revision = revision;
        }
        inner
    }
}

const MAX_ANSWERS: usize = 1024;
