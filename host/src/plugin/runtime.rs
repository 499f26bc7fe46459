//! What a plugin runs in, and an exchange in it: in this process or in a worker.
//!
//! Two enums and no trait object, so that a step in process stays one indirect call.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use plugin_api::{
    abi::codec::PackedOpening,
    exchange::{Input, Timestamp},
};

use super::{
    load::Stepped,
    resident::{Resident, ResidentExchange},
    worker::{Broken, Worker, WorkerExchange},
};

/// What a plugin runs in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Runtime {
    /// This process.
    InProcess(Arc<Resident>),
    /// A child process.
    Worker(Arc<Worker>),
}

impl Runtime {
    /// Opens an exchange. It waits for [`Input::Start`].
    #[must_use]
    pub fn open(&self) -> Live {
        match self {
            Self::InProcess(resident) => Live::InProcess(resident.open()),
            Self::Worker(worker) => Live::Worker(worker.open()),
        }
    }
}

/// An exchange in a plugin, wherever that runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Live {
    /// In this process: a step is over when it returns.
    InProcess(ResidentExchange),
    /// In a worker: an input is given, its answer comes later.
    Worker(WorkerExchange),
    /// Nowhere any more.
    Closed,
}

impl Live {
    /// Steps the exchange and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Broken`] when its worker cannot go on with it.
    pub async fn step(
        &mut self,
        now: Timestamp,
        input: &Input<'_>,
        opening: &PackedOpening,
        into: &mut Stepped,
    ) -> Result<(), Broken> {
        match self {
            Self::InProcess(live) => {
                live.step(now, input, opening, into);
                Ok(())
            }
            Self::Worker(live) => {
                live.give(now, input, opening);
                live.answer(into).await
            }
            Self::Closed => Err(Broken::Lost { problem: "it was closed".into() }),
        }
    }

    /// Returns what ends it between two steps, where it runs in this process.
    #[must_use]
    pub fn resident(&self) -> Option<&Arc<Resident>> {
        match self {
            Self::InProcess(live) => Some(live.resident()),
            Self::Worker(_) | Self::Closed => None,
        }
    }

    /// Reports whether the exchange would survive the end of its worker.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        match self {
            Self::Worker(live) => live.is_replayable(),
            Self::InProcess(_) | Self::Closed => false,
        }
    }
}

/// Waits on this thread, for callers that are not asynchronous. What is waited for here is woken by the
/// worker's own thread, so it comes even when this one is a runtime's.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut cx, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
