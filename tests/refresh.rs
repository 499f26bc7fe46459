//! Tokens are renewed once, by one, and a login is never lost silently.

mod crash;
mod race;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use host::{
    Maestro,
    home::Home,
    maestro::one_line,
    session::{
        Binding, Credential, KeySource, Login, OpenSession, Outcome, SessionName, SessionStatus,
        Sessions, SqliteStore, Stamp, Store as _, TokenSet,
    },
};
use plugin_api::{PluginId, ProviderId};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{
    ask::{begin, chat, finish, request},
    authority::{Authority, access, refresh},
    harness::{Test, wait},
    upstream::{Gate, Reply},
};

const MODEL: &str = "faulty-oauth/m";
/// What a chat with a token that the server no longer knows ends with.
const REFUSED: &str = "provider `faulty-oauth` failed: authentication failed: \
    {\"error\":{\"message\":\"token expired\"}} (HTTP 401)";
const SELECTOR: &str = "faulty-oauth:work@oauth";

/// A home in which `faulty-oauth` is at a server, with a login of one hour.
struct Scene {
    authority: Authority,
    test: Test,
    sessions: Arc<Sessions>,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut TokenSet)) -> Self {
        let authority = Authority::start();
        let (api, auth) = (authority.upstream().url(), authority.upstream().origin());
        let test = Test::new().plugin("faulty").config(format!(
            "[providers.faulty-oauth]\nbase_url = \"{api}\"\nauth_url = \"{auth}\"\n"
        ));
        let sessions = open(&Home::at(test.home()));
        let scene = Self { authority, test, sessions };
        scene.login(1, false, change);
        scene
    }

    /// Stores a login with the server's pair of a number.
    fn login(&self, number: u32, replace: bool, change: impl FnOnce(&mut TokenSet)) {
        let mut tokens = TokenSet {
            access_token: access(number).into(),
            refresh_token: Some(refresh(number).into()),
            expires_at: Some(now_s() + 3600),
            obtained_at: Some(now_s()),
            client_id: "faulty-client".into(),
            ..TokenSet::default()
        };
        change(&mut tokens);
        let origin = self.authority.upstream().origin();
        let binding = Binding::new(PluginId::new("faulty").unwrap(), [origin]).unwrap();
        let login = Login {
            provider: ProviderId::new("faulty-oauth").unwrap(),
            name: SessionName::new("work").unwrap(),
            credential: Credential::oauth(tokens, binding),
            account: None,
            replace,
            make_default: false,
        };
        self.sessions.create(&login, &stamp()).unwrap();
    }

    fn maestro(&self) -> Maestro {
        self.test.maestro()
    }

    /// Opens the session as it is now.
    fn stored(&self) -> OpenSession {
        let info = self.sessions.find(&SELECTOR.parse().unwrap()).unwrap();
        self.sessions.open_id(&info.id).unwrap()
    }

    /// Changes the stored tokens, as another process would.
    fn change(&self, change: impl FnOnce(&mut TokenSet)) {
        let open = self.stored();
        let mut tokens = open.credential.tokens().unwrap().clone();
        change(&mut tokens);
        let credential = Credential::oauth(tokens, open.credential.binding.clone());
        self.sessions.renewal(&open.info, &credential, Outcome::Renewed, &stamp()).unwrap();
    }

    fn expire(&self) {
        self.change(|tokens| tokens.expires_at = Some(now_s() - 1));
    }

    /// The same, with what is known of attempts.
    fn expire_keeping_attempts(&self) {
        let open = self.stored();
        let mut tokens = open.credential.tokens().unwrap().clone();
        tokens.expires_at = Some(now_s() - 1);
        let credential = Credential::oauth(tokens, open.credential.binding.clone());
        self.sessions.renewal(&open.info, &credential, Outcome::Begun, &stamp()).unwrap();
    }

    /// Asserts that the session holds the server's newest pair, and the newest of nothing else.
    #[track_caller]
    fn holds(&self, number: u32) {
        let open = self.stored();
        let tokens = open.credential.tokens().unwrap();
        assert_eq!(tokens.access_token.expose_secret(), access(number));
        assert_eq!(tokens.refresh_token.as_ref().unwrap().expose_secret(), refresh(number));
    }

    fn audited(&self, action: &str) -> usize {
        let events = self.sessions.store().audit_events(10_000).unwrap();
        events.iter().filter(|event| event.action == action).count()
    }
}

fn open(home: &Home) -> Arc<Sessions> {
    let store = Arc::new(SqliteStore::open(&home.database(), now_s()).unwrap());
    let key = KeySource::choose(None, home.data());
    let key = key.load(|| store.has_ciphertext().unwrap()).unwrap();
    Arc::new(Sessions::open(store, key, now_s()).unwrap())
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

fn stamp() -> Stamp<'static> {
    Stamp { now_s: now_s(), actor: "test" }
}

#[test]
fn tokens_that_ended_are_renewed_before_they_are_used() {
    let scene = Scene::new();
    scene.expire();
    let maestro = scene.maestro();
    assert_eq!(wait(chat(&maestro, MODEL, &[])).ok(), "hi");
    scene.holds(2);
    assert_eq!(scene.authority.state().refused, 0, "the dead token was not tried");
    assert_eq!((scene.audited("attempt"), scene.audited("failure")), (1, 0));
    let headers = scene.authority.upstream().requests();
    let chat = headers.iter().find(|request| request.target == "/v1/chat").unwrap();
    assert_eq!(chat.header("authorization"), format!("Bearer {}", access(2)));
}

#[test]
fn tokens_that_will_soon_end_are_renewed_in_the_background() {
    let scene = Scene::with(|tokens| {
        tokens.obtained_at = Some(now_s() - 3500);
        tokens.expires_at = Some(now_s() + 100);
    });
    let gate = Gate::new();
    let body = json!({"access_token": access(2), "refresh_token": refresh(2), "expires_in": 3600});
    let slow = Reply::new(200, "application/json").wait(&gate).piece(body.to_string());
    scene.authority.state().instead.push((slow, true));
    let maestro = scene.maestro();
    wait(async {
        // The answer does not wait for the new tokens.
        assert_eq!(chat(&maestro, MODEL, &[]).await.ok(), "hi");
        scene.authority.upstream().wait_for_requests(2);
        scene.holds(1);
        assert_eq!(chat(&maestro, MODEL, &[]).await.ok(), "hi");
        gate.open();
        // Nobody waits here, but the program's end does.
    });
    scene.holds(2);
    assert_eq!(scene.authority.asked(), 1);
}

#[test]
fn a_refused_token_is_renewed_once_and_the_request_made_again() {
    let scene = Scene::new();
    scene.authority.state().accepted.clear();
    let maestro = scene.maestro();
    wait(async {
        assert_eq!(chat(&maestro, MODEL, &[]).await.ok(), "hi");
        scene.holds(2);
        scene.authority.state().accepted.clear();
        let models = maestro.list_models("faulty-oauth", None).await.unwrap();
        assert_eq!(models[0].id, "m");
    });
    scene.holds(3);
    assert_eq!((scene.authority.asked(), scene.authority.state().refused), (2, 2));
    // A provider that refuses the new one, too, is believed.
    let stubborn = Scene::new();
    stubborn.authority.state().accepted.clear();
    let body = json!({"access_token": "at-x", "refresh_token": refresh(2)}).to_string();
    stubborn.authority.state().instead.push((Reply::json(200, &body), false));
    let maestro = stubborn.maestro();
    let answer = wait(chat(&maestro, MODEL, &[]));
    assert_eq!(answer.problem(), REFUSED);
    assert_eq!((stubborn.authority.asked(), stubborn.authority.state().refused), (1, 2));
    assert_eq!(stubborn.stored().info.status, SessionStatus::NeedsReauth);
}

#[test]
fn nothing_is_asked_again_after_the_first_event() {
    let scene = Scene::new();
    let maestro = scene.maestro();
    wait(async {
        let mut stream = begin(&maestro, MODEL, request("hello", &[])).await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        scene.authority.state().accepted.clear();
        let mut rest = crate::ask::Answer { events: Vec::new(), error: None };
        finish(stream, &mut rest).await;
        rest.ok();
    });
    assert_eq!(scene.authority.asked(), 0);
}

#[test]
fn a_login_that_is_over_is_not_asked_about_again() {
    let scene = Scene::new();
    scene.expire();
    scene.authority.state().revoked = true;
    let maestro = scene.maestro();
    let over = "failed to renew the tokens of session `work` of provider `faulty-oauth`: \
                the provider no longer accepts the login: `invalid_grant`";
    wait(async {
        for _ in 0..3 {
            assert_eq!(chat(&maestro, MODEL, &[]).await.problem(), over);
        }
        let error = maestro.refresh_tokens("work").await.unwrap_err();
        assert_eq!((one_line(&error).as_str(), error.exit_code()), (over, 3));
        let hint = "run `maestro login faulty-oauth --name work --replace`";
        assert_eq!(error.hint().unwrap(), hint);
    });
    assert_eq!(wait(chat(&scene.maestro(), MODEL, &[])).problem(), over, "another process");
    assert_eq!(scene.authority.asked(), 1);
    let stored = scene.stored();
    assert_eq!(stored.info.status, SessionStatus::NeedsReauth);
    assert_eq!(stored.info.last_error.unwrap(), "the token endpoint refused: `invalid_grant`");
    scene.holds(1);
    // A new login begins anew.
    scene.authority.state().revoked = false;
    scene.login(1, true, |tokens| tokens.expires_at = Some(now_s() - 1));
    assert_eq!(wait(chat(&maestro, MODEL, &[])).ok(), "hi");
    assert_eq!(scene.stored().info.status, SessionStatus::Ready);
}

#[test]
fn a_failing_server_is_left_alone_and_the_tokens_stay() {
    let scene = Scene::new();
    // The server's wish is longer than this test, however slow the machine is.
    let headers = [("retry-after", "600"), ("content-type", "text/html")];
    let fail = || (Reply::with_headers(503, &headers).piece("<html>oops</html>"), false);
    scene.authority.state().instead = vec![fail(), fail(), fail()];
    // Soon to end: the old token serves, and one failure is enough for a while.
    scene.change(|tokens| {
        tokens.obtained_at = Some(now_s() - 3500);
        tokens.expires_at = Some(now_s() + 100);
    });
    let maestro = scene.maestro();
    wait(async {
        assert_eq!(chat(&maestro, MODEL, &[]).await.ok(), "hi");
        scene.authority.upstream().wait_for_requests(2);
    });
    wait(async { assert_eq!(chat(&maestro, MODEL, &[]).await.ok(), "hi") });
    assert_eq!(scene.authority.asked(), 1);
    let info = scene.stored().info;
    assert_eq!(info.status, SessionStatus::Ready);
    let error = "the token endpoint cannot be asked now: HTTP 503, no reason given";
    assert_eq!(info.last_error.as_deref(), Some(error));
    // Who asks for it need not wait.
    wait(async {
        let error = maestro.refresh_tokens("work").await.unwrap_err();
        assert_eq!((error.exit_code(), error.hint().unwrap().as_str()), (1, "try again in 600 s"));
    });
    assert_eq!(scene.authority.asked(), 2);
    scene.expire();
    let scene_maestro = scene.maestro();
    wait(async {
        for _ in 0..3 {
            let problem = chat(&scene_maestro, MODEL, &[]).await.problem();
            assert!(problem.ends_with("HTTP 503, no reason given"), "{problem}");
        }
    });
    assert_eq!(scene.authority.asked(), 3, "three callers, one question");
    scene.holds(1);
    scene.authority.state().instead.clear();
    assert_eq!(wait(chat(&scene.maestro(), MODEL, &[])).ok(), "hi");
    scene.holds(2);
    assert_eq!(scene.stored().info.last_error, None);
}

#[test]
fn an_unknown_outcome_is_tried_once_more_and_then_needs_a_login() {
    // The first answer is lost; the server had not acted.
    let lucky = Scene::new();
    lucky.expire();
    lucky.authority.state().instead.push((Reply::nothing().close(), false));
    assert_eq!(wait(chat(&lucky.maestro(), MODEL, &[])).ok(), "hi");
    lucky.holds(2);
    assert_eq!(lucky.authority.asked(), 2);
    // It had acted: the second request is a reuse, and the login is over. The row says so.
    let unlucky = Scene::new();
    unlucky.expire();
    unlucky.authority.state().instead.push((Reply::nothing().close(), true));
    let problem = wait(chat(&unlucky.maestro(), MODEL, &[])).problem();
    assert!(problem.ends_with("no longer accepts the login: `invalid_grant`"), "{problem}");
    assert_eq!(unlucky.stored().info.status, SessionStatus::NeedsReauth);
    // Both are lost: nobody knows, nobody tries again by himself.
    let lost = Scene::new();
    lost.expire();
    let nothing = || (Reply::nothing().close(), false);
    lost.authority.state().instead = vec![nothing(), nothing()];
    let maestro = lost.maestro();
    for _ in 0..3 {
        let problem = wait(chat(&maestro, MODEL, &[])).problem();
        assert!(problem.ends_with("so the refresh token may be used up"), "{problem}");
    }
    assert_eq!(lost.authority.asked(), 2);
    assert_eq!(lost.stored().info.status, SessionStatus::NeedsReauth);
    lost.holds(1);
    // The user may.
    wait(async { maestro.refresh_tokens("work").await.unwrap() });
    lost.holds(2);
    assert_eq!(lost.stored().info.status, SessionStatus::Ready);
}

#[test]
fn an_unknown_outcome_in_the_background_waits_for_the_next_need() {
    let scene = Scene::with(|tokens| {
        tokens.obtained_at = Some(now_s() - 3500);
        tokens.expires_at = Some(now_s() + 100);
    });
    scene.authority.state().instead.push((Reply::nothing().close(), false));
    let maestro = scene.maestro();
    wait(async {
        assert_eq!(chat(&maestro, MODEL, &[]).await.ok(), "hi");
        scene.authority.upstream().wait_for_requests(2);
    });
    assert_eq!(scene.authority.asked(), 1);
    let open = scene.stored();
    assert_eq!(open.credential.tokens().unwrap().renewal.attempts, 1);
    assert_eq!(open.info.status, SessionStatus::Ready);
    scene.holds(1);
    // The next one, in a process that waits for it, is the second and last try.
    scene.expire_keeping_attempts();
    assert_eq!(wait(chat(&scene.maestro(), MODEL, &[])).ok(), "hi");
    scene.holds(2);
    assert_eq!(scene.authority.asked(), 2);
}

#[test]
fn answers_that_leave_things_out_or_are_wrong_lose_nothing() {
    let scene = Scene::new();
    scene.authority.state().fields =
        json!({"refresh_token": null, "plan": "plus", "expires_in": "60"});
    let maestro = scene.maestro();
    wait(async { maestro.refresh_tokens("work").await.unwrap() });
    let open = scene.stored();
    let tokens = open.credential.tokens().unwrap();
    assert_eq!(tokens.access_token.expose_secret(), access(2));
    assert_eq!(tokens.refresh_token.as_ref().unwrap().expose_secret(), refresh(1), "kept");
    assert_eq!(tokens.expires_at, tokens.obtained_at.map(|at| at + 60));
    assert_eq!(open.credential.attributes["plan"], "plus");

    let scene = Scene::new();
    for body in ["", "<html>", "{}", r#"{"access_token":""}"#] {
        let wrong = || (Reply::json(200, body), false);
        scene.authority.state().instead = vec![wrong(), wrong()];
        let error = wait(async { scene.maestro().refresh_tokens("work").await.unwrap_err() });
        assert!(one_line(&error).contains("may be used up"), "{}", one_line(&error));
        scene.holds(1);
        scene.authority.state().instead.clear();
    }
    wait(async { scene.maestro().refresh_tokens("work").await.unwrap() });
    scene.holds(2);
}

#[test]
fn the_servers_earliest_time_binds_also_the_user() {
    let scene = Scene::with(|tokens| tokens.earliest_refresh_at = Some(now_s() + 900));
    scene.authority.state().accepted.clear();
    let maestro = scene.maestro();
    wait(async {
        let error = maestro.refresh_tokens("work").await.unwrap_err();
        let text = one_line(&error);
        assert!(text.contains("allows no renewal of its tokens for another "), "{text}");
        let problem = chat(&maestro, MODEL, &[]).await.problem();
        assert_eq!(problem, REFUSED);
    });
    assert_eq!(scene.authority.asked(), 0);
    scene.change(|tokens| tokens.earliest_refresh_at = Some(now_s() - 1));
    wait(async { maestro.refresh_tokens("work").await.unwrap() });
    scene.holds(2);
}

#[test]
fn a_clock_ten_minutes_off_makes_no_loop_and_uses_no_dead_token() {
    for skew in [-600, 600] {
        let scene = Scene::new();
        scene.expire();
        let date = httpdate::fmt_http_date(
            UNIX_EPOCH + std::time::Duration::from_secs((now_s() + skew).unsigned_abs()),
        );
        let body =
            json!({"access_token": access(2), "refresh_token": refresh(2), "expires_in": 300});
        let headers = [("date", date.as_str()), ("content-type", "application/json")];
        let reply = Reply::with_headers(200, &headers).piece(body.to_string());
        scene.authority.state().instead.push((reply, true));
        let maestro = scene.maestro();
        for _ in 0..3 {
            assert_eq!(wait(chat(&maestro, MODEL, &[])).ok(), "hi");
        }
        assert_eq!(wait(chat(&scene.maestro(), MODEL, &[])).ok(), "hi", "another process");
        assert_eq!(scene.authority.asked(), 1, "skew {skew}");
        let open = scene.stored();
        let tokens = open.credential.tokens().unwrap();
        assert!((tokens.clock_skew_s - skew).abs() <= 2, "{}", tokens.clock_skew_s);
        // The stored time is the server's.
        assert!((tokens.expires_at.unwrap() - (now_s() + skew + 300)).abs() <= 60);
    }
}

#[test]
fn a_caller_that_goes_away_does_not_stop_the_renewal() {
    let scene = Scene::new();
    scene.expire();
    let gate = Gate::new();
    let body = json!({"access_token": access(2), "refresh_token": refresh(2), "expires_in": 3600});
    let slow = Reply::new(200, "application/json").wait(&gate).piece(body.to_string());
    scene.authority.state().instead.push((slow, true));
    let maestro = scene.maestro();
    wait(async {
        let call = tokio::spawn({
            let maestro = maestro.clone();
            async move { chat(&maestro, MODEL, &[]).await }
        });
        scene.authority.upstream().wait_for_requests(1);
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        gate.open();
        assert_eq!(chat(&maestro, MODEL, &[]).await.ok(), "hi");
    });
    scene.holds(2);
    assert_eq!(scene.authority.asked(), 1);
}

#[test]
fn the_program_does_not_end_before_new_tokens_are_stored() {
    let scene = Scene::with(|tokens| {
        tokens.obtained_at = Some(now_s() - 3500);
        tokens.expires_at = Some(now_s() + 100);
    });
    scene.authority.state().hold = Gate::new();
    let gate = scene.authority.state().hold.clone();
    let running = scene.test.begin(["chat", "-m", MODEL, "hello"], "");
    running.wait_for_stdout("hi");
    scene.authority.upstream().wait_for_requests(2);
    // The answer is complete, and nothing but the renewal keeps the program.
    let said = running.wait_for_stderr("new tokens are under way");
    assert!(said.contains("waiting for them"), "{said}");
    scene.holds(1);
    gate.open();
    assert!(running.wait().status.success());
    scene.holds(2);
    assert_eq!((scene.authority.asked(), scene.authority.state().reused), (1, 0));
}

#[test]
fn what_happens_to_the_session_meanwhile_stands() {
    let scene = Scene::new();
    let gate = Gate::new();
    let slow = |gate: &Gate, number: u32| {
        let body = json!({"access_token": access(number), "refresh_token": refresh(number)});
        (Reply::new(200, "application/json").wait(gate).piece(body.to_string()), true)
    };
    let during = |scene: &Scene, gate: &Gate, act: &dyn Fn()| {
        scene.expire();
        let (maestro, seen) = (scene.maestro(), scene.authority.upstream().requests().len());
        wait(async {
            let call = tokio::spawn(async move { chat(&maestro, MODEL, &[]).await });
            scene.authority.upstream().wait_for_requests(seen + 1);
            act();
            gate.open();
            call.await.unwrap()
        })
    };
    // Renamed: the new tokens go to the new name.
    scene.authority.state().instead.push(slow(&gate, 2));
    let answer = during(&scene, &gate, &|| {
        let name = SessionName::new("renamed").unwrap();
        scene.sessions.rename(&scene.stored().info.id, &name, &stamp()).unwrap();
    });
    assert_eq!(answer.ok(), "hi");
    let back = SessionName::new("work").unwrap();
    let renamed = scene.sessions.find(&"renamed".parse().unwrap()).unwrap();
    scene.sessions.rename(&renamed.id, &back, &stamp()).unwrap();
    scene.holds(2);
    // Logged in again: the login's tokens stand.
    let gate = Gate::new();
    scene.authority.state().instead.push(slow(&gate, 3));
    scene.authority.state().accepted.insert(access(9));
    let answer = during(&scene, &gate, &|| scene.login(9, true, |_| {}));
    assert_eq!(answer.ok(), "hi");
    scene.holds(9);
    // Removed: it stays so.
    let gate = Gate::new();
    scene.authority.state().instead.push(slow(&gate, 4));
    let answer = during(&scene, &gate, &|| {
        scene.sessions.delete(&scene.stored().info.id, &stamp()).unwrap();
    });
    assert!(answer.problem().ends_with("the session was removed in the meantime"));
    assert!(scene.sessions.find(&SELECTOR.parse().unwrap()).is_err());
}

#[test]
fn a_refresh_token_goes_only_where_the_session_was_approved_for() {
    let scene = Scene::new();
    let elsewhere = Authority::start();
    let token_endpoint = format!("{}/token", elsewhere.upstream().origin());
    scene.change(|tokens| tokens.token_endpoint = token_endpoint);
    let error = wait(async { scene.maestro().refresh_tokens("work").await.unwrap_err() });
    let origin = elsewhere.upstream().origin();
    let expected = format!("the session is not approved for the token endpoint at `{origin}`");
    assert!(one_line(&error).ends_with(&expected), "{}", one_line(&error));
    assert!(elsewhere.upstream().requests().is_empty());
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn the_command_line_renews_and_says_what_it_cannot() {
    let scene = Scene::new();
    let Scene { authority, test, sessions } = scene;
    let test = test
        .args(["sessions", "refresh", "work"])
        .stdout("renewed the tokens of faulty-oauth:work@oauth\n")
        .success();
    authority.state().revoked = true;
    let test = test
        .args(["sessions", "refresh", "work"])
        .stdout("")
        .stderr(
            "error: failed to renew the tokens of session `work` of provider `faulty-oauth`\n  \
             caused by: the provider no longer accepts the login: `invalid_grant`\n\n\
             hint: run `maestro login faulty-oauth --name work --replace`\n",
        )
        .failure(3)
        .args(["sessions", "list"])
        .stdout(
            "SESSION                  DEFAULT  STATUS        SOURCE  EXPIRES            LAST USED  \
             ACCOUNT  LAST ERROR\n\
             faulty-oauth:work@oauth  yes      needs_reauth  stored  20[..]Z  never      \
             -        the token endpoint refused: `invalid_grant`\n",
        )
        .stderr("")
        .success()
        .args(["sessions", "show", "work"])
        .stdout(
            "session:    faulty-oauth:work@oauth\nprovider:   faulty-oauth\nname:       work\n\
             auth:       oauth\nstatus:     needs_reauth\ndefault:    yes\nsource:     stored\n\
             created:    [..]\nlast used:  never\nexpires:    20[..]Z\n\
             last error: the token endpoint refused: `invalid_grant`\n",
        )
        .success();
    // Neither the file nor the log of what happened holds a token.
    assert!(access(2).contains("t-canary-") && refresh(2).contains("t-canary-"));
    assert_eq!(test.grep("t-canary-"), [] as [std::path::PathBuf; 0]);
    let events = sessions.store().audit_events(100).unwrap();
    let actions: Vec<&str> = events.iter().rev().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["create", "attempt", "refresh", "attempt", "failure"]);
}
