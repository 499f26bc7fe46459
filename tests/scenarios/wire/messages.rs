//! Anthropic Messages.

use serde_json::{Value, json};

use super::{Called, Failure, Wire, each, page, text};
use crate::upstream::{Gate, Reply, Request};

/// The Messages API.
pub(crate) struct Messages;

/// The signature that must come back.
const TOKEN: &str = "EqQB-signature+/=";

fn event(reply: Reply, fields: Value) -> Reply {
    reply.piece(format!("event: {}\ndata: {fields}\n\n", fields["type"].as_str().unwrap()))
}

fn begin() -> Reply {
    let message = json!({"id": "msg_01", "type": "message", "role": "assistant", "model": "m-1",
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 8, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4, "output_tokens": 1}});
    event(Reply::sse(), json!({"type": "message_start", "message": message}))
}

fn block(reply: Reply, index: u32, block: Value, deltas: &[Value]) -> Reply {
    let start = json!({"type": "content_block_start", "index": index, "content_block": block});
    let reply = event(event(reply, start), json!({"type": "ping"}));
    let reply = deltas.iter().fold(reply, |reply, delta| {
        event(reply, json!({"type": "content_block_delta", "index": index, "delta": delta}))
    });
    event(reply, json!({"type": "content_block_stop", "index": index}))
}

fn said(reply: Reply, index: u32, text: &str) -> Reply {
    let delta = json!({"type": "text_delta", "text": text});
    block(reply, index, json!({"type": "text", "text": ""}), &[delta])
}

fn thought(reply: Reply, text: &str) -> Reply {
    let deltas = [
        json!({"type": "thinking_delta", "thinking": text}),
        json!({"type": "signature_delta", "signature": TOKEN}),
    ];
    block(reply, 0, json!({"type": "thinking", "thinking": "", "signature": ""}), &deltas)
}

fn end(reply: Reply, reason: &str) -> Reply {
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    let usage = json!({"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 2}});
    let reply = event(reply, json!({"type": "message_delta", "delta": delta, "usage": usage}));
    event(reply, json!({"type": "message_stop"}))
}

fn error(status: u16, headers: &[(&str, &str)], kind: &str, message: &str) -> Reply {
    let error = json!({"type": kind, "message": message});
    let body = json!({"type": "error", "error": error, "request_id": "req_01"});
    let headers: Vec<_> = [("content-type", "application/json"), ("request-id", "req_01")]
        .into_iter()
        .chain(headers.iter().copied())
        .collect();
    Reply::with_headers(status, &headers).piece(body.to_string())
}

impl Wire for Messages {
    fn target(&self) -> &'static str {
        "/v1/messages"
    }

    fn says(&self, gate: &Gate) -> Reply {
        let delta = |text: &str| {
            let delta = json!({"type": "text_delta", "text": text});
            json!({"type": "content_block_delta", "index": 0, "delta": delta})
        };
        let start = json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}});
        let reply = event(event(begin(), start), delta("Riga is ")).wait(gate);
        let reply = event(reply, delta("cold."));
        end(event(reply, json!({"type": "content_block_stop", "index": 0})), "end_turn")
    }

    fn reasons(&self) -> Reply {
        end(said(thought(begin(), "Think first."), 1, "Done."), "end_turn")
    }

    fn calls(&self, both: bool) -> Reply {
        let call =
            |id: &str, name: &str| json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        let piece = |json: &str| json!({"type": "input_json_delta", "partial_json": json});
        let pieces = [piece(""), piece("{\"city\": \"Ri"), piece("ga\"}")];
        let reply = thought(begin(), "Need tools.");
        let mut reply = block(reply, 1, call("toolu_a", "get_weather"), &pieces);
        if both {
            reply = block(reply, 2, call("toolu_b", "get_time"), &[piece("")]);
        }
        end(reply, "tool_use")
    }

    fn refuses(&self) -> Reply {
        end(said(begin(), 0, "I cannot."), "refusal")
    }

    fn is_cut(&self) -> Reply {
        end(said(begin(), 0, "Riga"), "max_tokens")
    }

    fn fails_midway(&self) -> Reply {
        let error = json!({"type": "overloaded_error", "message": "Overloaded"});
        event(said(begin(), 0, "Hel"), json!({"type": "error", "error": error}))
    }

    fn ends_early(&self) -> Reply {
        said(begin(), 0, "Hel")
    }

    fn fails(&self, failure: Failure) -> Reply {
        match failure {
            Failure::BadKey => error(401, &[], "authentication_error", "invalid x-api-key"),
            Failure::Invalid => {
                error(400, &[], "invalid_request_error", "max_tokens: must be positive")
            }
            Failure::TooLong => {
                let words = "prompt is too long: 200001 tokens > 200000 maximum";
                error(400, &[], "invalid_request_error", words)
            }
            Failure::Limited(Some(ms)) => {
                let ms = ms.to_string();
                error(429, &[("retry-after-ms", &ms)], "rate_limit_error", "Too many requests")
            }
            Failure::Limited(None) => error(429, &[], "rate_limit_error", "Too many requests"),
            Failure::Spent => error(402, &[], "billing_error", "Your credit balance is too low."),
            Failure::Overloaded => error(529, &[], "overloaded_error", "Overloaded"),
            Failure::Broken => error(500, &[], "api_error", "Internal server error"),
            Failure::Page => page(),
        }
    }

    fn structured(&self) -> Reply {
        end(said(begin(), 0, r#"{"city":"Riga"}"#), "end_turn")
    }

    fn token(&self) -> Option<&'static str> {
        Some(TOKEN)
    }

    fn picture(&self, body: &Value) -> (String, String) {
        let mut parts = each(&body["messages"][0]["content"]);
        let part = parts.find(|part| part["type"] == "image").unwrap();
        assert_eq!(part["source"]["type"], "base64");
        (text(&part["source"]["media_type"]), text(&part["source"]["data"]))
    }

    fn schema(&self, body: &Value) -> Value {
        assert_eq!(body["output_config"]["format"]["type"], "json_schema");
        body["output_config"]["format"]["schema"].clone()
    }

    fn tools(&self, body: &Value) -> Vec<(String, Value)> {
        let tool = |tool: &Value| (text(&tool["name"]), tool["input_schema"].clone());
        each(&body["tools"]).map(tool).collect()
    }

    fn called(&self, body: &Value) -> Vec<Called> {
        let blocks = each(&body["messages"]).flat_map(|message| each(&message["content"]));
        let called = |block: &Value| Called {
            id: text(&block["id"]),
            name: text(&block["name"]),
            arguments: block["input"].clone(),
        };
        blocks.filter(|block| block["type"] == "tool_use").map(called).collect()
    }

    fn results(&self, body: &Value) -> Vec<(String, String)> {
        let blocks = each(&body["messages"]).flat_map(|message| each(&message["content"]));
        let result = |block: &Value| {
            let content = match &block["content"] {
                Value::String(text) => text.clone(),
                parts => text(&parts[0]["text"]),
            };
            (text(&block["tool_use_id"]), content)
        };
        blocks.filter(|block| block["type"] == "tool_result").map(result).collect()
    }

    fn system(&self, body: &Value) -> String {
        match &body["system"] {
            Value::String(text) => text.clone(),
            blocks => text(&blocks[0]["text"]),
        }
    }

    fn check(&self, request: &Request) {
        let bearer = request.header("authorization").starts_with("Bearer sk-ant-");
        let key = request.header("x-api-key").starts_with("sk-ant-");
        assert!(bearer ^ key, "exactly one of the two forms: {request:?}");
        let versions = ["2023-06-01", "2026-10-21"];
        assert!(versions.contains(&request.header("anthropic-version")), "{request:?}");
        let body = request.json();
        assert_eq!((&body["model"], &body["stream"]), (&json!("m-1"), &json!(true)));
        assert!(body["max_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{body}");
    }
}
