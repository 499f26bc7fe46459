//! One request of a caller, and the exchanges it takes to answer it.
//!
//! The only place that opens an exchange, and the only one that opens another in its place: after the
//! provider refused a token that could be renewed, once, and before anything reached the caller.

use std::sync::Arc;

use bytes::Bytes;
use plugin_api::operation::Operation;

use super::{Error, Maestro, choice::Chosen};
use crate::{
    exchange::{Driver, Order},
    plugin::registry::Provider,
};

/// A request that is under way.
pub(super) struct Asking {
    maestro: Maestro,
    provider: Arc<Provider>,
    chosen: Chosen,
    /// The operation, for as long as the exchange may be opened again.
    again: Option<Operation>,
    noted: bool,
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
    /// [`Error::Plugin`] when the library does not load.
    pub(super) fn open(
        maestro: &Maestro,
        provider: &Arc<Provider>,
        chosen: Chosen,
        operation: Operation,
    ) -> Result<(Self, Driver), Error> {
        let asking = Self {
            maestro: maestro.clone(),
            provider: Arc::clone(provider),
            again: chosen.has_tokens().then(|| operation.clone()),
            chosen,
            noted: false,
        };
        let driver = asking.drive(operation)?;
        Ok((asking, driver))
    }

    /// Returns the selector of the session that serves it.
    pub(super) fn session(&self) -> Option<&str> {
        self.chosen.selector.as_deref()
    }

    /// Says that something of the answer reached the caller: from now on it cannot be asked again.
    pub(super) fn begun(&mut self) {
        self.again = None;
    }

    /// Opens another exchange after `error`, if that can help; `None` if the error stands.
    ///
    /// Cancel-safe: dropped before it is done, it can be called again with the same error.
    pub(super) async fn reopen(&mut self, error: &Error) -> Option<Result<Driver, Error>> {
        let refused = matches!(error, Error::Exchange(error) if error.is_authentication());
        let session = self.chosen.stored.clone().filter(|_| refused && self.again.is_some())?;
        let other = self.maestro.other_tokens(&self.provider, &session).await;
        let operation = self.again.take()?;
        let chosen = match other {
            Ok(other) => Chosen::stored(&self.provider, other?),
            Err(error) => Err(error),
        };
        Some(chosen.and_then(|chosen| {
            self.chosen = chosen;
            self.drive(operation)
        }))
    }

    /// Records how the request went, once.
    pub(super) fn ended(&mut self, error: Option<&Error>) {
        if !std::mem::replace(&mut self.noted, true) {
            self.maestro.noted(&self.chosen, error);
        }
    }

    fn drive(&self, operation: Operation) -> Result<Driver, Error> {
        let plugin = &self.provider.plugin;
        let library = plugin
            .library()
            .map_err(|source| Error::Plugin { plugin: plugin.id.to_string(), source })?;
        let mut instance = self.provider.instance();
        instance.session = self.chosen.info.clone();
        let order = Order {
            library,
            instance,
            operation,
            native: Bytes::new(),
            route: self.provider.route.clone(),
            credential: self.chosen.credential.clone(),
        };
        Ok(Driver::start(order, Arc::clone(&self.maestro.inner.transport)))
    }
}
