//! The project's chores. `cargo xtask help` lists them.

mod bench;
mod dist;
mod profile;
mod quickstart;
mod rules;
mod run;
mod sdk;
mod upstream;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::dist::Build;

const HELP: &str = "\
cargo xtask quickstart            builds into dist/ and proves the product in a temporary home
cargo xtask test [FILTER…]        builds what the tests load, then passes every test
cargo xtask dist [--profiled]     builds the host and the bundled plugins into dist/; profiled: three
                                  builds' time, guided by counts of the gateway's work
cargo xtask install [--profiled] --prefix P
                                  puts dist/ below P: P/bin/maestro, P/lib/maestro/plugins,
                                  P/share/maestro/sdk
cargo xtask rules                 writes a page for each rule of conformance into docs/rules/
cargo xtask bench                 measures the budgets and prints them beside their goals
cargo xtask bench plugins         measures what plugins, workers and authors' builds cost, as Markdown
cargo xtask bench gateway [--profiled] [--only PART,…] [--rounds N] [--streams N] [--soak SECONDS]
                                  compares the gateway with a bare proxy and a direct connection
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match chore(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["quickstart"] => quickstart::quickstart(),
        ["test", filter @ ..] => run::test(filter),
        ["dist"] => dist::dist(Build::Plain).map(drop),
        ["dist", "--profiled"] => dist::dist(Build::Profiled).map(drop),
        ["install", "--prefix", prefix] => dist::install(prefix.as_ref(), Build::Plain),
        ["install", "--profiled", "--prefix", prefix]
        | ["install", "--prefix", prefix, "--profiled"] => {
            dist::install(prefix.as_ref(), Build::Profiled)
        }
        ["rules"] => rules::rules(),
        ["bench"] => bench::bench(),
        ["bench", "plugins"] => bench::plugins(),
        ["bench", "gateway", "--profiled", options @ ..] => {
            bench::gateway(Build::Profiled, options)
        }
        ["bench", "gateway", options @ ..] => bench::gateway(Build::Plain, options),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("unknown chore `{}`\n\n{HELP}", words.join(" ")),
    }
}
