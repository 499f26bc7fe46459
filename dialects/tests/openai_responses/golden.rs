//! Recorded answers of servers that speak Responses.

use dialects::openai_responses::Decoder;

use crate::common::{golden, numbered, open};

#[test]
fn every_recorded_answer() {
    golden::every_recorded_answer("openai_responses", 31, open::<Decoder>, numbered);
}
