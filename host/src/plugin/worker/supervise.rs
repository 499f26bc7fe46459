//! The thread behind a worker: starts the process, reads its answers, watches its budgets, and puts
//! another in its place when it dies.
//!
//! A worker dies with the thread that started it, so that is this thread, and it lives as long as the
//! process does. It ends when no process is needed any more; the next exchange starts another.

use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tracing::{debug, warn};

use super::{
    Confinement, Instructions, VERSION,
    exchange::{Slot, StepEnd},
    frame::{Frame, Inbox, READ, refused, what},
    line::Line,
    mark::Doing,
    parent::{Failure, Phase, RETIRED, Shared, State},
    process::{Death, Process, signal_of},
};
use crate::plugin::load::MAX_STEP_OUTPUT;

/// How a process came to its end.
enum End {
    /// Nobody needs it any more.
    Stopped,
    /// It refused the library, or lied about itself.
    Refused(Failure),
    /// It died; whether it had loaded the library, and what it was doing.
    Died { death: Death, doing: Doing, loaded: bool },
}

/// What happened lately, which decides how long to wait before the next start and when to give up.
#[derive(Default)]
struct Record {
    /// Deaths since something was last achieved.
    fruitless: u32,
    /// Of these, the ones that no exchange can be blamed for.
    unexplained: u32,
    /// Deaths of its own doing while the library was loaded.
    while_loading: u32,
}

/// Most deaths without anything achieved between them, however they came about.
const MAX_FRUITLESS: u32 = 200;

/// Most deaths that no exchange can be blamed for, with nothing achieved between them.
const MAX_UNEXPLAINED: u32 = 3;

/// Most deaths while the library is loaded.
const MAX_WHILE_LOADING: u32 = 2;

/// Runs a worker until it is not needed any more.
pub(super) fn supervise(shared: &Arc<Shared>) {
    let mut record = Record::default();
    loop {
        let end = match begin(shared) {
            Ok(mut process) => {
                let end = run(shared, &mut process, &mut record);
                drop(process);
                end
            }
            Err(failure) => End::Refused(failure),
        };
        if !goes_on(shared, end, &mut record) {
            return;
        }
        if !rest(shared, &record) {
            let _ = goes_on(shared, End::Stopped, &mut record);
            return;
        }
    }
}

/// Starts a process.
fn begin(shared: &Shared) -> Result<Process, Failure> {
    let plan = &shared.plan;
    let failed = |error: std::io::Error| Failure::Worker(error.to_string());
    let program = plan.program.as_deref().ok_or_else(|| {
        Failure::Worker("no program `maestro` stands beside this one to run it in".into())
    })?;
    let library = shared.library().map_err(failed)?;
    let instructions = Instructions {
        parent: i32::try_from(std::process::id()).unwrap_or_default(),
        memory: plan.budgets.memory,
        must_be_confined: plan.must_be_confined,
    };
    let process = Process::start(program, &instructions, &plan.plugin, &library).map_err(failed)?;
    let mut state = shared.lock();
    state.vitals.pid = Some(process.pid());
    state.vitals.starts += 1;
    state.outstanding = 0;
    debug!(plugin = plan.plugin, pid = process.pid(), "worker started");
    Ok(process)
}

/// Waits a little before the next start, the longer the less was achieved; `false` when it was told
/// to stop meanwhile.
fn rest(shared: &Shared, record: &Record) -> bool {
    if record.fruitless < 2 {
        return !shared.lock().stopped;
    }
    let pause = FIRST_PAUSE.saturating_mul(1 << record.fruitless.min(8)).min(LONGEST_PAUSE);
    let until = Instant::now() + pause;
    loop {
        if shared.lock().stopped {
            return false;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        let mut bell = [PollFd::new(&shared.bell, PollFlags::IN)];
        if matches!(poll(&mut bell, Some(&timespec(left))), Ok(1..)) {
            silence(shared);
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

fn timespec(time: Duration) -> Timespec {
    // A little more, because what is rounded down wakes too early.
    let time = time + Duration::from_micros(100);
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

fn silence(shared: &Shared) {
    let _ = rustix::io::read(&shared.bell, &mut [0; 8]);
}

/// Runs a process to its end.
fn run(shared: &Shared, process: &mut Process, record: &mut Record) -> End {
    let mut inbox = Inbox::default();
    let mut reader = Reader { loaded: false, answered: 0, live: 0 };
    let mut watch = Watch::new(shared);
    loop {
        let (tick, stuck) = {
            let state = shared.lock();
            if state.stopped {
                process.kill();
                return End::Stopped;
            }
            let quiet = reader.loaded && state.slots.is_empty() && state.outstanding == 0;
            let stuck = state.line.as_ref().is_some_and(|line| line.is_stuck());
            ((!quiet).then_some(watch.tick), stuck)
        };
        let wanted = if stuck { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut ready =
            [PollFd::new(&process.socket, wanted), PollFd::new(&shared.bell, PollFlags::IN)];
        let polled = poll(&mut ready, tick.map(timespec).as_ref());
        if !matches!(polled, Ok(_) | Err(Errno::INTR)) {
            process.kill();
            return End::Refused(Failure::Worker("its socket cannot be waited for".into()));
        }
        let (socket, bell) = (ready[0].revents(), ready[1].revents());
        if !bell.is_empty() {
            silence(shared);
        }
        if socket.contains(PollFlags::OUT) {
            let line = shared.lock().line.clone();
            if let Some(line) = line {
                line.flush();
            }
        }
        if socket.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let read = inbox.fill(|bytes| {
                bytes.reserve(READ);
                rustix::io::read(&process.socket, spare_capacity(bytes))
            });
            match read {
                Ok(0) | Err(Errno::CONNRESET | Errno::PIPE) => {
                    let (death, doing) = process.wait();
                    return End::Died { death, doing, loaded: reader.loaded };
                }
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(error) => {
                    process.kill();
                    return End::Refused(Failure::Worker(error.to_string()));
                }
            }
            let before = reader.live;
            let taken = reader.take(shared, process, &mut inbox);
            if reader.live > before {
                *record = Record::default();
            }
            if let Err(verdict) = taken {
                return reader.end(process, verdict);
            }
        }
        if let Some(budget) = watch.look(shared, process, &reader) {
            return reader.end(process, Verdict::Kill(budget));
        }
    }
}

/// Why a process is ended from here.
enum Verdict {
    Refuse(Failure),
    Kill(String),
}

/// Reads what a process says.
struct Reader {
    loaded: bool,
    /// Steps that it answered, replayed ones too.
    answered: u64,
    /// Steps that drivers waited for.
    live: u64,
}

impl Reader {
    fn end(&self, process: &mut Process, verdict: Verdict) -> End {
        let doing = process.doing();
        process.kill();
        match verdict {
            Verdict::Refuse(failure) => End::Refused(failure),
            Verdict::Kill(why) => End::Died { death: Death::Own(why), doing, loaded: self.loaded },
        }
    }

    /// Takes all whole frames that have arrived.
    fn take(
        &mut self,
        shared: &Shared,
        process: &Process,
        inbox: &mut Inbox,
    ) -> Result<(), Verdict> {
        let mut wakers = Vec::new();
        let mut state = shared.lock();
        let result = loop {
            match inbox.take(MAX_STEP_OUTPUT) {
                Ok(Some(frame)) => {
                    let taken = self.frame(shared, process, &mut state, &frame, &mut wakers);
                    if taken.is_err() {
                        break taken;
                    }
                }
                Ok(None) => break Ok(()),
                Err(_) => break Err(lie("a message larger than any may be")),
            }
        };
        let line = state.line.clone();
        drop(state);
        // Only now, so that whoever wakes up finds the lock free.
        wakers.into_iter().for_each(Waker::wake);
        if let Some(line) = line {
            line.flush();
        }
        result
    }

    fn frame(
        &mut self,
        shared: &Shared,
        process: &Process,
        state: &mut State,
        frame: &Frame<'_>,
        wakers: &mut Vec<Waker>,
    ) -> Result<(), Verdict> {
        let words = || -> String {
            String::from_utf8_lossy(frame.message.text_bytes()).escape_debug().collect()
        };
        match frame.what {
            what::CONFINED => {
                let found = Confinement::from_bits(frame.message.a);
                debug!(plugin = shared.plan.plugin, ?found, "worker confined");
                if frame.message.text_bytes() != VERSION.as_bytes() {
                    let problem = format!("its program is `{}`, expected `{VERSION}`", words());
                    return Err(Verdict::Refuse(Failure::Worker(problem)));
                }
            }
            what::REFUSED if !self.loaded => {
                let words = words();
                return Err(Verdict::Refuse(match frame.message.a {
                    refused::UNCONFINED => Failure::Unconfined(words),
                    refused::DLOPEN => Failure::Dlopen(words),
                    refused::ENTRY => Failure::Entry(words),
                    refused::LAYOUT => Failure::Layout(words),
                    _ => Failure::Worker(words),
                }));
            }
            what::READY if !self.loaded => {
                if frame.message.text_bytes() != shared.plan.manifest_json.as_bytes() {
                    return Err(Verdict::Refuse(Failure::ManifestsDiffer));
                }
                self.loaded = true;
                let socket = process.socket.try_clone();
                let socket =
                    socket.map_err(|error| Verdict::Refuse(Failure::Worker(error.to_string())))?;
                let line = Line::new(socket);
                for slot in state.slots.values_mut().filter(|slot| slot.needs_a_worker()) {
                    let (frames, steps) = slot.replay();
                    line.append(&frames);
                    state.outstanding += steps;
                }
                state.line = Some(Arc::new(line));
                state.phase = Phase::Ready;
                wakers.append(&mut state.waiting);
            }
            what::OUTPUT if self.loaded => {
                if let Some(slot) = state.slots.get_mut(&frame.exchange) {
                    slot.output(frame);
                }
            }
            what::STEPPED if self.loaded => {
                state.outstanding = match state.outstanding.checked_sub(1) {
                    Some(left) => left,
                    None => return Err(lie("an answer that nobody asked for")),
                };
                self.answered += 1;
                // One that was closed meanwhile is nobody's any more.
                let Some(slot) = state.slots.get_mut(&frame.exchange) else { return Ok(()) };
                let end = slot.step_end(frame);
                if end == StepEnd::Unasked {
                    return Err(lie("an answer that nobody asked for"));
                }
                self.live += u64::from(end == StepEnd::Live);
                if end == StepEnd::Live || slot.broken.is_some() {
                    wakers.extend(slot.waker.take());
                }
            }
            _ => return Err(lie("a message out of place")),
        }
        Ok(())
    }
}

fn lie(what: &str) -> Verdict {
    Verdict::Kill(format!("it sent {what}"))
}

/// Watches how long the worker has been at one thing.
struct Watch {
    tick: Duration,
    wall: Duration,
    cpu: Duration,
    /// How far it was when it was last seen to move, and when that was.
    seen: (u64, bool),
    since: Instant,
    /// Its processor time when it was first seen to be stuck there.
    cpu_then: Option<Duration>,
}

impl Watch {
    fn new(shared: &Shared) -> Self {
        let budgets = shared.plan.budgets;
        let tick = budgets.step_wall.min(budgets.step_cpu) / 4;
        Self {
            tick: tick.clamp(Duration::from_millis(10), Duration::from_millis(250)),
            wall: budgets.step_wall,
            cpu: budgets.step_cpu,
            seen: (0, false),
            since: Instant::now(),
            cpu_then: None,
        }
    }

    /// Returns the budget that is spent, if one is.
    fn look(&mut self, shared: &Shared, process: &Process, reader: &Reader) -> Option<String> {
        let busy = !reader.loaded || shared.lock().outstanding > 0;
        if !busy || self.seen != (reader.answered, reader.loaded) {
            self.seen = (reader.answered, reader.loaded);
            self.since = Instant::now();
            self.cpu_then = None;
            return None;
        }
        let waited = self.since.elapsed();
        if waited >= self.wall {
            return Some(format!("a step took more than {} ms", self.wall.as_millis()));
        }
        if waited >= self.tick {
            let cpu = process.cpu()?;
            let then = *self.cpu_then.get_or_insert(cpu);
            if cpu.saturating_sub(then) >= self.cpu {
                let spent = self.cpu.as_millis();
                return Some(format!("a step used more than {spent} ms of processor time"));
            }
        }
        None
    }
}

/// Draws the consequences of a process's end; `false` when no other is needed.
fn goes_on(shared: &Shared, end: End, record: &mut Record) -> bool {
    let mut state = shared.lock();
    state.line = None;
    state.phase = Phase::Starting;
    state.vitals.pid = None;
    state.outstanding = 0;
    let (death, doing, loaded) = match end {
        End::Stopped => {
            state.give_up(Failure::Worker(RETIRED.into()));
            return false;
        }
        End::Refused(failure) => {
            state.give_up(failure);
            return false;
        }
        End::Died { death, doing, loaded } => (death, doing, loaded),
    };
    let (plugin, mut how) = (&shared.plan.plugin, death.how().to_owned());
    let signal = signal_of(&how);
    let own = matches!(death, Death::Own(_));
    if own {
        warn!(plugin, how, ?doing, "worker crashed");
    } else {
        debug!(plugin, how, "worker was ended from outside");
    }
    state.vitals.crashes += u64::from(own);
    record.fruitless += 1;
    if own && !loaded {
        record.while_loading += 1;
        if record.while_loading >= MAX_WHILE_LOADING {
            state.give_up(Failure::Crashed(how));
            return false;
        }
    }
    let mut came_again = false;
    if own && loaded {
        let guilty = match doing {
            Doing::Stepping { exchange, step } => {
                state.slots.get_mut(&exchange).map(|slot| (slot, step))
            }
            _ => None,
        };
        match guilty {
            Some((slot, step)) => came_again = slot.blame(step, &how),
            None => {
                record.unexplained += 1;
                state.unexplained += 1;
                // A fresh process did it again, whatever was achieved in between.
                came_again = state.unexplained > 1;
                how.push_str(match doing {
                    Doing::Closing => ", when an exchange was closed",
                    _ => ", outside of any step",
                });
            }
        }
    }
    if record.unexplained >= MAX_UNEXPLAINED || record.fruitless >= MAX_FRUITLESS {
        count(shared, came_again, &how, signal);
        state.give_up(Failure::Crashed(how));
        return false;
    }
    // Before anybody hears of the failure, so that who asks again is refused.
    count(shared, came_again, &how, signal);
    for slot in state.slots.values_mut() {
        slot.worker_ended(&how);
    }
    let broken = state.slots.values_mut().filter(|slot| slot.broken.is_some());
    let wakers: Vec<Waker> = broken.filter_map(|slot| slot.waker.take()).collect();
    let goes_on = !state.waiting.is_empty() || state.slots.values().any(Slot::needs_a_worker);
    if !goes_on {
        state.phase = Phase::Off;
    }
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
    goes_on
}

/// Counts a crash toward quarantine, if the same thing crashed a fresh process again.
fn count(shared: &Shared, came_again: bool, how: &str, signal: Option<&str>) {
    if let Some(quarantine) = shared.plan.quarantine.as_ref().filter(|_| came_again) {
        quarantine.crashed(&shared.plan.plugin, &shared.plan.hash, how, signal);
    }
}
