//! Logins at a real authorization server: `oidc-provider` of npm, in `tests/oidc/`.
//!
//! Skipped, and plainly so, where there is no node or npm, or the packages cannot be had.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Instant,
};

use serde_json::Value;

use crate::{
    browser::Browser,
    harness::{Test, workspace},
    upstream::PATIENCE,
};

/// The server, until it is dropped.
struct Oidc {
    child: Child,
    /// The server ends when this is closed, also when the test dies.
    stdin: Option<ChildStdin>,
    /// The server would die if it said more and nobody held the other end.
    _stdout: BufReader<ChildStdout>,
    issuer: String,
}

impl Oidc {
    /// Starts the server on a free port; `None`, with a word about it, where that is not possible.
    fn start() -> Option<Self> {
        let folder = match installed() {
            Ok(folder) => folder,
            Err(why) => {
                eprintln!("SKIPPED: no real OAuth server for this test: {why}");
                return None;
            }
        };
        let mut child = Command::new("node")
            .arg("server.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the server started");
        let issuer = said["issuer"].as_str().unwrap().to_owned();
        Some(Self { stdin: child.stdin.take(), _stdout: stdout, child, issuer })
    }

    /// Makes a home in which `faulty-issuer` is this server.
    fn test(&self) -> Test {
        Test::new().plugin("faulty").config(format!(
            "[providers.faulty-issuer]\nissuer = \"{0}\"\nbase_url = \"{0}/v1\"\n\
             [providers.faulty-issuer.oauth]\nclient_id = \"maestro-test\"\n",
            self.issuer
        ))
    }

    /// Returns the refresh tokens that were issued, oldest first.
    fn refresh_tokens(&self) -> Vec<String> {
        let page = Browser::default().get(&format!("{}/test/refresh-tokens", self.issuer));
        serde_json::from_str(&page.body).unwrap()
    }
}

impl Drop for Oidc {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs the packages once, below `target`, and returns the folder.
fn installed() -> Result<PathBuf, String> {
    let source = workspace().join("tests/oidc");
    let files = ["package.json", "package-lock.json", "server.mjs", "browser.mjs"];
    let mut hash = blake3::Hasher::new();
    for file in files {
        hash.update(&fs::read(source.join(file)).unwrap());
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = cache.join(format!("oidc-{}", &hash.finalize().to_hex()[..16]));
    if folder.is_dir() {
        return runs("node", &["--version"]).map(|()| folder);
    }
    runs("node", &["--version"])?;
    runs("npm", &["--version"])?;
    // Another test may install at the same time; the first one to finish wins.
    let fresh = tempfile::Builder::new().prefix("oidc-").tempdir_in(cache).unwrap();
    for file in files {
        fs::copy(source.join(file), fresh.path().join(file)).unwrap();
    }
    let options = ["--prefix", fresh.path().to_str().unwrap(), "--ignore-scripts", "--no-audit"];
    runs("npm", &[&["ci"], &options[..], &["--no-fund", "--prefer-offline"]].concat())?;
    match fs::rename(fresh.path(), &folder) {
        Err(error) if !folder.is_dir() => Err(error.to_string()),
        _ => Ok(folder),
    }
}

fn runs(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`{program}` does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program} {}` failed: {}", args[0], said.lines().last().unwrap_or_default()))
}

const LOGIN: [&str; 8] =
    ["login", "faulty-issuer", "--name", "work", "--auth", "plan", "--json", "--no-browser"];

/// Runs a login by loopback as one account, and returns what it said at its end.
fn log_in(test: &Test, args: &[&str], account: &str) -> Value {
    let running = test.begin(args.iter().copied(), "");
    let prompt: Value = serde_json::from_str(&running.first_line()).unwrap();
    let url = prompt["login"]["url"].as_str().unwrap();
    let page = Browser::default().log_in(url, account);
    let output = running.wait();
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("You are logged in"), "{}", page.body);
    serde_json::from_str(output.stdout.lines().nth(1).unwrap()).unwrap()
}

#[test]
fn a_login_with_pkce_works_and_deleting_it_revokes_it() {
    let Some(oidc) = Oidc::start() else { return };
    let test = oidc.test();
    let done = log_in(&test, &LOGIN, "ada@acme.test");
    assert_eq!(done["session"]["selector"], "faulty-issuer:work@oauth");
    assert_eq!(done["account"], "ada@acme.test");
    assert_eq!(done["attributes"]["id_token.email"], "ada@acme.test");
    let listed = test.args_of(["sessions"]);
    assert!(listed.stdout.contains("ada@acme.test"), "{}", listed.stdout);
    let tested = test.args_of(["sessions", "test", "work"]);
    assert_eq!(tested.stdout, "faulty-issuer:work@oauth works; you are ada@acme.test\n");
    let tokens = oidc.refresh_tokens();
    assert_eq!(tokens.len(), 1);
    assert_eq!(test.grep(&tokens[0]), Vec::<PathBuf>::new());
    let deleted = test.args_of(["sessions", "delete", "work", "--yes"]);
    assert_eq!(
        (deleted.stdout.as_str(), deleted.stderr.as_str()),
        ("deleted faulty-issuer:work@oauth\n", "")
    );
    // The server knows the token no more.
    assert_eq!(redeem(&oidc, &tokens[0])["error"], "invalid_grant");
}

#[test]
fn tokens_are_rotated_and_a_reused_one_ends_the_family() {
    let Some(oidc) = Oidc::start() else { return };
    let test = oidc.test();
    log_in(&test, &LOGIN, "ada@acme.test");
    let refreshed = test.args_of(["sessions", "refresh", "work"]);
    assert_eq!(refreshed.stdout, "renewed the tokens of faulty-issuer:work@oauth\n");
    let tokens = oidc.refresh_tokens();
    assert_eq!(tokens.len(), 2);
    let works = "faulty-issuer:work@oauth works; you are ada@acme.test\n";
    assert_eq!(test.args_of(["sessions", "test", "work"]).stdout, works);
    // Somebody uses the first token again: the server drops the whole family.
    assert_eq!(redeem(&oidc, &tokens[0])["error"], "invalid_grant");
    let output = test.args_of(["sessions", "test", "work"]);
    assert_eq!(output.status.code(), Some(3), "{}{}", output.stdout, output.stderr);
    assert!(output.stderr.contains("invalid_grant"), "{}", output.stderr);
    let listed = test.args_of(["sessions"]).stdout;
    assert!(listed.contains("needs_reauth"), "{listed}");
    // A new login under the same name mends it.
    log_in(&test, &[&LOGIN[..], &["--replace"]].concat(), "ada@acme.test");
    assert_eq!(test.args_of(["sessions", "test", "work"]).stdout, works);
}

#[test]
fn a_login_with_a_device_code_works() {
    let Some(oidc) = Oidc::start() else { return };
    let test = oidc.test();
    let args = LOGIN.into_iter().chain(["--device"]);
    let running = test.begin(args, "");
    let prompt: Value = serde_json::from_str(&running.first_line()).unwrap();
    assert_eq!(prompt["login"]["flow"], "device");
    let url = prompt["login"]["verification_uri_complete"].as_str().unwrap();
    let page = Browser::default().log_in(url, "ada@acme.test");
    assert!(page.body.contains("Sign-in Success"), "{}", page.body);
    let output = running.wait();
    assert!(output.status.success(), "{}", output.stderr);
    let done: Value = serde_json::from_str(output.stdout.lines().nth(1).unwrap()).unwrap();
    assert_eq!(done["account"], "ada@acme.test");
    let tested = test.args_of(["sessions", "test", "work"]);
    assert_eq!(tested.stdout, "faulty-issuer:work@oauth works; you are ada@acme.test\n");
}

#[test]
fn a_registered_client_logs_in_without_any_configuration() {
    let Some(oidc) = Oidc::start() else { return };
    let test = Test::new().plugin("faulty").config(format!(
        "[providers.faulty-issuer]\nissuer = \"{0}\"\nbase_url = \"{0}/v1\"\n",
        oidc.issuer
    ));
    let args = ["login", "faulty-issuer", "--name", "work", "--auth", "registered", "--json"];
    let args = [&args[..], &["--set", "project=p-1", "--no-browser"]].concat();
    let done = log_in(&test, &args, "ada@acme.test");
    assert_eq!(done["attributes"]["project"], "p-1");
    // No id token names the account here, so the API is asked.
    assert_eq!(done["account"], "ada@acme.test");
    let refreshed = test.args_of(["sessions", "refresh", "work"]);
    assert!(refreshed.status.success(), "{}", refreshed.stderr);
    let deleted = test.args_of(["sessions", "delete", "work", "--yes"]);
    assert_eq!(deleted.stderr, "");
}

/// Tries to renew a token as a thief would.
fn redeem(oidc: &Oidc, token: &str) -> Value {
    let form = format!("grant_type=refresh_token&client_id=maestro-test&refresh_token={token}");
    let page = Browser::default().post(&format!("{}/token", oidc.issuer), &form);
    serde_json::from_str(&page.body).unwrap()
}

/// The browser is opened by us, as at a user's desk, and what it shows at the end is looked at.
#[test]
fn a_real_browser_ends_on_a_page_that_needs_nothing_and_complains_of_nothing() {
    let Some(oidc) = Oidc::start() else { return };
    let path = std::env::var_os("PATH").unwrap();
    let mut programs = std::env::split_paths(&path)
        .flat_map(|folder| ["chromium", "google-chrome"].map(|name| folder.join(name)));
    let Some(chromium) = programs.find(|program| program.is_file()) else {
        return eprintln!("SKIPPED: no Chromium for this test");
    };
    let folder = tempfile::tempdir().unwrap();
    let outcome = folder.path().join("seen.json");
    let opener = folder.path().join("xdg-open");
    let script = installed().unwrap().join("browser.mjs");
    let (script, chromium, seen) = (script.display(), chromium.display(), outcome.display());
    fs::write(&opener, format!("#!/bin/sh\nexec node '{script}' '{chromium}' '{seen}' \"$1\"\n"))
        .unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), path.display());
    let test = oidc.test().env("DISPLAY", ":none").env("PATH", path);
    let login = ["login", "faulty-issuer", "--name", "work", "--auth", "plan"];
    let output = test.args_of(login);
    let seen = || fs::read(&outcome).ok().and_then(|json| serde_json::from_slice(&json).ok());
    assert!(output.status.success(), "{}\n{:?}", output.stderr, seen() as Option<Value>);
    // The page is looked at after the command has its answer.
    let deadline = Instant::now() + PATIENCE;
    let seen: Value = loop {
        if let Some(seen) = seen() {
            break seen;
        }
        assert!(Instant::now() < deadline, "the browser said nothing");
        thread::yield_now();
    };
    assert_eq!(seen["error"], Value::Null, "{seen}");
    assert_eq!(seen["title"], "You are logged in · Maestro");
    assert_eq!(seen["heading"], "You are logged in");
    let text = seen["text"].as_str().unwrap();
    assert!(text.contains("faulty-issuer:work@oauth is stored as ada@acme.test"), "{text}");
    assert_eq!(seen["complaints"], serde_json::json!([]));
    assert_eq!(seen["overflows"], false);
    assert_ne!(seen["light"], seen["dark"], "the page follows the user's choice of colours");
    // The last form leads back to the vendor and from there to us, and nothing else is loaded.
    let ours = url::Url::parse(seen["address"].as_str().unwrap()).unwrap();
    let ours = ours.origin().ascii_serialization();
    let vendor = oidc.issuer.trim_end_matches('/');
    for origin in seen["requested"].as_array().unwrap() {
        let origin = origin.as_str().unwrap();
        assert!(origin == ours || vendor.starts_with(origin), "{origin} was asked");
    }
    if let Some(keep) = std::env::var_os("MAESTRO_SCREENSHOTS") {
        for scheme in ["light", "dark"] {
            let name = format!("login.{scheme}.png");
            let shot = format!("{}.{scheme}.png", outcome.display());
            fs::copy(shot, Path::new(&keep).join(name)).unwrap();
        }
    }
}
