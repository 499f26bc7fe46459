//! Builds a plugin's crate with cargo.

use std::{
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use super::AuthoringError;

/// Ends a build that is under way.
#[derive(Debug, Default)]
pub struct Stop(Mutex<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    stopped: bool,
    group: Option<Pid>,
}

impl Stop {
    /// Ends cargo and what it has started, now or as soon as it is started.
    pub fn stop(&self) {
        let mut stopping = self.locked();
        stopping.stopped = true;
        end(stopping.group);
    }

    fn started(&self, child: &Child) {
        let mut stopping = self.locked();
        stopping.group = Some(Pid::from_child(child));
        if stopping.stopped {
            end(stopping.group);
        }
    }

    /// Waits for the end. Until then the process is a zombie at least, so its id is nobody else's.
    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        // Its output has ended, so it ends soon.
        let mut stopping = self.locked();
        let status = child.wait();
        stopping.group = None;
        status
    }

    fn locked(&self) -> MutexGuard<'_, Stopping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(group: Option<Pid>) {
    // It may have ended by itself.
    let _ = group.map(|group| kill_process_group(group, Signal::TERM));
}

/// Builds the library of the crate in `folder` and returns where it is.
///
/// What cargo has to say goes to stderr as it comes.
///
/// # Errors
///
/// [`AuthoringError::NoCrate`], [`AuthoringError::NoCargo`], [`AuthoringError::Build`],
/// [`AuthoringError::NoLibrary`].
pub fn build(folder: &Path, release: bool) -> Result<PathBuf, AuthoringError> {
    run(folder, release, None)
}

/// Builds as [`build`] does, for development, until it is stopped.
///
/// # Errors
///
/// As [`build`]; [`AuthoringError::Build`] when it was stopped.
pub fn build_until(folder: &Path, stop: &Stop) -> Result<PathBuf, AuthoringError> {
    run(folder, false, Some(stop))
}

fn run(folder: &Path, release: bool, stop: Option<&Stop>) -> Result<PathBuf, AuthoringError> {
    let manifest = folder.join("Cargo.toml");
    let Ok(manifest) = manifest.canonicalize() else {
        return Err(AuthoringError::NoCrate { folder: folder.into() });
    };
    let program = PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let no_cargo = |source| AuthoringError::NoCargo { program: program.clone(), source };
    let mut command = Command::new(&program);
    command
        .args(["build", "--lib", "--message-format=json-render-diagnostics", "--manifest-path"])
        .arg(&manifest)
        .args(release.then_some("--release"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if stop.is_some() {
        // What cargo starts ends with it.
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(no_cargo)?;
    if let Some(stop) = stop {
        stop.started(&child);
    }
    let mut library = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(no_cargo)?;
            library = artifact(&line, &manifest).or(library);
        }
    }
    let status = match stop {
        Some(stop) => stop.wait(&mut child),
        None => child.wait(),
    };
    if !status.map_err(no_cargo)?.success() {
        return Err(AuthoringError::Build);
    }
    library.ok_or_else(|| AuthoringError::NoLibrary { folder: folder.into() })
}

/// Reads the library's path out of one of cargo's messages, if it is about that.
fn artifact(line: &str, manifest: &Path) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        reason: String,
        manifest_path: PathBuf,
        filenames: Vec<PathBuf>,
    }
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    let ours = artifact.reason == "compiler-artifact" && artifact.manifest_path == manifest;
    let mut files = artifact.filenames.into_iter();
    files.find(|file| ours && crate::plugin::scan::is_library(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_the_one_of_the_crate_itself() {
        let manifest = Path::new("/a/Cargo.toml");
        let line = |reason: &str, of: &str, file: &str| {
            format!(
                r#"{{"reason":"{reason}","manifest_path":"{of}","filenames":["/t/x.rlib","{file}"]}}"#
            )
        };
        let found = artifact(&line("compiler-artifact", "/a/Cargo.toml", "/t/libx.so"), manifest);
        assert_eq!(found, Some("/t/libx.so".into()));
        for other in [
            line("compiler-artifact", "/b/Cargo.toml", "/t/libx.so"),
            line("compiler-artifact", "/a/Cargo.toml", "/t/libx.rmeta"),
            line("build-finished", "/a/Cargo.toml", "/t/libx.so"),
            "what a build script prints".to_owned(),
        ] {
            assert_eq!(artifact(&other, manifest), None, "{other}");
        }
    }

    #[test]
    fn a_folder_without_a_crate_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = build(dir.path(), false).unwrap_err();
        assert!(error.to_string().starts_with("there is no `Cargo.toml` in"), "{error}");
    }
}
