//! Writes a request for a server.

use plugin_api::{
    chat::{
        ChatRequest, Content, Message, ResponseFormat, Role, ToolChoice, ToolDefinition, ToolKind,
    },
    error::ProviderError,
    kit::body::{self, Array, Object},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{DIALECT, Quirks, inbound::is_typed_field, messages, quirks::only_tunes};
use crate::loss::{self, Encoded, Loss, NEWER};

/// Writes a request under the quirks of a server.
///
/// A first system message becomes `instructions` where the server does not keep the conversation:
/// what is kept is said as items, because a later request does not inherit instructions.
///
/// A context is a conversation when its id starts with `conv_`, and else an earlier response.
///
/// # Errors
///
/// `InvalidRequest` when a value has no JSON form.
pub fn encode_request(request: &ChatRequest, quirks: &Quirks) -> Result<Encoded, ProviderError> {
    let mut losses = Vec::new();
    let body = body::object(|o| {
        let mut w = Fields { quirks, o, losses: &mut losses };
        w.conversation(request);
        if quirks.stream {
            w.o.field("stream", &true);
        }
        w.field("store", request.store.as_ref());
        w.tools(request);
        w.text(request);
        w.reasoning(request);
        w.settings(request);
        w.options(request);
    })?;
    Ok(Encoded::new(body, losses))
}

/// Writes the part of a request whose tokens are counted.
pub(super) fn encode_count(
    request: &ChatRequest,
    quirks: &Quirks,
) -> Result<Encoded, ProviderError> {
    let mut losses = Vec::new();
    let body = body::object(|o| {
        let mut w = Fields { quirks, o, losses: &mut losses };
        w.conversation(request);
        w.tools(request);
        w.text(request);
        w.reasoning(request);
        w.field("truncation", request.options.get("truncation"));
    })?;
    Ok(Encoded::new(body, losses))
}

struct Fields<'w, 'o> {
    quirks: &'w Quirks,
    o: &'w mut Object<'o>,
    losses: &'w mut Vec<Loss>,
}

impl Fields<'_, '_> {
    /// Writes a field when it has a value and the server takes it.
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: Option<&T>) {
        let Some(value) = value else { return };
        if self.takes(name) {
            self.o.field(name, value);
        }
    }

    /// Reports whether the server takes a field; what it loses by that is noted.
    fn takes(&mut self, name: &str) -> bool {
        let rejected = self.quirks.rejects(name);
        if rejected && only_tunes(name) {
            self.losses.push(Loss::dropped(name, "is not taken under this login"));
        } else if rejected {
            self.losses.push(Loss::fatal(name, "is not taken under this login"));
        }
        !rejected
    }

    fn conversation(&mut self, request: &ChatRequest) {
        self.o.field("model", &request.model);
        let kept = request.context.is_some() || request.store != Some(false);
        let first =
            request.messages.first().filter(|_| !kept || !self.quirks.supports_system_items);
        let instructions = first.and_then(instructions);
        if let Some(text) = instructions {
            self.o.field("instructions", text);
        }
        let skip = usize::from(instructions.is_some());
        let (quirks, losses) = (self.quirks, &mut *self.losses);
        self.o.array("input", |out| messages::write_all(request, skip, quirks, out, losses));
        if let Some(context) = &request.context {
            let conversation = context.as_str().starts_with("conv_");
            let name = if conversation { "conversation" } else { "previous_response_id" };
            self.field(name, Some(context.as_str()));
        }
    }

    fn settings(&mut self, request: &ChatRequest) {
        let sampling = &request.sampling;
        self.field("temperature", sampling.temperature.as_ref());
        self.field("top_p", sampling.top_p.as_ref());
        self.field("max_output_tokens", request.max_output_tokens.as_ref());
        self.field("prompt_cache_key", request.cache_key.as_ref());
        self.field("safety_identifier", request.user.as_ref());
        if !request.metadata.is_empty() {
            self.field("metadata", Some(&request.metadata));
        }
        for (name, there) in [
            ("top_k", sampling.top_k.is_some()),
            ("frequency_penalty", sampling.frequency_penalty.is_some()),
            ("presence_penalty", sampling.presence_penalty.is_some()),
            ("seed", sampling.seed.is_some()),
        ] {
            if there {
                self.losses.push(Loss::dropped(name, "has no field in this format"));
            }
        }
        if !request.stop.is_empty() {
            // The answer would run on into what the client never expects.
            self.losses.push(Loss::fatal("stop", "has no field in this format"));
        }
    }

    fn text(&mut self, request: &ChatRequest) {
        let mut text = Map::new();
        match &request.response_format {
            None => {}
            Some(ResponseFormat::Text) => {
                drop(text.insert("format".into(), json!({"type": "text"})));
            }
            Some(ResponseFormat::JsonObject) => {
                text.insert("format".into(), json!({"type": "json_object"}));
            }
            Some(ResponseFormat::JsonSchema(schema)) => {
                let mut format = json!({"type": "json_schema"});
                if let Ok(Value::Object(fields)) = serde_json::to_value(schema) {
                    fields.into_iter().for_each(|(name, value)| format[name] = value);
                }
                text.insert("format".into(), format);
            }
            Some(_) => self.losses.push(Loss::fatal("response_format", NEWER)),
        }
        text.extend(
            request.options.get("verbosity").map(|word| ("verbosity".into(), word.clone())),
        );
        inner_options("text.", request, &mut text);
        if !text.is_empty() {
            self.o.field("text", &text);
        }
    }

    fn reasoning(&mut self, request: &ChatRequest) {
        let mut wire = Map::new();
        if let Some(reasoning) = &request.reasoning {
            let word = |word: &String| Value::from(word.as_str());
            wire.extend(reasoning.effort.as_ref().map(|effort| ("effort".into(), word(effort))));
            // To show nothing is what the server does when nothing is said.
            let summary = reasoning.summary.as_ref().filter(|summary| *summary != "none");
            wire.extend(summary.map(|summary| ("summary".into(), word(summary))));
            for (name, there) in [
                ("reasoning.budget_tokens", reasoning.budget_tokens.is_some()),
                ("reasoning.adaptive", reasoning.adaptive),
            ] {
                if there {
                    self.losses.push(Loss::dropped(name, "has no field in this format"));
                }
            }
        }
        inner_options("reasoning.", request, &mut wire);
        if !wire.is_empty() {
            self.o.field("reasoning", &wire);
        }
    }

    fn options(&mut self, request: &ChatRequest) {
        let asked = request.options.get("include").and_then(Value::as_array);
        let mut include: Vec<&Value> = asked.into_iter().flatten().collect();
        let encrypted = Value::from(ENCRYPTED);
        if self.quirks.encrypted_reasoning && !include.contains(&&encrypted) {
            include.insert(0, &encrypted);
        }
        if !include.is_empty() {
            self.o.field("include", &include);
        }
        for (name, value) in &request.options {
            if is_typed_field(name) {
                self.losses.push(Loss::dropped(format!("options.{name}"), "has a typed field"));
            } else if name != "include" && name != "verbosity" && !is_inner_option(name) {
                self.field(name, Some(value));
            }
        }
    }

    fn tools(&mut self, request: &ChatRequest) {
        let orphan = request.tools.is_empty();
        if !orphan {
            let (quirks, losses) = (self.quirks, &mut *self.losses);
            self.o.array("tools", |out| tools(&request.tools, quirks, out, losses));
        }
        if let Some(choice) = &request.tool_choice {
            if let ToolChoice::Unknown | ToolChoice::Tool { kind: ToolKind::Unknown, .. } = choice {
                self.losses.push(Loss::fatal("tool_choice", NEWER));
            } else if orphan {
                self.losses.push(Loss::dropped("tool_choice", "means nothing without tools"));
            } else {
                self.o.field("tool_choice", &tool_choice(choice, &request.tools));
            }
        }
        if let Some(parallel) = request.parallel_tool_calls {
            if orphan {
                let what = "means nothing without tools";
                self.losses.push(Loss::dropped("parallel_tool_calls", what));
            } else {
                self.o.field("parallel_tool_calls", &parallel);
            }
        }
    }
}

/// What asks for reasoning in its encrypted form.
pub(super) const ENCRYPTED: &str = "reasoning.encrypted_content";

/// Reports whether an option belongs inside `text` or `reasoning`, as `text.FIELD`.
fn is_inner_option(name: &str) -> bool {
    name.starts_with("text.") || name.starts_with("reasoning.")
}

fn inner_options(prefix: &str, request: &ChatRequest, to: &mut Map<String, Value>) {
    for (name, value) in &request.options {
        if let Some(name) = name.strip_prefix(prefix) {
            to.entry(name).or_insert_with(|| value.clone());
        }
    }
}

/// Returns the text of a message that can be said as `instructions`.
fn instructions(message: &Message) -> Option<&str> {
    let [part] = &message.parts[..] else { return None };
    let Content::Text(text) = &part.content else { return None };
    let plain = message.name.is_none()
        && part.cache.is_none()
        && part.continuity.is_empty()
        && part.options.is_empty()
        && text.citations.is_empty();
    (message.role == Role::System && plain).then_some(text.text.as_str())
}

fn tools(tools: &[ToolDefinition], quirks: &Quirks, out: &mut Array<'_>, losses: &mut Vec<Loss>) {
    let grouped = |tool: &ToolDefinition| {
        quirks.namespace.is_some()
            && matches!(tool, ToolDefinition::Function(_) | ToolDefinition::Custom(_))
    };
    if let Some(namespace) = quirks.namespace.as_ref().filter(|_| tools.iter().any(grouped)) {
        out.object(|o| {
            o.field("type", "namespace");
            o.field("name", namespace);
            o.field("description", "Tools of the application.");
            o.array("tools", |out| {
                for (at, _) in tools.iter().enumerate().filter(|(_, tool)| grouped(tool)) {
                    tool(tools, at, quirks, out, losses);
                }
            });
        });
    }
    for (at, _) in tools.iter().enumerate().filter(|(_, tool)| !grouped(tool)) {
        tool(tools, at, quirks, out, losses);
    }
}

fn tool(
    tools: &[ToolDefinition],
    at: usize,
    quirks: &Quirks,
    out: &mut Array<'_>,
    losses: &mut Vec<Loss>,
) {
    let mut dropped = |field: &str, there: bool| {
        if there {
            losses.push(Loss::dropped(format!("tools[{at}].{field}"), "has no field here"));
        }
    };
    match &tools[at] {
        ToolDefinition::Function(tool) => {
            dropped("options", !tool.options.is_empty());
            dropped("cache", tool.cache.is_some());
            let strict = tool.strict.or(quirks.lax_tools.then_some(false));
            out.object(|o| {
                o.field("type", "function");
                o.field("name", &tool.name);
                o.optional("description", tool.description.as_ref());
                o.optional("parameters", tool.parameters.as_ref());
                o.optional("strict", strict.as_ref());
            });
        }
        ToolDefinition::Custom(tool) => {
            dropped("options", !tool.options.is_empty());
            out.object(|o| {
                o.field("type", "custom");
                o.field("name", &tool.name);
                o.optional("description", tool.description.as_ref());
                o.optional("format", tool.format.as_ref());
            });
        }
        ToolDefinition::Provider(block) if block.dialect == DIALECT => {
            let kind = block.value().unwrap_or_default();
            let kind = kind["type"].as_str().unwrap_or_default();
            match quirks.hosted_tools {
                Some(offered) if !offered.contains(&kind) => {
                    let what = "is a tool of the vendor that this login does not offer";
                    losses.push(loss::hosted_tool(tools, at, what));
                }
                _ => out.raw(&block.json),
            }
        }
        ToolDefinition::Provider(_) => {
            losses.push(loss::hosted_tool(tools, at, loss::FOREIGN_TOOL));
        }
        _ => losses.push(Loss::fatal(format!("tools[{at}]"), NEWER)),
    }
}

fn tool_choice(choice: &ToolChoice, tools: &[ToolDefinition]) -> Value {
    let named = |name: &str, kind: ToolKind| {
        let kind = if kind == ToolKind::Custom { "custom" } else { "function" };
        json!({"type": kind, "name": name})
    };
    match choice {
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Tool { name, kind } => named(name, *kind),
        ToolChoice::Allowed { names, required } => {
            let kind = |name: &str| {
                let custom = |tool: &ToolDefinition| matches!(tool, ToolDefinition::Custom(t) if t.name == name);
                if tools.iter().any(custom) { ToolKind::Custom } else { ToolKind::Function }
            };
            let tools: Vec<Value> = names.iter().map(|name| named(name, kind(name))).collect();
            let mode = if *required { "required" } else { "auto" };
            json!({"type": "allowed_tools", "mode": mode, "tools": tools})
        }
        _ => json!("auto"),
    }
}
