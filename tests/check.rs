//! `maestro plugin check`: the bundled plugins keep every rule, and each rule is seen to be broken by
//! a variant of `faulty` that breaks no other.
//!
//! A variant is a copy of the library with another manifest in its section, padded with spaces. Its
//! provider's profile sets `fault`, so the choice needs no option that only tests would use.

use std::{collections::BTreeSet, fs, path::PathBuf};

use host::{contract::Checked, maestro::Maestro};
use object::{Object as _, ObjectSection as _};
use plugin_api::kit::conformance::{Options, Rule};
use serde_json::{Value, json};

use crate::harness::{Test, library, workspace};

/// A manifest of `faulty` that keeps every rule.
fn manifest() -> Value {
    json!({
        "schema": 1, "contract": plugin_api::CONTRACT_VERSION, "panic": "unwind",
        "id": "variant", "version": "1.0.0", "description": "Breaks one rule.",
        "capabilities": ["chat/1", "models/1", "api-key/1"],
        "settings": [
            {"name": "fault", "kind": "text", "help": "what goes wrong"},
            {"name": "models_fault", "kind": "text", "help": "what goes wrong"},
        ],
        "profiles": [{"name": "p", "values": []}],
        "providers": [{
            "id": "variant", "display_name": "Variant", "base_url": "https://faulty.invalid/v1",
            "profile": "p", "features": ["chat.tools/1"],
            "auth": [{"type": "api_key", "placement": {"in": "bearer"}}],
        }],
    })
}

/// Writes a copy of `faulty` with this in its manifest section.
pub(crate) fn variant(test: &Test, section: &[u8]) -> PathBuf {
    let mut bytes = fs::read(library("faulty")).unwrap();
    let (start, len) = {
        let file = object::File::parse(&*bytes).unwrap();
        file.section_by_name(".maestro.manifest").unwrap().file_range().unwrap()
    };
    let (start, len) = (usize::try_from(start).unwrap(), usize::try_from(len).unwrap());
    assert!(section.len() <= len, "{} bytes do not fit {len}", section.len());
    bytes[start..start + len].fill(b' ');
    bytes[start..start + section.len()].copy_from_slice(section);
    written(test, &bytes)
}

fn written(test: &Test, bytes: &[u8]) -> PathBuf {
    let path = test.home().join("variant.so");
    fs::write(&path, bytes).unwrap();
    path
}

fn check(maestro: &Maestro, path: &std::path::Path) -> Checked {
    maestro.check_plugin(path.to_str().unwrap(), None, &Options::default()).unwrap()
}

fn failed(checked: &Checked) -> Vec<&'static str> {
    checked.rules.iter().filter(|rule| rule.verdict == "failed").map(|rule| rule.rule).collect()
}

/// Changes the manifest at a path and says which rule that breaks.
fn declared() -> Vec<(&'static str, &'static str, Value)> {
    let key = |change: Value| {
        let mut key = json!({"type": "api_key", "placement": {"in": "bearer"}});
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!([key])
    };
    let oauth = |change: Value| {
        let mut oauth = json!({"type": "oauth", "issuer": "https://faulty.invalid", "client_id": "c",
            "placement": {"in": "bearer"}});
        oauth.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!([oauth])
    };
    let (p, auth) = ("/providers/0", "/providers/0/auth");
    let with = |name: &str, value: Value| {
        let mut provider = manifest()["providers"][0].clone();
        provider[name] = value;
        provider
    };
    let twice = |value: &Value| json!([value, value]);
    let base = manifest();
    vec![
        ("contract-fits", "/contract", json!("2.0.0")),
        ("plugin-id", "/id", json!("Bad Id")),
        ("plugin-version", "/version", json!("one")),
        ("plugin-description", "/description", json!(" ")),
        ("panics-unwind", "/panic", json!("abort")),
        (
            "capabilities-known",
            "/capabilities",
            json!(["chat/1", "models/1", "api-key/1", "dreams/1"]),
        ),
        ("offers-providers", "/providers", json!([])),
        ("provider-ids", "/providers/0/id", json!("Bad Id")),
        ("provider-ids-unique", "/providers", twice(&base["providers"][0])),
        ("provider-names", "/providers/0/display_name", json!("")),
        ("urls-well-formed", "/providers/0/base_url", json!("https://me:pw@faulty.invalid/v1")),
        ("urls-encrypted", "/providers/0/base_url", json!("http://faulty.invalid/v1")),
        ("origins-are-origins", p, with("origins", json!(["https://faulty.invalid/path"]))),
        ("templates-filled", "/providers/0/base_url", json!("https://{region}.faulty.invalid/v1")),
        ("profiles-exist", "/providers/0/profile", json!("other")),
        ("profiles-unique", "/profiles", twice(&base["profiles"][0])),
        ("profile-values", "/profiles/0/values", json!([{"name": "fault", "value": 3}])),
        ("setting-kinds", "/settings/0/kind", json!("mood")),
        ("settings-unique", "/settings", twice(&base["settings"][0])),
        ("settings-documented", "/settings/0/help", json!("")),
        ("requires-declared", p, with("requires", json!(["region"]))),
        ("models-named", p, with("models", json!(["a", "a"]))),
        ("dialects-known", p, with("dialects", json!(["esperanto"]))),
        ("without-declared", p, with("without", json!(["embeddings/1"]))),
        ("features-consistent", "/providers/0/features", json!(["chat.parallel-tools/1"])),
        ("auth-declared", auth, json!([])),
        ("auth-known", auth, json!([{"type": "iris"}])),
        (
            "auth-ids-unique",
            auth,
            json!([base["providers"][0]["auth"][0], base["providers"][0]["auth"][0]]),
        ),
        ("auth-complete", auth, oauth(json!({"client_id": ""}))),
        ("auth-urls", auth, oauth(json!({"token_url": "http://faulty.invalid/token"}))),
        ("auth-placement", auth, key(json!({"placement": {"in": "header", "name": "host"}}))),
        ("auth-variables", auth, key(json!({"env": ["my key"]}))),
        ("asks-documented", auth, key(json!({"asks": [{"name": "project"}]}))),
        (
            "secrets-declared",
            "/capabilities",
            json!(["chat/1", "models/1", "api-key/1", "handles-secrets/1"]),
        ),
        (
            "declared-is-implemented",
            "/capabilities",
            json!(["chat/1", "models/1", "api-key/1", "embeddings/1"]),
        ),
        ("undeclared-is-absent", "/capabilities", json!(["chat/1", "api-key/1"])),
    ]
}

/// Faults of a chat, by the setting `fault`, and the rule that each breaks.
const CHATS: &[(&str, &str)] = &[
    ("never-crashes", "aborts"),
    ("never-reaches-out", "reads-file"),
    ("steps-in-time", "spins"),
    ("memory-bounded", "leaks"),
    ("finish-is-last", "text-after-finish"),
    ("finish-before-done", "done-without-finish"),
    ("nothing-after-end", "event-after-done"),
    ("tool-call-order", "tool-delta-before-start"),
    ("tool-call-ends", "tool-call-never-ends"),
    ("tool-call-identity", "empty-tool-id"),
    ("part-keeps-kind", "part-changes-kind"),
    ("one-request-at-a-time", "two-requests"),
    ("never-stalls", "stall"),
    ("value-fits-operation", "value-in-chat"),
    ("well-formed-messages", "unknown-blob"),
    ("output-budget", "flood-of-bytes"),
    ("request-budget", "flood-of-requests"),
    ("never-panics", "panic-mid-stream"),
    ("features-are-taken", "drops-tools"),
    ("replay-is-deterministic", "random-text"),
    ("interleaved-equals-lone", "counts-others"),
    ("chunk-cut-invariance", "counts-pieces"),
    ("utf8-across-chunks", "counts-pieces-beyond-ascii"),
    ("hostile-utf8", "counts-broken-pieces"),
    ("huge-line-fails", "takes-huge-line"),
    ("garbage-fails", "takes-garbage"),
    ("empty-answer-fails", "takes-nothing"),
    ("truncated-answer-fails", "takes-truncated"),
    ("statuses-mapped", "wrong-kind"),
    ("status-kept", "status-lost"),
    ("failures-explained", "unexplained"),
    ("retry-after-kept", "retry-after-lost"),
    ("transport-failures-typed", "blames-client"),
    ("cancel-ends", "ignores-cancel"),
    ("stray-ticks-ignored", "counts-ticks"),
    ("origins-kept", "foreign-origin"),
    ("request-urls-plain", "user-info"),
    ("request-headers-sendable", "host-header"),
    ("no-placeholders", "placeholder"),
    ("secrets-not-echoed", "echoes-cookie"),
    ("prompt-not-logged", "logs-prompt"),
];

/// Faults of a list of models.
const LISTS: &[(&str, &str)] = &[("models-have-ids", "nameless"), ("pages-end", "pages")];

/// Gives each variant to `check` and gathers those that break something else than they should.
fn assert_broken(cases: &[(&'static str, Vec<u8>)]) {
    let test = Test::new();
    let maestro = test.maestro();
    let mut wrong = Vec::new();
    for (rule, section) in cases {
        let checked = check(&maestro, &variant(&test, section));
        if failed(&checked) != [*rule] {
            let said: Vec<_> = checked
                .rules
                .iter()
                .filter(|outcome| outcome.verdict == "failed")
                .map(|outcome| {
                    format!("{} ({:?}: {:?})", outcome.rule, outcome.input, outcome.detail)
                })
                .collect();
            wrong.push(format!("{rule}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub(crate) fn with_value(name: &str, fault: &str) -> Vec<u8> {
    let mut json = manifest();
    json["profiles"][0]["values"] = json!([{"name": name, "value": fault}]);
    json.to_string().into_bytes()
}

#[test]
fn a_variant_without_a_fault_keeps_every_rule() {
    let test = Test::new();
    let checked = check(&test.maestro(), &variant(&test, manifest().to_string().as_bytes()));
    assert_eq!(failed(&checked), [""; 0], "{:?}", checked.rules);
}

#[test]
fn each_rule_of_the_manifest_is_broken_alone() {
    let cases = declared().into_iter().map(|(rule, path, value)| {
        let mut json = manifest();
        *json.pointer_mut(path).unwrap() = value;
        (rule, json.to_string().into_bytes())
    });
    assert_broken(&cases.collect::<Vec<_>>());
}

#[test]
fn each_rule_of_a_chat_is_broken_alone() {
    let cases = CHATS.iter().map(|(rule, fault)| (*rule, with_value("fault", fault)));
    assert_broken(&cases.collect::<Vec<_>>());
}

#[test]
fn each_rule_of_a_list_is_broken_alone() {
    let cases = LISTS.iter().map(|(rule, fault)| (*rule, with_value("models_fault", fault)));
    assert_broken(&cases.collect::<Vec<_>>());
}

/// Files of which nothing, or not enough, can be read.
const FILES: &[&str] = &[
    "file-is-library",
    "file-is-whole",
    "file-fits-machine",
    "manifest-is-there",
    "manifest-is-readable",
    "library-loads",
    "manifests-equal",
];

#[test]
fn each_rule_of_the_file_is_broken_alone() {
    let test = Test::new();
    let maestro = test.maestro();
    let good = fs::read(variant(&test, manifest().to_string().as_bytes())).unwrap();
    let replace = |from: &[u8], to: &[u8]| {
        let mut bytes = good.clone();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
            bytes[at + found..at + found + to.len()].copy_from_slice(to);
            at += found + from.len();
        }
        bytes
    };
    for rule in FILES {
        let bytes = match *rule {
            "file-is-library" => b"just words\n".to_vec(),
            "file-is-whole" => good[..good.len() / 2].to_vec(),
            "file-fits-machine" => {
                let mut bytes = good.clone();
                bytes[18..20].copy_from_slice(&[0xf3, 0]);
                bytes
            }
            "manifest-is-there" => replace(b".maestro.manifest\0", b".somethingelse.m\0"),
            "manifest-is-readable" => fs::read(variant(&test, b"{\"id\":")).unwrap(),
            "library-loads" => replace(b"_1as_0lib_1header_0root", b"_2as_0lib_1header_0root"),
            _ => moved_section(&good),
        };
        let checked = check(&maestro, &written(&test, &bytes));
        assert_eq!(
            failed(&checked),
            [*rule],
            "{:?}",
            checked.rules.iter().find(|r| r.detail.is_some())
        );
    }
}

/// Lets the section's header name a manifest behind the end, which the code knows nothing of.
fn moved_section(good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let mut other = manifest();
    other["version"] = json!("2.0.0");
    let other = other.to_string();
    let u64_at = |bytes: &[u8], at: usize| {
        usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
    };
    let old = {
        let file = object::File::parse(&*bytes).unwrap();
        file.section_by_name(".maestro.manifest").unwrap().file_range().unwrap().0
    };
    let headers = u64_at(&bytes, 40);
    let count = usize::from(u16::from_le_bytes(bytes[60..62].try_into().unwrap()));
    let header = (0..count)
        .map(|number| headers + number * 64)
        .find(|at| u64_at(&bytes, at + 24) as u64 == old)
        .unwrap();
    let end = bytes.len() as u64;
    bytes[header + 24..header + 32].copy_from_slice(&end.to_le_bytes());
    bytes[header + 32..header + 40].copy_from_slice(&(other.len() as u64).to_le_bytes());
    bytes.extend_from_slice(other.as_bytes());
    bytes
}

/// What no variant of a safe library can break: see the tests named beside.
const ELSEWHERE: &[&str] = &["unknown-inputs-skipped", "fixtures-succeed"];

#[test]
fn every_rule_has_a_fault() {
    let mut proven: BTreeSet<&str> = FILES.iter().chain(ELSEWHERE).copied().collect();
    proven.extend(declared().iter().map(|(rule, ..)| *rule));
    proven.extend(CHATS.iter().chain(LISTS).map(|(rule, _)| *rule));
    let all: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.as_str()).collect();
    assert_eq!(proven, all);
}

#[test]
fn every_bundled_plugin_keeps_every_rule() {
    let test = Test::new();
    let maestro = test.maestro();
    let mut broken = Vec::new();
    for (plugin, dialect) in [
        ("echo", None),
        ("openai-compatible", Some("openai_chat")),
        ("openai", Some("openai_responses")),
        ("anthropic", Some("anthropic_messages")),
        ("gemini", Some("gemini")),
    ] {
        let recorded = workspace().join("dialects/tests/fixtures");
        let folder = dialect.map(|name| recorded.join(name));
        let path = library(plugin);
        let options = Options::default();
        let checked = maestro.check_plugin(path.to_str().unwrap(), folder.as_deref(), &options);
        let checked = checked.unwrap();
        assert!(dialect.is_none() || checked.fixtures > 10, "{plugin}");
        println!("{plugin}: {} fixtures, {} ms", checked.fixtures, checked.milliseconds);
        let compared = checked.rules.iter().find(|rule| rule.rule == "fixtures-succeed").unwrap();
        assert_eq!(compared.verdict != "skipped", dialect.is_some(), "{plugin}");
        for rule in checked.rules.iter().filter(|rule| rule.verdict == "failed") {
            broken.push(format!(
                "{plugin}: {} {:?}: {:?} +{}",
                rule.rule, rule.input, rule.detail, rule.more
            ));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_record_that_differs_is_named() {
    let test = Test::new();
    let folder = test.home().join("recorded");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.sse"), "data: hello\n\ndata: [DONE]\n\n").unwrap();
    fs::write(folder.join("a.events.json"), r#"{"events":[]}"#).unwrap();
    let path = variant(&test, manifest().to_string().as_bytes());
    let options = Options::default();
    let checked =
        test.maestro().check_plugin(path.to_str().unwrap(), Some(&folder), &options).unwrap();
    assert_eq!(failed(&checked), ["fixtures-succeed"]);
}

#[test]
fn a_provider_that_is_not_the_first_is_checked_too() {
    let test = Test::new();
    let mut json = manifest();
    let mut second = json["providers"][0].clone();
    (second["id"], second["profile"]) = (json!("second"), json!("q"));
    json["providers"].as_array_mut().unwrap().push(second);
    let fault = json!([{"name": "fault", "value": "takes-garbage"}]);
    json["profiles"].as_array_mut().unwrap().push(json!({"name": "q", "values": fault}));
    let checked = check(&test.maestro(), &variant(&test, json.to_string().as_bytes()));
    assert_eq!(failed(&checked), ["garbage-fails"]);
    let found = checked.rules.iter().find(|rule| rule.verdict == "failed").unwrap();
    let input = found.input.as_deref().unwrap();
    assert!(input.starts_with("provider `second`, chat, "), "{input}");
}

#[test]
fn the_command_names_the_rule_and_the_input_and_exits_with_4() {
    let test = Test::new();
    let path = variant(&test, &with_value("fault", "takes-garbage"));
    let junit = test.home().join("junit.xml");
    let (path, junit_path) =
        (path.to_str().unwrap().to_owned(), junit.to_str().unwrap().to_owned());
    let output = test.args_of([
        "plugin",
        "check",
        &path,
        "--only-failed",
        "--seed",
        "7",
        "--junit",
        &junit_path,
    ]);
    let stdout = output.stdout.clone();
    assert_eq!(output.status.code(), Some(4), "{stdout}");
    assert!(stdout.starts_with("failed  garbage-fails  "), "{stdout}");
    assert!(stdout.contains("input: chat, text/event-stream: \""), "{stdout}");
    assert!(output.stderr.contains("1 broken, "));
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains("name=\"garbage-fails\"><failure ") && xml.contains("value=\"7\""));
    let output = test.args_of(["plugin", "check", &path, "--only-failed", "--json"]);
    assert_eq!((output.status.code(), output.stderr.as_str()), (Some(4), ""));
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    let check = &document["check"];
    assert_eq!((&check["plugin"], &check["passed"]), (&json!("variant"), &json!(false)));
    assert_eq!(check["rules"].as_array().unwrap().len(), 1);
    let rule = &check["rules"][0];
    assert_eq!((&rule["rule"], &rule["verdict"]), (&json!("garbage-fails"), &json!("failed")));
    assert!(rule["hint"].is_string() && rule["input"].is_string(), "{rule}");
    let output = test.args_of(["plugin", "check", &path, "--rule", "garbage-fail"]);
    assert_eq!(output.status.code(), Some(2));
    let output = test.args_of(["plugin", "check", &path, "--rule", "plugin-id"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn pages_of_rules_are_what_the_rules_say() {
    let folder = workspace().join("docs/rules");
    let mut pages: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for rule in Rule::ALL {
        let name = format!("{rule}.md");
        let page = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert_eq!(page, rule.page(), "run `cargo xtask rules`");
        pages.remove(&name);
    }
    assert!(pages.is_empty(), "{pages:?}: run `cargo xtask rules`");
}
