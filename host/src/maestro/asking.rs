//! One request of a caller, and the exchanges it takes to answer it.
//!
//! The only place that opens an exchange, and the only one that opens another in its place, as long as
//! nothing that the model said reached the caller: once after the provider refused a token that could be
//! renewed, and as often as `[retries]` allows after a failure that may pass.

use std::{future::Future, sync::Arc, time::Duration};

use plugin_api::{
    capability::Capability,
    error::{ErrorKind, ProviderError},
    operation::Operation,
};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Call, Error, Maestro, choice::Chosen, health::Visit};
use crate::{
    exchange::{Driver, Native, Order, recording::Recorder},
    plugin::{RefusalError, admitted::Plugin, provider::Provider},
};

/// A request that is under way.
pub(super) struct Asking {
    maestro: Maestro,
    provider: Arc<Provider>,
    chosen: Chosen,
    /// The operation, for as long as the exchange may be opened again.
    again: Option<Arc<Operation>>,
    /// The client's own body, where it is passed through.
    native: Native,
    /// What it finds out about the upstream; of operations that only look, nothing.
    visit: Option<Visit>,
    /// Exchanges so far that failed for a reason that may pass, this one included.
    tried: u32,
    /// When the next try is due, while it is waited for.
    due: Option<Instant>,
    /// Whether tokens were renewed for this request; a second refusal stands.
    renewed: bool,
    deadline: Option<Deadline>,
    /// Where its exchanges are written down.
    recorder: Option<Arc<Recorder>>,
    noted: bool,
}

/// When a caller's patience ends.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    after: Duration,
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").field("session", &self.session()).finish_non_exhaustive()
    }
}

impl Asking {
    /// Opens the first exchange of a request.
    ///
    /// # Errors
    ///
    /// [`Error::Plugin`] when the library does not load, [`Error::LeftAlone`].
    pub(super) async fn open(
        maestro: &Maestro,
        provider: &Arc<Provider>,
        chosen: Chosen,
        operation: Operation,
        native: Native,
        call: &Call,
    ) -> Result<(Self, Box<Driver>), Error> {
        offered(provider, &chosen, &operation)?;
        let operation = Arc::new(operation);
        let config = maestro.config();
        let visit = match tells_of_health(&operation) {
            true => Some(maestro.inner.health.visit(&provider.id)?),
            false => None,
        };
        let may_again = chosen.has_tokens() || config.retries.max > 0;
        let configured = Some(config.timeouts.call_ms).filter(|ms| *ms > 0);
        let patience = call.deadline.or_else(|| configured.map(Duration::from_millis));
        let asking = Self {
            maestro: maestro.clone(),
            provider: Arc::clone(provider),
            again: may_again.then(|| Arc::clone(&operation)),
            native,
            chosen,
            visit,
            tried: 1,
            due: None,
            renewed: false,
            deadline: patience
                .and_then(|after| Some(Deadline { at: Instant::now().checked_add(after)?, after })),
            recorder: call.recorder.clone(),
            noted: false,
        };
        // Where it runs in a worker, that is waited for once; another exchange starts it again if need be.
        let plugin = &asking.provider.plugin;
        plugin.start().await.map_err(|source| refused(plugin, source))?;
        let driver = asking.drive(operation)?;
        Ok((asking, driver))
    }

    /// Returns the selector of the session that serves it.
    pub(super) fn session(&self) -> Option<&str> {
        self.chosen.selector.as_deref()
    }

    /// Reports whether another exchange may still take the place of this one.
    pub(super) fn may_reopen(&self) -> bool {
        self.again.is_some()
    }

    /// Reports whether its end was told.
    pub(super) fn is_over(&self) -> bool {
        self.noted
    }

    /// Says that something of the answer reached the caller: from now on it cannot be asked again.
    pub(super) fn begun(&mut self) {
        self.again = None;
        self.native = Native::default();
    }

    /// Says that the model said something.
    pub(super) fn answered(&mut self) {
        self.begun();
        if let Some(visit) = &mut self.visit {
            visit.began();
        }
    }

    /// Waits for `work`, but no longer than the caller would.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`].
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let Some(deadline) = self.deadline else { return Ok(work.await) };
        let late = |_| Error::Deadline { seconds: deadline.after.as_secs_f32() };
        timeout_at(deadline.at, work).await.map_err(late)
    }

    /// Opens another exchange after `error`, if that can help; `None` if the error stands.
    ///
    /// Cancel-safe: dropped before it is done, it can be called again with the same error.
    pub(super) async fn reopen(&mut self, error: &Error) -> Option<Result<Box<Driver>, Error>> {
        let Error::Exchange(failed) = error else { return None };
        if failed.is_authentication() {
            // Boxed, because it is rare and large: it would lie beside every open stream.
            return Box::pin(self.with_other_tokens()).await;
        }
        self.wait(failed.provider_error()?).await?;
        let operation = self.again.clone()?;
        Some(self.drive(operation))
    }

    async fn with_other_tokens(&mut self) -> Option<Result<Box<Driver>, Error>> {
        if self.renewed {
            return None;
        }
        let operation = self.again.clone()?;
        let session = self.chosen.stored.clone()?;
        let other = self.in_time(self.maestro.other_tokens(&self.provider, &session)).await;
        self.renewed = true;
        let chosen = match other.and_then(|other| other) {
            Ok(other) => Chosen::stored(&self.provider, other?),
            Err(error) => Err(error),
        };
        Some(chosen.and_then(|chosen| {
            self.chosen = chosen;
            self.drive(operation)
        }))
    }

    /// Waits until the request is due again; `None` if it is not to be sent again.
    async fn wait(&mut self, error: &ProviderError) -> Option<()> {
        let due = match self.due {
            Some(due) => due,
            None => {
                let operation = self.again.as_ref()?;
                if leaves_traces(operation) && may_have_arrived(error.kind) {
                    return None;
                }
                let config = self.maestro.config();
                let wait = config.retries.wait(self.tried, error, chance())?;
                let due = Instant::now().checked_add(wait)?;
                // Better the failure now than a late one that says less.
                if self.deadline.is_some_and(|deadline| due >= deadline.at) {
                    return None;
                }
                if let Some(visit) = &mut self.visit {
                    visit.failed(error, self.chosen.selector.as_deref(), &config);
                }
                let (provider, tried) = (&self.provider.id, self.tried);
                tracing::info!(%provider, tried, wait_ms = wait.as_millis(), %error, "trying again");
                if wait >= NOTEWORTHY {
                    let (why, wait_s) = (error.kind, wait.as_secs_f32().ceil());
                    let text = format!("provider `{provider}`: {why}; trying again in {wait_s} s");
                    self.maestro.warn(&text);
                }
                *self.due.insert(due)
            }
        };
        sleep_until(due).await;
        self.due = None;
        self.tried += 1;
        Some(())
    }

    /// Records how the request went, once.
    pub(super) fn ended(&mut self, error: Option<&Error>) {
        if !std::mem::replace(&mut self.noted, true) {
            match (&mut self.visit, error) {
                (Some(visit), None) => visit.answered(),
                (Some(visit), Some(error)) => {
                    if let Some(error) = error.provider_error() {
                        let session = self.chosen.selector.as_deref();
                        visit.failed(error, session, &self.maestro.config());
                    }
                }
                (None, _) => {}
            }
            self.maestro.noted(&self.chosen, error);
        }
    }

    fn drive(&self, operation: Arc<Operation>) -> Result<Box<Driver>, Error> {
        let plugin = &self.provider.plugin;
        let runtime = plugin.runtime().map_err(|source| refused(plugin, source))?;
        let mut instance = self.provider.instance();
        instance.session = self.chosen.info.clone();
        let order = Order {
            plugin: plugin.id.clone(),
            runtime,
            instance,
            operation,
            native: self.native.clone(),
            route: Arc::clone(&self.provider.route),
            credential: self.chosen.credential.clone(),
            recorder: self.recorder.clone(),
        };
        Ok(Box::new(Driver::start(order, Arc::clone(&self.maestro.inner.transport))))
    }
}

fn refused(plugin: &Plugin, source: RefusalError) -> Error {
    Error::Plugin { plugin: plugin.id.to_string(), source }
}

/// Refuses what the provider does not offer under this login.
fn offered(provider: &Provider, chosen: &Chosen, operation: &Operation) -> Result<(), Error> {
    let Some(scheme) = chosen.scheme(provider) else { return Ok(()) };
    let capability = match operation {
        Operation::Chat(_) => Capability::Chat,
        Operation::ListModels(_) | Operation::DescribeModel(_) => Capability::Models,
        Operation::Embed(_) => Capability::Embeddings,
        Operation::CountTokens(_) => Capability::TokenCount,
        Operation::ListContextChunks(_) | Operation::DeleteContextChunk(_) => Capability::Contexts,
        _ => return Ok(()),
    };
    if !scheme.without().contains(&capability) {
        return Ok(());
    }
    let login = match scheme.display_name() {
        "" => scheme.id(),
        name => name,
    };
    let what = format!("`{capability}` under the login {login}");
    Err(Error::NotSupported { provider: provider.id.clone(), what })
}

/// Reports whether how an operation ends says something about the upstream: many a server that answers
/// has no list of models.
fn tells_of_health(operation: &Operation) -> bool {
    matches!(operation, Operation::Chat(_) | Operation::Embed(_) | Operation::CountTokens(_))
}

/// Reports whether a request changes what the vendor keeps, so that sending it twice is not the same
/// as once.
fn leaves_traces(operation: &Operation) -> bool {
    match operation {
        Operation::Chat(request) => request.context.is_some() || request.store == Some(true),
        // Deleted twice, the second answer says that there was nothing.
        Operation::DeleteContextChunk(_) => true,
        _ => false,
    }
}

/// Reports whether the vendor may have acted on a request that failed so.
fn may_have_arrived(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::RateLimited | ErrorKind::Overloaded)
}

/// A wait that a person would take for a program that hangs.
const NOTEWORTHY: Duration = Duration::from_secs(3);

/// Draws evenly from 0 to 1.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}
