//! Marks for the cache, of which the vendor takes four.

use plugin_api::{
    chat::{CacheControl, ChatRequest, Content, ContentPart},
    kit::body::Object,
};
use serde_json::json;

use super::blocks::is_nothing;
use crate::{anthropic_messages::tools, loss::Loss};

/// Decides which marks are written. Of more than four the last count: each covers all before it.
pub(in crate::anthropic_messages) struct Marks {
    /// How many are still to be left out.
    surplus: usize,
}

impl Marks {
    /// Counts the marks of a request.
    pub(in crate::anthropic_messages) fn for_request(request: &ChatRequest) -> Self {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let marks = tools::marks(request) + parts.map(marks).sum::<usize>();
        // The mark at the top of the request is one of the four.
        let most = MOST - usize::from(request.options.contains_key("cache_control"));
        Self { surplus: marks.saturating_sub(most) }
    }

    /// Writes a mark.
    pub(in crate::anthropic_messages) fn write(
        &mut self,
        cache: Option<&CacheControl>,
        field: &str,
        o: &mut Object<'_>,
        losses: &mut Vec<Loss>,
    ) {
        let Some(cache) = cache else { return };
        let mut lose = |what| losses.push(Loss::dropped(format!("{field}.cache"), what));
        if self.surplus > 0 {
            self.surplus -= 1;
            return lose("is one of more than four marks and was left out");
        }
        let ttl = match cache.ttl_seconds {
            None => None,
            Some(seconds) => {
                let (ttl, exact) = if seconds <= 300 { ("5m", 300) } else { ("1h", 3600) };
                if seconds != exact {
                    lose("was rounded to 5 minutes or one hour");
                }
                Some(ttl)
            }
        };
        match ttl {
            Some(ttl) => o.field("cache_control", &json!({"type": "ephemeral", "ttl": ttl})),
            None => o.field("cache_control", &json!({"type": "ephemeral"})),
        }
    }
}

/// Counts the marks of a part that can be written.
fn marks(part: &ContentPart) -> usize {
    let inner = match &part.content {
        Content::ToolResult(result) => result.parts.iter().map(marks).sum(),
        Content::Reasoning(_) | Content::Opaque(_) => return 0,
        _ => 0,
    };
    inner + usize::from(part.cache.is_some() && !is_nothing(part))
}

const MOST: usize = 4;
