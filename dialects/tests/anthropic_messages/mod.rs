//! The dialect `anthropic_messages`: recorded answers, both halves alone and against each other, and
//! one test a row of what the vendor's words mean.

mod answers;
mod golden;
mod normalisation;
mod requests;
mod roundtrip;
mod samples;
