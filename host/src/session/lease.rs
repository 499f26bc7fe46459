//! Who holds a lease, so that others can tell whether it still can.
//!
//! A holder that died with its lease would keep everyone waiting until the lease ends. Where the
//! system lets us look (Linux), a holder of the same boot and the same process namespace whose
//! process is gone is known to be gone; any other is given the benefit of the doubt.

use std::{fmt, fs, io};

use crate::session::random::{self, NoRandomness};

/// One holder of leases: a process, and one task in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(String);

impl Holder {
    /// Makes a holder of this process that no other equals.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`].
    pub fn new() -> Result<Self, NoRandomness> {
        let (place, pid) = (place().unwrap_or_default(), std::process::id());
        let started = match life(stat(pid)) {
            Life::Since(started) => started,
            Life::Over | Life::Unknown => String::new(),
        };
        Ok(Self(format!("{place}/{pid}/{started}/{}", random::id()?)))
    }

    /// Returns the stored form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reports whether the holder of that name is surely gone.
    #[must_use]
    pub fn is_gone(name: &str) -> bool {
        let mut parts = name.rsplit('/').skip(1);
        let (Some(then), Some(pid)) = (parts.next(), parts.next()) else { return false };
        let there: Vec<&str> = parts.collect();
        let there = there.into_iter().rev().collect::<Vec<_>>().join("/");
        let (Some(here), Ok(pid)) = (place(), pid.parse::<u32>()) else { return false };
        if here != there || then.is_empty() {
            return false;
        }
        match life(stat(pid)) {
            // The process's start tells it from a later one of the same number.
            Life::Since(started) => started != then,
            Life::Over => shows_everybody(),
            Life::Unknown => false,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns what makes process numbers comparable: the boot and the process namespace.
fn place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.to_str()?))
}

/// What the system says about a process.
#[derive(Debug, PartialEq, Eq)]
enum Life {
    /// It lives; when it started, in ticks since the boot.
    Since(String),
    /// There is none of that number, or it has died and was not waited for yet: it does nothing more.
    Over,
    /// The system did not say, for want of descriptors for example. Such a process may well live.
    Unknown,
}

fn stat(pid: u32) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/stat"))
}

fn life(stat: io::Result<String>) -> Life {
    let stat = match stat {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Life::Over,
        // It ended between opening and reading.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            return Life::Over;
        }
        Err(_) => return Life::Unknown,
    };
    // The name in parentheses may hold anything, so fields count from the last one.
    let Some((_, fields)) = stat.rsplit_once(')') else { return Life::Unknown };
    let mut fields = fields.split_whitespace();
    match (fields.next(), fields.nth(18)) {
        (Some("Z" | "X" | "x"), _) => Life::Over,
        (Some(_), Some(started)) => Life::Since(started.to_owned()),
        _ => Life::Unknown,
    }
}

/// Reports whether a process that cannot be seen is gone: with `hidepid`, the living are hidden too, and
/// the first one of all among them.
fn shows_everybody() -> bool {
    fs::File::open("/proc/1/stat").is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_living_are_not_gone_and_strangers_are_not_judged() {
        let (one, two) = (Holder::new().unwrap(), Holder::new().unwrap());
        assert_ne!(one, two);
        assert!(!Holder::is_gone(one.as_str()), "this process lives");
        for stranger in ["", "x", "boot/pid:[1]/1/7/r", "//1//r", "a/b/c/d/e/f/g"] {
            assert!(!Holder::is_gone(stranger), "{stranger}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_dead_are_gone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (pid, place) = (child.id(), place().unwrap());
        let Life::Since(started) = life(stat(pid)) else { panic!("it lives") };
        let holder = format!("{place}/{pid}/{started}/r");
        assert!(!Holder::is_gone(&holder));
        assert!(Holder::is_gone(&format!("{place}/{pid}/{started}9/r")), "another of that number");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(Holder::is_gone(&holder));
    }

    #[test]
    fn only_what_is_known_to_be_over_is_over() {
        let failed = |errno: rustix::io::Errno| life(Err(errno.into()));
        assert_eq!(failed(rustix::io::Errno::NOENT), Life::Over);
        assert_eq!(failed(rustix::io::Errno::SRCH), Life::Over);
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::PERM] {
            assert_eq!(failed(errno), Life::Unknown, "{errno}");
        }
        let fields = |state: &str| format!("7 (a) b) {state} {}99 0", "0 ".repeat(18));
        assert_eq!(life(Ok(fields("S"))), Life::Since("99".into()));
        assert_eq!(life(Ok(fields("Z"))), Life::Over);
        assert_eq!(life(Ok("7 (cut off".into())), Life::Unknown);
    }
}
