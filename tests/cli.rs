//! The program as a person or a script meets it: what it prints, where, and how it exits.

use std::fs;

use crate::{
    harness::Test,
    upstream::{Reply, Upstream},
};

const WORK: &str = "fk-canary-work-0123456789";
const HOME: &str = "fk-canary-home-9876543210";

/// A server that answers everything `faulty` asks.
fn upstream() -> Upstream {
    Upstream::start(|request| match request.target.as_str() {
        "/v1/chat" => Reply::says(&["hi"]),
        "/v1/models" => Reply::json(200, "[\"m\"]"),
        "/v1/me" if request.header("authorization").ends_with("expired") => {
            Reply::json(401, "expired")
        }
        "/v1/me" => Reply::json(200, "\"Ada\""),
        _ => Reply::json(404, ""),
    })
}

/// A home in which `faulty-keyed` is at an upstream.
fn keyed(upstream: &Upstream) -> Test {
    Test::new()
        .plugin("faulty")
        .config(format!("[providers.faulty-keyed]\nbase_url = \"{}\"\n", upstream.url()))
}

#[test]
fn a_dropped_file_is_there_in_the_next_command_and_gone_after() {
    let test = Test::new().args(["providers"]).stderr("").stdout("").success();
    let test = test
        .plugin("echo")
        .args(["providers"])
        .stdout(
            "PROVIDER  NAME  PLUGIN  AUTH  SESSIONS\n\
             echo      Echo  echo    none  -\n",
        )
        .success();
    fs::remove_file(test.plugin_path("echo")).unwrap();
    test.args(["providers"]).success();
}

#[test]
fn a_refused_file_is_named_with_the_remedy_and_the_rest_works() {
    Test::new()
        .plugin("echo")
        .write("plugins/notes.so", "not a library\n")
        .args(["plugin", "list"])
        .stdout("")
        .success()
        .args(["chat", "-m", "echo/echo", "hello"])
        .stdout("hello\n")
        .success()
        .args(["plugin", "inspect", "plugins/notes.so"])
        .stderr("")
        .failure(4);
}

#[test]
fn each_exit_status_has_its_reason() {
    let test = Test::new().plugin("echo").plugin("faulty");
    let test = test
        .args(["chat", "-m", "echo/echo", "hello"])
        .stdout("hello\n")
        .success()
        .args(["chat", "-m", "echo/echo", "-o", "error=overloaded", "hello"])
        .stdout("hello\n")
        .stderr("")
        .failure(1)
        .args(["chat", "-m", "ecoh/echo", "hello"])
        .stderr("")
        .failure(2)
        .args(["chat", "-m", "faulty-keyed/m", "hello"])
        .stderr("")
        .failure(3)
        .args(["chat", "-m", "faulty/m", "-o", "fault=done-twice", "hello"])
        .stdout("hello\n")
        .stderr("")
        .failure(4);
    test.write("maestro.db", "a shopping list, longer than any header of a database\n".repeat(9))
        .args(["sessions", "list"])
        .stderr("")
        .failure(5);
}

#[test]
fn what_is_misspelt_is_answered_with_what_was_meant() {
    Test::new()
        .plugin("echo")
        .args(["provders"])
        .stderr("")
        .failure(2)
        .args(["providers", "show", "ecko"])
        .stderr("")
        .failure(2)
        .args(["models", "info", "echo/ech"])
        .stderr("")
        .failure(2)
        .args(["login", "ecko"])
        .stderr("")
        .failure(2)
        .config("[timeouts]\nidle = 3\n")
        .args(["providers"])
        .stderr("")
        .failure(2)
        .config("[providers.eco]\nbase_url = \"http://127.0.0.1:1\"\n")
        .args(["providers"])
        .stderr("")
        .failure(2);
}

#[test]
fn errors_are_one_line_of_json_when_asked() {
    Test::new()
        .plugin("echo")
        .args(["chat", "--json", "-m", "ecoh/echo", "hello"])
        .stderr("")
        .failure(2)
        .args(["chat", "--json", "-m", "echo/echo", "-o", "error=quota", "hello"])
        .stdout("")
        .stderr("")
        .failure(1);
}

#[test]
fn keys_come_through_stdin_or_a_file_and_stay_out_of_sight() {
    let upstream = upstream();
    let origin = upstream.origin();
    let notes = format!(
        "Faulty with a key (`faulty-keyed`), served by plugin `faulty`\n\
         the key will be sent to: {origin}\n\
         get one at: https://faulty.invalid/keys\n"
    );
    let test = keyed(&upstream)
        .stdin(format!("{WORK}\n"))
        .args(["login", "faulty-keyed", "--name", "work_lab", "--key-stdin"])
        .stdout("")
        .stderr(notes.clone())
        .success()
        .write("new.key", HOME)
        .args(["login", "faulty-keyed", "--name", "personal_lab", "--key-file", "new.key"])
        .stdout("")
        .stderr(notes.clone())
        .success();
    fs::remove_file(test.home().join("new.key")).unwrap();
    let test = test
        .args(["sessions", "list"])
        .stdout("")
        .success()
        .args(["chat", "-m", "faulty-keyed:personal_lab/m", "hello"])
        .stdout("hi\n")
        .success()
        .env("MAESTRO_SESSION", "personal_lab")
        .args(["chat", "-m", "faulty-keyed/m", "hello"])
        .stdout("hi\n")
        .success()
        .env("MAESTRO_SESSION", "")
        .args(["chat", "-m", "faulty-keyed/m", "hello"])
        .stdout("hi\n")
        .success()
        .args(["chat", "-s", "personal_lab", "-m", "faulty-keyed/m", "hello"])
        .stdout("hi\n")
        .success();
    let keys: Vec<_> = upstream
        .requests()
        .iter()
        .filter(|request| request.target == "/v1/chat")
        .map(|request| request.header("authorization").replace("Bearer ", ""))
        .collect();
    assert_eq!(keys, [HOME, HOME, WORK, HOME]);
    assert_eq!(test.grep("canary"), Vec::<std::path::PathBuf>::new());
    for name in ["work_lab", "personal_lab"] {
        let test = test.args_of(["sessions", "show", name]);
        assert!(!test.stdout.contains("canary") && !test.stderr.contains("canary"));
    }
}

#[test]
fn a_login_that_cannot_be_is_refused_and_stores_nothing() {
    let upstream = upstream();
    let test = keyed(&upstream);
    let login = ["login", "faulty-keyed", "--name", "work_lab", "--key-stdin"];
    let test = test
        .stdin("\n")
        .args(login)
        .stderr("")
        .failure(3)
        .stdin("sk-0123456789\n")
        .args(login)
        .stderr("")
        .failure(3)
        .stdin("fk-0123456789-expired\n")
        .args(login)
        .stderr("")
        .failure(3)
        .args(["sessions", "list"])
        .stderr("")
        .success()
        .stdin(WORK)
        .args(["login", "faulty-keyed", "--name", "w", "--key-stdin"])
        .stderr("")
        .failure(2)
        .args(["login", "faulty-keyed"])
        .stderr("")
        .failure(2);
    let test = test.stdin(WORK).args(login).stdout("").stderr("").success();
    test.stdin(HOME)
        .args(login)
        .stderr("")
        .failure(2)
        .stdin(HOME)
        .args(["login", "faulty-keyed", "--name", "work_lab", "--key-stdin", "--replace"])
        .stdout("")
        .stderr("")
        .success();
}

#[test]
fn sessions_are_listed_renamed_tested_and_deleted() {
    let upstream = upstream();
    keyed(&upstream)
        .stdin(WORK)
        .args(["login", "faulty-keyed", "--name", "work_lab", "--key-stdin"])
        .stdout("")
        .stderr("")
        .success()
        .args(["sessions", "test", "work_lab"])
        .stdout("")
        .success()
        .args(["sessions", "rename", "work_lab", "job_lab"])
        .stdout("")
        .success()
        .args(["sessions", "default", "faulty-keyed:job_lab"])
        .stdout("")
        .success()
        .args(["sessions", "show", "nobody"])
        .stderr("")
        .failure(2)
        .args(["sessions", "delete", "job_lab"])
        .stdout("")
        .success()
        .args(["sessions", "list"])
        .stderr("")
        .success();
}

#[test]
fn a_session_whose_server_changed_waits_for_an_approval() {
    let (good, evil) = (upstream(), upstream());
    let test = keyed(&good)
        .stdin(WORK)
        .args(["login", "faulty-keyed", "--name", "work_lab", "--key-stdin"])
        .stdout("")
        .stderr("")
        .success()
        .config(format!("[providers.faulty-keyed]\nbase_url = \"{}\"\n", evil.url()))
        .args(["chat", "-m", "faulty-keyed/m", "hello"])
        .stderr("")
        .failure(3);
    assert_eq!(evil.connections(), 0);
    test.args(["sessions", "approve", "work_lab", "--yes"])
        .stdout("")
        .stderr("")
        .success()
        .args(["chat", "-m", "faulty-keyed/m", "hello"])
        .stdout("hi\n")
        .success();
}

#[test]
fn every_command_says_what_it_does_and_json_is_versioned() {
    let test = Test::new().plugin("echo");
    for command in [
        vec!["providers"],
        vec!["models"],
        vec!["sessions", "list"],
        vec!["conversations", "list"],
        vec!["plugin", "list"],
        vec!["plugin", "inspect", "echo"],
        vec!["providers", "show", "echo"],
        vec!["models", "info", "echo/echo"],
        vec!["doctor"],
        vec!["config", "show"],
        vec!["config", "path"],
    ] {
        let output = test.args_of(command.iter().copied().chain(["--json"]));
        let json: serde_json::Value = serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{command:?}: {error}: {}", output.stdout));
        assert_eq!(json["version"], 1, "{command:?}");
        assert!(output.status.success(), "{command:?}: {}", output.stderr);
        let help = test.args_of([command[0], "--help"]);
        assert!(help.status.success() && help.stdout.contains("Usage: maestro"), "{command:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(test.args_of(["completions", shell]).stdout.contains("maestro"));
    }
    assert!(test.args_of(["man"]).stdout.contains(".TH maestro"));
}
