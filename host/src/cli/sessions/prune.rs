//! `maestro sessions prune`: delete what nobody uses.

use clap::Args;

use crate::{
    cli::{
        Outcome,
        output::{Document, Output},
        sessions::table,
    },
    maestro::Maestro,
};

/// `maestro sessions prune [--days N] [--yes]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Shows the stored sessions that were neither made nor used for so many days. Nothing is deleted
without --yes.

Examples:
  maestro sessions prune
  maestro sessions prune --days 30 --yes")]
pub(super) struct PruneArgs {
    /// For how many days a session must have been idle
    #[arg(short, long, default_value_t = 90)]
    days: u32,
    /// Delete them
    #[arg(short, long)]
    yes: bool,
}

/// Runs the command.
pub(super) async fn run(args: &PruneArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let idle = maestro.prune_candidates(args.days).await?;
    if !args.yes {
        if output.is_json() {
            return output.document(&Document::new().with("candidates", &idle));
        }
        if idle.is_empty() {
            output.note(&format!("no session was idle for {} days", args.days));
            return Ok(());
        }
        output.data(table(&idle))?;
        output.note("nothing was deleted; add `--yes` to delete them");
        return Ok(());
    }
    let mut deleted = Vec::new();
    for session in idle {
        let session = maestro.delete_session(&session.selector).await?;
        if !output.is_json() {
            output.line(&format!("deleted {}", session.selector))?;
        }
        deleted.push(session);
    }
    if output.is_json() {
        return output.document(&Document::new().with("sessions", &deleted));
    }
    if deleted.is_empty() {
        output.note(&format!("no session was idle for {} days", args.days));
    }
    Ok(())
}
