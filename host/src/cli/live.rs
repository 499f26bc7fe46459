//! What a command that runs for long says of the plugin folders.

use crate::{
    cli::output::Output,
    maestro::{Finding, Maestro, Watch},
};

/// Says, in one line, that others could have changed what is withheld.
pub(super) fn warn_of_quarantine(maestro: &Maestro, output: &Output) {
    if let Some(Finding { detail, hint, .. }) = maestro.disbelieved_quarantine() {
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        output.warn(&format!("{detail}{hint}"));
    }
}

/// Takes over what changes in the plugin folders, and says so, a line a change, as long as it is kept.
pub(super) fn watch(maestro: &Maestro, output: &Output) -> Option<Watch> {
    let told = *output;
    let watch = maestro.watch_and_tell(move |changes| {
        changes.news().iter().for_each(|line| told.note(line));
    });
    // All else works without it.
    watch.inspect_err(|error| output.warn(&error.to_string())).ok()
}
