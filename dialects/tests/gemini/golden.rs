//! Recorded answers in, events out: whole, byte by byte, and cut at every place.
//!
//! `UPDATE_GOLDEN=1 cargo test -p dialects --test gemini` writes the expectations anew; read the
//! difference before you commit it.

use std::{env, fs, path::Path};

use plugin_api::{
    error::ErrorKind,
    kit::replay::{Replay, Run, every_cut},
};
use serde_json::{Value, json};

use crate::{JSON, SSE, open};

#[test]
fn every_recorded_answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gemini");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_string_lossy();
            let other = [".events.json", ".request.json", ".error.json"];
            name.ends_with(".sse")
                || (name.ends_with(".json") && !other.iter().any(|end| name.ends_with(end)))
        })
        .collect();
    paths.sort();
    assert!(paths.len() > 40, "the fixtures are gone");
    for path in paths {
        let whole = path.extension().is_some_and(|extension| extension == "json");
        let headers = if whole { JSON } else { SSE };
        let run = every_cut(open, 200, &headers, &fs::read(&path).unwrap());
        let place = path.display();
        assert_eq!(run.violations, [], "{place}");
        assert_ne!(run.done, run.error.is_some(), "{place}: not one end");
        let golden = path.with_extension(if whole { "json.events.json" } else { "events.json" });
        let found = serde_json::to_string_pretty(&to_json(&run)).unwrap() + "\n";
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(found, expected, "{place}");
    }
}

/// The seeds of the fuzz target that are no answers mean something, too.
#[test]
fn the_recorded_request_and_failure_are_read() {
    let request = include_bytes!("../fixtures/gemini/tools.request.json");
    let decoded = dialects::gemini::decode_request("m", request).unwrap();
    let again = dialects::gemini::encode_request(&decoded.request, &Default::default()).unwrap();
    let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(value(again.body.as_bytes().unwrap()), value(request));
    let failure = include_bytes!("../fixtures/gemini/quota.error.json");
    let run = Replay::new(open()).respond(429, &JSON, failure).run();
    let error = run.error.unwrap();
    assert_eq!((error.kind, error.retry_after_ms), (ErrorKind::Quota, Some(34_000)));
}

fn to_json(run: &Run) -> Value {
    let mut events = json!({ "events": run.events });
    if let Some(error) = &run.error {
        events["error"] = json!(error);
    }
    events.sort_all_objects();
    events
}
