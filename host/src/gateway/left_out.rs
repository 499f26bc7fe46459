//! What is left out of a request or an answer, and how its client is told: in a header, and in comments
//! of the same name when the head has gone.

use std::sync::{Arc, Mutex, PoisonError};

use dialects::Loss;
use http::{HeaderName, HeaderValue, Response};
use plugin_api::event::ChatEvent;

use super::{body::Body, dialect::Manner};

/// What is known to be left out before an answer has begun, for a client that cannot wait so long: of
/// the target that is being asked.
#[derive(Clone, Default)]
pub(super) struct LeftOut(Arc<Mutex<Vec<String>>>);

impl LeftOut {
    pub(super) fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins anew, with another target.
    pub(super) fn begin(&self, losses: &[Loss]) {
        let list = losses.iter().map(ToString::to_string).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = list;
    }

    pub(super) fn add(&self, warning: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }
}

/// Returns what an event says of what was left out.
pub(super) fn warning(event: &ChatEvent) -> Option<String> {
    match event {
        ChatEvent::Warning { message } => Some(message.clone()),
        _ => None,
    }
}

/// What of an answer the client's form has no place for, each part named once.
#[derive(Default)]
pub(super) struct Untold(Vec<u32>);

impl Untold {
    /// Returns what is to be said of an event.
    pub(super) fn of(&mut self, manner: &Manner, event: &ChatEvent) -> Option<String> {
        let (part, what) = manner.untold(event)?;
        if self.0.contains(&part) {
            return None;
        }
        self.0.push(part);
        Some(what)
    }
}

/// Says in headers who answered, if that is known, and what was left out.
pub(super) fn tell(response: &mut Response<Body>, served: Option<&str>, dropped: &[String]) {
    let headers = response.headers_mut();
    if let Some(value) = served.and_then(header_value) {
        headers.insert(HeaderName::from_static("x-maestro-served"), value);
    }
    if let Some(value) = header_value(&dropped.join("; ")).filter(|_| !dropped.is_empty()) {
        headers.insert(HeaderName::from_static(DROPPED), value);
    }
}

/// The header that names what was left out; what turns out later is told in comments of the same name.
pub(super) const DROPPED: &str = "x-maestro-dropped";

/// Makes a header's value of any text.
fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(one_line(text)).ok()
}

/// Makes a line of any text that a header and a comment may hold: what they may not becomes `?`, and
/// long ones end.
pub(super) fn one_line(text: &str) -> String {
    let fits = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let text: String = text.chars().take(MAX_HEADER).map(fits).collect();
    text.trim().to_owned()
}

const MAX_HEADER: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_header() {
        assert_eq!(header_value("a\r\nb: é").unwrap(), "a??b: ?");
        assert_eq!(header_value(&"x".repeat(5000)).unwrap().len(), MAX_HEADER);
    }
}
