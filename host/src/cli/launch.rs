//! `maestro launch`: a tool with a gateway of its own, for as long as it runs.

use std::{ffi::OsString, io, path::PathBuf, process::ExitStatus};

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{process::Command, signal::unix::SignalKind, sync::oneshot};

use crate::{
    cli::{Outcome, endless, env::Settings, failure::Failure, output::Output},
    gateway::Server,
    maestro::Maestro,
    session::SessionName,
};

#[derive(Debug, Args)]
#[command(after_long_help = AFTER)]
pub(super) struct LaunchArgs {
    /// The tool
    tool: Tool,
    /// Use this session
    #[arg(short, long, value_name = "NAME")]
    session: Option<String>,
    /// Use this model: a ref, an alias or a bare name
    #[arg(short, long, value_name = "REF")]
    model: Option<String>,
    /// Arguments for the tool, after `--`
    #[arg(last = true)]
    args: Vec<OsString>,
}

const AFTER: &str = "\
Two terminals, two accounts:

  maestro launch claude --session work
  maestro launch claude --session home -- --continue

The tool gets a gateway that serves it alone, on a free port and with a key that nobody else knows,
and its settings for this one process; nothing of its own configuration is changed. The exit status
is the tool's.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tool {
    /// Claude Code
    Claude,
    /// Codex CLI
    Codex,
    /// Gemini CLI
    Gemini,
}

/// Runs the command.
pub(super) async fn run(args: LaunchArgs, maestro: Maestro, output: &Output) -> Outcome {
    if let Some(name) = &args.session {
        SessionName::new(name.as_str())
            .map_err(|error| Failure::Usage { message: error.to_string(), hint: error.hint() })?;
    }
    let server = Server::private(maestro.clone()).await?;
    let (url, key) = (format!("http://{}", server.address()), server.key().clone());
    let mut command = args.tool.command(&url, args.session.as_deref(), args.model.as_deref(), &key);
    match args.tool {
        // Its search is a tool that OpenAI itself runs; whoever else is asked has to refuse it. What the
        // user says comes later and has the last word.
        Tool::Codex => {
            if let Some(model) = &args.model
                && !maestro.is_native(model, dialects::openai_responses::DIALECT).await
            {
                command.args(["-c", "web_search=\"disabled\""]);
            }
        }
        Tool::Gemini if std::env::var_os(GEMINI_SETTINGS).is_none() => {
            command.env(GEMINI_SETTINGS, gemini_settings(&maestro)?);
        }
        Tool::Claude | Tool::Gemini => {}
    }
    command.args(&args.args).kill_on_drop(true);
    // Ctrl-C goes to the tool as well, which knows better what it means; we end when it does.
    let mut interrupts =
        tokio::signal::unix::signal(SignalKind::interrupt()).map_err(anyhow::Error::new)?;
    tokio::spawn(async move { while interrupts.recv().await.is_some() {} });

    let (stop, stopped) = oneshot::channel::<()>();
    endless::only_tell(&maestro, output);
    let serving = tokio::spawn(server.run(async move {
        drop(stopped.await);
        0
    }));
    let status = command.status().await.map_err(|error| not_started(args.tool, &error));
    // Nobody is left to be answered.
    drop(stop);
    serving.abort();
    match code(status?) {
        0 => Ok(()),
        code => {
            output.note(&format!("`{}` ended with status {code}", args.tool.program()));
            Err(Failure::Child(code))
        }
    }
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
        }
    }

    /// Makes the command; the key goes through the environment, which other users cannot read.
    fn command(
        self,
        url: &str,
        session: Option<&str>,
        model: Option<&str>,
        key: &SecretString,
    ) -> Command {
        let mut command = Command::new(self.program());
        let settings = match self {
            Self::Claude => Settings::Claude,
            Self::Gemini => Settings::GeminiCli,
            Self::Codex => Settings::OpenAi,
        };
        for (name, value) in settings.variables(url, session) {
            let is_key = name.ends_with("_KEY") || name.ends_with("_TOKEN");
            command.env(name, if is_key { key.expose_secret() } else { value.as_str() });
        }
        match self {
            Self::Claude => {
                // Its own key would be sent beside ours.
                command.env_remove("ANTHROPIC_API_KEY");
                command.args(model.into_iter().flat_map(|model| ["--model", model]));
            }
            Self::Gemini => {
                command.args(model.into_iter().flat_map(|model| ["--model", model]));
            }
            Self::Codex => {
                let base = settings.variables(url, session).remove(0).1;
                let provider = format!(
                    "model_providers.maestro={{ name = \"maestro\", base_url = \"{base}\", \
                     env_key = \"OPENAI_API_KEY\", wire_api = \"responses\" }}"
                );
                command.args(["-c", "model_provider=\"maestro\"", "-c", &provider]);
                command.args(model.into_iter().flat_map(|model| ["--model", model]));
            }
        }
        command
    }
}

/// Writes the settings with which Gemini CLI uses its key: without them it asks how to log in, or uses
/// the login that it has, past the gateway.
fn gemini_settings(maestro: &Maestro) -> Result<PathBuf, Failure> {
    let folder = maestro.home().launched();
    let path = folder.join("gemini.json");
    let written = std::fs::create_dir_all(&folder).and_then(|()| {
        // In one step, because another launch may be reading it.
        let temporary = folder.join(format!("gemini.{}", std::process::id()));
        std::fs::write(&temporary, r#"{"security":{"auth":{"selectedType":"gemini-api-key"}}}"#)?;
        std::fs::rename(&temporary, &path)
    });
    written.map_err(|error| {
        let message = format!("failed to write `{}`: {error}", path.display());
        Failure::request(message, "check the folder's permissions")
    })?;
    Ok(path)
}

/// Variable with the file whose settings come before the user's.
const GEMINI_SETTINGS: &str = "GEMINI_CLI_SYSTEM_SETTINGS_PATH";

fn not_started(tool: Tool, error: &io::Error) -> Failure {
    let program = tool.program();
    let hint = match error.kind() {
        io::ErrorKind::NotFound => format!("install `{program}`, or put it on the PATH"),
        _ => format!("check that `{program}` may be run"),
    };
    Failure::request(format!("failed to start `{program}`: {error}"), hint)
}

/// Returns the status as a shell would.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let signalled = || status.signal().map(|signal| 128 + signal);
    status.code().or_else(signalled).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_is_told_where_the_gateway_is() {
        let key = SecretString::from("k3y");
        for (tool, base, arguments) in [
            (Tool::Claude, ("ANTHROPIC_BASE_URL", "http://h:1/s/work"), 2),
            (Tool::Gemini, ("GOOGLE_GEMINI_BASE_URL", "http://h:1/s/work"), 2),
            (Tool::Codex, ("OPENAI_BASE_URL", "http://h:1/s/work/v1"), 6),
        ] {
            let command = tool.command("http://h:1", Some("work"), Some("lab/m"), &key);
            let command = command.as_std();
            let value = |name: &str| {
                let mut all = command.get_envs();
                all.find(|(have, _)| *have == name).and_then(|(_, value)| value?.to_str())
            };
            assert_eq!(value(base.0), Some(base.1), "{tool:?}");
            let keys = command.get_envs().filter(|(_, value)| value.is_some_and(|v| v == "k3y"));
            assert_eq!(keys.count(), 1);
            let arguments_found: Vec<_> = command.get_args().collect();
            assert_eq!(arguments_found.len(), arguments, "{arguments_found:?}");
            assert_eq!(arguments_found.last().unwrap(), &"lab/m");
            assert!(!format!("{arguments_found:?}").contains("k3y"));
        }
    }
}
