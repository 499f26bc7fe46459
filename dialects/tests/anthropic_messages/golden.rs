//! Recorded answers of Anthropic, and of servers that speak its format.

use dialects::anthropic_messages::Decoder;

use crate::common::{golden, open, well_formed};

#[test]
fn every_recorded_answer() {
    golden::every_recorded_answer("anthropic_messages", 44, open::<Decoder>, well_formed);
}
