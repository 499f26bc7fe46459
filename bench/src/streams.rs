//! Many streams that say little: what each costs of memory, and how late what it says arrives.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    child::Listening,
    load::Connection,
    mock::{PACE, SENT, find, now_us},
    report::{Table, quantile},
    subject::{Client, Gateway, Tier, mock, plain, proxy},
};

/// Streams for the figure of one stream's memory.
const SOME: usize = 1_000;

/// For how long lateness is watched.
const WATCH: Duration = Duration::from_secs(10);

/// How many connect at once.
const AT_ONCE: usize = 100;

/// Measures the memory of a gateway that has nothing to do, and of one open stream.
pub(crate) async fn memory(program: &Path, table: &mut Table) -> Result<()> {
    let mock = mock()?;
    for (name, tier, client) in [
        ("native", Tier::InProcess, Client::Native),
        ("translated", Tier::InProcess, Client::Foreign),
        ("native, worker", Tier::Worker, Client::Native),
    ] {
        let gateway = Gateway::start(program, mock.address, tier)?;
        let idle = gateway.process.resident();
        // Libraries, pools and caches are there after the first few; they are no stream's own.
        drop(open(gateway.process.address, &gateway.request(client, "slow", true), 10).await?);
        let before = gateway.process.resident();
        let request = gateway.request(client, "slow", true);
        let streams = open(gateway.process.address, &request, SOME).await?;
        let each = (gateway.process.resident() - before) / SOME as f64 / 1e3;
        table.below(format!("gateway, {name}: idle"), idle / 1e6, 25.0, "MB");
        table.below(format!("gateway, {name}: an open stream"), each, 40.0, "kB");
        drop(streams);
    }
    Ok(())
}

/// Measures how late events arrive over more and more streams, up to `most`.
pub(crate) async fn lateness(program: &Path, most: usize, table: &mut Table) -> Result<()> {
    let mock = mock()?;
    let mut counts: Vec<usize> = [1_000, 2_500, 5_000].into_iter().filter(|n| *n < most).collect();
    counts.push(most);
    for count in counts {
        let proxy = proxy(mock.address)?;
        let found = watch(&proxy, &plain("slow", true), count).await?;
        table.note(format!("{count} slow streams, bare proxy"), found.to_string());
        drop(proxy);
        let gateway = Gateway::start(program, mock.address, Tier::InProcess)?;
        let request = gateway.request(Client::Native, "slow", true);
        let found = watch(&gateway.process, &request, count).await?;
        table.note(format!("{count} slow streams, gateway, native"), found.to_string());
        if count == most {
            table.below(
                format!("{count} slow streams: memory"),
                found.resident / 1e6,
                1000.0,
                "MB",
            );
            table.below(format!("{count} slow streams: p99 late"), found.p99_ms, 100.0, "ms");
        }
    }
    Ok(())
}

/// What was seen of many streams.
struct Watched {
    p50_ms: f64,
    p99_ms: f64,
    /// Events that came, by those that were due.
    share: f64,
    resident: f64,
    cpu_us: f64,
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "late p50 {:.1}, p99 {:.1} ms; {:.0} % of the events; {:.0} MB; {:.1} µs CPU an event",
            self.p50_ms,
            self.p99_ms,
            self.share * 100.0,
            self.resident / 1e6,
            self.cpu_us
        )
    }
}

async fn watch(process: &Listening, request: &[u8], count: usize) -> Result<Watched> {
    let streams = open(process.address, request, count).await?;
    let late = Arc::new(Mutex::new(Vec::new()));
    let over = Arc::new(AtomicBool::new(false));
    let mut reading = JoinSet::new();
    for mut stream in streams {
        let (late, over) = (Arc::clone(&late), Arc::clone(&over));
        reading.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let came = stream.next().await?;
                let now = now_us();
                let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
                late.extend(sent(came).map(|sent| now.saturating_sub(sent) as f64 / 1e3));
            }
            anyhow::Ok(())
        });
    }
    // What piled up while they were opened is nobody's lateness.
    sleep(Duration::from_secs(2)).await;
    late.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let (begun, cpu_s) = (Instant::now(), process.cpu_s());
    sleep(WATCH).await;
    let mut late = std::mem::take(&mut *late.lock().unwrap_or_else(PoisonError::into_inner));
    let (seconds, cpu_s) = (begun.elapsed().as_secs_f64(), process.cpu_s() - cpu_s);
    let resident = process.resident();
    over.store(true, Ordering::Relaxed);
    while let Some(read) = reading.join_next().await {
        read??;
    }
    let came = late.len() as f64;
    ensure!(came > 0.0, "nothing came over {count} streams");
    Ok(Watched {
        p50_ms: quantile(&mut late, 0.5),
        p99_ms: quantile(&mut late, 0.99),
        share: came * PACE.as_secs_f64() / seconds / count as f64,
        resident,
        cpu_us: cpu_s * 1e6 / came,
    })
}

/// Opens streams and waits until each has said something.
async fn open(address: SocketAddr, request: &[u8], count: usize) -> Result<Vec<Connection>> {
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        let mut opening = JoinSet::new();
        for _ in 0..AT_ONCE.min(count - open.len()) {
            let request = request.to_vec();
            opening.spawn(async move {
                let mut connection = Connection::open(address).await?;
                connection.begin(&request).await?;
                while find(connection.seen(), SENT.as_bytes()).is_none() {
                    connection.next().await?;
                }
                anyhow::Ok(connection)
            });
        }
        while let Some(opened) = opening.join_next().await {
            open.push(opened??);
        }
    }
    Ok(open)
}

/// Reads when the events in some bytes were written. One that is cut in two does not count.
fn sent(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let at = find(rest, SENT.as_bytes())?;
        rest = &rest[at + SENT.len()..];
        let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
    })
}
