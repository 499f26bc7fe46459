//! `maestro completions` and `maestro man`: made from the arguments themselves.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::{Outcome, args::Cli, failure::Failure};

/// `maestro completions SHELL`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  maestro completions bash > ~/.local/share/bash-completion/completions/maestro
  maestro completions zsh > ~/.zfunc/_maestro
  maestro completions fish > ~/.config/fish/completions/maestro.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// `maestro man [--dir D]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  maestro man | man -l -
  maestro man --dir ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write the pages of all commands into this folder
    #[arg(short, long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Prints a completion script.
pub(super) fn completions(args: &CompletionsArgs) -> Outcome {
    // It is made in memory first: the generator panics where stdout is closed early.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    write(&script)
}

/// Prints the manual page, or writes all of them.
pub(super) fn man(args: &ManArgs) -> Outcome {
    let Some(folder) = &args.dir else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page).context("failed to make the page")?;
        return write(&page);
    };
    let what = || format!("failed to write the pages into `{}`", folder.display());
    fs::create_dir_all(folder).with_context(what)?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(what)?;
    Ok(())
}

fn write(bytes: &[u8]) -> Outcome {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::write)
}

const NAME: &str = "maestro";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_gets_a_page() {
        let folder = tempfile::tempdir().unwrap();
        man(&ManArgs { dir: Some(folder.path().join("man1")) }).unwrap();
        for page in ["maestro.1", "maestro-chat.1", "maestro-sessions-approve.1"] {
            assert!(folder.path().join("man1").join(page).exists(), "{page}");
        }
    }
}
