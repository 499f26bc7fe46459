//! The worker's side: confines itself, loads the library, steps exchanges until the socket closes.
//!
//! It has one thread, no environment, and three descriptors that it was given as its standard ones:
//! the socket, the library, the page. It trusts what the host sends. What it answers is gathered and
//! sent when nothing more has arrived, so that a burst of steps costs two system calls.
use std::{
    collections::HashMap,
    io::Write as _,
    mem::ManuallyDrop,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use plugin_api::abi::{
    Message,
    message::{CONTINUE, STOP},
};
use rustix::{
    buffer::spare_capacity,
    fs::{Mode, OFlags},
    io::{Errno, FdFlags, dup, fcntl_setfd, read},
    process::{Pid, Signal},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::{
    Confinement, Instructions, VERSION,
    frame::{self, Inbox, READ, refused, what},
    mark::Mark,
    sandbox, trim,
};
use crate::plugin::{
    RefusalError,
    load::{MAX_STEP_EFFECTS, MAX_STEP_OUTPUT, Module, RawExchange},
};

/// Runs a worker to its end.
pub(super) fn run(instructions: &Instructions) -> ! {
    let status = match prepare(instructions) {
        Ok((mut link, mark)) => match confine_and_load(instructions, &mut link, mark) {
            Ok(module) => serve(&link.socket, module, mark),
            Err((reason, words)) => {
                let message = Message::new(0).a(reason).text(words.as_bytes());
                let _ = link.say(what::REFUSED, &message);
                1
            }
        },
        // There is nobody to tell: the socket itself could not be had.
        Err(_) => 1,
    };
    sandbox::leave(status)
}

/// What the worker was given.
struct Link {
    socket: UnixStream,
    library: OwnedFd,
}

impl Link {
    fn say(&mut self, what: u32, message: &Message<'_>) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        if frame::put(&mut bytes, what, 0, 0, message).is_ok() {
            self.socket.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// Moves what it was given away from the standard descriptors, which then lead nowhere, and closes
/// all others.
fn prepare(instructions: &Instructions) -> std::io::Result<(Link, Mark)> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // If the host went away before that, the signal never comes.
    let parent = rustix::process::getppid().map_or(0, Pid::as_raw_pid);
    if parent != instructions.parent {
        sandbox::leave(1);
    }
    let taken = |fd: std::os::fd::BorrowedFd<'_>| -> std::io::Result<OwnedFd> {
        let fd = dup(fd)?;
        fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
        Ok(fd)
    };
    let socket = taken(std::io::stdin().as_fd())?;
    let library = taken(std::io::stdout().as_fd())?;
    let page = taken(std::io::stderr().as_fd())?;
    let nowhere = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(&nowhere)?;
    drop(nowhere);
    let mark = Mark::map(&page)?;
    drop(page);
    let mut kept = [0, 1, 2, socket.as_raw_fd(), library.as_raw_fd()];
    kept.sort_unstable();
    sandbox::close_others(&kept)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok((Link { socket: UnixStream::from(socket), library }, mark))
}

/// Confines the process and maps the library; says what is in force in between.
fn confine_and_load(
    instructions: &Instructions,
    link: &mut Link,
    mark: Mark,
) -> Result<Module, (u64, String)> {
    let failed = |what: &'static str| {
        move |error: &dyn std::fmt::Display| (refused::WORKER, format!("{what}: {error}"))
    };
    // Filters and landlock hold the thread that asks for them.
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        let words = format!("it has {threads} threads; `run_if_asked` must come first in `main`");
        return Err((refused::WORKER, words));
    }
    sandbox::limit(instructions.memory).map_err(|error| failed("limits")(&error))?;
    sandbox::default_signals();
    sandbox::catch_forbidden(mark).map_err(|error| failed("signals")(&error))?;
    let landlock = sandbox::forget_files(&link.library);
    let (stage_1, stage_2) = (sandbox::Filter::stage_1(), sandbox::Filter::stage_2());
    let filtered = stage_1.is_some_and(|filter| filter.apply()) && stage_2.is_some();
    let found = Confinement { landlock, seccomp: filtered };
    let message = Message::new(0).a(found.bits()).text(VERSION.as_bytes());
    link.say(what::CONFINED, &message).map_err(|error| failed("socket")(&error))?;
    if instructions.must_be_confined && !found.is_complete() {
        return Err((refused::UNCONFINED, found.missing().to_owned()));
    }
    mark.loading();
    let path = sandbox::path_of(&link.library);
    let module = Module::open(Path::new(&path)).map_err(|error| match error {
        RefusalError::Dlopen { problem } => {
            (refused::DLOPEN, problem.replace(&path, "the library"))
        }
        RefusalError::Entry { problem } => (refused::ENTRY, problem),
        RefusalError::Layout { difference, .. } => (refused::LAYOUT, difference),
        other => (refused::WORKER, other.to_string()),
    })?;
    if filtered && !stage_2.is_some_and(|filter| filter.apply()) {
        return Err((refused::WORKER, "the second filter cannot be set".to_owned()));
    }
    mark.idle();
    trim::give_back_code();
    let message = Message::new(0).text(module.manifest());
    link.say(what::READY, &message).map_err(|error| failed("socket")(&error))?;
    Ok(module)
}

/// An exchange and how often it was stepped.
struct Slot {
    exchange: RawExchange,
    steps: u64,
}

/// Steps exchanges until the host closes the socket; returns the exit status. Exchanges that are open
/// then are not freed: that would run the plugin's code for nobody.
fn serve(socket: &UnixStream, module: Module, mark: Mark) -> i32 {
    let mut slots: ManuallyDrop<HashMap<u64, Slot>> = ManuallyDrop::default();
    let mut inbox = Inbox::default();
    let mut out = Outgoing { bytes: Vec::new(), socket };
    let mut passed = 0;
    loop {
        let read = inbox.fill(|bytes| {
            bytes.reserve(READ);
            read(socket, spare_capacity(bytes))
        });
        match read {
            Ok(0) => return 0,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return 1,
        }
        // The host's lengths are what its memory held.
        while let Ok(Some(frame)) = inbox.take(usize::MAX) {
            let id = frame.exchange;
            match frame.what {
                what::STEP => {
                    let slot = slots
                        .entry(id)
                        .or_insert_with(|| Slot { exchange: module.exchange(), steps: 0 });
                    mark.stepping(id, slot.steps);
                    passed += step(slot, id, frame.now, &frame.message, &mut out);
                    mark.idle();
                    slot.steps += 1;
                }
                what::CLOSE => {
                    mark.closing();
                    slots.remove(&id);
                    mark.idle();
                    if passed > MUCH {
                        passed = 0;
                        trim::give_back_heap();
                    }
                }
                _ => {}
            }
        }
        if out.flush().is_err() {
            return 1;
        }
    }
}

/// After how many bytes that went in and out the end of an exchange is worth a look at the heap.
const MUCH: usize = 1 << 20;

/// Steps an exchange; returns how many bytes went in and out.
fn step(
    slot: &mut Slot,
    id: u64,
    now: u64,
    message: &Message<'_>,
    out: &mut Outgoing<'_>,
) -> usize {
    let (mut bytes, mut count, mut flooded) = (0, 0, false);
    let given = message.text.len() + message.ext.len();
    let code = slot.exchange.step(now, message, |message| {
        bytes += message.text.len() + message.ext.len();
        count += 1;
        if bytes > MAX_STEP_OUTPUT || count > MAX_STEP_EFFECTS {
            flooded = true;
            return STOP;
        }
        if out.put(what::OUTPUT, id, message) { CONTINUE } else { STOP }
    });
    let none = slot.exchange.is_null();
    let message = Message::new(0).a(u64::from(code)).b(u64::from(flooded) | u64::from(none) << 1);
    out.put(what::STEPPED, id, &message);
    given + bytes
}

/// Answers that were not sent yet.
struct Outgoing<'a> {
    bytes: Vec<u8>,
    socket: &'a UnixStream,
}

impl Outgoing<'_> {
    /// Adds a frame; sends what there is when it is much. `false` when the host is gone.
    fn put(&mut self, what: u32, exchange: u64, message: &Message<'_>) -> bool {
        let put = frame::put(&mut self.bytes, what, exchange, 0, message).is_ok();
        put && (self.bytes.len() < READ || self.flush().is_ok())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.socket.write_all(&self.bytes)?;
        if self.bytes.capacity() > frame::KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        Ok(())
    }
}
