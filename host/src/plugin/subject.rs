//! A plugin in a worker of its own, as the conformance suite asks it.

use std::{cell::RefCell, sync::Arc, time::Instant};

use plugin_api::{
    abi::Message,
    exchange::Timestamp,
    kit::conformance::{Rule, Stepped, Steps, Subject},
};

use super::{
    RefusalError, load,
    runtime::block_on,
    worker::{Broken, Worker, WorkerExchange},
};

/// A plugin in a worker. After the first end of that, nothing more is asked of it: what follows would
/// only say it again, a process each.
pub(crate) struct Confined {
    worker: Arc<Worker>,
    /// When nothing more is asked.
    until: Option<Instant>,
    fallen: RefCell<Option<(Rule, String)>>,
}

/// Most memory of a worker between exchanges. A large one in use has 40 MiB.
const MAX_MEMORY: u64 = 192 << 20;

/// What is found of exchanges for which no time was left. It says nothing about the plugin.
pub(crate) const OVER: &str = "the time to ask is over";

impl Confined {
    pub(crate) fn new(worker: Worker) -> Self {
        Self { worker: Arc::new(worker), until: None, fallen: RefCell::default() }
    }

    /// Asks nothing more after this time. What is asked then fails, with [`OVER`] for its detail.
    pub(crate) fn until(self, until: Instant) -> Self {
        Self { until: Some(until), ..self }
    }

    pub(crate) async fn ready(&self) -> Result<(), RefusalError> {
        self.worker.ready().await
    }
}

impl Subject for Confined {
    fn open(&self) -> Box<dyn Steps + '_> {
        if let Some(memory) = self.worker.vitals().memory.filter(|memory| *memory > MAX_MEMORY) {
            let detail = format!("{} MiB between exchanges", memory >> 20);
            self.fallen.borrow_mut().get_or_insert((Rule::MemoryBounded, detail));
        }
        Box::new(InWorker {
            of: self,
            exchange: self.worker.open(),
            step: load::Stepped::default(),
        })
    }
}

struct InWorker<'a> {
    of: &'a Confined,
    exchange: WorkerExchange,
    step: load::Stepped,
}

impl Steps for InWorker<'_> {
    fn step(&mut self, now: Timestamp, message: &Message<'_>) -> Stepped {
        let mut stepped = Stepped::default();
        let mut fallen = self.of.fallen.borrow_mut();
        if self.of.until.is_some_and(|until| Instant::now() >= until) {
            fallen.get_or_insert((Rule::StepsInTime, OVER.to_owned()));
        }
        if fallen.is_none() {
            self.exchange.give_message(now, message);
            if let Err(broken) = block_on(self.exchange.answer(&mut self.step)) {
                *fallen = Some(fall(&broken));
            }
        }
        if let Some(fallen) = &*fallen {
            stepped.broken = Some(fallen.clone());
            return stepped;
        }
        stepped.bytes = self.step.bytes();
        stepped.effects = std::mem::take(&mut self.step.effects);
        stepped.broken = match &self.step.malformed {
            Some(error) => Some((Rule::WellFormedMessages, error.to_string())),
            None => self
                .step
                .flooded
                .then(|| (Rule::OutputBudget, "one step put out too much".to_owned())),
        };
        stepped
    }
}

/// Names the rule that an end of the worker breaks.
fn fall(broken: &Broken) -> (Rule, String) {
    let rule = match broken {
        Broken::Diverged { .. } => Rule::ReplayIsDeterministic,
        Broken::Crashed { how } | Broken::TooLong { how } => {
            if how.starts_with("forbidden system call") {
                Rule::NeverReachesOut
            } else if how.starts_with("a step ") {
                Rule::StepsInTime
            } else {
                Rule::NeverCrashes
            }
        }
        _ => Rule::NeverCrashes,
    };
    (rule, broken.to_string())
}
