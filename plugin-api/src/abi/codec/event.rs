//! Events of a chat as messages.

use std::collections::BTreeMap;

use super::{
    MessageError,
    payload::{flat, pack_for, too_deep, unpack, utf8},
};
use crate::{
    abi::{
        depth::is_too_deep,
        message::{Message, kind},
    },
    chat::{Continuity, Opaque, ToolKind},
    event::{ChatEvent, FinishReason, Usage},
};

pub(super) fn encode_event(
    event: &ChatEvent,
    mut send: impl FnMut(&Message<'_>),
) -> Result<(), MessageError> {
    match event {
        ChatEvent::Started { id, model } => send(
            &Message::new(kind::STARTED)
                .a(u64::from(id.is_some()) | u64::from(model.is_some()) << 1)
                .text(id.as_deref().unwrap_or_default().as_bytes())
                .ext(model.as_deref().unwrap_or_default().as_bytes()),
        ),
        ChatEvent::TextDelta { part, text } => {
            send(&Message::new(kind::TEXT_DELTA).index(*part).text(text.as_bytes()));
        }
        ChatEvent::ReasoningDelta { part, text, summary } => send(
            &Message::new(kind::REASONING_DELTA)
                .index(*part)
                .a(u64::from(*summary))
                .text(text.as_bytes()),
        ),
        ChatEvent::RefusalDelta { part, text } => {
            send(&Message::new(kind::REFUSAL_DELTA).index(*part).text(text.as_bytes()));
        }
        ChatEvent::ToolCallStart { part, id, name, kind } => send(
            &Message::new(kind::TOOL_CALL_START)
                .index(*part)
                .a(u64::from(*kind == ToolKind::Custom))
                .text(id.as_bytes())
                .ext(name.as_bytes()),
        ),
        ChatEvent::ToolCallDelta { part, arguments } => {
            send(&Message::new(kind::TOOL_CALL_DELTA).index(*part).text(arguments.as_bytes()));
        }
        ChatEvent::ToolCallEnd { part } => {
            send(&Message::new(kind::TOOL_CALL_END).index(*part));
        }
        ChatEvent::Continuity { part, continuity } => send(
            &Message::new(kind::CONTINUITY)
                .index(*part)
                .text(continuity.token.as_bytes())
                .ext(continuity.kind.as_bytes()),
        ),
        ChatEvent::Citation { part, citation } => {
            let citation = pack_for(kind::CITATION, citation)?;
            send(&Message::new(kind::CITATION).index(*part).ext(&citation));
        }
        ChatEvent::Opaque { part, block } => send(
            &Message::new(kind::OPAQUE)
                .index(*part)
                .text(block.json.as_bytes())
                .ext(block.dialect.as_bytes()),
        ),
        ChatEvent::MediaDelta { part, media_type, data } => send(
            &Message::new(kind::MEDIA_DELTA).index(*part).text(data).ext(media_type.as_bytes()),
        ),
        ChatEvent::Usage(usage) => encode_usage(usage, send),
        ChatEvent::Detail { part, name, value } => {
            if is_too_deep(value) {
                return Err(too_deep(kind::DETAIL));
            }
            send(
                &Message::new(kind::DETAIL)
                    .index(part.unwrap_or_default())
                    .a(u64::from(part.is_some()))
                    .text(value.to_string().as_bytes())
                    .ext(name.as_bytes()),
            );
        }
        ChatEvent::Context { id, kind } => {
            send(&Message::new(kind::CONTEXT).text(id.as_str().as_bytes()).ext(kind.as_bytes()));
        }
        ChatEvent::Warning { message } => {
            send(&Message::new(kind::WARNING).text(message.as_bytes()));
        }
        ChatEvent::Finish { reason, detail } => {
            let reason = REASONS.iter().position(|r| r == reason).unwrap_or(REASONS.len() - 1);
            send(
                &Message::new(kind::FINISH)
                    .a(reason as u64)
                    .b(u64::from(detail.is_some()))
                    .text(detail.as_deref().unwrap_or_default().as_bytes()),
            );
        }
    }
    Ok(())
}

pub(super) fn decode_event(message: &Message<'_>) -> Result<Option<ChatEvent>, MessageError> {
    let part = message.index;
    let text = || utf8(message, message.text_bytes()).map(str::to_owned);
    let ext_text = || utf8(message, message.ext_bytes()).map(str::to_owned);
    Ok(Some(match message.kind {
        kind::STARTED => ChatEvent::Started {
            id: if message.a & 1 == 0 { None } else { Some(text()?) },
            model: if message.a & 2 == 0 { None } else { Some(ext_text()?) },
        },
        kind::TEXT_DELTA => ChatEvent::TextDelta { part, text: text()? },
        kind::REASONING_DELTA => {
            ChatEvent::ReasoningDelta { part, text: text()?, summary: message.a & 1 != 0 }
        }
        kind::REFUSAL_DELTA => ChatEvent::RefusalDelta { part, text: text()? },
        kind::TOOL_CALL_START => ChatEvent::ToolCallStart {
            part,
            id: text()?,
            name: ext_text()?,
            kind: if message.a & 1 != 0 { ToolKind::Custom } else { ToolKind::Function },
        },
        kind::TOOL_CALL_DELTA => ChatEvent::ToolCallDelta { part, arguments: text()? },
        kind::TOOL_CALL_END => ChatEvent::ToolCallEnd { part },
        kind::CONTINUITY => {
            ChatEvent::Continuity { part, continuity: Continuity::new(ext_text()?, text()?) }
        }
        kind::CITATION => ChatEvent::Citation { part, citation: unpack(message)? },
        kind::OPAQUE => ChatEvent::Opaque { part, block: Opaque::new(ext_text()?, text()?) },
        kind::MEDIA_DELTA => ChatEvent::MediaDelta {
            part,
            media_type: ext_text()?,
            data: message.text_bytes().to_vec(),
        },
        kind::USAGE => ChatEvent::Usage(decode_usage(message)?),
        kind::DETAIL => ChatEvent::Detail {
            part: (message.a & 1 != 0).then_some(part),
            name: ext_text()?,
            value: serde_json::from_slice(message.text_bytes())
                .map_err(|error| MessageError { kind: message.kind, problem: error.to_string() })?,
        },
        kind::CONTEXT => ChatEvent::Context { id: text()?.into(), kind: ext_text()? },
        kind::WARNING => ChatEvent::Warning { message: text()? },
        kind::FINISH => ChatEvent::Finish {
            reason: usize::try_from(message.a)
                .ok()
                .and_then(|at| REASONS.get(at).copied())
                .unwrap_or(FinishReason::Other),
            detail: if message.b & 1 == 0 { None } else { Some(text()?) },
        },
        _ => return Ok(None),
    }))
}

fn encode_usage(usage: &Usage, mut send: impl FnMut(&Message<'_>)) {
    let count = |count: Option<u64>| count.unwrap_or(u64::MAX);
    let mut parts = [0; 24];
    let counts = [usage.cached_input_tokens, usage.cache_write_tokens, usage.reasoning_tokens];
    for (slot, value) in parts.chunks_exact_mut(8).zip(counts) {
        slot.copy_from_slice(&count(value).to_le_bytes());
    }
    let further = if usage.details.is_empty() { Vec::new() } else { flat(&usage.details) };
    send(
        &Message::new(kind::USAGE)
            .a(count(usage.input_tokens))
            .b(count(usage.output_tokens))
            .text(&parts)
            .ext(&further),
    );
}

fn decode_usage(message: &Message<'_>) -> Result<Usage, MessageError> {
    let count = |value: u64| (value != u64::MAX).then_some(value);
    let mut parts = message
        .text_bytes()
        .chunks_exact(8)
        .map(|bytes| count(u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes"))));
    Ok(Usage {
        input_tokens: count(message.a),
        output_tokens: count(message.b),
        cached_input_tokens: parts.next().flatten(),
        cache_write_tokens: parts.next().flatten(),
        reasoning_tokens: parts.next().flatten(),
        details: if message.ext_bytes().is_empty() { BTreeMap::new() } else { unpack(message)? },
    })
}

/// Finish reasons by their number on the boundary.
const REASONS: [FinishReason; 7] = [
    FinishReason::Stop,
    FinishReason::Length,
    FinishReason::ToolCalls,
    FinishReason::ContentFilter,
    FinishReason::Pause,
    FinishReason::Error,
    FinishReason::Other,
];
