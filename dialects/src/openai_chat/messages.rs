//! Writes the messages of a request.

mod media;

use plugin_api::{
    chat::{
        CacheControl, Content, ContentPart, Media, Message, Role, ToolCall, ToolKind, ToolResult,
    },
    kit::body::{Array, Bytes},
};
use serde_json::{Value, json};

use self::media::{breakpoint, media};
use super::{Quirks, ReasoningBack, SystemRole, ToolIds, calls::short_id, token};
use crate::loss::{self, Loss, NEWER};

/// Tool call ids as a server accepts them.
pub(super) struct Ids(ToolIds);

impl Ids {
    pub(super) const fn new(rule: ToolIds) -> Self {
        Self(rule)
    }

    /// Returns the id to send; the same for a call and its result.
    fn of(&self, id: &str) -> String {
        let fits = id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match self.0 {
            ToolIds::Alphanumeric9 if !fits => short_id(id.as_bytes()),
            _ => id.to_owned(),
        }
    }
}

/// Writes all messages.
///
/// A neutral message may hold several tool results, or results beside a person's words (Anthropic);
/// here each result is a message, and they come first, because every call must be answered before
/// anything else is said. Pictures in a result follow in a message of the user, the only role that
/// may show them.
pub(super) fn write_all(
    messages: &[Message],
    quirks: &Quirks,
    ids: &Ids,
    out: &mut Array<'_>,
    losses: &mut Vec<Loss>,
) {
    let mut custom_calls: Vec<&str> = Vec::new();
    let mut pictures: Vec<(String, &ContentPart)> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let (results, rest): (Vec<_>, Vec<_>) = message
            .parts
            .iter()
            .enumerate()
            .partition(|(_, part)| matches!(part.content, Content::ToolResult(_)));
        if results.is_empty() {
            hoisted(&mut pictures, quirks, out, losses);
        }
        let mut w = Writer { at, quirks, ids, losses };
        for (nth, part) in &results {
            if let Content::ToolResult(result) = &part.content {
                let custom = custom_calls.contains(&&*result.call_id);
                w.result(*nth, result, custom, out, &mut pictures);
            }
            w.cache(*nth, part.cache.as_ref());
        }
        for (nth, part) in message.parts.iter().enumerate() {
            if !part.options.is_empty() {
                w.dropped(&format!("parts[{nth}].options"), "has no field here");
            }
        }
        if rest.is_empty() && !results.is_empty() {
            continue;
        }
        match message.role {
            Role::Tool => {
                if rest.is_empty() {
                    w.dropped("parts", "is empty");
                }
                for (nth, _) in rest {
                    w.fatal(nth, "a tool's message holds results only");
                }
            }
            Role::Assistant => {
                w.assistant(message, &rest, out);
                let custom = message.tool_calls().filter(|call| call.kind == ToolKind::Custom);
                custom_calls.extend(custom.map(|call| &*call.id));
            }
            Role::Unknown => w.losses.push(Loss::fatal(format!("messages[{at}].role"), NEWER)),
            role => w.said(role, message, &rest, out),
        }
    }
    hoisted(&mut pictures, quirks, out, losses);
}

/// Writes the pictures of the tool results before it.
fn hoisted(
    pictures: &mut Vec<(String, &ContentPart)>,
    quirks: &Quirks,
    out: &mut Array<'_>,
    losses: &mut Vec<Loss>,
) {
    if pictures.is_empty() {
        return;
    }
    out.object(|o| {
        o.field("role", "user");
        o.array("content", |out| {
            for (field, part) in pictures.drain(..) {
                match media(&part.content, quirks) {
                    Ok(form) => {
                        losses.push(Loss::dropped(&field, "was moved into a message of the user"));
                        form.write(out, None);
                    }
                    Err(what) => losses.push(Loss::fatal(&field, what)),
                }
            }
        });
    });
}

type Numbered<'a> = (usize, &'a ContentPart);

struct Writer<'a> {
    at: usize,
    quirks: &'a Quirks,
    ids: &'a Ids,
    losses: &'a mut Vec<Loss>,
}

impl Writer<'_> {
    fn dropped(&mut self, field: &str, what: &'static str) {
        self.losses.push(Loss::dropped(format!("messages[{}].{field}", self.at), what));
    }

    fn fatal(&mut self, nth: usize, what: &'static str) {
        self.losses.push(Loss::fatal(format!("messages[{}].parts[{nth}]", self.at), what));
    }

    fn cache(&mut self, nth: usize, cache: Option<&CacheControl>) {
        if cache.is_some() {
            self.dropped(&format!("parts[{nth}].cache"), "has no field here");
        }
    }

    /// Writes what a person or an operator said.
    fn said(&mut self, role: Role, message: &Message, parts: &[Numbered<'_>], out: &mut Array<'_>) {
        let role = match (role, self.quirks.system_role) {
            (Role::Developer, SystemRole::System) => Role::System,
            (role, _) => role,
        };
        out.object(|o| {
            o.field("role", role.as_str());
            o.optional("name", message.name.as_ref());
            match parts {
                [] => o.field("content", ""),
                // One text is sent as a text: not every server reads arrays.
                [(nth, part)]
                    if !self.marks(part)
                        && let Content::Text(text) = &part.content =>
                {
                    self.cache(*nth, part.cache.as_ref());
                    if !text.citations.is_empty() || !part.continuity.is_empty() {
                        self.dropped(&format!("parts[{nth}]"), "lost its citations or tokens");
                    }
                    o.field("content", &text.text);
                }
                parts => o.array("content", |out| {
                    for (nth, part) in parts {
                        self.part(*nth, part, out);
                    }
                }),
            }
        });
    }

    /// Reports whether a part carries a mark that only an array can hold.
    fn marks(&self, part: &ContentPart) -> bool {
        part.cache.is_some() && self.quirks.supports_cache_breakpoints
    }

    fn part(&mut self, nth: usize, part: &ContentPart, out: &mut Array<'_>) {
        let mut cache = part.cache.as_ref();
        if !self.quirks.supports_cache_breakpoints {
            self.cache(nth, cache.take());
        }
        if !part.continuity.is_empty() {
            self.dropped(&format!("parts[{nth}].continuity"), "has no field here");
        }
        match &part.content {
            Content::Text(text) => {
                if !text.citations.is_empty() {
                    self.dropped(&format!("parts[{nth}].citations"), "has no field here");
                }
                out.object(|o| {
                    o.field("type", "text");
                    o.field("text", &text.text);
                    breakpoint(o, cache);
                });
            }
            content @ (Content::Image(m) | Content::Audio(m) | Content::File(m)) => {
                self.extras(nth, content, m);
                match media(content, self.quirks) {
                    Ok(form) => form.write(out, cache),
                    Err(what) => self.fatal(nth, what),
                }
            }
            _ => self.fatal(nth, "cannot be said in this role"),
        }
    }

    /// Reports what a medium says beside its bytes and the format does not carry.
    fn extras(&mut self, nth: usize, content: &Content, media: &Media) {
        let (is_image, is_file) =
            (matches!(content, Content::Image(_)), matches!(content, Content::File(_)));
        let has_bytes = Bytes::of(&media.source).is_some();
        for (field, lost) in [
            ("name", media.name.is_some() && !is_file),
            ("detail", media.detail.is_some() && !is_image),
            ("media_type", media.media_type.is_some() != has_bytes),
        ] {
            if lost {
                self.dropped(&format!("parts[{nth}].{field}"), "has no field here");
            }
        }
    }

    /// Writes what the model said: reasoning, then text, then a refusal, then calls.
    fn assistant(&mut self, message: &Message, parts: &[Numbered<'_>], out: &mut Array<'_>) {
        let mut said = Said::default();
        let mut last = 0;
        for (nth, part) in parts {
            let rank = match &part.content {
                // Only Mistral's content array holds reasoning in its place.
                Content::Reasoning(_)
                    if self.quirks.send_reasoning_back == ReasoningBack::Thinking =>
                {
                    1
                }
                Content::Reasoning(_) => 0,
                Content::Text(_) => 1,
                Content::Refusal(_) => 2,
                Content::ToolCall(_) => 3,
                _ => last,
            };
            if rank < last {
                self.dropped(&format!("parts[{nth}]"), "was moved before what it followed");
            }
            last = last.max(rank);
            self.cache(*nth, part.cache.as_ref());
            self.gather(*nth, part, &mut said);
        }
        out.object(|o| {
            o.field("role", "assistant");
            o.optional("name", message.name.as_ref());
            if !said.reasoning.is_empty() {
                let details = self.quirks.send_reasoning_back == ReasoningBack::ReasoningDetails;
                let field = if details { "reasoning" } else { "reasoning_content" };
                o.field(field, &said.reasoning);
            }
            if !said.details.is_empty() {
                o.field("reasoning_details", &said.details);
            }
            match &said.content[..] {
                [] if !said.calls.is_empty() => o.field("content", &Value::Null),
                [] => o.field("content", ""),
                [piece] if piece["type"] == "text" => o.field("content", &piece["text"]),
                pieces => o.field("content", pieces),
            }
            if let Some(refusal) = &said.refusal {
                o.field("refusal", refusal);
            }
            if !said.calls.is_empty() {
                o.field("tool_calls", &said.calls);
            }
        });
    }

    fn gather(&mut self, nth: usize, part: &ContentPart, said: &mut Said) {
        match &part.content {
            Content::Reasoning(_) => {
                self.reasoning(nth, part, said);
                return;
            }
            Content::ToolCall(call) => {
                said.calls.push(self.call(nth, call, part));
                return;
            }
            Content::Text(text) => {
                said.content.push(json!({"type": "text", "text": text.text}));
                if !text.citations.is_empty() {
                    self.dropped(&format!("parts[{nth}].citations"), "has no field here");
                }
            }
            Content::Refusal(text) => {
                if said.refusal.is_some() {
                    self.dropped(&format!("parts[{nth}]"), "was joined to the refusal before it");
                }
                said.refusal.get_or_insert_default().push_str(&text.text);
            }
            Content::Image(_) => self.dropped(&format!("parts[{nth}]"), loss::OWN_PICTURE),
            Content::Opaque(block) => self.fatal(nth, loss::foreign_block(block)),
            _ => self.fatal(nth, "cannot be said by the model in this format"),
        }
        if !part.continuity.is_empty() {
            self.dropped(&format!("parts[{nth}].continuity"), "has no field here");
        }
    }

    fn reasoning(&mut self, nth: usize, part: &ContentPart, said: &mut Said) {
        let Content::Reasoning(reasoning) = &part.content else { return };
        let field = format!("parts[{nth}]");
        let mut tokens = part.continuity.iter();
        match self.quirks.send_reasoning_back {
            ReasoningBack::ReasoningContent => {
                if !said.reasoning.is_empty() || reasoning.summary || tokens.next().is_some() {
                    self.dropped(&field, "was joined to the reasoning, without tokens");
                }
                said.reasoning.push_str(&reasoning.text);
            }
            ReasoningBack::ReasoningDetails => {
                if !said.reasoning.is_empty() || !said.details.is_empty() || reasoning.summary {
                    self.dropped(&field, "was joined to the reasoning before it");
                }
                said.reasoning.push_str(&reasoning.text);
                for continuity in tokens {
                    match serde_json::from_str(&continuity.token) {
                        Ok(Value::Array(mut list))
                            if continuity.kind == token::REASONING_DETAILS =>
                        {
                            said.details.append(&mut list);
                        }
                        _ => self.dropped(&field, "holds a token of another format"),
                    }
                }
            }
            ReasoningBack::Thinking => {
                let text = json!([{"type": "text", "text": reasoning.text}]);
                let mut piece = json!({"type": "thinking", "thinking": text, "closed": true});
                for continuity in tokens {
                    if continuity.kind == token::SIGNATURE && piece["signature"].is_null() {
                        piece["signature"] = continuity.token.as_str().into();
                    } else {
                        self.dropped(&field, "holds a token of another format");
                    }
                }
                if reasoning.summary {
                    self.dropped(&field, "is a summary");
                }
                said.content.push(piece);
            }
            ReasoningBack::None => self.dropped(&field, "is not sent back to this server"),
        }
    }

    fn call(&mut self, nth: usize, call: &ToolCall, part: &ContentPart) -> Value {
        let id = self.ids.of(&call.id);
        let mut value = match call.kind {
            ToolKind::Custom => {
                let custom = json!({"name": call.name, "input": call.arguments});
                json!({"id": id, "type": "custom", "custom": custom})
            }
            kind => {
                if kind != ToolKind::Function {
                    self.fatal(nth, NEWER);
                }
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": id, "type": "function", "function": function})
            }
        };
        for continuity in &part.continuity {
            if continuity.kind == token::THOUGHT_SIGNATURE && value["extra_content"].is_null() {
                value["extra_content"] = json!({"google": {"thought_signature": continuity.token}});
            } else {
                self.dropped(&format!("parts[{nth}].continuity"), "has no field here");
            }
        }
        value
    }

    fn result<'p>(
        &mut self,
        nth: usize,
        result: &'p ToolResult,
        custom: bool,
        out: &mut Array<'_>,
        pictures: &mut Vec<(String, &'p ContentPart)>,
    ) {
        let field = format!("parts[{nth}]");
        let name = result.name.as_ref().filter(|_| self.quirks.tool_result_name);
        for (what, lost) in [
            ("name", result.name.is_some() && name.is_none()),
            ("is_error", result.is_error),
            ("kind", custom != (result.kind == ToolKind::Custom)),
        ] {
            if lost {
                self.dropped(&format!("{field}.{what}"), "has no field here");
            }
        }
        if result.kind == ToolKind::Unknown {
            self.fatal(nth, NEWER);
        }
        let mut texts = Vec::new();
        for (inner, part) in result.parts.iter().enumerate() {
            match &part.content {
                Content::Text(text) => {
                    if !text.citations.is_empty()
                        || part.cache.is_some()
                        || !part.continuity.is_empty()
                    {
                        self.dropped(&format!("{field}.parts[{inner}]"), "keeps its text alone");
                    }
                    texts.push(json!({"type": "text", "text": text.text}));
                }
                Content::Image(_) | Content::Audio(_) | Content::File(_) => {
                    let place = format!("messages[{}].{field}.parts[{inner}]", self.at);
                    pictures.push((place, part));
                }
                _ => self.fatal(nth, "holds what a tool cannot answer in this format"),
            }
        }
        out.object(|o| {
            o.field("role", "tool");
            o.field("tool_call_id", &self.ids.of(&result.call_id));
            o.optional("name", name);
            match &texts[..] {
                [] => o.field("content", ""),
                [text] => o.field("content", &text["text"]),
                texts => o.field("content", texts),
            }
        });
    }
}

/// The pieces of an assistant's message, in the order of its fields.
#[derive(Default)]
struct Said {
    reasoning: String,
    details: Vec<Value>,
    content: Vec<Value>,
    refusal: Option<String>,
    calls: Vec<Value>,
}
