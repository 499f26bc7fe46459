//! Gemini.

use serde_json::{Value, json};

use super::{Called, Failure, Wire, each, page, text};
use crate::upstream::{Gate, Reply, Request};

/// `streamGenerateContent`.
pub(crate) struct Gemini;

/// The thought signature that must come back.
const TOKEN: &str = "Q2ZrZQ+/==";

/// Adds a chunk, with CRLF as the server writes it.
fn chunk(reply: Reply, parts: Value, finish: Option<&str>) -> Reply {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
    let mut usage = json!({"promptTokenCount": 12, "cachedContentTokenCount": 4,
        "thoughtsTokenCount": 2, "totalTokenCount": 14});
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
        usage["candidatesTokenCount"] = json!(5);
        usage["totalTokenCount"] = json!(19);
    }
    let chunk = json!({"candidates": [candidate], "usageMetadata": usage,
        "modelVersion": "m-1", "responseId": "r-1"});
    reply.piece(format!("data: {chunk}\r\n\r\n"))
}

fn error(code: u16, status: &str, message: &str, details: &[Value]) -> Reply {
    let error = json!({"code": code, "message": message, "status": status, "details": details});
    Reply::json(code, &json!({ "error": error }).to_string())
}

fn quota(id: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaMetric": "m", "quotaId": id, "quotaValue": "50"}]})
}

fn parts(body: &Value) -> impl Iterator<Item = &Value> {
    each(&body["contents"]).flat_map(|content| each(&content["parts"]))
}

impl Wire for Gemini {
    fn target(&self) -> &'static str {
        "/v1beta/models/m-1:streamGenerateContent?alt=sse"
    }

    fn says(&self, gate: &Gate) -> Reply {
        let reply = chunk(Reply::sse(), json!([{"text": "Riga is "}]), None).wait(gate);
        chunk(reply, json!([{"text": "cold."}]), Some("STOP"))
    }

    fn reasons(&self) -> Reply {
        let thought = json!([{"text": "Think first.", "thought": true}]);
        let reply = chunk(Reply::sse(), thought, None);
        chunk(reply, json!([{"text": "Done."}]), Some("STOP"))
    }

    fn calls(&self, both: bool) -> Reply {
        let call = json!({"name": "get_weather", "args": {"city": "Riga"}});
        let mut parts = vec![json!({"functionCall": call, "thoughtSignature": TOKEN})];
        if both {
            parts.push(json!({"functionCall": {"name": "get_time", "args": {}}}));
        }
        chunk(Reply::sse(), json!(parts), Some("STOP"))
    }

    fn refuses(&self) -> Reply {
        chunk(Reply::sse(), json!([{"text": "I cannot."}]), Some("SAFETY"))
    }

    fn is_cut(&self) -> Reply {
        chunk(Reply::sse(), json!([{"text": "Riga"}]), Some("MAX_TOKENS"))
    }

    fn fails_midway(&self) -> Reply {
        let error = "{\r\n  \"error\": {\r\n    \"code\": 503,\r\n    \"message\": \"The model is \
                     overloaded.\",\r\n    \"status\": \"UNAVAILABLE\"\r\n  }\r\n}\r\n";
        chunk(Reply::sse(), json!([{"text": "Hel"}]), None).piece(error)
    }

    fn ends_early(&self) -> Reply {
        chunk(Reply::sse(), json!([{"text": "Hel"}]), None)
    }

    fn fails(&self, failure: Failure) -> Reply {
        const ARGUMENT: &str = "INVALID_ARGUMENT";
        match failure {
            Failure::BadKey => {
                let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID", "domain": "googleapis.com"});
                let words = "API key not valid. Please pass a valid API key.";
                error(400, ARGUMENT, words, &[info])
            }
            Failure::Invalid => error(400, ARGUMENT, "Invalid value at 'contents'", &[]),
            Failure::TooLong => {
                let words = "The input token count (1048577) exceeds the maximum number of tokens \
                             allowed (1048576).";
                error(400, ARGUMENT, words, &[])
            }
            Failure::Limited(ms) => {
                let mut details = vec![quota("GenerateRequestsPerMinutePerProjectPerModel")];
                if let Some(ms) = ms {
                    let delay = format!("{}.{:03}s", ms / 1000, ms % 1000);
                    details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo",
                        "retryDelay": delay}));
                }
                error(429, "RESOURCE_EXHAUSTED", "Quota exceeded", &details)
            }
            Failure::Spent => {
                let spent = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
                error(429, "RESOURCE_EXHAUSTED", "Quota exceeded", &[spent])
            }
            Failure::Overloaded => error(503, "UNAVAILABLE", "The model is overloaded.", &[]),
            Failure::Broken => error(500, "INTERNAL", "Internal error", &[]),
            Failure::Page => page(),
        }
    }

    fn structured(&self) -> Reply {
        chunk(Reply::sse(), json!([{"text": r#"{"city":"Riga"}"#}]), Some("STOP"))
    }

    fn token(&self) -> Option<&'static str> {
        Some(TOKEN)
    }

    fn picture(&self, body: &Value) -> (String, String) {
        let part = parts(body).find(|part| part["inlineData"].is_object()).unwrap();
        (text(&part["inlineData"]["mimeType"]), text(&part["inlineData"]["data"]))
    }

    fn schema(&self, body: &Value) -> Value {
        assert_eq!(body["generationConfig"]["responseMimeType"], "application/json");
        body["generationConfig"]["responseJsonSchema"].clone()
    }

    fn tools(&self, body: &Value) -> Vec<(String, Value)> {
        each(&body["tools"])
            .flat_map(|tool| each(&tool["functionDeclarations"]))
            .map(|tool| (text(&tool["name"]), tool["parametersJsonSchema"].clone()))
            .collect()
    }

    fn called(&self, body: &Value) -> Vec<Called> {
        let calls = parts(body).filter(|part| part["functionCall"].is_object());
        let called = |part: &Value| {
            let call = &part["functionCall"];
            assert_eq!(call["id"], Value::Null, "an id of our own is not the vendor's");
            let name = text(&call["name"]);
            Called { id: name.clone(), name, arguments: call["args"].clone() }
        };
        calls.map(called).collect()
    }

    fn results(&self, body: &Value) -> Vec<(String, String)> {
        let results = parts(body).filter(|part| part["functionResponse"].is_object());
        let result = |part: &Value| {
            let result = &part["functionResponse"];
            (text(&result["name"]), text(&result["response"]["result"]))
        };
        results.map(result).collect()
    }

    fn system(&self, body: &Value) -> String {
        text(&body["systemInstruction"]["parts"][0]["text"])
    }

    fn check(&self, request: &Request) {
        assert!(request.header("x-goog-api-key").starts_with("AIza"), "{request:?}");
        assert_eq!(request.header("authorization"), "");
        assert!(!request.target.contains("AIza"), "a key in a URL ends up in logs");
    }
}
