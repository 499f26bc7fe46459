//! Makes text from plugins and vendors safe to print to a terminal.
//!
//! A model's answer, a model's name, a plugin's description: all of it is written by others, and a
//! terminal obeys what it reads. What could move the cursor, change colours, rename the window or
//! turn the reading direction is shown as an escape instead.

use std::borrow::Cow;

/// Shows a text in one line: every control character is escaped, line breaks too.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Shows a text of many lines: line breaks and tabs stay, other control characters are escaped.
///
/// A carriage return is left out, because a line that ends in `\r\n` is common and harmless without
/// it, and alone it would let later words overwrite earlier ones.
pub(super) fn block(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        return Cow::Owned(block(&text.replace('\r', "")).into_owned());
    }
    escape(text, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| is_control(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_control(c) && !keep(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// C0, DEL, C1, line and paragraph separators, and what overrides the reading direction.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_cannot_move_the_cursor() {
        assert_eq!(line("a\u{1b}[2Jb\nc\u{9b}1m\u{7f}"), "a\\u{1b}[2Jb\\nc\\u{9b}1m\\u{7f}");
        assert_eq!(line("exe\u{202e}gnp.x"), "exe\\u{202e}gnp.x");
    }

    #[test]
    fn an_answer_keeps_its_lines_and_its_script() {
        let text = "one\n\ttwo – naïve שלום 👩\u{200d}🚀\n";
        assert!(matches!(block(text), Cow::Borrowed(same) if same == text));
        assert_eq!(block("a\r\nb\rc\u{1b}]0;x\u{7}"), "a\nbc\\u{1b}]0;x\\u{7}");
    }

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(line("plain"), Cow::Borrowed(_)));
    }
}
