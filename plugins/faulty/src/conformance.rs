//! Faults that only a careful look finds: an answer is wrong for some inputs, and right for the others.

use std::{
    hash::{BuildHasher as _, RandomState},
    hint::black_box,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use plugin_api::{exchange::LogLevel, prelude::*};
use serde_json::json;

use crate::{Fault, Toy};

/// The faults of this file.
pub(crate) const CHOSEN: &[Fault] = &[
    Fault::DropsTools,
    Fault::RandomText,
    Fault::CountsOthers,
    Fault::CountsPieces,
    Fault::CountsPiecesBeyondAscii,
    Fault::CountsBrokenPieces,
    Fault::TakesHugeLine,
    Fault::TakesGarbage,
    Fault::TakesNothing,
    Fault::TakesTruncated,
    Fault::WrongKind,
    Fault::StatusLost,
    Fault::Unexplained,
    Fault::RetryAfterLost,
    Fault::BlamesClient,
    Fault::IgnoresCancel,
    Fault::CountsTicks,
    Fault::EchoesCookie,
    Fault::LogsPrompt,
    Fault::Aborts,
    Fault::ReadsFile,
    Fault::Spins,
    Fault::Leaks,
];

/// How many exchanges are open: state outside of them, which is the fault.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// What is never given back.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Opens a chat over the toy protocol that goes wrong.
pub(crate) fn open(instance: &Instance, request: &ChatRequest, fault: Fault) -> Opened {
    if fault == Fault::DropsTools && !request.tools.is_empty() {
        return Err(ProviderError::not_supported("tools"));
    }
    OPEN.fetch_add(1, Ordering::Relaxed);
    let said = request.last_user_text();
    let body = json!({ "model": request.model, "said": said });
    let http = HttpRequest::post_json(instance.url("/chat"), &body);
    let stream = kit::SseStream::new(http, Toy::default());
    Ok(Box::new(Odd { stream, fault, said, seen: Vec::new(), pieces: 0, status: None }))
}

struct Odd {
    stream: kit::SseStream<Toy>,
    fault: Fault,
    said: String,
    /// The body so far.
    seen: Vec<u8>,
    pieces: usize,
    status: Option<u16>,
}

impl Drop for Odd {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exchange for Odd {
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        let ended = match &input {
            Input::Start { .. } => {
                self.start(out);
                false
            }
            Input::ResponseHead { status, headers, .. } => {
                self.status = Some(*status);
                if let (Fault::EchoesCookie, Some(cookie)) =
                    (self.fault, headers.first("set-cookie"))
                {
                    out.warning(cookie);
                }
                self.fails(*status, out)
            }
            Input::Body { request: 0, bytes } => {
                self.seen.extend_from_slice(bytes);
                self.pieces += 1;
                if self.seen.ends_with(b"[DONE]\n\n") {
                    self.count(out);
                }
                // What reads on would fail, as it should.
                self.fault == Fault::TakesHugeLine && self.seen.len() > 1 << 20
            }
            Input::End { request: 0 } => {
                self.count(out);
                self.status == Some(200) && self.takes(out)
            }
            Input::TransportFailed { .. } => self.breaks(out),
            Input::Tick => {
                if self.fault == Fault::CountsTicks {
                    out.warning("tick");
                }
                false
            }
            Input::Cancel => self.fault == Fault::IgnoresCancel,
            _ => false,
        };
        if !ended {
            self.stream.step(now, input, out);
        }
    }
}

impl Odd {
    #[expect(clippy::disallowed_methods, reason = "does what no plugin may, to be seen")]
    fn start(&self, out: &mut Outbox<'_>) {
        match self.fault {
            Fault::RandomText => out.text(0, &RandomState::new().hash_one(0).to_string()),
            Fault::CountsOthers if OPEN.load(Ordering::Relaxed) > 1 => out.warning("not alone"),
            Fault::LogsPrompt => out.log(LogLevel::Debug, &self.said),
            Fault::Aborts => std::process::abort(),
            Fault::ReadsFile => drop(std::fs::read("/etc/hostname")),
            Fault::Spins => loop {
                black_box(0);
            },
            Fault::Leaks => {
                let mut kept = KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                kept.push(vec![1; 1 << 20]);
            }
            _ => {}
        }
    }

    fn fails(&self, status: u16, out: &mut Outbox<'_>) -> bool {
        let (kind, message) = match (self.fault, status) {
            (Fault::WrongKind, 401) => (ErrorKind::Overloaded, "busy"),
            (Fault::StatusLost | Fault::Unexplained, 503) => (ErrorKind::Overloaded, "busy"),
            (Fault::RetryAfterLost, 429) => (ErrorKind::RateLimited, "too fast"),
            _ => return false,
        };
        let message = if self.fault == Fault::Unexplained { "" } else { message };
        let error = ProviderError::new(kind, message);
        out.fail(&if self.fault == Fault::StatusLost { error } else { error.status(status) });
        true
    }

    fn count(&self, out: &mut Outbox<'_>) {
        let readable = std::str::from_utf8(&self.seen).is_ok();
        let counts = match self.fault {
            Fault::CountsPieces => self.seen.is_ascii(),
            Fault::CountsPiecesBeyondAscii => readable && !self.seen.is_ascii(),
            Fault::CountsBrokenPieces => !readable,
            _ => false,
        };
        if counts {
            out.warning(format!("{} pieces", self.pieces));
        }
    }

    fn takes(&self, out: &mut Outbox<'_>) -> bool {
        let takes = match self.fault {
            Fault::TakesHugeLine => self.seen.len() > 1 << 20,
            Fault::TakesGarbage => !self.seen.is_empty() && !self.seen.starts_with(b"data"),
            Fault::TakesNothing => self.seen.is_empty(),
            _ => false,
        };
        if takes {
            out.finish(FinishReason::Stop);
            out.done();
        }
        takes
    }

    fn breaks(&self, out: &mut Outbox<'_>) -> bool {
        if self.fault == Fault::TakesTruncated && self.status == Some(200) {
            out.finish(FinishReason::Stop);
            out.done();
            return true;
        }
        let blames = self.fault == Fault::BlamesClient;
        if blames {
            out.fail(&ProviderError::new(ErrorKind::InvalidRequest, "your request is wrong"));
        }
        blames
    }
}
