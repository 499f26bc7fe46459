//! OAuth logins against a scripted server: what goes right, and what must not go through.

mod kept;
mod refused;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use host::{
    maestro::{Error, Flow, LoginPrompt, LoginRequest},
    session::SessionName,
};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::{
    browser::{Browser, Page},
    harness::{Output, Running, Test, wait},
    upstream::{Gate, PATIENCE, Reply, Request},
    vendor::Vendor,
};

const CLIENT: &str = "[providers.faulty-issuer.oauth]\nclient_id = \"my-client\"\n";

/// Makes a home in which `faulty-issuer` is at the vendor; `more` goes on in the configuration.
fn home(vendor: &Vendor, more: &str) -> Test {
    Test::new().plugin("faulty").config(format!(
        "[providers.faulty-issuer]\nissuer = \"{0}\"\nbase_url = \"{0}/v1\"\n{more}",
        vendor.origin()
    ))
}

/// Begins a login that waits for the browser, and returns the URL to open.
fn begin(test: &Test, scheme: &str, more: &[&str]) -> (Running, Url) {
    let args = ["login", "faulty-issuer", "--name", "work", "--json", "--no-browser", "--auth"];
    let running = test.begin([&args[..], &[scheme], more].concat(), "");
    let prompt: Value = serde_json::from_str(&running.first_line()).expect("a prompt");
    let url = Url::parse(prompt["login"]["url"].as_str().unwrap()).unwrap();
    (running, url)
}

/// Runs a login that ends before the user has anything to do.
fn refused(test: &Test, more: &[&str]) -> String {
    let args = ["login", "faulty-issuer", "--name", "work"];
    let output = test.args_of([&args[..], more].concat());
    assert!(!output.status.success(), "{}", output.stdout);
    assert_eq!(output.stdout, "");
    error_of(&output)
}

fn param(url: &Url, name: &str) -> String {
    let mut found = url.query_pairs().filter(|(key, _)| key == name);
    let value = found.next().map_or_else(String::new, |(_, value)| value.into_owned());
    assert!(found.next().is_none(), "`{name}` stands twice in {url}");
    value
}

/// Comes back from the vendor with a query, in which `STATE` is the login's state.
fn come_back(url: &Url, query: &str) -> Page {
    let query = query.replace("STATE", &param(url, "state"));
    Browser::default().get(&format!("{}?{query}", param(url, "redirect_uri")))
}

/// Finds the address that people are told to open.
fn shown_url(said: &str) -> Url {
    let url = said.lines().find_map(|line| line.strip_prefix("  http")).unwrap();
    Url::parse(&format!("http{url}")).unwrap()
}

fn form(request: &Request) -> BTreeMap<String, String> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}

/// Returns what was stored, of the second line.
fn stored(output: &Output) -> Value {
    assert!(output.status.success(), "{}", output.stderr);
    serde_json::from_str(output.stdout.lines().nth(1).unwrap()).unwrap()
}

/// Returns the error, its causes and its hint, one a line.
fn error_of(output: &Output) -> String {
    let last = output.stderr.lines().last().unwrap_or_default();
    let Ok(document) = serde_json::from_str::<Value>(last) else { return output.stderr.clone() };
    let error = &document["error"];
    let mut lines = vec![error["message"].as_str().unwrap_or_default()];
    lines.extend(error["causes"].as_array().unwrap().iter().filter_map(Value::as_str));
    lines.push(error["hint"].as_str().unwrap_or_default());
    lines.join("\n")
}

/// Logs in as the vendor's usual account.
fn log_in(test: &Test, scheme: &str, more: &[&str]) -> Value {
    let (running, url) = begin(test, scheme, more);
    assert_eq!(come_back(&url, "code=c-canary&state=STATE").status, 200);
    stored(&running.wait())
}

/// Returns claims that fit a login.
fn claims(vendor: &Vendor, url: &Url, client_id: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({
        "iss": vendor.origin(), "aud": client_id, "sub": "u-1", "exp": now + 600,
        "nonce": param(url, "nonce"), "email": "ada@acme.test",
    })
}

#[test]
fn people_are_told_what_will_happen_and_who_they_are() {
    let vendor = Vendor::start();
    let bin = tempfile::tempdir().unwrap();
    let (opener, opened) = (bin.path().join("xdg-open"), bin.path().join("opened"));
    let script = format!("#!/bin/sh\necho \"$# $1\" > {0}.new\nmv {0}.new {0}\n", opened.display());
    fs::write(&opener, script).unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let test = home(&vendor, "").env("DISPLAY", ":0").env("PATH", path);
    let running = test.begin(["login", "faulty-issuer", "--name", "work", "--auth", "bare"], "");
    let said = running.wait_for_stderr("Ctrl-C gives up");
    let origin = vendor.origin();
    for line in [
        "Faulty at an issuer (`faulty-issuer`), served by plugin `faulty`\n".to_owned(),
        format!("you log in at: {origin}\n"),
        format!("tokens come from: {origin}\n"),
        format!("they will be sent to: {origin}\n"),
        "the vendor offers no revocation\n".into(),
        "the browser opens; if it does not, open:\n".into(),
    ] {
        assert!(said.contains(&line), "{line}{said}");
    }
    let url = shown_url(&said);
    // One argument, as it is: no shell was asked.
    let end = Instant::now() + PATIENCE;
    while !opened.exists() {
        assert!(Instant::now() < end, "no browser was opened");
        thread::yield_now();
    }
    assert_eq!(fs::read_to_string(&opened).unwrap(), format!("1 {url}\n"));
    assert!(param(&url, "redirect_uri").starts_with("http://127.0.0.1:"));
    assert_eq!(param(&url, "code_challenge_method"), "S256");
    let page = come_back(&url, "code=c-canary&state=STATE");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(page.body.contains("is stored as ada@acme.test"), "{}", page.body);
    let output = running.wait();
    let line = "stored session faulty-issuer:work@oauth; you are ada@acme.test, plan plus; the token \
                is good until ";
    assert!(output.stdout.starts_with(line), "{}", output.stdout);
    let redeemed = form(&vendor.asked("/token")[0]);
    assert_eq!(redeemed["code"], "c-canary");
    assert_eq!(redeemed["redirect_uri"], param(&url, "redirect_uri"));
    assert_eq!(redeemed["client_id"], "everyone");
    assert_eq!(redeemed["code_verifier"].len(), 43);
    let shown = test.args_of(["sessions", "show", "work"]).stdout;
    assert!(shown.contains("ada@acme.test"), "{shown}");
    for secret in ["canary", &redeemed["code_verifier"], &param(&url, "state")] {
        assert_eq!(test.grep(secret), Vec::<PathBuf>::new());
        assert!(!output.stdout.contains(secret));
    }
}

#[test]
fn device_codes_are_waited_for_and_end_as_the_user_says() {
    let vendor = Vendor::start();
    let refusal = |code: &str| Reply::json(400, &json!({ "error": code }).to_string());
    let test = home(&vendor, "");
    let device = |more: &[&str]| {
        let args = ["login", "faulty-issuer", "--name", "work", "--auth", "bare", "--device"];
        test.begin([&args[..], more].concat(), "")
    };
    for (code, why) in [
        ("access_denied", "the login was denied in the browser"),
        ("expired_token", "the code expired before it was entered"),
    ] {
        vendor.state().instead.push(refusal(code));
        let output = device(&[]).wait();
        assert_eq!(output.status.code(), Some(3), "{}", output.stderr);
        assert!(output.stderr.contains("and enter the code: WDJB-MJHT\n"), "{}", output.stderr);
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
    vendor.state().instead.push(refusal("authorization_pending"));
    let output = device(&["--json"]).wait();
    assert_eq!(stored(&output)["account"], "ada@acme.test");
    let prompt: Value = serde_json::from_str(output.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(prompt["login"]["user_code"], "WDJB-MJHT");
    assert_eq!(vendor.asked("/token").len(), 4);
    let asked = form(&vendor.asked("/device")[0]);
    assert_eq!((asked["client_id"].as_str(), asked["scope"].as_str()), ("everyone", "use"));
}

#[test]
fn a_missing_client_or_fact_says_what_to_write() {
    let vendor = Vendor::start();
    let test = home(&vendor, "");
    let error = refused(&test, &["--auth", "plan"]);
    assert!(
        error.ends_with(
            "error: the login at `faulty-issuer` failed\n  caused by: provider `faulty-issuer` needs \
             an OAuth client of your own, and none is configured\n\nhint: make a client of type \
             desktop (or native) at https://faulty.invalid/docs, then add to the file that `maestro \
             config path` names:\n\n[providers.faulty-issuer.oauth]\nclient_id = \"…\"\n"
        ),
        "{error}"
    );
    let error = refused(&test, &["--auth", "registered"]);
    assert!(error.contains("the login needs `project`: the id of a project"), "{error}");
    assert!(error.contains("add `--set project=…`, or set `FAULTY_PROJECT`"), "{error}");
    let error = refused(&test, &["--auth", "registered", "--set", "projekt=p"]);
    assert!(error.contains("did you mean `project`?"), "{error}");
    let error = refused(&test, &["--auth", "registered", "--set", "project=p"]);
    assert!(error.contains("there is no registration endpoint"), "{error}");
    let error = refused(&test, &["--auth", "bear"]);
    assert!(error.contains("has no login `bear`"), "{error}");
    assert!(error.contains("it has: `api-key`, `bare`, `issued`, `oauth`, `plan`"), "{error}");
    let error = refused(&test, &["--auth", "issued", "--device"]);
    assert!(error.contains("this login does not work with `--device`"), "{error}");
    // Without a terminal and without a word about it, the login is the one with a key.
    let error = refused(&test, &[]);
    assert!(error.contains("there is no terminal to ask for the key"), "{error}");
    let secret = "client_secret_command = [\"printf\", \"my-s3cret\"]\n";
    let test = home(&vendor, &format!("{CLIENT}{secret}"));
    let (running, url) = begin(&test, "plan", &[]);
    vendor.issue_id_token(&claims(&vendor, &url, "my-client"));
    come_back(&url, "code=c&state=STATE");
    stored(&running.wait());
    assert_eq!(form(&vendor.asked("/token")[0])["client_secret"], "my-s3cret");
    assert_eq!(test.grep("my-s3cret"), [test.home().join("config.toml")]);
}

#[test]
fn facts_are_told_at_the_authorization() {
    let vendor = Vendor::start();
    let test = home(&vendor, "");
    let (running, url) = begin(&test, "bare", &["--set", "project=p{state}"]);
    assert_eq!(param(&url, "project"), "p{state}");
    running.interrupt();
    let (running, url) = begin(&test, "bare", &[]);
    assert!(!url.query().unwrap().contains("project"), "{url}");
    running.interrupt();
}

#[test]
fn a_login_can_be_given_up() {
    let vendor = Vendor::start();
    let test = home(&vendor, "");
    let args = ["login", "faulty-issuer", "--name", "work", "--auth", "bare", "--no-browser"];
    let running = test.begin(args, "");
    running.wait_for_stderr("Ctrl-C gives up");
    running.interrupt();
    let output = running.wait();
    assert_eq!(output.status.code(), Some(130));
    assert!(output.stderr.ends_with("nothing is stored\n"), "{}", output.stderr);
    assert!(!test.home().join("maestro.db").exists());
}

#[test]
fn tokens_on_their_way_are_not_lost_to_ctrl_c() {
    for insists in [false, true] {
        let vendor = Vendor::start();
        let gate = Gate::new();
        let tokens = r#"{"access_token":"at-canary-1","token_type":"Bearer","scope":"use"}"#;
        let late = Reply::new(200, "application/json").wait(&gate).piece(tokens);
        vendor.state().instead.push(late);
        let test = home(&vendor, "");
        let args = ["login", "faulty-issuer", "--name", "work", "--auth", "bare", "--no-browser"];
        let running = test.begin(args, "");
        let url = shown_url(&running.wait_for_stderr("Ctrl-C gives up"));
        let browser = thread::spawn(move || come_back(&url, "code=c-canary&state=STATE"));
        let deadline = Instant::now() + PATIENCE;
        while vendor.asked("/token").is_empty() {
            assert!(Instant::now() < deadline, "nobody asked for tokens");
            thread::yield_now();
        }
        running.interrupt();
        running.wait_for_stderr("on their way");
        if insists {
            running.interrupt();
            let output = running.wait();
            assert_eq!(output.status.code(), Some(130));
            gate.open();
        } else {
            gate.open();
            let output = running.wait();
            assert!(output.status.success(), "{}", output.stderr);
            assert!(test.args_of(["sessions"]).stdout.contains("work"));
            assert_eq!(browser.join().unwrap().status, 200);
        }
    }
}

#[test]
fn codes_can_be_pasted() {
    let vendor = Vendor::start();
    let test = home(&vendor, "");
    let paste = |stdin: &str, more: &[&str]| {
        let args = ["login", "faulty-issuer", "--name", "work", "--auth", "bare", "--paste"];
        test.begin([&args[..], more].concat(), stdin).wait()
    };
    let output = paste("c-canary\n", &["--json"]);
    stored(&output);
    let prompt: Value = serde_json::from_str(output.stdout.lines().next().unwrap()).unwrap();
    let url = Url::parse(prompt["login"]["url"].as_str().unwrap()).unwrap();
    let redeemed = form(&vendor.asked("/token")[0]);
    assert_eq!(redeemed["code"], "c-canary");
    assert_eq!(redeemed["redirect_uri"], param(&url, "redirect_uri"));
    for (stdin, why) in [
        ("c#other\n", "its `state` is not the one that was sent"),
        ("http://127.0.0.1:1/callback?code=c&state=other\n", "its `state` is not the one"),
        ("\n", "the answer holds no code"),
        ("", "the input ended before a code came"),
    ] {
        let output = paste(stdin, &["--replace"]);
        assert!(!output.status.success());
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
    assert_eq!(vendor.asked("/token").len(), 1);
}

#[test]
fn programs_log_in_without_a_terminal() {
    let vendor = Vendor::start();
    let test = home(&vendor, "");
    let maestro = test.maestro();
    wait(async {
        let plan = maestro.oauth_plan("faulty-issuer", Some("bare")).await.unwrap();
        assert_eq!(plan.flows, [Flow::Loopback, Flow::Device, Flow::Paste]);
        assert_eq!((&plan.token_origin, &plan.revocation_origin), (&vendor.origin(), &None));
        let request = || LoginRequest::new(SessionName::new("work").unwrap());
        let login = maestro.begin_login(&plan, request()).await.unwrap();
        let LoginPrompt::Loopback { url, .. } = login.prompt() else { panic!("a browser") };
        let url = Url::parse(url).unwrap();
        let browser = thread::spawn(move || come_back(&url, "code=c&state=STATE"));
        let done = maestro.complete_login(login).await.unwrap();
        assert_eq!(browser.join().unwrap().status, 200);
        assert_eq!(done.session.account.as_deref(), Some("ada@acme.test"));
        assert_eq!(done.attributes["plan"], "plus");
        let tested = maestro.test_session("work").await.unwrap();
        assert_eq!(tested.name.as_deref(), Some("Ada"));

        // One that is pasted, wrongly first; one that nobody finishes; one that is dropped.
        let mut wanted = request();
        (wanted.flow, wanted.replace) = (Some(Flow::Paste), true);
        let mut login = maestro.begin_login(&plan, wanted.clone()).await.unwrap();
        assert!(login.paste("c#other").is_err());
        login.paste("c").unwrap();
        maestro.complete_login(login).await.unwrap();
        wanted.flow = None;
        wanted.patience = Duration::from_millis(1);
        let login = maestro.begin_login(&plan, wanted.clone()).await.unwrap();
        let error = maestro.complete_login(login).await.unwrap_err();
        assert!(matches!(error, Error::Login { .. }) && error.exit_code() == 3);
        let login = maestro.begin_login(&plan, wanted).await.unwrap();
        let LoginPrompt::Loopback { redirect_uri, .. } = login.prompt() else {
            panic!("a browser")
        };
        let url = Url::parse(redirect_uri).unwrap();
        drop(login);
        assert!(std::net::TcpStream::connect(("127.0.0.1", url.port().unwrap())).is_err());
        // A taken name is said before the user is sent anywhere.
        let error = maestro.begin_login(&plan, request()).await.unwrap_err();
        assert!(error.hint().unwrap().contains("--replace"));
    });
}
