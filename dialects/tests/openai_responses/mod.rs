//! The dialect `openai_responses`: recorded answers, both halves against each other, and one test a
//! row of what vendors' words mean.

mod golden;
mod halves;
mod roundtrip;
mod samples;
mod table;
mod written;
