//! Builds the product and proves it in a temporary home, printing each command before it runs.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    dist::{self, Build, Dist},
    run,
    upstream::Upstream,
};

/// Ports at which a model server usually listens: Ollama, LM Studio, llama.cpp, and ours.
const MODEL_PORTS: [u16; 4] = [11434, 1234, 8080, 8089];

/// Keys that exist nowhere; one for each account.
const KEYS: [(&str, &str); 2] =
    [("work_lab", "sk-work-0123456789abcdef"), ("personal_lab", "sk-personal-fedcba9876543210")];

struct Proof<'a> {
    dist: &'a Dist,
    home: &'a Path,
}

/// Builds into `dist/` and proves it.
pub(crate) fn quickstart() -> Result<()> {
    heading("Build");
    let dist = dist::dist_with(&["shout"], Build::Plain)?;

    let temporary = tempfile::Builder::new().prefix("maestro-quickstart-").tempdir()?;
    let home = temporary.path();
    let proof = Proof { dist: &dist, home };
    println!("\nexport MAESTRO_HOME={}", home.display());

    heading("A chat streams through a plugin that came with it");
    proof.run(&["chat", "-m", "echo/echo", "Hello from a shared library."])?;

    heading("Drop a file into the folder, and its provider is there");
    proof.run(&["providers"])?;
    proof.drop_plugin()?;
    proof.run(&["providers"])?;
    proof.run(&["chat", "-m", "shout/shout", "Nobody restarted anything."])?;

    heading("Two named accounts of one provider, each with its own key");
    proof.accounts()?;

    heading("A real model, if one is running");
    proof.real_model()?;

    heading("Try it yourself");
    let program = dist.program.display();
    println!("{program} chat -m echo/echo \"Hello\"");
    println!("{program} providers list --all");
    println!("{program} login openrouter --name personal");
    println!("\nOr put it on your PATH: cargo xtask install --prefix ~/.local");
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

impl Proof<'_> {
    /// Prints and runs one command of the program.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        self.run_with(arguments, None)
    }

    fn run_with(&self, arguments: &[&str], stdin: Option<&str>) -> Result<()> {
        let words: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
        let piped = stdin.map_or(String::new(), |text| format!("printf %s {} | ", quote(text)));
        println!("\n$ {piped}maestro {}", words.join(" "));
        let mut command = Command::new(&self.dist.program);
        command.args(arguments).env("MAESTRO_HOME", self.home).env_remove("MAESTRO_SESSION");
        let Some(text) = stdin else {
            return run::command(command.stdin(Stdio::null()));
        };
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        child.stdin.take().context("a pipe to the program")?.write_all(text.as_bytes())?;
        let status = child.wait()?;
        ensure!(status.success(), "`maestro {}` failed: {status}", words.join(" "));
        Ok(())
    }

    fn drop_plugin(&self) -> Result<()> {
        let name = dist::library_name("shout");
        let from = run::target().join("release").join(&name);
        let folder = self.home.join("plugins");
        println!("\n$ cp target/release/{name} $MAESTRO_HOME/plugins/");
        fs::create_dir_all(&folder)?;
        fs::copy(from, folder.join(name))?;
        Ok(())
    }

    fn configure(&self, name: &str, url: &str) -> Result<()> {
        let text =
            format!("[providers.{name}]\nplugin = \"openai-compatible\"\nbase_url = \"{url}\"\n");
        println!("\n$ cat $MAESTRO_HOME/config.toml\n{}", text.trim_end());
        Ok(fs::write(self.home.join("config.toml"), text)?)
    }

    fn accounts(&self) -> Result<()> {
        let upstream = Upstream::start()?;
        self.configure("lab", &upstream.url)?;
        for (name, key) in KEYS {
            self.run_with(&["login", "lab", "--name", name, "--key-stdin"], Some(key))?;
        }
        self.run(&["sessions", "list"])?;
        for (name, _) in KEYS {
            self.run(&["chat", "-m", "lab/demo", "-s", name, "Which key came with me?"])?;
        }
        let expected = KEYS.map(|(_, key)| format!("Bearer {key}"));
        ensure!(upstream.seen() == expected, "expected {expected:?}, found {:?}", upstream.seen());
        for (_, key) in KEYS {
            let hits = hits(self.home, key.as_bytes())?;
            println!("\n$ grep -rF {key} $MAESTRO_HOME | wc -l\n{hits}");
            ensure!(hits == 0, "a key lies in the clear in {hits} files");
        }
        Ok(())
    }

    fn real_model(&self) -> Result<()> {
        let open = |port: &&u16| {
            let address = ([127, 0, 0, 1], **port).into();
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        };
        let Some(port) = MODEL_PORTS.iter().find(open) else {
            println!("\nnone listens on {MODEL_PORTS:?}; skipped");
            return Ok(());
        };
        self.configure("local", &format!("http://127.0.0.1:{port}/v1"))?;
        self.run(&["models", "--provider", "local"])?;
        let listed = Command::new(&self.dist.program)
            .args(["models", "--provider", "local", "--json"])
            .env("MAESTRO_HOME", self.home)
            .output()?;
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout)?;
        let Some(model) = listed["models"][0]["ref"].as_str() else {
            println!("\nit lists no model; skipped");
            return Ok(());
        };
        let settings = ["-o", "max_tokens=60", "-o", "temperature=0"];
        let chat = ["chat", "-v", "-m", model];
        self.run(&[&chat[..], &settings, &["Name three colours."]].concat())
    }
}

/// Counts the files below a folder that hold some bytes.
fn hits(folder: &Path, needle: &[u8]) -> Result<usize> {
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found += hits(&path, needle)?;
        } else if path.is_file() {
            let bytes = fs::read(&path)?;
            found += usize::from(bytes.windows(needle.len()).any(|window| window == needle));
        }
    }
    Ok(found)
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_/.:=".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}
