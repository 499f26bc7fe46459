//! Recorded answers of servers that speak Responses.

use dialects::openai_responses::Decoder;

use crate::common::{golden, numbered, open};

#[test]
fn every_recorded_answer() {
    golden::every_recorded_answer(
        "openai_responses",
        31,
        open::<Decoder>,
        |name| {
            if name.ends_with(".json") { JSON } else { SSE }
        },
        numbered,
    );
}

const SSE: golden::Headers = &[
    ("content-type", "text/event-stream; charset=utf-8"),
    ("x-request-id", "req_1"),
    ("x-ratelimit-remaining-requests", "59"),
];
const JSON: golden::Headers = &[
    ("content-type", "application/json"),
    ("x-request-id", "req_1"),
    ("x-ratelimit-remaining-requests", "59"),
];
