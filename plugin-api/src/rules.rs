//! The rules that a plugin's outputs keep, and the grammar of a chat's events.
//!
//! Both a host and [`kit::replay`](crate::kit::replay) check them, so that a plugin's own tests find
//! what a host would refuse.
//!
//! - Events belong to parts. The order of the numbers is the order of the parts in the message,
//!   whatever came first; numbers may be left out. A part keeps the kind of its first content.
//! - A token ([`Continuity`](ChatEvent::Continuity)) may come before its part's content and does not fix
//!   the kind; a part with a token alone is reasoning that was not shown.
//! - A tool call's arguments come between its start and its end, and it ends before the finish.
//! - The finish comes once, and no event after it. Then the exchange is done.
//! - An operation other than chat gives one value; beside it only warnings may come.

use std::{collections::HashMap, fmt};

use crate::event::ChatEvent;

/// A clause of the contract that the host checks while an exchange runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Nothing follows the finish.
    FinishIsLast,
    /// A chat finishes before it is done.
    FinishBeforeDone,
    /// Nothing follows `Done` or `Fail`.
    NothingAfterEnd,
    /// A tool call's arguments come between its start and its end.
    ToolCallOrder,
    /// Every tool call that starts ends before the finish.
    ToolCallEnds,
    /// A tool call has an id and a name.
    ToolCallIdentity,
    /// A part keeps its kind.
    PartKeepsKind,
    /// Requests are numbered from 0 and one is open at a time.
    OneRequestAtATime,
    /// An exchange that is not over waits for a request or for a time.
    NeverStalls,
    /// An operation other than chat gives exactly one value, and of its own type.
    ValueFitsOperation,
    /// Messages hold what their kind says.
    WellFormedMessages,
    /// A step's output, and an exchange's, stays within its budget.
    OutputBudget,
    /// A declared capability is implemented.
    DeclaredIsImplemented,
    /// A plugin does not panic.
    NeverPanics,
    /// An exchange's requests stay within their number.
    RequestBudget,
}

impl Rule {
    /// Returns the rule's id.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FinishIsLast => "finish-is-last",
            Self::FinishBeforeDone => "finish-before-done",
            Self::NothingAfterEnd => "nothing-after-end",
            Self::ToolCallOrder => "tool-call-order",
            Self::ToolCallEnds => "tool-call-ends",
            Self::ToolCallIdentity => "tool-call-identity",
            Self::PartKeepsKind => "part-keeps-kind",
            Self::OneRequestAtATime => "one-request-at-a-time",
            Self::NeverStalls => "never-stalls",
            Self::ValueFitsOperation => "value-fits-operation",
            Self::WellFormedMessages => "well-formed-messages",
            Self::OutputBudget => "output-budget",
            Self::DeclaredIsImplemented => "declared-is-implemented",
            Self::NeverPanics => "never-panics",
            Self::RequestBudget => "request-budget",
        }
    }
}

impl Rule {
    /// All rules, in the order they are shown.
    pub const ALL: &'static [Self] = &[
        Self::FinishIsLast,
        Self::FinishBeforeDone,
        Self::NothingAfterEnd,
        Self::ToolCallOrder,
        Self::ToolCallEnds,
        Self::ToolCallIdentity,
        Self::PartKeepsKind,
        Self::OneRequestAtATime,
        Self::NeverStalls,
        Self::ValueFitsOperation,
        Self::WellFormedMessages,
        Self::OutputBudget,
        Self::DeclaredIsImplemented,
        Self::NeverPanics,
        Self::RequestBudget,
    ];

    /// Returns what the rule demands, in one sentence.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::FinishIsLast => "No event follows the finish.",
            Self::FinishBeforeDone => "A chat finishes before it is done.",
            Self::NothingAfterEnd => "Nothing follows `done` or `fail`.",
            Self::ToolCallOrder => "A tool call's arguments come between its start and its end.",
            Self::ToolCallEnds => "Every tool call that starts ends before the finish.",
            Self::ToolCallIdentity => "A tool call has an id and a name.",
            Self::PartKeepsKind => "A part keeps the kind of its first content.",
            Self::OneRequestAtATime => "Requests are numbered from 0 and one is open at a time.",
            Self::NeverStalls => "An exchange that is not over waits for a request or for a time.",
            Self::ValueFitsOperation => {
                "An operation other than chat gives one value, of its own type, and warnings at most."
            }
            Self::WellFormedMessages => "Messages hold what their kind says.",
            Self::OutputBudget => "A step's output, and an exchange's, stays within its budget.",
            Self::DeclaredIsImplemented => "A declared capability is implemented.",
            Self::NeverPanics => "A plugin does not panic.",
            Self::RequestBudget => "An exchange sends no more requests than the host allows.",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A plugin broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What happened.
    pub detail: String,
}

impl Violation {
    /// Makes a violation.
    #[must_use]
    pub fn new(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}

/// Watches the events of one chat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grammar {
    parts: HashMap<u32, Kind>,
    /// The part and kind of the last event, which is nearly always the next one's too.
    last: Option<(u32, Kind)>,
    open_calls: usize,
    finished: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    Refusal,
    OpenCall,
    EndedCall,
    Opaque,
    Media,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Reasoning => "reasoning",
            Self::Refusal => "a refusal",
            Self::OpenCall | Self::EndedCall => "a tool call",
            Self::Opaque => "a block",
            Self::Media => "media",
        }
    }
}

impl Grammar {
    /// Reports whether the finish came.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Checks one event.
    ///
    /// # Errors
    ///
    /// [`Violation`] naming the rule.
    pub fn check(&mut self, event: &ChatEvent) -> Result<(), Violation> {
        if self.finished {
            let detail = format!("`{}` after `finish`", event.name());
            return Err(Violation::new(Rule::FinishIsLast, detail));
        }
        match event {
            ChatEvent::TextDelta { part, .. } | ChatEvent::Citation { part, .. } => {
                self.part(*part, Kind::Text, event)
            }
            ChatEvent::ReasoningDelta { part, .. } => self.part(*part, Kind::Reasoning, event),
            ChatEvent::RefusalDelta { part, .. } => self.part(*part, Kind::Refusal, event),
            ChatEvent::Opaque { part, .. } => self.part(*part, Kind::Opaque, event),
            ChatEvent::MediaDelta { part, .. } => self.part(*part, Kind::Media, event),
            ChatEvent::ToolCallStart { part, id, name, .. } => self.start_call(*part, id, name),
            ChatEvent::ToolCallDelta { part, .. } => self.in_call(*part, event),
            ChatEvent::ToolCallEnd { part } => {
                self.in_call(*part, event)?;
                self.parts.insert(*part, Kind::EndedCall);
                self.last = None;
                self.open_calls -= 1;
                Ok(())
            }
            ChatEvent::Finish { .. } if self.open_calls > 0 => {
                let detail = format!("`finish` while {} tool calls are open", self.open_calls);
                Err(Violation::new(Rule::ToolCallEnds, detail))
            }
            ChatEvent::Finish { .. } => {
                self.finished = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn part(&mut self, part: u32, kind: Kind, event: &ChatEvent) -> Result<(), Violation> {
        if self.last == Some((part, kind)) {
            return Ok(());
        }
        let known = *self.parts.entry(part).or_insert(kind);
        if known != kind {
            let detail = format!("`{}` in part {part}, which is {}", event.name(), known.as_str());
            return Err(Violation::new(Rule::PartKeepsKind, detail));
        }
        self.last = Some((part, kind));
        Ok(())
    }

    fn start_call(&mut self, part: u32, id: &str, name: &str) -> Result<(), Violation> {
        if id.is_empty() || name.is_empty() {
            let detail = format!("tool call in part {part} with id `{id}` and name `{name}`");
            return Err(Violation::new(Rule::ToolCallIdentity, detail));
        }
        if self.parts.insert(part, Kind::OpenCall).is_some() {
            let detail = format!("`tool-call-start` in part {part}, which is taken");
            return Err(Violation::new(Rule::PartKeepsKind, detail));
        }
        self.open_calls += 1;
        Ok(())
    }

    fn in_call(&self, part: u32, event: &ChatEvent) -> Result<(), Violation> {
        if self.parts.get(&part) == Some(&Kind::OpenCall) {
            return Ok(());
        }
        let detail = format!("`{}` in part {part}, where no tool call is open", event.name());
        Err(Violation::new(Rule::ToolCallOrder, detail))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        chat::{Continuity, ToolKind},
        event::{FinishReason, Usage},
    };

    use super::*;

    fn text(part: u32) -> ChatEvent {
        ChatEvent::TextDelta { part, text: "x".into() }
    }

    fn start(part: u32) -> ChatEvent {
        let (id, name) = ("c".into(), "f".into());
        ChatEvent::ToolCallStart { part, id, name, kind: ToolKind::Function }
    }

    fn delta(part: u32) -> ChatEvent {
        ChatEvent::ToolCallDelta { part, arguments: "{}".into() }
    }

    fn finish() -> ChatEvent {
        ChatEvent::Finish { reason: FinishReason::Stop, detail: None }
    }

    fn first_violation(events: &[ChatEvent]) -> Option<(Rule, String)> {
        let mut grammar = Grammar::default();
        let violation = events.iter().find_map(|event| grammar.check(event).err())?;
        Some((violation.rule, violation.detail))
    }

    #[test]
    fn an_ordinary_answer_passes() {
        let continuity = Continuity::new("signature", "s");
        let events = [
            ChatEvent::Started { id: None, model: None },
            ChatEvent::Continuity { part: 0, continuity: continuity.clone() },
            ChatEvent::ReasoningDelta { part: 0, text: "hm".into(), summary: false },
            text(1),
            text(1),
            start(2),
            start(3),
            delta(3),
            delta(2),
            ChatEvent::ToolCallEnd { part: 2 },
            ChatEvent::Continuity { part: 2, continuity },
            ChatEvent::ToolCallEnd { part: 3 },
            text(1),
            ChatEvent::Usage(Usage::new(1, 2)),
            finish(),
        ];
        assert_eq!(first_violation(&events), None);
    }

    #[test]
    fn a_token_does_not_fix_the_kind_of_its_part() {
        let continuity = Continuity::new("signature", "s");
        let token = |part| ChatEvent::Continuity { part, continuity: continuity.clone() };
        let media_type = "image/png".to_owned();
        let picture = ChatEvent::MediaDelta { part: 7, media_type, data: vec![1] };
        let events = [token(0), text(0), token(2), start(2), ChatEvent::ToolCallEnd { part: 2 }];
        assert_eq!(first_violation(&events), None);
        assert_eq!(first_violation(&[token(7), picture, token(5), finish()]), None);
    }

    #[test]
    fn rules_are_described() {
        for rule in Rule::ALL {
            assert!(rule.description().ends_with('.'), "{rule}");
        }
    }

    #[test]
    fn each_rule_can_be_broken() {
        let cases: [(&[ChatEvent], Rule, &str); 8] = [
            (&[finish(), text(0)], Rule::FinishIsLast, "`text-delta` after `finish`"),
            (&[finish(), finish()], Rule::FinishIsLast, "`finish` after `finish`"),
            (
                &[delta(0)],
                Rule::ToolCallOrder,
                "`tool-call-delta` in part 0, where no tool call is open",
            ),
            (
                &[start(0), ChatEvent::ToolCallEnd { part: 0 }, delta(0)],
                Rule::ToolCallOrder,
                "`tool-call-delta` in part 0, where no tool call is open",
            ),
            (&[start(0), finish()], Rule::ToolCallEnds, "`finish` while 1 tool calls are open"),
            (
                &[text(0), start(0)],
                Rule::PartKeepsKind,
                "`tool-call-start` in part 0, which is taken",
            ),
            (
                &[text(0), ChatEvent::RefusalDelta { part: 0, text: "no".into() }],
                Rule::PartKeepsKind,
                "`refusal-delta` in part 0, which is text",
            ),
            (
                &[ChatEvent::ToolCallStart {
                    part: 0,
                    id: String::new(),
                    name: "f".into(),
                    kind: ToolKind::Function,
                }],
                Rule::ToolCallIdentity,
                "tool call in part 0 with id `` and name `f`",
            ),
        ];
        for (events, rule, detail) in cases {
            assert_eq!(first_violation(events), Some((rule, detail.to_owned())));
        }
    }
}
