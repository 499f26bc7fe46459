//! Where output goes: data to stdout, everything else to stderr.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::cli::{
    Outcome,
    failure::Failure,
    log::{Lines, Queue},
    visible,
};

/// The two streams, and how the user wants them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    verbose: u8,
    stdout_terminal: bool,
    stderr_terminal: bool,
    colour: bool,
}

impl Output {
    /// Looks at the streams.
    pub(super) fn new(json: bool, verbose: u8) -> Self {
        let stderr_terminal = io::stderr().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            verbose,
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal,
            colour: stderr_terminal && !plain,
        }
    }

    /// Reports whether the user wants JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Reports whether the user wants to know more.
    pub(super) fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// Reports whether a person reads the data.
    pub(super) fn stdout_is_terminal(&self) -> bool {
        self.stdout_terminal
    }

    /// Reports whether a person reads the messages.
    pub(super) fn stderr_is_terminal(&self) -> bool {
        self.stderr_terminal
    }

    /// Prints data as it is. What others wrote must have been made [`visible`].
    pub(super) fn data(&self, data: impl fmt::Display) -> Outcome {
        let mut stdout = io::stdout().lock();
        write!(stdout, "{data}").and_then(|()| stdout.flush()).map_err(Failure::write)
    }

    /// Prints a line of data; `text` may be written by others.
    pub(super) fn line(&self, text: &str) -> Outcome {
        self.data(format_args!("{}\n", visible::line(text)))
    }

    /// Prints a JSON document as a line of data.
    pub(super) fn document(&self, document: &Document) -> Outcome {
        self.data(format_args!("{document}\n"))
    }

    /// Prints the result of a command in the form the user wants.
    pub(super) fn either(
        &self,
        document: impl FnOnce() -> Document,
        text: impl fmt::Display,
    ) -> Outcome {
        if self.json { self.document(&document()) } else { self.data(text) }
    }

    /// Prints a message for people; with `--json` there is none.
    pub(super) fn note(&self, text: &str) {
        if !self.json {
            self.stderr(format_args!("{}\n", visible::line(text)));
        }
    }

    /// Prints a warning.
    pub(super) fn warn(&self, text: &str) {
        if self.json {
            let warning = json!({ "message": text });
            self.stderr(format_args!("{}\n", Document::new().with("warning", &warning)));
        } else {
            let word = self.paint(YELLOW, "warning:");
            self.stderr(format_args!("{word} {}\n", visible::line(text)));
        }
    }

    /// Prints why something failed, its causes and what to do about it.
    pub(super) fn failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        let (causes, hint) = (failure.causes(), failure.hint());
        if self.json {
            let message = failure.to_string();
            let document = Self::error_document(failure.kind(), &message, &causes, hint.as_deref());
            return self.stderr(format_args!("{document}\n"));
        }
        let word = self.paint(RED, "error:");
        let mut text = format!("{word} {}\n", visible::line(&failure.to_string()));
        for cause in causes {
            text.push_str(&format!("  caused by: {}\n", visible::line(&cause)));
        }
        if let Some(hint) = hint {
            text.push_str(&format!("\nhint: {}\n", visible::block(hint.trim_end())));
        }
        self.stderr(text);
    }

    /// Makes the document that says what failed.
    pub(super) fn error_document(
        kind: &str,
        message: &str,
        causes: &[String],
        hint: Option<&str>,
    ) -> Document {
        #[derive(Serialize)]
        struct Error<'a> {
            kind: &'a str,
            message: &'a str,
            causes: &'a [String],
            hint: Option<&'a str>,
        }
        Document::new().with("error", &Error { kind, message, causes, hint })
    }

    /// Writes to stderr as it is. A closed stderr is nobody's problem.
    pub(super) fn stderr(&self, text: impl fmt::Display) {
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
    }

    /// Dims a text on a terminal that shows colour.
    pub(super) fn dim(&self, text: &str) -> String {
        self.paint(DIM, text)
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour { format!("{style}{text}{RESET}") } else { text.to_owned() }
    }
}

/// A JSON object whose first field is the version of the output: `{"version":1, …}`.
#[derive(Clone, Debug)]
pub(super) struct Document(String);

impl Document {
    /// Starts a document.
    pub(super) fn new() -> Self {
        Self(format!("{{\"version\":{VERSION}"))
    }

    /// Adds a field. A value that cannot be JSON (none of ours) becomes `null`.
    pub(super) fn with(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Self {
        let value = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
        self.0.push_str(&format!(",{}:{value}", serde_json::Value::from(name)));
        self
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}}}", self.0)
    }
}

/// Starts the log on stderr, if anybody asked for it; a server has one without being asked.
pub(super) fn trace(verbose: u8, serves: bool) {
    let wanted = std::env::var("MAESTRO_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = match (verbose, wanted) {
        (_, Some(filter)) => EnvFilter::new(filter),
        (0 | 1, None) if serves => EnvFilter::new("host=warn,maestro=info"),
        (0 | 1, None) => return,
        (2, None) => EnvFilter::new("host=debug,maestro=info"),
        (_, None) => EnvFilter::new("trace"),
    };
    let terminal = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal);
    // It fails only if an embedding program has its own already, which is then the right one.
    let _ = match serves.then(|| Queue::start(io::stderr())) {
        Some(Ok(queue)) => {
            log.event_format(Lines::default()).with_writer(queue.install()).try_init()
        }
        _ => log.with_writer(io::stderr).try_init(),
    };
}

/// Version of everything that `--json` prints. It changes when a field goes or changes its meaning.
const VERSION: u32 = 1;
const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[33m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_first_and_fields_keep_their_order() {
        let document = Document::new().with("models", &["z", "a"]).with("default", &None::<u8>);
        assert_eq!(document.to_string(), r#"{"version":1,"models":["z","a"],"default":null}"#);
    }

    #[test]
    fn errors_have_one_form() {
        let document = Output::error_document("usage", "bad \"x\"", &["why".into()], None);
        assert_eq!(
            document.to_string(),
            r#"{"version":1,"error":{"kind":"usage","message":"bad \"x\"","causes":["why"],"hint":null}}"#
        );
    }
}
