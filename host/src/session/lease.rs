//! Who holds a lease, so that others can tell whether it still can.
//!
//! A holder that died with its lease would keep everyone waiting until the lease ends. Where the
//! system lets us look (Linux), a holder of the same boot and the same process namespace whose
//! process is gone is known to be gone; any other is given the benefit of the doubt.

use std::fmt;

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
        let started = started(pid).unwrap_or_default();
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
        // The process's start tells it from a later one of the same number.
        here == there && !then.is_empty() && started(pid).is_none_or(|started| started != then)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns what makes process numbers comparable: the boot and the process namespace.
fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), namespace.to_str()?))
}

/// Returns when a process started, in ticks since the boot; `None` when there is none.
///
/// A process that has died and was not waited for yet still has an entry, but does nothing more.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so fields count from the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?;
    (!matches!(state, "Z" | "X" | "x")).then(|| started.to_owned())
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
        let started = started(pid).unwrap();
        let holder = format!("{place}/{pid}/{started}/r");
        assert!(!Holder::is_gone(&holder));
        assert!(Holder::is_gone(&format!("{place}/{pid}/{started}9/r")), "another of that number");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(Holder::is_gone(&holder));
    }
}
