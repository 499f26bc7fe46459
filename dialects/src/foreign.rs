//! Fields that mean something to one vendor alone.
//!
//! A decoder keeps what it has no type for as options, and an encoder sends options as they are, so that
//! a client may use what a vendor added yesterday. Sent to another vendor the same words are an error, or
//! mean something else: here they are named, and what becomes of them. Words that no vendor is known for
//! stay: a client that writes them means the provider that it chose.

use plugin_api::{
    chat::{ChatRequest, Content, ContentPart, ToolDefinition},
    operation::EmbedRequest,
};
use serde_json::Value;

use crate::{Loss, RequestError, anthropic_messages, gemini, openai_chat, openai_responses};

/// What a request is without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// Answered in much the same way.
    Fine,
    /// Another request.
    Other,
    /// Another request, unless the word asks for texts alone.
    OtherUnlessText,
}

use Without::{Fine, Other, OtherUnlessText};

/// Takes out of a request what only the format it was read in understands; `to` are the formats of the
/// provider that will get it. Nothing is done for a provider that names no format.
///
/// # Errors
///
/// [`RequestError`] names the field without which it would be another request.
pub fn leave_foreign(
    request: &mut ChatRequest,
    from: &str,
    to: &[String],
) -> Result<Vec<Loss>, RequestError> {
    let mut losses = Vec::new();
    if to.is_empty() || to.iter().any(|to| to == from) {
        return Ok(losses);
    }
    let kept = |name: &str| {
        let knows = |to: &String| is_of_one_vendor(from, to) && find(to, name).is_some();
        to.iter().any(knows)
    };
    let mut refused = None;
    request.options.retain(|name, value| {
        let Some(without) = find(from, name).filter(|_| !kept(name)) else { return true };
        let matters = match without {
            Fine => false,
            Other => true,
            OtherUnlessText => !asks_for_texts(value),
        };
        if matters {
            refused.get_or_insert_with(|| name.clone());
        } else {
            losses.push(Loss::dropped(name.clone(), "belongs to another vendor"));
        }
        false
    });
    if let Some(name) = refused {
        return Err(RequestError::new(name, "this provider has no such thing"));
    }
    if !to.iter().any(|to| is_of_one_vendor(from, to)) {
        for (at, message) in request.messages.iter_mut().enumerate() {
            options_of_parts(&mut message.parts, &format!("messages[{at}]"), &mut losses);
        }
        for (at, tool) in request.tools.iter_mut().enumerate() {
            let ToolDefinition::Function(function) = tool else { continue };
            for (name, _) in std::mem::take(&mut function.options) {
                losses.push(Loss::dropped(
                    format!("tools[{at}].{name}"),
                    "belongs to another vendor",
                ));
            }
        }
    }
    Ok(losses)
}

fn options_of_parts(parts: &mut [ContentPart], place: &str, losses: &mut Vec<Loss>) {
    for (at, part) in parts.iter_mut().enumerate() {
        for (name, _) in std::mem::take(&mut part.options) {
            let field = format!("{place}.parts[{at}].{name}");
            losses.push(Loss::dropped(field, "belongs to another vendor"));
        }
        if let Content::ToolResult(result) = &mut part.content {
            options_of_parts(&mut result.parts, &format!("{place}.parts[{at}]"), losses);
        }
    }
}

/// Takes out of a request for vectors what only the format it was read in understands, as
/// [`leave_foreign`] does for chats. Vectors come without any of it.
#[must_use]
pub fn leave_foreign_of_vectors(
    request: &mut EmbedRequest,
    from: &str,
    to: &[String],
) -> Vec<Loss> {
    if to.is_empty() || to.iter().any(|to| is_of_one_vendor(from, to)) {
        return Vec::new();
    }
    let task = request.task.take().map(|_| Loss::dropped("taskType", "has no field here"));
    let options = std::mem::take(&mut request.options).into_keys();
    let options = options.map(|name| Loss::dropped(name, "belongs to another vendor"));
    task.into_iter().chain(options).collect()
}

fn is_of_one_vendor(one: &str, other: &str) -> bool {
    let openai = [openai_chat::DIALECT, openai_responses::DIALECT];
    one == other || openai.contains(&one) && openai.contains(&other)
}

fn asks_for_texts(value: &Value) -> bool {
    let is_text = |one: &Value| one.as_str().is_some_and(|one| one.eq_ignore_ascii_case("text"));
    value.as_array().is_some_and(|all| all.iter().all(is_text))
}

/// Looks a word up; those below an object are known by it.
fn find(dialect: &str, name: &str) -> Option<Without> {
    let words = match dialect {
        openai_chat::DIALECT => OPENAI_CHAT,
        openai_responses::DIALECT => OPENAI_RESPONSES,
        anthropic_messages::DIALECT => ANTHROPIC,
        gemini::DIALECT => GEMINI,
        _ => &[],
    };
    let name = name.split_once('.').map_or(name, |(object, _)| object);
    words.iter().find(|(word, _)| *word == name).map(|(_, without)| *without)
}

const OPENAI_CHAT: &[(&str, Without)] = &[
    ("audio", Fine),
    ("logit_bias", Fine),
    ("modalities", OtherUnlessText),
    ("moderation", Fine),
    ("prediction", Fine),
    ("prompt_cache_options", Fine),
    ("prompt_cache_retention", Fine),
    ("service_tier", Fine),
    ("verbosity", Fine),
    ("web_search_options", Other),
];

const OPENAI_RESPONSES: &[(&str, Without)] = &[
    ("context_management", Fine),
    ("include", Fine),
    ("max_tool_calls", Fine),
    ("moderation", Fine),
    ("prompt", Other),
    ("prompt_cache_options", Fine),
    ("prompt_cache_retention", Fine),
    ("reasoning", Fine),
    ("service_tier", Fine),
    ("text", Fine),
    ("top_logprobs", Fine),
    ("truncation", Fine),
    ("verbosity", Fine),
];

const ANTHROPIC: &[(&str, Without)] = &[
    ("cache_control", Fine),
    ("container", Other),
    ("context_management", Fine),
    ("diagnostics", Fine),
    ("inference_geo", Other),
    ("mcp_servers", Other),
    ("output_config", Fine),
    ("service_tier", Fine),
    ("speed", Fine),
    ("thinking", Fine),
];

const GEMINI: &[(&str, Without)] = &[
    ("generationConfig", Fine),
    ("imageConfig", Fine),
    ("logprobs", Fine),
    ("mediaResolution", Fine),
    ("responseLogprobs", Fine),
    ("responseModalities", OtherUnlessText),
    ("safetySettings", Fine),
    ("serviceTier", Fine),
    ("speechConfig", Fine),
];

#[cfg(test)]
mod tests {
    use plugin_api::chat::{FunctionTool, Message};
    use serde_json::json;

    use super::*;

    fn asked(options: Value) -> ChatRequest {
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        request.options = serde_json::from_value(options).unwrap();
        request
    }

    fn left(from: &str, to: &[&str], options: Value) -> Result<(Vec<String>, Vec<String>), String> {
        let mut request = asked(options);
        let to: Vec<String> = to.iter().map(|to| (*to).to_owned()).collect();
        let losses = leave_foreign(&mut request, from, &to).map_err(|error| error.field)?;
        let named = losses.iter().map(|loss| loss.field.clone()).collect();
        Ok((request.options.into_keys().collect(), named))
    }

    #[test]
    fn words_of_one_vendor_are_named_and_not_sent_to_another() {
        let agent = json!({"context_management": {"edits": []}, "service_tier": "auto", "mine": 1});
        let (sent, named) =
            left(anthropic_messages::DIALECT, &[openai_responses::DIALECT], agent).unwrap();
        assert_eq!(sent, ["mine"], "what no vendor is known for is the client's own business");
        assert_eq!(named, ["context_management", "service_tier"]);
        let (sent, named) = left(
            gemini::DIALECT,
            &[openai_chat::DIALECT],
            json!({"safetySettings": [], "responseModalities": ["TEXT"]}),
        )
        .unwrap();
        assert_eq!((sent.len(), named.len()), (0, 2));
    }

    #[test]
    fn what_makes_it_another_request_is_refused_by_name() {
        for (from, options, field) in [
            (anthropic_messages::DIALECT, json!({"mcp_servers": []}), "mcp_servers"),
            (openai_responses::DIALECT, json!({"prompt": {"id": "p"}}), "prompt"),
            (openai_chat::DIALECT, json!({"modalities": ["text", "audio"]}), "modalities"),
        ] {
            assert_eq!(left(from, &[gemini::DIALECT], options), Err(field.to_owned()));
        }
    }

    #[test]
    fn a_vendors_formats_share_some_words() {
        let to = [openai_chat::DIALECT];
        let options = json!({"verbosity": "low", "truncation": "auto", "text.x": 1});
        let (sent, named) = left(openai_responses::DIALECT, &to, options).unwrap();
        assert_eq!(
            (sent, named),
            (vec!["verbosity".into()], vec!["text.x".into(), "truncation".into()])
        );
        let both = [openai_responses::DIALECT, openai_chat::DIALECT];
        let same = json!({"truncation": "auto", "prompt": {}});
        assert_eq!(left(openai_responses::DIALECT, &both, same).unwrap().0.len(), 2);
    }

    #[test]
    fn a_provider_without_a_format_gets_everything() {
        let options = json!({"mcp_servers": [], "speed": "fast"});
        assert_eq!(left(anthropic_messages::DIALECT, &[], options).unwrap().0.len(), 2);
    }

    #[test]
    fn options_of_tools_and_parts_stay_with_their_vendor() {
        let mut function = FunctionTool::new("f", None);
        function.options = [("eager_input_streaming".to_owned(), json!(true))].into();
        let mut request = asked(json!({}));
        request.messages[0].parts[0].options = [("context".to_owned(), json!("x"))].into();
        request.tools = vec![ToolDefinition::Function(function)];
        let to = [gemini::DIALECT.to_owned()];
        let losses = leave_foreign(&mut request, anthropic_messages::DIALECT, &to).unwrap();
        let named: Vec<&str> = losses.iter().map(|loss| &*loss.field).collect();
        assert_eq!(named, ["messages[0].parts[0].context", "tools[0].eager_input_streaming"]);
        assert!(request.messages[0].parts[0].options.is_empty());
        let ToolDefinition::Function(function) = &request.tools[0] else { panic!() };
        assert!(function.options.is_empty());
    }
}
