//! How messages travel between host and worker: the contract's flat form with lengths before it.
//!
//! A frame is a head of fixed size and two runs of bytes, in the machine's own byte order, because
//! both ends are the same program. A write carries as many frames as there are. The reader of a
//! worker's frames trusts no length: one that is larger than a step may put out is an error.

use plugin_api::abi::Message;

/// Bytes of a head.
pub(super) const HEAD: usize = 64;

/// What a frame is for.
pub(super) mod what {
    /// Host → worker: step an exchange with the message. `START` opens it.
    pub(in super::super) const STEP: u32 = 1;
    /// Host → worker: free an exchange.
    pub(in super::super) const CLOSE: u32 = 2;
    /// Worker → host, before any code of the plugin runs: `a` the confinement, as
    /// [`Confinement::bits`](super::super::Confinement::bits); `text` the version of the program.
    pub(in super::super) const CONFINED: u32 = 16;
    /// Worker → host: the library is loaded; `text` its manifest.
    pub(in super::super) const READY: u32 = 17;
    /// Worker → host, before it ends: the library was refused; `a` the reason, `text` the words.
    pub(in super::super) const REFUSED: u32 = 18;
    /// Worker → host: a message of the exchange's step.
    pub(in super::super) const OUTPUT: u32 = 19;
    /// Worker → host: the step is over; `a` what it answered, `b` bit 0: output was cut off, bit 1:
    /// there was no exchange to step.
    pub(in super::super) const STEPPED: u32 = 20;
}

/// Why a library was refused, as the `a` of a `REFUSED`.
pub(super) mod refused {
    /// The worker cannot confine itself as completely as it was told to.
    pub(in super::super) const UNCONFINED: u64 = 1;
    /// The dynamic loader.
    pub(in super::super) const DLOPEN: u64 = 2;
    /// The entry symbol.
    pub(in super::super) const ENTRY: u64 = 3;
    /// The layout.
    pub(in super::super) const LAYOUT: u64 = 4;
    /// The worker itself.
    pub(in super::super) const WORKER: u64 = 5;
}

/// A frame, borrowed from the buffer that it was read into.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    /// What it is for.
    pub(super) what: u32,
    /// The exchange, from 1; 0 where none is meant.
    pub(super) exchange: u64,
    /// The time of a step.
    pub(super) now: u64,
    /// What the contract says.
    pub(super) message: Message<'a>,
    /// All of its bytes.
    pub(super) bytes: &'a [u8],
}

/// A frame that is larger than any may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Appends a frame.
///
/// # Errors
///
/// [`TooLarge`] when a length has no room in the head; then nothing is written.
pub(super) fn put(
    into: &mut Vec<u8>,
    what: u32,
    exchange: u64,
    now: u64,
    message: &Message<'_>,
) -> Result<(), TooLarge> {
    let (text, ext) = (message.text_bytes(), message.ext_bytes());
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| TooLarge);
    let words = [what, message.kind, message.index, 0, len(text)?, len(ext)?];
    into.reserve(HEAD + text.len() + ext.len());
    for word in words {
        into.extend_from_slice(&word.to_ne_bytes());
    }
    for long in [exchange, now, message.a, message.b, 0] {
        into.extend_from_slice(&long.to_ne_bytes());
    }
    into.extend_from_slice(text);
    into.extend_from_slice(ext);
    Ok(())
}

/// Reads the frame at the start of `from`; `None` when it has not arrived whole.
///
/// # Errors
///
/// [`TooLarge`] when it holds more than `max` bytes.
pub(super) fn next(from: &[u8], max: usize) -> Result<Option<Frame<'_>>, TooLarge> {
    let Some((head, rest)) = from.split_at_checked(HEAD) else { return Ok(None) };
    let word = |at: usize| u32::from_ne_bytes(array(&head[at * 4..]));
    let long = |at: usize| u64::from_ne_bytes(array(&head[24 + at * 8..]));
    let (text_len, ext_len) = (word(4) as usize, word(5) as usize);
    if text_len.saturating_add(ext_len) > max {
        return Err(TooLarge);
    }
    let Some((text, rest)) = rest.split_at_checked(text_len) else { return Ok(None) };
    let Some((ext, _)) = rest.split_at_checked(ext_len) else { return Ok(None) };
    let message = Message::new(word(1)).index(word(2)).a(long(2)).b(long(3)).text(text).ext(ext);
    let bytes = &from[..HEAD + text_len + ext_len];
    Ok(Some(Frame { what: word(0), exchange: long(0), now: long(1), message, bytes }))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("the head is longer")
}

/// Bytes that arrived and are not used up.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    used: usize,
}

impl Inbox {
    /// Lets `read` append more bytes; what was used makes room first.
    pub(super) fn fill<R>(&mut self, read: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.bytes.drain(..self.used);
        self.used = 0;
        // A long message does not keep its memory for ever.
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        read(&mut self.bytes)
    }

    /// Takes the next whole frame.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub(super) fn take(&mut self, max: usize) -> Result<Option<Frame<'_>>, TooLarge> {
        let frame = next(&self.bytes[self.used..], max)?;
        if let Some(frame) = &frame {
            self.used += frame.bytes.len();
        }
        Ok(frame)
    }
}

/// Most bytes that an empty buffer keeps.
pub(super) const KEPT: usize = 256 * 1024;

/// Most bytes that are read at once.
pub(super) const READ: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written_and_only_when_they_are_whole() {
        let mut wire = Vec::new();
        let message = Message::new(129).index(7).a(1).b(2).text(b"hello").ext(b"x");
        put(&mut wire, what::OUTPUT, 3, 9, &message).unwrap();
        let one = wire.len();
        put(&mut wire, what::STEPPED, 4, 0, &Message::new(0).a(1)).unwrap();
        for cut in 0..one {
            assert!(next(&wire[..cut], 100).unwrap().is_none(), "{cut}");
        }
        let mut inbox = Inbox::default();
        inbox.fill(|bytes| bytes.extend_from_slice(&wire));
        let first = inbox.take(100).unwrap().unwrap();
        assert_eq!((first.what, first.exchange, first.now), (what::OUTPUT, 3, 9));
        assert_eq!((first.message.kind, first.message.index), (129, 7));
        assert_eq!((first.message.a, first.message.b), (1, 2));
        assert_eq!(
            (first.message.text_bytes(), first.message.ext_bytes()),
            (&b"hello"[..], &b"x"[..])
        );
        let second = inbox.take(100).unwrap().unwrap();
        assert_eq!((second.what, second.exchange, second.message.a), (what::STEPPED, 4, 1));
        assert!(inbox.take(100).unwrap().is_none());
    }

    #[test]
    fn a_length_beyond_the_limit_is_an_error_before_anything_is_kept_for_it() {
        let mut wire = Vec::new();
        put(&mut wire, what::OUTPUT, 1, 0, &Message::new(129).text(&[0; 11])).unwrap();
        assert_eq!(next(&wire[..HEAD], 10).err(), Some(TooLarge));
        assert!(next(&wire[..HEAD], 11).unwrap().is_none());
    }
}
