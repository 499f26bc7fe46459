//! Gemini's dialect, from outside: recorded answers, what each line of the normalisation tables says,
//! and both halves against each other.

mod golden;
mod halves;
mod roundtrip;
mod tables;

use dialects::gemini::Decoder;
use plugin_api::{exchange::Exchange, http::HttpRequest, kit::SseStream};

fn open() -> Box<dyn Exchange + Send> {
    Box::new(SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new()))
}

const SSE: [(&str, &str); 1] = [("content-type", "text/event-stream")];
const JSON: [(&str, &str); 1] = [("content-type", "application/json; charset=UTF-8")];
