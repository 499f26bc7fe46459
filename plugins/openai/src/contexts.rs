//! What OpenAI keeps: conversations with their items, and stored answers.
//!
//! A conversation's items can be listed and deleted one by one (`conv_…`). Of a stored answer
//! (`resp_…`) the input is listed and the whole deleted. There is no list of either.

use dialects::openai_responses::conversations;
use plugin_api::{
    ContextId,
    operation::{DeleteContextChunk, ListContextChunks},
    prelude::*,
};

use crate::{accepted, chat::warned, login, settings};

/// Opens the exchange that lists one page, oldest first.
pub(crate) fn list(instance: &Instance, request: &ListContextChunks) -> Opened {
    login::api_key_only(instance, "a list of what it keeps")?;
    let Some(context) = &request.context else {
        // Listing is offered, this request just names nothing to list.
        let message = "OpenAI lists no conversations; name one (`conv_…`) or an answer (`resp_…`)";
        return Err(ProviderError::new(ErrorKind::InvalidRequest, message));
    };
    let (context, _) = split(context.as_str());
    let url = match kept(context)? {
        Kept::Conversation => instance.url_of(&["conversations", context, "items"])?,
        Kept::Response => instance.url_of(&["responses", context, "input_items"])?,
    };
    let limit = request.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let mut http = HttpRequest::get(url).query("limit", &limit.to_string()).query("order", "asc");
    if let Some(cursor) = &request.cursor {
        http = http.query("after", cursor);
    }
    let context = ContextId::new(context);
    Ok(kit::call(settings::decorate(instance, http), move |response| {
        accepted(&response)?;
        Ok(Reply::Chunks(conversations::decode(&response.body, &context)?))
    }))
}

/// Opens the exchange that deletes an item, or the whole. What is already gone is `NotFound`.
pub(crate) fn delete(instance: &Instance, request: &DeleteContextChunk) -> Opened {
    login::api_key_only(instance, "deleting what it keeps")?;
    let (context, inner) = split(request.context.as_str());
    // A chunk may be named as `conv_x/msg_y`, as one word.
    let chunk = request.chunk.as_ref().map(|chunk| {
        let chunk = chunk.as_str();
        chunk.strip_prefix(context).and_then(|rest| rest.strip_prefix('/')).unwrap_or(chunk)
    });
    let mut warnings = Vec::new();
    let url = match (kept(context)?, chunk.or(inner)) {
        (Kept::Conversation, Some(item)) => {
            instance.url_of(&["conversations", context, "items", item])?
        }
        (Kept::Conversation, None) => {
            warnings.push(
                "OpenAI keeps the items of a deleted conversation; delete them one by one first",
            );
            instance.url_of(&["conversations", context])?
        }
        (Kept::Response, None) => instance.url_of(&["responses", context])?,
        (Kept::Response, Some(_)) => {
            let message = "OpenAI deletes a stored answer only as a whole";
            return Err(ProviderError::new(ErrorKind::NotSupported, message));
        }
    };
    let http = HttpRequest::new(Method::Delete, url).header("accept", "application/json");
    let call = kit::call(settings::decorate(instance, http), |response| {
        accepted(&response)?;
        Ok(Reply::Unit)
    });
    Ok(warned(call, warnings))
}

/// Most items of a page.
const MAX_PAGE: u64 = 100;

enum Kept {
    Conversation,
    Response,
}

fn kept(context: &str) -> Result<Kept, ProviderError> {
    if context.starts_with("conv_") {
        Ok(Kept::Conversation)
    } else if context.starts_with("resp_") {
        Ok(Kept::Response)
    } else {
        let found = context.escape_debug();
        let message =
            format!("expected a conversation `conv_…` or an answer `resp_…`, found `{found}`");
        Err(ProviderError::new(ErrorKind::InvalidRequest, message))
    }
}

/// Splits `conv_x/msg_y`.
fn split(context: &str) -> (&str, Option<&str>) {
    context.split_once('/').map_or((context, None), |(context, item)| (context, Some(item)))
}
