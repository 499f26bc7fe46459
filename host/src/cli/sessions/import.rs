//! `maestro sessions import`: take over what other tools hold, after showing it.

use std::path::PathBuf;

use clap::Args;

use crate::{
    cli::{
        Outcome, ask,
        failure::Failure,
        login::session_name,
        output::{Document, Output},
        table::Table,
    },
    import::Tool,
    maestro::{ImportCandidate, ImportPlan, ImportRequest, Maestro, counted},
};

/// `maestro sessions import [PROVIDER] [--from TOOL[=FILE]]… [--name N] [--dry-run | --yes]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Looks for API keys in these places, lists what it found and where each key could be sent, and asks:

  env       the variables that providers declare (`maestro providers show P` names them)
  llm       keys.json of `llm`
  aichat    config.yaml of `aichat`
  litellm   a configuration of the LiteLLM proxy: name it with --from litellm=FILE
  opencode  auth.json of `opencode`; its API keys, not its OAuth logins
  profiles  logins that a vendor's own tool keeps; they stay there and are read at each use

A session that exists is never replaced, a key that is stored already is not stored twice, and
nothing is changed in any other tool's files.

Examples:
  maestro sessions import --dry-run
  maestro sessions import --from llm --yes
  maestro sessions import openai --from litellm=proxy.yaml --name work")]
pub(super) struct ImportArgs {
    /// Only for this provider
    provider: Option<String>,
    /// Only from this place, perhaps from a file other than the tool's usual one
    #[arg(short, long, value_name = "TOOL[=FILE]", value_parser = source)]
    from: Vec<(Tool, Option<PathBuf>)>,
    /// What to call the session; only for one
    #[arg(short, long)]
    name: Option<String>,
    /// Show what was found, and store nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Store them without being asked
    #[arg(short, long)]
    yes: bool,
}

fn source(text: &str) -> Result<(Tool, Option<PathBuf>), String> {
    match text.split_once('=') {
        Some((tool, file)) if !file.is_empty() => Ok((tool.parse()?, Some(file.into()))),
        _ => Ok((text.trim_end_matches('=').parse()?, None)),
    }
}

/// Runs the command.
pub(super) async fn run(args: &ImportArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let request = ImportRequest {
        provider: args.provider.clone(),
        from: args.from.clone(),
        name: args.name.as_deref().map(session_name).transpose()?,
    };
    let plan = maestro.import_plan(&request).await?;
    let takes: Vec<_> = plan.candidates.iter().filter(|found| found.skipped.is_none()).collect();
    let decided = args.yes && !args.dry_run;
    if output.is_json() && !decided {
        return output.document(&document(&plan));
    }
    if !output.is_json() {
        show(&plan, output)?;
    }
    if !takes.is_empty() && !decided {
        if args.dry_run || !ask::is_possible(output) {
            output.note("nothing was stored; add `--yes` to store them");
            return Ok(());
        }
        let what = format!("store {}", counted(takes.len(), "session"));
        ask::confirm(output, &what, false)?;
    }
    let mut stored = Vec::new();
    let mut failed = None;
    for candidate in takes {
        match maestro.import(candidate).await {
            Ok(session) => {
                if !output.is_json() {
                    output
                        .line(&format!("stored {} from {}", session.selector, candidate.place))?;
                }
                stored.push(session);
            }
            // The others are not worse for it.
            Err(error) => {
                output.warn(&format!("{} was not stored: {error}", candidate.place));
                failed = Some(error);
            }
        }
    }
    if output.is_json() {
        output.document(&document(&plan).with("sessions", &stored))?;
    }
    failed.map_or(Ok(()), |error| Err(Failure::from(error)))
}

fn document(plan: &ImportPlan) -> Document {
    Document::new()
        .with("candidates", &plan.candidates)
        .with("problems", &plan.problems)
        .with("absent", &plan.absent)
}

fn show(plan: &ImportPlan, output: &Output) -> Outcome {
    for problem in &plan.problems {
        let path = problem.path.display();
        output.warn(&format!("`{path}` of {} cannot be read: {}", problem.from, problem.problem));
    }
    if plan.candidates.is_empty() {
        output.note("found no key in the environment or in another tool's files");
        for path in &plan.absent {
            output.note(&format!("not there: {}", path.display()));
        }
        return Ok(());
    }
    let mut table = Table::new(&["FROM", "KEY", "SESSION", "GOES TO", "FOUND IN"]);
    for found in &plan.candidates {
        table.row([
            found.from.to_string(),
            found.key.clone().unwrap_or_default(),
            session(found),
            found.origins.join(", "),
            found.place.clone(),
        ]);
    }
    output.data(table)
}

/// Says what would become of it.
fn session(found: &ImportCandidate) -> String {
    match (&found.skipped, &found.provider, &found.name) {
        (Some(why), ..) => format!("skipped: {why}"),
        (None, Some(provider), Some(name)) => format!("{provider}:{name}"),
        _ => "skipped".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_may_name_a_file() {
        assert_eq!(source("llm"), Ok((Tool::Llm, None)));
        assert_eq!(source("litellm=a=b.yaml"), Ok((Tool::Litellm, Some("a=b.yaml".into()))));
        assert_eq!(source("env="), Ok((Tool::Env, None)));
        assert!(source("chatgpt").unwrap_err().contains("opencode"));
    }
}
