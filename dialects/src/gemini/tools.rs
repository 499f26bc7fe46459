//! Writes tools, and whether they must be called.

use plugin_api::{
    chat::{ChatRequest, FunctionTool, ToolChoice, ToolDefinition, ToolKind},
    kit::body::{Array, Object},
};

use super::{DIALECT, calls, inbound::is_typed_tool_field};
use crate::loss::{self, Loss, NEWER};

/// Writes `tools` and `toolConfig`.
///
/// All functions stand in one declaration, before the tools that the vendor runs itself: the vendor
/// reads one such list only.
pub(super) fn write(request: &ChatRequest, o: &mut Object<'_>, losses: &mut Vec<Loss>) {
    // The vendor takes a list of allowed names only where one of them must be called.
    let allowed = match &request.tool_choice {
        Some(ToolChoice::Allowed { names, required: false }) => Some(names),
        _ => None,
    };
    let mut functions = Vec::new();
    let mut blocks = Vec::new();
    for (at, tool) in request.tools.iter().enumerate() {
        match tool {
            ToolDefinition::Function(tool) => {
                if allowed.is_none_or(|names| names.contains(&tool.name)) {
                    functions.push((at, tool));
                }
            }
            ToolDefinition::Provider(block) if block.dialect == DIALECT => {
                match calls::object(&block.json) {
                    Some(json) => blocks.push(json),
                    None => losses.push(Loss::fatal(format!("tools[{at}]"), "is no JSON object")),
                }
            }
            ToolDefinition::Custom(_) => {
                let what = "takes free text, which this vendor does not offer";
                losses.push(Loss::fatal(format!("tools[{at}]"), what));
            }
            ToolDefinition::Provider(_) => {
                losses.push(loss::hosted_tool(&request.tools, at, loss::FOREIGN_TOOL));
            }
            _ => losses.push(Loss::fatal(format!("tools[{at}]"), NEWER)),
        }
    }
    if allowed.is_some() {
        losses.push(Loss::dropped("tool_choice.allowed", "was replaced by fewer tools"));
    }
    let validated = is_validated(request, &functions);
    if !functions.is_empty() || !blocks.is_empty() {
        o.array("tools", |out| {
            if !functions.is_empty() {
                out.object(|o| {
                    o.array("functionDeclarations", |out| {
                        for (at, tool) in &functions {
                            function(*at, tool, validated, out, losses);
                        }
                    });
                });
            }
            for block in blocks {
                out.raw(block);
            }
        });
    }
    if let Some(parallel) = request.parallel_tool_calls {
        let what = if parallel { "goes without saying" } else { "cannot be asked for" };
        losses.push(Loss::dropped("parallel_tool_calls", what));
    }
    choice(request, !functions.is_empty(), validated, o, losses);
}

/// Reports whether the vendor's mode that enforces schemas expresses what is asked: every function is
/// strict, and none must be called.
fn is_validated(request: &ChatRequest, functions: &[(usize, &FunctionTool)]) -> bool {
    matches!(request.tool_choice, None | Some(ToolChoice::Auto))
        && !functions.is_empty()
        && functions.iter().all(|(_, tool)| tool.strict == Some(true))
}

fn function(
    at: usize,
    tool: &FunctionTool,
    validated: bool,
    out: &mut Array<'_>,
    losses: &mut Vec<Loss>,
) {
    if tool.strict.is_some() && !validated {
        let what = "holds for all functions or none";
        losses.push(Loss::dropped(format!("tools[{at}].strict"), what));
    }
    if tool.cache.is_some() {
        losses.push(Loss::dropped(format!("tools[{at}].cache"), "has no field here"));
    }
    out.object(|o| {
        o.field("name", &tool.name);
        o.optional("description", tool.description.as_ref());
        o.optional("parametersJsonSchema", tool.parameters.as_ref());
        let place = format!("tools[{at}]");
        loss::options(&tool.options, is_typed_tool_field, &place, o, losses);
    });
}

fn choice(
    request: &ChatRequest,
    has_functions: bool,
    validated: bool,
    o: &mut Object<'_>,
    losses: &mut Vec<Loss>,
) {
    let one;
    let (mode, names): (_, &[String]) = match &request.tool_choice {
        None | Some(ToolChoice::Auto) if validated => ("VALIDATED", &[]),
        None => return,
        Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => ("AUTO", &[]),
        Some(ToolChoice::None) => ("NONE", &[]),
        Some(ToolChoice::Required) => ("ANY", &[]),
        Some(ToolChoice::Tool { name, kind: ToolKind::Function }) => {
            one = [name.clone()];
            ("ANY", &one)
        }
        Some(ToolChoice::Tool { kind: ToolKind::Custom, .. }) => {
            let what = "takes free text, which this vendor does not offer";
            return losses.push(Loss::fatal("tool_choice", what));
        }
        Some(ToolChoice::Allowed { names, required: true }) => ("ANY", names),
        Some(_) => return losses.push(Loss::fatal("tool_choice", NEWER)),
    };
    if !has_functions {
        return losses.push(Loss::dropped("tool_choice", "means nothing without functions"));
    }
    o.object("toolConfig", |o| {
        o.object("functionCallingConfig", |o| {
            o.field("mode", mode);
            if !names.is_empty() {
                o.field("allowedFunctionNames", names);
            }
        });
    });
}
