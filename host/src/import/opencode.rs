//! `opencode`: `auth.json`, an object of provider ids and logins.
//!
//! It lies in the XDG data folder, on a Mac too (documented). Of its three types only `api` holds a key of
//! the user's own; `oauth` is the tool's login and `wellknown` a token of the user's employer.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{Found, Places, key};

pub(super) fn path(places: &Places<'_>) -> Option<PathBuf> {
    Some(places.xdg_data()?.join("opencode/auth.json"))
}

pub(super) fn read(text: &str) -> Result<Vec<Found>, String> {
    let logins: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| "it is not a JSON object".to_owned())?;
    let found = logins.iter().map(|(provider, login)| Found {
        place: provider.clone(),
        words: vec![provider.clone()],
        variable: None,
        base_url: None,
        label: None,
        key: match (login["type"].as_str(), login["key"].as_str()) {
            (Some("api"), Some(text)) => key(text),
            (Some("api"), None) => Err("it has no key".into()),
            (Some("oauth"), _) => {
                Err("an OAuth login belongs to the tool that made it; log in here as well".into())
            }
            _ => Err("it is no API key".into()),
        },
    });
    Ok(found.collect())
}
