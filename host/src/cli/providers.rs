//! `maestro providers`: who can be asked.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use plugin_api::capability::Capability;

use crate::{
    cli::{
        Outcome,
        output::{Document, Output},
        table::{Sheet, Table},
    },
    maestro::{LoginInfo, Maestro, ProviderInfo, SettingInfo},
};

/// `maestro providers [list [--all] | show P]`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Examples:
  maestro providers                  those that are ready
  maestro providers --all            all, and why some are not ready
  maestro providers show anthropic   what it can do, and where your key would go
  maestro providers --all --json | jq '.providers[] | select(.ready) | .id'"
)]
pub(super) struct ProvidersArgs {
    #[command(subcommand)]
    command: Option<ProvidersCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum ProvidersCommand {
    /// List the providers that are ready; the default
    List(ListArgs),
    /// Say what one provider can do
    Show {
        /// The provider's id
        provider: String,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// List also those that are not ready, and say why
    #[arg(short, long)]
    all: bool,
}

/// Runs the command.
pub(super) async fn run(args: ProvidersArgs, maestro: &Maestro, output: &Output) -> Outcome {
    match args.command {
        None => list(&args.list, maestro, output).await,
        Some(ProvidersCommand::List(args)) => list(&args, maestro, output).await,
        Some(ProvidersCommand::Show { provider }) => {
            let info = maestro.provider_capabilities(&provider).await?;
            output.either(|| Document::new().with("provider", &info), page(&info))
        }
    }
}

async fn list(args: &ListArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let all = maestro.list_providers().await;
    let (shown, hidden): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|provider| args.all || provider.ready);
    if output.is_json() {
        return output.document(&Document::new().with("providers", &shown));
    }
    let table = if args.all { full_table(&shown) } else { ready_table(&shown) };
    if table.is_empty() && hidden.is_empty() {
        let folder = maestro.home().plugins();
        output.note(&format!("no plugin is there; put one into `{}`", folder.display()));
    } else if table.is_empty() {
        output.note("no provider is ready");
    } else {
        output.data(table)?;
    }
    if !hidden.is_empty() {
        output.note(&summary(&hidden));
    }
    let refused = maestro.refused_plugins().len();
    if refused > 0 {
        output.note(&format!("{refused} files were refused; `maestro plugin list` says why"));
    }
    Ok(())
}

fn ready_table(providers: &[ProviderInfo]) -> Table {
    let mut table = Table::new(&["PROVIDER", "NAME", "PLUGIN", "AUTH", "SESSIONS"]);
    for provider in providers {
        table.row([
            provider.id.to_string(),
            provider.display_name.clone(),
            provider.plugin.clone(),
            provider.auth.join(", "),
            provider.sessions.join(", "),
        ]);
    }
    table
}

fn full_table(providers: &[ProviderInfo]) -> Table {
    let mut table = Table::new(&["PROVIDER", "NAME", "PLUGIN", "AUTH", "STATE"]);
    for provider in providers {
        let state = match (&provider.not_ready, provider.ready) {
            (_, true) => "ready".to_owned(),
            (Some(why), false) => format!("not ready: {why}"),
            (None, false) => "not ready".to_owned(),
        };
        table.row([
            provider.id.to_string(),
            provider.display_name.clone(),
            provider.plugin.clone(),
            provider.auth.join(", "),
            state,
        ]);
    }
    table
}

/// Says in one line how many are not ready and why, the most frequent reason first.
fn summary(hidden: &[ProviderInfo]) -> String {
    let reasons = hidden.iter().map(|provider| {
        let why = provider.not_ready.as_deref().unwrap_or("not ready");
        (provider.id.as_str(), why)
    });
    grouped(reasons)
}

fn grouped<'a>(hidden: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> String {
    let count = hidden.len();
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (id, why) in hidden {
        reasons.entry(anonymous(why, id)).or_default().push(id);
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, ids)| std::cmp::Reverse(ids.len()));
    let mut text = format!("{count} more with `--all`");
    for (at, (why, ids)) in reasons.iter().take(MAX_REASONS).enumerate() {
        let more = if ids.len() > MAX_IDS { ", …" } else { "" };
        let ids = ids[..ids.len().min(MAX_IDS)].join(", ");
        text.push_str(if at == 0 { ": " } else { "; " });
        text.push_str(&format!("{why} ({ids}{more})"));
    }
    text
}

/// Puts `PROVIDER` where a reason names its provider, so that equal reasons read alike.
fn anonymous(why: &str, id: &str) -> String {
    let in_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut text = String::new();
    let mut rest = why;
    while !rest.is_empty() {
        let word = rest.find(|c| !in_id(c)).unwrap_or(rest.len());
        let gap = rest[word..].find(in_id).map_or(rest.len(), |gap| word + gap);
        text.push_str(if &rest[..word] == id { "PROVIDER" } else { &rest[..word] });
        text.push_str(&rest[word..gap]);
        rest = &rest[gap..];
    }
    text
}

/// Describes a provider to a person: what it is and can do, how to log in, what can be set.
fn page(provider: &ProviderInfo) -> String {
    let mut page = sheet(provider).to_string();
    for login in provider.logins.iter().filter(|login| login.kind != "none") {
        page.push_str(&format!("\n{}", login_sheet(provider, login)));
    }
    if !provider.settings.is_empty() {
        let mut settings = Table::new(&["SETTING", "TYPE", "MEANING"]);
        for SettingInfo { name, kind, help, .. } in &provider.settings {
            settings.row([name.clone(), kind.clone(), help.clone()]);
        }
        page.push_str(&format!("\nsettings of `[providers.{}]`:\n{settings}", provider.id));
    }
    page
}

fn sheet(provider: &ProviderInfo) -> Sheet {
    let mut sheet = Sheet::default();
    let state = match &provider.not_ready {
        _ if provider.ready => "ready".to_owned(),
        Some(why) => format!("not ready: {why}"),
        None => "not ready".to_owned(),
    };
    let limits = [
        ("input tokens", provider.limits.max_input_tokens),
        ("output tokens", provider.limits.max_output_tokens),
    ];
    let bytes = provider.limits.max_request_bytes.map(|most| format!("requests of {}", size(most)));
    let limits: Vec<_> = limits
        .into_iter()
        .filter_map(|(what, most)| most.map(|most| format!("{most} {what}")))
        .chain(bytes)
        .collect();
    sheet.line("provider", provider.id.as_str());
    sheet.line("name", provider.display_name.as_str());
    sheet.line("state", state);
    sheet.line("plugin", format!("{} ({})", provider.plugin, provider.provenance));
    sheet.line("base URL", provider.base_url.as_str());
    sheet.line("keys go to", provider.origins.join(", "));
    sheet.line("sessions", provider.sessions.join(", "));
    let logins = [Capability::ApiKey, Capability::OAuth, Capability::HandlesSecrets];
    let abilities = provider.capabilities.iter().filter(|ability| !logins.contains(ability));
    sheet.line("can", names(abilities));
    sheet.line("understands", names(provider.features.iter()));
    sheet.line("limits", limits.join(", "));
    sheet.line("requires", provider.requires.join(", "));
    sheet.line("documentation", provider.docs_url.clone().unwrap_or_default());
    sheet
}

fn login_sheet(provider: &ProviderInfo, login: &LoginInfo) -> Sheet {
    let mut sheet = Sheet::default();
    let name = match &login.display_name {
        Some(name) => format!("{name} ({})", login.kind),
        None => login.kind.to_owned(),
    };
    let optional = login.kind == "api-key" && provider.key_optional;
    let without = [names(login.without.iter()), names(login.without_features.iter())];
    let without: Vec<_> = without.into_iter().filter(|names| !names.is_empty()).collect();
    sheet.line("login", if optional { format!("{name}, optional") } else { name });
    let only = provider.logins.iter().filter(|login| login.kind != "none").count() == 1;
    let which = if only { String::new() } else { format!(" --auth {}", login.kind) };
    sheet.line("with", format!("maestro login {}{which}", provider.id));
    sheet.line("needs", login.needs.clone().unwrap_or_default());
    sheet.line("flows", login.flows.join(", "));
    sheet.line("asks for", login.asks.join(", "));
    sheet.line("or variable", login.env.join(", "));
    sheet.line("starts with", login.prefix.clone().unwrap_or_default());
    sheet.line("get one at", login.obtain_url.clone().unwrap_or_default());
    sheet.line("cannot", without.join(", "));
    sheet
}

/// Writes a number of bytes as people say it, where it is round.
fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes >= MIB && bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        _ => format!("{bytes} bytes"),
    }
}

/// Joins names of capabilities or features for people: `chat.tools/1` is `tools`.
fn names<T: ToString>(names: impl Iterator<Item = T>) -> String {
    let short = |name: &str| {
        let name = name.split_once('/').map_or(name, |(name, _)| name);
        name.strip_prefix("chat.").unwrap_or(name).replace('-', " ")
    };
    names.map(|name| short(&name.to_string())).collect::<Vec<_>>().join(", ")
}

/// Joins words for people.
pub(super) fn words(words: &[impl ToString]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Most reasons and ids that the last line names; `--all` has the rest.
const MAX_REASONS: usize = 3;
const MAX_IDS: usize = 4;
/// Bytes of a mebibyte.
const MIB: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reasons_are_said_once() {
        let login = |id: &str| format!("needs a session: `maestro login {id}`");
        let ids = ["p1", "p2", "p3", "p4", "p5"];
        let mut hidden: Vec<_> = ids.map(|id| (id, login(id))).into();
        hidden.insert(0, ("azure", "needs `resource` in `[providers.azure]`".into()));
        assert_eq!(
            grouped(hidden.iter().map(|(id, why)| (*id, why.as_str()))),
            "6 more with `--all`: needs a session: `maestro login PROVIDER` (p1, p2, p3, p4, …); \
             needs `resource` in `[providers.PROVIDER]` (azure)"
        );
    }
}
