//! Where requests go: pools, affinity, breakers, and a configuration that changes under load.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use serde_json::json;

use super::{CHAT, chat, client::Answer, client::Gateway, home, says, server, word};
use crate::{
    harness::Test,
    upstream::{PATIENCE, Reply, Request, Upstream},
};

/// Two sessions of `lab`, keys `key-one` and `key-two`, and no further tries.
const POOL: &str = "[sessions.one]\nprovider = \"lab\"\nenv = \"ONE\"\n\
                    [sessions.two]\nprovider = \"lab\"\nenv = \"TWO\"\n[retries]\nmax = 0\n";

const SPENT: &str =
    r#"{"error":{"message":"spent","type":"insufficient_quota","code":"insufficient_quota"}}"#;
const LIMITED: &str = r#"{"error":{"message":"slow","code":"rate_limit_exceeded"}}"#;

fn pool(upstream: &Upstream, more: &str) -> Test {
    home(upstream, &format!("{POOL}{more}")).env("ONE", "key-one").env("TWO", "key-two")
}

fn ask(gateway: &Gateway, model: &str, affinity: &str) -> Answer {
    gateway.ask("POST", CHAT, &[("x-maestro-affinity", affinity)], chat(model, false))
}

/// Counts the requests that came with a key.
fn with_key(upstream: &Upstream, key: &str) -> usize {
    let bearer = format!("Bearer {key}");
    upstream.requests().iter().filter(|request| request.header("authorization") == bearer).count()
}

fn is_one(request: &Request) -> bool {
    request.header("authorization") == "Bearer key-one"
}

/// Returns an affinity that goes to a session while nothing is wrong.
fn affinity_of(gateway: &Gateway, session: &str) -> String {
    let goes = |name: &String| {
        let answer = ask(gateway, "lab:*/m", name);
        answer.header("x-maestro-served").starts_with(&format!("lab:{session}"))
    };
    (0..64).map(|at| format!("talk-{at}")).find(goes).expect("each session gets its share")
}

/// Asks until something holds.
#[track_caller]
fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it never held");
        thread::yield_now();
    }
}

#[test]
fn a_session_whose_quota_is_spent_rests_and_the_others_serve() {
    let spent = Arc::new(AtomicBool::new(false));
    let is_spent = Arc::clone(&spent);
    let upstream = Upstream::start(move |request| match is_one(request) {
        true if is_spent.load(Ordering::Relaxed) => Reply::json(429, SPENT),
        _ => server(request),
    });
    let test = pool(&upstream, "");
    let gateway = Gateway::start(&test);
    let own = affinity_of(&gateway, "one");
    spent.store(true, Ordering::Relaxed);
    let before = with_key(&upstream, "key-one");
    for at in 0..12 {
        let affinity = if at == 0 { own.clone() } else { format!("later-{at}") };
        let answer = ask(&gateway, "lab:*/m", &affinity);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.header("x-maestro-served").starts_with("lab:two"));
    }
    assert_eq!(with_key(&upstream, "key-one"), before + 1, "it is asked once, then it rests");
    // Who names the session means that one.
    assert_eq!(gateway.post(CHAT, chat("lab:one/m", false)).status, 429);
    gateway.stop();
}

#[test]
fn a_pool_of_which_all_is_spent_says_when_to_come_back() {
    let upstream = Upstream::always(Reply::json(429, SPENT));
    let test = pool(&upstream, "[pools]\nquota_rest_ms = 90000\n");
    let gateway = Gateway::start(&test);
    assert_eq!(gateway.post(CHAT, chat("lab:*/m", false)).status, 429);
    let asked = upstream.requests().len();
    let answer = gateway.post(CHAT, chat("lab:*/m", false));
    assert_eq!(answer.status, 429, "{}", answer.body);
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=90).contains(&wait), "{wait}");
    assert!(
        answer.body.contains("every session of `lab:*` has spent its quota"),
        "{}",
        answer.body
    );
    assert_eq!(upstream.requests().len(), asked, "nobody is asked meanwhile");
    gateway.stop();
}

#[test]
fn a_limit_of_a_minute_does_not_rotate() {
    let limited = Arc::new(AtomicBool::new(false));
    let is_limited = Arc::clone(&limited);
    let upstream = Upstream::start(move |request| match is_one(request) {
        true if is_limited.load(Ordering::Relaxed) => Reply::json(429, LIMITED),
        _ => server(request),
    });
    let test = pool(&upstream, "");
    let gateway = Gateway::start(&test);
    let own = affinity_of(&gateway, "one");
    let before = with_key(&upstream, "key-two");
    limited.store(true, Ordering::Relaxed);
    assert_eq!(ask(&gateway, "lab:*/m", &own).status, 429);
    limited.store(false, Ordering::Relaxed);
    let answer = ask(&gateway, "lab:*/m", &own);
    assert!(answer.header("x-maestro-served").starts_with("lab:one"), "{answer:?}");
    assert_eq!(with_key(&upstream, "key-two"), before);
    gateway.stop();
}

#[test]
fn a_conversation_stays_where_it_began() {
    let upstream = Upstream::start(server);
    let test = pool(
        &upstream,
        "[aliases.mix]\nstrategy = \"weighted\"\ntargets = [\"lab:*/m\", \"echo/echo\"]\n",
    );
    let gateway = Gateway::start(&test);
    for model in ["lab:*/m", "mix"] {
        let mut seen = std::collections::BTreeSet::new();
        for talk in 0..24 {
            let first = json!({"role": "user", "content": format!("talk {talk}")});
            let turn = |more: &[serde_json::Value]| {
                let messages = [std::slice::from_ref(&first), more].concat();
                let body = json!({"model": model, "messages": messages}).to_string();
                gateway.post(CHAT, body).header("x-maestro-served").to_owned()
            };
            let served = turn(&[]);
            let answer = json!({"role": "assistant", "content": "yes"});
            let next = json!({"role": "user", "content": "and then?"});
            assert_eq!(turn(&[answer, next]), served, "{model} {talk}");
            seen.insert(served);
        }
        assert!(seen.len() > 1, "{model}: all went to {seen:?}");
    }
    gateway.stop();
}

#[test]
fn an_upstream_that_is_down_is_left_alone_and_probed_by_one() {
    let (up, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_up, count) = (Arc::clone(&up), Arc::clone(&asked));
    let upstream = Upstream::start(move |request| {
        if request.target != "/v1/chat/completions" {
            return server(request);
        }
        count.fetch_add(1, Ordering::Relaxed);
        if is_up.load(Ordering::Relaxed) { says(&["up"]) } else { Reply::json(503, "{}") }
    });
    let more = "[retries]\nmax = 0\n[breaker]\nfailures = 2\nrest_ms = 60000\n\
                [aliases]\nsafe = [\"lab/m\", \"echo/echo\"]\n";
    let test = home(&upstream, more);
    let gateway = Gateway::start(&test);
    for _ in 0..2 {
        assert_eq!(gateway.post(CHAT, chat("lab/m", false)).status, 503);
    }
    let answer = gateway.post(CHAT, chat("lab/m", false));
    assert_eq!((answer.status, asked.load(Ordering::Relaxed)), (503, 2), "{}", answer.body);
    assert!(!answer.header("retry-after").is_empty());
    // A list goes on with what is left.
    let answer = gateway.post(CHAT, chat("safe", false));
    assert_eq!(answer.header("x-maestro-served"), "echo/echo");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    gateway.stop();

    // With a short rest, it is probed and then serves again.
    let test = home(&upstream, "[retries]\nmax = 0\n[breaker]\nfailures = 2\nrest_ms = 50\n");
    let gateway = Gateway::start(&test);
    let failed = |_| gateway.post(CHAT, chat("lab/m", false)).status == 503;
    assert!((0..2).all(failed));
    up.store(true, Ordering::Relaxed);
    let before = asked.load(Ordering::Relaxed);
    until(|| gateway.post(CHAT, chat("lab/m", false)).status == 200);
    assert_eq!(asked.load(Ordering::Relaxed), before + 1, "only the probe went there");
    assert_eq!(gateway.post(CHAT, chat("lab/m", false)).status, 200);
    gateway.stop();
}

/// Of an answer in one piece nothing is told before its end, so that another target may give it.
#[test]
fn an_answer_that_breaks_off_untold_is_given_by_the_next() {
    use super::vendors::{Answer, Vendor};
    let upstream = Upstream::start(|request| match Vendor::asked(request) {
        (Vendor::Chat, true) => Reply::sse().event(&word("half")).close(),
        (Vendor::Chat, false) => {
            Reply::new(200, "application/json").piece("{\"choices\":[").close()
        }
        (vendor, stream) => vendor.reply(&Answer { text: "red", ..Answer::default() }, stream),
    });
    let both = "[aliases]\nboth = [\"lab/m\", \"goo/m\"]\nalone = \"lab/m\"\n";
    let test = super::vendors::home(&upstream, both);
    let gateway = Gateway::start(&test);
    // Passed on, and translated.
    let messages = |model: &str, stream: bool| {
        let said = json!([{"role": "user", "content": "hi"}]);
        json!({"model": model, "max_tokens": 9, "stream": stream, "messages": said}).to_string()
    };
    for (path, body) in [(CHAT, chat("both", false)), ("/v1/messages", messages("both", false))] {
        let answer = gateway.post(path, body);
        assert_eq!(
            (answer.status, answer.header("x-maestro-served")),
            (200, "goo/m"),
            "{answer:?}"
        );
        assert!(answer.body.contains("red") && !answer.body.contains("half"), "{answer:?}");
    }
    assert!(gateway.post("/v1/messages", messages("alone", false)).status >= 500);
    // A stream was told of the first one's beginning.
    let answer = gateway.post("/v1/messages", messages("both", true));
    assert!(answer.body.contains("half") && answer.body.contains("event: error"), "{answer:?}");
    gateway.stop();
}

#[test]
fn a_changed_configuration_serves_and_a_bad_one_does_not() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "[aliases]\nfast = \"lab/m\"\n");
    let path = test.home().join("config.toml");
    let good = fs::read_to_string(&path).unwrap();
    let gateway = Gateway::start(&test);
    let served = || {
        let answer = gateway.post(CHAT, chat("fast", false));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.header("x-maestro-served").to_owned()
    };
    assert_eq!(served(), "lab/m");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                // With an end, so that a test that fails ends too.
                for _ in 0..2_000 {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    served();
                }
            });
        }
        fs::write(&path, good.replace("fast = \"lab/m\"", "fast = \"echo/echo\"")).unwrap();
        until(|| served() == "echo/echo");
        fs::write(&path, good.replace("[aliases]", "[alias]")).unwrap();
        gateway.wait_for_stderr("unknown key `alias`");
        assert_eq!(served(), "echo/echo", "the former one stays");
        fs::write(&path, good.replace("openai-compatible", "nobody")).unwrap();
        gateway.wait_for_stderr("does not fit the plugins");
        assert_eq!(served(), "echo/echo");
        // As an editor leaves it that empties a file before it writes.
        fs::write(&path, "").unwrap();
        gateway.wait_for_stderr("is empty or gone");
        assert_eq!(served(), "echo/echo");
        fs::write(&path, &good).unwrap();
        until(|| served() == "lab/m");
        over.store(true, Ordering::Relaxed);
    });
    fs::remove_file(&path).unwrap();
    rustix::process::kill_process(gateway.process(), rustix::process::Signal::HUP).unwrap();
    until(|| gateway.post(CHAT, chat("fast", false)).status == 404);
    gateway.stop();
}

/// A provider may be written down before its plugin is there.
#[test]
fn a_configuration_serves_when_the_plugin_that_it_names_comes() {
    let test = Test::new().plugin("echo");
    let gateway = Gateway::start(&test);
    let path = test.home().join("config.toml");
    let text = "[providers.shout]\n[aliases]\nlater = \"shout/shout\"\n";
    fs::write(&path, text).unwrap();
    gateway.wait_for_stderr("the former configuration stays");
    let test = test.plugin("shout");
    until(|| gateway.post(CHAT, chat("later", false)).status == 200);
    drop(gateway);
    drop(test);
}

#[test]
fn a_route_is_explained() {
    let upstream = Upstream::start(server);
    let test = pool(&upstream, "[aliases]\nfast = [\"gone/m\", \"lab:*/m\", \"echo/echo\"]\n");
    let output = test.args_of(["routes", "explain", "fast"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    for text in
        ["`fast` is an alias", "no provider `gone`", "its turn in the pool", &upstream.url()]
    {
        assert!(output.stdout.contains(text), "{text}: {}", output.stdout);
    }
    let output = test.args_of(["keys", "create", "--name", "tool", "--allow", "echo/*"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let output = test.args_of(["--json", "routes", "explain", "fast", "--client", "tool"]);
    let said: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(said["serves"], "echo/echo", "{said}");
    assert_eq!(said["stops"][1]["passed_over"]["why"], "key_may_not", "{said}");
    let output = test.args_of(["routes", "explain", "lab:nobody/m"]);
    assert_ne!(output.status.code(), Some(0), "{}", output.stdout);
    assert!(output.stderr.contains("nobody"), "{}", output.stderr);
    // A name that nobody lists goes to whoever speaks the client's dialect.
    let four = super::vendors::home(&upstream, "");
    let output = four.args_of(["routes", "explain", "gpt-9"]);
    assert_eq!(output.status.code(), Some(2), "{}", output.stdout);
    assert!(
        output.stderr.contains("say which, for example `--dialect openai-"),
        "{}",
        output.stderr
    );
    let output = test.args_of(["routes", "explain", "lab/m", "--client", "tool"]);
    assert_eq!(output.status.code(), Some(1), "{}", output.stdout);
    assert!(output.stderr.contains("may not ask for model"), "{}", output.stderr);
    let output = test.args_of(["routes", "list"]);
    assert!(output.stdout.contains("gone/m lab:*/m echo/echo"), "{}", output.stdout);
}

#[test]
fn a_route_by_weight_is_explained_as_one() {
    let upstream = Upstream::start(server);
    let more = "[aliases.half]\nstrategy = \"weighted\"\n\
                targets = [{ ref = \"echo/echo\", weight = 1 }, { ref = \"lab/m\", weight = 1 }]\n";
    let test = home(&upstream, more);
    let output = test.args_of(["routes", "explain", "half"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("drawn by the weights"), "{}", output.stdout);
}

#[test]
fn a_route_without_a_clear_session_serves_nobody() {
    let upstream = Upstream::start(server);
    let test = pool(&upstream, "[aliases]\nfast = [\"lab/m\", \"echo/echo\"]\n");
    let output = test.args_of(["routes", "explain", "fast"]);
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let line =
        |text: &str| output.stdout.lines().find(|line| line.contains(text)).unwrap_or_default();
    assert!(line("lab/m").starts_with("passed over"), "{}", output.stdout);
    assert!(line("lab/m").contains("no default session, but several"), "{}", output.stdout);
    assert!(line("echo/echo").starts_with("serves"), "{}", output.stdout);
    assert!(line("echo/echo").contains("the first that can be asked"), "{}", output.stdout);
    // As a request meets it.
    let gateway = Gateway::start(&test);
    assert_eq!(ask(&gateway, "fast", "x").header("x-maestro-served"), "echo/echo");
    let output = test.args_of(["routes", "explain", "lab/m"]);
    assert_ne!(output.status.code(), Some(0), "{}", output.stdout);
    assert!(output.stderr.contains("no default session, but several"), "{}", output.stderr);
}

#[test]
fn a_route_is_explained_with_what_a_gateway_that_runs_has_learnt() {
    let mends = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&mends);
    let upstream = Upstream::start(move |request| match mended.load(Ordering::Relaxed) {
        true => server(request),
        false => Reply::json(503, "{}"),
    });
    let more = "[aliases]\nfast = [\"lab:one/m\", \"echo/echo\"]\n\
                [breaker]\nfailures = 2\nrest_ms = 100000\n";
    let test = pool(&upstream, more);
    let explain = |name: &str| {
        let output = test.args_of(["--json", "routes", "explain", name]);
        let first = output.stdout.lines().next().unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(first).unwrap_or_default()
    };
    let human = || test.args_of(["routes", "explain", "fast"]).stdout;
    assert!(human().contains("no gateway runs"), "{}", human());

    let gateway = Gateway::start(&test);
    let (pid, url) = (gateway.running().id(), gateway.url.clone());
    until(|| explain("fast")["gateways"][0]["pid"] == pid);
    assert_eq!(explain("fast")["serves"], "lab:one/m");
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "lab:one/m", "x").status, 503);
    }
    // It is written a moment later.
    until(|| explain("fast")["serves"] == "echo/echo");
    let said = explain("fast");
    let lab = &said["stops"][1];
    assert_eq!(
        (&lab["ref"], &lab["passed_over"]["why"]),
        (&json!("lab:one/m"), &json!("breaker_open"))
    );
    assert_eq!(lab["passed_over_by"], json!([pid]), "{said}");
    let wait = lab["passed_over"]["wait_ms"].as_u64().unwrap();
    assert!((1..=100_000).contains(&wait), "{said}");
    assert!(!said.to_string().contains("holder"), "{said}");
    let text = human();
    for part in [format!("(process {pid})"), format!("as process {pid} has met them"), url] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let alone = test.args_of(["routes", "explain", "lab:one/m"]);
    assert_eq!(alone.status.code(), Some(1), "{}", alone.stdout);
    assert!(alone.stderr.contains("failed several times in a row"), "{}", alone.stderr);

    let folder = test.home().join("cache/standing");
    let file = folder.join(format!("{pid}.json"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // A process that is gone is not believed, whatever it left; the next gateway clears it away.
    let left = fs::read_to_string(&file).unwrap();
    gateway.stop();
    assert!(!file.exists(), "its end takes the file along");
    fs::write(&file, left).unwrap();
    assert_eq!(explain("fast")["serves"], "lab:one/m");
    assert_eq!(explain("fast")["gateways"], json!([]));
    mends.store(true, Ordering::Relaxed);
    let next = Gateway::start(&test);
    until(|| explain("fast")["gateways"].as_array().is_some_and(|all| all.len() == 1));
    assert!(!file.exists());
    assert_eq!(ask(&next, "fast", "x").header("x-maestro-served"), "lab:one/m");
    next.stop();
}
