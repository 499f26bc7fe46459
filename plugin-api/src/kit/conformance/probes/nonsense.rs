//! Answers that say yes and hold what nobody should believe: noise, nothing, a line without end, lists
//! that repeat themselves.

use std::collections::BTreeSet;

use serde_json::json;

use super::{JSON, Probes, SSE, difference::shown, samples::hello};
use crate::{
    capability::Capability,
    kit::conformance::{
        drive::{Ask, Beside, Upstream},
        random::shrink,
        rules::Rule,
    },
    operation::{ListModels, Operation, Reply},
};

impl Probes<'_> {
    /// Answers with what is no answer.
    pub(super) fn nonsense(&mut self) {
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
    pub(super) fn lists(&mut self) {
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
