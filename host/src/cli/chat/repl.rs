//! The dialogue: a line in, an answer out, until Ctrl-D.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use plugin_api::chat::ContentPart;
use rustyline::{
    Config, Editor,
    error::ReadlineError,
    history::{DefaultHistory, History as _},
};

use crate::{
    cli::{
        Outcome,
        chat::{
            attach, prompt,
            talk::{Keep, Talk},
        },
        conversations::text_of,
        failure::Failure,
        live, visible,
    },
    suggest::nearest,
};

/// Talks until the user leaves. A failed turn is printed and the dialogue goes on.
pub(super) async fn run(mut talk: Talk<'_>, mut attached: Vec<ContentPart>) -> Outcome {
    let mut editor = LineEditor::new(&talk)?;
    // A dialogue may last for days, and a plugin's author replaces it in between.
    let _watch = live::watch(talk.maestro, talk.output);
    let model = visible::line(&talk.model.to_string()).into_owned();
    talk.output.note(&format!("talking to {model}; /help lists commands, Ctrl-D leaves"));
    while let Some(text) = editor.read()? {
        let done = match Line::parse(&text) {
            Line::Empty => Ok(()),
            Line::Exit => break,
            Line::Say(text) => {
                let files = std::mem::take(&mut attached);
                let done = talk.ask(prompt::message(files.clone(), &text)).await;
                if matches!(done, Err(Failure::Maestro(_) | Failure::NearMiss { .. })) {
                    // Asked again, the question still needs its files.
                    attached = files;
                }
                done
            }
            Line::Command(command, argument) => {
                // Ctrl-C gives up on a provider that does not answer, not on the dialogue.
                tokio::select! {
                    biased;
                    _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
                    done = obey(command, &argument, &mut talk, &mut attached) => done,
                }
            }
        };
        match done {
            Err(Failure::BrokenPipe) => return Err(Failure::BrokenPipe),
            Err(failure) => talk.output.failure(&failure),
            Ok(()) => {}
        }
        editor.keep = talk.keep != Keep::No;
    }
    Ok(())
}

/// What was typed.
#[derive(Debug, PartialEq)]
enum Line {
    Empty,
    Exit,
    Say(String),
    Command(&'static str, String),
}

impl Line {
    /// Tells commands from words to the model. `/etc/hosts` is no command, and neither is `/ `.
    fn parse(text: &str) -> Self {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Self::Empty;
        }
        let (first, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
        let Some(word) = first.strip_prefix('/') else { return Self::Say(trimmed.to_owned()) };
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'?') {
            return Self::Say(trimmed.to_owned());
        }
        let word = match word {
            "exit" | "quit" | "q" | "bye" => return Self::Exit,
            "?" | "h" => "help",
            other => other,
        };
        match COMMANDS.iter().find(|(name, ..)| *name == word) {
            Some((name, ..)) => Self::Command(name, rest.trim().to_owned()),
            None => Self::Command(UNKNOWN, word.to_owned()),
        }
    }
}

async fn obey(
    command: &str,
    argument: &str,
    talk: &mut Talk<'_>,
    attached: &mut Vec<ContentPart>,
) -> Outcome {
    let output = *talk.output;
    match (command, argument) {
        ("help", _) => output.stderr(help()),
        ("model", "") => output.note(&format!("model {}", talk.model)),
        ("model", text) => {
            talk.head_for(talk.maestro.places(text).await?)?;
            output.note(&format!("model {}", talk.model));
        }
        ("session", "") => match &talk.session {
            Some(session) => output.note(&format!("session {session}")),
            None => output.note("the usual session"),
        },
        ("session", "-") => talk.session = None,
        ("session", text) => {
            talk.session = Some(text.to_owned());
            output.note(&format!("session {text}"));
        }
        ("system", "") => {
            let text = talk.system.as_deref().unwrap_or("no system text");
            output.stderr(format_args!("{}\n", visible::block(text)));
        }
        ("system", "-") => talk.system = None,
        ("system", text) => talk.system = Some(text.to_owned()),
        ("file", "") => {
            let count = attached.len();
            output.note(&format!("{count} files go along with what you say next"));
        }
        ("file", "-") => attached.clear(),
        ("file", path) => {
            attached.push(attach::attach(&expand(path))?);
            output.note(&format!("`{path}` goes along with what you say next"));
        }
        ("new", _) => {
            talk.renew();
            attached.clear();
            output.note("a new conversation");
        }
        ("save", "") => {
            return Err(Failure::usage("`/save` needs a name", "write `/save NAME`"));
        }
        ("save", name) => {
            talk.save(name).await?;
            output.note(&format!("`maestro chat --conversation {name}` continues this"));
        }
        ("history", _) => {
            for message in &talk.messages {
                let text = text_of(message);
                let role = message.role.as_str();
                output.stderr(format_args!("{role}: {}\n", visible::block(&text)));
            }
        }
        ("tokens", _) => {
            let (request, call) = talk.request(None)?;
            let counted = talk.maestro.count_tokens(&talk.model, request, call).await?;
            output.note(&format!("{} tokens so far", counted.value));
        }
        (_, word) => {
            let hint = match nearest(word, COMMANDS.iter().map(|(name, ..)| *name)) {
                Some(meant) => format!("did you mean `/{meant}`?"),
                None => "`/help` lists the commands".to_owned(),
            };
            return Err(Failure::usage(format!("no command `/{word}`"), hint));
        }
    }
    Ok(())
}

fn help() -> String {
    let mut text = String::new();
    for (name, argument, meaning) in COMMANDS {
        let command = format!("/{name} {argument}");
        text.push_str(&format!("{command:<16} {meaning}\n"));
    }
    text.push_str(
        "\nA line that ends in \\ goes on in the next one; between two lines of \"\"\" stands any \
         text.\nCtrl-C ends an answer, Ctrl-D leaves.\n",
    );
    text
}

/// Expands `~/`, which no shell does here.
fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// Joins lines that belong together.
#[derive(Debug, Default)]
struct Collector {
    lines: Vec<String>,
    quoted: bool,
}

impl Collector {
    /// Takes a line; returns the whole text once it is complete.
    fn push(&mut self, line: &str) -> Option<String> {
        if line.trim() == QUOTES {
            self.quoted = !self.quoted;
            return (!self.quoted).then(|| self.take());
        }
        if self.quoted {
            self.lines.push(line.to_owned());
            return None;
        }
        match line.strip_suffix('\\') {
            Some(line) => {
                self.lines.push(line.to_owned());
                None
            }
            None => {
                self.lines.push(line.to_owned());
                Some(self.take())
            }
        }
    }

    fn is_open(&self) -> bool {
        self.quoted || !self.lines.is_empty()
    }

    fn take(&mut self) -> String {
        self.quoted = false;
        std::mem::take(&mut self.lines).join("\n")
    }
}

/// The line editor and its history file.
struct LineEditor {
    editor: Editor<(), DefaultHistory>,
    history: PathBuf,
    keep: bool,
}

impl LineEditor {
    fn new(talk: &Talk<'_>) -> Result<Self, Failure> {
        let what = "failed to prepare the line editor";
        let config = Config::builder().max_history_size(MAX_HISTORY).context(what)?;
        let config = config.history_ignore_space(true).auto_add_history(false).build();
        let mut editor = Editor::with_config(config).context(what)?;
        let history = talk.maestro.home().history();
        let keep = talk.keep != Keep::No;
        if keep && private_file(&history).is_ok() {
            // A history that cannot be read is an empty one.
            let _ = editor.load_history(&history);
        }
        Ok(Self { editor, history, keep })
    }

    /// Reads until a text is complete; `None` when the user leaves.
    fn read(&mut self) -> Result<Option<String>, Failure> {
        let mut collector = Collector::default();
        loop {
            let sign = if collector.is_open() { MORE } else { PROMPT };
            match self.editor.readline(sign) {
                Ok(line) => {
                    if let Some(text) = collector.push(&line) {
                        self.remember(&text);
                        return Ok(Some(text));
                    }
                }
                // Ctrl-C drops what was typed, not the dialogue.
                Err(ReadlineError::Interrupted) => collector = Collector::default(),
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => {
                    return Err(anyhow::Error::new(error).context("failed to read a line").into());
                }
            }
        }
    }

    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        // Losing a line of history is not worth a word.
        let _ = self.editor.add_history_entry(text);
        if self.keep && private_file(&self.history).is_ok() {
            let _ = self.editor.history_mut().append(&self.history);
        }
    }
}

/// Makes sure that the file exists and that only its owner can read it.
fn private_file(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    file.flush()
}

/// Name, argument, meaning.
const COMMANDS: [(&str, &str, &str); 10] = [
    ("help", "", "list the commands"),
    ("model", "REF", "ask another model; alone, say which one is asked"),
    ("session", "S", "ask as another session; `-` for the usual one"),
    ("system", "TEXT", "tell the model what it is; `-` for nothing"),
    ("file", "PATH", "attach a file to what you say next; `-` for none"),
    ("new", "", "begin a new conversation"),
    ("save", "NAME", "give this conversation a name"),
    ("history", "", "show what was said"),
    ("tokens", "", "count the tokens of what was said"),
    ("exit", "", "leave, as Ctrl-D does"),
];
const UNKNOWN: &str = "";
const QUOTES: &str = "\"\"\"";
const PROMPT: &str = "> ";
const MORE: &str = ". ";
const MAX_HISTORY: usize = 2000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn lines_are_joined() {
        let mut collector = Collector::default();
        assert_eq!(collector.push("one"), Some("one".into()));
        assert_eq!(collector.push("a\\"), None);
        assert!(collector.is_open());
        assert_eq!(collector.push("b"), Some("a\nb".into()));
        for line in ["\"\"\"", "x\\", "", "/exit"] {
            assert_eq!(collector.push(line), None);
        }
        assert_eq!(collector.push(" \"\"\" "), Some("x\\\n\n/exit".into()));
        assert!(!collector.is_open());
    }

    #[test]
    fn commands_are_told_from_words() {
        assert_eq!(Line::parse(" \n"), Line::Empty);
        assert_eq!(Line::parse("/quit"), Line::Exit);
        assert_eq!(Line::parse("/?"), Line::Command("help", String::new()));
        assert_eq!(Line::parse("/model  a/b "), Line::Command("model", "a/b".into()));
        assert_eq!(Line::parse("/modle x"), Line::Command(UNKNOWN, "modle".into()));
        for said in ["/etc/hosts is what?", "hello /help", "/ x", "//"] {
            assert_eq!(Line::parse(said), Line::Say(said.into()));
        }
        assert_eq!(Line::parse("/system be\nbrief"), Line::Command("system", "be\nbrief".into()));
    }

    #[test]
    fn the_help_names_every_command() {
        let text = help();
        assert!(COMMANDS.iter().all(|(name, ..)| text.contains(&format!("/{name}"))));
    }

    #[test]
    fn the_history_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("history");
        private_file(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        private_file(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
    }
}
