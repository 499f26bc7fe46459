//! OpenAI Responses.

use serde_json::{Value, json};

use super::{Called, Failure, Wire, chat, each, json_in, text};
use crate::upstream::{Gate, Reply, Request};

/// The Responses API.
pub(crate) struct Responses;

/// The encrypted reasoning that must come back.
const TOKEN: &str = "gAAAA-encrypted+/=";

/// A stream whose events are numbered.
struct Script {
    reply: Reply,
    number: u32,
}

impl Script {
    fn begin() -> Self {
        let response = json!({"id": "resp_1", "object": "response", "status": "in_progress",
            "model": "m-1", "output": [], "usage": null, "error": null});
        Self { reply: Reply::sse(), number: 0 }
            .event("response.created", json!({ "response": response }))
            .event("response.in_progress", json!({ "response": response }))
    }

    fn event(mut self, kind: &str, mut fields: Value) -> Self {
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(self.number);
        self.number += 1;
        self.reply = self.reply.piece(format!("event: {kind}\ndata: {fields}\n\n"));
        self
    }

    fn wait(mut self, gate: &Gate) -> Self {
        self.reply = self.reply.wait(gate);
        self
    }

    fn item(self, index: u32, item: Value, done: bool) -> Self {
        let kind = if done { "response.output_item.done" } else { "response.output_item.added" };
        self.event(kind, json!({"output_index": index, "item": item}))
    }

    fn message(self, index: u32) -> Self {
        let item = json!({"id": "msg_1", "type": "message", "status": "in_progress",
            "role": "assistant", "content": []});
        let part = json!({"type": "output_text", "text": "", "annotations": []});
        let at = json!({"item_id": "msg_1", "output_index": index, "content_index": 0,
            "part": part});
        self.item(index, item, false).event("response.content_part.added", at)
    }

    fn text(self, index: u32, delta: &str) -> Self {
        let fields = json!({"item_id": "msg_1", "output_index": index, "content_index": 0,
            "delta": delta, "logprobs": []});
        self.event("response.output_text.delta", fields)
    }

    fn message_done(self, index: u32, whole: &str) -> Self {
        let part = json!({"type": "output_text", "text": whole, "annotations": []});
        let item = json!({"id": "msg_1", "type": "message", "status": "completed",
            "role": "assistant", "content": [part]});
        let at = |name: &str, value: Value| {
            let mut fields = json!({"item_id": "msg_1", "output_index": index, "content_index": 0});
            fields[name] = value;
            fields
        };
        self.event("response.output_text.done", at("text", json!(whole)))
            .event("response.content_part.done", at("part", part))
            .item(index, item, true)
    }

    fn reasoning(self, summary: &str) -> Self {
        let part = json!({"type": "summary_text", "text": ""});
        let at = |name: &str, value: Value| {
            let mut fields = json!({"item_id": "rs_1", "output_index": 0, "summary_index": 0});
            fields[name] = value;
            fields
        };
        let whole = json!({"id": "rs_1", "type": "reasoning", "encrypted_content": TOKEN,
            "summary": [{"type": "summary_text", "text": summary}]});
        self.item(0, json!({"id": "rs_1", "type": "reasoning", "summary": []}), false)
            .event("response.reasoning_summary_part.added", at("part", part))
            .event("response.reasoning_summary_text.delta", at("delta", json!(summary)))
            .item(0, whole, true)
    }

    fn call(self, index: u32, call_id: &str, name: &str, arguments: &str) -> Self {
        let id = format!("fc_{index}");
        let item = |status: &str, arguments: &str| {
            json!({"id": id, "type": "function_call", "status": status, "call_id": call_id,
                "name": name, "arguments": arguments})
        };
        let (first, rest) = arguments.split_at(arguments.len() / 2);
        let delta = |piece: &str| json!({"item_id": id, "output_index": index, "delta": piece});
        let whole = json!({"item_id": id, "output_index": index, "arguments": arguments});
        let (added, done) = (item("in_progress", ""), item("completed", arguments));
        self.item(index, added, false)
            .event("response.function_call_arguments.delta", delta(first))
            .event("response.function_call_arguments.delta", delta(rest))
            .event("response.function_call_arguments.done", whole)
            .item(index, done, true)
    }

    fn end(self, status: &str, more: &[(&str, Value)]) -> Reply {
        let mut response = json!({"id": "resp_1", "object": "response", "status": status,
            "model": "m-1", "output": [], "error": null, "incomplete_details": null});
        response["usage"] = json!({"input_tokens": 12, "output_tokens": 7, "total_tokens": 19,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 2}});
        for (name, value) in more {
            response[*name] = value.clone();
        }
        self.event(&format!("response.{status}"), json!({ "response": response })).reply
    }

    fn completed(self) -> Reply {
        self.end("completed", &[])
    }
}

impl Wire for Responses {
    fn target(&self) -> &'static str {
        "/v1/responses"
    }

    fn says(&self, gate: &Gate) -> Reply {
        let script = Script::begin().message(0).text(0, "Riga is ").wait(gate);
        script.text(0, "cold.").message_done(0, "Riga is cold.").completed()
    }

    fn reasons(&self) -> Reply {
        let script = Script::begin().reasoning("Think first.").message(1);
        script.text(1, "Done.").message_done(1, "Done.").completed()
    }

    fn calls(&self, both: bool) -> Reply {
        let script = Script::begin().reasoning("Need tools.");
        let mut script = script.call(1, "call_a", "get_weather", r#"{"city":"Riga"}"#);
        if both {
            script = script.call(2, "call_b", "get_time", "{}");
        }
        script.completed()
    }

    fn refuses(&self) -> Reply {
        let item = json!({"id": "msg_1", "type": "message", "status": "in_progress",
            "role": "assistant", "content": []});
        let part = json!({"type": "refusal", "refusal": "I cannot."});
        let done = json!({"id": "msg_1", "type": "message", "status": "completed",
            "role": "assistant", "content": [part]});
        let at = |name: &str, value: Value| {
            let mut fields = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0});
            fields[name] = value;
            fields
        };
        let empty = json!({"type": "refusal", "refusal": ""});
        Script::begin()
            .item(0, item, false)
            .event("response.content_part.added", at("part", empty))
            .event("response.refusal.delta", at("delta", json!("I cannot.")))
            .event("response.refusal.done", at("refusal", json!("I cannot.")))
            .item(0, done, true)
            .completed()
    }

    fn is_cut(&self) -> Reply {
        let script = Script::begin().message(0).text(0, "Riga").message_done(0, "Riga");
        let why = json!({"reason": "max_output_tokens"});
        script.end("incomplete", &[("incomplete_details", why)])
    }

    fn fails_midway(&self) -> Reply {
        let why = json!({"code": "server_error", "message": "engine died"});
        Script::begin().message(0).text(0, "Hel").end("failed", &[("error", why)])
    }

    fn ends_early(&self) -> Reply {
        Script::begin().message(0).text(0, "Hel").reply
    }

    fn fails(&self, failure: Failure) -> Reply {
        chat::failure(failure)
    }

    fn structured(&self) -> Reply {
        let answer = r#"{"city":"Riga"}"#;
        Script::begin().message(0).text(0, answer).message_done(0, answer).completed()
    }

    fn token(&self) -> Option<&'static str> {
        Some(TOKEN)
    }

    fn picture(&self, body: &Value) -> (String, String) {
        let mut parts = each(&body["input"]).flat_map(|item| each(&item["content"]));
        let part = parts.find(|part| part["type"] == "input_image").unwrap();
        let url = text(&part["image_url"]);
        let (kind, data) = url.strip_prefix("data:").unwrap().split_once(";base64,").unwrap();
        (kind.to_owned(), data.to_owned())
    }

    fn schema(&self, body: &Value) -> Value {
        assert_eq!(body["text"]["format"]["type"], "json_schema");
        body["text"]["format"]["schema"].clone()
    }

    fn tools(&self, body: &Value) -> Vec<(String, Value)> {
        let tool = |tool: &Value| (text(&tool["name"]), tool["parameters"].clone());
        each(&body["tools"]).map(tool).collect()
    }

    fn called(&self, body: &Value) -> Vec<Called> {
        let calls = each(&body["input"]).filter(|item| item["type"] == "function_call");
        let called = |call: &Value| Called {
            id: text(&call["call_id"]),
            name: text(&call["name"]),
            arguments: json_in(&call["arguments"]),
        };
        calls.map(called).collect()
    }

    fn results(&self, body: &Value) -> Vec<(String, String)> {
        let results = each(&body["input"]).filter(|item| item["type"] == "function_call_output");
        results.map(|item| (text(&item["call_id"]), text(&item["output"]))).collect()
    }

    fn system(&self, body: &Value) -> String {
        if body["instructions"].is_string() {
            return text(&body["instructions"]);
        }
        let first = &body["input"][0];
        assert!(["system", "developer"].contains(&first["role"].as_str().unwrap()), "{first}");
        match &first["content"] {
            Value::String(text) => text.clone(),
            parts => text(&parts[0]["text"]),
        }
    }

    fn check(&self, request: &Request) {
        assert!(request.header("authorization").starts_with("Bearer sk-"), "{request:?}");
        assert_eq!(request.json()["model"], "m-1");
        assert_eq!(request.json()["stream"], true);
        assert_eq!(request.json()["store"], false, "nothing is left with the vendor unasked");
    }
}
