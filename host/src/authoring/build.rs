//! Builds a plugin's crate with cargo.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::AuthoringError;

/// Builds the library of the crate in `folder` and returns where it is.
///
/// What cargo has to say goes to stderr as it comes.
///
/// # Errors
///
/// [`AuthoringError::NoCrate`], [`AuthoringError::NoCargo`], [`AuthoringError::Build`],
/// [`AuthoringError::NoLibrary`].
pub fn build(folder: &Path, release: bool) -> Result<PathBuf, AuthoringError> {
    let manifest = folder.join("Cargo.toml");
    let Ok(manifest) = manifest.canonicalize() else {
        return Err(AuthoringError::NoCrate { folder: folder.into() });
    };
    let program = PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let no_cargo = |source| AuthoringError::NoCargo { program: program.clone(), source };
    let mut child = Command::new(&program)
        .args(["build", "--lib", "--message-format=json-render-diagnostics", "--manifest-path"])
        .arg(&manifest)
        .args(release.then_some("--release"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(no_cargo)?;
    let mut library = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(no_cargo)?;
            library = artifact(&line, &manifest).or(library);
        }
    }
    if !child.wait().map_err(no_cargo)?.success() {
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
