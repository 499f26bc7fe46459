//! The plugin's side of a sink.
#![expect(unsafe_code, reason = "calls the host's function pointer")]

use super::{
    codec::{self, MessageError, Output},
    message::{STOP, Sink},
};

/// Sends outputs through the host's sink until the host says stop.
pub(crate) struct SinkEmitter<'a> {
    sink: &'a Sink<'a>,
    stopped: bool,
}

impl<'a> SinkEmitter<'a> {
    pub(crate) fn new(sink: &'a Sink<'a>) -> Self {
        Self { sink, stopped: false }
    }
}

impl SinkEmitter<'_> {
    /// Sends an output.
    ///
    /// # Errors
    ///
    /// [`MessageError`] when it has no form in which it can cross.
    pub(crate) fn send(&mut self, output: Output<'_>) -> Result<(), MessageError> {
        codec::encode_output(output, |message| {
            if self.stopped {
                return;
            }
            // SAFETY: the host made `emit` and `ctx` for each other and keeps both valid for the step
            // that this sink was borrowed for.
            self.stopped = unsafe { (self.sink.emit)(self.sink.ctx, message) } == STOP;
        })
    }
}
