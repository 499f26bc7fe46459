//! The host's handle on a worker, and an exchange in it as the driver sees it.
//!
//! The handle lives as long as the plugin is used and outlives any one process. Inputs are written to
//! the socket by whoever gives them; what comes back is read by the thread of [`supervise`].

use std::{
    collections::BTreeMap,
    fmt, io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
};

use plugin_api::{
    abi::{
        Message,
        codec::{PackedOpening, encode_input},
    },
    exchange::{Input, Timestamp},
    manifest::SECTION,
};
use rustix::event::{EventfdFlags, eventfd};

use super::{
    Broken, Budgets, Vitals,
    exchange::Slot,
    frame::{self, what},
    line::Line,
    process::{resident, seal},
    supervise::supervise,
};
use crate::plugin::{RefusalError, judge::Judged, load::Stepped, quarantine::Quarantine};

/// A plugin's worker, whether a process runs for it just now or not. The last handle ends it.
pub struct Worker {
    pub(super) shared: Arc<Shared>,
}

/// What a worker is made of.
pub(super) struct Plan {
    pub(super) plugin: String,
    pub(super) copy: PathBuf,
    pub(super) hash: String,
    pub(super) manifest_json: Arc<str>,
    pub(super) program: Option<PathBuf>,
    pub(super) budgets: Budgets,
    pub(super) must_be_confined: bool,
    /// Who counts crashes that came again.
    pub(super) quarantine: Option<Arc<Quarantine>>,
}

/// What handles and thread share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) state: Mutex<State>,
    /// Wakes the thread.
    pub(super) bell: OwnedFd,
    /// The library in memory, once it is.
    library: Mutex<Option<Arc<OwnedFd>>>,
}

/// Whether there is a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No process and no thread.
    Off,
    /// A thread, and soon a process.
    Starting,
    /// A process that has loaded the library.
    Ready,
}

pub(super) struct State {
    pub(super) phase: Phase,
    /// The way to the process, while there is one.
    pub(super) line: Option<Arc<Line>>,
    pub(super) slots: BTreeMap<u64, Slot>,
    /// Steps that the process was sent and has not answered.
    pub(super) outstanding: u64,
    /// Starts that came to nothing, and why the last one did.
    pub(super) failures: (u64, Option<Failure>),
    /// Who waits for a process.
    pub(super) waiting: Vec<Waker>,
    /// Whether the last handle is gone.
    pub(super) stopped: bool,
    pub(super) vitals: Vitals,
    /// Crashes of loaded processes that no exchange can be blamed for, since the first one started.
    pub(super) unexplained: u32,
    last_exchange: u64,
}

/// Why a worker could not be started.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Unconfined(String),
    Dlopen(String),
    Entry(String),
    Layout(String),
    ManifestsDiffer,
    Crashed(String),
    Worker(String),
}

impl From<Failure> for RefusalError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unconfined(missing) => Self::Unconfined { missing },
            Failure::Dlopen(problem) => Self::Dlopen { problem },
            Failure::Entry(problem) => Self::Entry { problem },
            Failure::Layout(difference) => {
                Self::Layout { contract: plugin_api::CONTRACT_VERSION, difference }
            }
            Failure::ManifestsDiffer => Self::ManifestsDiffer { section: SECTION },
            Failure::Crashed(how) => Self::Crashed { how },
            Failure::Worker(problem) => Self::Worker { problem },
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("plugin", &self.shared.plan.plugin).finish_non_exhaustive()
    }
}

impl Worker {
    /// Plans a worker for a judged library. No process is started before it is needed. `quarantine`
    /// counts its crashes.
    ///
    /// # Errors
    ///
    /// [`RefusalError::Worker`] when the system gives no means to talk to one.
    pub fn new(
        judged: &Judged,
        program: Option<&PathBuf>,
        budgets: Budgets,
        must_be_confined: bool,
        quarantine: Option<Arc<Quarantine>>,
    ) -> Result<Self, RefusalError> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| RefusalError::Worker { problem: error.to_string() })?;
        let plan = Plan {
            plugin: judged.manifest.id.clone(),
            copy: judged.copy.clone(),
            hash: judged.hash.clone(),
            manifest_json: Arc::clone(&judged.manifest_json),
            program: super::program(program),
            budgets,
            must_be_confined,
            quarantine,
        };
        let state = State {
            phase: Phase::Off,
            line: None,
            slots: BTreeMap::new(),
            outstanding: 0,
            failures: (0, None),
            waiting: Vec::new(),
            stopped: false,
            vitals: Vitals::default(),
            unexplained: 0,
            last_exchange: 0,
        };
        let (state, library) = (Mutex::new(state), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { plan, state, bell, library }) })
    }

    /// Waits until a process has loaded the library; starts one if none runs.
    ///
    /// # Errors
    ///
    /// Why it cannot be loaded; the next call tries again.
    pub async fn ready(&self) -> Result<(), RefusalError> {
        let failed_before = self.shared.lock().failures.0;
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if let (failed, Some(failure)) = &state.failures
                && *failed > failed_before
            {
                return Poll::Ready(Err(failure.clone().into()));
            }
            if state.phase == Phase::Ready {
                return Poll::Ready(Ok(()));
            }
            state.waiting.push(cx.waker().clone());
            self.shared.start_if_off(&mut state);
            Poll::Pending
        })
        .await
    }

    /// Opens an exchange. It waits for [`Input::Start`].
    #[must_use]
    pub fn open(self: &Arc<Self>) -> WorkerExchange {
        let mut state = self.shared.lock();
        state.last_exchange += 1;
        let id = state.last_exchange;
        // Only while there is no exchange may the thread wait without a limit.
        let first = state.slots.is_empty();
        state.slots.insert(id, Slot::new());
        drop(state);
        if first {
            self.shared.ring();
        }
        WorkerExchange { worker: Arc::clone(self), id, frames: Vec::new() }
    }

    /// Ends it although somebody still uses it: its exchanges fail, and no process is started again.
    pub fn retire(&self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        if state.phase == Phase::Off {
            state.give_up(Failure::Worker(RETIRED.into()));
        }
        drop(state);
        self.shared.ring();
    }

    /// Says what it costs and what became of its processes.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let vitals = self.shared.lock().vitals;
        Vitals { memory: vitals.pid.and_then(resident), ..vitals }
    }
}

/// Why exchanges of a worker fail that was told to stop.
pub(super) const RETIRED: &str = "the plugin is not used any more";

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.ring();
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ring(&self) {
        // It can only fail when it rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Starts the thread if there is none.
    fn start_if_off(self: &Arc<Self>, state: &mut State) {
        if state.phase != Phase::Off {
            return;
        }
        state.phase = Phase::Starting;
        let shared = Arc::clone(self);
        let name = format!("worker {}", self.plan.plugin);
        if let Err(error) = thread::Builder::new().name(name).spawn(move || supervise(&shared)) {
            state.give_up(Failure::Worker(error.to_string()));
        }
    }

    /// Returns the library in memory; reads it when it is first needed.
    pub(super) fn library(&self) -> io::Result<Arc<OwnedFd>> {
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = &*library {
            return Ok(Arc::clone(library));
        }
        let sealed = Arc::new(seal(&self.plan.copy, &self.plan.hash)?);
        *library = Some(Arc::clone(&sealed));
        Ok(sealed)
    }
}

impl State {
    /// Goes back to having no process, because one cannot be had.
    pub(super) fn give_up(&mut self, failure: Failure) {
        self.phase = Phase::Off;
        self.line = None;
        let problem = RefusalError::from(failure.clone()).to_string();
        for slot in self.slots.values_mut() {
            slot.fail(Broken::Lost { problem: problem.clone() });
        }
        self.failures = (self.failures.0 + 1, Some(failure));
        self.wake_all();
    }

    /// Wakes everybody who waits for anything.
    pub(super) fn wake_all(&mut self) {
        let slots = self.slots.values_mut().filter_map(|slot| slot.waker.take());
        slots.chain(self.waiting.drain(..)).for_each(Waker::wake);
    }
}

/// An exchange in a worker. Few steps at a time: that is its credit, and a step's output is bounded.
pub struct WorkerExchange {
    worker: Arc<Worker>,
    id: u64,
    frames: Vec<u8>,
}

impl fmt::Debug for WorkerExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerExchange")
            .field("plugin", &self.worker.shared.plan.plugin)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl WorkerExchange {
    /// Gives the exchange its next input. [`answer`](Self::answer) must follow before the next.
    pub fn give(&mut self, now: Timestamp, input: &Input<'_>, opening: &PackedOpening) {
        self.give_all(now, [input], opening);
    }

    /// Gives it several, which go to the worker together. [`answer`](Self::answer) must follow for each
    /// of them before the next.
    pub fn give_all<'a>(
        &mut self,
        now: Timestamp,
        inputs: impl IntoIterator<Item = &'a Input<'a>>,
        opening: &PackedOpening,
    ) {
        self.frames.clear();
        let mut count = 0;
        for input in inputs {
            count += 1;
            if !encode_input(input, opening, |message| self.add(now, message)) {
                return self.too_large();
            }
        }
        self.send(count);
    }

    /// Gives it a message, of whatever kind. [`answer`](Self::answer) must follow before the next.
    pub fn give_message(&mut self, now: Timestamp, message: &Message<'_>) {
        self.frames.clear();
        match self.add(now, message) {
            true => self.send(1),
            false => self.too_large(),
        }
    }

    fn add(&mut self, now: Timestamp, message: &Message<'_>) -> bool {
        frame::put(&mut self.frames, what::STEP, self.id, now.0, message).is_ok()
    }

    fn too_large(&self) {
        if let Some(slot) = self.worker.shared.lock().slots.get_mut(&self.id) {
            let problem = "the request is larger than any message may be".to_owned();
            slot.fail(Broken::Lost { problem });
        }
    }

    fn send(&self, inputs: u64) {
        let shared = &self.worker.shared;
        let mut state = shared.lock();
        let line = state.line.clone();
        let Some(slot) = state.slots.get_mut(&self.id) else { return };
        slot.give(&self.frames, inputs, line.is_some());
        let line = match line {
            Some(line) => line,
            None => return shared.start_if_off(&mut state),
        };
        state.outstanding += inputs;
        // Under the lock, so that a worker gets an exchange's inputs in their order.
        line.append(&self.frames);
        drop(state);
        if line.flush() {
            shared.ring();
        }
    }

    /// Waits for what the exchange says to its next input, however many workers that takes.
    ///
    /// Cancel-safe: what was not taken comes with the next call.
    ///
    /// # Errors
    ///
    /// [`Broken`] when nothing more can come of it.
    pub async fn answer(&mut self, into: &mut Stepped) -> Result<(), Broken> {
        std::future::poll_fn(|cx| self.poll_answer(cx, into)).await
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut Stepped,
    ) -> Poll<Result<(), Broken>> {
        let mut state = self.worker.shared.lock();
        let Some(slot) = state.slots.get_mut(&self.id) else {
            return Poll::Ready(Err(Broken::Lost { problem: "it was closed".into() }));
        };
        if let Some(done) = slot.done.pop_front() {
            *into = done;
            return Poll::Ready(Ok(()));
        }
        if let Some(broken) = &slot.broken {
            return Poll::Ready(Err(broken.clone()));
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Reports whether it would survive the end of its worker: its inputs were not too many to keep.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        let state = self.worker.shared.lock();
        state.slots.get(&self.id).is_some_and(Slot::is_replayable)
    }
}

impl Drop for WorkerExchange {
    fn drop(&mut self) {
        let mut state = self.worker.shared.lock();
        state.slots.remove(&self.id);
        let Some(line) = state.line.clone() else { return };
        let mut frame = Vec::new();
        if frame::put(&mut frame, what::CLOSE, self.id, 0, &Message::new(0)).is_ok() {
            line.append(&frame);
        }
        drop(state);
        if line.flush() {
            self.worker.shared.ring();
        }
    }
}
