//! Recorded answers in, events out: whole, byte by byte, and cut at every place.
//!
//! `UPDATE_GOLDEN=1 cargo test -p dialects --test anthropic_messages golden` writes the expectations
//! anew; read the difference before you commit it.

use std::{env, fs, path::Path};

use plugin_api::kit::replay::{Run, every_cut};
use serde_json::{Value, json};

use super::{open, well_formed};

#[test]
fn every_recorded_answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/anthropic_messages");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".sse") || (name.ends_with(".json") && !name.ends_with(".events.json"))
        })
        .collect();
    names.sort();
    assert!(names.len() >= 44, "the fixtures are gone");
    for path in names {
        let whole = path.extension().is_some_and(|extension| extension == "json");
        // What is bare JSON came without a content type.
        let bare = path.file_name().unwrap().to_string_lossy().starts_with("bare-");
        let headers: &[_] = match (whole, bare) {
            (true, _) => &[("content-type", "application/json"), ("request-id", "req_h")],
            (_, true) => &[],
            _ => &[("content-type", "text/event-stream; charset=utf-8")],
        };
        let body = fs::read(&path).unwrap();
        let run = every_cut(open, 200, headers, &body);
        well_formed(&run).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        let golden = path.with_extension(if whole { "json.events.json" } else { "events.json" });
        let found = serde_json::to_string_pretty(&to_json(&run)).unwrap() + "\n";
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(found, expected, "{}", path.display());
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
