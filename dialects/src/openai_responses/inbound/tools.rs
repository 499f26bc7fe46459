//! Reads the tools that a client offers.

use plugin_api::chat::{
    ChatRequest, CustomTool, FunctionTool, Opaque, ToolChoice, ToolDefinition, ToolKind,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    fields::{Fields, parse_all},
    loss::{Loss, RequestError},
    openai_responses::{DIALECT, Namespaces},
};

#[derive(Deserialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    description: Option<String>,
    parameters: Option<Value>,
    strict: Option<bool>,
    format: Option<Value>,
    #[serde(borrow)]
    tools: Option<Vec<&'a RawValue>>,
}

/// Reads the tools, those in groups too, and the choice among them.
pub(super) fn read(
    fields: &mut Fields<'_>,
    request: &mut ChatRequest,
    namespaces: &mut Namespaces,
    losses: &mut Vec<Loss>,
) -> Result<(), RequestError> {
    let list: Vec<&RawValue> = fields.take("tools")?.unwrap_or_default();
    for (at, raw) in list.iter().enumerate() {
        let field = format!("tools[{at}]");
        let (wire, unread): (WireTool<'_>, _) = parse_all(raw.get(), || field.clone())?;
        if let None | Some("function" | "custom" | "namespace") = wire.kind.as_deref() {
            unread.name(raw.get(), || field.clone(), losses);
        }
        if wire.kind.as_deref() != Some("namespace") {
            request.tools.push(tool(&field, raw, wire, "", namespaces)?);
            continue;
        }
        let namespace = named(&field, wire.name)?;
        if wire.description.is_some() {
            losses.push(Loss::dropped(format!("{field}.description"), "describes a group alone"));
        }
        for (inner, raw) in wire.tools.unwrap_or_default().into_iter().enumerate() {
            let field = format!("{field}.tools[{inner}]");
            let (wire, unread) = parse_all(raw.get(), || field.clone())?;
            unread.name(raw.get(), || field.clone(), losses);
            request.tools.push(tool(&field, raw, wire, &namespace, namespaces)?);
        }
    }
    if let Some(value) = fields.take::<Value>("tool_choice")? {
        request.tool_choice = Some(choice(&value, namespaces)?);
    }
    Ok(())
}

fn named(field: &str, name: Option<String>) -> Result<String, RequestError> {
    let name = name.filter(|name| !name.is_empty());
    name.ok_or_else(|| RequestError::new(format!("{field}.name"), "is missing"))
}

fn tool(
    field: &str,
    raw: &RawValue,
    wire: WireTool<'_>,
    namespace: &str,
    namespaces: &mut Namespaces,
) -> Result<ToolDefinition, RequestError> {
    match wire.kind.as_deref() {
        Some("function") | None => {
            let name = namespaces.add(namespace, &named(field, wire.name)?);
            let mut tool = FunctionTool::new(name, wire.parameters);
            tool.description = wire.description;
            tool.strict = wire.strict;
            Ok(ToolDefinition::Function(tool))
        }
        Some("custom") => {
            let name = namespaces.add(namespace, &named(field, wire.name)?);
            let mut tool = CustomTool::new(name);
            tool.description = wire.description;
            tool.format = wire.format;
            Ok(ToolDefinition::Custom(tool))
        }
        Some(_) => Ok(ToolDefinition::Provider(Opaque::new(DIALECT, raw.get()))),
    }
}

fn choice(value: &Value, namespaces: &Namespaces) -> Result<ToolChoice, RequestError> {
    let name = |value: &Value| {
        let (name, group) = (value["name"].as_str()?, value["namespace"].as_str());
        let neutral = namespaces.neutral(group.unwrap_or_default(), name);
        Some(neutral.unwrap_or(name).to_owned())
    };
    let choice = match (value.as_str(), value["type"].as_str()) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("required"), _) => Some(ToolChoice::Required),
        (_, Some("function")) => {
            name(value).map(|name| ToolChoice::Tool { name, kind: ToolKind::Function })
        }
        (_, Some("custom")) => {
            name(value).map(|name| ToolChoice::Tool { name, kind: ToolKind::Custom })
        }
        (_, Some("allowed_tools")) => value["tools"].as_array().map(|tools| ToolChoice::Allowed {
            names: tools.iter().filter_map(name).collect(),
            required: value["mode"] == "required",
        }),
        _ => None,
    };
    choice.ok_or_else(|| RequestError::new("tool_choice", "is not a choice that can be passed on"))
}
