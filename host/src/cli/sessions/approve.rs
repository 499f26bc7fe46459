//! `maestro sessions approve`: agree to what a plugin wants beyond what login showed.

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Outcome, ask,
        output::{Document, Output},
        visible,
    },
    maestro::Maestro,
    session::{BindingChange, binding::UNBOUND},
};

/// `maestro sessions approve SESSION [--yes]`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A session is bound to the plugin and the origins that `maestro login` showed. When another plugin
file serves the provider, or the plugin names further origins, the secret stays where it is until
you agree here.

Example:
  maestro sessions approve openai:work")]
pub(super) struct ApproveArgs {
    /// The session, as `[PROVIDER:]NAME[@AUTH]`
    session: String,
    /// Agree without being asked
    #[arg(short, long)]
    yes: bool,
}

/// Runs the command.
pub(super) async fn run(args: &ApproveArgs, maestro: &Maestro, output: &Output) -> Outcome {
    let Some(change) = maestro.pending_approval(&args.session).await? else {
        let session = maestro.session(&args.session).await?;
        if output.is_json() {
            let document = Document::new().with("session", &session).with("change", &None::<()>);
            return output.document(&document);
        }
        return output.line(&format!("{} needs no approval", session.selector));
    };
    if !output.is_json() {
        output.stderr(difference(&change));
    }
    let question = format!("let session {} be used like this", args.session);
    ask::confirm(output, &question, args.yes)?;
    let session = maestro.approve_session(&args.session).await?;
    if output.is_json() {
        let change = json!({
            "plugin": change.plugin,
            "added": change.added,
            "removed": change.removed,
        });
        output.document(&Document::new().with("session", &session).with("change", &change))
    } else {
        output.line(&format!("approved {}", session.selector))
    }
}

/// Shows a change as people read differences: what goes with `-`, what comes with `+`.
fn difference(change: &BindingChange) -> String {
    let mut lines = Vec::new();
    if let Some((before, after)) = &change.plugin {
        // A login of the former program was bound to nothing.
        if before.as_str() != UNBOUND {
            lines.push(format!("- plugin {before}"));
        }
        lines.push(format!("+ plugin {after}"));
    }
    lines.extend(change.removed.iter().map(|origin| format!("- {origin}")));
    lines.extend(change.added.iter().map(|origin| format!("+ {origin}")));
    lines.iter().map(|line| format!("{}\n", visible::line(line))).collect()
}

#[cfg(test)]
mod tests {
    use plugin_api::PluginId;

    use super::*;

    #[test]
    fn a_difference_shows_both_sides() {
        let id = |id: &str| PluginId::new(id).unwrap();
        let change = BindingChange {
            plugin: Some((id("openai"), id("evil"))),
            added: vec!["https://evil.example".into()],
            removed: vec!["https://api.openai.com".into()],
        };
        assert_eq!(
            difference(&change),
            "- plugin openai\n+ plugin evil\n- https://api.openai.com\n+ https://evil.example\n"
        );
    }
}
