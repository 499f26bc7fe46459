//! Recorded answers of Gemini.

use dialects::gemini::Decoder;
use plugin_api::{error::ErrorKind, kit::replay::Replay};
use serde_json::Value;

use super::JSON;
use crate::common::{golden, numbered, open};

#[test]
fn every_recorded_answer() {
    golden::every_recorded_answer("gemini", 41, open::<Decoder>, numbered);
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
    let run = Replay::new(open::<Decoder>()).respond(429, &JSON, failure).run();
    let error = run.error.unwrap();
    assert_eq!((error.kind, error.retry_after_ms), (ErrorKind::Quota, Some(34_000)));
}
