//! Sessions that the configuration declares: their keys are read where they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use secrecy::SecretString;

use super::{Error, Maestro, choice::Chosen};
use crate::{
    config::{DeclaredSession, secret},
    plugin::provider::Provider,
};

/// How long a secret that a command printed is kept. Without it a gateway would run the command for
/// each request.
const KEPT: Duration = Duration::from_mins(1);

/// What the commands of declared sessions printed, by session.
#[derive(Default)]
pub(super) struct Printed {
    sessions: Mutex<HashMap<String, Slot>>,
}

/// What one command printed, and when. Whoever finds it locked waits for him who runs the command.
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, SecretString)>>>;

impl Printed {
    /// Forgets all, so that the commands are asked again.
    pub(super) fn forget(&self) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn slot(&self, session: &str) -> Slot {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sessions.entry(session.to_owned()).or_default())
    }
}

impl Maestro {
    /// Opens a declared session.
    pub(super) async fn declared_session(
        &self,
        provider: &Provider,
        name: &str,
        declared: &DeclaredSession,
    ) -> Result<Chosen, Error> {
        let secret = self.declared_key(name, declared).await;
        let secret =
            secret.map_err(|problem| Error::Declared { session: name.to_owned(), problem })?;
        let mut chosen = Chosen::with_key(provider, format!("{}:{name}", provider.id), secret);
        chosen.info.attributes.clone_from(&declared.settings);
        Ok(chosen)
    }

    async fn declared_key(
        &self,
        name: &str,
        declared: &DeclaredSession,
    ) -> Result<SecretString, String> {
        if declared.command.is_none() {
            // A variable or a small file: quicker than a detour over another thread.
            return read(declared);
        }
        let slot = self.inner.printed.slot(name);
        let mut slot = slot.lock().await;
        if let Some((when, secret)) = &*slot
            && when.elapsed() < KEPT
        {
            return Ok(secret.clone());
        }
        let declared = declared.clone();
        let asked = tokio::task::spawn_blocking(move || read(&declared)).await;
        let secret = asked.map_err(|error| error.to_string())??;
        *slot = Some((Instant::now(), secret.clone()));
        Ok(secret)
    }
}

fn read(declared: &DeclaredSession) -> Result<SecretString, String> {
    let (env, file) = (declared.env.as_deref(), declared.file.as_deref());
    secret::read("key", env, file, declared.command.as_deref())
}
