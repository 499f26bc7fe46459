use std::sync::Arc;

use super::*;
use crate::session::{envelope::EnvelopeError, key::MasterKey, store::sqlite::SqliteStore};

struct Fixture {
    folder: tempfile::TempDir,
    sessions: Sessions,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("maestro.db"), 0).unwrap();
        let key = MasterKey::from_bytes([7; 32], "test");
        let sessions = Sessions::open(Arc::new(store), key, 0).unwrap();
        Self { folder, sessions }
    }

    fn sql(&self, sql: &str) {
        let path = self.folder.path().join("maestro.db");
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }
}

fn named(name: &str) -> NewConversation {
    NewConversation { name: Some(name.into()), ..NewConversation::default() }
}

fn said(role: &str, content: &str) -> NewChunk {
    NewChunk {
        role: role.into(),
        content: content.into(),
        input_tokens: None,
        output_tokens: Some(3),
    }
}

fn contents(sessions: &Sessions, id: &ContextId) -> Vec<String> {
    sessions.chunks(id).unwrap().into_iter().map(|chunk| chunk.content).collect()
}

#[test]
fn conversations_are_found_by_id_by_name_and_as_the_latest() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    assert_eq!(sessions.latest_conversation().unwrap(), None);
    let full = NewConversation {
        name: Some("trip".into()),
        provider: Some("echo".into()),
        session: Some("work".into()),
        model: Some("echo/echo".into()),
        title: Some("A trip".into()),
    };
    let trip = sessions.create_conversation(full, 10).unwrap();
    let other = sessions.create_conversation(NewConversation::default(), 10).unwrap();
    assert_eq!(sessions.conversation("trip").unwrap(), trip);
    assert_eq!(sessions.conversation(other.id.as_str()).unwrap(), other);
    assert_eq!(sessions.latest_conversation().unwrap(), Some(other.clone()));
    // Within the same second, the one that was spoken in last is the latest.
    sessions.append_turn(&trip.id, &[said("user", "hi")], 10).unwrap();
    assert_eq!(sessions.latest_conversation().unwrap(), Some(trip.clone()));
    assert_eq!(sessions.conversations().unwrap(), [trip, other]);

    let duplicate = sessions.create_conversation(named("trip"), 11).unwrap_err();
    assert_eq!(duplicate.to_string(), "conversation `trip` exists already");
    assert!(duplicate.hint().is_some());
    let unknown = sessions.conversation("tripp").unwrap_err();
    assert_eq!(unknown.to_string(), "conversation `tripp` does not exist");
    assert!(unknown.hint().is_some());
}

#[test]
fn an_id_is_not_shadowed_by_a_name() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let first = sessions.create_conversation(NewConversation::default(), 1).unwrap();
    sessions.create_conversation(named(first.id.as_str()), 2).unwrap();
    assert_eq!(sessions.conversation(first.id.as_str()).unwrap(), first);
}

#[test]
fn turns_are_appended_in_order_and_all_or_none() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let id = sessions.create_conversation(named("trip"), 1).unwrap().id;
    let turn = [said("user", "hello"), said("assistant", "grüezi")];
    let ids = sessions.append_turn(&id, &turn, 5).unwrap();
    sessions.append_turn(&id, &[said("user", "bye")], 6).unwrap();
    let chunks = sessions.chunks(&id).unwrap();
    assert_eq!(contents(sessions, &id), ["hello", "grüezi", "bye"]);
    assert_eq!(chunks.iter().map(|chunk| chunk.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&chunks[1].id, chunks[1].role.as_str()), (&ids[1], "assistant"));
    assert_eq!((chunks[0].input_tokens, chunks[0].output_tokens), (None, Some(3)));
    assert_eq!((chunks[0].created_at, chunks[2].created_at), (5, 6));

    // The second message cannot be stored; the first must not stay.
    fixture.sql(
        "CREATE TRIGGER refuse BEFORE INSERT ON context_chunks WHEN new.role = 'bad'
         BEGIN SELECT raise(ABORT, 'no'); END",
    );
    let error = sessions.append_turn(&id, &[said("user", "x"), said("bad", "y")], 7).unwrap_err();
    assert!(matches!(error, SessionError::Store(StoreError::Engine { .. })));
    assert_eq!(contents(sessions, &id).len(), 3);
    assert_eq!(sessions.conversation("trip").unwrap().updated_at, 6);

    let gone = sessions.append_turn(&ContextId::new("gone"), &[said("user", "x")], 7);
    let gone = gone.unwrap_err();
    assert!(matches!(gone, SessionError::Store(StoreError::UnknownConversation { .. })));
}

#[test]
fn messages_and_conversations_are_deleted() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let trip = sessions.create_conversation(named("trip"), 1).unwrap().id;
    let other = sessions.create_conversation(named("other"), 1).unwrap().id;
    let turn = [said("user", "a"), said("assistant", "b")];
    let ids = sessions.append_turn(&trip, &turn, 2).unwrap();
    assert!(!sessions.delete_chunk(&other, &ids[0], 3).unwrap(), "of another conversation");
    assert!(sessions.delete_chunk(&trip, &ids[0], 3).unwrap());
    assert!(!sessions.delete_chunk(&trip, &ids[0], 3).unwrap());
    assert_eq!(contents(sessions, &trip), ["b"]);
    assert_eq!(sessions.conversation("trip").unwrap().updated_at, 3);
    sessions.append_turn(&trip, &[said("user", "c")], 4).unwrap();
    assert_eq!(contents(sessions, &trip), ["b", "c"]);

    assert!(sessions.delete_conversation(&trip).unwrap());
    assert!(!sessions.delete_conversation(&trip).unwrap());
    assert!(sessions.store().chunks(&trip).unwrap().is_empty(), "messages go with it");
    assert!(!sessions.store().has_ciphertext().unwrap());
}

#[test]
fn an_export_holds_everything_as_json() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let id = sessions.create_conversation(named("trip"), 1).unwrap().id;
    sessions.append_turn(&id, &[said("user", "hello")], 2).unwrap();
    let export = sessions.export_conversation("trip").unwrap();
    let json = serde_json::to_value(&export).unwrap();
    assert_eq!(json["conversation"]["name"], "trip");
    assert_eq!(json["chunks"][0]["content"], "hello");
    assert_eq!(json["chunks"][0]["output_tokens"], 3);
}

#[test]
fn what_was_said_is_sealed_in_its_place() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let id = sessions.create_conversation(named("trip"), 1).unwrap().id;
    let ids = sessions
        .append_turn(&id, &[said("user", "my secret plan"), said("assistant", "mine too")], 2)
        .unwrap();
    for entry in std::fs::read_dir(fixture.folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"secret plan"));
    }
    let report = sessions.check().unwrap();
    assert!(report.is_sound() && report.chunks == 2);

    fixture.sql(
        "UPDATE context_chunks SET content = (SELECT content FROM context_chunks WHERE seq = 1)",
    );
    let error = sessions.chunks(&id).unwrap_err();
    assert!(matches!(error, SessionError::Sealed { source: EnvelopeError::Moved, .. }));
    assert_eq!(error.to_string(), format!("failed to open `{id}/{}`", ids[1]));
    let report = sessions.check().unwrap();
    assert_eq!((report.chunks, report.unreadable.len()), (1, 1));
}

#[test]
fn a_message_that_is_no_text_is_named() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let id = sessions.create_conversation(named("trip"), 1).unwrap().id;
    let chunk = ChunkId::new("k");
    let place = Place::Chunk { context: &id, chunk: &chunk };
    let sealed = SealedChunk {
        content: envelope::seal(&sessions.key, &place, &[0xff]).unwrap(),
        id: chunk.clone(),
        role: "user".into(),
        key_id: sessions.key.id(),
        input_tokens: None,
        output_tokens: None,
        seq: 0,
        created_at: 0,
    };
    sessions.store().append_chunks(&id, &[sealed], 1).unwrap();
    let error = sessions.chunks(&id).unwrap_err();
    assert_eq!(error.to_string(), format!("message `{id}/k` is not UTF-8 text"));
}
