//! The seam between the gateway and the dialects: what a client asks in, and is answered in.
//!
//! A dialect plugs in here and in `route`. Its own work (reading requests, writing events, answers
//! and errors) is in the crate `dialects`.

// `google`, because `gemini` also names a plugin, a dev-dependency. A path that spells it makes a lint of the
// compiler (`unused_qualifications`, most likely) look for that crate, and so link it into the tests.
use dialects::{
    Loss, RequestError, anthropic_messages, gemini as google,
    openai_chat::{self, CompletionEncoder},
    openai_responses,
};
use plugin_api::{
    chat::ChatRequest,
    error::ProviderError,
    event::{ChatEvent, Transcript},
    operation::{Model, TokenCount},
};

use super::{
    kept::Shelf,
    left_out::{DROPPED, one_line},
};

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Dialect {
    OpenAiChat,
    OpenAiResponses,
    AnthropicMessages,
    Gemini,
}

/// How a chat is asked, beside its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChatForm {
    /// `POST /v1/chat/completions`.
    OpenAiChat,
    /// `POST /v1/completions`, the predecessor; no provider is asked so.
    OpenAiCompletion,
    /// `POST /v1/responses`.
    OpenAiResponses,
    /// `POST /v1/messages`.
    AnthropicMessages,
    /// `POST /v1beta/models/{model}:generateContent`, or `:streamGenerateContent`.
    Gemini { model: String, layout: Option<google::Layout> },
}

/// A client's request, read.
pub(super) struct Asked {
    pub(super) request: ChatRequest,
    pub(super) stream: bool,
    /// What the answer will not hold although it was asked for.
    pub(super) losses: Vec<Loss>,
    pub(super) manner: Manner,
}

/// How the answer is to be written.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    OpenAiChat {
        include_usage: bool,
        legacy_functions: bool,
    },
    OpenAiCompletion {
        include_usage: bool,
    },
    OpenAiResponses {
        namespaces: openai_responses::Namespaces,
        echo: openai_responses::Echo,
        shelf: Option<Shelf>,
    },
    AnthropicMessages,
    Gemini(google::Layout),
}

/// What stands in every answer.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Random, without a dialect's prefix.
    pub(super) id: String,
    /// The model as the client called it.
    pub(super) model: String,
    /// Unix time in seconds.
    pub(super) created: u64,
}

impl Dialect {
    /// Returns the name as manifests spell it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => openai_chat::DIALECT,
            Self::OpenAiResponses => openai_responses::DIALECT,
            Self::AnthropicMessages => anthropic_messages::DIALECT,
            Self::Gemini => google::DIALECT,
        }
    }

    /// Reports whether OpenAI's clients speak it.
    pub(super) const fn is_openais(self) -> bool {
        matches!(self, Self::OpenAiChat | Self::OpenAiResponses)
    }

    /// Writes an error: the status that the client's SDK maps to an exception, and the body.
    pub(super) fn error(self, error: &ProviderError) -> (u16, Vec<u8>) {
        match self {
            Self::OpenAiChat => openai_chat::error::encode(error),
            Self::OpenAiResponses => openai_responses::error::encode(error),
            Self::AnthropicMessages => anthropic_messages::error::encode(error),
            Self::Gemini => google::error::encode(error),
        }
    }

    /// Writes the refusal of a request that could not be read.
    pub(super) fn request_error(self, error: &RequestError) -> (u16, Vec<u8>) {
        match self {
            Self::OpenAiChat => openai_chat::error::encode_request_error(error),
            Self::OpenAiResponses => openai_responses::error::encode_request_error(error),
            Self::AnthropicMessages => anthropic_messages::error::encode_request_error(error),
            Self::Gemini => google::error::encode_request_error(error),
        }
    }

    /// Writes a list of models, all on one page.
    pub(super) fn models(self, models: Vec<Model>) -> Vec<u8> {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses => openai_chat::models::encode(&models),
            Self::AnthropicMessages => anthropic_messages::models::encode(&models),
            Self::Gemini => {
                let mut page = google::models::Page::default();
                page.models = models;
                google::models::encode(&page)
            }
        }
    }

    /// Writes one model.
    pub(super) fn model(self, model: &Model) -> Vec<u8> {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses => openai_chat::models::encode_one(model),
            Self::AnthropicMessages => anthropic_messages::models::encode_one(model),
            Self::Gemini => google::models::encode_one(model),
        }
    }

    /// Reads a question for the number of tokens. `model` is the path's, where it holds one.
    pub(super) fn decode_count(
        self,
        model: Option<&str>,
        body: &[u8],
        shelf: &Shelf,
    ) -> Result<ChatRequest, RequestError> {
        Ok(match self {
            Self::OpenAiChat => openai_chat::decode_request(body)?.request,
            Self::OpenAiResponses => {
                openai_responses::decode_request_with(body, &|id| shelf.find(id))?.request
            }
            Self::AnthropicMessages => anthropic_messages::decode_request(body)?.request,
            Self::Gemini => {
                google::tokens::decode_request(model.unwrap_or_default(), body)?.request
            }
        })
    }

    /// Writes a number of tokens.
    pub(super) fn count(self, input_tokens: u64) -> Vec<u8> {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses => {
                openai_responses::tokens::encode(&TokenCount::new(input_tokens))
            }
            Self::AnthropicMessages => {
                anthropic_messages::tokens::encode(&TokenCount::new(input_tokens))
            }
            Self::Gemini => google::tokens::encode(&TokenCount::new(input_tokens)),
        }
    }
}

impl ChatForm {
    /// Returns the dialect.
    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::OpenAiChat | Self::OpenAiCompletion => Dialect::OpenAiChat,
            Self::OpenAiResponses => Dialect::OpenAiResponses,
            Self::AnthropicMessages => Dialect::AnthropicMessages,
            Self::Gemini { .. } => Dialect::Gemini,
        }
    }

    /// Reports whether there are providers that are asked so.
    pub(super) const fn is_native(&self) -> bool {
        !matches!(self, Self::OpenAiCompletion)
    }

    /// Returns how an answer is written as long as the request was not read in full.
    pub(super) fn manner(&self) -> Manner {
        match self {
            Self::OpenAiChat => {
                Manner::OpenAiChat { include_usage: false, legacy_functions: false }
            }
            Self::OpenAiCompletion => Manner::OpenAiCompletion { include_usage: false },
            Self::OpenAiResponses => {
                let (namespaces, echo) = Default::default();
                Manner::OpenAiResponses { namespaces, echo, shelf: None }
            }
            Self::AnthropicMessages => Manner::AnthropicMessages,
            Self::Gemini { layout, .. } => Manner::Gemini(layout.unwrap_or_default()),
        }
    }

    /// Reads a request; what it only refers to is on the shelf, and so will be what it is answered.
    pub(super) fn decode(&self, body: &[u8], shelf: Option<&Shelf>) -> Result<Asked, RequestError> {
        Ok(match self {
            Self::OpenAiChat => {
                let decoded = openai_chat::decode_request(body)?;
                let manner = Manner::OpenAiChat {
                    include_usage: decoded.include_usage,
                    legacy_functions: decoded.legacy_functions,
                };
                let (request, losses) = (decoded.request, decoded.losses);
                Asked { request, stream: decoded.stream, losses, manner }
            }
            Self::OpenAiCompletion => {
                let decoded = openai_chat::decode_completion(body)?;
                let manner = Manner::OpenAiCompletion { include_usage: decoded.include_usage };
                let (request, losses) = (decoded.request, decoded.losses);
                Asked { request, stream: decoded.stream, losses, manner }
            }
            Self::OpenAiResponses => {
                let find = |id: &str| shelf?.find(id);
                let decoded = openai_responses::decode_request_with(body, &find)?;
                let shelf = shelf.filter(|_| decoded.request.store != Some(false)).cloned();
                let (namespaces, echo) = (decoded.namespaces, decoded.echo);
                let manner = Manner::OpenAiResponses { namespaces, echo, shelf };
                let (request, losses) = (decoded.request, decoded.losses);
                Asked { request, stream: decoded.stream, losses, manner }
            }
            Self::AnthropicMessages => {
                let decoded = anthropic_messages::decode_request(body)?;
                let (request, losses) = (decoded.request, decoded.losses);
                let manner = Manner::AnthropicMessages;
                Asked { request, stream: decoded.stream, losses, manner }
            }
            Self::Gemini { model, layout } => {
                let decoded = google::decode_request(model, body)?;
                let (request, losses) = (decoded.request, decoded.losses);
                let manner = Manner::Gemini(layout.unwrap_or_default());
                Asked { request, stream: layout.is_some(), losses, manner }
            }
        })
    }
}

impl Manner {
    /// Begins a stream.
    pub(super) fn encoder(&self, head: &Head) -> Encoder {
        match self {
            Self::OpenAiChat { include_usage, legacy_functions } => {
                let encoder = openai_chat::Encoder::new(&chat_head(head), *include_usage);
                Encoder::OpenAiChat(encoder.legacy_functions(*legacy_functions))
            }
            Self::OpenAiCompletion { include_usage } => {
                let head = completion_head(head);
                Encoder::OpenAiCompletion(CompletionEncoder::new(&head, *include_usage))
            }
            Self::OpenAiResponses { namespaces, echo, shelf } => {
                let encoder = openai_responses::Encoder::new(&responses_head(head));
                let encoder = encoder.namespaces(namespaces.clone()).echo(echo.clone());
                Encoder::OpenAiResponses(Box::new(encoder), shelf.clone())
            }
            Self::AnthropicMessages => {
                let encoder = anthropic_messages::Encoder::new(&messages_head(head));
                Encoder::AnthropicMessages(Box::new(encoder))
            }
            Self::Gemini(layout) => {
                let encoder = google::Encoder::new(&gemini_head(head), *layout);
                Encoder::Gemini(Box::new(encoder), *layout)
            }
        }
    }

    /// Writes a whole answer.
    pub(super) fn whole(&self, transcript: &Transcript, head: &Head) -> Vec<u8> {
        match self {
            Self::OpenAiChat { legacy_functions, .. } => {
                openai_chat::encode_response(transcript, &chat_head(head), *legacy_functions)
            }
            Self::OpenAiCompletion { .. } => {
                openai_chat::encode_completion(transcript, &completion_head(head))
            }
            Self::OpenAiResponses { namespaces, echo, shelf } => {
                let head = responses_head(head);
                let answer = openai_responses::encode_response(
                    transcript,
                    &head,
                    namespaces.clone(),
                    echo.clone(),
                );
                if let Some(shelf) = shelf {
                    shelf.keep_answer(&answer);
                }
                answer
            }
            Self::AnthropicMessages => {
                anthropic_messages::encode_response(transcript, &messages_head(head))
            }
            Self::Gemini(_) => google::encode_response(transcript, &gemini_head(head)),
        }
    }

    /// Says what of an event this form has no place for, and of which part.
    pub(super) fn untold(&self, event: &ChatEvent) -> Option<(u32, String)> {
        dialects::untold(
            match self {
                Self::OpenAiChat { .. } => openai_chat::DIALECT,
                // Text alone.
                Self::OpenAiCompletion { .. } => "",
                Self::OpenAiResponses { .. } => openai_responses::DIALECT,
                Self::AnthropicMessages => anthropic_messages::DIALECT,
                Self::Gemini(_) => google::DIALECT,
            },
            event,
        )
    }

    /// Reports whether a stream goes out as one array.
    pub(super) const fn is_array(&self) -> bool {
        matches!(self, Self::Gemini(google::Layout::Array))
    }

    /// Returns the type of a stream.
    pub(super) const fn stream_type(&self) -> &'static str {
        match self {
            Self::Gemini(google::Layout::Array) => "application/json; charset=utf-8",
            _ => "text/event-stream; charset=utf-8",
        }
    }
}

/// Writes a stream.
pub(super) enum Encoder {
    OpenAiChat(openai_chat::Encoder),
    OpenAiCompletion(CompletionEncoder),
    OpenAiResponses(Box<openai_responses::Encoder>, Option<Shelf>),
    AnthropicMessages(Box<anthropic_messages::Encoder>),
    Gemini(Box<google::Encoder>, google::Layout),
}

impl Encoder {
    /// Goes on with an answer of which pieces were passed on as they came.
    pub(super) fn resumed(self) -> Self {
        match self {
            Self::OpenAiResponses(encoder, shelf) => {
                Self::OpenAiResponses(Box::new(encoder.resumed()), shelf)
            }
            Self::Gemini(encoder, layout) => Self::Gemini(Box::new(encoder.resumed()), layout),
            other => other,
        }
    }

    /// Appends an event. After `Finish` the stream is complete.
    pub(super) fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match self {
            Self::OpenAiChat(encoder) => encoder.event(event, out),
            Self::OpenAiCompletion(encoder) => encoder.event(event, out),
            Self::OpenAiResponses(encoder, shelf) => {
                encoder.event(event, out);
                if let (ChatEvent::Finish { .. }, Some(shelf)) = (event, shelf) {
                    shelf.keep(encoder.output().iter().map(|item| &**item));
                }
            }
            Self::AnthropicMessages(encoder) => encoder.event(event, out),
            Self::Gemini(encoder, _) => encoder.event(event, out),
        }
    }

    /// Appends a failure and the end.
    pub(super) fn error(&mut self, error: &ProviderError, out: &mut Vec<u8>) {
        match self {
            Self::OpenAiChat(encoder) => encoder.error(error, out),
            Self::OpenAiCompletion(encoder) => encoder.error(error, out),
            Self::OpenAiResponses(encoder, _) => encoder.error(error, out),
            Self::AnthropicMessages(encoder) => encoder.error(error, out),
            Self::Gemini(encoder, _) => encoder.error(error, out),
        }
    }

    /// Appends a sign of life, if the dialect has one. Anthropic's clients know theirs once the
    /// message has begun.
    pub(super) fn heartbeat(&mut self, begun: bool, out: &mut Vec<u8>) {
        match self {
            Self::AnthropicMessages(encoder) if begun => encoder.ping(out),
            // Between the items of an array nothing can be said.
            Self::Gemini(_, google::Layout::Array) => {}
            // Google's own Python library takes a comment for broken JSON; an empty line it skips.
            Self::Gemini(_, google::Layout::Sse) => out.extend_from_slice(b"\r\n"),
            _ => out.extend_from_slice(COMMENT),
        }
    }

    /// Names what was left out after the head had gone, in a comment; for a dialect without comments
    /// the log has it.
    pub(super) fn dropped(&self, what: &str, out: &mut Vec<u8>) {
        let what = one_line(what);
        match self {
            Self::Gemini(..) => tracing::info!("not told to the client: {what}"),
            _ => out.extend_from_slice(format!(": {DROPPED}: {what}\n\n").as_bytes()),
        }
    }
}

fn chat_head(head: &Head) -> openai_chat::Head {
    openai_chat::Head::new(format!("chatcmpl-{}", head.id), &*head.model, head.created)
}

fn completion_head(head: &Head) -> openai_chat::Head {
    openai_chat::Head::new(format!("cmpl-{}", head.id), &*head.model, head.created)
}

fn responses_head(head: &Head) -> openai_responses::Head {
    // The id of an answer that is passed on has it already.
    let id = head.id.strip_prefix("resp_").unwrap_or(&head.id);
    openai_responses::Head::new(format!("resp_{id}"), &*head.model, head.created)
}

fn messages_head(head: &Head) -> anthropic_messages::Head {
    anthropic_messages::Head::new(format!("msg_{}", head.id), &*head.model)
}

fn gemini_head(head: &Head) -> google::Head {
    google::Head::new(&*head.id, &*head.model)
}

/// A comment: every reader of server-sent events skips it.
const COMMENT: &[u8] = b": maestro\n\n";
