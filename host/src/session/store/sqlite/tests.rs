use std::{fs, os::unix::fs::PermissionsExt, sync::Barrier, thread};

use super::*;
use crate::session::{key::KeyId, store::row::AuditAction};

const NOW: Stamp<'_> = Stamp { now_s: 1000, actor: "test" };

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("maestro.db")
    }

    fn open(&self) -> SqliteStore {
        let options = SqliteOptions { busy_timeout: Duration::ZERO, ..SqliteOptions::default() };
        SqliteStore::open_with(&self.path(), 0, options).unwrap()
    }
}

fn new(provider: &str, name: &str) -> NewSession {
    NewSession {
        id: SessionId::random().unwrap(),
        provider: ProviderId::new(provider).unwrap(),
        auth_type: AuthType::ApiKey,
        name: SessionName::new(name).unwrap(),
        credentials: vec![1, 2, 3],
        key_id: KeyId::from_bytes([7; 8]),
        account: None,
        expires_at: None,
        make_default: false,
    }
}

fn oauth(provider: &str, name: &str) -> NewSession {
    NewSession { auth_type: AuthType::OAuth, ..new(provider, name) }
}

fn resealed(name: &str, action: AuditAction) -> Resealed {
    Resealed {
        name: SessionName::new(name).unwrap(),
        credentials: vec![9],
        key_id: KeyId::from_bytes([8; 8]),
        account: Some("me@example.com".into()),
        expires_at: Some(5),
        status: SessionStatus::Ready,
        error: None,
        action,
    }
}

fn default_of(store: &SqliteStore, provider: &str) -> Option<String> {
    let filter = SessionFilter {
        provider: Some(ProviderId::new(provider).unwrap()),
        ..SessionFilter::default()
    };
    let all = store.find_sessions(&filter).unwrap();
    let mut defaults = all.iter().filter(|info| info.is_default);
    let first = defaults.next().map(|info| info.name.to_string());
    assert!(defaults.next().is_none(), "two defaults");
    first
}

fn trail(store: &SqliteStore) -> Vec<String> {
    let mut events = store.audit_events(100).unwrap();
    events.reverse();
    events
        .iter()
        .map(|event| {
            let detail = event.detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default();
            format!("{} {}{detail}", event.action, event.session.as_deref().unwrap_or("-"))
        })
        .collect()
}

#[test]
fn files_are_private() {
    let home = Home::new();
    let store = home.open();
    store.insert_session(&new("openai", "work"), &NOW).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(home.folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert_eq!(seen, 4, "database, -wal, -shm, lock");
    assert_eq!(store.path(), home.path());
    assert!(format!("{store:?}").contains("maestro.db"));
}

#[test]
fn one_duplicate_fails_and_the_row_stays() {
    let store = Home::new();
    let store = store.open();
    let first = store.insert_session(&new("openai", "work"), &NOW).unwrap();
    let error = store.insert_session(&new("openai", "work"), &NOW).unwrap_err();
    assert_eq!(error.to_string(), "session `work` of provider `openai` (api_key) exists already");
    assert!(error.hint().unwrap().contains("--replace"));
    store.insert_session(&oauth("openai", "work"), &NOW).unwrap();
    store.insert_session(&new("gemini", "work"), &NOW).unwrap();
    store.insert_session(&new("openai", "Work"), &NOW).unwrap();
    assert_eq!(store.session(&first.id).unwrap().unwrap().info, first);
    assert_eq!(store.find_sessions(&SessionFilter::default()).unwrap().len(), 4);
    assert_eq!(trail(&store).len(), 4, "the refused one left no trace");
}

#[test]
fn of_two_processes_that_make_one_name_exactly_one_wins() {
    let home = Home::new();
    for round in 0..8 {
        let name = format!("name{round}");
        let start = Barrier::new(2);
        let wins: usize = thread::scope(|scope| {
            let race = || {
                let store = SqliteStore::open(&home.path(), 0).unwrap();
                start.wait();
                match store.insert_session(&new("openai", &name), &NOW) {
                    Ok(_) => 1,
                    Err(StoreError::DuplicateSession { .. }) => 0,
                    Err(other) => panic!("{other:?}"),
                }
            };
            let racers = [scope.spawn(race), scope.spawn(race)];
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(wins, 1);
    }
    assert_eq!(default_of(&home.open(), "openai").unwrap(), "name0");
}

#[test]
fn the_first_is_the_default_until_another_is_chosen() {
    let home = Home::new();
    let store = home.open();
    let one = store.insert_session(&new("openai", "one"), &NOW).unwrap();
    assert!(one.is_default);
    let two = store.insert_session(&new("openai", "two"), &NOW).unwrap();
    assert!(!two.is_default);
    store.set_default_session(&two.id, &NOW).unwrap();
    store.set_default_session(&two.id, &NOW).unwrap();
    assert_eq!(default_of(&store, "openai").unwrap(), "two");
    let three = NewSession { make_default: true, ..oauth("openai", "three") };
    let three = store.insert_session(&three, &NOW).unwrap();
    assert!(three.is_default);

    // With two left, nobody is promoted; with one left, it is.
    store.delete_session(&three.id, &NOW).unwrap();
    assert_eq!(default_of(&store, "openai"), None);
    store.set_default_session(&one.id, &NOW).unwrap();
    store.delete_session(&one.id, &NOW).unwrap();
    assert_eq!(default_of(&store, "openai").unwrap(), "two");
    store.delete_session(&two.id, &NOW).unwrap();
    assert_eq!(default_of(&store, "openai"), None);
    assert_eq!(
        trail(&store),
        [
            "create one@api_key",
            "create two@api_key",
            "default two@api_key",
            "create three@oauth",
            "delete three@oauth",
            "default one@api_key",
            "delete one@api_key",
            "default two@api_key",
            "delete two@api_key",
        ]
    );
}

#[test]
fn lookups_prefer_the_default_and_report_doubt() {
    let home = Home::new();
    let store = home.open();
    let provider = ProviderId::new("openai").unwrap();
    let look = |auth_type, name: Option<&str>| -> Vec<String> {
        let name = name.map(|name| SessionName::new(name).unwrap());
        let found = store.lookup_session(&provider, auth_type, name.as_ref()).unwrap();
        found.iter().map(|sealed| sealed.info.selector()).collect()
    };
    assert!(look(None, None).is_empty());
    let work = store.insert_session(&new("openai", "work"), &NOW).unwrap();
    store.insert_session(&oauth("openai", "work"), &NOW).unwrap();
    store.insert_session(&oauth("openai", "home"), &NOW).unwrap();
    assert_eq!(look(None, None), ["openai:work@api_key"]);
    assert_eq!(look(Some(AuthType::ApiKey), None), ["openai:work@api_key"]);
    assert_eq!(look(Some(AuthType::OAuth), None).len(), 2, "the default is of the other kind");
    assert_eq!(look(None, Some("work")).len(), 2);
    assert_eq!(look(Some(AuthType::OAuth), Some("work")), ["openai:work@oauth"]);
    assert_eq!(look(None, Some("home")), ["openai:home@oauth"]);
    assert!(look(Some(AuthType::ApiKey), Some("home")).is_empty());
    store.delete_session(&work.id, &NOW).unwrap();
    assert_eq!(look(None, None).len(), 2);
}

#[test]
fn lists_are_filtered_and_sorted() {
    let home = Home::new();
    let store = home.open();
    for session in [new("b", "two"), oauth("b", "one"), new("a", "two"), oauth("a", "two")] {
        store.insert_session(&session, &NOW).unwrap();
    }
    let list = |filter: SessionFilter| -> Vec<String> {
        store.find_sessions(&filter).unwrap().iter().map(SessionInfo::selector).collect()
    };
    assert_eq!(
        list(SessionFilter::default()),
        ["a:two@api_key", "a:two@oauth", "b:one@oauth", "b:two@api_key"]
    );
    let name = Some(SessionName::new("two").unwrap());
    let by_name = SessionFilter { name, ..SessionFilter::default() };
    assert_eq!(list(by_name.clone()).len(), 3);
    let auth_type = Some(AuthType::OAuth);
    assert_eq!(list(SessionFilter { auth_type, ..by_name }), ["a:two@oauth"]);
}

#[test]
fn resealing_compares_the_generation() {
    let home = Home::new();
    let store = home.open();
    let before = store.insert_session(&new("openai", "work"), &NOW).unwrap();
    store.insert_session(&new("openai", "taken"), &NOW).unwrap();
    store.fail_session(&before.id, 1, SessionStatus::NeedsReauth, "401", &NOW).unwrap();
    let failed = store.session(&before.id).unwrap().unwrap().info;
    assert_eq!(
        (failed.status, failed.last_error.as_deref()),
        (SessionStatus::NeedsReauth, Some("401"))
    );

    let later = Stamp { now_s: 2000, actor: "test" };
    let change = resealed("home", AuditAction::Rename);
    let after = store.reseal_session(&before.id, 1, &change, &later).unwrap();
    assert_eq!((after.name.as_str(), after.generation, after.updated_at), ("home", 2, 2000));
    assert_eq!((after.status, after.last_error), (SessionStatus::Ready, None));
    assert_eq!((after.is_default, after.created_at, after.expires_at), (true, 1000, Some(5)));
    assert_eq!(store.session(&before.id).unwrap().unwrap().credentials, [9]);

    let stale = store.reseal_session(&before.id, 1, &change, &later).unwrap_err();
    assert!(matches!(stale, StoreError::Stale { expected: 1, .. }));
    assert_eq!(stale.hint().unwrap(), "try again");
    let taken = resealed("taken", AuditAction::Rename);
    let taken = store.reseal_session(&before.id, 2, &taken, &later).unwrap_err();
    assert!(matches!(taken, StoreError::DuplicateSession { .. }));
    assert_eq!(
        trail(&store)[2..],
        ["failure work@api_key (401)", "rename home@api_key (from work)"]
    );
}

#[test]
fn unknown_sessions_are_named() {
    let home = Home::new();
    let store = home.open();
    let id = SessionId::random().unwrap();
    assert!(store.session(&id).unwrap().is_none());
    let change = resealed("home", AuditAction::Rename);
    for result in [
        store.reseal_session(&id, 1, &change, &NOW).map(drop),
        store.set_default_session(&id, &NOW),
        store.touch_session(&id, &NOW),
        store.fail_session(&id, 1, SessionStatus::Ready, "", &NOW),
        store.delete_session(&id, &NOW),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(&error, StoreError::UnknownSession { id: found } if *found == id));
        assert!(error.hint().is_some());
    }
}

#[test]
fn uses_are_audited_after_a_pause_only() {
    let home = Home::new();
    let store = home.open();
    let id = store.insert_session(&new("openai", "work"), &NOW).unwrap().id;
    let idle = |since| store.prune_candidates(since).unwrap().len();
    assert_eq!((idle(1000), idle(1001)), (0, 1));
    for now_s in [2000, 2060, 2060 + 86_400] {
        store.touch_session(&id, &Stamp { now_s, actor: "test" }).unwrap();
    }
    assert_eq!(store.session(&id).unwrap().unwrap().info.last_used_at, Some(88_460));
    assert_eq!(trail(&store)[1..], ["use work@api_key", "use work@api_key"]);
    assert_eq!((idle(1001), idle(88_461)), (0, 1));
}

#[test]
fn the_revision_follows_changes_of_any_process_but_not_uses() {
    let home = Home::new();
    let (store, other) = (home.open(), home.open());
    let mut last = store.revision().unwrap();
    let mut changed = || {
        let now = store.revision().unwrap();
        assert_eq!(now, store.revision().unwrap());
        std::mem::replace(&mut last, now) != now
    };
    assert!(!changed());
    let id = other.insert_session(&new("openai", "work"), &NOW).unwrap().id;
    assert!(changed());
    let own = store.insert_session(&new("openai", "home"), &NOW).unwrap().id;
    assert!(changed());
    other.touch_session(&id, &NOW).unwrap();
    other.set_setting("a", Some("b")).unwrap();
    assert!(!changed());
    other.fail_session(&id, 1, SessionStatus::NeedsReauth, "x", &NOW).unwrap();
    assert!(changed());
    store.set_default_session(&own, &NOW).unwrap();
    assert!(changed());
    other.delete_session(&id, &NOW).unwrap();
    assert!(changed());
}

#[test]
fn keys_are_adopted_unless_another_sealed_something() {
    let home = Home::new();
    let store = home.open();
    let key = |byte| KeyRecord {
        id: KeyId::from_bytes([byte; 8]),
        created_at: i64::from(byte),
        source: "file".into(),
        active: true,
    };
    assert!(!store.has_ciphertext().unwrap());
    store.adopt_key(&key(1)).unwrap();
    // Nothing is sealed yet, so a new key may take over, and back.
    store.adopt_key(&key(7)).unwrap();
    store.adopt_key(&key(1)).unwrap();
    store.adopt_key(&key(7)).unwrap();
    store.insert_session(&new("openai", "work"), &NOW).unwrap();
    assert!(store.has_ciphertext().unwrap());
    let error = store.adopt_key(&key(1)).unwrap_err();
    assert!(matches!(error, StoreError::WrongKey { found, .. } if found == key(7).id));
    assert!(error.hint().unwrap().contains("0707070707070707"));
    let known = store.keys().unwrap();
    assert_eq!(known.iter().map(|key| key.active).collect::<Vec<_>>(), [false, true]);

    // The record may be gone; what is sealed still tells.
    lock(&store.writer).execute("DELETE FROM crypto_keys", []).unwrap();
    assert!(matches!(store.adopt_key(&key(1)), Err(StoreError::WrongKey { .. })));
    store.adopt_key(&key(7)).unwrap();
}

#[test]
fn settings_come_and_go() {
    let home = Home::new();
    let store = home.open();
    assert_eq!(store.setting("model").unwrap(), None);
    store.set_setting("model", Some("a/b")).unwrap();
    store.set_setting("model", Some("c/d")).unwrap();
    assert_eq!(store.setting("model").unwrap().as_deref(), Some("c/d"));
    store.set_setting("model", None).unwrap();
    assert_eq!(store.setting("model").unwrap(), None);
    assert_eq!(store.setting_or_insert("model", "first").unwrap(), "first");
    assert_eq!(home.open().setting_or_insert("model", "second").unwrap(), "first");
    let event = AuditEvent {
        at: 1,
        actor: "cli".into(),
        action: "rekey".into(),
        provider: None,
        session: None,
        detail: None,
    };
    store.append_audit_event(&event).unwrap();
    assert_eq!(store.audit_events(1).unwrap(), [event]);
}

#[test]
fn a_lock_of_another_process_is_named() {
    let home = Home::new();
    let store = home.open();
    let other = Connection::open(home.path()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = store.insert_session(&new("openai", "work"), &NOW).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert!(error.to_string().ends_with("is locked by another process"));
    assert!(error.hint().unwrap().starts_with("wait"));
    // In WAL mode, reading goes on meanwhile.
    assert!(store.find_sessions(&SessionFilter::default()).unwrap().is_empty());
    other.execute_batch("ROLLBACK").unwrap();
    store.insert_session(&new("openai", "work"), &NOW).unwrap();
}

#[test]
fn a_read_only_store_reads_and_refuses_writes() {
    let home = Home::new();
    home.open().insert_session(&new("openai", "work"), &NOW).unwrap();
    let options = SqliteOptions { read_only: true, ..SqliteOptions::default() };
    let store = SqliteStore::open_with(&home.path(), 0, options).unwrap();
    assert_eq!(store.find_sessions(&SessionFilter::default()).unwrap().len(), 1);
    assert_eq!(store.revision().unwrap(), store.revision().unwrap());
    let error = store.insert_session(&new("openai", "home"), &NOW).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().ends_with("is read-only"));
    assert!(error.hint().unwrap().contains("writable"));

    let missing = SqliteStore::open_with(&home.folder.path().join("none"), 0, options);
    assert!(matches!(missing, Err(StoreError::Io { .. })), "{missing:?}");
}

#[test]
fn a_read_only_store_does_not_migrate() {
    let home = Home::new();
    home.open();
    migrate::migrate(&home.path(), 1, 0, Duration::ZERO, &MigrationKeys::default()).unwrap();
    let options = SqliteOptions { read_only: true, ..SqliteOptions::default() };
    let error = SqliteStore::open_with(&home.path(), 0, options).unwrap_err();
    assert!(matches!(error, StoreError::OlderSchema { found: 1, expected: migrate::LATEST, .. }));
    assert_eq!(error.hint().unwrap(), "run `maestro db migrate`");
    home.open();
}

#[test]
fn a_full_disk_is_named_and_leaves_no_half_row() {
    let home = Home::new();
    let store = home.open();
    lock(&store.writer)
        .query_row("PRAGMA max_page_count = 1", [], |row| row.get::<_, i64>(0))
        .unwrap();
    let large = NewSession { credentials: vec![1; 1 << 20], ..new("openai", "work") };
    let error = store.insert_session(&large, &NOW).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.to_string().starts_with("no space left"));
    assert!(error.hint().unwrap().contains("free some disk space"));
    assert!(store.find_sessions(&SessionFilter::default()).unwrap().is_empty());
    assert!(trail(&store).is_empty());
}

#[test]
fn damage_is_named_and_found_by_the_check() {
    let home = Home::new();
    let store = home.open();
    for number in 0..200 {
        let session = NewSession {
            credentials: vec![number; 600],
            ..new("openai", &format!("name{number}"))
        };
        store.insert_session(&session, &NOW).unwrap();
    }
    assert!(store.integrity().unwrap().is_empty());
    lock(&store.writer).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(store);
    let mut bytes = fs::read(home.path()).unwrap();
    // The second half only: the schema in the first pages must still read.
    let half = bytes.len() / 2;
    for byte in &mut bytes[half..] {
        *byte ^= 0x5a;
    }
    fs::write(home.path(), bytes).unwrap();
    let store = home.open();
    let error = store.find_sessions(&SessionFilter::default()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains(".backup-"));
    // The check either lists the damage or cannot even begin; both must say so.
    match store.integrity() {
        Ok(problems) => assert!(!problems.is_empty()),
        Err(error) => assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}"),
    }
}

#[test]
fn a_value_no_host_writes_counts_as_damage() {
    let home = Home::new();
    let store = home.open();
    let id = store.insert_session(&new("openai", "work"), &NOW).unwrap().id;
    for sql in [
        "UPDATE saved_authentications SET status = 'fine'",
        "UPDATE saved_authentications SET status = 'ready', generation = -1",
    ] {
        lock(&store.writer).execute(sql, []).unwrap();
        let error = store.session(&id).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    }
}

#[test]
fn dangling_rows_are_found_by_the_check() {
    let home = Home::new();
    let store = home.open();
    Connection::open(home.path())
        .unwrap()
        .execute_batch(
            "PRAGMA foreign_keys = OFF;
             INSERT INTO context_chunks VALUES ('k', 'gone', 1, 'user', x'00', 'id', 1, 1, 1);",
        )
        .unwrap();
    let problems = store.integrity().unwrap();
    assert_eq!(problems, ["a row of `context_chunks` refers to a missing row of `contexts`"]);
}

#[test]
fn another_file_is_no_database() {
    let home = Home::new();
    fs::write(home.path(), "#!/bin/sh\n".repeat(200)).unwrap();
    let before = fs::read(home.path()).unwrap();
    let error = SqliteStore::open(&home.path(), 0).unwrap_err();
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error:?}");
    assert!(error.to_string().ends_with("maestro.db` is not a database"));
    assert!(error.hint().unwrap().contains("MAESTRO_HOME"));
    assert_eq!(fs::read(home.path()).unwrap(), before);
}

#[test]
fn a_newer_schema_is_refused() {
    let home = Home::new();
    home.open();
    Connection::open(home.path()).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
    let error = SqliteStore::open(&home.path(), 0).unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 9, expected: migrate::LATEST, .. }));
}

#[test]
fn a_backup_opens_as_a_store() {
    let home = Home::new();
    let store = home.open();
    store.insert_session(&new("openai", "work"), &NOW).unwrap();
    let copy = home.folder.path().join("copy.db");
    store.backup(&copy).unwrap();
    assert!(matches!(store.backup(&copy), Err(StoreError::Io { .. })));
    let copy = SqliteStore::open(&copy, 0).unwrap();
    assert_eq!(copy.find_sessions(&SessionFilter::default()).unwrap().len(), 1);
}

#[test]
fn many_readers_do_not_wait_for_each_other() {
    let home = Home::new();
    let store = home.open();
    store.insert_session(&new("openai", "work"), &NOW).unwrap();
    let together = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                store
                    .read(|connection| {
                        // Would never return if readers shared a connection.
                        together.wait();
                        Ok(sessions::find(connection, &SessionFilter::default())?.len())
                    })
                    .unwrap()
            });
        }
    });
    assert_eq!(lock(&store.readers).len(), MAX_IDLE_READERS);
}
