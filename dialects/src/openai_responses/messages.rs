//! Writes the messages of a request as items.

use plugin_api::{
    chat::{
        ChatRequest, Content, ContentPart, DataSource, Media, Message, Role, ToolCall,
        ToolDefinition, ToolKind, ToolResult,
    },
    kit::body::{Array, Bytes},
};
use serde_json::{Value, json};

use super::{DIALECT, Quirks, annotations, token};
use crate::{
    base64,
    loss::{self, Loss, NEWER},
    sound,
};

/// Writes all messages but the first `skip`.
///
/// A neutral message may hold several tool results, or results beside a person's words (Anthropic);
/// here each result is an item, and they come first. What the model said is an item for each call
/// and each stretch of reasoning, in order, with the texts between them joined to messages.
pub(super) fn write_all(
    request: &ChatRequest,
    skip: usize,
    quirks: &Quirks,
    out: &mut Array<'_>,
    losses: &mut Vec<Loss>,
) {
    let mut w = Writer { request, quirks, at: 0, out, losses };
    for (at, message) in request.messages.iter().enumerate().skip(skip) {
        w.at = at;
        w.message(message);
    }
}

struct Writer<'w, 'o> {
    request: &'w ChatRequest,
    quirks: &'w Quirks,
    at: usize,
    out: &'w mut Array<'o>,
    losses: &'w mut Vec<Loss>,
}

type Numbered<'a> = (usize, &'a ContentPart);

impl Writer<'_, '_> {
    fn dropped(&mut self, field: &str, what: &'static str) {
        self.losses.push(Loss::dropped(format!("messages[{}].{field}", self.at), what));
    }

    fn fatal(&mut self, nth: usize, what: &'static str) {
        self.losses.push(Loss::fatal(format!("messages[{}].parts[{nth}]", self.at), what));
    }

    fn message(&mut self, message: &Message) {
        if message.name.is_some() {
            self.dropped("name", "has no field here");
        }
        for (nth, part) in message.parts.iter().enumerate() {
            for (field, there) in
                [("cache", part.cache.is_some()), ("options", !part.options.is_empty())]
            {
                if there {
                    self.dropped(&format!("parts[{nth}].{field}"), "has no field here");
                }
            }
        }
        let (results, rest): (Vec<_>, Vec<_>) = message
            .parts
            .iter()
            .enumerate()
            .partition(|(_, part)| matches!(part.content, Content::ToolResult(_)));
        for (nth, part) in &results {
            if let Content::ToolResult(result) = &part.content {
                self.result(*nth, result);
            }
        }
        match message.role {
            _ if rest.is_empty() && !results.is_empty() => {}
            Role::Unknown => {
                self.losses.push(Loss::fatal(format!("messages[{}].role", self.at), NEWER));
            }
            Role::Tool => {
                if rest.is_empty() {
                    self.dropped("parts", "is empty");
                }
                for (nth, _) in rest {
                    self.fatal(nth, "a tool's message holds results only");
                }
            }
            Role::Assistant => self.assistant(&rest),
            Role::System if !self.quirks.supports_system_items => self.said("developer", &rest),
            role => self.said(role.as_str(), &rest),
        }
    }

    /// Writes what a person or an operator said.
    fn said(&mut self, role: &str, parts: &[Numbered<'_>]) {
        let mut forms = Vec::with_capacity(parts.len());
        for (nth, part) in parts {
            let place = format!("parts[{nth}]");
            if !part.continuity.is_empty() {
                self.dropped(&format!("{place}.continuity"), "has no field here");
            }
            match form(&part.content) {
                Ok(form) => {
                    self.extras(&place, &part.content);
                    forms.push(form);
                }
                Err(what) => self.fatal(*nth, what),
            }
        }
        self.out.object(|o| {
            o.field("type", "message");
            o.field("role", role);
            if forms.is_empty() {
                o.field("content", "");
            } else {
                o.array("content", |out| forms.iter().for_each(|form| form.write(out)));
            }
        });
    }

    /// Reports what a part says beside what its form carries.
    fn extras(&mut self, place: &str, content: &Content) {
        let lost = match content {
            Content::Text(text) => {
                vec![("citations", !text.citations.is_empty())]
            }
            Content::Image(media) | Content::Audio(media) | Content::File(media) => {
                let is_image = matches!(content, Content::Image(_));
                let is_file = matches!(content, Content::File(_));
                let has_bytes = Bytes::of(&media.source).is_some();
                vec![
                    ("name", media.name.is_some() && !is_file),
                    ("detail", media.detail.is_some() && !is_image),
                    ("media_type", media.media_type.is_some() != has_bytes),
                ]
            }
            _ => Vec::new(),
        };
        for (field, lost) in lost {
            if lost {
                self.dropped(&format!("{place}.{field}"), "has no field here");
            }
        }
    }

    fn assistant(&mut self, parts: &[Numbered<'_>]) {
        let mut said = Said::default();
        for (nth, part) in parts {
            let field = format!("parts[{nth}]");
            match &part.content {
                Content::Text(text) => {
                    let notes: Vec<_> = text.citations.iter().map(annotations::write).collect();
                    let json =
                        json!({"type": "output_text", "text": text.text, "annotations": notes});
                    let phase = self.phase(&field, part);
                    said.add(json, phase, self.out);
                }
                Content::Refusal(text) => {
                    let json = json!({"type": "refusal", "refusal": text.text});
                    let phase = self.phase(&field, part);
                    said.add(json, phase, self.out);
                }
                Content::Reasoning(_) => {
                    said.flush(self.out);
                    self.reasoning(&field, part);
                }
                Content::ToolCall(call) => {
                    said.flush(self.out);
                    self.call(*nth, call, part);
                }
                Content::Opaque(block) if block.dialect == DIALECT => {
                    said.flush(self.out);
                    self.out.raw(&block.json);
                }
                Content::Opaque(block) => self.fatal(*nth, loss::foreign_block(block)),
                Content::Image(_) => self.dropped(&field, loss::OWN_PICTURE),
                _ => self.fatal(*nth, "cannot be said by the model in this format"),
            }
        }
        said.flush(self.out);
    }

    fn phase<'p>(&mut self, field: &str, part: &'p ContentPart) -> Option<&'p str> {
        let mut phase = None;
        for continuity in &part.continuity {
            if continuity.kind == token::PHASE && phase.is_none() {
                phase = Some(continuity.token.as_str());
            } else {
                self.dropped(&format!("{field}.continuity"), "has no field here");
            }
        }
        phase
    }

    /// Writes reasoning, which is nothing to this vendor without the item that it came in.
    fn reasoning(&mut self, field: &str, part: &ContentPart) {
        let mut whole = false;
        for continuity in &part.continuity {
            if continuity.kind == token::REASONING_ITEM {
                whole = true;
                self.out.raw(&continuity.token);
            } else {
                self.dropped(&format!("{field}.continuity"), "has no field here");
            }
        }
        if !whole {
            self.dropped(field, "is not sent back to this server");
        }
    }

    fn call(&mut self, nth: usize, call: &ToolCall, part: &ContentPart) {
        if call.kind == ToolKind::Unknown {
            self.fatal(nth, NEWER);
        }
        let offered = |tool: &ToolDefinition| match tool {
            ToolDefinition::Function(tool) => tool.name == call.name,
            ToolDefinition::Custom(tool) => tool.name == call.name,
            _ => false,
        };
        let mut namespace =
            self.quirks.namespace.as_deref().filter(|_| self.request.tools.iter().any(offered));
        let mut given = false;
        for continuity in &part.continuity {
            if continuity.kind == token::NAMESPACE && !given {
                given = true;
                namespace = Some(&continuity.token);
            } else {
                self.dropped(&format!("parts[{nth}].continuity"), "has no field here");
            }
        }
        self.out.object(|o| {
            let custom = call.kind == ToolKind::Custom;
            o.field("type", if custom { "custom_tool_call" } else { "function_call" });
            o.field("call_id", &call.id);
            o.field("name", &call.name);
            o.field(if custom { "input" } else { "arguments" }, &call.arguments);
            o.optional("namespace", namespace.as_ref());
        });
    }

    fn result(&mut self, nth: usize, result: &ToolResult) {
        let field = format!("parts[{nth}]");
        for (what, lost) in [("name", result.name.is_some()), ("is_error", result.is_error)] {
            if lost {
                self.dropped(&format!("{field}.{what}"), "has no field here");
            }
        }
        if result.kind == ToolKind::Unknown {
            self.fatal(nth, NEWER);
        }
        let mut forms = Vec::with_capacity(result.parts.len());
        for (inner, part) in result.parts.iter().enumerate() {
            let place = format!("{field}.parts[{inner}]");
            if part.cache.is_some() || !part.continuity.is_empty() || !part.options.is_empty() {
                self.dropped(&place, "keeps its content alone");
            }
            match form(&part.content) {
                Ok(Form::Audio { .. }) | Err(_) => {
                    self.fatal(nth, "holds what a tool cannot answer in this format");
                }
                Ok(form) => {
                    self.extras(&place, &part.content);
                    forms.push(form);
                }
            }
        }
        self.out.object(|o| {
            let custom = result.kind == ToolKind::Custom;
            let kind = if custom { "custom_tool_call_output" } else { "function_call_output" };
            o.field("type", kind);
            o.field("call_id", &result.call_id);
            match &forms[..] {
                [] => o.field("output", ""),
                [Form::Text(text)] => o.field("output", text),
                forms => o.array("output", |out| forms.iter().for_each(|form| form.write(out))),
            }
        });
    }
}

/// What the model said since its last call or reasoning: one message as long as the phase is one.
#[derive(Default)]
struct Said {
    content: Vec<Value>,
    phase: Option<String>,
}

impl Said {
    fn add(&mut self, json: Value, phase: Option<&str>, out: &mut Array<'_>) {
        if self.phase.as_deref() != phase {
            self.flush(out);
            self.phase = phase.map(str::to_owned);
        }
        self.content.push(json);
    }

    fn flush(&mut self, out: &mut Array<'_>) {
        let said = std::mem::take(self);
        if !said.content.is_empty() {
            out.object(|o| {
                o.field("type", "message");
                o.field("role", "assistant");
                o.field("content", &said.content);
                o.optional("phase", said.phase.as_ref());
            });
        }
    }
}

/// The form that a part of the input takes on the wire.
enum Form<'a> {
    Text(&'a str),
    ImageUrl { url: &'a str, detail: Option<&'a String> },
    ImageFile { id: &'a str, detail: Option<&'a String> },
    ImageData { prefix: String, bytes: Bytes<'a>, detail: Option<&'a String> },
    Audio { bytes: Bytes<'a>, format: &'a str },
    FileUrl { url: &'a str, name: Option<&'a String> },
    FileId { id: &'a str, name: Option<&'a String> },
    FileData { prefix: String, bytes: Bytes<'a>, name: Option<&'a String> },
}

/// Chooses the form of a part, or says why it has none.
fn form(content: &Content) -> Result<Form<'_>, &'static str> {
    let prefix = |media: &Media, default: &str| {
        base64::uri_prefix(media.media_type.as_deref().unwrap_or(default))
    };
    match content {
        Content::Text(text) => Ok(Form::Text(&text.text)),
        Content::Image(media) => {
            let detail = media.detail.as_ref();
            match (&media.source, Bytes::of(&media.source)) {
                (_, Some(bytes)) => {
                    Ok(Form::ImageData { prefix: prefix(media, "image/png"), bytes, detail })
                }
                (DataSource::Url { url }, _) => Ok(Form::ImageUrl { url, detail }),
                (DataSource::File { id, .. }, _) => Ok(Form::ImageFile { id, detail }),
                _ => Err(NEWER),
            }
        }
        Content::Audio(media) => {
            let Some(bytes) = Bytes::of(&media.source) else {
                return Err("is where this format cannot point to");
            };
            let format = sound::format(media.media_type.as_deref())?;
            Ok(Form::Audio { bytes, format })
        }
        Content::File(media) => {
            let name = media.name.as_ref();
            match (&media.source, Bytes::of(&media.source)) {
                (_, Some(bytes)) => {
                    let prefix = prefix(media, "application/octet-stream");
                    Ok(Form::FileData { prefix, bytes, name })
                }
                (DataSource::Url { url }, _) => Ok(Form::FileUrl { url, name }),
                (DataSource::File { id, .. }, _) => Ok(Form::FileId { id, name }),
                _ => Err(NEWER),
            }
        }
        _ => Err("cannot be said in this role"),
    }
}

impl Form<'_> {
    fn write(&self, out: &mut Array<'_>) {
        out.object(|o| {
            o.field(
                "type",
                match self {
                    Self::Text(_) => "input_text",
                    Self::ImageUrl { .. } | Self::ImageFile { .. } | Self::ImageData { .. } => {
                        "input_image"
                    }
                    Self::Audio { .. } => "input_audio",
                    Self::FileUrl { .. } | Self::FileId { .. } | Self::FileData { .. } => {
                        "input_file"
                    }
                },
            );
            match self {
                Self::Text(text) => o.field("text", text),
                Self::ImageUrl { url, detail } => {
                    o.field("image_url", url);
                    o.optional("detail", *detail);
                }
                Self::ImageFile { id, detail } => {
                    o.field("file_id", id);
                    o.optional("detail", *detail);
                }
                Self::ImageData { prefix, bytes, detail } => {
                    o.data("image_url", prefix, *bytes);
                    o.optional("detail", *detail);
                }
                Self::Audio { bytes, format } => o.object("input_audio", |o| {
                    o.data("data", "", *bytes);
                    o.field("format", format);
                }),
                Self::FileUrl { url, name } => {
                    o.field("file_url", url);
                    o.optional("filename", *name);
                }
                Self::FileId { id, name } => {
                    o.field("file_id", id);
                    o.optional("filename", *name);
                }
                Self::FileData { prefix, bytes, name } => {
                    o.data("file_data", prefix, *bytes);
                    o.optional("filename", *name);
                }
            }
        });
    }
}
