//! OAuth logins against a scripted server: what goes right, and what must not go through.

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
fn only_the_answer_to_this_login_ends_it() {
    let vendor = Vendor::start();
    let test = home(&vendor, "");
    let (running, url) = begin(&test, "bare", &[]);
    let elsewhere = Url::parse(&param(&url, "redirect_uri")).unwrap().join("/favicon.ico").unwrap();
    assert_eq!(Browser::default().get(elsewhere.as_str()).status, 404);
    assert_eq!(come_back(&url, "code=c&state=other").status, 400);
    assert_eq!(come_back(&url, "error=access_denied&state=other").status, 400);
    running.wait_for_stderr("still waiting for the right one");
    assert_eq!(come_back(&url, "code=c&state=STATE").status, 200);
    let output = running.wait();
    stored(&output);
    assert!(output.stderr.contains("its `state` is not the one that was sent"));
    assert_eq!(vendor.asked("/token").len(), 1);

    // The vendor's own no ends it.
    let (running, url) = begin(&test, "bare", &["--replace"]);
    let page = come_back(&url, "error=access_denied&error_description=<b>no</b>&state=STATE");
    assert!(page.body.contains("access_denied: &lt;b&gt;no&lt;/b&gt;"), "{}", page.body);
    let output = running.wait();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        error_of(&output),
        "the login at `faulty-issuer` failed\n\
         the vendor refused the login: access_denied: <b>no</b>\n\
         log in again and agree to the access"
    );

    // Nobody comes, but somebody else's answer does.
    let (running, url) = begin(&test, "bare", &["--replace", "--timeout", "1"]);
    come_back(&url, "code=c&state=");
    let output = running.wait();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        error_of(&output),
        "the login at `faulty-issuer` failed\n\
         nobody finished the login in the browser within 1 s\n\
         the answer does not belong to this login: its `state` is not the one that was sent\n\
         finish the login in the page that this command opened last; an older tab does not count"
    );
    assert_eq!(vendor.asked("/token").len(), 1);
    assert!(test.args_of(["sessions"]).stdout.contains("ready"));
}

#[test]
fn what_fails_replaces_nothing() {
    let vendor = Vendor::start();
    let test = home(&vendor, "");
    log_in(&test, "bare", &[]);
    let no_token = r#"{"token_type":"Bearer","expires_in":3600}"#;
    let replayed = r#"{"error":"invalid_grant","error_description":"c-canary was used"}"#;
    for (reply, status, why) in [
        (Reply::json(200, no_token), 3, "it has no `access_token`"),
        (Reply::json(400, replayed), 3, "`invalid_grant` (… was used)\na code works once"),
        (Reply::json(401, r#"{"error":"invalid_client"}"#), 2, "check `client_id` in `[providers."),
        (Reply::new(200, "text/html").piece("<p>hi</p>"), 3, "found `text/html`"),
        (Reply::json(503, ""), 1, "HTTP 503, no reason given"),
        (Reply::nothing().close(), 1, "the token endpoint did not answer"),
    ] {
        vendor.state().instead.push(reply);
        let (running, url) = begin(&test, "bare", &["--replace"]);
        let page = come_back(&url, "code=c-canary&state=STATE");
        assert!(page.body.contains("You are not logged in"), "{}", page.body);
        let output = running.wait();
        let error = error_of(&output);
        assert_eq!(output.status.code(), Some(status), "{error}");
        assert!(error.contains(why), "{error}");
        assert!(!output.stderr.contains("canary"), "{}", output.stderr);
        let tested = test.args_of(["sessions", "test", "work"]);
        assert!(tested.status.success(), "{}", tested.stderr);
        let last = vendor.asked("/v1/me").pop().unwrap();
        assert_eq!(last.header("authorization"), "Bearer at-canary-1");
    }
    // Without `--replace` the user is not even asked.
    let error = refused(&test, &["--auth", "bare"]);
    assert!(error.contains("add `--replace`") || error.contains("pass `--replace`"), "{error}");
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
fn metadata_of_others_and_unsafe_endpoints_are_refused() {
    let vendor = Vendor::start();
    let test = home(&vendor, CLIENT);
    let origin = vendor.origin();
    for (metadata, why) in [
        (
            json!({ "issuer": "https://evil.invalid" }),
            format!("the metadata of issuer `{origin}` names issuer `https://evil.invalid`"),
        ),
        (
            json!({ "issuer": format!("{origin}/") }),
            format!("the metadata of issuer `{origin}` names issuer `{origin}/`"),
        ),
        (
            json!({ "token_endpoint": "http://evil.invalid/token" }),
            "`http://evil.invalid/token` is neither https nor on this machine".into(),
        ),
        (json!({ "token_endpoint": null }), "there is no token endpoint".into()),
        (
            json!({ "code_challenge_methods_supported": ["plain"] }),
            "does not support PKCE with S256".into(),
        ),
    ] {
        vendor.state().metadata = metadata;
        let error = refused(&test, &["--auth", "plan"]);
        assert!(error.contains(&why), "{error}");
        assert!(error.contains("hint: "), "{error}");
    }
    assert_eq!(vendor.asked("/token").len(), 0);
    // No server at all.
    drop(vendor);
    let error = refused(&test, &["--auth", "plan"]);
    assert!(error.contains("failed to read the metadata"), "{error}");
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
fn id_tokens_of_other_logins_are_refused_and_their_tokens_given_back() {
    let vendor = Vendor::start();
    let test = home(&vendor, CLIENT);
    type Change = fn(&mut Value);
    let changes: &[(Change, &str)] = &[
        (|c| c["nonce"] = "other".into(), "has another `nonce`"),
        (|c| c["aud"] = "other".into(), "has another `aud`"),
        (|c| c["iss"] = "https://evil.invalid".into(), "has another `iss`"),
        (|c| c["exp"] = 1.into(), "is not valid now"),
    ];
    for (at, (change, why)) in changes.iter().enumerate() {
        let (running, url) = begin(&test, "plan", &[]);
        assert_eq!(param(&url, "prompt"), "consent");
        let mut claims = claims(&vendor, &url, "my-client");
        change(&mut claims);
        vendor.issue_id_token(&claims);
        come_back(&url, "code=c&state=STATE");
        let output = running.wait();
        assert_eq!(output.status.code(), Some(3));
        assert!(error_of(&output).contains(why), "{}", error_of(&output));
        let returned = form(vendor.asked("/revoke").last().unwrap());
        assert_eq!(returned["token"], format!("rt-canary-{}", at + 1));
    }
    vendor.state().token = json!({});
    let (running, url) = begin(&test, "plan", &[]);
    come_back(&url, "code=c&state=STATE");
    assert!(error_of(&running.wait()).contains("the token answer holds no id token"));
    assert!(!test.args_of(["sessions"]).stdout.contains("work"));
    // A good one names the account.
    let (running, url) = begin(&test, "plan", &["--set", "project=p-1"]);
    let mut good = claims(&vendor, &url, "my-client");
    good["https://faulty.invalid/auth"] = json!({ "plan": "pro" });
    vendor.issue_id_token(&good);
    come_back(&url, "code=c&state=STATE");
    let done = stored(&running.wait());
    assert_eq!(done["attributes"]["project"], "p-1");
    assert_eq!(done["attributes"]["id_token.https://faulty.invalid/auth.plan"], "pro");
    assert_eq!(done["session"]["account"], "ada@acme.test");
}

#[test]
fn an_issued_client_id_belongs_to_the_session() {
    let vendor = Vendor::start();
    let test = home(&vendor, "");
    let attempt = |more: &[&str], issued: &str, sub: &str| {
        let (running, url) = begin(&test, "issued", more);
        let mut claims = claims(&vendor, &url, "app-1");
        claims["sub"] = sub.into();
        vendor.issue_id_token(&claims);
        let query = format!("code=c&state=STATE{issued}");
        assert!(param(&url, "redirect_uri").ends_with("/auth/callback"));
        come_back(&url, &query);
        (running.wait(), url)
    };
    // The public id is not one for the account, nor is none.
    for issued in ["", "&client_id=everyone"] {
        let (output, _) = attempt(&[], issued, "u-1");
        assert!(error_of(&output).contains("holds no client id for this account"));
    }
    assert_eq!(vendor.asked("/token").len(), 0);
    let (output, first) = attempt(&[], "&client_id=app-1", "u-1");
    stored(&output);
    assert_eq!(param(&first, "client_id"), "everyone");
    assert_eq!(param(&first, "name_hint"), "Maestro");
    let installation = param(&first, "host_id");
    assert!(installation.starts_with("urn:uuid:"), "{installation}");
    let redeemed = form(&vendor.asked("/token")[0]);
    assert_eq!(redeemed["client_id"], "app-1");
    assert_eq!(redeemed["state"], param(&first, "state"));

    // Later logins of the session use it, and fit it or fail.
    let (output, later) = attempt(&["--replace"], "", "u-1");
    stored(&output);
    assert_eq!(param(&later, "client_id"), "app-1");
    assert_eq!(param(&later, "name_hint"), "");
    assert_eq!(param(&later, "host_id"), installation);
    let (output, _) = attempt(&["--replace"], "&client_id=app-2", "u-1");
    assert!(
        error_of(&output).contains("for client `app-2`, but the session belongs to `app-1`"),
        "{}",
        error_of(&output)
    );
    let (output, _) = attempt(&["--replace"], "", "u-2");
    assert!(error_of(&output).contains("another account logged in"), "{}", error_of(&output));
    assert!(test.args_of(["sessions", "test", "work"]).status.success());
    // What is not granted is not stored.
    vendor.state().token["scope"] = "openid".into();
    let (output, _) = attempt(&["--replace"], "", "u-1");
    assert!(error_of(&output).contains("the scope `use` was not granted"));
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
fn deleting_revokes_and_never_stays_undone() {
    let vendor = Vendor::start();
    let test = home(&vendor, CLIENT);
    let log_in = || {
        let (running, url) = begin(&test, "plan", &[]);
        vendor.issue_id_token(&claims(&vendor, &url, "my-client"));
        come_back(&url, "code=c&state=STATE");
        stored(&running.wait());
    };
    let delete = |more: &[&str]| {
        let args = ["sessions", "delete", "work", "--yes"];
        let output = test.args_of([&args[..], more].concat());
        assert_eq!(output.stdout, "deleted faulty-issuer:work@oauth\n", "{}", output.stderr);
        assert!(!test.args_of(["sessions"]).stdout.contains("work"));
        output.stderr
    };
    log_in();
    assert_eq!(delete(&[]), "");
    let told = form(&vendor.asked("/revoke")[0]);
    assert_eq!(told["token"], "rt-canary-1");
    assert_eq!(told["token_type_hint"], "refresh_token");
    assert_eq!(told["client_id"], "my-client");
    log_in();
    assert_eq!(delete(&["--no-revoke"]), "");
    assert_eq!(vendor.asked("/revoke").len(), 1);
    // A vendor that takes back access tokens alone.
    log_in();
    let unsupported = r#"{"error":"unsupported_token_type"}"#;
    vendor.state().revocation = Some(Reply::json(400, unsupported));
    let said = delete(&[]);
    assert!(said.contains("the vendor may still take its tokens"), "{said}");
    assert_eq!(form(vendor.asked("/revoke").last().unwrap())["token"], "at-canary-3");
    log_in();
    vendor.state().revocation = Some(Reply::json(503, ""));
    let said = delete(&[]);
    assert!(said.contains("answered with status 503"), "{said}");
    assert!(!said.contains("canary"), "{said}");
    log_in();
    let origin = vendor.origin();
    drop(vendor);
    let said = delete(&[]);
    assert!(said.contains(&format!("nobody answers at `{origin}`")), "{said}");
}

#[test]
fn approving_a_new_origin_keeps_where_tokens_are_renewed() {
    let (vendor, other) = (Vendor::start(), Vendor::start());
    let test = home(&vendor, "");
    let done = log_in(&test, "bare", &["--set", "project=p{state}"]);
    assert_eq!(done["attributes"]["project"], "p{state}");
    let moved = format!(
        "[providers.faulty-issuer]\nissuer = \"{}\"\nbase_url = \"{}/v1\"\n",
        vendor.origin(),
        other.origin()
    );
    let test = test.config(moved);
    let output = test.args_of(["sessions", "test", "work"]);
    assert_eq!(output.status.code(), Some(3), "{}", output.stderr);
    assert_eq!(other.upstream.requests().len(), 0);
    let output = test.args_of(["sessions", "approve", "work", "--yes"]);
    assert!(output.status.success(), "{}", output.stderr);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains(&other.origin()), "{said}");
    for command in ["test", "refresh"] {
        let output = test.args_of(["sessions", command, "work"]);
        assert!(output.status.success(), "{}", output.stderr);
    }
    assert_eq!(other.asked("/v1/me")[0].header("authorization"), "Bearer at-canary-1");
    assert_eq!(form(&vendor.asked("/token")[1])["refresh_token"], "rt-canary-1");
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
