//! What the configuration may say, what is wrong with it, and whose keys the environment holds.

use std::{fs, process::Command};

use crate::{
    harness::{Test, library},
    upstream::{Reply, Upstream},
};

fn refused(config: &str, problem: &str, hint: &str) {
    let hint = if hint.is_empty() { String::new() } else { format!("\nhint: {hint}\n") };
    Test::new()
        .plugin("openai-compatible")
        .plugin("echo")
        .config(config)
        .args(["providers"])
        .stderr(format!(
            "error: the configuration does not fit the plugins\n  caused by: {problem}\n{hint}"
        ))
        .failure(2);
}

#[test]
fn what_does_not_fit_the_plugins_is_named_with_what_was_meant() {
    let lab =
        "[providers.lab]\nplugin = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:1\"\n";
    refused(
        "[providers.lab]\nplugin = \"openai-compatibel\"\n",
        "`[providers.lab]`: there is no plugin `openai-compatibel`",
        "did you mean `openai-compatible`?",
    );
    refused(
        "[providers.lab]\nplugin = \"xyzzy\"\n",
        "`[providers.lab]`: there is no plugin `xyzzy`",
        "run `maestro plugin list`",
    );
    refused(
        "[providers.ollame]\nbase_url = \"http://127.0.0.1:1\"\n",
        "`[providers.ollame]`: no plugin offers this provider",
        "did you mean `ollama`?",
    );
    refused(
        "[providers.mine]\nbase_url = \"http://127.0.0.1:1\"\n",
        "`[providers.mine]`: no plugin offers this provider",
        "name the plugin that serves it: `plugin = \"…\"`",
    );
    refused(
        "[providers.mine]\nplugin = \"echo\"\n",
        "`[providers.mine]`: plugin `echo` takes no further providers",
        "",
    );
    refused(
        &format!("{lab}profile = \"ollamma\"\n"),
        "`[providers.lab]`: there is no profile `ollamma`",
        "did you mean `ollama`?",
    );
    refused(
        &format!("{lab}header = \"x\"\n"),
        "`[providers.lab]`: unknown key `header`",
        "did you mean `headers`?",
    );
    refused(
        &format!("{lab}models = \"one\"\n"),
        "`[providers.lab]`: `models`: expected a list of texts, found a string",
        "",
    );
    refused(
        "[providers.lab]\nplugin = \"openai-compatible\"\nbase_url = \"ftp://x\"\n",
        "`[providers.lab]`: `base_url`: expected `https://` or `http://`, found `ftp://x/`",
        "",
    );
}

/// The program and its plugins as a package installs them, so that they count as bundled.
struct Installed {
    prefix: tempfile::TempDir,
    home: Test,
}

impl Installed {
    fn new(config: &str) -> Self {
        let prefix = tempfile::tempdir().unwrap();
        let plugins = prefix.path().join("lib/maestro/plugins");
        fs::create_dir_all(&plugins).unwrap();
        fs::create_dir(prefix.path().join("bin")).unwrap();
        let from = library("openai-compatible");
        fs::copy(&from, plugins.join(from.file_name().unwrap())).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_maestro"), prefix.path().join("bin/maestro")).unwrap();
        Self { prefix, home: Test::new().config(config) }
    }

    fn run(&self, key: &str, args: &[&str]) -> String {
        let output = Command::new(self.prefix.path().join("bin/maestro"))
            .args(args)
            .env_clear()
            .env("MAESTRO_HOME", self.home.home())
            .env("GROQ_API_KEY", key)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn a_key_in_the_environment_is_for_the_bundled_plugin_and_its_own_vendor() {
    let installed = Installed::new("");
    let key = "gsk_canary_0123456789";
    let listed = installed.run(key, &["sessions", "list"]);
    assert!(listed.contains("env:GROQ_API_KEY") && !listed.contains(key), "{listed}");
    assert!(installed.run(key, &["providers"]).contains("groq "), "it is ready");
    assert!(!installed.run("", &["providers"]).contains("groq "), "an empty key is none");

    // At another server the vendor's key has no business.
    let upstream = Upstream::start(|_| Reply::json(200, "{\"data\":[]}"));
    let config = format!("[providers.groq]\nbase_url = \"{}\"\n", upstream.url());
    let moved = Installed::new(&config);
    assert!(moved.run(key, &["models", "--provider", "groq"]).contains("has no session"));

    // Unless the user says so.
    let named = format!("{config}key_env = \"GROQ_API_KEY\"\n");
    Installed::new(&named).run(key, &["models", "--provider", "groq"]);
    let seen = upstream.requests();
    assert_eq!(seen.len(), 1, "the first one sent nothing");
    assert_eq!(seen[0].header("authorization"), format!("Bearer {key}"));

    // A dropped file of the same name does not count as bundled.
    Test::new()
        .plugin("openai-compatible")
        .env("GROQ_API_KEY", key)
        .args(["sessions", "list"])
        .stderr("there is no session; `maestro login PROVIDER` makes one\n")
        .success();
}

#[test]
fn a_user_cannot_take_a_bundled_providers_place() {
    let installed = Installed::new("");
    let plugins = installed.home.home().join("plugins");
    fs::create_dir_all(&plugins).unwrap();
    fs::copy(library("openai-compatible"), plugins.join("mine.so")).unwrap();
    let listed = installed.run("", &["plugin", "list"]);
    assert!(listed.contains("plugin id `openai-compatible` is taken by"), "{listed}");
    assert!(installed.run("", &["providers", "show", "groq"]).contains("(bundled)"));
}
