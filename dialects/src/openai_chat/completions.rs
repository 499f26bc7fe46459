//! Legacy completions, the server's half: a prompt in, a text out. Editors still ask so.
//!
//! The prompt becomes a message of the user. What a chat cannot do is refused: text behind the cursor
//! (`suffix`), the prompt again (`echo`), several answers, probabilities of tokens.

use plugin_api::{
    chat::Content,
    error::ProviderError,
    event::{ChatEvent, FinishReason, Transcript, Usage},
};
use serde_json::{Map, Value, json};

use super::{
    Decoded, Head, decode_request,
    encoder::{finish_word, usage_json},
    error,
};
use crate::{json::push, loss::RequestError};

/// Reads a client's request for a completion as one for a chat.
///
/// # Errors
///
/// Names the field that cannot be read, or that no chat can serve.
pub fn decode_completion(body: &[u8]) -> Result<Decoded, RequestError> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| RequestError::new("", error.to_string()))?;
    let prompt = prompt(fields.shift_remove("prompt"))?;
    for (name, idle, why) in [
        ("suffix", json!(""), "cannot be served: a chat writes on, not in between"),
        ("echo", json!(false), "cannot be served: a chat does not repeat what it was asked"),
        ("best_of", json!(1), "only one answer is given"),
        ("logprobs", json!(null), "cannot be served"),
    ] {
        match fields.shift_remove(name) {
            Some(value) if !value.is_null() && value != idle => {
                return Err(RequestError::new(name, why));
            }
            _ => {}
        }
    }
    fields.insert("messages".into(), json!([{"role": "user", "content": prompt}]));
    decode_request(&serde_json::to_vec(&fields).unwrap_or_default())
}

/// Reads the prompt: a text, or a list of one.
fn prompt(value: Option<Value>) -> Result<String, RequestError> {
    let why = match value {
        Some(Value::String(text)) => return Ok(text),
        Some(Value::Array(mut list)) if list.len() == 1 => match list.pop() {
            Some(Value::String(text)) => return Ok(text),
            _ => "tokens are not read; send text",
        },
        Some(Value::Array(list)) if list.iter().all(Value::is_string) && !list.is_empty() => {
            "only one prompt is answered"
        }
        Some(Value::Array(_)) => "tokens are not read; send text",
        None | Some(Value::Null) => "is missing",
        Some(_) => "expected a text",
    };
    Err(RequestError::new("prompt", why))
}

/// Writes events as server-sent chunks of text, `[DONE]` included.
#[derive(Debug)]
pub struct CompletionEncoder {
    head: Head,
    include_usage: bool,
    usage: Usage,
}

impl CompletionEncoder {
    /// Makes an encoder; with `include_usage` the stream ends with the tokens used.
    #[must_use]
    pub fn new(head: &Head, include_usage: bool) -> Self {
        Self { head: head.clone(), include_usage, usage: Usage::default() }
    }

    /// Appends the chunks of an event to `out`. After `Finish` the stream is complete.
    pub fn event(&mut self, event: &ChatEvent, out: &mut Vec<u8>) {
        match event {
            ChatEvent::TextDelta { text, .. } | ChatEvent::RefusalDelta { text, .. } => {
                self.chunk(&json!([choice(text, None)]), None, out);
            }
            ChatEvent::Usage(usage) => self.usage.update(usage),
            ChatEvent::Finish { reason, detail } => {
                let word = word(*reason, detail.as_deref());
                self.chunk(&json!([choice("", Some(word))]), None, out);
                if self.include_usage {
                    self.chunk(&json!([]), Some(usage_json(&self.usage)), out);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
            _ => {}
        }
    }

    /// Appends a failure, in the form that clients look for in a stream, and the end.
    pub fn error(&mut self, failure: &ProviderError, out: &mut Vec<u8>) {
        let (_, body) = error::encode(failure);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&body);
        out.extend_from_slice(b"\n\ndata: [DONE]\n\n");
    }

    fn chunk(&self, choices: &Value, usage: Option<Value>, out: &mut Vec<u8>) {
        let mut chunk = answer(&self.head, choices);
        if self.include_usage {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        out.extend_from_slice(b"data: ");
        push(out, &chunk);
        out.extend_from_slice(b"\n\n");
    }
}

/// Writes a whole answer, for a client that asked for no stream.
#[must_use]
pub fn encode_completion(transcript: &Transcript, head: &Head) -> Vec<u8> {
    let mut text = String::new();
    for part in &transcript.message().parts {
        if let Content::Text(said) | Content::Refusal(said) = &part.content {
            text.push_str(&said.text);
        }
    }
    let reason = transcript.finish.unwrap_or(FinishReason::Stop);
    let word = word(reason, transcript.finish_detail.as_deref());
    let mut answer = answer(head, &json!([choice(&text, Some(word))]));
    if transcript.usage != Usage::default() {
        answer["usage"] = usage_json(&transcript.usage);
    }
    answer.to_string().into_bytes()
}

fn answer(head: &Head, choices: &Value) -> Value {
    json!({
        "id": head.id, "object": "text_completion", "created": head.created, "model": head.model,
        "choices": choices,
    })
}

fn choice(text: &str, finish: Option<&str>) -> Value {
    json!({"text": text, "index": 0, "logprobs": null, "finish_reason": finish})
}

fn word(reason: FinishReason, detail: Option<&str>) -> &str {
    match finish_word(reason, detail) {
        word @ ("length" | "content_filter" | "error") => word,
        _ => "stop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_becomes_a_message() {
        let body = br#"{"model":"m","prompt":["fn main"],"max_tokens":9,"suffix":null,"echo":false,
            "stop":"}","stream":true}"#;
        let decoded = decode_completion(body).unwrap();
        assert_eq!(decoded.request.last_user_text(), "fn main");
        assert_eq!((decoded.stream, decoded.request.max_output_tokens), (true, Some(9)));
        assert_eq!(decoded.request.stop, ["}"]);
    }

    #[test]
    fn what_a_chat_cannot_do_is_refused_by_name() {
        for (field, value) in [
            ("suffix", "\"}\""),
            ("echo", "true"),
            ("best_of", "3"),
            ("n", "2"),
            ("logprobs", "5"),
            ("prompt", "[1,2]"),
            ("prompt", "[\"a\",\"b\"]"),
            ("prompt", "null"),
        ] {
            let own = if field == "prompt" { "" } else { r#""prompt":"x","# };
            let body = format!(r#"{{"model":"m",{own}"{field}":{value}}}"#);
            assert_eq!(decode_completion(body.as_bytes()).unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn text_goes_out_as_chunks_and_whole() {
        let usage = Usage::new(2, 1);
        let events = [
            ChatEvent::TextDelta { part: 0, text: "ab".into() },
            ChatEvent::Usage(usage),
            ChatEvent::Finish { reason: FinishReason::Length, detail: None },
        ];
        let head = Head::new("cmpl-1", "m", 7);
        let (mut encoder, mut out) = (CompletionEncoder::new(&head, true), Vec::new());
        for event in &events {
            encoder.event(event, &mut out);
        }
        let out = String::from_utf8(out).unwrap();
        let chunks: Vec<&str> = out.split("\n\n").filter(|line| !line.is_empty()).collect();
        assert_eq!(chunks.len(), 4);
        assert!(chunks[0].contains(r#""text":"ab""#) && chunks[0].contains("text_completion"));
        assert!(chunks[1].contains(r#""finish_reason":"length""#));
        assert!(chunks[2].contains(r#""choices":[],"usage":{"prompt_tokens":2"#));
        assert_eq!(chunks[3], "data: [DONE]");
        let whole = encode_completion(&Transcript::of(&events), &head);
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(whole["choices"][0]["text"], "ab");
        assert_eq!(whole["usage"]["total_tokens"], 3);
    }
}
