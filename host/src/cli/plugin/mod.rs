//! `maestro plugin`: the files behind the providers.
//!
//! Here live the lists; [`author`] is what an author of a plugin needs,
//! [`replay`] runs a recording again.

mod author;
mod check;
mod dev;
mod replay;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use plugin_api::capability::Capability;

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        live,
        output::{Document, Output},
        plugin_quarantine::{self, QuarantineArgs},
        providers::words,
        table::{Sheet, Table},
        wait,
    },
    maestro::{InstalledPlugin, Maestro, PluginInfo, RefusedPlugin},
};

/// `maestro plugin list|inspect|check|trust|untrust|quarantine|install|remove|new|build|dev|replay`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A plugin is a shared library in the plugin folder. It runs in a worker, a child process that can do
nothing but compute. What came with `maestro` and what you trust runs inside `maestro` itself: that
is faster by some microseconds an event, and gives it all the rights that you have.
`inspect` reads what a file declares without running any of its code.

Examples:
  maestro plugin list
  maestro plugin inspect openai
  maestro plugin install target/release/libacme.so    exits with 4 if it was refused
  maestro plugin trust acme       until its bytes change
  maestro plugin inspect target/release/libacme.so    exits with 4 if it would be refused

To write one:
  maestro plugin new acme                  makes a crate that builds and passes its tests
  maestro plugin build acme                builds the library and prints its hash
  maestro plugin dev acme                  builds and reloads it whenever you save")]
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
        /// What it may do beyond that; who handles secrets runs in a worker all the same
        #[arg(long, value_name = "CAPABILITY", value_parser = [HANDLES_SECRETS])]
        allow: Option<String>,
    },
    /// List what is withheld because it crashes, or let it run again
    Quarantine(QuarantineArgs),
    /// Let a plugin run in a worker again
    Untrust {
        /// A plugin's id
        #[arg(value_name = "ID")]
        plugin: String,
    },
    /// Put a library into the plugin folder, if it would be taken, and say what it brings
    Install {
        /// The library
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Take a plugin out of the plugin folder; what is stored for its providers stays
    Remove {
        /// A plugin's id
        #[arg(value_name = "ID")]
        plugin: String,
    },
    /// Run a recorded exchange again, without a network, and show what is different
    Replay(replay::ReplayArgs),
    /// Make a crate to begin a plugin with: a provider of a made-up API, with its tests
    New(author::NewArgs),
    /// Build a plugin's crate and say which file came of it
    Build(author::BuildArgs),
    /// Build a plugin's crate at each save, serve it meanwhile, and show what it says otherwise
    Dev(dev::DevArgs),
}

/// Runs the command.
pub(super) fn run(
    args: PluginArgs,
    open: impl FnOnce() -> Result<Maestro, Failure>,
    output: &Output,
) -> Outcome {
    match args.command {
        PluginCommand::List => {
            let maestro = open()?;
            let (plugins, refused) = (maestro.list_plugins(), maestro.refused_plugins());
            live::warn_of_quarantine(&maestro, output);
            if output.is_json() {
                let document = Document::new().with("plugins", &plugins).with("refused", &refused);
                return output.document(&document);
            }
            list(&plugins, &refused, &maestro, output)
        }
        PluginCommand::Inspect { plugin } => {
            let plugin = open()?.inspect_plugin(&plugin)?;
            output.either(|| Document::new().with("plugin", &plugin), sheet(&plugin))
        }
        PluginCommand::Quarantine(args) => plugin_quarantine::run(args, &open()?, output),
        PluginCommand::Check(args) => check::run(&args, &open()?, output),
        PluginCommand::Trust { plugin, allow } => {
            let allowed: &[Capability] =
                if allow.is_some() { &[Capability::HandlesSecrets] } else { &[] };
            let trusted = open()?.trust_plugin_with(&plugin, allowed)?;
            if output.is_json() {
                return output.document(&Document::new().with("trusted", &trusted));
            }
            let (id, hash) = (&trusted.plugin, &trusted.hash);
            output.note(&format!("trusted `{id}` as long as its hash is {hash}"));
            if !allowed.is_empty() {
                output.note("it may see the tokens of its logins, and runs in a worker");
            }
            Ok(())
        }
        PluginCommand::Untrust { plugin } => {
            let was = open()?.untrust_plugin(&plugin)?;
            if output.is_json() {
                return output.document(&Document::new().with("untrusted", &was));
            }
            let now = if was { "is not trusted any more" } else { "was not trusted" };
            output.note(&format!("`{plugin}` {now}"));
            Ok(())
        }
        PluginCommand::Install { file } => install(&open()?.install_plugin(&file)?, output),
        PluginCommand::Remove { plugin } => {
            let removed = open()?.remove_plugin(&plugin)?;
            if output.is_json() {
                return output.document(&Document::new().with("removed", &removed));
            }
            output.note(&format!("removed `{plugin}`, which was `{}`", removed.path.display()));
            Ok(())
        }
        PluginCommand::Replay(args) => {
            wait(output, async |maestro| replay::run(&args, maestro, output).await)
        }
        PluginCommand::Dev(args) => {
            wait(output, async |maestro| dev::run(args, maestro, output).await)
        }
        PluginCommand::New(args) => author::new(args, output),
        PluginCommand::Build(args) => author::build(&args, &open()?, output),
    }
}

fn list(
    plugins: &[PluginInfo],
    refused: &[RefusedPlugin],
    maestro: &Maestro,
    output: &Output,
) -> Outcome {
    let mut table = Table::new(&[
        "PLUGIN",
        "VERSION",
        "FROM",
        "RUNS",
        "GEN",
        "STATE",
        "HASH",
        "PROVIDERS",
        "FILE",
    ]);
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
            plugin.generation.to_string(),
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

fn install(installed: &InstalledPlugin, output: &Output) -> Outcome {
    let mut sheet = Sheet::default();
    sheet.line("plugin", format!("{} {}", installed.plugin, installed.version));
    sheet.line("file", installed.path.display().to_string());
    sheet.line("hash", installed.hash.clone());
    sheet.line("capabilities", words(&installed.capabilities));
    for provider in &installed.providers {
        let urls = match provider.urls.as_slice() {
            [] => "sends nowhere by itself".to_owned(),
            urls => format!("sends to {}", urls.join(", ")),
        };
        sheet.line("provider", format!("{}: {urls}", provider.id));
    }
    output.either(|| Document::new().with("installed", installed), sheet)?;
    if let Some(version) = &installed.replaced {
        output.note(&format!("it took the place of version {version}"));
    }
    if let Some(why) = &installed.not_probed {
        output.warn(&format!("it was not asked whether it keeps its word: {why}"));
    }
    for provider in installed.providers.iter().filter(|provider| provider.login) {
        output.note(&format!("next: maestro login {}", provider.id));
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
    sheet.line("generation", plugin.generation.to_string());
    sheet.line("state", plugin.state);
    sheet.line("withheld", plugin.withheld.as_ref().map(ToString::to_string).unwrap_or_default());
    sheet.line("breaks its word", plugin.broken.join("; "));
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

/// What `--allow` takes: the capability without its revision.
const HANDLES_SECRETS: &str = "handles-secrets";

/// Digits of a hash that a row shows.
pub(super) const SHORT_HASH: usize = 12;

/// Most providers that a row names.
const MAX_PROVIDERS: usize = 4;
