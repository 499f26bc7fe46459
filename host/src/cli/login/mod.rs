//! `maestro login`: log in to a provider under a name, with a key or in the browser.

mod browser;
mod key;
mod oauth;
mod profile;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use crate::{
    cli::{Outcome, ask, failure::Failure, output::Output, visible},
    maestro::{AskInfo, Flow, LoginMethod, Maestro},
    session::SessionName,
};

/// `maestro login P [--name N] [--auth oauth|api-key] …`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Says first which plugin will use the login and which origins it has to do with; the session is bound
to them, and nothing else ever gets it.

With a key: it is typed or pasted without being shown, or read from a file or from stdin. It is
never an argument, because other users of a machine can read those. It is tried at once; one that
the provider rejects is not stored. With --no-test it is stored untried. Where the provider
cannot be reached, it is stored with a warning.

With OAuth: the browser opens where there is one, and comes back to a port of this program. --device
shows a code for a browser on any machine; --paste takes the address of the last page from there.
With --profile nothing is copied: the token is read where the vendor's tool keeps it, at each use.
Ctrl-C ends the attempt; nothing is stored then.

With --json, the first line says what the user has to do, the second one what was stored.

Examples:
  maestro login anthropic
  maestro login openai --name work --auth oauth
  maestro login gemini --name work --auth oauth --set project=my-project --paste
  maestro login anthropic --name work --profile work
  pass show openai/work | maestro login openai --name work --key-stdin
  maestro login openai --name work --key-file new.key --replace")]
pub(super) struct LoginArgs {
    /// The provider whose account it is
    provider: String,
    /// What to call the session
    #[arg(short, long, default_value = "default")]
    name: String,
    /// How to log in: `api-key`, `oauth`, or the id of one of the provider's ways
    #[arg(short, long)]
    auth: Option<String>,
    /// Show a code to enter in a browser on any machine
    #[arg(long, conflicts_with_all = ["key_file", "key_stdin"])]
    device: bool,
    /// Take the code, or the address of the last page, from the terminal or stdin
    #[arg(long, conflicts_with_all = ["device", "key_file", "key_stdin"])]
    paste: bool,
    /// Print the URL without opening a browser
    #[arg(long)]
    no_browser: bool,
    /// Give a fact that the login asks for, such as `project=ID`
    #[arg(long, value_name = "NAME=VALUE", value_parser = fact)]
    set: Vec<(String, String)>,
    /// How long to wait for the browser to come back
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Use a login that the vendor's own tool keeps, by its name there; it stays where it is
    #[arg(long, value_name = "PROFILE", conflicts_with_all = [
        "auth", "device", "paste", "set", "key_file", "key_stdin", "replace"
    ])]
    profile: Option<String>,
    /// Read the key from this file
    #[arg(long, value_name = "FILE", conflicts_with = "key_stdin")]
    key_file: Option<PathBuf>,
    /// Read the key from stdin
    #[arg(long)]
    key_stdin: bool,
    /// Replace what the session holds, if there is one of that name
    #[arg(long)]
    replace: bool,
    /// Store the login without trying it
    #[arg(long)]
    no_test: bool,
}

/// Runs the command.
pub(super) async fn run(args: LoginArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let name = session_name(&args.name)?;
    if let Some(profile) = &args.profile {
        return profile::run(&args, profile, name, maestro, output).await;
    }
    let method = method(&args, maestro, output)?;
    if method.as_ref().is_some_and(|method| method.auth == OAUTH) {
        let scheme = method.map(|method| method.scheme);
        oauth::run(&args, name, scheme, maestro, output).await
    } else {
        key::run(&args, name, maestro, output).await
    }
}

impl LoginArgs {
    fn flow(&self) -> Option<Flow> {
        match (self.device, self.paste) {
            (true, _) => Some(Flow::Device),
            (_, true) => Some(Flow::Paste),
            _ => None,
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// Collects the facts that the login asks for: given ones, then asked ones. Those of the
    /// environment are not asked for.
    fn facts(
        &self,
        asks: &[AskInfo],
        output: &Output,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let mut facts: BTreeMap<String, String> = self.set.iter().cloned().collect();
        if facts.len() < self.set.len() {
            return Err(Failure::usage("`--set` names a fact twice", "give each fact once"));
        }
        // A pipe that brings the key or the code is no person.
        if !ask::is_possible(output) || self.key_stdin {
            return Ok(facts);
        }
        for wanted in asks.iter().filter(|wanted| !wanted.optional) {
            if !facts.contains_key(&wanted.name) && wanted.from_env().is_none() {
                let help = if wanted.help.is_empty() { &wanted.name } else { &wanted.help };
                facts.insert(wanted.name.clone(), line(output, help)?);
            }
        }
        Ok(facts)
    }
}

/// Chooses how to log in; `None` when the provider has no way, which the key login then says.
fn method(
    args: &LoginArgs,
    maestro: &Maestro,
    output: &Output,
) -> Result<Option<LoginMethod>, Failure> {
    let mut methods = maestro.login_methods(&args.provider)?;
    if let Some(wanted) = &args.auth {
        let wanted = if wanted == "api_key" { KEY } else { wanted };
        let found = methods.iter().position(|m| m.auth == wanted || m.scheme == wanted);
        return found.map(|at| Some(methods.swap_remove(at))).ok_or_else(|| {
            let known: BTreeSet<&str> = methods.iter().flat_map(words).collect();
            let known = known.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>();
            Failure::usage(
                format!("provider `{}` has no login `{wanted}`", args.provider),
                if known.is_empty() {
                    "it needs none".to_owned()
                } else {
                    format!("it has: {}", known.join(", "))
                },
            )
        });
    }
    let first = |auth: &str| methods.iter().position(|method| method.auth == auth);
    let at = if args.flow().is_some() {
        // Without one, the OAuth login says that the provider has none.
        let oauth = LoginMethod::oauth();
        return Ok(Some(first(OAUTH).map_or(oauth, |at| methods.swap_remove(at))));
    } else if args.key_stdin || args.key_file.is_some() {
        first(KEY)
    } else if methods.len() > 1 && ask::is_possible(output) {
        Some(pick(&methods, output)?)
    } else {
        first(KEY).or_else(|| first(OAUTH))
    };
    Ok(at.map(|at| methods.swap_remove(at)))
}

/// Returns the words that choose a method.
fn words(method: &LoginMethod) -> [&str; 2] {
    let own = if method.scheme == "api_key" { KEY } else { &method.scheme };
    [method.auth, own]
}

fn pick(methods: &[LoginMethod], output: &Output) -> Result<usize, Failure> {
    output.note("there are several ways to log in:");
    for (at, method) in methods.iter().enumerate() {
        let name = match (method.display_name.as_str(), method.auth) {
            ("", KEY) => "with an API key",
            ("", _) => "in the browser",
            (name, _) => name,
        };
        output.note(&format!("  {}  {name} ({})", at + 1, words(method)[1]));
    }
    loop {
        let answer = line(output, &format!("which (1 to {})", methods.len()))?;
        let number = answer.parse::<usize>().ok().filter(|n| (1..=methods.len()).contains(n));
        let named = || methods.iter().position(|method| words(method).contains(&answer.as_str()));
        if let Some(at) = number.map(|n| n - 1).or_else(named) {
            return Ok(at);
        }
        output.note("give one of the numbers");
    }
}

/// Asks for a line that may be seen. A closed terminal ends it.
fn line(output: &Output, prompt: &str) -> Result<String, Failure> {
    output.stderr(format_args!("{}: ", visible::line(prompt)));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer).context("failed to read the answer")?;
    if read == 0 {
        return Err(Failure::request("the input ended before the login was done", "log in again"));
    }
    Ok(answer.trim().to_owned())
}

fn fact(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected `NAME=VALUE`")?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || value.is_empty() {
        return Err("expected `NAME=VALUE`, both not empty".into());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads a session's name from the command line.
pub(super) fn session_name(text: &str) -> Result<SessionName, Failure> {
    SessionName::new(text)
        .map_err(|error| Failure::Usage { message: error.to_string(), hint: error.hint() })
}

const KEY: &str = "api-key";
const OAUTH: &str = "oauth";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_pairs() {
        assert_eq!(fact("project = p=1").unwrap(), ("project".into(), "p=1".into()));
        for text in ["project", "=x", "project=", " = "] {
            assert!(fact(text).is_err(), "{text}");
        }
    }
}
