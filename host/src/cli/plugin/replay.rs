//! Runs a recording again and shows what is different.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
    },
    maestro::{Maestro, ReplayedExchange, counted},
};

/// `maestro plugin replay FILE`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Gives the plugin what it was given when the file was made, at the same times, and compares what it
gives:
requests, events, the end. There is no network, and no credential is in the file. Exits with 1 when
something is different.

Examples:
  maestro chat --record strange.jsonl -m acme/acme-1 'Why?'
  maestro plugin replay strange.jsonl
  maestro plugin replay strange.jsonl --plugin target/debug/libacme.so")]
pub(super) struct ReplayArgs {
    /// What `maestro chat --record` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Run it by this plugin, an id or a library, instead of the one it was recorded with
    #[arg(long, value_name = "FILE-or-ID")]
    plugin: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: &ReplayArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let exchanges = maestro.replay_recording(&args.file, args.plugin.as_deref()).await?;
    if exchanges.is_empty() {
        let message = format!("there is no exchange in `{}`", args.file.display());
        return Err(Failure::request(message, "record one with `maestro chat --record FILE`"));
    }
    let same = exchanges.iter().all(ReplayedExchange::is_same);
    if output.is_json() {
        output.document(&Document::new().with("same", &same).with("exchanges", &exchanges))?;
    } else {
        for (number, exchange) in (1..).zip(&exchanges) {
            for line in told(number, exchange) {
                output.line(&line)?;
            }
        }
    }
    if same { Ok(()) } else { Err(Failure::Said) }
}

fn told(number: usize, exchange: &ReplayedExchange) -> Vec<String> {
    let begin = format!("exchange {number} of `{}` by `{}`", exchange.provider, exchange.plugin);
    let Some(replayed) = &exchange.replayed else {
        let why = exchange.broken.as_deref().unwrap_or("it did not run");
        return vec![format!("{begin}: {why}")];
    };
    let (inputs, outputs) = (counted(replayed.inputs, "input"), counted(replayed.same, "output"));
    if exchange.is_same() {
        return vec![format!("{begin}: {inputs}, {outputs}, all the same")];
    }
    let mut lines = vec![format!("{begin}: {inputs}, {outputs} the same, then different")];
    let signed = |sign: &str, all: &[Value]| -> Vec<String> {
        let more = all.len().saturating_sub(MOST);
        let shown = all.iter().take(MOST).map(|output| format!("{sign} {output}"));
        let more = (more > 0).then(|| format!("{sign} and {more} more"));
        shown.chain(more).collect()
    };
    lines.extend(signed("-", &replayed.before));
    lines.extend(signed("+", &replayed.now));
    lines.extend(replayed.malformed.iter().map(|problem| format!("! {problem}")));
    lines
}

/// Most outputs that are shown of each side.
const MOST: usize = 20;
