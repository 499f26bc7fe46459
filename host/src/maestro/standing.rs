//! What a gateway that runs has learnt of its upstreams, in a file of its own that other processes read.
//!
//! Told is only what is not as usual: breakers that are open and sessions that rest, with the time at
//! which that ends. Whoever reads believes no process that is gone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use plugin_api::ProviderId;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tracing::debug;

use super::{Maestro, route::PassedOver};
use crate::{plugin::judge::write_private, session::lease::Holder};

/// A gateway that runs, and what it has learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunningGateway {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub url: String,
    /// Names the process beyond its number, which another may get.
    #[serde(skip_serializing)]
    holder: String,
    #[serde(flatten)]
    standing: Standings,
}

/// Which upstreams are left alone, and which sessions rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standings {
    /// Until when, in milliseconds since 1970; `None` while a request probes one.
    pub(super) left_alone: BTreeMap<ProviderId, Option<u64>>,
    /// Until when, by selector.
    pub(super) rests: BTreeMap<String, u64>,
}

impl RunningGateway {
    /// Says why it would pass over a provider, whatever the session.
    pub(super) fn leaves_alone(&self, provider: &ProviderId) -> Option<PassedOver> {
        let wait_ms = match self.standing.left_alone.get(provider)? {
            Some(until) => Some(left(*until)?),
            None => None,
        };
        Some(PassedOver::BreakerOpen { wait_ms })
    }

    /// Says why it would pass over a session of a pool.
    pub(super) fn rests(&self, selector: &str) -> Option<PassedOver> {
        let wait_ms = left(*self.standing.rests.get(selector)?)?;
        Some(PassedOver::Resting { wait_ms })
    }
}

/// Returns how long it is until a time, if that is to come.
fn left(until: u64) -> Option<u64> {
    until.checked_sub(now()).filter(|left| *left > 0)
}

pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The file of this process, as long as it is kept.
#[derive(Debug)]
pub struct Telling {
    file: Arc<Told>,
    writing: JoinHandle<()>,
}

#[derive(Debug)]
struct Told {
    path: PathBuf,
    /// What was written last; locked while it is, so that nothing is written after the end.
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Nothing,
    Written(Standings),
    Ended,
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.writing.abort();
        *self.file.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Ended;
        let _ = fs::remove_file(&self.file.path);
    }
}

impl Told {
    fn write(&self, gateway: &RunningGateway) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Ended => return,
            State::Written(standing) if *standing == gateway.standing => return,
            State::Written(_) | State::Nothing => {}
        }
        // `holder` is for the file alone.
        let mut json = serde_json::json!(gateway);
        json["holder"] = gateway.holder.clone().into();
        match write_private(&self.path, json.to_string().as_bytes()) {
            Ok(()) => *state = State::Written(gateway.standing.clone()),
            Err(error) => debug!(%error, "what is learnt of upstreams is not told"),
        }
    }
}

impl Maestro {
    /// Tells other processes, as long as the result is kept, which upstreams are left alone and which
    /// sessions rest. Must be called within a runtime. `None` when no process can be named.
    #[must_use]
    pub fn tell_standing(&self, url: &str) -> Option<Telling> {
        let holder = Holder::new().ok()?;
        let (pid, folder) = (std::process::id(), self.inner.home.standing());
        // What processes left that were killed.
        for (path, gateway) in read(&folder) {
            if gateway.is_none_or(|gateway| Holder::is_gone(&gateway.holder)) {
                let _ = fs::remove_file(path);
            }
        }
        let path = folder.join(format!("{pid}.json"));
        let file = Arc::new(Told { path, state: Mutex::new(State::Nothing) });
        let mut gateway = RunningGateway {
            pid,
            url: url.to_owned(),
            holder: holder.as_str().to_owned(),
            standing: self.inner.health.standings(),
        };
        file.write(&gateway);
        let (told, health) = (Arc::clone(&file), Arc::clone(&self.inner.health));
        let writing = tokio::spawn(async move {
            loop {
                health.changed().await;
                gateway.standing = health.standings();
                told.write(&gateway);
                // What changes meanwhile is written after it, at once.
                tokio::time::sleep(PAUSE).await;
            }
        });
        Some(Telling { file, writing })
    }

    /// Lists the gateways of this home that run now.
    #[must_use]
    pub fn running_gateways(&self) -> Vec<RunningGateway> {
        let read = read(&self.inner.home.standing()).into_iter().filter_map(|(_, gateway)| gateway);
        read.filter(|gateway| !Holder::is_gone(&gateway.holder)).collect()
    }
}

/// Reads the files of a folder, by number of the process; what is not readable is none.
fn read(folder: &Path) -> Vec<(PathBuf, Option<RunningGateway>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "json"));
    paths.sort();
    let parsed = |path: &PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
    paths.into_iter().map(|path| (path.clone(), parsed(&path))).collect()
}

/// How long is not written after it was.
const PAUSE: Duration = Duration::from_secs(1);
