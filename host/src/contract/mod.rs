//! `maestro plugin check`: every rule of [`plugin_api::kit::conformance`], on a file.
//!
//! Static rules run none of the file's code. The others run it in a worker of its own, confined as if
//! nobody trusted it, so that what ends the worker is a finding and not the end of the check. A
//! [`Checked`] is what came of it; `junit` writes it for build servers.
//!
//! Here does *not* live what the rules are: a plugin's own tests run them too, so they stand in the
//! contract's crate.

mod junit;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use plugin_api::kit::conformance::{
    self as conformance, Finding, Fixture, Options, Played, Report, Rule, Stage, Verdict,
    check_exchanges, check_manifest,
};
use serde::Serialize;

use crate::plugin::{
    RefusalError,
    judge::Judged,
    object::manifest_section,
    runtime::block_on,
    subject::Confined,
    worker::{Budgets, Worker},
};

/// What came of a check.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Checked {
    /// The plugin's id, or the file's name when it has none.
    pub plugin: String,
    /// Whether no rule was broken.
    pub passed: bool,
    /// The seed that repeats it.
    pub seed: u64,
    /// How many recorded answers took part.
    pub fixtures: usize,
    /// How long it took.
    pub milliseconds: u64,
    /// The rules, in order.
    pub rules: Vec<Outcome>,
}

/// What came of one rule.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The rule's id.
    pub rule: &'static str,
    /// When it is checked.
    pub stage: &'static str,
    /// What it demands.
    pub description: &'static str,
    /// `passed`, `failed` or `skipped`.
    pub verdict: &'static str,
    /// The smallest input that was found to break it, or the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How many more findings there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
    /// What to do about it, when it was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Checked {
    fn new(plugin: String, report: &Report, fixtures: usize, began: Instant) -> Self {
        let outcomes = report.verdicts.iter().map(|(rule, verdict)| outcome(*rule, verdict));
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (passed, seed, rules) = (report.passed(), report.seed, outcomes.collect());
        Self { plugin, passed, seed, fixtures, milliseconds, rules }
    }

    /// Writes it as JUnit's XML.
    #[must_use]
    pub fn junit(&self) -> String {
        junit::write(self)
    }
}

fn outcome(rule: Rule, verdict: &Verdict) -> Outcome {
    let mut outcome = Outcome {
        rule: rule.as_str(),
        stage: rule.stage().as_str(),
        description: rule.description(),
        verdict: "passed",
        input: None,
        detail: None,
        more: 0,
        hint: None,
    };
    match verdict {
        Verdict::Failed { first, more } => {
            outcome.verdict = "failed";
            outcome.input = Some(first.input.clone());
            outcome.detail = Some(first.detail.clone());
            outcome.more = *more;
            outcome.hint = Some(rule.remedy());
        }
        Verdict::Skipped => outcome.verdict = "skipped",
        _ => {}
    }
    outcome
}

/// How a check's worker is made.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The program to run it in; `None` finds one.
    pub program: Option<PathBuf>,
    /// Whether it may run although the machine cannot confine it.
    pub allow_unconfined: bool,
    /// What it may take.
    pub budgets: Budgets,
}

/// Most processor time of a step while it is checked: nothing that is asked here is large.
const STEP: Duration = Duration::from_secs(2);

/// Checks a file. `judge` is asked for the private copy when the static rules are kept.
///
/// # Errors
///
/// Why the file cannot be checked at all: it cannot be read, others may write it, no worker can be
/// had.
pub fn check(
    path: &Path,
    fixtures: &[Fixture],
    options: &Options,
    bench: &Bench,
    judge: impl FnOnce() -> Result<Judged, RefusalError>,
) -> Result<Checked, RefusalError> {
    let began = Instant::now();
    let named = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (mut findings, mut tried) = (Vec::new(), BTreeSet::new());
    let bytes = fs::read(path).map_err(RefusalError::Io)?;
    let manifest = match manifest_section(&bytes) {
        Err(refusal) => {
            let rule = file_rule(&refusal).ok_or(refusal)?;
            tried.extend(stage(Stage::File).filter(|tried| *tried < rule.0));
            findings.push(Finding::new(rule.0, named.clone(), rule.1));
            None
        }
        Ok(section) => {
            tried.extend(stage(Stage::File));
            let (manifest, found) = check_manifest(section);
            if manifest.is_some() {
                tried.extend(stage(Stage::Manifest));
            }
            findings.extend(found);
            manifest
        }
    };
    let report = |findings: &[Finding], tried: &BTreeSet<Rule>| {
        let id = manifest.as_ref().map_or(named.as_str(), |manifest| manifest.id.as_str());
        let report = Report::new(options, findings, tried);
        Checked::new(id.to_owned(), &report, fixtures.len(), began)
    };
    let Some(manifest) = &manifest else { return Ok(report(&findings, &tried)) };
    let runs = options.rules.is_empty() || options.rules.iter().any(|r| !r.stage().is_static());
    if !runs {
        return Ok(report(&findings, &tried));
    }
    let judged = match judge() {
        Ok(judged) => judged,
        // The rules have said why.
        Err(_) if !findings.is_empty() => return Ok(report(&findings, &tried)),
        Err(refusal) => return Err(refusal),
    };
    let confined = confined(&judged, bench)?;
    match block_on(confined.ready()) {
        Ok(()) => {
            tried.extend(stage(Stage::Worker));
            let (found, ran) = check_exchanges(&confined, manifest, fixtures, options);
            findings.extend(found);
            tried.extend(ran);
        }
        Err(RefusalError::ManifestsDiffer { section }) => {
            tried.insert(Rule::LibraryLoads);
            let detail = format!("it differs from section `{section}`");
            findings.push(Finding::new(Rule::ManifestsEqual, named.clone(), detail));
        }
        Err(
            refusal @ (RefusalError::Dlopen { .. }
            | RefusalError::Entry { .. }
            | RefusalError::Layout { .. }
            | RefusalError::Crashed { .. }),
        ) => findings.push(Finding::new(Rule::LibraryLoads, named.clone(), refusal.to_string())),
        Err(refusal) => return Err(refusal),
    }
    Ok(report(&findings, &tried))
}

/// Loads a library in a worker and gives it recorded answers; says what came of each.
///
/// # Errors
///
/// Why it cannot be loaded.
pub fn play(
    judged: &Judged,
    fixtures: &[Fixture],
    bench: &Bench,
) -> Result<Vec<Played>, RefusalError> {
    let confined = confined(judged, bench)?;
    block_on(confined.ready())?;
    Ok(conformance::play(&confined, &judged.manifest, fixtures))
}

fn confined(judged: &Judged, bench: &Bench) -> Result<Confined, RefusalError> {
    let budgets = Budgets { step_cpu: bench.budgets.step_cpu.min(STEP), ..bench.budgets };
    let must_be_confined = !bench.allow_unconfined;
    let worker = Worker::new(judged, bench.program.as_ref(), budgets, must_be_confined, None)?;
    Ok(Confined::new(worker))
}

fn stage(stage: Stage) -> impl Iterator<Item = Rule> {
    Rule::ALL.iter().copied().filter(move |rule| rule.stage() == stage)
}

/// The rule of the file that a refusal stands for.
fn file_rule(refusal: &RefusalError) -> Option<(Rule, String)> {
    let rule = match refusal {
        RefusalError::NotALibrary { .. } | RefusalError::Empty => Rule::FileIsLibrary,
        RefusalError::Truncated { .. } => Rule::FileIsWhole,
        RefusalError::ForeignArchitecture { .. } => Rule::FileFitsMachine,
        RefusalError::NotAPlugin { .. } => Rule::ManifestIsThere,
        _ => return None,
    };
    Some((rule, refusal.to_string()))
}

/// Reads the recorded answers of a folder.
///
/// # Errors
///
/// That the folder cannot be read, or which file in it is malformed.
pub fn fixtures(folder: &Path) -> io::Result<Vec<Fixture>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            files.push((name, fs::read(entry.path())?));
        }
    }
    Fixture::of_files(files).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// Finds the folder `fixtures` of the crate that a library was built from: beside the nearest
/// `Cargo.toml` above it.
#[must_use]
pub fn fixtures_beside(library: &Path) -> Option<PathBuf> {
    let library = library.canonicalize().ok()?;
    let root = library.ancestors().skip(1).find(|folder| folder.join("Cargo.toml").is_file())?;
    let folder = root.join("fixtures");
    folder.is_dir().then_some(folder)
}
