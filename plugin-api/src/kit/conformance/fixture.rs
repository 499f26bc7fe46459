//! Answers that a plugin's author recorded, as files of a folder.
//!
//! | file | what |
//! |---|---|
//! | `NAME.sse`, `NAME.ndjson`, `NAME.json` | an answer of a chat, streamed or whole |
//! | `NAME.request.json` | the [`ChatRequest`] that it answers; without it, a greeting |
//! | `NAME.events.json`, `NAME.json.events.json` | the events that must come of it, and the error |
//! | `NAME.models.json`, `NAME.embeddings.json`, `NAME.tokens.json` | answers of other operations |
//! | `NAME.sent.json`, `NAME.value.json` | what a plugin's own tests expect; not read here |

use std::collections::BTreeMap;

use serde_json::Value;

use crate::chat::ChatRequest;

/// A recorded answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fixture {
    /// The file's name.
    pub name: String,
    /// What it answers.
    pub answers: Answers,
    /// Its media type.
    pub media_type: &'static str,
    /// The recorded bytes.
    pub body: Vec<u8>,
    /// The request that it answers, of a chat.
    pub request: Option<ChatRequest>,
    /// What must come of it.
    pub events: Option<Value>,
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
        let mut fixtures = Vec::new();
        for (name, body) in &files {
            let Some((stem, answers, media_type)) = kind(name) else { continue };
            let mut fixture = Self {
                name: name.clone(),
                answers,
                media_type,
                body: body.clone(),
                request: None,
                events: None,
            };
            if answers == Answers::Chat {
                let beside = |suffix: &str| files.get_key_value(&format!("{stem}.{suffix}"));
                fixture.request = beside("request.json").map(read).transpose()?;
                let whole = files.get_key_value(&format!("{name}.events.json"));
                let streamed = || beside("events.json").filter(|_| !name.ends_with(".json"));
                fixture.events = whole.or_else(streamed).map(read).transpose()?;
            }
            fixtures.push(fixture);
        }
        Ok(fixtures)
    }
}

/// What stands beside an answer and is none.
const BESIDE: &[&str] = &[".events.json", ".request.json", ".value.json", ".sent.json"];

fn kind(name: &str) -> Option<(&str, Answers, &'static str)> {
    const JSON: &str = "application/json";
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
