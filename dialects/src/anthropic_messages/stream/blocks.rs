//! The blocks of an answer while they come.
//!
//! Blocks are numbered by the vendor. A delta may belong to any block that is open; most servers have
//! one open at a time.

use std::{borrow::Cow, collections::BTreeMap};

use plugin_api::{
    chat::{Continuity, Opaque},
    event::ChatEvent,
    exchange::Outbox,
};
use serde_json::{Value, value::RawValue};

use crate::{
    anthropic_messages::{
        DIALECT, sources, token,
        wire::{Block, Delta},
    },
    fields::Members,
};

/// The blocks of one answer.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    open: BTreeMap<u64, Open>,
    /// The block that started last, for servers that leave out the index.
    last: u64,
    /// The next part's number.
    next: u32,
    said: bool,
    called: bool,
}

/// A block that has started and not stopped.
#[derive(Debug)]
enum Open {
    Text {
        part: u32,
    },
    /// The signature comes at the end and may come in pieces.
    Thinking {
        part: u32,
        signature: String,
    },
    /// `whole` are arguments that stood in the start; they count if no others come.
    Call {
        part: u32,
        whole: Option<String>,
        fed: bool,
    },
    /// A block that goes back as it came: its start, and what was added to its fields.
    Kept {
        part: u32,
        json: String,
        added: BTreeMap<&'static str, String>,
    },
    /// Nothing more is wanted of it.
    Over,
}

impl Blocks {
    /// Reports whether the model said anything.
    pub(super) fn has_said(&self) -> bool {
        self.said
    }

    /// Reports whether the model asked for a tool.
    pub(super) fn has_called(&self) -> bool {
        self.called
    }

    /// Takes the start of a block, which may be all of it.
    pub(super) fn start(
        &mut self,
        index: Option<u64>,
        raw: &RawValue,
        seed: u64,
        out: &mut Outbox<'_>,
    ) {
        let Ok(block) = serde_json::from_str::<Block<'_>>(raw.get()) else { return };
        let index = index.unwrap_or_else(|| self.last.saturating_add(u64::from(self.next > 0)));
        if let Some(open) = self.open.remove(&index) {
            open.stop(out);
        }
        self.last = index;
        let part = self.next;
        self.next = self.next.saturating_add(1);
        let mut open = match &*block.kind.0 {
            "text" => Open::Text { part },
            "thinking" => {
                Open::Thinking { part, signature: block.signature.0.clone().into_owned() }
            }
            "redacted_thinking" => {
                if let Some(data) = block.data.filled() {
                    out.continuity(part, Continuity::new(token::REDACTED_THINKING, data));
                    self.said = true;
                }
                Open::Over
            }
            "tool_use" => self.call(part, &block, seed, out),
            "" => Open::Over,
            _ => {
                self.said = true;
                Open::Kept { part, json: raw.get().to_owned(), added: BTreeMap::new() }
            }
        };
        match &mut open {
            Open::Text { part } => {
                self.said |= say(*part, &block.text.0, out);
                let list = block.citations.and_then(|raw| serde_json::from_str(raw.get()).ok());
                for value in list.unwrap_or_else(Vec::<Value>::new) {
                    cite(*part, value, out);
                }
            }
            Open::Thinking { part, signature } => {
                self.said |= think(*part, &block.thinking.0, out) || !signature.is_empty();
            }
            _ => {}
        }
        self.open.insert(index, open);
    }

    fn call(&mut self, part: u32, block: &Block<'_>, seed: u64, out: &mut Outbox<'_>) -> Open {
        let Some(name) = block.name.filled() else {
            out.warning("a tool call without a name was dropped");
            return Open::Over;
        };
        let made;
        let id = match block.id.filled() {
            Some(id) => id,
            None => {
                made = format!("toolu_{seed:016x}{part:04x}");
                &made
            }
        };
        out.tool_start(part, id, name);
        (self.said, self.called) = (true, true);
        let whole = block.input.map(|raw| raw.get().to_owned());
        Open::Call { part, whole: whole.filter(|json| json != "null"), fed: false }
    }

    /// Takes what is added to a block.
    pub(super) fn delta(&mut self, index: Option<u64>, delta: &Delta<'_>, out: &mut Outbox<'_>) {
        let index = index.unwrap_or(self.last);
        let kind = &*delta.kind.0;
        if !self.open.contains_key(&index) {
            // The start was left out.
            let part = self.next;
            let open = match kind {
                "text_delta" => Open::Text { part },
                "thinking_delta" | "signature_delta" => {
                    Open::Thinking { part, signature: String::new() }
                }
                _ => return,
            };
            self.next = self.next.saturating_add(1);
            self.last = index;
            self.open.insert(index, open);
        }
        let Some(open) = self.open.get_mut(&index) else { return };
        match (open, kind) {
            (Open::Text { part }, "text_delta") => self.said |= say(*part, &delta.text.0, out),
            (Open::Text { part }, "citations_delta") => {
                let value = delta.citation.and_then(|raw| serde_json::from_str(raw.get()).ok());
                if let Some(value) = value {
                    cite(*part, value, out);
                    self.said = true;
                }
            }
            (Open::Thinking { part, .. }, "thinking_delta") => {
                self.said |= think(*part, &delta.thinking.0, out);
            }
            (Open::Thinking { signature, .. }, "signature_delta") => {
                signature.push_str(&delta.signature.0);
                self.said |= !signature.is_empty();
            }
            (Open::Call { part, fed, .. }, "input_json_delta") => {
                if let Some(more) = delta.partial_json.filled() {
                    *fed = true;
                    out.tool_arguments(*part, more);
                }
            }
            (Open::Kept { added, .. }, kind) => {
                let (field, more) = match kind {
                    "input_json_delta" => ("input", &delta.partial_json),
                    "compaction_delta" => ("content", &delta.content),
                    "text_delta" => ("text", &delta.text),
                    _ => return,
                };
                added.entry(field).or_default().push_str(&more.0);
            }
            _ => {}
        }
    }

    /// Takes the end of a block.
    pub(super) fn stop(&mut self, index: Option<u64>, out: &mut Outbox<'_>) {
        if let Some(open) = self.open.remove(&index.unwrap_or(self.last)) {
            open.stop(out);
        }
    }

    /// Ends all blocks, in order.
    pub(super) fn end(&mut self, out: &mut Outbox<'_>) {
        for (_, open) in std::mem::take(&mut self.open) {
            open.stop(out);
        }
    }
}

impl Open {
    fn stop(self, out: &mut Outbox<'_>) {
        match self {
            Self::Thinking { part, signature } if !signature.is_empty() => {
                out.continuity(part, Continuity::new(token::SIGNATURE, signature));
            }
            Self::Call { part, whole, fed } => {
                if !fed {
                    out.tool_arguments(part, whole.as_deref().unwrap_or("{}"));
                }
                out.tool_end(part);
            }
            Self::Kept { part, json, added } => {
                out.opaque(part, Opaque::new(DIALECT, completed(&json, &added)));
            }
            _ => {}
        }
    }
}

fn say(part: u32, text: &str, out: &mut Outbox<'_>) -> bool {
    if !text.is_empty() {
        out.text(part, text);
    }
    !text.is_empty()
}

fn think(part: u32, text: &str, out: &mut Outbox<'_>) -> bool {
    if !text.is_empty() {
        out.reasoning(part, text);
    }
    !text.is_empty()
}

fn cite(part: u32, value: Value, out: &mut Outbox<'_>) {
    let citation = Box::new(sources::citation(value));
    out.event(&ChatEvent::Citation { part, citation });
}

/// Puts what came later into the fields of a block; all others stay byte for byte.
fn completed(json: &str, added: &BTreeMap<&'static str, String>) -> String {
    if added.values().all(String::is_empty) {
        return json.to_owned();
    }
    let mut members: Vec<(Cow<'_, str>, Cow<'_, str>)> = match serde_json::from_str(json) {
        Ok(Members(list)) => list.into_iter().map(|(k, raw)| (k, raw.get().into())).collect(),
        Err(_) => return json.to_owned(),
    };
    for (name, more) in added.iter().filter(|(_, more)| !more.is_empty()) {
        let at = members.iter().position(|(have, _)| have == name).unwrap_or_else(|| {
            members.push((Cow::Borrowed(*name), "null".into()));
            members.len() - 1
        });
        let value = &mut members[at].1;
        *value = match (*name, serde_json::from_str::<&RawValue>(more)) {
            // Arguments come as text and are JSON.
            ("input", Ok(_)) => Cow::Owned(more.trim().to_owned()),
            _ => {
                let begun: String = serde_json::from_str(value).unwrap_or_default();
                Cow::Owned(Value::from(begun + more).to_string())
            }
        };
    }
    let written: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{value}", Value::from(&**name))).collect();
    format!("{{{}}}", written.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_block_takes_what_came_later_and_changes_nothing_else() {
        let start = r#"{"type":"server_tool_use", "id":"s1","input":{},"z":1.0}"#;
        let added = |name, text: &str| BTreeMap::from([(name, text.to_owned())]);
        assert_eq!(completed(start, &added("input", "")), start);
        assert_eq!(
            completed(start, &added("input", r#"{"q": 1e2}"#)),
            r#"{"type":"server_tool_use","id":"s1","input":{"q": 1e2},"z":1.0}"#
        );
        assert_eq!(
            completed(r#"{"type":"compaction","content":null}"#, &added("content", "a\"")),
            r#"{"type":"compaction","content":"a\""}"#
        );
        let cut = completed(start, &added("input", r#"{"q"#));
        assert!(cut.contains(r#""input":"{\"q""#), "{cut}");
    }
}
