//! `maestro plugin`: the files behind the providers.

mod check;

use clap::{Args, Subcommand};

use crate::{
    cli::{
        Outcome,
        output::{Document, Output},
        providers::words,
        table::{Sheet, Table},
    },
    maestro::{Maestro, PluginInfo, RefusedPlugin},
};

/// `maestro plugin list|inspect|check|trust|untrust`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A plugin is a shared library in the plugin folder. It runs in a worker, a child process that can do
nothing but compute. What came with `maestro` and what you trust runs inside `maestro` itself: that is
faster by some microseconds an event, and gives it all the rights that you have.
`inspect` reads what a file declares without running any of its code.

Examples:
  maestro plugin list
  maestro plugin inspect openai
  maestro plugin trust acme       until its bytes change
  maestro plugin inspect target/release/libacme.so    exits with 4 if it would be refused")]
pub(super) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// List the plugins that were taken, and the files that were refused and why
    List,
    /// Show what a plugin declares, installed or not
    Inspect {
        /// A plugin's id, or the path of a file
        #[arg(value_name = "FILE-or-ID")]
        plugin: String,
    },
    /// Check a plugin against every rule of the contract
    Check(check::CheckArgs),
    /// Let the present bytes of a plugin run inside `maestro`
    Trust {
        /// A plugin's id
        #[arg(value_name = "ID")]
        plugin: String,
    },
    /// Let a plugin run in a worker again
    Untrust {
        /// A plugin's id
        #[arg(value_name = "ID")]
        plugin: String,
    },
}

/// Runs the command.
pub(super) fn run(args: PluginArgs, maestro: &Maestro, output: &Output) -> Outcome {
    match args.command {
        PluginCommand::List => {
            let (plugins, refused) = (maestro.list_plugins(), maestro.refused_plugins());
            if output.is_json() {
                let document = Document::new().with("plugins", &plugins).with("refused", &refused);
                return output.document(&document);
            }
            list(&plugins, &refused, maestro, output)
        }
        PluginCommand::Inspect { plugin } => {
            let plugin = maestro.inspect_plugin(&plugin)?;
            output.either(|| Document::new().with("plugin", &plugin), sheet(&plugin))
        }
        PluginCommand::Check(args) => check::run(&args, maestro, output),
        PluginCommand::Trust { plugin } => {
            let trusted = maestro.trust_plugin(&plugin)?;
            if output.is_json() {
                return output.document(&Document::new().with("trusted", &trusted));
            }
            let (id, hash) = (&trusted.plugin, &trusted.hash);
            output.note(&format!("trusted `{id}` as long as its hash is {hash}"));
            Ok(())
        }
        PluginCommand::Untrust { plugin } => {
            let was = maestro.untrust_plugin(&plugin)?;
            if output.is_json() {
                return output.document(&Document::new().with("untrusted", &was));
            }
            let now = if was { "is not trusted any more" } else { "was not trusted" };
            output.note(&format!("`{plugin}` {now}"));
            Ok(())
        }
    }
}

fn list(
    plugins: &[PluginInfo],
    refused: &[RefusedPlugin],
    maestro: &Maestro,
    output: &Output,
) -> Outcome {
    let mut table =
        Table::new(&["PLUGIN", "VERSION", "FROM", "RUNS", "STATE", "HASH", "PROVIDERS", "FILE"]);
    for plugin in plugins {
        let more = plugin.providers.len().saturating_sub(MAX_PROVIDERS);
        let mut providers: Vec<_> = plugin.providers.iter().take(MAX_PROVIDERS).cloned().collect();
        if more > 0 {
            providers.push(format!("{more} more"));
        }
        table.row([
            plugin.id.clone(),
            plugin.version.clone(),
            from(plugin).to_owned(),
            plugin.tier.to_owned(),
            plugin.state.to_owned(),
            plugin.hash.chars().take(SHORT_HASH).collect(),
            providers.join(", "),
            plugin.path.display().to_string(),
        ]);
    }
    if table.is_empty() {
        let folder = maestro.home().plugins();
        output.note(&format!("there is no plugin; put one into `{}`", folder.display()));
    } else {
        output.data(table)?;
    }
    if !refused.is_empty() {
        let mut table = Table::new(&["REFUSED FILE", "WHY", "WHAT TO DO"]);
        for refusal in refused {
            let path = refusal.path.display().to_string();
            table.row([path, refusal.error.clone(), refusal.hint.clone()]);
        }
        let gap = if plugins.is_empty() { "" } else { "\n" };
        output.data(format_args!("{gap}{table}"))?;
    }
    Ok(())
}

fn sheet(plugin: &PluginInfo) -> Sheet {
    let settings: Vec<_> = plugin
        .settings
        .iter()
        .map(|setting| format!("{} ({}): {}", setting.name, setting.kind, setting.help))
        .collect();
    let mut sheet = Sheet::default();
    sheet.line("plugin", plugin.id.clone());
    sheet.line("version", plugin.version.clone());
    sheet.line("description", plugin.description.clone());
    sheet.line("homepage", plugin.homepage.clone().unwrap_or_default());
    sheet.line("file", plugin.path.display().to_string());
    sheet.line("size", format!("{} bytes", plugin.size));
    sheet.line("hash", plugin.hash.clone());
    sheet.line("from", from(plugin));
    sheet.line("state", plugin.state);
    sheet.line("contract", plugin.contract.clone());
    sheet.line("panics", plugin.panic.clone());
    sheet.line("runs", plugin.tier);
    sheet.line("capabilities", words(&plugin.capabilities));
    sheet.line("providers", plugin.providers.join(", "));
    sheet.line("profiles", plugin.profiles.join(", "));
    for setting in settings {
        sheet.line("setting", setting);
    }
    sheet
}

/// Where a plugin came from, and whether the user trusts it.
fn from(plugin: &PluginInfo) -> &'static str {
    match (plugin.provenance, plugin.trusted) {
        ("user", true) => "user, trusted",
        (provenance, _) => provenance,
    }
}

/// Digits of a hash that a row shows.
const SHORT_HASH: usize = 12;

/// Most providers that a row names.
const MAX_PROVIDERS: usize = 4;
