//! What a wire format could not carry.

use std::{collections::BTreeMap, fmt};

use plugin_api::{
    chat::{Opaque, ToolDefinition},
    error::{ErrorKind, ProviderError},
    exchange::Outbox,
    http::Body,
    kit::body::Object,
    provider::unsupported_field,
};
use serde_json::Value;

/// A piece of a request that the wire format, or the server behind it, cannot carry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Where it stood, for example `messages[2].content[0]` or `top_k`.
    pub field: String,
    /// What happened to it, for example `cannot be sent`.
    pub what: &'static str,
    /// Whether the answer means the same without it. When not, the request must be refused.
    pub harmless: bool,
}

impl Loss {
    pub(crate) fn dropped(field: impl Into<String>, what: &'static str) -> Self {
        Self { field: field.into(), what, harmless: true }
    }

    pub(crate) fn fatal(field: impl Into<String>, what: &'static str) -> Self {
        Self { field: field.into(), what, harmless: false }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.what)
    }
}

/// What is wrong with a word that only a newer contract knows.
pub(crate) const NEWER: &str = "is of a newer contract";

/// Says what becomes of a tool that the vendor behind this format does not run.
///
/// Beside tools that the client runs itself it is one more way to an answer, and agents offer it
/// unasked: it is left out and named. Alone it is what the request is about.
pub(crate) fn hosted_tool(tools: &[ToolDefinition], at: usize, what: &'static str) -> Loss {
    let own = |tool: &ToolDefinition| {
        matches!(tool, ToolDefinition::Function(_) | ToolDefinition::Custom(_))
    };
    let harmless = tools.iter().any(own);
    Loss { field: format!("tools[{at}]"), what, harmless }
}

/// What becomes of a picture that another model made, where the format has none of the model's.
pub(crate) const OWN_PICTURE: &str = "was made by the model and is not sent back in this format";

/// What is wrong with a tool of another vendor.
pub(crate) const FOREIGN_TOOL: &str = "belongs to another vendor";

/// Says what is wrong with a block that another vendor's format wrote.
pub(crate) fn foreign_block(block: &Opaque) -> &'static str {
    let value = block.value().unwrap_or_default();
    if value["type"] == "item_reference" {
        return "refers to an item that is not kept here; let the client send whole items \
                (`store: false`)";
    }
    "belongs to another vendor"
}

/// A request body, and what it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Encoded {
    /// The body; blobs are pieces of it.
    pub body: Body,
    /// What could not be expressed.
    pub losses: Vec<Loss>,
}

impl Encoded {
    pub(crate) fn new(body: Body, losses: Vec<Loss>) -> Self {
        Self { body, losses }
    }

    /// Refuses a request that would mean something else; the harmless losses stay.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotSupported`], naming the first field whose loss is not harmless.
    pub fn or_refuse(self) -> Result<Self, ProviderError> {
        match self.losses.iter().find(|loss| !loss.harmless) {
            Some(loss) => Err(unsupported_field(&loss.field, loss.what)),
            None => Ok(self),
        }
    }
}

/// Writes options that stand at `place` as fields, except those that have a typed place.
pub(crate) fn options(
    options: &BTreeMap<String, Value>,
    is_typed: impl Fn(&str) -> bool,
    place: &str,
    o: &mut Object<'_>,
    losses: &mut Vec<Loss>,
) {
    for (name, value) in options {
        if is_typed(name) {
            let dot = if place.is_empty() { "" } else { "." };
            losses.push(Loss::dropped(format!("{place}{dot}options.{name}"), "has a typed field"));
        } else {
            o.field(name, value);
        }
    }
}

/// Warns the client of each loss.
pub(crate) fn warn(losses: &mut Vec<Loss>, out: &mut Outbox<'_>) {
    for loss in losses.drain(..) {
        out.warning(loss.to_string());
    }
}

/// Why a client's request is refused before any provider sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestError {
    /// The field at fault, for example `messages[0].role`; empty when the body as a whole is.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// Whether it can be read, but not by who is asked.
    pub is_unsupported: bool,
}

impl RequestError {
    /// Makes a refusal; with an empty field, of the body as a whole.
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), is_unsupported: false }
    }

    /// Makes the refusal of a field that can be read, but not by who is asked.
    #[must_use]
    pub fn unsupported(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { is_unsupported: true, ..Self::new(field, message) }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "`{}`: {}", self.field, self.message)
    }
}

impl std::error::Error for RequestError {}

impl From<RequestError> for ProviderError {
    fn from(error: RequestError) -> Self {
        let kind =
            if error.is_unsupported { ErrorKind::NotSupported } else { ErrorKind::InvalidRequest };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::chat::FunctionTool;

    use super::*;

    #[test]
    fn only_a_loss_that_changes_the_meaning_refuses_the_request() {
        let harmless = Encoded::new(Body::default(), vec![Loss::dropped("top_k", "is not sent")]);
        assert_eq!(harmless.clone().or_refuse(), Ok(harmless));
        let fatal = Encoded::new(Body::default(), vec![Loss::fatal("context", "cannot be sent")]);
        let error = fatal.or_refuse().unwrap_err();
        assert_eq!(error.message, "`context` cannot be sent");
    }

    #[test]
    fn a_hosted_tool_is_harmless_beside_tools_of_the_client() {
        let hosted = ToolDefinition::Provider(Opaque::new("d", "{}"));
        let own = ToolDefinition::Function(FunctionTool::new("f", None));
        let loss = |tools: &[ToolDefinition]| hosted_tool(tools, 0, FOREIGN_TOOL);
        assert_eq!(loss(&[hosted.clone(), own]), Loss::dropped("tools[0]", FOREIGN_TOOL));
        assert_eq!(loss(&[hosted.clone(), hosted]), Loss::fatal("tools[0]", FOREIGN_TOOL));
    }

    #[test]
    fn a_request_error_names_its_field() {
        let error = RequestError::new("n", "only 1 is served");
        assert_eq!(ProviderError::from(error).message, "`n`: only 1 is served");
        assert_eq!(RequestError::new("", "not JSON").to_string(), "not JSON");
    }
}
