//! What must not go through: other logins' answers, other issuers' metadata, other people's id tokens.

use serde_json::{Value, json};
use url::Url;

use super::{
    CLIENT, begin, claims, come_back, error_of, form, home, log_in, param, refused, stored,
};
use crate::{browser::Browser, upstream::Reply, vendor::Vendor};

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
