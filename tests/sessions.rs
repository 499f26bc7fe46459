//! Named sessions: the right key reaches the right place, and no other place ever.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use host::{
    Maestro,
    maestro::{Call, ContextQuery, Error, NewLogin, SessionView},
    session::{SessionName, SessionStatus},
};
use plugin_api::{ProviderId, capability::Capability, operation::EmbedRequest};

use crate::{
    ask::{chat, problem, request},
    harness::{Test, library, wait},
    upstream::{Reply, Upstream},
};

pub(crate) const WORK: &str = "fk-canary-work-0123456789";
const HOME: &str = "fk-canary-home-9876543210";

/// A server that answers everything `faulty` asks.
pub(crate) fn upstream() -> Upstream {
    Upstream::start(|request| match request.target.split('?').next().unwrap_or_default() {
        "/v1/chat" => Reply::says(&["hi"]),
        "/v1/models" => Reply::json(200, "[\"m\"]"),
        "/v1/me" => Reply::json(200, "\"Ada\""),
        _ => Reply::json(404, ""),
    })
}

/// A home in which `faulty-keyed` is at an upstream.
pub(crate) fn keyed(upstream: &Upstream) -> Test {
    Test::new().plugin("faulty").config(config(upstream))
}

fn config(upstream: &Upstream) -> String {
    format!("[providers.faulty-keyed]\nbase_url = \"{}\"\n", upstream.url())
}

async fn login(maestro: &Maestro, name: &str, key: &str) -> Result<SessionView, Error> {
    let provider = ProviderId::new("faulty-keyed").unwrap();
    maestro.create_session(NewLogin::new(provider, SessionName::new(name).unwrap(), key)).await
}

/// Returns the `authorization` headers that arrived, in order.
fn credentials(upstream: &Upstream) -> Vec<String> {
    upstream.requests().iter().map(|request| request.header("authorization").to_owned()).collect()
}

#[test]
fn each_session_sends_its_own_key() {
    let upstream = upstream();
    let test = keyed(&upstream);
    let maestro = test.maestro();
    wait(async {
        assert_eq!(problem(login_needed(&maestro).await), "provider `faulty-keyed` has no session");
        let work = login(&maestro, "work_lab", WORK).await.unwrap();
        let home = login(&maestro, "personal_lab", HOME).await.unwrap();
        assert_eq!((work.is_default, home.is_default), (true, false));
        for model in [
            "faulty-keyed:work_lab/m",
            "faulty-keyed:personal_lab/m",
            "faulty-keyed:personal_lab@api-key/m",
            "faulty-keyed/m",
        ] {
            assert_eq!(chat(&maestro, model, &[]).await.ok(), "hi");
        }
        maestro.set_default_session("personal_lab").await.unwrap();
        assert_eq!(chat(&maestro, "faulty-keyed/m", &[]).await.ok(), "hi");
        let asked = Call::with_session(Some("work_lab".into()));
        let model = "faulty-keyed/m".parse().unwrap();
        let mut stream = maestro.stream_chat(&model, request("hello", &[]), asked).await.unwrap();
        assert_eq!(stream.session(), Some("faulty-keyed:work_lab@api_key"));
        while stream.next().await.is_some() {}
        let account = maestro.test_session("faulty-keyed:work_lab").await.unwrap();
        assert_eq!(account.name.as_deref(), Some("Ada"));
    });
    let bearer = |key: &str| format!("Bearer {key}");
    let [work, home] = [bearer(WORK), bearer(HOME)];
    assert_eq!(
        credentials(&upstream),
        [&work, &home, &home, &work, &home, &work, &work].map(String::as_str)
    );
    drop(maestro);
    for key in [WORK, HOME, "canary"] {
        assert_eq!(test.grep(key), Vec::<std::path::PathBuf>::new());
    }
    // The same sessions, in another process's eyes.
    let maestro = test.maestro();
    assert_eq!(wait(chat(&maestro, "faulty-keyed:work_lab/m", &[])).ok(), "hi");
    assert_eq!(credentials(&upstream).last(), Some(&work));
}

async fn login_needed(maestro: &Maestro) -> Result<(), Error> {
    chat(maestro, "faulty-keyed/m", &[]).await.error.map_or(Ok(()), Err)
}

#[test]
fn sessions_are_renamed_and_deleted_whole() {
    let upstream = upstream();
    let test = keyed(&upstream);
    let maestro = test.maestro();
    wait(async {
        login(&maestro, "work_lab", WORK).await.unwrap();
        let renamed =
            maestro.rename_session("work_lab", SessionName::new("job_lab").unwrap()).await.unwrap();
        assert_eq!(renamed.selector, "faulty-keyed:job_lab@api_key");
        assert_eq!(chat(&maestro, "faulty-keyed:job_lab/m", &[]).await.ok(), "hi");
        assert_eq!(
            chat(&maestro, "faulty-keyed:work_lab/m", &[]).await.problem(),
            "no session `faulty-keyed:work_lab`"
        );
        maestro.delete_session("job_lab").await.unwrap();
        assert_eq!(maestro.list_sessions(None).await.unwrap().len(), 0);
        assert_eq!(problem(maestro.session("job_lab").await), "no session `job_lab`");
        assert_eq!(
            chat(&maestro, "faulty-keyed/m", &[]).await.problem(),
            "provider `faulty-keyed` has no session"
        );
    });
    assert_eq!(credentials(&upstream), [format!("Bearer {WORK}")]);
}

#[test]
fn what_cannot_be_a_key_is_refused_before_it_is_stored() {
    let upstream = upstream();
    let test = keyed(&upstream);
    let maestro = test.maestro();
    wait(async {
        for (key, why) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("sk-0123456789", "expected it to start with `fk-`"),
            ("fk-1", "expected at least 8 characters, found 4"),
            ("fk-012 3456789", "it holds white space or control characters"),
            ("fk-0123.456789", "a key of this provider has no dot"),
        ] {
            let refused = login(&maestro, "work_lab", key).await.unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("this is no key for provider `faulty-keyed`: {why}")
            );
            assert_eq!(refused.exit_code(), 3);
            assert_eq!(refused.hint().as_deref(), Some("get a key at https://faulty.invalid/keys"));
        }
        login(&maestro, "work_lab", &format!(" {WORK}\n")).await.unwrap();
        let again = login(&maestro, "work_lab", HOME).await.unwrap_err();
        assert_eq!(
            again.to_string(),
            "session `work_lab` of provider `faulty-keyed` (api_key) exists already"
        );
        assert_eq!(again.exit_code(), 2);
        chat(&maestro, "faulty-keyed/m", &[]).await.ok();
        let provider = ProviderId::new("faulty-keyed").unwrap();
        let name = SessionName::new("work_lab").unwrap();
        maestro.create_session(NewLogin::new(provider, name, HOME).replace(true)).await.unwrap();
        chat(&maestro, "faulty-keyed/m", &[]).await.ok();
    });
    let bearer = |key: &str| format!("Bearer {key}");
    assert_eq!(credentials(&upstream), [bearer(WORK), bearer(HOME)]);
}

#[test]
fn a_rejected_key_is_remembered_as_such() {
    let upstream = Upstream::always(Reply::json(401, "expired"));
    let test = keyed(&upstream);
    let maestro = test.maestro();
    wait(async {
        login(&maestro, "work_lab", WORK).await.unwrap();
        let error = chat(&maestro, "faulty-keyed/m", &[]).await.error.unwrap();
        assert_eq!(error.exit_code(), 3);
        let view = maestro.session("work_lab").await.unwrap();
        assert_eq!(view.status, SessionStatus::NeedsReauth);
        let said = view.last_error.unwrap();
        assert!(said.contains("expired") && !said.contains(WORK), "{said}");
    });
}

#[test]
fn a_key_that_the_vendor_takes_again_is_ready_again() {
    let turn = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::json(401, "a bad minute"),
        _ => Reply::json(200, "\"Ada\""),
    });
    let test = keyed(&upstream);
    wait(async {
        let maestro = test.maestro();
        login(&maestro, "work_lab", WORK).await.unwrap();
        assert!(maestro.test_session("work_lab").await.is_err());
        let view = maestro.session("work_lab").await.unwrap();
        assert_eq!(view.status, SessionStatus::NeedsReauth);
        maestro.test_session("work_lab").await.unwrap();
        let view = maestro.session("work_lab").await.unwrap();
        assert_eq!((view.status, view.last_error), (SessionStatus::Ready, None));
    });
}

#[test]
fn a_key_goes_nowhere_but_where_it_was_approved_for() {
    let (good, evil) = (upstream(), upstream());
    let test = keyed(&good);
    let maestro = test.maestro();
    wait(login(&maestro, "work_lab", WORK)).unwrap();

    // The configuration now names another server.
    let test = test.config(config(&evil));
    let maestro = test.maestro();
    let changed = format!(
        "session `faulty-keyed:work_lab@api_key` needs approval: it would now also \
         be sent to {}",
        evil.origin()
    );
    wait(async {
        let error = chat(&maestro, "faulty-keyed/m", &[]).await.error.unwrap();
        assert_eq!((error.to_string(), error.exit_code()), (changed.clone(), 3));
        assert_eq!(
            error.hint().as_deref(),
            Some(
                "if you expected that, run `maestro sessions approve faulty-keyed:work_lab@api_key`"
            )
        );
        assert_eq!(problem(maestro.list_models("faulty-keyed", None).await), changed);
        assert_eq!(problem(maestro.test_session("work_lab").await), changed);
        let view = maestro.session("work_lab").await.unwrap();
        assert_eq!(view.status, SessionStatus::NeedsApproval);
        assert_eq!(evil.connections(), 0, "not one byte before the approval");

        let change = maestro.pending_approval("work_lab").await.unwrap().unwrap();
        assert_eq!(change.added, [evil.origin()]);
        maestro.approve_session("work_lab").await.unwrap();
        assert_eq!(maestro.pending_approval("work_lab").await.unwrap(), None);
        chat(&maestro, "faulty-keyed/m", &[]).await.ok();
    });
    assert_eq!(credentials(&evil), [format!("Bearer {WORK}")]);
    assert_eq!(good.connections(), 0);
}

#[test]
fn another_plugin_that_claims_the_provider_gets_no_key() {
    let upstream = upstream();
    let test = keyed(&upstream);
    wait(login(&test.maestro(), "work_lab", WORK)).unwrap();

    let mut other = fs::read(library("faulty")).unwrap();
    let id = b"\"id\":\"faulty\"";
    let at = other.windows(id.len()).position(|window| window == id).unwrap();
    other[at..at + id.len()].copy_from_slice(b"\"id\":\"faulti\"");
    fs::remove_file(test.plugin_path("faulty")).unwrap();
    let test = test.write("plugins/other.so", other);
    let maestro = test.maestro();
    wait(async {
        assert_eq!(
            chat(&maestro, "faulty-keyed/m", &[]).await.problem(),
            "session `faulty-keyed:work_lab@api_key` needs approval: plugin \
             `faulty` became `faulti`"
        );
        assert_eq!(upstream.connections(), 0);
        maestro.approve_session("work_lab").await.unwrap();
        chat(&maestro, "faulty-keyed/m", &[]).await.ok();
    });
    assert_eq!(credentials(&upstream), [format!("Bearer {WORK}")]);
}

#[test]
fn a_plugin_cannot_place_a_key_by_writing_about_it() {
    let upstream = upstream();
    let test = keyed(&upstream);
    let maestro = test.maestro();
    wait(async {
        login(&maestro, "work_lab", WORK).await.unwrap();
        chat(&maestro, "faulty-keyed/m", &[("fault", "placeholder")]).await.ok();
        chat(&maestro, "faulty-keyed/m", &[("fault", "query-credential")]).await.ok();
        let error = chat(&maestro, "faulty-keyed/m", &[("fault", "foreign-origin")]).await;
        assert!(!error.problem().contains(WORK));
    });
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    assert!(!format!("{:?}", requests[0]).contains(WORK));
    assert_eq!(requests[0].json()["key"], "${FAULTY_API_KEY}");
    assert_eq!(requests[1].target, format!("/v1/chat?key={WORK}"), "a typed placement is followed");
    assert_eq!(requests[1].header("authorization"), "");
}

#[test]
fn a_declared_session_reads_its_key_where_it_is() {
    let upstream = upstream();
    let config = config(&upstream)
        + "[sessions.from_env]\nprovider = \"faulty-keyed\"\nenv = \"CARGO_PKG_NAME\"\n\
           [sessions.from_file]\nprovider = \"faulty-keyed\"\nfile = \"[HOME]/key.txt\"\n\
           [sessions.from_command]\nprovider = \"faulty-keyed\"\ncommand = [\"echo\", \"fk-command\"]\n\
           [sessions.from_nowhere]\nprovider = \"faulty-keyed\"\nenv = \"NEVER_SET_ANYWHERE\"\n\
           [sessions.from_failure]\nprovider = \"faulty-keyed\"\ncommand = [\"false\"]\n\
           [sessions.from_silence]\nprovider = \"faulty-keyed\"\ncommand = [\"true\"]\n";
    let test = Test::new().plugin("faulty").write("key.txt", "fk-file\n");
    let config = config.replace("[HOME]", test.home().to_str().unwrap());
    let test = test.config(config);
    let maestro = test.maestro();
    wait(async {
        for name in ["from_env", "from_file", "from_command"] {
            chat(&maestro, &format!("faulty-keyed:{name}/m"), &[]).await.ok();
        }
        for (name, why) in [
            ("from_nowhere", "`NEVER_SET_ANYWHERE` is not set in the environment"),
            ("from_failure", "`false` failed: exit status: 1"),
            ("from_silence", "the key is empty"),
        ] {
            let error = chat(&maestro, &format!("faulty-keyed:{name}/m"), &[]).await.error.unwrap();
            let expected = format!("declared session `{name}`: {why}");
            assert_eq!((error.to_string(), error.exit_code()), (expected, 3));
        }
        let error = chat(&maestro, "faulty-keyed/m", &[]).await.problem();
        assert!(
            error.starts_with("provider `faulty-keyed` has no default session, but several: "),
            "{error}"
        );
        let error = problem(maestro.delete_session("from_env").await);
        assert_eq!(error, "session `faulty-keyed:from_env` is declared in the configuration");
    });
    assert_eq!(credentials(&upstream), ["Bearer host", "Bearer fk-file", "Bearer fk-command"]);
    assert!(!test.home().join("maestro.db").exists(), "nothing was stored");
}

/// A home with one stored session.
pub(crate) fn logged_in(upstream: &Upstream) -> Test {
    let test = keyed(upstream);
    wait(login(&test.maestro(), "work_lab", WORK)).unwrap();
    test
}

#[test]
fn another_master_key_is_noticed_before_anything_is_written() {
    let upstream = upstream();
    let test = logged_in(&upstream);
    let key = test.home().join("key");
    let right = fs::read(&key).unwrap();
    let database = fs::read(test.home().join("maestro.db")).unwrap();

    fs::write(&key, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff").unwrap();
    let error = wait(chat(&test.maestro(), "faulty-keyed/m", &[])).error.unwrap();
    assert_eq!(error.exit_code(), 5, "{error}");
    let error = wait(login(&test.maestro(), "other_lab", HOME)).unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    assert_eq!(fs::read(test.home().join("maestro.db")).unwrap(), database);

    fs::remove_file(&key).unwrap();
    let error = wait(chat(&test.maestro(), "faulty-keyed/m", &[])).error.unwrap();
    assert_eq!(
        (error.to_string().as_str(), error.exit_code()),
        ("the master key cannot be used", 5)
    );
    assert!(!key.exists(), "no key is made while something is sealed");
    assert_eq!(upstream.connections(), 0);

    fs::write(&key, right).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    wait(chat(&test.maestro(), "faulty-keyed/m", &[])).ok();
}

#[test]
fn a_newer_store_is_left_alone() {
    let upstream = upstream();
    let test = logged_in(&upstream);
    let path = test.home().join("maestro.db");
    let set = |version: i64| {
        let database = rusqlite::Connection::open(&path).unwrap();
        let before: i64 =
            database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        database.pragma_update(None, "user_version", version).unwrap();
        before
    };
    let known = set(99);
    let error = wait(chat(&test.maestro(), "faulty-keyed/m", &[])).error.unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "database `{}` has schema version 99, but this host knows up to {known}",
            path.display()
        )
    );
    assert_eq!(error.exit_code(), 5);
    set(known);
    wait(chat(&test.maestro(), "faulty-keyed/m", &[])).ok();
}

#[test]
fn what_is_no_store_is_not_overwritten() {
    let upstream = upstream();
    let test = keyed(&upstream)
        .write("maestro.db", "my shopping list, which is longer than nothing\n".repeat(40));
    let error = wait(login(&test.maestro(), "work_lab", WORK)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{}/maestro.db` is not a database", test.home().display())
    );
    assert_eq!(error.exit_code(), 5);
    let kept = fs::read_to_string(test.home().join("maestro.db")).unwrap();
    assert!(kept.starts_with("my shopping list"));
    assert!(!test.home().join("key").exists());
}

#[test]
fn what_no_provider_offers_yet_says_so() {
    let test = Test::new().plugin("echo");
    let maestro = test.maestro();
    let refused = |what: &str| format!("provider `echo` does not offer {what}");
    wait(async {
        let served = maestro.resolve("echo", Capability::Chat).unwrap();
        assert_eq!((served.provider.as_str(), served.plugin.as_str()), ("echo", "echo"));
        let resolved = maestro.resolve("echo", Capability::Contexts);
        assert_eq!(problem(resolved.map(drop)), refused("contexts/1"));
        let plan = maestro.oauth_plan("echo", None).await;
        assert_eq!(problem(plan.map(drop)), refused("a login with OAuth"));
        let model = maestro.parse_model("echo/echo").await.unwrap();
        let embed = EmbedRequest::new("echo", vec!["x".into()]);
        let embedded = maestro.embed(&model, embed, Call::default()).await;
        assert_eq!(problem(embedded.map(drop)), refused("embeddings"));
        let provider = Some(ProviderId::new("echo").unwrap());
        let query = ContextQuery { provider, ..ContextQuery::default() };
        let listed = maestro.list_context_chunks(query).await;
        assert_eq!(problem(listed.map(drop)), refused("a list of what it keeps"));
        let counted =
            maestro.count_tokens(&model, request("two words", &[]), Call::default()).await;
        assert_eq!(counted.unwrap().value, 2);
        assert_eq!(maestro.model_info(&model, Call::default()).await.unwrap().id, "echo");
        let near = "echo/ecko".parse().unwrap();
        let unknown = maestro.model_info(&near, Call::default()).await.unwrap_err();
        assert_eq!(unknown.hint().unwrap(), "did you mean `echo/echo`?");
    });
}
