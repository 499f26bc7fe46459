//! Translates between typed values and [`Message`]s. Both sides use it.
//!
//! Decoding trusts nothing: text is checked for UTF-8, `ext` is parsed, and what does not fit is a
//! [`MessageError`]. So a library made by hand can be wrong without being unsound.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::message::{Message, kind};
use crate::{
    chat::{Continuity, ToolKind},
    error::ProviderError,
    event::{ChatEvent, FinishReason, Usage},
    exchange::{Input, LogLevel, RequestNumber, Timestamp},
    http::HttpRequest,
    instance::Instance,
    operation::{Operation, Value},
};

/// What an exchange says, before it crosses.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Output<'a> {
    /// Send a request.
    Send {
        /// Its number.
        number: RequestNumber,
        /// The request.
        request: &'a HttpRequest,
    },
    /// More text.
    Text {
        /// The part it belongs to.
        part: u32,
        /// The text.
        text: &'a str,
    },
    /// More reasoning.
    Reasoning {
        /// The part it belongs to.
        part: u32,
        /// The text.
        text: &'a str,
        /// Whether it is a summary.
        summary: bool,
    },
    /// More of a tool call's arguments.
    ToolArguments {
        /// The part it belongs to.
        part: u32,
        /// The piece.
        arguments: &'a str,
    },
    /// Any event.
    Event(&'a ChatEvent),
    /// The result of an operation other than chat.
    Value(&'a Value),
    /// Wake me.
    WakeAt(Timestamp),
    /// A line for the log.
    Log {
        /// Its level.
        level: LogLevel,
        /// The line.
        text: &'a str,
    },
    /// The end.
    Done,
    /// The end, badly.
    Fail(&'a ProviderError),
}

/// Takes outputs: a host's sink, or a test's list.
pub trait Emit {
    /// Takes one output.
    fn emit(&mut self, output: Output<'_>);
}

/// What an exchange said, as the host reads it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// Send a request.
    Send {
        /// Its number.
        number: RequestNumber,
        /// The request.
        request: Box<HttpRequest>,
    },
    /// An event.
    Event(ChatEvent),
    /// The result of an operation other than chat.
    Value(Box<Value>),
    /// Wake the exchange at a time.
    WakeAt(Timestamp),
    /// A line for the log, not escaped.
    Log {
        /// Its level.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// The end.
    Done,
    /// The end, badly.
    Fail(Box<ProviderError>),
}

/// Why a message cannot be read. The sender broke the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageError {
    /// The message's kind.
    pub kind: u32,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message of kind {}: {}", self.kind, self.problem)
    }
}

impl std::error::Error for MessageError {}

/// The payload of a `START` message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// The provider, as configured.
    pub instance: Instance,
    /// What to do.
    pub operation: Operation,
}

/// Writes a payload as MessagePack with field names.
///
/// # Panics
///
/// Never: every payload of this contract can be written.
#[must_use]
pub fn pack<T: Serialize>(payload: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(payload).expect("payloads of the contract are serializable")
}

/// Reads a payload.
fn unpack<T: DeserializeOwned>(message: &Message<'_>) -> Result<T, MessageError> {
    rmp_serde::from_slice(message.ext.as_slice())
        .map_err(|error| MessageError { kind: message.kind, problem: error.to_string() })
}

fn utf8<'a>(message: &Message<'_>, bytes: &'a [u8]) -> Result<&'a str, MessageError> {
    std::str::from_utf8(bytes)
        .map_err(|_| MessageError { kind: message.kind, problem: "text is not UTF-8".to_owned() })
}

/// Reads the payload of a `START` message.
///
/// # Errors
///
/// [`MessageError`] when the host sent something else.
pub fn decode_opening(message: &Message<'_>) -> Result<Opening, MessageError> {
    unpack(message)
}

/// Writes an input and hands it to `send`. A `START` also needs its [`Opening`], already packed.
pub fn encode_input<R>(
    input: &Input<'_>,
    opening: &[u8],
    send: impl FnOnce(&Message<'_>) -> R,
) -> R {
    match input {
        Input::Start { seed } => send(&Message::new(kind::START).a(*seed).ext(opening)),
        Input::ResponseHead { request, status, headers } => send(
            &Message::new(kind::RESPONSE_HEAD)
                .index(*request)
                .a(u64::from(*status))
                .ext(&pack(headers)),
        ),
        Input::Body { request, bytes } => {
            send(&Message::new(kind::BODY).index(*request).text(bytes))
        }
        Input::End { request } => send(&Message::new(kind::END).index(*request)),
        Input::TransportFailed { request, kind, message } => send(
            &Message::new(kind::TRANSPORT_FAILED)
                .index(*request)
                .text(message.as_bytes())
                .ext(&pack(kind)),
        ),
        Input::Tick => send(&Message::new(kind::TICK)),
        Input::Cancel => send(&Message::new(kind::CANCEL)),
    }
}

/// Reads an input; `None` for kinds of a newer contract.
///
/// # Errors
///
/// [`MessageError`] when the message does not hold what its kind says.
pub fn decode_input<'a>(message: &Message<'a>) -> Result<Option<Input<'a>>, MessageError> {
    Ok(Some(match message.kind {
        kind::START => Input::Start { seed: message.a },
        kind::RESPONSE_HEAD => Input::ResponseHead {
            request: message.index,
            status: message.a as u16,
            headers: unpack(message)?,
        },
        kind::BODY => Input::Body { request: message.index, bytes: message.text.as_slice() },
        kind::END => Input::End { request: message.index },
        kind::TRANSPORT_FAILED => Input::TransportFailed {
            request: message.index,
            kind: unpack(message)?,
            message: utf8(message, message.text.as_slice())?,
        },
        kind::TICK => Input::Tick,
        kind::CANCEL => Input::Cancel,
        _ => return Ok(None),
    }))
}

/// Writes an output and hands it to `send`.
pub fn encode_output(output: Output<'_>, send: impl FnOnce(&Message<'_>)) {
    match output {
        Output::Send { number, request } => {
            send(&Message::new(kind::SEND).index(number).ext(&pack(request)));
        }
        Output::Text { part, text } => {
            send(&Message::new(kind::TEXT_DELTA).index(part).text(text.as_bytes()));
        }
        Output::Reasoning { part, text, summary } => send(
            &Message::new(kind::REASONING_DELTA)
                .index(part)
                .a(u64::from(summary))
                .text(text.as_bytes()),
        ),
        Output::ToolArguments { part, arguments } => {
            send(&Message::new(kind::TOOL_CALL_DELTA).index(part).text(arguments.as_bytes()));
        }
        Output::Event(event) => encode_event(event, send),
        Output::Value(value) => send(&Message::new(kind::VALUE).ext(&pack(value))),
        Output::WakeAt(when) => send(&Message::new(kind::WAKE_AT).a(when.0)),
        Output::Log { level, text } => {
            let level = match level {
                LogLevel::Debug => 0,
                LogLevel::Info => 1,
                LogLevel::Warn => 2,
            };
            send(&Message::new(kind::LOG).a(level).text(text.as_bytes()));
        }
        Output::Done => send(&Message::new(kind::DONE)),
        Output::Fail(error) => send(&Message::new(kind::FAIL).ext(&pack(error))),
    }
}

fn encode_event(event: &ChatEvent, send: impl FnOnce(&Message<'_>)) {
    match event {
        ChatEvent::Started { id, model } => send(
            &Message::new(kind::STARTED)
                .a(u64::from(id.is_some()) | u64::from(model.is_some()) << 1)
                .text(id.as_deref().unwrap_or_default().as_bytes())
                .ext(model.as_deref().unwrap_or_default().as_bytes()),
        ),
        ChatEvent::TextDelta { part, text } => {
            encode_output(Output::Text { part: *part, text }, send);
        }
        ChatEvent::ReasoningDelta { part, text, summary } => {
            encode_output(Output::Reasoning { part: *part, text, summary: *summary }, send);
        }
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
            encode_output(Output::ToolArguments { part: *part, arguments }, send);
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
            send(&Message::new(kind::CITATION).index(*part).ext(&pack(citation)));
        }
        ChatEvent::Opaque { part, block } => {
            send(&Message::new(kind::OPAQUE).index(*part).ext(&pack(block)));
        }
        ChatEvent::MediaDelta { part, media_type, data } => send(
            &Message::new(kind::MEDIA_DELTA).index(*part).text(data).ext(media_type.as_bytes()),
        ),
        ChatEvent::Usage(usage) => {
            let count = |count: Option<u64>| count.unwrap_or(u64::MAX);
            let mut details = [0; 24];
            let counts =
                [usage.cached_input_tokens, usage.cache_write_tokens, usage.reasoning_tokens];
            for (slot, value) in details.chunks_exact_mut(8).zip(counts) {
                slot.copy_from_slice(&count(value).to_le_bytes());
            }
            send(
                &Message::new(kind::USAGE)
                    .a(count(usage.input_tokens))
                    .b(count(usage.output_tokens))
                    .text(&details),
            );
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

/// Reads an output; `None` for kinds of a newer contract.
///
/// # Errors
///
/// [`MessageError`] when the message does not hold what its kind says.
pub fn decode_output(message: &Message<'_>) -> Result<Option<Effect>, MessageError> {
    Ok(Some(match message.kind {
        kind::SEND => Effect::Send { number: message.index, request: Box::new(unpack(message)?) },
        kind::VALUE => Effect::Value(Box::new(unpack(message)?)),
        kind::WAKE_AT => Effect::WakeAt(Timestamp(message.a)),
        kind::LOG => Effect::Log {
            level: match message.a {
                0 => LogLevel::Debug,
                1 => LogLevel::Info,
                _ => LogLevel::Warn,
            },
            text: String::from_utf8_lossy(message.text.as_slice()).into_owned(),
        },
        kind::DONE => Effect::Done,
        kind::FAIL => Effect::Fail(Box::new(unpack(message)?)),
        _ => return Ok(decode_event(message)?.map(Effect::Event)),
    }))
}

fn decode_event(message: &Message<'_>) -> Result<Option<ChatEvent>, MessageError> {
    let part = message.index;
    let text = || utf8(message, message.text.as_slice()).map(str::to_owned);
    let ext_text = || utf8(message, message.ext.as_slice()).map(str::to_owned);
    Ok(Some(match message.kind {
        kind::STARTED => ChatEvent::Started {
            id: if message.a & 1 == 0 { None } else { Some(text()?) },
            model: if message.a & 2 == 0 { None } else { Some(ext_text()?) },
        },
        kind::TEXT_DELTA => ChatEvent::TextDelta { part, text: text()? },
        kind::REASONING_DELTA => {
            ChatEvent::ReasoningDelta { part, text: text()?, summary: message.a == 1 }
        }
        kind::REFUSAL_DELTA => ChatEvent::RefusalDelta { part, text: text()? },
        kind::TOOL_CALL_START => ChatEvent::ToolCallStart {
            part,
            id: text()?,
            name: ext_text()?,
            kind: if message.a == 1 { ToolKind::Custom } else { ToolKind::Function },
        },
        kind::TOOL_CALL_DELTA => ChatEvent::ToolCallDelta { part, arguments: text()? },
        kind::TOOL_CALL_END => ChatEvent::ToolCallEnd { part },
        kind::CONTINUITY => {
            ChatEvent::Continuity { part, continuity: Continuity::new(ext_text()?, text()?) }
        }
        kind::CITATION => ChatEvent::Citation { part, citation: unpack(message)? },
        kind::OPAQUE => ChatEvent::Opaque { part, block: unpack(message)? },
        kind::MEDIA_DELTA => ChatEvent::MediaDelta {
            part,
            media_type: ext_text()?,
            data: message.text.as_slice().to_vec(),
        },
        kind::USAGE => ChatEvent::Usage(decode_usage(message)),
        kind::WARNING => ChatEvent::Warning { message: text()? },
        kind::FINISH => ChatEvent::Finish {
            reason: usize::try_from(message.a)
                .ok()
                .and_then(|at| REASONS.get(at).copied())
                .unwrap_or(FinishReason::Other),
            detail: if message.b == 0 { None } else { Some(text()?) },
        },
        _ => return Ok(None),
    }))
}

fn decode_usage(message: &Message<'_>) -> Usage {
    let count = |value: u64| (value != u64::MAX).then_some(value);
    let mut details =
        message.text.as_slice().chunks_exact(8).map(|bytes| {
            count(u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes")))
        });
    Usage {
        input_tokens: count(message.a),
        output_tokens: count(message.b),
        cached_input_tokens: details.next().flatten(),
        cache_write_tokens: details.next().flatten(),
        reasoning_tokens: details.next().flatten(),
    }
}
