//! Answers that arrive in pieces, with bytes that are no text, or not to their end.

use super::{
    Probes,
    cases::{Case, some},
    difference::{difference, shown},
};
use crate::{
    kit::conformance::{
        drive::{Beside, Trace, Upstream},
        random::shrink,
        rules::Rule,
    },
    operation::Operation,
};

impl Probes<'_> {
    /// Cuts bodies everywhere.
    pub(super) fn cuts(&mut self, cases: &[Case]) {
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

    /// Puts bytes into bodies that are no UTF-8.
    pub(super) fn broken_text(&mut self, cases: &[Case]) {
        if !self.wants(&[Rule::HostileUtf8]) {
            return;
        }
        for case in some(cases) {
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

    /// Breaks answers off and lets the client go away.
    pub(super) fn interruptions(&mut self, cases: &[Case]) {
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
        for case in some(cases) {
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
}

/// Up to which length a body is cut everywhere, and in how many places else.
const CUT_EVERYWHERE: usize = 160;
const CUTS: usize = 12;
