//! Runs cargo and other commands.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

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
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    command(Command::new(cargo).args(arguments).current_dir(root()))
}

/// Runs a command to its end.
pub(crate) fn command(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("failed to run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Builds the libraries that the tests load, then runs every test of the workspace.
///
/// Plain `cargo test`, because it is there wherever cargo is; the last line that it prints is the
/// documentation tests' own.
pub(crate) fn test(filter: &[&str]) -> Result<()> {
    cargo(&["build", "--workspace", "--lib", "--bins"])?;
    let mut arguments = vec!["test", "--workspace"];
    arguments.extend(filter);
    cargo(&arguments)
}
