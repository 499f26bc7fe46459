//! The command line: parse, call the facade, print.
//!
//! Here live the arguments (`args` and one file per command), what is printed and how (`output`,
//! `table`, `visible`), what ends a command early (`failure`) and what is asked of a person
//! (`ask`). Here does *not* live anything that another edge would need too: that is the facade's,
//! [`Maestro`], and nothing here goes around it.
//!
//! Invariants: data goes to stdout and everything else to stderr; no secret is accepted as an
//! argument or ever printed; text from plugins and vendors reaches a terminal only through
//! `visible`; nothing is opened (no folder, store or runtime) before a command needs it.

mod args;
mod ask;
mod chat;
mod completions;
mod config;
mod conversations;
mod db;
mod doctor;
mod embed;
mod failure;
mod login;
mod models;
mod output;
mod plugin;
mod plugin_quarantine;
mod providers;
mod sessions;
mod table;
mod time;
mod visible;

use std::{future::Future, process::ExitCode};

use clap::Parser;

use self::{
    args::{Cli, Command},
    failure::Failure,
    output::Output,
};
use crate::{config::Config, home::Home, maestro::Maestro};

/// What a command answers.
type Outcome = Result<(), Failure>;

/// Runs the program and returns its exit status.
#[must_use]
pub fn main() -> ExitCode {
    crate::plugin::worker::run_if_asked();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::print_parse_error(&error),
    };
    let output = Output::new(cli.global.json, cli.global.verbose);
    output::trace(cli.global.verbose);
    match run(cli.command, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, output: &Output) -> Outcome {
    let open = || open(output);
    match command {
        Command::Providers(args) => wait(providers::run(args, &open()?, output)),
        Command::Models(args) => wait(models::run(args, &open()?, output)),
        Command::Login(args) => wait(login::run(args, &open()?, output)),
        Command::Sessions(args) => wait(sessions::run(args, &open()?, output)),
        Command::Chat(args) => wait(chat::run(*args, &open()?, output)),
        Command::Embed(args) => wait(embed::run(args, &open()?, output)),
        Command::Conversations(args) => wait(conversations::run(args, &open()?, output)),
        Command::Plugin(args) => plugin::run(args, &open()?, output),
        Command::Db(args) => wait(db::run(args, &open()?, output)),
        Command::Doctor => wait(doctor::run(&open()?, output)),
        Command::Config(args) => config::run(&args, output),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    }
}

fn open(output: &Output) -> Result<Maestro, Failure> {
    let home = Home::from_env()?;
    let config = Config::read(&home.config_file())?;
    let output = *output;
    Ok(Maestro::open(home, config)?.on_warning(move |text| output.warn(text)))
}

/// Runs the asynchronous part of a command.
///
/// The runtime has threads of its own, because this one blocks while it waits for a person or for a
/// full pipe, and connections have to be kept alive meanwhile.
fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| anyhow::Error::new(error).context("failed to start the runtime"))?;
    let result = runtime.block_on(work);
    // A connection that will not close must not hold up the shell.
    runtime.shutdown_timeout(SHUTDOWN);
    result
}

const WORKERS: usize = 2;
const SHUTDOWN: std::time::Duration = std::time::Duration::from_millis(250);
