//! Tool calls of a streamed answer: which fragment belongs to which call.
//!
//! OpenAI numbers calls by `index` and sends the id once. Others leave out the index (Mistral), give
//! every parallel call index 0 (Gemini's compatible endpoint), leave the id empty or write `"null"`,
//! or repeat the name in each fragment.

use plugin_api::{
    chat::{Continuity, ToolKind},
    event::ChatEvent,
    exchange::Outbox,
};
use serde::de::IgnoredAny;

use super::{
    token,
    wire::{Fragment, arguments},
};

/// The calls of one answer, in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Calls {
    slots: Vec<Slot>,
    seed: u64,
}

#[derive(Debug, Default)]
struct Slot {
    index: Option<u64>,
    /// The id as the server gave it; empty if it gave none.
    wire_id: String,
    name: String,
    kind: ToolKind,
    /// All arguments so far.
    arguments: String,
    /// The part it is, once its name is known and it was announced.
    part: Option<u32>,
    signed: bool,
}

impl Calls {
    /// Takes the seed that ids are made from where the server gives none.
    pub(super) fn start(&mut self, seed: u64) {
        self.seed = seed;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes a fragment. `next_part` is called when it announces a new call.
    pub(super) fn fragment(
        &mut self,
        fragment: &Fragment<'_>,
        next_part: impl FnOnce() -> u32,
        out: &mut Outbox<'_>,
    ) {
        let (called, kind) = match (&fragment.function, &fragment.custom) {
            (None, Some(custom)) => (Some(custom), ToolKind::Custom),
            (function, _) => (function.as_ref(), ToolKind::Function),
        };
        let name = called.map_or("", |called| &called.name.0);
        let more = match (called, kind) {
            (None, _) => "".into(),
            (Some(called), ToolKind::Custom) => arguments(called.input),
            (Some(called), _) => arguments(called.arguments),
        };
        let id = fragment.id.filled().filter(|id| *id != "null").unwrap_or_default();
        let at = self.route(fragment.index.0, id, name, !more.is_empty());
        let slot = &mut self.slots[at];
        if slot.wire_id.is_empty() && slot.part.is_none() {
            id.clone_into(&mut slot.wire_id);
        }
        if slot.name.is_empty() && !name.is_empty() {
            name.clone_into(&mut slot.name);
            slot.kind = kind;
        }
        slot.arguments.push_str(&more);
        match slot.part {
            Some(part) if !more.is_empty() => out.tool_arguments(part, &more),
            Some(_) => {}
            None if slot.name.is_empty() => {}
            None => {
                let part = next_part();
                slot.part = Some(part);
                let id = if slot.wire_id.is_empty() {
                    synthetic_id(self.seed, at)
                } else {
                    slot.wire_id.clone()
                };
                let (name, kind) = (slot.name.clone(), slot.kind);
                out.event(&ChatEvent::ToolCallStart { part, id, name, kind });
                if !slot.arguments.is_empty() {
                    out.tool_arguments(part, &slot.arguments);
                }
            }
        }
        let extra = fragment.extra_content.as_ref();
        if let (Some(part), false, Some(signature)) =
            (slot.part, slot.signed, extra.and_then(|e| e.google.thought_signature.filled()))
        {
            slot.signed = true;
            let continuity = Continuity::new(token::THOUGHT_SIGNATURE, signature);
            out.event(&ChatEvent::Continuity { part, continuity });
        }
    }

    /// Ends all calls, in order.
    pub(super) fn end(&mut self, out: &mut Outbox<'_>) {
        for slot in self.slots.drain(..) {
            let Some(part) = slot.part else {
                out.warning("a tool call without a name was dropped");
                continue;
            };
            // Servers leave the arguments of a tool that takes none empty; clients parse them.
            if slot.kind == ToolKind::Function && slot.arguments.trim().is_empty() {
                out.tool_arguments(part, "{}");
            }
            out.event(&ChatEvent::ToolCallEnd { part });
        }
    }

    /// Finds the slot of a fragment, or opens one.
    fn route(&mut self, index: Option<u64>, id: &str, name: &str, has_arguments: bool) -> usize {
        let found = match index {
            Some(_) => self.slots.iter().rposition(|slot| slot.index == index),
            None if !id.is_empty() => self.slots.iter().rposition(|slot| slot.wire_id == id),
            None => self.slots.len().checked_sub(1),
        };
        let same = found.is_some_and(|at| {
            let slot = &self.slots[at];
            if !id.is_empty() && !slot.wire_id.is_empty() {
                return id == slot.wire_id;
            }
            if name.is_empty() || slot.name.is_empty() {
                return true;
            }
            // A name again, and no id that decides. With an index it may be the name repeated;
            // arguments that are complete can take no more, so then it is another call.
            index.is_some() && name == slot.name && !(has_arguments && slot.is_complete())
        });
        match found {
            Some(at) if same => at,
            _ => {
                self.slots.push(Slot { index, ..Slot::default() });
                self.slots.len() - 1
            }
        }
    }
}

impl Slot {
    fn is_complete(&self) -> bool {
        serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }
}

/// Makes the id of a call that came without one: nine letters and digits, which every server takes
/// back (Mistral takes nothing else).
fn synthetic_id(seed: u64, nth: usize) -> String {
    short_id(format!("{seed}/{nth}").as_bytes())
}

/// Hashes bytes to nine letters and digits (FNV-1a, 64 bits, then mixed).
pub(super) fn short_id(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 29;
    (0..9)
        .map(|_| {
            let digit = DIGITS[(hash % 62) as usize];
            hash /= 62;
            char::from(digit)
        })
        .collect()
}
