//! The one form in which everything crosses the boundary.
//!
//! A [`Message`] is flat and borrowed for the call, in both directions: nothing is owned across the
//! boundary, so nothing can be freed on the wrong side. Its six fields are frozen. What they mean for
//! each kind stands beside its constant. Hot kinds use the flat fields alone; the others put a
//! MessagePack map with field names into `ext`.
//!
//! The rules by which messages grow:
//!
//! - A field that a kind does not use is 0 or empty when it is sent and ignored when it is read.
//! - Flags are bits, tested one by one; a bit that the receiver does not know is ignored.
//! - A kind never changes its meaning, and a number is never used again.
//! - A receiver skips kinds that it does not know. What an older receiver must not overlook therefore
//!   needs a new kind *and* a contract version that promises it: `START` carries the host's.
//! - Of a slice whose length is 0 only the length is looked at: any pointer is allowed, null too.

use core::{ffi::c_void, marker::PhantomData};

use abi_stable::{StableAbi, std_types::RSlice};

/// A message, borrowed for the call.
///
/// State: [valid until the call that carries it returns].
/// Ownership: the sender's.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Message<'a> {
    /// What it is, from [`kind`].
    pub kind: u32,
    /// A part, or a request number.
    pub index: u32,
    /// First number.
    pub a: u64,
    /// Second number.
    pub b: u64,
    /// Bytes; UTF-8 where the kind says text, checked by the receiver. Read them with
    /// [`text_bytes`](Self::text_bytes).
    pub text: RSlice<'a, u8>,
    /// More bytes: usually a MessagePack map. Read them with [`ext_bytes`](Self::ext_bytes).
    pub ext: RSlice<'a, u8>,
}

/// Returns the bytes of a slice that came across the boundary.
///
/// The pointer of an empty one may be anything and is not looked at; `as_slice` would make a
/// reference of it, which for null is undefined behavior.
#[must_use]
pub fn bytes_of(slice: RSlice<'_, u8>) -> &[u8] {
    if slice.is_empty() { &[] } else { slice.as_slice() }
}

impl<'a> Message<'a> {
    /// Makes a message that is nothing but its kind.
    #[must_use]
    pub const fn new(kind: u32) -> Self {
        Self { kind, index: 0, a: 0, b: 0, text: RSlice::EMPTY, ext: RSlice::EMPTY }
    }

    /// Returns the bytes of [`text`](Self::text).
    #[must_use]
    pub fn text_bytes(&self) -> &'a [u8] {
        bytes_of(self.text)
    }

    /// Returns the bytes of [`ext`](Self::ext).
    #[must_use]
    pub fn ext_bytes(&self) -> &'a [u8] {
        bytes_of(self.ext)
    }

    /// Sets the index.
    #[must_use]
    pub const fn index(mut self, index: u32) -> Self {
        self.index = index;
        self
    }

    /// Sets the first number.
    #[must_use]
    pub const fn a(mut self, a: u64) -> Self {
        self.a = a;
        self
    }

    /// Sets the second number.
    #[must_use]
    pub const fn b(mut self, b: u64) -> Self {
        self.b = b;
        self
    }

    /// Sets the bytes.
    #[must_use]
    pub const fn text(mut self, text: &'a [u8]) -> Self {
        self.text = RSlice::from_slice(text);
        self
    }

    /// Sets the further bytes.
    #[must_use]
    pub const fn ext(mut self, ext: &'a [u8]) -> Self {
        self.ext = RSlice::from_slice(ext);
        self
    }
}

/// Kinds of messages. Grows only at the end of each range; a number is never reused.
pub mod kind {
    /// Host → plugin. `a` seed; `b` minor version of the host's contract, 0 for 1.0; `ext` the
    /// instance and the operation.
    pub const START: u32 = 1;
    /// Host → plugin. `index` request; `a` status; `ext` headers.
    pub const RESPONSE_HEAD: u32 = 2;
    /// Host → plugin. `index` request; `text` bytes.
    pub const BODY: u32 = 3;
    /// Host → plugin. `index` request.
    pub const END: u32 = 4;
    /// Host → plugin. `index` request; `text` message; `ext` kind.
    pub const TRANSPORT_FAILED: u32 = 5;
    /// Host → plugin.
    pub const TICK: u32 = 6;
    /// Host → plugin.
    pub const CANCEL: u32 = 7;

    /// Plugin → host. `index` request; `ext` the request.
    pub const SEND: u32 = 64;
    /// Plugin → host. `ext` the value.
    pub const VALUE: u32 = 65;
    /// Plugin → host. `a` milliseconds since the Unix epoch.
    pub const WAKE_AT: u32 = 66;
    /// Plugin → host. `a` level (0 debug, 1 info, 2 warn); `text` the line.
    pub const LOG: u32 = 67;
    /// Plugin → host. Ends the exchange.
    pub const DONE: u32 = 68;
    /// Plugin → host. `ext` the error. Ends the exchange.
    pub const FAIL: u32 = 69;

    /// Event. `text` id; `ext` model as text; `a` bit 0: id given, bit 1: model given.
    pub const STARTED: u32 = 128;
    /// Event. `index` part; `text`.
    pub const TEXT_DELTA: u32 = 129;
    /// Event. `index` part; `text`; `a` bit 0: a summary.
    pub const REASONING_DELTA: u32 = 130;
    /// Event. `index` part; `text`.
    pub const REFUSAL_DELTA: u32 = 131;
    /// Event. `index` part; `text` id; `ext` name as text; `a` bit 0: a custom tool.
    pub const TOOL_CALL_START: u32 = 132;
    /// Event. `index` part; `text` piece of the arguments.
    pub const TOOL_CALL_DELTA: u32 = 133;
    /// Event. `index` part.
    pub const TOOL_CALL_END: u32 = 134;
    /// Event. `index` part; `text` token; `ext` its kind as text.
    pub const CONTINUITY: u32 = 135;
    /// Event. `index` part; `ext` the citation.
    pub const CITATION: u32 = 136;
    /// Event. `index` part; `text` the block as JSON, as it came; `ext` its dialect as text.
    pub const OPAQUE: u32 = 137;
    /// Event. `index` part; `text` bytes; `ext` MIME type as text.
    pub const MEDIA_DELTA: u32 = 138;
    /// Event. `a` input, `b` output tokens; `text` three little-endian u64: cached, cache write,
    /// reasoning. All ones means "not said". `ext` further counts by name, or empty.
    pub const USAGE: u32 = 139;
    /// Event. `text`.
    pub const WARNING: u32 = 140;
    /// Event. `a` reason (0 stop, 1 length, 2 tool calls, 3 content filter, 4 pause, 5 error,
    /// 6 other); `b` bit 0: `text` holds the vendor's word.
    pub const FINISH: u32 = 141;
}

/// What a sink answers: go on.
pub const CONTINUE: u8 = 0;
/// What a sink answers: enough, the rest of this step is dropped.
pub const STOP: u8 = 1;

/// Where a plugin's messages go during one step.
///
/// State: [valid until the step that carries it returns], only on the thread of that step.
/// Ownership: the host's.
#[repr(C)]
#[derive(StableAbi)]
pub struct Sink<'a> {
    /// The host's own pointer, handed back to `emit`.
    pub ctx: *mut c_void,
    /// Takes one message; answers [`CONTINUE`] or [`STOP`]. Never unwinds.
    pub emit: unsafe extern "C" fn(ctx: *mut c_void, message: &Message<'_>) -> u8,
    /// Keeps the sink from outliving what `ctx` points to.
    pub borrow: PhantomData<&'a mut ()>,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Message<'_>>() == 56 && align_of::<Message<'_>>() == 8);
    assert!(offset_of!(Message<'_>, kind) == 0);
    assert!(offset_of!(Message<'_>, index) == 4);
    assert!(offset_of!(Message<'_>, a) == 8);
    assert!(offset_of!(Message<'_>, b) == 16);
    assert!(offset_of!(Message<'_>, text) == 24);
    assert!(offset_of!(Message<'_>, ext) == 40);
    assert!(size_of::<Sink<'_>>() == 16 && align_of::<Sink<'_>>() == 8);
    assert!(offset_of!(Sink<'_>, ctx) == 0 && offset_of!(Sink<'_>, emit) == 8);
};
