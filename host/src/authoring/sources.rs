//! Notices when the sources of a crate change.
//!
//! Everything below the crate's folder counts but what is hidden, what cargo writes, and what editors
//! put there for a moment.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{sleep, timeout},
};

use super::AuthoringError;

/// The sources of a crate, watched.
#[derive(Debug)]
pub struct Sources {
    folder: PathBuf,
    watcher: RecommendedWatcher,
    arrived: UnboundedReceiver<notify::Result<Event>>,
}

/// How long nothing may happen before a save is over.
const QUIET: Duration = Duration::from_millis(30);

/// After which time it is, although things happen all the time.
const LONGEST: Duration = Duration::from_secs(1);

impl Sources {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// [`AuthoringError::Watch`] when the system does not let us.
    pub fn watch(folder: &Path) -> Result<Self, AuthoringError> {
        let failed = |error: notify::Error| AuthoringError::Watch {
            folder: folder.into(),
            problem: error.to_string(),
        };
        let Ok(folder) = folder.canonicalize() else {
            return Err(AuthoringError::NoCrate { folder: folder.into() });
        };
        let (news, arrived) = unbounded_channel();
        let watcher = notify::recommended_watcher(move |event| {
            let _ = news.send(event);
        });
        let mut sources = Self { folder, watcher: watcher.map_err(failed)?, arrived };
        sources.follow().map_err(failed)?;
        Ok(sources)
    }

    /// Waits until something was saved; returns when that began.
    pub async fn changed(&mut self) -> Instant {
        loop {
            let Some(event) = self.arrived.recv().await else {
                // The watcher lives as long as we do, so this does not happen.
                std::future::pending::<()>().await;
                continue;
            };
            if self.concerns(&event) {
                break;
            }
        }
        let began = Instant::now();
        while began.elapsed() < LONGEST {
            match timeout(QUIET, self.arrived.recv()).await {
                Ok(Some(_)) => {}
                Ok(None) => sleep(QUIET).await,
                Err(_) => break,
            }
        }
        // A folder that is new is watched from now on. One that cannot be does not stop the others.
        let _ = self.follow();
        began
    }

    fn follow(&mut self) -> notify::Result<()> {
        self.watcher.watch(&self.folder, RecursiveMode::NonRecursive)?;
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let path = entry.path();
            if path.is_dir() && is_source(&path) {
                self.watcher.watch(&path, RecursiveMode::Recursive)?;
            }
        }
        Ok(())
    }

    fn concerns(&self, event: &notify::Result<Event>) -> bool {
        let Ok(event) = event else { return true };
        let read = matches!(event.kind, EventKind::Access(kind)
            if kind != AccessKind::Close(AccessMode::Write));
        event.need_rescan()
            || !read
                && event.paths.iter().any(|path| {
                    let inside = path.strip_prefix(&self.folder).unwrap_or(path);
                    let top = inside.iter().next().map(|top| self.folder.join(top));
                    top.is_some_and(|top| is_source(&top)) && is_source(path)
                })
    }
}

/// Reports whether what a name says is a source: not hidden, not an editor's, not cargo's.
fn is_source(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let editors = name.starts_with(['.', '#']) || name.ends_with('~') || name == "4913";
    let cargos = name == "Cargo.lock" || name == "target" || path.join("CACHEDIR.TAG").is_file();
    !editors && !cargos
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_is_saved_is_noticed_and_what_cargo_writes_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["src", "target", ".git"] {
            fs::create_dir(at(folder)).unwrap();
        }
        let mut sources = Sources::watch(dir.path()).unwrap();
        for noise in ["target/x", ".git/x", "Cargo.lock", "src/.lib.rs.swp", "src/lib.rs~"] {
            fs::write(at(noise), "1").unwrap();
        }
        fs::write(at("src/lib.rs"), "1").unwrap();
        timeout(PATIENCE, sources.changed()).await.unwrap();
        // Noticed, and watched from then on.
        fs::create_dir(at("fixtures")).unwrap();
        timeout(PATIENCE, sources.changed()).await.unwrap();
        fs::write(at("fixtures/a.sse"), "1").unwrap();
        timeout(PATIENCE, sources.changed()).await.unwrap();
        fs::write(at("target/y"), "1").unwrap();
        fs::write(at("Cargo.lock"), "2").unwrap();
        assert!(timeout(QUIET, sources.changed()).await.is_err(), "nobody saved anything");
    }
}
