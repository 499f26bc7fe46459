//! What the host hands an exchange, as messages.

use super::{
    MessageError,
    opening::PackedOpening,
    payload::{flat, unpack, utf8},
};
use crate::{
    CONTRACT_MINOR,
    abi::message::{Message, kind},
    exchange::Input,
};

/// Writes an input and hands it to `send`. A `START` also needs its [`PackedOpening`], already packed.
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
