//! What the tests of all dialects share: the exchange around a decoder, the rules that every run
//! keeps, recorded answers and generated ones. What a single dialect says lives with that dialect.

pub(crate) mod golden;
pub(crate) mod samples;

use std::{env, fs, path::Path};

use dialects::Loss;
use plugin_api::{
    chat::{Content, ContentPart, Message, Role},
    event::ChatEvent,
    exchange::Exchange,
    http::HttpRequest,
    kit::{self, SseStream, replay::Run},
};

/// Opens the exchange that reads an answer.
pub(crate) fn open<D: kit::Decoder + Default + Send + 'static>() -> Box<dyn Exchange + Send> {
    exchange(D::default())
}

/// Opens an exchange around a decoder.
pub(crate) fn exchange(decoder: impl kit::Decoder + Send + 'static) -> Box<dyn Exchange + Send> {
    Box::new(SseStream::new(HttpRequest::get("https://a.test/"), decoder))
}

/// Checks that a run kept the rules of [`plugin_api::event`], ended once and, if it ended well, with
/// its finish.
pub(crate) fn well_formed(run: &Run) -> Result<(), String> {
    let ensure = |kept: bool, rule: &str| if kept { Ok(()) } else { Err(rule.to_owned()) };
    ensure(run.violations.is_empty(), &format!("{:?}", run.violations))?;
    ensure(run.after_end == 0, "something came after the end")?;
    ensure(run.done != run.error.is_some(), "not one end")?;
    let is_finish = |event: &ChatEvent| matches!(event, ChatEvent::Finish { .. });
    let finishes = run.events.iter().filter(|event| is_finish(event)).count();
    ensure(finishes == usize::from(run.done), "not one finish")?;
    ensure(run.events.last().is_some_and(is_finish) == run.done, "the finish is not last")?;
    let mut open = Vec::new();
    for event in &run.events {
        match event {
            ChatEvent::ToolCallStart { part, id, name, .. } => {
                ensure(!id.is_empty() && !name.is_empty(), "a call without id or name")?;
                open.push(*part);
            }
            ChatEvent::ToolCallDelta { part, .. } => {
                ensure(open.contains(part), "arguments of a call that is not open")?;
            }
            ChatEvent::ToolCallEnd { part } => open.retain(|have| have != part),
            ChatEvent::Finish { .. } => ensure(open.is_empty(), "a call has no end")?,
            _ => {}
        }
    }
    Ok(())
}

/// Checks beside [`well_formed`] that parts are numbered without gaps, in the order in which they first
/// speak: no rule, but what decoders do that never wait for a part's end.
pub(crate) fn numbered(run: &Run) -> Result<(), String> {
    well_formed(run)?;
    let mut parts = 0;
    for event in &run.events {
        if let Some(part) = serde_json::to_value(event).unwrap()["part"].as_u64() {
            if part > parts {
                return Err(format!("part {part} came before part {parts}"));
            }
            parts = parts.max(part + 1);
        }
    }
    Ok(())
}

/// Compares with what was recorded, or records it anew where `UPDATE_GOLDEN` is set.
pub(crate) fn assert_recorded(path: &Path, found: &[u8]) {
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(str::from_utf8(found).unwrap(), expected, "{}", path.display());
}

/// Returns the place of each loss, and whether it is harmless.
pub(crate) fn places(losses: &[Loss]) -> Vec<(&str, bool)> {
    losses.iter().map(|loss| (&*loss.field, loss.harmless)).collect()
}

/// Makes a message of contents.
pub(crate) fn said(role: Role, parts: Vec<Content>) -> Message {
    Message::new(role, parts.into_iter().map(ContentPart::from).collect())
}
