//! Every rule that `faulty` can break is noticed, named and survived.

use crate::{
    ask::{Answer, begin, chat, finish, problem, request, text_of},
    harness::{Test, wait},
    upstream::{Gate, Reply, Upstream},
};
use host::maestro::Call;
use plugin_api::operation::EmbedRequest;

/// A home with `faulty`, and a provider `lab` of it at an upstream.
fn lab(upstream: &Upstream) -> Test {
    let config =
        format!("[providers.lab]\nplugin = \"faulty\"\nbase_url = \"{}\"\n", upstream.url());
    Test::new().plugin("faulty").config(config)
}

/// Drops the place of a panic, which changes with every edit of `faulty`.
fn without_place(text: &str) -> &str {
    text.split(", plugins/faulty/src/lib.rs:").next().unwrap_or_default()
}

/// Faults that need no server, with what is said before each and what is said of it. Both tiers run
/// them.
pub(crate) fn faults() -> Vec<(&'static str, &'static str, String)> {
    let broke = |rule: &str, detail: &str| {
        format!("plugin `faulty` broke contract rule `{rule}`: {detail}")
    };
    let panicked = |message: &str| broke("never-panics", message);
    let refused = |message: &str| format!("provider `faulty` failed: invalid request: {message}");
    vec![
        ("none", "hello", String::new()),
        ("panic-at-start", "", panicked("started badly")),
        ("panic-in-open", "", panicked("opened badly")),
        ("panic-mid-stream", "hello", panicked("stumbled over `hello`")),
        ("panic-in-drop", "hello", String::new()),
        ("event-after-done", "hello", broke("nothing-after-end", "`text-delta` after the end")),
        ("done-twice", "hello", broke("nothing-after-end", "`done` after the end")),
        ("fail-twice", "hello", "provider `faulty` failed: provider overloaded: once".to_owned()),
        ("text-after-finish", "hello", broke("finish-is-last", "`text-delta` after `finish`")),
        ("finish-twice", "hello", broke("finish-is-last", "`finish` after `finish`")),
        ("done-without-finish", "hello", broke("finish-before-done", "`done` without `finish`")),
        ("stall", "hello", broke("never-stalls", "neither a request nor a time to wait for")),
        (
            "tool-delta-before-start",
            "hello",
            broke("tool-call-order", "`tool-call-delta` in part 1, where no tool call is open"),
        ),
        (
            "tool-call-never-ends",
            "hello",
            broke("tool-call-ends", "`finish` while 1 tool calls are open"),
        ),
        (
            "empty-tool-id",
            "hello",
            broke("tool-call-identity", "tool call in part 1 with id `` and name `look`"),
        ),
        (
            "part-changes-kind",
            "hello",
            broke("part-keeps-kind", "`reasoning-delta` in part 0, which is text"),
        ),
        ("value-in-chat", "hello", broke("value-fits-operation", "`unit` in a chat")),
        (
            "foreign-origin",
            "",
            refused("origin `http://127.0.0.1:9` is not declared by the provider (declared: none)"),
        ),
        ("user-info", "", refused("a URL must not carry a user name or password")),
    ]
}

#[test]
fn each_broken_rule_is_named_after_what_was_said_until_then() {
    let test = Test::new().plugin("faulty");
    let maestro = test.maestro();
    wait(async {
        for (fault, said, problem) in faults() {
            let answer = chat(&maestro, "faulty/rude", &[("fault", fault)]).await;
            assert_eq!(
                (answer.text().as_str(), without_place(&answer.problem())),
                (said, &*problem),
                "{fault}"
            );
        }
    });
}

#[test]
fn a_flood_is_cut_off() {
    let test = Test::new().plugin("faulty");
    let maestro = test.maestro();
    wait(async {
        for fault in ["flood-of-bytes", "flood-of-events"] {
            let answer = chat(&maestro, "faulty/rude", &[("fault", fault)]).await;
            assert!(answer.text().starts_with("hello"), "what came before is delivered");
            assert_eq!(
                answer.problem(),
                "plugin `faulty` broke contract rule `output-budget`: one step put out too much"
            );
        }
    });
}

#[test]
fn a_flood_over_many_steps_is_cut_off_too() {
    let test = Test::new().plugin("faulty");
    let answer = wait(chat(&test.maestro(), "faulty/rude", &[("fault", "flood-over-steps")]));
    assert!(answer.text().starts_with("hellox"));
    assert_eq!(
        answer.problem(),
        "plugin `faulty` broke contract rule `output-budget`: the exchange put out more than \
         268435456 bytes"
    );
}

#[test]
fn requests_without_end_are_stopped() {
    let upstream = Upstream::always(Reply::json(200, "{}"));
    let test = lab(&upstream);
    let answer = wait(chat(&test.maestro(), "lab/m", &[("fault", "flood-of-requests")]));
    assert_eq!(
        answer.problem(),
        "plugin `faulty` broke contract rule `request-budget`: more than 256 requests"
    );
    assert_eq!(upstream.requests().len(), 256);
}

#[test]
fn an_unknown_fault_is_a_mistake_of_the_caller() {
    let test = Test::new().plugin("faulty");
    let maestro = test.maestro();
    let answer = wait(chat(&maestro, "faulty/rude", &[("fault", "sulk")]));
    assert!(answer.problem().starts_with(
        "provider `faulty` failed: invalid request: no fault `sulk`; known: none, panic-at-start, "
    ));
}

#[test]
fn a_request_that_may_not_be_sent_opens_no_connection() {
    let upstream = Upstream::always(Reply::says(&["never"]));
    let test = lab(&upstream);
    let maestro = test.maestro();
    let origin = upstream.origin();
    wait(async {
        for (fault, problem) in [
            (
                "two-requests",
                "plugin `faulty` broke contract rule `one-request-at-a-time`: request 1 while 0 is open"
                    .to_owned(),
            ),
            (
                "foreign-origin",
                format!(
                    "provider `lab` failed: invalid request: origin `http://127.0.0.1:9` is not \
                     declared by the provider (declared: {origin})"
                ),
            ),
            (
                "host-header",
                "provider `lab` failed: invalid request: header `host` belongs to the host".into(),
            ),
            (
                "bad-header",
                "provider `lab` failed: invalid request: header `x-a` cannot be sent".into(),
            ),
            (
                "unknown-blob",
                "plugin `faulty` broke contract rule `well-formed-messages`: the body names bytes \
                 that the exchange does not have"
                    .into(),
            ),
        ] {
            let answer = chat(&maestro, "lab/m", &[("fault", fault)]).await;
            assert_eq!((answer.text().as_str(), answer.problem()), ("", problem), "{fault}");
        }
    });
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn an_exchange_that_breaks_a_rule_leaves_the_others_alone() {
    let gate = Gate::new();
    let upstream =
        Upstream::always(Reply::sse().event("one").wait(&gate).event("two").event("[DONE]"));
    let test = lab(&upstream);
    let maestro = test.maestro();
    wait(async {
        let mut good = begin(&maestro, "lab/m", request("hello", &[])).await.unwrap();
        assert_eq!(text_of(good.next().await), "one");
        for fault in ["panic-at-start", "panic-mid-stream", "panic-in-drop", "stall", "done-twice"]
        {
            drop(chat(&maestro, "faulty/rude", &[("fault", fault)]).await);
        }
        gate.open();
        let mut rest = Answer { events: Vec::new(), error: None };
        finish(good, &mut rest).await;
        assert_eq!(rest.ok(), "two");
    });
}

#[test]
fn a_panic_while_cancelling_goes_no_further() {
    let test = Test::new().plugin("faulty");
    let maestro = test.maestro();
    wait(async {
        let fault = [("fault", "panic-on-cancel")];
        let mut stream = begin(&maestro, "faulty/rude", request("hello", &fault)).await.unwrap();
        assert_eq!(text_of(stream.next().await), "hello");
        drop(stream);
        assert_eq!(chat(&maestro, "faulty/rude", &[]).await.ok(), "hello");
    });
}

#[test]
fn a_list_of_models_must_be_one_and_only_one() {
    let mut config = String::new();
    let cases = [
        ("wrong-value", "`token_count` where `models` is expected"),
        ("events", "event `text-delta` from an operation that gives a value"),
        ("no-value", "`done` without a value"),
        ("two-values", "a second `models`"),
    ];
    for (fault, _) in cases {
        config += &format!(
            "[providers.{fault}]\nplugin = \"faulty\"\nbase_url = \"http://127.0.0.1:9\"\nmodels_fault = \"{fault}\"\n"
        );
    }
    let test = Test::new().plugin("faulty").config(config);
    let maestro = test.maestro();
    wait(async {
        for (fault, detail) in cases {
            let listed = maestro.list_models(fault, None).await;
            assert_eq!(
                problem(listed),
                format!("plugin `faulty` broke contract rule `value-fits-operation`: {detail}")
            );
        }
        assert_eq!(maestro.list_models("faulty", None).await.unwrap()[0].id, "rude");
    });
}

/// The rule `declared-is-implemented`, which is checked before an exchange runs.
#[test]
fn what_is_declared_and_not_there_is_found() {
    let test = Test::new().plugin("faulty").plugin("echo");
    let maestro = test.maestro();
    let compliance = maestro.validate("faulty").unwrap();
    let failed: Vec<_> = compliance.checks.iter().filter(|check| !check.passed).collect();
    assert!(!compliance.passed);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].what, "embeddings/1");
    assert_eq!(
        failed[0].detail.as_deref(),
        Some("declared, but not supported: embeddings is not offered by this provider")
    );
    assert!(maestro.validate("echo").unwrap().passed);
    wait(async {
        let embed = |model: &str, inputs: &[&str]| {
            let inputs = inputs.iter().map(|text| (*text).to_owned()).collect();
            let model = format!("faulty/{model}").parse().unwrap();
            let maestro = &maestro;
            async move { maestro.embed(&model, EmbedRequest::new("", inputs), Call::default()).await }
        };
        assert_eq!(
            problem(embed("any", &["a"]).await),
            "provider `faulty` failed: not supported: embeddings is not offered by this provider"
        );
        assert_eq!(
            problem(embed("short", &["a", "b"]).await),
            "plugin `faulty` broke contract rule `value-fits-operation`: expected 2 vectors, found 1"
        );
    });
}
