//! A chat's answer as it streams, over as many exchanges as it takes.

use std::collections::VecDeque;

use plugin_api::event::ChatEvent;

use super::{Error, asking::Asking};
use crate::exchange::{Delivery, Driver, Refused};

/// An answer as it streams. Dropping it closes the upstream connection.
#[derive(Debug)]
pub struct ChatStream {
    asking: Asking,
    driver: Box<Driver>,
    /// What the exchange failed with, while it is not clear whether another can help.
    failed: Option<Error>,
    /// What came before the model said anything. It is held back while another exchange may take the
    /// place of this one, which would say it again.
    held: VecDeque<Delivery>,
    /// A failure that the client got in the vendor's own words.
    passed_on: Option<Error>,
}

impl ChatStream {
    /// Streams what a driver delivers.
    pub(super) fn new(asking: Asking, driver: Box<Driver>) -> Self {
        Self { asking, driver, failed: None, held: VecDeque::new(), passed_on: None }
    }

    /// Waits for the next event; `None` after the last one. An error is the last.
    ///
    /// Cancel-safe: an event that was not returned comes with the next call.
    pub async fn next(&mut self) -> Option<Result<ChatEvent, Error>> {
        loop {
            match self.next_delivery().await? {
                Ok(Delivery::Event(event)) => return Some(Ok(event)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Waits for the next delivery: an event, or of an answer that is passed through
    /// ([`Maestro::pass_chat`](super::Maestro::pass_chat)) its head and pieces too.
    ///
    /// Cancel-safe as [`next`](Self::next) is.
    pub async fn next_delivery(&mut self) -> Option<Result<Delivery, Error>> {
        loop {
            if self.asking.is_over() {
                return None;
            }
            if !self.asking.may_reopen()
                && let Some(held) = self.held.pop_front()
            {
                return Some(Ok(held));
            }
            if self.failed.is_none() {
                let delivery = match self.asking.in_time(self.driver.next()).await {
                    Ok(delivery) => delivery,
                    Err(late) => {
                        self.asking.begun();
                        self.failed = Some(late);
                        continue;
                    }
                };
                match delivery {
                    Some(Ok(Delivery::Value(_))) | None => {
                        self.passed_on = self.driver.take_passed_on().map(Error::from);
                        self.asking.ended(self.passed_on.as_ref());
                        return None;
                    }
                    Some(Ok(delivery)) => {
                        if begins(&delivery) {
                            self.asking.answered();
                        }
                        self.held.push_back(delivery);
                        continue;
                    }
                    Some(Err(error)) => self.failed = Some(error.into()),
                }
            }
            let reopened = match &self.failed {
                Some(error) => self.asking.reopen(error).await,
                None => None,
            };
            match reopened {
                Some(Ok(driver)) => {
                    self.driver = driver;
                    self.failed = None;
                    self.held.clear();
                    continue;
                }
                Some(Err(error)) => self.failed = Some(error),
                None => {}
            }
            self.asking.begun();
            if self.held.is_empty() {
                let error = self.failed.take()?;
                self.asking.ended(Some(&error));
                return Some(Err(error));
            }
        }
    }

    /// Returns an event that is there already, without reading on.
    ///
    /// What one read of the upstream brought can so be passed on in one piece. The end, and a failure,
    /// come from [`next`](Self::next).
    pub fn next_ready(&mut self) -> Option<ChatEvent> {
        loop {
            if let Delivery::Event(event) = self.next_ready_delivery()? {
                return Some(event);
            }
        }
    }

    /// Returns a delivery that is there already, without reading on.
    pub fn next_ready_delivery(&mut self) -> Option<Delivery> {
        if self.asking.may_reopen() || self.asking.is_over() {
            return None;
        }
        if let Some(held) = self.held.pop_front() {
            return Some(held);
        }
        if self.failed.is_some() {
            return None;
        }
        match self.driver.next_ready()? {
            Ok(Delivery::Value(_)) => None,
            Ok(delivery) => Some(delivery),
            Err(error) => {
                self.failed = Some(error.into());
                None
            }
        }
    }

    /// Takes the upstream's refusal of a body that was passed through, as it came.
    pub fn take_refused(&mut self) -> Option<Refused> {
        self.driver.take_refused()
    }

    /// Returns the failure that an answer told in its midst while it was passed on, once it is over. The
    /// client has it already; it is for records.
    #[must_use]
    pub fn passed_on(&self) -> Option<&Error> {
        self.passed_on.as_ref()
    }

    /// Reports whether the stream would survive a crash of its plugin. A stream whose plugin runs in
    /// process would not, and one whose inputs were too many to keep.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        self.driver.is_replayable()
    }

    /// Returns the selector of the session that serves it.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.asking.session()
    }
}

/// Reports whether a delivery is part of the answer, so that no other exchange may take the place of
/// this one.
fn begins(delivery: &Delivery) -> bool {
    match delivery {
        Delivery::Event(event) => event.is_content() || matches!(event, ChatEvent::Finish { .. }),
        Delivery::Bytes(_) => true,
        Delivery::Head(_) | Delivery::Value(_) => false,
    }
}
