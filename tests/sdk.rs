//! The vendors' own Python SDKs read what our encoders write: an independent judge of the server's
//! half of each dialect.
//!
//! Needs Python and the package index; where either is missing the test says so and is skipped.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use plugin_api::{
    chat::ToolKind,
    error::{ErrorKind, ProviderError},
    event::{ChatEvent, FinishReason, Transcript, Usage},
};
use serde_json::{Value, json};

use crate::{
    harness::workspace,
    upstream::{Reply, Request, Upstream},
};

/// The server's half of a dialect, as the test needs it.
struct Dialect {
    name: &'static str,
    /// Writes a whole stream.
    stream: fn(&[ChatEvent]) -> Vec<u8>,
    /// Writes a whole answer.
    whole: fn(&Transcript) -> Vec<u8>,
    /// Writes an error: status and body.
    error: fn(&ProviderError) -> (u16, Vec<u8>),
    /// How the SDK names the ends of answers: stop, length, tool calls.
    finish: [&'static str; 3],
    /// How the SDK names the errors of [`errors`].
    exceptions: [&'static str; 4],
    /// Whether calls have ids on the wire.
    has_call_ids: bool,
}

const OPENAI: [&str; 4] =
    ["AuthenticationError", "RateLimitError", "BadRequestError", "InternalServerError"];

fn dialects() -> Vec<Dialect> {
    vec![openai_chat(), openai_responses(), anthropic_messages(), gemini()]
}

fn openai_chat() -> Dialect {
    Dialect {
        name: "openai-chat",
        stream: |events| {
            use dialects::openai_chat::{Encoder, Head};
            let mut encoder = Encoder::new(&Head::new("chatcmpl-1", "m-1", 1_790_000_000), true);
            let mut bytes = Vec::new();
            for event in events {
                encoder.event(event, &mut bytes);
            }
            bytes
        },
        whole: |transcript| {
            use dialects::openai_chat::{Head, encode_response};
            encode_response(transcript, &Head::new("chatcmpl-1", "m-1", 1_790_000_000), false)
        },
        error: dialects::openai_chat::error::encode,
        finish: ["stop", "length", "tool_calls"],
        exceptions: OPENAI,
        has_call_ids: true,
    }
}

fn openai_responses() -> Dialect {
    use dialects::openai_responses::{Echo, Encoder, Head, Namespaces, encode_response, error};
    Dialect {
        name: "openai-responses",
        stream: |events| {
            let mut encoder = Encoder::new(&Head::new("resp_1", "m-1", 1_790_000_000));
            let mut bytes = Vec::new();
            for event in events {
                encoder.event(event, &mut bytes);
            }
            bytes
        },
        whole: |transcript| {
            let head = Head::new("resp_1", "m-1", 1_790_000_000);
            encode_response(transcript, &head, Namespaces::default(), Echo::default())
        },
        error: error::encode,
        finish: ["completed", "max_output_tokens", "completed"],
        exceptions: OPENAI,
        has_call_ids: true,
    }
}

fn anthropic_messages() -> Dialect {
    use dialects::anthropic_messages::{Encoder, Head, encode_response, error};
    Dialect {
        name: "anthropic-messages",
        stream: |events| {
            let mut encoder = Encoder::new(&Head::new("msg_1", "m-1"));
            let mut bytes = Vec::new();
            for event in events {
                encoder.event(event, &mut bytes);
            }
            bytes
        },
        whole: |transcript| encode_response(transcript, &Head::new("msg_1", "m-1")),
        error: error::encode,
        finish: ["end_turn", "max_tokens", "tool_use"],
        // Named alike by both vendors' libraries, which are made by one generator.
        exceptions: OPENAI,
        has_call_ids: true,
    }
}

fn gemini() -> Dialect {
    use dialects::gemini::{Encoder, Head, Layout, encode_response, error};
    Dialect {
        name: "gemini",
        stream: |events| {
            let mut encoder = Encoder::new(&Head::new("id-1", "m-1"), Layout::Sse);
            let mut bytes = Vec::new();
            for event in events {
                encoder.event(event, &mut bytes);
            }
            bytes
        },
        whole: |transcript| encode_response(transcript, &Head::new("id-1", "m-1")),
        error: error::encode,
        finish: ["STOP", "MAX_TOKENS", "STOP"],
        exceptions: ["ClientError", "ClientError", "ClientError", "ServerError"],
        has_call_ids: true,
    }
}

/// Answers by their names, as events.
fn stories() -> BTreeMap<&'static str, Vec<ChatEvent>> {
    let text = |part, text: &str| ChatEvent::TextDelta { part, text: text.into() };
    let finish = |reason| ChatEvent::Finish { reason, detail: None };
    let started = || ChatEvent::Started { id: Some("id-1".into()), model: Some("m-1".into()) };
    let usage = || {
        let mut usage = Usage::new(12, 7);
        usage.cached_input_tokens = Some(4);
        usage.reasoning_tokens = Some(2);
        ChatEvent::Usage(usage)
    };
    let call = |part, id: &str, name: &str, pieces: &[&str]| {
        let (id, name, kind) = (id.to_owned(), name.to_owned(), ToolKind::Function);
        let mut events = vec![ChatEvent::ToolCallStart { part, id, name, kind }];
        events.extend(
            pieces
                .iter()
                .map(|piece| ChatEvent::ToolCallDelta { part, arguments: (*piece).to_owned() }),
        );
        events.push(ChatEvent::ToolCallEnd { part });
        events
    };
    let mut calls = vec![started(), text(0, "Let me look.")];
    calls.extend(call(1, "call_a", "get_weather", &["{\"city\":", "\"Riga\"}"]));
    calls.extend(call(2, "call_b", "get_time", &["{}"]));
    calls.extend([usage(), finish(FinishReason::ToolCalls)]);
    let thought = ChatEvent::ReasoningDelta { part: 0, text: "Think first.".into(), summary: true };
    BTreeMap::from([
        (
            "text",
            vec![
                started(),
                text(0, "Rī"),
                text(0, "ga \"is\"\n"),
                text(0, "cold."),
                usage(),
                finish(FinishReason::Stop),
            ],
        ),
        ("cut", vec![started(), text(0, "Riga"), usage(), finish(FinishReason::Length)]),
        (
            "reasoned",
            vec![started(), thought, text(1, "Done."), usage(), finish(FinishReason::Stop)],
        ),
        ("calls", calls),
        ("empty", vec![started(), usage(), finish(FinishReason::Stop)]),
    ])
}

/// Failures by their names.
fn errors() -> [(&'static str, ProviderError); 4] {
    [
        ("bad-key", ProviderError::new(ErrorKind::Authentication, "no such key")),
        ("limited", ProviderError::new(ErrorKind::RateLimited, "too many")),
        ("invalid", ProviderError::new(ErrorKind::InvalidRequest, "`model` is missing")),
        ("broken", ProviderError::new(ErrorKind::Other, "gave up")),
    ]
}

/// Returns what the SDK should understand of a story.
fn expected(dialect: &Dialect, events: &[ChatEvent]) -> Value {
    let transcript = Transcript::of(events);
    let message = transcript.message();
    let reasoning: String = events
        .iter()
        .filter_map(|event| match event {
            ChatEvent::ReasoningDelta { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let calls: Vec<_> = message
        .tool_calls()
        .map(|call| {
            let id = if dialect.has_call_ids { &call.id } else { &call.name };
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
            json!({"id": id, "name": call.name, "arguments": arguments})
        })
        .collect();
    let [stop, length, tool_calls] = dialect.finish;
    let finish = match transcript.finish {
        Some(FinishReason::Length) => length,
        Some(FinishReason::ToolCalls) => tool_calls,
        _ => stop,
    };
    json!({
        "text": transcript.text(), "reasoning": reasoning, "refusal": "", "calls": calls,
        "finish": finish,
        "usage": {"input": 12, "output": 7, "cached": 4, "reasoning": 2},
    })
}

/// Answers by the model's name, which is the story's.
fn answer(dialect: &Dialect, request: &Request) -> Reply {
    let body = request.json();
    let in_path = || Some(request.target.split("/models/").nth(1)?.split(':').next()?.to_owned());
    let model = body["model"].as_str().map(str::to_owned).or_else(in_path).unwrap_or_default();
    if let Some((_, error)) = errors().iter().find(|(name, _)| *name == model) {
        let (status, body) = (dialect.error)(error);
        return Reply::new(status, "application/json").piece(body);
    }
    let Some(events) = stories().remove(model.as_str()) else {
        return Reply::new(404, "text/plain").piece(format!("no story `{model}`"));
    };
    let streamed = body["stream"] == true || request.target.contains(":streamGenerateContent");
    if streamed {
        return Reply::sse().piece((dialect.stream)(&events));
    }
    Reply::new(200, "application/json").piece((dialect.whole)(&Transcript::of(&events)))
}

#[test]
fn official_sdks_understand_what_our_encoders_write() {
    let Some(python) = python() else {
        eprintln!("skipped: Python with the vendors' SDKs cannot be had here");
        return;
    };
    for dialect in dialects() {
        let dialect = Arc::new(dialect);
        let shared = Arc::clone(&dialect);
        let upstream = Upstream::start(move |request| answer(&shared, request));
        let (stories, errors) = (stories(), errors());
        let asks: Vec<String> = stories
            .keys()
            .copied()
            .chain(errors.iter().map(|(name, _)| *name))
            .flat_map(|name| [format!("{name}:stream"), format!("{name}:whole")])
            .collect();
        let output = Command::new(&python)
            .arg(workspace().join("tests/sdk/parse.py"))
            .args([dialect.name, &upstream.origin()])
            .args(&asks)
            .env_clear()
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert_eq!(lines.len(), asks.len(), "{}: {problem}", dialect.name);
        for line in lines {
            let ask = line["ask"].as_str().unwrap();
            let (name, _) = ask.split_once(':').unwrap();
            let seen = &line["seen"];
            match errors.iter().position(|(known, _)| *known == name) {
                Some(at) => {
                    let expected = dialect.exceptions[at];
                    assert_eq!(seen["error"], expected, "{} {ask}: {seen}", dialect.name);
                    let words = seen["message"].as_str().unwrap();
                    assert!(
                        words.contains(&errors[at].1.message),
                        "{} {ask}: {words}",
                        dialect.name
                    );
                }
                None => {
                    let expected = expected(&dialect, &stories[name]);
                    assert_eq!(*seen, expected, "{} {ask}", dialect.name);
                }
            }
        }
    }
}

/// Returns a Python that has the SDKs; makes one below `target/`, once for each list of versions.
pub(crate) fn python() -> Option<PathBuf> {
    let list = workspace().join("tests/sdk/requirements.txt");
    let wanted = fs::read_to_string(&list).unwrap();
    let exe = std::env::current_exe().unwrap();
    // The executable is in `target/PROFILE/deps`.
    let target = exe.ancestors().nth(3)?;
    let venv = target.join("python-sdks");
    let (stamp, python) = (venv.join("installed.txt"), venv.join("bin/python"));
    // Tests are processes of their own; the first one installs, the others wait for it.
    let lock = fs::File::create(target.join("python-sdks.lock")).ok()?;
    lock.lock().ok()?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Some(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(&list))?;
    fs::write(&stamp, wanted).ok()?;
    Path::exists(&python).then_some(python)
}

/// Runs a command; nothing when it failed.
fn run(command: &mut Command) -> Option<()> {
    let output = command.output().ok()?;
    if !output.status.success() {
        eprintln!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success().then_some(())
}
