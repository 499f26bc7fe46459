//! What is asked and answered: recorded answers and some of our own, with what comes of each when
//! nothing special happens.

use serde_json::{Map, Value, json};

use super::{JSON, Probes, SSE, difference::difference, samples};
use crate::{
    kit::conformance::{
        drive::{Ask, Beside, Trace, Upstream},
        fixture::Head,
        rules::Rule,
    },
    operation::{ListModels, Operation},
};

/// An operation and an answer to it.
pub(super) struct Case {
    pub(super) label: String,
    pub(super) ask: Ask,
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) plain: Trace,
}

impl Case {
    /// Makes the answer, whole.
    pub(super) fn answer(&self) -> Upstream {
        Upstream::with(&self.head, &self.body)
    }
}

/// Picks those that the dearer probes take: the first, which were recorded, and the last, which are ours.
pub(super) fn some(cases: &[Case]) -> impl Iterator<Item = &Case> {
    cases.iter().take(FEW).chain(cases.iter().rev().take(4))
}

impl Probes<'_> {
    /// Makes cases of the fixtures and some of our own, leaving out those that break a rule when
    /// nothing special happens, or that are not deterministic.
    pub(super) fn cases(&mut self) -> Vec<Case> {
        let mut made: Vec<(String, Operation, Head, Vec<u8>)> = Vec::new();
        // What was recorded was recorded of one provider; the others get what is generated.
        let recorded = if self.at == 0 { self.fixtures } else { &[] };
        for fixture in recorded {
            let operation = samples::asked(fixture);
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
            let operation = Operation::Chat(Box::new(samples::hello()));
            made.push((text.into(), operation, Head::of(SSE, &[]), body.to_vec()));
        }
        let list = br#"["a","b"]"#.to_vec();
        let operation = Operation::ListModels(ListModels::default());
        made.push(("a list".into(), operation, Head::of(JSON, &[]), list));
        let mut cases = Vec::new();
        for (label, operation, head, body) in made {
            let hopeless = self.hopeless.contains(operation.wire_name());
            if hopeless || !self.has(samples::capability_of(&operation)) {
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
    pub(super) fn recorded(&mut self, cases: &[Case]) {
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
}

/// Finds the first place at which two values differ.
fn first_difference(found: &Value, expected: &Value) -> (String, String) {
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
            let of =
                |map: &Map<_, _>| other.and_then(|key| map.get(key)).cloned().unwrap_or_default();
            first_difference(&of(a), &of(b))
        }
        _ => (found.to_string(), expected.to_string()),
    }
}

/// Of how many recorded answers the dearer probes take.
const FEW: usize = 8;
