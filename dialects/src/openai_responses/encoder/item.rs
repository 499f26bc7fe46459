//! One item of an answer that is being written.

use plugin_api::chat::Continuity;
use serde_json::{Value, json, value::RawValue};

use super::raw;
use crate::{
    base64,
    openai_responses::{Namespaces, PICTURE_ID, carrier::Carried, token},
};

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Refusal,
    Summary,
    Reasoning,
    /// Reasoning of which only a token came.
    Hidden,
    Call {
        id: String,
        name: String,
        custom: bool,
    },
}

impl Kind {
    /// Reports whether content of another kind goes into the same item.
    pub(super) fn same(&self, other: &Self) -> bool {
        let thinks = |kind: &Self| matches!(kind, Self::Summary | Self::Reasoning);
        self == other || (thinks(self) && thinks(other))
    }
}

/// An item that is added and not done.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) part: u32,
    pub(super) kind: Kind,
    pub(super) index: usize,
    id: String,
    pub(super) text: String,
    pub(super) annotations: Vec<Value>,
    pub(super) tokens: Vec<Continuity>,
    /// What stands around each of its deltas.
    pub(super) frame: Option<Frame>,
}

/// The event of a delta, up to its number and up to its text.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) head: Vec<u8>,
    pub(super) place: Vec<u8>,
}

type Event = (&'static str, Value);

impl Open {
    pub(super) fn new(part: u32, kind: Kind, index: usize, response: &str) -> Self {
        let prefix = match &kind {
            Kind::Text | Kind::Refusal => "msg",
            Kind::Summary | Kind::Reasoning | Kind::Hidden => "rs",
            Kind::Call { custom: false, .. } => "fc",
            Kind::Call { custom: true, .. } => "ctc",
        };
        let id = item_id(prefix, index, response);
        let (text, annotations, tokens) = (String::new(), Vec::new(), Vec::new());
        let mut open = Self { part, kind, index, id, text, annotations, tokens, frame: None };
        open.frame = open.framed();
        open
    }

    pub(super) fn is_call(&self) -> bool {
        matches!(self.kind, Kind::Call { .. })
    }

    /// Writes the item as it is added; nothing for one that is sent whole.
    pub(super) fn skeleton(&self, namespaces: &Namespaces) -> Option<Value> {
        let id = &self.id;
        Some(match &self.kind {
            Kind::Hidden => return None,
            Kind::Text | Kind::Refusal => json!({"id": id, "type": "message",
                "status": "in_progress", "role": "assistant", "content": []}),
            Kind::Summary | Kind::Reasoning => {
                json!({"id": id, "type": "reasoning", "status": "in_progress", "summary": []})
            }
            Kind::Call { .. } => self.call("", "in_progress", namespaces),
        })
    }

    /// Names the place of a delta or of a part.
    pub(super) fn place(&self) -> Value {
        let mut place = json!({"item_id": self.id, "output_index": self.index});
        match self.kind {
            Kind::Summary => place["summary_index"] = 0.into(),
            Kind::Call { .. } | Kind::Hidden => {}
            _ => place["content_index"] = 0.into(),
        }
        place
    }

    fn with_part(&self, part: Value) -> Value {
        let mut fields = self.place();
        fields["part"] = part;
        fields
    }

    /// Writes the text as a part of the item.
    fn as_part(&self, text: &str, annotations: &[Value]) -> Value {
        match self.kind {
            Kind::Refusal => json!({"type": "refusal", "refusal": text}),
            Kind::Summary => json!({"type": "summary_text", "text": text}),
            Kind::Reasoning => json!({"type": "reasoning_text", "text": text}),
            _ => json!({"type": "output_text", "text": text, "annotations": annotations,
                "logprobs": []}),
        }
    }

    pub(super) fn part_added(&self) -> Option<Event> {
        let kind = match self.kind {
            Kind::Call { .. } | Kind::Hidden => return None,
            Kind::Summary => "response.reasoning_summary_part.added",
            _ => "response.content_part.added",
        };
        Some((kind, self.with_part(self.as_part("", &[]))))
    }

    fn framed(&self) -> Option<Frame> {
        let mut fields = self.place();
        let kind = match self.kind {
            Kind::Text => {
                fields["logprobs"] = json!([]);
                "response.output_text.delta"
            }
            Kind::Refusal => "response.refusal.delta",
            Kind::Summary => "response.reasoning_summary_text.delta",
            Kind::Reasoning => "response.reasoning_text.delta",
            Kind::Call { custom: false, .. } => "response.function_call_arguments.delta",
            Kind::Call { custom: true, .. } => "response.custom_tool_call_input.delta",
            Kind::Hidden => return None,
        };
        let head = format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":");
        // The fields without their braces.
        let fields = fields.to_string();
        let place = format!(",{},\"delta\":", &fields[1..fields.len() - 1]);
        Some(Frame { head: head.into_bytes(), place: place.into_bytes() })
    }

    /// Returns the events that say the text and its part are complete.
    pub(super) fn completed(&self) -> Vec<Event> {
        let mut fields = self.place();
        let (text_done, field) = match self.kind {
            Kind::Text => {
                fields["logprobs"] = json!([]);
                ("response.output_text.done", "text")
            }
            Kind::Refusal => ("response.refusal.done", "refusal"),
            Kind::Summary => ("response.reasoning_summary_text.done", "text"),
            Kind::Reasoning => ("response.reasoning_text.done", "text"),
            Kind::Call { custom: false, .. } => {
                ("response.function_call_arguments.done", "arguments")
            }
            Kind::Call { custom: true, .. } => ("response.custom_tool_call_input.done", "input"),
            Kind::Hidden => return Vec::new(),
        };
        fields[field] = self.text.as_str().into();
        let part_done = match self.kind {
            Kind::Call { .. } => return vec![(text_done, fields)],
            Kind::Summary => "response.reasoning_summary_part.done",
            _ => "response.content_part.done",
        };
        let part = self.with_part(self.as_part(&self.text, &self.annotations));
        vec![(text_done, fields), (part_done, part)]
    }

    /// Writes the finished item. Tokens that it holds are taken; those that it cannot hold stay.
    pub(super) fn item(&mut self, namespaces: &Namespaces) -> Box<RawValue> {
        let part = self.as_part(&self.text, &self.annotations);
        match &self.kind {
            Kind::Text | Kind::Refusal => {
                let mut item = json!({"id": self.id, "type": "message", "status": "completed",
                    "role": "assistant", "content": [part]});
                if let Some(phase) = self.take(token::PHASE) {
                    item["phase"] = phase.into();
                }
                raw(&item)
            }
            Kind::Call { .. } => {
                let mut item = self.call(&self.text, "completed", namespaces);
                if let Some(namespace) = self.take(token::NAMESPACE)
                    && item["namespace"].is_null()
                {
                    item["namespace"] = namespace.into();
                }
                raw(&item)
            }
            Kind::Summary | Kind::Reasoning | Kind::Hidden => self.reasoning(&part),
        }
    }

    fn take(&mut self, kind: &str) -> Option<String> {
        let at = self.tokens.iter().position(|token| token.kind == kind)?;
        Some(self.tokens.remove(at).token)
    }

    fn call(&self, arguments: &str, status: &str, namespaces: &Namespaces) -> Value {
        let Kind::Call { id, name, custom } = &self.kind else { return Value::Null };
        let (namespace, name) = namespaces.wire(name);
        let (kind, field) =
            if *custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        let mut item = json!({"id": self.id, "type": kind, "status": status, "call_id": id,
            "name": name});
        item[field] = arguments.into();
        if let Some(namespace) = namespace {
            item["namespace"] = namespace.into();
        }
        item
    }

    /// Writes reasoning: the item that it came in, or one that carries its tokens.
    fn reasoning(&mut self, part: &Value) -> Box<RawValue> {
        if let [token] = &self.tokens[..]
            && token.kind == token::REASONING_ITEM
            && token.issuer.is_empty()
            && let Ok(item) = RawValue::from_string(token.token.clone())
        {
            self.tokens.clear();
            return item;
        }
        let mut item =
            json!({"id": self.id, "type": "reasoning", "status": "completed", "summary": []});
        match self.kind {
            Kind::Summary => item["summary"] = json!([part]),
            Kind::Reasoning => item["content"] = json!([part]),
            _ => {}
        }
        if !self.tokens.is_empty() {
            let tokens = std::mem::take(&mut self.tokens);
            let carried = Carried { tokens, ..Carried::default() };
            item["encrypted_content"] = carried.seal().into();
        }
        raw(&item)
    }
}

/// Writes an item that carries what belongs to others.
pub(super) fn carrier(index: usize, response: &str, carried: &Carried) -> Value {
    let id = item_id("rs", index, response);
    json!({"id": id, "type": "reasoning", "status": "completed", "summary": [],
        "encrypted_content": carried.seal()})
}

/// Writes a picture that the model made.
pub(super) fn picture(index: usize, response: &str, media_type: &str, data: &[u8]) -> Value {
    let id = item_id(PICTURE_ID, index, response);
    let format = media_type.strip_prefix("image/").unwrap_or(media_type);
    json!({"id": id, "type": "image_generation_call", "status": "completed",
        "output_format": format, "result": base64::encode(data)})
}

fn item_id(prefix: &str, index: usize, response: &str) -> String {
    let response = response.strip_prefix("resp_").unwrap_or(response);
    format!("{prefix}_{response}_{index}")
}
