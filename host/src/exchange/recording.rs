//! What an exchange was given and gave, as lines of JSON: to look at, and to run again without a network.
//!
//! A [`Recorder`] is a file; a `Tape` is one exchange that is being recorded. It stands at the plugin's
//! boundary, where no credential ever is, and what a vendor repeats of one is masked before anything is
//! written. That needs the whole exchange, because a vendor cuts where it likes: an exchange is written
//! when it ends, and one that spells the secret out over several events is withheld.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use plugin_api::{
    CONTRACT_MINOR,
    abi::Effect,
    exchange::{Input, LogLevel, Timestamp},
    http::{Headers, HttpRequest, Piece, TransportErrorKind},
    instance::Instance,
    operation::Operation,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::transport::CredentialUse;

/// Version of the form.
const VERSION: u32 = 1;

/// Most bytes of an exchange that are kept; one that is longer is withheld.
const MAX_BYTES: usize = 64 << 20;

/// A line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Line {
    /// An exchange begins.
    Exchange(Box<Opened>),
    /// It was given something.
    Given {
        /// When, in milliseconds since the Unix epoch.
        at: u64,
        /// What.
        input: Given,
    },
    /// It gave something: a request, an event, its end.
    Gave(Value),
    /// It is not here.
    Withheld {
        /// Why.
        why: String,
    },
}

/// What an exchange began with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// Version of the form.
    pub version: u32,
    /// The plugin's id.
    pub plugin: String,
    /// The provider, as configured. Holds no secret.
    pub instance: Instance,
    /// What was asked. Large bytes stay with the host and are named by number.
    pub operation: Operation,
}

/// An input, owned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of `plugin_api::exchange::Input`")]
pub enum Given {
    /// [`Input::Start`].
    Start { seed: u64 },
    /// [`Input::ResponseHead`].
    Head { request: u32, status: u16, headers: Headers },
    /// [`Input::Body`]: one piece, cut as it came.
    Body { request: u32, piece: Bytes },
    /// [`Input::End`].
    End { request: u32 },
    /// [`Input::TransportFailed`].
    Failed { request: u32, kind: TransportErrorKind, message: String },
    /// [`Input::Tick`].
    Tick,
    /// [`Input::Cancel`].
    Cancel,
}

/// Bytes, readable where they are text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bytes {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Base64(String),
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(BASE64_STANDARD.encode(bytes)),
        }
    }

    fn to_vec(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Base64(text) => BASE64_STANDARD.decode(text).ok(),
        }
    }
}

/// An exchange of a recording.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recorded {
    /// What it began with.
    pub opened: Opened,
    /// What it was given, and when.
    pub given: Vec<(Timestamp, Given)>,
    /// What it gave, log lines left out.
    pub gave: Vec<Value>,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A line is not what a recording holds.
    #[error("{path}:{line}: no line of a recording")]
    Line {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// It is of another version, or lines are out of place.
    #[error("{path}:{line}: {problem}")]
    Form {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// Reads a recording.
///
/// # Errors
///
/// [`RecordingError`], with the line.
pub fn read(path: &Path) -> Result<Vec<Recorded>, RecordingError> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|source| RecordingError::Read { path: name.clone(), source })?;
    let mut exchanges: Vec<Recorded> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let form = |problem: String| RecordingError::Form { path: name.clone(), line, problem };
        let parsed = serde_json::from_str(text).map_err(|source| RecordingError::Line {
            path: name.clone(),
            line,
            source,
        })?;
        match (parsed, exchanges.last_mut()) {
            (Line::Exchange(opened), _) => {
                if opened.version != VERSION {
                    let found = opened.version;
                    return Err(form(format!("expected version {VERSION}, found {found}")));
                }
                let mut opened = *opened;
                opened.instance.contract_minor = CONTRACT_MINOR;
                exchanges.push(Recorded { opened, given: Vec::new(), gave: Vec::new() });
            }
            (Line::Withheld { .. }, _) => {}
            (Line::Given { at, input }, Some(exchange)) => {
                exchange.given.push((Timestamp(at), input));
            }
            (Line::Gave(output), Some(exchange)) => exchange.gave.push(output),
            (_, None) => return Err(form("it belongs to no exchange".into())),
        }
    }
    for exchange in &mut exchanges {
        exchange.gave.retain(|output| output.get("log").is_none());
    }
    Ok(exchanges)
}

impl Given {
    fn of(input: &Input<'_>) -> Option<Self> {
        Some(match input {
            Input::Start { seed } => Self::Start { seed: *seed },
            Input::ResponseHead { request, status, headers } => {
                let mut headers = headers.clone();
                for (name, value) in &mut headers.0 {
                    // A vendor's cookie is a kind of credential, and no plugin has a use for it.
                    if name == "set-cookie" {
                        *value = MASKED.into();
                    }
                }
                Self::Head { request: *request, status: *status, headers }
            }
            Input::Body { request, bytes } => {
                Self::Body { request: *request, piece: Bytes::of(bytes) }
            }
            Input::End { request } => Self::End { request: *request },
            Input::TransportFailed { request, kind, message } => {
                Self::Failed { request: *request, kind: *kind, message: (*message).to_owned() }
            }
            Input::Tick => Self::Tick,
            Input::Cancel => Self::Cancel,
            _ => return None,
        })
    }

    /// Prepares the input to be given again; `None` for a piece that is no Base64.
    pub(super) fn input(&self) -> Option<Again<'_>> {
        let bytes = match self {
            Self::Body { piece, .. } => piece.to_vec()?,
            _ => Vec::new(),
        };
        Some(Again { given: self, bytes })
    }
}

/// An input to be given again, with the bytes that it borrows.
pub(super) struct Again<'a> {
    given: &'a Given,
    bytes: Vec<u8>,
}

impl Again<'_> {
    pub(super) fn borrowed(&self) -> Input<'_> {
        match self.given {
            Given::Start { seed } => Input::Start { seed: *seed },
            Given::Head { request, status, headers } => {
                Input::ResponseHead { request: *request, status: *status, headers: headers.clone() }
            }
            Given::Body { request, .. } => Input::Body { request: *request, bytes: &self.bytes },
            Given::End { request } => Input::End { request: *request },
            Given::Failed { request, kind, message } => {
                Input::TransportFailed { request: *request, kind: *kind, message }
            }
            Given::Tick => Input::Tick,
            Given::Cancel => Input::Cancel,
        }
    }
}

/// Writes an output as JSON.
pub(super) fn output(effect: &Effect) -> Value {
    match effect {
        Effect::Send { number, request } => json!({ "send": sent(*number, request) }),
        Effect::Event(event) => json!({ "event": event }),
        Effect::Value(value) => json!({ "value": value }),
        Effect::Vector { index, vector } => json!({ "vector": { "index": index, "of": vector } }),
        Effect::WakeAt(when) => json!({ "wake": { "at": when.0 } }),
        Effect::Log { level, text } => {
            let level = match level {
                LogLevel::Debug => "debug",
                LogLevel::Info => "info",
                _ => "warn",
            };
            json!({ "log": { "level": level, "text": text } })
        }
        Effect::Done => json!("done"),
        Effect::Fail(error) => json!({ "fail": error }),
        _ => json!("unknown"),
    }
}

fn sent(number: u32, request: &HttpRequest) -> Value {
    let pieces = request.body.pieces.iter().map(|piece| match piece {
        Piece::Bytes(bytes) => json!(Bytes::of(bytes)),
        other => json!(other),
    });
    json!({
        "number": number,
        "method": request.method,
        "url": request.url,
        "headers": request.headers,
        "auth": request.auth,
        "body": pieces.collect::<Vec<_>>(),
    })
}

/// A file that exchanges are recorded into.
#[derive(Debug)]
pub struct Recorder(Mutex<fs::File>);

impl Recorder {
    /// Makes the file, which nobody else may read: prompts and answers stand in it.
    ///
    /// # Errors
    ///
    /// What the system says; also when there is a file of that name.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    fn write(&self, text: &[u8]) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(text) {
            tracing::warn!(%error, "the recording is incomplete");
        }
    }
}

/// An exchange that is being recorded; written when it is dropped.
pub(super) struct Tape {
    recorder: Arc<Recorder>,
    credential: Option<Arc<CredentialUse>>,
    lines: Vec<Line>,
    /// An input that has not been answered.
    pending: Option<Line>,
    bytes: usize,
}

impl Tape {
    pub(super) fn new(
        recorder: Arc<Recorder>,
        credential: Option<Arc<CredentialUse>>,
        plugin: &str,
        instance: &Instance,
        operation: &Operation,
    ) -> Self {
        let opened = Opened {
            version: VERSION,
            plugin: plugin.to_owned(),
            instance: instance.clone(),
            operation: operation.clone(),
        };
        let lines = vec![Line::Exchange(Box::new(opened))];
        Self { recorder, credential, lines, pending: None, bytes: 0 }
    }

    /// Takes an input. It is kept once it is answered: what nobody waited for says nothing.
    pub(super) fn given(&mut self, at: Timestamp, input: &Input<'_>) {
        self.bytes += if let Input::Body { bytes, .. } = input { bytes.len() } else { 0 };
        if self.bytes <= MAX_BYTES {
            self.pending = Given::of(input).map(|input| Line::Given { at: at.0, input });
        }
    }

    /// Takes the answer; `bytes` is its size.
    pub(super) fn gave(&mut self, effects: &[Effect], bytes: usize) {
        self.bytes += bytes;
        if self.bytes <= MAX_BYTES {
            self.lines.extend(self.pending.take());
            self.lines.extend(effects.iter().map(|effect| Line::Gave(output(effect))));
        }
    }

    fn mask(&self, bytes: &mut [u8]) -> bool {
        self.credential.as_ref().is_some_and(|credential| credential.mask(bytes))
    }

    /// Masks the pieces of each answer as a whole: a secret may be cut in two.
    fn mask_bodies(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        let mut pieces: Vec<(u32, &mut Bytes)> = lines
            .iter_mut()
            .filter_map(|line| match line {
                Line::Given { input: Given::Body { request, piece }, .. } => {
                    Some((*request, piece))
                }
                _ => None,
            })
            .collect();
        for answer in pieces.chunk_by_mut(|a, b| a.0 == b.0) {
            let bytes: Vec<Vec<u8>> =
                answer.iter().map(|(_, piece)| piece.to_vec().unwrap_or_default()).collect();
            let mut whole = bytes.concat();
            if self.mask(&mut whole) {
                let mut rest = whole.as_slice();
                for ((_, piece), bytes) in answer.iter_mut().zip(&bytes) {
                    let (head, tail) = rest.split_at(bytes.len());
                    **piece = Bytes::of(head);
                    rest = tail;
                }
            }
        }
        self.lines = lines;
    }

    /// Reports whether the events spell a secret out, each holding a part of it.
    fn is_spelt_out(&self) -> bool {
        let texts = |field: &str| -> String {
            let events = self.lines.iter().filter_map(|line| match line {
                Line::Gave(output) => output["event"][field].as_str(),
                _ => None,
            });
            events.collect()
        };
        ["text", "arguments"].iter().any(|field| {
            let mut text = texts(field).into_bytes();
            let whole = |line: &Line| match line {
                Line::Gave(output) => {
                    let text = output["event"][*field].as_str().unwrap_or_default();
                    self.mask(&mut text.to_owned().into_bytes())
                }
                _ => false,
            };
            // Where one event holds all of it, that event is masked like anything else.
            self.mask(&mut text) && !self.lines.iter().any(whole)
        })
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        let withheld = if self.bytes > MAX_BYTES {
            Some(format!("the exchange is longer than {MAX_BYTES} bytes"))
        } else if self.is_spelt_out() {
            Some("the answer spells out the credential".to_owned())
        } else {
            None
        };
        if let Some(why) = withheld {
            self.lines = vec![Line::Withheld { why }];
        }
        self.mask_bodies();
        let mut text = Vec::new();
        for line in &self.lines {
            let Ok(mut line) = serde_json::to_vec(line) else { continue };
            self.mask(&mut line);
            line.push(b'\n');
            text.extend_from_slice(&line);
        }
        self.recorder.write(&text);
    }
}

const MASKED: &str = "***";
