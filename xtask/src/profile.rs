//! Builds a release that knows where the gateway spends its time.
//!
//! Three steps: a build that counts which way each branch goes, the gateway's own benchmark as its work,
//! and a build that lays the code out by those counts. What the work did not touch is built as ever.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{dist, run};

/// Builds what `arguments` tell cargo and returns the folder of the results.
pub(crate) fn build(arguments: &[&str]) -> Result<PathBuf> {
    let rustc = Rustc::ask()?;
    // Asked for first: the first step takes minutes.
    let merge = rustc.profdata()?;
    let folder = run::target().join("profile");
    let counts = folder.join("counts");
    let merged = folder.join("gateway.profdata");
    for stale in [&counts, &folder.join("used")] {
        // Cargo does not look into the file that the flags name.
        if stale.exists() {
            fs::remove_dir_all(stale)?;
        }
    }

    eprintln!("1 of 3: a build that counts");
    // With the release's own settings, slow as their linking is: cargo makes the names of functions
    // from them, and counts are found by name.
    let flag = format!("-Cprofile-generate={}", counts.display());
    let built = rustc.cargo(arguments, &folder.join("counting"), &flag)?;
    let prefix = folder.join("prefix");
    dist::lay_out(&built, &prefix)?;

    eprintln!("2 of 3: the gateway at work");
    run::cargo(&["build", "--package", "gateway-bench"])?;
    let mut work = Command::new(run::target().join("debug/gateway-bench"));
    work.arg("--program").arg(prefix.join("bin/maestro"));
    run::command(work.args(["--only", "compare,events", "--rounds", "1"]).stdout(Stdio::null()))?;
    // Sparse: a function that was never called is not in the file, and so is not taken for one that
    // need not be fast.
    let mut command = Command::new(merge);
    run::command(command.args(["merge", "--sparse", "--output"]).arg(&merged).arg(&counts))?;

    eprintln!("3 of 3: a build that knows the counts");
    let flag = format!("-Cprofile-use={}", merged.display());
    rustc.cargo(arguments, &folder.join("used"), &flag)
}

/// What the compiler says of itself.
struct Rustc {
    host: String,
    llvm: String,
    sysroot: PathBuf,
}

impl Rustc {
    fn ask() -> Result<Self> {
        let version = run::output(Command::new("rustc").arg("-vV"))?;
        let field = |name: &str| {
            let line = version.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::to_owned).with_context(|| format!("`rustc -vV` has no `{name}`"))
        };
        let sysroot = run::output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let (host, llvm) = (field("host: ")?, field("LLVM version: ")?);
        Ok(Self { host, llvm, sysroot: sysroot.trim().into() })
    }

    /// Finds the program that merges counts: the toolchain's own, or one of the same LLVM.
    fn profdata(&self) -> Result<PathBuf> {
        let own = self.sysroot.join("lib/rustlib").join(&self.host).join("bin/llvm-profdata");
        if own.exists() {
            return Ok(own);
        }
        let major = self.llvm.split('.').next().unwrap_or(&self.llvm);
        let name = format!("llvm-profdata-{major}");
        let found = Command::new(&name).arg("--version").stdout(Stdio::null()).status();
        if found.is_err() {
            bail!(
                "found neither `{}` nor `{name}`\n\
                 hint: `rustup component add llvm-tools`, or your system's package `llvm-{major}`",
                own.display()
            );
        }
        Ok(name.into())
    }

    /// Runs cargo with one more flag for what is built for users, none for macros and build scripts.
    fn cargo(&self, arguments: &[&str], target: &Path, flag: &str) -> Result<PathBuf> {
        let given = std::env::var("RUSTFLAGS").unwrap_or_default();
        // Encoded, so that a path may hold a space.
        let flags: Vec<&str> = given.split_whitespace().chain([flag]).collect();
        let mut command = run::cargo_command();
        command.args(arguments).args(["--target", &self.host]).env("CARGO_TARGET_DIR", target);
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        run::command(&mut command)?;
        Ok(target.join(&self.host).join("release"))
    }
}
