//! In place of workers, on systems that cannot confine a process as we need it: there are none.
//!
//! Everything here is uninhabited, so the compiler drops what is written for workers.

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use plugin_api::{
    abi::codec::PackedOpening,
    exchange::{Input, Timestamp},
};

use super::{Broken, Budgets, Confinement, Vitals};
use crate::plugin::{RefusalError, judge::Judged, load::Stepped, quarantine::Quarantine};

/// Does nothing: no process is started as a worker here.
pub fn run_if_asked() {}

pub(super) fn of_this_machine() -> Confinement {
    Confinement::NONE
}

/// A plugin's worker, of which there is none on this system.
#[derive(Debug)]
pub struct Worker(Infallible);

/// An exchange in a worker, of which there is none on this system.
#[derive(Debug)]
pub struct WorkerExchange(Infallible);

impl Worker {
    /// Refuses the library.
    ///
    /// # Errors
    ///
    /// Always [`RefusalError::Worker`].
    pub fn new(
        _judged: &Judged,
        _program: Option<&PathBuf>,
        _budgets: Budgets,
        _must_be_confined: bool,
        _quarantine: Option<Arc<Quarantine>>,
    ) -> Result<Self, RefusalError> {
        Err(RefusalError::Worker { problem: "this system has none".into() })
    }

    /// Waits until a process has loaded the library.
    ///
    /// # Errors
    ///
    /// Why it cannot be loaded.
    pub async fn ready(&self) -> Result<(), RefusalError> {
        match self.0 {}
    }

    /// Opens an exchange.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> WorkerExchange {
        match self.0 {}
    }

    /// Ends it although somebody still uses it.
    pub fn retire(&self) {
        match self.0 {}
    }

    /// Says what it costs.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        match self.0 {}
    }
}

impl WorkerExchange {
    /// Gives the exchange its next input.
    pub fn give(&mut self, _now: Timestamp, _input: &Input<'_>, _opening: &PackedOpening) {
        match self.0 {}
    }

    /// Gives it several.
    pub fn give_all<'a>(
        &mut self,
        _now: Timestamp,
        _inputs: impl IntoIterator<Item = &'a Input<'a>>,
        _opening: &PackedOpening,
    ) {
        match self.0 {}
    }

    /// Waits for the answer to it.
    ///
    /// # Errors
    ///
    /// Why no more can come of it.
    pub async fn answer(&mut self, _into: &mut Stepped) -> Result<(), Broken> {
        match self.0 {}
    }

    /// Reports whether it would survive the end of its worker.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        match self.0 {}
    }
}
