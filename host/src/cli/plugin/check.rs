//! `maestro plugin check`: does a plugin keep every rule?

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use plugin_api::kit::conformance::{Options, Rule};

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
        visible::line,
    },
    maestro::Maestro,
    suggest::nearest,
};

/// `maestro plugin check FILE`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// A plugin's id, or the path of a file
    #[arg(value_name = "FILE-or-ID")]
    plugin: String,
    /// Show only the rules that are broken
    #[arg(long)]
    only_failed: bool,
    /// Check this rule alone; may be given more than once
    #[arg(long = "rule", value_name = "ID")]
    rules: Vec<String>,
    /// Repeat what was random with this seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Folder of recorded answers; unless given, `fixtures` beside the crate's `Cargo.toml`
    #[arg(long, value_name = "DIR")]
    fixtures: Option<PathBuf>,
    /// Also write the result as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &CheckArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let mut options = Options::seeded(args.seed);
    for id in &args.rules {
        let Some(rule) = Rule::from_name(id) else {
            let near = nearest(id, Rule::ALL.iter().map(|rule| rule.as_str()));
            let hint = near.map(|near| format!("did you mean `{near}`?"));
            let hint = hint.unwrap_or_else(|| "`docs/rules` lists them".into());
            return Err(Failure::usage(format!("no rule `{id}`"), hint));
        };
        options = options.rule(rule);
    }
    let mut checked = maestro.check_plugin(&args.plugin, args.fixtures.as_deref(), &options)?;
    if let Some(path) = &args.junit {
        fs::write(path, checked.junit())
            .with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    let count = |verdict: &str| checked.rules.iter().filter(|r| r.verdict == verdict).count();
    let (passed, failed, skipped) = (count("passed"), count("failed"), count("skipped"));
    if args.only_failed {
        checked.rules.retain(|rule| rule.verdict == "failed");
    }
    if output.is_json() {
        output.document(&Document::new().with("check", &checked))?;
    } else {
        for rule in &checked.rules {
            output.line(&format!("{:<8}{:<28}{}", rule.verdict, rule.rule, rule.description))?;
            if let (Some(input), Some(detail)) = (&rule.input, &rule.detail) {
                let more = match rule.more {
                    0 => String::new(),
                    more => format!(" (and {more} more)"),
                };
                output.line(&format!("        input: {}", line(input)))?;
                output.line(&format!("        found: {}{more}", line(detail)))?;
                output.line(&format!("        hint: {}", rule.hint.unwrap_or_default()))?;
            }
        }
        output.note(&format!(
            "`{}`: {passed} rules kept, {failed} broken, {skipped} not tried; {} recorded answers, \
             seed {}, {} ms",
            line(&checked.plugin),
            checked.fixtures,
            checked.seed,
            checked.milliseconds
        ));
    }
    if checked.fixtures == 0 && args.rules.is_empty() && !output.is_json() {
        output.note(
            "it came without recorded answers: generated inputs alone were used; `--fixtures DIR` names \
             a folder of them",
        );
    }
    if checked.passed { Ok(()) } else { Err(Failure::Nonconforming) }
}
