//! A long mixed load, of which every twentieth client goes away in the middle: does memory grow?

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    load::Connection,
    report::{Table, median},
    subject::{Client, Gateway, Tier, mock},
};

/// Clients at once.
const CLIENTS: usize = 32;

/// Every how many requests a client goes away.
const GONE_EVERY: usize = 20;

/// How long the gateway may settle before growth counts, as a share of the whole.
const SETTLED: f64 = 0.2;

/// Asks for `time`, and compares the memory after the beginning with that at the end.
pub(crate) async fn measure(program: &Path, time: Duration, table: &mut Table) -> Result<()> {
    let mock = mock()?;
    let gateway = Gateway::start(program, mock.address, Tier::InProcess)?;
    let requests = [
        gateway.request(Client::Native, "small", false),
        gateway.request(Client::Foreign, "small", false),
        gateway.request(Client::Native, "burst", true),
        gateway.request(Client::Foreign, "burst", true),
        gateway.request(Client::Native, "long", true),
    ];
    let (begun, address) = (Instant::now(), gateway.process.address);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let requests = requests.clone();
        clients.spawn(async move {
            let (mut asked, mut gone) = (client, 0_usize);
            let mut connection = Connection::open(address).await?;
            while begun.elapsed() < time {
                asked += 1;
                if asked.is_multiple_of(GONE_EVERY) {
                    // In the middle of a stream, of one kind after the other.
                    connection.begin(&requests[2 + gone % 3]).await?;
                    connection = Connection::open(address).await?;
                    gone += 1;
                } else {
                    connection.ask(&requests[asked % requests.len()]).await?;
                }
            }
            anyhow::Ok((asked - client, gone))
        });
    }
    let mut seen = Vec::new();
    while begun.elapsed() < time {
        sleep(time / 100).await;
        seen.push(gateway.process.resident() / 1e6);
    }
    let (mut asked, mut gone) = (0, 0);
    while let Some(client) = clients.join_next().await {
        let (own, left) = client??;
        (asked, gone) = (asked + own, gone + left);
    }
    let seen = seen.split_off((seen.len() as f64 * SETTLED) as usize);
    let (early, late) = (seen[..seen.len() / 4].to_vec(), seen[seen.len() * 3 / 4..].to_vec());
    let (early, late) = (median(early), median(late));
    let name = format!("mixed load of {} s", time.as_secs());
    table.note(format!("{name}: requests, of which left"), format!("{asked}, {gone}"));
    table.note(format!("{name}: memory early and late"), format!("{early:.1} and {late:.1} MB"));
    table.below(format!("{name}: growth"), late - early, 2.0, "MB");
    Ok(())
}
