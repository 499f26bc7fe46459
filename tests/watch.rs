//! The folder of a running host is live: files appear, change and go while requests run. And what
//! crashes too often, or cannot even be loaded, is withheld.

use std::{
    fs,
    io::{Seek as _, Write as _},
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use host::{
    Maestro,
    maestro::{PluginInfo, Watch},
};
use tokio::task::JoinSet;

use crate::{
    ask::{Answer, begin, chat, finish, request, text_of},
    harness::{Test, line_matches, wait},
    plugin_life::{bytes, patched},
    upstream::PATIENCE,
    worker::{kill, pid, wait_for_end, words},
};

/// A host that watches its folder, and what it says.
struct Host {
    maestro: Maestro,
    said: Receiver<String>,
    _watch: Watch,
}

impl Host {
    fn of(test: &Test) -> Self {
        let (tell, said) = channel();
        let maestro = test.maestro().on_warning(move |text| {
            let _ = tell.send(text.to_owned());
        });
        let watch = maestro.watch().unwrap();
        Self { maestro, said, _watch: watch }
    }

    /// Returns a plugin that takes new exchanges.
    fn serving(&self, id: &str) -> Option<PluginInfo> {
        let mut listed = self.maestro.list_plugins().into_iter();
        listed.find(|plugin| plugin.id == id && plugin.state != "draining")
    }

    /// Waits until a generation takes new exchanges, and asks it.
    #[track_caller]
    fn wait_for(&self, id: &str, generation: u64) -> PluginInfo {
        until(&format!("generation {generation} of {id}"), || {
            self.serving(id).is_some_and(|plugin| plugin.generation >= generation)
        });
        let plugin = self.serving(id).unwrap();
        assert_eq!((plugin.generation, plugin.state), (generation, "serving"));
        plugin
    }

    /// Waits until something is said of a file. What was said before is skipped: a file that is
    /// written in pieces may be seen in any state.
    #[track_caller]
    fn says(&self, expected: &str) {
        let mut before = Vec::new();
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(said) if line_matches(expected, &said) => return,
                Ok(said) => before.push(said),
                Err(_) => panic!("expected `{expected}`, heard {before:?}"),
            }
        }
    }
}

#[track_caller]
fn until(what: &str, reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Returns a plugin whose manifest names another version, one of a thousand.
fn build(name: &str, n: usize) -> Vec<u8> {
    let from = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    let version = format!("{}.{}.{}", n / 100 % 10, n / 10 % 10, n % 10);
    patched(bytes(name), &from, &format!("\"version\":\"{version}\""), 1)
}

/// Puts a file in another's place at one moment.
fn rename_over(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("new");
    fs::write(&temporary, bytes).unwrap();
    fs::rename(&temporary, path).unwrap();
}

/// Exchanges two names at one moment.
fn exchange(a: &Path, b: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn whatever_happens_to_a_file_lands_in_the_right_state() {
    let test = Test::new();
    let host = Host::of(&test);
    let path = test.plugin_path("echo");
    let asked = || wait(chat(&host.maestro, "echo/echo", &[])).ok();
    let still = |generation: u64| {
        assert_eq!(host.wait_for("echo", generation).generation, generation);
        assert_eq!(asked(), "hello", "what served goes on");
    };
    assert!(host.serving("echo").is_none());

    fs::copy(crate::harness::library("echo"), &path).unwrap();
    still(1);

    // In place, without making it empty first.
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all(&build("echo", 2)).unwrap();
    drop(file);
    assert_eq!(host.wait_for("echo", 2).version, "0.0.2");

    rename_over(&path, &build("echo", 3));
    assert_eq!(host.wait_for("echo", 3).version, "0.0.3");
    still(3);

    // Emptied and written again, with a long pause in the middle.
    let whole = build("echo", 4);
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&whole[..whole.len() / 2]).unwrap();
    host.says("kept generation 3 of `echo`; generation 4 failed to load: truncated: [..]");
    still(3);
    file.write_all(&whole[whole.len() / 2..]).unwrap();
    still(4);

    fs::write(&path, "hello\n").unwrap();
    host.says(
        "kept generation 4 of `echo`; generation 5 failed to load: expected a shared library, found \
         a text file",
    );
    still(4);

    // It is a plugin as far as anybody can tell who does not load it.
    rename_over(&path, &patched(build("echo", 5), "exchange,interface;", "exchange,interfade;", 9));
    host.says("kept generation 4 of `echo`; generation 5 failed to load: its layout differs [..]");
    still(4);
    rename_over(&path, &build("echo", 6));
    still(5);

    let other = test.home().join("other");
    fs::create_dir(&other).unwrap();
    exchange(&other, &path);
    host.says("kept generation 5 of `echo`; generation 6 failed to load: expected a regular [..]");
    still(5);
    exchange(&other, &path);

    // The very same bytes are no other generation, however they came.
    file = fs::File::options().write(true).open(&path).unwrap();
    file.rewind().unwrap();
    file.write_all(&build("echo", 6)).unwrap();
    rename_over(&path, &build("echo", 7));
    assert_eq!(host.wait_for("echo", 6).version, "0.0.7");

    let target = test.home().join("elsewhere/libecho.so");
    fs::create_dir(target.parent().unwrap()).unwrap();
    fs::write(&target, build("echo", 8)).unwrap();
    symlink(&target, path.with_extension("link")).unwrap();
    fs::rename(path.with_extension("link"), &path).unwrap();
    still(7);
    rename_over(&target, &build("echo", 9));
    assert_eq!(host.wait_for("echo", 8).version, "0.0.9");
    fs::remove_file(&target).unwrap();
    host.says("kept generation 8 of `echo`; generation 9 failed to load: the link leads nowhere");
    still(8);

    fs::remove_file(&path).unwrap();
    until("its end", || host.serving("echo").is_none());
    assert_eq!(wait(chat(&host.maestro, "echo/echo", &[])).problem(), "no provider `echo`");
    fs::write(test.home().join("plugins/notes.so"), "not a library\n").unwrap();
    host.says("refused `[..]/notes.so`: expected a shared library, found a text file");
    assert_eq!(host.maestro.refused_plugins().len(), 1);
    rename_over(&path, &build("echo", 1));
    still(9);

    let (folder, away) = (test.home().join("plugins"), test.home().join("away"));
    fs::rename(&folder, &away).unwrap();
    until("its end", || host.serving("echo").is_none());
    fs::create_dir(&folder).unwrap();
    fs::write(&path, build("echo", 2)).unwrap();
    still(10);
}

#[test]
fn what_runs_ends_where_it_began_and_what_begins_is_new() {
    let test = Test::new().plugin("hostile");
    let host = Host::of(&test);
    let said = words(3);
    let asked = || request(&said, &[("delay_ms", "200")]);
    wait(async {
        let mut old = begin(&host.maestro, "hostile/m", asked()).await.unwrap();
        assert_eq!(text_of(old.next().await), "word0 ");
        let first = pid(&host.maestro, "hostile").unwrap();
        rename_over(&test.plugin_path("hostile"), &build("hostile", 2));
        host.wait_for("hostile", 2);
        let listed: Vec<_> = host.maestro.list_plugins();
        let states: Vec<_> = listed.iter().map(|p| (p.generation, p.state)).collect();
        assert_eq!(states, [(2, "serving"), (1, "draining")]);
        let second = pid(&host.maestro, "hostile").unwrap();
        assert_ne!(first, second, "it was started before it served");
        assert_eq!(chat(&host.maestro, "hostile/m", &[]).await.ok(), "hello");
        // The old process may die as well as any other.
        kill(first);
        let mut answer = Answer { events: Vec::new(), error: None };
        finish(old, &mut answer).await;
        assert_eq!(answer.ok(), "word1 word2 ");
        until("the end of generation 1", || host.maestro.list_plugins().len() == 1);
        wait_for_end(first);
    });
}

#[test]
fn an_exchange_does_not_hold_its_generation_for_ever() {
    let test = Test::new().plugin("hostile").config("[plugins]\ndrain_ms = 50\n");
    let host = Host::of(&test);
    wait(async {
        let slow = request("one two", &[("delay_ms", "100000000")]);
        let mut old = begin(&host.maestro, "hostile/m", slow).await.unwrap();
        assert_eq!(text_of(old.next().await), "one ");
        let first = pid(&host.maestro, "hostile").unwrap();
        rename_over(&test.plugin_path("hostile"), &build("hostile", 2));
        host.wait_for("hostile", 2);
        wait_for_end(first);
        // Its driver sleeps for a day; what it holds is gone all the same.
        drop(old);
        assert_eq!(chat(&host.maestro, "hostile/m", &[]).await.ok(), "hello");
    });
}

#[test]
fn in_process_an_exchange_ends_between_two_steps() {
    let test =
        Test::new().plugin("hostile").trusted("hostile").config("[plugins]\ndrain_ms = 50\n");
    let host = Host::of(&test);
    wait(async {
        let slow = request("one two", &[("delay_ms", "100000000")]);
        let mut old = begin(&host.maestro, "hostile/m", slow).await.unwrap();
        assert_eq!(text_of(old.next().await), "one ");
        assert_eq!(host.serving("hostile").unwrap().tier, "in-process");
        rename_over(&test.plugin_path("hostile"), &build("hostile", 2));
        host.wait_for("hostile", 2);
        let mut answer = Answer { events: Vec::new(), error: None };
        finish(old, &mut answer).await;
        assert_eq!(
            answer.problem(),
            "plugin `hostile` failed: another generation took its place, and the time to end was over"
        );
        assert_eq!(chat(&host.maestro, "hostile/m", &[]).await.ok(), "hello");
    });
}

#[test]
fn a_generation_that_crashes_gives_its_place_back() {
    let test = Test::new().plugin("hostile");
    let host = Host::of(&test);
    let hello = || wait(chat(&host.maestro, "hostile/m", &[])).ok();
    assert_eq!(hello(), "hello");
    rename_over(&test.plugin_path("hostile"), &build("hostile", 2));
    host.wait_for("hostile", 2);
    crash(&host, 3);
    host.says(
        "kept generation 1 of `hostile`; generation 2 failed to load: in quarantine since [..]",
    );
    until("its return", || host.serving("hostile").is_some_and(|p| p.generation == 1));
    assert_eq!(hello(), "hello");

    // Cleared, it is tried again, as a generation of its own.
    assert!(host.maestro.release_plugin("hostile").unwrap());
    assert_eq!(host.wait_for("hostile", 3).version, "0.0.2");
    assert_eq!(hello(), "hello");
}

#[test]
fn a_step_in_process_that_took_too_long_is_the_last_of_its_plugin() {
    let config = "[plugins]\nstep_wall_ms = 800\n";
    let test = Test::new().plugin("hostile").trusted("hostile").config(config);
    let (maestro, (tell, told)) = (test.maestro(), channel());
    maestro.on_endless_step(move |step| tell.send(step.clone()).unwrap());
    // It cannot be stopped, so it ends as if nothing were wrong.
    let late = [("fault", "late-step")];
    assert_eq!(wait(chat(&maestro, "hostile/m", &late)).ok(), "hello");
    let step = told.recv_timeout(PATIENCE).unwrap();
    let how = "a step in process took more than 800 ms";
    assert_eq!((step.plugin.as_str(), step.how.as_str(), step.withheld), ("hostile", how, true));
    let problem = wait(chat(&maestro, "hostile/m", &[])).problem();
    let expected = format!("failed to load plugin `hostile`: in quarantine since [..] GMT: {how}");
    assert!(line_matches(&expected, &problem), "{problem}");
    assert!(test.home().join("quarantine.json").exists());
}

#[test]
fn no_stream_shows_that_its_plugin_was_replaced() {
    let swaps = std::env::var("MAESTRO_SWAPS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let test = Test::new().plugin("hostile");
    let host = Host::of(&test);
    let said = words(20);
    let patience = PATIENCE.max(Duration::from_millis(1000 * swaps as u64));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let over = Arc::new(AtomicBool::new(false));
    let (streams, events) = runtime.unwrap().block_on(async {
        let asked = request(&said, &[("delay_ms", "5")]);
        let mut undisturbed = Answer { events: Vec::new(), error: None };
        let first = begin(&host.maestro, "hostile/m", asked.clone()).await.unwrap();
        finish(first, &mut undisturbed).await;
        let expected = Arc::new(undisturbed.events);
        let mut running = JoinSet::new();
        for _ in 0..50 {
            let (maestro, over) = (host.maestro.clone(), Arc::clone(&over));
            let (asked, expected) = (asked.clone(), Arc::clone(&expected));
            running.spawn(async move {
                let mut streams = 0;
                while !over.load(Ordering::Relaxed) {
                    let mut answer = Answer { events: Vec::new(), error: None };
                    let stream = begin(&maestro, "hostile/m", asked.clone()).await.unwrap();
                    finish(stream, &mut answer).await;
                    assert_eq!(answer.problem(), "");
                    assert_eq!(answer.events, *expected, "none is lost and none comes twice");
                    streams += 1;
                }
                streams
            });
        }
        let path = test.plugin_path("hostile");
        let builds: Vec<_> = (0..10).map(|n| build("hostile", n + 1)).collect();
        let swapping = tokio::task::spawn_blocking(move || {
            // When all builds were there once, what is kept for each is.
            let (warm, mut memory) = (swaps.min(20), 0);
            let began = Instant::now();
            for n in 0..swaps {
                if n == warm {
                    memory = resident();
                }
                rename_over(&path, &builds[n % builds.len()]);
                host.wait_for("hostile", n as u64 + 2);
            }
            let each = began.elapsed().as_millis() / swaps.max(1) as u128;
            eprintln!(
                "{each} ms a swap, with 50 ms of quiet; resident {memory}, then {} KB",
                resident()
            );
            host
        });
        let swapped = tokio::time::timeout(patience, swapping).await;
        over.store(true, Ordering::Relaxed);
        let (mut streams, mut each) = (0_usize, 0_usize);
        while let Some(ended) = running.join_next().await {
            streams += ended.unwrap();
            each = expected.len();
        }
        let host = swapped.expect("finished in time").unwrap();
        until("the end of all that was replaced", || host.maestro.list_plugins().len() == 1);
        (streams, streams * each)
    });
    eprintln!("{swaps} swaps under {streams} streams with {events} events");
    assert!(streams >= 50);
}

/// Returns how many kilobytes of this process are in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// Crashes a plugin as often as it takes.
fn crash(host: &Host, times: usize) {
    for _ in 0..times {
        let problem = wait(chat(&host.maestro, "hostile/m", &[("fault", "abrt")])).problem();
        assert!(problem.ends_with("ended its worker twice: it aborted"), "{problem}");
    }
}

#[test]
fn what_crashes_three_times_is_withheld_until_it_changes_or_is_cleared() {
    let test = Test::new().plugin("hostile");
    let host = Host::of(&test);
    let hello = || wait(chat(&host.maestro, "hostile/m", &[]));
    crash(&host, 2);
    assert_eq!(hello().ok(), "hello");
    crash(&host, 1);
    let answer = hello();
    assert!(
        line_matches(
            "failed to load plugin `hostile`: in quarantine since [..] GMT: it crashed 3 times, the \
             last time with: it aborted (SIGABRT)",
            &answer.problem()
        ),
        "{}",
        answer.problem()
    );
    let error = answer.error.unwrap();
    assert_eq!(error.exit_code(), 4);
    let hint = "replace it, or run `maestro plugin quarantine clear hostile` to try it again";
    assert_eq!(error.hint().as_deref(), Some(hint));
    assert_eq!(host.serving("hostile").unwrap().state, "quarantined");

    // Other programs know it too, and one of them lets it go.
    let test = test
        .args(["plugin", "quarantine"])
        .stdout(
            "PLUGIN   HASH          SINCE              CRASHES  LAST        SIGNAL\n\
             hostile  [..]  [..]Z  3        it aborted  SIGABRT\n",
        )
        .success()
        .args(["plugin", "quarantine", "clear", "hostile"])
        .stderr("`hostile` may run again\n")
        .success()
        .args(["plugin", "quarantine", "clear", "hostile"])
        .stderr("`hostile` was not in quarantine\n")
        .success()
        .args(["plugin", "quarantine"])
        .stderr("no plugin is in quarantine\n")
        .success();
    until("its release", || host.serving("hostile").unwrap().state == "serving");
    assert_eq!(hello().ok(), "hello");

    crash(&host, 3);
    assert_eq!(host.serving("hostile").unwrap().state, "quarantined");
    rename_over(&test.plugin_path("hostile"), &build("hostile", 2));
    host.wait_for("hostile", 2);
    assert_eq!(hello().ok(), "hello", "other bytes are another plugin");

    // The withheld bytes do not take the place of those that work.
    rename_over(&test.plugin_path("hostile"), &bytes("hostile"));
    host.says("kept generation 2 of `hostile`; generation 3 failed to load: in quarantine [..]");
    assert_eq!(hello().ok(), "hello");
}

#[test]
fn what_kills_from_outside_withholds_nothing() {
    let test = Test::new().plugin("hostile");
    let maestro = test.maestro();
    wait(async {
        for _ in 0..5 {
            let asked = request("one two", &[("delay_ms", "1")]);
            let mut stream = begin(&maestro, "hostile/m", asked).await.unwrap();
            text_of(stream.next().await);
            kill(pid(&maestro, "hostile").unwrap());
            let mut answer = Answer { events: Vec::new(), error: None };
            finish(stream, &mut answer).await;
            assert_eq!(answer.ok(), "two");
        }
    });
    assert_eq!(maestro.quarantined_plugins(), []);
    assert!(!test.home().join("quarantine.json").exists());
}

#[test]
fn what_ends_its_worker_while_it_is_loaded_does_that_once() {
    let hostile = patched(bytes("hostile"), "constructor=none", "constructor=abrt", 1);
    let test = Test::new().write("plugins/hostile.so", &hostile);
    // Trusted, so that without the probe its constructor would end this very process.
    let maestro = test.maestro();
    maestro.trust_plugin("hostile").unwrap();
    let maestro = test.maestro();
    assert_eq!(maestro.list_plugins()[0].tier, "in-process");
    let why = "it ended its worker while it was being loaded: it aborted";
    let problem = wait(chat(&maestro, "hostile/m", &[])).problem();
    assert_eq!(problem, format!("failed to load plugin `hostile`: {why}"));
    // The next one knows it without loading it.
    let next = test.maestro();
    assert_eq!(next.list_plugins().len(), 0);
    assert_eq!(next.refused_plugins()[0].error, why);
    assert!(next.release_plugin("hostile").unwrap());
    assert_eq!(test.maestro().list_plugins().len(), 1, "it is to be tried again");
}

#[test]
fn what_crashes_outside_of_steps_again_and_again_is_withheld() {
    let test = Test::new().plugin("hostile");
    let host = Host::of(&test);
    let crashes = |count: u64| {
        // Its client goes, so that it is freed before it is over.
        wait(async {
            let asked = request("hello", &[("fault", "close"), ("delay_ms", "60000")]);
            let mut stream = begin(&host.maestro, "hostile/m", asked).await.unwrap();
            assert_eq!(text_of(stream.next().await), "hello");
        });
        until("its crash", || {
            let worker = host.serving("hostile").unwrap().worker;
            worker.is_some_and(|worker| worker.crashes == count)
        });
    };
    // The first might be chance; three that a fresh worker repeats are not.
    (1..=3).for_each(crashes);
    assert_eq!(host.maestro.quarantined_plugins(), []);
    crashes(4);
    until("its quarantine", || !host.maestro.quarantined_plugins().is_empty());
    let withheld = host.maestro.quarantined_plugins().remove(0);
    assert_eq!(withheld.reason, "it aborted, when an exchange was closed");
    assert_eq!((withheld.signal.as_deref(), withheld.crashes), (Some("SIGABRT"), 3));
    let problem = wait(chat(&host.maestro, "hostile/m", &[])).problem();
    assert!(problem.starts_with("failed to load plugin `hostile`: in quarantine"), "{problem}");
}

#[test]
fn a_quarantine_that_others_may_write_is_named_where_people_look() {
    use std::os::unix::fs::PermissionsExt as _;
    let test = Test::new().plugin("hostile");
    crash(&Host::of(&test), 3);
    let path = test.home().join("quarantine.json");
    let states = |test: &Test| {
        let listed = test.args_of(["plugin", "list"]);
        (listed.stdout.contains("quarantined"), listed.stderr)
    };
    assert_eq!(states(&test), (true, String::new()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let path = path.display();
    let detail = format!("others may write `{path}`, so it withholds no plugin");
    let hint = format!("run `chmod go-w {path}` if what it says is right, else delete it");
    assert_eq!(states(&test), (false, format!("warning: {detail}; {hint}\n")));
    let doctor = test.args_of(["doctor"]).stdout;
    let expected = format!("warning  quarantine: {detail}\n         hint: {hint}\n");
    assert!(doctor.contains(&expected), "{doctor}");
    let serving = test.begin(["serve", "--listen", "127.0.0.1:0"], "");
    serving.wait_for_line(0, &format!("warning: {detail}; {hint}"));
}
