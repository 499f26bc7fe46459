//! Those who are compared, and what they are asked.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::child::Listening;

/// A gateway with one provider, a stored session of it and a client key: what serves a user.
pub(crate) struct Gateway {
    /// The process.
    pub(crate) process: Listening,
    key: String,
    _home: TempDir,
}

/// Where plugins run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// In the gateway's process.
    InProcess,
    /// In a process of their own.
    Worker,
}

/// What a client speaks; the mock speaks OpenAI's chat completions.
#[derive(Clone, Copy)]
pub(crate) enum Client {
    /// The same.
    Native,
    /// Anthropic's messages: both ways have to be translated.
    Foreign,
}

impl Gateway {
    /// Starts one before an upstream.
    pub(crate) fn start(program: &Path, upstream: SocketAddr, tier: Tier) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("maestro-bench-").tempdir()?;
        let isolation = if tier == Tier::Worker { "worker" } else { "auto" };
        let config = format!(
            "[providers.mock]\nplugin = \"openai-compatible\"\nbase_url = \"http://{upstream}/v1\"\n\n\
             [plugins]\nisolation = \"{isolation}\"\n\n[serve]\nmax_connections = 20000\n"
        );
        fs::write(home.path().join("config.toml"), config)?;
        let login = ["login", "mock", "--name", "work", "--key-stdin"];
        run(program, home.path(), &login, "sk-mock-0123456789abcdef")?;
        let key = run(program, home.path(), &["keys", "create", "--name", "bench"], "")?;
        let mut command = maestro(program, home.path());
        let process = Listening::start(command.args(["serve", "--listen", "127.0.0.1:0"]))?;
        Ok(Self { process, key: key.trim().to_owned(), _home: home })
    }

    /// Returns what to send it.
    pub(crate) fn request(&self, client: Client, model: &str, stream: bool) -> Vec<u8> {
        request(client, &format!("mock/{model}"), stream, &self.key)
    }
}

/// Makes the command of a program with a home of its own.
pub(crate) fn maestro(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("MAESTRO_HOME", home).env_remove("MAESTRO_SESSION").stderr(Stdio::null());
    command
}

fn run(program: &Path, home: &Path, arguments: &[&str], stdin: &str) -> Result<String> {
    let mut command = maestro(program, home);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn()?;
    child.stdin.take().context("a pipe to the program")?.write_all(stdin.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "`maestro {}` failed", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// Starts the vendor.
pub(crate) fn mock() -> Result<Listening> {
    Listening::start(Command::new(std::env::current_exe()?).arg("mock"))
}

/// Starts the bare proxy.
pub(crate) fn proxy(to: SocketAddr) -> Result<Listening> {
    Listening::start(Command::new(std::env::current_exe()?).args(["proxy", &to.to_string()]))
}

/// Writes a request for whoever needs no key of the gateway's.
pub(crate) fn plain(model: &str, stream: bool) -> Vec<u8> {
    request(Client::Native, model, stream, "sk-mock-0123456789abcdef")
}

fn request(client: Client, model: &str, stream: bool, key: &str) -> Vec<u8> {
    let path = match client {
        Client::Native => "/v1/chat/completions",
        Client::Foreign => "/v1/messages",
    };
    let usage = match client {
        Client::Native if stream => r#""stream_options":{"include_usage":true},"#,
        _ => "",
    };
    let question =
        "You are asked in a few words. What is the capital of France, and why is it that?";
    let body = format!(
        r#"{{"model":"{model}","max_tokens":256,"temperature":0.7,"stream":{stream},{usage}"messages":[{{"role":"user","content":"{question}"}}]}}"#
    );
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench/1\r\naccept: */*\r\n\
         content-type: application/json\r\nauthorization: Bearer {key}\r\n\
         anthropic-version: 2023-06-01\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// Takes as many descriptors as the system allows; children take after us.
pub(crate) fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    // Refused, fewer streams can be opened, and that is said then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
