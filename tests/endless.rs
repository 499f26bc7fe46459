//! A trusted plugin runs in the host's process, where nobody can stop a step that does not end. What is
//! done instead: its bytes are withheld, what else runs is finished, and the process makes way for
//! another that serves without it.

use std::{thread, time::Instant};

use serde_json::json;

use crate::{
    gateway::client::{Connection, Gateway},
    harness::{Test, line_matches},
    upstream::{Gate, PATIENCE, Reply, Upstream},
};

/// Processor time, because a busy machine takes none of it away.
const LIMITS: &str = "[plugins]\nstep_cpu_ms = 200\nstep_wall_ms = 20000\n";

const HOW: &str = "a step in process used more than 200 ms of processor time";

/// A server whose answers wait for a gate, and a home in which its plugin and `hostile` run in process.
fn home(gate: &Gate, more: &str) -> (Test, Upstream) {
    let gate = gate.clone();
    let upstream = Upstream::start(move |_| {
        let word = |text: &str, finish: Option<&str>| {
            let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": finish});
            json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})
                .to_string()
        };
        let begun = Reply::sse().event(&word("one ", None)).wait(&gate);
        begun.event(&word("two", None)).event(&word("", Some("stop"))).event("[DONE]")
    });
    let provider = "[providers.lab]\nplugin = \"openai-compatible\"";
    let config = format!("{LIMITS}{more}{provider}\nbase_url = \"{}\"\n", upstream.url());
    let test = Test::new().plugin("hostile").plugin("openai-compatible").config(config);
    (test.trusted("hostile").trusted("openai-compatible"), upstream)
}

fn chat(gateway: &Gateway, model: &str) -> Connection {
    let messages = json!([{"role": "user", "content": "hello"}]);
    let body = json!({"model": model, "stream": true, "messages": messages}).to_string();
    gateway.send("POST", "/v1/chat/completions", &[], body)
}

#[test]
fn a_gateway_whose_plugin_loops_finishes_what_it_can_and_makes_way_for_one_without_it() {
    let gate = Gate::new();
    let (test, _upstream) = home(&gate, "");
    let gateway = Gateway::start(&test);
    // Two for each thread that serves.
    let threads = thread::available_parallelism().map_or(1, usize::from).min(16);
    let mut others: Vec<_> = (0..2 * threads).map(|_| chat(&gateway, "lab/m")).collect();
    others.iter_mut().for_each(|stream| stream.read_until("one "));
    // Its thread is lost, and so is whoever is served on it.
    let _looping = chat(&gateway, "hostile/fault-loop");
    gateway.running().wait_for_line(
        0,
        &format!(
            "warning: plugin `hostile` cannot be stopped: {HOW}; what others are being answered is \
             finished, then the gateway ends"
        ),
    );
    gate.open();
    // Nothing else is waited for.
    let output = gateway.ended();
    let bodies: Vec<String> = others.iter_mut().map(|stream| stream.finish().body).collect();
    let whole = |body: &&String| body.contains("two") && body.trim_end().ends_with("data: [DONE]");
    assert_eq!(bodies.iter().filter(whole).count(), 2 * (threads - 1), "{bodies:?}");
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    let error = format!("error: plugin `hostile` cannot be stopped: {HOW}");
    assert_eq!(output.stderr.lines().filter(|line| *line == error).count(), 1, "{}", output.stderr);
    assert!(!output.stderr.contains("connections were cut"), "{}", output.stderr);

    let gateway = Gateway::start(&test);
    assert_eq!(chat(&gateway, "hostile/m").finish().status, 500);
    gateway.wait_for_stderr("failed to load plugin `hostile`: in quarantine since");
    assert!(chat(&gateway, "lab/m").finish().body.contains("two"));
    let test = test.args(["plugin", "quarantine", "clear", "hostile"]);
    let _test = test.stderr("`hostile` may run again\n").success();
    // The gateway hears of it a moment later.
    let began = Instant::now();
    while !chat(&gateway, "hostile/m").finish().body.contains("hello") {
        assert!(began.elapsed() < PATIENCE);
        thread::yield_now();
    }
    gateway.stop();
}

#[test]
fn a_gateway_ends_although_its_plugin_holds_every_thread() {
    let gate = Gate::new();
    let (test, _upstream) = home(&gate, "[serve]\ndrain_ms = 300\n");
    let gateway = Gateway::start(&test);
    let mut stream = chat(&gateway, "lab/m");
    stream.read_until("one ");
    let threads = thread::available_parallelism().map_or(2, usize::from).max(2);
    // More of them than threads, whichever runs which. None need ever have been read.
    let _looping: Vec<_> = (0..threads * 2).map(|_| chat(&gateway, "hostile/fault-loop")).collect();
    let output = gateway.ended();
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    let error = format!("error: plugin `hostile` cannot be stopped: {HOW}");
    assert!(output.stderr.lines().any(|line| line == error), "{}", output.stderr);
}

#[test]
fn a_command_whose_plugin_loops_says_so_and_fails() {
    let test = Test::new().plugin("hostile").config(LIMITS).trusted("hostile");
    let output = test.args_of(["chat", "--no-store", "-m", "hostile/fault-loop", "hello"]);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    let expected = format!("error: plugin `hostile` cannot be stopped: {HOW}");
    let mut lines = output.stderr.lines();
    assert_eq!(lines.next(), Some(expected.as_str()), "{}", output.stderr);
    let hint = "hint: it is in quarantine, and not asked again until its file changes; [..]";
    assert!(lines.any(|line| line_matches(hint, line)), "{}", output.stderr);
    let again = test.args_of(["chat", "--no-store", "-m", "hostile/m", "hello"]);
    assert_eq!(again.status.code(), Some(4), "{}", again.stderr);
    assert!(again.stderr.contains("in quarantine since"), "{}", again.stderr);
}
