//! The store as a file, from the command line: migration from the former program, rollback, backup,
//! check, another key.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rusqlite::Connection;

use crate::{
    harness::{Test, line_matches, wait, workspace},
    sessions::{WORK, keyed, logged_in, upstream},
    upstream::Upstream,
};

/// A home with the former program's database and its key.
fn legacy(config: &str) -> Test {
    let fixture = workspace().join("tests/fixtures/legacy");
    let test = Test::new()
        .write("maestro.db", fs::read(fixture.join("legacy.db")).unwrap())
        .write("legacy.key", fs::read(fixture.join("legacy.key")).unwrap());
    let key = test.home().join("legacy.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    test.config(config)
}

const OLD_KEY: &str = "[store]\nlegacy_key = { env = \"OLD_KEY\" }\n";

fn old_key() -> String {
    fs::read_to_string(workspace().join("tests/fixtures/legacy/legacy.key")).unwrap()
}

fn version(test: &Test) -> i64 {
    let database = Connection::open(test.home().join("maestro.db")).unwrap();
    database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn backups(test: &Test) -> usize {
    test.tree().keys().filter(|path| path.to_string_lossy().contains(".backup-")).count()
}

#[test]
fn logins_of_the_former_program_are_taken_over() {
    let test = legacy(OLD_KEY)
        .env("OLD_KEY", old_key())
        .args(["db", "migrate"])
        .stdout(
            "migrated the store from version 0 to 5; took over 6 logins of the former program\n",
        )
        .stderr(
            "a copy from before is in `[HOME]/maestro.db.backup-0-to-5-[..]`\n\
             each needs `maestro sessions approve` before it is used\n",
        )
        .success()
        .args(["db", "migrate"])
        .stdout("the store is at version 5, the newest\n")
        .success()
        .args(["db", "check"])
        .stdout("the file is sound; 6 sessions and 0 messages open with the key\n")
        .success();
    let listed = test.args_of(["sessions", "list", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 6);
    assert!(sessions.iter().all(|session| session["status"] == "needs_approval"));
    assert!(sessions.iter().any(|s| s["selector"] == "openai:default_openai_oauth@oauth"));
    assert_eq!(test.grep("sk-legacy"), Vec::<std::path::PathBuf>::new());

    let test = test
        .args(["db", "rollback", "--to", "1", "--yes"])
        .stdout("rolled the store back from version 5 to 1\n")
        .stderr(
            "sealed as the former program does: anthropic:default_anthropic_api_key@api_key, \
             anthropic:default_anthropic_oauth@oauth, gemini:default_gemini_api_key@api_key, \
             gemini:default_gemini_oauth@oauth, openai:default_openai_api_key@api_key, \
             openai:default_openai_oauth@oauth\n\
             a copy from before is in `[HOME]/maestro.db.backup-5-to-1-[..]`\n\
             this version of `maestro` migrates it again as soon as it uses it\n",
        )
        .success();
    assert_eq!((version(&test), backups(&test)), (1, 2));
    let again = test.args_of(["sessions", "list", "--json"]).stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&again).unwrap(), listed);
}

#[test]
fn without_the_former_key_every_command_says_what_to_do_and_changes_nothing() {
    let test = legacy("");
    let before = fs::read(test.home().join("maestro.db")).unwrap();
    for command in [["sessions", "list"], ["db", "migrate"]] {
        let said = test.args_of(command);
        assert_eq!(said.status.code(), Some(5), "{}", said.stderr);
        assert!(said.stderr.contains("6 logins are sealed as the former program does"), "{said:?}");
        assert!(said.stderr.contains("legacy_key = { env = \"NAME\" }"));
        assert!(said.stderr.contains("--without-legacy-key"));
    }
    assert_eq!(version(&test), 0);
    assert_eq!(fs::read(test.home().join("maestro.db")).unwrap().len(), before.len());
    let test = test
        .args(["db", "migrate", "--without-legacy-key"])
        .stdout("migrated the store from version 0 to 5\n")
        .stderr(
            "a copy from before is in `[HOME]/maestro.db.backup-0-to-5-[..]`\n\
             warning: 6 logins of the former program stay sealed as they were; log in again, or \
             configure its key\n",
        )
        .success()
        .config(OLD_KEY)
        .env("OLD_KEY", old_key())
        .args(["db", "migrate"])
        .stdout("the store is at version 5, the newest; took over 6 logins of the former program\n")
        .stderr("each needs `maestro sessions approve` before it is used\n")
        .success();
    test.args(["db", "check"])
        .stdout("the file is sound; 6 sessions and 0 messages open with the key\n")
        .success();
}

#[test]
fn another_key_for_the_former_program_is_named() {
    let said = legacy(OLD_KEY)
        .env("OLD_KEY", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")
        .args_of(["db", "migrate"]);
    assert_eq!(said.status.code(), Some(5));
    assert!(said.stderr.contains("it does not open with the configured key"), "{}", said.stderr);
    let said = legacy(OLD_KEY).args_of(["db", "migrate"]);
    assert!(said.stderr.contains("`OLD_KEY` is not set"), "{}", said.stderr);
}

#[test]
fn a_rollback_asks_and_says_what_it_parks() {
    let upstream = upstream();
    let test = logged_in(&upstream)
        .args(["db", "rollback", "--to", "1"])
        .stderr(
            "sealed as the former program does: faulty-keyed:work_lab@api_key\n\
             parked rows of audit trail, usage, keys, settings: 1\n\
             error: nobody is there to confirm: roll the store back from version 5 to 1\n\n\
             hint: add `--yes` to do it without being asked\n",
        )
        .failure(2)
        .args(["db", "rollback", "--to", "3", "--dry-run"])
        .stdout("nothing would be set aside\n")
        .success()
        .args(["db", "rollback", "--to", "5"])
        .stderr(
            "error: the store has schema version 5 and cannot be rolled back to 5\n\n\
             hint: name a version from 0 to 4\n",
        )
        .failure(2);
    let said = test.args_of(["db", "rollback", "--to", "1", "--yes"]);
    assert_eq!(said.status.code(), Some(5), "{}", said.stderr);
    assert!(said.stderr.contains("or roll back no further than version 2"), "{}", said.stderr);
    assert_eq!(version(&test), 5);
    let said = test.args_of(["db", "rollback", "--to", "2", "--yes", "--json"]);
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
    assert_eq!(version(&test), 2);
    wait(crate::ask::chat(&test.maestro(), "faulty-keyed/m", &[])).ok();
    assert_eq!(version(&test), 5);
}

#[test]
fn status_opens_nothing() {
    let upstream = upstream();
    let test = keyed(&upstream)
        .args(["db", "status"])
        .stdout(
            "file:    [HOME]/maestro.db\nversion: there is no store yet\n\
             key:     generated file `[HOME]/key`\n",
        )
        .success();
    assert!(!test.home().join("maestro.db").exists());
    let said = test.args_of(["db", "check"]);
    assert_eq!(said.status.code(), Some(5), "{}", said.stderr);
    let test = legacy("");
    let said = test.args_of(["db", "status"]);
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
    let lines: Vec<_> = said.stdout.lines().collect();
    assert!(
        line_matches("version:  0 (pending: 0001-legacy, [..]0005-client-budgets)", lines[1]),
        "{}",
        said.stdout
    );
    assert!(line_matches("sessions: 6, 6 as the former program sealed them", lines[2]));
    assert_eq!(version(&test), 0);
    let checked = test.args_of(["db", "check"]);
    assert_eq!(
        checked.stdout,
        "the file is sound; it has schema version 0, so nothing in it was opened\n"
    );
    assert_eq!((version(&test), backups(&test)), (0, 0));
}

#[test]
fn a_backup_is_a_store_and_never_overwrites() {
    let upstream = upstream();
    let test = logged_in(&upstream)
        .args(["db", "backup", "copy.db"])
        .stdout("copied the store to `copy.db`\n")
        .success();
    let said = test.args_of(["db", "backup", "copy.db"]);
    assert_eq!(said.status.code(), Some(5), "{}", said.stderr);
    let mode = fs::metadata(test.home().join("copy.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let said = test.args_of(["db", "backup", "--json"]);
    assert!(said.stdout.contains("maestro.db.backup-5-"), "{}", said.stdout);
    fs::rename(test.home().join("copy.db"), test.home().join("maestro.db")).unwrap();
    for beside in ["maestro.db-wal", "maestro.db-shm"] {
        let _ = fs::remove_file(test.home().join(beside));
    }
    wait(crate::ask::chat(&test.maestro(), "faulty-keyed/m", &[])).ok();
}

#[test]
fn a_store_made_by_other_migrations_is_left_alone() {
    let upstream = upstream();
    let test = logged_in(&upstream);
    let database = Connection::open(test.home().join("maestro.db")).unwrap();
    database
        .execute_batch("UPDATE applied_migrations SET checksum = 'x' WHERE version = 3")
        .unwrap();
    let said = test.args_of(["sessions", "list"]);
    assert_eq!(said.status.code(), Some(5));
    assert!(
        said.stderr.contains("migration 3 (`0003-conversations-and-keys`) differs"),
        "{}",
        said.stderr
    );
    test.args(["db", "check"])
        .stdout("migration `0003-conversations-and-keys` is not the one of this build\n")
        .stderr(
            "error: the store has 1 problem\n\n\
             hint: restore the newest `.backup-` file beside it, or log in again\n",
        )
        .failure(5);
}

#[test]
fn a_new_key_retires_the_old_one() {
    let upstream = upstream();
    let test = logged_in(&upstream);
    let chatted = |test: &Test| wait(crate::ask::chat(&test.maestro(), "faulty-keyed/m", &[])).ok();
    test.args_of(["chat", "-m", "faulty-keyed/m", "remember this"]);
    let old = fs::read(test.home().join("key")).unwrap();
    let running = test.maestro();
    wait(crate::ask::chat(&running, "faulty-keyed/m", &[])).ok();
    let said = test.args_of(["db", "rekey"]);
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
    assert!(
        line_matches("sealed [..] values with key [..] instead of [..]\n", &said.stdout),
        "{}",
        said.stdout
    );
    let new = fs::read(test.home().join("key")).unwrap();
    assert_ne!(old, new);
    assert!(said.stderr.contains("key.retired-"), "{}", said.stderr);
    chatted(&test);
    // A process that still holds the old key can neither read nor write; it says which key it lacks.
    let provider = plugin_api::ProviderId::new("faulty-keyed").unwrap();
    let name = host::session::SessionName::new("late_lab").unwrap();
    let late = host::maestro::NewLogin::new(provider, name, WORK);
    let error = wait(running.create_session(late)).unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    assert!(error.to_string().contains("sealed with key"), "{error}");

    let test =
        test.write("mine", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    let mine = test.home().join("mine");
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o600)).unwrap();
    let said = test.args_of(["db", "rekey", "--new-key-file", mine.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("now write `key = { file = "), "{}", said.stderr);
    let said = test.args_of(["sessions", "list"]);
    assert_eq!(said.status.code(), Some(5), "{}", said.stderr);
    let config = format!("{}[store]\nkey = {{ file = {:?} }}\n", config(&upstream), mine);
    let test = test.config(config);
    chatted(&test);
    let said = test.args_of(["db", "rekey"]);
    assert_eq!(said.status.code(), Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("--new-key-file"), "{}", said.stderr);
    assert_eq!(test.args_of(["db", "check"]).status.code(), Some(0));
}

fn config(upstream: &Upstream) -> String {
    format!("[providers.faulty-keyed]\nbase_url = \"{}\"\n", upstream.url())
}

/// The store is sealed anew before the files change: a crash in between loses nothing.
#[test]
fn a_crash_between_store_and_key_file_is_ended_by_the_next_command() {
    let upstream = upstream();
    let test = logged_in(&upstream);
    let key = test.home().join("key");
    let old = fs::read(&key).unwrap();
    assert_eq!(test.args_of(["db", "rekey"]).status.code(), Some(0));
    // As it was when the transaction had ended and the process died.
    fs::rename(&key, test.home().join("key.next")).unwrap();
    fs::write(&key, &old).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    wait(crate::ask::chat(&test.maestro(), "faulty-keyed/m", &[])).ok();
    assert!(!test.home().join("key.next").exists());
    assert_ne!(fs::read(&key).unwrap(), old);
    // And when it died before: the next key was made and seals nothing.
    fs::write(test.home().join("key.next"), &old).unwrap();
    fs::set_permissions(test.home().join("key.next"), fs::Permissions::from_mode(0o600)).unwrap();
    wait(crate::ask::chat(&test.maestro(), "faulty-keyed/m", &[])).ok();
    assert_eq!(test.args_of(["db", "rekey"]).status.code(), Some(0));
    wait(crate::ask::chat(&test.maestro(), "faulty-keyed/m", &[])).ok();
}
