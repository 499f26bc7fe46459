//! `maestro sessions`: the stored logins.

mod approve;
mod import;
mod prune;

use clap::{Args, Subcommand};

use crate::{
    cli::{
        Outcome, ask,
        login::session_name,
        output::{Document, Output},
        table::{Sheet, Table},
        time,
    },
    maestro::{Maestro, SessionView},
};

/// `maestro sessions list|show|rename|default|refresh|test|approve|import|prune|delete`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
A session is named `[PROVIDER:]NAME[@AUTH]`; more than NAME is needed only where that is ambiguous.

Examples:
  maestro sessions
  maestro sessions test work
  maestro sessions default openai:work
  maestro sessions rename openai:default personal
  maestro sessions delete openai:old@api_key"
)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: Option<SessionsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of this provider
    #[arg(short, long)]
    provider: Option<String>,
}

/// The session that a command is about.
#[derive(Debug, Args)]
struct Selected {
    /// The session, as `[PROVIDER:]NAME[@AUTH]`
    session: String,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// List sessions: stored ones, declared ones, those from the environment; the default
    List(ListArgs),
    /// Show one session, never its secret
    Show(Selected),
    /// Give a session another name
    Rename {
        #[command(flatten)]
        selected: Selected,
        /// The new name: 3 to 50 of `A-Z a-z 0-9 _ -`
        name: String,
    },
    /// Make a session its provider's default
    Default(Selected),
    /// Renew the tokens of a session now
    Refresh(Selected),
    /// Ask the provider whether it accepts a session, and who you are to it
    Test(Selected),
    /// Show what a plugin wants beyond what you agreed to at login, and agree
    Approve(approve::ApproveArgs),
    /// Take over keys from the environment and from other tools; shows them first
    Import(import::ImportArgs),
    /// Delete sessions that are of no use: idle for long, expired, refused; shows them first
    Prune(prune::PruneArgs),
    /// Delete a session and its secret
    Delete {
        #[command(flatten)]
        selected: Selected,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Do not tell the vendor that the tokens are no longer wanted
        #[arg(long)]
        no_revoke: bool,
    },
}

/// Runs the command.
pub(super) async fn run(args: SessionsArgs, maestro: &Maestro, output: &Output) -> Outcome {
    match args.command {
        None => list(&args.list, maestro, output).await,
        Some(SessionsCommand::List(args)) => list(&args, maestro, output).await,
        Some(SessionsCommand::Show(of)) => show(&maestro.session(&of.session).await?, output),
        Some(SessionsCommand::Rename { selected, name }) => {
            let before = maestro.session(&selected.session).await?;
            let after = maestro.rename_session(&selected.session, session_name(&name)?).await?;
            changed(&after, &format!("renamed {} to {}", before.selector, after.selector), output)
        }
        Some(SessionsCommand::Default(of)) => {
            let session = maestro.set_default_session(&of.session).await?;
            let text = format!("{} is now the default of {}", session.selector, session.provider);
            changed(&session, &text, output)
        }
        Some(SessionsCommand::Refresh(of)) => {
            let session = maestro.refresh_tokens(&of.session).await?;
            changed(&session, &format!("renewed the tokens of {}", session.selector), output)
        }
        Some(SessionsCommand::Test(of)) => test(&of.session, maestro, output).await,
        Some(SessionsCommand::Approve(args)) => approve::run(&args, maestro, output).await,
        Some(SessionsCommand::Import(args)) => import::run(&args, maestro, output).await,
        Some(SessionsCommand::Prune(args)) => prune::run(&args, maestro, output).await,
        Some(SessionsCommand::Delete { selected, yes, no_revoke }) => {
            let session = maestro.session(&selected.session).await?;
            let question = format!("delete session {} and its secret", session.selector);
            ask::confirm(output, &question, yes)?;
            let deleted = maestro.remove_session(&session.selector, !no_revoke).await?;
            let session = deleted.session;
            if let Some(why) = deleted.not_revoked {
                output.warn(&format!(
                    "{} is deleted here, but the vendor may still take its tokens: {why}",
                    session.selector
                ));
            }
            changed(&session, &format!("deleted {}", session.selector), output)
        }
    }
}

async fn list(args: &ListArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let sessions = maestro.list_sessions(args.provider.as_deref()).await?;
    if let (Some(provider), true) = (&args.provider, sessions.is_empty()) {
        // Sessions may outlive their plugin; only without any is it worth a word that it is unknown.
        maestro.provider_capabilities(provider).await?;
    }
    if !output.is_json() && sessions.is_empty() {
        output.note("there is no session; `maestro login PROVIDER` makes one");
        return Ok(());
    }
    output.either(|| Document::new().with("sessions", &sessions), table(&sessions))
}

/// Lists sessions for people.
fn table(sessions: &[SessionView]) -> Table {
    let mut table = Table::new(&[
        "SESSION",
        "DEFAULT",
        "STATUS",
        "SOURCE",
        "EXPIRES",
        "LAST USED",
        "ACCOUNT",
        "LAST ERROR",
    ]);
    for session in sessions {
        table.row([
            session.selector.clone(),
            if session.is_default { "yes" } else { "" }.to_owned(),
            session.status.to_string(),
            session.source.to_owned(),
            time::date_or(session.expires_at, ""),
            time::date_or(session.last_used_at, "never"),
            session.account.clone().unwrap_or_default(),
            beginning(session.last_error.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

/// Returns as much of an error as a column bears; `sessions show` has all of it.
fn beginning(error: &str) -> String {
    match error.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{}…", &error[..end]),
        None => error.to_owned(),
    }
}

const MAX_ERROR: usize = 60;

fn show(session: &SessionView, output: &Output) -> Outcome {
    let mut sheet = Sheet::default();
    sheet.line("session", session.selector.as_str());
    sheet.line("provider", session.provider.as_str());
    sheet.line("name", session.name.as_str());
    sheet.line("auth", session.auth_type.as_str());
    sheet.line("status", session.status.as_str());
    sheet.line("default", if session.is_default { "yes" } else { "no" });
    sheet.line("source", session.source);
    sheet.line("account", session.account.clone().unwrap_or_default());
    sheet.line("created", time::date_or(session.created_at, ""));
    sheet.line("last used", time::date_or(session.last_used_at, "never"));
    sheet.line("expires", time::date_or(session.expires_at, ""));
    sheet.line("last error", session.last_error.clone().unwrap_or_default());
    output.either(|| Document::new().with("session", session), sheet)
}

async fn test(selector: &str, maestro: &Maestro, output: &Output) -> Outcome {
    let session = maestro.session(selector).await?;
    let account = maestro.test_session(&session.selector).await?;
    if output.is_json() {
        let document = Document::new().with("session", &session.selector).with("account", &account);
        return output.document(&document);
    }
    let mut text = format!("{} works", session.selector);
    if let Some(name) = &account.name {
        text.push_str(&format!("; you are {name}"));
    }
    for (name, value) in &account.attributes {
        text.push_str(&format!(", {name} {value}"));
    }
    output.line(&text)
}

fn changed(session: &SessionView, text: &str, output: &Output) -> Outcome {
    if output.is_json() {
        output.document(&Document::new().with("session", session))
    } else {
        output.line(text)
    }
}
