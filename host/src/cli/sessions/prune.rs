//! `maestro sessions prune`: delete what is of no use.

use clap::Args;

use crate::{
    cli::{
        Outcome, ask,
        output::{Document, Output},
        table::Table,
        time,
    },
    maestro::{Maestro, PruneCandidate, counted},
};

/// `maestro sessions prune [--days N] [--dry-run | --yes]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Shows the stored sessions that are of no use, each with the reason: neither made nor used for so
many days, with tokens that ended that long ago, or refused by the vendor until you log in again.
Then it asks.

Examples:
  maestro sessions prune --dry-run
  maestro sessions prune --days 30 --yes")]
pub(super) struct PruneArgs {
    /// For how many days a session must have been idle
    #[arg(short, long, default_value_t = 90)]
    days: u32,
    /// Show them, and delete nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Delete them without being asked
    #[arg(short, long)]
    yes: bool,
}

/// Runs the command.
pub(super) async fn run(args: &PruneArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let found = maestro.prune_candidates(args.days).await?;
    if output.is_json() && !args.yes {
        return output.document(&Document::new().with("candidates", &found));
    }
    if found.is_empty() && !output.is_json() {
        let days = counted(usize::try_from(args.days).unwrap_or(usize::MAX), "day");
        output.note(&format!("no session was idle for {days} or needs a new login"));
        return Ok(());
    }
    if !output.is_json() {
        output.data(table(&found))?;
    }
    if !args.yes {
        if args.dry_run || !ask::is_possible(output) {
            output.note("nothing was deleted; add `--yes` to delete them");
            return Ok(());
        }
        let what = format!("delete {} and their secrets", counted(found.len(), "session"));
        ask::confirm(output, &what, false)?;
    }
    let mut deleted = Vec::new();
    for candidate in found {
        let session = maestro.delete_session(&candidate.session.selector).await?;
        if !output.is_json() {
            output.line(&format!("deleted {}", session.selector))?;
        }
        deleted.push(session);
    }
    if output.is_json() {
        return output.document(&Document::new().with("sessions", &deleted));
    }
    Ok(())
}

fn table(found: &[PruneCandidate]) -> Table {
    let mut table = Table::new(&["SESSION", "WHY", "LAST USED", "ACCOUNT"]);
    for PruneCandidate { session, reason, .. } in found {
        table.row([
            session.selector.clone(),
            reason.clone(),
            time::date_or(session.last_used_at, "never"),
            session.account.clone().unwrap_or_default(),
        ]);
    }
    table
}
