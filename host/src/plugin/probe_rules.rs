//! What the first load of unknown bytes asks, beside what they declare: the part of the conformance suite
//! that takes milliseconds.
//!
//! Left to `plugin check` is what takes long: the rules that cut an answer at each of its bytes, the line
//! of 9 MB, recorded answers, and all providers but the first, which run the same code. It happens in a
//! worker of its own, so that nothing that is provoked here counts as a crash of the one that serves,
//! and it ends after [`PATIENCE`], because somebody may wait for the first answer.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use plugin_api::{
    kit::conformance::{Finding, Options, Rule, check_exchanges},
    manifest::Manifest,
};
use tokio::sync::oneshot;

use super::{
    runtime::block_on,
    subject::{Confined, OVER},
    worker::Worker,
};

/// How long may be asked. What was not asked by then is not known, and is no finding.
const PATIENCE: Duration = Duration::from_millis(250);

/// Most processor time of a step: nothing that is asked here is large.
pub(super) const STEP_CPU: Duration = Duration::from_millis(250);

/// The rules that are asked for. Those that are watched over in every exchange come with them; one of
/// those here would bring the long ones too.
const RULES: &[Rule] = &[
    Rule::UndeclaredIsAbsent,
    Rule::FeaturesAreTaken,
    Rule::ReplayIsDeterministic,
    Rule::InterleavedEqualsLone,
    Rule::StrayTicksIgnored,
    Rule::UnknownInputsSkipped,
    Rule::StatusesMapped,
    Rule::StatusKept,
    Rule::FailuresExplained,
    Rule::RetryAfterKept,
    Rule::TransportFailuresTyped,
    Rule::TruncatedAnswerFails,
    Rule::CancelEnds,
    Rule::GarbageFails,
    Rule::EmptyAnswerFails,
    Rule::ModelsHaveIds,
    Rule::PagesEnd,
];

/// Asks a worker; names the rules that are broken, each with the first input that showed it.
///
/// What cannot be asked, because the worker does not start or the thread ends, breaks nothing: whether
/// the bytes load has been seen before.
pub(super) async fn broken(worker: Worker, manifest: &Manifest) -> Vec<String> {
    let mut manifest = manifest.clone();
    manifest.providers.truncate(1);
    let (tell, told) = oneshot::channel();
    let named = thread::Builder::new().name("probe".into());
    // A thread of its own, because the suite waits for each step, and whoever drives us serves others.
    let asking = named.spawn(move || {
        let confined = Confined::new(worker).until(Instant::now() + PATIENCE);
        let findings = match block_on(confined.ready()) {
            Ok(()) => asked(&confined, &manifest),
            Err(_) => Vec::new(),
        };
        drop(tell.send(findings));
    });
    if asking.is_err() {
        return Vec::new();
    }
    told.await.unwrap_or_default()
}

fn asked(confined: &Confined, manifest: &Manifest) -> Vec<String> {
    let mut options = Options::default();
    options.rules.extend_from_slice(RULES);
    let (findings, _) = check_exchanges(confined, manifest, &[], &options);
    let mut seen = BTreeSet::new();
    // That was asked before, of all that is declared, and is said in words of its own.
    seen.insert(Rule::DeclaredIsImplemented);
    let first = findings.iter().filter(|found| found.detail != OVER && seen.insert(found.rule));
    first.map(said).collect()
}

fn said(finding: &Finding) -> String {
    format!("{}: {}: {}", finding.rule, finding.input, finding.detail)
}
