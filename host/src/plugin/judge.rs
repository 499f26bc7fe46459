//! Judges a library without running any of its code, and keeps a private copy of what passes.
//!
//! The bytes that are judged are the bytes that are copied, and only the copy is ever loaded: there
//! is no moment in between at which somebody could exchange the file, and no half-written file is
//! mapped. The copy's name holds the hash of its contents, because the dynamic loader answers a path
//! that it knows with the library that it has.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use plugin_api::{
    CONTRACT_VERSION,
    id::is_valid_id,
    manifest::{Manifest, ManifestError},
};
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::{
    Provenance, RefusalError,
    object::manifest_section,
    scan::{Found, Stamp},
};
use crate::transport::origins::Origin;

/// A library that may be loaded.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Where it was found.
    pub path: PathBuf,
    /// What it is.
    pub provenance: Provenance,
    /// Whether others of its group may write it.
    pub shared: bool,
    /// blake3 of its contents, in hexadecimal.
    pub hash: String,
    /// The private copy, the only thing that is loaded.
    pub copy: PathBuf,
    /// What it declares.
    pub manifest: Arc<Manifest>,
    /// What it declares, as it stands in the section.
    pub manifest_json: Arc<str>,
}

/// Judges libraries and remembers the verdicts on files that have not changed.
#[derive(Debug)]
pub struct Judge {
    folder: PathBuf,
    known: BTreeMap<PathBuf, Known>,
}

/// A remembered verdict: the file passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    stamp: [String; 5],
    hash: String,
    manifest: String,
}

/// Where verdicts are kept, in the judge's folder. The name carries the contract and the build, so
/// another host judges anew.
fn verdicts_name() -> String {
    format!("verdicts-{CONTRACT_VERSION}-{}.json", env!("CARGO_PKG_VERSION"))
}

impl Judge {
    /// Opens the private folder, or makes it when it is first needed.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        let known = fs::read(folder.join(verdicts_name()))
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default();
        Self { folder, known }
    }

    /// Judges files, several at once: reading, hashing and copying are most of the work.
    ///
    /// The verdicts come in the order of the files.
    #[must_use]
    pub fn judge_all(&self, found: &[Found]) -> Vec<Result<Judged, RefusalError>> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        if threads == 1 || found.iter().all(|file| self.known.contains_key(&file.path)) {
            return found.iter().map(|file| self.judge(file)).collect();
        }
        let share = found.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let judging: Vec<_> = found
                .chunks(share)
                .map(|files| {
                    scope.spawn(|| files.iter().map(|file| self.judge(file)).collect::<Vec<_>>())
                })
                .collect();
            let judged = judging.into_iter().zip(found.chunks(share));
            judged
                .flat_map(|(thread, files)| {
                    // A panic while a file is judged is a refusal of it, not the end of the host.
                    thread.join().unwrap_or_else(|_| {
                        files.iter().map(|_| Err(wrong("it made the judge panic"))).collect()
                    })
                })
                .collect()
        })
    }

    /// Judges one file.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub fn judge(&self, found: &Found) -> Result<Judged, RefusalError> {
        if let Some(judged) = self.remembered(found) {
            return Ok(judged);
        }
        let bytes = read_stable(&found.path, found.stamp)?;
        let json =
            std::str::from_utf8(manifest_section(&bytes)?).map_err(|_| wrong("it is not UTF-8"))?;
        let manifest = Manifest::from_json(json.as_bytes()).map_err(unreadable)?;
        check(&manifest)?;
        let hash = blake3::hash(&bytes).to_hex().to_string();
        let copy = self.copy_path(&manifest.id, &hash);
        if !is_whole(&copy, found.stamp.size) {
            write_private(&copy, &bytes)
                .map_err(|source| RefusalError::Copy { folder: self.folder.clone(), source })?;
        }
        Ok(Judged {
            path: found.path.clone(),
            provenance: found.provenance,
            shared: is_shared(&found.path),
            hash,
            copy,
            manifest: Arc::new(manifest),
            manifest_json: json.into(),
        })
    }

    /// Writes down the files that passed, if they are not the ones of last time, for the next
    /// process.
    ///
    /// Verdicts only save time, so a folder that cannot be written is no failure.
    pub fn remember(&mut self, found: &[Found], verdicts: &[Result<Judged, RefusalError>]) {
        let passed = found.iter().zip(verdicts).filter_map(|(file, verdict)| {
            let judged = verdict.as_ref().ok()?;
            let known = Known {
                stamp: stamp_words(file.stamp),
                hash: judged.hash.clone(),
                manifest: judged.manifest_json.to_string(),
            };
            Some((file.path.clone(), known))
        });
        let passed: BTreeMap<PathBuf, Known> = passed.collect();
        if passed == self.known {
            return;
        }
        self.known = passed;
        self.forget_old_copies();
        let json = serde_json::to_vec(&self.known).unwrap_or_default();
        if let Err(error) = write_private(&self.folder.join(verdicts_name()), &json) {
            debug!(%error, "verdicts are not kept");
        }
    }

    /// Deletes copies that no file stands for any more. A young one may be another process's, which
    /// judges other folders and is about to load it.
    fn forget_old_copies(&self) {
        let mut kept = HashSet::new();
        for known in self.known.values() {
            if let Ok(manifest) = Manifest::from_json(known.manifest.as_bytes()) {
                kept.insert(self.copy_path(&manifest.id, &known.hash));
            }
        }
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let age = entry.metadata().and_then(|metadata| metadata.modified());
            let old = age.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > COPY_GRACE));
            if old && path.extension().is_some_and(|ext| ext == "so") && !kept.contains(&path) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn remembered(&self, found: &Found) -> Option<Judged> {
        let known = self.known.get(&found.path)?;
        if known.stamp != stamp_words(found.stamp) {
            return None;
        }
        let manifest = Manifest::from_json(known.manifest.as_bytes()).ok()?;
        let copy = self.copy_path(&manifest.id, &known.hash);
        is_whole(&copy, found.stamp.size).then(|| Judged {
            path: found.path.clone(),
            provenance: found.provenance,
            shared: is_shared(&found.path),
            hash: known.hash.clone(),
            copy,
            manifest: Arc::new(manifest),
            manifest_json: known.manifest.as_str().into(),
        })
    }

    fn copy_path(&self, id: &str, hash: &str) -> PathBuf {
        self.folder.join(format!("{id}-{hash}.so"))
    }
}

/// Tells the writers of this process apart.
static WRITERS: AtomicU32 = AtomicU32::new(0);

/// Most threads that judge at once.
const MAX_THREADS: usize = 8;

/// How long a copy without a file is kept.
const COPY_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Reports whether a copy has the size of its original. A copy that lost its contents when the
/// machine did has another one.
fn is_whole(copy: &Path, size: u64) -> bool {
    fs::metadata(copy).is_ok_and(|copy| copy.len() == size)
}

/// Reports whether others of a file's group may write it. What is not there is nobody's to write.
fn is_shared(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.mode() & 0o020 != 0)
}

fn stamp_words(stamp: Stamp) -> [String; 5] {
    // As text, because JSON has no 128-bit numbers.
    [
        stamp.inode.0.to_string(),
        stamp.inode.1.to_string(),
        stamp.size.to_string(),
        stamp.modified_ns.to_string(),
        stamp.changed_ns.to_string(),
    ]
}

/// Reads a file that must not change meanwhile.
fn read_stable(path: &Path, stamp: Stamp) -> Result<Vec<u8>, RefusalError> {
    let bytes = fs::read(path).map_err(RefusalError::Io)?;
    let after = fs::metadata(path).map_err(RefusalError::Io)?;
    if Stamp::of(&after) != stamp || bytes.len() as u64 != stamp.size {
        return Err(RefusalError::Changing);
    }
    Ok(bytes)
}

/// Writes a file that only this user may read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Two threads of two processes may write the same copy at once.
    let writer = WRITERS.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("tmp-{}-{writer}", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn wrong(problem: impl Into<String>) -> RefusalError {
    RefusalError::WrongManifest { problem: problem.into() }
}

fn unreadable(error: ManifestError) -> RefusalError {
    match error {
        ManifestError::Schema { contract: found, .. }
        | ManifestError::Contract { contract: found } => {
            RefusalError::WrongContract { found, expected: CONTRACT_VERSION }
        }
        ManifestError::Json(error) => RefusalError::Manifest(error),
        other => wrong(other.to_string()),
    }
}

/// Checks a manifest against the contract and itself.
fn check(manifest: &Manifest) -> Result<(), RefusalError> {
    if !speaks_our_contract(&manifest.contract) || manifest.schema > plugin_api::manifest::SCHEMA {
        let found = manifest.contract.clone();
        return Err(RefusalError::WrongContract { found, expected: CONTRACT_VERSION });
    }
    if !is_valid_id(&manifest.id) {
        return Err(wrong(format!("plugin id `{}`", manifest.id.escape_debug())));
    }
    if manifest.capabilities.is_empty() {
        return Err(wrong("it declares no capability that this host knows"));
    }
    if manifest.providers.is_empty() && !manifest.instances {
        return Err(wrong("it offers no provider and takes no instances"));
    }
    let mut ids = HashSet::new();
    for provider in &manifest.providers {
        let id = provider.id.as_str();
        if !is_valid_id(id) {
            return Err(wrong(format!("provider id `{}`", id.escape_debug())));
        }
        if !ids.insert(id) {
            return Err(wrong(format!("provider `{id}` stands there twice")));
        }
        if !provider.profile.is_empty() && manifest.profile(&provider.profile).is_none() {
            return Err(wrong(format!("provider `{id}` names profile `{}`", provider.profile)));
        }
        let urls = provider.origins.iter().chain(std::iter::once(&provider.base_url));
        for url in urls.filter(|url| !url.is_empty() && !url.contains('{')) {
            if Origin::parse(url).is_err() {
                return Err(wrong(format!("provider `{id}` names `{}`", url.escape_debug())));
            }
        }
    }
    Ok(())
}

/// Reports whether a plugin of this contract can be loaded: the major version is ours.
fn speaks_our_contract(contract: &str) -> bool {
    let ours = semver::Version::parse(CONTRACT_VERSION).expect("our own version is semver");
    semver::Version::parse(contract).is_ok_and(|theirs| theirs.major == ours.major)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(change: impl FnOnce(&mut serde_json::Value)) -> Result<(), RefusalError> {
        let mut json = serde_json::json!({
            "schema": 1, "contract": CONTRACT_VERSION, "panic": "unwind", "capabilities": ["chat/1"],
            "id": "acme", "version": "1.0.0",
            "providers": [{"id": "acme", "base_url": "https://api.acme.test/v1"}],
        });
        change(&mut json);
        check(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn contracts_of_the_same_major_version_pass() {
        manifest(|_| {}).unwrap();
        manifest(|json| json["contract"] = "1.7.3".into()).unwrap();
        for contract in ["0.9.0", "2.0.0", "one"] {
            let error = manifest(|json| json["contract"] = contract.into()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("built for contract {contract}, but this host speaks {CONTRACT_VERSION}")
            );
            assert_eq!(error.hint(), "rebuild it against `plugin-api` 1.x");
        }
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        for (path, value, problem) in [
            ("/id", "Bad Id".into(), "plugin id `Bad Id`"),
            (
                "/capabilities",
                serde_json::json!(["dream/1"]),
                "it declares no capability that this host knows",
            ),
            ("/providers", serde_json::json!([]), "it offers no provider and takes no instances"),
            ("/providers/0/id", "\u{1b}[2J".into(), "provider id `\\u{1b}[2J`"),
            ("/providers/0/base_url", "ftp://x".into(), "provider `acme` names `ftp://x`"),
            (
                "/providers",
                serde_json::json!([{"id": "a"}, {"id": "a"}]),
                "provider `a` stands there twice",
            ),
            (
                "/providers",
                serde_json::json!([{"id": "a", "profile": "p"}]),
                "provider `a` names profile `p`",
            ),
        ] {
            let error = manifest(|json| *json.pointer_mut(path).unwrap() = value).unwrap_err();
            assert_eq!(error.to_string(), format!("its manifest is wrong: {problem}"));
        }
    }

    #[test]
    fn a_file_that_changes_under_the_reader_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.so");
        fs::write(&path, "x").unwrap();
        let mut stamp = Stamp::of(&fs::metadata(&path).unwrap());
        stamp.size += 1;
        assert!(matches!(read_stable(&path, stamp), Err(RefusalError::Changing)));
    }
}
