//! Plugins that are not trusted run in a worker: who, what it may do there, and that nobody can tell the
//! difference. How workers die is in `crash`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use host::{Maestro, maestro::PluginInfo};
use plugin_api::{chat::ChatRequest, event::ChatEvent};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    ask::{Answer, begin, chat, finish, request, text_of},
    contract,
    harness::{Test, library, wait},
    upstream::{Gate, PATIENCE, Reply, Upstream},
};

pub(crate) fn plugin(maestro: &Maestro, id: &str) -> PluginInfo {
    maestro.list_plugins().into_iter().find(|plugin| plugin.id == id).unwrap()
}

/// Returns the process of a plugin's worker, if one runs.
pub(crate) fn pid(maestro: &Maestro, id: &str) -> Option<u32> {
    plugin(maestro, id).worker?.pid
}

pub(crate) fn kill(pid: u32) {
    // It may be gone already, which is as well.
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL);
}

/// Waits until a process is no more, or a zombie that its parent has yet to see.
pub(crate) fn wait_for_end(pid: u32) {
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
pub(crate) fn words(count: usize) -> String {
    (0..count).map(|n| format!("word{n} ")).collect()
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
fn what_a_long_answer_took_is_given_back() {
    let test = Test::new().plugin("echo");
    let maestro = test.maestro();
    let memory = || plugin(&maestro, "echo").worker.unwrap().memory.unwrap();
    wait(async {
        assert_eq!(chat(&maestro, "echo/echo", &[]).await.ok(), "hello");
        let before = memory();
        for _ in 0..3 {
            let mut answer = Answer { events: Vec::new(), error: None };
            let asked = request(&words(200_000), &[]);
            finish(begin(&maestro, "echo/echo", asked).await.unwrap(), &mut answer).await;
            assert_eq!(answer.problem(), "");
        }
        let start = Instant::now();
        // The end of an exchange is told to the worker, and not waited for.
        while memory() > before + (16 << 20) {
            assert!(start.elapsed() < PATIENCE, "{} before, {} after", before, memory());
            tokio::task::yield_now().await;
        }
        eprintln!("{} KB before, {} KB after", before >> 10, memory() >> 10);
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
            "PLUGIN  VERSION  FROM           RUNS        GEN  STATE    HASH          PROVIDERS  FILE\n\
             echo    0.1.0    user, trusted  in-process  1    serving  [..]  echo       [HOME]/plugins/[..]\n",
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
