//! A library in this process, as far as it can be held to its budgets there: an exchange can be ended
//! between two steps and never within one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use plugin_api::{
    abi::codec::PackedOpening,
    exchange::{Input, Timestamp},
};
use tokio::sync::Notify;
use tracing::warn;

use super::{
    load::{Library, LiveExchange, Stepped},
    quarantine::Quarantine,
};

/// A library that was mapped, and what is done about it.
#[derive(Debug)]
pub struct Resident {
    library: Arc<Library>,
    quarantine: Arc<Quarantine>,
    /// How long a step may take.
    step_wall: Duration,
    retired: AtomicBool,
    retirement: Notify,
}

impl Resident {
    /// Takes a mapped library.
    #[must_use]
    pub fn new(library: Arc<Library>, quarantine: Arc<Quarantine>, step_wall: Duration) -> Self {
        let (retired, retirement) = Default::default();
        Self { library, quarantine, step_wall, retired, retirement }
    }

    /// Returns the library.
    #[must_use]
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// Opens an exchange.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> ResidentExchange {
        ResidentExchange { live: self.library.open(), resident: Arc::clone(self) }
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

    /// Hears how long a step took. One that was too long could not be stopped; so that it does not
    /// happen again, the bytes are withheld from now on.
    fn took(&self, took: Duration) {
        if took <= LONG_STEP && took <= self.step_wall {
            return;
        }
        let judged = self.library.judged();
        let plugin = &judged.manifest.id;
        warn!(plugin, ms = took.as_millis(), "a step took too long");
        if took > self.step_wall {
            let most = self.step_wall.as_millis();
            let how = format!("a step in process took {} ms, at most {most}", took.as_millis());
            self.quarantine.withhold(plugin, &judged.hash, &how);
        }
    }
}

/// An exchange in a library of this process.
#[derive(Debug)]
pub struct ResidentExchange {
    live: LiveExchange,
    resident: Arc<Resident>,
}

impl ResidentExchange {
    /// Steps it, and looks at the time that it took.
    pub fn step(
        &mut self,
        now: Timestamp,
        input: &Input<'_>,
        opening: &PackedOpening,
        into: &mut Stepped,
    ) {
        let started = std::time::Instant::now();
        self.live.step(now, input, opening, into);
        self.resident.took(started.elapsed());
    }

    /// Returns what it runs in.
    #[must_use]
    pub fn resident(&self) -> &Arc<Resident> {
        &self.resident
    }
}

/// How long a step may take before it is reported.
const LONG_STEP: Duration = Duration::from_secs(5);
