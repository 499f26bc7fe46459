//! Whatever a plugin does and whatever is put into the folder, a running host goes on: every row is
//! tried against `maestro serve` while other streams run through it, and none of those may show it.
//!
//! The tables are also what `docs/faults.md` shows: `MAESTRO_WRITE_DOCS=1` writes it.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::{
    gateway::client::{Answer, Connection, Gateway},
    harness::{Test, library, line_matches, workspace},
    plugin_life::{bytes, patched},
    upstream::{Gate, Reply, Upstream},
    worker::words,
};

/// One fault, what it is, and what the host says of it.
struct Row {
    name: &'static str,
    what: &'static str,
    said: &'static str,
}

const fn row(name: &'static str, what: &'static str, said: &'static str) -> Row {
    Row { name, what, said }
}

/// What a step, or the constructor of a library, does in a worker. Neighbours are told apart by what is
/// said, because the same line is not said twice.
const CODE: &[Row] = &[
    row("abrt", "`abort`", "it aborted"),
    row("segv", "a write to address 0", "segmentation fault"),
    row("loop", "an endless loop", "a step used more than 1000 ms of processor time"),
    row("deep", "a recursion without end", "segmentation fault"),
    row("naps", "`sleep`", "forbidden system call `clock_nanosleep`"),
    row("huge", "an allocation of 10 GB", "it aborted"),
    // The C library forks with all signals blocked, so no handler names the call.
    row("fork", "another program", "forbidden system call[..]"),
    row("open", "opening a file", "forbidden system call `openat`"),
    row("sock", "a socket", "forbidden system call `socket`"),
    row("thrd", "a thread", "forbidden system call[..]"),
    row("exit", "`exit(0)`", "it exited with status 0"),
    row("bomb", "a fork bomb: `fork` in a loop without end", "forbidden system call `clone`"),
    row("code", "memory that can be run", "forbidden system call `mmap`"),
    row("kill", "a signal to itself", "forbidden system call `tgkill`"),
    row("hush", "ignoring the filter's signal", "forbidden system call `rt_sigaction`"),
    row("forg", "forged messages to the host", "it sent a message [..]"),
    row("flud", "memory without end", "it aborted"),
];

/// What a step does wrong that is found out in either tier.
const OUTPUT: &[Row] = &[
    row("pnic", "a panic", "rule=never-panics detail=\"stumbled[..]\""),
    row(
        "late",
        "an event after `done`",
        "rule=nothing-after-end detail=\"`text-delta` after the end\"",
    ),
    row(
        "utf8",
        "text that is not UTF-8",
        "rule=well-formed-messages detail=\"message of kind [..]: text is not UTF-8\"",
    ),
    row("much", "72 MB in one step", "rule=output-budget detail=\"one step put out too much\""),
];

/// What a panic is where it cannot unwind.
const ABORT: &[Row] =
    &[row("pnic", "a panic in a library compiled with `panic=abort`", "it aborted")];

/// What is put in the place of a plugin that serves.
const FILES: &[Row] = &[
    row("text", "a text file", "expected a shared library, found a text file"),
    row("empty", "an empty file", "the file is empty"),
    row("sparse", "a sparse file of 1 GB", "expected at most [..] bytes, found 1073741824"),
    row("directory", "a directory", "expected a regular file, found a directory"),
    row("link", "a link that leads nowhere", "the link leads nowhere"),
    row("pipe", "a named pipe", "expected a regular file, found a named pipe"),
    row(
        "half",
        "the first half of a library",
        "truncated: its headers reach to byte [..], the file has [..]",
    ),
    row("foreign", "a library for another machine", "built for `[..]`, but this machine is `[..]`"),
    row("ordinary", "an ordinary library", "no plugin: section `.maestro.manifest` is missing"),
    row(
        "0.9.0",
        "a plugin of contract 0.9",
        "built for contract 0.9.0, but this host speaks 1.0.0",
    ),
    row(
        "2.0.0",
        "a plugin of contract 2.0",
        "built for contract 2.0.0, but this host speaks 1.0.0",
    ),
    row("layout", "a plugin with another layout", "its layout differs from contract 1.0.0: [..]"),
];

/// A gateway, and what runs through it meanwhile.
struct Host {
    test: Test,
    gateway: Gateway,
    /// Holds back the answers that the upstream begins from now on.
    gate: Arc<Mutex<Gate>>,
    _upstream: Upstream,
}

/// Budgets that a test can wait for. Processor time, because a busy machine takes none of it away.
const TIGHT: &str =
    "[plugins]\nstep_cpu_ms = 1000\nstep_wall_ms = 20000\nmemory_mb = 256\nquarantine_after = 0\n";

impl Host {
    /// Starts a gateway with `hostile` in a worker, and a server whose plugin runs in process.
    fn start(home: impl FnOnce(Test) -> Test) -> Self {
        let gate = Arc::new(Mutex::new(Gate::new()));
        let held = Arc::clone(&gate);
        let upstream = Upstream::start(move |_| {
            let word = |text: &str| {
                let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": null});
                json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})
                    .to_string()
            };
            let gate = held.lock().unwrap().clone();
            let end = word("").replace("null", "\"stop\"");
            Reply::sse()
                .event(&word("one "))
                .wait(&gate)
                .event(&word("two"))
                .event(&end)
                .event("[DONE]")
        });
        let config = format!(
            "[providers.lab]\nplugin = \"openai-compatible\"\nbase_url = \"{}\"\n{TIGHT}",
            upstream.url()
        );
        let test = Test::new().plugin("hostile").plugin("openai-compatible").config(config);
        let test = home(test.trusted("openai-compatible"));
        let gateway = Gateway::start(&test);
        Self { test, gateway, gate, _upstream: upstream }
    }

    /// Streams an answer.
    fn chat(&self, model: &str, said: &str) -> Connection {
        let messages = json!([{"role": "user", "content": said}]);
        let body = json!({"model": model, "stream": true, "messages": messages}).to_string();
        self.gateway.send("POST", "/v1/chat/completions", &[], body)
    }

    /// Asks a model that must answer.
    #[track_caller]
    fn answers(&self, model: &str, said: &str) {
        let answer = self.chat(model, said).finish();
        assert_eq!((text_of(&answer), problem_of(&answer)), (said.to_owned(), None), "{model}");
    }

    /// Does something while streams are under way, all of which must be whole then.
    #[track_caller]
    fn meanwhile<T>(&self, what: &str, act: impl FnOnce() -> T) -> T {
        self.beside("hostile", what, act)
    }

    /// Does the same, with streams of this plugin's worker.
    #[track_caller]
    fn beside<T>(&self, id: &str, what: &str, act: impl FnOnce() -> T) -> T {
        *self.gate.lock().unwrap() = Gate::new();
        let said = words(20);
        let mut streams = vec![(self.chat("lab/m", "hello"), "one two".to_owned())];
        streams.extend((0..3).map(|_| (self.chat(&format!("{id}/slow"), &said), said.clone())));
        for (stream, said) in &mut streams {
            stream.read_until(said.split(' ').next().unwrap());
        }
        let done = act();
        self.gate.lock().unwrap().open();
        for (mut stream, said) in streams {
            let answer = stream.finish();
            assert_eq!((text_of(&answer), problem_of(&answer)), (said, None), "during {what}");
            assert!(answer.body.trim_end().ends_with("data: [DONE]"), "during {what}");
        }
        done
    }

    /// Puts what `make` makes in a file's place at one moment, and takes away what was there.
    fn replace(&self, path: &Path, make: impl FnOnce(&Path)) {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let other = self.test.home().join("other");
        make(&other);
        renameat_with(CWD, &other, CWD, path, RenameFlags::EXCHANGE).unwrap();
        if other.is_dir() { fs::remove_dir(&other) } else { fs::remove_file(&other) }.unwrap();
    }

    /// Waits until a line is said that was not said before `act`.
    #[track_caller]
    fn says(&self, expected: &str, act: impl FnOnce()) {
        let before = self.gateway.running().stderr_so_far().len();
        act();
        self.gateway.running().wait_for_line(before, expected);
    }
}

/// Returns the data of each event of a streamed answer.
fn events(answer: &Answer) -> impl Iterator<Item = Value> {
    let data = answer.body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok())
}

fn text_of(answer: &Answer) -> String {
    let text = |event: Value| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned());
    events(answer).filter_map(text).collect()
}

/// Returns what an answer failed with, as an event or as a whole.
fn problem_of(answer: &Answer) -> Option<String> {
    let whole = serde_json::from_str(&answer.body).ok();
    let mut all = events(answer).chain(whole);
    all.find_map(|event| Some(event["error"]["message"].as_str()?.to_owned()))
}

/// Returns a plugin without its symbols and under another id of the same length.
fn named(id: &str) -> Vec<u8> {
    renamed(&library("hostile"), id)
}

fn renamed(library: &Path, id: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stripped.so");
    fs::copy(library, &path).unwrap();
    // Without the tool it is only larger.
    let _ = Command::new("strip").arg(&path).status();
    let bytes = fs::read(&path).unwrap();
    patched(bytes, "\"id\":\"hostile\"", &format!("\"id\":\"{id}\""), 2)
}

#[test]
fn a_plugin_comes_changes_and_goes_while_the_gateway_runs() {
    let host = Host::start(|test| test);
    let path = host.test.plugin_path("echo");
    let model = "echo/echo";
    assert_eq!(host.chat(model, "hello").finish().status, 404);
    host.says("generation 1 of `echo` serves", || {
        let new = path.with_extension("new");
        fs::write(&new, bytes("echo")).unwrap();
        fs::rename(new, &path).unwrap();
    });
    host.answers(model, "hello");
    let listed = host.gateway.get("/v1/models", &[]);
    assert!(listed.body.contains("\"echo/echo\""), "{}", listed.body);

    let why = "expected a shared library, found a text file";
    host.says(
        &format!("warning: kept generation 1 of `echo`; generation 2 failed to load: {why}"),
        || host.replace(&path, |path| fs::write(path, "hello\n").unwrap()),
    );
    host.answers(model, "hello");
    let version = |version: &str| format!("\"version\":\"{version}\"");
    let next = patched(bytes("echo"), &version(env!("CARGO_PKG_VERSION")), &version("9.9.9"), 1);
    host.says("generation 2 of `echo` serves", || {
        host.replace(&path, |path| fs::write(path, next).unwrap());
    });
    host.answers(model, "hello");

    host.says("`echo` is gone", || fs::remove_file(&path).unwrap());
    assert_eq!(host.chat(model, "hello").finish().status, 404);
    host.says(&format!("warning: refused `[..]/notes.so`: {why}"), || {
        fs::write(path.with_file_name("notes.so"), "hello\n").unwrap();
    });
    host.gateway.stop();
}

#[test]
fn a_fault_of_a_step_ends_its_own_stream_and_no_other() {
    let trusted =
        |test: Test| test.write("plugins/trusted.so", named("trusted")).trusted("trusted");
    let host = Host::start(trusted);
    let tried = |id: &str, fault: &Row, logged: &str, told: &str| {
        let model = format!("{id}/fault-{}", fault.name);
        let expected = format!("[..] {logged}{}", fault.said);
        host.meanwhile(&model, || {
            host.says(&expected, || {
                let answer = host.chat(&model, "hello").finish();
                assert!(
                    text_of(&answer).starts_with("hello"),
                    "{model}: what came before is there"
                );
                // What a plugin says of its fault is the operator's business and not the client's.
                let problem = problem_of(&answer).unwrap_or_default();
                assert!(line_matches(told, &problem), "{model}: {problem}");
            });
        });
    };
    for fault in CODE {
        let logged = "ERROR host::gateway::failure: plugin `hostile` failed: the same input ended its \
                      worker twice: ";
        tried("hostile", fault, logged, "the gateway cannot do this now; its log says why");
    }
    for id in ["hostile", "trusted"] {
        for fault in OUTPUT {
            let logged =
                format!("WARN host::exchange::driver::effects: contract broken plugin=\"{id}\" ");
            let told = format!("plugin `{id}` broke contract rule `[..]`; hint: [..]");
            tried(id, fault, &logged, &told);
        }
        host.answers(&format!("{id}/m"), "hello");
    }
    host.gateway.stop();
}

/// Builds the library so that its panics abort. Cargo keeps what it made, and lets only one build it at a
/// time.
fn built_to_abort() -> PathBuf {
    let target = workspace().join("target/panic-abort");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(workspace()).args(["build", "--quiet", "--offline", "--package", "hostile"]);
    cargo.args(["--config", "profile.dev.panic=\"abort\"", "--config", "profile.dev.debug=false"]);
    // Built once, so it need not be fast.
    cargo.args(["--config", "profile.dev.package.'*'.opt-level=0", "--target-dir"]).arg(&target);
    // What cargo set for these tests is not meant for that build.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug").join(library("hostile").file_name().unwrap())
}

#[test]
fn a_panic_that_aborts_ends_a_worker_and_no_other_stream() {
    let bytes = renamed(&built_to_abort(), "aborter");
    let host = Host::start(|test| test.write("plugins/aborter.so", bytes).trusted("aborter"));
    // The macro wrote down what the compiler was told, and that outweighs the trust.
    let listed = host.test.args_of(["plugin", "list", "--json"]).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let mut plugins = listed["plugins"].as_array().unwrap().iter();
    let aborter = plugins.find(|plugin| plugin["id"] == "aborter").unwrap();
    assert_eq!((&aborter["tier"], &aborter["trusted"]), (&json!("worker"), &json!(true)));
    for row in ABORT {
        let model = format!("aborter/fault-{}", row.name);
        let why = format!("the same input ended its worker twice: {}", row.said);
        let expected = format!("[..] ERROR host::gateway::failure: plugin `aborter` failed: {why}");
        host.beside("aborter", &model, || {
            host.says(&expected, || {
                let answer = host.chat(&model, "hello").finish();
                assert!(text_of(&answer).starts_with("hello") && problem_of(&answer).is_some());
            });
        });
        host.answers("aborter/m", "hello");
    }
    host.gateway.stop();
}

/// Counts the processes that stand in for a plugin, whoever their parent is now.
fn processes_of(plugin: &str) -> usize {
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
    // What ended, or belongs to somebody else, has nothing to read.
    let lines = all.filter_map(|path| fs::read(path).ok());
    let named = |line: &Vec<u8>| line.split(|byte| *byte == 0).any(|arg| arg == plugin.as_bytes());
    lines.filter(named).count()
}

#[test]
fn a_fork_bomb_leaves_no_process() {
    // No other run of this test has a plugin of that name.
    let id = format!("b{:06x}", std::process::id() & 0xff_ffff);
    let bytes = named(&id);
    let host = Host::start(|test| test.write("plugins/bomb.so", &bytes));
    host.answers(&format!("{id}/m"), "hello");
    assert_eq!(processes_of(&id), 1, "a fork keeps the command line, so it would be counted");
    let bomb = CODE.iter().find(|row| row.name == "bomb").unwrap();
    let goes_on = |when: &str| {
        host.answers(&format!("{id}/m"), "hello");
        assert_eq!(processes_of(&id), 1, "after {when} with {}", bomb.what);
    };
    let model = format!("{id}/fault-{}", bomb.name);
    host.beside(&id, &model, || {
        host.says(&format!("[..] plugin `{id}` failed: [..]{}", bomb.said), || {
            assert!(problem_of(&host.chat(&model, "hello").finish()).is_some());
        });
    });
    goes_on("a step");

    let path = host.test.home().join("plugins/bomb.so");
    let constructor = format!("constructor={}", bomb.name);
    let bytes = patched(bytes, "constructor=none", &constructor, 1);
    host.beside(&id, &constructor, || {
        host.says(&format!("warning: kept generation 1 of `{id}`; [..]{}", bomb.said), || {
            host.replace(&path, |path| fs::write(path, &bytes).unwrap());
        });
    });
    // The worker that goes on is that of the former generation.
    goes_on("a constructor");
    host.gateway.stop();
}

#[test]
fn a_constructor_can_do_no_more_than_a_step() {
    let host = Host::start(|test| test.write("plugins/builder.so", named("builder")));
    let path = host.test.home().join("plugins/builder.so");
    host.answers("builder/m", "hello");
    for fault in CODE {
        // Memory that is code is what the loader itself must have, so that waits for the second stage;
        // there is no exchange yet whose messages could be forged; and the loader opens files too, but
        // landlock has left none to open.
        if ["code", "forg", "open"].contains(&fault.name) {
            continue;
        }
        let bytes = with_constructor(fault.name);
        let expected = format!(
            "warning: kept generation 1 of `builder`; generation 2 failed to load: it ended its worker \
             while it was being loaded: {}",
            fault.said
        );
        host.meanwhile(fault.name, || {
            host.says(&expected, || host.replace(&path, |path| fs::write(path, bytes).unwrap()));
        });
        host.answers("builder/m", "hello");
    }
    host.says("generation 2 of `builder` serves", || {
        host.replace(&path, |path| fs::write(path, with_constructor("open")).unwrap());
    });
    host.answers("builder/m", "hello");
    host.gateway.stop();
}

fn with_constructor(fault: &str) -> Vec<u8> {
    patched(named("builder"), "constructor=none", &format!("constructor={fault}"), 1)
}

#[test]
fn whatever_is_put_in_a_plugins_place_what_served_goes_on() {
    let host = Host::start(|test| test.write("plugins/builder.so", named("builder")));
    let path = host.test.home().join("plugins/builder.so");
    host.answers("builder/m", "hello");
    for file in FILES {
        let expected = format!(
            "warning: kept generation 1 of `builder`; generation 2 failed to load: {}",
            file.said
        );
        host.meanwhile(file.name, || {
            host.says(&expected, || host.replace(&path, |path| make(file.name, path)));
        });
        host.answers("builder/m", "hello");
    }
    host.says("generation 2 of `builder` serves", || {
        host.replace(&path, |path| fs::write(path, of_contract("1.1.0")).unwrap());
    });
    host.answers("builder/m", "hello");
    host.says("generation 3 of `builder` serves", || {
        let aborts = patched(named("builder"), "\"panic\":\"unwind\"", "\"panic\":\"abort\" ", 1);
        host.replace(&path, |path| fs::write(path, aborts).unwrap());
    });
    host.answers("builder/m", "hello");
    host.gateway.stop();
}

fn of_contract(version: &str) -> Vec<u8> {
    let contract = |version: &str| format!("\"contract\":\"{version}\"");
    patched(named("builder"), &contract("1.0.0"), &contract(version), 1)
}

/// Makes what a row names.
fn make(name: &str, path: &Path) {
    let write = |bytes: &[u8]| fs::write(path, bytes).unwrap();
    match name {
        "text" => write(b"hello\n"),
        "empty" => write(b""),
        "sparse" => fs::File::create(path).unwrap().set_len(1 << 30).unwrap(),
        "directory" => fs::create_dir(path).unwrap(),
        "link" => symlink("gone", path).unwrap(),
        "pipe" => {
            let (kind, mode) = (rustix::fs::FileType::Fifo, 0o600.into());
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
        }
        "half" => {
            let whole = named("builder");
            write(&whole[..whole.len() / 2]);
        }
        "foreign" => {
            let mut library = named("builder");
            library[18] = if cfg!(target_arch = "x86_64") { 0xb7 } else { 0x3e };
            write(&library);
        }
        "ordinary" => {
            let maps = fs::read_to_string("/proc/self/maps").unwrap();
            let mut mapped = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
            // Where there is no C library to be seen, a program is one as well.
            let libc = mapped.find(|path| path.contains("/libc.so") || path.contains("/libc-"));
            let own = std::env::current_exe().unwrap();
            fs::copy(libc.map_or(own.as_path(), Path::new), path).unwrap();
        }
        "layout" => {
            write(&patched(named("builder"), "exchange,interface;", "exchange,interfade;", 9));
        }
        contract => write(&of_contract(contract)),
    }
}

#[test]
fn five_hundred_files_at_once_are_judged_and_no_stream_waits() {
    let host = Host::start(|test| test);
    let (whole, plugins) = (named("builder"), host.test.home().join("plugins"));
    let staging = host.test.home().join("staging");
    fs::create_dir(&staging).unwrap();
    let cuts = (0..whole.len()).step_by(4096).skip(1);
    let mut names = Vec::new();
    for cut in cuts {
        names.push(format!("cut-{cut}.so"));
        fs::write(staging.join(names.last().unwrap()), &whole[..cut]).unwrap();
    }
    for n in names.len()..500 {
        names.push(format!("note-{n}.so"));
        fs::write(staging.join(names.last().unwrap()), format!("note {n}\n")).unwrap();
    }
    names.push("zz-whole.so".to_owned());
    fs::write(staging.join("zz-whole.so"), &whole).unwrap();
    host.meanwhile("500 files", || {
        host.says("generation 1 of `builder` serves", || {
            for name in &names {
                fs::rename(staging.join(name), plugins.join(name)).unwrap();
            }
        });
        names.pop();
        for name in &names {
            let why = match name.starts_with("cut") {
                true => "truncated: its headers reach to byte [..]",
                false => "expected a shared library, found a text file",
            };
            let line = format!("warning: refused `[..]/{name}`: {why}");
            host.gateway.running().wait_for_line(0, &line);
        }
        host.answers("builder/m", "hello");
    });
    host.gateway.stop();
}

#[test]
fn the_table_in_the_docs_is_this_one() {
    let path = workspace().join("docs/faults.md");
    let table = table();
    if std::env::var_os("MAESTRO_WRITE_DOCS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == table, "docs/faults.md is old; MAESTRO_WRITE_DOCS=1 writes it again");
}

fn table() -> String {
    let mut text = HEAD.to_owned();
    let mut section = |title: &str, tier: &str, rows: &mut dyn Iterator<Item = &Row>| {
        write!(
            text,
            "\n## {title}\n\n| what it is | where | what the host says |\n|---|---|---|\n"
        )
        .unwrap();
        for row in rows {
            let said = row.said.replace("[..]", "…");
            writeln!(text, "| {} | {tier} | {said} |", row.what).unwrap();
        }
    };
    section("What a step does", "worker", &mut CODE.iter());
    section(
        "What a panic does that cannot unwind",
        "worker, also when it is trusted",
        &mut ABORT.iter(),
    );
    section("What a step puts out", "worker and in process", &mut OUTPUT.iter());
    let in_constructor = |row: &&Row| !["code", "forg", "open"].contains(&row.name);
    section("What a constructor does", "worker", &mut CODE.iter().filter(in_constructor));
    section(
        "What is put in the place of a plugin that serves",
        "never loaded, or in a worker",
        &mut FILES.iter(),
    );
    text + TAIL
}

const HEAD: &str = "\
# What a plugin cannot do to a running host

Written by `tests/faults.rs`, which tries every row against `maestro serve` while four streams run through
it: three of the same worker and one of a plugin in process. None of them fails or loses a word. `…`
stands for what differs from machine to machine.
";

const TAIL: &str = "
The former generation goes on serving, from its private copy, and the host says so in one line:
``kept generation 1 of `acme`; generation 2 failed to load: …``. A constructor may ask for a file, because
the loader must; there is none that it could open. A plugin of contract 1.1 is loaded. One whose panics
abort is loaded in a worker, also when it is trusted: `export_plugin!` writes into the manifest what the
compiler was told.

Of a fork bomb not even the first process is made: the worker ends with the call, and afterwards there are as
many processes of the plugin as before, one.

Five hundred files at once, among them a plugin that is cut off at every 4 KB: each is refused with a line
of its own, and a whole one among them serves.
";
