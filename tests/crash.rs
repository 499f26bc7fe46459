//! Workers die of what others do to them, and no exchange shows it. Of what plugins do to them see
//! `faults`.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use host::{Maestro, maestro::ChatStream};
use plugin_api::{chat::ChatRequest, event::ChatEvent};
use tokio::task::JoinSet;

use crate::{
    ask::{Answer, begin, chat, finish, request, text_of},
    harness::{Test, wait},
    upstream::{Gate, PATIENCE, Reply, Upstream},
    worker::{kill, pid, plugin, words},
};

/// Asks for words one by one, a millisecond apart.
fn slowly(said: &str) -> ChatRequest {
    request(said, &[("delay_ms", "1")])
}

/// Begins streams and reads the first event of each, so that they are under way.
async fn under_way(maestro: &Maestro, model: &str, said: &str) -> Vec<(ChatStream, Answer)> {
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = begin(maestro, model, slowly(said)).await.unwrap();
        let first = stream.next().await.unwrap().unwrap();
        streams.push((stream, Answer { events: vec![first], error: None }));
    }
    streams
}

async fn all_whole(streams: Vec<(ChatStream, Answer)>, said: &str, while_: &str) {
    for (stream, mut answer) in streams {
        finish(stream, &mut answer).await;
        assert_eq!(answer.problem(), "", "{while_}");
        assert_eq!(answer.text(), said, "{while_}");
    }
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
