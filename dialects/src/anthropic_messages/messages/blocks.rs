//! Writes the blocks of a turn.

use plugin_api::{
    chat::{Content, ContentPart, Continuity, Reasoning, Text, ToolCall, ToolKind, ToolResult},
    kit::body::{Array, Object},
};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::{
    Marks,
    media::{self, Form},
};
use crate::{
    anthropic_messages::{DIALECT, Quirks, Version, sources, token},
    loss::{self, Loss, NEWER},
};

/// Who speaks, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    System,
    User,
    /// The application, in the user's role.
    Tool,
    Assistant,
    /// Inside the answer to a tool.
    Result,
}

impl Side {
    pub(super) const fn role(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Assistant => "assistant",
            Self::User | Self::Tool | Self::Result => "user",
        }
    }
}

pub(super) struct Blocks<'a> {
    pub(super) quirks: &'a Quirks,
    pub(super) marks: &'a mut Marks,
    pub(super) losses: &'a mut Vec<Loss>,
}

/// Reports whether a part says nothing: the vendor refuses empty texts.
pub(super) fn is_nothing(part: &ContentPart) -> bool {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => {
            text.text.is_empty() && text.citations.is_empty()
        }
        _ => false,
    }
}

/// Reports whether a part is reasoning that the vendor cannot verify and would refuse.
pub(super) fn is_unsigned(part: &ContentPart) -> bool {
    matches!(part.content, Content::Reasoning(_)) && own_token(part).is_none()
}

/// Returns the token that makes a part thinking of this format.
fn own_token(part: &ContentPart) -> Option<&Continuity> {
    let find = |kind: &str| part.continuity.iter().find(|token| token.kind == kind);
    find(token::SIGNATURE).or_else(|| find(token::REDACTED_THINKING))
}

/// Reports whether a part is a text alone, so that it need not be a block.
pub(super) fn is_plain(part: &ContentPart) -> bool {
    let bare = part.cache.is_none() && part.continuity.is_empty() && part.options.is_empty();
    bare && matches!(&part.content, Content::Text(text) if text.citations.is_empty())
}

impl Blocks<'_> {
    /// Writes a part as a block.
    pub(super) fn write(
        &mut self,
        side: Side,
        field: &str,
        part: &ContentPart,
        out: &mut Array<'_>,
    ) {
        if side == Side::Tool && !matches!(part.content, Content::ToolResult(_)) {
            return self.fatal(field, "a tool's message holds results only");
        }
        if !matches!(part.content, Content::Reasoning(_)) && !part.continuity.is_empty() {
            self.dropped(format!("{field}.continuity"), "has no field in this format");
        }
        match (&part.content, side) {
            (Content::Text(text), _) => self.text(side, field, part, text, out),
            (Content::Refusal(text), Side::Assistant) => {
                self.dropped(field, "was sent as a text");
                self.text(side, field, part, text, out);
            }
            (Content::Reasoning(reasoning), Side::Assistant) => {
                self.reasoning(field, part, reasoning, out);
            }
            (Content::ToolCall(call), Side::Assistant) => self.call(field, part, call, out),
            (Content::ToolResult(result), Side::User | Side::Tool) => {
                self.result(field, part, result, out);
            }
            (Content::File(_), Side::Assistant) if self.quirks.version >= Version::V2026 => {
                self.fatal(field, "is a document of the assistant, not taken since `2026-10-21`");
            }
            (Content::Image(_), Side::User | Side::Result)
            | (Content::File(_), Side::User | Side::Result | Side::Assistant) => {
                self.medium(field, part, out);
            }
            (Content::Opaque(block), Side::User | Side::Assistant | Side::Result)
                if block.dialect == DIALECT =>
            {
                if part.cache.is_some() || !part.options.is_empty() {
                    self.dropped(field, "goes back as it came, without marks or options");
                }
                out.raw(&block.json);
            }
            (Content::Image(_), Side::Assistant) => self.dropped(field, loss::OWN_PICTURE),
            (Content::Audio(_), _) => self.fatal(field, "is sound, which this format cannot say"),
            (Content::Opaque(block), _) => self.fatal(field, loss::foreign_block(block)),
            (Content::Unknown, _) => self.fatal(field, NEWER),
            _ => self.fatal(field, "cannot be said in this role"),
        }
    }

    fn dropped(&mut self, field: impl Into<String>, what: &'static str) {
        self.losses.push(Loss::dropped(field, what));
    }

    fn fatal(&mut self, field: &str, what: &'static str) {
        self.losses.push(Loss::fatal(field, what));
    }

    /// Writes what any block may carry.
    fn common(&mut self, field: &str, part: &ContentPart, typed: &[&str], o: &mut Object<'_>) {
        self.marks.write(part.cache.as_ref(), field, o, self.losses);
        loss::options(&part.options, |name| typed.contains(&name), field, o, self.losses);
    }

    fn text(
        &mut self,
        side: Side,
        field: &str,
        part: &ContentPart,
        text: &Text,
        out: &mut Array<'_>,
    ) {
        let mut citations: Vec<&Value> =
            text.citations.iter().filter_map(sources::native).collect();
        if citations.len() < text.citations.len() {
            self.dropped(format!("{field}.citations"), "are in part of another vendor");
        }
        if side != Side::Assistant && self.quirks.version >= Version::V2026 && !citations.is_empty()
        {
            let what = "are taken of the assistant alone since `2026-10-21`";
            self.dropped(format!("{field}.citations"), what);
            citations.clear();
        }
        out.object(|o| {
            o.field("type", "text");
            o.field("text", &text.text);
            if !citations.is_empty() {
                o.field("citations", &citations);
            }
            self.common(field, part, &["type", "text", "citations", "cache_control"], o);
        });
    }

    fn reasoning(
        &mut self,
        field: &str,
        part: &ContentPart,
        reasoning: &Reasoning,
        out: &mut Array<'_>,
    ) {
        let Some(own) = own_token(part) else { return };
        let is_signed = own.kind == token::SIGNATURE;
        if part.continuity.len() > 1 {
            self.dropped(format!("{field}.continuity"), "has one token in this format");
        }
        if reasoning.summary {
            self.dropped(format!("{field}.summary"), "has no field in this format");
        }
        if part.cache.is_some() {
            self.dropped(format!("{field}.cache"), "cannot stand on thinking");
        }
        if !is_signed && !reasoning.text.is_empty() {
            self.dropped(format!("{field}.text"), "is redacted in this format");
        }
        out.object(|o| {
            let typed = if is_signed {
                o.field("type", "thinking");
                o.field("thinking", &reasoning.text);
                o.field("signature", &own.token);
                &["type", "thinking", "signature", "cache_control"][..]
            } else {
                o.field("type", "redacted_thinking");
                o.field("data", &own.token);
                &["type", "data", "cache_control"]
            };
            loss::options(&part.options, |name| typed.contains(&name), field, o, self.losses);
        });
    }

    fn call(&mut self, field: &str, part: &ContentPart, call: &ToolCall, out: &mut Array<'_>) {
        let arguments = call.arguments.trim();
        let is_object = || serde_json::from_str::<Map<String, Value>>(arguments).is_ok();
        let is_json = serde_json::from_str::<IgnoredAny>(arguments).is_ok();
        if call.kind == ToolKind::Unknown {
            return self.fatal(field, NEWER);
        }
        out.object(|o| {
            o.field("type", "tool_use");
            o.field("id", &call.id);
            o.field("name", &call.name);
            if call.kind == ToolKind::Custom {
                self.dropped(field, "takes free text, which was sent as `input`");
                o.object("input", |o| o.field("input", &call.arguments));
            } else if arguments.is_empty() {
                o.raw("input", "{}");
            } else if is_json && is_object() {
                o.raw("input", arguments);
            } else {
                self.dropped(
                    format!("{field}.arguments"),
                    "is no JSON object and was sent as a text",
                );
                o.object("input", |o| o.field("invalid_json", &call.arguments));
            }
            self.common(field, part, &["type", "id", "name", "input", "cache_control"], o);
        });
    }

    fn result(
        &mut self,
        field: &str,
        part: &ContentPart,
        result: &ToolResult,
        out: &mut Array<'_>,
    ) {
        if result.kind == ToolKind::Unknown {
            return self.fatal(field, NEWER);
        }
        if result.name.is_some() {
            self.dropped(format!("{field}.name"), "has no field in this format");
        }
        if result.kind != ToolKind::Function {
            self.dropped(format!("{field}.kind"), "has no field in this format");
        }
        let parts: Vec<_> =
            result.parts.iter().enumerate().filter(|(_, part)| !is_nothing(part)).collect();
        out.object(|o| {
            o.field("type", "tool_result");
            o.field("tool_use_id", &result.call_id);
            match &parts[..] {
                [] => {}
                [(_, part)]
                    if is_plain(part)
                        && let Content::Text(text) = &part.content =>
                {
                    o.field("content", &text.text);
                }
                parts => o.array("content", |out| {
                    for (nth, part) in parts {
                        self.write(Side::Result, &format!("{field}.parts[{nth}]"), part, out);
                    }
                }),
            }
            if result.is_error {
                o.field("is_error", &true);
            }
            let typed = ["type", "tool_use_id", "content", "is_error", "cache_control"];
            self.common(field, part, &typed, o);
        });
    }

    fn medium(&mut self, field: &str, part: &ContentPart, out: &mut Array<'_>) {
        let (Content::Image(medium) | Content::File(medium)) = &part.content else { return };
        let is_image = matches!(part.content, Content::Image(_));
        let form = match Form::of(medium, is_image) {
            Ok(form) => form,
            Err(what) => return self.fatal(field, what),
        };
        for (name, lost) in [
            ("name", is_image && medium.name.is_some()),
            ("detail", medium.detail.is_some()),
            ("media_type", !form.keeps(medium.media_type.as_deref())),
        ] {
            if lost {
                self.dropped(format!("{field}.{name}"), "has no field in this format");
            }
        }
        out.object(|o| {
            o.field("type", if is_image { "image" } else { "document" });
            o.object("source", |o| form.write(o));
            if !is_image {
                o.optional("title", medium.name.as_ref());
            }
            self.common(field, part, media::typed(is_image), o);
        });
    }
}
