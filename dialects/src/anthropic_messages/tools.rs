//! Writes tools, and which of them must be called.

use plugin_api::{
    chat::{ChatRequest, ToolChoice, ToolDefinition, ToolKind},
    kit::body::{Array, Object},
};
use serde_json::{Value, json};

use super::{DIALECT, messages::Marks};
use crate::loss::{self, Loss, NEWER};

/// Iterates over the tools that are sent: all, or those that the choice allows.
fn offered(request: &ChatRequest) -> impl Iterator<Item = (usize, &ToolDefinition)> {
    let allowed = match &request.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => Some(names),
        _ => None,
    };
    let is_allowed = move |tool: &ToolDefinition| {
        allowed.is_none_or(|names| names.iter().any(|name| name == name_of(tool)))
    };
    request.tools.iter().enumerate().filter(move |(_, tool)| is_allowed(tool))
}

/// Reports whether a tool must be called.
pub(super) fn is_forced(request: &ChatRequest) -> bool {
    let must = matches!(
        request.tool_choice,
        Some(
            ToolChoice::Required
                | ToolChoice::Tool { .. }
                | ToolChoice::Allowed { required: true, .. }
        )
    );
    must && offered(request).next().is_some()
}

/// Counts the marks for the cache among the tools that are sent.
pub(super) fn marks(request: &ChatRequest) -> usize {
    let marked =
        |tool: &ToolDefinition| matches!(tool, ToolDefinition::Function(t) if t.cache.is_some());
    offered(request).filter(|(_, tool)| marked(tool)).count()
}

/// Writes `tools` and `tool_choice`.
pub(super) fn write(
    request: &ChatRequest,
    marks: &mut Marks,
    o: &mut Object<'_>,
    losses: &mut Vec<Loss>,
) {
    let orphan = offered(request).next().is_none();
    if !orphan {
        o.array("tools", |out| {
            for (at, _) in offered(request) {
                tool(&request.tools, at, marks, out, losses);
            }
        });
    }
    if let Some(ToolChoice::Allowed { .. }) = &request.tool_choice {
        losses.push(Loss::dropped("tool_choice.allowed", "was replaced by fewer tools"));
    }
    if let Some(ToolChoice::Unknown | ToolChoice::Tool { kind: ToolKind::Unknown, .. }) =
        &request.tool_choice
    {
        return losses.push(Loss::fatal("tool_choice", NEWER));
    }
    if orphan {
        for (name, there) in [
            ("tool_choice", request.tool_choice.is_some()),
            ("parallel_tool_calls", request.parallel_tool_calls.is_some()),
        ] {
            if there {
                losses.push(Loss::dropped(name, "means nothing without tools"));
            }
        }
        return;
    }
    if request.tool_choice.is_none() && request.parallel_tool_calls.is_none() {
        return;
    }
    let mut choice = choice(request.tool_choice.as_ref());
    match request.parallel_tool_calls {
        Some(_) if choice["type"] == "none" => {
            let what = "means nothing where no tool may be called";
            losses.push(Loss::dropped("parallel_tool_calls", what));
        }
        Some(parallel) => choice["disable_parallel_tool_use"] = (!parallel).into(),
        None => {}
    }
    o.field("tool_choice", &choice);
}

fn choice(choice: Option<&ToolChoice>) -> Value {
    match choice {
        Some(ToolChoice::None) => json!({"type": "none"}),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => {
            json!({"type": "any"})
        }
        Some(ToolChoice::Tool { name, .. }) => json!({"type": "tool", "name": name}),
        _ => json!({"type": "auto"}),
    }
}

fn name_of(tool: &ToolDefinition) -> &str {
    match tool {
        ToolDefinition::Function(tool) => &tool.name,
        ToolDefinition::Custom(tool) => &tool.name,
        _ => "",
    }
}

fn tool(
    tools: &[ToolDefinition],
    at: usize,
    marks: &mut Marks,
    out: &mut Array<'_>,
    losses: &mut Vec<Loss>,
) {
    let field = format!("tools[{at}]");
    match &tools[at] {
        ToolDefinition::Function(tool) => out.object(|o| {
            o.field("name", &tool.name);
            o.optional("description", tool.description.as_ref());
            match &tool.parameters {
                Some(schema) => o.field("input_schema", schema),
                None => o.field("input_schema", &json!({"type": "object", "properties": {}})),
            }
            o.optional("strict", tool.strict.as_ref());
            marks.write(tool.cache.as_ref(), &field, o, losses);
            loss::options(&tool.options, |name| TYPED.contains(&name), &field, o, losses);
        }),
        ToolDefinition::Custom(_) => {
            losses.push(Loss::fatal(field, "takes free text, which this format cannot offer"));
        }
        ToolDefinition::Provider(block) if block.dialect == DIALECT => out.raw(&block.json),
        ToolDefinition::Provider(_) => {
            losses.push(loss::hosted_tool(tools, at, loss::FOREIGN_TOOL));
        }
        _ => losses.push(Loss::fatal(field, NEWER)),
    }
}

/// Members of a tool that have a typed place.
const TYPED: &[&str] = &["type", "name", "description", "input_schema", "strict", "cache_control"];
