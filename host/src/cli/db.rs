//! `maestro db`: the store as a file.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    cli::{
        Outcome, ask,
        output::{Document, Output},
        table::Sheet,
        time, visible,
    },
    maestro::{DbMigration, Error, Maestro, counted},
    session::{KeySource, RollbackPlan},
};

/// `maestro db status|migrate|rollback|backup|check|rekey`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The store migrates itself when a newer `maestro` first uses it, and writes a backup beside itself
before. These commands look at it, do that by hand, and undo it.

Examples:
  maestro db status
  maestro db backup
  maestro db rollback --to 1
  maestro db rekey")]
pub(super) struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Show the schema's version, what is pending and where the key is; opens nothing
    Status,
    /// Bring the store to the newest schema
    #[command(after_long_help = "\
Logins of the former program are opened with its key and sealed anew. Name that key in the
configuration:

  [store]
  legacy_key = { env = \"OLD_KEY\" }     # or file, command, systemd; 32 bytes as base64

A migrated login is used only after `maestro sessions approve` showed where it may go.")]
    Migrate {
        /// Leave logins of the former program behind if they do not open
        #[arg(long)]
        without_legacy_key: bool,
    },
    /// Take the store back to an older schema; shows first what would be set aside
    #[command(after_long_help = "\
What the older schema cannot hold is parked inside the file and comes back with the next
migration, which happens as soon as this version of `maestro` uses the store again.

Below version 2, the login that stays of each provider and auth type is sealed as the former
program does; that needs its key (see `maestro db migrate --help`).")]
    Rollback {
        /// The version wanted; `maestro db status` says the present one
        #[arg(long, value_name = "VERSION")]
        to: i64,
        /// Show what would be set aside, and do nothing
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Copy the store to a file, which must not exist
    Backup {
        /// The file; beside the store when none is given
        file: Option<PathBuf>,
    },
    /// Check that the file is sound and that everything in it opens with the key
    Check,
    /// Seal everything with a new master key
    #[command(after_long_help = "\
A generated key file gets a new key; the old key stays beside it, for backups made before. A key
that you keep yourself you also make yourself, for example with `openssl rand -hex 32`, and name
it here; then change `key` below `[store]` in the configuration.")]
    Rekey {
        /// File that holds the new key
        #[arg(long, value_name = "FILE", conflicts_with = "new_key_env")]
        new_key_file: Option<PathBuf>,
        /// Environment variable that holds the new key
        #[arg(long, value_name = "NAME")]
        new_key_env: Option<String>,
    },
}

/// Runs the command.
pub(super) async fn run(args: DbArgs, maestro: &Maestro, output: &Output) -> Outcome {
    match args.command {
        DbCommand::Status => status(maestro, output).await,
        DbCommand::Migrate { without_legacy_key } => {
            let done = maestro.db_migrate(without_legacy_key).await?;
            migrated(&done, output)
        }
        DbCommand::Rollback { to, dry_run, yes } => {
            rollback(to, dry_run, yes, maestro, output).await
        }
        DbCommand::Backup { file } => {
            let file = maestro.db_backup(file).await?;
            let text = format!("copied the store to `{}`", file.display());
            said(&Document::new().with("file", &file), &text, output)
        }
        DbCommand::Check => check(maestro, output).await,
        DbCommand::Rekey { new_key_file, new_key_env } => {
            let new = new_key_file.map(KeySource::File).or(new_key_env.map(KeySource::Env));
            rekey(new, maestro, output).await
        }
    }
}

async fn status(maestro: &Maestro, output: &Output) -> Outcome {
    let status = maestro.db_status().await?;
    let mut sheet = Sheet::default();
    sheet.line("file", status.path.display().to_string());
    if let Some(schema) = &status.schema {
        let known = match schema.version - schema.latest {
            0 => "the newest".to_owned(),
            1.. => format!("this host knows up to {}", schema.latest),
            _ => format!("pending: {}", schema.pending.join(", ")),
        };
        sheet.line("version", format!("{} ({known})", schema.version));
        for applied in schema.applied.iter().filter(|applied| !applied.matches) {
            let text = format!("`{}` is not the one of this build", applied.name);
            sheet.line("migration", text);
        }
        if let Some(last) = schema.applied.iter().map(|applied| applied.applied_at).max() {
            sheet.line("migrated", time::date(last));
        }
        let mut sessions = schema.sessions.to_string();
        if schema.legacy_sessions > 0 {
            sessions += &format!(", {} as the former program sealed them", schema.legacy_sessions);
        }
        sheet.line("sessions", sessions);
        if schema.parked > 0 {
            sheet.line("parked", format!("{} rows of an earlier rollback", schema.parked));
        }
        sheet.line("size", format!("{} KiB", schema.size.div_ceil(1024)));
        for backup in &schema.backups {
            sheet.line("backup", backup.display().to_string());
        }
    } else {
        sheet.line("version", "there is no store yet");
    }
    sheet.line("key", status.key.as_str());
    if let Some(schema) = &status.schema {
        sheet.line("key ids", schema.keys.join(", "));
    }
    sheet.line("legacy key", if status.legacy_key { "configured" } else { "" });
    output.either(|| Document::new().with("store", &status), sheet)
}

fn migrated(done: &DbMigration, output: &Output) -> Outcome {
    let mut text = match done.from == done.to {
        true => format!("the store is at version {}, the newest", done.to),
        false => format!("migrated the store from version {} to {}", done.from, done.to),
    };
    if done.taken_over > 0 {
        let logins = counted(usize::try_from(done.taken_over).unwrap_or(usize::MAX), "login");
        text += &format!("; took over {logins} of the former program");
    }
    said(&Document::new().with("migration", done), &text, output)?;
    note_backup(done, output);
    if done.taken_over > 0 && !output.is_json() {
        output.note("each needs `maestro sessions approve` before it is used");
    }
    if done.left_behind > 0 && !output.is_json() {
        output.warn(&format!(
            "{} of the former program stay sealed as they were; log in again, or configure its key",
            counted(usize::try_from(done.left_behind).unwrap_or(usize::MAX), "login")
        ));
    }
    Ok(())
}

async fn rollback(
    to: i64,
    dry_run: bool,
    yes: bool,
    maestro: &Maestro,
    output: &Output,
) -> Outcome {
    let plan = maestro.db_rollback_plan(to).await?;
    if dry_run {
        return output.either(|| Document::new().with("plan", &plan), shown(&plan));
    }
    if !output.is_json() {
        output.stderr(shown(&plan));
    }
    let question = format!("roll the store back from version {} to {to}", plan.from);
    ask::confirm(output, &question, yes)?;
    let done = maestro.db_rollback(to).await?;
    let text = format!("rolled the store back from version {} to {}", done.from, done.to);
    said(&Document::new().with("migration", &done).with("plan", &plan), &text, output)?;
    note_backup(&done, output);
    if !output.is_json() {
        output.note("this version of `maestro` migrates it again as soon as it uses it");
    }
    Ok(())
}

/// Says what a rollback would set aside, a line each.
fn shown(plan: &RollbackPlan) -> String {
    let mut lines = Vec::new();
    let list = |names: &[String]| names.join(", ");
    if !plan.parked_sessions.is_empty() {
        lines.push(format!("parked until the next migration: {}", list(&plan.parked_sessions)));
    }
    if !plan.resealed_sessions.is_empty() {
        let names = list(&plan.resealed_sessions);
        lines.push(format!("sealed as the former program does: {names}"));
    }
    if plan.conversations > 0 {
        lines.push(format!("parked conversations: {}", plan.conversations));
    }
    if plan.other_rows > 0 {
        lines.push(format!(
            "parked rows of audit trail, usage, keys, settings: {}",
            plan.other_rows
        ));
    }
    if lines.is_empty() {
        lines.push("nothing would be set aside".into());
    }
    lines.iter().map(|line| format!("{}\n", visible::line(line))).collect()
}

async fn check(maestro: &Maestro, output: &Output) -> Outcome {
    let check = maestro.db_check().await?;
    if output.is_json() {
        output.document(&Document::new().with("check", &check))?;
    } else if check.problems.is_empty() {
        output.line(&match (check.sessions, check.messages) {
            (Some(sessions), Some(messages)) => format!(
                "the file is sound; {} and {} open with the key",
                counted(sessions, "session"),
                counted(messages, "message")
            ),
            _ => format!(
                "the file is sound; it has schema version {}, so nothing in it was opened",
                check.version
            ),
        })?;
    } else {
        for problem in &check.problems {
            output.line(problem)?;
        }
    }
    match check.problems.len() {
        0 => Ok(()),
        problems => Err(Error::Unsound { problems }.into()),
    }
}

async fn rekey(new: Option<KeySource>, maestro: &Maestro, output: &Output) -> Outcome {
    let entry = new.as_ref().map(configured);
    let done = maestro.db_rekey(new).await?;
    let values = counted(usize::try_from(done.values).unwrap_or(usize::MAX), "value");
    let text = format!("sealed {values} with key {} instead of {}", done.to, done.from);
    said(&Document::new().with("rekey", &done), &text, output)?;
    if output.is_json() {
        return Ok(());
    }
    if let Some(retired) = &done.retired {
        let file = retired.display();
        output.note(&format!("the old key is in `{file}`; backups made before need it"));
    }
    if let Some(entry) = entry {
        output.note(&format!("now write `key = {entry}` below `[store]` in the configuration"));
    }
    Ok(())
}

/// Writes a source of a key as the configuration names it.
fn configured(source: &KeySource) -> String {
    let (name, value) = match source {
        KeySource::Env(variable) => ("env", variable.clone()),
        // The configuration is read from any folder, so that a relative path would lead elsewhere.
        KeySource::File(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            ("file", path.display().to_string())
        }
        other => return other.to_string(),
    };
    format!("{{ {name} = {} }}", toml::Value::from(value))
}

fn note_backup(done: &DbMigration, output: &Output) {
    if let (Some(backup), false) = (&done.backup, output.is_json()) {
        output.note(&format!("a copy from before is in `{}`", backup.display()));
    }
}

fn said(document: &Document, text: &str, output: &Output) -> Outcome {
    if output.is_json() { output.document(document) } else { output.line(text) }
}
