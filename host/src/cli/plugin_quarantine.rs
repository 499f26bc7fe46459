//! `maestro plugin quarantine`: what is withheld because it crashes.

use clap::{Args, Subcommand};

use crate::{
    cli::{
        Outcome,
        output::{Document, Output},
        table::Table,
        time,
    },
    maestro::Maestro,
};

/// `maestro plugin quarantine [list|clear]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A plugin whose worker crashes three times in five minutes, each time again when the same input is
given to another worker, is withheld until its file changes or you clear it. Kills from outside
never count. A trusted plugin, which runs in process, is withheld for one step that does not end.

Examples:
  maestro plugin quarantine
  maestro plugin quarantine clear acme")]
pub(super) struct QuarantineArgs {
    #[command(subcommand)]
    command: Option<QuarantineCommand>,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// List what is withheld, since when and why
    List,
    /// Let a plugin run again, and forget that it crashed or could not be loaded
    Clear {
        /// A plugin's id
        #[arg(value_name = "ID")]
        plugin: String,
    },
}

/// Runs the command.
pub(super) fn run(args: QuarantineArgs, maestro: &Maestro, output: &Output) -> Outcome {
    match args.command.unwrap_or(QuarantineCommand::List) {
        QuarantineCommand::List => {
            let withheld = maestro.quarantined_plugins();
            if output.is_json() {
                return output.document(&Document::new().with("quarantined", &withheld));
            }
            let mut table = Table::new(&["PLUGIN", "HASH", "SINCE", "CRASHES", "LAST", "SIGNAL"]);
            for withheld in withheld {
                table.row([
                    withheld.plugin,
                    withheld.hash.chars().take(super::plugin::SHORT_HASH).collect(),
                    time::date(i64::try_from(withheld.since_s).unwrap_or(i64::MAX)),
                    withheld.crashes.to_string(),
                    withheld.reason,
                    withheld.signal.unwrap_or_default(),
                ]);
            }
            if table.is_empty() {
                output.note("no plugin is in quarantine");
                return Ok(());
            }
            output.data(table)
        }
        QuarantineCommand::Clear { plugin } => {
            let was = maestro.release_plugin(&plugin)?;
            if output.is_json() {
                return output.document(&Document::new().with("cleared", &was));
            }
            let now = if was { "may run again" } else { "was not in quarantine" };
            output.note(&format!("`{plugin}` {now}"));
            Ok(())
        }
    }
}
