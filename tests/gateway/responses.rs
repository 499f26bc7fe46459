//! What clients of the Responses dialect take for granted: tools that OpenAI runs, and answers that it
//! keeps.

use serde_json::{Value, json};

use super::{
    client::Gateway,
    vendors::{Answer, Vendor, home},
};
use crate::upstream::{Request, Upstream};

const OTHERS: [Vendor; 3] = [Vendor::Chat, Vendor::Messages, Vendor::Gemini];

fn vendors() -> Upstream {
    Upstream::start(|request: &Request| {
        let (vendor, stream) = Vendor::asked(request);
        let answer = Answer { thought: "hm", text: "red green", ..Answer::default() };
        vendor.reply(&answer, stream)
    })
}

#[test]
fn a_tool_that_openai_runs_is_left_out_beside_others_and_named() {
    let upstream = vendors();
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let own = json!({"type": "function", "name": "look", "parameters": {"type": "object"}});
    for provider in OTHERS {
        for stream in [false, true] {
            let body = json!({"model": format!("{}/m", provider.provider()), "input": "x",
                "stream": stream, "tool_choice": "auto", "parallel_tool_calls": true,
                "tools": [{"type": "web_search", "external_web_access": false}, own]});
            let answer = gateway.post("/v1/responses", body.to_string());
            assert_eq!(answer.status, 200, "{provider:?} {answer:?}");
            let dropped = answer.header("x-maestro-dropped");
            assert!(dropped.contains("`tools[0]` belongs to another vendor"), "{dropped}");
            let sent = upstream.requests().pop().unwrap().json()["tools"].to_string();
            assert!(sent.contains("look") && !sent.contains("web_search"), "{sent}");
        }
    }
}

/// Reads the items of an answer.
fn items(body: &str, stream: bool) -> Vec<Value> {
    let list = if stream {
        let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
        let mut events = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        events.next_back().unwrap()["response"]["output"].clone()
    } else {
        serde_json::from_str::<Value>(body).unwrap()["output"].clone()
    };
    list.as_array().unwrap().clone()
}

#[test]
fn items_of_an_answer_may_be_referred_to_unless_it_was_not_to_be_kept() {
    let upstream = vendors();
    let test = home(&upstream, "");
    let gateway = Gateway::start(&test);
    let user = |text: &str| json!({"role": "user", "content": text});
    for provider in OTHERS {
        let model = format!("{}/m", provider.provider());
        for (stream, store) in [(false, json!(null)), (true, json!(true)), (true, json!(false))] {
            let body = json!({"model": model, "stream": stream, "store": store, "input": "a"});
            let told = gateway.post("/v1/responses", body.to_string());
            assert_eq!(told.status, 200, "{told:?}");
            let mut input = vec![user("a")];
            let told = items(&told.body, stream);
            input.extend(
                told.iter().map(|item| json!({"type": "item_reference", "id": item["id"]})),
            );
            input.push(user("b"));
            let body = json!({"model": model, "stream": stream, "input": input});
            let answer = gateway.post("/v1/responses", body.to_string());
            if store == json!(false) {
                assert_eq!(answer.status, 400, "{provider:?} {answer:?}");
                assert!(answer.body.contains("`store: false`"), "{}", answer.body);
                continue;
            }
            assert_eq!(answer.status, 200, "{provider:?} {answer:?}");
            let sent = upstream.requests().pop().unwrap().json().to_string();
            assert!(sent.contains("red green") && !sent.contains("item_reference"), "{sent}");
        }
    }
}
