//! `maestro serve`: the gateway, until it is told to stop.

use std::{sync::Arc, time::Duration};

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{
        Outcome, endless,
        env::Settings,
        failure::Failure,
        live, log,
        output::{Document, Output},
    },
    gateway::Server,
    maestro::Maestro,
};

#[derive(Debug, Args)]
#[command(after_long_help = AFTER)]
pub(super) struct ServeArgs {
    /// Where to listen: HOST:PORT or unix:PATH; `[serve] listen` otherwise, and 127.0.0.1:4141
    /// without one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Listen beyond this machine although nothing is encrypted: a proxy before it does that
    #[arg(long)]
    plaintext: bool,
}

const AFTER: &str = "\
Speaks OpenAI (Chat Completions, Responses, embeddings), Anthropic (Messages) and Gemini to its
clients, and asks whatever provider the model's name means: `provider/model`,
`provider:session/model`, an alias of the configuration, or a bare name that one provider knows.

  maestro serve &
  eval \"$(maestro env openai)\"           settings for a tool; `maestro env` lists the tools
  curl http://127.0.0.1:4141/v1/models

A session is chosen by the model's name, the header `x-maestro-session`, or a base URL that begins
with `/s/NAME`. On this machine's own address no key is needed until one is made with
`maestro keys create`.

Beyond this machine it listens only with client keys, and with a certificate (`cert` and `key` in
`[serve.tls]`, read again when they change) or `--plaintext`. `unix:PATH` is a socket for this user
alone. Sockets that a service manager has opened (LISTEN_FDS) are taken unless `--listen` is given.

The plugin folders are watched: a library that appears there, changes or goes does so in the
running gateway, and no stream is cut for it.

A trusted plugin runs in this process, where nothing can stop a step that does not end. Its bytes
are put in quarantine, what others are being answered is finished, and the gateway ends with status
1, so that whoever watches over it starts it again without the plugin.

SIGTERM and Ctrl-C stop it: nothing more is accepted, and what has begun is finished. A second
one ends it at once. SIGHUP has it look at configuration, plugins
and certificate again.";

/// Runs the command.
pub(super) async fn run(args: ServeArgs, maestro: Maestro, output: &Output) -> Outcome {
    allow_many_connections();
    // Before anything is printed: whoever reads the address may stop us at once.
    let stop = stop_signal()?;
    let mut reload = signal(SignalKind::hangup()).map_err(anyhow::Error::new)?;
    let keyless = maestro.list_client_keys().await?.is_empty();
    let lent = match args.listen {
        None => Server::activated(maestro.clone(), args.plaintext).await?,
        Some(_) => None,
    };
    let server = match lent {
        Some(server) => server,
        None => {
            let address = args.listen.unwrap_or_else(|| maestro.config().serve.listen.clone());
            Server::bind(maestro.clone(), &address, args.plaintext).await?
        }
    };
    let url = server.url();
    let document = || Document::new().with("url", &url).with("keyless", &keyless);
    output.either(document, format_args!("{url}\n"))?;
    for line in banner(&url, keyless) {
        output.note(&line);
    }
    live::warn_of_quarantine(&maestro, output);
    let _watch = live::watch(&maestro, output);
    let _telling = maestro.tell_standing(&url);
    let patience = Duration::from_millis(maestro.config().serve.drain_ms) + BEYOND_DRAIN;
    let (mut endless, guard) = endless::first(&maestro, output, patience);
    let certificate = Arc::new(server.certificate());
    let reloading = tokio::spawn(async move {
        while reload.recv().await.is_some() {
            let (certificate, maestro) = (Arc::clone(&certificate), maestro.clone());
            // Files are read, which may take its time.
            // What is wrong is told as warnings are.
            let _ = tokio::task::spawn_blocking(move || {
                certificate();
                drop(maestro.reload());
            })
            .await;
        }
    });
    let mut lost = None;
    let until = async {
        tokio::select! {
            () = stop => 0,
            Ok(step) = &mut endless => {
                lost = Some(step);
                // The one whose answer that step was to give.
                1
            }
        }
    };
    let cut = server.run(until).await;
    drop(guard);
    reloading.abort();
    if cut > 0 {
        output.warn(&format!("{cut} connections were cut: their answers took too long to end"));
    }
    match lost.or_else(|| endless.try_recv().ok()) {
        None => Ok(()),
        Some(step) => Err(Failure::Endless(step)),
    }
}

/// Says, line by line, how tools reach the gateway.
fn banner(url: &str, keyless: bool) -> Vec<String> {
    let key = if keyless {
        "any key will do on this machine, because no client key exists"
    } else {
        "put a client key where `maestro` stands as one"
    };
    let mut lines = vec![format!("the gateway listens; {key}")];
    if url.starts_with("unix:") {
        lines.push("  curl --unix-socket PATH http://localhost/v1/models".to_owned());
        lines.push("only this user may connect; Ctrl-C stops".to_owned());
        return lines;
    }
    for settings in [Settings::OpenAi, Settings::Anthropic, Settings::Gemini] {
        let pairs = settings.variables(url, None).into_iter();
        let shown: Vec<String> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
        lines.push(format!("  export {}", shown.join(" ")));
    }
    lines.push("or run a tool with them: `maestro launch claude`, `codex` or `gemini`".to_owned());
    lines.push("for more tools see `maestro env`; Ctrl-C stops".to_owned());
    lines
}

/// Ends when the program is asked to; the second time it ends the program.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(anyhow::Error::new);
    let (mut terminated, mut interrupted) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut stopping = Some(stopping);
        loop {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            match stopping.take() {
                Some(stopping) => drop(stopping.send(())),
                None => {
                    log::flush();
                    std::process::exit(INTERRUPTED)
                }
            }
        }
    });
    Ok(async move { drop(stopped.await) })
}

/// Takes as many descriptors as the system allows: two for each stream, and shells allow 1,024.
fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    // Refused, it stays as it is, which is enough for most.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

const INTERRUPTED: i32 = 130;

/// How much later than the end of its drain the gateway ends by force.
const BEYOND_DRAIN: Duration = Duration::from_secs(1);
