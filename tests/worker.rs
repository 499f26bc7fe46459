//! Plugins that are not trusted run in a worker: what they cannot do there, what becomes of their
//! streams when they die, and that nobody can tell the difference otherwise.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use host::{Maestro, maestro::PluginInfo};
use plugin_api::{chat::ChatRequest, event::ChatEvent};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

use crate::{
    ask::{Answer, begin, chat, finish, request, text_of},
    contract,
    harness::{Test, library, wait},
    upstream::{Gate, PATIENCE, Reply, Upstream},
};

/// Budgets that a test can wait for. Processor time, because a busy machine takes none of it away.
const TIGHT: &str = "[plugins]\nstep_cpu_ms = 300\nstep_wall_ms = 20000\nmemory_mb = 256\n";

fn plugin(maestro: &Maestro, id: &str) -> PluginInfo {
    maestro.list_plugins().into_iter().find(|plugin| plugin.id == id).unwrap()
}

/// Returns the process of a plugin's worker, if one runs.
fn pid(maestro: &Maestro, id: &str) -> Option<u32> {
    plugin(maestro, id).worker?.pid
}

fn kill(pid: u32) {
    // It may be gone already, which is as well.
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
}

/// Waits until a process is no more, or a zombie that its parent has yet to see.
fn wait_for_end(pid: u32) {
    let start = Instant::now();
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    };
    while runs() {
        assert!(start.elapsed() < PATIENCE, "process {pid} still runs");
        std::thread::yield_now();
    }
}

/// A prompt of so many words.
fn words(count: usize) -> String {
    (0..count).map(|n| format!("word{n} ")).collect()
}

/// Asks for words one by one, a millisecond apart.
fn slowly(said: &str) -> ChatRequest {
    request(said, &[("delay_ms", "1")])
}

/// Begins streams and reads the first event of each, so that they are under way.
async fn under_way(
    maestro: &Maestro,
    model: &str,
    said: &str,
) -> Vec<(host::maestro::ChatStream, Answer)> {
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = begin(maestro, model, slowly(said)).await.unwrap();
        let first = stream.next().await.unwrap().unwrap();
        streams.push((stream, Answer { events: vec![first], error: None }));
    }
    streams
}

async fn all_whole(streams: Vec<(host::maestro::ChatStream, Answer)>, said: &str, while_: &str) {
    for (stream, mut answer) in streams {
        finish(stream, &mut answer).await;
        assert_eq!(answer.problem(), "", "{while_}");
        assert_eq!(answer.text(), said, "{while_}");
    }
}

/// The faults of `hostile` and what is said of each.
const FAULTS: &[(&str, &str)] = &[
    ("abrt", "it aborted"),
    ("segv", "segmentation fault"),
    ("deep", "segmentation fault"),
    ("loop", "a step used more than 300 ms of processor time"),
    ("naps", "forbidden system call `clock_nanosleep`"),
    ("huge", "it aborted"),
    // The C library forks with all signals blocked, so no handler names the call.
    ("fork", "forbidden system call"),
    ("open", "forbidden system call `openat`"),
    ("sock", "forbidden system call `socket`"),
    ("thrd", "forbidden system call"),
    ("exit", "it exited with status 0"),
    ("code", "forbidden system call `mmap`"),
    ("kill", "forbidden system call `tgkill`"),
    ("hush", "forbidden system call `rt_sigaction`"),
    ("forg", "it sent a message "),
    ("flud", "it aborted"),
];

#[test]
fn a_fault_ends_its_own_exchange_and_no_other() {
    let test = Test::new().plugin("hostile").config(TIGHT);
    let maestro = test.maestro();
    let said = words(12);
    wait(async {
        for (fault, how) in FAULTS {
            let streams = under_way(&maestro, "hostile/m", &said).await;
            let answer = chat(&maestro, "hostile/m", &[("fault", fault)]).await;
            assert_eq!(answer.text(), "hello", "{fault}: what came before is delivered");
            let expected =
                format!("plugin `hostile` failed: the same input ended its worker twice: {how}");
            let problem = answer.problem();
            assert!(problem.starts_with(&expected), "{fault}: {problem}");
            assert_eq!(answer.error.unwrap().exit_code(), 4);
            all_whole(streams, &said, fault).await;
        }
        let panic = chat(&maestro, "hostile/m", &[("fault", "pnic")]).await.problem();
        assert!(panic.starts_with("plugin `hostile` broke contract rule `never-panics`: stumbled"));
    });
    let worker = plugin(&maestro, "hostile").worker.unwrap();
    assert_eq!(worker.crashes, 2 * FAULTS.len() as u64);
}

#[test]
fn a_step_that_waits_for_ever_is_ended_by_the_clock() {
    let config = "[plugins]\nstep_wall_ms = 700\n";
    let test = Test::new().plugin("hostile").config(config);
    let maestro = test.maestro();
    let said = words(8);
    wait(async {
        let streams = under_way(&maestro, "hostile/m", &said).await;
        let problem = chat(&maestro, "hostile/m", &[("fault", "wait")]).await.problem();
        assert!(
            problem.ends_with("ended its worker twice: a step took more than 700 ms"),
            "{problem}"
        );
        all_whole(streams, &said, "wait").await;
    });
}

#[test]
fn a_constructor_can_do_no_more_than_a_step() {
    let bytes = fs::read(library("hostile")).unwrap();
    let at = bytes.windows(16).position(|w| w == b"constructor=none").unwrap() + 12;
    let said = words(8);
    // Memory that is code is what the loader itself must have, so that waits for the second stage; and
    // there is no exchange yet whose messages could be forged.
    for (fault, how) in FAULTS.iter().filter(|(fault, _)| !["code", "forg"].contains(fault)) {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(fault.as_bytes());
        let test = Test::new().plugin("echo").write("plugins/hostile.so", bytes).config(TIGHT);
        let maestro = test.maestro();
        wait(async {
            let streams = under_way(&maestro, "echo/echo", &said).await;
            let answer = chat(&maestro, "hostile/m", &[]).await;
            if *fault == "open" {
                // The loader opens files too, but landlock has left none to open.
                assert_eq!(answer.ok(), "hello");
            } else {
                let problem = answer.problem();
                let expected = format!(
                    "failed to load plugin `hostile`: it ended its worker while it was being \
                     loaded: {how}"
                );
                assert!(problem.starts_with(&expected), "{fault}: {problem}");
                assert_eq!(answer.error.unwrap().exit_code(), 4);
            }
            all_whole(streams, &said, fault).await;
        });
    }
}

#[test]
fn what_was_delivered_is_not_contradicted() {
    let test = Test::new().plugin("hostile");
    let maestro = test.maestro();
    wait(async {
        let fault = [("fault", "random"), ("delay_ms", "1")];
        let mut stream = begin(&maestro, "hostile/m", request("hello", &fault)).await.unwrap();
        text_of(stream.next().await);
        assert!(stream.is_replayable());
        kill(pid(&maestro, "hostile").unwrap());
        let mut answer = Answer { events: Vec::new(), error: None };
        while answer.error.is_none() {
            match stream.next().await.expect("an error is the end") {
                // What had been answered before the worker died.
                Ok(event) => answer.events.push(event),
                Err(error) => answer.error = Some(error),
            }
        }
        assert_eq!(
            answer.problem(),
            "plugin `hostile` failed: it answered differently when it was replayed after its \
             worker ended (killed by signal 9)"
        );
    });
    assert_eq!(plugin(&maestro, "hostile").worker.unwrap().crashes, 0);
}

#[test]
fn a_stream_too_long_to_be_kept_says_so() {
    let test = Test::new().plugin("echo").plugin("hostile");
    let maestro = test.maestro();
    let said = words(200_000);
    wait(async {
        let mut long = begin(&maestro, "hostile/m", slowly(&said)).await.unwrap();
        text_of(long.next().await);
        assert!(!long.is_replayable());
        let mut short = begin(&maestro, "hostile/m", slowly("one two")).await.unwrap();
        assert_eq!(text_of(short.next().await), "one ");
        kill(pid(&maestro, "hostile").unwrap());
        let mut answer = Answer { events: Vec::new(), error: None };
        finish(long, &mut answer).await;
        assert_eq!(
            answer.problem(),
            "plugin `hostile` failed: its worker ended (killed by signal 9), and the exchange was \
             too long to be replayed"
        );
        assert_eq!(answer.error.unwrap().exit_code(), 1);
        assert_eq!(text_of(short.next().await), "two");
    });
}

/// A generator of numbers that is good enough for choosing moments.
struct Dice(u64);

impl Dice {
    /// Takes the seed from the environment, or a new one, and prints it.
    fn new() -> Self {
        let seed = std::env::var("MAESTRO_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            use std::hash::{BuildHasher as _, RandomState};
            RandomState::new().hash_one(0)
        });
        eprintln!("MAESTRO_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Runs streams beside each other, calling `each` after every event; returns what each gave.
async fn streams(
    maestro: &Maestro,
    asked: &[(&'static str, ChatRequest)],
    each: impl Fn() + Send + Sync + 'static,
) -> Vec<Vec<ChatEvent>> {
    let each = Arc::new(each);
    let mut running = JoinSet::new();
    for (n, (model, request)) in asked.iter().cloned().enumerate() {
        let (maestro, each) = (maestro.clone(), Arc::clone(&each));
        running.spawn(async move {
            let mut stream = begin(&maestro, model, request).await.unwrap();
            let mut events = Vec::new();
            while let Some(event) = stream.next().await {
                events.push(event.unwrap_or_else(|error| panic!("stream {n}: {error:?}")));
                each();
            }
            (n, events)
        });
    }
    let mut all = vec![Vec::new(); asked.len()];
    while let Some(ended) = running.join_next().await {
        let (n, events) = ended.unwrap();
        all[n] = events;
    }
    all
}

/// Kills the worker from outside, at moments that come of the events that were delivered.
#[test]
fn no_stream_shows_that_its_worker_was_killed() {
    let kills: u64 = std::env::var("MAESTRO_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let mut dice = Dice::new();
    // Opened one after the other in the disturbed run, so that these streams last as long as the rest.
    let gates: Vec<Gate> = (0..10).map(|_| Gate::new()).collect();
    let upstream = {
        let gates = gates.clone();
        Upstream::start(move |request| {
            let calm = request.json()["said"] == "calm";
            let pieces = (0..20).fold(Reply::sse(), |reply, n| {
                let reply = reply.event(&format!("piece {n} "));
                if calm { reply } else { reply.wait(&gates[n / 2]) }
            });
            pieces.event("[DONE]")
        })
    };
    let config = format!(
        "[providers.lab]\nplugin = \"faulty\"\nbase_url = \"{}\"\n[plugins]\nstep_wall_ms = 60000\n",
        upstream.url()
    );
    let test = Test::new().plugin("faulty").plugin("hostile").config(config);
    let maestro = test.maestro();
    const STREAMS: u64 = 50;
    const OVER_HTTP: u64 = 10;
    let length = usize::try_from(kills).unwrap().max(20);
    let said = words(length);
    let asked = |http: &str| -> Vec<_> {
        let over_http = |n| n < OVER_HTTP;
        let ask = |n| match over_http(n) {
            true => ("lab/m", request(http, &[])),
            false => ("hostile/m", slowly(&said)),
        };
        (0..STREAMS).map(ask).collect()
    };
    let patience = PATIENCE.max(Duration::from_millis(200 * kills));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let run = async {
            let undisturbed = streams(&maestro, &asked("calm"), || ()).await;
            let before = upstream.requests().len() as u64;
            let events: u64 = undisturbed.iter().map(|events| events.len() as u64).sum();
            let moments: BTreeSet<u64> =
                (0..kills * 2).map(|_| dice.below(events - 1) + 1).collect();
            let (seen, done) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
            let (killer, killed) = (maestro.clone(), Arc::clone(&done));
            let disturbed = streams(&maestro, &asked("rough"), move || {
                let now = seen.fetch_add(1, Ordering::Relaxed);
                let open = now * 12 / events;
                gates.iter().take(usize::try_from(open).unwrap()).for_each(Gate::open);
                if !moments.contains(&now) || killed.load(Ordering::Relaxed) >= kills {
                    return;
                }
                // The plugin whose streams are the longer ones is hit more often.
                let plugin = if now % 4 == 0 { "faulty" } else { "hostile" };
                if let Some(pid) = pid(&killer, plugin) {
                    kill(pid);
                    killed.fetch_add(1, Ordering::Relaxed);
                }
            })
            .await;
            assert_eq!(disturbed, undisturbed);
            assert_eq!(upstream.requests().len() as u64 - before, OVER_HTTP, "none is sent twice");
            let done = done.load(Ordering::Relaxed);
            eprintln!("{done} kills");
            assert!(done >= kills * 3 / 4, "only {done} kills found a worker");
        };
        tokio::time::timeout(patience, run).await.expect("finished in time");
    });
    for id in ["faulty", "hostile"] {
        let worker = plugin(&maestro, id).worker.unwrap();
        assert_eq!(worker.crashes, 0, "{id}: what comes from outside does not count");
        assert!(worker.starts > 1, "{id}");
    }
}

/// What a scenario gives: its events, and its error.
async fn outcome(maestro: &Maestro, model: &str, request: ChatRequest) -> (Vec<ChatEvent>, String) {
    let mut answer = Answer { events: Vec::new(), error: None };
    match begin(maestro, model, request).await {
        Ok(stream) => finish(stream, &mut answer).await,
        Err(error) => answer.error = Some(error),
    }
    let problem = answer.problem();
    (answer.events, problem)
}

#[test]
fn both_tiers_give_the_same() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/v1/chat" => match request.json()["said"].as_str().unwrap_or_default() {
            "long" => {
                (0..500).fold(Reply::sse(), |reply, n| reply.event(&n.to_string())).event("[DONE]")
            }
            "refused" => Reply::json(429, r#"{"error":{"message":"slow down"}}"#),
            "failing" => Reply::sse().event("one").event("!melted"),
            "closed" => Reply::sse().event("one").close(),
            "cut" => Reply::sse().event("one"),
            "empty" => Reply::nothing(),
            _ => Reply::says(&["one ", "two ", "three"]),
        },
        "/v1/chat/completions" => {
            let chunk = |delta: &str, finish: &str| {
                format!(
                    r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
                )
            };
            Reply::sse()
                .event(&chunk(r#"{"role":"assistant","reasoning_content":"hm"}"#, "null"))
                .event(&chunk(r#"{"content":"one "}"#, "null"))
                .event(&chunk(
                    r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"look","arguments":"{}"}}]}"#,
                    "null",
                ))
                .event(&chunk("{}", r#""tool_calls""#))
                .event("[DONE]")
        }
        _ => Reply::json(404, "{}"),
    });
    let url = upstream.url();
    let config = format!(
        "[providers.lab]\nplugin = \"faulty\"\nbase_url = \"{url}\"\n\
         [providers.open]\nplugin = \"openai-compatible\"\nbase_url = \"{url}\"\n"
    );
    let plugins = ["echo", "faulty", "openai-compatible"];
    let home = || plugins.iter().fold(Test::new().config(&config), |test, name| test.plugin(name));
    let (confined, trusted) = (home(), plugins.iter().fold(home(), |test, id| test.trusted(id)));
    let (worker, in_process) = (confined.maestro(), trusted.maestro());
    for id in plugins {
        assert_eq!(plugin(&worker, id).tier, "worker");
        assert_eq!(plugin(&in_process, id).tier, "in-process");
    }
    let mut scenarios: Vec<(&str, ChatRequest)> = Vec::new();
    for (fault, ..) in contract::faults() {
        scenarios.push(("faulty/rude", request("hello", &[("fault", fault)])));
    }
    for fault in ["flood-of-bytes", "flood-of-events", "flood-over-steps", "panic-in-open", "sulk"]
    {
        scenarios.push(("faulty/rude", request("hello", &[("fault", fault)])));
    }
    for fault in [
        "none",
        "two-requests",
        "foreign-origin",
        "host-header",
        "bad-header",
        "unknown-blob",
        "flood-of-requests",
    ] {
        scenarios.push(("lab/m", request("hello", &[("fault", fault)])));
    }
    for said in ["long", "refused", "failing", "closed", "cut", "empty"] {
        scenarios.push(("lab/m", request(said, &[])));
    }
    scenarios.push(("open/m", request("hello", &[])));
    let all = [("reasoning", "hm"), ("tool", "look")];
    scenarios.push(("echo/echo", request("one two three", &all)));
    scenarios.push(("echo/echo", request("one two three", &[("error", "overloaded")])));
    scenarios.push(("echo/echo", request(&words(3000), &[])));
    let mut delayed = request("one two three", &[]);
    delayed.options.insert("delay_ms".into(), 1.into());
    scenarios.push(("echo/echo", delayed));
    wait(async {
        for (model, request) in scenarios {
            let asked = format!("{model} {:?}", request.options);
            let here = outcome(&in_process, model, request.clone()).await;
            let there = outcome(&worker, model, request).await;
            assert!(here == there, "{asked}: {here:?}\n{there:?}");
        }
        for provider in ["echo", "faulty", "lab", "open"] {
            let list = async |maestro: &Maestro| match maestro.list_models(provider, None).await {
                Ok(models) => format!("{models:?}"),
                Err(error) => host::maestro::one_line(&error),
            };
            assert_eq!(list(&in_process).await, list(&worker).await, "{provider}");
        }
    });
    for id in plugins {
        assert_eq!(plugin(&worker, id).worker.unwrap().crashes, 0, "{id}");
        assert!(plugin(&in_process, id).worker.is_none(), "{id}");
    }
}

#[test]
fn a_worker_has_nothing_but_its_socket_its_library_and_nowhere() {
    let test = Test::new().plugin("echo");
    let maestro = test.maestro();
    wait(async { chat(&maestro, "echo/echo", &[]).await.ok() });
    let pid = pid(&maestro, "echo").unwrap();
    let of = |what: &str| PathBuf::from(format!("/proc/{pid}/{what}"));
    assert_eq!(fs::read(of("environ")).unwrap(), b"");
    let mut open: Vec<String> = fs::read_dir(of("fd"))
        .unwrap()
        .map(|fd| fs::read_link(fd.unwrap().path()).unwrap().display().to_string())
        .map(|path| path.split([':', ' ']).next().unwrap().to_owned())
        .collect();
    open.sort();
    assert_eq!(open, ["/dev/null", "/dev/null", "/dev/null", "/memfd", "socket"]);
    let status = fs::read_to_string(of("status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Threads"), "1");
    let confinement = host::plugin::worker::Confinement::of_this_machine();
    if confinement.seccomp {
        assert_eq!((field("Seccomp"), field("Seccomp_filters")), ("2".into(), "2".into()));
    }
    let maps = fs::read_to_string(of("maps")).unwrap();
    assert!(maps.contains("/memfd:maestro-plugin"));
    assert!(!maps.contains(test.home().to_str().unwrap()), "no file of the home is mapped");
    let limits = fs::read_to_string(of("limits")).unwrap();
    for (limit, most) in [("Max core file size", "0"), ("Max open files", "16")] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        assert_eq!(line[limit.len()..].split_whitespace().next(), Some(most), "{limit}");
    }
}

#[test]
fn a_worker_ends_with_its_host() {
    let test = Test::new().plugin("echo");
    let maestro = test.maestro();
    wait(async { chat(&maestro, "echo/echo", &[]).await.ok() });
    let own = pid(&maestro, "echo").unwrap();
    drop(maestro);
    wait_for_end(own);

    // A host that is killed has no time to tell anybody.
    let test =
        test.plugin("hostile").args(["chat", "-m", "hostile/m", "-o", "fault=wait", "hello"]);
    let running = test.spawn();
    running.wait_for_stdout("hello");
    let children = format!("/proc/{}/task", running.id());
    let child = fs::read_dir(children)
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .find_map(|children| children.split_whitespace().next()?.parse().ok())
        .expect("a worker");
    drop(running);
    wait_for_end(child);
}

#[test]
fn a_worker_that_was_idle_when_it_died_is_replaced_when_it_is_needed() {
    let test = Test::new().plugin("echo");
    let maestro = test.maestro();
    wait(async {
        for round in 1..4 {
            assert_eq!(chat(&maestro, "echo/echo", &[]).await.ok(), "hello");
            let worker = plugin(&maestro, "echo").worker.unwrap();
            assert_eq!((worker.starts, worker.crashes), (round, 0));
            let pid = worker.pid.unwrap();
            assert!(worker.memory.unwrap() > 0);
            kill(pid);
            wait_for_end(pid);
            while self::pid(&maestro, "echo").is_some() {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn a_stream_that_is_dropped_cancels_and_says_the_last_word() {
    let gate = Gate::new();
    let upstream = Upstream::always(Reply::sse().event("one").wait(&gate).event("[DONE]"));
    let config =
        format!("[providers.lab]\nplugin = \"faulty\"\nbase_url = \"{}\"\n", upstream.url());
    let test = Test::new().plugin("faulty").config(config);
    let maestro = test.maestro();
    wait(async {
        let mut stream = begin(&maestro, "lab/m", request("hello", &[])).await.unwrap();
        assert_eq!(text_of(stream.next().await), "one");
        drop(stream);
    });
    gate.open();
    upstream.wait_for_closed(1);
    let said = wait(async { chat(&maestro, "faulty/rude", &[]).await.ok() });
    assert_eq!(said, "hello");
}

#[test]
fn trust_is_for_bytes_and_not_for_a_name() {
    let test = Test::new().plugin("echo");
    let tier = |test: &Test| {
        let plugin = plugin(&test.maestro(), "echo");
        (plugin.tier, plugin.trusted)
    };
    assert_eq!(tier(&test), ("worker", false));
    let test = test
        .args(["plugin", "trust", "echo"])
        .stderr("trusted `echo` as long as its hash is [..]\n")
        .success();
    assert_eq!(tier(&test), ("in-process", true));
    let test = test
        .args(["plugin", "list"])
        .stdout(
            "PLUGIN  VERSION  FROM           RUNS        STATE   HASH          PROVIDERS  FILE\n\
             echo    0.1.0    user, trusted  in-process  judged  [..]  echo       [HOME]/plugins/[..]\n",
        )
        .success();
    let path = test.plugin_path("echo");
    let original = fs::read(&path).unwrap();
    let mut changed = original.clone();
    let from = b"\"version\":\"0.1.0\"";
    let at = changed.windows(from.len()).position(|window| window == from).unwrap();
    changed[at + from.len() - 2] = b'9';
    fs::write(&path, changed).unwrap();
    assert_eq!(tier(&test), ("worker", false));
    fs::write(&path, original).unwrap();
    assert_eq!(tier(&test), ("in-process", true), "the same bytes again");
    let test = test.config("[plugins]\nisolation = \"worker\"\n");
    assert_eq!(tier(&test), ("worker", true));
    let test = test
        .config("")
        .args(["plugin", "untrust", "echo"])
        .stderr("`echo` is not trusted any more\n")
        .success()
        .args(["plugin", "untrust", "echo"])
        .stderr("`echo` was not trusted\n")
        .success()
        .args(["plugin", "trust", "ecko"])
        .stderr("error: no plugin `ecko`\n\nhint: did you mean `echo`?\n")
        .failure(2);
    assert_eq!(tier(&test), ("worker", false));
    let test = test.write("trusted.json", "{}");
    let open = fs::Permissions::from_mode(0o666);
    fs::set_permissions(test.home().join("trusted.json"), open).unwrap();
    test.args(["plugin", "list"])
        .stderr(
            "error: the list of trusted plugins cannot be used\n  \
             caused by: `[HOME]/trusted.json` may be written by others\n\n\
             hint: look at it, then run `chmod 600 [HOME]/trusted.json`\n",
        )
        .failure(5);
}

#[test]
fn a_build_whose_panic_aborts_runs_in_a_worker_even_when_it_is_trusted() {
    let mut bytes = fs::read(library("echo")).unwrap();
    let from = b"\"panic\":\"unwind\"";
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + from.len()].copy_from_slice(b"\"panic\":\"abort\" ");
    let test = Test::new().write("plugins/abort.so", bytes).trusted("echo");
    let maestro = test.maestro();
    let found = plugin(&maestro, "echo");
    assert_eq!((found.tier, found.trusted), ("worker", true));
    assert_eq!(wait(chat(&maestro, "echo/echo", &[])).ok(), "hello");
}

#[test]
fn without_a_program_for_workers_the_reason_is_named() {
    let test = Test::new().plugin("echo").config("[plugins]\nworker = \"/nowhere/maestro\"\n");
    let answer = wait(chat(&test.maestro(), "echo/echo", &[]));
    assert_eq!(
        answer.problem(),
        "failed to load plugin `echo`: no worker can be had for it: No such file or directory (os error 2)"
    );
    assert_eq!(answer.error.unwrap().exit_code(), 4);
}

/// Takes a system call away from this thread and from what it starts, as an older kernel would.
fn without(call: i64) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let refuse = SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap());
    let rules = [(call, Vec::new())].into();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// What a machine that lacks something does with a plugin that is not trusted.
fn on_a_machine_without(call: i64, missing: &str) {
    let complete = host::plugin::worker::Confinement::of_this_machine().is_complete();
    without(call);
    let missing = if complete { missing.to_owned() } else { "[..]".to_owned() };
    let test = Test::new()
        .plugin("echo")
        .args(["plugin", "inspect", "plugins/libecho.so"])
        .stderr(format!(
            "error: failed to load plugin `plugins/libecho.so`\n  \
             caused by: it is not trusted, and this machine cannot confine it: {missing} is \
             missing\n\n\
             hint: run `maestro plugin trust` on it, or set `plugins.allow_unconfined = true`, if \
             you trust its author\n"
        ))
        .failure(4);
    let output = test.args_of(["doctor"]);
    assert_eq!(output.status.code(), Some(1), "there is no plugin left");
    let warning = "warning  confinement: ";
    let line = output.stdout.lines().find_map(|line| line.strip_prefix(warning)).unwrap();
    assert!(line.ends_with("is missing on this machine; plugins that are not trusted are refused"));

    let test = test.config("[plugins]\nallow_unconfined = true\n");
    let output = test.args_of(["doctor"]);
    let line = output.stdout.lines().find_map(|line| line.strip_prefix(warning)).unwrap();
    assert!(
        line.starts_with("plugins that are not trusted run in workers that are not confined: ")
    );
    let test =
        test.args(["chat", "-m", "echo/echo", "hello"]).stdout("hello\n").success().config("");

    // What cannot run yet can still be trusted, and then runs.
    test.args(["plugin", "trust", "echo"])
        .stderr("trusted `echo` as long as its hash is [..]\n")
        .success()
        .args(["chat", "-m", "echo/echo", "hello"])
        .stdout("hello\n")
        .success();
}

#[test]
fn without_landlock_what_is_not_trusted_is_refused() {
    on_a_machine_without(libc::SYS_landlock_create_ruleset, "landlock");
}

#[test]
fn without_filters_what_is_not_trusted_is_refused() {
    on_a_machine_without(libc::SYS_seccomp, "seccomp");
}

#[test]
fn a_worker_is_not_started_by_hand() {
    let program = Path::new(env!("CARGO_BIN_EXE_maestro"));
    let run = |args: &[&str]| Command::new(program).args(args).output().unwrap();
    assert_eq!(run(&["__plugin-worker"]).status.code(), Some(2));
    assert_eq!(run(&["__plugin-worker", "1", "1", "confined"]).status.code(), Some(1));
}
