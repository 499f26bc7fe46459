//! `maestro plugin dev`: edit, save, see what changed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    authoring::{
        AuthoringError,
        build::{Stop, build_until},
        sources::Sources,
    },
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
        visible::line,
    },
    maestro::{Compared, Developed, Development, Error, Maestro, Questions, counted, one_line},
};

/// `maestro plugin dev [DIR]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Builds the crate, loads the library in a worker, and does so again whenever a source is saved.
While it runs, the library stands before the installed one in every `maestro` of this home: in a
running `serve`, in other terminals. It is no more trusted than any file in the plugin folder, and a
login stays with the origins that it was made for. What does not compile or load changes nothing.
Ctrl-C ends it, and what is installed serves again.

After each build it is asked again what it was asked before, without a network, and what it says
otherwise is shown: the recorded answers in the crate's folder `fixtures`, a recording, or a prompt
that a model was asked once.

Examples:
  maestro plugin dev
  maestro plugin dev ~/src/maestro-acme --replay strange.jsonl
  maestro plugin dev -m acme/acme-1 -p 'Why is the sky blue?'")]
pub(super) struct DevArgs {
    /// The crate's folder
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Folder of recorded answers; unless given, `fixtures` in the crate
    #[arg(long, value_name = "FOLDER")]
    fixtures: Option<PathBuf>,
    /// Also run this recording of `maestro chat --record` again
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Ask a model this once, and run what came again
    #[arg(short, long, value_name = "TEXT", requires = "model")]
    prompt: Option<String>,
    /// The model to ask
    #[arg(short, long, value_name = "MODEL", requires = "prompt")]
    model: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: DevArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let mut signals = Signals::listen()?;
    if let Some(file) = &args.replay {
        // What cannot be read should not wait for a build.
        maestro.check_recording(file)?;
    }
    let mut questions = Questions::default();
    (questions.fixtures, questions.replay) = (args.fixtures, args.replay);
    if let (Some(model), Some(prompt)) = (args.model, args.prompt) {
        let model = model.parse().map_err(Error::from)?;
        questions.prompt = Some((model, prompt));
    }
    let mut sources = Sources::watch(&args.dir)?;
    let folder = args.dir.canonicalize().unwrap_or_else(|_| args.dir.clone());
    let mut development = maestro.develop(&folder, questions);
    let mut saved = None;
    loop {
        let round = round(&folder, &mut development, saved, output);
        let end = signals.or(round).await;
        match end {
            None => break,
            Some(Err(failure)) => return Err(failure),
            Some(Ok(())) => {}
        }
        match signals.or(sources.changed()).await {
            None => break,
            Some(began) => saved = Some(began),
        }
    }
    drop(development);
    output.note("what is installed serves again");
    Ok(())
}

/// Builds and takes over what was built. What fails is told, unless no save can mend it.
async fn round(
    folder: &Path,
    development: &mut Development,
    saved: Option<Instant>,
    output: &Output,
) -> Outcome {
    let kept = |development: &Development| match development.generation() {
        0 => "nothing serves yet".to_owned(),
        generation => format!("generation {generation} goes on serving"),
    };
    let began = Instant::now();
    let built = match build(folder).await {
        Err(AuthoringError::Build) => {
            output.note(&format!("cargo did not build it; {}", kept(development)));
            return Ok(());
        }
        built => built?,
    };
    let took = began.elapsed();
    match development.take(&built).await {
        Ok(developed) => tell(&developed, took, saved, output),
        Err(error) => {
            let why = one_line(&error);
            output.warn(&format!("{}; {}", line(&why), kept(development)));
            Ok(())
        }
    }
}

/// Runs cargo on a thread of its own, which ends with us.
async fn build(folder: &Path) -> Result<PathBuf, AuthoringError> {
    struct OnDrop(Arc<Stop>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.stop();
        }
    }
    let stop = Arc::new(Stop::default());
    let (cargo, folder) = (Arc::clone(&stop), folder.to_owned());
    let _stopped = OnDrop(stop);
    let building = tokio::task::spawn_blocking(move || build_until(&folder, &cargo));
    building.await.unwrap_or(Err(AuthoringError::Build))
}

fn tell(
    developed: &Developed,
    build: Duration,
    saved: Option<Instant>,
    output: &Output,
) -> Outcome {
    if output.is_json() {
        let build = u64::try_from(build.as_millis()).unwrap_or(u64::MAX);
        return output.document(&Document::new().with("dev", developed).with("build_ms", &build));
    }
    let Developed { plugin, version, generation, load, answers, changed, .. } = developed;
    let (build, load) = (build.as_millis(), load.as_millis());
    if *changed {
        let since =
            saved.map(|saved| format!(", {} ms after the save", saved.elapsed().as_millis()));
        output.note(&format!(
            "generation {generation} of `{plugin}` {version} serves before what is installed: built in \
             {build} ms, loaded in {load} ms{}",
            since.unwrap_or_default()
        ));
    }
    for answer in answers {
        for line in told(answer) {
            output.line(&line)?;
        }
    }
    let first = answers.iter().filter(|answer| answer.first).count();
    let same = answers.iter().filter(|answer| !answer.first && answer.is_same()).count();
    let other = answers.len() - first - same;
    let count = counted(answers.len(), "recorded answer");
    output.line(&format!("{count}: {first} new, {same} the same, {other} different"))
}

/// Shows what is different, as `maestro plugin replay` does.
fn told(answer: &Compared) -> Vec<String> {
    if answer.is_same() {
        return Vec::new();
    }
    let mut lines =
        vec![format!("{}: {} the same", line(&answer.name), counted(answer.same, "output"))];
    for (sign, all) in [("-", &answer.before), ("+", &answer.now)] {
        lines.extend(all.iter().take(MOST).map(|output| format!("{sign} {output}")));
        let more = all.len().saturating_sub(MOST);
        lines.extend((more > 0).then(|| format!("{sign} and {more} more")));
    }
    lines.extend(answer.problem.iter().map(|problem| format!("! {}", line(problem))));
    lines
}

/// Most outputs that are shown of each side.
const MOST: usize = 20;

/// What ends it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).context("failed to listen for Ctrl-C");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Runs something unless a signal comes first.
    async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            _ = self.interrupt.recv() => None,
            _ = self.terminate.recv() => None,
            done = work => Some(done),
        }
    }
}
