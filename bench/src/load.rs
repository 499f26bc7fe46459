//! A load generator: some connections, each asking again as soon as it was answered.
//!
//! It speaks just as much HTTP as is asked here, so that it takes little of the two cores.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    mock::{content_length, find},
    report::quantile,
};

/// What a run showed.
#[derive(Default)]
pub(crate) struct Sample {
    /// How long each answer took to its end, in microseconds.
    pub(crate) took_us: Vec<f64>,
    /// For how long was asked, in seconds.
    pub(crate) seconds: f64,
}

impl Sample {
    /// Returns answers per second.
    pub(crate) fn rate(&self) -> f64 {
        self.took_us.len() as f64 / self.seconds
    }

    /// Returns the time within which the given share of the answers came.
    pub(crate) fn quantile_us(&mut self, share: f64) -> f64 {
        quantile(&mut self.took_us, share)
    }
}

/// Asks over so many connections for so long.
pub(crate) async fn ask(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    time: Duration,
) -> Result<Sample> {
    let mut asking = JoinSet::new();
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::open(address).await?;
        // The first answer on a connection makes others wait: pools fill, caches warm.
        connection.ask(request).await?;
        open.push(connection);
    }
    let begun = Instant::now();
    for mut connection in open {
        let request = request.to_vec();
        asking.spawn(async move {
            let mut took_us = Vec::new();
            while begun.elapsed() < time {
                let asked = Instant::now();
                connection.ask(&request).await?;
                took_us.push(asked.elapsed().as_secs_f64() * 1e6);
            }
            anyhow::Ok(took_us)
        });
    }
    let mut sample = Sample::default();
    while let Some(took) = asking.join_next().await {
        sample.took_us.extend(took??);
    }
    sample.seconds = begun.elapsed().as_secs_f64();
    Ok(sample)
}

/// A connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4 * 1024) })
    }

    /// Asks and reads the answer to its end; anything but a success is an error.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.begin(request).await?;
        let head = find(&self.buffer, b"\r\n\r\n").context("an answer without a head")?;
        match content_length(&self.buffer[..head]) {
            Some(length) => {
                while self.buffer.len() < head + 4 + length {
                    self.read_more().await?;
                }
            }
            None => {
                // Nothing that is asked for here holds this within.
                while !self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                    self.read_more().await?;
                }
            }
        }
        Ok(())
    }

    /// Asks and reads as far as the head; the buffer holds that and what came with it.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> Result<()> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        while find(&self.buffer, b"\r\n\r\n").is_none() {
            self.read_more().await?;
        }
        ensure!(
            self.buffer.starts_with(b"HTTP/1.1 200"),
            "asked `{}`, answered `{}`",
            String::from_utf8_lossy(request),
            String::from_utf8_lossy(&self.buffer)
        );
        Ok(())
    }

    /// Reads what comes next into an emptied buffer and returns it.
    pub(crate) async fn next(&mut self) -> Result<&[u8]> {
        self.buffer.clear();
        self.read_more().await?;
        Ok(&self.buffer)
    }

    /// Returns what was read of the last answer.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.buffer
    }

    async fn read_more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(
            read > 0,
            "the connection ended within `{}`",
            String::from_utf8_lossy(&self.buffer)
        );
        Ok(())
    }
}
