//! The plugin's side of a sink.
#![expect(unsafe_code, reason = "calls the host's function pointer")]

use super::{
    codec::{self, Emit, Output},
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

impl Emit for SinkEmitter<'_> {
    fn emit(&mut self, output: Output<'_>) {
        if self.stopped {
            return;
        }
        codec::encode_output(output, |message| {
            // SAFETY: the host made `emit` and `ctx` for each other and keeps both valid for the step
            // that this sink was borrowed for.
            self.stopped = unsafe { (self.sink.emit)(self.sink.ctx, message) } == STOP;
        });
    }
}
