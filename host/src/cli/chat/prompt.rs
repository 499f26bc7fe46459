//! What is asked: the arguments, stdin and files, as one message.

use std::io::{self, IsTerminal, Read};

use anyhow::Context;
use plugin_api::chat::{Content, ContentPart, Message, Role};

use crate::cli::failure::Failure;

/// Reads stdin unless a person sits at it.
pub(super) fn piped() -> Result<String, Failure> {
    let mut stdin = io::stdin().lock();
    if stdin.is_terminal() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    stdin.read_to_end(&mut bytes).context("failed to read stdin")?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::usage("stdin is not UTF-8 text", "attach files that are not text with `-f FILE`")
    })
}

/// Joins the prompt and stdin: the prompt first, then an empty line, then what was piped.
///
/// Blank lines at the end of stdin go, since every program ends its output with a line break.
pub(super) fn join(prompt: &str, piped: &str) -> String {
    let piped = piped.trim_end_matches(['\n', '\r']);
    match (prompt.trim().is_empty(), piped.trim().is_empty()) {
        (true, true) => String::new(),
        (false, true) => prompt.to_owned(),
        (true, false) => piped.to_owned(),
        (false, false) => format!("{prompt}\n\n{piped}"),
    }
}

/// Makes the user's message: what is attached first, then what is asked about it.
///
/// Texts that follow each other become one: a message of several texts is sent as a list, and some
/// servers (llama.cpp's Python one) read such a list as nothing, without a word.
pub(super) fn message(attached: Vec<ContentPart>, text: &str) -> Message {
    let asked = (!text.is_empty()).then(|| ContentPart::text(text));
    let mut parts: Vec<ContentPart> = Vec::with_capacity(attached.len() + 1);
    for part in attached.into_iter().chain(asked) {
        match (parts.last_mut().map(|part| &mut part.content), &part.content) {
            (Some(Content::Text(last)), Content::Text(next)) => last.text.push_str(&next.text),
            _ => parts.push(part),
        }
    }
    Message::new(Role::User, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_follows_the_prompt_after_an_empty_line() {
        assert_eq!(join("explain", "fn x\n\n"), "explain\n\nfn x");
        assert_eq!(join("", "  fn x\r\n"), "  fn x");
        assert_eq!(join("explain", "\n"), "explain");
        assert_eq!(join(" ", " \n"), "");
    }

    #[test]
    fn attachments_come_before_the_question() {
        let message = message(vec![ContentPart::text("a:\n")], "why?");
        assert_eq!(message.parts, [ContentPart::text("a:\nwhy?")]);
        assert!(super::message(Vec::new(), "").parts.is_empty());
    }
}
