//! Conversations: what was said, sealed like credentials.

use plugin_api::{ChunkId, ContextId};
use serde::Serialize;

use crate::session::{
    SessionError,
    envelope::{self, Place},
    random,
    service::Sessions,
    store::{
        StoreError,
        row::{Conversation, SealedChunk},
    },
};

/// What a new conversation begins with; all of it may be left out.
#[derive(Clone, Debug, Default)]
pub struct NewConversation {
    /// What the user calls it.
    pub name: Option<String>,
    /// Whom it is held with.
    pub provider: Option<String>,
    /// Under which session.
    pub session: Option<String>,
    /// With which model.
    pub model: Option<String>,
    /// A title that the user gave. Stored in the clear.
    pub title: Option<String>,
}

/// A message to be appended.
#[derive(Clone, Debug)]
pub struct NewChunk {
    /// `user`, `assistant`, `tool` and so on.
    pub role: String,
    /// What was said; the caller decides the form, usually JSON.
    pub content: String,
    /// Tokens the vendor counted for the request, if it said so.
    pub input_tokens: Option<u64>,
    /// Tokens the vendor counted for the answer, if it said so.
    pub output_tokens: Option<u64>,
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chunk {
    /// Identifies it for life.
    pub id: ChunkId,
    /// Its place; places of deleted messages stay empty.
    pub seq: u64,
    /// `user`, `assistant`, `tool` and so on.
    pub role: String,
    /// What was said.
    pub content: String,
    /// Tokens the vendor counted for the request.
    pub input_tokens: Option<u64>,
    /// Tokens the vendor counted for the answer.
    pub output_tokens: Option<u64>,
    /// When it was appended, in Unix seconds.
    pub created_at: i64,
}

/// A whole conversation, for export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConversationExport {
    /// The conversation.
    pub conversation: Conversation,
    /// Its messages, oldest first.
    pub chunks: Vec<Chunk>,
}

/// Conversations. They live beside the sessions because they share store and key.
impl Sessions {
    /// Begins a conversation.
    ///
    /// # Errors
    ///
    /// [`StoreError::DuplicateConversation`] if the name is taken.
    pub fn create_conversation(
        &self,
        new: NewConversation,
        now_s: i64,
    ) -> Result<Conversation, SessionError> {
        let conversation = Conversation {
            id: ContextId::new(random::id()?),
            name: new.name,
            provider: new.provider,
            session: new.session,
            model: new.model,
            title: new.title,
            created_at: now_s,
            updated_at: now_s,
        };
        self.store.insert_conversation(&conversation)?;
        Ok(conversation)
    }

    /// Finds a conversation by its id or name.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownConversation`].
    pub fn conversation(&self, id_or_name: &str) -> Result<Conversation, SessionError> {
        let found = self.store.find_conversation(id_or_name)?;
        Ok(found.ok_or_else(|| StoreError::UnknownConversation {
            conversation: id_or_name.to_owned(),
        })?)
    }

    /// Returns the conversation that changed last.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn latest_conversation(&self) -> Result<Option<Conversation>, SessionError> {
        Ok(self.store.latest_conversation()?)
    }

    /// Lists conversations, the one that changed last first.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn conversations(&self) -> Result<Vec<Conversation>, SessionError> {
        Ok(self.store.conversations()?)
    }

    /// Appends the messages of one turn, all or none.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownConversation`], also if it was deleted meanwhile.
    pub fn append_turn(
        &self,
        context: &ContextId,
        turn: &[NewChunk],
        now_s: i64,
    ) -> Result<Vec<ChunkId>, SessionError> {
        let mut sealed = Vec::with_capacity(turn.len());
        for chunk in turn {
            let id = ChunkId::new(random::id()?);
            let place = Place::Chunk { context, chunk: &id };
            let content = envelope::seal(&self.key, &place, chunk.content.as_bytes())
                .map_err(|source| SessionError::Sealed { what: place.to_string(), source })?;
            sealed.push(SealedChunk {
                id,
                role: chunk.role.clone(),
                content,
                key_id: self.key.id(),
                input_tokens: chunk.input_tokens,
                output_tokens: chunk.output_tokens,
                seq: 0,
                created_at: now_s,
            });
        }
        self.store.append_chunks(context, &sealed, now_s)?;
        Ok(sealed.into_iter().map(|chunk| chunk.id).collect())
    }

    /// Opens the messages of a conversation, oldest first.
    ///
    /// # Errors
    ///
    /// [`SessionError::Sealed`] if one does not open; `maestro db check` lists all that do not.
    pub fn chunks(&self, context: &ContextId) -> Result<Vec<Chunk>, SessionError> {
        let sealed = self.store.chunks(context)?;
        sealed.into_iter().map(|chunk| self.open_chunk(context, chunk)).collect()
    }

    /// Returns a conversation with its messages.
    ///
    /// # Errors
    ///
    /// As [`Sessions::conversation`] and [`Sessions::chunks`].
    pub fn export_conversation(
        &self,
        id_or_name: &str,
    ) -> Result<ConversationExport, SessionError> {
        let conversation = self.conversation(id_or_name)?;
        let chunks = self.chunks(&conversation.id)?;
        Ok(ConversationExport { conversation, chunks })
    }

    /// Removes a conversation and its messages; `false` if there is none.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn delete_conversation(&self, id: &ContextId) -> Result<bool, SessionError> {
        Ok(self.store.delete_conversation(id)?)
    }

    /// Removes one message; `false` if there is none.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn delete_chunk(
        &self,
        id: &ContextId,
        chunk: &ChunkId,
        now_s: i64,
    ) -> Result<bool, SessionError> {
        Ok(self.store.delete_chunk(id, chunk, now_s)?)
    }

    pub(super) fn open_chunk(
        &self,
        context: &ContextId,
        sealed: SealedChunk,
    ) -> Result<Chunk, SessionError> {
        let place = Place::Chunk { context, chunk: &sealed.id };
        let mut plaintext = envelope::open(&self.key, &place, &sealed.content)
            .map_err(|source| SessionError::Sealed { what: place.to_string(), source })?;
        let content = String::from_utf8(std::mem::take(&mut *plaintext))
            .map_err(|_| SessionError::NotText { what: place.to_string() })?;
        Ok(Chunk {
            id: sealed.id,
            seq: sealed.seq,
            role: sealed.role,
            content,
            input_tokens: sealed.input_tokens,
            output_tokens: sealed.output_tokens,
            created_at: sealed.created_at,
        })
    }
}

#[cfg(test)]
mod tests;
