//! Words of one vendor, asked of another: named or refused, and never sent to who cannot read them.

use serde_json::{Value, json};

use super::{
    client::Gateway,
    vendors::{Answer, Vendor, home},
};
use crate::upstream::{Gate, Reply, Upstream};

/// The vendor answers every question that it can read; returns what it was sent last.
fn upstream() -> Upstream {
    Upstream::start(|request| {
        let (vendor, stream) = Vendor::asked(request);
        vendor.reply(&Answer { text: "red", ..Answer::default() }, stream)
    })
}

/// A question with one field more, as its clients write it.
fn question(client: Vendor, model: &str, more: &Value) -> Value {
    let said = json!([{"role": "user", "content": "hi"}]);
    let mut body = match client {
        Vendor::Chat => json!({"model": model, "messages": said}),
        Vendor::Responses => json!({"model": model, "input": "hi"}),
        Vendor::Messages => json!({"model": model, "max_tokens": 9, "messages": said}),
        Vendor::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
    };
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn what_another_vendor_cannot_read_is_named_and_not_sent() {
    let upstream = upstream();
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    // What Claude Code, Codex and Google's library send of themselves.
    let edits = json!({"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}});
    let safety = json!({"safetySettings": [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]});
    for (client, more, answers) in [
        (Vendor::Messages, edits, &[Vendor::Chat, Vendor::Responses, Vendor::Gemini][..]),
        (
            Vendor::Responses,
            json!({"truncation": "auto"}),
            &[Vendor::Chat, Vendor::Messages, Vendor::Gemini],
        ),
        (Vendor::Chat, json!({"verbosity": "low"}), &[Vendor::Messages, Vendor::Gemini]),
        (Vendor::Gemini, safety, &[Vendor::Chat, Vendor::Responses, Vendor::Messages]),
    ] {
        let word = more.as_object().unwrap().keys().next().unwrap();
        for vendor in answers {
            let model = format!("{}/m", vendor.provider());
            let body = question(client, &model, &more).to_string();
            let answer = gateway.post(&client.path(&model, false), body);
            assert_eq!(answer.status, 200, "{client:?} {vendor:?} {answer:?}");
            let dropped = answer.header("x-maestro-dropped");
            assert!(dropped.contains(word), "{client:?} {vendor:?} {dropped}");
            let sent = upstream.requests().pop().unwrap().json();
            assert!(sent.get(word).is_none(), "{client:?} {vendor:?} {sent}");
        }
    }
}

#[test]
fn a_head_that_cannot_wait_names_what_was_left_out() {
    let gate = Gate::new();
    let hold = gate.clone();
    let upstream = Upstream::start(move |request| match Vendor::asked(request).0 {
        // Says nothing until its client hears a sign of life, and then nothing more.
        Vendor::Chat => Reply::nothing().wait(&hold).close(),
        vendor => vendor.reply(&Answer { text: "red", ..Answer::default() }, true),
    });
    let more = "[serve]\nheartbeat_ms = 20\n[aliases]\nboth = [\"lab/m\", \"goo/m\"]\n";
    let test = home(&upstream, more);
    let gateway = Gateway::start(&test);
    // Nobody else reads the first; the second one has no field at Gemini's alone.
    let more =
        json!({"stream": true, "context_management": {"edits": []}, "metadata": {"user_id": "u"}});
    let body = question(Vendor::Messages, "both", &more).to_string();
    let mut client = gateway.send("POST", "/v1/messages", &[], body);
    client.read_until(": maestro");
    gate.open();
    let answer = client.finish();
    let dropped = answer.header("x-maestro-dropped");
    assert!(dropped.contains("context_management") && !dropped.contains("user"), "{dropped}");
    assert!(
        answer.body.contains("\n: x-maestro-dropped: `metadata.user_id` has no field here\n\n"),
        "{answer:?}"
    );
    assert!(!answer.body.contains("`context_management`"), "told once: {answer:?}");
    assert!(answer.body.contains("red"), "{answer:?}");
}

#[test]
fn what_an_answer_loses_on_its_way_is_named_in_a_comment() {
    let call = json!({"index": 0, "id": "c", "type": "function", "function": {"arguments": "{}"}});
    let said = |delta: &Value| json!({"choices": [{"index": 0, "delta": delta}]}).to_string();
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let reply = Reply::sse()
        .event(&said(&json!({"content": "red"})))
        .event(&said(&json!({"tool_calls": [call]})))
        .event(&end.to_string())
        .event("[DONE]");
    let upstream = Upstream::always(reply);
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    for client in [Vendor::Responses, Vendor::Messages] {
        let body = question(client, "lab/m", &json!({"stream": true})).to_string();
        let answer = gateway.post(&client.path("lab/m", true), body);
        let comment = "\n: x-maestro-dropped: a tool call without a name was dropped\n\n";
        assert!(answer.body.contains(comment), "{client:?} {answer:?}");
    }
}

#[test]
fn what_is_left_out_is_named_as_its_client_calls_it() {
    let upstream = upstream();
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let dropped = |client: Vendor, model: &str, more: &Value| {
        let body = question(client, model, more).to_string();
        let answer = gateway.post(&client.path(model, false), body);
        assert_eq!(answer.status, 200, "{client:?} {answer:?}");
        answer.header("x-maestro-dropped").to_owned()
    };
    let said = json!({"system": "s", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "text", "text": "yes?"}]},
        {"role": "user", "content": [{"type": "text", "text": "go on", "cache_control": {"type": "ephemeral"}}]},
    ]});
    let named = dropped(Vendor::Messages, "lab/m", &said);
    assert!(named.contains("`messages[1].content[0]` is not sent back"), "{named}");
    assert!(named.contains("`messages[2].content[0].cache_control`"), "{named}");
    let tools = json!({"tools": [
        {"functionDeclarations": [{"name": "f"}]},
        {"functionDeclarations": [{"name": "g", "behavior": "BLOCKING"}]}]});
    let named = dropped(Vendor::Gemini, "lab/m", &tools);
    assert!(named.contains("`tools[1].functionDeclarations[0].behavior`"), "{named}");
}

#[test]
fn a_picture_reaches_whoever_can_be_shown_it_and_is_named_to_others() {
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": "YWJj"}});
    let said = json!({"candidates": [{"content": {"role": "model", "parts": [picture]},
        "finishReason": "STOP"}]});
    let upstream = Upstream::always(Reply::sse().event(&said.to_string()));
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    for client in [Vendor::Chat, Vendor::Responses, Vendor::Messages] {
        for stream in [false, true] {
            let body = question(client, "goo/m", &json!({"stream": stream})).to_string();
            let answer = gateway.post(&client.path("goo/m", stream), body);
            let (dropped, what) = (answer.header("x-maestro-dropped"), "`image/png` of the answer");
            if client == Vendor::Messages {
                assert!(dropped.contains(what) || answer.body.contains(what), "{answer:?}");
            } else {
                assert!(answer.body.contains("YWJj") && dropped.is_empty(), "{answer:?}");
            }
        }
    }
}

#[test]
fn a_word_that_no_vendor_is_known_for_is_the_clients_own() {
    let upstream = upstream();
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let body = question(Vendor::Chat, "ant/m", &json!({"yesterdays_news": 1})).to_string();
    let answer = gateway.post(&Vendor::Chat.path("ant/m", false), body);
    assert_eq!((answer.status, answer.header("x-maestro-dropped")), (200, ""), "{answer:?}");
    assert_eq!(upstream.requests().pop().unwrap().json()["yesterdays_news"], 1);
}

#[test]
fn what_would_be_another_request_without_it_is_refused_by_name() {
    let upstream = upstream();
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    for (client, more, provider) in [
        (Vendor::Messages, json!({"mcp_servers": [{"type": "url"}]}), "openai"),
        (Vendor::Responses, json!({"prompt": {"id": "pmpt_1"}}), "ant"),
        (Vendor::Chat, json!({"modalities": ["text", "audio"]}), "goo"),
    ] {
        let (word, model) =
            (more.as_object().unwrap().keys().next().unwrap(), format!("{provider}/m"));
        let body = question(client, &model, &more).to_string();
        let answer = gateway.post(&client.path(&model, false), body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains(word), "{answer:?}");
    }
    assert_eq!(upstream.requests().len(), 0, "nobody was asked");
}

#[test]
fn options_of_a_tool_are_not_sent_to_another_vendor() {
    let upstream = upstream();
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let tool = json!({"name": "look", "input_schema": {"type": "object"}, "defer_loading": true});
    let body = question(Vendor::Messages, "goo/m", &json!({"tools": [tool]})).to_string();
    let answer = gateway.post("/v1/messages", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("x-maestro-dropped").contains("tools[0].defer_loading"), "{answer:?}");
    let sent = upstream.requests().pop().unwrap().json();
    assert!(!sent.to_string().contains("defer_loading"), "{sent}");
}

#[test]
fn what_a_provider_cannot_do_is_refused_by_the_clients_own_field() {
    let upstream = upstream();
    // Which understands neither images nor tools.
    let test = home(&upstream, "").plugin("faulty");
    let gateway = Gateway::start(&test);
    let url = "data:image/png;base64,AAAA";
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "AAAA"}});
    let function = json!({"name": "f", "parameters": {"type": "object"}});
    let schema = json!({"type": "object"});
    for (client, more, field) in [
        (
            Vendor::Chat,
            json!({"messages": [{"role": "user", "content": [
                {"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": url}}]}]}),
            "messages[0].content[1]",
        ),
        (
            Vendor::Responses,
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}),
            "input[0].content[0]",
        ),
        (
            Vendor::Messages,
            json!({"system": "s", "messages": [{"role": "user", "content": [
                {"type": "image", "source": source}]}]}),
            "messages[0].content[0]",
        ),
        (
            Vendor::Messages,
            json!({"messages": [
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [
                        {"type": "image", "source": source}]}]}]}),
            "messages[1].content[0].content[0]",
        ),
        (
            Vendor::Gemini,
            json!({"contents": [{"role": "user", "parts": [{"text": "t"}, inline]}]}),
            "contents[0].parts[1]",
        ),
        (Vendor::Chat, json!({"tools": [{"type": "function", "function": function}]}), "tools[0]"),
        (
            Vendor::Gemini,
            json!({"tools": [{"functionDeclarations": [function]}]}),
            "tools[0].functionDeclarations[0]",
        ),
        (
            Vendor::Responses,
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": schema}}}),
            "text.format",
        ),
        (
            Vendor::Messages,
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
            "output_config.format",
        ),
    ] {
        let body = question(client, "faulty/echo", &more).to_string();
        let answer = gateway.post(&client.path("faulty/echo", false), body);
        assert_eq!(answer.status, 400, "{answer:?}");
        let error = &answer.json()["error"];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("provider `faulty` does not offer"), "{message}");
        match client {
            Vendor::Chat | Vendor::Responses => {
                assert_eq!(
                    (&error["param"], &error["code"]),
                    (&field.into(), &"unsupported_parameter".into())
                );
            }
            Vendor::Messages => assert!(message.starts_with(&format!("{field}: ")), "{message}"),
            Vendor::Gemini => {
                assert_eq!(error["details"][0]["fieldViolations"][0]["field"], field, "{error}");
            }
        }
    }
    // What only the plugin knows that it cannot be said.
    let sound = json!({"messages": [{"role": "user", "content": [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]});
    let body = question(Vendor::Chat, "ant/m", &sound).to_string();
    let answer = gateway.post(&Vendor::Chat.path("ant/m", false), body);
    assert_eq!(answer.json()["error"]["param"], "messages[0].content[0]", "{answer:?}");
    let own = json!({"input": [{"role": "user", "content": "hi"}, {"type": "web_search_call", "id": "w"}]});
    let body = question(Vendor::Responses, "ant/m", &own).to_string();
    let answer = gateway.post(&Vendor::Responses.path("ant/m", false), body);
    let error = &answer.json()["error"];
    assert_eq!(error["param"], "input[1]", "{answer:?}");
    assert!(!error["message"].as_str().unwrap().contains("parts["), "{error}");
    assert_eq!(upstream.requests().len(), 0, "nobody was asked");
}
