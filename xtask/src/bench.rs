//! Measures the budgets and prints each beside its goal.
//!
//! What one process can show comes from the benchmark `budgets` (criterion), what a worker costs from
//! `worker`, which prints its own table; discovery and the cost
//! of a whole streamed event are measured on whole processes here. `plugins` has what the life of a
//! plugin costs.

mod plugins;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};

pub(crate) use self::plugins::plugins;
use crate::{
    dist::{self, Build},
    run,
};

/// Plugins that discovery is measured with.
const PLUGINS: usize = 100;

/// Runs of a whole process; the median counts.
const RUNS: usize = 15;

/// Events that one measured stream carries.
const EVENTS: usize = 200_000;

/// Runs all benchmarks and prints the table.
pub(crate) fn bench() -> Result<()> {
    let built = dist::dist(Build::Plain)?;
    run::cargo(&["build", "--release", "--package", "host", "--example", "discovery"])?;
    run::cargo(&["bench", "--package", "host", "--bench", "budgets", "--", "--noplot"])?;
    run::cargo(&["bench", "--package", "host", "--bench", "worker"])?;
    let mut table = Table::default();
    let found = discovery()?;
    table.row("discovery of 100 plugins, cold", found.cold, "ms", 100.0);
    table.row("discovery of 100 plugins, cached verdicts", found.cached, "ms", 20.0);
    table.row("in-process step, typed to typed", criterion("step")? / 1e3, "µs", 1.0);
    table.row("session lookup, cached", criterion("session-cached")? / 1e3, "µs", 20.0);
    let sqlite = criterion("session-sqlite")? / 1e3;
    table.row("session lookup, SQLite, 10,000 sessions", sqlite, "µs", 200.0);
    table.row("event, upstream bytes to typed event", criterion("event")? / 1e3, "µs", 5.0);
    table.row("event, whole program, upstream to stdout", event(&built.program)?, "µs CPU", 5.0);
    println!("\n{}", table.0);
    Ok(())
}

/// Builds the gateway and what it is compared with, and compares them; its own program prints the table.
pub(crate) fn gateway(build: Build, options: &[&str]) -> Result<()> {
    let built = dist::dist(build)?;
    run::cargo(&["build", "--release", "--package", "gateway-bench"])?;
    let program = run::target().join("release/gateway-bench");
    run::command(Command::new(program).arg("--program").arg(built.program).args(options))
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, what: &str, found: f64, unit: &str, goal: f64) {
        if self.0.is_empty() {
            self.0 = format!("{:<44} {:>10} {:>10}  {:<7}\n", "what", "measured", "goal", "unit");
        }
        let verdict = if found < goal { "" } else { "MISSED" };
        self.0 +=
            &format!("{what:<44} {found:>10.2} {:>10}  {unit:<7}{verdict}\n", format!("< {goal}"));
    }
}

/// Reads the median of a criterion benchmark, in nanoseconds.
fn criterion(name: &str) -> Result<f64> {
    let path = run::target().join("criterion").join(name).join("new/estimates.json");
    let json = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let estimates: serde_json::Value = serde_json::from_slice(&json)?;
    estimates["median"]["point_estimate"].as_f64().context("criterion wrote no median")
}

/// What scan, judge and load of distinct plugins take.
struct Discovery {
    /// In milliseconds, with nothing known.
    cold: f64,
    /// In milliseconds, with remembered verdicts.
    cached: f64,
    /// Memory that one of them costs when it is loaded and the process shares with nobody.
    private_kb: f64,
}

fn discovery() -> Result<Discovery> {
    let home = tempfile::tempdir()?;
    let plugins = home.path().join("plugins");
    fs::create_dir(&plugins)?;
    let library = fs::read(run::target().join("release").join(dist::library_name("echo")))?;
    for number in 0..PLUGINS {
        let id = format!("e{number:03}");
        let renamed = replace(&library, br#""id":"echo""#, format!("\"id\":\"{id}\"").as_bytes());
        fs::write(plugins.join(format!("lib{id}.so")), renamed)?;
    }
    let cache = home.path().join("cache");
    let (mut cold, mut cached, mut private) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        if cache.exists() {
            fs::remove_dir_all(&cache)?;
        }
        cold.push(discover(home.path())?.0);
        let (time, private_kb) = discover(home.path())?;
        cached.push(time);
        private.push(private_kb / PLUGINS as f64);
    }
    Ok(Discovery { cold: median(cold), cached: median(cached), private_kb: median(private) })
}

/// Returns the milliseconds, and the kilobytes that loading took.
fn discover(home: &Path) -> Result<(f64, f64)> {
    let program: PathBuf = run::target().join("release/examples/discovery");
    let output = Command::new(program).env("MAESTRO_HOME", home).output()?;
    let text = String::from_utf8(output.stdout)?;
    let printed: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [micros, loaded, private_kb] = printed[..] else { bail!("discovery printed `{text}`") };
    ensure!(loaded == PLUGINS as f64, "expected {PLUGINS} plugins, found {loaded}");
    Ok((micros / 1e3, private_kb))
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "the section keeps its length");
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = out[at..].windows(from.len()).position(|window| window == from) {
        out[at + found..at + found + to.len()].copy_from_slice(to);
        at += found + to.len();
    }
    out
}

/// Measures the CPU time of the whole program for one streamed event, in microseconds: a long stream
/// less a short one, divided by the events between them.
fn event(program: &Path) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/v1", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            let mut events = 10;
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if line.starts_with("POST /long") {
                    events = EVENTS;
                }
                line.clear();
            }
            let mut out = std::io::BufWriter::new(&stream);
            let _ = write!(
                out,
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            );
            for _ in 0..events {
                let _ = write!(
                    out,
                    "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\
                     \"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word\"}},\
                     \"finish_reason\":null}}]}}\n\n"
                );
            }
            let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
            let _ = write!(out, "data: {end}\n\ndata: [DONE]\n\n");
        }
    });
    let home = tempfile::tempdir()?;
    let config = |name: &str, base: &str| {
        format!("[providers.{name}]\nplugin = \"openai-compatible\"\nbase_url = \"{base}\"\n")
    };
    let base = url.trim_end_matches("/v1");
    let text = config("short", &url) + &config("long", &format!("{base}/long"));
    fs::write(home.path().join("config.toml"), text)?;
    let mut costs = Vec::new();
    for _ in 0..5 {
        let short = cpu(program, home.path(), "short/m")?;
        let long = cpu(program, home.path(), "long/m")?;
        costs.push((long - short) * 1e6 / (EVENTS - 10) as f64);
    }
    Ok(median(costs))
}

/// Runs one chat and returns the CPU seconds that it used, as the shell's `time` has them.
fn cpu(program: &Path, home: &Path, model: &str) -> Result<f64> {
    let script = r#"TIMEFORMAT='%U %S'; time "$0" chat --no-store -m "$1" hello > /dev/null"#;
    let output = Command::new("bash")
        .args(["-c", script])
        .arg(program)
        .arg(model)
        .env("MAESTRO_HOME", home)
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stderr)?;
    let last = text.lines().last().context("`time` printed nothing")?;
    last.split(' ').map(|part| part.parse::<f64>().map_err(Into::into)).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
