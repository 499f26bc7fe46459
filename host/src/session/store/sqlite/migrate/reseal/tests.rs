use std::{fs, path::PathBuf, time::Duration};

use proptest::prelude::*;
use rusqlite::types::Value;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::session::store::sqlite::migrate::{LATEST, migrate, reseal_left, schema_version};

const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a database and the two keys.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        home.write_key("legacy.key", 7);
        home.write_key("master.key", 9);
        home
    }

    /// With the database that `tests/fixtures/legacy/build.py` made.
    fn with_fixture() -> Self {
        let home = Self::new();
        fs::copy(fixture("legacy.db"), home.database()).unwrap();
        home.copy_key();
        home
    }

    /// The fixture's key; whoever checked the sources out may have made it readable for others.
    fn copy_key(&self) {
        fs::write(self.path("legacy.key"), fs::read(fixture("legacy.key")).unwrap()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.path("maestro.db")
    }

    fn write_key(&self, name: &str, byte: u8) {
        let digits = (0..32).map(|at: u8| format!("{:02x}", byte.wrapping_add(at)));
        fs::write(self.path(name), digits.collect::<String>()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(self.path(name), mode).unwrap();
    }

    fn keys(&self) -> MigrationKeys {
        MigrationKeys {
            master: Some(KeySource::File(self.path("master.key"))),
            legacy: Some(KeySource::File(self.path("legacy.key"))),
            leave_unreadable: false,
        }
    }

    fn key(&self, name: &str) -> MasterKey {
        KeySource::File(self.path(name)).load(|| true).unwrap()
    }

    fn go(&self, to: i64) {
        migrate(&self.database(), to, 0, PATIENCE, &self.keys()).unwrap();
    }

    fn connection(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }

    fn dump(&self, sql: &str) -> Vec<Vec<Value>> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn sessions(&self) -> Vec<Vec<Value>> {
        self.dump("SELECT * FROM saved_authentications ORDER BY id")
    }

    /// Opens every row of the newest schema.
    fn credentials(&self) -> Vec<(String, Credential)> {
        let key = self.key("master.key");
        let mut connection = self.connection();
        let tx = connection.transaction().unwrap();
        let rows = rows(&tx, "1").unwrap();
        rows.iter()
            .map(|row| {
                let payload = envelope::open(&key, &row.place(), &row.credentials).unwrap();
                (row.id.to_string(), Credential::from_payload(&payload).unwrap())
            })
            .collect()
    }

    /// Opens every row of the former program's schema; the columns that it has, and the text.
    fn legacy_rows(&self) -> Vec<(Vec<Value>, Vec<u8>)> {
        let key = self.key("legacy.key");
        let sql = "SELECT id, provider, auth_type, expires_at, created_at, updated_at, credentials
                   FROM saved_authentications ORDER BY id";
        self.dump(sql)
            .into_iter()
            .map(|mut row| {
                let Some(Value::Blob(sealed)) = row.pop() else { panic!("expected a blob") };
                (row, legacy::open(&key, &sealed).unwrap().plaintext.to_vec())
            })
            .collect()
    }
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/legacy").join(name)
}

fn expected() -> Vec<serde_json::Value> {
    serde_json::from_slice(&fs::read(fixture("expected.json")).unwrap()).unwrap()
}

#[test]
fn every_login_of_a_real_legacy_database_survives() {
    let home = Home::with_fixture();
    let before = home.legacy_rows();
    home.go(LATEST);
    let credentials = home.credentials();
    assert_eq!(credentials.len(), expected().len());
    for row in expected() {
        let (_, credential) =
            credentials.iter().find(|(id, _)| *id == row["id"]).expect("the row is there");
        assert_eq!(credential.bearer().expose_secret(), row["secret"].as_str().unwrap());
        assert_eq!(credential.expires_at(), row["expires_at"].as_i64());
        assert_eq!(credential.auth_type().as_str(), row["auth_type"]);
        assert!(credential.binding.is_unbound());
        if let crate::session::Secret::OAuth(tokens) = &credential.secret {
            let refresh = tokens.refresh_token.as_ref().map(ExposeSecret::expose_secret);
            assert_eq!(refresh, row["refresh"].as_str());
        }
    }
    let states = home.dump(
        "SELECT DISTINCT status, key_id IS NULL, name = 'default_' || provider || '_' || auth_type
         FROM saved_authentications",
    );
    let expected_state = vec![Value::Text("needs_approval".into()), 0.into(), 1.into()];
    assert_eq!(states, [expected_state]);

    let named = home.sessions();
    home.go(1);
    assert_eq!(home.legacy_rows(), before, "the former program sees what it wrote");
    home.go(LATEST);
    assert_eq!(home.sessions(), named, "our envelopes come back as they were");
}

#[test]
fn the_fixture_is_what_its_script_builds() {
    let folder = tempfile::tempdir().unwrap();
    let script = std::process::Command::new("python3")
        .arg("-B")
        .arg(fixture("build.py"))
        .arg(folder.path())
        .status();
    let Ok(status) = script else {
        eprintln!("skipped: there is no python3 to run the fixture's script");
        return;
    };
    assert!(status.success());
    for name in ["expected.json", "legacy.key", "vectors.txt"] {
        assert_eq!(
            fs::read(folder.path().join(name)).unwrap(),
            fs::read(fixture(name)).unwrap(),
            "{name}"
        );
    }
    let rows = |path: PathBuf| {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection
            .prepare("SELECT id, credentials FROM saved_authentications ORDER BY id")
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect::<Vec<(String, Vec<u8>)>>()
    };
    assert_eq!(rows(folder.path().join("legacy.db")), rows(fixture("legacy.db")));
}

#[test]
fn without_the_former_key_nothing_is_half_done() {
    let home = Home::with_fixture();
    let bytes = fs::read(home.database()).unwrap();
    let run = |keys: MigrationKeys| migrate(&home.database(), LATEST, 0, PATIENCE, &keys);
    let refused = run(MigrationKeys { legacy: None, ..home.keys() }).unwrap_err();
    assert!(matches!(refused, StoreError::NoLegacyKey { logins: 6, back: false }), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        "6 logins are sealed as the former program does, but the key of that program is not configured"
    );
    assert!(refused.hint().unwrap().contains("legacy_key = { env = \"NAME\" }"));
    home.write_key("legacy.key", 1);
    let refused = run(home.keys()).unwrap_err();
    assert!(matches!(refused, StoreError::LegacyLogin { .. }), "{refused:?}");
    let missing = KeySource::File(home.path("nowhere"));
    let refused = run(MigrationKeys { legacy: Some(missing), ..home.keys() }).unwrap_err();
    assert!(matches!(refused, StoreError::LegacyKey { .. }), "{refused:?}");
    let missing = KeySource::File(home.path("nowhere"));
    home.copy_key();
    let refused = run(MigrationKeys { master: Some(missing), ..home.keys() }).unwrap_err();
    assert!(matches!(refused, StoreError::MasterKey { .. }), "{refused:?}");
    assert_eq!(schema_version(&home.database()).unwrap(), 0);
    home.connection().execute_batch("PRAGMA journal_mode = DELETE").unwrap();
    let tables = home.dump("SELECT name FROM sqlite_schema WHERE type = 'table'");
    assert_eq!(tables, [vec![Value::Text("saved_authentications".into())]]);
    assert_eq!(fs::read(home.database()).unwrap().len(), bytes.len());
    home.go(LATEST);
    assert_eq!(home.credentials().len(), 6);
}

#[test]
fn logins_left_behind_are_marked_and_can_be_taken_over_later() {
    let home = Home::with_fixture();
    let keys = MigrationKeys { legacy: None, leave_unreadable: true, ..home.keys() };
    migrate(&home.database(), LATEST, 0, PATIENCE, &keys).unwrap();
    let states = home.dump("SELECT DISTINCT status, key_id FROM saved_authentications");
    assert_eq!(states, [vec![Value::Text("needs_reauth".into()), Value::Null]]);
    assert_eq!(reseal_left(&home.database(), PATIENCE, &keys).unwrap(), 0, "there is no key");
    assert_eq!(reseal_left(&home.database(), PATIENCE, &home.keys()).unwrap(), 6);
    assert_eq!(home.credentials().len(), 6);
    assert_eq!(reseal_left(&home.database(), PATIENCE, &home.keys()).unwrap(), 0);
}

#[test]
fn a_store_that_fails_does_not_make_logins_unreadable() {
    let home = Home::with_fixture();
    let keys = MigrationKeys { legacy: None, leave_unreadable: true, ..home.keys() };
    migrate(&home.database(), LATEST, 0, PATIENCE, &keys).unwrap();
    let rows = "SELECT id, credentials, key_id, last_error FROM saved_authentications ORDER BY id";
    let before = home.dump(rows);
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON legacy_payloads
                   BEGIN SELECT RAISE(ABORT, 'full'); END";
    home.connection().execute_batch(trigger).unwrap();
    let keys = MigrationKeys { leave_unreadable: true, ..home.keys() };
    reseal_left(&home.database(), PATIENCE, &keys).unwrap_err();
    assert_eq!(home.dump(rows), before);
    home.connection().execute_batch("DROP TRIGGER full").unwrap();
    // A key that does not open them is named as the reason.
    home.write_key("legacy.key", 1);
    assert_eq!(reseal_left(&home.database(), PATIENCE, &keys).unwrap(), 0);
    let said = home.dump("SELECT DISTINCT last_error FROM saved_authentications");
    let expected = "sealed by the former program: it does not open with the configured key";
    assert_eq!(said, [vec![Value::Text(expected.into())]]);
    home.copy_key();
    assert_eq!(reseal_left(&home.database(), PATIENCE, &keys).unwrap(), 6);
}

#[test]
fn a_database_sealed_with_another_key_of_ours_is_not_touched() {
    let home = Home::with_fixture();
    home.go(LATEST);
    home.write_key("master.key", 50);
    let refused = migrate(&home.database(), 1, 0, PATIENCE, &home.keys()).unwrap_err();
    assert!(matches!(refused, StoreError::WrongKey { .. }), "{refused:?}");
    assert_eq!(schema_version(&home.database()).unwrap(), LATEST);
    home.write_key("master.key", 9);
    home.go(1);
    // Some of what is parked is sealed with the right key still.
    home.write_key("master.key", 50);
    let sql = "UPDATE saved_authentications SET credentials = ?1 WHERE provider = 'openai'";
    let text = legacy::seal(&home.key("legacy.key"), b"sk-new-0123", 12).unwrap();
    home.connection().execute(sql, [text]).unwrap();
    let refused = migrate(&home.database(), LATEST, 0, PATIENCE, &home.keys()).unwrap_err();
    assert!(matches!(refused, StoreError::WrongKey { .. }), "{refused:?}");
    assert_eq!(schema_version(&home.database()).unwrap(), 1);
}

#[test]
fn what_the_former_program_replaces_is_taken_over_anew() {
    let home = Home::with_fixture();
    home.go(LATEST);
    home.go(0);
    home.go(1);
    let key = home.key("legacy.key");
    let replaced = legacy::seal(&key, br#"{"api_key":"sk-replaced-0123"}"#, 12).unwrap();
    let connection = home.connection();
    let sql = "UPDATE saved_authentications SET credentials = ?1
               WHERE provider = 'openai' AND auth_type = 'api_key'";
    connection.execute(sql, [replaced]).unwrap();
    connection.execute("DELETE FROM saved_authentications WHERE provider = 'gemini'", []).unwrap();
    home.go(LATEST);
    let secrets: Vec<_> = home
        .credentials()
        .iter()
        .map(|(_, credential)| credential.bearer().expose_secret().to_owned())
        .collect();
    assert_eq!(secrets.len(), 4);
    assert!(secrets.contains(&"sk-replaced-0123".to_owned()));
    let left = home.dump("SELECT count(*) FROM legacy_payloads");
    assert_eq!(left, [vec![Value::Integer(4)]]);
    let parked = home.dump("SELECT name FROM sqlite_schema WHERE name LIKE 'parked%'");
    assert!(parked.is_empty(), "{parked:?}");
}

#[test]
fn a_changed_migration_stops_the_host() {
    let home = Home::with_fixture();
    home.go(LATEST);
    let applied = home.dump("SELECT version, name FROM applied_migrations ORDER BY version");
    assert_eq!(applied.len(), usize::try_from(LATEST).unwrap());
    let sql = "UPDATE applied_migrations SET checksum = 'other' WHERE version = 2";
    home.connection().execute_batch(sql).unwrap();
    for to in [LATEST, 1] {
        let refused = migrate(&home.database(), to, 0, PATIENCE, &home.keys()).unwrap_err();
        assert!(
            matches!(&refused, StoreError::ChangedMigration { version: 2, name, .. } if name == "0002-named-sessions"),
            "{refused:?}"
        );
        assert!(refused.hint().is_some());
    }
}

/// Numbers that look random and follow from a seed.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn text(&mut self) -> String {
        let odd = ["é", "\"", "\\", "雪", " "][usize::try_from(self.below(5)).unwrap()];
        format!("{:x}{odd}{:x}", self.next(), self.next())
    }

    /// Writes a credential in one of the former program's forms.
    fn plaintext(&mut self, auth_type: &str) -> String {
        let (one, two, at) = (self.next(), self.next(), 1_700_000_000 + self.below(1_000_000_000));
        let extra = serde_json::to_string(&self.text()).unwrap();
        match (auth_type, self.below(3)) {
            ("api_key", 0) => format!("sk-{one:x}"),
            ("api_key", 1) => format!("{{\"api_key\": \"sk-{one:x}\", \"note\": {extra}}}"),
            ("api_key", _) => format!("{{\"n\":1.50,\"auth\":{{\"key\":\"sk-{one:x}\"}}}}"),
            (_, 0) => format!(
                "{{\"access_token\":\"at-{one:x}\",\"refresh_token\":\"rt-{two:x}\",\"expires_at\":{at}}}"
            ),
            (_, 1) => format!(
                "{{\"accessToken\":\"at-{one:x}\",\"expiresAt\":{at}000,\"x\":{extra},\"scope\":\"a b\"}}"
            ),
            _ => format!("{{\"access\":\"at-{one:x}\",\"refresh\":null,\"odd\":[{{}},{extra}]}}"),
        }
    }
}

/// Fills the former program's table: one login of each kind per provider.
fn legacy_database(home: &Home, seed: u64, logins: u64) {
    let mut random = Seeded(seed);
    let key = home.key("legacy.key");
    let mut connection = home.connection();
    connection.execute_batch(super::super::STEPS[0].up).unwrap();
    let tx = connection.transaction().unwrap();
    for number in 0..logins {
        let auth_type = if number % 2 == 0 { "oauth" } else { "api_key" };
        let iv_len = if random.below(4) == 0 { 16 } else { 12 };
        let text = random.plaintext(auth_type);
        let expires_at =
            (random.below(2) == 0).then(|| i64::try_from(random.below(1 << 40)).unwrap());
        tx.execute(
            "INSERT INTO saved_authentications VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                format!("{:032x}", u128::from(random.next()) << 64 | u128::from(number)),
                format!("p{}", number / 2),
                auth_type,
                legacy::seal(&key, text.as_bytes(), iv_len).unwrap(),
                expires_at,
                i64::try_from(random.below(1 << 40)).unwrap(),
                i64::try_from(random.below(1 << 40)).unwrap(),
            ],
        )
        .unwrap();
    }
    tx.commit().unwrap();
}

fn up_down_up(seed: u64, logins: u64, bottom: i64) {
    println!("seed {seed}, {logins} logins, down to {bottom}");
    let home = Home::new();
    legacy_database(&home, seed, logins);
    let before = home.legacy_rows();
    home.go(LATEST);
    let (named, payloads) =
        (home.sessions(), home.dump("SELECT * FROM legacy_payloads ORDER BY session_id"));
    assert_eq!(home.credentials().len() as u64, logins);
    home.go(bottom);
    if bottom == 1 {
        let after = home.legacy_rows();
        let differences = before.iter().zip(&after).filter(|(one, two)| one != two).count();
        assert_eq!((differences, after.len()), (0, before.len()), "seed {seed}");
    }
    home.go(LATEST);
    let again = home.sessions();
    let differences = named.iter().zip(&again).filter(|(one, two)| one != two).count();
    assert_eq!((differences, again.len()), (0, named.len()), "seed {seed}");
    assert_eq!(home.dump("SELECT * FROM legacy_payloads ORDER BY session_id"), payloads);
}

#[test]
fn ten_thousand_logins_go_up_down_and_up_without_a_difference() {
    up_down_up(20_261_122, 10_000, 1);
}

/// Many names for one provider, sealed by us: only one of each pair fits into the old table.
#[test]
fn sessions_that_the_old_table_cannot_hold_come_back_too() {
    let home = Home::new();
    drop(home.connection());
    home.go(LATEST);
    let key = home.key("master.key");
    let connection = home.connection();
    for number in 0..60 {
        let provider = ProviderId::new(format!("p{}", number % 5)).unwrap();
        let auth_type = if number % 2 == 0 { AuthType::OAuth } else { AuthType::ApiKey };
        let (id, name): (SessionId, SessionName) =
            (format!("id{number:02}").parse().unwrap(), format!("name{number}").parse().unwrap());
        let binding = crate::session::Binding::unbound();
        let credential = match auth_type {
            AuthType::ApiKey => Credential::api_key(format!("sk-{number}"), binding),
            AuthType::OAuth => {
                legacy::read(auth_type, format!("at-{number}").as_bytes(), Some(number)).unwrap()
            }
        };
        let place = Place::Session { id: &id, provider: &provider, auth_type, name: &name };
        let sealed = envelope::seal(&key, &place, &credential.to_payload().unwrap()).unwrap();
        connection
            .execute(
                "INSERT INTO saved_authentications
                    (id, provider, auth_type, name, credentials, key_id, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
                params![
                    id.as_str(),
                    provider.as_str(),
                    auth_type.as_str(),
                    name.as_str(),
                    sealed,
                    key.id().to_string(),
                    number
                ],
            )
            .unwrap();
    }
    drop(connection);
    let before = home.sessions();
    for bottom in [3, 2, 1, 0, 1] {
        home.go(bottom);
        if bottom == 1 {
            let rows = home.legacy_rows();
            assert_eq!(rows.len(), 10);
            assert!(rows.iter().all(|(_, text)| text.starts_with(b"{\"")));
        }
        home.go(LATEST);
        assert_eq!(home.sessions(), before, "down to {bottom}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn any_legacy_database_goes_up_down_and_up(
        seed in any::<u64>(),
        logins in 0_u64..40,
        bottom in 0_i64..3,
    ) {
        up_down_up(seed, logins, bottom);
    }
}
