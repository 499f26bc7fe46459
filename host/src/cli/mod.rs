//! The command line: parse, call the facade, print.
//!
//! Here live the arguments (`args` and one file per command), what is printed and how (`output`,
//! `table`, `visible`), what ends a command early (`failure`; `refusal` for the arguments) and what is
//! asked of a person (`ask`). Here does *not* live anything that another edge would need too: that is
//! the facade's, [`Maestro`], and nothing here goes around it.
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
mod endless;
mod env;
mod failure;
mod keys;
mod launch;
mod live;
mod log;
mod login;
mod models;
mod output;
mod plugin;
mod plugin_quarantine;
mod providers;
mod refusal;
mod routes;
mod serve;
mod sessions;
mod table;
mod time;
mod visible;

use std::{process::ExitCode, time::Duration};

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
    let hardened = crate::hardening::forbid_core_dumps();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refusal::print(&error),
    };
    let output = Output::new(cli.global.json, cli.global.verbose);
    output::trace(cli.global.verbose, matches!(cli.command, Command::Serve(_)));
    if let Err(error) = hardened {
        output.warn(&format!("a crash may leave keys in a core file: {error}"));
    }
    let result = run(cli.command, &output);
    log::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, output: &Output) -> Outcome {
    match command {
        Command::Providers(args) => {
            wait(output, async |maestro| providers::run(args, maestro, output).await)
        }
        Command::Models(args) => {
            wait(output, async |maestro| models::run(args, maestro, output).await)
        }
        Command::Login(args) => {
            wait(output, async |maestro| login::run(args, maestro, output).await)
        }
        Command::Sessions(args) => {
            wait(output, async |maestro| sessions::run(args, maestro, output).await)
        }
        Command::Chat(args) => {
            wait(output, async |maestro| chat::run(*args, maestro, output).await)
        }
        Command::Embed(args) => {
            wait(output, async |maestro| embed::run(args, maestro, output).await)
        }
        Command::Conversations(args) => {
            wait(output, async |maestro| conversations::run(args, maestro, output).await)
        }
        Command::Serve(args) => {
            // Not fewer than two, so that one that a plugin holds does not hold up all.
            let workers = std::thread::available_parallelism().map_or(WORKERS, usize::from);
            let workers = workers.max(WORKERS);
            wait_on(workers, output, async |maestro| {
                serve::run(args, maestro.clone(), output).await
            })
        }
        Command::Launch(args) => {
            wait(output, async |maestro| launch::run(args, maestro.clone(), output).await)
        }
        Command::Keys(args) => wait(output, async |maestro| keys::run(args, maestro, output).await),
        Command::Routes(args) => {
            wait(output, async |maestro| routes::run(args, maestro, output).await)
        }
        Command::Env(args) => env::run(&args, &read_config()?, output),
        Command::Plugin(args) => plugin::run(args, || open(output), output),
        Command::Db(args) => wait(output, async |maestro| db::run(args, maestro, output).await),
        Command::Doctor => wait(output, async |maestro| doctor::run(maestro, output).await),
        Command::Config(args) => config::run(&args, output),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    }
}

fn read_config() -> Result<Config, Failure> {
    Ok(Config::read(&Home::from_env()?.config_file())?)
}

fn open(output: &Output) -> Result<Maestro, Failure> {
    let home = Home::from_env()?;
    let config = Config::read(&home.config_file())?;
    let told = *output;
    let maestro = Maestro::open(home, config)?.on_warning(move |text| told.warn(text));
    endless::end_at_once(&maestro, output);
    Ok(maestro)
}

/// Runs the asynchronous part of a command.
///
/// The runtime has threads of its own, because this one blocks while it waits for a person or for a
/// full pipe, and connections have to be kept alive meanwhile.
fn wait<T>(
    output: &Output,
    work: impl AsyncFnOnce(&Maestro) -> Result<T, Failure>,
) -> Result<T, Failure> {
    wait_on(WORKERS, output, work)
}

fn wait_on<T>(
    workers: usize,
    output: &Output,
    work: impl AsyncFnOnce(&Maestro) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let maestro = open(output)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|error| anyhow::Error::new(error).context("failed to start the runtime"))?;
    let result = runtime.block_on(work(&maestro));
    // The runtime below is not waited for, but new tokens that are under way are: the old ones may be
    // used up by now.
    if !maestro.wait_for_renewals(SHUTDOWN) {
        output.note("new tokens are under way; waiting for them, so that the login is not lost");
        let _ = maestro.wait_for_renewals(RENEWAL);
    }
    // A connection that will not close must not hold up the shell.
    runtime.shutdown_timeout(SHUTDOWN);
    result
}

const WORKERS: usize = 2;
const SHUTDOWN: Duration = Duration::from_millis(250);
/// Longer than a request for tokens may take and its answer to be stored.
const RENEWAL: Duration = Duration::from_secs(45);
