//! Conformance: does a plugin keep every rule of the contract?
//!
//! `maestro plugin check` runs this suite on a library, in a confined worker. A plugin's own tests run
//! what can be run in process, in one line:
//!
//! ```
//! # use plugin_api::prelude::*;
//! # #[derive(Default)]
//! # struct Parrot;
//! # impl Provider for Parrot {
//! #     const SPEC: PluginSpec = PluginSpec::new("parrot", "0.1.0").description("Talks.").providers(&[
//! #         ProviderSpec::new("parrot").display_name("Parrot").auth(&[AuthSpec::None]),
//! #     ]);
//! # }
//! # impl StreamingProvider for Parrot {
//! #     fn stream_chat(&self, _: &Instance, request: ChatRequest) -> Opened {
//! #         Ok(kit::say(request.last_user_text()))
//! #     }
//! # }
//! # plugin_api::export_plugin! { Parrot: streaming }
//! // #[test]
//! fn keeps_the_contract() {
//!     plugin_api::kit::conformance::assert::<Parrot>(&[]);
//! }
//! # keeps_the_contract();
//! ```
//!
//! Answers that were recorded ([`Fixture`]) make it thorough: they are cut everywhere, broken off and
//! filled with bytes that are no UTF-8. Everything random follows from [`Options::seed`].

mod declared;
mod drive;
mod fixture;
mod headers;
mod probes;
mod random;
mod rules;
mod url;

use std::{collections::BTreeSet, fmt};

pub use declared::check_manifest;
pub use drive::{Stepped, Steps, Subject};
pub use fixture::{Answers, Fixture, Head};
pub use rules::{Rule, Stage};

use serde_json::Value;

use crate::{
    export::{Exported, InProcess},
    manifest::Manifest,
};

/// The handle of the bytes that a request with an image names.
const BLOB: u32 = 1;

/// What to check, and how.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// For all that is random.
    pub seed: u64,
    /// The rules to check; empty for all.
    pub rules: Vec<Rule>,
}

impl Options {
    /// Checks all rules with a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, rules: Vec::new() }
    }

    /// Checks this rule, and no other that was not named.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }
}

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The smallest input that was found to break it, or the field.
    pub input: String,
    /// What happened.
    pub detail: String,
}

impl Finding {
    /// Makes a finding.
    #[must_use]
    pub fn new(rule: Rule, input: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { rule, input: input.into(), detail: detail.into() }
    }
}

/// What came of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It was kept wherever it was tried.
    Passed,
    /// It was broken.
    Failed {
        /// The first finding.
        first: Finding,
        /// How many more there are.
        more: usize,
    },
    /// Nothing could be tried.
    Skipped,
}

/// What came of all rules.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The seed that repeats it.
    pub seed: u64,
    /// Each rule with its verdict, in the order of [`Rule::ALL`].
    pub verdicts: Vec<(Rule, Verdict)>,
}

impl Report {
    /// Makes a report of findings and of the rules that were tried.
    #[must_use]
    pub fn new(options: &Options, findings: &[Finding], tried: &BTreeSet<Rule>) -> Self {
        let wanted = |rule: &Rule| options.rules.is_empty() || options.rules.contains(rule);
        let verdict = |rule: Rule| {
            let mut of = findings.iter().filter(|finding| finding.rule == rule);
            match of.next() {
                Some(first) => Verdict::Failed { first: first.clone(), more: of.count() },
                None if tried.contains(&rule) => Verdict::Passed,
                None => Verdict::Skipped,
            }
        };
        let rules = Rule::ALL.iter().copied().filter(wanted);
        Self { seed: options.seed, verdicts: rules.map(|rule| (rule, verdict(rule))).collect() }
    }

    /// Returns the rules that were broken.
    pub fn failed(&self) -> impl Iterator<Item = &Finding> {
        self.verdicts.iter().filter_map(|(_, verdict)| match verdict {
            Verdict::Failed { first, .. } => Some(first),
            Verdict::Passed | Verdict::Skipped => None,
        })
    }

    /// Reports whether none was broken.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed().next().is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.failed() {
            let Finding { rule, input, detail } = finding;
            writeln!(f, "{rule}: {} ({input}: {detail})", rule.description())?;
            writeln!(f, "  hint: {}", rule.remedy())?;
        }
        write!(f, "seed {}", self.seed)
    }
}

/// Runs the rules on exchanges; gives findings and the rules that were tried.
#[must_use]
pub fn check_exchanges(
    subject: &dyn Subject,
    manifest: &Manifest,
    fixtures: &[Fixture],
    options: &Options,
) -> (Vec<Finding>, BTreeSet<Rule>) {
    let mut probes = probes::Probes::new(subject, manifest, fixtures, options);
    probes.all();
    (probes.findings, probes.tried)
}

/// What came of a recorded answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Played {
    /// The fixture's name.
    pub name: String,
    /// Requests, events or a value, and the end, in the words of a recording.
    pub outputs: Vec<Value>,
}

/// Gives a plugin's first provider each recorded answer that it has an operation for, and says what
/// came of it. Breaks of a rule are among the outputs; nothing is judged.
#[must_use]
pub fn play(subject: &dyn Subject, manifest: &Manifest, fixtures: &[Fixture]) -> Vec<Played> {
    let options = Options::default();
    let probes = probes::Probes::new(subject, manifest, fixtures, &options);
    let played = |fixture: &Fixture| {
        let (name, outputs) = (fixture.name.clone(), probes.play(fixture).outputs());
        Played { name, outputs }
    };
    fixtures.iter().map(played).collect()
}

/// Checks a plugin in this process: its manifest and its exchanges.
#[must_use]
pub fn check<P: Exported>(fixtures: &[Fixture], options: &Options) -> Report {
    let (manifest, mut findings) = check_manifest(P::MANIFEST);
    let stage = |stage| Rule::ALL.iter().copied().filter(move |rule| rule.stage() == stage);
    let mut tried: BTreeSet<Rule> = stage(Stage::Manifest).collect();
    if let Some(manifest) = manifest {
        let subject = InProcess::<P>::default();
        let (more, ran) = check_exchanges(&subject, &manifest, fixtures, options);
        findings.extend(more);
        tried.extend(ran);
    }
    Report::new(options, &findings, &tried)
}

/// Checks a plugin in this process with seed 0; for a plugin's own tests.
///
/// # Panics
///
/// When a rule is broken; the message names each, with the input and the remedy.
pub fn assert<P: Exported>(fixtures: &[Fixture]) {
    let report = check::<P>(fixtures, &Options::default());
    assert!(report.passed(), "{report}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        abi::{Effect, Message, message::kind},
        event::{ChatEvent, FinishReason},
        exchange::Timestamp,
        http::HttpRequest,
    };

    /// A plugin made by hand, which takes every input that it does not know for the end.
    struct ByHand;

    impl Subject for ByHand {
        fn open(&self) -> Box<dyn Steps + '_> {
            Box::new(Self)
        }
    }

    impl Steps for ByHand {
        fn step(&mut self, _: Timestamp, message: &Message<'_>) -> Stepped {
            let request = Box::new(HttpRequest::get("https://a.test/"));
            let effects = match message.kind {
                kind::START => vec![Effect::Send { number: 0, request }],
                kind::RESPONSE_HEAD | kind::BODY | kind::TICK => Vec::new(),
                kind::END => {
                    let text = ChatEvent::TextDelta { part: 0, text: "hello".into() };
                    let finish = ChatEvent::Finish { reason: FinishReason::Stop, detail: None };
                    vec![Effect::Event(text), Effect::Event(finish), Effect::Done]
                }
                _ => {
                    let finish = ChatEvent::Finish { reason: FinishReason::Stop, detail: None };
                    vec![Effect::Event(finish), Effect::Done]
                }
            };
            Stepped { effects, ..Stepped::default() }
        }
    }

    #[test]
    fn an_input_of_a_newer_contract_must_be_skipped() {
        let json = br#"{"schema":1,"contract":"1.0.0","panic":"unwind","id":"a","version":"1.0.0",
            "capabilities":["chat/1"],"providers":[{"id":"a","base_url":"https://a.test"}]}"#;
        let manifest = Manifest::from_json(json).unwrap();
        let (findings, _) = check_exchanges(&ByHand, &manifest, &[], &Options::default());
        assert!(findings.iter().any(|finding| finding.rule == Rule::UnknownInputsSkipped));
    }
}
