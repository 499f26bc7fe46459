//! What of an answer has no place in the dialect of its client.

use plugin_api::event::ChatEvent;

use crate::{anthropic_messages, gemini, openai_chat, openai_responses};

/// Says what of an event no encoder of this dialect writes, in words for the client, and which part it
/// belongs to; a part that comes in pieces is named with each. An unknown dialect has text alone.
#[must_use]
pub fn untold(dialect: &str, event: &ChatEvent) -> Option<(u32, String)> {
    match event {
        ChatEvent::MediaDelta { part, media_type, .. } => {
            let told = match dialect {
                gemini::DIALECT => true,
                openai_chat::DIALECT | openai_responses::DIALECT => {
                    media_type.starts_with("image/")
                }
                _ => false,
            };
            let text = || format!("`{media_type}` of the answer cannot be said in this format");
            (!told).then(|| (*part, text()))
        }
        ChatEvent::Opaque { part, block } => {
            // Blocks of others ride in items of the Responses API; chat completions have none at all.
            let told = dialect == openai_responses::DIALECT
                || (block.dialect == dialect
                    && [anthropic_messages::DIALECT, gemini::DIALECT].contains(&dialect));
            let text = || {
                let value = block.value().unwrap_or_default();
                let kind =
                    value["type"].as_str().or_else(|| Some(value.as_object()?.keys().next()?));
                format!(
                    "a block `{}` of the answer has no place in this format",
                    kind.unwrap_or("")
                )
            };
            (!told).then(|| (*part, text()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::chat::Opaque;

    use super::*;

    #[test]
    fn what_a_format_has_no_place_for_is_named() {
        let media =
            |kind: &str| ChatEvent::MediaDelta { part: 3, media_type: kind.into(), data: vec![1] };
        let block = |dialect: &str, json: &str| ChatEvent::Opaque {
            part: 3,
            block: Opaque::new(dialect, json),
        };
        let ran = block(gemini::DIALECT, r#"{"executableCode":{}}"#);
        let searched =
            block(anthropic_messages::DIALECT, r#"{"id":"x","type":"web_search_tool_result"}"#);
        let all = [
            openai_chat::DIALECT,
            openai_responses::DIALECT,
            anthropic_messages::DIALECT,
            gemini::DIALECT,
        ];
        for (event, told) in [
            (media("image/png"), [true, true, false, true]),
            (media("audio/wav"), [false, false, false, true]),
            (ran, [false, true, false, true]),
            (searched, [false, true, true, false]),
        ] {
            assert_eq!(all.map(|dialect| untold(dialect, &event).is_none()), told, "{event:?}");
        }
        let (part, text) = untold("", &block("d", r#"{"id":"x","type":"y"}"#)).unwrap();
        assert_eq!((part, &*text), (3, "a block `y` of the answer has no place in this format"));
    }
}
