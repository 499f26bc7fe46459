//! `maestro doctor`: what is wrong, and what to do about it.

use crate::{
    cli::{
        Outcome,
        failure::Failure,
        output::{Document, Output},
        visible,
    },
    maestro::{Finding, Level, Maestro},
};

/// Runs the command. Exit status 1 means that there is a problem; a warning alone is none.
pub(super) async fn run(maestro: &Maestro, output: &Output) -> Outcome {
    let findings = maestro.doctor().await;
    if output.is_json() {
        output.document(&Document::new().with("findings", &findings))?;
    } else {
        output.data(findings.iter().map(shown).collect::<String>())?;
    }
    let sick = findings.iter().any(|finding| finding.level == Level::Problem);
    if sick { Err(Failure::Said) } else { Ok(()) }
}

fn shown(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        _ => "problem",
    };
    let (what, detail) = (visible::line(&finding.what), visible::line(&finding.detail));
    let mut text = format!("{level:<8} {what}: {detail}\n");
    if let Some(hint) = &finding.hint {
        text.push_str(&format!("         hint: {}\n", visible::line(hint)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_hint_another() {
        let finding = Finding {
            what: "store".into(),
            level: Level::Problem,
            detail: "a\u{1b}b".into(),
            hint: Some("mend it".into()),
        };
        assert_eq!(shown(&finding), "problem  store: a\\u{1b}b\n         hint: mend it\n");
    }
}
