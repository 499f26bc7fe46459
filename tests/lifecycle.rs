//! Sessions from the first day to the last: many writers, names, approval, cleaning up.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, sync::Arc};

use host::session::{
    Binding, Credential, KeySource, Login, SessionFilter, SessionName, Sessions, SqliteStore,
    Stamp, TokenSet,
};
use plugin_api::{PluginId, ProviderId};
use rusqlite::Connection;
use secrecy::ExposeSecret as _;

use crate::{
    harness::Test,
    sessions::{WORK, keyed, logged_in, upstream},
    upstream::{Reply, Upstream},
};

const WRITES: usize = 150;
const NOW: Stamp<'_> = Stamp { now_s: 1_000, actor: "test" };

fn open(home: &Path) -> Sessions {
    let store = Arc::new(SqliteStore::open(&home.join("maestro.db"), 0).unwrap());
    let key = KeySource::File(home.join("key")).load(|| true).unwrap();
    Sessions::open(store, key, 0).unwrap()
}

/// One of the writing processes. `two_processes_write_and_lose_nothing` starts it.
#[test]
#[ignore = "another test starts it in processes of its own"]
fn writer() {
    let (home, own) = (std::env::var("WRITER_HOME").unwrap(), std::env::var("WRITER").unwrap());
    let sessions = open(Path::new(&home));
    let provider = ProviderId::new("lab").unwrap();
    for number in 0..WRITES {
        let binding = Binding::new(PluginId::new("lab").unwrap(), ["https://lab.example"]).unwrap();
        let login = Login {
            provider: provider.clone(),
            name: SessionName::new(format!("{own}-{number}")).unwrap(),
            credential: Credential::api_key(format!("key-{own}-{number}"), binding),
            account: None,
            replace: false,
            make_default: false,
        };
        let made = sessions.create(&login, &NOW).unwrap();
        let name = SessionName::new(format!("{own}_{number}")).unwrap();
        let renamed = sessions.rename(&made.id, &name, &NOW).unwrap();
        assert_eq!(renamed.generation, made.generation + 1);
        if number % 3 == 0 {
            sessions.delete(&made.id, &NOW).unwrap();
        } else if number % 7 == 0 {
            sessions.set_default(&made.id, &NOW).unwrap();
        }
    }
}

#[test]
fn two_processes_write_and_lose_nothing() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    fs::write(&key, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    // Neither process finds a database: they also race for the migration.
    let writers = ["one", "two"].map(|own| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lifecycle::writer", "--ignored", "--nocapture"])
            .env("WRITER_HOME", home.path())
            .env("WRITER", own)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    });
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("locked"), "{said}");
    }
    let sessions = open(home.path());
    let listed = sessions.list(&SessionFilter::default()).unwrap();
    assert_eq!(listed.len(), 2 * (WRITES - WRITES.div_ceil(3)));
    assert_eq!(listed.iter().filter(|info| info.is_default).count(), 1);
    for info in &listed {
        let open = sessions.open_id(&info.id).unwrap();
        let expected = format!("key-{}", info.name.as_str().replace('_', "-"));
        assert_eq!(open.credential.bearer().expose_secret(), expected);
    }
    assert!(sessions.check().unwrap().is_sound());
    let count = |action: &str| {
        let events = sessions.store().audit_events(10_000).unwrap();
        events.iter().filter(|event| event.action == action).count()
    };
    assert_eq!((count("create"), count("rename")), (2 * WRITES, 2 * WRITES));
    assert_eq!(count("delete"), 2 * WRITES.div_ceil(3));
}

#[test]
fn a_rename_seals_anew_in_its_own_transaction() {
    let upstream = upstream();
    let test = logged_in(&upstream);
    let database = Connection::open(test.home().join("maestro.db")).unwrap();
    let row = || -> (String, Vec<u8>, i64) {
        let sql = "SELECT name, credentials, generation FROM saved_authentications";
        database.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap()
    };
    let before = row();
    let test = test
        .args(["sessions", "rename", "work_lab", "job_lab"])
        .stdout("renamed faulty-keyed:work_lab@api_key to faulty-keyed:job_lab@api_key\n")
        .success();
    let after = row();
    assert_eq!((after.0.as_str(), after.2), ("job_lab", before.2 + 1));
    assert_ne!(before.1, after.1);
    // The new envelope opens under the new name alone.
    database.execute("UPDATE saved_authentications SET name = 'work_lab'", []).unwrap();
    assert_eq!(test.args_of(["db", "check"]).status.code(), Some(5));
    database.execute("UPDATE saved_authentications SET name = 'job_lab'", []).unwrap();
    assert_eq!(test.args_of(["db", "check"]).status.code(), Some(0));
    let test = test
        .args(["sessions", "rename", "jop_lab", "other"])
        .stderr(
            "error: no session `jop_lab`\n\nhint: did you mean `faulty-keyed:job_lab@api_key`?\n",
        )
        .failure(2);
    test.args_of(["sessions", "import", "--from", "env"]);
    login(&test, "second", "fk-0123456789-second");
    test.args(["sessions", "rename", "second", "job_lab"])
        .stderr(
            "error: session `faulty-keyed:job_lab@api_key` exists already\n\n\
             hint: choose another name, or rename or delete `faulty-keyed:job_lab@api_key` first\n",
        )
        .failure(2);
}

fn login(test: &Test, name: &str, key: &str) {
    let said = test.begin(["login", "faulty-keyed", "--name", name, "--key-stdin"], key).wait();
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
}

#[test]
fn what_is_of_no_use_is_shown_and_then_deleted() {
    let upstream = upstream();
    let test = logged_in(&upstream);
    login(&test, "idle_lab", "fk-0123456789-idle");
    login(&test, "dead_lab", "fk-0123456789-dead");
    let database = Connection::open(test.home().join("maestro.db")).unwrap();
    database
        .execute_batch(
            "UPDATE saved_authentications SET created_at = 0, last_used_at = 86400
             WHERE name = 'idle_lab';
             UPDATE saved_authentications SET status = 'needs_reauth' WHERE name = 'dead_lab';",
        )
        .unwrap();
    let shown = "SESSION[..]WHY[..]LAST USED          ACCOUNT\n\
                 faulty-keyed:dead_lab@api_key  needs a new login    never[..]Ada\n\
                 faulty-keyed:idle_lab@api_key  idle for [..] days  1970-01-02 00:00Z  Ada\n";
    let test = test
        .args(["sessions", "prune"])
        .stdout(shown)
        .stderr("nothing was deleted; add `--yes` to delete them\n")
        .success()
        .args(["sessions", "prune", "--dry-run"])
        .stdout(shown)
        .stderr("nothing was deleted; add `--yes` to delete them\n")
        .success();
    let listed = test.args_of(["sessions", "prune", "--json"]).stdout;
    assert!(listed.contains("\"reason\":\"needs a new login\""), "{listed}");
    let said = test.args_of(["sessions", "prune", "--yes"]);
    assert!(said.stdout.ends_with(
        "deleted faulty-keyed:dead_lab@api_key\ndeleted faulty-keyed:idle_lab@api_key\n"
    ));
    test.args(["sessions", "prune"])
        .stderr("no session was idle for 90 days or needs a new login\n")
        .success()
        .args(["sessions", "test", "work_lab"])
        .stdout("faulty-keyed:work_lab@api_key works; you are Ada\n")
        .success();
}

#[test]
fn a_key_in_the_environment_is_used_and_tested_without_being_stored() {
    let upstream = upstream();
    let config = format!(
        "[providers.faulty-keyed]\nbase_url = \"{}\"\nkey_env = \"FAULTY_API_KEY\"\n",
        upstream.url()
    );
    let test = keyed(&upstream).config(config).env("FAULTY_API_KEY", WORK);
    let listed = test.args_of(["sessions", "list", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["sessions"][0]["source"], "env");
    assert_eq!(listed["sessions"][0]["selector"], "env:FAULTY_API_KEY");
    let test = test
        .args(["sessions", "test", "env:FAULTY_API_KEY"])
        .stdout("env:FAULTY_API_KEY works; you are Ada\n")
        .success()
        .args(["sessions", "rename", "env:FAULTY_API_KEY", "work"])
        .stderr(
            "error: the key in `FAULTY_API_KEY` is used without being stored\n\n\
             hint: `maestro sessions import faulty-keyed --from env` stores it as a session\n",
        )
        .failure(2);
    assert!(!test.home().join("maestro.db").exists());
    let sent = upstream.requests().len();
    // A key of the wrong shape is refused before anything is sent.
    let test = test.env("FAULTY_API_KEY", "wrong-0123456789");
    let said = test.args_of(["sessions", "test", "env:FAULTY_API_KEY"]);
    assert_eq!(said.status.code(), Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("expected it to start with `fk-`"), "{}", said.stderr);
    let said = test.begin(["login", "faulty-keyed", "--key-stdin"], "wrong-0123456789").wait();
    assert_eq!(said.status.code(), Some(3), "{}", said.stderr);
    assert_eq!(upstream.requests().len(), sent);
}

#[test]
fn approval_shows_the_difference_before_a_byte_is_sent() {
    let (good, evil) = (upstream(), upstream());
    let test = logged_in(&good);
    let config = format!("[providers.faulty-keyed]\nbase_url = \"{}\"\n", evil.url());
    let test = test.config(config);
    for command in [&["chat", "-m", "faulty-keyed/m", "hi"][..], &["sessions", "test", "work_lab"]]
    {
        let said = test.args_of(command.iter().copied());
        assert_eq!(said.status.code(), Some(3), "{}", said.stderr);
        assert!(said.stderr.contains("maestro sessions approve"), "{}", said.stderr);
    }
    let difference = format!("- {}\n+ {}\n", good.origin(), evil.origin());
    let question = "let session work_lab be used like this";
    let test = test
        .args(["sessions", "approve", "work_lab"])
        .stderr(format!(
            "{difference}error: nobody is there to confirm: {question}\n\n\
             hint: add `--yes` to do it without being asked\n"
        ))
        .failure(2);
    assert_eq!(evil.connections(), 0, "a question is no answer");
    let test = test
        .args(["sessions", "approve", "work_lab", "--yes"])
        .stderr(difference)
        .stdout("approved faulty-keyed:work_lab@api_key\n")
        .success();
    assert_eq!(evil.connections(), 0, "neither is an approval a request");
    test.args(["sessions", "test", "work_lab"])
        .stdout("faulty-keyed:work_lab@api_key works; you are Ada\n")
        .success();
    assert_eq!(evil.requests().len(), 1);
    assert_eq!(good.connections(), 0);
}

#[test]
fn an_approved_login_may_be_renewed_too() {
    let api = upstream();
    let tokens =
        r#"{"access_token":"new","refresh_token":"r-2","token_type":"Bearer","expires_in":3600}"#;
    let authority = Upstream::always(Reply::json(200, tokens));
    let test = Test::new().plugin("faulty").config(format!(
        "[providers.faulty-oauth]\nbase_url = \"{}\"\nauth_url = \"{}\"\n",
        api.url(),
        authority.origin()
    ));
    let test =
        test.write("key", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    fs::set_permissions(test.home().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    // As a migration from the former program leaves it: bound to nothing.
    let tokens = TokenSet {
        access_token: "old".into(),
        refresh_token: Some("r-1".into()),
        ..TokenSet::default()
    };
    let login = Login {
        provider: ProviderId::new("faulty-oauth").unwrap(),
        name: SessionName::new("default_faulty-oauth_oauth").unwrap(),
        credential: Credential::oauth(tokens, Binding::unbound()),
        account: None,
        replace: false,
        make_default: true,
    };
    open(test.home()).create(&login, &NOW).unwrap();
    let said = test.args_of(["sessions", "refresh", "default_faulty-oauth_oauth"]);
    assert_eq!(said.status.code(), Some(3), "{}", said.stderr);
    assert_eq!((api.connections(), authority.connections()), (0, 0));
    let said = test.args_of(["sessions", "approve", "default_faulty-oauth_oauth", "--yes"]);
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
    let mut shown: Vec<_> = said.stderr.lines().collect();
    shown.sort_unstable();
    let mut expected = [
        "+ plugin faulty".to_owned(),
        format!("+ {}", api.origin()),
        format!("+ {}", authority.origin()),
    ];
    expected.sort_unstable();
    assert_eq!(shown, expected);
    let said = test.args_of(["sessions", "refresh", "default_faulty-oauth_oauth"]);
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
    assert_eq!(authority.requests().len(), 1);
}

#[test]
fn a_lookup_without_a_name_finds_the_default_row_and_is_deprecated() {
    let upstream = upstream();
    let test = logged_in(&upstream);
    login(&test, "spare_lab", "fk-0123456789-spare");
    let warning = "warning: asking for a session by provider and auth type alone is deprecated; name \
                   it: faulty-keyed:work_lab@api_key\n";
    let works = "faulty-keyed:work_lab@api_key works; you are Ada\n";
    let test = test
        .args(["sessions", "test", "faulty-keyed:@api_key"])
        .stdout(works)
        .stderr(warning)
        .success()
        .args(["chat", "-m", "faulty-keyed/m", "-s", "@api_key", "hi"])
        .stdout("hi\n")
        .stderr(warning)
        .success()
        // Any other call says nothing.
        .args(["sessions", "test", "faulty-keyed:work_lab"])
        .stdout(works)
        .success()
        .args(["chat", "-m", "faulty-keyed/m", "hi"])
        .stdout("hi\n")
        .success();
    // Of several without a default, the one that a migration named takes the old one's place.
    let database = Connection::open(test.home().join("maestro.db")).unwrap();
    database.execute("UPDATE saved_authentications SET is_default = 0", []).unwrap();
    let said = test.args_of(["sessions", "test", "faulty-keyed:@api_key"]);
    assert_eq!(said.status.code(), Some(2), "{}", said.stderr);
    let name = "default_faulty-keyed_api_key";
    assert_eq!(test.args_of(["sessions", "rename", "spare_lab", name]).status.code(), Some(0));
    let said = test.args_of(["sessions", "test", "faulty-keyed:@api_key"]);
    assert!(said.stdout.starts_with(&format!("faulty-keyed:{name}@api_key works")), "{said:?}");
    let said = test.args_of(["sessions", "test", "faulty-keyed:@oauth"]);
    assert_eq!(said.status.code(), Some(2), "{}", said.stderr);
}
