//! What the gateway costs, measured side by side with a bare proxy and with no proxy at all.
//!
//! One program with three roles, each in a process of its own so that its processor time and memory can
//! be told apart: `mock` answers as a vendor would, only faster than everybody else here; `proxy` is the
//! least that a proxy can be; without a role it starts both and gateways, asks them all in turns, and
//! prints what it found beside the goals. `cargo xtask bench gateway` builds what it needs.

mod child;
mod cold;
mod compare;
mod load;
mod mock;
mod proxy;
mod report;
mod soak;
mod streams;
mod subject;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};

const HELP: &str = "\
gateway-bench --program PATH [--before PATH] [--only PART,…] [--rounds N] [--streams N] [--soak SECONDS]

A program stands in PREFIX/bin, its plugins in PREFIX/lib/maestro/plugins. `--before` adds another build.

parts: cold, compare, events, memory, streams, soak; all but soak without `--only`
";

/// What is to be measured.
struct Plan {
    program: PathBuf,
    /// An earlier build of it, asked in turns with it.
    before: Option<PathBuf>,
    only: Vec<String>,
    rounds: usize,
    streams: usize,
    soak: Duration,
}

impl Plan {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut plan = Self {
            program: PathBuf::new(),
            before: None,
            only: Vec::new(),
            rounds: 7,
            streams: 10_000,
            soak: Duration::from_secs(600),
        };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { bail!("`{}` needs a value\n\n{HELP}", pair[0]) };
            match name.as_str() {
                "--program" => plan.program = value.into(),
                "--before" => plan.before = Some(value.into()),
                "--only" => plan.only = value.split(',').map(str::to_owned).collect(),
                "--rounds" => plan.rounds = value.parse()?,
                "--streams" => plan.streams = value.parse()?,
                "--soak" => {
                    plan.soak = Duration::from_secs(value.parse()?);
                    plan.only.push("soak".into());
                }
                _ => bail!("unknown option `{name}`\n\n{HELP}"),
            }
        }
        if plan.program.as_os_str().is_empty() {
            bail!("which program?\n\n{HELP}");
        }
        Ok(plan)
    }

    /// Reports whether a part is wanted.
    fn wants(&self, part: &str) -> bool {
        self.only.iter().any(|wanted| wanted == part) || self.only.is_empty() && part != "soak"
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    subject::allow_many_connections();
    match arguments.first().map(String::as_str) {
        // One thread each for those who only have to be fast enough: the two cores are for who is measured.
        Some("mock") => one_thread()?.block_on(mock::run()),
        Some("proxy") => {
            let to = arguments.get(1).context("the proxy needs an address")?.parse()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(proxy::run(to))
        }
        Some("--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        _ => one_thread()?.block_on(measure(Plan::read(&arguments)?)),
    }
}

fn one_thread() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn measure(plan: Plan) -> Result<()> {
    let mut table = report::Table::default();
    if plan.wants("cold") {
        cold::measure(&plan.program, &mut table).await?;
    }
    if plan.wants("compare") {
        compare::measure(&plan, &mut table).await?;
    }
    if plan.wants("events") {
        compare::events(&plan, &mut table).await?;
    }
    if plan.wants("memory") {
        streams::memory(&plan.program, &mut table).await?;
    }
    if plan.wants("streams") {
        streams::lateness(&plan.program, plan.streams, &mut table).await?;
    }
    if plan.wants("soak") {
        soak::measure(&plan.program, plan.soak, &mut table).await?;
    }
    println!("\n{table}");
    Ok(())
}
