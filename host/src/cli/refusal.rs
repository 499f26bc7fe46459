//! What the argument parser refuses, said in the words and the form of every other error.

use std::{error::Error as _, num::ParseIntError, process::ExitCode};

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::cli::{args::Cli, failure::Failure, output::Output};

/// Prints help or the version to stdout, a usage error to stderr; returns the exit status.
pub(super) fn print(error: &clap::Error) -> ExitCode {
    let asked_for_help =
        !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if asked_for_help {
        // Nothing can be said about a closed stderr, or a closed `maestro --help | head`.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let json = std::env::args_os().any(|arg| arg == "--json");
    let words: Vec<_> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let failure = failure_of(error, &words);
    Output::new(json, 0).failure(&failure);
    ExitCode::from(failure.exit_code())
}

/// Reads a number of seconds of at least one; for clap.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected a whole number from 1".to_owned();
    text.parse().ok().filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

fn failure_of(error: &clap::Error, words: &[String]) -> Failure {
    Failure::Usage { message: message(error), hint: Some(hint(error, words)) }
}

fn message(error: &clap::Error) -> String {
    let arg = first(error, ContextKind::InvalidArg).unwrap_or_default();
    let value = first(error, ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = first(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("no command `{word}`")
        }
        ErrorKind::UnknownArgument => format!("unexpected argument `{arg}`"),
        ErrorKind::MissingRequiredArgument => {
            format!("missing {}", quoted(&all(error, ContextKind::InvalidArg), " and "))
        }
        ErrorKind::ArgumentConflict => {
            let others = all(error, ContextKind::PriorArg);
            if others.is_empty() {
                format!("`{arg}` cannot be given more than once")
            } else {
                format!("`{arg}` cannot be used with {}", quoted(&others, " or "))
            }
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("`{arg}` needs a value"),
        ErrorKind::InvalidValue => {
            let valid = all(error, ContextKind::ValidValue);
            format!("`{arg}`: expected {}, found `{value}`", quoted(&valid, " or "))
        }
        ErrorKind::ValueValidation => {
            let problem = problem(error);
            // A parser of ours that others call too says what it found.
            let found =
                if problem.contains("found `") { "" } else { &format!(", found `{value}`") };
            format!("`{arg}`: {problem}{found}")
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

/// Says what was expected of a value.
fn problem(error: &clap::Error) -> String {
    match error.source() {
        Some(source) if source.is::<ParseIntError>() => "expected a whole number".to_owned(),
        Some(source) => source.to_string(),
        None => "expected another value".to_owned(),
    }
}

fn hint(error: &clap::Error, words: &[String]) -> String {
    let meant =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
            .into_iter()
            .find_map(|kind| all(error, kind).pop());
    // The parser names the likeliest last; the others are aliases of it, or far from it.
    if let Some(meant) = meant {
        return format!("did you mean `{meant}`?");
    }
    let usage = first(error, ContextKind::Usage).unwrap_or_default();
    // The first line is enough: commands with a default form have a second.
    let line = usage.lines().next().unwrap_or_default();
    let line = line.trim_start_matches("Usage:").trim();
    if error.kind() == ErrorKind::MissingRequiredArgument && !line.is_empty() {
        return format!("write `{line}`; `--help` says more");
    }
    let command = command_of(words);
    match first(error, ContextKind::InvalidArg) {
        // A text such as `-5` or `--- a/file` is no option, and only the user can tell.
        Some(arg) if error.kind() == ErrorKind::UnknownArgument && arg.starts_with('-') => {
            format!("run `{command} --help`; put `--` before a text that begins with `-`")
        }
        _ => format!("run `{command} --help`"),
    }
}

/// Names the command that was given, as far as there is one.
fn command_of(words: &[String]) -> String {
    let mut command = Cli::command();
    let mut name = command.get_name().to_owned();
    for word in words.iter().skip(1) {
        let Some(sub) = command.find_subcommand(word) else { continue };
        name = format!("{name} {}", sub.get_name());
        command = sub.clone();
    }
    name
}

fn quoted(words: &[String], and: &str) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(and)
}

fn first(error: &clap::Error, kind: ContextKind) -> Option<String> {
    all(error, kind).into_iter().next()
}

fn all(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(all)) => all.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        Some(ContextValue::StyledStrs(all)) => all.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(line: &str, message: &str, hint: &str) {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let error = Cli::command().try_get_matches_from(&words).unwrap_err();
        let failure = failure_of(&error, &words);
        assert_eq!((failure.to_string().as_str(), failure.exit_code()), (message, 2), "{line}");
        assert_eq!(failure.hint().as_deref(), Some(hint), "{line}");
    }

    #[test]
    fn what_was_meant_is_offered() {
        refused("maestro provders", "no command `provders`", "did you mean `providers`?");
        refused(
            "maestro login x --naem y",
            "unexpected argument `--naem`",
            "did you mean `--name`?",
        );
        refused(
            "maestro completions fsh",
            "`<SHELL>`: expected `bash` or `elvish` or `fish` or `powershell` or `zsh`, found `fsh`",
            "did you mean `fish`?",
        );
    }

    #[test]
    fn what_is_missing_is_named_with_the_whole_form() {
        refused(
            "maestro sessions rename",
            "missing `<SESSION>` and `<NAME>`",
            "write `maestro sessions rename <SESSION> <NAME>`; `--help` says more",
        );
    }

    #[test]
    fn nothing_near_leads_to_the_help_of_that_command() {
        refused("maestro xyzzy", "no command `xyzzy`", "run `maestro --help`");
        refused(
            "maestro chat -Z",
            "unexpected argument `-Z`",
            "run `maestro chat --help`; put `--` before a text that begins with `-`",
        );
        refused(
            "maestro chat -c --conversation x",
            "`--continue` cannot be used with `--conversation <NAME>`",
            "run `maestro chat --help`",
        );
    }

    #[test]
    fn a_value_is_refused_with_what_was_expected() {
        refused(
            "maestro db rollback --to x",
            "`--to <VERSION>`: expected a whole number, found `x`",
            "run `maestro db rollback --help`",
        );
        refused(
            "maestro chat -o warm",
            "`--option <KEY=VALUE>`: expected `key=value`, found `warm`",
            "run `maestro chat --help`",
        );
        refused(
            "maestro chat --timeout 0",
            "`--timeout <SECONDS>`: expected a whole number from 1, found `0`",
            "run `maestro chat --help`",
        );
        refused(
            "maestro keys create --name n --allow x::",
            "`--allow <PATTERN>`: expected `provider/model` or `provider:session/model` with `*` for \
             anything, found `x::`",
            "run `maestro keys create --help`",
        );
        refused("maestro chat -m", "`--model <REF>` needs a value", "run `maestro chat --help`");
    }
}
