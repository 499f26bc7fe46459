//! Asking through the facade, and what came of it.

use host::{
    Maestro,
    maestro::{Call, ChatStream, Error, one_line},
};
use plugin_api::{
    chat::{ChatRequest, Message},
    event::{ChatEvent, Transcript},
};

/// What a chat gave.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) events: Vec<ChatEvent>,
    pub(crate) error: Option<Error>,
}

impl Answer {
    /// Returns the text that was delivered.
    pub(crate) fn text(&self) -> String {
        Transcript::of(&self.events).text()
    }

    /// Returns the error and its causes in one line, or nothing.
    pub(crate) fn problem(&self) -> String {
        self.error.as_ref().map(|error| one_line(error)).unwrap_or_default()
    }

    /// Returns the text of an answer that went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.error.is_none(), "{}", self.problem());
        self.text()
    }
}

/// Makes a request that says a text, with options.
pub(crate) fn request(said: &str, options: &[(&str, &str)]) -> ChatRequest {
    let mut request = ChatRequest::new("", vec![Message::user(said)]);
    request.options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    request
}

/// Begins a chat.
pub(crate) async fn begin(
    maestro: &Maestro,
    model: &str,
    request: ChatRequest,
) -> Result<ChatStream, Error> {
    maestro.stream_chat(&model.parse()?, request, Call::default()).await
}

/// Runs a chat to its end.
pub(crate) async fn chat(maestro: &Maestro, model: &str, options: &[(&str, &str)]) -> Answer {
    let mut answer = Answer { events: Vec::new(), error: None };
    match begin(maestro, model, request("hello", options)).await {
        Ok(stream) => finish(stream, &mut answer).await,
        Err(error) => answer.error = Some(error),
    }
    answer
}

/// Reads the rest of a stream.
pub(crate) async fn finish(mut stream: ChatStream, answer: &mut Answer) {
    while let Some(next) = stream.next().await {
        assert!(answer.error.is_none(), "nothing follows an error");
        match next {
            Ok(event) => answer.events.push(event),
            Err(error) => answer.error = Some(error),
        }
    }
}

/// Reads the next event, which must be text.
#[track_caller]
pub(crate) fn text_of(next: Option<Result<ChatEvent, Error>>) -> String {
    match next {
        Some(Ok(ChatEvent::TextDelta { text, .. })) => text,
        other => panic!("expected text, found {other:?}"),
    }
}

/// Returns a failed result's error and its causes in one line.
#[track_caller]
pub(crate) fn problem<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("expected a failure"),
        Err(error) => one_line(&error),
    }
}
