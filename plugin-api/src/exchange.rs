//! The state machine at the heart of the contract: the host says what happened, the plugin says
//! what to do next.
//!
//! An [`Exchange`] performs no I/O and reads no clock. The host calls
//! [`step`](Exchange::step) with one [`Input`] at a time; the exchange answers through the
//! [`Outbox`], any number of times, and ends with exactly one [`Outbox::done`] or [`Outbox::fail`].
//!
//! ```
//! use plugin_api::{exchange::{Exchange, Input, Outbox, Timestamp}, event::{ChatEvent, FinishReason}};
//!
//! struct Hello;
//!
//! impl Exchange for Hello {
//!     fn step(&mut self, _now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
//!         if let Input::Start { .. } = input {
//!             out.text(0, "hello");
//!             out.finish(FinishReason::Stop);
//!             out.done();
//!         }
//!     }
//! }
//!
//! let events = plugin_api::kit::replay::start(&mut Hello).events;
//! assert_eq!(events[0], ChatEvent::TextDelta { part: 0, text: "hello".into() });
//! ```

use crate::{
    abi::{Emit, Output},
    chat::{Continuity, Opaque, ToolKind},
    error::ProviderError,
    event::{ChatEvent, FinishReason, Usage},
    http::{Headers, HttpRequest, TransportErrorKind},
    operation::Reply,
};

/// Milliseconds since the Unix epoch, as the host says; a plugin has no clock of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Returns the moment `ms` milliseconds later.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// One operation from start to finish.
pub trait Exchange {
    /// Takes what happened and answers through `out`.
    ///
    /// The same inputs must give the same outputs, byte for byte: the host replays an exchange after
    /// a crash and compares. Take randomness from the seed of [`Input::Start`] and time from `now`;
    /// do not let the order of a `HashMap` reach an output.
    ///
    /// State: [started & !ended], one thread at a time, not necessarily the same thread.
    /// Ownership: what `input` borrows is valid for the call.
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>);
}

impl<E: Exchange + ?Sized> Exchange for Box<E> {
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        (**self).step(now, input, out);
    }
}

/// Names one request of an exchange; the first is 0.
pub type RequestNumber = u32;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Input<'a> {
    /// The exchange begins.
    Start {
        /// For generated ids. The same on a replay.
        seed: u64,
    },
    /// The head of an answer came.
    ResponseHead {
        /// The request it answers.
        request: RequestNumber,
        /// HTTP status.
        status: u16,
        /// Headers.
        headers: Headers,
    },
    /// A piece of an answer's body came, cut anywhere.
    Body {
        /// The request it answers.
        request: RequestNumber,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// An answer's body is complete.
    End {
        /// The request it answers.
        request: RequestNumber,
    },
    /// A request got no answer, or its answer broke off.
    TransportFailed {
        /// The request.
        request: RequestNumber,
        /// What failed.
        kind: TransportErrorKind,
        /// What failed, for a person.
        message: &'a str,
    },
    /// The time asked for with [`Outbox::wake_at`] has come.
    Tick,
    /// The client went away. One last request may be sent, for a vendor's cancel call.
    Cancel,
}

/// Where an exchange puts its answers.
///
/// Outputs reach the host as they are made; nothing is kept. When the host has had enough (a budget
/// is spent), it stops listening and the rest is dropped.
pub struct Outbox<'a> {
    emit: &'a mut dyn Emit,
    next_request: &'a mut RequestNumber,
}

impl<'a> Outbox<'a> {
    pub(crate) fn new(emit: &'a mut dyn Emit, next_request: &'a mut RequestNumber) -> Self {
        Self { emit, next_request }
    }

    /// Asks the host to send a request and returns its number.
    ///
    /// In contract 1.0 one request is open at a time: send the next one after the last one's
    /// [`Input::End`] or [`Input::TransportFailed`].
    pub fn send(&mut self, request: &HttpRequest) -> RequestNumber {
        let number = *self.next_request;
        *self.next_request += 1;
        self.emit.emit(Output::Send { number, request });
        number
    }

    /// Emits any event.
    pub fn event(&mut self, event: &ChatEvent) {
        self.emit.emit(Output::Event(event));
    }

    /// Says that the vendor accepted the request.
    pub fn started(&mut self, id: Option<&str>, model: Option<&str>) {
        let (id, model) = (id.map(str::to_owned), model.map(str::to_owned));
        self.event(&ChatEvent::Started { id, model });
    }

    /// Emits text.
    pub fn text(&mut self, part: u32, text: &str) {
        self.emit.emit(Output::Text { part, text });
    }

    /// Emits reasoning.
    pub fn reasoning(&mut self, part: u32, text: &str) {
        self.emit.emit(Output::Reasoning { part, text, summary: false });
    }

    /// Emits a token that must be sent back with a part.
    pub fn continuity(&mut self, part: u32, continuity: Continuity) {
        self.event(&ChatEvent::Continuity { part, continuity });
    }

    /// Emits a vendor's own block.
    pub fn opaque(&mut self, part: u32, block: Opaque) {
        self.event(&ChatEvent::Opaque { part, block });
    }

    /// Begins a function call. Neither `id` nor `name` may be empty.
    pub fn tool_start(&mut self, part: u32, id: &str, name: &str) {
        let (id, name, kind) = (id.to_owned(), name.to_owned(), ToolKind::Function);
        self.event(&ChatEvent::ToolCallStart { part, id, name, kind });
    }

    /// Ends a tool call.
    pub fn tool_end(&mut self, part: u32) {
        self.event(&ChatEvent::ToolCallEnd { part });
    }

    /// Emits a piece of a tool call's arguments.
    pub fn tool_arguments(&mut self, part: u32, arguments: &str) {
        self.emit.emit(Output::ToolArguments { part, arguments });
    }

    /// Emits the tokens used so far.
    pub fn usage(&mut self, usage: Usage) {
        self.emit.emit(Output::Event(&ChatEvent::Usage(usage)));
    }

    /// Emits a warning.
    pub fn warning(&mut self, message: impl Into<String>) {
        self.emit.emit(Output::Event(&ChatEvent::Warning { message: message.into() }));
    }

    /// Emits the end of the answer. [`done`](Self::done) must follow.
    pub fn finish(&mut self, reason: FinishReason) {
        self.emit.emit(Output::Event(&ChatEvent::Finish { reason, detail: None }));
    }

    /// Emits the end of the answer with the vendor's own word for it. [`done`](Self::done) must follow.
    pub fn finish_with(&mut self, reason: FinishReason, detail: impl Into<String>) {
        self.event(&ChatEvent::Finish { reason, detail: Some(detail.into()) });
    }

    /// Gives the typed result of an operation other than chat.
    pub fn value(&mut self, value: &Reply) {
        self.emit.emit(Output::Value(value));
    }

    /// Asks for an [`Input::Tick`] at a time. A later call replaces the earlier one.
    pub fn wake_at(&mut self, when: Timestamp) {
        self.emit.emit(Output::WakeAt(when));
    }

    /// Writes a line to the host's log, which escapes it. Never put a secret or a prompt there.
    pub fn log(&mut self, level: LogLevel, text: &str) {
        self.emit.emit(Output::Log { level, text });
    }

    /// Ends the exchange well. Nothing may follow.
    pub fn done(&mut self) {
        self.emit.emit(Output::Done);
    }

    /// Ends the exchange with a failure. Nothing may follow.
    pub fn fail(&mut self, error: &ProviderError) {
        self.emit.emit(Output::Fail(error));
    }
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LogLevel {
    /// For a plugin's author.
    Debug,
    /// For an operator who looks.
    Info,
    /// For an operator who should look.
    Warn,
}
