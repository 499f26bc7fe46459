//! A process that is measured: started, asked what it used, ended.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// A child process that printed where it listens. It ends when this is dropped.
pub(crate) struct Listening {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Listening {
    /// Starts a command and waits for the line that says where it listens.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| format!("failed to start {command:?}"))?;
        let stdout = child.stdout.take().context("a pipe from the child")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().trim_start_matches("http://").parse();
        match address {
            Ok(address) => Ok(Self { child, address }),
            Err(error) => {
                end(&mut child);
                Err(error).with_context(|| format!("{command:?} said `{}`", line.trim()))
            }
        }
    }

    /// Returns the processor time that it and its workers used so far, in seconds.
    pub(crate) fn cpu_s(&self) -> f64 {
        family(self.child.id()).into_iter().map(cpu_s).sum()
    }

    /// Returns what it holds of memory, without its workers, in bytes.
    pub(crate) fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) * 1024.0
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Asks a process to end, so that one which counts its work can write that down; ends it if it does not.
fn end(child: &mut Child) {
    // It may have ended by itself: then there is nobody to ask, to wait for or to end.
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    let asked = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && asked.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Returns a process and its children.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    all
}

/// Returns the user and system time of a process, all its threads, also those that ended.
fn cpu_s(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the last parenthesis may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}
