//! Simon Willison's `llm`: `keys.json`, an object of names and keys.
//!
//! It lies in `LLM_USER_PATH`, else in the application folder `io.datasette.llm` (certain, from its
//! documentation). A name is what a plugin of that tool asks for, often a provider's id, or anything
//! that the user chose. The first entry is a note that begins with `//`.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{Found, Places, key};

pub(super) fn path(places: &Places<'_>) -> Option<PathBuf> {
    let folder = places.path("LLM_USER_PATH");
    Some(folder.or_else(|| Some(places.config()?.join("io.datasette.llm")))?.join("keys.json"))
}

pub(super) fn read(text: &str) -> Result<Vec<Found>, String> {
    // The parser's error is not shown: it may quote the text it stumbled over.
    let keys: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| "it is not a JSON object".to_owned())?;
    let keys = keys.iter().filter(|(name, _)| !name.starts_with("//"));
    let found = keys.map(|(name, value)| Found {
        place: name.clone(),
        words: vec![name.clone()],
        variable: None,
        base_url: None,
        label: Some(name.clone()),
        key: value.as_str().ok_or_else(|| "it is not text".to_owned()).and_then(key),
    });
    Ok(found.collect())
}
