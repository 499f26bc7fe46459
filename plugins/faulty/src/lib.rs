//! Breaks one rule of the contract at a time, so that tests can see each one being noticed.
//!
//! The chat option `fault` chooses what goes wrong, by the names in [`Fault`]; for a list of models the
//! setting `models_fault` does. Without a fault it is an ordinary provider of a toy protocol over
//! HTTP, which is what tests of transport and sessions use: `POST {base_url}/chat` answers with
//! server-sent events, each of them text, until `[DONE]`; `GET {base_url}/models` with a list of ids.
#![forbid(unsafe_code)]

mod conformance;
mod fault;
mod oauth;

use std::ops::ControlFlow;

pub use fault::Fault;
use plugin_api::{
    auth::{OAuthSpec, Placement, ProfileFilesSpec},
    chat::ToolKind,
    exchange::LogLevel,
    http::{BlobEncoding, Piece},
    kit::{sse::SseEvent, stream::incomplete},
    operation::{Account, EmbedRequest, Embeddings, KeyShape, Models, TokenCount},
    prelude::*,
};
use serde_json::json;

/// The plugin.
#[derive(Debug, Default)]
pub struct Faulty;

impl Provider for Faulty {
    const SPEC: PluginSpec = PluginSpec::new("faulty", env!("CARGO_PKG_VERSION"))
        .description("Breaks one rule of the contract at a time. For tests only.")
        .instances(true)
        .settings(&[
            SettingSpec::text("models_fault").help("what is wrong with a list of models"),
            SettingSpec::text("fault").help("what goes wrong in a chat that does not say"),
            SettingSpec::text("issuer").help("authorization server of `faulty-issuer`"),
            SettingSpec::text("auth_url").help("where the authorization server is"),
        ])
        .providers(&[
            ProviderSpec::new("faulty-keyed")
                .display_name("Faulty with a key")
                .base_url("https://faulty.invalid/v1")
                .auth(&[AuthSpec::ApiKey(
                    ApiKeySpec::bearer()
                        .env(&["FAULTY_API_KEY"])
                        .prefix("fk-")
                        .min_length(8)
                        .obtain_url("https://faulty.invalid/keys"),
                )]),
            ProviderSpec::new("faulty-profiled")
                .display_name("Faulty with a tool of its own")
                .base_url("https://faulty.invalid/v1")
                .auth(&[AuthSpec::OAuth(
                    OAuthSpec::new().profiles(&[ProfileFilesSpec::new(
                        "faultytool",
                        "~/.config/faultytool",
                        "credentials/{profile}.json",
                    )
                    .folder_env("FAULTYTOOL_DIR")
                    .token_field("access_token")
                    .expiry_field("expires_at")
                    .active_file("active")
                    .login_command("faultytool login --profile {profile}")]),
                )]),
            ProviderSpec::new("faulty-issuer")
                .display_name("Faulty at an issuer")
                .base_url("https://faulty.invalid/v1")
                .docs_url("https://faulty.invalid/docs")
                .requires(&["issuer"])
                .auth(oauth::SCHEMES),
            ProviderSpec::new("faulty-oauth")
                .display_name("Faulty with a login")
                .base_url("https://faulty.invalid/v1")
                .requires(&["auth_url"])
                .auth(&[AuthSpec::OAuth(
                    OAuthSpec::new()
                        .token_url("{auth_url}/token")
                        .scopes(&["chat"])
                        .client_id("faulty-client")
                        .attributes(&["plan"])
                        .login_again_codes(&["refresh_token_reused"])
                        .earliest_refresh_field("earliest_refresh_at"),
                )]),
            ProviderSpec::new("faulty").display_name("Faulty").auth(&[AuthSpec::None]).local(true),
        ]);
}

impl StreamingProvider for Faulty {
    fn stream_chat(&self, instance: &Instance, request: ChatRequest) -> Opened {
        let chosen = request.options.get("fault").and_then(|fault| fault.as_str());
        let asked = chosen.unwrap_or(match instance.text("fault") {
            "" => "none",
            set => set,
        });
        let Some(fault) = Fault::ALL.iter().copied().find(|fault| fault.as_str() == asked) else {
            let known: Vec<_> = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
            let message = format!("no fault `{asked}`; known: {}", known.join(", "));
            return Err(ProviderError::new(ErrorKind::InvalidRequest, message));
        };
        assert!(fault != Fault::PanicInOpen, "opened badly");
        let said = request.last_user_text();
        if conformance::CHOSEN.contains(&fault) {
            return conformance::open(instance, &request, fault);
        }
        if fault == Fault::FloodOfRequests {
            return Ok(Box::new(Again(HttpRequest::get(instance.url("/again")))));
        }
        if let Some(http) = faulty_request(instance, &request, &said, fault) {
            let stream = kit::SseStream::new(http, Toy::default());
            return Ok(Box::new(OverHttp { stream, twice: fault == Fault::TwoRequests }));
        }
        Ok(Box::new(Broken { fault, said }))
    }
}

impl ModelProvider for Faulty {
    fn list_models(&self, instance: &Instance, _: ListModels) -> Opened {
        match instance.text("models_fault") {
            "wrong-value" => return Ok(kit::ready(Reply::TokenCount(TokenCount::new(1)))),
            "events" => return Ok(kit::say("models? which models?")),
            "no-value" => return Ok(Box::new(Nothing)),
            "two-values" => return Ok(Box::new(Twice)),
            "pages" => return Ok(Box::new(Again(HttpRequest::get(instance.url("/models"))))),
            _ => {}
        }
        if instance.base_url.is_empty() {
            return Ok(kit::ready(Reply::Models(Models::new(vec![Model::new("rude")]))));
        }
        let nameless = instance.text("models_fault") == "nameless";
        Ok(kit::call(HttpRequest::get(instance.url("/models")), move |response| {
            if !response.is_success() {
                return Err(response.failure());
            }
            let mut ids: Vec<String> = response.json()?;
            if !nameless {
                ids.retain(|id| !id.is_empty());
                ids.dedup();
            }
            Ok(Reply::Models(Models::new(ids.into_iter().map(Model::new).collect())))
        }))
    }
}

impl ApiKeyProvider for Faulty {
    fn validate_api_key(&self, shape: &KeyShape) -> Result<(), ProviderError> {
        if shape.mask.contains('.') {
            let message = "a key of this provider has no dot";
            return Err(ProviderError::new(ErrorKind::Authentication, message));
        }
        Ok(())
    }

    fn test_connection(&self, instance: &Instance) -> Opened {
        Ok(kit::call(HttpRequest::get(instance.url("/me")), |response| {
            if !response.is_success() {
                return Err(response.failure());
            }
            let mut account = Account::default();
            account.name = Some(response.json()?);
            Ok(Reply::Account(account))
        }))
    }
}

/// Declared and not there, except for one model that gives a vector too few.
impl EmbeddingProvider for Faulty {
    fn embed(&self, _: &Instance, request: EmbedRequest) -> Opened {
        if request.model == "short" {
            let vectors = vec![vec![0.5]; request.inputs.len().saturating_sub(1)];
            return Ok(kit::ready(Reply::Embeddings(Embeddings::new(vectors, None))));
        }
        Err(ProviderError::not_supported("embeddings"))
    }
}

plugin_api::export_plugin! { Faulty: streaming, models, api_key, embeddings }

/// Makes the request of a chat, broken as asked; `None` when there is nowhere to send one.
fn faulty_request(
    instance: &Instance,
    request: &ChatRequest,
    said: &str,
    fault: Fault,
) -> Option<HttpRequest> {
    let body = json!({ "model": request.model, "said": said });
    let ordinary = HttpRequest::post_json(instance.url("/chat"), &body);
    Some(match fault {
        Fault::ForeignOrigin => HttpRequest::get("http://127.0.0.1:9/elsewhere"),
        Fault::UserInfo => HttpRequest::get("http://me:pw@127.0.0.1:9/"),
        _ if instance.base_url.is_empty() => return None,
        Fault::None | Fault::TwoRequests => ordinary,
        Fault::Placeholder => {
            let body = json!({ "said": "{api_key}", "key": "${FAULTY_API_KEY}" });
            let url = instance.url("/chat?key={api_key}&token=%7Bcredential%7D");
            let request = HttpRequest::post_json(url, &body).auth(Auth::None);
            request.header("x-key", "{api_key}")
        }
        Fault::QueryCredential => {
            ordinary.auth(Auth::At(vec![Placement::Query { name: "key".into() }]))
        }
        Fault::HostHeader => ordinary.header("host", "elsewhere.invalid"),
        Fault::BadHeader => ordinary.header("x-a", "b\r\nx-c: d"),
        Fault::UnknownBlob => {
            let mut request = ordinary;
            request.body.pieces.push(Piece::Blob { id: 7, encoding: BlobEncoding::Raw });
            request
        }
        _ => return None,
    })
}

/// The toy protocol.
#[derive(Default)]
struct Toy {
    done: bool,
}

impl kit::Decoder for Toy {
    fn event(
        &mut self,
        event: SseEvent<'_>,
        out: &mut Outbox<'_>,
    ) -> Result<ControlFlow<()>, ProviderError> {
        if let Some(error) = event.data.strip_prefix("!") {
            return Err(ProviderError::new(ErrorKind::Overloaded, error));
        }
        if event.data == "[DONE]" {
            self.done = true;
            return Ok(ControlFlow::Break(()));
        }
        out.text(0, event.data);
        Ok(ControlFlow::Continue(()))
    }

    fn end(&mut self, _: kit::Ended, out: &mut Outbox<'_>) -> Result<(), ProviderError> {
        if !self.done {
            return Err(incomplete());
        }
        out.finish(FinishReason::Stop);
        Ok(())
    }
}

/// An ordinary stream, unless a second request is sent with the first.
struct OverHttp {
    stream: kit::SseStream<Toy>,
    twice: bool,
}

impl Exchange for OverHttp {
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        let start = matches!(input, Input::Start { .. });
        self.stream.step(now, input, out);
        if start && self.twice {
            out.send(&HttpRequest::get("http://127.0.0.1:9/second"));
        }
    }
}

/// Sends the same request for ever.
struct Again(HttpRequest);

impl Exchange for Again {
    fn step(&mut self, _: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        match input {
            Input::Start { .. } | Input::End { .. } => {
                out.send(&self.0);
            }
            Input::TransportFailed { .. } => {
                out.fail(&ProviderError::new(ErrorKind::Connection, "the network failed"));
            }
            Input::Cancel => out.fail(&ProviderError::new(ErrorKind::Cancelled, "cancelled")),
            _ => {}
        }
    }
}

/// An answer that needs no request and goes wrong.
struct Broken {
    fault: Fault,
    said: String,
}

impl Exchange for Broken {
    fn step(&mut self, now: Timestamp, input: Input<'_>, out: &mut Outbox<'_>) {
        if let Input::Cancel = input {
            assert!(self.fault != Fault::PanicOnCancel, "cancelled badly");
        }
        if let (Input::Tick, Fault::FloodOverSteps) = (&input, self.fault) {
            out.text(0, &"x".repeat(48 << 20));
            return out.wake_at(now);
        }
        let Input::Start { .. } = input else { return };
        assert!(self.fault != Fault::PanicAtStart, "started badly");
        out.log(LogLevel::Debug, self.fault.description());
        out.text(0, &self.said);
        let part = 1;
        match self.fault {
            Fault::PanicMidStream => panic!("stumbled over `{}`", self.said),
            Fault::TextAfterFinish => {
                out.finish(FinishReason::Stop);
                out.text(0, "more");
            }
            Fault::FinishTwice => out.finish(FinishReason::Stop),
            Fault::DoneWithoutFinish => return out.done(),
            Fault::FailTwice => {
                out.fail(&ProviderError::new(ErrorKind::Overloaded, "once"));
                return out.fail(&ProviderError::new(ErrorKind::Overloaded, "twice"));
            }
            Fault::Stall => return,
            Fault::FloodOverSteps => return out.wake_at(now),
            Fault::PanicOnCancel => return out.wake_at(Timestamp(u64::MAX)),
            Fault::ToolDeltaBeforeStart => out.tool_arguments(part, "{}"),
            Fault::ToolCallNeverEnds => tool_call(out, part, "call_1"),
            Fault::EmptyToolId => tool_call(out, part, ""),
            Fault::PartChangesKind => out.reasoning(0, "hm"),
            Fault::FloodOfBytes => {
                let piece = "x".repeat(8 << 20);
                (0..9).for_each(|_| out.text(0, &piece));
            }
            Fault::FloodOfEvents => (0..=1 << 20).for_each(|_| out.text(0, "")),
            Fault::ValueInChat => out.value(&Reply::Unit),
            _ => {}
        }
        out.finish(FinishReason::Stop);
        out.done();
        match self.fault {
            Fault::EventAfterDone => out.text(0, "more"),
            Fault::DoneTwice => out.done(),
            _ => {}
        }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        assert!(self.fault != Fault::PanicInDrop, "freed badly");
    }
}

fn tool_call(out: &mut Outbox<'_>, part: u32, id: &str) {
    let (id, name, kind) = (id.into(), "look".into(), ToolKind::Function);
    out.event(&ChatEvent::ToolCallStart { part, id, name, kind });
    out.tool_arguments(part, "{}");
}

/// Is done without having given anything.
struct Nothing;

impl Exchange for Nothing {
    fn step(&mut self, _: Timestamp, _: Input<'_>, out: &mut Outbox<'_>) {
        out.done();
    }
}

/// Gives two values.
struct Twice;

impl Exchange for Twice {
    fn step(&mut self, _: Timestamp, _: Input<'_>, out: &mut Outbox<'_>) {
        out.value(&Reply::Models(Models::default()));
        out.value(&Reply::Models(Models::default()));
        out.done();
    }
}
