//! A home of its own for each test, the program run in it, and what it must say.
//!
//! ```text
//! Test::new().plugin("echo").args(["providers"]).stdout("…").success();
//! ```
//!
//! An unstated stream must be empty, and what is stated is the whole of it. `[HOME]` stands for the
//! test's home, `[..]` for anything within a line. `success` and `failure` give the test back, so that
//! the next command runs in the same home.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    future::Future,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use host::{Maestro, config::Config, home::Home};
use tempfile::TempDir;

use crate::upstream::PATIENCE;

/// One test: a home and the next command.
pub(crate) struct Test {
    home: TempDir,
    args: Vec<OsString>,
    env: BTreeMap<String, OsString>,
    stdin: Vec<u8>,
    stdout: String,
    stderr: String,
}

impl Test {
    /// Makes an empty home.
    pub(crate) fn new() -> Self {
        let home = TempDir::with_prefix("maestro-").unwrap();
        fs::create_dir(home.path().join("plugins")).unwrap();
        Self {
            home,
            args: Vec::new(),
            env: BTreeMap::new(),
            stdin: Vec::new(),
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    /// Drops a plugin's library into the folder.
    pub(crate) fn plugin(self, name: &str) -> Self {
        fs::copy(library(name), self.plugin_path(name)).unwrap();
        self
    }

    /// Trusts a plugin that is in the folder, so that it runs in process.
    pub(crate) fn trusted(self, id: &str) -> Self {
        self.maestro().trust_plugin(id).unwrap();
        self
    }

    /// Writes `config.toml`.
    pub(crate) fn config(self, toml: impl AsRef<str>) -> Self {
        fs::write(self.home().join("config.toml"), toml.as_ref()).unwrap();
        self
    }

    /// Writes a file below the home.
    pub(crate) fn write(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    pub(crate) fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn stdin(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stdin = text.as_ref().to_vec();
        self
    }

    /// States what the next command says.
    pub(crate) fn stdout(mut self, text: impl Into<String>) -> Self {
        self.stdout = text.into();
        self
    }

    /// States what the next command says beside its data.
    pub(crate) fn stderr(mut self, text: impl Into<String>) -> Self {
        self.stderr = text.into();
        self
    }

    /// Returns the home.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Returns where a plugin's library goes.
    pub(crate) fn plugin_path(&self, name: &str) -> PathBuf {
        self.home().join("plugins").join(library(name).file_name().unwrap())
    }

    /// Runs the command, which must succeed.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        self.status(0)
    }

    /// Runs the command, which must exit with a status.
    #[track_caller]
    pub(crate) fn failure(self, status: i32) -> Self {
        assert_ne!(status, 0);
        self.status(status)
    }

    #[track_caller]
    fn status(mut self, expected: i32) -> Self {
        let output = self.spawn().wait();
        let shown = |text: &str| text.replace(self.home().to_str().unwrap(), "[HOME]");
        let (stdout, stderr) = (shown(&output.stdout), shown(&output.stderr));
        let same = matches(&self.stdout, &stdout) && matches(&self.stderr, &stderr);
        let status = output.status.code();
        assert!(
            same && status == Some(expected),
            "maestro {:?}\n--- status {expected}, found {status:?} ({})\n--- stdout expected\n{}\n--- \
             stdout\n{stdout}\n--- stderr expected\n{}\n--- stderr\n{stderr}",
            self.args,
            output.status,
            self.stdout,
            self.stderr,
        );
        self.stdin.clear();
        self.stdout.clear();
        self.stderr.clear();
        self
    }

    /// Runs a command and returns what it said, for what is not worth stating whole.
    pub(crate) fn args_of<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Output {
        self.begin(args, "").wait()
    }

    /// Starts the command, for tests that do something while it runs.
    pub(crate) fn spawn(&self) -> Running {
        self.start(&self.args, &self.stdin)
    }

    /// Starts a command beside others.
    pub(crate) fn begin<'a>(
        &self,
        args: impl IntoIterator<Item = &'a str>,
        stdin: &str,
    ) -> Running {
        self.start(&args.into_iter().map(OsString::from).collect::<Vec<_>>(), stdin.as_bytes())
    }

    fn start(&self, args: &[OsString], stdin: &[u8]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maestro"));
        command.args(args).stdin(Stdio::piped());
        let mut running = self.command(command);
        let (mut pipe, input) = (running.child.stdin.take().unwrap(), stdin.to_vec());
        // A command that reads nothing closes the pipe, which is no failure.
        thread::spawn(move || drop(pipe.write_all(&input)));
        running
    }

    /// Starts another program with the same home and environment; stdin is as it was set.
    pub(crate) fn command(&self, mut command: Command) -> Running {
        let mut child = command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(profile_env())
            .env("MAESTRO_HOME", self.home())
            .envs(&self.env)
            .current_dir(self.home())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Stream::of(child.stdout.take().unwrap());
        let stderr = Stream::of(child.stderr.take().unwrap());
        Running { child, stdout, stderr }
    }

    /// Opens the facade on the same home.
    pub(crate) fn maestro(&self) -> Maestro {
        self.try_maestro().unwrap()
    }

    pub(crate) fn try_maestro(&self) -> Result<Maestro, host::maestro::Error> {
        let home = Home::at(self.home());
        let config = Config::read(&home.config_file())?;
        Maestro::open(home, config)
    }

    /// Lists every file and folder below the home with its size, to see what a command changed.
    pub(crate) fn tree(&self) -> BTreeMap<PathBuf, u64> {
        let mut tree = BTreeMap::new();
        walk(self.home(), &mut |path| {
            let size = path.symlink_metadata().unwrap().size();
            let size = if path.is_dir() { 0 } else { size };
            tree.insert(path.strip_prefix(self.home()).unwrap().to_owned(), size);
        });
        tree
    }

    /// Lists the files below the home that hold these bytes.
    pub(crate) fn grep(&self, needle: &str) -> Vec<PathBuf> {
        let mut hits = Vec::new();
        walk(self.home(), &mut |path| {
            let bytes = fs::read(path).unwrap_or_default();
            if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                hits.push(path.to_owned());
            }
        });
        hits
    }
}

/// A command that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    /// Waits until the command has said something on stdout.
    pub(crate) fn wait_for_stdout(&self, text: &str) {
        self.stdout.wait_until(|said| said.contains(text));
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line on stdout and returns it.
    pub(crate) fn first_line(&self) -> String {
        let said = self.stdout.wait_until(|said| said.contains('\n'));
        said.lines().next().unwrap_or_default().to_owned()
    }

    /// Waits until the command has said something on stderr, and returns all it said there.
    pub(crate) fn wait_for_stderr(&self, text: &str) -> String {
        self.stderr.wait_until(|said| said.contains(text))
    }

    /// Waits for a line on stderr that comes after so many bytes.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, after: usize, expected: &str) {
        let is_there = |said: &str| {
            let mut lines = said.get(after..).unwrap_or_default().lines();
            lines.any(|line| line_matches(expected, line))
        };
        let said = self.stderr.wait_until(is_there);
        assert!(is_there(&said), "it ended without saying `{expected}`: {said}");
    }

    /// Returns what it has said on stderr so far.
    pub(crate) fn stderr_so_far(&self) -> String {
        self.stderr.wait(|_| true)
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Interrupts it as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Output {
        let stdout = self.stdout.wait_until_closed();
        let stderr = self.stderr.wait_until_closed();
        Output { status: self.child.wait().unwrap(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, so far.
struct Stream(Arc<Pipe>);

#[derive(Default)]
struct Pipe {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    closed: bool,
}

impl Stream {
    fn of(mut from: impl std::io::Read + Send + 'static) -> Self {
        let pipe = Arc::<Pipe>::default();
        let stream = Self(Arc::clone(&pipe));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = from.read(&mut buffer).unwrap_or(0);
                let mut said = pipe.said.lock().unwrap();
                said.bytes.extend_from_slice(&buffer[..read]);
                said.closed = read == 0;
                pipe.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        stream
    }

    fn wait_until(&self, reached: impl Fn(&str) -> bool) -> String {
        self.wait(|said| said.closed || reached(&String::from_utf8_lossy(&said.bytes)))
    }

    fn wait_until_closed(&self) -> String {
        self.wait(|said| said.closed)
    }

    fn wait(&self, reached: impl Fn(&Said) -> bool) -> String {
        let said = self.0.said.lock().unwrap();
        let waiting = |said: &mut Said| !reached(said);
        let (said, timeout) = self.0.changed.wait_timeout_while(said, PATIENCE, waiting).unwrap();
        let text = String::from_utf8_lossy(&said.bytes).into_owned();
        assert!(!timeout.timed_out(), "waited in vain; said so far: {text}");
        text
    }
}

/// Runs a future to its end; a test that hangs fails.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let value = runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
    value.expect("finished in time")
}

/// Returns a plugin's library, which cargo built beside this executable.
pub(crate) fn library(name: &str) -> PathBuf {
    let file = format!(
        "{}{}{}",
        std::env::consts::DLL_PREFIX,
        name.replace('-', "_"),
        std::env::consts::DLL_SUFFIX
    );
    let beside = std::env::current_exe().unwrap().with_file_name(&file);
    assert!(beside.exists(), "`{}` is missing: is it a dev-dependency?", beside.display());
    beside
}

/// Returns the workspace's root.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What a coverage run needs in its children.
fn profile_env() -> Option<(&'static str, OsString)> {
    std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file))
}

/// Visits everything below a folder, which itself is left out.
pub(crate) fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        visit(&path);
        if path.is_dir() && !path.is_symlink() {
            walk(&path, visit);
        }
    }
}

/// Compares with `[..]` standing for anything within a line.
pub(crate) fn matches(expected: &str, found: &str) -> bool {
    let (expected, found): (Vec<_>, Vec<_>) =
        (expected.split('\n').collect(), found.split('\n').collect());
    expected.len() == found.len()
        && expected.iter().zip(&found).all(|(expected, found)| line_matches(expected, found))
}

/// Compares one line, with `[..]` standing for anything.
pub(crate) fn line_matches(expected: &str, found: &str) -> bool {
    let Some((start, mut rest)) = expected.split_once("[..]") else { return expected == found };
    let Some(mut found) = found.strip_prefix(start) else { return false };
    while let Some((piece, behind)) = rest.split_once("[..]") {
        let Some((_, after)) = found.split_once(piece) else { return false };
        (found, rest) = (after, behind);
    }
    found.ends_with(rest)
}

#[test]
fn expectations_match_whole_texts() {
    assert!(matches("a [..] c\n", "a bb c\n"));
    assert!(matches("[..]b[..]d", "abcd"));
    for (expected, found) in [("a", "a\n"), ("", "x"), ("a[..]c", "b c"), ("a[..]\n", "a\nb\n")] {
        assert!(!matches(expected, found), "{expected:?} {found:?}");
    }
}
