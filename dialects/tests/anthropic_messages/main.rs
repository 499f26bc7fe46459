//! Anthropic Messages, both directions.

mod answers;
mod golden;
mod normalisation;
mod requests;
mod roundtrip;

use dialects::anthropic_messages::Decoder;
use plugin_api::{
    exchange::Exchange,
    http::HttpRequest,
    kit::{SseStream, replay::Run},
};

/// Opens the exchange that reads an answer.
fn open() -> Box<dyn Exchange + Send> {
    Box::new(SseStream::new(HttpRequest::get("https://a.test/"), Decoder::new()))
}

/// Checks that a run kept the rules, ended once and, if it ended well, with its finish.
fn well_formed(run: &Run) -> Result<(), String> {
    use plugin_api::event::ChatEvent;
    if !run.violations.is_empty() || run.after_end > 0 {
        return Err(format!("{:?}", run.violations));
    }
    if run.done == run.error.is_some() {
        return Err("not one end".into());
    }
    let finish = |event: &ChatEvent| matches!(event, ChatEvent::Finish { .. });
    if run.events.last().is_some_and(finish) != run.done {
        return Err("the finish is not last".into());
    }
    Ok(())
}
