use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, sync::Barrier};

use proptest::prelude::*;
use rusqlite::types::Value;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);
const NOT_PATIENT: Duration = Duration::ZERO;

/// A database in memory at a version, with foreign keys as a run has them.
fn memory(version: usize) -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    go(&mut connection, version);
    connection
}

/// Runs the SQL of the migrations alone; `reseal/tests.rs` has the steps that are code.
fn go(connection: &mut Connection, version: usize) {
    let steps = STEPS.iter().map(|step| M::up(step.up).down(step.down).foreign_key_check());
    Migrations::new(steps.collect()).to_version(connection, version).unwrap();
}

/// Keys for databases whose logins hold nothing: none is opened.
fn no_keys() -> MigrationKeys {
    MigrationKeys { leave_unreadable: true, ..MigrationKeys::default() }
}

fn migrate(path: &Path, to: i64, now_s: i64, patience: Duration) -> StoreResult<Option<PathBuf>> {
    super::migrate(path, to, now_s, patience, &no_keys())
}

fn dump(connection: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
    rows.unwrap().map(Result::unwrap).collect()
}

fn sessions(connection: &Connection) -> Vec<Vec<Value>> {
    dump(connection, "SELECT * FROM saved_authentications ORDER BY id")
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// What the former program leaves behind: its own table, loosely typed, no version.
fn legacy_file(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE saved_authentications (id TEXT PRIMARY KEY, provider TEXT NOT NULL,
                auth_type TEXT NOT NULL, credentials BLOB NOT NULL, expires_at INTEGER,
                created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
                UNIQUE (provider, auth_type));
             INSERT INTO saved_authentications VALUES
                ('a', 'openai', 'oauth', x'010a', 9, 20, 21),
                ('b', 'openai', 'api_key', x'010b', NULL, 10, 11),
                ('c', 'gemini', 'api_key', x'010c', NULL, 30, 31);",
        )
        .unwrap();
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_definitions_are_valid_and_counted() {
    let resealer = Arc::new(Resealer::default());
    migrations(&resealer, 0).validate().unwrap();
    let mut connection = memory(0);
    migrations(&resealer, 0).to_latest(&mut connection).unwrap();
    assert_eq!(user_version(&connection).unwrap(), LATEST);
}

#[test]
fn a_database_of_the_former_program_is_adopted_and_backed_up() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("maestro.db");
    legacy_file(&path);
    let backup = migrate(&path, LATEST, 1_700_000_000, PATIENCE).unwrap().unwrap();
    assert_eq!(backup, home.path().join(format!("maestro.db.backup-0-to-{LATEST}-1700000000")));
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(schema_version(&backup).unwrap(), 0);
    let old = Connection::open(&backup).unwrap();
    assert_eq!(sessions(&old).len(), 3);

    let new = Connection::open(&path).unwrap();
    let rows = texts(
        &new,
        "SELECT id || ' ' || name || ' ' || is_default || ' ' || ifnull(key_id, 'none')
         FROM saved_authentications ORDER BY id",
    );
    assert_eq!(
        rows,
        [
            "a default_openai_oauth 0 none",
            "b default_openai_api_key 1 none",
            "c default_gemini_api_key 1 none"
        ]
    );
    assert_eq!(migrate(&path, LATEST, 0, PATIENCE).unwrap(), None, "nothing left to do");
}

#[test]
fn two_backups_within_a_second_do_not_overwrite_each_other() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("maestro.db");
    legacy_file(&path);
    for to in [5, 0, 5, 0, 5] {
        migrate(&path, to, 7, PATIENCE).unwrap().unwrap();
    }
    let names = names_in(home.path());
    for expected in ["0-to-5-7", "5-to-0-7", "0-to-5-7-2", "5-to-0-7-2", "0-to-5-7-3"] {
        assert!(names.contains(&format!("maestro.db.backup-{expected}")), "{names:?}");
    }
    assert_eq!(sessions(&Connection::open(&path).unwrap()).len(), 3);
}

#[test]
fn an_empty_file_needs_no_backup() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("maestro.db");
    fs::write(&path, "").unwrap();
    assert_eq!(migrate(&path, LATEST, 0, PATIENCE).unwrap(), None);
    assert_eq!(schema_version(&path).unwrap(), LATEST);
    let mode = texts(&Connection::open(&path).unwrap(), "PRAGMA journal_mode");
    assert_eq!(mode, ["wal"]);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("maestro.db");
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
    let before = fs::read(&path).unwrap();
    for error in
        [migrate(&path, LATEST, 0, PATIENCE).unwrap_err(), schema_version(&path).unwrap_err()]
    {
        assert!(matches!(error, StoreError::NewerSchema { found: 9, expected: LATEST, .. }));
        assert!(error.to_string().ends_with("has schema version 9, but this host knows up to 5"));
        assert!(error.hint().unwrap().contains("rollback --to 5"));
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(names_in(home.path()).len(), 1, "neither lock nor backup was made");
}

#[test]
fn a_failing_step_changes_nothing_and_is_named() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("maestro.db");
    legacy_file(&path);
    let connection = Connection::open(&path).unwrap();
    let sql = "UPDATE saved_authentications SET created_at = 'yesterday' WHERE id = 'a'";
    connection.execute(sql, []).unwrap();
    let error = migrate(&path, LATEST, 0, PATIENCE).unwrap_err();
    assert!(matches!(error, StoreError::Migration { from: 0, to: LATEST, .. }), "{error:?}");
    assert!(error.hint().unwrap().starts_with("nothing was changed"));
    assert_eq!(user_version(&connection).unwrap(), 0);
    assert_eq!(sessions(&connection).len(), 3);
    for impossible in [-1, 99] {
        let error = migrate(&path, impossible, 1, PATIENCE).unwrap_err();
        assert!(matches!(error, StoreError::Migration { .. }));
    }
}

#[test]
fn racing_processes_migrate_once() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("maestro.db");
    legacy_file(&path);
    let start = Barrier::new(4);
    let backups: usize = thread::scope(|scope| {
        let race = || {
            start.wait();
            usize::from(migrate(&path, LATEST, 0, PATIENCE).unwrap().is_some())
        };
        let racers: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(backups, 1);
    assert_eq!(schema_version(&path).unwrap(), LATEST);
}

#[test]
fn a_held_lock_is_named() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("maestro.db");
    legacy_file(&path);
    let held = lock(&path, NOT_PATIENT).unwrap();
    let error = migrate(&path, LATEST, 0, NOT_PATIENT).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    let waited = migrate(&path, LATEST, 0, LOCK_POLL).unwrap_err();
    assert!(matches!(waited, StoreError::Locked { .. }));
    drop(held);
    migrate(&path, LATEST, 0, NOT_PATIENT).unwrap();
}

#[test]
fn a_locked_database_is_named_also_here() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("maestro.db");
    legacy_file(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = migrate(&path, LATEST, 0, NOT_PATIENT).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
}

#[test]
fn a_lock_file_that_cannot_be_made_is_an_io_error() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("maestro.db.lock")).unwrap();
    let error = lock(&home.path().join("maestro.db"), NOT_PATIENT).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }));
}

#[test]
fn conversations_and_all_else_survive_a_rollback() {
    let mut connection = memory(5);
    connection
        .execute_batch(
            "INSERT INTO contexts VALUES ('c', 'n', 'p', 's', 'm', 't', 1, 2, 3);
             INSERT INTO context_chunks VALUES ('k', 'c', 1, 'user', x'00', 'id', 1, NULL, 5);
             INSERT INTO crypto_keys VALUES ('id', 1, 'file', 1);
             INSERT INTO audit_events VALUES (7, 1, 'cli', 'create', 'p', 's', NULL);
             INSERT INTO client_keys VALUES ('i', 'n', x'01', '[]', NULL, NULL, 5, 6, 7, 8, 9, 10);
             INSERT INTO client_limits VALUES ('i', 1, 2, 3);
             INSERT INTO client_usage VALUES ('i', 1, 'p', 'm', 2, 3, 4, 5, 6);
             INSERT INTO plugin_verdicts VALUES ('h', 'b', 'c', '{}', 1);
             INSERT INTO usage VALUES (4, 1, 'k', 'p', 's', 'm', 'chat', 1, 2, 3, 4, 5, 'ok');
             INSERT INTO settings VALUES ('model', 'echo/echo');",
        )
        .unwrap();
    let tables = [
        "contexts",
        "context_chunks",
        "crypto_keys",
        "audit_events",
        "client_keys",
        "client_limits",
        "client_usage",
        "plugin_verdicts",
        "usage",
        "settings",
    ];
    let all = |connection: &Connection| -> Vec<_> {
        tables.iter().map(|t| dump(connection, &format!("SELECT * FROM {t}"))).collect()
    };
    let schema = |connection: &Connection| {
        texts(
            connection,
            "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY 1",
        )
    };
    let (before, schema_before) = (all(&connection), schema(&connection));
    for version in [4, 3, 2, 1, 0] {
        go(&mut connection, version);
        go(&mut connection, 5);
        assert_eq!(all(&connection), before);
        assert_eq!(schema(&connection), schema_before, "nothing parked stays behind");
    }
    assert!(before.iter().all(|rows| rows.len() == 1));
}

#[test]
fn what_the_former_program_did_in_between_is_kept() {
    let mut connection = memory(3);
    connection
        .execute_batch(
            "INSERT INTO saved_authentications (id, provider, auth_type, name, credentials, key_id,
                is_default, created_at, updated_at) VALUES
                ('a', 'p', 'oauth', 'work', x'01', 'k', 1, 1, 1),
                ('b', 'p', 'oauth', 'default_p_oauth', x'02', 'k', 0, 2, 2),
                ('c', 'q', 'oauth', 'home', x'03', 'k', 1, 3, 3);",
        )
        .unwrap();
    go(&mut connection, 1);
    connection
        .execute_batch(
            "DELETE FROM saved_authentications WHERE id = 'a';
             INSERT INTO saved_authentications VALUES ('new', 'p', 'oauth', x'09', NULL, 9, 9);
             UPDATE saved_authentications SET credentials = x'08', updated_at = 8 WHERE id = 'c';",
        )
        .unwrap();
    go(&mut connection, 3);
    let rows = texts(
        &connection,
        "SELECT id || ' ' || name || ' ' || is_default || ' ' || hex(credentials) || ' ' ||
                ifnull(key_id, 'none') || ' ' || updated_at
         FROM saved_authentications ORDER BY id",
    );
    assert_eq!(
        rows,
        ["b default_p_oauth 0 02 k 2", "c home 1 08 none 8", "new default_p_oauth_2 0 09 none 9",]
    );
}

/// One generated session; ids and names come from its place, so that they are unique.
#[derive(Clone, Debug)]
struct Row {
    provider: u8,
    oauth: bool,
    default: bool,
    credentials: Vec<u8>,
    key: Option<String>,
    status: String,
    generation: i64,
    text: Option<String>,
    times: [Option<i64>; 4],
    created_at: i64,
}

fn row() -> impl Strategy<Value = Row> {
    (
        (0_u8..4, any::<bool>(), any::<bool>()),
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::option::of("[0-9a-f]{16}"),
        "ready|needs_reauth|needs_approval",
        1_i64..1000,
        proptest::option::of(".{0,12}"),
        proptest::array::uniform4(proptest::option::of(any::<i64>())),
        0_i64..5,
    )
        .prop_map(|(kind, credentials, key, status, generation, text, times, created_at)| {
            Row {
                provider: kind.0,
                oauth: kind.1,
                default: kind.2,
                credentials,
                key,
                status,
                generation,
                text,
                times,
                created_at,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn up_down_up_loses_nothing(
        rows in proptest::collection::vec(row(), 0..24),
        bottom in 0_usize..3,
    ) {
        let mut connection = memory(3);
        let mut defaults = BTreeSet::new();
        for (at, row) in rows.iter().enumerate() {
            let default = row.default && defaults.insert(row.provider);
            connection.execute(
                "INSERT INTO saved_authentications VALUES
                    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?10, ?15, ?10, ?16)",
                rusqlite::params![
                    format!("{:02}", (at * 7) % 24),
                    format!("p{}", row.provider),
                    if row.oauth { "oauth" } else { "api_key" },
                    format!("name{at}"),
                    row.credentials,
                    row.key,
                    row.status,
                    default,
                    row.generation,
                    row.text,
                    row.times[0],
                    row.created_at,
                    row.created_at + 1,
                    row.times[1],
                    row.times[2],
                    row.times[3],
                ],
            ).unwrap();
        }
        let before = sessions(&connection);
        for _ in 0..2 {
            go(&mut connection, bottom);
            if bottom == 1 {
                let pairs: BTreeSet<_> = rows.iter().map(|r| (r.provider, r.oauth)).collect();
                prop_assert_eq!(sessions(&connection).len(), pairs.len());
            }
            go(&mut connection, 3);
            prop_assert_eq!(&sessions(&connection), &before);
        }
    }

    #[test]
    fn legacy_rows_survive_up_and_down(
        pairs in proptest::collection::btree_set((0_u8..4, any::<bool>()), 0..8),
        at in 0_i64..3,
    ) {
        let mut connection = memory(1);
        for (provider, oauth) in &pairs {
            let auth = if *oauth { "oauth" } else { "api_key" };
            connection.execute(
                "INSERT INTO saved_authentications VALUES (?1 || ?2, ?1, ?2, x'00', ?3, ?3, ?3)",
                rusqlite::params![format!("p{provider}"), auth, at],
            ).unwrap();
        }
        let before = sessions(&connection);
        go(&mut connection, 3);
        let defaults = dump(
            &connection,
            "SELECT provider FROM saved_authentications GROUP BY provider HAVING sum(is_default) <> 1",
        );
        prop_assert!(defaults.is_empty());
        go(&mut connection, 1);
        prop_assert_eq!(sessions(&connection), before);
    }
}
