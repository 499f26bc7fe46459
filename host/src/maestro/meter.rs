//! What clients' keys use: counted, limited and written down.
//!
//! A request is weighed before it is sent. Of a budget it reserves what it may cost, by its length and by
//! the longest answer that it allows; at its end it pays what it did cost. So requests at once go beyond a
//! budget by no more than the estimates are wrong. A request that is alone is let in as long as anything
//! is left: estimates are high, and a small budget would else be good for nothing. Spending is in the
//! store, so that all processes see one budget; what is reserved, tokens of a minute and requests at once
//! are counted in each process.

use std::{
    collections::HashMap,
    iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use plugin_api::event::Usage;

use super::{
    Client, Error, Maestro, now_s,
    prices::{Price, price},
};
use crate::session::{ClientUse, SessionError, Sessions};

/// How long what was used is gathered before it is written: one write for many requests, and at most so
/// much is lost when the process is killed.
const GATHER: Duration = Duration::from_millis(25);

/// Bytes of a request that make a token, roughly, in any language and with the marks of JSON.
const BYTES_PER_TOKEN: usize = 4;

/// How long an answer is taken to be whose request sets no bound, in tokens.
const USUAL_ANSWER: u64 = 4_096;

/// Seconds of a day.
const DAY_S: i64 = 86_400;

/// Why a key may not ask now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// As many requests as it may have are under way.
    #[error("allows {limit} requests at once")]
    Concurrent {
        /// How many.
        limit: u32,
    },
    /// It used up the tokens of this minute.
    #[error("allows {limit} tokens a minute")]
    Tokens {
        /// How many.
        limit: u32,
        /// Until there are some again.
        wait_ms: u64,
    },
    /// What is left of its budget is reserved for requests that are under way.
    #[error("has reserved the rest of its budget for requests that are under way")]
    Reserved,
    /// It spent what it may spend in a day.
    #[error("has spent its budget of the day")]
    Budget {
        /// Until the next day begins, in UTC.
        wait_ms: u64,
    },
}

/// What all keys used in this process.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    counts: Arc<Mutex<HashMap<String, Count>>>,
    writer: Mutex<Option<Writer>>,
}

/// What one key uses.
#[derive(Debug, Default)]
struct Count {
    running: u32,
    /// Tokens that may still be used, and when that was so; negative after a long answer.
    tokens: Option<(f64, Instant)>,
    /// Spent, and not written yet.
    unwritten_micros: i64,
    /// What requests that are under way may cost.
    reserved_micros: i64,
}

#[derive(Debug)]
struct Writer {
    sender: Sender<ClientUse>,
    thread: JoinHandle<()>,
}

/// One request of a key that is under way; dropped, it makes room for another.
#[derive(Debug)]
pub struct Meter {
    client: Arc<Client>,
    maestro: Maestro,
    /// What it may cost; `None` for what costs nothing.
    estimate: Option<Estimate>,
    reserved_micros: i64,
}

/// How many tokens a request may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Estimate {
    /// Of the prompt.
    pub input_tokens: u64,
    /// Of the answer.
    pub output_tokens: u64,
}

impl Estimate {
    /// Estimates a request of so many bytes, and its answer by the longest that it allows. Pictures
    /// count as if they were text, which is too much.
    #[must_use]
    pub fn of(request_bytes: usize, output_tokens: Option<u64>) -> Self {
        let input_tokens = request_bytes.div_ceil(BYTES_PER_TOKEN) as u64;
        Self { input_tokens, output_tokens: output_tokens.unwrap_or(USUAL_ANSWER) }
    }

    /// Returns what it costs where all is used.
    fn micros(self, price: Option<Price>) -> i64 {
        price.map_or(0, |it| it.of(&Usage::new(self.input_tokens, self.output_tokens)))
    }
}

impl Maestro {
    /// Weighs whether a client may ask now, and counts its request while the meter lives.
    ///
    /// # Errors
    ///
    /// What the store says; inside, the limit that is reached.
    pub async fn meter(&self, client: &Arc<Client>) -> Result<Result<Meter, Limit>, Error> {
        let (key, now) = (&client.key, Instant::now());
        let spent = self.spent(client).await?;
        let mut counts = lock(&self.inner.ledger.counts);
        let count = match counts.get_mut(&key.id) {
            Some(count) => count,
            None => counts.entry(key.id.clone()).or_default(),
        };
        if let Some(limit) = key.concurrent.filter(|limit| count.running >= *limit) {
            return Ok(Err(Limit::Concurrent { limit }));
        }
        if let Some(limit) = key.tokens_per_minute {
            let left = count.tokens_left(limit, now);
            if left <= 0.0 {
                let wait_ms = ((1.0 - left) * 60_000.0 / f64::from(limit.max(1))).ceil() as u64;
                return Ok(Err(Limit::Tokens { limit, wait_ms }));
            }
        }
        if key.micros_per_day.is_some_and(|budget| spent + count.unwritten_micros >= budget) {
            return Ok(Err(Limit::spent()));
        }
        count.running += 1;
        drop(counts);
        let (client, maestro) = (Arc::clone(client), self.clone());
        Ok(Ok(Meter { client, maestro, estimate: None, reserved_micros: 0 }))
    }

    /// Returns what a key with a budget spent today, as far as it is written.
    async fn spent(&self, client: &Client) -> Result<i64, Error> {
        if client.key.micros_per_day.is_none() {
            return Ok(0);
        }
        let Some(sessions) = self.existing_sessions().await? else { return Ok(0) };
        let day = now_s().div_euclid(DAY_S);
        Ok(sessions.store().client_spent(&client.key.id, day).map_err(SessionError::from)?)
    }

    /// Lists what clients' keys used since so many days ago, today included.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn client_usage(&self, days: u32) -> Result<Vec<ClientUse>, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(Vec::new()) };
        let since = now_s().div_euclid(DAY_S) - i64::from(days.saturating_sub(1));
        Ok(sessions.blocking(move |s| Ok(s.store().client_usage(since)?)).await?)
    }
}

impl Limit {
    /// Makes the limit of a budget that is spent.
    fn spent() -> Self {
        let left_s = DAY_S - now_s().rem_euclid(DAY_S);
        Self::Budget { wait_ms: left_s.cast_unsigned() * 1_000 }
    }
}

impl Count {
    /// Reserves what a request may cost, if that is left of a budget of which `spent` is written.
    fn reserve(&mut self, budget: i64, spent: i64, micros: i64) -> Result<(), Limit> {
        let spent = spent.saturating_add(self.unwritten_micros);
        if spent >= budget {
            return Err(Limit::spent());
        }
        let all = spent.saturating_add(self.reserved_micros).saturating_add(micros);
        if all > budget && self.reserved_micros > 0 {
            return Err(Limit::Reserved);
        }
        self.reserved_micros = self.reserved_micros.saturating_add(micros);
        Ok(())
    }

    /// Returns what is left of a bucket that fills evenly and holds a minute's worth.
    fn tokens_left(&mut self, limit: u32, now: Instant) -> f64 {
        let full = f64::from(limit);
        let (left, since) = self.tokens.unwrap_or((full, now));
        let passed_s = now.saturating_duration_since(since).as_secs_f64();
        let left = (left + passed_s * full / 60.0).min(full);
        self.tokens = Some((left, now));
        left
    }
}

impl Meter {
    /// Reserves what a request for a model may cost, until the meter is dropped.
    ///
    /// # Errors
    ///
    /// What the store says; inside, the limit that is reached.
    pub async fn reserve(
        &mut self,
        provider: &str,
        model: &str,
        estimate: Estimate,
    ) -> Result<Result<(), Limit>, Error> {
        self.estimate = Some(estimate);
        let Some(budget) = self.client.key.micros_per_day else { return Ok(Ok(())) };
        let micros = estimate.micros(price(&self.maestro.config().prices, provider, model));
        let spent = self.maestro.spent(&self.client).await?;
        let mut counts = lock(&self.maestro.inner.ledger.counts);
        let count = counts.entry(self.client.key.id.clone()).or_default();
        let reserved = count.reserve(budget, spent, micros);
        if reserved.is_ok() {
            self.reserved_micros += micros;
        }
        Ok(reserved)
    }

    /// Counts what a request used, once it is over. `served` is `provider[:session]/model`. What the vendor
    /// does not tell, or had not told when its client left, costs what is estimated: the prompt by its
    /// length, the answer by `seen`, the tokens that may have been seen of it.
    pub fn used(&self, served: &str, usage: &Usage, seen: Option<u64>) {
        let Some((provider, model)) = served.split_once('/') else { return };
        let provider = provider.split(':').next().unwrap_or_default();
        let inner = &self.maestro.inner;
        let mut paid = usage.clone();
        for count in [
            &mut paid.input_tokens,
            &mut paid.output_tokens,
            &mut paid.cached_input_tokens,
            &mut paid.cache_write_tokens,
        ] {
            *count = count.map(|tokens| tokens.min(MOST_TOKENS));
        }
        if paid.input_tokens.is_none() {
            paid.input_tokens = self.estimate.map(|estimate| estimate.input_tokens);
        }
        let estimate = self.estimate.unwrap_or_default();
        if estimate.output_tokens > 0 {
            let seen = seen.unwrap_or(estimate.output_tokens);
            paid.output_tokens = Some(paid.output_tokens.unwrap_or_default().max(seen));
        }
        let cost = price(&self.maestro.config().prices, provider, model).map(|it| it.of(&paid));
        let used = ClientUse {
            client_key: self.client.key.id.clone(),
            day: now_s().div_euclid(DAY_S),
            provider: provider.to_owned(),
            model: model.to_owned(),
            requests: 1,
            input_tokens: count_of(usage.input_tokens),
            output_tokens: count_of(usage.output_tokens),
            cost_micros: cost.unwrap_or_default(),
            unpriced: i64::from(cost.is_none()),
        };
        if let Some(count) = lock(&inner.ledger.counts).get_mut(&self.client.key.id) {
            count.unwritten_micros = count.unwritten_micros.saturating_add(used.cost_micros);
            if let Some(limit) = self.client.key.tokens_per_minute {
                let left = count.tokens_left(limit, Instant::now());
                let tokens = (count_of(paid.input_tokens) + count_of(paid.output_tokens)) as f64;
                count.tokens = Some((left - tokens, Instant::now()));
            }
        }
        // The client was recognized by the store, so it is open.
        if let Some(sessions) = inner.sessions.get() {
            inner.ledger.write(used, sessions);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.maestro.inner.ledger.counts).get_mut(&self.client.key.id) {
            count.running = count.running.saturating_sub(1);
            count.reserved_micros -= self.reserved_micros;
        }
    }
}

impl Ledger {
    /// Has a use written, by a thread that is there for nothing else.
    fn write(&self, used: ClientUse, sessions: &Arc<Sessions>) {
        let mut writer = lock(&self.writer);
        if writer.is_none() {
            let (sender, uses) = channel();
            let (sessions, counts) = (Arc::clone(sessions), Arc::clone(&self.counts));
            let thread = thread::Builder::new().name("client usage".into());
            match thread.spawn(move || write_down(&uses, &sessions, &counts)) {
                Ok(thread) => *writer = Some(Writer { sender, thread }),
                Err(error) => tracing::error!(%error, "the use of client keys is not recorded"),
            }
        }
        if let Some(writer) = &*writer {
            let _ = writer.sender.send(used);
        }
    }
}

impl Drop for Ledger {
    /// Waits until all is written.
    fn drop(&mut self) {
        if let Some(Writer { sender, thread }) = lock(&self.writer).take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

fn write_down(
    uses: &Receiver<ClientUse>,
    sessions: &Sessions,
    counts: &Mutex<HashMap<String, Count>>,
) {
    while let Ok(first) = uses.recv() {
        // Not one by one: each request would have to wake this thread.
        thread::sleep(GATHER);
        let batch = sums(iter::once(first).chain(uses.try_iter()));
        if let Err(error) = sessions.store().record_client_uses(&batch) {
            // Left among what is not written, so that this process still counts it.
            tracing::error!(%error, lost = batch.len(), "the use of client keys was not recorded");
            continue;
        }
        let mut counts = lock(counts);
        for used in batch {
            if let Some(count) = counts.get_mut(&used.client_key) {
                count.unwritten_micros = count.unwritten_micros.saturating_sub(used.cost_micros);
            }
        }
    }
}

/// Most tokens that are believed of one request: sums of more would not fit where they are kept.
const MOST_TOKENS: u64 = 1_000_000_000;

fn count_of(tokens: Option<u64>) -> i64 {
    tokens.unwrap_or_default().min(MOST_TOKENS).cast_signed()
}

/// Adds up what belongs into one row: many requests of a key go to few models.
fn sums(uses: impl Iterator<Item = ClientUse>) -> Vec<ClientUse> {
    let mut rows: Vec<ClientUse> = Vec::new();
    for used in uses {
        let same = |row: &&mut ClientUse| {
            let own = (&row.client_key, row.day, &row.provider, &row.model);
            own == (&used.client_key, used.day, &used.provider, &used.model)
        };
        match rows.iter_mut().find(same) {
            None => rows.push(used),
            Some(row) => {
                row.requests += used.requests;
                row.input_tokens += used.input_tokens;
                row.output_tokens += used.output_tokens;
                row.cost_micros += used.cost_micros;
                row.unpriced += used.unpriced;
            }
        }
    }
    rows
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_into_one_row_is_added_up() {
        let used = |model: &str, cost_micros| ClientUse {
            client_key: "k".into(),
            day: 1,
            provider: "p".into(),
            model: model.into(),
            requests: 1,
            input_tokens: 2,
            output_tokens: 3,
            cost_micros,
            unpriced: 0,
        };
        let rows = sums([used("a", 5), used("b", 7), used("a", 11)].into_iter());
        let sum = ClientUse { requests: 2, input_tokens: 4, output_tokens: 6, ..used("a", 16) };
        assert_eq!(rows, [sum, used("b", 7)]);
    }

    #[test]
    fn requests_at_once_reserve_and_one_alone_is_let_in() {
        let mut count = Count::default();
        assert_eq!(count.reserve(100, 40, 500), Ok(()), "alone, and something is left");
        assert_eq!(count.reserve(100, 40, 1), Err(Limit::Reserved));
        count.reserved_micros = 0;
        for _ in 0..3 {
            assert_eq!(count.reserve(100, 40, 20), Ok(()));
        }
        assert_eq!(count.reserve(100, 40, 1), Err(Limit::Reserved));
        // One of them ends, and cost less.
        (count.reserved_micros, count.unwritten_micros) = (40, 5);
        assert_eq!(count.reserve(100, 40, 15), Ok(()));
        count.unwritten_micros = 60;
        assert!(matches!(count.reserve(100, 40, 1), Err(Limit::Budget { .. })));
    }

    #[test]
    fn an_answer_that_took_too_many_tokens_is_paid_off() {
        let (mut count, start) = (Count::default(), Instant::now());
        assert!((count.tokens_left(60, start) - 60.0).abs() < 1e-6);
        count.tokens = Some((-30.0, start));
        assert!(count.tokens_left(60, start + Duration::from_secs(29)) < 0.0);
        assert!(count.tokens_left(60, start + Duration::from_secs(31)) > 0.0);
    }
}
