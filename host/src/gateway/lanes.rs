//! The threads that serve connections: one a processor, each with a runtime of its own.
//!
//! A request stays on the thread that its connection was given to, with its timers and its upstream
//! connection. Threads that share all work hand a small answer back and forth several times, and to
//! wake another processor, or to wait for memory that it is freeing, costs more than the answer.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

/// Threads for connections. Dropped, they end, and what they still serve is cut.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// Tells the threads to end; each listens as long as it lives.
    end: watch::Sender<bool>,
}

#[derive(Debug)]
struct Lane {
    runtime: Handle,
    /// Connections that it serves.
    open: Arc<AtomicUsize>,
}

impl Lanes {
    /// Starts the threads.
    pub(super) fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let (end, _) = watch::channel(false);
        let mut lanes = Vec::with_capacity(count);
        for number in 1..=count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let mut ends = end.subscribe();
            thread::Builder::new().name(format!("gateway {number}")).spawn(move || {
                // The sender may be gone before it said anything; that is the end too.
                let _ = runtime.block_on(ends.wait_for(|end| *end));
                // Work that blocks, on the store as a rule, is not cut.
                runtime.shutdown_timeout(PATIENCE);
                drop(ends);
            })?;
            lanes.push(Lane { runtime: handle, open: Arc::default() });
        }
        Ok(Self { lanes, end })
    }

    /// Serves a connection on the thread that serves fewest.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let open = |lane: &&Lane| lane.open.load(Ordering::Relaxed);
        let Some(lane) = self.lanes.iter().min_by_key(open) else { return };
        lane.open.fetch_add(1, Ordering::Relaxed);
        let served = Served(Arc::clone(&lane.open));
        lane.runtime.spawn(async move {
            connection.await;
            drop(served);
        });
    }

    /// Counts the connections of threads that do nothing any more.
    pub(super) async fn held_up(&self) -> usize {
        let asked: Vec<_> =
            self.lanes.iter().map(|lane| (lane, lane.runtime.spawn(async {}))).collect();
        let deadline = Instant::now() + PATIENCE;
        let mut held_up = 0;
        for (lane, answer) in asked {
            if timeout_at(deadline, answer).await.is_err() {
                held_up += lane.open.load(Ordering::Relaxed);
            }
        }
        held_up
    }

    /// Ends the threads, and waits for them.
    pub(super) async fn end(&self) {
        let _ = self.end.send(true);
        let _ = timeout(2 * PATIENCE, self.end.closed()).await;
    }
}

/// A connection that is counted while it is served.
struct Served(Arc<AtomicUsize>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Most threads, however many processors there are: each has upstream connections and trusted certificates
/// of its own, and carries more than any vendor answers.
const MOST: usize = 16;

/// Longest that work which blocks is waited for at the end.
const PATIENCE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn connections_are_shared_out_and_cut_at_the_end() {
        let lanes = Lanes::start().unwrap();
        let mut cut = Vec::new();
        for _ in 0..2 * lanes.lanes.len() {
            let (alive, dropped) = oneshot::channel::<()>();
            lanes.spawn(async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            });
            cut.push(dropped);
        }
        for lane in &lanes.lanes {
            assert_eq!(lane.open.load(Ordering::Relaxed), 2);
        }
        lanes.end().await;
        for dropped in cut {
            assert!(dropped.await.is_err());
        }
    }
}
