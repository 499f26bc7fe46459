//! An author's day: a crate made by a release, built, tested, and asked through a server.
//!
//! Everything is made below `target/authoring/`: a release as `cargo xtask dist` lays it out, and one
//! target folder for all crates, so that the contract is compiled once.

#[path = "../xtask/src/sdk.rs"]
mod sdk;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::{
    harness::{Test, workspace},
    upstream::{Reply, Request, Upstream},
};

/// Where all of it is.
fn root() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().join("authoring")
}

/// Lays out a release: the program and the contract's sources, and nothing of this workspace.
fn release() -> &'static Path {
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    RELEASE.get_or_init(|| {
        let release = root().join("release");
        sdk::write(&workspace(), &release.join("share/maestro/sdk")).unwrap();
        let bin = release.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let temporary = bin.join(format!("maestro.{}", std::process::id()));
        fs::copy(env!("CARGO_BIN_EXE_maestro"), &temporary).unwrap();
        fs::rename(temporary, bin.join("maestro")).unwrap();
        release
    })
}

/// A folder to work in, a home, and a shell that finds the release.
struct Workshop {
    test: Test,
    folder: PathBuf,
}

/// What a command said.
#[derive(Debug)]
struct Said {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Workshop {
    /// Begins in an empty folder. Each test has a name of its own, and its crates too: libraries of
    /// one name would overwrite each other.
    fn new(name: &str) -> Self {
        let folder = root().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self { test: Test::new(), folder }
    }

    fn run(&self, script: &str) -> Said {
        let bin = release().join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(bin).chain(std::env::split_paths(&path));
        let kept = ["HOME", "CARGO", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR"];
        let kept = kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let ran = Command::new("sh")
            .args(["-euc", script])
            .env_clear()
            .envs(kept)
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("MAESTRO_HOME", self.test.home())
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_TARGET_DIR", root().join("target"))
            .current_dir(&self.folder)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { status: ran.status.code(), stdout: text(ran.stdout), stderr: text(ran.stderr) }
    }

    /// Runs what must succeed and returns what it said on stdout.
    #[track_caller]
    fn ok(&self, script: &str) -> String {
        let said = self.run(script);
        assert_eq!(said.status, Some(0), "{script}\n{}\n{}", said.stdout, said.stderr);
        said.stdout
    }

    /// Returns the library that `plugin build` makes of a crate.
    fn built(&self, folder: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("maestro plugin build {folder} --debug --json")))
            .unwrap()
    }
}

/// The API of the template.
fn acme(request: &Request) -> Reply {
    if request.header("authorization") != "Bearer acme-0123456789" {
        return Reply::json(401, r#"{"error":{"code":"bad_key","message":"unknown key"}}"#);
    }
    match request.line().as_str() {
        "POST /v1/generate" => {
            let body = request.json();
            let asked = body["turns"].as_array().and_then(|turns| turns.last()).cloned();
            let text = format!("You said: {}", asked.unwrap_or_default()["text"]);
            let begin = json!({"type": "begin", "id": "gen-1", "model": body["model"]});
            let text = json!({"type": "text", "text": text}).to_string();
            let (head, tail) = text.split_at(text.len() / 2);
            let end = json!({"type": "end", "reason": "complete", "tokens": {"in": 3, "out": 2}});
            Reply::sse()
                .event(&begin.to_string())
                .piece(format!("data: {head}"))
                .piece(format!("{tail}\n\n"))
                .event(&end.to_string())
        }
        "GET /v1/models" => Reply::json(200, r#"{"models":[{"id":"acme-1","title":"Acme One"}]}"#),
        "GET /v1/account" => Reply::json(200, r#"{"name":"Ada"}"#),
        other => Reply::json(404, &format!(r#"{{"error":{{"code":"no","message":"{other}"}}}}"#)),
    }
}

fn config(test: &Test, provider: &str, upstream: &Upstream) {
    let config = format!("[providers.{provider}]\nbase_url = \"{}\"\n", upstream.url());
    fs::write(test.home().join("config.toml"), config).unwrap();
}

#[test]
fn a_release_alone_makes_a_plugin_that_builds_passes_and_answers() {
    let shop = Workshop::new("new");
    let made = shop.run("maestro plugin new fresh-acme");
    assert_eq!((made.status, made.stdout.as_str()), (Some(0), "fresh-acme\n"));
    assert!(made.stderr.contains("cargo test "), "{}", made.stderr);
    let manifest = fs::read_to_string(shop.folder.join("fresh-acme/Cargo.toml")).unwrap();
    let sdk = release().join("share/maestro/sdk/plugin-api");
    assert!(manifest.contains(sdk.to_str().unwrap()), "{manifest}");

    let tested = shop.ok("cd fresh-acme && cargo test --quiet --test golden");
    assert!(tested.contains("8 passed"), "{tested}");

    let built = shop.built("fresh-acme");
    let plugin = &built["plugin"];
    assert_eq!(
        (&plugin["id"], &plugin["providers"]),
        (&json!("fresh-acme"), &json!(["fresh-acme"]))
    );
    let file = PathBuf::from(plugin["path"].as_str().unwrap());
    assert_eq!(plugin["hash"], blake3::hash(&fs::read(&file).unwrap()).to_hex().as_str());

    let upstream = Upstream::start(acme);
    fs::copy(&file, shop.test.home().join("plugins/fresh-acme.so")).unwrap();
    config(&shop.test, "fresh-acme", &upstream);
    shop.ok("printf acme-0123456789 | maestro login fresh-acme --key-stdin");
    assert_eq!(
        shop.ok("maestro chat -m fresh-acme/acme-1 'hello there'"),
        "You said: \"hello there\"\n"
    );
    let models = shop.ok("maestro models --provider fresh-acme");
    assert!(models.contains("fresh-acme/acme-1"), "{models}");
}

#[test]
fn a_bad_name_or_a_taken_folder_makes_nothing() {
    let shop = Workshop::new("refused");
    fs::create_dir(shop.folder.join("taken")).unwrap();
    fs::write(shop.folder.join("taken/mine"), "mine").unwrap();
    for (arguments, error) in [
        (
            "Acme",
            "error: `Acme` cannot be the name of a plugin: expected a lowercase letter, then up to \
             31 of `a-z 0-9 _ -`\n\nhint: `acme` would do\n",
        ),
        (
            "taken",
            "error: `taken` exists already\n\nhint: choose another folder with `--dir`; nothing is \
             overwritten\n",
        ),
        (
            "acme --sdk taken",
            "error: the sources of the contract are not in `taken`\n\nhint: it comes with a \
             release, below its `share/maestro/sdk`; name another place with `--sdk`\n",
        ),
    ] {
        let said = shop.run(&format!("maestro plugin new {arguments}"));
        let status = if arguments.contains("--sdk") { 1 } else { 2 };
        assert_eq!((said.status, said.stderr.as_str()), (Some(status), error), "{arguments}");
        assert_eq!(said.stdout, "");
    }
    let there: Vec<OsString> =
        fs::read_dir(&shop.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["taken"]);
}

#[test]
fn what_cargo_says_is_shown_and_no_library_is_named() {
    let shop = Workshop::new("broken");
    shop.ok("maestro plugin new broken-acme");
    let lib = shop.folder.join("broken-acme/src/lib.rs");
    let source = fs::read_to_string(&lib).unwrap();
    fs::write(&lib, source.replace("pub struct Plugin;", "pub struct Plugin")).unwrap();
    let said = shop.run("maestro plugin build broken-acme --debug");
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("src/lib.rs:"), "{}", said.stderr);
    assert!(said.stderr.ends_with("error: cargo did not build it\n"), "{}", said.stderr);

    let said = shop.run("maestro plugin build nowhere");
    assert_eq!(said.status, Some(2));
    assert!(said.stderr.starts_with("error: there is no `Cargo.toml` in `nowhere`\n"));
}
