//! Recorded answers in, events out: whole, byte by byte, and cut at every place.
//!
//! `UPDATE_GOLDEN=1 cargo test -p dialects golden` writes the expectations anew; read the difference
//! before you commit it.

use std::{fs, path::Path};

use plugin_api::{
    exchange::Exchange,
    kit::{
        conformance::Fixture,
        replay::{Run, every_cut},
    },
};
use serde_json::{Value, json};

use super::assert_recorded;

/// Replays every answer in a folder of `tests/fixtures`, of which there are `least`. `check` says what
/// holds for each run.
pub(crate) fn every_recorded_answer(
    folder: &str,
    least: usize,
    open: fn() -> Box<dyn Exchange + Send>,
    check: fn(&Run) -> Result<(), String>,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let files = fs::read_dir(&folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    });
    let fixtures = Fixture::of_files(files).unwrap();
    assert!(fixtures.len() >= least, "the fixtures are gone: {} are left", fixtures.len());
    for Fixture { name, head, body, .. } in fixtures {
        let path = folder.join(&name);
        let headers = head.headers.0.iter().map(|(name, value)| (&**name, &**value));
        let run = every_cut(open, head.status, &headers.collect::<Vec<_>>(), &body);
        check(&run).unwrap_or_else(|rule| panic!("{}: {rule}", path.display()));
        let whole = name.ends_with(".json");
        let golden = path.with_extension(if whole { "json.events.json" } else { "events.json" });
        let found = serde_json::to_string_pretty(&to_json(&run)).unwrap() + "\n";
        assert_recorded(&golden, found.as_bytes());
    }
}

fn to_json(run: &Run) -> Value {
    let mut events = json!({ "events": run.events });
    if let Some(error) = &run.error {
        events["error"] = json!(error);
    }
    events.sort_all_objects();
    events
}
