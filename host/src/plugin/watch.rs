//! Notices when the plugin folders change.
//!
//! Folders are watched and not files, because a file that is renamed into another's place is another
//! file; the folders above them too, so that one that is deleted and made again is found. News only says
//! that it is time to look: what is there is read anew, and equal bytes are no change.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tracing::debug;

use super::scan::is_library;

/// Looks at the plugin folders until it is dropped.
#[derive(Debug)]
#[must_use = "nothing is watched any more when it is dropped"]
pub struct Watch {
    news: Sender<News>,
}

/// Why the folders cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("the plugin folders cannot be watched: {problem}")]
pub struct WatchError {
    /// What the system says.
    problem: String,
}

/// What to watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Folders of libraries.
    pub(crate) folders: Vec<PathBuf>,
    /// Single files.
    pub(crate) files: Vec<PathBuf>,
}

/// When to look again although nothing happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    /// Not at all.
    Never,
    /// As soon as things have been quiet.
    Soon,
    /// At this time.
    At(Instant),
    /// Nobody is there any more who would want to know.
    Stop,
}

/// Why to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Something changed.
    News,
    /// It is the time that was asked for.
    Time,
}

enum News {
    Event(notify::Result<Event>),
    Stop,
}

/// How long nothing may happen before it is time to look: a file is written in many pieces.
const QUIET: Duration = Duration::from_millis(50);

/// After which time to look although things happen all the time.
const LONGEST: Duration = Duration::from_secs(1);

impl Watch {
    /// Calls `look` on a thread of its own, at once and whenever something in `places` changed.
    pub(crate) fn start(
        places: Places,
        look: impl FnMut(Why) -> Next + Send + 'static,
    ) -> Result<Self, WatchError> {
        let failed = |problem: String| WatchError { problem };
        let (news, arrived) = channel();
        let sender = news.clone();
        let watcher = notify::recommended_watcher(move |event| {
            let _ = sender.send(News::Event(event));
        });
        let watcher = watcher.map_err(|error| failed(error.to_string()))?;
        let mut watched =
            Watched { places, watcher, folders: BTreeSet::new(), targets: BTreeSet::new() };
        watched.follow().map_err(|error| failed(error.to_string()))?;
        let thread = thread::Builder::new().name("plugin watch".into());
        thread
            .spawn(move || run(&arrived, watched, look))
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { news })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.news.send(News::Stop);
    }
}

fn run(arrived: &Receiver<News>, mut watched: Watched, mut look: impl FnMut(Why) -> Next) {
    // What happened between the first look and the watch is news too.
    let (mut due, mut latest) = (Some(Instant::now()), None);
    let mut timer = None;
    loop {
        let wake = due.into_iter().chain(timer).min();
        let news = match wake {
            Some(at) => arrived.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => arrived.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match news {
            Ok(News::Event(event)) => {
                if watched.concerns(event) {
                    let now = Instant::now();
                    let latest = *latest.get_or_insert(now + LONGEST);
                    due = Some((now + QUIET).min(latest));
                }
            }
            Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let changed = due.is_some_and(|due| due <= Instant::now());
                if changed {
                    // First, so that what changes while we look is news again.
                    if let Err(error) = watched.follow() {
                        debug!(%error, "a plugin folder is not watched");
                    }
                    (due, latest) = (None, None);
                }
                timer = None;
                match look(if changed { Why::News } else { Why::Time }) {
                    Next::Never => {}
                    Next::Soon => due = Some(Instant::now() + QUIET),
                    Next::At(at) => timer = Some(at),
                    Next::Stop => return,
                }
            }
        }
    }
}

/// What is watched just now.
struct Watched {
    places: Places,
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    /// Files elsewhere that links in the folders lead to.
    targets: BTreeSet<PathBuf>,
}

impl Watched {
    /// Watches what is there now. One that cannot be watched does not keep the others from it.
    fn follow(&mut self) -> notify::Result<()> {
        let mut wanted = BTreeSet::new();
        for folder in &self.places.folders {
            wanted.extend(nearest(folder));
            wanted.extend(folder.parent().and_then(nearest));
        }
        wanted.extend(self.places.files.iter().filter_map(|file| nearest(file.parent()?)));
        self.targets = self.places.folders.iter().flat_map(|folder| targets(folder)).collect();
        wanted.extend(self.targets.iter().filter_map(|file| nearest(file.parent()?)));
        for gone in self.folders.difference(&wanted) {
            // It may be gone itself.
            let _ = self.watcher.unwatch(gone);
        }
        let mut failed = Ok(());
        for folder in &wanted {
            // Again also what was watched: a folder that was made again is another one. For one that
            // is the same it changes nothing.
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                failed = Err(error);
            }
        }
        self.folders = wanted;
        failed
    }

    /// Reports whether an event is about a place.
    fn concerns(&self, event: notify::Result<Event>) -> bool {
        let Ok(event) = event else { return true };
        let read = matches!(event.kind, EventKind::Access(kind)
            if kind != AccessKind::Close(AccessMode::Write));
        event.need_rescan() || !read && event.paths.iter().any(|path| self.is_place(path))
    }

    fn is_place(&self, path: &Path) -> bool {
        let Places { folders, files } = &self.places;
        folders.iter().any(|folder| {
            folder.starts_with(path) || path.parent() == Some(folder) && is_library(path)
        }) || files.iter().any(|file| file == path)
            || self.targets.contains(path)
    }
}

/// Returns a folder, or the nearest one above it that exists.
fn nearest(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|folder| folder.is_dir()).map(Path::to_owned)
}

/// Lists the files that links in a folder lead to.
fn targets(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let links =
        entries.map(|entry| entry.path()).filter(|path| is_library(path) && path.is_symlink());
    links.filter_map(|link| link.canonicalize().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, sync::mpsc};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Watches a folder and says when it was looked at.
    fn watch(folder: &Path) -> (Watch, Receiver<Why>) {
        let (looked, seen) = channel();
        let places = Places { folders: vec![folder.to_owned()], files: Vec::new() };
        let watch =
            Watch::start(
                places,
                move |why| {
                    if looked.send(why).is_err() { Next::Stop } else { Next::Never }
                },
            );
        assert_eq!(seen.recv_timeout(PATIENCE), Ok(Why::News), "at once");
        (watch.unwrap(), seen)
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let (_watch, seen) = watch(&folder);
        fs::create_dir_all(&folder).unwrap();
        seen.recv_timeout(PATIENCE).unwrap();
        fs::write(folder.join("x.so"), "1").unwrap();
        seen.recv_timeout(PATIENCE).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        seen.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn what_a_link_leads_to_is_watched_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, elsewhere) = (dir.path().join("plugins"), dir.path().join("build"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        let target = elsewhere.canonicalize().unwrap().join("x.so");
        fs::write(&target, "1").unwrap();
        symlink(&target, folder.join("x.so")).unwrap();
        let (_watch, seen) = watch(&folder);
        fs::write(folder.join("notes.txt"), "1").unwrap();
        fs::write(elsewhere.join("y.so"), "1").unwrap();
        fs::read(&target).unwrap();
        fs::write(&target, "2").unwrap();
        assert_eq!(seen.recv_timeout(PATIENCE), Ok(Why::News));
        assert_eq!(seen.try_recv(), Err(mpsc::TryRecvError::Empty), "once");
    }

    #[test]
    fn nobody_looks_any_more_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (watch, seen) = watch(dir.path());
        drop(watch);
        assert_eq!(seen.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    }
}
