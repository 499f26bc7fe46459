//! Steps in this process that do not end.
//!
//! Nothing can stop one: its thread is lost. What can be done is to say so while it still runs, so that
//! the bytes are withheld on disk and somebody may end the process in good order. One thread for the
//! whole process looks at the exchanges that are open, and sleeps while there are none; what an exchange
//! pays for a step is two stores.
//!
//! The budgets are the worker's: processor time, so that a busy machine is nobody's fault, and wall time
//! for what sleeps. Time counts as this thread saw it pass, because a process that was stopped for an
//! hour did not step for an hour.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::{debug, warn};

use super::{load::Library, quarantine::Quarantine, worker::Budgets};

/// A step in this process that did not end in its time. Its thread is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndlessStep {
    /// The plugin.
    pub plugin: String,
    /// Which budget it has spent.
    pub how: String,
    /// Whether its bytes are withheld from now on.
    pub withheld: bool,
}

/// Who is told of endless steps; nobody at first.
#[derive(Default)]
pub struct Listener(RwLock<Option<Told>>);

type Told = Arc<dyn Fn(&EndlessStep) + Send + Sync>;

impl Listener {
    /// Puts somebody in the place of who was told before.
    pub fn set(&self, told: impl Fn(&EndlessStep) + Send + Sync + 'static) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(told));
    }

    fn tell(&self, step: &EndlessStep) {
        let told = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(told) = told {
            told(step);
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// A library of this process, and what its steps may take.
#[derive(Debug)]
pub(super) struct Watched {
    library: Arc<Library>,
    quarantine: Arc<Quarantine>,
    budgets: Budgets,
    listener: Arc<Listener>,
}

impl Watched {
    pub(super) fn new(
        library: Arc<Library>,
        quarantine: Arc<Quarantine>,
        budgets: Budgets,
        listener: Arc<Listener>,
    ) -> Self {
        Self { library, quarantine, budgets, listener }
    }

    /// Returns the library.
    pub(super) fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// Begins to watch an exchange.
    pub(super) fn pulse(self: &Arc<Self>) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse {
            watched: Arc::clone(self),
            step: AtomicU64::new(0),
            thread: AtomicU32::new(0),
            blamed: AtomicBool::new(false),
        });
        WATCH.add(&pulse);
        pulse
    }

    /// Hears that a step has spent a budget, and that it will not give the thread back.
    fn spent(&self, how: String) {
        let judged = self.library.judged();
        let plugin = judged.manifest.id.clone();
        warn!(plugin, how, "a step in process does not end");
        self.quarantine.withhold(&plugin, &judged.hash, &how);
        let withheld = self.quarantine.holds(&judged.hash).is_some();
        self.listener.tell(&EndlessStep { plugin, how, withheld });
    }

    /// How often to look.
    fn tick(&self) -> Duration {
        let least = self.budgets.step_wall.min(self.budgets.step_cpu) / 4;
        least.clamp(Duration::from_millis(10), LONGEST_TICK)
    }
}

/// What an exchange says of itself: in which step it is, and on which thread.
#[derive(Debug)]
pub(super) struct Pulse {
    watched: Arc<Watched>,
    /// Odd while it is stepped.
    step: AtomicU64,
    /// The thread that steps it, as the system names it.
    thread: AtomicU32,
    /// Whether its present step was reported.
    blamed: AtomicBool,
}

impl Pulse {
    /// The plugin's code begins to run.
    pub(super) fn begin(&self) {
        self.thread.store(own_thread(), Ordering::Relaxed);
        // Only one thread at a time steps an exchange.
        let step = self.step.load(Ordering::Relaxed);
        self.step.store(step + 1, Ordering::Release);
    }

    /// It is over.
    pub(super) fn end(&self) {
        let step = self.step.load(Ordering::Relaxed);
        self.step.store(step + 1, Ordering::Release);
    }
}

/// The one watch of the process.
static WATCH: Watch = Watch { open: Mutex::new(Open::new()), more: Condvar::new() };

struct Watch {
    open: Mutex<Open>,
    more: Condvar,
}

struct Open {
    exchanges: Vec<Seen>,
    started: bool,
}

/// An exchange, and how it was when it was last looked at.
struct Seen {
    pulse: Weak<Pulse>,
    step: u64,
    /// How long it was seen in this step.
    waited: Duration,
    /// The processor time of its thread when it was first seen in it.
    cpu_then: Option<Duration>,
}

impl Open {
    const fn new() -> Self {
        Self { exchanges: Vec::new(), started: false }
    }
}

impl Watch {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&'static self, pulse: &Arc<Pulse>) {
        let mut open = self.open();
        let (pulse, waited) = (Arc::downgrade(pulse), Duration::ZERO);
        open.exchanges.push(Seen { pulse, step: 0, waited, cpu_then: None });
        if !open.started {
            let thread = thread::Builder::new().name("plugin-steps".into());
            // Without it a step that is too long is still found out when it is over.
            open.started = thread.spawn(|| self.run()).inspect_err(|e| debug!(%e)).is_ok();
        } else if open.exchanges.len() == 1 {
            self.more.notify_one();
        }
    }

    fn run(&self) {
        let (mut looked, mut open) = (Instant::now(), self.open());
        loop {
            let tick = open.look(looked.elapsed());
            looked = Instant::now();
            let Some((tick, spent)) = tick else {
                open = self.more.wait(open).unwrap_or_else(PoisonError::into_inner);
                looked = Instant::now();
                continue;
            };
            drop(open);
            // Who is told may open exchanges, or end the process.
            spent.into_iter().for_each(|(watched, how)| watched.spent(how));
            thread::sleep(tick);
            open = self.open();
        }
    }
}

/// Which libraries have spent what.
type Spent = Vec<(Arc<Watched>, String)>;

impl Open {
    /// Looks at every exchange; says when to look again, unless there are none, and what was spent.
    fn look(&mut self, passed: Duration) -> Option<(Duration, Spent)> {
        let (mut tick, mut spent) = (None, Vec::new());
        self.exchanges.retain_mut(|seen| {
            let Some(pulse) = seen.pulse.upgrade() else { return false };
            let own = pulse.watched.tick();
            tick = Some(tick.map_or(own, |least: Duration| least.min(own)));
            // No more than that can have been missed; the rest is a process that did not run.
            spent.extend(seen.look(&pulse, passed.min(own * 2)));
            true
        });
        if self.exchanges.capacity() > SPARE && self.exchanges.len() < self.exchanges.capacity() / 4
        {
            self.exchanges.shrink_to(SPARE);
        }
        tick.map(|tick| (tick, spent))
    }
}

impl Seen {
    fn look(&mut self, pulse: &Pulse, passed: Duration) -> Option<(Arc<Watched>, String)> {
        let step = pulse.step.load(Ordering::Acquire);
        if step.is_multiple_of(2) || step != self.step {
            (self.step, self.waited, self.cpu_then) = (step, Duration::ZERO, None);
            return None;
        }
        self.waited += passed;
        let budgets = &pulse.watched.budgets;
        let cpu = thread_cpu(pulse.thread.load(Ordering::Relaxed));
        let used = cpu.map(|cpu| cpu.saturating_sub(*self.cpu_then.get_or_insert(cpu)));
        // What was read may belong to another step by now.
        if pulse.step.load(Ordering::Acquire) != step {
            return None;
        }
        let how = if used.is_some_and(|used| used >= budgets.step_cpu) {
            let most = budgets.step_cpu.as_millis();
            format!("a step in process used more than {most} ms of processor time")
        } else if self.waited >= budgets.step_wall {
            format!("a step in process took more than {} ms", budgets.step_wall.as_millis())
        } else {
            return None;
        };
        let first = !pulse.blamed.swap(true, Ordering::Relaxed);
        first.then(|| (Arc::clone(&pulse.watched), how))
    }
}

/// How long a step may stay unseen at most.
const LONGEST_TICK: Duration = Duration::from_millis(250);

/// Room for exchanges that is not given back.
const SPARE: usize = 1024;

#[cfg(target_os = "linux")]
fn own_thread() -> u32 {
    // The system is asked once a thread, because a step is shorter than a system call.
    thread_local!(static OWN: u32 = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
    // A thread that is ending still drops exchanges.
    OWN.try_with(|own| *own).unwrap_or_default()
}

#[cfg(target_os = "linux")]
fn thread_cpu(thread: u32) -> Option<Duration> {
    super::worker::cpu_time(&format!("/proc/self/task/{thread}/stat"))
}

#[cfg(not(target_os = "linux"))]
fn own_thread() -> u32 {
    0
}

/// Elsewhere wall time alone counts.
#[cfg(not(target_os = "linux"))]
fn thread_cpu(_: u32) -> Option<Duration> {
    None
}
