//! What the life of a plugin costs: discovery, workers, generations, the suite, and an author's wait.
//!
//! Everything is measured on release builds of the real programs. What needs the inside of the host
//! comes from its benchmark `worker`, whose rows are taken over as they are.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{discovery, median};
use crate::{
    dist::{self, Dist},
    run,
};

/// Rounds of what takes minutes.
const LONG_ROUNDS: usize = 3;

/// Rounds of what takes seconds.
const ROUNDS: usize = 7;

/// Builds, measures, and prints a table of Markdown.
pub(crate) fn plugins() -> Result<()> {
    let dist = dist::dist(dist::Build::Plain)?;
    run::cargo(&["build", "--release", "--package", "host", "--example", "discovery"])?;
    let mut table = Table::default();
    let found = discovery()?;
    table.row("discovery of 100 plugins, cold", found.cold, "ms", Some(100.0));
    table.row("discovery of 100 plugins, remembered verdicts", found.cached, "ms", Some(20.0));
    table.row("memory of its own, each plugin in process", found.private_kb, "kB", Some(100.0));
    let bench = ["bench", "--quiet", "--package", "host", "--bench", "worker"];
    table.0.extend(run::output_of_cargo(&bench)?.lines().filter(is_row).map(str::to_owned));
    for (plugin, fixtures) in SUITES {
        let (time, count) = check(&dist, plugin, *fixtures)?;
        table.row(&format!("`plugin check` of `{plugin}`, {count} fixtures"), time, "s", None);
    }
    let desk = Desk::new(&dist)?;
    let (cold, warm) = desk.first_check()?;
    table.row("`plugin new` to first green check, nothing compiled", cold, "s", None);
    table.row("the same, dependencies compiled", warm, "s", None);
    table.row("save to reloaded and compared in `plugin dev`", desk.save()?, "s", None);
    println!("\n| what | measured | goal |\n|---|---|---|");
    table.0.iter().for_each(|row| println!("{row}"));
    Ok(())
}

/// Bundled plugins, and the recorded answers of the dialect that each speaks.
const SUITES: &[(&str, Option<&str>)] = &[
    ("echo", None),
    ("openai-compatible", Some("openai_chat")),
    ("openai", Some("openai_responses")),
    ("anthropic", Some("anthropic_messages")),
    ("gemini", Some("gemini")),
];

#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    fn row(&mut self, what: &str, found: f64, unit: &str, goal: Option<f64>) {
        let missed = if goal.is_some_and(|goal| found >= goal) { ", missed" } else { "" };
        let goal = goal.map(|goal| format!("< {goal} {unit}{missed}")).unwrap_or_default();
        self.0.push(format!("| {what} | {found:.2} {unit} | {goal} |"));
    }
}

fn is_row(line: &&str) -> bool {
    line.starts_with("| ")
}

/// Runs the suite on a bundled plugin; returns how many seconds the program took, and on how many
/// recorded answers.
fn check(dist: &Dist, plugin: &str, dialect: Option<&str>) -> Result<(f64, usize)> {
    let home = tempfile::tempdir()?;
    let folder = dialect.map(|name| run::root().join("dialects/tests/fixtures").join(name));
    let mut count = 0;
    for entry in folder.iter().flat_map(fs::read_dir).flatten() {
        let name = entry?.file_name();
        let beside = |name: &str| BESIDE.iter().any(|end| name.ends_with(end));
        count += usize::from(name.to_str().is_some_and(|name| !beside(name)));
    }
    let library = run::target().join("release").join(dist::library_name(plugin));
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut command = Command::new(&dist.program);
        command.args(["plugin", "check"]).arg(&library);
        command.args(folder.iter().flat_map(|folder| ["--fixtures".as_ref(), folder.as_os_str()]));
        command.env("MAESTRO_HOME", home.path());
        times.push(timed(&mut command)?);
    }
    Ok((median(times), count))
}

/// What stands beside recorded answers.
const BESIDE: &[&str] = &["head.json", ".events.json", ".request.json", ".error.json"];

/// Runs a command that must succeed, and returns how many seconds it took.
fn timed(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    let output = command.output().with_context(|| format!("failed to run {command:?}"))?;
    let took = began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(took)
}

/// Where an author works: a folder, a home, and a target folder of their own.
struct Desk {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Desk {
    fn new(dist: &Dist) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { folder, program: dist.program.clone() })
    }

    fn maestro(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("plugin")
            .args(arguments)
            .current_dir(self.folder.path())
            .env("MAESTRO_HOME", self.folder.path().join("home"))
            .env("CARGO_TARGET_DIR", self.target())
            .env("CARGO_NET_OFFLINE", "true")
            .stdin(Stdio::null());
        command
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    /// Makes a crate, builds it and has it checked; returns how many seconds all of it took.
    fn make(&self, name: &str) -> Result<f64> {
        let library = self.target().join("debug").join(dist::library_name(name));
        let library = library.to_str().context("the target folder has a strange name")?;
        let mut took = timed(&mut self.maestro(&["new", name]))?;
        took += timed(&mut self.maestro(&["build", name, "--debug"]))?;
        let fixtures = format!("{name}/fixtures");
        took += timed(&mut self.maestro(&["check", library, "--fixtures", &fixtures]))?;
        Ok(took)
    }

    /// Returns the seconds to a first green check: with an empty target folder, and with the
    /// dependencies of another crate in it. Cargo has downloaded them before.
    fn first_check(&self) -> Result<(f64, f64)> {
        let (mut cold, mut warm) = (Vec::new(), Vec::new());
        for round in 0..LONG_ROUNDS {
            if self.target().exists() {
                fs::remove_dir_all(self.target())?;
            }
            cold.push(self.make(&format!("cold-{round}"))?);
            warm.push(self.make(&format!("warm-{round}"))?);
        }
        Ok((median(cold), median(warm)))
    }

    /// Returns the seconds from a save to the line that says what changed.
    fn save(&self) -> Result<f64> {
        timed(&mut self.maestro(&["new", "saved"]))?;
        let source = self.folder.path().join("saved/src/wire.rs");
        let versions = versions(&source)?;
        let command = &mut self.maestro(&["dev", "saved"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut dev = Dev::new(child)?;
        dev.until_compared()?;
        let mut times = Vec::new();
        for round in 1..=ROUNDS {
            fs::write(&source, &versions[round % 2])?;
            let began = Instant::now();
            dev.until_compared()?;
            times.push(began.elapsed().as_secs_f64());
        }
        Ok(median(times))
    }
}

/// Returns a source as it is and with another behaviour.
fn versions(source: &Path) -> Result<[String; 2]> {
    let text = fs::read_to_string(source)?;
    let (from, to) = ("out.text(0, &text)", "out.text(0, &text.to_uppercase())");
    ensure!(text.contains(from), "`{from}` is not in the template any more");
    let other = text.replace(from, to);
    Ok([text, other])
}

/// `plugin dev`, ended when it is dropped.
struct Dev {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Dev {
    fn new(mut child: Child) -> Result<Self> {
        let said = child.stdout.take().context("its output is a pipe")?;
        Ok(Self { child, said: BufReader::new(said) })
    }

    /// Waits for the line that ends a round.
    fn until_compared(&mut self) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.said.read_line(&mut line)? == 0 {
                bail!("`plugin dev` ended");
            }
            if line.contains("recorded answers: ") {
                return Ok(());
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
