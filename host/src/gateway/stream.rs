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
use plugin_api::{
    error::ProviderError,
    event::{ChatEvent, Usage},
};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    dialect::{Encoder, Head, Manner},
    failure::{Refusal, explain},
    left_out::Untold,
    opening::{Opened, Way},
    relay::Frames,
};
use crate::{
    exchange::Delivery,
    maestro::{ChatStream, Error},
};

/// Where an answer stands.
pub(super) enum Stage {
    /// Nothing was said yet.
    Opening(Pin<Box<dyn Future<Output = Result<Opened, Refusal>> + Send>>),
    /// The first events are there.
    Begun(Opened),
    /// They were sent.
    Answering(Box<ChatStream>),
    /// The answer is passed on as it comes.
    Passing(Box<ChatStream>, Frames),
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

/// Makes the pieces of an answer. After a silence of `heartbeat` comes a sign of life. `told` is what
/// the head says of what was left out: the rest follows in comments.
pub(super) fn pieces(
    stage: Stage,
    manner: Manner,
    head: Head,
    heartbeat: Duration,
    log: Log,
    told: Vec<String>,
) -> impl Stream<Item = Bytes> + Send {
    let pieces = Pieces {
        stage,
        encoder: manner.encoder(&head),
        manner,
        head,
        heartbeat,
        silence: Box::pin(sleep(heartbeat)),
        begun: false,
        size: FIRST_PIECE,
        log,
        told,
        untold: Untold::default(),
    };
    unfold(pieces, |mut pieces| async move { Some((pieces.next().await?, pieces)) })
}

struct Pieces {
    stage: Stage,
    manner: Manner,
    head: Head,
    encoder: Encoder,
    heartbeat: Duration,
    /// Ends when nothing was sent for so long; one timer for the whole stream.
    silence: Pin<Box<Sleep>>,
    /// Whether anything of the answer was sent.
    begun: bool,
    /// How much room the next piece gets: what the last one took.
    size: usize,
    log: Log,
    /// What the head says of what was left out.
    told: Vec<String>,
    untold: Untold,
}

impl Pieces {
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::with_capacity(self.size);
        let piece = loop {
            if !out.is_empty() {
                self.size = out.len().clamp(FIRST_PIECE, FULL_PIECE);
                break out.into();
            }
            match &mut self.stage {
                Stage::Over => return None,
                Stage::Opening(opening) => tokio::select! {
                    biased;
                    opened = opening => match opened {
                        Ok(opened) => self.stage = Stage::Begun(opened),
                        Err(refusal) => self.fail(*refusal.error, &mut out),
                    },
                    () = &mut self.silence => self.sign_of_life(&mut out),
                },
                Stage::Begun(_) => match self.begin(&mut out) {
                    Some(piece) if out.is_empty() => break piece,
                    Some(piece) => out.extend_from_slice(&piece),
                    None => {}
                },
                Stage::Answering(stream) => tokio::select! {
                    biased;
                    event = stream.next() => self.take(event, &mut out),
                    () = &mut self.silence => self.sign_of_life(&mut out),
                },
                Stage::Passing(stream, _) => tokio::select! {
                    biased;
                    delivery = stream.next_delivery() => {
                        if let Some(piece) = self.pass(delivery, &mut out) {
                            break piece;
                        }
                    }
                    () = &mut self.silence => self.sign_of_life(&mut out),
                },
            }
        };
        self.silence.as_mut().reset(Instant::now() + self.heartbeat);
        Some(piece)
    }

    /// Writes what came while it was not yet clear that there is an answer.
    fn begin(&mut self, out: &mut Vec<u8>) -> Option<Bytes> {
        let Stage::Begun(opened) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return None;
        };
        for dropped in opened.dropped() {
            if !self.told.contains(&dropped) {
                self.encoder.dropped(&dropped, out);
            }
        }
        self.log.note(|told| told.served = Some(opened.served));
        match opened.way {
            Way::Translated { manner, .. } => {
                self.encoder = manner.encoder(&self.head);
                self.manner = manner;
                self.stage = Stage::Answering(opened.stream);
                // Of what was left out is told already.
                let says = |event: &&ChatEvent| !matches!(event, ChatEvent::Warning { .. });
                for event in opened.first.iter().filter(says) {
                    self.write(event, out);
                }
                self.batch(out);
                None
            }
            Way::Passed { piece, hides_usage, .. } => {
                let frames = Frames::new(self.manner.is_array(), hides_usage);
                self.stage = Stage::Passing(opened.stream, frames);
                for event in &opened.first {
                    self.read(event);
                }
                self.frame(piece)
            }
        }
    }

    /// Passes a delivery on; of an event only its facts are noted.
    fn pass(
        &mut self,
        delivery: Option<Result<Delivery, Error>>,
        out: &mut Vec<u8>,
    ) -> Option<Bytes> {
        match delivery {
            Some(Ok(Delivery::Bytes(piece))) => return self.frame(piece),
            Some(Ok(Delivery::Event(event))) => self.read(&event),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                if let Stage::Passing(_, frames) = &mut self.stage {
                    frames.give_up(out);
                }
                let encoder = self.manner.encoder(&self.head);
                self.encoder = if self.begun { encoder.resumed() } else { encoder };
                self.fail(explain(&error), out);
            }
            None => {
                let stage = std::mem::replace(&mut self.stage, Stage::Over);
                let Stage::Passing(stream, mut frames) = stage else { return None };
                if let Some(error) = stream.passed_on() {
                    self.log.note(|told| told.failure = Some(explain(error).message));
                }
                return frames.end();
            }
        }
        None
    }

    fn frame(&mut self, piece: Bytes) -> Option<Bytes> {
        let Stage::Passing(_, frames) = &mut self.stage else { return None };
        let piece = frames.take(piece);
        self.begun |= piece.is_some();
        piece
    }

    /// Notes what an event tells of an answer that is passed on.
    fn read(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Usage(usage) => self.log.note(|told| told.usage.update(usage)),
            // Should it break off, its own name is told.
            ChatEvent::Started { id: Some(id), .. } => self.head.id.clone_from(id),
            _ => {}
        }
    }

    /// Writes an event, and what came with it.
    fn take(&mut self, event: Option<Result<ChatEvent, Error>>, out: &mut Vec<u8>) {
        match event {
            Some(Ok(event)) => {
                self.write(&event, out);
                self.batch(out);
            }
            Some(Err(error)) => self.fail(explain(&error), out),
            None => self.stage = Stage::Over,
        }
    }

    /// Writes what is there already, up to a full piece.
    fn batch(&mut self, out: &mut Vec<u8>) {
        while out.len() < FULL_PIECE
            && let Stage::Answering(stream) = &mut self.stage
        {
            let Some(event) = stream.next_ready() else { return };
            self.write(&event, out);
        }
    }

    fn write(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Usage(usage) => self.log.note(|told| told.usage.update(usage)),
            ChatEvent::Warning { message } => return self.encoder.dropped(message, out),
            event => {
                if let Some(what) = self.untold.of(&self.manner, event) {
                    self.encoder.dropped(&what, out);
                }
            }
        }
        let before = out.len();
        self.encoder.event(event, out);
        self.begun |= out.len() > before;
    }

    fn fail(&mut self, said: ProviderError, out: &mut Vec<u8>) {
        self.encoder.error(&said, out);
        self.log.note(|told| told.failure = Some(said.message));
        self.stage = Stage::Over;
    }

    fn sign_of_life(&mut self, out: &mut Vec<u8>) {
        if !matches!(&self.stage, Stage::Passing(_, frames) if !frames.is_between()) {
            self.encoder.heartbeat(self.begun, out);
        }
        self.silence.as_mut().reset(Instant::now() + self.heartbeat);
    }
}

/// Room for the first piece, in bytes.
const FIRST_PIECE: usize = 1024;

/// At this many bytes a piece goes out although more is there.
const FULL_PIECE: usize = 32 * 1024;
