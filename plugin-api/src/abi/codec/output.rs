//! What an exchange says, as messages.

use super::{
    MessageError,
    event::{decode_event, encode_event},
    payload::{pack_for, unpack},
};
use crate::{
    abi::message::{Message, kind},
    error::ProviderError,
    event::ChatEvent,
    exchange::{LogLevel, RequestNumber, Timestamp},
    http::HttpRequest,
    operation::{Embeddings, Reply},
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
