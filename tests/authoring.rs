//! An author's day: a crate made by a release, built, tested, and asked through a server.
//!
//! Everything is made below `target/authoring/`: a release as `cargo xtask dist` lays it out, and one
//! target folder for all crates, so that the contract is compiled once.

#[path = "../xtask/src/sdk.rs"]
mod sdk;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::{
    harness::{Running, Test, library, line_matches, matches, walk, workspace},
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

/// What cargo finds around it.
fn surroundings() -> impl Iterator<Item = (&'static str, OsString)> {
    let kept = ["HOME", "CARGO", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "TMPDIR"];
    let kept = kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let ours = [
        ("CARGO_NET_OFFLINE", "true".into()),
        ("CARGO_TERM_COLOR", "never".into()),
        ("CARGO_TARGET_DIR", root().join("target").into_os_string()),
    ];
    kept.chain(ours)
}

/// A folder to work in, a home, and a shell that finds the release.
pub(crate) struct Workshop {
    pub(crate) test: Test,
    pub(crate) folder: PathBuf,
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
    pub(crate) fn new(name: &str) -> Self {
        let folder = root().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let test = surroundings().fold(Test::new(), |test, (name, value)| test.env(name, value));
        Self { test, folder }
    }

    fn run(&self, script: &str) -> Said {
        let bin = release().join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(bin).chain(std::env::split_paths(&path));
        let ran = Command::new("sh")
            .args(["-euc", script])
            .env_clear()
            .envs(surroundings())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("MAESTRO_HOME", self.test.home())
            .current_dir(&self.folder)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { status: ran.status.code(), stdout: text(ran.stdout), stderr: text(ran.stderr) }
    }

    /// Runs what must succeed and returns what it said on stdout.
    #[track_caller]
    pub(crate) fn ok(&self, script: &str) -> String {
        let said = self.run(script);
        assert_eq!(said.status, Some(0), "{script}\n{}\n{}", said.stdout, said.stderr);
        said.stdout
    }

    /// Returns the library that `plugin build` makes of a crate.
    pub(crate) fn built(&self, folder: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("maestro plugin build {folder} --debug --json")))
            .unwrap()
    }
}

/// The API of the template.
pub(crate) fn acme(request: &Request) -> Reply {
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
    assert!(tested.contains("9 passed"), "{tested}");

    let built = shop.built("fresh-acme");
    let plugin = &built["plugin"];
    assert_eq!(
        (&plugin["id"], &plugin["providers"]),
        (&json!("fresh-acme"), &json!(["fresh-acme"]))
    );
    let file = PathBuf::from(plugin["path"].as_str().unwrap());
    assert_eq!(plugin["hash"], blake3::hash(&fs::read(&file).unwrap()).to_hex().as_str());

    // Untouched, it keeps every rule.
    let check =
        format!("maestro plugin check --json --fixtures fresh-acme/fixtures {}", file.display());
    let checked: Value = serde_json::from_str(&shop.ok(&check)).unwrap();
    assert_eq!(
        (&checked["check"]["passed"], &checked["check"]["fixtures"]),
        (&json!(true), &json!(4))
    );
    let rules = checked["check"]["rules"].as_array().unwrap();
    let recorded = rules.iter().find(|rule| rule["rule"] == "fixtures-succeed").unwrap();
    assert_eq!(recorded["verdict"], "passed");

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
fn an_installed_release_carries_what_dist_laid_out_and_nothing_older() {
    let laid_out = release().join("share/maestro/sdk");
    let installed = tempfile::tempdir().unwrap();
    let old = installed.path().join("dialects/src/old.rs");
    fs::create_dir_all(old.parent().unwrap()).unwrap();
    fs::write(&old, "gone").unwrap();
    sdk::write(&laid_out, installed.path()).unwrap();
    let files = |folder: &Path| {
        let mut files = Vec::new();
        walk(folder, &mut |path| {
            if path.is_file() {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                files.push((name, fs::read(path).unwrap()));
            }
        });
        files
    };
    let (from, to) = (files(&laid_out), files(installed.path()));
    assert!(from.iter().any(|(name, _)| name == Path::new("plugin-api/src/lib.rs")));
    assert!(from == to, "the two differ");
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

#[test]
fn a_library_is_installed_replaced_and_removed() {
    let test = Test::new();
    let file = library("echo");
    let hash = blake3::hash(&fs::read(&file).unwrap()).to_hex();
    let told = format!(
        "plugin:       echo [..]\nfile:         [HOME]/plugins/echo.so\nhash:         {hash}\n\
         capabilities: chat/1, models/1, token-count/1\nprovider:     echo: sends nowhere by itself\n"
    );
    let install = ["plugin".into(), "install".into(), file.into_os_string()];
    let test = test.args(install.clone()).stdout(told.clone()).success();
    assert_eq!(test.args_of(["chat", "-m", "echo/echo", "hello"]).stdout, "hello\n");
    let again = test.args(install).stdout(told).stderr("it took the place of version [..]\n");
    let test = again.success();
    let files: Vec<_> = fs::read_dir(test.home().join("plugins")).unwrap().collect();
    assert_eq!(files.len(), 1, "nothing temporary is left");
    let test = test
        .args(["plugin", "remove", "echo"])
        .stderr("removed `echo`, which was `[HOME]/plugins/echo.so`\n")
        .success();
    assert!(test.maestro().list_plugins().is_empty());
    test.args(["plugin", "remove", "echo"])
        .stderr("error: no plugin `echo`\n\nhint: run `maestro plugin list`\n")
        .failure(2);
}

#[test]
fn what_would_be_refused_or_breaks_its_word_is_not_installed() {
    let echo = fs::read(library("echo")).unwrap();
    let lying = replaced(&echo, "\"token-count/1\"]", "\"embeddings/1\" ]");
    let rival = replaced(&echo, "\"id\":\"echo\",\"version", "\"id\":\"ekko\",\"version");
    let test = Test::new()
        .plugin("echo")
        .write("lying.so", lying)
        .write("rival.so", rival)
        .write("cut.so", &echo[..echo.len() / 2])
        .write("text.so", "hello");
    let before = fs::read_dir(test.home().join("plugins")).unwrap().count();
    for (file, error) in [
        (
            "lying.so",
            "error: nothing of plugin `echo` was changed\n  caused by: it does not keep its word: \
             `embeddings[..]`: declared, but not supported: embeddings is not offered by this \
             provider\n\nhint: ask its author; nothing was installed\n",
        ),
        (
            "rival.so",
            "error: nothing of plugin `ekko` was changed\n  caused by: provider id `echo` is taken \
             by plugin `echo`\n\nhint: say whose it is in the configuration: `[providers.echo]`, \
             `plugin = \"…\"`\n",
        ),
        (
            "cut.so",
            "error: failed to load plugin `cut.so`\n  caused by: truncated: [..]\n\nhint: copy it \
             again; the copy was cut short\n",
        ),
        (
            "text.so",
            "error: failed to load plugin `text.so`\n  caused by: expected a shared library, found \
             [..]\n\nhint: remove it, or build it with `plugin_api::export_plugin!`\n",
        ),
    ] {
        let said = test.args_of(["plugin", "install", file]);
        assert_eq!((said.status.code(), said.stdout.as_str()), (Some(4), ""), "{file}");
        assert!(matches(error, &said.stderr), "{file}: {}", said.stderr);
    }
    assert_eq!(fs::read_dir(test.home().join("plugins")).unwrap().count(), before);
    assert_eq!(test.args_of(["chat", "-m", "echo/echo", "still"]).stdout, "still\n");
}

/// Replaces a text of a library by another of its length, once.
fn replaced(library: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut found = library.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes());
    let (at, _) = found.next().expect("it holds the text");
    let mut library = library.to_vec();
    library[at..at + to.len()].copy_from_slice(to.as_bytes());
    library
}

#[test]
fn a_recording_runs_again_and_shows_what_changed() {
    let upstream = Upstream::start(|request| {
        // Repeats the key, also cut in two.
        let key = request.header("authorization").trim_start_matches("Bearer ").to_owned();
        let echo = json!({"choices": [{"index": 0, "delta": {"content": format!("{key}.")}}]});
        let echo = echo.to_string();
        let (head, tail) = echo.split_at(echo.find("-key-").unwrap());
        let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        Reply::with_headers(
            200,
            &[("content-type", "text/event-stream"), ("set-cookie", "id=c00kie"), ("x-key", &key)],
        )
        .piece(format!("data: {head}"))
        .piece(format!("{tail}\n\n"))
        .event(&end.to_string())
        .event("[DONE]")
    });
    let key = "sk-0123456789-key-abcdef";
    let test = Test::new().plugin("openai-compatible").env("LAB_KEY", key);
    let test = test.config(format!(
        "[providers.lab]\nplugin = \"openai-compatible\"\nbase_url = \"{}\"\nkey_env = \"LAB_KEY\"\n",
        upstream.url()
    ));
    let chat = ["chat", "-m", "lab/demo", "--no-store", "--record", "talk.jsonl", "who am I?"];
    let said = test.args_of(chat);
    assert_eq!(said.stdout, format!("{key}.\n"), "{}", said.stderr);

    let path = test.home().join("talk.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    for secret in [key, "sk-0123", "abcdef", "c00kie", "uthorization"] {
        assert!(!text.contains(secret), "`{secret}` in {text}");
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["exchange"]["operation"]["messages"][0]["role"], "user");
    let bodies = lines.iter().filter(|line| !line["given"]["input"]["body"].is_null()).count();
    assert!(bodies >= 2, "the cuts are kept");
    assert_eq!(lines.last().unwrap(), &json!({"gave": "done"}));

    let again = |file: &str| test.args_of(["plugin", "replay", file]);
    let said = again("talk.jsonl");
    assert_eq!(said.status.code(), Some(0), "{}{}", said.stdout, said.stderr);
    assert!(
        matches(
            "exchange 1 of `lab` by `openai-compatible`: [..] inputs, [..] outputs, all the same\n",
            &said.stdout
        ),
        "{}",
        said.stdout
    );
    assert_eq!(upstream.requests().len(), 1, "a replay has no network");

    // As if the plugin had said something else then.
    fs::write(test.home().join("other.jsonl"), text.replace("\"stop\"", "\"length\"")).unwrap();
    let said = again("other.jsonl");
    assert_eq!(said.status.code(), Some(1), "{}", said.stdout);
    let finish = |reason: &str| json!({"event": {"type": "finish", "reason": reason}});
    let (before, now) = (finish("length"), finish("stop"));
    let expected = format!(
        "exchange 1 of `lab` by `openai-compatible`: [..] inputs, [..] outputs the same, then \
         different\n- {before}\n- \"done\"\n+ {now}\n+ \"done\"\n"
    );
    assert!(matches(&expected, &said.stdout), "{}", said.stdout);

    let said = test.args_of(chat);
    assert_eq!(said.status.code(), Some(2), "nothing is overwritten");
    fs::write(test.home().join("broken.jsonl"), "{\"given\":{}}\n").unwrap();
    let said = again("broken.jsonl");
    assert_eq!(said.status.code(), Some(2));
    assert!(said.stderr.contains("broken.jsonl:1: no line of a recording"), "{}", said.stderr);
}

#[test]
fn a_key_that_an_answer_spells_out_is_not_recorded() {
    let upstream = Upstream::start(|request| {
        let key = request.header("authorization").trim_start_matches("Bearer ").to_owned();
        let (head, tail) = key.split_at(9);
        let chunk =
            |text: &str| json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string();
        let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        Reply::sse().event(&chunk(head)).event(&chunk(tail)).event(&end.to_string())
    });
    let test = Test::new().plugin("openai-compatible").env("LAB_KEY", "sk-0123456789-key-abcdef");
    let test = test.config(format!(
        "[providers.lab]\nplugin = \"openai-compatible\"\nbase_url = \"{}\"\nkey_env = \"LAB_KEY\"\n",
        upstream.url()
    ));
    let said = test.args_of(["chat", "-m", "lab/demo", "--no-store", "--record", "a.jsonl", "?"]);
    assert_eq!(said.stdout, "sk-0123456789-key-abcdef\n", "{}", said.stderr);
    let text = fs::read_to_string(test.home().join("a.jsonl")).unwrap();
    assert_eq!(text, "{\"withheld\":{\"why\":\"the answer spells out the credential\"}}\n");
    let said = test.args_of(["plugin", "replay", "a.jsonl"]);
    assert_eq!(said.status.code(), Some(1));
}

/// A step of the book: a file that it shows, or what is typed and what comes.
#[derive(Debug, PartialEq)]
enum Step {
    File {
        path: String,
        text: String,
    },
    Command {
        line: String,
        expected: String,
    },
    /// What happens in a terminal in which something goes on running.
    Terminal {
        name: String,
        lines: Vec<String>,
    },
}

/// Reads the steps of a page. A block that is neither is a mistake of the page.
fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut file, mut lines) = (Vec::new(), None, page.lines());
    while let Some(line) = lines.next() {
        if let Some(path) = line.strip_prefix("<!-- file: ") {
            file = Some(path.trim_end_matches(" -->").to_owned());
        }
        let Some(kind) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match file.take() {
            Some(path) => steps.push(Step::File { path, text: block.join("\n") + "\n" }),
            None => {
                if let Some(name) = kind.strip_prefix("console ") {
                    let lines = block.iter().map(|&line| line.to_owned()).collect();
                    steps.push(Step::Terminal { name: name.into(), lines });
                    continue;
                }
                assert_eq!(kind, "console", "a block that nothing tries: {block:?}");
                for line in block {
                    if let Some(line) = line.strip_prefix("$ ") {
                        steps.push(Step::Command { line: line.into(), expected: String::new() });
                    } else if let Some(Step::Command { expected, .. }) = steps.last_mut() {
                        expected.push_str(line);
                        expected.push('\n');
                    }
                }
            }
        }
    }
    steps
}

/// A terminal of the book, and how much of what was said in it is known.
struct Terminal {
    running: Running,
    read: usize,
}

impl Terminal {
    /// Starts what goes on running, with all that it says on stderr.
    fn open(shop: &Workshop, line: &str) -> Self {
        let program = release().join("bin/maestro");
        let rest = line.strip_prefix("maestro ").expect("only our program runs in a terminal");
        let mut shell = Command::new("sh");
        let script = format!("cd \"$1\"; exec \"$0\" {rest} 1>&2");
        shell.args(["-euc", &script]).arg(program).arg(&shop.folder).stdin(Stdio::null());
        Self { running: shop.test.command(shell), read: 0 }
    }

    /// Waits for a line behind the last one that was waited for.
    #[track_caller]
    fn wait_for(&mut self, expected: &str) {
        self.running.wait_for_line(self.read, expected);
        let said = self.running.stderr_so_far();
        for line in said[self.read..].split_inclusive('\n') {
            self.read += line.len();
            if line_matches(expected, line.trim_end_matches('\n')) {
                break;
            }
        }
    }
}

#[test]
fn every_command_and_file_of_the_book_works() {
    let upstream = Upstream::start(|request| {
        let known = request.header("authorization") == "Bearer pk-0123456789abcdef";
        if !known || request.line() != "POST /say" {
            return Reply::json(401, "{}");
        }
        Reply::sse()
            .piece("data: {\"text\":\"go")
            .piece("od \"}\n\n")
            .event(r#"{"text":"day"}"#)
            .event(r#"{"stop":"end"}"#)
    });
    let shop = Workshop::new("book");
    let book = workspace().join("docs/book");
    let index = fs::read_to_string(book.join("README.md")).unwrap();
    let mut pages: Vec<String> = fs::read_dir(&book)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    pages.sort();
    let (mut commands, mut terminals) = (0, BTreeMap::new());
    for name in &pages {
        assert!(index.contains(&format!("]({name})")), "{name} is not in the list of pages");
        let page = fs::read_to_string(book.join(name)).unwrap();
        for step in steps(&page) {
            match step {
                Step::File { path, text } => {
                    let home = shop.test.home().to_str().unwrap();
                    let path = shop.folder.join(path.replace("$MAESTRO_HOME", home));
                    assert!(text.lines().count() < 100, "{name} promises less");
                    fs::write(path, text.replace("http://127.0.0.1:8089", &upstream.origin()))
                        .unwrap();
                }
                Step::Terminal { name, lines } => {
                    for line in lines {
                        if let Some(line) = line.strip_prefix("$ ") {
                            terminals.insert(name.clone(), Terminal::open(&shop, line));
                            continue;
                        }
                        let terminal = terminals.get_mut(&name).expect("something runs there");
                        match line.as_str() {
                            "^C" => terminal.running.interrupt(),
                            line => terminal.wait_for(line),
                        }
                    }
                }
                Step::Command { line, expected } => {
                    commands += 1;
                    let said = shop.ok(&line);
                    assert!(
                        matches(&expected, &said) || shortened(&expected, &said),
                        "{name}: $ {line}\n{said}"
                    );
                }
            }
        }
    }
    for (name, terminal) in terminals {
        assert_eq!(terminal.running.wait().status.code(), Some(0), "in the terminal `{name}`");
    }
    assert!(commands > 10, "the pages are gone");
    assert_eq!(upstream.requests().len(), 2, "a replay asks nobody");
}

/// Compares with a `[..]` alone on a line standing for any lines.
fn shortened(expected: &str, said: &str) -> bool {
    let mut rest = said.lines();
    let mut skipping = false;
    for line in expected.lines() {
        if line == "[..]" {
            skipping = true;
        } else if std::mem::take(&mut skipping) {
            if !rest.any(|said| line_matches(line, said)) {
                return false;
            }
        } else if !rest.next().is_some_and(|said| line_matches(line, said)) {
            return false;
        }
    }
    skipping || rest.next().is_none()
}
