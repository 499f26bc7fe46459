//! What a step asked for, done: requests sent, events delivered, the end.

use std::{sync::Arc, time::Duration};

use plugin_api::{
    abi::Effect,
    error::{ErrorKind, ProviderError},
    event::ChatEvent,
    exchange::LogLevel,
    http::HttpRequest,
};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::{Delivery, Driver, Upstream, now};
use crate::{
    exchange::{
        ExchangeError,
        blobs::BodyError,
        grammar::{Rule, Violation},
        issuers::stamp,
    },
    plugin::load::Stepped,
};

impl Driver {
    /// Does what a step asked.
    pub(super) fn take(&mut self, mut stepped: Stepped) {
        self.put_out = self.put_out.saturating_add(stepped.bytes());
        if let Some(tape) = &mut self.tape {
            tape.gave(&stepped.effects, stepped.bytes());
        }
        for effect in stepped.effects.drain(..) {
            if let Err(violation) = self.perform(effect) {
                self.violate(violation);
                break;
            }
        }
        if let Some(error) = stepped.malformed.take() {
            self.violate(Violation::new(Rule::WellFormedMessages, error.to_string()));
        }
        if std::mem::take(&mut stepped.flooded) {
            self.violate(Violation::new(Rule::OutputBudget, "one step put out too much"));
        } else if self.put_out > MAX_OUTPUT && !self.over {
            let detail = format!("the exchange put out more than {MAX_OUTPUT} bytes");
            self.violate(Violation::new(Rule::OutputBudget, detail));
        }
        if stepped.ended && !self.over && !self.relay.is_deaf() {
            self.violate(Violation::new(Rule::NothingAfterEnd, "ended without `done` or `fail`"));
        }
        self.stepped = stepped;
        self.relayed();
    }

    /// Delivers the piece of a relay that was stepped, and ends the relay with its upstream.
    pub(super) fn relayed(&mut self) {
        let piece = self.relay.stepped();
        if self.over {
            return;
        }
        self.ready.extend(piece.map(|bytes| Ok(Delivery::Bytes(bytes))));
        self.over = self.relay.is_at_end();
    }

    fn perform(&mut self, effect: Effect) -> Result<(), Violation> {
        if self.over || self.relay.is_deaf() {
            let detail = format!("{} after the end", name(&effect));
            return Err(Violation::new(Rule::NothingAfterEnd, detail));
        }
        match effect {
            Effect::Send { number, request } => self.send(number, *request),
            Effect::Event(event) => self.deliver(event),
            Effect::Vector { index, vector } => self
                .vectors
                .take(index, vector)
                .map_err(|error| Violation::new(Rule::WellFormedMessages, error.to_string())),
            Effect::Value(mut value) => {
                let found = value.name();
                let problem = match self.expected {
                    None => format!("`{found}` in a chat"),
                    Some(expected) if expected != found => {
                        format!("`{found}` where `{expected}` is expected")
                    }
                    Some(_) if self.value_given => format!("a second `{found}`"),
                    Some(_) => String::new(),
                };
                if !problem.is_empty() {
                    return Err(Violation::new(Rule::ValueFitsOperation, problem));
                }
                self.vectors.complete(&mut value);
                self.value_given = true;
                self.ready.push_back(Ok(Delivery::Value(*value)));
                Ok(())
            }
            Effect::WakeAt(when) => {
                let wait = Duration::from_millis(when.0.saturating_sub(now().0));
                self.wake = Some(Instant::now() + wait.min(MAX_WAIT));
                Ok(())
            }
            Effect::Log { level, text } => {
                log(&self.plugin, level, &text);
                Ok(())
            }
            Effect::Done => self.done(),
            Effect::Fail(error) if error.kind == ErrorKind::PluginPanic => {
                Err(Violation::new(Rule::NeverPanics, error.message))
            }
            Effect::Fail(error) => {
                self.fail(error);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn send(&mut self, number: u32, request: HttpRequest) -> Result<(), Violation> {
        if !matches!(self.upstream, Upstream::None) {
            let detail = format!("request {number} while {} is open", self.open_request());
            return Err(Violation::new(Rule::OneRequestAtATime, detail));
        }
        if number != self.next_request {
            let detail = format!("request {number}, expected {}", self.next_request);
            return Err(Violation::new(Rule::OneRequestAtATime, detail));
        }
        if number >= MAX_REQUESTS {
            let detail = format!("more than {MAX_REQUESTS} requests");
            return Err(Violation::new(Rule::RequestBudget, detail));
        }
        self.next_request += 1;
        let mut request = request;
        let sending = match self.blobs.assemble(std::mem::take(&mut request.body)) {
            Ok(body) => {
                let (route, credential) = (Arc::clone(&self.route), self.credential.clone());
                Arc::clone(&self.transport).send(route, request, body, credential)
            }
            Err(error @ BodyError::NotText) => {
                let kind = ErrorKind::InvalidRequest;
                self.fail(Box::new(ProviderError::new(kind, error.to_string())));
                return Ok(());
            }
            Err(error) => {
                return Err(Violation::new(Rule::WellFormedMessages, error.to_string()));
            }
        };
        self.upstream = Upstream::Sending(Box::pin(sending));
        Ok(())
    }

    fn deliver(&mut self, mut event: ChatEvent) -> Result<(), Violation> {
        if let (ChatEvent::Warning { message }, Some(credential)) = (&mut event, &self.credential) {
            *message = credential.masked_text(std::mem::take(message));
        }
        if !self.is_chat && matches!(event, ChatEvent::Warning { .. }) {
            self.ready.push_back(Ok(Delivery::Event(event)));
            return Ok(());
        }
        if !self.is_chat {
            let detail = format!("event `{}` from an operation that gives a value", event.name());
            return Err(Violation::new(Rule::ValueFitsOperation, detail));
        }
        self.grammar.check(&event)?;
        stamp(&mut event, &self.provider);
        self.ready.push_back(Ok(Delivery::Event(event)));
        Ok(())
    }

    fn done(&mut self) -> Result<(), Violation> {
        if self.is_chat && !self.grammar.is_finished() {
            return Err(Violation::new(Rule::FinishBeforeDone, "`done` without `finish`"));
        }
        if !self.is_chat && !self.value_given {
            return Err(Violation::new(Rule::ValueFitsOperation, "`done` without a value"));
        }
        // What the plugin does not wait for may still matter to the client.
        if !self.relay.stop_reading() {
            self.end();
        }
        Ok(())
    }

    pub(super) fn fail(&mut self, mut source: Box<ProviderError>) {
        let survives = self.relay.survives(&source);
        if !survives {
            self.end();
        }
        if let Some(credential) = &self.credential {
            *source = credential.masked(*source);
        }
        let provider = self.provider.clone();
        if survives {
            info!(provider, kind = %source.kind, "nobody reads along any more");
            // The client got it in the vendor's own words. What the plugin could not read is nobody's.
            if source.kind != ErrorKind::Protocol {
                self.passed_on = Some(ExchangeError::Provider { provider, source });
            }
            return;
        }
        self.ready.push_back(Err(ExchangeError::Provider { provider, source }));
    }

    pub(super) fn violate(&mut self, violation: Violation) {
        let Violation { rule, detail } = violation;
        warn!(plugin = self.plugin, %rule, detail, "contract broken");
        if self.relay.is_deaf() || self.relay.stop_reading() {
            return;
        }
        self.over = true;
        self.upstream = Upstream::None;
        // An error is the last delivery, and the first one says what the user wants to know.
        if matches!(self.ready.back(), Some(Err(_))) {
            return;
        }
        self.ready.push_back(Err(ExchangeError::Contract {
            plugin: self.plugin.clone(),
            rule,
            detail,
        }));
    }

    /// Ends the exchange. The rest of an answer is read in the background for a moment, because a
    /// connection whose body was read to its end can be used again.
    fn end(&mut self) {
        self.over = true;
        if let Upstream::Reading(mut answer) = std::mem::replace(&mut self.upstream, Upstream::None)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(timeout(DRAIN, async move {
                while let Ok(Some(_)) = answer.chunk().await {}
            }));
        }
    }
}

/// Most bytes that an exchange may put out.
const MAX_OUTPUT: usize = 256 * 1024 * 1024;

/// Most requests that an exchange may send.
const MAX_REQUESTS: u32 = 256;

/// Longest time that an exchange may ask to wait.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// How long the rest of an answer is read after its exchange is done.
const DRAIN: Duration = Duration::from_millis(500);

fn name(effect: &Effect) -> String {
    match effect {
        Effect::Send { .. } => "a request".into(),
        Effect::Event(event) => format!("`{}`", event.name()),
        Effect::Value(_) | Effect::Vector { .. } => "a value".into(),
        Effect::WakeAt(_) => "a wish to be woken".into(),
        Effect::Log { .. } => "a log line".into(),
        Effect::Done => "`done`".into(),
        Effect::Fail(_) => "`fail`".into(),
        _ => "an output".into(),
    }
}

fn log(plugin: &str, level: LogLevel, text: &str) {
    let text = text.escape_debug();
    match level {
        LogLevel::Debug => debug!(plugin, "{text}"),
        LogLevel::Info => info!(plugin, "{text}"),
        _ => warn!(plugin, "{text}"),
    }
}
