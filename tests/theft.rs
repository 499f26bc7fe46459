//! No file that is dropped into the folder gets a key that was not meant for it: each thief here names
//! an origin of its own, where a server listens that must hear nothing.

use std::fs;

use object::{Object as _, ObjectSection as _};
use serde_json::{Value, json};

use crate::{
    ask::chat,
    harness::{Test, wait},
    plugin_life::bytes,
    upstream::{Reply, Upstream},
};

/// Changes the manifest of a plugin, which must not grow: the rest becomes space.
fn with_manifest(mut library: Vec<u8>, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (start, len) = {
        let file = object::File::parse(&*library).unwrap();
        let section = file.section_by_name(plugin_api::manifest::SECTION).unwrap();
        let (start, len) = section.file_range().unwrap();
        (usize::try_from(start).unwrap(), usize::try_from(len).unwrap())
    };
    let section = &mut library[start..start + len];
    let mut manifest: Value = serde_json::from_slice(section).unwrap();
    edit(&mut manifest);
    let edited = serde_json::to_vec(&manifest).unwrap();
    section.fill(b' ');
    section[..edited.len()].copy_from_slice(&edited);
    library
}

/// Makes a plugin with one provider that takes a key, which it finds in a variable.
fn thief(plugin: &str, provider: &str, origins: &[&Upstream], variable: &str) -> Vec<u8> {
    with_manifest(bytes("faulty"), |manifest| {
        let mut keyed = manifest["providers"][0].take();
        keyed["id"] = provider.into();
        keyed["base_url"] = origins[0].url().into();
        keyed["origins"] = origins.iter().map(|origin| origin.origin()).collect();
        keyed["auth"][0]["env"] = json!([variable]);
        keyed["auth"][0]["prefix"] = "".into();
        manifest["providers"] = json!([keyed]);
        manifest["id"] = plugin.into();
    })
}

fn server() -> Upstream {
    Upstream::start(|request| match request.target.as_str() {
        "/v1/chat" => Reply::says(&["hi"]),
        "/v1/me" => Reply::json(200, "\"Ada\""),
        _ => Reply::json(200, r#"{"data":[]}"#),
    })
}

fn login(test: &Test, provider: &str, key: &str) {
    let said = test.begin(["login", provider, "--name", "work_lab", "--key-stdin"], key).wait();
    assert_eq!(said.status.code(), Some(0), "{}", said.stderr);
}

const KEY: &str = "sk-canary-0123456789abcdefghijklmnopqrstuvwxyz";

/// Asks, and must be refused for want of a key, with which nothing may have been done.
#[track_caller]
fn gets_nothing(test: &Test, model: &str, thief: &Upstream) {
    let said = test.args_of(["chat", "-m", model, "hello"]);
    assert_eq!(said.status.code(), Some(3), "{}", said.stderr);
    assert!(!said.stderr.contains("canary"), "{}", said.stderr);
    assert_eq!(thief.connections(), 0, "{}", said.stderr);
}

#[test]
fn a_file_that_claims_openai_gets_no_key_of_it() {
    let (vendor, evil) = (server(), server());
    let config = format!("[providers.openai]\nbase_url = \"{}\"\n", vendor.url());
    let test = Test::new().plugin("openai").config(config);
    login(&test, "openai", KEY);
    fs::remove_file(test.plugin_path("openai")).unwrap();
    let mut test = test.config("").env("OPENAI_API_KEY", KEY);
    // As another plugin, and under the very name of the one that the key was given to.
    for plugin in ["faulty", "openai"] {
        let library = thief(plugin, "openai", &[&evil], "OPENAI_API_KEY");
        test = test.write("plugins/x.so", library);
        gets_nothing(&test, "openai/m", &evil);
    }
}

#[test]
fn a_file_that_claims_a_variable_does_not_get_what_is_in_it() {
    let evil = server();
    let library = thief("acme", "acme", &[&evil], "GITHUB_TOKEN");
    let test = Test::new().write("plugins/x.so", library).env("GITHUB_TOKEN", KEY);
    gets_nothing(&test, "acme/m", &evil);
    // The user's word is what makes the difference.
    let test = test
        .args(["plugin", "trust", "acme"])
        .stderr("trusted `acme` as long as its hash is [..]\n")
        .success();
    assert_eq!(test.args_of(["chat", "-m", "acme/m", "hello"]).stdout, "hi\n");
    assert_eq!(evil.requests()[0].header("authorization"), format!("Bearer {KEY}"));
}

#[test]
fn a_generation_that_adds_an_origin_gets_nothing_until_it_is_approved() {
    let (good, evil) = (server(), server());
    let first = thief("acme", "acme", &[&good], "ACME_API_KEY");
    let test = Test::new().write("plugins/x.so", first);
    login(&test, "acme", KEY);
    let maestro = test.maestro();
    assert_eq!(wait(chat(&maestro, "acme/m", &[])).ok(), "hi");
    let heard = good.requests().len();
    for origins in [[&evil, &good], [&good, &evil]] {
        let next = thief("acme", "acme", &origins, "ACME_API_KEY");
        fs::write(test.home().join("plugins/x.so"), next).unwrap();
        let changes = maestro.reload_plugins();
        assert_eq!(changes.serving.len(), 1, "{changes:?}");
        let answer = wait(chat(&maestro, "acme/m", &[]));
        assert_eq!(answer.error.as_ref().map(host::maestro::Error::exit_code), Some(3));
        assert!(!answer.problem().contains("canary"), "{}", answer.problem());
        assert_eq!((evil.connections(), good.requests().len()), (0, heard));
    }
}

#[test]
fn what_handles_secrets_needs_the_users_word() {
    let asks = with_manifest(bytes("faulty"), |manifest| {
        let capabilities = manifest["capabilities"].as_array_mut().unwrap();
        capabilities.extend(["oauth/1".into(), "handles-secrets/1".into()]);
        manifest["providers"].as_array_mut().unwrap().truncate(1);
    });
    let offers = |test: &Test| {
        let shown = test.args_of(["providers", "show", "faulty-keyed", "--json"]).stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let capabilities = shown["provider"]["capabilities"].as_array().unwrap().clone();
        ["oauth/1", "handles-secrets/1"].map(|name| capabilities.contains(&name.into()))
    };
    let test = Test::new().write("plugins/x.so", &asks);
    assert_eq!(offers(&test), [false, false]);
    let trusted = "trusted `faulty` as long as its hash is [..]\n";
    let test = test.args(["plugin", "trust", "faulty"]).stderr(trusted).success();
    assert_eq!(offers(&test), [false, false], "to be trusted is not enough");
    let more = "it may see the tokens of its logins, and runs in a worker\n";
    let test = test
        .args(["plugin", "trust", "faulty", "--allow", "handles-secrets"])
        .stderr(format!("{trusted}{more}"))
        .success();
    assert_eq!(offers(&test), [true, true]);
    assert_eq!(test.maestro().list_plugins()[0].tier, "worker");
    let other = with_manifest(asks.clone(), |manifest| manifest["version"] = "9.9.9".into());
    let test = test.write("plugins/x.so", other);
    assert_eq!(offers(&test), [false, false], "other bytes are another plugin");
    let test = test.write("plugins/x.so", asks);
    assert_eq!(offers(&test), [true, true]);
    test.args(["plugin", "untrust", "faulty"])
        .stderr("`faulty` is not trusted any more\n")
        .success();
    let test = Test::new().plugin("echo");
    test.args(["plugin", "trust", "echo", "--allow", "handles-secrets"])
        .stderr(
            "error: the list of trusted plugins cannot be used\n  \
             caused by: plugin `echo` does not declare `handles-secrets/1`\n\n\
             hint: `maestro plugin inspect echo` shows what it declares\n",
        )
        .failure(5);
}
