//! Which bytes are withheld because they crash: by hash, with the reason and the time.
//!
//! `quarantine.json` in the data folder. What counts is a crash of the plugin's own doing that came
//! again when the same input was given to a fresh worker; what ended a worker from outside never does.
//! Other bytes are another hash, and an operator may clear it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{RefusalError, judge::write_private, trust::is_of_others};

/// The list, shared by all who load plugins.
#[derive(Debug)]
pub struct Quarantine {
    /// Where it is kept; `None` keeps it for this process alone.
    path: Option<PathBuf>,
    /// How many crashes are too many; 0 counts none.
    limit: u32,
    list: Mutex<List>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct List {
    /// Version of the file's form.
    version: u32,
    /// By hash.
    plugins: BTreeMap<String, Record>,
}

/// What is known of some bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    plugin: String,
    /// When they crashed lately, in seconds since the Unix epoch.
    crashes_s: Vec<u64>,
    withheld: Option<Withheld>,
}

/// Why some bytes are withheld.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Withheld {
    /// The plugin.
    pub plugin: String,
    /// blake3 of its file, in hexadecimal.
    pub hash: String,
    /// How it crashed the last time.
    pub reason: String,
    /// The signal of that crash, if one ended it.
    pub signal: Option<String>,
    /// How many crashes there were.
    pub crashes: u32,
    /// Since when, in seconds since the Unix epoch.
    pub since_s: u64,
}

const VERSION: u32 = 1;

/// How many crashes withhold a plugin, unless the configuration says otherwise.
pub const LIMIT: u32 = 3;

/// Within which time they must come.
const WINDOW: Duration = Duration::from_secs(300);

impl Default for Quarantine {
    fn default() -> Self {
        Self { path: None, limit: LIMIT, list: Mutex::default() }
    }
}

impl Quarantine {
    /// Reads the list. One that cannot be read is empty: it withholds what would only crash again.
    #[must_use]
    pub fn open(path: PathBuf, limit: u32) -> Self {
        let quarantine = Self { path: Some(path), limit, list: Mutex::default() };
        quarantine.read_again();
        quarantine
    }

    /// Reads the list again, which another process may have changed.
    pub fn read_again(&self) {
        self.read_into(&mut self.list());
    }

    fn read_into(&self, list: &mut List) {
        let Some(path) = &self.path else { return };
        let read = fs::File::open(path).and_then(|mut file| {
            let mut json = Vec::new();
            let foreign = is_of_others(&file.metadata()?);
            file.read_to_end(&mut json)?;
            Ok((json, foreign))
        });
        let json = match read {
            Ok((json, false)) => json,
            Ok((_, true)) => {
                warn!(path = %path.display(), "the quarantine may be written by others, and is not believed");
                return;
            }
            Err(error) => {
                if error.kind() == std::io::ErrorKind::NotFound {
                    *list = List::default();
                }
                return;
            }
        };
        match serde_json::from_slice(&json) {
            Ok(read) => *list = read,
            Err(error) => warn!(%error, path = %path.display(), "the quarantine cannot be read"),
        }
    }

    /// Returns the file if others may write it, so that what it says does not count.
    #[must_use]
    pub fn disbelieved(&self) -> Option<&Path> {
        let path = self.path.as_deref()?;
        fs::metadata(path).is_ok_and(|metadata| is_of_others(&metadata)).then_some(path)
    }

    /// Keeps other processes from changing the list until it is dropped. Where no lock can be had, the
    /// list cannot be written either, and what is known here counts.
    fn lock(&self) -> Option<fs::File> {
        let path = self.path.as_ref()?.with_extension("lock");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path.parent()?).ok()?;
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).ok()?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).ok()?;
        Some(file)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why these bytes are withheld, if they are.
    #[must_use]
    pub fn holds(&self, hash: &str) -> Option<Withheld> {
        self.list().plugins.get(hash)?.withheld.clone()
    }

    /// Refuses bytes that are withheld.
    ///
    /// # Errors
    ///
    /// [`RefusalError::Quarantined`].
    pub fn check(&self, hash: &str) -> Result<(), RefusalError> {
        match self.holds(hash) {
            None => Ok(()),
            Some(withheld) => {
                let (plugin, why) = (withheld.plugin.clone(), withheld.to_string());
                Err(RefusalError::Quarantined { plugin, why })
            }
        }
    }

    /// Lists what is withheld.
    #[must_use]
    pub fn withheld(&self) -> Vec<Withheld> {
        self.list().plugins.values().filter_map(|record| record.withheld.clone()).collect()
    }

    /// Counts a crash that came again; from the third in five minutes on the bytes are withheld.
    pub fn crashed(&self, plugin: &str, hash: &str, how: &str, signal: Option<&str>) {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.crashed_at(plugin, hash, how, signal, now_s);
    }

    fn crashed_at(&self, plugin: &str, hash: &str, how: &str, signal: Option<&str>, now_s: u64) {
        if self.limit == 0 {
            return;
        }
        self.record(plugin, hash, how, signal, now_s, false);
    }

    /// Withholds bytes at once, for what must not happen a second time.
    pub fn withhold(&self, plugin: &str, hash: &str, how: &str) {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.limit > 0 {
            self.record(plugin, hash, how, None, now_s, true);
        }
    }

    fn record(
        &self,
        plugin: &str,
        hash: &str,
        how: &str,
        signal: Option<&str>,
        now_s: u64,
        at_once: bool,
    ) {
        let mut list = self.list();
        let _lock = self.lock();
        // Crashes of programs that run for one request count together.
        self.read_into(&mut list);
        list.version = VERSION;
        let oldest = now_s.saturating_sub(WINDOW.as_secs());
        for record in list.plugins.values_mut() {
            record.crashes_s.retain(|at| *at >= oldest);
        }
        list.plugins.retain(|_, record| record.withheld.is_some() || !record.crashes_s.is_empty());
        let record = list.plugins.entry(hash.to_owned()).or_insert_with(|| Record {
            plugin: plugin.to_owned(),
            crashes_s: Vec::new(),
            withheld: None,
        });
        record.crashes_s.push(now_s);
        let crashes = u32::try_from(record.crashes_s.len()).unwrap_or(u32::MAX);
        if (at_once || crashes >= self.limit) && record.withheld.is_none() {
            warn!(plugin, how, "quarantined");
            record.withheld = Some(Withheld {
                plugin: plugin.to_owned(),
                hash: hash.to_owned(),
                reason: how.to_owned(),
                signal: signal.map(str::to_owned),
                crashes,
                since_s: now_s,
            });
        }
        if let Err(error) = self.write(&list) {
            warn!(%error, "the quarantine is not kept");
        }
    }

    /// Lets a plugin run again and forgets its crashes; returns how many of its files were withheld.
    ///
    /// # Errors
    ///
    /// When the list cannot be written; then nothing is let go.
    pub fn clear(&self, plugin: &str) -> std::io::Result<usize> {
        let mut list = self.list();
        let _lock = self.lock();
        self.read_into(&mut list);
        let mut cleared = list.clone();
        cleared.plugins.retain(|_, record| record.plugin != plugin);
        let held = |list: &List| list.plugins.values().filter(|r| r.withheld.is_some()).count();
        let count = held(&list) - held(&cleared);
        if cleared.plugins.len() != list.plugins.len() {
            self.write(&cleared)?;
        }
        *list = cleared;
        Ok(count)
    }

    fn write(&self, list: &List) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        write_private(path, &serde_json::to_vec_pretty(list)?)
    }
}

impl std::fmt::Display for Withheld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = UNIX_EPOCH + Duration::from_secs(self.since_s.min(MAX_DATE_S));
        let since = httpdate::fmt_http_date(since);
        let (crashes, reason) = (self.crashes, &self.reason);
        match crashes {
            1 => write!(f, "in quarantine since {since}: {reason}")?,
            _ => write!(
                f,
                "in quarantine since {since}: it crashed {crashes} times, the last time with: {reason}"
            )?,
        }
        match &self.signal {
            Some(signal) => write!(f, " ({signal})"),
            None => Ok(()),
        }
    }
}

/// The end of the year 9999; later dates have no form.
const MAX_DATE_S: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_crashes_in_five_minutes_withhold_the_bytes_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quarantine.json");
        let quarantine = Quarantine::open(path.clone(), LIMIT);
        let crash = |hash: &str, now_s| {
            quarantine.crashed_at("acme", hash, "it aborted", Some("SIGABRT"), now_s);
        };
        crash("a", 1000);
        crash("a", 1001);
        crash("b", 1002);
        crash("a", 1302);
        assert_eq!(quarantine.withheld(), [], "two of them are too old by then");
        // Another process, which knows what this one wrote.
        let other = Quarantine::open(path, LIMIT);
        other.crashed_at("acme", "a", "it aborted", Some("SIGABRT"), 1303);
        other.crashed_at("acme", "a", "it aborted", Some("SIGABRT"), 1304);
        quarantine.read_again();
        assert_eq!(
            quarantine.check("a").unwrap_err().to_string(),
            "in quarantine since Thu, 01 Jan 1970 00:21:44 GMT: it crashed 3 times, the last time \
             with: it aborted (SIGABRT)"
        );
        quarantine.check("b").unwrap();
        assert_eq!(other.clear("other").unwrap(), 0);
        assert_eq!(other.clear("acme").unwrap(), 1);
        quarantine.read_again();
        assert_eq!(quarantine.withheld(), []);
    }

    #[test]
    fn no_crash_is_lost_where_many_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quarantine.json");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let one = Quarantine::open(path.clone(), 1000);
                scope.spawn(move || {
                    (0..25).for_each(|_| one.crashed_at("acme", "a", "it aborted", None, 7));
                });
            }
        });
        let all = Quarantine::open(path, 101);
        assert_eq!(all.list().plugins["a"].crashes_s.len(), 100);
        all.crashed_at("acme", "a", "it aborted", None, 7);
        assert_eq!(all.withheld()[0].crashes, 101);
    }

    #[test]
    fn a_list_that_others_may_write_is_not_believed() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quarantine.json");
        Quarantine::open(path.clone(), 1).crashed("acme", "a", "it aborted", None);
        let read = || Quarantine::open(path.clone(), 1).withheld().len();
        assert_eq!(read(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read(), 0);
        assert_eq!(Quarantine::open(path.clone(), 1).disbelieved(), Some(path.as_path()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(), 1);
        assert_eq!(Quarantine::open(path.clone(), 1).disbelieved(), None);
    }

    #[test]
    fn what_must_not_happen_again_is_withheld_at_once() {
        let quarantine = Quarantine::default();
        quarantine.withhold("acme", "a", "a step in process took 9 ms, at most 5");
        let why = quarantine.check("a").unwrap_err().to_string();
        assert!(why.ends_with(" GMT: a step in process took 9 ms, at most 5"), "{why}");
    }

    #[test]
    fn without_a_limit_nothing_is_withheld() {
        let quarantine = Quarantine { limit: 0, ..Quarantine::default() };
        (0..9).for_each(|now_s| quarantine.crashed_at("acme", "a", "it aborted", None, now_s));
        quarantine.check("a").unwrap();
    }

    #[test]
    fn what_cannot_be_read_withholds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quarantine.json");
        fs::write(&path, "[").unwrap();
        let quarantine = Quarantine::open(path, 1);
        assert_eq!(quarantine.withheld(), []);
        quarantine.crashed("acme", "a", "it aborted", None);
        assert_eq!(quarantine.withheld().len(), 1);
    }
}
