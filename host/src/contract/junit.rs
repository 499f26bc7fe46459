//! A check as JUnit's XML: a suite for each stage, a case for each rule.

use std::fmt::Write as _;

use super::Checked;

/// Writes a check.
pub(super) fn write(checked: &Checked) -> String {
    let count = |verdict: &str| checked.rules.iter().filter(|r| r.verdict == verdict).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{}.{:03}\">",
        escape(&checked.plugin),
        checked.rules.len(),
        count("failed"),
        count("skipped"),
        checked.milliseconds / 1000,
        checked.milliseconds % 1000,
    );
    let _ = writeln!(
        xml,
        "  <properties><property name=\"seed\" value=\"{}\"/></properties>",
        checked.seed
    );
    for rule in &checked.rules {
        let _ = write!(xml, "  <testcase classname=\"{}\" name=\"{}\"", rule.stage, rule.rule);
        match rule.verdict {
            "failed" => {
                let (input, detail) = (rule.input.as_deref(), rule.detail.as_deref());
                let _ = writeln!(
                    xml,
                    "><failure message=\"{}\">{}\n{}\nhint: {}</failure></testcase>",
                    escape(detail.unwrap_or_default()),
                    escape(rule.description),
                    escape(input.unwrap_or_default()),
                    escape(rule.hint.unwrap_or_default()),
                );
            }
            "skipped" => xml.push_str("><skipped/></testcase>\n"),
            _ => xml.push_str("/>\n"),
        }
    }
    xml + "</testsuite>\n"
}

/// Escapes text for XML 1.0, which has no form at all for most control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                escaped.extend(c.escape_default());
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_says_cannot_leave_its_attribute() {
        assert_eq!(escape("\"><a b='&'\u{1b}[2J"), "&quot;&gt;&lt;a b='&amp;'\\u{1b}[2J");
    }
}
