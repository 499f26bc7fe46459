//! The worker: a confined child process in which a plugin runs that is not trusted.
//!
//! One child per plugin, started when its first exchange is, with all exchanges of the plugin
//! multiplexed over one socket. [`Worker`] is the host's handle; `supervise` is the thread behind it
//! that starts the child, reads its answers, watches its budgets and replaces it when it dies;
//! `exchange` is what the host keeps of each exchange, so that it can be replayed; `child` is the
//! other side, `sandbox` what it takes from itself (and `trim` what it gives back), `mark` the page in which it says what it is doing,
//! `frame` the form in which messages travel, `line` how they are written.
//!
//! What a worker says is not believed: lengths, order and sizes are checked as they arrive, and a
//! worker that does not keep to them is killed.
//!
//! Only Linux has what confines one. Elsewhere `absent` stands in its place: nothing can be confined, so
//! what is not trusted is refused.
//!
//! Here does *not* live who must run in a worker: that is [`tier`](super::tier). Nor the order of
//! events, which the driver checks for both tiers alike.

#[cfg(not(target_os = "linux"))]
mod absent;
mod broken;
#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod exchange;
#[cfg(target_os = "linux")]
mod frame;
#[cfg(target_os = "linux")]
mod line;
#[cfg(target_os = "linux")]
mod mark;
#[cfg(target_os = "linux")]
mod parent;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(target_os = "linux")]
mod supervise;
#[cfg(target_os = "linux")]
mod trim;

use std::time::Duration;
#[cfg(target_os = "linux")]
use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

#[cfg(not(target_os = "linux"))]
use absent as system;
#[cfg(target_os = "linux")]
use sandbox as system;

#[cfg(not(target_os = "linux"))]
pub use absent::{Worker, WorkerExchange, run_if_asked};
pub use broken::Broken;
#[cfg(target_os = "linux")]
pub use parent::{Worker, WorkerExchange};
#[cfg(target_os = "linux")]
pub(in crate::plugin) use process::cpu_time;

/// Whether this system has workers. Elsewhere nothing can be confined, and what may only run in one is
/// refused.
pub const EXIST: bool = cfg!(target_os = "linux");

/// What holds a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confinement {
    /// The version of landlock that keeps it from files (and, from 4, ports; from 6, signals); 0 for
    /// none.
    pub landlock: u8,
    /// Whether seccomp leaves it only the calls that it needs.
    pub seccomp: bool,
}

impl Confinement {
    /// Nothing holds it.
    pub const NONE: Self = Self { landlock: 0, seccomp: false };

    /// Reports whether a hostile library can do nothing but compute.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        self.landlock > 0 && self.seccomp
    }

    /// Names what is missing.
    #[must_use]
    pub const fn missing(self) -> &'static str {
        match (self.landlock > 0, self.seccomp) {
            (true, true) => "nothing",
            (true, false) => "seccomp",
            (false, true) => "landlock",
            (false, false) => "landlock and seccomp",
        }
    }

    /// Says what this machine offers, without confining this process.
    #[must_use]
    pub fn of_this_machine() -> Self {
        system::of_this_machine()
    }

    #[cfg(target_os = "linux")]
    const fn bits(self) -> u64 {
        self.landlock as u64 | (self.seccomp as u64) << 8
    }

    #[cfg(any(test, target_os = "linux"))]
    pub(in crate::plugin) const fn from_bits(bits: u64) -> Self {
        Self { landlock: (bits & 0xff) as u8, seccomp: bits & 0x100 != 0 }
    }
}

/// What a worker costs and what became of its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Vitals {
    /// Its process, if one runs.
    pub pid: Option<u32>,
    /// Memory of that process, in bytes.
    pub memory: Option<u64>,
    /// How many processes were started.
    pub starts: u64,
    /// How many of them the plugin ended.
    pub crashes: u64,
}

/// How much a plugin may take before it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budgets {
    /// How long a step may take.
    pub step_wall: Duration,
    /// How much processor time a step may take.
    pub step_cpu: Duration,
    /// How many bytes of memory a worker may have.
    pub memory: u64,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            step_wall: Duration::from_secs(15),
            step_cpu: Duration::from_secs(5),
            memory: 512 << 20,
        }
    }
}

/// What a worker calls itself. Host and worker are of one version, because frames are.
#[cfg(target_os = "linux")]
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(target_os = "linux")]
/// First argument of a process that is to be a worker.
const ARGUMENT: &str = "__plugin-worker";

#[cfg(target_os = "linux")]
/// What a worker is told on its command line.
struct Instructions {
    /// Process id of the host.
    parent: i32,
    /// Most bytes of memory.
    memory: u64,
    /// Whether to refuse the library when confinement is not complete.
    must_be_confined: bool,
}

#[cfg(target_os = "linux")]
impl Instructions {
    fn arguments(&self) -> [String; 4] {
        let confined = if self.must_be_confined { "confined" } else { "any" };
        [ARGUMENT.into(), self.parent.to_string(), self.memory.to_string(), confined.into()]
    }

    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let parent = arguments.next()?.parse().ok()?;
        let memory = arguments.next()?.parse().ok()?;
        Some(Self { parent, memory, must_be_confined: arguments.next()? != "any" })
    }
}

#[cfg(target_os = "linux")]
/// Whether this program called [`run_if_asked`].
static CAN_BE_ASKED: AtomicBool = AtomicBool::new(false);

#[cfg(target_os = "linux")]
/// Becomes a worker if this process was started as one, and then never returns.
///
/// `maestro` calls it before anything else. So may an embedding program, at the start of its `main`,
/// before it starts a thread or a runtime; then its workers are copies of itself, else they are the `maestro` that stands beside it or that
/// `plugins.worker` names.
pub fn run_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == ARGUMENT) {
        match Instructions::read(arguments.filter_map(|argument| argument.into_string().ok())) {
            Some(instructions) => child::run(&instructions),
            None => std::process::exit(2),
        }
    }
    CAN_BE_ASKED.store(true, Ordering::Relaxed);
}

#[cfg(target_os = "linux")]
/// Finds the program that can be a worker.
fn program(named: Option<&PathBuf>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(named.clone());
    }
    if CAN_BE_ASKED.load(Ordering::Relaxed) {
        // The very file that runs, even if another one has taken its name since.
        return Some("/proc/self/exe".into());
    }
    let own = std::env::current_exe().ok()?;
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join(PROGRAM));
    beside.into_iter().find(|path| path.is_file())
}

#[cfg(target_os = "linux")]
const PROGRAM: &str = "maestro";

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read_as_they_were_written() {
        let told = Instructions { parent: 7, memory: 9, must_be_confined: true };
        let mut arguments = told.arguments().into_iter();
        assert_eq!(arguments.next().as_deref(), Some(ARGUMENT));
        let read = Instructions::read(arguments).unwrap();
        assert_eq!((read.parent, read.memory, read.must_be_confined), (7, 9, true));
        assert!(Instructions::read(["x".to_owned()].into_iter()).is_none());
    }
}
