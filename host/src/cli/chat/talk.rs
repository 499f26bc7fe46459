//! A conversation as the command line holds it: what was said, with whom, and where it is kept.

use std::{sync::Arc, time::Duration};

use plugin_api::chat::{ChatRequest, Message, Role};

use crate::{
    cli::{
        Outcome,
        chat::{
            answer::{self, End},
            render::Style,
            settings::Settings,
        },
        failure::Failure,
        output::{Document, Output},
    },
    exchange::recording::Recorder,
    maestro::{Call, Error, Maestro, Stop, StoredMessage, Tried, one_line, open_stops},
    router::ModelRef,
    session::{Conversation, NewConversation},
};

/// Whether turns are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// They are not.
    No,
    /// They are; where that fails, the answer was still worth having.
    Try,
    /// They are; the user named the conversation, so a failure is one of the command.
    Must,
}

/// One conversation.
pub(super) struct Talk<'a> {
    pub(super) maestro: &'a Maestro,
    pub(super) output: &'a Output,
    pub(super) style: Style,
    pub(super) settings: Settings,
    pub(super) keep: Keep,
    pub(super) model: ModelRef,
    /// Where to ask when the model's place fails before it says anything, in order.
    pub(super) next: Vec<Stop>,
    /// Whether the model's place is one of a pool.
    pub(super) pool: bool,
    pub(super) session: Option<String>,
    /// How long an answer may take.
    pub(super) timeout: Option<Duration>,
    /// Where the exchanges are written down.
    pub(super) recorder: Option<Arc<Recorder>>,
    /// What the model is told to be.
    pub(super) system: Option<String>,
    /// What was said, oldest first, without the system message.
    pub(super) messages: Vec<Message>,
    /// The system message as the store has it.
    pub(super) stored_system: Option<String>,
    /// Where it is stored; a new one is made with its first answer.
    pub(super) conversation: Option<Conversation>,
    /// What to call it then.
    pub(super) name: Option<String>,
}

impl Talk<'_> {
    /// Makes the request that asks `user`, or only what was said so far.
    pub(super) fn request(&self, user: Option<&Message>) -> Result<(ChatRequest, Call), Failure> {
        let mut messages: Vec<_> = self.system.iter().map(Message::system).collect();
        messages.extend(self.messages.iter().chain(user).cloned());
        let mut request = ChatRequest::new(self.model.model.clone(), messages);
        self.settings.apply(&mut request)?;
        Ok((request, self.call()))
    }

    fn call(&self) -> Call {
        Call::with_session(self.session.clone())
            .deadline(self.timeout)
            .recorder(self.recorder.clone())
    }

    /// Asks, prints the answer and stores both.
    pub(super) async fn ask(&mut self, user: Message) -> Outcome {
        let mut tried = Tried::default();
        let answer = loop {
            let request = self.request(Some(&user))?;
            let answer =
                answer::ask(self.maestro, self.output, self.style, &self.model, request).await?;
            match &answer.end {
                End::Failed(error) if !answer.has_begun() && self.turn(error, &mut tried) => {}
                _ => break answer,
            }
        };
        if let Some(said) = answer.message() {
            let system = self.system.clone().filter(|now| self.stored_system.as_ref() != Some(now));
            let mut turn: Vec<_> = system.map(Message::system).into_iter().collect();
            turn.extend([user.clone(), said.clone()]);
            self.messages.extend([user, said]);
            self.store(&turn, answer.transcript.usage.clone()).await?;
        }
        if self.style.json {
            let id = self.conversation.as_ref().map(|conversation| conversation.id.as_str());
            let result = answer.result(&self.model, id);
            self.output.document(&Document::new().with("result", &result))?;
        } else if self.output.is_verbose() {
            self.output.note(&answer.summary(&self.model));
        }
        match answer.end {
            End::Failed(error) => {
                let session = self.session.as_deref();
                Err(Failure::of_model(error, self.maestro, &self.model, session).await)
            }
            End::Interrupted(_) => Err(Failure::Interrupted),
            End::Finished if answer.judge(self.output) => Err(Failure::Said),
            End::Finished => Ok(()),
        }
    }

    /// Asks the next place from now on, if that may help after a failure; says so.
    fn turn(&mut self, error: &Error, tried: &mut Tried) -> bool {
        let failed = Stop::at(self.model.clone(), self.pool);
        if !tried.failed(&failed, error) {
            return false;
        }
        while !self.next.is_empty() {
            let stop = self.next.remove(0);
            if !tried.rules_out(&stop) {
                let why = one_line(error);
                self.output
                    .note(&format!("`{}` failed: {why}; asking `{}`", self.model, stop.model));
                (self.model, self.pool) = (stop.model, stop.pool);
                return true;
            }
        }
        false
    }

    /// Asks the places of a name from now on; says which are passed over, and why.
    pub(super) fn head_for(&mut self, stops: Vec<Stop>) -> Outcome {
        for stop in &stops {
            if let Some(why) = &stop.passed_over {
                self.output.note(&format!("`{}` is passed over: {why}", stop.model));
            }
        }
        let mut open = open_stops(stops)?.into_iter();
        if let Some(first) = open.next() {
            (self.model, self.pool) = (first.model, first.pool);
        }
        self.next = open.collect();
        Ok(())
    }

    async fn store(&mut self, turn: &[Message], usage: plugin_api::event::Usage) -> Outcome {
        if self.keep == Keep::No {
            return Ok(());
        }
        match self.append(turn, usage).await {
            Ok(()) => {
                self.stored_system.clone_from(&self.system);
                Ok(())
            }
            Err(error) if self.keep == Keep::Must => Err(error.into()),
            Err(error) => {
                let why = one_line(&error);
                self.output.warn(&format!(
                    "the conversation is not stored: {why}; `--no-store` stores none"
                ));
                self.keep = Keep::No;
                Ok(())
            }
        }
    }

    async fn append(
        &mut self,
        turn: &[Message],
        usage: plugin_api::event::Usage,
    ) -> Result<(), Error> {
        let conversation = match self.conversation.take() {
            Some(conversation) => conversation,
            None => {
                let new = NewConversation {
                    name: self.name.clone(),
                    provider: Some(self.model.provider.to_string()),
                    session: self.session.clone(),
                    model: Some(self.model.to_string()),
                    title: None,
                };
                self.maestro.create_conversation(new).await?
            }
        };
        let conversation = self.conversation.insert(conversation);
        self.maestro.append_turn(&conversation.id, turn, usage).await
    }

    /// Forgets what was said; the next answer begins another conversation.
    pub(super) fn renew(&mut self) {
        self.messages.clear();
        self.stored_system = None;
        self.conversation = None;
        self.name = None;
    }

    /// Gives the conversation a name, and stores it if it was not until now.
    ///
    /// A stored conversation cannot be renamed, so it is written again under the name; only then is
    /// the unnamed one deleted.
    pub(super) async fn save(&mut self, name: &str) -> Outcome {
        if self.maestro.list_conversations().await?.iter().any(|c| c.name.as_deref() == Some(name))
        {
            return Err(Failure::usage(
                format!("there is a conversation `{name}` already"),
                "choose another name",
            ));
        }
        self.name = Some(name.to_owned());
        self.keep = Keep::Must;
        if self.messages.is_empty() {
            return Ok(());
        }
        let unnamed = self.conversation.take();
        let mut all: Vec<_> = self.system.iter().map(Message::system).collect();
        all.extend(self.messages.iter().cloned());
        self.store(&all, plugin_api::event::Usage::default()).await?;
        if let Some(unnamed) = unnamed {
            self.maestro.delete_conversation(unnamed.id.as_str()).await?;
        }
        Ok(())
    }
}

/// Splits stored messages into the last system message and the rest.
pub(super) fn history(stored: Vec<StoredMessage>) -> (Option<String>, Vec<Message>) {
    split(stored.into_iter().map(|stored| stored.message))
}

fn split(messages: impl Iterator<Item = Message>) -> (Option<String>, Vec<Message>) {
    let (system, said): (Vec<_>, Vec<_>) =
        messages.partition(|message| message.role == Role::System);
    (system.last().map(Message::text), said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_system_message_counts() {
        let stored = [
            Message::system("a"),
            Message::user("1"),
            Message::assistant("2"),
            Message::system("b"),
            Message::user("3"),
        ];
        let (system, said) = split(stored.into_iter());
        assert_eq!(system.as_deref(), Some("b"));
        assert_eq!(said.iter().map(Message::text).collect::<String>(), "123");
    }
}
