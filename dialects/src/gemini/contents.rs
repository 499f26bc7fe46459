//! Writes the messages of a request: `systemInstruction` and `contents`.

use plugin_api::{
    chat::{
        ChatRequest, Content, ContentPart, Continuity, Media, Message, Role, ToolCall, ToolKind,
        ToolResult,
    },
    kit::body::{Array, Object},
};
use serde_json::{Value, json};

use super::{
    DIALECT,
    calls::{self, wire_id},
    inbound::is_typed_part_field,
    media::{self, Form},
    token,
};
use crate::loss::{self, Loss, NEWER};

/// A part and its place in the request.
type Placed<'a> = (String, &'a ContentPart);

/// Messages as the wire divides them.
///
/// Results of tools belong together in one turn, because the vendor counts them against the calls of
/// the turn before; and they come before anything else that a person says.
#[derive(Default)]
pub(super) struct Contents<'a> {
    system: Vec<Placed<'a>>,
    turns: Vec<Turn<'a>>,
}

struct Turn<'a> {
    role: &'static str,
    answers: bool,
    parts: Vec<Placed<'a>>,
}

impl<'a> Contents<'a> {
    /// Divides messages into turns.
    pub(super) fn of(messages: &'a [Message], losses: &mut Vec<Loss>) -> Self {
        let mut contents = Self::default();
        for (at, message) in messages.iter().enumerate() {
            if message.name.is_some() {
                losses.push(Loss::dropped(format!("messages[{at}].name"), "has no field here"));
            }
            contents.message(at, message, losses);
        }
        if contents.turns.is_empty() {
            losses.push(Loss::fatal("messages", "hold nothing that could be answered"));
        }
        contents
    }

    fn message(&mut self, at: usize, message: &'a Message, losses: &mut Vec<Loss>) {
        let place = |nth: usize| format!("messages[{at}].parts[{nth}]");
        let parts = message.parts.iter().enumerate().filter(|(_, part)| says(part));
        let placed = parts.map(|(nth, part)| (place(nth), part));
        let is_result = |part: &ContentPart| matches!(part.content, Content::ToolResult(_));
        let role = match message.role {
            Role::System | Role::Developer => {
                if !self.turns.is_empty() {
                    let what = "was moved before the conversation";
                    losses.push(Loss::dropped(format!("messages[{at}]"), what));
                }
                self.system.extend(placed);
                return;
            }
            Role::Assistant => "model",
            Role::User | Role::Tool => "user",
            _ => return losses.push(Loss::fatal(format!("messages[{at}].role"), NEWER)),
        };
        let (results, rest): (Vec<_>, Vec<_>) = placed.partition(|(_, part)| is_result(part));
        if results.is_empty() && rest.is_empty() {
            return losses.push(Loss::dropped(format!("messages[{at}]"), "says nothing"));
        }
        for (place, _) in &results {
            if message.role == Role::Assistant {
                losses.push(Loss::fatal(place, "cannot be said by the model"));
            }
        }
        for (place, _) in &rest {
            if message.role == Role::Tool {
                losses.push(Loss::fatal(place, "a tool's message holds results only"));
            }
        }
        if !results.is_empty() {
            match self.turns.last_mut() {
                Some(turn) if turn.answers => turn.parts.extend(results),
                _ => self.turns.push(Turn { role: "user", answers: true, parts: results }),
            }
        }
        if !rest.is_empty() {
            self.turns.push(Turn { role, answers: false, parts: rest });
        }
    }

    /// Writes both fields.
    pub(super) fn write(&self, request: &ChatRequest, o: &mut Object<'_>, losses: &mut Vec<Loss>) {
        let mut w = Writer { request, losses };
        if !self.system.is_empty() {
            o.object("systemInstruction", |o| {
                o.array("parts", |out| {
                    for (place, part) in &self.system {
                        if matches!(part.content, Content::Text(_)) {
                            w.part(place, part, "system", out);
                        } else {
                            w.fatal(place, "only texts may stand before the conversation");
                        }
                    }
                });
            });
        }
        o.array("contents", |out| {
            for turn in &self.turns {
                out.object(|o| {
                    o.field("role", turn.role);
                    o.array("parts", |out| {
                        for (place, part) in &turn.parts {
                            w.part(place, part, turn.role, out);
                        }
                    });
                });
            }
        });
    }
}

/// Reports whether a part says anything, or carries what must go back.
fn says(part: &ContentPart) -> bool {
    match &part.content {
        Content::Text(text) => !text.text.is_empty() || !part.continuity.is_empty(),
        Content::Reasoning(thought) => !thought.text.is_empty() || !part.continuity.is_empty(),
        _ => true,
    }
}

struct Writer<'a> {
    request: &'a ChatRequest,
    losses: &'a mut Vec<Loss>,
}

impl Writer<'_> {
    fn dropped(&mut self, place: impl Into<String>, what: &'static str) {
        self.losses.push(Loss::dropped(place, what));
    }

    fn fatal(&mut self, place: &str, what: &'static str) {
        self.losses.push(Loss::fatal(place, what));
    }

    fn part(&mut self, place: &str, part: &ContentPart, role: &str, out: &mut Array<'_>) {
        if part.cache.is_some() {
            self.dropped(format!("{place}.cache"), "has no field here");
        }
        let said_by_model = matches!(part.content, Content::Reasoning(_) | Content::ToolCall(_));
        if said_by_model && role != "model" {
            return self.fatal(place, "cannot be said in this role");
        }
        match &part.content {
            Content::Opaque(block) => {
                if !part.continuity.is_empty() || !part.options.is_empty() {
                    self.dropped(place, "keeps what the block itself says alone");
                }
                match calls::object(&block.json) {
                    Some(json) if block.dialect == DIALECT => out.raw(json),
                    _ => self.fatal(place, loss::foreign_block(block)),
                }
            }
            Content::Unknown => self.fatal(place, NEWER),
            content @ (Content::Image(media) | Content::Audio(media) | Content::File(media)) => {
                match Form::of(content) {
                    Ok(form) => out.object(|o| {
                        self.extras(place, content, media);
                        form.write(o);
                        self.around(place, part, o);
                    }),
                    Err(what) => self.fatal(place, what),
                }
            }
            _ => out.object(|o| {
                self.content(place, &part.content, o);
                self.around(place, part, o);
            }),
        }
    }

    fn content(&mut self, place: &str, content: &Content, o: &mut Object<'_>) {
        match content {
            Content::Text(text) => {
                if !text.citations.is_empty() {
                    self.dropped(format!("{place}.citations"), "has no field here");
                }
                o.field("text", &text.text);
            }
            Content::Refusal(text) => {
                self.dropped(place, "is sent as a text");
                o.field("text", &text.text);
            }
            Content::Reasoning(thought) => {
                o.field("text", &thought.text);
                o.field("thought", &true);
            }
            Content::ToolCall(call) => self.call(place, call, o),
            Content::ToolResult(result) => self.result(place, result, o),
            _ => {}
        }
    }

    /// Writes what stands beside a part's content.
    fn around(&mut self, place: &str, part: &ContentPart, o: &mut Object<'_>) {
        let mut signed = false;
        for Continuity { kind, token, .. } in &part.continuity {
            if kind == token::THOUGHT_SIGNATURE && !std::mem::replace(&mut signed, true) {
                o.field("thoughtSignature", token);
            } else {
                self.dropped(format!("{place}.continuity"), "is a token of another format");
            }
        }
        loss::options(&part.options, is_typed_part_field, place, o, self.losses);
    }

    /// Reports what a medium says beside its bytes and the format does not carry.
    fn extras(&mut self, place: &str, content: &Content, media: &Media) {
        let typed = media.media_type.as_deref();
        let guessed = typed.is_none() && matches!(Form::of(content), Ok(Form::Inline { .. }));
        let unsaid = !guessed && !media::is_told(content, typed);
        for (field, lost, what) in [
            ("name", media.name.is_some(), "has no field here"),
            ("detail", media.detail.is_some(), "has no field here"),
            ("media_type", guessed, "is taken to be `image/png`"),
            ("media_type", unsaid, "does not tell the vendor what this is"),
        ] {
            if lost {
                self.dropped(format!("{place}.{field}"), what);
            }
        }
    }

    fn call(&mut self, place: &str, call: &ToolCall, o: &mut Object<'_>) {
        let custom;
        let (arguments, wrapped) = match call.kind {
            ToolKind::Function => calls::arguments(&call.arguments),
            ToolKind::Custom => {
                self.dropped(format!("{place}.kind"), "is sent as a function call");
                custom = json!({"input": call.arguments}).to_string();
                (custom.as_str().into(), false)
            }
            _ => {
                self.fatal(place, NEWER);
                ("{}".into(), false)
            }
        };
        if wrapped {
            self.dropped(format!("{place}.arguments"), "was wrapped, because it is no JSON object");
        }
        o.object("functionCall", |o| {
            o.optional("id", wire_id(&call.id).as_ref());
            o.field("name", &call.name);
            o.raw("args", &arguments);
        });
    }

    fn result(&mut self, place: &str, result: &ToolResult, o: &mut Object<'_>) {
        match result.kind {
            ToolKind::Function => {}
            ToolKind::Custom => self.dropped(format!("{place}.kind"), "is sent as a function's"),
            _ => self.fatal(place, NEWER),
        }
        let known = || self.request.tool_name(&result.call_id).map(str::to_owned);
        let Some(name) = result.name.clone().or_else(known) else {
            return self.fatal(place, "names no tool, and no call before it has its id");
        };
        let mut texts: Vec<&str> = Vec::new();
        let mut media = Vec::new();
        for (nth, part) in result.parts.iter().enumerate() {
            let inner = format!("{place}.parts[{nth}]");
            let beside =
                part.cache.is_some() || !part.continuity.is_empty() || !part.options.is_empty();
            if beside {
                self.dropped(&inner, "keeps its content alone");
            }
            match &part.content {
                Content::Text(text) => {
                    if !text.citations.is_empty() {
                        self.dropped(format!("{inner}.citations"), "has no field here");
                    }
                    if !media.is_empty() {
                        self.dropped(&inner, "was moved before what it followed");
                    }
                    texts.push(&text.text);
                }
                content @ (Content::Image(m) | Content::Audio(m) | Content::File(m)) => {
                    match Form::of(content) {
                        Ok(form) => {
                            self.extras(&inner, content, m);
                            media.push(form);
                        }
                        Err(what) => self.fatal(&inner, what),
                    }
                }
                _ => self.fatal(&inner, "holds what a tool cannot answer in this format"),
            }
        }
        o.object("functionResponse", |o| {
            o.optional("id", wire_id(&result.call_id).as_ref());
            o.field("name", &name);
            response(&texts, result.is_error, o);
            if !media.is_empty() {
                o.array("parts", |out| {
                    for form in &media {
                        out.object(|o| form.write(o));
                    }
                });
            }
        });
    }
}

/// Writes a tool's answer as the object that the wire wants.
///
/// One text that is an object already stays as it is, unless it could be taken for our own wrapping.
fn response(texts: &[&str], is_error: bool, o: &mut Object<'_>) {
    if let [text] = texts
        && let Some(json) = calls::object(text).filter(|json| json == text)
    {
        let wraps = |name: &str| {
            let value: Value = serde_json::from_str(json).unwrap_or_default();
            value.get(name).is_some()
        };
        if is_error {
            return o.object("response", |o| o.raw("error", json));
        }
        if !wraps("result") && !wraps("error") && !wraps("output") {
            return o.raw("response", json);
        }
    }
    o.object("response", |o| {
        let name = if is_error { "error" } else { "result" };
        match texts {
            [text] => o.field(name, text),
            texts => o.field(name, texts),
        }
    });
}
