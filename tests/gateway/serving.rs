//! The gateway as a service: where it listens, how it ends, and what it does when it is told to.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{CHAT, chat, client::Gateway, home, says, server, word};
use crate::{
    harness::Test,
    upstream::{Gate, Reply, Upstream},
};

/// How often something is repeated: a few times, or as often as the environment says.
fn times(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// `MAESTRO_TEST_SIGTERMS=100` repeats it as often as the promise says.
#[test]
fn under_load_nothing_that_was_accepted_fails() {
    let upstream = Upstream::start(|_| says(&["red ", "green"]));
    let test = home(&upstream, "models = [\"m\"]\n");
    let (ends, asked) = (times("MAESTRO_TEST_SIGTERMS", 5), Arc::new(AtomicUsize::new(0)));
    for _ in 0..ends {
        let gateway = Arc::new(Gateway::start(&test));
        let before = asked.load(Ordering::Relaxed);
        let clients: Vec<_> = (0..8)
            .map(|at| {
                let (gateway, asked) = (Arc::clone(&gateway), Arc::clone(&asked));
                let body = chat("lab/m", at % 2 == 0);
                thread::spawn(move || {
                    // Until nobody listens any more: half of them with a connection for each
                    // request, half with one for as long as it stays open.
                    while let Ok(mut client) = gateway.try_connect() {
                        loop {
                            let answer = client.ask_again(CHAT, &body);
                            assert_eq!(answer.status, 200, "{answer:?}");
                            assert!(answer.body.contains("green"), "{answer:?}");
                            asked.fetch_add(1, Ordering::Relaxed);
                            if at < 4 || answer.header("connection") == "close" {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        while asked.load(Ordering::Relaxed) < before + 40 {
            thread::yield_now();
        }
        gateway.terminate();
        let results: Vec<_> = clients.into_iter().map(thread::JoinHandle::join).collect();
        assert!(results.into_iter().all(|result| result.is_ok()));
        Arc::into_inner(gateway).expect("nobody else has it").end();
    }
    println!("{ends} ends under load, {} requests, none failed", asked.load(Ordering::Relaxed));
}

#[test]
fn a_gateway_that_drains_is_not_ready() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream =
        Upstream::start(move |_| Reply::sse().event(&word("red")).wait(&held).event("[DONE]"));
    let test = home(&upstream, "models = [\"m\"]\n");
    let gateway = Gateway::start(&test);
    assert_eq!(gateway.get("/readyz", &[]).status, 200);
    // The question stands behind a stream, on a connection that is open for that alone.
    let mut client = gateway.connect();
    let body = chat("lab/m", true);
    let requests = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}\
         GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        body.len()
    );
    client.stream.write_all(requests.as_bytes()).unwrap();
    client.read_until("red");
    gateway.terminate();
    while gateway.try_connect().is_ok() {
        thread::yield_now();
    }
    gate.open();
    client.read_until("HTTP/1.1 503");
    client.read_until("the gateway is about to end");
    gateway.end();
}

#[test]
fn a_socket_in_the_file_system_serves_its_user() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let path = test.home().join("gateway.sock");
    let listen = format!("unix:{}", path.display());
    let args = ["serve", "--listen", &listen];
    let gateway = Gateway::of(test.begin(args, ""));
    assert_eq!(gateway.url, listen);
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        let head = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(head).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("lab/m"), "{answer}");
    let second = test.args_of(args);
    assert_eq!(second.status.code(), Some(1), "{}", second.stderr);
    assert!(second.stderr.contains("hint: stop what listens there"), "{}", second.stderr);
    assert!(ask().starts_with("HTTP/1.1 200 OK"), "the first one still serves");
    gateway.stop();
    assert!(!path.exists());
    // One that ended without a word leaves its socket, which the next one replaces.
    let gateway = Gateway::of(test.begin(args, ""));
    gateway.killed_by(rustix::process::Signal::KILL);
    assert!(path.exists());
    let gateway = Gateway::of(test.begin(args, ""));
    assert!(ask().starts_with("HTTP/1.1 200 OK"));
    gateway.stop();
}

#[test]
fn a_socket_of_the_service_manager_outlives_the_gateway() {
    let upstream = Upstream::start(server);
    let test = home(&upstream, "");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let begin = || {
        // As systemd does it: the socket is the third descriptor, and meant for this process.
        let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve";
        let socket = listener.try_clone().unwrap();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_maestro")])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)));
        Gateway::of(test.command(command))
    };
    let first = begin();
    assert_eq!(first.url, format!("http://{address}"));
    assert_eq!(first.post(CHAT, chat("lab/m", false)).status, 200);
    first.stop();
    // Nobody serves, and nobody is refused.
    let mut early = std::net::TcpStream::connect(address).unwrap();
    early.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let second = begin();
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
    second.stop();
}

/// Makes a certificate for this machine where the configuration has it.
fn certify(test: &Test) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let write = |name, text: String| {
        let young = test.home().join("young");
        fs::write(&young, text).unwrap();
        fs::rename(young, test.home().join(name)).unwrap();
    };
    write("key.pem", made.signing_key.serialize_pem());
    write("cert.pem", made.cert.pem());
}

/// Asks for `/healthz` with nothing trusted but one certificate.
fn trusts(certificate: &Path, url: &str) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--noproxy", "*", "--cacert"]).arg(certificate);
    let output = curl.arg(format!("{url}/healthz")).output().unwrap();
    output.stdout == b"ok\n"
}

#[test]
fn tls_is_spoken_and_a_new_certificate_taken_up() {
    let upstream = Upstream::start(server);
    let nowhere = "[serve.tls]\ncert = \"/nowhere/cert.pem\"\nkey = \"/nowhere/key.pem\"\n";
    let test = home(&upstream, nowhere);
    let refused = test.args_of(["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("failed to read `/nowhere/cert.pem`"), "{}", refused.stderr);

    let folder = test.home().display().to_string();
    let tls = format!("[serve.tls]\ncert = \"{folder}/cert.pem\"\nkey = \"{folder}/key.pem\"\n");
    let test = test.config(tls);
    certify(&test);
    let first = test.home().join("first.pem");
    fs::copy(test.home().join("cert.pem"), &first).unwrap();
    let gateway = Gateway::start(&test);
    assert!(gateway.url.starts_with("https://"), "{}", gateway.url);
    assert!(trusts(&first, &gateway.url));
    certify(&test);
    rustix::process::kill_process(gateway.process(), rustix::process::Signal::HUP).unwrap();
    let second = test.home().join("cert.pem");
    while !trusts(&second, &gateway.url) {
        thread::yield_now();
    }
    assert!(!trusts(&first, &gateway.url), "the former one is gone");
    // A key with nothing behind it changes nothing.
    fs::write(test.home().join("key.pem"), "").unwrap();
    rustix::process::kill_process(gateway.process(), rustix::process::Signal::HUP).unwrap();
    gateway.wait_for_stderr("kept the former certificate");
    assert!(trusts(&second, &gateway.url));
    gateway.stop();
}

#[test]
fn the_example_program_asks_a_model() {
    let test = Test::new().plugin("echo");
    let mut command = Command::new(example("ask"));
    command.args(["echo/echo", "red green"]);
    let output = test.command(command).wait();
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    assert_eq!(output.stdout, "red green\n");
}

/// Returns an example program; cargo builds them with the tests.
fn example(name: &str) -> std::path::PathBuf {
    let tests = std::env::current_exe().unwrap();
    let found = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(found.exists(), "no {}: run `cargo build --package host --examples`", found.display());
    found
}
