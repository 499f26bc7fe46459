//! Writes the messages of a request.

mod blocks;
mod marks;
mod media;

use plugin_api::{
    chat::{ChatRequest, Content, ContentPart, Message, Role},
    kit::body::Object,
};

use self::blocks::{Blocks, Side, is_nothing, is_plain, is_unsigned};
pub(super) use self::marks::Marks;
use super::Quirks;
use crate::loss::{Loss, NEWER};

/// Writes `system` and `messages`.
///
/// What operators say before anyone else is `system`. Answers to tools are said by the user here, all
/// of one turn in one message, and come before anything else that the user says. What has nothing to
/// say is left out, because the vendor refuses empty texts and turns.
pub(super) fn write(
    request: &ChatRequest,
    quirks: &Quirks,
    marks: &mut Marks,
    o: &mut Object<'_>,
    losses: &mut Vec<Loss>,
) {
    let mut system = Turn { side: Side::System, parts: Vec::new() };
    let mut turns: Vec<Turn<'_>> = Vec::new();
    let mut after_tool = false;
    for (at, message) in request.messages.iter().enumerate() {
        if message.name.is_some() {
            let field = format!("messages[{at}].name");
            losses.push(Loss::dropped(field, "has no field in this format"));
        }
        let parts = said(at, message, losses);
        if parts.is_empty() {
            let field = format!("messages[{at}]");
            losses.push(Loss::dropped(field, "says nothing and was left out"));
            continue;
        }
        let is_tool = message.role == Role::Tool;
        let side = match message.role {
            Role::System | Role::Developer if turns.is_empty() => {
                system.parts.extend(parts);
                continue;
            }
            Role::System | Role::Developer if !quirks.supports_system_messages => {
                let field = format!("messages[{at}]");
                losses.push(Loss::dropped(field, "was moved to the front"));
                system.parts.extend(parts);
                continue;
            }
            Role::System | Role::Developer => Side::System,
            Role::User => Side::User,
            Role::Tool => Side::Tool,
            Role::Assistant => Side::Assistant,
            _ => {
                losses.push(Loss::fatal(format!("messages[{at}].role"), NEWER));
                continue;
            }
        };
        match turns.last_mut() {
            Some(turn) if is_tool && after_tool => turn.parts.extend(parts),
            _ => turns.push(Turn { side, parts }),
        }
        after_tool = is_tool;
    }
    let mut blocks = Blocks { quirks, marks, losses };
    if !system.parts.is_empty() {
        system.write("system", &mut blocks, o);
    }
    o.array("messages", |out| {
        for turn in turns {
            out.object(|o| {
                o.field("role", turn.side.role());
                turn.write("content", &mut blocks, o);
            });
        }
    });
}

/// What one side says in one go.
struct Turn<'a> {
    side: Side,
    parts: Vec<Said<'a>>,
}

/// A part and where it stands in the request.
struct Said<'a> {
    field: String,
    part: &'a ContentPart,
}

impl Turn<'_> {
    fn write(mut self, name: &str, blocks: &mut Blocks<'_>, o: &mut Object<'_>) {
        if self.side == Side::User {
            self.results_first(blocks.losses);
        }
        if let [Said { part, .. }] = &self.parts[..]
            && let Content::Text(text) = &part.content
            && is_plain(part)
            && self.side != Side::Tool
        {
            return o.field(name, &text.text);
        }
        o.array(name, |out| {
            for Said { field, part } in &self.parts {
                blocks.write(self.side, field, part, out);
            }
        });
    }

    fn results_first(&mut self, losses: &mut Vec<Loss>) {
        let is_result = |said: &Said<'_>| matches!(said.part.content, Content::ToolResult(_));
        let others = self.parts.iter().position(|said| !is_result(said));
        for said in self.parts.iter().skip(others.unwrap_or(usize::MAX)).filter(|s| is_result(s)) {
            losses.push(Loss::dropped(&said.field, "was moved before what it followed"));
        }
        self.parts.sort_by_key(|said| !is_result(said));
    }
}

/// Returns the parts that say something.
fn said<'a>(at: usize, message: &'a Message, losses: &mut Vec<Loss>) -> Vec<Said<'a>> {
    let mut parts = Vec::with_capacity(message.parts.len());
    for (nth, part) in message.parts.iter().enumerate() {
        let field = format!("messages[{at}].parts[{nth}]");
        if message.role == Role::Assistant && is_unsigned(part) {
            losses.push(Loss::dropped(field, "has no signature and is not sent back"));
        } else if !is_nothing(part) {
            parts.push(Said { field, part });
        } else if part.cache.is_some() || !part.continuity.is_empty() || !part.options.is_empty() {
            losses.push(Loss::dropped(field, "is an empty text and was left out"));
        }
    }
    parts
}
