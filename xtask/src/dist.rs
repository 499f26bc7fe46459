//! Builds and installs a release: the program, the plugins that come with it, and the sources that
//! authors of others build against.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{profile, run, sdk};

/// Plugins that come with the program.
const BUNDLED: &[&str] = &["anthropic", "echo", "gemini", "openai", "openai-compatible"];

/// Where plugins are, relative to the prefix. The host looks there from its own place.
const PLUGINS: &str = "lib/maestro/plugins";

/// Where the contract's sources are, relative to the prefix. `maestro plugin new` looks there.
const SDK: &str = "share/maestro/sdk";

/// How a release is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// By cargo's release profile.
    Plain,
    /// By counts of the gateway's work besides: three builds' time for one faster program.
    Profiled,
}

/// What was built.
pub(crate) struct Dist {
    /// `dist/`.
    pub(crate) folder: PathBuf,
    /// `dist/bin/maestro`.
    pub(crate) program: PathBuf,
}

/// Builds in release into `dist/`.
pub(crate) fn dist(build: Build) -> Result<Dist> {
    dist_with(&[], build)
}

/// Builds in release into `dist/`, and further plugins that stay in cargo's folder. One build for all,
/// because two with different packages would build what they share twice.
pub(crate) fn dist_with(plugins: &[&str], build: Build) -> Result<Dist> {
    let mut arguments = vec!["build", "--release", "--package", "host", "--bin", "maestro"];
    for plugin in BUNDLED.iter().chain(plugins) {
        arguments.extend(["--package", plugin]);
    }
    arguments.push("--lib");
    let built = match build {
        Build::Plain => {
            run::cargo(&arguments)?;
            run::target().join("release")
        }
        Build::Profiled => profile::build(&arguments)?,
    };
    let folder = run::root().join("dist");
    lay_out(&built, &folder)?;
    sdk::write(&run::root(), &folder.join(SDK))?;
    let program = folder.join("bin/maestro");
    Ok(Dist { folder, program })
}

/// Puts the program and its plugins, from where cargo left them, below a prefix.
pub(crate) fn lay_out(built: &Path, prefix: &Path) -> Result<()> {
    place(&built.join("maestro"), &prefix.join("bin/maestro"))?;
    for plugin in BUNDLED {
        let name = library_name(plugin);
        place(&built.join(&name), &prefix.join(PLUGINS).join(&name))?;
    }
    Ok(())
}

/// Copies `dist/` below a prefix.
pub(crate) fn install(prefix: &Path, build: Build) -> Result<()> {
    let built = dist(build)?;
    place(&built.program, &prefix.join("bin/maestro"))?;
    for plugin in BUNDLED {
        let name = Path::new(PLUGINS).join(library_name(plugin));
        place(&built.folder.join(&name), &prefix.join(&name))?;
    }
    sdk::write(&built.folder.join(SDK), &prefix.join(SDK))?;
    println!("installed {}", prefix.join("bin/maestro").display());
    Ok(())
}

/// Returns the file name of a package's library.
pub(crate) fn library_name(package: &str) -> String {
    let extension = if cfg!(target_vendor = "apple") { "dylib" } else { "so" };
    format!("lib{}.{extension}", package.replace('-', "_"))
}

/// Puts a file at its place in one step, so that a running program keeps the old one.
fn place(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("failed to put `{}` at `{}`", from.display(), to.display());
    let folder = to.parent().with_context(context)?;
    fs::create_dir_all(folder).with_context(context)?;
    let temporary = to.with_extension("new");
    fs::copy(from, &temporary).with_context(context)?;
    fs::rename(&temporary, to).with_context(context)
}
