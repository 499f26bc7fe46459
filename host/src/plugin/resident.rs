//! A library in this process, as far as it can be held to its budgets there: an exchange can be ended
//! between two steps and never within one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use plugin_api::{
    abi::codec::PackedOpening,
    exchange::{Input, Timestamp},
};
use tokio::sync::Notify;

use super::{
    endless::{Listener, Pulse, Watched},
    load::{Library, LiveExchange, Stepped},
    quarantine::Quarantine,
    worker::Budgets,
};

/// A library that was mapped, and what is done about it.
#[derive(Debug)]
pub struct Resident {
    watched: Arc<Watched>,
    retired: AtomicBool,
    retirement: Notify,
}

impl Resident {
    /// Takes a mapped library. Of the budgets, those of a step count; who listens is told of a step
    /// that does not end, and the bytes are withheld.
    #[must_use]
    pub fn new(
        library: Arc<Library>,
        quarantine: Arc<Quarantine>,
        budgets: Budgets,
        told: Arc<Listener>,
    ) -> Self {
        let watched = Arc::new(Watched::new(library, quarantine, budgets, told));
        let (retired, retirement) = Default::default();
        Self { watched, retired, retirement }
    }

    /// Returns the library.
    #[must_use]
    pub fn library(&self) -> &Arc<Library> {
        self.watched.library()
    }

    /// Opens an exchange.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> ResidentExchange {
        let (live, pulse) = (self.library().open(), self.watched.pulse());
        ResidentExchange { live, pulse, resident: Arc::clone(self) }
    }

    /// Ends its exchanges, each when its step is over.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.retirement.notify_waiters();
    }

    /// Reports whether it was retired.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Waits until it is retired.
    pub async fn until_retired(&self) {
        let mut told = std::pin::pin!(self.retirement.notified());
        // Before the flag is read, so that what happens in between is not missed.
        told.as_mut().enable();
        if !self.is_retired() {
            told.await;
        }
    }
}

/// An exchange in a library of this process.
#[derive(Debug)]
pub struct ResidentExchange {
    live: LiveExchange,
    // Goes after it: to close an exchange runs the plugin's code too.
    pulse: Arc<Pulse>,
    resident: Arc<Resident>,
}

impl ResidentExchange {
    /// Steps it, under the eyes of the [watch](super::endless).
    pub fn step(
        &mut self,
        now: Timestamp,
        input: &Input<'_>,
        opening: &PackedOpening,
        into: &mut Stepped,
    ) {
        self.pulse.begin();
        self.live.step(now, input, opening, into);
        self.pulse.end();
    }

    /// Returns what it runs in.
    #[must_use]
    pub fn resident(&self) -> &Arc<Resident> {
        &self.resident
    }
}

impl Drop for ResidentExchange {
    fn drop(&mut self) {
        self.pulse.begin();
    }
}
