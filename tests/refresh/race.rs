//! Many processes of many callers, and one refresh token.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use host::{Maestro, config::Config, home::Home};

use super::{MODEL, Scene};
use crate::{ask::chat, upstream::Gate};

/// Processes of the race.
const PROCESSES: usize = 4;
/// Callers in each.
const CALLERS: usize = 50;

/// `MAESTRO_RACE_ROUNDS=50` is the whole figure.
#[test]
fn four_processes_of_fifty_callers_renew_once_for_each_expiry() {
    let rounds = std::env::var("MAESTRO_RACE_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: u32 = rounds.unwrap_or(4);
    let scene = Scene::new();
    let mut processes: Vec<Callers> =
        (0..PROCESSES).map(|_| Callers::start(scene.test.home())).collect();
    for round in 0..rounds {
        let before = scene.authority.asked();
        // In turn: the clock says that the token ended, or the server does.
        if round % 2 == 0 {
            scene.expire();
        } else {
            let mut state = scene.authority.state();
            state.accepted.clear();
            state.hold = Gate::new();
        }
        let seen = scene.authority.upstream().requests().len();
        processes.iter_mut().for_each(Callers::go);
        if round % 2 == 1 {
            // The new tokens come when each caller was refused, so that all of them want one.
            scene.authority.upstream().wait_for_requests(seen + PROCESSES * CALLERS + 1);
            scene.authority.state().hold.open();
        }
        for process in &mut processes {
            assert_eq!(process.problems(), "", "round {round}");
        }
        assert_eq!(scene.authority.asked() - before, 1, "round {round}: one renewal");
        scene.holds(round + 2);
    }
    let state = scene.authority.state();
    let chats = scene.authority.upstream().requests().len() - state.asked as usize;
    println!(
        "{rounds} expiries, {PROCESSES} processes of {CALLERS} callers: {} renewals, {} reused, \
         {chats} chats, {} of them refused and made again",
        state.asked, state.reused, state.refused
    );
    assert_eq!((state.asked, state.reused, state.revoked), (rounds, 0, false));
    let expected = rounds as usize / 2 * PROCESSES * CALLERS;
    assert_eq!(state.refused as usize, expected, "each caller was refused");
    let answered = chats - state.refused as usize;
    assert_eq!(answered, rounds as usize * PROCESSES * CALLERS, "no call failed");
    drop(state);
    assert_eq!(scene.audited("attempt"), rounds as usize);
    assert_eq!(scene.audited("failure"), 0);
}

/// A process of many callers: this executable, running [`callers`] alone.
struct Callers {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Callers {
    fn start(home: &std::path::Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "refresh::race::callers", "--ignored", "--nocapture"])
            .env("MAESTRO_HOME", home)
            .env_remove("MAESTRO_SESSION")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    /// Has all callers call at once.
    fn go(&mut self) {
        writeln!(self.stdin, "go").unwrap();
    }

    /// Waits until all have their answer and returns what went wrong.
    fn problems(&mut self) -> String {
        let mut problems = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the process died");
            match line.trim_end().split_once(": ") {
                Some(("callers", "done")) => return problems,
                Some(("callers", problem)) => writeln!(problems, "{problem}").unwrap(),
                _ => {}
            }
        }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "one process of the race; it is told on stdin when to call"]
fn callers() {
    let home = Home::from_env().unwrap();
    let config = Config::read(&home.config_file()).unwrap();
    let maestro = Maestro::open(home, config).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for line in std::io::stdin().lines() {
        assert_eq!(line.unwrap(), "go");
        let problems = runtime.block_on(storm(&maestro, CALLERS));
        let mut said = String::from("\n");
        for problem in problems {
            writeln!(said, "callers: {problem}").unwrap();
        }
        println!("{said}callers: done");
    }
}

/// Chats many times at once and returns what went wrong.
async fn storm(maestro: &Maestro, callers: usize) -> Vec<String> {
    let answers = futures_util::future::join_all((0..callers).map(|_| chat(maestro, MODEL, &[])));
    let problems = answers.await.into_iter().map(|answer| {
        let said = answer.text();
        match answer.problem() {
            problem if problem.is_empty() && said == "hi" => String::new(),
            problem => format!("said `{said}`, {problem}"),
        }
    });
    problems.filter(|problem| !problem.is_empty()).collect()
}
