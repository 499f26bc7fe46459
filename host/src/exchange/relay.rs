//! Passes an answer on as it comes, while its plugin reads along.
//!
//! The head is judged first: what is no success, or not in the form that the client waits for, is read by
//! the plugin alone, as any answer is. Otherwise each piece is stepped and then delivered. From the first
//! delivered piece on, what becomes of the reading along is a matter of records: the upstream's own end
//! ends the relay, and a plugin that stumbles loses only the count of tokens.

use bytes::{Bytes, BytesMut};
use plugin_api::{
    error::{ErrorKind, ProviderError},
    http::Headers,
    kit::native,
};

/// A client's own body, to be passed through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Native {
    /// The body.
    pub body: Bytes,
    /// Whether the client waits for a stream.
    pub streams: bool,
}

/// A refusal of the upstream, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// The body, without the credential; empty when it was too long to keep.
    pub body: Bytes,
}

/// Where a relay stands.
#[derive(Debug, Default)]
pub(super) struct Relay {
    state: State,
    /// Whether the client waits for a stream.
    streams: bool,
    /// What is being stepped, to be delivered after.
    pending: Option<Bytes>,
    /// Whether a piece was delivered.
    begun: bool,
    /// Whether nobody reads along any more.
    deaf: bool,
    phase: Phase,
    refused: Option<(u16, BytesMut)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The answer goes to the plugin alone.
    #[default]
    Off,
    /// The head has not come.
    Waiting,
    /// Pieces are passed on.
    On,
}

/// What was stepped last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Head,
    Body,
    /// The upstream ended well.
    End,
    /// The upstream broke off.
    Broken,
}

impl Relay {
    pub(super) fn new(asked: bool, streams: bool) -> Self {
        let state = if asked { State::Waiting } else { State::Off };
        Self { state, streams, ..Self::default() }
    }

    /// Judges a head.
    pub(super) fn head(&mut self, status: u16, headers: &Headers) {
        if self.state != State::Waiting {
            return;
        }
        if native::is_passed_on(self.streams, status, headers) {
            self.state = State::On;
        } else {
            let success = (200..300).contains(&status);
            self.state = State::Off;
            self.refused = (!success).then(|| (status, BytesMut::new()));
        }
    }

    /// Takes a piece that is about to be stepped.
    pub(super) fn piece(&mut self, bytes: &Bytes) {
        self.phase = Phase::Body;
        if self.state == State::On {
            self.pending = Some(bytes.clone());
        }
        if let Some((_, kept)) = &mut self.refused {
            if kept.len() + bytes.len() > MAX_REFUSAL {
                self.refused = None;
            } else {
                kept.extend_from_slice(bytes);
            }
        }
    }

    /// Notes the end that is about to be stepped.
    pub(super) fn ending(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Returns what is to be delivered after its step.
    pub(super) fn stepped(&mut self) -> Option<Bytes> {
        let pending = self.pending.take();
        self.begun |= pending.is_some();
        pending
    }

    pub(super) fn is_on(&self) -> bool {
        self.state == State::On
    }

    /// Reports whether the upstream's answer is over, whoever has read along.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_on() && matches!(self.phase, Phase::End | Phase::Broken)
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Lets nobody read along any more, if that is no end of the relay; else reports `false`.
    ///
    /// The exchange itself is over in any case.
    pub(super) fn stop_reading(&mut self) -> bool {
        let goes_on = self.is_on() && matches!(self.phase, Phase::Body | Phase::End);
        self.deaf |= goes_on;
        goes_on
    }

    /// Judges a failure that the plugin tells: whether the relay goes on all the same.
    pub(super) fn survives(&mut self, error: &ProviderError) -> bool {
        // What the plugin could not read the client may.
        let unread = error.kind == ErrorKind::Protocol;
        match self.phase {
            Phase::Body if self.begun || unread => self.stop_reading(),
            Phase::End if unread => self.stop_reading(),
            _ => false,
        }
    }

    /// Returns the upstream's refusal, once.
    pub(super) fn take_refused(&mut self) -> Option<(u16, BytesMut)> {
        self.refused.take()
    }
}

/// Longest body of a refusal that is kept as it came.
const MAX_REFUSAL: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(relay: &mut Relay, status: u16, content_type: &str, coding: Option<&str>) {
        let mut headers = vec![("content-type".to_owned(), content_type.to_owned())];
        headers.extend(coding.map(|coding| ("content-encoding".to_owned(), coding.to_owned())));
        relay.head(status, &Headers(headers));
    }

    #[test]
    fn only_a_success_in_the_form_that_is_waited_for_is_passed_on() {
        for (streams, status, content_type, coding, on) in [
            (true, 200, "text/event-stream; charset=utf-8", None, true),
            (true, 200, "text/event-stream", Some("identity"), true),
            (false, 200, "application/json", None, true),
            (true, 200, "application/json", None, false),
            (false, 200, "text/html", None, false),
            (true, 200, "text/event-stream", Some("gzip"), false),
            (true, 500, "text/event-stream", None, false),
        ] {
            let mut relay = Relay::new(true, streams);
            head(&mut relay, status, content_type, coding);
            assert_eq!(relay.is_on(), on, "{status} {content_type}");
            assert_eq!(relay.take_refused().is_some(), status == 500);
        }
        let mut relay = Relay::new(false, true);
        head(&mut relay, 200, "text/event-stream", None);
        assert!(!relay.is_on());
    }

    #[test]
    fn a_failure_ends_the_relay_only_before_it_began_or_at_its_end() {
        let failed = |kind| ProviderError::new(kind, "x");
        let begin = || {
            let mut relay = Relay::new(true, true);
            head(&mut relay, 200, "text/event-stream", None);
            relay.piece(&Bytes::from_static(b"a"));
            relay
        };
        assert!(!begin().survives(&failed(ErrorKind::Overloaded)));
        assert!(begin().survives(&failed(ErrorKind::Protocol)));
        let mut relay = begin();
        assert_eq!(relay.stepped().as_deref(), Some(&b"a"[..]));
        relay.piece(&Bytes::from_static(b"b"));
        assert!(relay.survives(&failed(ErrorKind::Overloaded)) && relay.is_deaf());
        let mut relay = begin();
        relay.ending(Phase::End);
        assert!(!relay.survives(&failed(ErrorKind::Incomplete)));
    }
}
