//! Keys and logins of other tools: shown before anything is stored, and never shown whole.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use serde_json::Value;

use crate::{
    harness::Test,
    sessions::upstream,
    upstream::{Reply, Upstream},
};

const ENV: &str = "fk-canary-env-0001";
const LLM: &str = "fk-canary-llm-0002";
const LITELLM: &str = "fk-canary-litellm-0003";
const OPENCODE: &str = "fk-canary-opencode-0004";

/// A home in which every tool keeps something.
fn tools(upstream: &Upstream) -> Test {
    let test = Test::new().plugin("faulty").config(format!(
        "[providers.faulty-keyed]\nbase_url = \"{}\"\nkey_env = \"FAULTY_API_KEY\"\n",
        upstream.url()
    ));
    let home = test.home().to_str().unwrap().to_owned();
    let llm = format!(
        r#"{{"// Note": "secret", "faulty-keyed": "{LLM}", "faulty_keyed": "{LLM}", "mistral": "mi-canary"}}"#
    );
    let aichat = format!(
        "clients:\n  - type: openai-compatible\n    name: lab\n    api_base: {}/v1\n    api_key: fk-canary-aichat\n\
         \x20 - type: openai-compatible\n    name: far\n    api_base: https://far.example/v1\n    api_key: fk-canary-far\n\
         \x20 - type: faulty-keyed\n    api_key: wrong-canary\n",
        upstream.origin()
    );
    let opencode = format!(
        r#"{{"faulty-keyed": {{"type": "api", "key": "{OPENCODE}"}},
            "anthropic": {{"type": "oauth", "access": "canary-at", "refresh": "canary-rt"}}}}"#
    );
    test.env("HOME", home)
        .env("FAULTY_API_KEY", ENV)
        .write(".config/io.datasette.llm/keys.json", llm)
        .write(".config/aichat/config.yaml", aichat)
        .write(".local/share/opencode/auth.json", opencode)
        .write(
            "proxy.yaml",
            "model_list:\n  - litellm_params: {model: faulty-keyed/m, api_key: os.environ/LAB_KEY}\n",
        )
}

fn json(test: &Test, args: &[&str]) -> Value {
    let said = test.args_of(args.iter().copied());
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
    assert!(!said.stdout.contains("canary"), "{}", said.stdout);
    serde_json::from_str(&said.stdout).unwrap()
}

/// Tells what became of each find: `from name` or `from (why not)`.
fn finds(document: &Value) -> Vec<String> {
    let all = document["candidates"].as_array().unwrap();
    let tell = |found: &Value| {
        let from = found["from"].as_str().unwrap();
        match found["skipped"].as_str() {
            Some(why) => format!("{from} ({why})"),
            None => format!("{from} {}", found["name"].as_str().unwrap()),
        }
    };
    all.iter().map(tell).collect()
}

#[test]
fn everything_is_listed_before_anything_is_stored() {
    let upstream = upstream();
    let test = tools(&upstream);
    let far = "no provider here is at https://far.example; add one to the configuration";
    let expected = [
        "env default".to_owned(),
        "llm llm".into(),
        "llm (`[HOME]/.config/io.datasette.llm/keys.json: faulty-keyed` holds the same key)".into(),
        "llm (no provider here is called `mistral`)".into(),
        "aichat lab".into(),
        format!("aichat ({far})"),
        "aichat (it is no key of this provider: expected it to start with `fk-`)".into(),
        "opencode opencode".into(),
        "opencode (an OAuth login belongs to the tool that made it; log in here as well)".into(),
    ];
    let expected = expected.map(|text| text.replace("[HOME]", test.home().to_str().unwrap()));
    for args in
        [&["sessions", "import", "--json"][..], &["sessions", "import", "--json", "--dry-run"]]
    {
        assert_eq!(finds(&json(&test, args)), expected);
    }
    let said = test.args_of(["sessions", "import"]);
    assert!(said.stderr.ends_with("nothing was stored; add `--yes` to store them\n"), "{said:?}");
    assert!(said.stdout.contains("****0001") && said.stdout.contains(upstream.origin().as_str()));
    assert!(!said.stdout.contains("canary"));
    assert!(!test.home().join("maestro.db").exists());

    let done = json(&test, &["sessions", "import", "--json", "--yes"]);
    assert_eq!(done["sessions"].as_array().unwrap().len(), 4);
    let listed = json(&test, &["sessions", "list", "--json"]);
    let stored = listed["sessions"].as_array().unwrap().iter().filter(|s| s["source"] == "stored");
    assert_eq!(stored.count(), 4);
    // A second time everything is there already.
    let again = json(&test, &["sessions", "import", "--json"]);
    assert!(finds(&again).iter().all(|find| find.contains('(')), "{:?}", finds(&again));
    assert_eq!(upstream.connections(), 0, "nothing was sent");
    let tools: Vec<PathBuf> =
        test.grep("canary").iter().map(|p| p.strip_prefix(test.home()).unwrap().into()).collect();
    let (dot, share) = (PathBuf::from(".config"), PathBuf::from(".local/share"));
    assert_eq!(
        tools,
        [
            dot.join("aichat/config.yaml"),
            dot.join("io.datasette.llm/keys.json"),
            share.join("opencode/auth.json")
        ]
    );
}

#[test]
fn a_file_may_be_named_and_a_name_may_be_chosen() {
    let upstream = upstream();
    let test = tools(&upstream).env("LAB_KEY", LITELLM);
    let import =
        ["sessions", "import", "--from", "litellm=proxy.yaml", "--name", "lab_key", "--yes"];
    let said = test.args_of(import);
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
    assert!(
        said.stdout.ends_with(
            "stored faulty-keyed:lab_key@api_key from proxy.yaml: model_list[0].litellm_params.api_key\n"
        ),
        "{}",
        said.stdout
    );
    let taken =
        ["sessions", "import", "--from", "llm", "--name", "lab_key", "--json", "faulty-keyed"];
    assert_eq!(
        finds(&json(&test, &taken))[0],
        "llm (the name is taken; choose another with `--name`)"
    );
    let said = test.args_of(["sessions", "import", "--from", "llm=nowhere.json"]);
    assert!(said.stderr.contains("`nowhere.json` of llm cannot be read"), "{}", said.stderr);
    let said = test.args_of(["sessions", "import", "--from", "chatgpt"]);
    assert_eq!(said.status.code(), Some(2));
    let test = test.write(".config/io.datasette.llm/keys.json", "canary-but-not-json");
    let said = test.args_of(["sessions", "import", "--from", "llm", "--json"]);
    assert!(said.stdout.contains("it is not a JSON object") && !said.stdout.contains("canary"));
}

/// A home in which a vendor's own tool has a login.
fn profiled(upstream: &Upstream, token: &str, ends: i64) -> Test {
    let test = Test::new()
        .plugin("faulty")
        .config(format!("[providers.faulty-profiled]\nbase_url = \"{}\"\n", upstream.url()));
    let home = test.home().to_str().unwrap().to_owned();
    let test = test.env("HOME", home);
    login_there(&test, token, ends);
    test
}

fn credentials(test: &Test) -> PathBuf {
    test.home().join(".config/faultytool/credentials/work.json")
}

fn login_there(test: &Test, token: &str, ends: i64) {
    let file = credentials(test);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, format!(r#"{{"access_token":"{token}","expires_at":{ends}}}"#)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

const FAR: i64 = 4_000_000_000;

#[test]
fn a_vendors_own_login_is_read_in_place_at_each_use() {
    let upstream = upstream();
    let test = profiled(&upstream, "canary-first", FAR)
        .args(["sessions", "import", "--from", "profiles", "--yes"])
        .stdout(format!(
            "FROM      KEY  SESSION               GOES TO[..]FOUND IN\n\
             profiles  -    faulty-profiled:work  {}  [HOME]/.config/faultytool/credentials/work.json\n\
             stored faulty-profiled:work@oauth from [HOME]/.config/faultytool/credentials/work.json\n",
            upstream.origin()
        ))
        .success();
    let before = fs::read(credentials(&test)).unwrap();
    let ask = |test: &Test| test.args_of(["chat", "-m", "faulty-profiled/m", "hello"]);
    assert_eq!(ask(&test).stdout, "hi\n");
    assert_eq!(fs::read(credentials(&test)).unwrap(), before, "nothing is written there");
    login_there(&test, "canary-second", FAR);
    assert_eq!(ask(&test).stdout, "hi\n");
    let sent: Vec<_> = upstream
        .requests()
        .iter()
        .map(|request| request.header("authorization").to_owned())
        .collect();
    assert_eq!(sent, ["Bearer canary-first", "Bearer canary-second"]);
    assert_eq!(test.grep("canary"), [credentials(&test)], "the store holds no token");

    login_there(&test, "canary-third", 5);
    let said = ask(&test);
    assert_eq!(said.status.code(), Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("the token of `faultytool` profile `work` has expired"));
    assert!(said.stderr.contains("`faultytool login --profile work`"), "{}", said.stderr);
    fs::set_permissions(credentials(&test), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(ask(&test).stderr.contains("run `chmod 600 "), "{}", ask(&test).stderr);
    let real = credentials(&test).with_file_name("real");
    fs::rename(credentials(&test), &real).unwrap();
    std::os::unix::fs::symlink(&real, credentials(&test)).unwrap();
    assert!(ask(&test).stderr.contains("is a symbolic link"));
    assert_eq!(upstream.requests().len(), 2, "nothing was sent for these");
    let again = json(&test, &["sessions", "import", "--from", "profiles", "--json"]);
    assert!(finds(&again)[0].contains("is this profile"), "{:?}", finds(&again));
}

#[test]
fn a_login_that_cannot_be_read_is_said_to_be_skipped_before_anything_is_stored() {
    let upstream = upstream();
    let test = profiled(&upstream, "canary", FAR);
    fs::set_permissions(credentials(&test), fs::Permissions::from_mode(0o644)).unwrap();
    let plan = json(&test, &["sessions", "import", "--from", "profiles", "--json"]);
    assert!(finds(&plan)[0].contains("has mode 0644, expected 0600"), "{:?}", finds(&plan));
    // One that has only expired is taken: its tool will renew it.
    login_there(&test, "canary", 5);
    let plan = json(&test, &["sessions", "import", "--from", "profiles", "--json"]);
    assert!(!finds(&plan)[0].contains("expired"), "{:?}", finds(&plan));
}

#[test]
fn a_login_of_another_tool_is_bound_and_never_renewed() {
    let (good, evil) = (upstream(), upstream());
    let test = profiled(&good, "canary", FAR);
    assert_eq!(
        test.args_of(["sessions", "import", "--from", "profiles", "--yes"]).status.code(),
        Some(0)
    );
    let refused = test.args_of(["sessions", "refresh", "work"]);
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    let test = test.config(format!("[providers.faulty-profiled]\nbase_url = \"{}\"\n", evil.url()));
    let said = test.args_of(["chat", "-m", "faulty-profiled/m", "hello"]);
    assert_eq!(said.status.code(), Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("sessions approve"), "{}", said.stderr);
    assert_eq!(evil.connections(), 0);
    // What the vendor refuses is said, and the tool's file stays as it is.
    let angry = Upstream::always(Reply::json(401, "no"));
    let test = profiled(&angry, "canary", FAR);
    test.args_of(["sessions", "import", "--from", "profiles", "--yes"]);
    let before = fs::read(credentials(&test)).unwrap();
    let said = test.args_of(["chat", "-m", "faulty-profiled/m", "hello"]);
    assert_eq!(said.status.code(), Some(3), "{}", said.stderr);
    assert_eq!(angry.requests().len(), 1, "it is not renewed and not tried twice");
    assert_eq!(fs::read(credentials(&test)).unwrap(), before);
}
