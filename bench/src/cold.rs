//! From nothing to the first healthy answer.

use std::{fs, path::Path, time::Instant};

use anyhow::Result;

use crate::{
    child::Listening,
    load::Connection,
    report::{Table, median, quantile},
    subject::maestro,
};

const RUNS: usize = 21;

/// Starts a gateway with the five plugins that come with it, again and again.
pub(crate) async fn measure(program: &Path, table: &mut Table) -> Result<()> {
    let home = tempfile::tempdir()?;
    let cache = home.path().join("cache");
    let (mut first, mut usual) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        if cache.exists() {
            fs::remove_dir_all(&cache)?;
        }
        first.push(start(program, home.path()).await?);
        usual.push(start(program, home.path()).await?);
    }
    let least = quantile(&mut usual, 0.0);
    table.below("cold start to the first healthy answer, five plugins", median(usual), 50.0, "ms");
    table.below("the same, nothing judged before", median(first), 50.0, "ms");
    table.note("cold start, least of all", format!("{least:.1} ms"));
    Ok(())
}

async fn start(program: &Path, home: &Path) -> Result<f64> {
    let begun = Instant::now();
    let mut command = maestro(program, home);
    let process = Listening::start(command.args(["serve", "--listen", "127.0.0.1:0"]))?;
    let mut connection = Connection::open(process.address).await?;
    connection.ask(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
