//! The dialect `gemini`: recorded answers, what each line of the normalisation tables says, and both
//! halves against each other.

mod golden;
mod halves;
mod roundtrip;
mod samples;
mod tables;

const SSE: [(&str, &str); 1] = [("content-type", "text/event-stream")];
const JSON: [(&str, &str); 1] = [("content-type", "application/json; charset=UTF-8")];
