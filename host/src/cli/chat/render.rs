//! What each event of an answer looks like, and on which stream.

use std::collections::BTreeMap;

use plugin_api::event::ChatEvent;

use crate::cli::{
    output::{Document, Output},
    visible,
};

/// How an answer is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// One JSON document an event.
    pub(super) json: bool,
    /// Reasoning too, on stderr.
    pub(super) reasoning: bool,
    /// Sources too, on stderr.
    pub(super) sources: bool,
    /// Whether stdout is a terminal: then control characters are escaped.
    pub(super) terminal: bool,
    /// Whether both streams end up on one screen, so that neither may begin within a line.
    pub(super) shared: bool,
}

impl Style {
    /// Chooses the style for the streams.
    pub(super) fn new(output: &Output, reasoning: bool) -> Self {
        Self {
            json: output.is_json(),
            reasoning: reasoning || output.is_verbose(),
            sources: output.is_verbose(),
            terminal: output.stdout_is_terminal(),
            shared: output.stdout_is_terminal() && output.stderr_is_terminal(),
        }
    }
}

/// A piece of output.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// Data.
    Out(String),
    /// A message for people.
    Note(String),
    /// Reasoning, shown dim.
    Dim(String),
    /// A warning, without the word.
    Warning(String),
}

/// Turns events into output. It writes nothing itself.
#[derive(Debug)]
pub(super) struct Renderer {
    style: Style,
    /// Whether stdout stands within a line.
    within_line: bool,
    /// Whether stderr stands within a line of reasoning.
    within_thought: bool,
    /// Tool calls that are not complete: name and arguments by part.
    calls: BTreeMap<u32, (String, String)>,
    /// Media by type, and how many bytes came.
    media: BTreeMap<String, usize>,
}

impl Renderer {
    /// Starts an answer.
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            within_line: false,
            within_thought: false,
            calls: BTreeMap::new(),
            media: BTreeMap::new(),
        }
    }

    /// Renders an event.
    pub(super) fn event(&mut self, event: &ChatEvent) -> Vec<Piece> {
        if self.style.json {
            return vec![Piece::Out(format!("{}\n", Document::new().with("event", event)))];
        }
        let mut pieces = Vec::new();
        match event {
            ChatEvent::TextDelta { text, .. } | ChatEvent::RefusalDelta { text, .. } => {
                self.text(text, &mut pieces);
            }
            ChatEvent::ReasoningDelta { text, .. } if self.style.reasoning => {
                self.thought(text, &mut pieces);
            }
            ChatEvent::ToolCallStart { part, name, .. } => {
                self.calls.insert(*part, (name.clone(), String::new()));
            }
            ChatEvent::ToolCallDelta { part, arguments } => {
                if let Some((_, all)) = self.calls.get_mut(part) {
                    all.push_str(arguments);
                }
            }
            ChatEvent::ToolCallEnd { part } => {
                if let Some((name, arguments)) = self.calls.remove(part) {
                    self.aside(&mut pieces, Piece::Note(format!("tool call: {name}({arguments})")));
                }
            }
            ChatEvent::Citation { citation, .. } if self.style.sources => {
                let source = citation.url.as_deref().or(citation.title.as_deref());
                if let Some(source) = source {
                    self.aside(&mut pieces, Piece::Note(format!("source: {source}")));
                }
            }
            ChatEvent::MediaDelta { media_type, data, .. } => {
                *self.media.entry(media_type.clone()).or_default() += data.len();
            }
            ChatEvent::Warning { message } => {
                self.aside(&mut pieces, Piece::Warning(message.clone()));
            }
            _ => {}
        }
        pieces
    }

    /// Renders the end of an answer, complete or not: both streams end their lines.
    pub(super) fn end(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.end_thought(&mut pieces);
        if std::mem::take(&mut self.within_line) {
            pieces.push(Piece::Out("\n".into()));
        }
        for (media_type, len) in std::mem::take(&mut self.media) {
            let text = format!("the model made {media_type} of {len} bytes; `--json` prints it");
            pieces.push(Piece::Note(text));
        }
        pieces
    }

    fn text(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        if text.is_empty() {
            return;
        }
        self.end_thought(pieces);
        self.within_line = !text.ends_with('\n');
        let text = if self.style.terminal { visible::block(text) } else { text.into() };
        pieces.push(Piece::Out(text.into_owned()));
    }

    fn thought(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        if text.is_empty() {
            return;
        }
        if !self.within_thought {
            self.end_line(pieces);
        }
        self.within_thought = !text.ends_with('\n');
        pieces.push(Piece::Dim(visible::block(text).into_owned()));
    }

    /// Adds a line of stderr between the text.
    fn aside(&mut self, pieces: &mut Vec<Piece>, piece: Piece) {
        self.end_thought(pieces);
        self.end_line(pieces);
        pieces.push(piece);
    }

    fn end_thought(&mut self, pieces: &mut Vec<Piece>) {
        if std::mem::take(&mut self.within_thought) {
            pieces.push(Piece::Dim("\n".into()));
        }
    }

    /// Ends the line of stdout where stderr follows on the same screen; elsewhere data stays as it is.
    fn end_line(&mut self, pieces: &mut Vec<Piece>) {
        if self.style.shared && std::mem::take(&mut self.within_line) {
            pieces.push(Piece::Out("\n".into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::{chat::ToolKind, event::FinishReason};

    use super::*;

    fn style() -> Style {
        Style { json: false, reasoning: true, sources: false, terminal: true, shared: true }
    }

    fn text(text: &str) -> ChatEvent {
        ChatEvent::TextDelta { part: 1, text: text.into() }
    }

    fn thought(text: &str) -> ChatEvent {
        ChatEvent::ReasoningDelta { part: 0, text: text.into(), summary: false }
    }

    fn render(style: Style, events: &[ChatEvent]) -> Vec<Piece> {
        let mut renderer = Renderer::new(style);
        let mut pieces: Vec<_> = events.iter().flat_map(|event| renderer.event(event)).collect();
        pieces.extend(renderer.end());
        pieces
    }

    fn out(text: &str) -> Piece {
        Piece::Out(text.into())
    }

    #[test]
    fn an_answer_ends_its_line_once() {
        assert_eq!(render(style(), &[text("a"), text("b")]), [out("a"), out("b"), out("\n")]);
        assert_eq!(render(style(), &[text("a\n")]), [out("a\n")]);
        assert_eq!(render(style(), &[]), []);
    }

    #[test]
    fn a_terminal_is_protected_and_a_pipe_gets_every_byte() {
        let hostile = text("\u{1b}[2Jx\r\n");
        assert_eq!(render(style(), std::slice::from_ref(&hostile)), [out("\\u{1b}[2Jx\n")]);
        let piped = Style { terminal: false, shared: false, ..style() };
        assert_eq!(render(piped, &[hostile]), [out("\u{1b}[2Jx\r\n")]);
    }

    #[test]
    fn reasoning_is_apart_from_the_answer() {
        let dim = |text: &str| Piece::Dim(text.into());
        assert_eq!(
            render(style(), &[thought("hm"), text("a"), thought("so"), text("b")]),
            [dim("hm"), dim("\n"), out("a"), out("\n"), dim("so"), dim("\n"), out("b"), out("\n")]
        );
        let quiet = Style { reasoning: false, ..style() };
        assert_eq!(render(quiet, &[thought("hm")]), []);
    }

    #[test]
    fn a_tool_call_is_one_line_of_stderr_and_splits_no_data() {
        let events = [
            text("a"),
            ChatEvent::ToolCallStart {
                part: 2,
                id: "c".into(),
                name: "f".into(),
                kind: ToolKind::Function,
            },
            ChatEvent::ToolCallDelta { part: 2, arguments: "{\"x\":".into() },
            ChatEvent::ToolCallDelta { part: 2, arguments: "1}".into() },
            ChatEvent::ToolCallEnd { part: 2 },
        ];
        let call = || Piece::Note("tool call: f({\"x\":1})".into());
        assert_eq!(render(style(), &events), [out("a"), out("\n"), call()]);
        let piped = Style { shared: false, ..style() };
        assert_eq!(render(piped, &events), [out("a"), call(), out("\n")]);
    }

    #[test]
    fn json_is_one_event_a_line() {
        let json = Style { json: true, ..style() };
        let finish = ChatEvent::Finish { reason: FinishReason::Stop, detail: None };
        assert_eq!(
            render(json, &[text("a\u{1b}"), finish]),
            [
                out(
                    "{\"version\":1,\"event\":{\"type\":\"text_delta\",\"part\":1,\"text\":\"a\\u001b\"}}\n"
                ),
                out("{\"version\":1,\"event\":{\"type\":\"finish\",\"reason\":\"stop\"}}\n"),
            ]
        );
    }
}
