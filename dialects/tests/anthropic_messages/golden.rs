//! Recorded answers of Anthropic, and of servers that speak its format.

use dialects::anthropic_messages::Decoder;

use crate::common::{golden, open, well_formed};

#[test]
fn every_recorded_answer() {
    golden::every_recorded_answer(
        "anthropic_messages",
        44,
        open::<Decoder>,
        |name| {
            if name.ends_with(".json") {
                &[("content-type", "application/json"), ("request-id", "req_h")]
            } else if name.starts_with("bare-") {
                // What is bare JSON came without a content type.
                &[]
            } else {
                &[("content-type", "text/event-stream; charset=utf-8")]
            }
        },
        well_formed,
    );
}
