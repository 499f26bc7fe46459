//! The dialect `openai_chat`: recorded answers, both halves against each other, and one test for each
//! habit of servers.

mod checklist;
mod golden;
mod halves;
mod roundtrip;
mod samples;
