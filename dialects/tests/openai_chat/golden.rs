//! Recorded answers of servers that speak Chat Completions.

use dialects::openai_chat::Decoder;

use crate::common::{golden, numbered, open};

#[test]
fn every_recorded_answer_of_chat_completions() {
    golden::every_recorded_answer("openai_chat", 31, open::<Decoder>, numbered);
}
