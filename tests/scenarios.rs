//! One table of scenarios that every provider passes, whatever its dialect: what a caller sees of a
//! vendor must not depend on the vendor.
//!
//! The scripts of `scenarios/wire` are written from the vendors' documentation, not with our encoders.

mod wire;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use host::{
    Maestro,
    maestro::{Call, Error, NewLogin},
};
use plugin_api::{
    chat::{
        ChatRequest, Content, ContentPart, FunctionTool, JsonSchema, Message, ResponseFormat, Role,
        ToolCall, ToolDefinition,
    },
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Transcript, Usage},
};
use serde_json::{Value, json};

use self::wire::{
    Called, Chat, Failure, Gemini, Messages, PICTURE, PICTURE_BASE64, Responses, Wire,
};
use crate::{
    ask::{Answer, finish},
    harness::{Test, wait},
    upstream::{Gate, Reply, Request, Upstream},
};

/// A provider, how it is set up and what its vendor speaks.
struct Vendor {
    label: &'static str,
    provider: &'static str,
    plugin: &'static str,
    /// Lines of `[providers.*]` beside the base URL.
    config: &'static str,
    /// What stands between origin and path in the base URL.
    base: &'static str,
    key: &'static str,
    wire: Arc<dyn Wire>,
}

fn vendors() -> Vec<Vendor> {
    ["lab", "openai", "openai-chat", "anthropic", "gemini"].map(vendor).into()
}

fn vendor(label: &'static str) -> Vendor {
    let openai = |config, wire| Vendor {
        label,
        provider: "openai",
        plugin: "openai",
        config,
        base: "/v1",
        key: "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz",
        wire,
    };
    match label {
        "openai" => openai("", Arc::new(Responses)),
        "openai-chat" => openai("api = \"chat\"", Arc::new(Chat)),
        "anthropic" => Vendor {
            label,
            provider: "anthropic",
            plugin: "anthropic",
            config: "",
            base: "",
            key: "sk-ant-api03-0123456789abcdefghijklmnopqrstuvwxyz",
            wire: Arc::new(Messages),
        },
        "gemini" => Vendor {
            label,
            provider: "gemini",
            plugin: "gemini",
            config: "",
            base: "",
            key: "AIzaSy0123456789abcdefghijklmnopqrstuvw",
            wire: Arc::new(Gemini),
        },
        _ => Vendor {
            label,
            provider: "lab",
            plugin: "openai-compatible",
            config: "plugin = \"openai-compatible\"",
            base: "/v1",
            key: "sk-lab-0123456789",
            wire: Arc::new(Chat),
        },
    }
}

/// A vendor's server and a host that is logged in to it.
struct Stage {
    vendor: Vendor,
    upstream: Upstream,
    maestro: Maestro,
    _home: Test,
}

impl Vendor {
    /// Starts the server; `script` answers each request by its number, from 0.
    fn stage(self, script: impl Fn(&dyn Wire, usize) -> Reply + Send + Sync + 'static) -> Stage {
        let (wire, number) = (Arc::clone(&self.wire), AtomicUsize::new(0));
        let upstream =
            Upstream::start(move |_| script(&*wire, number.fetch_add(1, Ordering::Relaxed)));
        let home = Test::new().plugin(self.plugin).config(format!(
            "[providers.{}]\nbase_url = \"{}{}\"\n{}\n[retries]\nfirst_wait_ms = 1\n",
            self.provider,
            upstream.origin(),
            self.base,
            self.config
        ));
        let maestro = home.maestro();
        let login = NewLogin::new(
            self.provider.parse().unwrap(),
            "work".parse().unwrap(),
            self.key.to_owned(),
        );
        wait(maestro.create_session(login)).unwrap();
        Stage { vendor: self, upstream, maestro, _home: home }
    }
}

impl Stage {
    /// Asks and reads to the end.
    fn ask(&self, request: ChatRequest) -> Answer {
        self.ask_with(request, Call::default())
    }

    fn ask_with(&self, request: ChatRequest, call: Call) -> Answer {
        let mut answer = Answer { events: Vec::new(), error: None };
        wait(async {
            let model = format!("{}/m-1", self.vendor.provider).parse().unwrap();
            match self.maestro.stream_chat(&model, request, call).await {
                Ok(stream) => finish(stream, &mut answer).await,
                Err(error) => answer.error = Some(error),
            }
        });
        answer
    }

    /// Asks something that must go well.
    #[track_caller]
    fn told(&self, request: ChatRequest) -> Transcript {
        let answer = self.ask(request);
        assert!(answer.error.is_none(), "{}: {}", self.name(), answer.problem());
        Transcript::of(&answer.events)
    }

    /// Returns the request of a number, checked for what each must carry.
    #[track_caller]
    fn request(&self, number: usize) -> Request {
        let request = self.upstream.requests()[number].clone();
        assert_eq!(request.line(), format!("POST {}", self.vendor.wire.target()));
        self.vendor.wire.check(&request);
        request
    }

    fn name(&self) -> &'static str {
        self.vendor.label
    }
}

/// Returns what the provider said of a failure.
#[track_caller]
fn failure(answer: &Answer) -> ProviderError {
    match &answer.error {
        Some(Error::Exchange(error)) => error.provider_error().expect("the provider's").clone(),
        other => panic!("expected the provider's failure, found {other:?}"),
    }
}

fn question() -> ChatRequest {
    ChatRequest::new("", vec![Message::user("Weather in Riga?")])
}

fn weather_schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": false})
}

fn with_tools() -> ChatRequest {
    let mut weather = FunctionTool::new("get_weather", Some(weather_schema()));
    weather.description = Some("Current weather".into());
    let time = FunctionTool::new("get_time", Some(json!({"type": "object", "properties": {}})));
    let mut request = question();
    request.tools = vec![ToolDefinition::Function(weather), ToolDefinition::Function(time)];
    request
}

#[test]
fn text_arrives_with_its_usage() {
    for vendor in vendors() {
        let gate = Gate::new();
        gate.open();
        let stage = vendor.stage(move |wire, _| wire.says(&gate));
        let mut request = question();
        request.messages.insert(0, Message::system("Be brief."));
        let told = stage.told(request);
        assert_eq!(told.text(), "Riga is cold.", "{}", stage.name());
        assert_eq!(told.finish, Some(FinishReason::Stop), "{}", stage.name());
        assert_eq!(told.model.as_deref(), Some("m-1"), "{}", stage.name());
        assert!(told.id.is_some_and(|id| !id.is_empty()), "{}", stage.name());
        let counted = |usage: &Usage| {
            let Usage {
                input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, ..
            } = *usage;
            [input_tokens, cached_input_tokens, output_tokens, reasoning_tokens]
        };
        let expected = [Some(12), Some(4), Some(7), Some(2)];
        assert_eq!(counted(&told.usage), expected, "{}", stage.name());
        let sent = stage.request(0);
        assert_eq!(stage.vendor.wire.system(&sent.json()), "Be brief.", "{}", stage.name());
        assert!(String::from_utf8_lossy(&sent.body).contains("Weather in Riga?"));
    }
}

#[test]
fn reasoning_comes_apart_from_the_text() {
    for vendor in vendors() {
        let stage = vendor.stage(|wire, _| wire.reasons());
        let told = stage.told(question());
        assert_eq!(told.text(), "Done.", "{}", stage.name());
        let message = told.message();
        let reasoning: Vec<_> = message
            .parts
            .iter()
            .filter_map(|part| match &part.content {
                Content::Reasoning(reasoning) => Some(reasoning.text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(reasoning, ["Think first."], "{}", stage.name());
    }
}

#[test]
fn tools_are_called_answered_and_their_tokens_returned() {
    for both in [false, true] {
        for vendor in vendors() {
            let gate = Gate::new();
            gate.open();
            let stage = vendor.stage(move |wire, number| match number {
                0 => wire.calls(both),
                _ => wire.says(&gate),
            });
            let (name, wire) = (stage.name(), Arc::clone(&stage.vendor.wire));
            let told = stage.told(with_tools());
            assert_eq!(told.finish, Some(FinishReason::ToolCalls), "{name}");
            let said = told.message();
            let calls: Vec<ToolCall> = said.tool_calls().cloned().collect();
            let mut expected = vec![("get_weather", json!({"city": "Riga"}))];
            if both {
                expected.push(("get_time", json!({})));
            }
            let found: Vec<_> = calls
                .iter()
                .map(|call| {
                    (call.name.as_str(), serde_json::from_str::<Value>(&call.arguments).unwrap())
                })
                .collect();
            assert_eq!(found, expected, "{name}");
            let ids: BTreeSet<_> = calls.iter().map(|call| call.id.as_str()).collect();
            assert!(ids.len() == calls.len() && !ids.contains(""), "{name}: {ids:?}");
            let tools = wire.tools(&stage.request(0).json());
            assert_eq!(tools[0], ("get_weather".into(), weather_schema()), "{name}");
            assert_eq!(tools.len(), 2, "{name}");

            let mut next = with_tools();
            next.messages.push(said.clone());
            // Answered in another order than asked, which must not confuse anyone.
            for call in calls.iter().rev() {
                next.messages
                    .push(Message::tool_result(&call.id, format!("result of {}", call.name)));
            }
            assert_eq!(stage.told(next).text(), "Riga is cold.", "{name}");
            let second = stage.request(1);
            let body = second.json();
            let sent_ids = |call: &ToolCall| match wire.called(&body).first() {
                Some(Called { id, name, .. }) if id == name => call.name.clone(),
                _ => call.id.clone(),
            };
            let back: Vec<_> = calls
                .iter()
                .zip(&expected)
                .map(|(call, (name, arguments))| Called {
                    id: sent_ids(call),
                    name: (*name).to_owned(),
                    arguments: arguments.clone(),
                })
                .collect();
            assert_eq!(wire.called(&body), back, "{name}");
            let results: BTreeSet<_> = wire.results(&body).into_iter().collect();
            let wanted: BTreeSet<_> = calls
                .iter()
                .map(|call| (sent_ids(call), format!("result of {}", call.name)))
                .collect();
            assert_eq!(results, wanted, "{name}");
            if let Some(token) = wire.token() {
                let body = String::from_utf8_lossy(&second.body).into_owned();
                assert_eq!(body.matches(token).count(), 1, "{name}: {body}");
            }
        }
    }
}

#[test]
fn one_vendors_token_never_reaches_another() {
    for (from, to) in [("anthropic", "gemini"), ("gemini", "anthropic")] {
        let stage = vendor(from).stage(|wire, _| wire.calls(true));
        let said = stage.told(with_tools()).message();
        let token = stage.vendor.wire.token().unwrap();
        let gate = Gate::new();
        gate.open();
        let other = vendor(to).stage(move |wire, _| wire.says(&gate));
        let mut next = with_tools();
        next.messages.push(said.clone());
        next.messages.extend(said.tool_calls().map(|call| Message::tool_result(&call.id, "x")));
        assert_eq!(other.told(next).text(), "Riga is cold.", "{}", other.name());
        let body = String::from_utf8_lossy(&other.request(0).body).into_owned();
        assert!(!body.contains(token), "{} to {}: {body}", stage.name(), other.name());
    }
}

#[test]
fn a_picture_is_seen() {
    for vendor in vendors() {
        let gate = Gate::new();
        gate.open();
        let stage = vendor.stage(move |wire, _| wire.says(&gate));
        let parts = vec![
            ContentPart::text("What is this?"),
            ContentPart::image("image/png", PICTURE.to_vec()),
        ];
        stage.told(ChatRequest::new("", vec![Message::new(Role::User, parts)]));
        let found = stage.vendor.wire.picture(&stage.request(0).json());
        assert_eq!(found, ("image/png".into(), PICTURE_BASE64.into()), "{}", stage.name());
    }
}

#[test]
fn an_answer_keeps_to_a_schema() {
    for vendor in vendors() {
        let stage = vendor.stage(|wire, _| wire.structured());
        let mut request = question();
        let format = JsonSchema::new("place", weather_schema());
        request.response_format = Some(ResponseFormat::JsonSchema(format));
        let told = stage.told(request);
        let answer: Value = serde_json::from_str(&told.text()).unwrap();
        assert_eq!(answer, json!({"city": "Riga"}), "{}", stage.name());
        let schema = stage.vendor.wire.schema(&stage.request(0).json());
        assert_eq!(schema, weather_schema(), "{}", stage.name());
    }
}

#[test]
fn a_refusal_is_told_from_an_answer() {
    for vendor in vendors() {
        let stage = vendor.stage(|wire, _| wire.refuses());
        let told = stage.told(question());
        assert_eq!(told.finish, Some(FinishReason::ContentFilter), "{}", stage.name());
        let said: String = told
            .message()
            .parts
            .iter()
            .map(|part| match &part.content {
                Content::Refusal(text) | Content::Text(text) => text.text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(said, "I cannot.", "{}", stage.name());
    }
}

#[test]
fn a_cut_answer_says_so() {
    for vendor in vendors() {
        let stage = vendor.stage(|wire, _| wire.is_cut());
        let told = stage.told(question());
        assert_eq!((told.text().as_str(), told.finish), ("Riga", Some(FinishReason::Length)));
    }
}

#[test]
fn a_caller_that_goes_away_closes_the_connection() {
    for vendor in vendors() {
        let gate = Gate::new();
        let held = gate.clone();
        let stage = vendor.stage(move |wire, _| wire.says(&held).hang());
        wait(async {
            let model = format!("{}/m-1", stage.vendor.provider).parse().unwrap();
            let asked = stage.maestro.stream_chat(&model, question(), Call::default());
            let mut stream = asked.await.unwrap();
            loop {
                match stream.next().await {
                    Some(Ok(ChatEvent::TextDelta { text, .. })) => {
                        assert_eq!(text, "Riga is ");
                        break;
                    }
                    Some(Ok(_)) => {}
                    other => panic!("{}: {other:?}", stage.name()),
                }
            }
        });
        gate.open();
        stage.upstream.wait_for_closed(1);
        assert_eq!(stage.upstream.requests().len(), 1, "{}", stage.name());
    }
}

#[test]
fn a_failure_before_the_answer_is_classified_and_tried_again_only_where_that_helps() {
    let table = [
        (Failure::BadKey, ErrorKind::Authentication, 1),
        (Failure::Invalid, ErrorKind::InvalidRequest, 1),
        (Failure::TooLong, ErrorKind::ContextLength, 1),
        (Failure::Spent, ErrorKind::Quota, 1),
        (Failure::Limited(Some(3_600_000)), ErrorKind::RateLimited, 1),
        (Failure::Limited(None), ErrorKind::RateLimited, 3),
        (Failure::Overloaded, ErrorKind::Overloaded, 3),
        (Failure::Broken, ErrorKind::Unavailable, 3),
        (Failure::Page, ErrorKind::Unavailable, 3),
    ];
    for (reason, kind, tries) in table {
        for vendor in vendors() {
            let stage = vendor.stage(move |wire, _| wire.fails(reason));
            let answer = stage.ask(question());
            let error = failure(&answer);
            assert_eq!(error.kind, kind, "{} {reason:?}: {error}", stage.name());
            assert!(answer.events.is_empty(), "{} {reason:?}", stage.name());
            assert_eq!(stage.upstream.requests().len(), tries, "{} {reason:?}", stage.name());
            if let Failure::Limited(wait) = reason {
                assert_eq!(error.retry_after_ms, wait, "{}", stage.name());
            }
            if reason != Failure::Page {
                assert!(!error.message.is_empty() && !error.message.contains('{'), "{error}");
            }
        }
    }
}

#[test]
fn a_failure_that_passes_is_not_seen() {
    for reason in [Failure::Limited(Some(20)), Failure::Limited(None), Failure::Overloaded] {
        for vendor in vendors() {
            let gate = Gate::new();
            gate.open();
            let stage = vendor.stage(move |wire, number| match number {
                0 => wire.fails(reason),
                _ => wire.says(&gate),
            });
            assert_eq!(stage.told(question()).text(), "Riga is cold.", "{}", stage.name());
            let [first, second] = [stage.request(0), stage.request(1)];
            assert_eq!(first.body, second.body, "{}: the same request again", stage.name());
        }
    }
}

#[test]
fn a_failure_in_the_middle_keeps_what_came_and_is_not_tried_again() {
    for vendor in vendors() {
        let stage = vendor.stage(|wire, _| wire.fails_midway());
        let answer = stage.ask(question());
        assert_eq!(answer.text(), "Hel", "{}", stage.name());
        let kind = failure(&answer).kind;
        let expected = [ErrorKind::Unavailable, ErrorKind::Overloaded];
        assert!(expected.contains(&kind), "{}: {kind}", stage.name());
        assert_eq!(stage.upstream.requests().len(), 1, "{}", stage.name());
    }
}

#[test]
fn a_stream_that_ends_early_is_incomplete() {
    for vendor in vendors() {
        let stage = vendor.stage(|wire, _| wire.ends_early());
        let answer = stage.ask(question());
        assert_eq!(answer.text(), "Hel", "{}", stage.name());
        assert_eq!(failure(&answer).kind, ErrorKind::Incomplete, "{}", stage.name());
        assert_eq!(stage.upstream.requests().len(), 1, "{}", stage.name());
    }
    for vendor in vendors() {
        let stage = vendor.stage(|_, _| Reply::sse());
        let answer = stage.ask(question());
        assert_eq!(failure(&answer).kind, ErrorKind::Incomplete, "{}", stage.name());
        assert_eq!(stage.upstream.requests().len(), 3, "{}: nothing was lost", stage.name());
    }
}

#[test]
fn what_the_vendor_keeps_is_not_asked_for_twice() {
    for (reason, tries) in [(Failure::Broken, 1), (Failure::Overloaded, 3)] {
        let stage = vendor("openai").stage(move |wire, _| wire.fails(reason));
        let mut request = question();
        request.store = Some(true);
        assert!(stage.ask(request).error.is_some());
        assert_eq!(stage.upstream.requests().len(), tries, "{reason:?}");
    }
}

#[test]
fn a_caller_has_only_so_much_patience() {
    let gate = Gate::new();
    let held = gate.clone();
    let stage = vendor("lab").stage(move |wire, _| wire.says(&held));
    let call = Call::default().deadline(Some(Duration::from_millis(200)));
    let answer = stage.ask_with(question(), call);
    assert_eq!(answer.text(), "Riga is ", "what came in time is kept");
    assert_eq!(answer.problem(), "no complete answer within 0.2 s");
    gate.open();
    stage.upstream.wait_for_closed(1);
    // A wait that would end too late is not begun: the vendor's own words say more.
    let stage = vendor("lab").stage(|wire, _| wire.fails(Failure::Limited(Some(5_000))));
    let call = Call::default().deadline(Some(Duration::from_millis(2_000)));
    assert_eq!(failure(&stage.ask_with(question(), call)).kind, ErrorKind::RateLimited);
}

#[test]
fn a_vendor_that_repeats_the_key_is_not_quoted() {
    for vendor in vendors() {
        let key = vendor.key;
        let stage = vendor.stage(move |_, _| {
            let words = format!("Incorrect API key provided: {key}.");
            let error = serde_json::json!({"type": "error", "error": {"message": words,
                "type": "authentication_error", "code": key, "status": "UNAUTHENTICATED"}});
            Reply::json(401, &error.to_string())
        });
        let answer = stage.ask(question());
        let error = failure(&answer);
        assert_eq!(error.kind, ErrorKind::Authentication, "{}", stage.name());
        assert!(!format!("{error:?}").contains(key), "{}: {error:?}", stage.name());
        let stored = wait(stage.maestro.list_sessions(None)).unwrap();
        assert!(!format!("{stored:?}").contains(key), "{}: {stored:?}", stage.name());
    }
}
