//! `aichat`: `config.yaml`, a list `clients` of `{type, name, api_key, api_base}`.
//!
//! `AICHAT_CONFIG_FILE` names the file and `AICHAT_CONFIG_DIR` its folder, by default `aichat` in the
//! user's configuration folder (documented). A client without a key takes it from `NAME_API_KEY`, which
//! is read with the environment.

use std::path::PathBuf;

use saphyr::{LoadableYamlNode as _, Yaml};

use super::{Found, Places, key};

pub(super) fn path(places: &Places<'_>) -> Option<PathBuf> {
    let folder =
        || places.path("AICHAT_CONFIG_DIR").or_else(|| Some(places.config()?.join("aichat")));
    places.path("AICHAT_CONFIG_FILE").or_else(|| Some(folder()?.join("config.yaml")))
}

pub(super) fn read(text: &str) -> Result<Vec<Found>, String> {
    let documents = Yaml::load_from_str(text).map_err(|_| "it is not YAML".to_owned())?;
    let clients = documents.first().and_then(|file| file.as_mapping_get("clients"));
    let clients = clients.and_then(Yaml::as_sequence).into_iter().flatten();
    let found = clients.enumerate().filter_map(|(at, client)| {
        let text = |name: &str| client.as_mapping_get(name).and_then(Yaml::as_str);
        let api_key = text("api_key")?;
        // This type says nothing of whose key it is.
        let kind = text("type").filter(|kind| *kind != "openai-compatible");
        let words: Vec<String> =
            [text("name"), kind].into_iter().flatten().map(String::from).collect();
        Some(Found {
            place: format!("clients[{at}].api_key"),
            words,
            variable: None,
            base_url: text("api_base").map(String::from),
            label: text("name").map(String::from),
            key: key(api_key),
        })
    });
    Ok(found.collect())
}
