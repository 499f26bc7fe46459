//! What an author of a plugin needs: a crate to begin with, and its library.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    authoring::{build as cargo, sdk::Sdk, template::NewPlugin},
    cli::{
        Outcome,
        output::{Document, Output},
        table::Sheet,
    },
    maestro::Maestro,
};

/// `maestro plugin new NAME`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The crate is a whole provider of an API that exists nowhere: a key, streaming, models, a connection
test, with recorded answers and tests that cut them at every place. It builds against the contract's
sources that came with this program. Nothing is overwritten.

Examples:
  maestro plugin new acme
  maestro plugin new acme --dir ~/src/maestro-acme")]
pub(super) struct NewArgs {
    /// Id of the plugin, its provider and its crate: a lowercase letter, then up to 31 of `a-z 0-9 _ -`
    #[arg(value_name = "NAME")]
    name: String,
    /// Make it in this folder instead of `NAME`
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Build against the contract's sources in this folder
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

/// `maestro plugin build [DIR]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Runs `cargo build` and judges the library as a plugin folder would, without running any of its code;
a library that would be refused there ends the command with status 4.

Examples:
  maestro plugin build
  maestro plugin build ~/src/maestro-acme --debug")]
pub(super) struct BuildArgs {
    /// The crate's folder
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Build quickly and unoptimized instead of for release
    #[arg(long)]
    debug: bool,
}

/// Makes a crate.
pub(super) fn new(args: NewArgs, output: &Output) -> Outcome {
    let plan = NewPlugin::new(&args.name, args.dir)?;
    let sdk = match &args.sdk {
        Some(folder) => Sdk::at(folder)?,
        None => Sdk::find()?,
    };
    let made = plan.make(&sdk)?;
    let folder = made.folder.display().to_string();
    output.either(
        || Document::new().with("folder", &folder).with("files", &made.files),
        format_args!("{folder}\n"),
    )?;
    let word = quoted(&made.folder);
    output.note("next:");
    for (command, what) in [
        (format!("cd {word}"), ""),
        ("cargo test".into(), "passes as it is"),
        ("maestro plugin build".into(), "makes the library"),
        ("$EDITOR src/lib.rs src/wire.rs".into(), "put your vendor in Acme's place"),
    ] {
        output.note(format!("  {command:<32}{what}").trim_end());
    }
    Ok(())
}

/// Builds a crate and judges what came of it.
pub(super) fn build(args: &BuildArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let file = cargo::build(&args.dir, !args.debug)?;
    let plugin = maestro.inspect_plugin(&file.display().to_string())?;
    let mut sheet = Sheet::default();
    sheet.line("file", plugin.path.display().to_string());
    sheet.line("hash", plugin.hash.clone());
    sheet.line("size", format!("{} bytes", plugin.size));
    sheet.line("plugin", format!("{} {}", plugin.id, plugin.version));
    sheet.line("contract", plugin.contract.clone());
    sheet.line("providers", plugin.providers.join(", "));
    output.either(|| Document::new().with("plugin", &plugin), sheet)?;
    output.note(&format!("next: maestro plugin install {}", quoted(&file)));
    Ok(())
}

/// Writes a path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
