//! The arguments of the program as a whole; those of a command are in the command's own file.

use clap::{Args, Parser, Subcommand};

use crate::cli::{
    chat::ChatArgs,
    completions::{CompletionsArgs, ManArgs},
    config::ConfigArgs,
    conversations::ConversationsArgs,
    db::DbArgs,
    embed::EmbedArgs,
    env::EnvArgs,
    keys::KeysArgs,
    launch::LaunchArgs,
    login::LoginArgs,
    models::ModelsArgs,
    plugin::PluginArgs,
    providers::ProvidersArgs,
    routes::RoutesArgs,
    serve::ServeArgs,
    sessions::SessionsArgs,
};

/// Talks to every LLM provider that is dropped into a folder, under every account you have.
#[derive(Debug, Parser)]
#[command(
    name = "maestro",
    version,
    after_help = "Data goes to stdout, everything else to stderr.\n\
        Exit status: 0 success, 1 the request failed, 2 usage, 3 authentication needed,\n\
        4 plugin rejected, 5 store or key, 130 interrupted.",
    after_long_help = AFTER
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Print JSON: one object, or one a line where things arrive over time; errors too
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Say more on stderr; twice for the host's log, three times for all of it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the providers and say what each can do
    #[command(visible_alias = "provider")]
    Providers(ProvidersArgs),
    /// List models, describe one, choose the default
    #[command(visible_alias = "model")]
    Models(ModelsArgs),
    /// Log in to a provider under a name, with a key or in the browser
    Login(LoginArgs),
    /// List, test and change stored logins
    #[command(visible_alias = "session")]
    Sessions(SessionsArgs),
    /// Ask a model and stream its answer; without a prompt, talk to it
    Chat(Box<ChatArgs>),
    /// Turn texts into vectors
    Embed(EmbedArgs),
    /// List, show, export and delete stored conversations
    #[command(visible_alias = "conversation")]
    Conversations(ConversationsArgs),
    /// Serve OpenAI's, Anthropic's and Gemini's clients with every provider
    Serve(ServeArgs),
    /// Run Claude Code, Codex or Gemini CLI with any model and session
    Launch(LaunchArgs),
    /// Make, list and take back keys of the gateway's clients
    #[command(visible_alias = "key")]
    Keys(KeysArgs),
    /// Say where a request for a model would go, and why
    #[command(visible_alias = "route")]
    Routes(RoutesArgs),
    /// Print the settings with which a tool uses the gateway
    Env(EnvArgs),
    /// List plugin files and look into one
    #[command(visible_alias = "plugins")]
    Plugin(PluginArgs),
    /// Look after the store: its schema, backups, health and key
    Db(DbArgs),
    /// Check the installation and say what to do about each problem
    Doctor,
    /// Show the configuration that is in effect, and where it comes from
    Config(ConfigArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write all pages into a folder
    Man(ManArgs),
}

const AFTER: &str = "\
Examples:
  maestro providers                       what is ready to be asked
  maestro login anthropic --name work     store a key; it is asked for, never an argument
  maestro chat -m anthropic/MODEL 'Why is the sky blue?'
  git diff | maestro chat 'Write a commit message for this'

Environment:
  MAESTRO_HOME      folder that holds everything; unset, the XDG directories are used
  MAESTRO_SESSION   session to use where none is named: `work`, or `openai=work,anthropic=home`
  MAESTRO_LOG       what to log on stderr, for example `host=debug`
  NO_COLOR          turns colour off

Data goes to stdout, everything else to stderr. With --json, data is an object
`{\"version\":1, …}`, and an error is one line on stderr:
`{\"version\":1,\"error\":{\"kind\",\"message\",\"causes\",\"hint\"}}`.

Exit status: 0 success, 1 the request failed, 2 usage, 3 authentication needed,
4 plugin rejected, 5 store or key, 130 interrupted.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn walk(command: &clap::Command) {
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{}", sub.get_name());
                for arg in sub.get_arguments().filter(|arg| !arg.is_hide_set()) {
                    let id = arg.get_id();
                    assert!(arg.get_help().is_some(), "{} {id}", sub.get_name());
                }
                walk(sub);
            }
        }
        walk(&Cli::command());
    }

    #[test]
    fn no_option_takes_a_secret() {
        fn walk(command: &clap::Command) {
            for sub in command.get_subcommands() {
                for arg in sub.get_arguments() {
                    let id = arg.get_id().as_str();
                    assert!(!["key", "secret", "token", "password"].contains(&id), "{id}");
                }
                walk(sub);
            }
        }
        walk(&Cli::command());
    }

    #[test]
    fn no_line_of_help_is_broken_by_the_width_of_the_terminal() {
        fn walk(command: &clap::Command) {
            let texts = [command.get_after_help(), command.get_after_long_help()];
            for text in texts.into_iter().flatten().map(ToString::to_string) {
                for line in text.lines() {
                    assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
                }
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn a_misspelt_command_is_corrected_with_status_2() {
        let error = Cli::try_parse_from(["maestro", "provders"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("'providers'"), "{error}");
    }

    #[test]
    fn global_flags_work_on_both_sides() {
        for line in [["maestro", "--json", "providers"], ["maestro", "providers", "--json"]] {
            assert!(Cli::try_parse_from(line).unwrap().global.json);
        }
    }
}
