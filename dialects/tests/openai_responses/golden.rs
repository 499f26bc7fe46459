//! Recorded answers in, events out: whole, byte by byte, and cut at every place.
//!
//! `UPDATE_GOLDEN=1 cargo test -p dialects --test openai_responses` writes the expectations anew; read
//! the difference before you commit it.

use std::{env, fs, path::Path};

use dialects::openai_responses::Decoder;
use plugin_api::{
    event::ChatEvent,
    exchange::Exchange,
    http::HttpRequest,
    kit::{
        SseStream,
        replay::{Run, every_cut},
    },
};
use serde_json::{Value, json};

#[test]
fn every_recorded_answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openai_responses");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".sse") || (name.ends_with(".json") && !name.ends_with(".events.json"))
        })
        .collect();
    names.sort();
    assert!(names.len() > 30, "the fixtures are gone");
    for path in names {
        let whole = path.extension().is_some_and(|extension| extension == "json");
        let kind = if whole { "application/json" } else { "text/event-stream; charset=utf-8" };
        let body = fs::read(&path).unwrap();
        let headers = [
            ("content-type", kind),
            ("x-request-id", "req_1"),
            ("x-ratelimit-remaining-requests", "59"),
        ];
        let run = every_cut(open, 200, &headers, &body);
        grammar(&run, &path);
        let golden = path.with_extension(if whole { "json.events.json" } else { "events.json" });
        let found = serde_json::to_string_pretty(&to_json(&run)).unwrap() + "\n";
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(found, expected, "{}", path.display());
    }
}

pub(crate) fn open() -> Box<dyn Exchange + Send> {
    Box::new(SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new()))
}

fn to_json(run: &Run) -> Value {
    let mut events = json!({ "events": run.events });
    if let Some(error) = &run.error {
        events["error"] = json!(error);
    }
    events.sort_all_objects();
    events
}

/// Checks the rules of the contract, and that nothing is missing at the end.
pub(crate) fn grammar(run: &Run, path: &Path) {
    let place = path.display();
    assert_eq!(run.violations, [], "{place}");
    assert_ne!(run.done, run.error.is_some(), "{place}: not one end");
    let finish = |event: &ChatEvent| matches!(event, ChatEvent::Finish { .. });
    let finishes = run.events.iter().filter(|event| finish(event)).count();
    assert_eq!(finishes, usize::from(run.done), "{place}: not one finish");
    assert_eq!(run.events.last().is_some_and(finish), run.done, "{place}: finish is not last");
}
