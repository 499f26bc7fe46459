//! What a login leaves behind: the client's id, where tokens are renewed, and what is revoked.

use super::{CLIENT, begin, claims, come_back, error_of, form, home, log_in, param, stored};
use crate::{upstream::Reply, vendor::Vendor};

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
