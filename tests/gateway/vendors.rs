//! The four vendors, scripted: what each answers on the wire, and a home in which all four are at one
//! upstream.

use serde_json::{Value, json};

use crate::{
    harness::Test,
    upstream::{Reply, Upstream},
};

/// A dialect, as a client speaks it and as a provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    Chat,
    Responses,
    Messages,
    Gemini,
}

pub(super) const ALL: [Vendor; 4] =
    [Vendor::Chat, Vendor::Responses, Vendor::Messages, Vendor::Gemini];

/// A home with a provider for each dialect, which speaks no other. OpenAI has a key, the others take
/// none.
pub(super) fn home(upstream: &Upstream, more: &str) -> Test {
    let (url, origin) = (upstream.url(), upstream.origin());
    Test::new()
        .plugin("openai")
        .plugin("anthropic")
        .plugin("gemini")
        .plugin("openai-compatible")
        .env("KEY", "sk-upstream-canary")
        .config(format!(
            "[retries]\nmax = 0\n\
             [providers.lab]\nplugin = \"openai-compatible\"\nbase_url = \"{url}\"\nprofile = \"openai\"\n\
             [providers.openai]\nbase_url = \"{url}\"\napi = \"responses\"\n\
             [sessions.work]\nprovider = \"openai\"\nenv = \"KEY\"\n\
             [providers.ant]\nplugin = \"anthropic\"\nbase_url = \"{origin}\"\n\
             [providers.goo]\nplugin = \"gemini\"\nbase_url = \"{origin}\"\n{more}"
        ))
}

impl Vendor {
    /// Returns the name of its provider in [`home`].
    pub(super) fn provider(self) -> &'static str {
        match self {
            Self::Chat => "lab",
            Self::Responses => "openai",
            Self::Messages => "ant",
            Self::Gemini => "goo",
        }
    }

    /// Returns where its clients ask for a chat with a model.
    pub(super) fn path(self, model: &str, stream: bool) -> String {
        match self {
            Self::Chat => "/v1/chat/completions".into(),
            Self::Responses => "/v1/responses".into(),
            Self::Messages => "/v1/messages?beta=true".into(),
            Self::Gemini if stream => {
                format!("/v1beta/models/{model}:streamGenerateContent?alt=sse")
            }
            Self::Gemini => format!("/v1beta/models/{model}:generateContent"),
        }
    }

    /// Returns the vendor's answer: JSON, and as the data of a stream's events.
    pub(super) fn answers(self, answer: &Answer) -> (Value, Vec<Value>) {
        match self {
            Self::Chat => answer.chat(),
            Self::Responses => answer.responses(),
            Self::Messages => answer.messages(),
            Self::Gemini => answer.gemini(),
        }
    }

    /// Writes a stream as the vendor does.
    pub(super) fn stream(self, events: &[Value]) -> String {
        let mut text = String::new();
        for event in events {
            if matches!(self, Self::Messages | Self::Responses) {
                text.push_str(&format!("event: {}\n", event["type"].as_str().unwrap()));
            }
            text.push_str(&format!("data: {event}\n\n"));
        }
        if self == Self::Chat {
            text.push_str("data: [DONE]\n\n");
        }
        text
    }

    /// Makes the vendor's reply, whole or as a stream.
    pub(super) fn reply(self, answer: &Answer, stream: bool) -> Reply {
        let (whole, events) = self.answers(answer);
        if stream {
            Reply::sse().piece(self.stream(&events))
        } else {
            Reply::json(200, &whole.to_string())
        }
    }

    /// Tells whose request this is and whether it wants a stream.
    pub(super) fn asked(request: &crate::upstream::Request) -> (Self, bool) {
        let stream = request.json()["stream"] == true;
        let path = request.target.as_str();
        if path.contains(":streamGenerateContent") || path.contains(":generateContent") {
            (Self::Gemini, path.contains(":stream"))
        } else if path.contains("/messages") {
            (Self::Messages, stream)
        } else if path.contains("/responses") {
            (Self::Responses, stream)
        } else {
            (Self::Chat, stream)
        }
    }
}

/// What a model says, in nobody's dialect.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) thought: &'static str,
    pub(super) text: &'static str,
    /// Id, name and arguments.
    pub(super) calls: Vec<(&'static str, &'static str, &'static str)>,
    pub(super) refused: bool,
    pub(super) cut: bool,
}

const INPUT: u64 = 11;
const OUTPUT: u64 = 7;

impl Answer {
    fn chat(&self) -> (Value, Vec<Value>) {
        let word = match self {
            _ if self.cut => "length",
            _ if self.refused => "content_filter",
            _ if !self.calls.is_empty() => "tool_calls",
            _ => "stop",
        };
        let usage = json!({"prompt_tokens": INPUT, "completion_tokens": OUTPUT,
            "total_tokens": INPUT + OUTPUT});
        let call = |at: usize, (id, name, arguments): &(&str, &str, &str)| {
            json!({"index": at, "id": id, "type": "function",
                "function": {"name": name, "arguments": arguments}})
        };
        let calls: Vec<Value> =
            self.calls.iter().enumerate().map(|(at, one)| call(at, one)).collect();
        let mut message = json!({"role": "assistant", "content": self.text});
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        if !self.thought.is_empty() {
            message["reasoning_content"] = json!(self.thought);
        }
        let whole = json!({"id": "chatcmpl-v", "object": "chat.completion", "created": 1,
            "model": "m", "usage": usage, "vendor_word": 1,
            "choices": [{"index": 0, "message": message, "finish_reason": word}]});
        let chunk = |delta: Value, finish: Value| {
            json!({"id": "chatcmpl-v", "object": "chat.completion.chunk", "created": 1,
                "model": "m", "vendor_word": 1,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        };
        let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
        if !self.thought.is_empty() {
            events.push(chunk(json!({"reasoning_content": self.thought}), Value::Null));
        }
        if !self.text.is_empty() {
            events.push(chunk(json!({"content": self.text}), Value::Null));
        }
        events.extend(calls.iter().map(|call| chunk(json!({"tool_calls": [call]}), Value::Null)));
        events.push(chunk(json!({}), json!(word)));
        let mut last = chunk(json!({}), Value::Null);
        (last["choices"], last["usage"]) = (json!([]), usage);
        events.push(last);
        (whole, events)
    }

    fn responses(&self) -> (Value, Vec<Value>) {
        let mut output = Vec::new();
        if !self.thought.is_empty() {
            output.push(json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "ENC==",
                "summary": [{"type": "summary_text", "text": self.thought}]}));
        }
        if !self.text.is_empty() {
            let content = if self.refused {
                json!({"type": "refusal", "refusal": self.text})
            } else {
                json!({"type": "output_text", "text": self.text, "annotations": []})
            };
            output.push(json!({"type": "message", "id": "msg_1", "role": "assistant",
                "status": "completed", "content": [content]}));
        }
        for (id, name, arguments) in &self.calls {
            output.push(json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id,
                "name": name, "arguments": arguments, "status": "completed"}));
        }
        let status = if self.cut { "incomplete" } else { "completed" };
        let mut whole = json!({"id": "resp_v", "object": "response", "created_at": 1,
            "status": status, "model": "m", "output": output, "vendor_word": 1,
            "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT,
                "total_tokens": INPUT + OUTPUT}});
        if self.cut {
            whole["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        let mut begun = whole.clone();
        (begun["output"], begun["status"], begun["usage"]) =
            (json!([]), json!("in_progress"), Value::Null);
        let mut events = vec![json!({"type": "response.created", "response": begun})];
        for (at, item) in output.iter().enumerate() {
            let mut open = item.clone();
            let id = item["id"].clone();
            let delta = |kind: &str, key: &str, text: &Value| json!({"type": kind, "item_id": id, "output_index": at, key: 0, "delta": text});
            let middle = match item["type"].as_str() {
                Some("reasoning") => {
                    open["summary"] = json!([]);
                    delta(
                        "response.reasoning_summary_text.delta",
                        "summary_index",
                        &item["summary"][0]["text"],
                    )
                }
                Some("message") => {
                    open["content"] = json!([]);
                    let (kind, text) = if self.refused {
                        ("response.refusal.delta", &item["content"][0]["refusal"])
                    } else {
                        ("response.output_text.delta", &item["content"][0]["text"])
                    };
                    delta(kind, "content_index", text)
                }
                _ => {
                    open["arguments"] = json!("");
                    delta("response.function_call_arguments.delta", "x", &item["arguments"])
                }
            };
            events.push(json!({"type": "response.output_item.added", "output_index": at,
                "item": open}));
            events.push(middle);
            events.push(json!({"type": "response.output_item.done", "output_index": at,
                "item": item}));
        }
        events.push(json!({"type": format!("response.{status}"), "response": whole}));
        (whole, events)
    }

    fn messages(&self) -> (Value, Vec<Value>) {
        let mut content = Vec::new();
        if !self.thought.is_empty() {
            content.push(json!({"type": "thinking", "thinking": self.thought,
                "signature": "SIG=="}));
        }
        if !self.text.is_empty() {
            content.push(json!({"type": "text", "text": self.text}));
        }
        for (id, name, arguments) in &self.calls {
            let input: Value = serde_json::from_str(arguments).unwrap();
            content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
        }
        let stop = match self {
            _ if self.cut => "max_tokens",
            _ if self.refused => "refusal",
            _ if !self.calls.is_empty() => "tool_use",
            _ => "end_turn",
        };
        let whole = json!({"id": "msg_v", "type": "message", "role": "assistant", "model": "m",
            "content": content, "stop_reason": stop, "stop_sequence": null, "vendor_word": 1,
            "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT}});
        let mut begun = whole.clone();
        (begun["content"], begun["stop_reason"]) = (json!([]), Value::Null);
        let mut events = vec![json!({"type": "message_start", "message": begun})];
        for (at, block) in content.iter().enumerate() {
            let mut open = block.clone();
            let deltas = match block["type"].as_str() {
                Some("thinking") => {
                    (open["thinking"], open["signature"]) = (json!(""), json!(""));
                    vec![
                        json!({"type": "thinking_delta", "thinking": self.thought}),
                        json!({"type": "signature_delta", "signature": "SIG=="}),
                    ]
                }
                Some("text") => {
                    open["text"] = json!("");
                    vec![json!({"type": "text_delta", "text": self.text})]
                }
                _ => {
                    open["input"] = json!({});
                    let input = block["input"].to_string();
                    vec![json!({"type": "input_json_delta", "partial_json": input})]
                }
            };
            events.push(json!({"type": "content_block_start", "index": at,
                "content_block": open}));
            events.extend(
                deltas.into_iter().map(
                    |delta| json!({"type": "content_block_delta", "index": at, "delta": delta}),
                ),
            );
            events.push(json!({"type": "content_block_stop", "index": at}));
        }
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": stop},
            "usage": {"output_tokens": OUTPUT}}));
        events.push(json!({"type": "message_stop"}));
        (whole, events)
    }

    fn gemini(&self) -> (Value, Vec<Value>) {
        let mut parts = Vec::new();
        if !self.thought.is_empty() {
            parts.push(json!({"text": self.thought, "thought": true}));
        }
        if !self.text.is_empty() {
            parts.push(json!({"text": self.text, "thoughtSignature": "VFM="}));
        }
        for (id, name, arguments) in &self.calls {
            let args: Value = serde_json::from_str(arguments).unwrap();
            parts.push(json!({"functionCall": {"id": id, "name": name, "args": args}}));
        }
        let word = match self {
            _ if self.cut => "MAX_TOKENS",
            _ if self.refused => "SAFETY",
            _ => "STOP",
        };
        let usage = json!({"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT,
            "totalTokenCount": INPUT + OUTPUT});
        let whole = json!({"candidates": [{"index": 0, "finishReason": word,
                "content": {"role": "model", "parts": parts}}],
            "usageMetadata": usage, "modelVersion": "m", "responseId": "r-v", "vendorWord": 1});
        let mut events: Vec<Value> = parts
            .iter()
            .map(|part| {
                json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}],
                    "modelVersion": "m", "responseId": "r-v", "vendorWord": 1})
            })
            .collect();
        events.push(json!({"candidates": [{"index": 0, "finishReason": word}],
            "usageMetadata": usage, "modelVersion": "m", "responseId": "r-v"}));
        (whole, events)
    }
}
