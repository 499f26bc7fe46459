//! Runs cargo and other commands.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Returns where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs cargo in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    command(cargo_command().args(arguments))
}

/// Runs cargo in the workspace and returns what it printed on stdout.
pub(crate) fn output_of_cargo(arguments: &[&str]) -> Result<String> {
    output(cargo_command().args(arguments))
}

/// Runs a command to its end and returns what it printed on stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("failed to run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns cargo, to be run in the workspace.
pub(crate) fn cargo_command() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// Runs a command to its end.
pub(crate) fn command(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("failed to run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Builds the libraries that the tests load, then runs every test of the workspace and closes with the
/// sum of all its test binaries.
pub(crate) fn test(filter: &[&str]) -> Result<()> {
    cargo(&["build", "--workspace", "--lib", "--bins"])?;
    let mut child = cargo_command()
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(filter)
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run cargo")?;
    let (mut passed, mut failed) = (0, 0);
    let stdout = child.stdout.take().context("a pipe from cargo")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if line.starts_with("test result:") {
            passed += count(&line, "passed");
            failed += count(&line, "failed");
        }
    }
    let status = child.wait()?;
    println!("\n{passed} passed, {failed} failed");
    ensure!(status.success(), "cargo test failed: {status}");
    Ok(())
}

/// Reads the number before a word of a line such as `test result: ok. 3 passed; 0 failed; …`.
fn count(line: &str, word: &str) -> u32 {
    let mut words = line.split_whitespace().rev().skip_while(|found| !found.starts_with(word));
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
