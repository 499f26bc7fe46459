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
//! Here does *not* live who must run in a worker: that is [`tier`](super::tier). Nor the order of
//! events, which the driver checks for both tiers alike.

mod child;
mod exchange;
mod frame;
mod line;
mod mark;
mod parent;
mod process;
mod sandbox;
mod supervise;
mod trim;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

pub use exchange::Broken;
pub use parent::{Vitals, Worker, WorkerExchange};
pub use sandbox::Confinement;

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
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// First argument of a process that is to be a worker.
const ARGUMENT: &str = "__plugin-worker";

/// What a worker is told on its command line.
struct Instructions {
    /// Process id of the host.
    parent: i32,
    /// Most bytes of memory.
    memory: u64,
    /// Whether to refuse the library when confinement is not complete.
    must_be_confined: bool,
}

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

/// Whether this program called [`run_if_asked`].
static CAN_BE_ASKED: AtomicBool = AtomicBool::new(false);

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

const PROGRAM: &str = "maestro";

#[cfg(test)]
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
