//! Whose opaque things are whose: continuity tokens, blocks and uploaded files belong to the provider
//! that gave them.
//!
//! On arrival they are stamped with their provider. Before a request goes out, those of others leave
//! it: they would be refused, or tell one vendor about another. A token only helps, so it goes without
//! a word. A block was part of the conversation, so the client is warned. A file or a vendor's own tool
//! is what the client asked about; without it the answer would be to another question, so the request
//! is refused and the field named. An empty issuer is the client's own word and stays.

use plugin_api::{
    chat::{ChatRequest, Content, ContentPart, DataSource, ToolDefinition},
    error::{ErrorKind, ProviderError},
    event::ChatEvent,
};

/// Stamps what an event carries.
pub(super) fn stamp(event: &mut ChatEvent, provider: &str) {
    match event {
        ChatEvent::Continuity { continuity, .. } => provider.clone_into(&mut continuity.issuer),
        ChatEvent::Opaque { block, .. } => provider.clone_into(&mut block.issuer),
        _ => {}
    }
}

/// Reports whether a request holds anything that has an issuer.
pub(super) fn holds_issued(request: &ChatRequest) -> bool {
    let of_a_provider = |tool: &ToolDefinition| matches!(tool, ToolDefinition::Provider(_));
    request.tools.iter().any(of_a_provider)
        || request.messages.iter().any(|message| hold_issued(&message.parts))
}

fn hold_issued(parts: &[ContentPart]) -> bool {
    parts.iter().any(|part| {
        !part.continuity.is_empty()
            || match &part.content {
                Content::Image(media) | Content::Audio(media) | Content::File(media) => {
                    matches!(media.source, DataSource::File { .. })
                }
                Content::Opaque(_) => true,
                Content::ToolResult(result) => hold_issued(&result.parts),
                _ => false,
            }
    })
}

/// Takes what belongs to other providers out of a request; returns warnings for the client.
///
/// # Errors
///
/// Names the field that cannot be left out.
pub(super) fn own_only(
    request: &mut ChatRequest,
    provider: &str,
) -> Result<Vec<String>, ProviderError> {
    let mut own = Own { provider, warnings: Vec::new() };
    for (at, tool) in request.tools.iter().enumerate() {
        if let ToolDefinition::Provider(block) = tool {
            own.require(&block.issuer, || format!("tools[{at}]"))?;
        }
    }
    for (at, message) in request.messages.iter_mut().enumerate() {
        own.parts(&mut message.parts, &format!("messages[{at}]"))?;
    }
    Ok(own.warnings)
}

struct Own<'a> {
    provider: &'a str,
    warnings: Vec<String>,
}

impl Own<'_> {
    fn has(&self, issuer: &str) -> bool {
        issuer.is_empty() || issuer == self.provider
    }

    fn require(&self, issuer: &str, field: impl FnOnce() -> String) -> Result<(), ProviderError> {
        if self.has(issuer) {
            return Ok(());
        }
        let field = field();
        let message = format!("`{field}` belongs to provider `{}`", issuer.escape_debug());
        Err(ProviderError::new(ErrorKind::InvalidRequest, message).code(field))
    }

    fn parts(&mut self, parts: &mut Vec<ContentPart>, place: &str) -> Result<(), ProviderError> {
        let mut nth = 0;
        let mut foreign = Vec::new();
        for (at, part) in parts.iter_mut().enumerate() {
            part.continuity.retain(|token| self.has(&token.issuer));
            match &mut part.content {
                Content::Image(media) | Content::Audio(media) | Content::File(media) => {
                    if let DataSource::File { issuer, .. } = &media.source {
                        self.require(issuer, || format!("{place}.parts[{at}]"))?;
                    }
                }
                Content::Opaque(block) if !self.has(&block.issuer) => {
                    let issuer = block.issuer.escape_debug();
                    let place = format!("{place}.parts[{at}]");
                    self.warnings.push(format!("`{place}` belongs to `{issuer}` and was left out"));
                    foreign.push(at);
                }
                Content::ToolResult(result) => {
                    self.parts(&mut result.parts, &format!("{place}.parts[{at}]"))?;
                }
                _ => {}
            }
        }
        parts.retain(|_| {
            nth += 1;
            !foreign.contains(&(nth - 1))
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::chat::{Continuity, Media, Message, Opaque, Role, ToolResult};

    use super::*;

    fn block(issuer: &str) -> Opaque {
        let mut block = Opaque::new("d", "{}");
        block.issuer = issuer.into();
        block
    }

    fn file(issuer: &str) -> ContentPart {
        let source = DataSource::File { id: "f".into(), issuer: issuer.into() };
        Content::File(Media::new(source)).into()
    }

    fn request(parts: Vec<ContentPart>) -> ChatRequest {
        ChatRequest::new("m", vec![Message::new(Role::User, parts)])
    }

    #[test]
    fn foreign_tokens_and_blocks_leave_and_own_ones_stay() {
        let mut text = ContentPart::text("hi");
        for issuer in ["", "us", "them"] {
            let mut token = Continuity::new("signature", issuer);
            token.issuer = issuer.into();
            text.continuity.push(token);
        }
        let inner = ToolResult::new("c", vec![Content::Opaque(block("them")).into()]);
        let mut asked = request(vec![
            Content::Opaque(block("them")).into(),
            text,
            Content::Opaque(block("us")).into(),
            Content::Opaque(block("")).into(),
            Content::ToolResult(inner).into(),
            file("us"),
            file(""),
        ]);
        let warnings = own_only(&mut asked, "us").unwrap();
        assert_eq!(
            warnings,
            [
                "`messages[0].parts[0]` belongs to `them` and was left out",
                "`messages[0].parts[4].parts[0]` belongs to `them` and was left out",
            ]
        );
        let parts = &asked.messages[0].parts;
        assert_eq!(parts.len(), 6);
        let issuers: Vec<&str> = parts[0].continuity.iter().map(|t| t.issuer.as_str()).collect();
        assert_eq!(issuers, ["", "us"]);
    }

    #[test]
    fn what_the_request_is_about_cannot_leave() {
        let error = own_only(&mut request(vec![file("them")]), "us").unwrap_err();
        assert_eq!(error.message, "`messages[0].parts[0]` belongs to provider `them`");
        let mut asked = request(Vec::new());
        asked.tools = vec![ToolDefinition::Provider(block("them"))];
        let error = own_only(&mut asked, "us").unwrap_err();
        assert_eq!(error.code.as_deref(), Some("tools[0]"));
    }

    #[test]
    fn what_arrives_is_stamped() {
        let mut event = ChatEvent::Opaque { part: 0, block: block("forged") };
        stamp(&mut event, "us");
        assert_eq!(event, ChatEvent::Opaque { part: 0, block: block("us") });
    }
}
