//! Small answers and short streams: direct, through the bare proxy, through gateways.
//!
//! All are asked in turns, round after round, and figures of one round are compared with each other
//! alone: on a shared machine nothing else can be.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Result;

use crate::{
    Plan,
    child::Listening,
    load::{Sample, ask},
    mock::{BURST, LONG},
    report::{Table, median},
    subject::{Client, Gateway, Tier, mock, plain, proxy},
};

/// One who is asked, and what was found.
struct Subject<'a> {
    name: &'static str,
    process: &'a Listening,
    /// Requests for a small answer, a small answer as a stream's, a stream.
    small: Vec<u8>,
    burst: Vec<u8>,
    long: Vec<u8>,
    /// Goals: times the latency that the proxy adds, share of its throughput.
    goals: Option<(f64, f64)>,
    rounds: Vec<Round>,
}

#[derive(Default)]
struct Round {
    p50_us: f64,
    p99_us: f64,
    rate: f64,
    loaded_p50_us: f64,
    loaded_p99_us: f64,
    cpu_us: f64,
    streams: f64,
    stream_cpu_us: f64,
}

/// Whoever there is to ask.
struct Cast {
    mock: Listening,
    proxy: Listening,
    here: Gateway,
    worker: Gateway,
    /// Another build, to compare a change with what was before it.
    before: Option<Gateway>,
}

impl Cast {
    fn start(plan: &Plan) -> Result<Self> {
        let mock = mock()?;
        let upstream = mock.address;
        let gateway = |program: &Path, tier| Gateway::start(program, upstream, tier);
        Ok(Self {
            proxy: proxy(upstream)?,
            here: gateway(&plan.program, Tier::InProcess)?,
            worker: gateway(&plan.program, Tier::Worker)?,
            before: match &plan.before {
                Some(program) => Some(gateway(program, Tier::InProcess)?),
                None => None,
            },
            mock,
        })
    }

    /// Returns all, the direct way and the proxy first.
    fn subjects<'a>(&'a self) -> Vec<Subject<'a>> {
        let bare = |name, process| Subject {
            name,
            process,
            small: plain("small", false),
            burst: plain("burst", true),
            long: plain("long", true),
            goals: None,
            rounds: Vec::new(),
        };
        let through = |name, gateway: &'a Gateway, client, goals| Subject {
            name,
            process: &gateway.process,
            small: gateway.request(client, "small", false),
            burst: gateway.request(client, "burst", true),
            long: gateway.request(client, "long", true),
            goals: Some(goals),
            rounds: Vec::new(),
        };
        let mut all = vec![
            bare("direct", &self.mock),
            bare("bare hyper proxy", &self.proxy),
            through("gateway, native", &self.here, Client::Native, (1.5, 0.6)),
            through("gateway, translated", &self.here, Client::Foreign, (2.0, 0.4)),
            through("gateway, native, worker", &self.worker, Client::Native, (3.0, 0.0)),
        ];
        if let Some(before) = &self.before {
            all.push(through("before, native", before, Client::Native, (1.5, 0.6)));
            all.push(through("before, translated", before, Client::Foreign, (2.0, 0.4)));
        }
        all
    }
}

/// Compares latency, throughput and processor time.
pub(crate) async fn measure(plan: &Plan, table: &mut Table) -> Result<()> {
    let (cast, rounds) = (Cast::start(plan)?, plan.rounds);
    let mut subjects = cast.subjects();
    for round in 0..rounds {
        for subject in &mut subjects {
            let found = subject.round().await?;
            subject.rounds.push(found);
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    let (bare, gateways) = subjects.split_at(2);
    for subject in &subjects {
        let of = |figure: fn(&Round) -> f64| median(subject.rounds.iter().map(figure).collect());
        table.note(
            format!("{}: small answer, 1 connection, p50 and p99", subject.name),
            format!("{:.0} and {:.0} µs", of(|r| r.p50_us), of(|r| r.p99_us)),
        );
        let latency = format!(
            "p50 {:.1}, p99 {:.1} ms",
            of(|r| r.loaded_p50_us) / 1e3,
            of(|r| r.loaded_p99_us) / 1e3
        );
        table.note(
            format!("{}: small answers, 64 connections", subject.name),
            format!("{:.0} /s, {latency}, {:.0} µs CPU each", of(|r| r.rate), of(|r| r.cpu_us)),
        );
        table.note(
            format!("{}: streams of {BURST} events, 64 connections", subject.name),
            format!("{:.0} /s, {:.2} µs CPU an event", of(|r| r.streams), of(|r| r.stream_cpu_us)),
        );
    }
    for subject in gateways {
        let Some((latency, rate)) = subject.goals else { continue };
        let against = |figure: fn(&[&Round; 3]) -> f64| {
            let (direct, proxy) = (&bare[0].rounds, &bare[1].rounds);
            let rounds = direct.iter().zip(proxy).zip(&subject.rounds);
            median(rounds.map(|((direct, proxy), own)| figure(&[direct, proxy, own])).collect())
        };
        let added = against(|[direct, proxy, own]| {
            (own.p50_us - direct.p50_us) / (proxy.p50_us - direct.p50_us)
        });
        table.below(
            format!("{}: latency added, by the proxy's", subject.name),
            added,
            latency,
            "×",
        );
        let share = against(|[_, proxy, own]| own.rate / proxy.rate);
        let streams = against(|[_, proxy, own]| own.streams / proxy.streams);
        let what = format!("{}: throughput, by the proxy's", subject.name);
        if rate > 0.0 {
            table.above(what, share, rate, "×");
        } else {
            table.note(what, format!("{share:.2} ×"));
        }
        let what = format!("{}: streams of {BURST} events, by the proxy's", subject.name);
        table.note(what, format!("{streams:.2} ×"));
        let cpu = against(|[_, proxy, own]| own.cpu_us / proxy.cpu_us);
        let what = format!("{}: processor time of a small answer, by the proxy's", subject.name);
        table.note(what, format!("{cpu:.2} ×"));
    }
    Ok(())
}

/// Measures the processor time of an event that comes alone.
pub(crate) async fn events(plan: &Plan, table: &mut Table) -> Result<()> {
    let (cast, rounds) = (Cast::start(plan)?, plan.rounds);
    let mut subjects = cast.subjects();
    for _ in 0..rounds {
        for subject in &mut subjects {
            let (sample, cpu_s) = subject.ask(&subject.long, 4, LOADED).await?;
            let cpu_us = cpu_s * 1e6 / (sample.took_us.len() * LONG) as f64;
            subject.rounds.push(Round { stream_cpu_us: cpu_us, ..Round::default() });
        }
    }
    for subject in &subjects {
        let cost = median(subject.rounds.iter().map(|round| round.stream_cpu_us).collect());
        let what = format!("{}: processor time of an event, each written alone", subject.name);
        match subject.goals {
            Some(_) => table.below(what, cost, 5.0, "µs"),
            None => table.note(what, format!("{cost:.2} µs")),
        }
    }
    Ok(())
}

impl Subject<'_> {
    fn address(&self) -> SocketAddr {
        self.process.address
    }

    async fn round(&self) -> Result<Round> {
        let (mut alone, _) = self.ask(&self.small, 1, ALONE).await?;
        let (mut loaded, cpu_s) = self.ask(&self.small, CONNECTIONS, LOADED).await?;
        let (streams, stream_cpu_s) = self.ask(&self.burst, CONNECTIONS, LOADED).await?;
        let each = |cpu_s: f64, sample: &Sample| cpu_s * 1e6 / sample.took_us.len() as f64;
        Ok(Round {
            p50_us: alone.quantile_us(0.5),
            p99_us: alone.quantile_us(0.99),
            rate: loaded.rate(),
            loaded_p50_us: loaded.quantile_us(0.5),
            loaded_p99_us: loaded.quantile_us(0.99),
            cpu_us: each(cpu_s, &loaded),
            streams: streams.rate(),
            stream_cpu_us: each(stream_cpu_s, &streams) / BURST as f64,
        })
    }

    /// Asks, and says what processor time it took.
    async fn ask(
        &self,
        request: &[u8],
        connections: usize,
        time: Duration,
    ) -> Result<(Sample, f64)> {
        let before = self.process.cpu_s();
        let sample = ask(self.address(), request, connections, time).await?;
        Ok((sample, self.process.cpu_s() - before))
    }
}

const CONNECTIONS: usize = 64;
const ALONE: Duration = Duration::from_millis(700);
const LOADED: Duration = Duration::from_millis(1_200);
