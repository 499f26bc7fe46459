//! The LiteLLM proxy: a configuration with `model_list[].litellm_params.{model, api_key, api_base}` and
//! `environment_variables`.
//!
//! It has no place of its own: `litellm --config FILE` names it, and container images take
//! `CONFIG_FILE_PATH` (less certain: from its source, not its documentation). `os.environ/NAME` stands for
//! a variable.

use std::path::PathBuf;

use saphyr::{LoadableYamlNode as _, Yaml};

use super::{Found, Places, key};

pub(super) fn path(places: &Places<'_>) -> Option<PathBuf> {
    places.path("CONFIG_FILE_PATH").filter(|path| {
        path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
    })
}

pub(super) fn read(text: &str, places: &Places<'_>) -> Result<Vec<Found>, String> {
    let documents = Yaml::load_from_str(text).map_err(|_| "it is not YAML".to_owned())?;
    let Some(file) = documents.first() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let models = file.as_mapping_get("model_list").and_then(Yaml::as_sequence);
    for (at, model) in models.into_iter().flatten().enumerate() {
        let params = model.as_mapping_get("litellm_params");
        let text = |name: &str| {
            params.and_then(|params| params.as_mapping_get(name)).and_then(Yaml::as_str)
        };
        let Some(api_key) = text("api_key") else { continue };
        let prefix = text("model").and_then(|model| model.split_once('/')).map(|(word, _)| word);
        let words = [text("custom_llm_provider"), prefix];
        let (variable, key) = resolved(api_key, places);
        found.push(Found {
            place: format!("model_list[{at}].litellm_params.api_key"),
            words: words.into_iter().flatten().map(String::from).collect(),
            variable,
            base_url: text("api_base").map(String::from),
            label: None,
            key,
        });
    }
    let variables = file.as_mapping_get("environment_variables").and_then(Yaml::as_mapping);
    for (name, value) in variables.into_iter().flatten() {
        let (Some(name), Some(value)) = (name.as_str(), value.as_str()) else { continue };
        if !name.ends_with("_API_KEY") {
            continue;
        }
        found.push(Found {
            place: format!("environment_variables.{name}"),
            words: Vec::new(),
            variable: Some(name.to_owned()),
            base_url: None,
            label: None,
            key: resolved(value, places).1,
        });
    }
    Ok(found)
}

/// Follows `os.environ/NAME`.
fn resolved(
    value: &str,
    places: &Places<'_>,
) -> (Option<String>, Result<secrecy::SecretString, String>) {
    let Some(name) = value.strip_prefix("os.environ/") else { return (None, key(value)) };
    let held = places.text(name).ok_or_else(|| format!("`{name}` is not set"));
    (Some(name.to_owned()), held.and_then(|text| key(&text)))
}
