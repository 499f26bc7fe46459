//! `maestro chat`: ask a model.
//!
//! Here live the arguments and the choice of model and conversation; [`settings`], [`attach`] and
//! [`prompt`] make the request, [`talk`] holds the conversation, [`answer`] streams, [`render`] says
//! how that looks, [`repl`] is the dialogue at a terminal.

mod answer;
mod attach;
mod prompt;
mod render;
mod repl;
mod settings;
mod talk;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;

use self::{
    render::Style,
    settings::{Setting, Settings},
    talk::{Keep, Talk},
};
use crate::{
    cli::{Outcome, failure::Failure, output::Output, refusal},
    exchange::recording::Recorder,
    maestro::{Error, Maestro, Stop},
    session::Conversation,
};

/// `maestro chat [OPTIONS] [PROMPT]`.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(super) struct ChatArgs {
    /// The model, as `provider/model`; else the conversation's, else the default
    #[arg(short, long, value_name = "REF")]
    model: Option<String>,
    /// Ask as this session
    #[arg(short, long, value_name = "NAME[@AUTH]")]
    session: Option<String>,
    /// Tell the model what it is and how to answer
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Attach a file: text, image, PDF or sound; may be given several times
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Set an option of the request, such as `temperature=0.2`; may be given several times
    #[arg(short, long = "option", value_name = "KEY=VALUE", value_parser = Setting::parse)]
    options: Vec<Setting>,
    /// Demand an answer that matches the JSON Schema in this file
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Continue the conversation that changed last
    #[arg(short, long = "continue", conflicts_with = "conversation")]
    r#continue: bool,
    /// Continue the conversation of this name or id, or begin one of this name
    #[arg(long, value_name = "NAME", value_parser = conversation_name)]
    conversation: Option<String>,
    /// Store nothing of it: no conversation, no line of history
    #[arg(long)]
    no_store: bool,
    /// Show the model's reasoning too, on stderr
    #[arg(long)]
    reasoning: bool,
    /// Give up when the answer is not complete after so many seconds, further tries included
    #[arg(long, value_name = "SECONDS", value_parser = refusal::seconds)]
    timeout: Option<u64>,
    /// Write what the plugin was given and gave into this new file, for `maestro plugin replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// What to ask; several words are joined by blanks
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
}

/// Runs the command.
pub(super) async fn run(args: ChatArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let settings = Settings::new(args.options, args.schema.as_deref())?;
    settings.slips().iter().for_each(|slip| output.warn(slip));
    let attached: Vec<_> =
        args.files.iter().map(|path| attach::attach(path)).collect::<Result<_, _>>()?;
    let prompt = args.prompt.join(" ");
    let dialogue =
        prompt.trim().is_empty() && io::stdin().is_terminal() && output.stdout_is_terminal();
    if dialogue && output.is_json() {
        return Err(Failure::usage(
            "a dialogue has no JSON",
            "give a PROMPT, or leave out `--json`",
        ));
    }
    let text = if dialogue { String::new() } else { prompt::join(&prompt, &prompt::piped()?) };
    if !dialogue && text.is_empty() && attached.is_empty() {
        return Err(Failure::usage(
            "there is no prompt",
            "give it as an argument or through stdin; at a terminal without one, a dialogue begins",
        ));
    }

    let wanted = args.conversation.as_deref();
    let conversation = find(maestro, args.r#continue, wanted, output).await?;
    let (stored_system, messages) = match &conversation {
        Some(found) => talk::history(maestro.conversation_messages(&found.id).await?),
        None => (None, Vec::new()),
    };
    let stops = choose_model(maestro, args.model.as_deref(), conversation.as_ref()).await?;
    let Some(first) = stops.first() else {
        return Err(Failure::usage("the name stands for no model", "see `maestro routes list`"));
    };
    // The conversation's session goes with the conversation's model, not with another one.
    let kept = conversation.as_ref().filter(|_| args.model.is_none());
    let kept = kept.and_then(|conversation| conversation.session.clone());
    let recorder = args.record.as_deref().map(record).transpose()?.map(Arc::new);
    let named = args.r#continue || wanted.is_some();
    let mut talk = Talk {
        maestro,
        output,
        style: Style::new(output, args.reasoning),
        settings,
        keep: match (args.no_store, named) {
            (true, _) => Keep::No,
            (false, true) => Keep::Must,
            (false, false) => Keep::Try,
        },
        model: first.model.clone(),
        next: Vec::new(),
        pool: false,
        session: args.session.or(kept),
        recorder,
        timeout: args.timeout.map(Duration::from_secs),
        system: args.system.or_else(|| stored_system.clone()),
        messages,
        stored_system,
        conversation,
        name: args.conversation,
    };
    talk.head_for(stops)?;
    if dialogue {
        repl::run(talk, attached).await
    } else {
        talk.ask(prompt::message(attached, &text)).await
    }
}

fn record(path: &Path) -> Result<Recorder, Failure> {
    Recorder::create(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(
            format!("`{}` exists already", path.display()),
            "name another file; a recording overwrites nothing",
        ),
        _ => {
            let context = format!("failed to create `{}`", path.display());
            anyhow::Error::new(error).context(context).into()
        }
    })
}

/// Finds the conversation to continue; a name that nobody has begins one, and says so where it is
/// nearly that of another.
async fn find(
    maestro: &Maestro,
    latest: bool,
    wanted: Option<&str>,
    output: &Output,
) -> Result<Option<Conversation>, Failure> {
    if latest {
        let found = maestro.latest_conversation().await?;
        return found.map(Some).ok_or_else(|| {
            Failure::usage("there is no conversation to continue", "leave out `-c` to begin one")
        });
    }
    let Some(wanted) = wanted else { return Ok(None) };
    match maestro.find_conversation(wanted).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::UnknownConversation { nearest, .. }) => {
            if let Some(near) = nearest.first() {
                output.warn(&format!("`{wanted}` begins a conversation; did you mean `{near}`?"));
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads the name of a conversation; for clap.
fn conversation_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("expected a name or an id".to_owned());
    }
    Ok(name.to_owned())
}

async fn choose_model(
    maestro: &Maestro,
    wanted: Option<&str>,
    conversation: Option<&Conversation>,
) -> Result<Vec<Stop>, Failure> {
    let kept = conversation.and_then(|conversation| conversation.model.as_deref());
    if let Some(text) = wanted.or(kept) {
        return Ok(maestro.places(text).await?);
    }
    let default = maestro.default_model().await?;
    default.map(|model| vec![Stop::at(model, false)]).ok_or_else(|| {
        Failure::usage(
            "no model is chosen",
            "name one with `-m PROVIDER/MODEL`, or choose one for always with \
             `maestro models default PROVIDER/MODEL`; `maestro models` lists them",
        )
    })
}

const HELP: &str = "\
Prompt:
  What is piped into stdin follows PROMPT after an empty line; without PROMPT it is the prompt.
  Without either, at a terminal, a dialogue begins; /help lists its commands.
  Files come before the prompt: text between fences with its name, images, PDF and sound as
  themselves. Their first bytes decide what they are, then their name.

Options (-o):
  temperature, top_p, top_k, max_tokens, seed, stop, reasoning_effort, frequency_penalty,
  presence_penalty and parallel_tool_calls are checked and mean the same for every provider. Others
  are passed to the provider by their own name. A value is read as JSON, else as text.

What is stored:
  Every conversation is kept in the host's own store, on this machine: your prompts, attached
  files included, the system text and the answers, each message sealed with the master key;
  beside them in the clear the names of model, session and conversation, times and token counts.
  Text of a broken or interrupted answer is stored too. Lines typed in a dialogue are also kept
  in a history file that only you can read. --no-store stores none of it. `maestro conversations`
  lists and deletes.

Output:
  The answer, also a refusal, goes to stdout as it comes; reasoning (-v or --reasoning), tool calls,
  warnings and, with -v, tokens and times go to stderr. Ctrl-C ends the answer and keeps what came,
  with exit status 130. A refused answer exits with 1.

  With --json, one document a line: each event as {\"version\":1,\"event\":{\"type\":…,…}}, then
  {\"version\":1,\"result\":{\"model\",\"session\",\"conversation\",\"finish_reason\",\"interrupted\",
  \"usage\",\"time_to_first_ms\",\"total_ms\"}}. An error is a line on stderr.

Recording:
  --record FILE writes what the plugin was given (your prompt, the answers' heads and bodies, with
  their cuts) and what it gave (requests, events), as lines of JSON that only you can read. There is
  no credential in it: none ever reaches a plugin, and where an answer repeats it, stars stand.

Examples:
  maestro chat -m anthropic/MODEL 'Why is the sky blue?'
  git diff | maestro chat 'Write a commit message for this'
  maestro chat -f photo.jpg 'What is this?'
  maestro chat -c 'And at night?'
  maestro chat --conversation trip 'Where to in May?'
  maestro chat -o temperature=0 --schema pet.schema.json 'A cat, please'
  maestro chat";
