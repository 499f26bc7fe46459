//! Recorded answers in, events out: whole, byte by byte, and cut at every place.
//!
//! `UPDATE_GOLDEN=1 cargo test -p dialects golden` writes the expectations anew; read the difference
//! before you commit it.

use std::{fs, path::Path};

use plugin_api::{
    exchange::Exchange,
    kit::replay::{Run, every_cut},
};
use serde_json::{Value, json};

use super::assert_recorded;

/// Headers of an answer.
pub(crate) type Headers = &'static [(&'static str, &'static str)];

/// Replays every answer in a folder of `tests/fixtures`, of which there are `least`. `headers` says
/// with which headers a file's answer came, `check` what holds for each run.
pub(crate) fn every_recorded_answer(
    folder: &str,
    least: usize,
    open: fn() -> Box<dyn Exchange + Send>,
    headers: fn(name: &str) -> Headers,
    check: fn(&Run) -> Result<(), String>,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| is_answer(name))
        .collect();
    names.sort();
    assert!(names.len() >= least, "the fixtures are gone: {} are left", names.len());
    for name in names {
        let path = folder.join(&name);
        let run = every_cut(open, 200, headers(&name), &fs::read(&path).unwrap());
        check(&run).unwrap_or_else(|rule| panic!("{}: {rule}", path.display()));
        let whole = name.ends_with(".json");
        let golden = path.with_extension(if whole { "json.events.json" } else { "events.json" });
        let found = serde_json::to_string_pretty(&to_json(&run)).unwrap() + "\n";
        assert_recorded(&golden, found.as_bytes());
    }
}

/// Tells answers from what else lies in the folder.
fn is_answer(name: &str) -> bool {
    let other = ["head.json", ".events.json", ".request.json", ".error.json"];
    name.ends_with(".sse")
        || (name.ends_with(".json") && !other.iter().any(|end| name.ends_with(end)))
}

fn to_json(run: &Run) -> Value {
    let mut events = json!({ "events": run.events });
    if let Some(error) = &run.error {
        events["error"] = json!(error);
    }
    events.sort_all_objects();
    events
}
