//! Answers that a plugin's author recorded, as files of a folder.
//!
//! | file | what |
//! |---|---|
//! | `NAME.sse`, `NAME.ndjson`, `NAME.json` | an answer of a chat, streamed or whole |
//! | `NAME.request.json` | the [`ChatRequest`] that it answers; without it, a greeting |
//! | `NAME.events.json`, `NAME.json.events.json` | the events that must come of it, and the error |
//! | `NAME.head.json`, `NAME.json.head.json` | the [`Head`] that it came with, in the form of a recording |
//! | `head.json` | headers of all answers that have no head of their own, beside their media type |
//! | `NAME.models.json`, `NAME.embeddings.json`, `NAME.tokens.json` | answers of other operations |
//! | `NAME.sent.json`, `NAME.value.json`, `NAME.error.json` | what a plugin's own tests expect; not read here |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{chat::ChatRequest, http::Headers};

/// A recorded answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fixture {
    /// The file's name.
    pub name: String,
    /// What it answers.
    pub answers: Answers,
    /// The head that came before it.
    pub head: Head,
    /// The recorded bytes.
    pub body: Vec<u8>,
    /// The request that it answers, of a chat.
    pub request: Option<ChatRequest>,
    /// What must come of it.
    pub events: Option<Value>,
}

/// Status and headers of an answer. Events may repeat them: a request's id, what is left of a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Head {
    /// The HTTP status; 200 unless written.
    #[serde(default = "ok")]
    pub status: u16,
    /// Names in lowercase, with their values.
    #[serde(default)]
    pub headers: Headers,
}

const fn ok() -> u16 {
    200
}

impl Head {
    /// Makes the head of an answer of this media type with further headers.
    pub(super) fn of(media_type: &str, more: &[(String, String)]) -> Self {
        let mut headers = vec![("content-type".to_owned(), media_type.to_owned())];
        headers.extend_from_slice(more);
        Self { status: ok(), headers: Headers(headers) }
    }
}

/// The operation that a recorded answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answers {
    /// A chat.
    Chat,
    /// A list of models.
    Models,
    /// Embeddings of one text.
    Embeddings,
    /// A count of tokens.
    Tokens,
}

impl Fixture {
    /// Makes fixtures of the files of a folder, by name; files that are none are left out.
    ///
    /// # Errors
    ///
    /// Which file is malformed, and how.
    pub fn of_files<N, B>(files: impl IntoIterator<Item = (N, B)>) -> Result<Vec<Self>, String>
    where
        N: Into<String>,
        B: Into<Vec<u8>>,
    {
        let files: BTreeMap<String, Vec<u8>> =
            files.into_iter().map(|(name, bytes)| (name.into(), bytes.into())).collect();
        let shared: Option<Head> = files.get_key_value(SHARED).map(read).transpose()?;
        let shared = shared.map_or_else(Vec::new, |head| head.headers.0);
        let mut fixtures = Vec::new();
        for (name, body) in &files {
            let Some((stem, answers, media_type)) = kind(name) else { continue };
            // `a.sse` and `a.json` may stand beside each other; the longer name is the latter's.
            let beside = |suffix: &str| {
                let whole = files.get_key_value(&format!("{name}.{suffix}"));
                let streamed = || files.get_key_value(&format!("{stem}.{suffix}"));
                whole.or_else(|| streamed().filter(|_| !name.ends_with(".json")))
            };
            let head = beside("head.json").map(read).transpose()?;
            let mut fixture = Self {
                name: name.clone(),
                answers,
                head: head.unwrap_or_else(|| Head::of(media_type, &shared)),
                body: body.clone(),
                request: None,
                events: None,
            };
            if answers == Answers::Chat {
                let request = files.get_key_value(&format!("{stem}.request.json"));
                fixture.request = request.map(read).transpose()?;
                fixture.events = beside("events.json").map(read).transpose()?;
            }
            fixtures.push(fixture);
        }
        Ok(fixtures)
    }
}

/// The head of a whole folder.
const SHARED: &str = "head.json";

/// What stands beside an answer and is none.
const BESIDE: &[&str] =
    &[".events.json", ".request.json", ".head.json", ".error.json", ".value.json", ".sent.json"];

fn kind(name: &str) -> Option<(&str, Answers, &'static str)> {
    const JSON: &str = "application/json";
    (name != SHARED).then_some(())?;
    BESIDE.iter().all(|suffix| !name.ends_with(suffix)).then_some(())?;
    [
        (".models.json", Answers::Models, JSON),
        (".embeddings.json", Answers::Embeddings, JSON),
        (".tokens.json", Answers::Tokens, JSON),
        (".sse", Answers::Chat, "text/event-stream"),
        (".ndjson", Answers::Chat, "application/x-ndjson"),
        (".json", Answers::Chat, JSON),
    ]
    .into_iter()
    .find_map(|(suffix, answers, media)| Some((name.strip_suffix(suffix)?, answers, media)))
}

fn read<T: serde::de::DeserializeOwned>((name, bytes): (&String, &Vec<u8>)) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("`{name}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_own_head_or_the_folders() {
        let files = [
            ("a.sse", ""),
            ("a.head.json", r#"{"request":0,"status":429,"headers":[["retry-after","7"]]}"#),
            ("a.json", ""),
            ("b.json", ""),
            ("b.json.head.json", "{}"),
            ("head.json", r#"{"headers":[["x-request-id","r"]]}"#),
        ];
        let fixtures = Fixture::of_files(files).unwrap();
        let heads: Vec<_> = fixtures.iter().map(|f| (f.name.as_str(), json(&f.head))).collect();
        let shared = r#"{"status":200,"headers":[["content-type","application/json"],["x-request-id","r"]]}"#;
        let expected = [
            ("a.json", shared),
            ("a.sse", r#"{"status":429,"headers":[["retry-after","7"]]}"#),
            ("b.json", r#"{"status":200,"headers":[]}"#),
        ];
        assert_eq!(heads, expected.map(|(name, head)| (name, head.to_owned())));
    }

    fn json(head: &Head) -> String {
        serde_json::to_string(head).unwrap()
    }

    #[test]
    fn files_belong_together_by_name() {
        let files = [
            ("a.sse", "data: x\n\n"),
            ("a.events.json", r#"{"events":[]}"#),
            ("a.request.json", r#"{"model":"m","messages":[]}"#),
            ("b.json", "{}"),
            ("b.json.events.json", r#"{"events":[1]}"#),
            ("all.models.json", "[]"),
            ("README.md", "no fixture"),
        ];
        let fixtures = Fixture::of_files(files).unwrap();
        let names: Vec<_> = fixtures.iter().map(|f| (f.name.as_str(), f.answers)).collect();
        let expected = [
            ("a.sse", Answers::Chat),
            ("all.models.json", Answers::Models),
            ("b.json", Answers::Chat),
        ];
        assert_eq!(names, expected);
        assert_eq!(fixtures[0].request.as_ref().unwrap().model, "m");
        assert_eq!(fixtures[2].events, Some(serde_json::json!({"events": [1]})));
        let error = Fixture::of_files([("a.sse", ""), ("a.request.json", "{")]).unwrap_err();
        assert!(error.starts_with("`a.request.json`: "), "{error}");
    }
}
