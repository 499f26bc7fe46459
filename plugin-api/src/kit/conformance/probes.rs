//! The rules on exchanges: what is asked, how it is answered, and what must come of it.

mod cases;
mod difference;
mod failures;
mod nonsense;
mod pieces;
mod samples;

use std::collections::BTreeSet;

use self::{
    cases::{Case, some},
    difference::difference,
    samples::{asked, sample, using},
};
use super::{
    Finding, Options,
    declared::filled,
    drive::{Ask, Beside, Drive, Subject, Trace, Upstream},
    fixture::Fixture,
    random::Random,
    rules::{Rule, Stage},
    url::Url,
};
use crate::{
    ProviderId,
    capability::Capability,
    error::ErrorKind,
    instance::Instance,
    manifest::{Manifest, ProviderManifest},
    operation::{ListContextChunks, Operation},
};

/// What no log may hold.
const PROMPT: &str = "conformance-prompt-7f3a";

/// What no output may hold.
const SECRET: &str = "conformance-secret-51c9";

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";

/// Runs all probes.
pub(super) struct Probes<'a> {
    subject: &'a dyn Subject,
    manifest: &'a Manifest,
    /// Which provider is asked just now, by its place.
    at: usize,
    fixtures: &'a [Fixture],
    options: &'a Options,
    random: Random,
    pub(super) findings: Vec<Finding>,
    pub(super) tried: BTreeSet<Rule>,
    /// Operations that break a rule before anything is answered; nothing more can be seen of them.
    hopeless: BTreeSet<&'static str>,
}

impl<'a> Probes<'a> {
    pub(super) fn new(
        subject: &'a dyn Subject,
        manifest: &'a Manifest,
        fixtures: &'a [Fixture],
        options: &'a Options,
    ) -> Self {
        let random = Random::new(options.seed);
        let (findings, tried) = (Vec::new(), BTreeSet::new());
        let hopeless = BTreeSet::new();
        Self { subject, manifest, at: 0, fixtures, options, random, findings, tried, hopeless }
    }

    /// Asks each provider. Those that differ in nothing but where they send run the same code, so only
    /// one of each kind gets the probes that take long.
    pub(super) fn all(&mut self) {
        let mut kinds = Vec::new();
        for at in 0..self.manifest.providers.len().max(1) {
            self.at = at;
            self.hopeless.clear();
            let kind = self.provider().map(|provider| {
                let capabilities = self.manifest.capabilities_of(provider);
                (&provider.profile, &provider.features, capabilities)
            });
            let new = !kinds.contains(&kind);
            kinds.push(kind);
            let (found, began) = (self.findings.len(), self.at > 0);
            self.one(new);
            // The first is what everybody expects; of the others, say which.
            if let Some(id) = self.provider().map(|provider| &provider.id).filter(|_| began) {
                for finding in &mut self.findings[found..] {
                    finding.input = format!("provider `{id}`, {}", finding.input);
                }
            }
        }
    }

    fn one(&mut self, thoroughly: bool) {
        self.capabilities();
        self.features();
        let cases = self.cases();
        if self.at == 0 {
            self.recorded(&cases);
        }
        if thoroughly {
            self.failures();
            self.neighbours(&cases);
            self.cuts(&cases);
            self.broken_text(&cases);
            self.interruptions(&cases);
            self.secrets(&cases);
            self.nonsense();
            self.lists();
        }
    }

    /// Gives a recorded answer and says what came of it.
    pub(super) fn play(&self, fixture: &Fixture) -> Trace {
        let answer = Upstream::with(&fixture.head, &fixture.body);
        self.quietly(&self.ask(asked(fixture)), &[answer], Beside::default())
    }

    /// Reports whether one of these rules was asked for.
    fn wants(&self, rules: &[Rule]) -> bool {
        // The watched rules can be broken anywhere, so nothing is left out for them.
        self.options.rules.is_empty()
            || self.options.rules.iter().any(|rule| rules.contains(rule))
            || self.options.rules.iter().any(|rule| {
                crate::rules::Rule::ALL.iter().any(|watched| Rule::from(*watched) == *rule)
                    || rule.stage() == Stage::Worker
            })
    }

    fn find(&mut self, rule: Rule, input: impl Into<String>, detail: impl Into<String>) {
        self.findings.push(Finding::new(rule, input, detail));
    }

    fn found(&self, rule: Rule) -> bool {
        self.findings.iter().any(|finding| finding.rule == rule)
    }

    /// Runs an exchange and notes what it breaks by itself.
    fn run(&mut self, label: &str, ask: &Ask, script: &[Upstream], beside: Beside) -> Trace {
        let trace = self.quietly(ask, script, beside);
        self.note(label, ask, &trace);
        trace
    }

    fn quietly(&self, ask: &Ask, script: &[Upstream], beside: Beside) -> Trace {
        Drive::new(self.subject, ask, script, beside).run()
    }

    fn note(&mut self, label: &str, ask: &Ask, trace: &Trace) {
        self.tried.extend(crate::rules::Rule::ALL.iter().map(|rule| Rule::from(*rule)));
        self.tried.extend([
            Rule::OriginsKept,
            Rule::RequestUrlsPlain,
            Rule::RequestHeadersSendable,
            Rule::NoPlaceholders,
            Rule::PromptNotLogged,
        ]);
        if let Some((rule, detail)) = &trace.broken {
            self.find(*rule, format!("{}: {label}", ask.operation.wire_name()), detail.clone());
        }
        if trace.log.iter().any(|line| line.contains(PROMPT)) {
            self.find(Rule::PromptNotLogged, label, "a line of the log holds the prompt");
        }
    }

    fn provider(&self) -> Option<&'a ProviderManifest> {
        self.manifest.providers.get(self.at)
    }

    /// Makes the instance of a provider as a host without configuration would, with a word where a
    /// setting is required.
    fn instance(&self, provider: Option<&ProviderManifest>) -> (Instance, Vec<String>) {
        let id = provider.map_or(self.manifest.id.as_str(), |provider| provider.id.as_str());
        let id = ProviderId::new(id).unwrap_or_else(|_| ProviderId::new("check").expect("an id"));
        let declared = provider.map_or("", |provider| provider.base_url.as_str());
        let mut base_url = filled(declared);
        let local = provider.is_some_and(|provider| provider.local);
        if Url::parse(&base_url).is_none() && self.manifest.instances && !local {
            base_url = "https://conformance.invalid/v1".into();
        }
        let mut instance = Instance::new(id, base_url.clone());
        let Some(provider) = provider else {
            return (instance, Url::parse(&base_url).iter().map(Url::origin).collect());
        };
        for name in &provider.requires {
            instance.settings.insert(name.clone(), "check".into());
        }
        for value in self.manifest.profile(&provider.profile).iter().flat_map(|p| &p.values) {
            instance.settings.insert(value.name.clone(), value.value.clone());
        }
        let urls = std::iter::once(base_url).chain(provider.origins.iter().map(|url| filled(url)));
        (instance, urls.filter_map(|url| Some(Url::parse(&url)?.origin())).collect())
    }

    fn ask(&self, operation: Operation) -> Ask {
        let (instance, origins) = self.instance(self.provider());
        Ask { instance, operation, seed: 0, origins }
    }

    fn has(&self, capability: Capability) -> bool {
        match self.provider() {
            Some(provider) => self.manifest.capabilities_of(provider).contains(&capability),
            None => self.manifest.capabilities.contains(&capability),
        }
    }

    /// Asks for each capability: what is declared must be there, what is not must be refused.
    fn capabilities(&mut self) {
        for capability in Capability::ALL {
            let Some(operation) = sample(*capability) else { continue };
            let ask = self.ask(operation);
            let trace = self.quietly(&ask, &[], Beside::default());
            let unsupported = matches!(&trace.error, Some(e) if e.kind == ErrorKind::NotSupported);
            if self.has(*capability) {
                self.note("start", &ask, &trace);
                if trace.broken.is_some() {
                    self.hopeless.insert(ask.operation.wire_name());
                }
                // A plugin has tests of keys; not each of its vendors has one that costs nothing.
                let may_lack = self.at > 0 && *capability == Capability::ApiKey;
                if let Some(error) = trace.error.filter(|_| unsupported && !may_lack) {
                    self.find(Rule::DeclaredIsImplemented, capability.as_str(), error.to_string());
                }
            } else if !self.manifest.capabilities.contains(capability) {
                self.tried.insert(Rule::UndeclaredIsAbsent);
                if trace.broken.is_some() {
                    self.note("start", &ask, &trace);
                } else if !unsupported {
                    let detail = format!("the exchange {}", trace.end());
                    self.find(Rule::UndeclaredIsAbsent, capability.as_str(), detail);
                }
            }
        }
    }

    /// Uses each feature that is declared.
    fn features(&mut self) {
        let declared = self.provider().map(|provider| provider.features.to_vec());
        for feature in declared.unwrap_or_default() {
            let Some(request) = using(feature) else { continue };
            self.tried.insert(Rule::FeaturesAreTaken);
            let ask = self.ask(Operation::Chat(Box::new(request)));
            let trace = self.run(feature.as_str(), &ask, &[], Beside::default());
            if let Some(error) = trace.error {
                self.find(Rule::FeaturesAreTaken, feature.as_str(), error.to_string());
            }
        }
    }

    /// Lets exchanges run beside each other, and inputs come that nobody waits for.
    fn neighbours(&mut self, cases: &[Case]) {
        for case in some(cases) {
            let script = [case.answer()];
            self.tried.insert(Rule::InterleavedEqualsLone);
            let drive = || Drive::new(self.subject, &case.ask, &script, Beside::default());
            let mut drives = [drive(), drive(), drive()];
            // Not in step with each other: the first is two inputs ahead.
            drives[0].advance();
            drives[0].advance();
            while drives.iter_mut().fold(false, |more, drive| drive.advance() | more) {}
            for trace in drives.map(Drive::finish) {
                if let Some(difference) = difference(&case.plain, &trace)
                    && !self.found(Rule::InterleavedEqualsLone)
                {
                    self.find(Rule::InterleavedEqualsLone, case.label.clone(), difference);
                }
            }
            for (rule, beside) in [
                (Rule::StrayTicksIgnored, Beside { ticks: true, ..Beside::default() }),
                (Rule::UnknownInputsSkipped, Beside { unknown: true, ..Beside::default() }),
            ] {
                self.tried.insert(rule);
                let trace =
                    self.run(&format!("{}, {rule}", case.label), &case.ask, &script, beside);
                if let Some(difference) = difference(&case.plain, &trace) {
                    self.find(rule, case.label.clone(), difference);
                }
            }
        }
    }

    /// Answers with headers that carry credentials.
    fn secrets(&mut self, cases: &[Case]) {
        let mut asked: Vec<(String, Ask, Upstream)> =
            some(cases).map(|case| (case.label.clone(), case.ask.clone(), case.answer())).collect();
        for (label, ask) in self.asks() {
            for status in [401, 500] {
                let body = br#"{"error":{"message":"no"}}"#;
                let label = format!("{label}, status {status}");
                asked.push((label, ask.clone(), Upstream::new(status, JSON, body)));
            }
        }
        for (label, ask, mut answer) in asked {
            self.tried.insert(Rule::SecretsNotEchoed);
            for name in ["set-cookie", "authorization", "proxy-authorization", "x-api-key"] {
                answer = answer.header(name, SECRET);
            }
            let trace = self.run(&label, &ask, &[answer], Beside::default());
            let said =
                format!("{:?} {:?} {:?} {:?}", trace.events, trace.value, trace.log, trace.error);
            if said.contains(SECRET) {
                self.find(Rule::SecretsNotEchoed, label, "an output holds it");
            }
        }
    }

    /// The operations that the provider has, one of each, with a name for people.
    fn asks(&self) -> Vec<(&'static str, Ask)> {
        let all = Capability::ALL.iter().filter(|capability| self.has(**capability));
        let asks = all.filter_map(|capability| sample(*capability));
        let asks = asks.filter(|operation| !self.hopeless.contains(operation.wire_name()));
        let named = |operation| match operation {
            // Some vendors list what a conversation holds and not the conversations.
            Operation::ListContextChunks(_) => {
                let context = Some("conv_check".into());
                Operation::ListContextChunks(ListContextChunks { context, ..Default::default() })
            }
            other => other,
        };
        asks.map(named).map(|operation| (operation.name(), self.ask(operation))).collect()
    }
}
