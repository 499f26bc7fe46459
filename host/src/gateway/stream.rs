//! The pieces of a streamed answer.
//!
//! Nothing runs ahead of the client: the next piece is made when the one before is taken, so a slow
//! client slows the reading upstream, and one that goes away drops it. All that one read of the
//! upstream brought goes out as one piece.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream::unfold;
use plugin_api::event::{ChatEvent, Usage};
use tokio::time::{Instant, Sleep, sleep};

use super::{chat::Opened, dialect::Encoder, failure::explain};
use crate::maestro::{ChatStream, Error};

/// Where an answer stands.
pub(super) enum Stage {
    /// Nothing was said yet.
    Opening(Pin<Box<dyn Future<Output = Result<Opened, Error>> + Send>>),
    /// The first events are there.
    Begun(Opened),
    /// They were sent.
    Answering(Box<ChatStream>),
    /// All was sent.
    Over,
}

/// What the stream tells the record of its request.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Told>>);

/// What a stream came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) usage: Usage,
    pub(super) served: Option<String>,
    pub(super) failure: Option<String>,
}

impl Log {
    fn note(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns what was told so far.
    pub(super) fn told(&self) -> Told {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Makes the pieces of an answer. After a silence of `heartbeat` comes a sign of life.
pub(super) fn pieces(
    stage: Stage,
    encoder: Encoder,
    heartbeat: Duration,
    log: Log,
) -> impl Stream<Item = Bytes> + Send {
    let pieces = Pieces {
        stage,
        encoder,
        heartbeat,
        silence: Box::pin(sleep(heartbeat)),
        begun: false,
        size: FIRST_PIECE,
        log,
    };
    unfold(pieces, |mut pieces| async move { Some((pieces.next().await?, pieces)) })
}

struct Pieces {
    stage: Stage,
    encoder: Encoder,
    heartbeat: Duration,
    /// Ends when nothing was sent for so long; one timer for the whole stream.
    silence: Pin<Box<Sleep>>,
    /// Whether anything of the answer was sent.
    begun: bool,
    /// How much room the next piece gets: what the last one took.
    size: usize,
    log: Log,
}

impl Pieces {
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(self.size);
        while out.is_empty() {
            match &mut self.stage {
                Stage::Over => return None,
                Stage::Opening(opening) => tokio::select! {
                    biased;
                    opened = opening => match opened {
                        Ok(opened) => self.stage = Stage::Begun(opened),
                        Err(error) => self.fail(&error, &mut out),
                    },
                    () = &mut self.silence => self.sign_of_life(&mut out),
                },
                Stage::Begun(_) => self.begin(&mut out),
                Stage::Answering(stream) => tokio::select! {
                    biased;
                    event = stream.next() => self.take(event, &mut out),
                    () = &mut self.silence => self.sign_of_life(&mut out),
                },
            }
        }
        self.silence.as_mut().reset(Instant::now() + self.heartbeat);
        self.size = out.len().clamp(FIRST_PIECE, FULL_PIECE);
        Some(out.into())
    }

    /// Writes the events that came while it was not yet clear that there is an answer.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let Stage::Begun(opened) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        self.log.note(|told| told.served = Some(opened.served));
        self.stage = Stage::Answering(opened.stream);
        for event in &opened.first {
            self.write(event, out);
        }
        self.batch(out);
    }

    /// Writes an event, and what came with it.
    fn take(&mut self, event: Option<Result<ChatEvent, Error>>, out: &mut Vec<u8>) {
        match event {
            Some(Ok(event)) => {
                self.write(&event, out);
                self.batch(out);
            }
            Some(Err(error)) => self.fail(&error, out),
            None => self.stage = Stage::Over,
        }
    }

    /// Writes what is there already, up to a full piece.
    fn batch(&mut self, out: &mut Vec<u8>) {
        while out.len() < FULL_PIECE
            && let Stage::Answering(stream) = &mut self.stage
        {
            let Some(event) = stream.next_ready() else { return self.encoder.pause(out) };
            self.write(&event, out);
        }
    }

    fn write(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        if let ChatEvent::Usage(usage) = event {
            self.log.note(|told| told.usage.update(usage));
        }
        let before = out.len();
        self.encoder.event(event, out);
        self.begun |= out.len() > before;
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        let said = explain(error);
        self.encoder.error(&said, out);
        self.log.note(|told| told.failure = Some(said.message));
        self.stage = Stage::Over;
    }

    fn sign_of_life(&mut self, out: &mut Vec<u8>) {
        self.encoder.heartbeat(self.begun, out);
        self.silence.as_mut().reset(Instant::now() + self.heartbeat);
    }
}

/// Room for the first piece, in bytes.
const FIRST_PIECE: usize = 1024;

/// At this many bytes a piece goes out although more is there.
const FULL_PIECE: usize = 32 * 1024;
