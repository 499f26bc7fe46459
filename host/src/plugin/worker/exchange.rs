//! What the host keeps of an exchange in a worker, so that a new worker can take it over.
//!
//! Each input is written into a journal as it is sent. When the worker dies, the journal is sent to
//! the next one, whose answers to what was answered before are hashed and dropped: nothing is
//! delivered twice and no request goes out twice. A hash over all that was answered shows that the
//! new worker says the same; what comes after would else not belong to what was delivered.

use std::{
    collections::VecDeque,
    mem,
    sync::atomic::{AtomicUsize, Ordering},
    task::Waker,
};

use plugin_api::abi::{entry::ENDED, message::STOP};

use super::{Broken, frame::Frame};
use crate::plugin::load::Stepped;

/// Most bytes of inputs that are kept of an exchange.
const MAX_JOURNAL: usize = 1 << 20;

/// Most bytes of inputs that are kept in all.
const MAX_JOURNALS: usize = 64 << 20;

/// Bytes of all journals of this process.
static JOURNALED: AtomicUsize = AtomicUsize::new(0);

/// The inputs of an exchange, as frames; or that there were too many.
#[derive(Default)]
struct Journal {
    frames: Vec<u8>,
    given_up: bool,
}

impl Journal {
    fn keep(&mut self, frame: &[u8]) {
        if self.given_up {
            return;
        }
        let all = JOURNALED.fetch_add(frame.len(), Ordering::Relaxed) + frame.len();
        self.frames.extend_from_slice(frame);
        if self.frames.len() > MAX_JOURNAL || all > MAX_JOURNALS {
            self.forget();
            self.given_up = true;
        }
    }

    fn forget(&mut self) {
        JOURNALED.fetch_sub(self.frames.len(), Ordering::Relaxed);
        self.frames = Vec::new();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.forget();
    }
}

/// What came of the end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepEnd {
    /// A step that was replayed.
    Replayed,
    /// The step that the driver waits for.
    Live,
    /// Nobody asked for it: the worker lies.
    Unasked,
}

/// An exchange in a worker.
pub(super) struct Slot {
    /// What the present step put out.
    stepped: Stepped,
    /// Steps that are complete and wait to be taken.
    pub(super) done: VecDeque<Stepped>,
    /// Why nothing more can come.
    pub(super) broken: Option<Broken>,
    /// Who waits for either.
    pub(super) waker: Option<Waker>,
    journal: Journal,
    /// Frames that no worker was sent and that the journal does not hold either.
    held: Vec<u8>,
    /// Inputs so far.
    given: u64,
    /// Inputs whose answers are with the driver, or wait for it.
    answered: u64,
    /// Inputs that the present worker answered.
    seen: u64,
    /// Over all that the present worker said.
    hasher: blake3::Hasher,
    /// The hash when the last answer was complete.
    proof: [u8; 32],
    /// Whether the present step put out more than it may.
    stopped: bool,
    ended: bool,
    /// The step that ended a worker.
    blamed: Option<u64>,
    /// How many workers it ended.
    crashes: u32,
    /// How the last worker ended.
    how: String,
}

/// Most workers that one exchange may end, if each time in another step.
const MAX_CRASHES: u32 = 8;

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            stepped: Stepped::default(),
            done: VecDeque::new(),
            broken: None,
            waker: None,
            journal: Journal::default(),
            held: Vec::new(),
            given: 0,
            answered: 0,
            seen: 0,
            hasher: blake3::Hasher::new(),
            proof: [0; 32],
            stopped: false,
            ended: false,
            blamed: None,
            crashes: 0,
            how: String::new(),
        }
    }

    /// Writes inputs down. `sent` says whether a worker was sent them.
    pub(super) fn give(&mut self, frames: &[u8], inputs: u64, sent: bool) {
        self.given += inputs;
        self.journal.keep(frames);
        if !sent && self.journal.given_up {
            self.held.extend_from_slice(frames);
        }
    }

    /// Reports whether a new worker could take it over.
    pub(super) fn is_replayable(&self) -> bool {
        !self.journal.given_up || self.answered == 0 && !self.held.is_empty()
    }

    /// Takes a message of a step.
    pub(super) fn output(&mut self, frame: &Frame<'_>) {
        self.hasher.update(frame.bytes);
        if self.seen == self.answered && !self.stopped {
            self.stopped = self.stepped.take(&frame.message) == STOP;
        }
    }

    /// Takes the end of a step.
    pub(super) fn step_end(&mut self, frame: &Frame<'_>) -> StepEnd {
        if self.seen >= self.given {
            return StepEnd::Unasked;
        }
        self.hasher.update(frame.bytes);
        self.seen += 1;
        if self.seen < self.answered {
            return StepEnd::Replayed;
        }
        let proof = *self.hasher.finalize().as_bytes();
        if self.seen == self.answered {
            if proof != self.proof {
                let how = self.how.clone();
                self.fail(Broken::Diverged { how });
            }
            return StepEnd::Replayed;
        }
        if self.broken.is_some() {
            // What follows a contradiction is not delivered, though the worker knows nothing of it.
            return StepEnd::Replayed;
        }
        self.proof = proof;
        self.answered += 1;
        self.stopped = false;
        let mut stepped = mem::take(&mut self.stepped);
        stepped.flooded |= frame.message.b & 1 != 0;
        stepped.ended = frame.message.a == u64::from(ENDED);
        if frame.message.b & 2 != 0 {
            stepped.never_opened();
        }
        if stepped.ended {
            self.ended = true;
            self.journal.forget();
        }
        self.done.push_back(stepped);
        StepEnd::Live
    }

    /// Ends it; the driver is told after what it has not taken yet.
    pub(super) fn fail(&mut self, why: Broken) {
        self.broken.get_or_insert(why);
        self.journal.forget();
    }

    /// Blames it for the end of a worker, in its step of this number; the second time for the same
    /// step ends it, and so does the last of too many. Reports whether it ended.
    pub(super) fn blame(&mut self, step: u64, how: &str) -> bool {
        self.crashes += 1;
        let again = self.blamed == Some(step) || self.crashes >= MAX_CRASHES;
        if again {
            self.fail(Broken::Crashed { how: how.to_owned() });
        }
        self.blamed = Some(step);
        again
    }

    /// Prepares it for another worker.
    pub(super) fn worker_ended(&mut self, how: &str) {
        how.clone_into(&mut self.how);
        self.hasher.reset();
        self.seen = 0;
        self.stopped = false;
        self.stepped.clear();
        if self.needs_a_worker() && !self.is_replayable() {
            self.fail(Broken::TooLong { how: how.to_owned() });
        }
    }

    /// Reports whether anything more can come of it.
    pub(super) fn needs_a_worker(&self) -> bool {
        !self.ended && self.given > 0 && self.broken.is_none()
    }

    /// Returns the frames that bring a new worker where the last one was, and how many steps they are.
    pub(super) fn replay(&mut self) -> (Vec<u8>, u64) {
        let held = mem::take(&mut self.held);
        if self.journal.given_up {
            return (held, self.given);
        }
        (self.journal.frames.clone(), self.given)
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::abi::{Message, message::kind};

    use super::*;
    use crate::plugin::worker::frame::{next, put, what};

    fn with(what: u32, message: &Message<'_>, run: impl FnOnce(&Frame<'_>)) {
        let mut bytes = Vec::new();
        put(&mut bytes, what, 1, 0, message).unwrap();
        run(&next(&bytes, usize::MAX).unwrap().unwrap());
    }

    fn says(slot: &mut Slot, text: &str) -> StepEnd {
        let message = Message::new(kind::TEXT_DELTA).text(text.as_bytes());
        with(what::OUTPUT, &message, |frame| slot.output(frame));
        let mut end = StepEnd::Unasked;
        with(what::STEPPED, &Message::new(0), |frame| end = slot.step_end(frame));
        end
    }

    fn taken(slot: &mut Slot) -> usize {
        slot.done.pop_front().expect("a step is complete").effects.len()
    }

    #[test]
    fn what_was_answered_before_is_compared_and_dropped() {
        let mut slot = Slot::new();
        slot.give(b"one", 1, true);
        assert_eq!(says(&mut slot, "a"), StepEnd::Live);
        assert_eq!(taken(&mut slot), 1);
        slot.give(b"two", 1, true);
        let half = Message::new(kind::TEXT_DELTA).text(b"lost");
        with(what::OUTPUT, &half, |frame| slot.output(frame));
        slot.worker_ended("killed");
        assert_eq!(slot.replay(), (b"onetwo".to_vec(), 2));
        assert_eq!(says(&mut slot, "a"), StepEnd::Replayed);
        assert!(slot.done.is_empty() && slot.stepped.effects.is_empty());
        assert_eq!(says(&mut slot, "b"), StepEnd::Live);
        assert_eq!(taken(&mut slot), 1);
        assert_eq!(says(&mut slot, "c"), StepEnd::Unasked);
    }

    #[test]
    fn of_inputs_that_went_together_each_has_its_answer() {
        let mut slot = Slot::new();
        slot.give(b"one", 1, true);
        slot.give(b"twothree", 2, true);
        assert_eq!(says(&mut slot, "a"), StepEnd::Live);
        assert_eq!(says(&mut slot, "b"), StepEnd::Live);
        assert_eq!(taken(&mut slot), 1);
        // Another worker says the third, and again what waits to be taken.
        slot.worker_ended("killed");
        assert_eq!(slot.replay(), (b"onetwothree".to_vec(), 3));
        assert_eq!(says(&mut slot, "a"), StepEnd::Replayed);
        assert_eq!(says(&mut slot, "b"), StepEnd::Replayed);
        assert_eq!(says(&mut slot, "c"), StepEnd::Live);
        assert_eq!((taken(&mut slot), taken(&mut slot)), (1, 1));
        assert_eq!(says(&mut slot, "d"), StepEnd::Unasked);
    }

    #[test]
    fn a_worker_that_says_something_else_ends_the_exchange() {
        let mut slot = Slot::new();
        slot.give(b"one", 1, true);
        says(&mut slot, "a");
        taken(&mut slot);
        slot.worker_ended("killed");
        assert_eq!(says(&mut slot, "b"), StepEnd::Replayed);
        let broken = slot.broken.expect("it cannot go on");
        assert_eq!(broken, Broken::Diverged { how: "killed".into() });
        assert!(broken.is_the_plugins_fault());
    }

    #[test]
    fn nothing_is_delivered_after_a_contradiction() {
        let mut slot = Slot::new();
        slot.give(b"one", 1, true);
        says(&mut slot, "a");
        taken(&mut slot);
        slot.give(b"two", 1, true);
        slot.worker_ended("killed");
        says(&mut slot, "b");
        assert_eq!(says(&mut slot, "c"), StepEnd::Replayed);
        assert!(slot.done.is_empty() && slot.broken.is_some());
    }

    #[test]
    fn the_second_crash_on_the_same_step_is_the_last() {
        let mut slot = Slot::new();
        slot.give(b"one", 1, true);
        slot.blame(0, "x");
        slot.blame(1, "x");
        assert!(slot.needs_a_worker(), "another step is another input");
        slot.blame(1, "x");
        assert_eq!(slot.broken, Some(Broken::Crashed { how: "x".into() }));
        assert!(!slot.needs_a_worker());
    }

    #[test]
    fn a_long_exchange_is_not_kept() {
        let mut slot = Slot::new();
        slot.give(&vec![0; MAX_JOURNAL], 1, true);
        assert!(slot.is_replayable());
        says(&mut slot, "a");
        taken(&mut slot);
        slot.give(b"more", 1, true);
        assert!(!slot.is_replayable());
        slot.worker_ended("killed");
        let broken = slot.broken.expect("it cannot go on");
        assert_eq!(broken, Broken::TooLong { how: "killed".into() });
    }

    #[test]
    fn what_no_worker_was_sent_can_be_sent_however_long_it_is() {
        let mut slot = Slot::new();
        let long = vec![1; MAX_JOURNAL + 1];
        slot.give(&long, 1, false);
        slot.worker_ended("killed");
        assert!(slot.needs_a_worker());
        assert_eq!(slot.replay(), (long, 1));
    }
}
