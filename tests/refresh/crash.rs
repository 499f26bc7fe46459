//! A process that dies in the middle of a renewal.

use host::session::{Renewal, SessionStatus};

use super::{MODEL, Scene};
use crate::{ask::chat, harness::wait};

/// The steps at which a renewal may die, and whether the server has acted by then.
const STEPS: &[(&str, bool)] = &[
    ("before-lease", false),
    ("after-lease", false),
    ("after-mark", false),
    ("after-send", true),
    ("after-answer", true),
    ("before-commit", true),
    ("after-commit", true),
    ("after-release", true),
];

#[test]
#[cfg_attr(not(debug_assertions), ignore = "a release build has no fault points")]
fn a_process_killed_at_any_step_loses_no_session_silently() {
    for &(step, acted) in STEPS {
        kill_at(step, acted, false);
    }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "a release build has no fault points")]
fn a_server_that_forgives_a_lost_answer_costs_no_login_at_any_step() {
    for &(step, acted) in STEPS {
        kill_at(step, acted, true);
    }
}

/// Kills a process at a step; a lenient server takes a replaced refresh token once more.
fn kill_at(step: &str, acted: bool, lenient: bool) {
    let scene = Scene::new();
    scene.authority.state().lenient = lenient;
    let Scene { authority, test, sessions } = scene;
    let test = test.args(["sessions", "refresh", "work"]).env("MAESTRO_ABORT_AT_STEP", step);
    let killed = test.spawn().wait();
    assert_eq!(killed.status.code(), None, "{step}: {}", killed.stderr);
    assert_eq!(authority.asked(), u32::from(acted), "{step}");
    // The row is there, whatever happened, and says what is known.
    let scene = Scene { authority, test, sessions };
    let open = scene.stored();
    assert_eq!(open.info.status, SessionStatus::Ready, "{step}");
    let stored = matches!(step, "after-commit" | "after-release");
    scene.holds(if stored { 2 } else { 1 });
    let attempts = open.credential.tokens().unwrap().renewal.attempts;
    let marked = !stored && !matches!(step, "before-lease" | "after-lease");
    assert_eq!(attempts, u32::from(marked), "{step}");

    // The next process takes over at once, although the lease was never given back.
    scene.expire_keeping_attempts();
    let answer = wait(chat(&scene.maestro(), MODEL, &[]));
    let status = scene.stored().info.status;
    if acted && !stored && !lenient {
        // The server rotated, and its answer died with the process. Trying once more is all that
        // can be done; this server takes it for theft. The session says so, and is still there.
        assert!(answer.problem().ends_with("accepts the login: `invalid_grant`"), "{step}");
        assert_eq!(status, SessionStatus::NeedsReauth, "{step}");
        assert_eq!(scene.authority.asked(), 2, "{step}");
        scene.holds(1);
    } else {
        assert_eq!(answer.ok(), "hi", "{step}");
        assert_eq!(status, SessionStatus::Ready, "{step}");
        assert_eq!(scene.authority.state().reused, u32::from(acted && !stored), "{step}");
        let renewal = scene.stored().credential.tokens().unwrap().renewal.clone();
        assert_eq!(renewal, Renewal::default(), "{step}");
    }
    assert_eq!(scene.sessions.list(&Default::default()).unwrap().len(), 1, "{step}");
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "a release build has no fault points")]
fn two_crashes_in_a_row_need_a_login() {
    let scene = Scene::new();
    let Scene { authority, test, sessions } = scene;
    let mut test = test.args(["sessions", "refresh", "work"]);
    for _ in 0..2 {
        test = test.env("MAESTRO_ABORT_AT_STEP", "after-mark");
        assert_eq!(test.spawn().wait().status.code(), None);
    }
    let scene = Scene { authority, test, sessions };
    assert_eq!(scene.stored().credential.tokens().unwrap().renewal.attempts, 2);
    scene.expire_keeping_attempts();
    let problem = wait(chat(&scene.maestro(), MODEL, &[])).problem();
    assert!(problem.ends_with("so the refresh token may be used up"), "{problem}");
    assert_eq!(scene.authority.asked(), 0, "not sent a third time");
    assert_eq!(scene.stored().info.status, SessionStatus::NeedsReauth);
    scene.holds(1);
}
