//! Reads the tools of a client's request, and whether they must be called.

use plugin_api::chat::{ChatRequest, FunctionTool, Opaque, ToolChoice, ToolDefinition, ToolKind};

use crate::{
    fields::Fields,
    gemini::{DIALECT, schema},
    loss::{Loss, RequestError},
};

pub(super) fn read(
    fields: &mut Fields<'_>,
    request: &mut ChatRequest,
    losses: &mut Vec<Loss>,
) -> Result<(), RequestError> {
    for (at, raw) in fields.list("tools")?.into_iter().enumerate() {
        let mut tool = Fields::new(raw.get(), format!("tools[{at}]"))?;
        if tool.raw("functionDeclarations").is_none() {
            let block = Opaque::new(DIALECT, raw.get());
            request.tools.push(ToolDefinition::Provider(block));
            continue;
        }
        let others = tool.rest();
        let mut tool = Fields::new(raw.get(), format!("tools[{at}]"))?;
        for (nth, raw) in tool.list("functionDeclarations")?.into_iter().enumerate() {
            let place = format!("tools[{at}].functionDeclarations[{nth}]");
            request.tools.push(ToolDefinition::Function(function(raw.get(), place)?));
        }
        for (name, value) in others {
            let block = Opaque::new(DIALECT, serde_json::json!({ name: value }).to_string());
            request.tools.push(ToolDefinition::Provider(block));
        }
    }
    let Some(mut config) = fields.object("toolConfig")? else { return Ok(()) };
    if let Some(calling) = config.object("functionCallingConfig")? {
        choice(calling, request, losses)?;
    }
    for (name, _) in config.rest() {
        losses.push(Loss::dropped(format!("toolConfig.{name}"), "is not passed on"));
    }
    Ok(())
}

fn function(json: &str, place: String) -> Result<FunctionTool, RequestError> {
    let mut fields = Fields::new(json, place)?;
    let name: String = fields.require("name")?;
    let older = fields.take("parameters")?.map(schema::from_openapi);
    let parameters = fields.take("parametersJsonSchema")?.or(older);
    let mut tool = FunctionTool::new(name, parameters);
    tool.description = fields.take("description")?;
    tool.options = fields.rest().collect();
    Ok(tool)
}

fn choice(
    mut calling: Fields<'_>,
    request: &mut ChatRequest,
    losses: &mut Vec<Loss>,
) -> Result<(), RequestError> {
    let mode: String = calling.take("mode")?.unwrap_or_default();
    let mut names: Vec<String> = calling.take("allowedFunctionNames")?.unwrap_or_default();
    request.tool_choice = match mode.to_ascii_uppercase().as_str() {
        "" | "MODE_UNSPECIFIED" => None,
        "AUTO" if names.is_empty() => Some(ToolChoice::Auto),
        "AUTO" => Some(ToolChoice::Allowed { names, required: false }),
        "NONE" => Some(ToolChoice::None),
        "ANY" => Some(match names.len() {
            0 => ToolChoice::Required,
            1 => ToolChoice::Tool { name: names.remove(0), kind: ToolKind::Function },
            _ => ToolChoice::Allowed { names, required: true },
        }),
        "VALIDATED" => {
            for tool in &mut request.tools {
                if let ToolDefinition::Function(tool) = tool {
                    tool.strict = Some(true);
                }
            }
            Some(if names.is_empty() {
                ToolChoice::Auto
            } else {
                ToolChoice::Allowed { names, required: false }
            })
        }
        _ => return Err(calling.error("mode", "expected `AUTO`, `ANY`, `NONE` or `VALIDATED`")),
    };
    if calling.take::<bool>("streamFunctionCallArguments")? == Some(true) {
        let field = "toolConfig.functionCallingConfig.streamFunctionCallArguments";
        losses.push(Loss::dropped(field, "is not followed: arguments come whole"));
    }
    Ok(())
}
