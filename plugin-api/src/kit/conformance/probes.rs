//! The rules on exchanges: what is asked, how it is answered, and what must come of it.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    BLOB, Finding, Options,
    declared::filled,
    drive::{Ask, Beside, Drive, Subject, Trace, Upstream},
    fixture::{Answers, Fixture, Head},
    random::{Random, shrink},
    rules::{Rule, Stage},
    url::Url,
};
use crate::{
    ProviderId,
    capability::{Capability, Feature},
    chat::{
        ChatRequest, Content, ContentPart, DataSource, FunctionTool, JsonSchema, Media, Message,
        ResponseFormat, ToolDefinition,
    },
    error::ErrorKind,
    http::TransportErrorKind,
    instance::Instance,
    manifest::{Manifest, ProviderManifest},
    operation::{EmbedRequest, ListContextChunks, ListModels, Operation, Reply},
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

/// An operation and an answer to it.
struct Case {
    label: String,
    ask: Ask,
    head: Head,
    body: Vec<u8>,
    plain: Trace,
}

impl Case {
    fn answer(&self) -> Upstream {
        Upstream::with(&self.head, &self.body)
    }
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

    /// Makes cases of the fixtures and some of our own, leaving out those that break a rule when
    /// nothing special happens, or that are not deterministic.
    fn cases(&mut self) -> Vec<Case> {
        let mut made: Vec<(String, Operation, Head, Vec<u8>)> = Vec::new();
        // What was recorded was recorded of one provider; the others get what is generated.
        let recorded = if self.at == 0 { self.fixtures } else { &[] };
        for fixture in recorded {
            let operation = asked(fixture);
            let (label, body) = (format!("fixture `{}`", fixture.name), fixture.body.clone());
            made.push((label, operation, fixture.head.clone(), body));
        }
        for (text, body) in [
            ("plain events", &b"data: hello\n\ndata: there\n\ndata: [DONE]\n\n"[..]),
            ("events with carriage returns", b"data: hello\r\n\r\ndata: [DONE]\r\n\r\n"),
            (
                "events beyond ascii",
                "data: caf\u{e9} \u{6f22} \u{1f600}\n\ndata: [DONE]\n\n".as_bytes(),
            ),
        ] {
            let operation = Operation::Chat(Box::new(hello()));
            made.push((text.into(), operation, Head::of(SSE, &[]), body.to_vec()));
        }
        let list = br#"["a","b"]"#.to_vec();
        let operation = Operation::ListModels(ListModels::default());
        made.push(("a list".into(), operation, Head::of(JSON, &[]), list));
        let mut cases = Vec::new();
        for (label, operation, head, body) in made {
            let hopeless = self.hopeless.contains(operation.wire_name());
            if hopeless || !self.has(capability_of(&operation)) {
                continue;
            }
            let ask = self.ask(operation);
            let answer = Upstream::with(&head, &body);
            let plain = self.run(&label, &ask, std::slice::from_ref(&answer), Beside::default());
            if plain.broken.is_some() {
                continue;
            }
            self.tried.insert(Rule::ReplayIsDeterministic);
            let again = self.quietly(&ask, &[answer], Beside::default());
            if let Some(difference) = difference(&plain, &again) {
                self.find(Rule::ReplayIsDeterministic, label, difference);
                continue;
            }
            cases.push(Case { label, ask, head, body, plain });
        }
        cases
    }

    /// Compares with the record of events.
    fn recorded(&mut self, cases: &[Case]) {
        for fixture in self.fixtures {
            let Some(expected) = &fixture.events else { continue };
            let label = format!("fixture `{}`", fixture.name);
            let Some(case) = cases.iter().find(|case| case.label == label) else { continue };
            self.tried.insert(Rule::FixturesSucceed);
            let mut expected = expected.clone();
            // No error is none, however it is written.
            if let Some(expected) = expected.as_object_mut() {
                expected.retain(|_, value| !value.is_null());
            }
            let mut found = json!({ "events": case.plain.events });
            if let Some(error) = &case.plain.error {
                found["error"] = json!(error);
            }
            if found != expected {
                let (found, expected) = first_difference(&found, &expected);
                let detail = format!("expected {expected}, found {found}");
                self.find(Rule::FixturesSucceed, label, detail);
            }
        }
    }

    /// Lets exchanges run beside each other, and inputs come that nobody waits for.
    fn neighbours(&mut self, cases: &[Case]) {
        for case in cases.iter().take(FEW).chain(cases.iter().rev().take(4)) {
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

    /// Cuts bodies everywhere.
    fn cuts(&mut self, cases: &[Case]) {
        if !self.wants(&[Rule::ChunkCutInvariance, Rule::Utf8AcrossChunks]) {
            return;
        }
        for case in cases {
            let ascii = case.body.is_ascii();
            let rule = if ascii { Rule::ChunkCutInvariance } else { Rule::Utf8AcrossChunks };
            self.tried.insert(rule);
            if !self.found(rule) {
                self.cut(case, &case.body, rule, &case.plain);
            }
        }
    }

    fn cut(&mut self, case: &Case, body: &[u8], rule: Rule, whole: &Trace) {
        let answer = |body: &[u8]| Upstream::with(&case.head, body);
        let bytewise = |body: &[u8]| answer(body).cut(std::iter::repeat_n(1, body.len()));
        let trace = self.run(
            &format!("{}, byte by byte", case.label),
            &case.ask,
            &[bytewise(body)],
            Beside::default(),
        );
        if trace.broken.is_some() {
            return;
        }
        if let Some(found) = difference(whole, &trace) {
            let least = shrink(body, |body| {
                let whole = self.quietly(&case.ask, &[answer(body)], Beside::default());
                let pieces = self.quietly(&case.ask, &[bytewise(body)], Beside::default());
                difference(&whole, &pieces).is_some()
            });
            let input = format!("{}, byte by byte: {}", case.label, shown(&least));
            return self.find(rule, input, found);
        }
        let everywhere = body.len() <= CUT_EVERYWHERE;
        let places: Vec<usize> = if everywhere {
            (1..body.len()).collect()
        } else {
            (0..CUTS).map(|_| 1 + self.random.below(body.len() - 1)).collect()
        };
        for at in places {
            let label = format!("{}, cut at byte {at}", case.label);
            let trace = self.run(&label, &case.ask, &[answer(body).cut([at])], Beside::default());
            if let Some(found) = difference(whole, &trace) {
                return self.find(rule, label, found);
            }
        }
    }

    /// Puts bytes into bodies that are no UTF-8.
    fn broken_text(&mut self, cases: &[Case]) {
        if !self.wants(&[Rule::HostileUtf8]) {
            return;
        }
        for case in cases.iter().take(FEW).chain(cases.iter().rev().take(4)) {
            self.tried.insert(Rule::HostileUtf8);
            if case.body.is_empty() || self.found(Rule::HostileUtf8) {
                continue;
            }
            let mut body: Vec<u8> = case.body.iter().copied().filter(u8::is_ascii).collect();
            for bad in [&b"\xff"[..], b"\xc3(", b"\xf0\x9f\x98", b"\xed\xa0\x80"] {
                let at = self.random.below(body.len() + 1);
                body.splice(at..at, bad.iter().copied());
            }
            let answer = Upstream::with(&case.head, &body);
            let label = format!("{} with bytes that are no UTF-8", case.label);
            let whole = self.run(&label, &case.ask, &[answer], Beside::default());
            if whole.broken.is_none() {
                self.cut(case, &body, Rule::HostileUtf8, &whole);
            }
        }
    }

    /// Breaks answers off and lets the client go away.
    fn interruptions(&mut self, cases: &[Case]) {
        for case in cases.iter().filter(|case| matches!(case.ask.operation, Operation::Chat(_))) {
            if case.plain.requests.is_empty() || case.body.is_empty() {
                continue;
            }
            self.tried.insert(Rule::TruncatedAnswerFails);
            let body = &case.body[..case.body.len() / 3];
            let answer = Upstream::with(&case.head, body).breaking();
            let label = format!("{}, broken off after {} bytes", case.label, body.len());
            let trace = self.run(&label, &case.ask, &[answer], Beside::default());
            if trace.done_at_break {
                let least = shrink(body, |body| {
                    let answer = Upstream::with(&case.head, body).breaking();
                    self.quietly(&case.ask, &[answer], Beside::default()).done_at_break
                });
                let input = format!("{}, broken off: {}", case.label, shown(&least));
                self.find(Rule::TruncatedAnswerFails, input, "the exchange was done");
            }
        }
        for case in cases.iter().take(FEW).chain(cases.iter().rev().take(4)) {
            for after in 1..case.plain.inputs.min(5) {
                self.tried.insert(Rule::CancelEnds);
                let beside = Beside { cancel_after: Some(after), ..Beside::default() };
                let label = format!("{}, cancelled after {after} inputs", case.label);
                let trace = self.run(&label, &case.ask, &[case.answer()], beside);
                if trace.outlived_cancel {
                    self.find(Rule::CancelEnds, label, "the exchange had not ended");
                }
            }
        }
    }

    /// Answers with headers that carry credentials.
    fn secrets(&mut self, cases: &[Case]) {
        let mut asked: Vec<(String, Ask, Upstream)> = cases
            .iter()
            .take(FEW)
            .chain(cases.iter().rev().take(4))
            .map(|case| (case.label.clone(), case.ask.clone(), case.answer()))
            .collect();
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

    /// Answers with failures, and with nothing.
    fn failures(&mut self) {
        for (label, ask) in self.asks() {
            for (status, kinds) in STATUSES {
                for body in [&br#"{"error":{"message":"it failed"}}"#[..], b"", b"<html>it failed"]
                {
                    let answer = Upstream::new(*status, JSON, body);
                    let label = format!("{label}, status {status}, {}", shown(body));
                    let trace = self.run(&label, &ask, &[answer], Beside::default());
                    if trace.requests.is_empty() || trace.broken.is_some() {
                        continue;
                    }
                    self.failure(&label, *status, kinds, &trace);
                }
            }
            let answer = Upstream::new(429, JSON, b"{}").header("retry-after", "7");
            let trace = self.run(label, &ask, &[answer], Beside::default());
            if let (Some(error), false) = (&trace.error, trace.requests.is_empty()) {
                self.tried.insert(Rule::RetryAfterKept);
                if error.retry_after_ms != Some(7000) {
                    let detail = format!("expected 7000 ms, found {:?}", error.retry_after_ms);
                    self.find(Rule::RetryAfterKept, format!("{label}, `retry-after: 7`"), detail);
                }
            }
            for kind in [
                TransportErrorKind::Dns,
                TransportErrorKind::Connect,
                TransportErrorKind::Tls,
                TransportErrorKind::Timeout,
                TransportErrorKind::Reset,
            ] {
                let label = format!("{label}, {kind:?}");
                let trace = self.run(&label, &ask, &[Upstream::Failed(kind)], Beside::default());
                if trace.requests.is_empty() || trace.broken.is_some() {
                    continue;
                }
                self.tried.insert(Rule::TransportFailuresTyped);
                let right = trace.error.as_ref().is_some_and(|error| {
                    matches!(
                        error.kind,
                        ErrorKind::Connection
                            | ErrorKind::Timeout
                            | ErrorKind::Unavailable
                            | ErrorKind::Incomplete
                    )
                });
                if !right {
                    self.find(Rule::TransportFailuresTyped, label, format!("it {}", trace.end()));
                }
            }
        }
    }

    fn failure(&mut self, label: &str, status: u16, kinds: &[ErrorKind], trace: &Trace) {
        self.tried.extend([Rule::StatusesMapped, Rule::StatusKept, Rule::FailuresExplained]);
        let Some(error) = &trace.error else {
            return self.find(Rule::StatusesMapped, label, format!("it {}", trace.end()));
        };
        if !kinds.contains(&error.kind) {
            let detail = format!("expected one of {kinds:?}, found {:?}", error.kind);
            self.find(Rule::StatusesMapped, label, detail);
        }
        if error.status != Some(status) {
            let detail = format!("expected {status}, found {:?}", error.status);
            self.find(Rule::StatusKept, label, detail);
        }
        if error.message.trim().is_empty() {
            self.find(Rule::FailuresExplained, label, "the message is empty");
        }
    }

    /// Answers with what is no answer.
    fn nonsense(&mut self) {
        let asks = self.asks();
        let typed = |ask: &Ask| !matches!(ask.operation, Operation::TestConnection);
        for (label, ask) in asks.iter().filter(|(_, ask)| typed(ask)) {
            let noise = self.random.noise(200);
            for (media_type, body, rule) in [
                (SSE, noise.as_slice(), Rule::GarbageFails),
                (JSON, &noise, Rule::GarbageFails),
                ("text/html", b"<html><body>Welcome", Rule::GarbageFails),
                (JSON, b"{\"", Rule::GarbageFails),
                (SSE, b"", Rule::EmptyAnswerFails),
                (JSON, b"", Rule::EmptyAnswerFails),
            ] {
                let done = |body: &[u8]| {
                    let answer = Upstream::new(200, media_type, body);
                    let trace = self.quietly(ask, &[answer], Beside::default());
                    trace.done && !trace.requests.is_empty()
                };
                let failed = done(body);
                let least = if failed { shrink(body, done) } else { Vec::new() };
                let answer = Upstream::new(200, media_type, body);
                let trace = self.run(
                    &format!("{label}, {}", shown(body)),
                    ask,
                    &[answer],
                    Beside::default(),
                );
                if trace.requests.is_empty() {
                    continue;
                }
                self.tried.insert(rule);
                // What an empty answer does is another rule's matter.
                if failed && !(rule == Rule::GarbageFails && least.is_empty()) {
                    let input = format!("{label}, {media_type}: {}", shown(&least));
                    self.find(rule, input, "the exchange was done");
                }
            }
        }
        let chats = self.has(Capability::Chat) && !self.hopeless.contains("chat");
        if !self.wants(&[Rule::HugeLineFails]) || !chats {
            return;
        }
        let ask = self.ask(Operation::Chat(Box::new(hello())));
        let line = [&b"data: "[..], &vec![b'x'; HUGE]].concat();
        let answer = Upstream::new(200, SSE, &line).cut(std::iter::repeat_n(1 << 16, HUGE >> 16));
        let label = format!("a line of {HUGE} bytes");
        let trace = self.run(&label, &ask, &[answer], Beside::default());
        if !trace.requests.is_empty() {
            self.tried.insert(Rule::HugeLineFails);
            if trace.done {
                self.find(Rule::HugeLineFails, label, "the exchange was done");
            }
        }
    }

    /// Answers with lists that repeat themselves.
    fn lists(&mut self) {
        if !self.has(Capability::Models) || self.hopeless.contains("list_models") {
            return;
        }
        let ask = self.ask(Operation::ListModels(ListModels::default()));
        let twice = |key: &str| json!({"data": [{key: ""}, {key: "a"}, {key: "a"}]});
        for body in [
            twice("id"),
            json!({"models": [{"name": ""}, {"name": "models/a"}, {"name": "models/a"}]}),
            json!(["", "a", "a"]),
        ] {
            let label = shown(body.to_string().as_bytes());
            let answer = Upstream::new(200, JSON, body.to_string().as_bytes());
            let trace = self.run(&label, &ask, &[answer], Beside::default());
            let Some(Reply::Models(models)) = trace.value else { continue };
            self.tried.insert(Rule::ModelsHaveIds);
            let mut seen = BTreeSet::new();
            let bad = models.models.iter().map(|model| model.id.as_str());
            if let Some(id) = bad.into_iter().find(|id| id.is_empty() || !seen.insert(*id)) {
                self.find(Rule::ModelsHaveIds, label, format!("model `{id}`"));
            }
        }
        let body = json!({
            "data": [{"id": "m"}], "models": [{"name": "models/m"}],
            "has_more": true, "last_id": "m", "nextPageToken": "next", "next": "next",
        });
        self.tried.insert(Rule::PagesEnd);
        let answers = [body.to_string(), "[\"m\"]".into()];
        for body in answers {
            let answer = Upstream::new(200, JSON, body.as_bytes());
            self.run("the same page again and again", &ask, &[answer], Beside::default());
        }
    }
}

/// Bytes of a line without an end.
const HUGE: usize = 9 << 20;

/// Of how many recorded answers the dearer probes take.
const FEW: usize = 8;

/// Up to which length a body is cut everywhere, and in how many places else.
const CUT_EVERYWHERE: usize = 160;
const CUTS: usize = 12;

/// Statuses and the kinds that fit them.
const STATUSES: &[(u16, &[ErrorKind])] = {
    use ErrorKind::{
        Authentication, ContextLength, InvalidRequest, NotFound, Overloaded, Permission, Quota,
        RateLimited, Timeout, Unavailable,
    };
    &[
        (400, &[InvalidRequest, ContextLength]),
        (401, &[Authentication, Permission]),
        (402, &[Quota]),
        (403, &[Permission, Authentication, Quota]),
        (404, &[NotFound, InvalidRequest]),
        (408, &[Timeout, Unavailable]),
        (429, &[RateLimited, Quota, Overloaded]),
        (500, &[Unavailable, Overloaded]),
        (502, &[Unavailable, Overloaded]),
        (503, &[Unavailable, Overloaded]),
        (504, &[Timeout, Unavailable, Overloaded]),
    ]
};

fn hello() -> ChatRequest {
    ChatRequest::new("check", vec![Message::user(format!("hello {PROMPT}"))])
}

fn embed() -> EmbedRequest {
    EmbedRequest::new("check", vec!["hello".into()])
}

/// Returns the operation that a recorded answer belongs to.
fn asked(fixture: &Fixture) -> Operation {
    match fixture.answers {
        Answers::Chat => {
            let request = fixture.request.clone().unwrap_or_else(hello);
            Operation::Chat(Box::new(request))
        }
        Answers::Models => Operation::ListModels(ListModels::default()),
        Answers::Embeddings => Operation::Embed(embed()),
        Answers::Tokens => Operation::CountTokens(Box::new(hello())),
    }
}

/// Makes a harmless operation of a capability; `None` for those that take secrets or none at all.
fn sample(capability: Capability) -> Option<Operation> {
    Some(match capability {
        Capability::Chat => Operation::Chat(Box::new(hello())),
        Capability::Models => Operation::ListModels(ListModels::default()),
        Capability::Embeddings => Operation::Embed(embed()),
        Capability::TokenCount => Operation::CountTokens(Box::new(hello())),
        Capability::Contexts => Operation::ListContextChunks(ListContextChunks::default()),
        Capability::ApiKey => Operation::TestConnection,
        Capability::OAuth | Capability::HandlesSecrets => return None,
    })
}

fn capability_of(operation: &Operation) -> Capability {
    match operation {
        Operation::ListModels(_) => Capability::Models,
        Operation::Embed(_) => Capability::Embeddings,
        Operation::CountTokens(_) => Capability::TokenCount,
        _ => Capability::Chat,
    }
}

/// Makes a request that uses a feature; `None` where every form of it is some vendor's own.
fn using(feature: Feature) -> Option<ChatRequest> {
    let mut request = hello();
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    match feature {
        Feature::Tools | Feature::ParallelTools => {
            let tool = FunctionTool::new("look", Some(schema));
            request.tools.push(ToolDefinition::Function(tool));
        }
        Feature::StructuredOutput => {
            let schema = JsonSchema::new("answer", schema);
            request.response_format = Some(ResponseFormat::JsonSchema(schema));
        }
        Feature::Images => {
            let image = Media::new(DataSource::Blob { id: BLOB, len: 4 }).media_type("image/png");
            let parts = vec![ContentPart::text("hello"), Content::Image(image).into()];
            request.messages = vec![Message::new(crate::chat::Role::User, parts)];
        }
        _ => return None,
    }
    Some(request)
}

/// Says how two runs differ, if they do.
fn difference(expected: &Trace, found: &Trace) -> Option<String> {
    // What breaks a rule was noted under that rule.
    if found.broken.is_some() || expected.broken.is_some() {
        return None;
    }
    if expected.requests != found.requests {
        let (expected, found) = (expected.requests.len(), found.requests.len());
        return Some(format!("other requests: expected {expected}, found {found}"));
    }
    let pairs = expected.events.iter().zip(&found.events);
    if let Some((expected, found)) = pairs.into_iter().find(|(a, b)| a != b) {
        return Some(format!("expected {}, found {}", json!(expected), json!(found)));
    }
    if expected.events.len() != found.events.len() {
        let (expected, found) = (expected.events.len(), found.events.len());
        return Some(format!("expected {expected} events, found {found}"));
    }
    if expected.error != found.error || expected.done != found.done {
        return Some(format!("expected that it {}, but it {}", expected.end(), found.end()));
    }
    (expected.value != found.value).then(|| "other values".to_owned())
}

/// Finds the first place at which two values differ.
fn first_difference(found: &serde_json::Value, expected: &serde_json::Value) -> (String, String) {
    use serde_json::Value;
    match (found, expected) {
        (Value::Array(a), Value::Array(b)) => {
            if let Some((a, b)) = a.iter().zip(b).find(|(a, b)| a != b) {
                return first_difference(a, b);
            }
            (format!("{} of them", a.len()), format!("{} of them", b.len()))
        }
        (Value::Object(a), Value::Object(b)) if a.get("type").is_none() => {
            let keys = a.keys().chain(b.keys());
            let other = keys.into_iter().find(|key| a.get(*key) != b.get(*key));
            let of = |map: &serde_json::Map<_, _>| {
                other.and_then(|key| map.get(key)).cloned().unwrap_or_default()
            };
            first_difference(&of(a), &of(b))
        }
        _ => (found.to_string(), expected.to_string()),
    }
}

/// Shows bytes to a person, in quotes and not too many.
fn shown(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(MAX_SHOWN)];
    let more = if bytes.len() > MAX_SHOWN { "…" } else { "" };
    format!("\"{}\"{more}", head.escape_ascii())
}

const MAX_SHOWN: usize = 120;
