//! Takes from a process all that a plugin does not need, before a byte of the plugin runs.
//!
//! In this order: limits, signals to their defaults, landlock (no file, no port, no signal to others),
//! seccomp stage 1, then the library is mapped, then seccomp stage 2. Constructors run between the
//! stages, so stage 1 has what the dynamic loader needs and nothing more. A forbidden call does not
//! return: its handler writes the number down and ends the process.
#![expect(unsafe_code, reason = "signal handlers and calls that no safe library has")]

use std::{
    collections::BTreeMap,
    ffi::c_int,
    fs,
    os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd},
    sync::OnceLock,
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::{Confinement, mark::Mark};

/// Asks the kernel what it offers, without confining this process.
pub(super) fn of_this_machine() -> Confinement {
    static FOUND: OnceLock<Confinement> = OnceLock::new();
    *FOUND.get_or_init(|| Confinement { landlock: landlock_version(), seccomp: has_seccomp() })
}

fn landlock_version() -> u8 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: asks for the version; the kernel reads and writes nothing of ours.
    let found = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION)
    };
    u8::try_from(found.clamp(0, i64::from(u8::MAX))).unwrap_or(0)
}

fn has_seccomp() -> bool {
    let action: u32 = libc::SECCOMP_RET_TRAP;
    // SAFETY: the kernel reads one number, which lives for the call.
    let found = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0_usize, &raw const action)
    };
    found == 0 && target_arch().is_some()
}

fn target_arch() -> Option<TargetArch> {
    std::env::consts::ARCH.try_into().ok()
}

/// Closes every descriptor but those named, which must be sorted.
pub(super) fn close_others(kept: &[RawFd]) -> std::io::Result<()> {
    let mut from = 0;
    let ends = kept.iter().map(|fd| *fd as libc::c_uint).chain([libc::c_uint::MAX]);
    for end in ends {
        let last = if end == libc::c_uint::MAX { end } else { end.wrapping_sub(1) };
        if end > from || end == libc::c_uint::MAX {
            // SAFETY: closes numbers; nothing of this process uses a descriptor that is not kept.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, from, last, 0) };
            if closed != 0 {
                close_one_by_one(kept)?;
                return Ok(());
            }
        }
        from = end.wrapping_add(1);
    }
    Ok(())
}

/// Does the same on a kernel without `close_range`.
fn close_one_by_one(kept: &[RawFd]) -> std::io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| !kept.contains(fd)) {
        // SAFETY: as above; that the folder's own descriptor is closed already does not matter.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Sets limits: memory, no core file, no file to write, few descriptors, no process.
pub(super) fn limit(memory: u64) -> rustix::io::Result<()> {
    let set = |resource, most: u64| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    set(Resource::Core, 0)?;
    set(Resource::Fsize, 0)?;
    set(Resource::Nofile, MAX_DESCRIPTORS)?;
    set(Resource::Nproc, 0)?;
    set(Resource::Data, memory)?;
    // Mappings of files and shared memory are no data; what the program and the library take is little.
    set(Resource::As, memory.saturating_add(MAPPED))
}

/// Most descriptors of a worker: three standard ones, socket, library, page, and what the dynamic
/// loader opens meanwhile.
const MAX_DESCRIPTORS: u64 = 16;

/// Address space beside the data.
const MAPPED: u64 = 1 << 30;

/// Lets faults end the process, whatever the standard library made of them.
pub(super) fn default_signals() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
        // SAFETY: sets a signal to its default, which runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Where the handler of forbidden calls writes. Set once, before the handler is.
static MARK: OnceLock<Mark> = OnceLock::new();

/// Exit status of a worker whose plugin made a forbidden call.
pub(super) const FORBIDDEN: i32 = 159;

extern "C" fn on_forbidden(_: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // The C library has no accessor: behind three numbers and padding come an address and the call.
    const CALL: usize = 24;
    // SAFETY: the kernel gives a whole `siginfo_t`, which is longer than that.
    let call = unsafe { info.cast::<u8>().add(CALL).cast::<c_int>().read_unaligned() };
    if let Some(mark) = MARK.get() {
        mark.forbidden(call as u64);
    }
    // SAFETY: ends the process at once, without running anything else of it.
    unsafe { libc::_exit(FORBIDDEN) };
}

/// Sets the handler of forbidden calls. The filters let nobody replace it.
pub(super) fn catch_forbidden(mark: Mark) -> std::io::Result<()> {
    MARK.get_or_init(|| mark);
    // SAFETY: an all-zero `sigaction` is a valid one; handler and flags are set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_forbidden as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler only writes an atomic and ends the process.
    let set = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Gives up files, ports and signals to others, but for reading the library where it is a file.
///
/// Returns the version in force, 0 for none.
pub(super) fn forget_files(library: &OwnedFd) -> u8 {
    let Ok(status) = restrict(library) else { return 0 };
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => 0,
        (_, LandlockStatus::Available { effective_abi, .. }) => effective_abi as u8,
        _ => 0,
    }
}

fn restrict(library: &OwnedFd) -> Result<landlock::RestrictionStatus, landlock::RulesetError> {
    let known = ABI::V7;
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(known))?
        .handle_access(AccessNet::from_all(known))?
        .scope(Scope::from_all(known))?
        .create()?;
    // Landlock knows no memory files and lets nobody ask for one by path.
    let in_memory = rustix::fs::fcntl_get_seals(library).is_ok();
    let created = if in_memory {
        created
    } else {
        created.add_rule(PathBeneath::new(library, AccessFs::ReadFile))?
    };
    created.restrict_self()
}

/// A filter, compiled while memory may still be had.
pub(super) struct Filter(BpfProgram);

impl Filter {
    /// What is allowed while the library is mapped; `None` where there are no filters.
    pub(super) fn stage_1() -> Option<Self> {
        let mut rules = common()?;
        rules.extend(loading());
        // The second filter is set under the first.
        rules.insert(libc::SYS_prctl, vec![rule(0, equals(libc::PR_SET_NO_NEW_PRIVS as u64))?]);
        let set_filter = [(0, equals(u64::from(libc::SECCOMP_SET_MODE_FILTER))), (1, equals(0))];
        rules.insert(libc::SYS_seccomp, vec![all(set_filter)?]);
        Self::of(rules)
    }

    /// What is allowed from then on: to read, write, compute, and have memory that is not code.
    pub(super) fn stage_2() -> Option<Self> {
        let mut rules = common()?;
        let no_code = || rule(2, (SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0));
        rules.insert(libc::SYS_mmap, vec![no_code()?]);
        rules.insert(libc::SYS_mprotect, vec![no_code()?]);
        Self::of(rules)
    }

    fn of(rules: BTreeMap<i64, Vec<SeccompRule>>) -> Option<Self> {
        let filter =
            SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, target_arch()?);
        filter.ok()?.try_into().ok().map(Self)
    }

    /// Puts it in force, for good.
    pub(super) fn apply(&self) -> bool {
        seccompiler::apply_filter(&self.0).is_ok()
    }
}

fn equals(value: u64) -> (SeccompCmpOp, u64) {
    (SeccompCmpOp::Eq, value)
}

/// A rule about one argument, by its number.
fn rule(argument: u8, test: (SeccompCmpOp, u64)) -> Option<SeccompRule> {
    all([(argument, test)])
}

/// A rule about several arguments at once.
fn all<const N: usize>(tests: [(u8, (SeccompCmpOp, u64)); N]) -> Option<SeccompRule> {
    let conditions = tests.into_iter().map(|(argument, (op, value))| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value).ok()
    });
    SeccompRule::new(conditions.collect::<Option<_>>()?).ok()
}

/// Calls that both stages allow.
fn common() -> Option<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_recvmsg,
        libc::SYS_sendmsg,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigprocmask,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_restart_syscall,
        libc::SYS_close,
        libc::SYS_getpid,
        libc::SYS_gettid,
    ]
    .into_iter()
    .map(|call| (call, Vec::new()))
    .collect();
    // The handler that names forbidden calls stays.
    let not_ours = rule(0, (SeccompCmpOp::Ne, libc::SIGSYS as u64))?;
    rules.insert(libc::SYS_rt_sigaction, vec![not_ours]);
    // `abort` signals itself.
    let own = || equals(u64::from(std::process::id()));
    let abort = all([(0, own()), (1, own()), (2, equals(libc::SIGABRT as u64))])?;
    rules.insert(libc::SYS_tgkill, vec![abort]);
    Some(rules)
}

/// Calls that the dynamic loader makes. What it could open, landlock has taken away.
fn loading() -> BTreeMap<i64, Vec<SeccompRule>> {
    let mut calls = vec![
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_openat,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_pread64,
        libc::SYS_lseek,
        libc::SYS_getcwd,
        libc::SYS_readlinkat,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.push(libc::SYS_readlink);
    calls.into_iter().map(|call| (call, Vec::new())).collect()
}

/// Returns the name of a system call that plugins are most likely to try, else its number.
pub(super) fn name_of(call: u64) -> String {
    let known = [
        (libc::SYS_openat, "openat"),
        (libc::SYS_socket, "socket"),
        (libc::SYS_connect, "connect"),
        (libc::SYS_clone, "clone"),
        (libc::SYS_clone3, "clone3"),
        (libc::SYS_execve, "execve"),
        (libc::SYS_kill, "kill"),
        (libc::SYS_tgkill, "tgkill"),
        (libc::SYS_ptrace, "ptrace"),
        (libc::SYS_nanosleep, "nanosleep"),
        (libc::SYS_clock_nanosleep, "clock_nanosleep"),
        (libc::SYS_mmap, "mmap"),
        (libc::SYS_mprotect, "mprotect"),
        (libc::SYS_prctl, "prctl"),
        (libc::SYS_statx, "statx"),
        (libc::SYS_newfstatat, "newfstatat"),
        (libc::SYS_getcwd, "getcwd"),
        (libc::SYS_rt_sigaction, "rt_sigaction"),
        (libc::SYS_pipe2, "pipe2"),
        (libc::SYS_prlimit64, "prlimit64"),
        (libc::SYS_sched_yield, "sched_yield"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, "open"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_fork, "fork"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_vfork, "vfork"),
    ];
    known
        .iter()
        .find(|(number, _)| *number as u64 == call)
        .map_or_else(|| format!("number {call}"), |(_, name)| (*name).to_owned())
}

/// Ends the process without running what the plugin left to be run then.
pub(super) fn leave(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// Returns the path under which a process finds its own descriptor.
pub(super) fn path_of(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let all = Confinement { landlock: 7, seccomp: true };
        assert!(all.is_complete());
        assert_eq!(Confinement::from_bits(all.bits()), all);
        assert_eq!(Confinement::NONE.missing(), "landlock and seccomp");
        for (landlock, seccomp, missing) in [(0, true, "landlock"), (1, false, "seccomp")] {
            let found = Confinement { landlock, seccomp };
            assert!(!found.is_complete());
            assert_eq!(found.missing(), missing);
            assert_eq!(Confinement::from_bits(found.bits()), found);
        }
    }

    #[test]
    fn both_filters_compile() {
        assert!(Filter::stage_1().is_some() && Filter::stage_2().is_some());
    }

    #[test]
    fn calls_are_named() {
        assert_eq!(name_of(libc::SYS_socket as u64), "socket");
        assert_eq!(name_of(9999), "number 9999");
    }
}
