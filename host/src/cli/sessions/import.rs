//! `maestro sessions import`: store keys that are in the environment.

use clap::Args;
use plugin_api::ProviderId;
use serde::Serialize;

use crate::{
    cli::{
        Outcome, ask,
        failure::Failure,
        login::session_name,
        output::{Document, Output},
        table::Table,
    },
    maestro::{Maestro, NewLogin, ProviderInfo},
};

/// `maestro sessions import [PROVIDER] [--name N] [--yes]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Looks for the variables that providers declare (`maestro providers show P` names them), lists what it
would store and where each key could then be sent. Nothing is stored without --yes, and a session
that exists is never replaced.

Examples:
  maestro sessions import
  maestro sessions import openai --name work --yes")]
pub(super) struct ImportArgs {
    /// Only for this provider
    provider: Option<String>,
    /// What to call the sessions
    #[arg(short, long, default_value = "default")]
    name: String,
    /// Store them
    #[arg(short, long)]
    yes: bool,
}

/// A key that could be stored. The key itself stays in the environment until it is.
#[derive(Debug, PartialEq, Serialize)]
struct Candidate {
    provider: ProviderId,
    variable: String,
    plugin: String,
    origins: Vec<String>,
    /// Whether a session of that name exists.
    taken: bool,
}

/// Runs the command.
pub(super) async fn run(args: &ImportArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let only = args.provider.as_deref();
    let name = session_name(&args.name)?;
    let providers = match only {
        Some(id) => vec![maestro.provider_capabilities(id).await?],
        None => maestro.list_providers().await,
    };
    let mut candidates =
        candidates(&providers, |name| std::env::var_os(name).is_some_and(|key| !key.is_empty()));
    if !candidates.is_empty() {
        let sessions = maestro.list_sessions(only).await?;
        for found in &mut candidates {
            found.taken = sessions.iter().any(|session| {
                session.provider == found.provider
                    && session.name == name.as_str()
                    && session.source == "stored"
            });
        }
    }
    if !args.yes {
        return propose(&candidates, output);
    }
    let mut stored = Vec::new();
    for Candidate { provider, variable, .. } in candidates.into_iter().filter(|c| !c.taken) {
        let key = std::env::var(&variable).map_err(|_| {
            Failure::request(
                format!("variable `{variable}` is not UTF-8 text"),
                "check what it holds, or name another provider",
            )
        })?;
        let key = ask::checked(key.as_bytes())?;
        let login = NewLogin::new(provider, name.clone(), key);
        let session = maestro.create_session(login).await?;
        if !output.is_json() {
            output.line(&format!("stored {} from {variable}", session.selector))?;
        }
        stored.push(session);
    }
    if output.is_json() {
        return output.document(&Document::new().with("sessions", &stored));
    }
    if stored.is_empty() {
        output.note("nothing to import");
    }
    Ok(())
}

fn propose(candidates: &[Candidate], output: &Output) -> Outcome {
    if output.is_json() {
        return output.document(&Document::new().with("candidates", candidates));
    }
    if candidates.is_empty() {
        output.note("no variable that a provider declares holds a key");
        return Ok(());
    }
    let mut table = Table::new(&["PROVIDER", "VARIABLE", "PLUGIN", "WOULD", "KEY GOES TO"]);
    for found in candidates {
        table.row([
            found.provider.to_string(),
            found.variable.clone(),
            found.plugin.clone(),
            if found.taken { "stay: name is taken" } else { "be stored" }.to_owned(),
            found.origins.join(", "),
        ]);
    }
    output.data(table)?;
    output.note("nothing was stored; add `--yes` to store them");
    Ok(())
}

/// Finds the first variable of each provider that holds something.
fn candidates(providers: &[ProviderInfo], is_set: impl Fn(&str) -> bool) -> Vec<Candidate> {
    providers
        .iter()
        .filter_map(|provider| {
            let variable = provider.env.iter().find(|name| is_set(name))?;
            Some(Candidate {
                provider: provider.id.clone(),
                variable: variable.clone(),
                plugin: provider.plugin.clone(),
                origins: provider.origins.clone(),
                taken: false,
            })
        })
        .collect()
}
