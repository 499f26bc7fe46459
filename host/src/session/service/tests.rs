use std::{path::PathBuf, thread};

use plugin_api::PluginId;
use secrecy::ExposeSecret;

use super::*;
use crate::session::{
    cache::Question, credential::TokenSet, envelope::EnvelopeError, name::AuthType,
    store::sqlite::SqliteStore,
};

const NOW: Stamp<'_> = Stamp { now_s: 1000, actor: "test" };

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|at| if at == 0 { byte } else { 1 }), "test")
}

struct Fixture {
    folder: tempfile::TempDir,
    sessions: Sessions,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sessions = open(&folder.path().join("maestro.db"), 1).unwrap();
        Self { folder, sessions }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("maestro.db")
    }

    /// The same file as another process would open it.
    fn other(&self) -> Sessions {
        open(&self.path(), 1).unwrap()
    }

    fn sql(&self, sql: &str) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}

fn open(path: &std::path::Path, byte: u8) -> Result<Sessions, SessionError> {
    Sessions::open(Arc::new(SqliteStore::open(path, 0)?), key(byte), 0)
}

fn provider(id: &str) -> ProviderId {
    ProviderId::new(id).unwrap()
}

fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

fn binding(origin: &str) -> Binding {
    Binding::new(PluginId::new("acme").unwrap(), [origin]).unwrap()
}

fn login(session: &str, secret: &str) -> Login {
    Login {
        provider: provider("acme"),
        name: name(session),
        credential: Credential::api_key(secret, binding("https://api.acme.example")),
        account: None,
        replace: false,
        make_default: false,
    }
}

fn tokens(access: &str) -> Credential {
    let tokens = TokenSet {
        access_token: access.into(),
        refresh_token: Some("r".into()),
        expires_at: Some(9000),
        ..TokenSet::default()
    };
    Credential::oauth(tokens, binding("https://api.acme.example"))
}

fn secret(open: &OpenSession) -> &str {
    open.credential.bearer().expose_secret()
}

#[test]
fn a_login_is_opened_by_name_by_default_and_by_being_the_only_one() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let acme = provider("acme");
    let none = sessions.resolve(&acme, None, None).err().unwrap();
    assert!(matches!(none, SessionError::None { .. }));
    assert_eq!(none.hint().unwrap(), "run `maestro login acme`");

    let info = sessions.create(&login("work", "sk-work-0123456789"), &NOW).unwrap();
    assert_eq!(info.selector(), "acme:work@api_key");
    let opened = sessions.resolve(&acme, None, None).unwrap();
    assert_eq!(secret(&opened), "sk-work-0123456789");
    assert_eq!(opened.credential.binding, binding("https://api.acme.example"));
    sessions.create(&login("home", "sk-home"), &NOW).unwrap();
    assert_eq!(secret(&sessions.resolve(&acme, None, None).unwrap()), "sk-work-0123456789");
    let home = sessions.resolve(&acme, Some(&name("home")), Some(AuthType::ApiKey)).unwrap();
    assert_eq!(secret(&home), "sk-home");
}

#[test]
fn doubt_is_explained_with_names() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let acme = provider("acme");
    let work = sessions.create(&login("work", "k"), &NOW).unwrap();
    let oauth = Login { credential: tokens("t"), ..login("work", "") };
    sessions.create(&oauth, &NOW).unwrap();
    sessions.create(&login("home", "k"), &NOW).unwrap();
    let failed = |name: Option<&SessionName>, auth_type| {
        sessions.resolve(&acme, name, auth_type).err().unwrap()
    };
    let error = failed(Some(&name("work")), None);
    assert_eq!(
        error.to_string(),
        "`acme:work` matches several sessions: `acme:work@api_key`, `acme:work@oauth`"
    );
    assert!(error.hint().is_some());
    let error = failed(Some(&name("word")), None);
    assert_eq!(error.to_string(), "no session `acme:word`");
    assert!(error.hint().unwrap().contains("`acme:work@oauth`"));
    let error = failed(Some(&name("home")), Some(AuthType::OAuth));
    assert_eq!(error.to_string(), "no session `acme:home@oauth`");

    sessions.delete(&work.id, &NOW).unwrap();
    let error = failed(None, None);
    assert!(matches!(error, SessionError::NoDefault { .. }));
    assert_eq!(error.hint().unwrap(), "run `maestro sessions default acme:home@api_key`");
    assert!(
        sessions.resolve(&acme, None, Some(AuthType::OAuth)).is_ok(),
        "the only one of its kind"
    );
    sessions.delete(&sessions.find(&"acme:work".parse().unwrap()).unwrap().id, &NOW).unwrap();
    let error = failed(None, Some(AuthType::OAuth));
    assert!(matches!(error, SessionError::Unknown { .. }), "{error}");
}

#[test]
fn selectors_find_one_or_say_which() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let find = |text: &str| sessions.find(&text.parse().unwrap());
    assert_eq!(find("work").unwrap_err().hint().unwrap(), "run `maestro login PROVIDER`");
    sessions.create(&login("work", "k"), &NOW).unwrap();
    let other = Login { provider: provider("lab"), ..login("work", "k") };
    sessions.create(&other, &NOW).unwrap();
    assert_eq!(find("lab:work@api-key").unwrap().selector(), "lab:work@api_key");
    let error = find("work").unwrap_err();
    assert!(matches!(&error, SessionError::Ambiguous { candidates, .. } if candidates.len() == 2));
    let error = find("acme:home").unwrap_err();
    assert_eq!(error.to_string(), "no session `acme:home`");
    assert_eq!(sessions.list(&SessionFilter::default()).unwrap().len(), 2);
    assert_eq!(sessions.prune_candidates(2000).unwrap().len(), 2);
}

#[test]
fn replacing_is_asked_for_and_keeps_the_row() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let first = Login { account: Some("me".into()), ..login("work", "old") };
    let first = sessions.create(&first, &NOW).unwrap();
    sessions.create(&login("home", "k"), &NOW).unwrap();
    let error = sessions.create(&login("work", "new"), &NOW).unwrap_err();
    assert!(matches!(error, SessionError::Store(StoreError::DuplicateSession { .. })));
    assert!(error.hint().unwrap().contains("--replace"));
    let replaced = Login { replace: true, ..login("work", "new") };
    let replaced = sessions.create(&replaced, &NOW).unwrap();
    assert_eq!((replaced.id.clone(), replaced.generation), (first.id, 2));
    assert_eq!((replaced.is_default, replaced.account), (true, None), "whose it is, nobody said");
    assert_eq!(secret(&sessions.open_id(&replaced.id).unwrap()), "new");
    let home = Login { replace: true, make_default: true, ..login("home", "k2") };
    assert!(sessions.create(&home, &NOW).unwrap().is_default);
    assert!(!sessions.find(&"work".parse().unwrap()).unwrap().is_default);
    let actions: Vec<_> =
        sessions.store().audit_events(9).unwrap().into_iter().map(|event| event.action).collect();
    assert_eq!(actions, ["default", "replace", "replace", "create", "create"]);
}

#[test]
fn renaming_seals_for_the_new_name() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let made = sessions.create(&login("work", "secret"), &NOW).unwrap();
    let id = made.id.clone();
    sessions.create(&login("home", "k"), &NOW).unwrap();
    sessions.fail(&made, SessionStatus::NeedsApproval, "wider", &NOW).unwrap();
    let renamed = sessions.rename(&id, &name("job"), &NOW).unwrap();
    assert_eq!(renamed.status, SessionStatus::NeedsApproval, "a new name settles nothing");
    assert_eq!(secret(&sessions.open_id(&id).unwrap()), "secret");
    let taken = sessions.rename(&id, &name("home"), &NOW).unwrap_err();
    assert!(matches!(taken, SessionError::Store(StoreError::DuplicateSession { .. })));
    let unknown = sessions.rename(&SessionId::random().unwrap(), &name("xyz"), &NOW).unwrap_err();
    assert!(matches!(unknown, SessionError::Store(StoreError::UnknownSession { .. })));

    // A rename by hand is what the binding to the row is there to notice.
    fixture.sql("UPDATE saved_authentications SET name = 'mine' WHERE name = 'job'");
    let moved = sessions.open_id(&id).err().unwrap();
    assert_eq!(moved.to_string(), "failed to open `acme:mine@api_key`");
    assert!(matches!(moved, SessionError::Sealed { source: EnvelopeError::Moved, .. }));
    assert!(moved.hint().is_some());
}

#[test]
fn a_late_refusal_of_an_old_secret_does_not_mark_the_new_one() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let old = sessions.create(&login("work", "old"), &NOW).unwrap();
    let new = Login { replace: true, ..login("work", "new") };
    sessions.create(&new, &NOW).unwrap();
    sessions.fail(&old, SessionStatus::NeedsReauth, "401", &NOW).unwrap();
    let info = sessions.open_id(&old.id).unwrap().info;
    assert_eq!((info.status, info.last_error.as_deref()), (SessionStatus::Ready, None));
    sessions.fail(&info, SessionStatus::NeedsReauth, "401", &NOW).unwrap();
    assert_eq!(sessions.open_id(&old.id).unwrap().info.status, SessionStatus::NeedsReauth);
}

#[test]
fn approval_widens_the_binding_and_clears_its_status_only() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let made = sessions.create(&login("work", "k"), &NOW).unwrap();
    let id = made.id.clone();
    let wider = binding("https://other.example");
    sessions.fail(&made, SessionStatus::NeedsApproval, "wider", &NOW).unwrap();
    let info = sessions.approve(&id, &wider, &NOW).unwrap();
    assert_eq!((info.status, info.last_error.as_deref()), (SessionStatus::Ready, None));
    let opened = sessions.resolve(&provider("acme"), None, None).unwrap();
    assert_eq!(opened.credential.binding, wider);
    sessions.fail(&info, SessionStatus::NeedsReauth, "401", &NOW).unwrap();
    let info = sessions.approve(&id, &wider, &NOW).unwrap();
    assert_eq!(info.status, SessionStatus::NeedsReauth);
}

#[test]
fn refreshing_is_compare_and_swap() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let oauth = Login { credential: tokens("one"), ..login("work", "") };
    let before = sessions.create(&oauth, &NOW).unwrap();
    assert_eq!(before.expires_at, Some(9000));
    let after = sessions.reseal(&before, &tokens("two"), &NOW).unwrap();
    assert_eq!(after.generation, 2);
    let late = fixture.other().reseal(&before, &tokens("three"), &NOW).unwrap_err();
    assert!(matches!(late, SessionError::Store(StoreError::Stale { .. })));
    assert_eq!(secret(&sessions.open_id(&before.id).unwrap()), "two");
    let kind = sessions.reseal(&after, &login("work", "k").credential, &NOW).unwrap_err();
    let expected = "session `work` holds oauth credentials, but was given one for api_key";
    assert_eq!(kind.to_string(), expected);
    assert_eq!(kind.hint(), None);
}

#[test]
fn answers_are_cached_until_any_process_changes_a_session() {
    let fixture = Fixture::new();
    let (sessions, other) = (&fixture.sessions, fixture.other());
    let acme = provider("acme");
    let id = sessions.create(&login("work", "k1"), &NOW).unwrap().id;
    let first = sessions.resolve(&acme, None, None).unwrap();
    assert!(Arc::ptr_eq(&first, &sessions.resolve(&acme, None, None).unwrap()));
    sessions.touch(&first, &NOW).unwrap();
    assert!(Arc::ptr_eq(&first, &sessions.resolve(&acme, None, None).unwrap()));

    other.create(&Login { replace: true, ..login("work", "k2") }, &NOW).unwrap();
    assert_eq!(secret(&sessions.resolve(&acme, None, None).unwrap()), "k2");
    other.create(&Login { make_default: true, ..login("home", "k3") }, &NOW).unwrap();
    assert_eq!(secret(&sessions.resolve(&acme, None, None).unwrap()), "k3");
    sessions.set_default(&id, &NOW).unwrap();
    assert_eq!(secret(&sessions.resolve(&acme, None, None).unwrap()), "k2");
    other.delete(&id, &NOW).unwrap();
    assert_eq!(secret(&sessions.resolve(&acme, None, None).unwrap()), "k3");
    assert!(sessions.resolve(&acme, Some(&name("work")), None).is_err());
}

#[test]
fn the_cache_is_bounded() {
    let cache = Cache::default();
    let fixture = Fixture::new();
    let id = fixture.sessions.create(&login("work", "k"), &NOW).unwrap().id;
    let answer = Arc::new(fixture.sessions.open_id(&id).unwrap());
    for number in 0..3000 {
        let name = Some(name(&format!("name{number}")));
        let question = Question { provider: provider("acme"), name, auth_type: None };
        cache.keep(1, question.clone(), Arc::clone(&answer));
        assert!(cache.find(1, &question).is_some());
        assert!(Arc::strong_count(&answer) <= 1025);
    }
}

#[test]
fn uses_are_written_once_a_minute() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let id = sessions.create(&login("work", "k"), &NOW).unwrap().id;
    let open = sessions.resolve(&provider("acme"), None, None).unwrap();
    let used = || sessions.open_id(&id).unwrap().info.last_used_at;
    for (now_s, expected) in [(1000, 1000), (1059, 1000), (1060, 1060), (5, 1060)] {
        sessions.touch(&open, &Stamp { now_s, actor: "test" }).unwrap();
        assert_eq!(used(), Some(expected));
    }
}

#[test]
fn a_wrong_key_is_named_before_anything_is_written() {
    let fixture = Fixture::new();
    drop(open(&fixture.path(), 2).unwrap());
    drop(open(&fixture.path(), 1).unwrap());
    fixture.sessions.create(&login("work", "k"), &NOW).unwrap();
    let keys = fixture.sessions.store().keys().unwrap();
    let error = open(&fixture.path(), 2).unwrap_err();
    assert!(matches!(error, SessionError::Store(StoreError::WrongKey { .. })));
    assert_eq!(
        error.to_string(),
        format!(
            "database is sealed with key `{}`, but the loaded key is `{}`",
            key(1).id(),
            key(2).id()
        )
    );
    assert_eq!(fixture.sessions.store().keys().unwrap(), keys);
    assert!(open(&fixture.path(), 1).is_ok());
}

#[test]
fn legacy_and_foreign_values_are_reported_not_guessed() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let id = sessions.create(&login("work", "k"), &NOW).unwrap().id;
    fixture.sql("UPDATE saved_authentications SET credentials = x'010a4145532e47434d2e5631'");
    let legacy = sessions.resolve(&provider("acme"), None, None).err().unwrap();
    assert!(matches!(legacy, SessionError::Sealed { source: EnvelopeError::Legacy, .. }));
    assert!(legacy.hint().unwrap().contains("legacy_key"));

    let acme = provider("acme");
    let work = name("work");
    let place =
        Place::Session { id: &id, provider: &acme, auth_type: AuthType::ApiKey, name: &work };
    let foreign = envelope::seal(&sessions.key, &place, b"not json").unwrap();
    let hex = crate::session::name::hex(&foreign);
    fixture.sql(&format!("UPDATE saved_authentications SET credentials = x'{hex}'"));
    let foreign = sessions.open_id(&id).err().unwrap();
    assert!(matches!(foreign, SessionError::Payload { .. }));
    assert!(foreign.hint().unwrap().contains("--replace"));
    // Logging in again helps in both cases, also though the old value does not open.
    sessions.create(&Login { replace: true, ..login("work", "new") }, &NOW).unwrap();
    assert_eq!(secret(&sessions.open_id(&id).unwrap()), "new");
}

#[test]
fn the_check_opens_everything_and_lists_what_does_not() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    sessions.create(&login("work", "k"), &NOW).unwrap();
    sessions.create(&login("home", "k"), &NOW).unwrap();
    let report = sessions.check().unwrap();
    assert!(report.is_sound() && report.sessions == 2);
    fixture.sql("UPDATE saved_authentications SET credentials = x'01' WHERE name = 'home'");
    let report = sessions.check().unwrap();
    assert_eq!((report.is_sound(), report.sessions, report.unreadable.len()), (false, 1, 1));
    assert_eq!(report.unreadable[0].to_string(), "failed to open `acme:home@api_key`");
}

#[test]
fn changes_of_the_same_row_by_many_all_arrive() {
    let fixture = Fixture::new();
    let id = fixture.sessions.create(&login("work", "k"), &NOW).unwrap().id;
    let outcomes: Vec<_> = thread::scope(|scope| {
        let change = |number: u8| {
            let sessions = fixture.other();
            let id = id.clone();
            move || sessions.rename(&id, &name(&format!("name{number}")), &NOW)
        };
        let racers: Vec<_> = (0..3).map(|number| scope.spawn(change(number))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let open = fixture.sessions.open_id(&id).unwrap();
    assert_eq!((open.info.generation, secret(&open)), (4, "k"));
}

#[test]
fn nothing_shown_or_stored_holds_the_secret() {
    let fixture = Fixture::new();
    let sessions = &fixture.sessions;
    let info = sessions.create(&login("work", "sk-very-secret-value"), &NOW).unwrap();
    let shown = format!("{sessions:?} {info:?} {:?}", sessions.store().audit_events(9).unwrap());
    assert!(!shown.contains("sk-very"));
    for entry in std::fs::read_dir(fixture.folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"sk-very"));
    }
}

#[tokio::test]
async fn async_callers_use_the_blocking_pool() {
    let Fixture { folder: _folder, sessions } = Fixture::new();
    let sessions = Arc::new(sessions);
    let made = sessions.blocking(|sessions| sessions.create(&login("work", "k"), &NOW)).await;
    assert_eq!(made.unwrap().name, name("work"));
    let panicked = sessions.blocking(|_| -> Result<(), SessionError> { panic!("on purpose") });
    assert!(matches!(panicked.await, Err(SessionError::Panicked)));
}
