//! Translates between typed values and [`Message`]s. Both sides use it.
//!
//! Decoding trusts nothing: text is checked for UTF-8, `ext` is parsed, and what does not fit is a
//! [`MessageError`]. So a library made by hand can be wrong without being unsound.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    depth::{MAX_DEPTH, is_too_deep},
    message::{Message, kind},
};
use crate::{
    CONTRACT_MINOR,
    chat::{Continuity, Opaque, ToolKind},
    error::ProviderError,
    event::{ChatEvent, FinishReason, Usage},
    exchange::{Input, LogLevel, RequestNumber, Timestamp},
    http::HttpRequest,
    instance::Instance,
    operation::{Embeddings, Operation, Reply},
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
    Value(&'a Reply),
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
    /// The result of an operation other than chat. Of embeddings, [`Vectors::complete`] puts the
    /// vectors in.
    Value(Box<Reply>),
    /// One vector of the embeddings that follow.
    Vector {
        /// The input it belongs to.
        index: u32,
        /// The vector.
        vector: Vec<f32>,
    },
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

/// What a `START` message carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// The provider, as configured.
    pub instance: Instance,
    /// What to do.
    pub operation: Operation,
}

impl Opening {
    /// Writes it, for [`encode_input`].
    ///
    /// # Errors
    ///
    /// [`MessageError`] when the request is nested too deep.
    pub fn pack(&self) -> Result<PackedOpening, MessageError> {
        PackedOpening::of(&self.instance, &self.operation)
    }
}

impl PackedOpening {
    /// Writes what an [`Opening`] of these would hold.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when the request is nested too deep.
    pub fn of(instance: &Instance, operation: &Operation) -> Result<Self, MessageError> {
        let bytes = match operation {
            Operation::Chat(request) | Operation::CountTokens(request) => given(instance, request),
            Operation::ListModels(request) => given(instance, request),
            Operation::DescribeModel(request) => given(instance, request),
            Operation::Embed(request) => given(instance, request),
            Operation::ListContextChunks(request) => given(instance, request),
            Operation::DeleteContextChunk(request) => given(instance, request),
            Operation::ValidateApiKey(request) => given(instance, request),
            Operation::GenerateAuthUrl(request) => given(instance, request),
            Operation::ExchangeCode(request) => given(instance, request),
            Operation::RefreshToken(tokens) | Operation::ExtractApiCredentials(tokens) => {
                given(instance, tokens)
            }
            Operation::TestConnection | Operation::Unknown => given(instance, &()),
        }?;
        Ok(Self { operation: operation.wire_name(), bytes })
    }
}

/// An [`Opening`] as it crosses. The default is for all inputs but `START`, which have none.
///
/// The operation's name stands beside the payload, not in it: serde would have to hold a whole
/// conversation back until it met the name, which more than doubles the time that it takes to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedOpening {
    operation: &'static str,
    bytes: Vec<u8>,
}

fn given<T: Serialize>(instance: &Instance, request: &T) -> Result<Vec<u8>, MessageError> {
    #[derive(Serialize)]
    struct Given<'a, T> {
        instance: &'a Instance,
        request: &'a T,
    }
    pack_for(kind::START, &Given { instance, request })
}

/// Gathers the vectors that come before their [`Reply::Embeddings`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors(Vec<Vec<f32>>);

impl Vectors {
    /// Takes the next vector.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when it is not the next.
    pub fn take(&mut self, index: u32, vector: Vec<f32>) -> Result<(), MessageError> {
        if index as usize != self.0.len() {
            let problem = format!("vector {index} while {} is expected", self.0.len());
            return Err(MessageError { kind: kind::VECTOR, problem });
        }
        self.0.push(vector);
        Ok(())
    }

    /// Puts the vectors into the reply that they belong to.
    pub fn complete(&mut self, reply: &mut Reply) {
        if let Reply::Embeddings(embeddings) = reply
            && embeddings.vectors.is_empty()
        {
            embeddings.vectors = std::mem::take(&mut self.0);
        }
    }
}

/// Writes a payload as MessagePack with field names.
///
/// # Errors
///
/// [`MessageError`] when the payload is nested too deep for the other side to read.
pub fn pack<T: Serialize>(payload: &T) -> Result<Vec<u8>, MessageError> {
    pack_for(0, payload)
}

fn pack_for<T: Serialize>(kind: u32, payload: &T) -> Result<Vec<u8>, MessageError> {
    if is_too_deep(payload) {
        return Err(too_deep(kind));
    }
    let mut bytes = Vec::with_capacity(USUAL);
    rmp_serde::encode::write_named(&mut bytes, payload)
        .map_err(|error| MessageError { kind, problem: error.to_string() })?;
    Ok(bytes)
}

/// Room for most payloads, so that they need not be moved while they are written.
const USUAL: usize = 1024;

fn too_deep(kind: u32) -> MessageError {
    MessageError { kind, problem: format!("nested deeper than {MAX_DEPTH} levels") }
}

/// Reads a payload.
fn unpack<T: DeserializeOwned>(message: &Message<'_>) -> Result<T, MessageError> {
    let mut from = rmp_serde::Deserializer::from_read_ref(message.ext_bytes());
    from.set_max_depth(MAX_READ_DEPTH);
    T::deserialize(&mut from)
        .map_err(|error| MessageError { kind: message.kind, problem: error.to_string() })
}

/// Deepest nesting that is read: somewhat more than is written, because the two count differently.
const MAX_READ_DEPTH: usize = MAX_DEPTH + 32;

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
    #[derive(Deserialize)]
    #[serde(bound = "T: Default + Deserialize<'de>")]
    struct Given<T> {
        instance: Instance,
        #[serde(default)]
        request: T,
    }
    fn read<T: Default + DeserializeOwned>(
        message: &Message<'_>,
        operation: impl FnOnce(T) -> Operation,
    ) -> Result<(Instance, Operation), MessageError> {
        let given: Given<T> = unpack(message)?;
        Ok((given.instance, operation(given.request)))
    }
    let (mut instance, operation) = match utf8(message, message.text_bytes())? {
        "chat" => read(message, Operation::Chat),
        "count_tokens" => read(message, Operation::CountTokens),
        "list_models" => read(message, Operation::ListModels),
        "describe_model" => read(message, Operation::DescribeModel),
        "embed" => read(message, Operation::Embed),
        "list_context_chunks" => read(message, Operation::ListContextChunks),
        "delete_context_chunk" => read(message, Operation::DeleteContextChunk),
        "validate_api_key" => read(message, Operation::ValidateApiKey),
        "test_connection" => read(message, |_: IgnoredAny| Operation::TestConnection),
        "generate_auth_url" => read(message, Operation::GenerateAuthUrl),
        "exchange_code" => read(message, Operation::ExchangeCode),
        "refresh_token" => read(message, Operation::RefreshToken),
        "extract_api_credentials" => read(message, Operation::ExtractApiCredentials),
        _ => read(message, |_: IgnoredAny| Operation::Unknown),
    }?;
    instance.contract_minor = u32::try_from(message.b).unwrap_or(u32::MAX);
    Ok(Opening { instance, operation })
}

/// Writes an input and hands it to `send`. A `START` also needs its [`Opening`], already packed.
pub fn encode_input<R>(
    input: &Input<'_>,
    opening: &PackedOpening,
    send: impl FnOnce(&Message<'_>) -> R,
) -> R {
    match input {
        Input::Start { seed } => send(
            &Message::new(kind::START)
                .a(*seed)
                .b(u64::from(CONTRACT_MINOR))
                .text(opening.operation.as_bytes())
                .ext(&opening.bytes),
        ),
        Input::ResponseHead { request, status, headers } => send(
            &Message::new(kind::RESPONSE_HEAD)
                .index(*request)
                .a(u64::from(*status))
                .ext(&flat(headers)),
        ),
        Input::Body { request, bytes } => {
            send(&Message::new(kind::BODY).index(*request).text(bytes))
        }
        Input::End { request } => send(&Message::new(kind::END).index(*request)),
        Input::TransportFailed { request, kind, message } => send(
            &Message::new(kind::TRANSPORT_FAILED)
                .index(*request)
                .text(message.as_bytes())
                .ext(&flat(kind)),
        ),
        Input::Tick => send(&Message::new(kind::TICK)),
        Input::Cancel => send(&Message::new(kind::CANCEL)),
    }
}

/// Writes a payload that is never deep: headers, a word.
fn flat<T: Serialize>(payload: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(payload).unwrap_or_default()
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
            status: u16::try_from(message.a).map_err(|_| {
                let problem = format!("{} is no status", message.a);
                MessageError { kind: message.kind, problem }
            })?,
            headers: unpack(message)?,
        },
        kind::BODY => Input::Body { request: message.index, bytes: message.text_bytes() },
        kind::END => Input::End { request: message.index },
        kind::TRANSPORT_FAILED => Input::TransportFailed {
            request: message.index,
            kind: unpack(message)?,
            message: utf8(message, message.text_bytes())?,
        },
        kind::TICK => Input::Tick,
        kind::CANCEL => Input::Cancel,
        _ => return Ok(None),
    }))
}

/// Writes an output and hands it to `send`.
///
/// # Errors
///
/// [`MessageError`] when its payload is nested too deep; then nothing is sent.
pub fn encode_output(
    output: Output<'_>,
    mut send: impl FnMut(&Message<'_>),
) -> Result<(), MessageError> {
    match output {
        Output::Send { number, request } => {
            let request = pack_for(kind::SEND, request)?;
            send(&Message::new(kind::SEND).index(number).ext(&request));
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
        Output::Event(event) => encode_event(event, send)?,
        Output::Value(Reply::Embeddings(embeddings)) => {
            let Embeddings { vectors, input_tokens } = embeddings;
            let mut bytes = Vec::new();
            for (index, vector) in (0_u32..).zip(vectors) {
                bytes.clear();
                bytes.extend(vector.iter().flat_map(|float| float.to_le_bytes()));
                send(&Message::new(kind::VECTOR).index(index).text(&bytes));
            }
            let rest = Reply::Embeddings(Embeddings::new(Vec::new(), *input_tokens));
            send(&Message::new(kind::VALUE).ext(&pack_for(kind::VALUE, &rest)?));
        }
        Output::Value(value) => {
            send(&Message::new(kind::VALUE).ext(&pack_for(kind::VALUE, value)?));
        }
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
        Output::Fail(error) => send(&Message::new(kind::FAIL).ext(&pack_for(kind::FAIL, error)?)),
    }
    Ok(())
}

fn encode_event(event: &ChatEvent, mut send: impl FnMut(&Message<'_>)) -> Result<(), MessageError> {
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
        kind::VECTOR => {
            let (floats, rest) = message.text_bytes().as_chunks::<4>();
            if !rest.is_empty() {
                let problem = "a vector ends inside a number".to_owned();
                return Err(MessageError { kind: message.kind, problem });
            }
            let vector = floats.iter().map(|float| f32::from_le_bytes(*float)).collect();
            Effect::Vector { index: message.index, vector }
        }
        kind::WAKE_AT => Effect::WakeAt(Timestamp(message.a)),
        kind::LOG => Effect::Log {
            level: match message.a {
                0 => LogLevel::Debug,
                1 => LogLevel::Info,
                _ => LogLevel::Warn,
            },
            text: String::from_utf8_lossy(message.text_bytes()).into_owned(),
        },
        kind::DONE => Effect::Done,
        kind::FAIL => Effect::Fail(Box::new(unpack(message)?)),
        _ => return Ok(decode_event(message)?.map(Effect::Event)),
    }))
}

fn decode_event(message: &Message<'_>) -> Result<Option<ChatEvent>, MessageError> {
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

#[cfg(test)]
mod tests;
