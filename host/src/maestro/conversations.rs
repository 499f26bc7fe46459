//! Conversations: the host's own store for every provider, and the provider's side where it has one.

use plugin_api::{
    ChunkId, ContextId, ProviderId,
    capability::Capability,
    chat::Message,
    event::Usage,
    operation::{
        ContextChunk, ContextChunks, DeleteContextChunk, ListContextChunks, Operation, Reply,
    },
};

use super::{Call, Error, Maestro, now_s};
use crate::{
    session::{Chunk, Conversation, NewChunk, NewConversation, Sessions},
    suggest::several,
};

/// A stored message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoredMessage {
    /// Its place in the store.
    pub chunk: ChunkId,
    /// When it was stored, in Unix seconds.
    pub created_at: i64,
    /// Tokens of the request, where the vendor said.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, where the vendor said.
    pub output_tokens: Option<u64>,
    /// The message.
    pub message: Message,
}

/// Which chunks to list.
#[derive(Clone, Debug, Default)]
pub struct ContextQuery {
    /// The provider's own side; absent means the host's store.
    pub provider: Option<ProviderId>,
    /// The session to ask with.
    pub session: Option<String>,
    /// The context; absent means all that the provider lists.
    pub context: Option<ContextId>,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

impl Maestro {
    /// Lists conversations, the one that changed last first.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn list_conversations(&self) -> Result<Vec<Conversation>, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(Vec::new()) };
        Ok(sessions.blocking(Sessions::conversations).await?)
    }

    /// Finds a conversation by its id, its name, or the beginning of its id.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownConversation`], with the nearest, and [`Error::AmbiguousConversation`].
    pub async fn find_conversation(&self, id_or_name: &str) -> Result<Conversation, Error> {
        pick(self.list_conversations().await?, id_or_name)
    }

    /// Returns the conversation that changed last.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn latest_conversation(&self) -> Result<Option<Conversation>, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(None) };
        Ok(sessions.blocking(Sessions::latest_conversation).await?)
    }

    /// Begins a conversation.
    ///
    /// # Errors
    ///
    /// [`StoreError::DuplicateConversation`](crate::session::StoreError::DuplicateConversation).
    pub async fn create_conversation(&self, new: NewConversation) -> Result<Conversation, Error> {
        let sessions = self.sessions().await?;
        Ok(sessions.blocking(move |s| s.create_conversation(new, now_s())).await?)
    }

    /// Appends the messages of one turn, all or none. The usage is kept with the last one.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownConversation`](crate::session::StoreError::UnknownConversation), also when
    /// it was deleted meanwhile.
    pub async fn append_turn(
        &self,
        conversation: &ContextId,
        messages: &[Message],
        usage: Usage,
    ) -> Result<(), Error> {
        let last = messages.len().saturating_sub(1);
        let mut turn = Vec::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            let counted = at == last;
            let content = serde_json::to_string(message)
                .map_err(|source| Error::Message { message: at.to_string(), source })?;
            turn.push(NewChunk {
                role: message.role.as_str().to_owned(),
                content,
                input_tokens: usage.input_tokens.filter(|_| counted),
                output_tokens: usage.output_tokens.filter(|_| counted),
            });
        }
        let (sessions, id) = (self.sessions().await?, conversation.clone());
        sessions.blocking(move |s| s.append_turn(&id, &turn, now_s())).await?;
        Ok(())
    }

    /// Returns the messages of a conversation, oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Message`] when one cannot be read.
    pub async fn conversation_messages(
        &self,
        conversation: &ContextId,
    ) -> Result<Vec<StoredMessage>, Error> {
        let Some(sessions) = self.existing_sessions().await? else { return Ok(Vec::new()) };
        let id = conversation.clone();
        let chunks = sessions.blocking(move |s| s.chunks(&id)).await?;
        chunks.into_iter().map(stored_message).collect()
    }

    /// Deletes a conversation and its messages.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownConversation`], [`Error::AmbiguousConversation`].
    pub async fn delete_conversation(&self, id_or_name: &str) -> Result<Conversation, Error> {
        let found = self.find_conversation(id_or_name).await?;
        let id = found.id.clone();
        self.sessions().await?.blocking(move |s| s.delete_conversation(&id)).await?;
        Ok(found)
    }

    /// Lists the pieces of a context, in the host's store or on the provider's side.
    ///
    /// # Errors
    ///
    /// [`Error::NotSupported`] when the provider keeps none, and what the store or the provider says.
    pub async fn list_context_chunks(&self, query: ContextQuery) -> Result<ContextChunks, Error> {
        if let Some(id) = &query.provider {
            let what = "a list of what it keeps";
            let provider = &self.capable(id.as_str(), Capability::Contexts, what)?;
            let mut request = ListContextChunks::default();
            request.context = query.context;
            request.cursor = query.cursor;
            let operation = Operation::ListContextChunks(request);
            let call = Call::with_session(query.session.clone());
            return match self.run(provider, &call, operation).await?.value {
                Reply::Chunks(chunks) => Ok(chunks),
                _ => Ok(ContextChunks::default()),
            };
        }
        let conversations = match &query.context {
            Some(context) => vec![self.find_conversation(context.as_str()).await?],
            None => self.list_conversations().await?,
        };
        let mut listed = ContextChunks::default();
        for conversation in conversations {
            for stored in self.conversation_messages(&conversation.id).await? {
                listed.chunks.push(chunk_of(&conversation, &stored));
            }
        }
        Ok(listed)
    }

    /// Deletes a piece of a context, or all of it.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownChunk`], [`Error::NotSupported`], and what the store or the provider says.
    pub async fn delete_context_chunk(
        &self,
        provider: Option<&ProviderId>,
        session: Option<&str>,
        context: &ContextId,
        chunk: Option<&ChunkId>,
    ) -> Result<(), Error> {
        if let Some(id) = provider {
            let what = "deleting what it keeps";
            let provider = &self.capable(id.as_str(), Capability::Contexts, what)?;
            let request = DeleteContextChunk::new(context.clone(), chunk.cloned());
            let operation = Operation::DeleteContextChunk(request);
            let call = Call::with_session(session.map(str::to_owned));
            return self.run(provider, &call, operation).await.map(drop);
        }
        let found = self.find_conversation(context.as_str()).await?;
        let Some(chunk) = chunk.cloned() else {
            return self.delete_conversation(context.as_str()).await.map(drop);
        };
        let (id, wanted) = (found.id.clone(), chunk.clone());
        let sessions = self.sessions().await?;
        if sessions.blocking(move |s| s.delete_chunk(&id, &wanted, now_s())).await? {
            return Ok(());
        }
        Err(Error::UnknownChunk { context: context.to_string(), chunk: chunk.to_string() })
    }
}

/// Takes the one conversation that is meant.
fn pick(mut all: Vec<Conversation>, wanted: &str) -> Result<Conversation, Error> {
    let by_id = all.iter().position(|found| found.id == wanted);
    let exact = by_id.or_else(|| all.iter().position(|c| c.name.as_deref() == Some(wanted)));
    if let Some(at) = exact {
        return Ok(all.swap_remove(at));
    }
    // Names may look like the beginning of an id, but rarely are as long and of hex digits alone.
    let is_prefix = wanted.len() >= MIN_PREFIX && wanted.bytes().all(|b| b.is_ascii_hexdigit());
    let begins = |found: &Conversation| is_prefix && found.id.as_str().starts_with(wanted);
    let candidates: Vec<_> = all.iter().enumerate().filter(|(_, found)| begins(found)).collect();
    match candidates.as_slice() {
        [] => {
            let names = all.iter().filter_map(|found| found.name.as_deref());
            let nearest = several(wanted, names, 3).into_iter().map(str::to_owned).collect();
            Err(Error::UnknownConversation { conversation: wanted.to_owned(), nearest })
        }
        [(at, _)] => {
            let at = *at;
            Ok(all.swap_remove(at))
        }
        several => Err(Error::AmbiguousConversation {
            prefix: wanted.to_owned(),
            candidates: several.iter().map(|(_, found)| found.id.to_string()).collect(),
        }),
    }
}

fn stored_message(chunk: Chunk) -> Result<StoredMessage, Error> {
    let message = serde_json::from_str(&chunk.content)
        .map_err(|source| Error::Message { message: chunk.id.to_string(), source })?;
    Ok(StoredMessage {
        chunk: chunk.id,
        created_at: chunk.created_at,
        input_tokens: chunk.input_tokens,
        output_tokens: chunk.output_tokens,
        message,
    })
}

fn chunk_of(conversation: &Conversation, stored: &StoredMessage) -> ContextChunk {
    let mut chunk = ContextChunk::default();
    chunk.context = conversation.id.clone();
    chunk.id = stored.chunk.clone();
    chunk.kind = "message".into();
    chunk.role = Some(stored.message.role.as_str().into());
    chunk.text = Some(stored.message.text());
    chunk.tokens = stored.output_tokens;
    chunk.created = u64::try_from(stored.created_at).ok();
    chunk
}

/// Fewest digits of an id that name a conversation.
const MIN_PREFIX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(id: &str, name: Option<&str>) -> Conversation {
        Conversation {
            id: ContextId::new(id),
            name: name.map(str::to_owned),
            provider: None,
            session: None,
            model: None,
            title: None,
            created_at: 0,
            updated_at: 0,
        }
    }

    #[test]
    fn a_conversation_is_found_by_id_name_or_the_beginning_of_its_id() {
        let all = || {
            vec![
                conversation("abcd1111", Some("trip")),
                conversation("abcd2222", Some("abcd1")),
                conversation("beef3333", None),
            ]
        };
        let id = |wanted| pick(all(), wanted).map(|found| found.id.to_string());
        assert_eq!(id("trip").unwrap(), "abcd1111");
        assert_eq!(id("abcd2222").unwrap(), "abcd2222");
        assert_eq!(id("abcd1").unwrap(), "abcd2222", "a name comes before a prefix");
        assert_eq!(id("abcd11").unwrap(), "abcd1111");
        assert_eq!(id("beef").unwrap(), "beef3333");
        let Err(Error::AmbiguousConversation { candidates, .. }) = id("abcd") else { panic!() };
        assert_eq!(candidates, ["abcd1111", "abcd2222"]);
        for (wanted, near) in [("tirp", vec!["trip"]), ("bee", vec![]), ("xyzzy", vec![])] {
            let Err(Error::UnknownConversation { nearest, .. }) = id(wanted) else { panic!() };
            assert_eq!(nearest, near, "{wanted}");
        }
    }
}
