//! One child process: how it is started, what it costs, how it ended.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            net::UnixStream,
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open},
};

use super::{
    Instructions,
    mark::{Doing, Page},
    sandbox::{FORBIDDEN, name_of},
};

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Somebody else ended it: an operator, a shutdown, a machine out of memory.
    Outside(String),
    /// What ran in it did.
    Own(String),
}

impl Death {
    pub(super) fn how(&self) -> &str {
        match self {
            Self::Outside(how) | Self::Own(how) => how,
        }
    }
}

/// A running child.
pub(super) struct Process {
    child: Child,
    pidfd: OwnedFd,
    pub(super) socket: UnixStream,
    page: Page,
}

/// Puts a library into memory that nobody can change any more, after its hash was compared.
///
/// Where the system gives no executable memory file, it is the private copy itself.
pub(super) fn seal(copy: &Path, hash: &str) -> io::Result<OwnedFd> {
    let bytes = fs::read(copy)?;
    if blake3::hash(&bytes).to_hex().as_str() != hash {
        return Err(io::Error::other("its private copy is not what was judged"));
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let name = "maestro-plugin";
    // The flag is newer than memory files; without it they are executable, or never.
    let made = memfd_create(name, flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(name, flags))
        .and_then(|fd| {
            let mut file = File::from(fd);
            file.write_all(&bytes).map_err(|_| Errno::NOMEM)?;
            let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
            fcntl_add_seals(&file, all)?;
            Ok(OwnedFd::from(file))
        });
    made.or_else(|_| File::open(copy).map(OwnedFd::from))
}

impl Process {
    /// Starts a child with the library. It dies with the calling thread.
    pub(super) fn start(
        program: &Path,
        instructions: &Instructions,
        plugin: &str,
        library: &OwnedFd,
    ) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let page = Page::new()?;
        let child = Command::new(program)
            .args(instructions.arguments())
            .arg(plugin)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(library.try_clone()?))
            .stderr(Stdio::from(page.share()?))
            // What interrupts the host at the terminal is not meant for it.
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty());
        match pidfd {
            Ok(pidfd) => Ok(Self { child, pidfd, socket, page }),
            Err(error) => {
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it now.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the end of one that closed its socket, and says how it ended.
    pub(super) fn wait(&mut self) -> (Death, Doing) {
        let ended = self.ends_by_itself();
        let reading = self.page.read();
        if !ended {
            let _ = self.child.kill();
        }
        let death = match self.child.wait() {
            Ok(status) if !ended && status.signal() == Some(Signal::KILL.as_raw()) => {
                Death::Own("it closed its connection".into())
            }
            Ok(status) => death(status, reading.forbidden),
            Err(error) => Death::Outside(error.to_string()),
        };
        (death, reading.doing)
    }

    /// Waits a while for its end.
    fn ends_by_itself(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(&mut ended, Some(&left)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Returns what it is doing, for one that is about to be killed.
    pub(super) fn doing(&self) -> Doing {
        self.page.read().doing
    }

    /// Returns how much processor time it has used.
    pub(super) fn cpu(&self) -> Option<Duration> {
        cpu_time(&format!("/proc/{}/stat", self.pid()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How long a process may take to end after it closed its socket.
const PATIENCE: Duration = Duration::from_secs(3);

/// Returns the processor time of a process or a thread, from the file that says so.
pub(in crate::plugin) fn cpu_time(stat: &str) -> Option<Duration> {
    let stat = fs::read_to_string(stat).ok()?;
    // Behind the name, which may hold anything, come the state and, as 12th and 13th, the times.
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let all = ticks()? + ticks()?;
    let millis = all.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis(millis))
}

/// Returns the memory that a process holds, in bytes.
pub(super) fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn death(status: ExitStatus, forbidden: Option<u64>) -> Death {
    if status.code() == Some(FORBIDDEN)
        && let Some(call) = forbidden
    {
        return Death::Own(format!("forbidden system call `{}`", name_of(call)));
    }
    let Some(signal) = status.signal() else {
        return Death::Own(format!("it exited with status {}", status.code().unwrap_or(-1)));
    };
    match OWN.iter().find(|(own, ..)| own.as_raw() == signal) {
        Some((.., how)) => Death::Own((*how).to_owned()),
        None => Death::Outside(format!("killed by signal {signal}")),
    }
}

/// Signals that a plugin's own code raises, their names, and what they say.
const OWN: [(Signal, &str, &str); 8] = [
    (Signal::SEGV, "SIGSEGV", "segmentation fault"),
    (Signal::BUS, "SIGBUS", "bus error"),
    (Signal::ILL, "SIGILL", "illegal instruction"),
    (Signal::FPE, "SIGFPE", "arithmetic fault"),
    (Signal::TRAP, "SIGTRAP", "trap"),
    (Signal::ABORT, "SIGABRT", "it aborted"),
    (Signal::SYS, "SIGSYS", "forbidden system call"),
    (Signal::XFSZ, "SIGXFSZ", "it wrote to a file"),
];

/// Returns the name of the signal behind the words of a death, if a signal was.
pub(super) fn signal_of(how: &str) -> Option<&'static str> {
    OWN.iter().find(|(.., words)| *words == how).map(|(_, name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_plugin_can_do_itself_is_its_own() {
        let signal = |number: i32| death(ExitStatus::from_raw(number), None);
        assert_eq!(signal(11), Death::Own("segmentation fault".into()));
        assert_eq!(signal(6), Death::Own("it aborted".into()));
        assert_eq!(signal_of(signal(11).how()), Some("SIGSEGV"));
        assert_eq!(signal_of(signal(9).how()), None);
        assert_eq!(signal(9), Death::Outside("killed by signal 9".into()));
        assert_eq!(signal(15), Death::Outside("killed by signal 15".into()));
        let exited = |code: i32, call| death(ExitStatus::from_raw(code << 8), call);
        assert_eq!(exited(0, None), Death::Own("it exited with status 0".into()));
        let socket = Some(libc::SYS_socket as u64);
        assert_eq!(exited(FORBIDDEN, socket), Death::Own("forbidden system call `socket`".into()));
        assert_eq!(exited(3, socket), Death::Own("it exited with status 3".into()));
    }

    #[test]
    fn a_library_that_is_not_what_was_judged_is_not_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("a.so");
        fs::write(&copy, "one").unwrap();
        let hash = blake3::hash(b"one").to_hex().to_string();
        let sealed = seal(&copy, &hash).unwrap();
        assert!(File::from(sealed).write_all(b"more").is_err());
        fs::write(&copy, "two").unwrap();
        assert!(seal(&copy, &hash).is_err());
    }
}
