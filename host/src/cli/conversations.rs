//! `maestro conversations`: what was said, here and at a provider.

use clap::{Args, Subcommand};
use plugin_api::{
    ChunkId, ContextId, ProviderId,
    chat::{Content, Message},
    operation::ContextChunk,
};
use serde::Serialize;

use crate::{
    cli::{
        Outcome, ask,
        failure::Failure,
        output::{Document, Output},
        table::{Sheet, Table},
        time, visible,
    },
    maestro::{ContextQuery, Maestro, StoredMessage},
    session::Conversation,
};

/// `maestro conversations list|show|export|delete|delete-chunk`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Conversations are kept by `maestro chat` in the host's own store, each message sealed with the
master key. With --provider, the commands work on what the vendor keeps instead, where it keeps
any.

Examples:
  maestro conversations
  maestro conversations show                  the latest
  maestro conversations export trip > trip.json
  maestro conversations export trip --markdown > trip.md
  maestro conversations delete trip
  maestro conversations --provider openai     what the vendor keeps"
)]
pub(super) struct ConversationsArgs {
    #[command(subcommand)]
    command: Option<ConversationsCommand>,
    #[command(flatten)]
    list: Side,
}

/// Whose side: the host's, or a provider's.
#[derive(Debug, Args)]
struct Side {
    /// What this provider keeps, not the host's own store
    #[arg(short, long)]
    provider: Option<String>,
    /// Ask the provider as this session
    #[arg(short, long, value_name = "NAME[@AUTH]", requires = "provider")]
    session: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ConversationsCommand {
    /// List conversations, the one that changed last first; the default
    List(Side),
    /// Show the messages of a conversation
    Show {
        /// Its name, its id or the beginning of its id; the latest, if left out
        conversation: Option<String>,
        #[command(flatten)]
        at: Side,
    },
    /// Print a whole conversation, as JSON or as Markdown
    Export {
        /// Its name, its id or the beginning of its id; the latest, if left out
        conversation: Option<String>,
        /// As Markdown, without attachments
        #[arg(long)]
        markdown: bool,
    },
    /// Delete a conversation and its messages
    Delete {
        /// Its name, its id or the beginning of its id
        conversation: String,
        #[command(flatten)]
        at: Side,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Delete one message of a conversation
    DeleteChunk {
        /// The conversation's name, its id or the beginning of its id
        conversation: String,
        /// The message's id, as `show` and `export` print it
        chunk: String,
        #[command(flatten)]
        at: Side,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Runs the command.
pub(super) async fn run(args: ConversationsArgs, maestro: &Maestro, output: &Output) -> Outcome {
    match args.command {
        None => list(args.list, maestro, output).await,
        Some(ConversationsCommand::List(args)) => list(args, maestro, output).await,
        Some(ConversationsCommand::Show { conversation, at }) if at.provider.is_some() => {
            chunks(at, conversation, maestro, output).await
        }
        Some(ConversationsCommand::Show { conversation, .. }) => {
            let (conversation, messages) = read(conversation, maestro).await?;
            output.either(
                || document(&conversation, &messages),
                format_args!("{}{}", sheet(&conversation), Spoken(&messages)),
            )
        }
        Some(ConversationsCommand::Export { conversation, markdown }) => {
            let (conversation, messages) = read(conversation, maestro).await?;
            if markdown && !output.is_json() {
                output.data(as_markdown(&conversation, &messages))
            } else {
                output.document(&document(&conversation, &messages))
            }
        }
        Some(ConversationsCommand::Delete { conversation, at, yes }) if at.provider.is_none() => {
            let found = maestro.find_conversation(&conversation).await?;
            let name = found.name.as_deref().unwrap_or(found.id.as_str()).to_owned();
            ask::confirm(output, &format!("delete conversation `{name}`"), yes)?;
            let gone = maestro.delete_conversation(found.id.as_str()).await?;
            output.either(
                || Document::new().with("conversation", &gone),
                format_args!("deleted conversation {}\n", visible::line(&name)),
            )
        }
        Some(ConversationsCommand::Delete { conversation, at, yes }) => {
            delete_piece(at, &conversation, None, yes, maestro, output).await
        }
        Some(ConversationsCommand::DeleteChunk { conversation, chunk, at, yes }) => {
            delete_piece(at, &conversation, Some(&chunk), yes, maestro, output).await
        }
    }
}

async fn list(args: Side, maestro: &Maestro, output: &Output) -> Outcome {
    if args.provider.is_some() {
        return chunks(args, None, maestro, output).await;
    }
    let conversations = maestro.list_conversations().await?;
    if !output.is_json() && conversations.is_empty() {
        output.note("there is no conversation; `maestro chat` begins one");
        return Ok(());
    }
    let mut table = Table::new(&["CONVERSATION", "NAME", "CHANGED", "MODEL"]);
    for conversation in &conversations {
        table.row([
            conversation.id.to_string(),
            conversation.name.clone().or_else(|| conversation.title.clone()).unwrap_or_default(),
            time::date(conversation.updated_at),
            conversation.model.clone().unwrap_or_default(),
        ]);
    }
    output.either(|| Document::new().with("conversations", &conversations), table)
}

async fn read(
    id_or_name: Option<String>,
    maestro: &Maestro,
) -> Result<(Conversation, Vec<StoredMessage>), Failure> {
    let conversation = match id_or_name {
        Some(id_or_name) => maestro.find_conversation(&id_or_name).await?,
        None => maestro.latest_conversation().await?.ok_or_else(|| {
            Failure::request("there is no conversation", "`maestro chat` begins one")
        })?,
    };
    let messages = maestro.conversation_messages(&conversation.id).await?;
    Ok((conversation, messages))
}

/// Lists all that a provider keeps, page by page.
async fn chunks(
    args: Side,
    context: Option<String>,
    maestro: &Maestro,
    output: &Output,
) -> Outcome {
    let provider = resolve(args.provider.as_deref(), maestro).await?;
    let context = context.map(ContextId::new);
    let (mut all, mut cursor) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let query = ContextQuery {
            provider: provider.clone(),
            session: args.session.clone(),
            context: context.clone(),
            cursor,
        };
        let page = maestro.list_context_chunks(query).await?;
        all.extend(page.chunks);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if cursor.is_some() {
        output.warn(&format!("the provider has more than {MAX_PAGES} pages; the rest is left out"));
    }
    output.either(|| Document::new().with("chunks", &all), chunk_table(&all))
}

async fn resolve(id: Option<&str>, maestro: &Maestro) -> Result<Option<ProviderId>, Failure> {
    let Some(id) = id else { return Ok(None) };
    Ok(Some(maestro.provider_capabilities(id).await?.id))
}

fn chunk_table(chunks: &[ContextChunk]) -> Table {
    let mut table = Table::new(&["CONVERSATION", "CHUNK", "KIND", "CREATED", "TEXT"]);
    for chunk in chunks {
        let created = chunk.created.and_then(|unix_s| i64::try_from(unix_s).ok());
        let text = chunk.text.as_deref().unwrap_or_default();
        table.row([
            chunk.context.to_string(),
            chunk.id.to_string(),
            chunk.role.clone().unwrap_or_else(|| chunk.kind.clone()),
            time::date_or(created, ""),
            text.chars().take(MAX_TEXT).collect(),
        ]);
    }
    table
}

async fn delete_piece(
    at: Side,
    conversation: &str,
    chunk: Option<&str>,
    yes: bool,
    maestro: &Maestro,
    output: &Output,
) -> Outcome {
    let provider = resolve(at.provider.as_deref(), maestro).await?;
    // The vendor's ids are its own; ours may be given by name.
    let context = match &provider {
        Some(_) => ContextId::new(conversation),
        None => maestro.find_conversation(conversation).await?.id,
    };
    let mut what = match chunk {
        Some(chunk) => format!("message `{chunk}` of conversation `{conversation}`"),
        None => format!("conversation `{conversation}`"),
    };
    if let Some(provider) = &provider {
        what.push_str(&format!(" at `{provider}`"));
    }
    ask::confirm(output, &format!("delete {what}"), yes)?;
    let chunk = chunk.map(ChunkId::new);
    let session = at.session.as_deref();
    maestro.delete_context_chunk(provider.as_ref(), session, &context, chunk.as_ref()).await?;
    let document = || Document::new().with("conversation", &context).with("chunk", &chunk);
    output.either(document, format_args!("deleted {}\n", visible::line(&what)))
}

fn document(conversation: &Conversation, messages: &[StoredMessage]) -> Document {
    #[derive(Serialize)]
    struct Exported<'a> {
        id: &'a ChunkId,
        created_at: i64,
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
        #[serde(flatten)]
        message: &'a Message,
    }
    let messages: Vec<_> = messages
        .iter()
        .map(|stored| Exported {
            id: &stored.chunk,
            created_at: stored.created_at,
            input_tokens: stored.input_tokens,
            output_tokens: stored.output_tokens,
            message: &stored.message,
        })
        .collect();
    Document::new().with("conversation", conversation).with("messages", &messages)
}

fn sheet(conversation: &Conversation) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.line("conversation", conversation.id.as_str());
    sheet.line("name", conversation.name.clone().unwrap_or_default());
    sheet.line("title", conversation.title.clone().unwrap_or_default());
    sheet.line("model", conversation.model.clone().unwrap_or_default());
    sheet.line("session", conversation.session.clone().unwrap_or_default());
    sheet.line("began", time::date(conversation.created_at));
    sheet.line("changed", time::date(conversation.updated_at));
    sheet
}

/// Messages for people: who, the message's id, what.
struct Spoken<'a>(&'a [StoredMessage]);

impl std::fmt::Display for Spoken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|StoredMessage { chunk, message, .. }| {
            let id = visible::line(chunk.as_str());
            writeln!(f, "\n{} [{id}]\n{}", message.role.as_str(), visible::block(&text_of(message)))
        })
    }
}

fn as_markdown(conversation: &Conversation, messages: &[StoredMessage]) -> String {
    let title = conversation.title.as_ref().or(conversation.name.as_ref());
    let title = title.map_or(conversation.id.as_str(), String::as_str);
    let mut text = format!("# {}\n", visible::line(title));
    for StoredMessage { message, .. } in messages {
        text.push_str(&format!("\n## {}\n\n{}\n", message.role.as_str(), text_of(message)));
    }
    text
}

/// Renders a message as text; what is not text is named in brackets.
pub(super) fn text_of(message: &Message) -> String {
    let mut text = String::new();
    for part in &message.parts {
        let piece = match &part.content {
            Content::Text(piece) | Content::Refusal(piece) => piece.text.clone(),
            Content::Image(media) => bracketed("image", media.name.as_deref()),
            Content::Audio(media) => bracketed("audio", media.name.as_deref()),
            Content::File(media) => bracketed("file", media.name.as_deref()),
            Content::ToolCall(call) => format!("[tool call {}({})]", call.name, call.arguments),
            Content::ToolResult(result) => format!("[result of {}]", result.call_id),
            _ => continue,
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&piece);
    }
    text
}

fn bracketed(kind: &str, name: Option<&str>) -> String {
    name.map_or_else(|| format!("[{kind}]"), |name| format!("[{kind} {name}]"))
}

/// Most pages of a vendor's list; a vendor that repeats its cursor must not loop forever.
const MAX_PAGES: usize = 1000;
/// Most characters of a message in a table.
const MAX_TEXT: usize = 60;

#[cfg(test)]
mod tests {
    use plugin_api::chat::{ContentPart, DataSource, Media, Role};

    use super::*;

    #[test]
    fn what_is_not_text_is_named() {
        let media = Media::new(DataSource::Inline { data: vec![1] }).name("cat.png");
        let message = Message::new(
            Role::User,
            vec![ContentPart::text("look"), Content::Image(media).into(), ContentPart::text("ok")],
        );
        assert_eq!(text_of(&message), "look\n[image cat.png]\nok");
    }
}
