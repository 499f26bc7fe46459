//! What a process that holds secrets gives up: being looked into.
//!
//! A core file would hold every key that was used lately, and so would what a debugger of the same user
//! reads. The command line calls [`forbid_core_dumps`] before anything else; an embedding program may.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Has this process leave no core file, whatever ends it, and lets no other process of this user
/// attach to it or read its memory. What it starts may choose for itself again.
///
/// # Errors
///
/// What the system said, if it would not.
pub fn forbid_core_dumps() -> std::io::Result<()> {
    // The limit alone is not asked where the system pipes cores to a program.
    setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
