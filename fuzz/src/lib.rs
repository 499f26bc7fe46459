//! What each fuzz target does with its bytes.
//!
//! The first byte says what the rest is: `s` a stream of events, `j` a whole answer as JSON, `e` the
//! body of a failure, anything else a client's request. So one corpus a dialect covers both
//! directions, and its seeds are the recorded fixtures with a letter before them.
#![forbid(unsafe_code)]

use plugin_api::{
    error::ProviderError,
    exchange::Exchange,
    http::Headers,
    kit::{
        call::Response,
        replay::{Replay, Run},
    },
};

/// A dialect's functions, as the targets need them.
#[derive(Clone, Copy)]
pub struct Dialect {
    /// Opens an exchange that reads an answer.
    pub open: fn() -> Box<dyn Exchange + Send>,
    /// Reads a client's request and, where that succeeds, writes it again for the vendor.
    pub request: fn(&[u8]),
    /// Reads a failure.
    pub failure: fn(&Response) -> ProviderError,
}

/// Runs one input. Panics when a promise is broken.
pub fn run(dialect: Dialect, data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind {
        b's' => answer(dialect, "text/event-stream", bytes),
        b'j' => answer(dialect, "application/json", bytes),
        b'e' => {
            let mut response = Response::default();
            response.status = 300 + u16::from(bytes.first().copied().unwrap_or_default());
            response.headers = Headers(vec![("retry-after".into(), "1.5".into())]);
            response.body = bytes.to_vec();
            let error = (dialect.failure)(&response);
            assert!(!error.message.is_empty(), "a failure without a word");
            assert!(!error.message.contains('\n'), "a message of several lines");
        }
        _ => (dialect.request)(bytes),
    }
}

fn answer(dialect: Dialect, content_type: &str, body: &[u8]) {
    let headers = [("content-type", content_type)];
    let replay = |chunks| Replay::new((dialect.open)()).respond_in(200, &headers, chunks).run();
    let whole: Run = replay(vec![body.to_vec()]);
    assert_eq!(whole.violations, [], "a rule of the contract is broken");
    assert_ne!(whole.done, whole.error.is_some(), "not one end");
    assert_eq!(replay(cut(body)), whole, "the cuts between the bytes changed the events");
}

/// Cuts bytes at places that depend on them alone, so that a find can be repeated.
fn cut(body: &[u8]) -> Vec<Vec<u8>> {
    let mut random = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let (mut rest, mut pieces) = (body, Vec::new());
    while !rest.is_empty() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let length = usize::try_from(random % 7).unwrap_or(0) + 1;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}
