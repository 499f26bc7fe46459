//! OpenAI Chat Completions, as `openai-compatible` and `openai` with `api = "chat"` speak it.

use serde_json::{Value, json};

use super::{Called, Failure, Wire, each, json_in, page, text};
use crate::upstream::{Gate, Reply, Request};

/// Chat Completions.
pub(crate) struct Chat;

fn chunk(delta: Value, finish: Value) -> String {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_790_000_000,
        "model": "m-1", "usage": null, "obfuscation": "q9Z",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null}],
    })
    .to_string()
}

fn begin() -> Reply {
    Reply::sse().event(&chunk(json!({"role": "assistant", "content": ""}), json!(null)))
}

fn said(reply: Reply, content: &str) -> Reply {
    reply.event(&chunk(json!({ "content": content }), json!(null)))
}

fn end(reply: Reply, finish: &str) -> Reply {
    reply.event(&chunk(json!({}), json!(finish))).event("[DONE]")
}

fn error(status: u16, headers: &[(&str, &str)], kind: &str, code: &str, message: &str) -> Reply {
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    let headers: Vec<_> = [("content-type", "application/json"), ("x-request-id", "req-1")]
        .into_iter()
        .chain(headers.iter().copied())
        .collect();
    Reply::with_headers(status, &headers).piece(body.to_string())
}

/// Answers a failure as OpenAI does, on all its endpoints.
pub(super) fn failure(failure: Failure) -> Reply {
    const REQUEST: &str = "invalid_request_error";
    match failure {
        Failure::BadKey => {
            error(401, &[], REQUEST, "invalid_api_key", "Incorrect API key provided.")
        }
        Failure::Invalid => error(400, &[], REQUEST, "invalid_value", "Invalid value: 'seven'."),
        Failure::TooLong => {
            error(400, &[], REQUEST, "context_length_exceeded", "Your input is too long.")
        }
        Failure::Limited(Some(ms)) => {
            let ms = ms.to_string();
            let headers = [("retry-after-ms", ms.as_str())];
            error(429, &headers, "requests", "rate_limit_exceeded", "Rate limit reached.")
        }
        Failure::Limited(None) => {
            error(429, &[], "requests", "rate_limit_exceeded", "Rate limit reached.")
        }
        Failure::Spent => {
            let words = "You exceeded your current quota.";
            error(429, &[], "insufficient_quota", "insufficient_quota", words)
        }
        Failure::Overloaded => {
            error(503, &[], "server_error", "server_is_overloaded", "Slow down.")
        }
        Failure::Broken => error(500, &[], "server_error", "", "The server had an error."),
        Failure::Page => page(),
    }
}

impl Wire for Chat {
    fn target(&self) -> &'static str {
        "/v1/chat/completions"
    }

    fn says(&self, gate: &Gate) -> Reply {
        let reply = said(said(begin(), "Riga is ").wait(gate), "cold.");
        let usage = json!({
            "prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        });
        let last = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk",
            "created": 1, "model": "m-1", "choices": [], "usage": usage});
        reply.event(&chunk(json!({}), json!("stop"))).event(&last.to_string()).event("[DONE]")
    }

    fn reasons(&self) -> Reply {
        let reply =
            begin().event(&chunk(json!({"reasoning_content": "Think first."}), json!(null)));
        end(said(reply, "Done."), "stop")
    }

    fn calls(&self, both: bool) -> Reply {
        let call = |index: u32, id: &str, name: &str| {
            let function = json!({"name": name, "arguments": ""});
            let call = json!({"index": index, "id": id, "type": "function", "function": function});
            chunk(json!({ "tool_calls": [call] }), json!(null))
        };
        let more = |index: u32, piece: &str| {
            let call = json!({"index": index, "function": {"arguments": piece}});
            chunk(json!({ "tool_calls": [call] }), json!(null))
        };
        let mut reply =
            begin().event(&call(0, "call_a", "get_weather")).event(&more(0, "{\"city\":"));
        if both {
            reply = reply.event(&call(1, "call_b", "get_time")).event(&more(1, "{}"));
        }
        end(reply.event(&more(0, "\"Riga\"}")), "tool_calls")
    }

    fn refuses(&self) -> Reply {
        end(begin().event(&chunk(json!({"refusal": "I cannot."}), json!(null))), "content_filter")
    }

    fn is_cut(&self) -> Reply {
        end(said(begin(), "Riga"), "length")
    }

    fn fails_midway(&self) -> Reply {
        let error =
            json!({"error": {"message": "engine died", "type": "server_error", "code": 500}});
        said(begin(), "Hel").event(&error.to_string()).event("[DONE]")
    }

    fn ends_early(&self) -> Reply {
        said(begin(), "Hel")
    }

    fn fails(&self, reason: Failure) -> Reply {
        failure(reason)
    }

    fn structured(&self) -> Reply {
        end(said(begin(), r#"{"city":"Riga"}"#), "stop")
    }

    fn token(&self) -> Option<&'static str> {
        None
    }

    fn picture(&self, body: &Value) -> (String, String) {
        let content = &body["messages"][0]["content"];
        let part = each(content).find(|part| part["type"] == "image_url").unwrap();
        let url = text(&part["image_url"]["url"]);
        let (kind, data) = url.strip_prefix("data:").unwrap().split_once(";base64,").unwrap();
        (kind.to_owned(), data.to_owned())
    }

    fn schema(&self, body: &Value) -> Value {
        assert_eq!(body["response_format"]["type"], "json_schema");
        body["response_format"]["json_schema"]["schema"].clone()
    }

    fn tools(&self, body: &Value) -> Vec<(String, Value)> {
        let function = |tool: &Value| tool["function"].clone();
        each(&body["tools"])
            .map(function)
            .map(|function| (text(&function["name"]), function["parameters"].clone()))
            .collect()
    }

    fn called(&self, body: &Value) -> Vec<Called> {
        let calls = each(&body["messages"]).flat_map(|message| each(&message["tool_calls"]));
        let called = |call: &Value| Called {
            id: text(&call["id"]),
            name: text(&call["function"]["name"]),
            arguments: json_in(&call["function"]["arguments"]),
        };
        calls.map(called).collect()
    }

    fn results(&self, body: &Value) -> Vec<(String, String)> {
        let results = each(&body["messages"]).filter(|message| message["role"] == "tool");
        results.map(|message| (text(&message["tool_call_id"]), text(&message["content"]))).collect()
    }

    fn system(&self, body: &Value) -> String {
        let first = &body["messages"][0];
        assert!(["system", "developer"].contains(&first["role"].as_str().unwrap()), "{first}");
        text(&first["content"])
    }

    fn check(&self, request: &Request) {
        assert!(request.header("authorization").starts_with("Bearer sk-"), "{request:?}");
        assert_eq!(request.json()["model"], "m-1");
        assert_eq!(request.json()["stream"], true);
    }
}
