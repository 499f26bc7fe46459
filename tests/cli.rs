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

/// What `login` says before it stores anything.
fn plan(upstream: &Upstream) -> String {
    format!(
        "Faulty with a key (`faulty-keyed`), served by plugin `faulty`\n\
         the key will be sent to: {}\n\
         get one at: https://faulty.invalid/keys\n",
        upstream.origin()
    )
}

const STORED: &str = "stored session faulty-keyed:work_lab@api_key; the key works, you are Ada\n";
const LOGIN: [&str; 5] = ["login", "faulty-keyed", "--name", "work_lab", "--key-stdin"];
const NO_SESSION: &str = "there is no session; `maestro login PROVIDER` makes one\n";

/// A home with the session `work_lab` of `faulty-keyed`.
fn logged_in(upstream: &Upstream) -> Test {
    keyed(upstream).stdin(WORK).args(LOGIN).stdout(STORED).stderr(plan(upstream)).success()
}

#[test]
fn a_dropped_file_is_there_in_the_next_command_and_gone_after() {
    let test = Test::new()
        .args(["providers"])
        .stderr("no plugin is there; put one into `[HOME]/plugins`\n")
        .success();
    let test = test
        .plugin("echo")
        .args(["providers"])
        .stdout(
            "PROVIDER  NAME  PLUGIN  AUTH  SESSIONS\n\
             echo      Echo  echo    none  -\n",
        )
        .success();
    fs::remove_file(test.plugin_path("echo")).unwrap();
    test.args(["providers"])
        .stderr("no plugin is there; put one into `[HOME]/plugins`\n")
        .success();
}

#[test]
fn a_refused_file_is_named_with_the_remedy_and_the_rest_works() {
    Test::new()
        .plugin("echo")
        .write("plugins/notes.so", "not a library\n")
        .args(["plugin", "list"])
        .stdout(
            "PLUGIN  VERSION  FROM  RUNS    GEN  STATE    HASH          PROVIDERS  FILE\n\
             echo    0.1.0    user  worker  1    serving  [..]  echo       [HOME]/plugins/[..]\n\n\
             REFUSED FILE  [..]WHY  [..]WHAT TO DO\n\
             [HOME]/plugins/notes.so  expected a shared library, found a text file  remove it, or \
             build it with `plugin_api::export_plugin!`\n",
        )
        .success()
        .args(["chat", "-m", "echo/echo", "hello"])
        .stdout("hello\n")
        .success()
        .args(["plugin", "inspect", "plugins/notes.so"])
        .stderr(
            "error: failed to load plugin `plugins/notes.so`\n  \
             caused by: expected a shared library, found a text file\n\n\
             hint: remove it, or build it with `plugin_api::export_plugin!`\n",
        )
        .failure(4);
}

#[test]
fn each_exit_status_has_its_reason() {
    Test::new()
        .plugin("echo")
        .plugin("faulty")
        .args(["chat", "-m", "echo/echo", "hello"])
        .stdout("hello\n")
        .success()
        .args(["chat", "-m", "echo/echo", "-o", "error=overloaded", "hello"])
        .stdout("hello\n")
        .stderr(
            "error: provider `echo` failed\n  \
             caused by: provider overloaded: you asked for an error\n\n\
             hint: try again in a moment\n",
        )
        .failure(1)
        .args(["chat", "-m", "ecoh/echo", "hello"])
        .stderr("error: no provider `ecoh`\n\nhint: did you mean `echo`?\n")
        .failure(2)
        .args(["chat", "-m", "faulty-keyed/m", "hello"])
        .stderr(
            "error: provider `faulty-keyed` has no session\n\n\
             hint: run `maestro login faulty-keyed`\n",
        )
        .failure(3)
        .args(["chat", "-m", "faulty/m", "-o", "fault=done-twice", "hello"])
        .stdout("hello\n")
        .stderr(
            "error: plugin `faulty` broke contract rule `nothing-after-end`: `done` after the \
             end\n\nhint: tell the author of `faulty`; run `maestro plugin inspect faulty`\n",
        )
        .failure(4)
        .write("maestro.db", "a shopping list, longer than any header of a database\n".repeat(9))
        .args(["sessions", "list"])
        .stderr(
            "error: `[HOME]/maestro.db` is not a database\n\n\
             hint: move the file away, or point `MAESTRO_HOME` elsewhere\n",
        )
        .failure(5);
}

#[test]
fn what_is_misspelt_is_answered_with_what_was_meant() {
    let echo = "error: no provider `ecko`\n\nhint: did you mean `echo`?\n";
    let output = Test::new().args_of(["provders"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stderr.contains("hint: did you mean `providers`?"), "{}", output.stderr);
    Test::new()
        .plugin("echo")
        .args(["providers", "show", "ecko"])
        .stderr(echo)
        .failure(2)
        .args(["models", "info", "echo/ech"])
        .stderr("error: no provider serves model `echo/ech`\n\nhint: did you mean `echo/echo`?\n")
        .failure(2)
        .args(["login", "ecko"])
        .stderr(echo)
        .failure(2)
        .config("[timeouts]\nidle = 3\n")
        .args(["providers"])
        .stderr(
            "error: [HOME]/config.toml:2: unknown key `idle`\n\nhint: did you mean `idle_ms`?\n",
        )
        .failure(2)
        .config("[providers.eco]\nbase_url = \"http://127.0.0.1:1\"\n")
        .args(["providers"])
        .stderr(
            "error: the configuration does not fit the plugins\n  \
             caused by: `[providers.eco]`: no plugin offers this provider\n\n\
             hint: did you mean `echo`?\n",
        )
        .failure(2);
}

#[test]
fn errors_are_one_line_of_json_when_asked() {
    Test::new()
        .plugin("echo")
        .args(["chat", "--json", "-m", "ecoh/echo", "hello"])
        .stderr(concat!(
            r#"{"version":1,"error":{"kind":"unknown_provider","message":"no provider `ecoh`","#,
            r#""causes":[],"hint":"did you mean `echo`?"}}"#,
            "\n",
        ))
        .failure(2)
        .args(["chat", "--json", "-m", "echo/echo", "-o", "error=quota", "hello"])
        .stdout(concat!(
            r#"{"version":1,"event":{"type":"started","model":"echo"}}"#,
            "\n",
            r#"{"version":1,"event":{"type":"text_delta","part":0,"text":"hello"}}"#,
            "\n",
            r#"{"version":1,"result":{"model":"echo/echo","session":null,"conversation":"[..]","#,
            r#""finish_reason":null,"interrupted":false,"usage":{},"time_to_first_ms":[..],"#,
            r#""total_ms":[..]}}"#,
            "\n",
        ))
        .stderr(concat!(
            r#"{"version":1,"error":{"kind":"provider_error","message":"provider `echo` failed","#,
            r#""causes":["quota exhausted: you asked for an error"],"#,
            r#""hint":"check the plan and the credit of the account"}}"#,
            "\n",
        ))
        .failure(1);
}

#[test]
fn keys_come_through_stdin_or_a_file_and_stay_out_of_sight() {
    let upstream = upstream();
    let chat = ["chat", "-m", "faulty-keyed/m", "hello"];
    let test = logged_in(&upstream)
        .write("new.key", HOME)
        .args(["login", "faulty-keyed", "--name", "personal_lab", "--key-file", "new.key"])
        .stdout(STORED.replace("work_lab", "personal_lab"))
        .stderr(plan(&upstream))
        .success();
    fs::remove_file(test.home().join("new.key")).unwrap();
    let test = test
        .args(["sessions", "list"])
        .stdout(
            "SESSION                            DEFAULT  STATUS  SOURCE  EXPIRES  LAST USED  ACCOUNT  LAST ERROR\n\
             faulty-keyed:personal_lab@api_key  -        ready   stored  -        never      Ada      -\n\
             faulty-keyed:work_lab@api_key      yes      ready   stored  -        never      Ada      -\n",
        )
        .success()
        .args(["chat", "-m", "faulty-keyed:personal_lab/m", "hello"])
        .stdout("hi\n")
        .success()
        .env("MAESTRO_SESSION", "personal_lab")
        .args(chat)
        .stdout("hi\n")
        .success()
        .env("MAESTRO_SESSION", "")
        .args(chat)
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
        let shown = test.args_of(["sessions", "show", name]);
        assert!(shown.stdout.contains(name), "{}", shown.stderr);
        assert!(!shown.stdout.contains("canary") && !shown.stderr.contains("canary"));
    }
}

#[test]
fn a_login_that_cannot_be_is_refused_and_stores_nothing() {
    let upstream = upstream();
    let plan = plan(&upstream);
    let said = |what: &str| format!("{plan}error: {what}");
    keyed(&upstream)
        .stdin("\n")
        .args(LOGIN)
        .stderr(said("the key is empty\n\nhint: [..]\n"))
        .failure(2)
        .stdin("sk-0123456789\n")
        .args(LOGIN)
        .stderr(said(
            "this is no key for provider `faulty-keyed`: expected it to start with `fk-`\n\n\
             hint: get a key at https://faulty.invalid/keys\n",
        ))
        .failure(3)
        .stdin("fk-0123456789-expired\n")
        .args(LOGIN)
        .stderr(said(
            "the key was rejected and is not stored\n  \
             caused by: provider `faulty-keyed` failed\n  \
             caused by: authentication failed: expired (HTTP 401)\n\n\
             hint: check the key; `--no-test` stores it untried\n",
        ))
        .failure(3)
        .args(["login", "faulty-keyed"])
        .stderr(said(
            "there is no terminal to ask for the key\n\n\
             hint: give it with `--key-stdin` or `--key-file FILE`\n",
        ))
        .failure(2)
        .args(["login", "faulty-keyed", "--name", "w", "--key-stdin"])
        .stderr("error: invalid session name `w`: expected 3 to 50 of `A-Z a-z 0-9 _ -`\n")
        .failure(2)
        .args(["sessions", "list"])
        .stderr(NO_SESSION)
        .success();
}

#[test]
fn a_session_is_replaced_only_on_demand() {
    let upstream = upstream();
    logged_in(&upstream)
        .stdin(HOME)
        .args(LOGIN)
        .stderr(
            plan(&upstream)
                + "error: session `work_lab` of provider `faulty-keyed` (api_key) exists already\n\n\
                   hint: choose another `--name`, or pass `--replace` to overwrite it\n",
        )
        .failure(2)
        .stdin(HOME)
        .args(LOGIN.into_iter().chain(["--replace"]))
        .stdout(STORED)
        .stderr(plan(&upstream))
        .success()
        .args(["chat", "-m", "faulty-keyed/m", "hello"])
        .stdout("hi\n")
        .success();
    let last = upstream.requests().pop().unwrap();
    assert_eq!(last.header("authorization"), format!("Bearer {HOME}"));
}

#[test]
fn sessions_are_tested_renamed_and_deleted() {
    let upstream = upstream();
    logged_in(&upstream)
        .args(["sessions", "test", "work_lab"])
        .stdout("faulty-keyed:work_lab@api_key works; you are Ada\n")
        .success()
        .args(["sessions", "rename", "work_lab", "job_lab"])
        .stdout("renamed faulty-keyed:work_lab@api_key to faulty-keyed:job_lab@api_key\n")
        .success()
        .args(["sessions", "default", "faulty-keyed:job_lab"])
        .stdout("faulty-keyed:job_lab@api_key is now the default of faulty-keyed\n")
        .success()
        .args(["sessions", "show", "nobody"])
        .stderr(
            "error: no session `nobody`\n\nhint: there are: `faulty-keyed:job_lab@api_key`\n",
        )
        .failure(2)
        .args(["sessions", "delete", "job_lab"])
        .stderr(
            "error: nobody is there to confirm: delete session faulty-keyed:job_lab@api_key and its \
             secret\n\nhint: add `--yes` to do it without being asked\n",
        )
        .failure(2)
        .args(["sessions", "delete", "job_lab", "--yes"])
        .stdout("deleted faulty-keyed:job_lab@api_key\n")
        .success()
        .args(["sessions", "list"])
        .stderr(NO_SESSION)
        .success();
}

#[test]
fn a_session_whose_server_changed_waits_for_an_approval() {
    let (good, evil) = (upstream(), upstream());
    let test = logged_in(&good)
        .config(format!("[providers.faulty-keyed]\nbase_url = \"{}\"\n", evil.url()))
        .args(["chat", "-m", "faulty-keyed/m", "hello"])
        .stderr(format!(
            "error: session `faulty-keyed:work_lab@api_key` needs approval: it \
             would now also be sent to {}\n\n\
             hint: if you expected that, run `maestro sessions approve \
             faulty-keyed:work_lab@api_key`\n",
            evil.origin()
        ))
        .failure(3);
    assert_eq!(evil.connections(), 0);
    test.args(["sessions", "approve", "work_lab", "--yes"])
        .stdout("approved faulty-keyed:work_lab@api_key\n")
        .stderr(format!("- {}\n+ {}\n", good.origin(), evil.origin()))
        .success()
        .args(["chat", "-m", "faulty-keyed/m", "hello"])
        .stdout("hi\n")
        .success();
}

#[test]
fn logins_at_the_same_time_on_a_new_home_all_count() {
    let upstream = upstream();
    let test = keyed(&upstream);
    let names: Vec<_> = (0..6).map(|n| format!("lab_{n}")).collect();
    let running: Vec<_> = names
        .iter()
        .map(|name| {
            test.begin(["login", "faulty-keyed", "--name", name, "--key-stdin", "--no-test"], WORK)
        })
        .collect();
    for login in running {
        let output = login.wait();
        assert!(output.status.success(), "{}", output.stderr);
    }
    let listed = test.args_of(["sessions", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), names.len());
    assert_eq!(sessions.iter().filter(|session| session["is_default"] == true).count(), 1);
    for name in names {
        let model = format!("faulty-keyed:{name}/m");
        let output = test.args_of(["chat", "-m", &model, "hello"]);
        assert_eq!(output.stdout, "hi\n", "{}", output.stderr);
    }
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
