//! Every client's dialect on every provider's: what is asked arrives, what is answered comes back, and
//! what has no place is refused or named. Where both speak the same, the same must hold of the relay.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    client::{self, Gateway},
    vendors::{ALL, Answer, Vendor, home},
};
use crate::upstream::{Reply, Request, Upstream};

/// What is asked beside a word of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Plain,
    Tools,
    Results,
    Image,
    Reasoning,
    Schema,
}

/// What a client sees of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    text: String,
    thought: String,
    /// Names and arguments.
    calls: Vec<(String, Value)>,
    end: String,
    refused: bool,
    input: u64,
    output: u64,
}

/// What the upstream says, by the name of the model.
fn answer(model: &str) -> Answer {
    let one = vec![("call_1", "look", r#"{"at":"Riga"}"#)];
    match model {
        "tools" => Answer { calls: one, ..Answer::default() },
        "parallel" => {
            let two = vec![one[0], ("call_2", "look", r#"{"at":"Oslo"}"#)];
            Answer { text: "both", calls: two, ..Answer::default() }
        }
        "thinks" => Answer { thought: "hm", text: "red", ..Answer::default() },
        "refuses" => Answer { text: "no", refused: true, ..Answer::default() },
        "long" => Answer { text: "red", cut: true, ..Answer::default() },
        _ => Answer { text: "red green", ..Answer::default() },
    }
}

fn model_of(request: &Request) -> String {
    let path = request.target.rsplit("models/").next().unwrap_or_default();
    let named = request.json()["model"].as_str().map(str::to_owned);
    named.unwrap_or_else(|| path.split(':').next().unwrap_or_default().to_owned())
}

fn server(request: &Request) -> Reply {
    let (vendor, stream) = Vendor::asked(request);
    match (model_of(request).as_str(), vendor) {
        ("hangs", vendor) if stream => {
            let (_, events) = vendor.answers(&answer(""));
            let text = vendor.stream(&events);
            let end = text.find("green").unwrap();
            let end = end + text[end..].find("\n\n").unwrap() + 2;
            Reply::sse().piece(&text[..end]).hang()
        }
        ("hangs", _) => Reply::nothing().hang(),
        ("limits", Vendor::Messages) => Reply::json(
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#,
        ),
        ("limits", Vendor::Gemini) => Reply::json(
            429,
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"slow down"}}"#,
        ),
        ("limits", _) => Reply::json(
            429,
            r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#,
        ),
        (model, vendor) => vendor.reply(&answer(model), stream),
    }
}

/// Writes a request in a client's dialect.
fn request(client: Vendor, model: &str, stream: bool, ask: Ask) -> Value {
    let schema = json!({"type": "object", "properties": {"at": {"type": "string"}},
        "required": ["at"], "additionalProperties": false});
    let wants = |one: Ask| one == ask || (one == Ask::Tools && ask == Ask::Results);
    match client {
        Vendor::Chat => {
            let mut body = json!({"model": model, "stream": stream,
                "messages": [{"role": "user", "content": "x"}]});
            if stream {
                body["stream_options"] = json!({"include_usage": true});
            }
            if wants(Ask::Tools) {
                body["tools"] = json!([{"type": "function",
                    "function": {"name": "look", "parameters": schema}}]);
            }
            if wants(Ask::Results) {
                let call = json!({"id": "call_1", "type": "function",
                    "function": {"name": "look", "arguments": "{\"at\":\"Riga\"}"}});
                let more = json!([{"role": "assistant", "content": null, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]);
                let list = body["messages"].as_array_mut().unwrap();
                list.extend(more.as_array().unwrap().iter().cloned());
            }
            if wants(Ask::Image) {
                let url = json!({"url": "data:image/png;base64,AQID"});
                body["messages"][0]["content"] = json!([{"type": "text", "text": "x"},
                    {"type": "image_url", "image_url": url}]);
            }
            if wants(Ask::Reasoning) {
                body["reasoning_effort"] = json!("high");
            }
            if wants(Ask::Schema) {
                body["response_format"] = json!({"type": "json_schema",
                    "json_schema": {"name": "place", "strict": true, "schema": schema}});
            }
            body
        }
        Vendor::Responses => {
            let mut input = vec![json!({"type": "message", "role": "user",
                "content": [{"type": "input_text", "text": "x"}]})];
            if wants(Ask::Results) {
                input.push(json!({"type": "function_call", "call_id": "call_1", "name": "look",
                    "arguments": "{\"at\":\"Riga\"}"}));
                input.push(json!({"type": "function_call_output", "call_id": "call_1",
                    "output": "sunny"}));
            }
            if wants(Ask::Image) {
                input[0]["content"].as_array_mut().unwrap().push(
                    json!({"type": "input_image", "image_url": "data:image/png;base64,AQID"}),
                );
            }
            let mut body = json!({"model": model, "stream": stream, "input": input,
                "store": false});
            if wants(Ask::Tools) {
                body["tools"] = json!([{"type": "function", "name": "look",
                    "parameters": schema, "strict": false}]);
            }
            if wants(Ask::Reasoning) {
                body["reasoning"] = json!({"effort": "high", "summary": "auto"});
            }
            if wants(Ask::Schema) {
                body["text"] = json!({"format": {"type": "json_schema", "name": "place",
                    "strict": true, "schema": schema}});
            }
            body
        }
        Vendor::Messages => {
            let mut body = json!({"model": model, "stream": stream, "max_tokens": 4096,
                "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]});
            if wants(Ask::Tools) {
                body["tools"] = json!([{"name": "look", "input_schema": schema}]);
            }
            if wants(Ask::Results) {
                let call = json!({"type": "tool_use", "id": "call_1", "name": "look",
                    "input": {"at": "Riga"}});
                let result = json!({"type": "tool_result", "tool_use_id": "call_1",
                    "content": "sunny"});
                let more = json!([{"role": "assistant", "content": [call]},
                    {"role": "user", "content": [result]}]);
                let list = body["messages"].as_array_mut().unwrap();
                list.extend(more.as_array().unwrap().iter().cloned());
            }
            if wants(Ask::Image) {
                let source = json!({"type": "base64", "media_type": "image/png", "data": "AQID"});
                let content = body["messages"][0]["content"].as_array_mut().unwrap();
                content.push(json!({"type": "image", "source": source}));
            }
            if wants(Ask::Reasoning) {
                body["thinking"] = json!({"type": "enabled", "budget_tokens": 2048});
            }
            if wants(Ask::Schema) {
                body["output_config"] =
                    json!({"format": {"type": "json_schema", "schema": schema}});
            }
            body
        }
        Vendor::Gemini => {
            let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}],
                "generationConfig": {}});
            if wants(Ask::Tools) {
                body["tools"] = json!([{"functionDeclarations":
                    [{"name": "look", "parametersJsonSchema": schema}]}]);
            }
            if wants(Ask::Results) {
                let call = json!({"functionCall": {"id": "call_1", "name": "look",
                    "args": {"at": "Riga"}}});
                let result = json!({"functionResponse": {"id": "call_1", "name": "look",
                    "response": {"result": "sunny"}}});
                let more = json!([{"role": "model", "parts": [call]},
                    {"role": "user", "parts": [result]}]);
                let list = body["contents"].as_array_mut().unwrap();
                list.extend(more.as_array().unwrap().iter().cloned());
            }
            if wants(Ask::Image) {
                let content = body["contents"][0]["parts"].as_array_mut().unwrap();
                content.push(json!({"inlineData": {"mimeType": "image/png", "data": "AQID"}}));
            }
            if wants(Ask::Reasoning) {
                body["generationConfig"]["thinkingConfig"] =
                    json!({"includeThoughts": true, "thinkingBudget": 2048});
            }
            if wants(Ask::Schema) {
                body["generationConfig"]["responseMimeType"] = json!("application/json");
                body["generationConfig"]["responseJsonSchema"] = schema;
            }
            body
        }
    }
}

/// Returns what the provider was asked, at the place where its format has it.
fn arrived(provider: Vendor, body: &Value, ask: Ask) -> String {
    let places: &[&str] = match (ask, provider) {
        (Ask::Plain, Vendor::Chat | Vendor::Messages) => &["/messages/0/content"],
        (Ask::Plain, Vendor::Responses) => &["/input/0/content", "/input"],
        (Ask::Plain, Vendor::Gemini) => &["/contents/0/parts/0/text"],
        (Ask::Tools, Vendor::Chat) => &["/tools/0/function/name"],
        (Ask::Tools, Vendor::Gemini) => &["/tools/0/functionDeclarations/0/name"],
        (Ask::Tools, _) => &["/tools/0/name"],
        (Ask::Results, Vendor::Chat) => &["/messages/2/content"],
        (Ask::Results, Vendor::Responses) => &["/input/2/output"],
        (Ask::Results, Vendor::Messages) => &["/messages/2/content/0/content"],
        (Ask::Results, Vendor::Gemini) => &["/contents/2/parts/0/functionResponse/response"],
        (Ask::Image, Vendor::Chat) => &["/messages/0/content/1/image_url/url"],
        (Ask::Image, Vendor::Responses) => &["/input/0/content/1/image_url"],
        (Ask::Image, Vendor::Messages) => &["/messages/0/content/1/source/data"],
        (Ask::Image, Vendor::Gemini) => &["/contents/0/parts/1/inlineData/data"],
        (Ask::Reasoning, Vendor::Chat) => &["/reasoning_effort"],
        (Ask::Reasoning, Vendor::Responses) => &["/reasoning"],
        (Ask::Reasoning, Vendor::Messages) => &["/thinking", "/output_config/effort"],
        (Ask::Reasoning, Vendor::Gemini) => &["/generationConfig/thinkingConfig"],
        (Ask::Schema, Vendor::Chat) => &["/response_format/json_schema/schema/properties"],
        (Ask::Schema, Vendor::Responses) => &["/text/format/schema/properties"],
        (Ask::Schema, Vendor::Messages) => &["/output_config/format/schema/properties"],
        (Ask::Schema, Vendor::Gemini) => &["/generationConfig/responseJsonSchema/properties"],
    };
    let found = places.iter().find_map(|place| body.pointer(place));
    found.map(Value::to_string).unwrap_or_default()
}

/// Reads an answer as its client does.
fn read(client: Vendor, stream: bool, answer: &client::Answer) -> Seen {
    let whole = if stream { gathered(client, &answer.body) } else { answer.json() };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let args = |value: &Value| serde_json::from_str(&text(value)).unwrap_or_default();
    let mut seen = Seen::default();
    let usage = match client {
        Vendor::Chat => ["/usage/prompt_tokens", "/usage/completion_tokens"],
        Vendor::Gemini => {
            ["/usageMetadata/promptTokenCount", "/usageMetadata/candidatesTokenCount"]
        }
        _ => ["/usage/input_tokens", "/usage/output_tokens"],
    };
    [seen.input, seen.output] =
        usage.map(|place| whole.pointer(place).and_then(Value::as_u64).unwrap_or(0));
    let none = Vec::new();
    let list = |value: &Value| value.as_array().unwrap_or(&none).clone();
    match client {
        Vendor::Chat => {
            let choice = &whole["choices"][0];
            let message = &choice["message"];
            seen.refused = message["refusal"].is_string();
            seen.text = text(&message["content"]) + &text(&message["refusal"]);
            seen.thought = text(&message["reasoning_content"]);
            seen.end = text(&choice["finish_reason"]);
            for call in list(&message["tool_calls"]) {
                let function = &call["function"];
                seen.calls.push((text(&function["name"]), args(&function["arguments"])));
            }
        }
        Vendor::Responses => {
            let reason = text(&whole["incomplete_details"]["reason"]);
            seen.end = if reason.is_empty() { text(&whole["status"]) } else { reason };
            for item in list(&whole["output"]) {
                match item["type"].as_str() {
                    Some("reasoning") => {
                        let parts = [list(&item["summary"]), list(&item["content"])].concat();
                        seen.thought.extend(parts.iter().map(|part| text(&part["text"])));
                    }
                    Some("message") => {
                        for part in list(&item["content"]) {
                            seen.refused |= part["type"] == "refusal";
                            seen.text += &(text(&part["text"]) + &text(&part["refusal"]));
                        }
                    }
                    _ => seen.calls.push((text(&item["name"]), args(&item["arguments"]))),
                }
            }
        }
        Vendor::Messages => {
            seen.end = text(&whole["stop_reason"]);
            for block in list(&whole["content"]) {
                match block["type"].as_str() {
                    Some("thinking") => seen.thought += &text(&block["thinking"]),
                    Some("text") => seen.text += &text(&block["text"]),
                    _ => seen.calls.push((text(&block["name"]), block["input"].clone())),
                }
            }
        }
        Vendor::Gemini => {
            let candidate = &whole["candidates"][0];
            seen.end = text(&candidate["finishReason"]);
            for part in list(&candidate["content"]["parts"]) {
                let call = &part["functionCall"];
                if call.is_object() {
                    seen.calls.push((text(&call["name"]), call["args"].clone()));
                } else if part["thought"] == true {
                    seen.thought += &text(&part["text"]);
                } else {
                    seen.text += &text(&part["text"]);
                }
            }
        }
    }
    seen.refused |=
        !["stop", "tool_calls", "completed", "end_turn", "tool_use", "STOP"].contains(&&*seen.end);
    seen
}

/// Makes one answer of a stream's events, as the client's SDK does.
fn gathered(client: Vendor, body: &str) -> Value {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let data: Vec<&str> = data.filter(|line| *line != "[DONE]").collect();
    assert!(client != Vendor::Chat || body.ends_with("data: [DONE]\n\n"), "{body}");
    let events: Vec<Value> = data.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let push = |to: &mut Value, more: &Value| {
        if let Some(more) = more.as_str() {
            *to = json!(to.as_str().unwrap_or_default().to_owned() + more);
        }
    };
    match client {
        Vendor::Responses => events.last().unwrap()["response"].clone(),
        Vendor::Chat => {
            let mut whole = json!({"choices": [{"message": {}}]});
            let mut calls: BTreeMap<u64, Value> = BTreeMap::new();
            for event in &events {
                if event["usage"].is_object() {
                    whole["usage"] = event["usage"].clone();
                }
                let choice = &event["choices"][0];
                for name in ["content", "reasoning_content", "refusal"] {
                    push(&mut whole["choices"][0]["message"][name], &choice["delta"][name]);
                }
                for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                    let have = calls.entry(call["index"].as_u64().unwrap()).or_default();
                    for name in ["name", "arguments"] {
                        push(&mut have["function"][name], &call["function"][name]);
                    }
                }
                push(&mut whole["choices"][0]["finish_reason"], &choice["finish_reason"]);
            }
            whole["choices"][0]["message"]["tool_calls"] = calls.into_values().collect();
            whole
        }
        Vendor::Messages => {
            assert_eq!(events.last().unwrap()["type"], "message_stop");
            let mut whole = events[0]["message"].clone();
            for event in &events {
                let delta = &event["delta"];
                match event["type"].as_str() {
                    Some("content_block_start") => {
                        let list = whole["content"].as_array_mut().unwrap();
                        list.push(event["content_block"].clone());
                    }
                    Some("content_block_delta") => {
                        let at = event["index"].as_u64().unwrap() as usize;
                        let block = &mut whole["content"][at];
                        push(&mut block["text"], &delta["text"]);
                        push(&mut block["thinking"], &delta["thinking"]);
                        push(&mut block["json"], &delta["partial_json"]);
                        if let Some(json) = block["json"].as_str().map(str::to_owned) {
                            block["input"] = serde_json::from_str(&json).unwrap_or_default();
                        }
                    }
                    Some("message_delta") => {
                        whole["stop_reason"] = delta["stop_reason"].clone();
                        for (name, count) in event["usage"].as_object().unwrap() {
                            whole["usage"][name] = count.clone();
                        }
                    }
                    _ => {}
                }
            }
            whole
        }
        Vendor::Gemini => {
            let mut whole = json!({"candidates": [{"content": {"parts": []}}]});
            for event in &events {
                let candidate = &event["candidates"][0];
                let parts = candidate["content"]["parts"].as_array().cloned().unwrap_or_default();
                whole["candidates"][0]["content"]["parts"].as_array_mut().unwrap().extend(parts);
                let end = &mut whole["candidates"][0]["finishReason"];
                push(end, &candidate["finishReason"]);
                if event["usageMetadata"].is_object() {
                    whole["usageMetadata"] = event["usageMetadata"].clone();
                }
            }
            whole
        }
    }
}

fn look(at: &str) -> (String, Value) {
    ("look".into(), json!({ "at": at }))
}

/// What the client calls the end of an answer that was cut for its length.
fn cut(client: Vendor) -> &'static str {
    match client {
        Vendor::Chat => "length",
        Vendor::Responses => "max_output_tokens",
        Vendor::Messages => "max_tokens",
        Vendor::Gemini => "MAX_TOKENS",
    }
}

#[test]
fn every_client_is_served_by_every_provider() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let mut wrong = Vec::new();
    for (client, provider, stream) in all() {
        for (model, ask, expected) in [
            ("m", Ask::Plain, "\"x\""),
            ("tools", Ask::Tools, "look"),
            ("parallel", Ask::Tools, "look"),
            ("m", Ask::Results, "sunny"),
            ("m", Ask::Image, "AQID"),
            ("thinks", Ask::Reasoning, ""),
            ("m", Ask::Schema, "\"at\""),
            ("refuses", Ask::Plain, "\"x\""),
            ("long", Ask::Plain, "\"x\""),
        ] {
            let place = format!("{client:?} -> {provider:?}, stream {stream}, {model}, {ask:?}");
            let name = format!("{}/{model}", provider.provider());
            let body = request(client, &name, stream, ask);
            let answer = gateway.post(&client.path(&name, stream), body.to_string());
            if answer.status != 200 {
                wrong.push(format!("{place}: {} {}", answer.status, answer.body));
                continue;
            }
            let asked = upstream.requests().pop().unwrap().json();
            let found = arrived(provider, &asked, ask);
            // A budget of tokens has no place at OpenAI.
            let dropped = answer.header("x-maestro-dropped");
            let budget = ["`thinking`", "`generationConfig.thinkingConfig`"];
            let named = budget.into_iter().any(|field| dropped.contains(field));
            if (found.is_empty() && !named) || !found.contains(expected) {
                wrong.push(format!("{place}: did not arrive: {asked}"));
            }
            let seen = read(client, stream, &answer);
            let said = self::answer(model);
            let calls: Vec<_> = match model {
                "tools" => vec![look("Riga")],
                "parallel" => vec![look("Riga"), look("Oslo")],
                _ => Vec::new(),
            };
            let fits = seen.text == said.text
                && seen.calls == calls
                && seen.thought == said.thought
                && (!said.cut || seen.end == cut(client))
                && seen.refused == (said.refused || said.cut)
                && (seen.input, seen.output) == (11, 7);
            if !fits {
                wrong.push(format!("{place}: {seen:?}\n    {}", answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn all() -> impl Iterator<Item = (Vendor, Vendor, bool)> {
    let pairs = ALL.into_iter().flat_map(|client| ALL.map(|provider| (client, provider)));
    pairs.flat_map(|(client, provider)| [false, true].map(|stream| (client, provider, stream)))
}

#[test]
fn every_refusal_keeps_its_meaning_in_every_dialect() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    for (client, provider, stream) in all() {
        let name = format!("{}/limits", provider.provider());
        let body = request(client, &name, stream, Ask::Plain);
        let answer = gateway.post(&client.path(&name, stream), body.to_string());
        assert_eq!(answer.status, 429, "{client:?} {provider:?} {answer:?}");
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().unwrap().contains("slow down"), "{error}");
        let word = match client {
            Vendor::Messages => error["type"] == "rate_limit_error",
            Vendor::Gemini => error["status"] == "RESOURCE_EXHAUSTED",
            _ => error["code"] == "rate_limit_exceeded",
        };
        assert!(word, "{client:?} {provider:?} {error}");
    }
}

#[test]
fn every_client_that_leaves_closes_every_upstream() {
    for provider in ALL {
        let upstream = Upstream::start(server);
        let test = home(&upstream, "");
        let gateway = Gateway::start(&test);
        let mut count = 0;
        for client in ALL {
            for stream in [false, true] {
                count += 1;
                let name = format!("{}/hangs", provider.provider());
                let body = request(client, &name, stream, Ask::Plain).to_string();
                let path = client.path(&name, stream);
                let mut connection = gateway.send("POST", &path, &[], body);
                upstream.wait_for_requests(count);
                if stream {
                    connection.read_until("green");
                }
                let left = std::time::Instant::now();
                connection.leave();
                upstream.wait_for_closed(count);
                println!("{client:?} -> {provider:?} stream={stream}: {:?}", left.elapsed());
            }
        }
    }
}

#[test]
fn what_has_no_place_is_named_or_refused_by_name() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let search = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    for (client, provider, field, value, refused) in [
        (Vendor::Chat, Vendor::Messages, "seed", json!(7), false),
        (Vendor::Chat, Vendor::Messages, "frequency_penalty", json!(0.5), false),
        (Vendor::Messages, Vendor::Responses, "top_k", json!(5), false),
        (Vendor::Responses, Vendor::Messages, "client_metadata", json!({"a": "b"}), false),
        (Vendor::Messages, Vendor::Chat, "tools", search.clone(), true),
        (Vendor::Messages, Vendor::Gemini, "tools", search.clone(), true),
        (Vendor::Messages, Vendor::Responses, "tools", search, true),
        (Vendor::Responses, Vendor::Gemini, "previous_response_id", json!("resp_1"), true),
        (Vendor::Responses, Vendor::Messages, "previous_response_id", json!("resp_1"), true),
        (Vendor::Responses, Vendor::Messages, "background", json!(true), true),
        (Vendor::Chat, Vendor::Gemini, "n", json!(2), true),
    ] {
        for stream in [false, true] {
            let name = format!("{}/m", provider.provider());
            let mut body = request(client, &name, stream, Ask::Plain);
            body[field] = value.clone();
            let before = upstream.requests().len();
            let answer = gateway.post(&client.path(&name, stream), body.to_string());
            let place = format!("{client:?} -> {provider:?} {field}: {answer:?}");
            if refused {
                assert!((400..500).contains(&answer.status), "{place}");
                let message = answer.json()["error"]["message"].to_string();
                assert!(message.contains(field), "{place}");
                assert_eq!(upstream.requests().len(), before, "{place}");
            } else {
                assert_eq!(answer.status, 200, "{place}");
                assert!(answer.header("x-maestro-dropped").contains(field), "{place}");
            }
        }
    }
}
