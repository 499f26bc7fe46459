//! What a worker costs beside the same plugin in process, all in one run: from nothing to a plugin that
//! can be asked, one step there and back, sixteen steps at once, memory, and a file that takes another's
//! place.
//!
//! `cargo bench -p host --bench worker` prints medians, as rows of Markdown. It needs `maestro` and the plugins beside it,
//! which cargo builds for a benchmark.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use host::{
    config::Config,
    plugin::{
        Provenance,
        admitted::Plugin,
        generations::Generations,
        load::Stepped,
        registry::Registry,
        runtime::{Live, Runtime, block_on},
        scan::Folder,
        tier::{Isolation, Terms},
        trust::Trust,
    },
};
use plugin_api::{
    ProviderId,
    abi::codec::{Opening, PackedOpening},
    chat::{ChatRequest, Message},
    exchange::{Input, Timestamp},
    instance::Instance,
    operation::Operation,
};

const STARTS: usize = 40;
const SWAPS: usize = 40;
const STEPS: u32 = 20_000;
const AT_ONCE: usize = 16;

fn main() {
    // `cargo test` runs benchmarks to see that they run.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let plugins = home.path().join("plugins");
    fs::create_dir(&plugins).expect("a folder");
    let built = std::env::current_exe().expect("a path of this program");
    let library = built.with_file_name("libecho.so");
    fs::copy(&library, plugins.join("libecho.so")).expect("a plugin beside this benchmark");
    let plugin = |isolation| {
        let config = Config::default();
        let mut terms = Terms::new(&config, Trust::default());
        terms.isolation = isolation;
        terms.program = Some(PathBuf::from(env!("CARGO_BIN_EXE_maestro")));
        let folders = [Folder { path: plugins.clone(), provenance: Provenance::Bundled }];
        let copies = home.path().join("copies");
        let found = Registry::discover(&folders, copies, &config, &Arc::new(terms));
        let found = found.expect("an empty configuration fits");
        Arc::clone(found.plugins().next().expect("one plugin"))
    };
    let start = |plugin: &Plugin| block_on(plugin.start()).expect("it loads");

    let mut starts: Vec<Duration> = Vec::new();
    let mut running = Vec::new();
    for _ in 0..STARTS {
        let plugin = plugin(Isolation::Worker);
        let before = Instant::now();
        running.push((start(&plugin), plugin.clone()));
        starts.push(before.elapsed());
    }
    let memory = |name: &str| {
        let of = running.iter().filter_map(|(_, plugin)| {
            let pid = plugin.vitals()?.pid?;
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<f64>().ok()
        });
        median(of.collect()) / 1024.0
    };
    let (resident, proportional) = (memory("Rss:"), memory("Pss:"));
    let private = memory("Private_Dirty:");
    let (worker, plugin_of_worker) = running.pop().expect("one runs");
    drop(running);

    let in_process = start(&plugin(Isolation::Auto));
    let here = one_by_one(&in_process);
    // An ordinary answer, before the long ones, which are the plugin's own memory.
    drop(steps(&worker, 100));
    let used = plugin_of_worker.vitals().and_then(|vitals| vitals.memory).unwrap_or(0);
    let there = one_by_one(&worker);
    let at_once = at_once(&worker);

    let (before, after) = long_streams(&worker, &plugin_of_worker);
    let (known, unknown) = (swaps(&library, SWAPS, 2), swaps(&library, FIRSTS, FIRSTS));

    let row = |what: &str, found: f64, unit: &str, goal: Option<f64>| {
        let missed = if goal.is_some_and(|goal| found >= goal) { ", missed" } else { "" };
        let goal = goal.map(|goal| format!("< {goal} {unit}{missed}")).unwrap_or_default();
        println!("| {what} | {found:.2} {unit} | {goal} |");
    };
    row("worker, from nothing to ready", median(millis(&starts)), "ms", None);
    row("step in process, through the driver's enum", here, "µs", Some(1.0));
    row("step in a worker, there and back", there, "µs", None);
    row("the same, sixteen at once", at_once, "µs", None);
    row("worker, resident when ready", resident, "MB", Some(4.0));
    row("the same, its share of what is shared", proportional, "MB", None);
    row("the same, written by itself alone", private, "MB", None);
    row("worker, resident after an answer", megabytes(used), "MB", Some(4.0));
    row("worker, after some long streams at once", before, "MB", None);
    row("worker, after 1,000 long streams, sixteen at once", after, "MB", Some(4.0));
    row("known file, complete, to a generation that serves", median(known), "ms", Some(50.0));
    row("the same with the first probe of an unknown file", median(unknown), "ms", None);
}

/// Runs long streams, some at once, and returns what the worker keeps of memory after the first of them
/// and after all, in megabytes.
fn long_streams(runtime: &Runtime, plugin: &Plugin) -> (f64, f64) {
    let mut stepped = Stepped::default();
    let mut resident = Vec::new();
    for round in 0..STREAMS.div_ceil(AT_ONCE) {
        let mut all: Vec<Live> = (0..AT_ONCE).map(|_| echoing(runtime, LONG)).collect();
        for _ in 0..LONG {
            step_all(&mut all, &mut stepped);
        }
        drop(all);
        if round == 0 || round + 1 == STREAMS.div_ceil(AT_ONCE) {
            // An answer from behind the closes means that they were read.
            drop(steps(runtime, 1));
            let memory = plugin.vitals().and_then(|vitals| vitals.memory).unwrap_or(0);
            resident.push(megabytes(memory));
        }
    }
    (resident[0], resident[1])
}

const STREAMS: usize = 1000;
const LONG: u32 = 1000;
const FIRSTS: usize = 12;

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1048576.0
}

/// Puts one file in another's place, again and again, and returns how long it takes from a file that is
/// complete to a generation that serves, in milliseconds: without the wait for quiet. Of as many builds as
/// rounds each is unknown; of fewer all are known after the first rounds, which are left out.
fn swaps(library: &Path, rounds: usize, builds: usize) -> Vec<f64> {
    let home = tempfile::tempdir().expect("a temporary folder");
    let plugins = home.path().join("plugins");
    fs::create_dir(&plugins).expect("a folder");
    let built = fs::read(library).expect("a plugin beside this benchmark");
    let version = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION")).into_bytes();
    let at = built.windows(version.len()).position(|bytes| bytes == version);
    let digits = at.expect("it names its version") + b"\"version\":\"".len();
    let build = |n: usize| {
        let mut build = built.clone();
        let name = format!("{}.{}.{}", n / 100 % 10, n / 10 % 10, n % 10);
        build[digits..digits + name.len()].copy_from_slice(name.as_bytes());
        build
    };
    let first: Vec<u8> = build(999);
    let (path, new) = (plugins.join("libecho.so"), home.path().join("new"));
    let put = |build: &[u8]| {
        fs::write(&new, build).expect("space for it");
        fs::rename(&new, &path).expect("it is on the same file system");
    };
    put(&first);
    let config = Config::default();
    let mut terms = Terms::new(&config, Trust::default());
    terms.program = Some(PathBuf::from(env!("CARGO_BIN_EXE_maestro")));
    let folders = vec![Folder { path: plugins, provenance: Provenance::User }];
    let copies = home.path().join("copies");
    let generations = Generations::discover(folders, copies, &config, &Arc::new(terms));
    let generations = generations.expect("an empty configuration fits");
    let first = Arc::clone(generations.now().plugins().next().expect("one plugin"));
    block_on(first.start()).expect("it loads");
    let known = if builds < rounds { builds } else { 0 };
    let times = (0..rounds + known).map(|n| {
        put(&build(n % builds));
        let before = Instant::now();
        let changes = generations.change(&config, None);
        assert_eq!(changes.serving.len(), 1, "{changes:?}");
        before.elapsed().as_secs_f64() * 1e3
    });
    times.skip(known).collect()
}

/// Begins an answer of many words, one a step.
fn echoing(runtime: &Runtime, words: u32) -> Live {
    let mut request =
        ChatRequest::new("echo", vec![Message::user("word ".repeat(words as usize + 9))]);
    request.options.insert("delay_ms".into(), 1.into());
    let id = ProviderId::new("echo").expect("a provider id");
    let operation = Operation::Chat(Box::new(request));
    let opening = Opening { instance: Instance::new(id, ""), operation }.pack().expect("a request");
    let (mut live, mut stepped) = (runtime.open(), Stepped::default());
    let input = Input::Start { seed: 1 };
    block_on(live.step(Timestamp(1), &input, &opening, &mut stepped)).expect("it answers");
    live
}

/// Returns the median of a step, in microseconds.
fn one_by_one(runtime: &Runtime) -> f64 {
    median(steps(runtime, STEPS))
}

/// Takes so many steps and returns the time of each, in microseconds.
fn steps(runtime: &Runtime, count: u32) -> Vec<f64> {
    let (mut live, mut stepped) = (echoing(runtime, count), Stepped::default());
    let none = PackedOpening::default();
    let times = (0..count).map(|_| {
        let before = Instant::now();
        block_on(live.step(Timestamp(1), &Input::Tick, &none, &mut stepped)).expect("it answers");
        assert_eq!(stepped.effects.len(), 2, "a word and a time");
        before.elapsed().as_nanos() as f64 / 1e3
    });
    times.collect()
}

/// Steps exchanges at once: all are given an input before the first is waited for.
fn step_all(all: &mut [Live], stepped: &mut Stepped) {
    for live in &mut *all {
        if let Live::Worker(live) = live {
            live.give(Timestamp(1), &Input::Tick, &PackedOpening::default());
        }
    }
    for live in all {
        if let Live::Worker(live) = live {
            block_on(live.answer(stepped)).expect("it answers");
        }
    }
}

/// Returns the median of a step when several exchanges are stepped at once, in microseconds.
fn at_once(runtime: &Runtime) -> f64 {
    let mut all: Vec<Live> = (0..AT_ONCE).map(|_| echoing(runtime, STEPS)).collect();
    let mut stepped = Stepped::default();
    let times = (0..STEPS / 4).map(|_| {
        let before = Instant::now();
        step_all(&mut all, &mut stepped);
        before.elapsed().as_nanos() as f64 / 1e3 / AT_ONCE as f64
    });
    median(times.collect())
}

fn millis(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e3).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
